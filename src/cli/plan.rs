//! `fretcoach plan`: what to practise today, and what came of the plans before.
//!
//! `--format json` is stable: `{"plan": PLAN}`, with `--list` `{"plans": [PLAN, …]}`, newest first; PLAN as
//! [`words::json`] says.

use std::fmt::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

use super::exit::{Exit, Stop, complain};
use super::history::{Format, local, pretty};
use super::table::{self, Column};
use crate::app::practice::start_telemetry;
use crate::coach::plan::{Ask, PlanError, Planner, ago, words};
use crate::config::Config;
use crate::store::{PlanRow, PlanStatus, Store, StoreError, open_shared_or_local};

/// Columns of the terminal that the text fits in.
const WIDTH: usize = 80;

/// What is asked.
#[derive(Clone, Debug, clap::Args)]
pub struct PlanArgs {
    /// accept or dismiss the plan that waits, or the id of a plan (or the start of it) to show; without: today's plan
    #[arg(value_name = "accept|dismiss|PLAN")]
    pub action: Option<String>,
    /// another plan than the one that waits
    #[arg(long, conflicts_with_all = ["action", "wish", "list"])]
    pub another: bool,
    /// a plan by a wish, for example "more bends, 20 minutes"
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["action", "list"])]
    pub wish: Option<String>,
    /// list past plans and what came of them
    #[arg(long, conflicts_with = "action")]
    pub list: bool,
    /// at most so many plans in the list
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: u32,
    /// how to print: text, or json for programs
    #[arg(long, value_enum, default_value_t, hide_possible_values = true)]
    pub format: Format,
}

/// Runs the command and prints what it yields.
///
/// # Errors
/// A store that cannot be used, a plan that is not there or not waiting, a wish that is none.
pub async fn run(config: Config, args: PlanArgs) -> Result<Exit, Stop> {
    let data = |e: StoreError| Stop::because(Exit::Data, &e);
    // Traces belong to this device; what was practised on all of them stands in the shared database.
    let own = Store::open_in(&config.data_dir).await.map_err(data)?;
    let telemetry = start_telemetry(&config, own.clone()).await?;
    let url = config.database_url.reveal();
    let (store, remark) = match url.is_empty() {
        true => (own.clone(), None),
        false => open_shared_or_local(url, &config.data_dir).await.map_err(data)?,
    };
    remark.iter().for_each(complain);
    let planner = Planner::new(&config, store.clone());
    let text = text(&planner, &store, &config, &args, &TimeZone::system()).await;
    telemetry.shutdown(config.telemetry.flush_timeout).await;
    store.close().await;
    own.close().await;
    let text = text.map_err(|e| {
        let exit = match &e {
            PlanError::Store(StoreError::NotFound { .. } | StoreError::Ambiguous { .. })
            | PlanError::NothingWaits => Exit::NotFound,
            PlanError::Store(_) => Exit::Data,
            PlanError::Wish(_) | PlanError::Decided { .. } | PlanError::Invalid(_) => Exit::Usage,
        };
        Stop::because(exit, &e)
    })?;
    super::print(&text)?;
    Ok(Exit::Ok)
}

/// What is printed.
///
/// # Errors
/// See [`run`].
pub async fn text(
    planner: &Planner,
    store: &Store,
    config: &Config,
    args: &PlanArgs,
    zone: &TimeZone,
) -> Result<String, PlanError> {
    let user = &config.user;
    if args.list {
        let plans = planner.plans(user, args.limit).await?;
        return Ok(match args.format {
            Format::Text => list(&plans, zone),
            Format::Json => pretty(&json!({ "plans": plans.iter().map(words::json).collect::<Vec<_>>() })),
        });
    }
    let row = match (args.action.as_deref(), &args.wish) {
        (Some(decision @ ("accept" | "dismiss")), _) => {
            let waiting = planner.waiting(user).await?.ok_or(PlanError::NothingWaits)?;
            let id = waiting.id.to_string();
            match decision {
                "accept" => planner.accept(user, &id).await?,
                _ => planner.dismiss(user, &id).await?,
            }
        }
        (Some(name), _) => store.plan(user, name).await?,
        (None, Some(wish)) => planner.propose(user, Ask::Wish(wish.clone()), &config.deployment).await?,
        (None, None) if args.another => planner.propose(user, Ask::Another, &config.deployment).await?,
        (None, None) => planner.propose(user, Ask::Today, &config.deployment).await?,
    };
    Ok(match args.format {
        Format::Json => pretty(&json!({ "plan": words::json(&row) })),
        Format::Text => one(&row, Timestamp::now()),
    })
}

/// One plan for people, at most `WIDTH` columns wide.
#[must_use]
pub fn one(row: &PlanRow, now: Timestamp) -> String {
    let plan = &row.plan;
    let mut out = String::new();
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(out, "{}", words::title(plan));
    let _ = writeln!(out, "{} minutes at {:.0} bpm · {}", plan.minutes, plan.tempo, plan.kind.label());
    if let Some(wish) = &plan.wish {
        let _ = write!(out, "\nYour wish\n{}", wrapped(wish, 2));
    }
    let _ = write!(out, "\nWhy\n{}\nSteps\n", wrapped(&plan.reasoning, 2));
    for (i, e) in plan.exercises.iter().enumerate() {
        let head = format!("{}. {} · {} min · {}", i + 1, e.title, e.minutes, words::tempo(e));
        let _ = write!(out, "{}{}", wrapped(&head, 2), wrapped(&e.how, 5));
    }
    let _ = writeln!(out, "\nJudged at strictness {}, sensitivity {}.", plan.strictness, plan.sensitivity);
    let made = format!("Plan {}, made {} {}.", row.id.short(), ago(row.created_at, now), words::source(row));
    out.push_str(&wrapped(&made, 0));
    if let Some(note) = &plan.note {
        out.push_str(&wrapped(note, 0));
    }
    match (row.status, &row.outcome) {
        (PlanStatus::Pending | PlanStatus::Accepted, _) => {
            if row.status == PlanStatus::Accepted {
                out.push_str("\nYou have accepted it.\n");
            }
            out.push_str(
                "\nStart it:    fretcoach practice --plan latest\n\
                 Another one: fretcoach plan --another\n\
                 By a wish:   fretcoach plan --wish \"more bends, 20 minutes\"\n",
            );
        }
        (PlanStatus::Done, Some(outcome)) => {
            let _ = write!(out, "\nDone. Did it help?\n{}", wrapped(&outcome.said, 2));
        }
        (PlanStatus::Done, None) => out.push_str("\nDone.\n"),
        (PlanStatus::Dismissed, _) => out.push_str("\nDismissed. Today's plan: fretcoach plan\n"),
    }
    out
}

/// The plans for people.
#[must_use]
pub fn list(plans: &[PlanRow], zone: &TimeZone) -> String {
    if plans.is_empty() {
        return "No plans yet. `fretcoach plan` makes the first one.\n".into();
    }
    let columns = [
        Column::left("plan"),
        Column::left("made"),
        Column::left("status"),
        Column::left("focus"),
        Column::left("scale"),
        Column::right("bpm"),
        Column::right("min"),
        Column::left("effect"),
    ];
    let rows: Vec<Vec<String>> = plans
        .iter()
        .map(|p| {
            vec![
                p.id.short(),
                local(p.created_at, zone, "%m-%d"),
                p.status.word().into(),
                short_focus(p.plan.focus.name()),
                p.plan.scale.replace("pentatonic", "pent."),
                format!("{:.0}", p.plan.tempo),
                p.plan.minutes.to_string(),
                words::effect(p).into(),
            ]
        })
        .collect();
    let mut text = table::render(&columns, &rows);
    text.push_str("\n`fretcoach plan PLAN` shows one in full, with what came of it.\n");
    text
}

/// The list must fit: `timing` for `timing_stability`.
fn short_focus(name: &str) -> String {
    name.split('_').next().unwrap_or(name).to_owned()
}

/// A text in lines of at most `WIDTH` columns, each `indent` to the right.
fn wrapped(text: &str, indent: usize) -> String {
    let mut out = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column == 0 || column + 1 + length > WIDTH {
            if column > 0 {
                out.push('\n');
            }
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::practice::plan::{Outcome, Verdict, tests as plans};
    use crate::practice::types::Metric;
    use crate::store::PlanId;

    fn row() -> PlanRow {
        let at = Timestamp::from_second(1_790_000_000).unwrap();
        PlanRow {
            id: "0199a1b2-c3d4-7000-8000-000000000001".parse().unwrap_or_else(|_| PlanId::new()),
            user: "ann".into(),
            created_at: at,
            source: "offline".into(),
            prompt_version: None,
            status: PlanStatus::Pending,
            decided_at: at,
            plan: plans::plan(),
            outcome: None,
            trace_id: None,
        }
    }

    #[test]
    fn a_plan_on_a_terminal() {
        let mut r = row();
        r.plan.wish = Some(
            "more bends, 20 minutes, and please nothing that is too fast for me since my hand hurts".into(),
        );
        r.plan.note = Some("This plan is made by rules: gpt-4o-mini is rate-limited.".into());
        let text = one(&r, r.created_at);
        insta::assert_snapshot!(text);
        assert!(text.lines().all(|l| l.chars().count() <= WIDTH), "{text}");
    }

    #[test]
    fn past_plans_tell_what_came_of_them() {
        let done = PlanRow {
            status: PlanStatus::Done,
            outcome: Some(Outcome {
                session: "s".into(),
                metric: Metric::TimingStability,
                verdict: Verdict::Better,
                now: Some(12.0),
                before: Some(18.0),
                varied: Some(2.0),
                score: None,
                score_before: None,
                sessions: 4,
                notes: 300,
                said: "Better: a spread of 12 ms.".into(),
            }),
            ..row()
        };
        let text = one(&done, done.created_at);
        assert!(
            text.contains("Did it help?\n  Better: a spread of 12 ms.") && !text.contains("Start it"),
            "{text}"
        );
        let dismissed = PlanRow { status: PlanStatus::Dismissed, ..row() };
        let text = list(&[row(), done, dismissed], &TimeZone::UTC);
        insta::assert_snapshot!(text);
        assert!(text.lines().all(|l| l.chars().count() <= WIDTH), "{text}");
        assert!(list(&[], &TimeZone::UTC).contains("makes the first one"));
    }
}

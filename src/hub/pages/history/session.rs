//! One session in full.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use jiff::tz::TimeZone;
use minijinja::{Value, context};
use serde::Deserialize;
use serde_json::json;

use super::words::{self, clock, duration_words, moment, note_name, score_cell, when};
use super::{delete_sessions, follow, found_one, fretboard, plot, sound, state_words};
use crate::config::Config;
use crate::hub::charts::{Chart, Data, Series};
use crate::hub::{Hub, HubError, Viewer, page};
use crate::music::chord::chord_name;
use crate::music::note::NoteName;
use crate::music::scale::Scale;
use crate::music::tuning::Tuning;
use crate::practice::plan::{Outcome, Plan};
use crate::practice::types::{JudgedChord, JudgedNote, Metric};
use crate::store::{LoopCost, SessionBrief, SessionId, SessionRow, Tally, WindowRecord};

/// Rows of the table of notes on one page.
const ROWS: usize = 100;
/// Width of a bar of the histogram, ms, and how many there are on each side: what lies further out is counted in the
/// last ones.
const BIN_MS: f64 = 10.0;
const BINS: i64 = 12;
/// Most notes of one answer of the API.
const MOST_NOTES: usize = 5000;

pub(super) fn routes() -> Router<Hub> {
    Router::new()
        .route("/history/{session}", get(show))
        .route("/api/sessions/{session}", get(one).delete(delete))
        .route("/api/sessions/{session}/notes", get(notes))
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NotesFilter {
    /// First note, from 0.
    from: usize,
    /// Only those marked wrong, when not empty.
    wrong: String,
    /// At most so many, of the API.
    limit: Option<usize>,
}

/// What was in force when the session was played.
struct InForce {
    tuning: Tuning,
    scale: Option<Scale>,
    strictness: f64,
}

impl InForce {
    fn of(row: &SessionRow) -> Self {
        // Sessions that were imported may lack settings; then the defaults stand.
        let config: Config = serde_json::from_str(&row.config_json).unwrap_or_default();
        let practice = &config.practice;
        let tuning = Tuning::parse(&practice.tuning).unwrap_or_default();
        Self {
            tuning: tuning.with_capo(practice.capo).unwrap_or_default(),
            scale: row.scale.as_deref().and_then(|name| Scale::parse(name).ok()),
            strictness: practice.strictness,
        }
    }
}

async fn read(hub: &Hub, viewer: &Viewer, id: &str) -> Result<(SessionBrief, SessionRow), HubError> {
    let brief = found_one(hub, viewer, id).await?;
    let row = hub.store().session(&brief.id).await?;
    Ok((brief, row))
}

async fn one(viewer: Viewer, State(hub): State<Hub>, Path(id): Path<String>) -> Result<Response, HubError> {
    let (brief, row) = read(&hub, &viewer, &id).await?;
    let store = hub.store();
    let windows = store.windows(&row.id).await?;
    let advice = store.advice(&row.id).await?;
    let gaps = store.gaps(&row.id).await?;
    let recording = store.recording(&row.id).await?;
    let cost = total_cost(&windows);
    let windows: Vec<_> = windows
        .iter()
        .map(|w| json!({ "window": w.window, "closed_at": w.closed_at.to_string(), "cost": w.cost }))
        .collect();
    let advice: Vec<_> = advice
        .iter()
        .map(|a| {
            json!({
                "id": a.id, "kind": a.kind, "at": a.at.to_string(), "at_s": a.at_s, "window": a.window_index,
                "text": a.text, "source": a.source, "prompt_version": a.prompt_version, "spoken": a.spoken,
                "trace_id": a.trace_id, "span_id": a.span_id,
            })
        })
        .collect();
    let gaps: Vec<_> =
        gaps.iter().map(|g| json!({ "from_s": g.from, "to_s": g.to, "cause": g.cause })).collect();
    let answer = json!({
        "session": brief, "summary": row.summary, "trace_id": row.trace_id, "windows": windows, "advice": advice,
        "gaps": gaps, "recording": recording.map(|r| json!({ "from_s": r.from_s, "seconds": r.seconds, "bytes": r.bytes })), "cost": cost,
    });
    Ok(Json(answer).into_response())
}

async fn notes(
    viewer: Viewer,
    State(hub): State<Hub>,
    Path(id): Path<String>,
    Query(filter): Query<NotesFilter>,
) -> Result<Response, HubError> {
    let (_, row) = read(&hub, &viewer, &id).await?;
    let (mut notes, chords) = strokes(&hub, &row.id).await?;
    if !filter.wrong.is_empty() {
        notes.retain(|n| !n.right && !n.note.gated);
    }
    let total = notes.len();
    let limit = filter.limit.unwrap_or(MOST_NOTES).min(MOST_NOTES);
    let part: Vec<&JudgedNote> = notes.iter().skip(filter.from).take(limit).collect();
    Ok(Json(json!({ "notes": part, "total": total, "from": filter.from, "chords": chords })).into_response())
}

async fn strokes(hub: &Hub, id: &SessionId) -> Result<(Vec<JudgedNote>, Vec<JudgedChord>), HubError> {
    Ok((hub.store().notes(id).await?, hub.store().chords(id).await?))
}

async fn delete(
    viewer: Viewer,
    State(hub): State<Hub>,
    Path(id): Path<String>,
) -> Result<Response, HubError> {
    delete_sessions(&hub, &viewer, &[id]).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn show(
    viewer: Viewer,
    State(hub): State<Hub>,
    Path(id): Path<String>,
    Query(filter): Query<NotesFilter>,
) -> Result<Response, HubError> {
    let (brief, row) = read(&hub, &viewer, &id).await?;
    let store = hub.store();
    let (notes, chords) = strokes(&hub, &row.id).await?;
    let windows = store.windows(&row.id).await?;
    let advice = store.advice(&row.id).await?;
    let gaps = store.gaps(&row.id).await?;
    let recording = store.recording(&row.id).await?;
    let here = match recording.as_ref().and_then(|r| sound::file(&hub, r)) {
        Some(path) => tokio::fs::try_exists(&path).await.unwrap_or(false),
        None => false,
    };
    let plan = match &brief.plan_id {
        Some(plan) => store.carried_out(&viewer.user, plan).await?,
        None => None,
    };
    let force = InForce::of(&row);
    let zone = TimeZone::system();
    let facts = row.summary.as_ref().map(|s| &s.facts);
    let values = context! {
        id => brief.id.clone(),
        when => when(brief.started_at, &zone),
        title => brief.scale.clone().unwrap_or_else(|| "Free playing".into()),
        scale => brief.scale.clone(),
        state => state_words(&brief),
        running => brief.running,
        figures => figures(&brief),
        scores => scores(&brief),
        strongest => row.summary.as_ref().and_then(|s| s.strongest).map(Metric::label),
        weakest => row.summary.as_ref().and_then(|s| s.weakest).map(Metric::label),
        summed_up => row.summary.is_some(),
        facts => facts.map(words::facts),
        over_time => over_time(&windows).map(|c| c.value()),
        histogram => histogram(&notes, facts.and_then(words::spread)).map(|c| c.value()),
        board => board(&brief.tally, &force),
        plot => plot::notes(notes.get(filter.from.min(notes.len())..).unwrap_or_default(), force.scale.as_ref()),
        plot_cut => notes.len().saturating_sub(filter.from) > plot::MOST_NOTES,
        plot_most => plot::MOST_NOTES,
        notes => note_rows(&notes, &filter, &force),
        chords => chord_words(&chords),
        advice => advice.iter().map(|a| follow::row(a, &windows)).collect::<Vec<_>>(),
        fewest => follow::FEWEST_NOTES,
        gaps => gaps.iter().map(|g| context! {
            from => clock(g.from), to => clock(g.to), seconds => format!("{:.1}", g.to - g.from), cause => g.cause.clone(),
        }).collect::<Vec<_>>(),
        plan => plan.map(|p| plan_value(&p.plan_json, p.outcome_json.as_deref(), &p.source)),
        recording => recording.as_ref().map(|r| context! { from_s => r.from_s, length => clock(r.seconds), here }),
        cost => cost_words(&total_cost(&windows)),
        trace => row.trace_id,
        input => brief.input.clone(),
        deployment => brief.deployment.clone(),
        tuning => force.tuning.name(),
        capo => force.tuning.capo(),
        limits => limits(force.strictness),
    };
    page::render(&viewer, "history", "session.html", values)
}

fn figures(brief: &SessionBrief) -> Vec<(&'static str, String)> {
    let tally = &brief.tally;
    let mut figures = vec![("Played", duration_words(tally.practice_s))];
    if let Some(ended) = brief.ended_at {
        figures.push(("From begin to end", clock(ended.duration_since(brief.started_at).as_secs_f64())));
    }
    figures.push(("Notes", tally.note_count.to_string()));
    if tally.judged_count > 0 {
        let share = 100.0 * tally.right_count as f64 / tally.judged_count as f64;
        figures.push(("Right", format!("{} of {} ({share:.0} %)", tally.right_count, tally.judged_count)));
    }
    figures.extend(tally.bpm.map(|bpm| ("Tempo", format!("{bpm:.0} bpm"))));
    figures
}

fn scores(brief: &SessionBrief) -> Vec<Value> {
    let all = [("overall", brief.scores.overall)];
    let each = Metric::ALL.map(|metric| (metric.label(), brief.scores.get(metric)));
    all.into_iter().chain(each).map(|(name, score)| context! { name, score => score_cell(score) }).collect()
}

/// Scores of the windows; `None` without any.
fn over_time(windows: &[WindowRecord]) -> Option<Chart> {
    let windows: Vec<_> = windows.iter().map(|w| &w.window).filter(|w| w.scores.overall.is_some()).collect();
    let (first, last) = (windows.first()?, windows.last()?);
    let series = |name: &str, values: Vec<Option<f64>>| Series { name: name.into(), values };
    let mut all = vec![series("overall", windows.iter().map(|w| w.scores.overall).collect())];
    for metric in Metric::ALL {
        let values: Vec<Option<f64>> = windows.iter().map(|w| w.scores.get(metric)).collect();
        if values.iter().any(Option::is_some) {
            all.push(series(metric.label(), values));
        }
    }
    let data = Data {
        x_title: "time".into(),
        y_title: "score".into(),
        x: windows.iter().map(|w| clock(w.end)).collect(),
        series: all,
        range: Some((0.0, 100.0)),
    };
    let score = |value: Option<f64>| value.map_or_else(|| "–".into(), |v| format!("{v:.0}"));
    let alt = format!(
        "Scores of {} stretches of playing; overall {} in the first, {} in the last.",
        windows.len(),
        score(first.scores.overall),
        score(last.scores.overall)
    );
    Some(Chart::lines("over-time", "Scores over time", &alt, &data))
}

/// How early or late notes came; `None` where none was judged in time.
fn histogram(notes: &[JudgedNote], spread: Option<String>) -> Option<Chart> {
    let deviations: Vec<f64> =
        notes.iter().filter(|n| !n.note.gated).filter_map(|n| n.deviation_ms).collect();
    if deviations.is_empty() {
        return None;
    }
    let bins = bins(&deviations);
    let names = (-BINS..=BINS).map(|bin| {
        let middle = (bin as f64 * BIN_MS) as i64;
        match bin {
            b if b == -BINS => format!("{middle} or earlier"),
            b if b == BINS => format!("{middle:+} or later"),
            _ => format!("{middle:+}"),
        }
    });
    let early = deviations.iter().filter(|d| **d < -BIN_MS / 2.0).count();
    let late = deviations.iter().filter(|d| **d > BIN_MS / 2.0).count();
    let alt = format!(
        "{} notes: {early} early, {late} late, {} within {:.0} ms of their place{}.",
        deviations.len(),
        deviations.len() - early - late,
        BIN_MS / 2.0,
        spread.map_or_else(String::new, |s| format!("; {s}"))
    );
    let data = Data {
        x_title: "ms early (−) or late (+)".into(),
        y_title: "notes".into(),
        x: names.collect(),
        series: vec![Series {
            name: "notes".into(),
            values: bins.into_iter().map(|n| Some(n as f64)).collect(),
        }],
        range: None,
    };
    Some(Chart::bars("timing", "Early and late", &alt, &data))
}

/// Deviations counted in bins of [`BIN_MS`] about 0, [`BINS`] on each side; what lies further out is in the last ones.
fn bins(deviations: &[f64]) -> Vec<u64> {
    let mut bins = vec![0; (2 * BINS + 1) as usize];
    for deviation in deviations.iter().filter(|d| d.is_finite()) {
        let bin = ((deviation / BIN_MS).round() as i64).clamp(-BINS, BINS);
        bins[(bin + BINS) as usize] += 1;
    }
    bins
}

fn board(tally: &Tally, force: &InForce) -> Value {
    fretboard::value(&tally.pitches, &force.tuning, force.scale.as_ref())
}

/// A page of the table of notes.
fn note_rows(notes: &[JudgedNote], filter: &NotesFilter, force: &InForce) -> Value {
    let wrong_only = !filter.wrong.is_empty();
    let listed: Vec<&JudgedNote> =
        notes.iter().filter(|n| !wrong_only || (!n.right && !n.note.gated)).collect();
    let from = filter.from.min(listed.len());
    let name = |midi| note_name(force.scale.as_ref(), midi);
    let rows: Vec<Value> = listed
        .iter()
        .skip(from)
        .take(ROWS)
        .map(|n| {
            let verdict = match n.reason {
                _ if n.note.gated => "not judged".into(),
                Some(reason) => reason.words(name),
                None if n.right => "right".into(),
                None => "–".to_owned(),
            };
            context! {
                at => moment(n.note.onset),
                seconds => format!("{:.2}", n.note.onset),
                note => name(n.note.midi),
                cents => format!("{:+.0}", n.note.cents),
                ms => n.deviation_ms.map_or_else(|| "–".into(), |ms| format!("{ms:+.0}")),
                place => n.place.map_or_else(|| "–".into(), words::place),
                class => plot::class(n),
                verdict,
            }
        })
        .collect();
    let wrong = if wrong_only { "&wrong=1" } else { "" };
    let link = |from: usize| format!("?from={from}{wrong}#notes");
    context! {
        first => from + 1,
        last => from + rows.len(),
        total => listed.len(),
        wrong_only,
        rows,
        earlier => (from > 0).then(|| link(from.saturating_sub(ROWS))),
        later => (from + ROWS < listed.len()).then(|| link(from + ROWS)),
    }
}

/// Chords with how often, in the order in which they first came.
fn chord_words(chords: &[JudgedChord]) -> Option<String> {
    let mut counts: Vec<(String, usize)> = Vec::new();
    for chord in chords.iter().map(|c| &c.chord) {
        let spell = |class| NoteName::of_pitch_class(class, true);
        let name = chord_name(chord.classes.0, chord.bass, spell).unwrap_or_else(|| "other".into());
        match counts.iter_mut().find(|(n, _)| *n == name) {
            Some((_, times)) => *times += 1,
            None => counts.push((name, 1)),
        }
    }
    let words: Vec<String> = counts.iter().map(|(name, n)| format!("{name} ×{n}")).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

fn plan_value(plan_json: &str, outcome_json: Option<&str>, source: &str) -> Value {
    let plan: Option<Plan> = serde_json::from_str(plan_json).ok();
    let outcome: Option<Outcome> = outcome_json.and_then(|text| serde_json::from_str(text).ok());
    context! {
        source,
        focus => plan.as_ref().map(|p| p.focus.label()),
        scale => plan.as_ref().map(|p| p.scale.clone()),
        tempo => plan.as_ref().map(|p| format!("{:.0}", p.tempo)),
        minutes => plan.as_ref().map(|p| p.minutes),
        reasoning => plan.as_ref().map(|p| p.reasoning.clone()),
        exercises => plan.as_ref().map(|p| p.exercises.iter().map(|e| context! {
            title => e.title.clone(), how => e.how.clone(), minutes => e.minutes,
        }).collect::<Vec<_>>()),
        outcome => outcome.map(|o| o.said),
    }
}

fn total_cost(windows: &[WindowRecord]) -> Option<LoopCost> {
    let mut costs = windows.iter().filter_map(|w| w.cost);
    let first = costs.next()?;
    Some(costs.fold(first, |mut all, cost| {
        all.add(&cost);
        all
    }))
}

fn cost_words(cost: &Option<LoopCost>) -> Option<String> {
    let cost = cost.as_ref().filter(|c| c.hops > 0)?;
    let us = |ns: u64| ns as f64 / 1e3;
    let lost = match cost.dropped_samples {
        0 => "no sample was lost".to_owned(),
        n => format!("{n} samples were lost"),
    };
    Some(format!(
        "{} steps of the analysis; half of them took at most {:.0} µs, 95 % at most {:.0} µs, the longest {:.0} µs; {} came too late; {lost}.",
        cost.hops,
        us(cost.hop_p50_ns),
        us(cost.hop_p95_ns),
        us(cost.hop_max_ns),
        cost.late
    ))
}

/// From where on a note counted as wrong.
fn limits(strictness: f64) -> String {
    use crate::practice::score::{right_cents, right_ms};
    format!(
        "A note is wrong out of the scale, more than {:.0} cents off, or more than {:.0} ms early or late (less among fast notes).",
        right_cents(strictness),
        right_ms(strictness, f64::INFINITY)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviations_fall_into_the_bin_about_them() {
        let counted = bins(&[0.0, 4.9, -4.9, 5.1, -14.0, 500.0, -500.0, f64::NAN]);
        assert_eq!(counted.len(), 25);
        assert_eq!((counted[12], counted[13], counted[11]), (3, 1, 1));
        assert_eq!((counted[0], counted[24], counted.iter().sum::<u64>()), (1, 1, 7));
    }
}

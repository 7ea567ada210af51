//! Trends: every score and figure over time, practice time, scales, and the fretboard.

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};
use minijinja::{Value, context};
use serde::Deserialize;
use serde_json::json;

use super::fretboard;
use super::words::{duration_words, figure_label, score_cell};
use crate::hub::charts::{Chart, Data, Series};
use crate::hub::{Hub, HubError, Viewer, page};
use crate::music::scale::Scale;
use crate::music::tuning::Tuning;
use crate::store::{self, Figure, SessionFigures, Step, TrendPoint};

/// Days shown when none are asked for: a season of practice.
const DAYS: u32 = 90;
/// Most days: what a page still draws readily by the day.
const MOST_DAYS: u32 = 36_500;

pub(super) fn routes() -> Router<Hub> {
    Router::new().route("/history/trends", get(show)).route("/api/trends", get(api))
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    /// A scale; empty: all.
    scale: String,
    /// `day`, `week` or `month`; empty: whatever suits the days.
    step: String,
    /// How many days back; empty: 90.
    days: String,
}

struct Span {
    days: u32,
    step: Step,
    from: Timestamp,
    scale: Option<String>,
}

impl Asked {
    fn span(&self, now: &Zoned) -> Result<Span, HubError> {
        let days =
            match self.days.trim() {
                "" => DAYS,
                text => text.parse().ok().filter(|days| (1..=MOST_DAYS).contains(days)).ok_or_else(|| {
                    HubError::bad(format!("days: `{text}` is no number from 1 to {MOST_DAYS}"))
                })?,
            };
        let step = match self.step.trim() {
            "" if days <= 31 => Step::Day,
            "" if days <= 400 => Step::Week,
            "" => Step::Month,
            "day" => Step::Day,
            "week" => Step::Week,
            "month" => Step::Month,
            other => return Err(HubError::bad(format!("step: `{other}` is none of day, week, month"))),
        };
        let first = now.date().checked_sub(i64::from(days - 1).days()).unwrap_or(Date::MIN);
        let from = first.to_zoned(now.time_zone().clone()).map_or(Timestamp::MIN, |z| z.timestamp());
        let scale = Some(self.scale.trim().to_owned()).filter(|s| !s.is_empty());
        Ok(Span { days, step, from, scale })
    }
}

struct Found {
    sessions: Vec<SessionFigures>,
    points: Vec<TrendPoint>,
}

async fn find(hub: &Hub, viewer: &Viewer, span: &Span, zone: &TimeZone) -> Result<Found, HubError> {
    let mut sessions = hub.store().figures(&viewer.user, Some(span.from), None).await?;
    if let Some(scale) = &span.scale {
        sessions.retain(|s| s.scale.as_ref() == Some(scale));
    }
    let points = store::trend(&sessions, span.step, zone);
    Ok(Found { sessions, points })
}

async fn api(
    viewer: Viewer,
    State(hub): State<Hub>,
    Query(asked): Query<Asked>,
) -> Result<Response, HubError> {
    let zone = TimeZone::system();
    let now = Zoned::now().with_time_zone(zone.clone());
    let span = asked.span(&now)?;
    let found = find(&hub, &viewer, &span, &zone).await?;
    let all = hub.store().figures(&viewer.user, None, None).await?;
    let days = store::practice_days(&all, &zone);
    let points: Vec<_> = found
        .points
        .iter()
        .map(|p| {
            let means: serde_json::Map<_, _> = p
                .means
                .iter()
                .filter_map(|(figure, (mean, sessions))| {
                    let name = json!(figure).as_str()?.to_owned();
                    Some((name, json!({ "mean": mean, "sessions": sessions })))
                })
                .collect();
            json!({
                "from": p.from.to_string(), "sessions": p.sessions, "practice_s": p.practice_s,
                "judged_count": p.judged_count, "right_count": p.right_count, "figures": means,
            })
        })
        .collect();
    let pitches = hub.store().pitches(&viewer.user, Some(span.from), None, span.scale.as_deref()).await?;
    let pitches: Vec<_> =
        pitches.iter().map(|p| json!({ "midi": p.midi, "judged": p.judged, "right": p.right })).collect();
    let answer = json!({
        "days": span.days, "step": span.step, "scale": span.scale, "points": points, "pitches": pitches,
        "practice_days": days.iter().map(|(d, s)| json!({ "day": d.to_string(), "practice_s": s })).collect::<Vec<_>>(),
        "streak": store::streak(&days, now.date()),
        "progress": store::progress(&all, now.timestamp()),
    });
    Ok(Json(answer).into_response())
}

async fn show(
    viewer: Viewer,
    State(hub): State<Hub>,
    Query(asked): Query<Asked>,
) -> Result<Response, HubError> {
    let zone = TimeZone::system();
    let span = asked.span(&Zoned::now().with_time_zone(zone.clone()))?;
    let found = find(&hub, &viewer, &span, &zone).await?;
    let choices = hub.store().choices(&viewer.user).await?;
    let pitches = hub.store().pitches(&viewer.user, Some(span.from), None, span.scale.as_deref()).await?;
    let practice = &hub.config().practice;
    let tuning =
        Tuning::parse(&practice.tuning).unwrap_or_default().with_capo(practice.capo).unwrap_or_default();
    let scale = span.scale.as_deref().and_then(|name| Scale::parse(name).ok());
    let step = json!(span.step);
    let charts: Vec<Value> = charts(&found.points, span.step).iter().map(Chart::value).collect();
    let values = context! {
        any => !found.sessions.is_empty(),
        charts,
        by_scale => by_scale(&found.sessions),
        board => fretboard::value(&pitches, &tuning, scale.as_ref()),
        choices => context! { scales => choices.scales.clone() },
        scale => span.scale,
        step => step.as_str(),
        days => span.days,
        sessions => found.sessions.len(),
        played => duration_words(found.sessions.iter().map(|s| s.practice_s).sum()),
    };
    page::render(&viewer, "history", "trends.html", values)
}

fn charts(points: &[TrendPoint], step: Step) -> Vec<Chart> {
    let step_word = match step {
        Step::Day => "day",
        Step::Week => "week from",
        Step::Month => "month",
    };
    let by = match step {
        Step::Day => "by day",
        Step::Week => "by week",
        Step::Month => "by month",
    };
    let x: Vec<String> = points.iter().map(|p| p.from.to_string()).collect();
    let series = |name: &str, of: &dyn Fn(&TrendPoint) -> Option<f64>| Series {
        name: name.to_owned(),
        values: points.iter().map(of).collect(),
    };
    let data = |y_title: &str, all: Vec<Series>, range| Data {
        x_title: step_word.into(),
        y_title: y_title.into(),
        x: x.clone(),
        series: all.into_iter().filter(|s| s.values.iter().any(Option::is_some)).collect(),
        range,
    };
    let ends = |figure: Figure, unit: &str| {
        let mut values = points.iter().filter_map(|p| p.mean(figure));
        let first = values.next()?;
        let last = values.next_back().unwrap_or(first);
        Some(format!("{} from {first:.0}{unit} to {last:.0}{unit}", figure_label(figure)))
    };
    let mut charts = Vec::new();
    let scores = Figure::SCORES.map(|f| series(figure_label(f), &|p| p.mean(f)));
    let said: Vec<String> = Figure::SCORES.iter().filter_map(|f| ends(*f, "")).collect();
    if !said.is_empty() {
        let alt = format!("Mean scores of the sessions {by}: {}.", said.join(", "));
        charts.push(Chart::lines(
            "scores",
            "Scores",
            &alt,
            &data("mean score", scores.to_vec(), Some((0.0, 100.0))),
        ));
    }
    let minutes = series("minutes", &|p| Some((p.practice_s / 6.0).round() / 10.0));
    let total: f64 = points.iter().map(|p| p.practice_s).sum();
    let alt = format!("Time really played {by}: {} in all.", duration_words(total));
    charts.push(Chart::bars("practice", "Practice time", &alt, &data("minutes", vec![minutes], None)));
    let right = series("right", &|p| {
        (p.judged_count > 0).then(|| 100.0 * p.right_count as f64 / p.judged_count as f64)
    });
    if right.values.iter().any(Option::is_some) {
        let (judged, good) = points.iter().fold((0, 0), |(j, r), p| (j + p.judged_count, r + p.right_count));
        let alt = format!("Share of the judged notes that were right, {by}: {good} of {judged} in all.");
        charts.push(Chart::lines(
            "right",
            "Notes right",
            &alt,
            &data("% right", vec![right], Some((0.0, 100.0))),
        ));
    }
    for (figure, id, title, unit, y) in [
        (Figure::MeanAbsCents, "cents", "Intonation", " cents", "cents off, mean"),
        (Figure::TimingSdMs, "spread", "Evenness", " ms", "spread, ms"),
        (Figure::Tempo, "tempo", "Tempo", " bpm", "bpm"),
    ] {
        if let Some(said) = ends(figure, unit) {
            let less = if figure == Figure::Tempo { "" } else { " Less is better." };
            let alt = format!("Mean of the sessions {by}: {said}.{less}");
            charts.push(Chart::lines(
                id,
                title,
                &alt,
                &data(y, vec![series(title, &|p| p.mean(figure))], None),
            ));
        }
    }
    charts
}

/// Each scale with how much it was practised and how it goes, the most practised first.
fn by_scale(sessions: &[SessionFigures]) -> Vec<Value> {
    let mut scales: std::collections::BTreeMap<Option<&str>, Vec<&SessionFigures>> = Default::default();
    for session in sessions {
        scales.entry(session.scale.as_deref()).or_default().push(session);
    }
    let practised = |all: &[&SessionFigures]| all.iter().map(|s| s.practice_s).sum::<f64>();
    let mut scales: Vec<_> = scales.into_iter().collect();
    scales.sort_by(|a, b| practised(&b.1).total_cmp(&practised(&a.1)));
    scales
        .into_iter()
        .map(|(scale, all)| {
            let mean = |figure: Figure| {
                score_cell(store::mean(all.iter().filter_map(|s| figure.of(s))).map(|(mean, _)| mean))
            };
            context! {
                scale,
                sessions => all.len(),
                played => duration_words(practised(&all)),
                scores => Figure::SCORES.map(mean).to_vec(),
            }
        })
        .collect()
}

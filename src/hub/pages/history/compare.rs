//! Two to four sessions side by side, or one beside the player's average.

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use jiff::tz::TimeZone;
use minijinja::{Value, context};
use serde_json::json;

use super::words::{clock, figure_label, figure_unit, score_cell, when};
use super::{Pairs, chosen, found};
use crate::hub::charts::{Chart, Data, Series};
use crate::hub::{Hub, HubError, Viewer, page};
use crate::store::{self, Figure, SessionBrief, SessionFigures};

/// Side by side at most: more columns fit on no screen.
const MOST: usize = 4;

pub(super) fn routes() -> Router<Hub> {
    Router::new().route("/history/compare", get(show)).route("/api/compare", get(api))
}

/// What stands in a column: a session, or the average of many.
struct Side {
    name: String,
    said: String,
    id: Option<String>,
    /// In the order of [`Figure::ALL`].
    figures: Vec<Option<f64>>,
    right: Option<f64>,
    practice_s: f64,
    notes: f64,
}

impl Side {
    fn of(session: &SessionBrief, name: String, zone: &TimeZone) -> Self {
        let tally = &session.tally;
        let figures = SessionFigures {
            id: session.id.clone(),
            started_at: session.started_at,
            scale: session.scale.clone(),
            scores: session.scores,
            note_count: tally.note_count,
            judged_count: tally.judged_count,
            right_count: tally.right_count,
            practice_s: tally.practice_s,
            mean_abs_cents: tally.mean_abs_cents,
            timing_sd_ms: tally.timing_sd_ms,
            bpm: tally.bpm,
        };
        Self {
            name,
            said: format!(
                "{}, {}",
                when(session.started_at, zone),
                session.scale.as_deref().unwrap_or("no scale")
            ),
            id: Some(session.id.clone()),
            figures: Figure::ALL.map(|f| f.of(&figures)).to_vec(),
            right: share(tally.right_count, tally.judged_count),
            practice_s: tally.practice_s,
            notes: tally.note_count as f64,
        }
    }

    /// The mean of all sessions; `None` without any.
    fn average(sessions: &[&SessionFigures]) -> Option<Self> {
        let count = sessions.len();
        let mean = |of: &dyn Fn(&SessionFigures) -> Option<f64>| {
            store::mean(sessions.iter().filter_map(|s| of(s))).map(|(mean, _)| mean)
        };
        Some(Self {
            name: "Your average".into(),
            said: match count {
                0 => return None,
                1 => "one other session".into(),
                n => format!("mean of your {n} other sessions"),
            },
            id: None,
            figures: Figure::ALL.map(|f| mean(&|s| f.of(s))).to_vec(),
            right: mean(&|s| share(s.right_count, s.judged_count)),
            practice_s: mean(&|s| Some(s.practice_s))?,
            notes: mean(&|s| Some(s.note_count as f64))?,
        })
    }
}

fn share(right: u64, judged: u64) -> Option<f64> {
    (judged > 0).then(|| 100.0 * right as f64 / judged as f64)
}

async fn sides(hub: &Hub, viewer: &Viewer, pairs: &Pairs) -> Result<Vec<Side>, HubError> {
    let ids = chosen(pairs);
    if ids.len() > MOST {
        return Err(HubError::bad(format!(
            "{} sessions are too many to compare; name two to {MOST}",
            ids.len()
        )));
    }
    let zone = TimeZone::system();
    let sessions = found(hub, viewer, &ids).await?;
    let mut sides: Vec<Side> = sessions
        .iter()
        .enumerate()
        .map(|(n, s)| {
            Side::of(
                s,
                if sessions.len() == 1 { "This session".into() } else { format!("Session {}", n + 1) },
                &zone,
            )
        })
        .collect();
    if let [only] = sessions.as_slice() {
        let all = hub.store().figures(&viewer.user, None, None).await?;
        let others: Vec<&SessionFigures> = all.iter().filter(|s| s.id != only.id).collect();
        sides.extend(Side::average(&others));
    }
    Ok(sides)
}

async fn api(
    viewer: Viewer,
    State(hub): State<Hub>,
    Query(pairs): Query<Pairs>,
) -> Result<Response, HubError> {
    let sides = sides(&hub, &viewer, &pairs).await?;
    let answer: Vec<_> = sides
        .iter()
        .map(|side| {
            let figures: serde_json::Map<_, _> = Figure::ALL
                .iter()
                .zip(&side.figures)
                .filter_map(|(figure, value)| Some((json!(figure).as_str()?.to_owned(), json!(value))))
                .collect();
            json!({
                "session": side.id, "name": side.name, "said": side.said, "figures": figures,
                "right_percent": side.right, "practice_s": side.practice_s, "note_count": side.notes,
            })
        })
        .collect();
    Ok(Json(json!({ "sides": answer })).into_response())
}

async fn show(
    viewer: Viewer,
    State(hub): State<Hub>,
    Query(pairs): Query<Pairs>,
) -> Result<Response, HubError> {
    let sides = sides(&hub, &viewer, &pairs).await?;
    let heads: Vec<Value> = sides
        .iter()
        .map(|s| context! { name => s.name.clone(), said => s.said.clone(), id => s.id.clone() })
        .collect();
    let mut rows: Vec<Value> = Figure::ALL
        .iter()
        .enumerate()
        .filter(|(n, _)| sides.iter().any(|s| s.figures[*n].is_some()))
        .map(|(n, figure)| {
            let scored = Figure::SCORES.contains(figure);
            let cells: Vec<Value> = sides
                .iter()
                .map(|s| match (scored, s.figures[n]) {
                    (true, score) => score_cell(score),
                    (false, Some(value)) => {
                        context! { text => format!("{value:.1}{}", figure_unit(*figure)) }
                    }
                    (false, None) => context! { text => "–" },
                })
                .collect();
            context! { name => figure_label(*figure), cells }
        })
        .collect();
    let plain = |name: &str, text: &dyn Fn(&Side) -> String| {
        let cells: Vec<Value> = sides.iter().map(|s| context! { text => text(s) }).collect();
        context! { name, cells }
    };
    rows.push(plain("notes right", &|s| s.right.map_or_else(|| "–".into(), |r| format!("{r:.0} %"))));
    rows.push(plain("notes", &|s| format!("{:.0}", s.notes)));
    rows.push(plain("played", &|s| clock(s.practice_s)));
    let scores = Figure::SCORES.len();
    let measured: Vec<usize> =
        (0..scores).filter(|n| sides.iter().any(|s| s.figures[*n].is_some())).collect();
    let chart = (!measured.is_empty()).then(|| {
        let data = Data {
            x_title: "score".into(),
            y_title: "0 to 100".into(),
            x: measured.iter().map(|n| figure_label(Figure::ALL[*n]).to_owned()).collect(),
            series: sides
                .iter()
                .map(|s| Series {
                    name: s.name.clone(),
                    values: measured.iter().map(|n| s.figures[*n]).collect(),
                })
                .collect(),
            range: Some((0.0, 100.0)),
        };
        let said: Vec<String> = sides
            .iter()
            .map(|s| {
                format!(
                    "{}: {}",
                    s.name,
                    s.figures[0].map_or_else(|| "not scored".into(), |o| format!("{o:.0}"))
                )
            })
            .collect();
        Chart::bars("scores", "Scores", &format!("Overall, {}.", said.join("; ")), &data).value()
    });
    page::render(
        &viewer,
        "history",
        "compare.html",
        context! { heads, rows, chart_data => chart, alone => sides.len() == 1 },
    )
}

//! History: what improves, and every session of the player; below it one session in full (`session`), trends
//! (`trends`) and comparison (`compare`).
//!
//! JSON, fields are added, never renamed: `GET /api/sessions` (the table, same parameters as the page), `GET` and
//! `DELETE /api/sessions/{id}`, `GET /api/sessions/{id}/notes`, `GET /api/sessions/{id}/recording` (FLAC, ranges),
//! `GET /api/trends`, `GET /api/compare`. Times are RFC 3339 in UTC, lengths and positions seconds, scores 0 to 100.

mod compare;
mod follow;
mod fretboard;
mod plot;
mod session;
mod sound;
mod trends;
mod words;

use axum::extract::{Form, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use minijinja::{Value, context};
use serde::Deserialize;
use serde_json::json;

use crate::hub::{Hub, HubError, Viewer, page};
use crate::store::{
    self, Figure, PROGRESS_DAYS, Progress, STREAK_DAY_S, SessionBrief, SessionFigures, SessionId,
    SessionQuery, SortBy, Step,
};
use words::{clock, duration_words, encode, score_cell, when};

/// Sessions of one page of the table: what a screen or two hold.
const ROWS: u32 = 25;
/// Most sessions of one answer of the API.
const MOST_ROWS: u32 = 500;
/// Weeks of the small line above the table: half a year.
const SPARK_WEEKS: usize = 26;
/// Days of practice drawn above the table.
const PRACTICE_DAYS: i64 = 14;

/// `/history` and its API.
pub fn routes() -> Router<Hub> {
    Router::new()
        .route("/history", get(show))
        .route("/history/delete", get(confirm).post(delete))
        .route("/api/sessions", get(list))
        .merge(session::routes())
        .merge(trends::routes())
        .merge(compare::routes())
        .merge(sound::routes())
        .route("/history/select", post(select))
}

/// The parameters of the table. Empty ones filter nothing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Filter {
    /// A scale, or `-`: none.
    scale: String,
    mode: String,
    deployment: String,
    /// First day, `2026-11-20`.
    from: String,
    /// Last day.
    until: String,
    /// At least so many notes.
    notes: String,
    /// Words.
    q: String,
    sort: String,
    /// `asc` or `desc`.
    dir: String,
    /// From 1.
    page: String,
    /// Rows of a page, of the API.
    limit: String,
}

impl Filter {
    fn query(&self, user: &str, zone: &TimeZone) -> Result<SessionQuery, HubError> {
        let some = |text: &str| Some(text.trim().to_owned()).filter(|t| !t.is_empty());
        let number = |name: &str, text: &str| {
            some(text)
                .map(|t| {
                    t.parse::<u32>().map_err(|_| HubError::bad(format!("{name}: `{t}` is no whole number")))
                })
                .transpose()
        };
        let sort = some(&self.sort).map_or(Ok(SortBy::default()), |word| {
            serde_json::from_value(json!(word))
                .map_err(|_| HubError::bad(format!("`{word}` is no column of the sessions")))
        })?;
        let limit = number("limit", &self.limit)?.unwrap_or(ROWS).clamp(1, MOST_ROWS);
        let page = number("page", &self.page)?.unwrap_or(1).max(1);
        Ok(SessionQuery {
            user: user.to_owned(),
            scale: some(&self.scale).map(|s| if s == "-" { String::new() } else { s }),
            mode: some(&self.mode),
            deployment: some(&self.deployment),
            from: day(&self.from, zone, false)?,
            until: day(&self.until, zone, true)?,
            least_notes: number("notes", &self.notes)?.map(u64::from),
            text: some(&self.q),
            sort,
            ascending: self.dir == "asc",
            offset: u64::from(page - 1) * u64::from(limit),
            limit,
        })
    }

    /// The form as it was filled in.
    fn value(&self) -> Value {
        let own = self.clone();
        context! {
            scale => own.scale, mode => own.mode, deployment => own.deployment, from => own.from, until => own.until,
            notes => own.notes, q => own.q, sort => own.sort, dir => own.dir,
        }
    }

    fn is_empty(&self) -> bool {
        [&self.scale, &self.mode, &self.deployment, &self.from, &self.until, &self.notes, &self.q]
            .iter()
            .all(|t| t.trim().is_empty())
    }

    /// The address of the table with these parameters changed.
    fn href(&self, changed: &[(&str, &str)]) -> String {
        let own = [
            ("scale", &self.scale),
            ("mode", &self.mode),
            ("deployment", &self.deployment),
            ("from", &self.from),
            ("until", &self.until),
            ("notes", &self.notes),
            ("q", &self.q),
            ("sort", &self.sort),
            ("dir", &self.dir),
            ("page", &self.page),
        ];
        let pairs: Vec<String> = own
            .iter()
            .map(|(name, value)| {
                let new = changed.iter().find(|(key, _)| key == name).map(|(_, value)| *value);
                (*name, new.unwrap_or(value.as_str()))
            })
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name}={}", encode(value)))
            .collect();
        if pairs.is_empty() { "/history".into() } else { format!("/history?{}", pairs.join("&")) }
    }
}

/// The moment a day begins (or, `after`, the next one) on this machine's clock; `None` for an empty text.
fn day(text: &str, zone: &TimeZone, after: bool) -> Result<Option<Timestamp>, HubError> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let unread = || HubError::bad(format!("`{text}` is no day: write it as 2026-11-20"));
    let date: Date = text.parse().map_err(|_| unread())?;
    let date = if after { date.tomorrow().map_err(|_| unread())? } else { date };
    Ok(Some(date.to_zoned(zone.clone()).map_err(|_| unread())?.timestamp()))
}

async fn list(
    viewer: Viewer,
    State(hub): State<Hub>,
    Query(filter): Query<Filter>,
) -> Result<Response, HubError> {
    let query = filter.query(&viewer.user, &TimeZone::system())?;
    let found = hub.store().session_page(&query).await?;
    let answer = json!({
        "sessions": found.sessions, "total": found.total, "offset": query.offset, "limit": query.limit,
    });
    Ok(Json(answer).into_response())
}

/// Columns of the table: what it is sorted by, its head, whether a phone leaves it out.
const COLUMNS: [(SortBy, &str, bool); 11] = [
    (SortBy::Started, "Begun", false),
    (SortBy::Scale, "Scale", false),
    (SortBy::Tempo, "bpm", true),
    (SortBy::Practice, "Played", false),
    (SortBy::Notes, "Notes", true),
    (SortBy::Right, "Right", true),
    (SortBy::Overall, "Overall", false),
    (SortBy::Pitch, "Pitch", true),
    (SortBy::InScale, "In scale", true),
    (SortBy::Timing, "Timing", true),
    (SortBy::Clean, "Clean", true),
];

async fn show(
    viewer: Viewer,
    State(hub): State<Hub>,
    Query(filter): Query<Filter>,
) -> Result<Response, HubError> {
    let zone = TimeZone::system();
    let query = filter.query(&viewer.user, &zone)?;
    let found = hub.store().session_page(&query).await?;
    let choices = hub.store().choices(&viewer.user).await?;
    let figures = hub.store().figures(&viewer.user, None, None).await?;
    let heads: Vec<Value> = COLUMNS
        .iter()
        .map(|(sort, name, wide)| {
            let key = json!(sort);
            let key = key.as_str().unwrap_or_default();
            let sorted = query.sort == *sort;
            // A second click turns the order round; names begin with A, figures with the best.
            let ascending = if sorted { !query.ascending } else { *sort == SortBy::Scale };
            let href =
                filter.href(&[("sort", key), ("dir", if ascending { "asc" } else { "desc" }), ("page", "")]);
            let order = sorted.then_some(if query.ascending { "ascending" } else { "descending" });
            context! { name => *name, href, order, wide => *wide, number => !matches!(sort, SortBy::Started | SortBy::Scale) }
        })
        .collect();
    let last = found.total.div_ceil(u64::from(query.limit)).max(1);
    let number = query.offset / u64::from(query.limit) + 1;
    let link = |to: u64| (to >= 1 && to <= last).then(|| filter.href(&[("page", &to.to_string())]));
    let rows: Vec<Value> = found.sessions.iter().map(|s| row(s, &zone)).collect();
    let values = context! {
        rows,
        heads,
        total => found.total,
        any => !figures.is_empty(),
        filtered => !filter.is_empty(),
        choices => context! {
            scales => choices.scales.clone(), modes => choices.modes.clone(), deployments => choices.deployments.clone(),
        },
        filter => filter.value(),
        page => number,
        pages => last,
        earlier => link(number.wrapping_sub(1)),
        later => link(number + 1),
        ..overview(&figures, &Zoned::now().with_time_zone(zone.clone()), &zone)
    };
    page::render(&viewer, "history", "history.html", values)
}

fn row(s: &SessionBrief, zone: &TimeZone) -> Value {
    let tally = &s.tally;
    context! {
        id => s.id.clone(),
        when => when(s.started_at, zone),
        state => state_words(s),
        scale => s.scale.clone(),
        bpm => tally.bpm.map(|b| format!("{b:.0}")),
        played => clock(tally.practice_s),
        notes => tally.note_count,
        right => (tally.judged_count > 0)
            .then(|| format!("{:.0} %", 100.0 * tally.right_count as f64 / tally.judged_count as f64)),
        overall => score_cell(s.scores.overall),
        pitch => score_cell(s.scores.pitch_accuracy),
        in_scale => score_cell(s.scores.scale_conformity),
        timing => score_cell(s.scores.timing_stability),
        clean => score_cell(s.scores.noise_control),
        recorded => s.recorded,
        planned => s.plan_id.is_some(),
        ai => s.mode == "ai",
        portable => s.deployment == "fretcoach-portable",
    }
}

/// What is unusual about how a session stands.
fn state_words(s: &SessionBrief) -> Option<&'static str> {
    match s.end.as_deref() {
        None if s.running => Some("running"),
        None => Some("left open"),
        Some("interrupted") => Some("interrupted"),
        Some(_) => None,
    }
}

/// Streak, practice time and what improves.
fn overview(figures: &[SessionFigures], now: &Zoned, zone: &TimeZone) -> Value {
    let days = store::practice_days(figures, zone);
    let today = now.date();
    let streak = store::streak(&days, today);
    let last_days: Vec<(Date, f64)> = (0..PRACTICE_DAYS)
        .rev()
        .filter_map(|back| today.checked_sub(jiff::ToSpan::days(back)).ok())
        .map(|date| (date, days.get(&date).copied().unwrap_or(0.0)))
        .collect();
    let week: f64 = last_days.iter().rev().take(7).map(|(_, seconds)| seconds).sum();
    let weeks = store::trend(figures, Step::Week, zone);
    let overall: Vec<(Date, f64)> =
        weeks.iter().filter_map(|w| Some((w.from, w.mean(Figure::Overall)?))).collect();
    let overall = &overall[overall.len().saturating_sub(SPARK_WEEKS)..];
    let changes = store::progress(figures, now.timestamp());
    let (better, worse): (Vec<&Progress>, Vec<&Progress>) =
        changes.iter().filter(|c| changed(c)).partition(|c| improved(c));
    let said = |list: Vec<&Progress>| list.into_iter().map(words::change_words).collect::<Vec<_>>();
    context! {
        streak => streak.days,
        longest => streak.longest,
        today_done => streak.today,
        today => duration_words(days.get(&today).copied().unwrap_or(0.0)),
        week => duration_words(week),
        all => duration_words(days.values().sum()),
        streak_minutes => STREAK_DAY_S / 60.0,
        progress_days => PROGRESS_DAYS,
        better => said(better),
        worse => said(worse),
        compared => !changes.is_empty(),
        spark => plot::spark(overall),
        bars => plot::day_bars(&last_days),
    }
}

/// Smaller changes are no change: scores are shown without decimals, and so are cents and ms.
fn changed(change: &Progress) -> bool {
    (change.now - change.before).abs() >= 1.0 && change.figure != Figure::Tempo
}

fn improved(change: &Progress) -> bool {
    let less_is_better = matches!(change.figure, Figure::MeanAbsCents | Figure::TimingSdMs);
    (change.now > change.before) != less_is_better
}

/// Pairs of a form or a query in which a name may stand several times.
type Pairs = Vec<(String, String)>;

/// Ids of sessions: `sessions=a,b` or `sessions=a&sessions=b`, none twice.
fn chosen(pairs: &Pairs) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    for (_, value) in pairs.iter().filter(|(name, _)| name == "sessions") {
        for id in value.split(',').map(str::trim).filter(|id| !id.is_empty()) {
            if !ids.iter().any(|known| known == id) {
                ids.push(id.to_owned());
            }
        }
    }
    ids
}

/// What to do with the sessions that are ticked in the table.
async fn select(Form(pairs): Form<Pairs>) -> Result<Response, HubError> {
    let ids = chosen(&pairs).iter().map(|id| encode(id)).collect::<Vec<_>>().join(",");
    if ids.is_empty() {
        return Err(HubError::bad("tick at least one session of the table first"));
    }
    let what = pairs.iter().find(|(name, _)| name == "do").map_or("", |(_, value)| value.as_str());
    let to = if what == "compare" { "/history/compare" } else { "/history/delete" };
    Ok(Redirect::to(&format!("{to}?sessions={ids}")).into_response())
}

/// Asks before anything is deleted.
async fn confirm(
    viewer: Viewer,
    State(hub): State<Hub>,
    Query(pairs): Query<Pairs>,
) -> Result<Response, HubError> {
    let sessions = found(&hub, &viewer, &chosen(&pairs)).await?;
    let zone = TimeZone::system();
    let rows: Vec<Value> = sessions.iter().map(|s| row(s, &zone)).collect();
    page::render(&viewer, "history", "history_delete.html", context! { rows })
}

async fn delete(
    viewer: Viewer,
    State(hub): State<Hub>,
    Form(pairs): Form<Pairs>,
) -> Result<Response, HubError> {
    delete_sessions(&hub, &viewer, &chosen(&pairs)).await?;
    Ok(Redirect::to("/history").into_response())
}

/// Deletes sessions of the viewer with everything that belongs to them, recordings too.
async fn delete_sessions(hub: &Hub, viewer: &Viewer, ids: &[String]) -> Result<(), HubError> {
    let sessions = found(hub, viewer, ids).await?;
    if let Some(running) = sessions.iter().find(|s| s.running) {
        let said = format!("the session {} still runs; stop it first", running.id);
        return Err(HubError { status: axum::http::StatusCode::CONFLICT, said });
    }
    for session in &sessions {
        let id: SessionId =
            session.id.parse().map_err(|_| HubError::not_found("there is no such session"))?;
        hub.store().delete_session(&id).await?;
    }
    Ok(())
}

/// The sessions of the viewer by their ids; an error when one is not there.
async fn found(hub: &Hub, viewer: &Viewer, ids: &[String]) -> Result<Vec<SessionBrief>, HubError> {
    if ids.is_empty() {
        return Err(HubError::bad("no session is named; tick some in the history"));
    }
    if ids.len() > MOST_ROWS as usize {
        return Err(HubError::bad(format!(
            "{} sessions at once are too many; name at most {MOST_ROWS}",
            ids.len()
        )));
    }
    let mut named = Vec::with_capacity(ids.len());
    for id in ids {
        named.push(if id == "latest" { newest(hub, viewer).await?.id } else { id.clone() });
    }
    let sessions = hub.store().briefs(&viewer.user, &named).await?;
    match named.iter().find(|id| !sessions.iter().any(|s| s.id == **id)) {
        Some(missing) => {
            Err(HubError::not_found(format!("there is no session `{missing}`; /history lists them")))
        }
        None => Ok(sessions),
    }
}

/// The viewer's newest session.
async fn newest(hub: &Hub, viewer: &Viewer) -> Result<SessionBrief, HubError> {
    let newest = SessionQuery { user: viewer.user.clone(), limit: 1, ..SessionQuery::default() };
    let found = hub.store().session_page(&newest).await?.sessions.pop();
    found.ok_or_else(|| HubError::not_found("there is no session yet; begin one at /"))
}

/// One session of the viewer by its id, or `latest`.
async fn found_one(hub: &Hub, viewer: &Viewer, id: &str) -> Result<SessionBrief, HubError> {
    Ok(found(hub, viewer, &[id.to_owned()]).await?.remove(0))
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;

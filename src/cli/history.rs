//! `fretcoach history`: the sessions of the past, and one of them in full.
//!
//! `--format json` is stable: fields are added, never renamed or removed. Times are RFC 3339 in UTC, lengths and
//! positions are seconds, scores are 0 to 100 and null where not measured.
//!
//! - list: `{"sessions": [SESSION, …]}`, newest first
//! - one: `{"session": SESSION, "summary": …, "windows": […], "advice": […], "notes": […],
//!   "chords": […], "gaps": […]}`
//! - SESSION: `id user deployment mode scale bpm input started_at ended_at end running length_s note_count scores
//!   trace_id`; `end` is `finished`, `interrupted` (the program was killed) or null (it runs, or was killed and the next
//!   `fretcoach practice` will close it: `running` tells which)

use std::fmt::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::db::confirm;
use super::exit::{Exit, Stop};
use super::table::{self, Column};
use super::text::{self, clock};
use crate::config::Config;
use crate::dsp::event::{Attack, Motion, Technique};
use crate::music::chord::chord_name;
use crate::music::note::NoteName;
use crate::music::scale::Scale;
use crate::practice::types::{Facts, JudgedChord, JudgedNote, Metric, Scores, Tendency};
use crate::store::{
    AdviceKind, AdviceRow, EndReason, GapRow, SessionFilter, SessionRow, Store, StoreError, WindowRecord,
};

/// How output is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// What of the history to show.
#[derive(Clone, Debug, clap::Args)]
pub struct HistoryArgs {
    /// session to show in full: its id, the start of the id, or latest; without: the list
    pub session: Option<String>,
    /// Of this player alone; `None`: of all (set by the program from the global `--user`)
    #[arg(skip)]
    pub user: Option<String>,
    /// at most so many sessions
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: u32,
    /// every note with its pitch, its time and what was wrong with it
    #[arg(long)]
    pub notes: bool,
    /// how to print: text, or json for programs
    #[arg(long, value_enum, default_value_t, hide_possible_values = true)]
    pub format: Format,
}

/// Everything that is kept of one session.
#[derive(Clone, Debug)]
pub struct FullSession {
    /// The session.
    pub session: SessionRow,
    /// Its windows.
    pub windows: Vec<WindowRecord>,
    /// What the coach said.
    pub advice: Vec<AdviceRow>,
    /// Its notes.
    pub notes: Vec<JudgedNote>,
    /// Its chords.
    pub chords: Vec<JudgedChord>,
    /// Stretches without input.
    pub gaps: Vec<GapRow>,
}

impl FullSession {
    /// Reads everything of one session.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn read(store: &Store, session: SessionRow) -> Result<Self, StoreError> {
        Ok(Self {
            windows: store.windows(&session.id).await?,
            advice: store.advice(&session.id).await?,
            notes: store.notes(&session.id).await?,
            chords: store.chords(&session.id).await?,
            gaps: store.gaps(&session.id).await?,
            session,
        })
    }
}

/// Deletes a session of the configured player for good: in the shared database, when one is named, and on this machine.
///
/// # Errors
/// A session that is not there, another player's, or being played; a store that cannot be written.
pub async fn delete(config: &Config, name: &str, yes: bool) -> Result<Exit, Stop> {
    let failed = |e: StoreError| {
        let exit = match e {
            StoreError::NotFound { .. } | StoreError::Ambiguous { .. } => Exit::NotFound,
            StoreError::Running { .. } => Exit::Busy,
            _ => Exit::Data,
        };
        Stop::because(exit, &e)
    };
    let mut stores = vec![Store::open_in(&config.data_dir).await.map_err(failed)?];
    if !config.database_url.is_empty() {
        stores.push(Store::connect(config.database_url.reveal()).await.map_err(failed)?);
    }
    let mut found: Option<SessionRow> = None;
    for store in &stores {
        let session = match name {
            "latest" => {
                let filter = SessionFilter { user: Some(config.user.clone()), limit: 1, before: None };
                store.sessions(&filter).await.map_err(failed)?.into_iter().next()
            }
            _ => match store.session(name).await {
                Ok(session) if session.user == config.user => Some(session),
                Ok(_) | Err(StoreError::NotFound { .. }) => None,
                Err(e) => return Err(failed(e)),
            },
        };
        if session.as_ref().map(|s| s.started_at) > found.as_ref().map(|s| s.started_at) {
            found = session;
        }
    }
    let missing = || failed(StoreError::NotFound { what: "session", name: name.to_owned(), list: "history" });
    let session = found.ok_or_else(missing)?;
    let begun = session.started_at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M");
    let question = format!(
        "Delete session {} of {}, begun {begun}, {} notes, for good?",
        session.id.short(),
        session.user,
        session.note_count
    );
    confirm(yes, &question)?;
    for store in &stores {
        match store.delete_session(&session.id).await {
            Ok(()) | Err(StoreError::NotFound { .. }) => {}
            Err(e) => return Err(failed(e)),
        }
        store.close().await;
    }
    super::print(&format!("session {} is deleted\n", session.id.short()))?;
    Ok(Exit::Ok)
}

/// What `fretcoach history` prints, with times as this machine's clock shows them.
///
/// # Errors
/// As [`run_in`].
pub async fn run(store: &Store, args: &HistoryArgs) -> Result<String, StoreError> {
    run_in(store, args, &TimeZone::system()).await
}

/// What `fretcoach history` prints, with times in `zone`.
///
/// # Errors
/// An unknown or ambiguous session; a store that cannot be read.
pub async fn run_in(store: &Store, args: &HistoryArgs, zone: &TimeZone) -> Result<String, StoreError> {
    match &args.session {
        Some(name) => {
            let session = match &args.user {
                // The newest of this player, as the list shows it, not of whoever played last.
                Some(user) if name == "latest" => {
                    let filter = SessionFilter { user: Some(user.clone()), limit: 1, before: None };
                    let newest = store.sessions(&filter).await?.into_iter().next();
                    newest.ok_or(StoreError::NotFound {
                        what: "session",
                        name: name.clone(),
                        list: "history",
                    })?
                }
                _ => store.session(name).await?,
            };
            let full = FullSession::read(store, session).await?;
            Ok(match args.format {
                Format::Text => full_text(&full, args.notes, zone),
                Format::Json => pretty(&full_json(&full)),
            })
        }
        None => {
            let filter = SessionFilter { user: args.user.clone(), limit: args.limit, before: None };
            let sessions = store.sessions(&filter).await?;
            Ok(match args.format {
                Format::Text => list_text(&sessions, args.user.as_deref(), zone),
                Format::Json => {
                    pretty(&json!({ "sessions": sessions.iter().map(session_json).collect::<Vec<_>>() }))
                }
            })
        }
    }
}

/// The list for people, at most 100 columns wide; of one player (`user`) or of all.
#[must_use]
pub fn list_text(sessions: &[SessionRow], user: Option<&str>, zone: &TimeZone) -> String {
    if sessions.is_empty() {
        let of = user.filter(|u| *u != DEFAULT_USER).map_or_else(String::new, |u| format!(" of {u}"));
        return format!(
            "No sessions{of} yet. `fretcoach practice` begins one (without a guitar: `fretcoach practice --input demo`).\n"
        );
    }
    let mut columns = vec![
        Column::left("session"),
        Column::left("begun"),
        Column::right("length"),
        Column::left("scale"),
        Column::right("bpm"),
        Column::right("notes"),
        Column::right("all"),
        Column::right("pitch"),
        Column::right("scale"),
        Column::right("timing"),
        Column::right("clean"),
    ];
    // Whoever lists one player's sessions knows whose they are.
    if user.is_none() {
        columns.push(Column::left("player"));
    }
    let rows: Vec<Vec<String>> = sessions
        .iter()
        .map(|s| {
            let scores = s.summary.as_ref().map(|s| s.scores).unwrap_or_default();
            let mut row = vec![
                s.id.short(),
                local(s.started_at, zone, "%y-%m-%d %H:%M"),
                length_words(s),
                s.scale.as_deref().map_or_else(dash, brief),
                bpm(s).map_or_else(dash, |b| format!("{b:.0}")),
                s.note_count.to_string(),
                score(scores.overall),
                score(scores.pitch_accuracy),
                score(scores.scale_conformity),
                score(scores.timing_stability),
                score(scores.noise_control),
            ];
            if user.is_none() {
                row.push(s.user.clone());
            }
            row
        })
        .collect();
    let mut text = table::render(&columns, &rows);
    text.push('\n');
    if sessions.iter().any(|s| s.end == Some(EndReason::Interrupted)) {
        text.push_str("~ the program was stopped before its end; what was played until then is kept.\n");
    }
    text.push_str("`fretcoach history SESSION` shows one in full, `fretcoach history latest` the newest.\n");
    text
}

/// The player when nobody is named.
const DEFAULT_USER: &str = "default";
/// Longest name of a scale in the list, characters: the table must fit.
const BRIEF: usize = 15;

/// A scale as players write it when they are short of room.
fn brief(scale: &str) -> String {
    let short = scale.replace("pentatonic", "pent.").replace("harmonic", "harm.").replace("melodic", "mel.");
    match short.char_indices().nth(BRIEF) {
        Some(_) => format!("{}…", short.chars().take(BRIEF - 1).collect::<String>().trim_end()),
        None => short,
    }
}

/// Length in the list: `1:02`, `~1:02` of an interrupted session, or what has become of one without an end.
fn length_words(s: &SessionRow) -> String {
    match (s.end, length(s)) {
        (None, _) if s.running => "live".into(),
        (None, _) => "open".into(),
        (Some(EndReason::Interrupted), Some(seconds)) => format!("~{}", clock(seconds)),
        (_, Some(seconds)) => clock(seconds),
        (_, None) => dash(),
    }
}

/// Wrong notes listed unless all notes are asked for.
const WRONG_NOTES: usize = 10;

/// One session for people; `notes`: with a table of every note.
#[must_use]
pub fn full_text(full: &FullSession, notes: bool, zone: &TimeZone) -> String {
    let s = &full.session;
    let mut out = String::new();
    let mut line = |label: &str, value: &str| {
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(out, "{label:<9} {value}");
    };
    line("Session", &s.id.to_string());
    line("Player", &format!("{} ({}, {} mode)", s.user, s.deployment, s.mode));
    let ended = s.ended_at.map_or_else(|| "…".into(), |at| local(at, zone, "%H:%M:%S"));
    line(
        "Time",
        &format!("{} to {ended} ({})", local(s.started_at, zone, "%A %Y-%m-%d %H:%M:%S"), end_word(s)),
    );
    line("Length", &length(s).map_or_else(dash, clock));
    line("Scale", s.scale.as_deref().unwrap_or("none chosen"));
    line("Tempo", &bpm(s).map_or_else(|| "none".into(), |b| format!("{b:.0} bpm")));
    line("Input", &s.input);
    if let Some(trace) = &s.trace_id {
        line("Trace", &format!("{trace} (`fretcoach traces {trace}`)"));
    }
    if s.summary.as_ref().is_some_and(|summary| summary.facts.strokes() == 0) {
        out.push_str("\nNo notes were heard, so there is nothing to score.\n");
    } else if let Some(summary) = &s.summary {
        let _ = writeln!(out, "\nScores\n  {}", scores_line(&summary.scores, "  "));
        if let Some(metric) = summary.strongest {
            let _ = writeln!(out, "  strongest: {}", metric_words(metric));
        }
        if let Some(metric) = summary.weakest {
            let _ = writeln!(out, "  weakest: {}", metric_words(metric));
        }
        facts_text(&mut out, &summary.facts);
    } else {
        out.push_str("\nNo summary: nothing was scored, or the session still runs.\n");
    }
    if !full.notes.is_empty() {
        let _ = writeln!(out, "\nNotes\n  {}", notes_line(&full.notes));
        if let Some(line) = technique_line(&full.notes) {
            let _ = writeln!(out, "  {line}");
        }
        let scale = s.scale.as_deref().and_then(|name| Scale::parse(name).ok());
        if notes {
            out.push_str(&table::indent(&notes_table(&full.notes, scale.as_ref())));
        } else {
            let wrong = text::wrong_notes(&full.notes, scale.as_ref(), WRONG_NOTES, 0);
            if !wrong.is_empty() {
                let _ =
                    writeln!(out, "{wrong}  `fretcoach history {} --notes` shows every note.", s.id.short());
            }
        }
    }
    if !full.chords.is_empty() {
        let _ = writeln!(out, "\nChords\n  {}", chords_line(&full.chords));
    }
    if !full.windows.is_empty() {
        let columns = [
            Column::right("window"),
            Column::left("from – to"),
            Column::right("notes"),
            Column::right("overall"),
            Column::right("pitch"),
            Column::right("scale"),
            Column::right("timing"),
            Column::right("clean"),
            Column::left("weakest"),
        ];
        let rows: Vec<Vec<String>> = full
            .windows
            .iter()
            .map(|w| {
                let (w, s) = (&w.window, &w.window.scores);
                vec![
                    (w.index + 1).to_string(),
                    format!("{} – {}", clock(w.start), clock(w.end)),
                    w.facts.note_count.to_string(),
                    score(s.overall),
                    score(s.pitch_accuracy),
                    score(s.scale_conformity),
                    score(s.timing_stability),
                    score(s.noise_control),
                    w.weakest.map_or_else(dash, |m| metric_words(m).into()),
                ]
            })
            .collect();
        let _ = write!(out, "\nWindows\n{}", table::indent(&table::render(&columns, &rows)));
    }
    if !full.advice.is_empty() {
        out.push_str("\nAdvice\n");
        for a in &full.advice {
            let kind = match a.kind {
                AdviceKind::Live => "",
                AdviceKind::Asked => " asked for",
                AdviceKind::Summary => " summary",
            };
            let heard = match a.spoken {
                Some(true) => ", heard",
                Some(false) => ", not heard to its end",
                None => "",
            };
            let _ = writeln!(out, "  {}{kind} ({}{heard}): {}", clock(a.at_s), a.source, a.text.trim());
        }
    }
    if !full.gaps.is_empty() {
        out.push_str("\nInput lost\n");
        for gap in &full.gaps {
            let _ = writeln!(
                out,
                "  {} – {} ({:.1} s): {}",
                clock(gap.from),
                clock(gap.to),
                gap.to - gap.from,
                gap.cause
            );
        }
    }
    out
}

fn facts_text(out: &mut String, f: &Facts) {
    let mut facts = Vec::new();
    let mut say = |text: Option<String>| facts.extend(text);
    say(f.mean_abs_cents.map(|c| format!("intonation: {c:.1} cents off on average")));
    say(f
        .tuning_offset_cents
        .filter(|c| c.abs() >= 1.0)
        .map(|c| format!("guitar: {:.0} cents {}", c.abs(), if c < 0.0 { "flat" } else { "sharp" })));
    say(f.worst_note.as_ref().map(|(note, cents)| format!("furthest off: {note} ({cents:+.0} cents)")));
    say(f.in_scale_ratio.map(|r| format!("in the scale: {:.0} %", r * 100.0)));
    say(f.coverage.map(|r| format!("of the scale played: {:.0} %", r * 100.0)));
    if !f.wrong_notes.is_empty() {
        let notes: Vec<String> = f.wrong_notes.iter().map(|(n, times)| format!("{n} ×{times}")).collect();
        say(Some(format!("outside the scale: {}", notes.join(", "))));
    }
    say(text::spread(f).map(|spread| format!("timing: spread of {spread}")));
    say(text::click_offset(f));
    say(text::subdivision(f).map(|played| format!("played: {played}")));
    say(f.tendency.map(|t| {
        let word = match t {
            Tendency::Rushing => "rushing",
            Tendency::Dragging => "dragging",
            Tendency::Steady => "steady",
        };
        format!("tendency: {word}")
    }));
    say(f.drift_bpm_per_min.filter(|d| d.abs() >= 0.5).map(|d| format!("tempo drift: {d:+.1} bpm a minute")));
    say(f.noise_db.map(|db| format!("noise: {db:.0} dB against the playing")));
    say(f.noise_cause.map(|_| format!("mostly {}", f.noise_words().join(", also "))));
    for fact in facts {
        let _ = writeln!(out, "  {fact}");
    }
}

/// Every note: when, what, how far off in pitch and time, where in the beat, and what was wrong.
fn notes_table(notes: &[JudgedNote], scale: Option<&Scale>) -> String {
    let columns = [
        Column::right("at"),
        Column::left("note"),
        Column::right("cents"),
        Column::right("ms"),
        Column::left("in the beat"),
        Column::left("verdict"),
    ];
    let name = |midi| text::note_name(scale, midi);
    let rows: Vec<Vec<String>> = notes
        .iter()
        .map(|n| {
            let verdict = match n.reason {
                _ if n.note.gated => "not judged".into(),
                Some(reason) => reason.words(name),
                None if n.right => "right".into(),
                None => dash(),
            };
            vec![
                text::moment(n.note.onset),
                name(n.note.midi),
                format!("{:+.0}", n.note.cents),
                n.deviation_ms.map_or_else(dash, |ms| format!("{ms:+.0}")),
                n.place.map_or_else(dash, place_words),
                verdict,
            ]
        })
        .collect();
    table::render(&columns, &rows)
}

/// `on it`, `1/2`, `2/3`, or the place as a share of the beat where eighths were swung.
fn place_words(place: f64) -> String {
    let named =
        [(0.0, "on it"), (0.25, "1/4"), (1.0 / 3.0, "1/3"), (0.5, "1/2"), (2.0 / 3.0, "2/3"), (0.75, "3/4")];
    let near = named.iter().find(|(at, _)| (at - place).abs() < 0.003);
    near.map_or_else(|| format!("{place:.2} (swung)"), |(_, words)| (*words).to_owned())
}

fn notes_line(notes: &[JudgedNote]) -> String {
    let judged: Vec<&JudgedNote> = notes.iter().filter(|n| !n.note.gated).collect();
    let right = judged.iter().filter(|n| n.right).count();
    let gated = notes.len() - judged.len();
    let mut text = format!("{} judged, {right} right, {} not", judged.len(), judged.len() - right);
    if gated > 0 {
        let _ = write!(text, "; {gated} not judged (the coach spoke, or input was lost)");
    }
    text
}

/// How often each technique was heard, `3 bends, 2 hammer-ons`; `None` when all was plain.
fn technique_line(notes: &[JudgedNote]) -> Option<String> {
    let count = |is: fn(&Technique) -> bool| notes.iter().filter(|n| is(&n.note.technique)).count();
    let counts = [
        ("bends", count(|t| t.motion == Motion::Bend)),
        ("releases", count(|t| t.motion == Motion::Release)),
        ("vibratos", count(|t| t.motion == Motion::Vibrato)),
        ("slides", count(|t| t.motion == Motion::Slide || t.attack == Attack::Slide)),
        ("hammer-ons", count(|t| t.attack == Attack::HammerOn)),
        ("pull-offs", count(|t| t.attack == Attack::PullOff)),
    ];
    let heard: Vec<String> =
        counts.iter().filter(|(_, n)| *n > 0).map(|(name, n)| format!("{name} ×{n}")).collect();
    (!heard.is_empty()).then(|| heard.join(", "))
}

/// Names of the chords with how often, in the order in which they first came.
fn chords_line(chords: &[JudgedChord]) -> String {
    let mut counts: Vec<(String, usize)> = Vec::new();
    for chord in chords.iter().map(|c| &c.chord) {
        let spell = |class| NoteName::of_pitch_class(class, true);
        let name = chord_name(chord.classes.0, chord.bass, spell).unwrap_or_else(|| "other".into());
        match counts.iter_mut().find(|(n, _)| *n == name) {
            Some((_, times)) => *times += 1,
            None => counts.push((name, 1)),
        }
    }
    counts.iter().map(|(name, n)| format!("{name} ×{n}")).collect::<Vec<_>>().join(", ")
}

fn scores_line(s: &Scores, gap: &str) -> String {
    [
        ("overall", s.overall),
        ("pitch", s.pitch_accuracy),
        ("scale", s.scale_conformity),
        ("timing", s.timing_stability),
        ("clean", s.noise_control),
    ]
    .map(|(name, value)| format!("{name} {}", score(value)))
    .join(gap)
}

fn session_json(s: &SessionRow) -> Value {
    json!({
        "id": s.id,
        "user": s.user,
        "deployment": s.deployment,
        "mode": s.mode,
        "scale": s.scale,
        "bpm": bpm(s),
        "input": s.input,
        "started_at": s.started_at.to_string(),
        "ended_at": s.ended_at.map(|at| at.to_string()),
        "end": s.end,
        "running": s.running,
        "length_s": length(s),
        "note_count": s.note_count,
        "scores": s.summary.as_ref().map(|s| s.scores).unwrap_or_default(),
        "trace_id": s.trace_id,
    })
}

fn full_json(full: &FullSession) -> Value {
    let windows: Vec<Value> = full
        .windows
        .iter()
        .map(|w| json!({ "window": w.window, "closed_at": w.closed_at.to_string(), "cost": w.cost }))
        .collect();
    let advice: Vec<Value> = full
        .advice
        .iter()
        .map(|a| {
            json!({
                "id": a.id,
                "kind": a.kind,
                "at": a.at.to_string(),
                "at_s": a.at_s,
                "window": a.window_index,
                "text": a.text,
                "source": a.source,
                "prompt_version": a.prompt_version,
                "spoken": a.spoken,
                "trace_id": a.trace_id,
                "span_id": a.span_id,
            })
        })
        .collect();
    let gaps: Vec<Value> =
        full.gaps.iter().map(|g| json!({ "from_s": g.from, "to_s": g.to, "cause": g.cause })).collect();
    json!({
        "session": session_json(&full.session),
        "summary": full.session.summary,
        "windows": windows,
        "advice": advice,
        "notes": full.notes,
        "chords": full.chords,
        "gaps": gaps,
    })
}

/// JSON as it is printed.
pub(super) fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// A moment in the player's own time.
pub(super) fn local(at: Timestamp, zone: &TimeZone, format: &str) -> String {
    at.to_zoned(zone.clone()).strftime(format).to_string()
}

/// Seconds from the first to the last sample, else from begin to end; `None` while it runs.
fn length(s: &SessionRow) -> Option<f64> {
    let measured = s.summary.as_ref().map(|s| s.duration).filter(|d| *d > 0.0);
    measured.or_else(|| s.ended_at.map(|end| end.duration_since(s.started_at).as_secs_f64()))
}

/// The tempo set, or the one that was heard.
fn bpm(s: &SessionRow) -> Option<f64> {
    s.bpm.or_else(|| s.summary.as_ref()?.facts.bpm)
}

fn score(value: Option<f64>) -> String {
    value.map_or_else(dash, |v| format!("{v:.0}"))
}

fn dash() -> String {
    "–".into()
}

fn end_word(s: &SessionRow) -> &'static str {
    match s.end {
        Some(EndReason::Finished) => "finished",
        Some(EndReason::Interrupted) => "interrupted",
        None if s.running => "running",
        None => "left open",
    }
}

fn metric_words(metric: Metric) -> &'static str {
    match metric {
        Metric::PitchAccuracy => "pitch",
        Metric::ScaleConformity => "scale",
        Metric::TimingStability => "timing",
        Metric::NoiseControl => "clean sound",
    }
}

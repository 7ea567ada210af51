//! Questions that every player asks, answered from fixed queries without a model.

use crate::store::Store;
use crate::store::query::{Limits, QueryError, Rows, standing as queries};

use super::Asked;

/// A question that needs no model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// What to practise next.
    Next,
    /// What improves.
    Progress,
    /// The last session against the average.
    Comparison,
    /// Scales practised.
    Scales,
    /// What is weakest.
    Weakest,
    /// How regularly.
    Streak,
}

/// Days in a row count from today or, while there is no practice yet today, from yesterday.
const MOST_RECENT: i64 = 1;
/// A change of a mean score smaller than this is no change: single sessions differ by more.
const NO_CHANGE: f64 = 2.0;

impl Standing {
    /// All of them, most asked first.
    pub const ALL: [Self; 6] =
        [Self::Next, Self::Progress, Self::Comparison, Self::Scales, Self::Weakest, Self::Streak];

    /// In a player's words; as a question it is recognised.
    #[must_use]
    pub const fn question(self) -> &'static str {
        match self {
            Self::Next => "What should I practise next?",
            Self::Progress => "How am I progressing?",
            Self::Comparison => "Compare my last session with my average",
            Self::Scales => "Which scales have I practised?",
            Self::Weakest => "What is my weakest area?",
            Self::Streak => "How is my practice streak?",
        }
    }

    /// The standing question that a question amounts to.
    #[must_use]
    pub fn of(question: &str) -> Option<Self> {
        let text = question.to_lowercase();
        let has = |words: &[&str]| words.iter().any(|w| text.contains(w));
        if has(&["compar", "versus", " vs ", "than average", "than usual", "my average"]) {
            Some(Self::Comparison)
        } else if has(&[
            "streak",
            "in a row",
            "how often",
            "how regular",
            "how many days",
            "how much do i practi",
            "how much have i practi",
        ]) {
            Some(Self::Streak)
        } else if has(&["weak", "worst", "work on most", "struggl", "problem area"]) {
            Some(Self::Weakest)
        } else if has(&[
            "which scale",
            "what scale",
            "my scales",
            "scales have",
            "scales did",
            "best scale",
            "scales i",
        ]) {
            Some(Self::Scales)
        } else if has(&[
            "practise next",
            "practice next",
            "play next",
            "work on",
            "do next",
            "should i practi",
            "should i play",
            "what next",
            "focus on",
            "practise today",
            "practice today",
        ]) {
            Some(Self::Next)
        } else if has(&["progress", "improv", "getting better", "trend", "am i better", "over time"]) {
            Some(Self::Progress)
        } else {
            None
        }
    }

    /// The answer in Markdown, with the queries it rests on. The last of them is what a chart is made of.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub async fn answer(self, store: &Store, user: &str) -> Result<(String, Vec<Asked>), QueryError> {
        let mut asked = Vec::new();
        let sessions = ask(store, user, queries::SESSIONS, &mut asked).await?;
        if sessions.rows.is_empty() {
            let none = "There is no finished session yet. Play one (`fretcoach practice`, or the *Live* page) and ask again.";
            return Ok((none.to_owned(), asked));
        }
        let text = match self {
            Self::Next => {
                let average = ask(store, user, queries::WEAKEST, &mut asked).await?;
                let notes = ask(store, user, queries::WRONG_NOTES, &mut asked).await?;
                let scales = ask(store, user, queries::SCALES, &mut asked).await?;
                next(&sessions, &average, &notes, &scales)
            }
            Self::Progress => {
                ask(store, user, queries::PROGRESS, &mut asked).await?;
                progress(&sessions)
            }
            Self::Comparison => {
                comparison(&sessions, &ask(store, user, queries::COMPARISON, &mut asked).await?)
            }
            Self::Scales => scales(&ask(store, user, queries::SCALES, &mut asked).await?),
            Self::Weakest => {
                let notes = ask(store, user, queries::WRONG_NOTES, &mut asked).await?;
                weakest(&ask(store, user, queries::WEAKEST, &mut asked).await?, &notes)
            }
            Self::Streak => streak(&ask(store, user, queries::DAYS, &mut asked).await?),
        };
        Ok((text, asked))
    }

    /// True when the last of its queries makes a chart.
    #[must_use]
    pub fn is_charted(self) -> bool {
        matches!(self, Self::Progress | Self::Comparison | Self::Scales | Self::Streak)
    }
}

async fn ask(store: &Store, user: &str, sql: &str, asked: &mut Vec<Asked>) -> Result<Rows, QueryError> {
    let rows = store.ask(user, sql, Limits::default()).await?;
    asked.push(Asked::answered(sql, &rows));
    Ok(rows)
}

/// Columns of scores with what they are called.
const SCORES: [(&str, &str); 4] = [
    ("pitch_score", "pitch"),
    ("timing_score", "timing"),
    ("scale_score", "scale"),
    ("clean_score", "clean sound"),
];

fn at(rows: &Rows, row: usize, column: &str) -> Option<f64> {
    let i = rows.columns.iter().position(|c| c == column)?;
    rows.rows.get(row)?.get(i)?.number()
}

fn text(rows: &Rows, row: usize, column: &str) -> Option<String> {
    let i = rows.columns.iter().position(|c| c == column)?;
    match rows.rows.get(row)?.get(i)? {
        crate::store::query::Cell::Text(text) => Some(text.clone()),
        _ => None,
    }
}

fn mean(rows: &Rows, from: usize, to: usize, column: &str) -> Option<f64> {
    let values: Vec<f64> = (from..to).filter_map(|i| at(rows, i, column)).collect();
    #[allow(clippy::cast_precision_loss, reason = "a handful of sessions")]
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn sessions_word(n: usize) -> String {
    if n == 1 { "session".into() } else { format!("{n} sessions") }
}

/// Name of a score, and its average.
type Named = (&'static str, f64);

/// The weakest and the strongest of the averages.
fn extremes(average: &Rows) -> Option<(Named, Named)> {
    let mut known: Vec<(&str, f64)> =
        SCORES.iter().filter_map(|(column, name)| Some((*name, at(average, 0, column)?))).collect();
    known.sort_by(|a, b| a.1.total_cmp(&b.1));
    Some((*known.first()?, *known.last()?))
}

/// What is behind a weak score, and what the hands can do about it.
fn remedy(area: &str, average: &Rows) -> String {
    match area {
        "pitch" => {
            let cents = at(average, 0, "cents_off")
                .map_or(String::new(), |c| format!("Your notes are {c:.0} cents off on average. "));
            format!(
                "{cents}Press just behind the fret with as little force as the note needs, and let bends reach their note before you move on."
            )
        }
        "timing" => {
            let spread = at(average, 0, "timing_spread_ms")
                .map_or(String::new(), |ms| format!("Your strokes spread {ms:.0} ms about the beat. "));
            format!(
                "{spread}Take the metronome down until it feels too slow, count the subdivisions aloud, then go up in small steps."
            )
        }
        "scale" => {
            "Play the scale slowly up and down in one position, naming the notes, before you improvise in it."
                .into()
        }
        _ => "Rest the unused fingers and the edge of the picking hand on the strings that should be silent."
            .into(),
    }
}

fn wrong_notes(notes: &Rows) -> Option<String> {
    let listed: Vec<String> = (0..notes.rows.len())
        .filter(|&i| at(notes, i, "percent_wrong").is_some_and(|p| p >= 20.0))
        .filter_map(|i| {
            let (note, percent) = (text(notes, i, "note")?, at(notes, i, "percent_wrong")?);
            Some(format!("{note} ({percent:.0} % of {} wrong)", at(notes, i, "played")?))
        })
        .collect();
    (!listed.is_empty()).then(|| format!("Most often wrong: {}.", listed.join(", ")))
}

fn next(sessions: &Rows, average: &Rows, notes: &Rows, scales: &Rows) -> String {
    let Some(((area, score), _)) = extremes(average) else {
        return "Your sessions hold no scores yet: play one with a scale and a tempo.".into();
    };
    let count = at(average, 0, "sessions").unwrap_or(1.0);
    let mut out = vec![format!(
        "Work on **{area}** next: it is your lowest score, {score:.0} of 100 over {}.",
        if count < 1.5 { "your last session".into() } else { format!("your last {count:.0} sessions") }
    )];
    out.push(remedy(area, average));
    out.extend(wrong_notes(notes));
    let last = text(sessions, 0, "scale");
    let rusty = (0..scales.rows.len())
        .filter_map(|i| Some((text(scales, i, "scale")?, at(scales, i, "last_days_ago")?)))
        .filter(|(scale, days)| *days >= 3.0 && last.as_ref() != Some(scale))
        .max_by(|a, b| a.1.total_cmp(&b.1));
    if let Some((scale, days)) = rusty {
        out.push(format!("And come back to **{scale}**: you last played it {days:.0} days ago."));
    } else if let (Some(scale), Some(bpm)) = (last, at(sessions, 0, "bpm").filter(|b| *b > 0.0)) {
        out.push(format!(
            "Stay with {scale}, and begin at {:.0} bpm instead of {bpm:.0}.",
            (bpm * 0.85).round()
        ));
    }
    format!(
        "{}\n\nFor a whole plan with exercises, open [Plan](/plan) or run `fretcoach plan`.",
        out.join(" ")
    )
}

fn progress(sessions: &Rows) -> String {
    let n = sessions.rows.len();
    let half = (n / 2).min(5);
    if half < 2 {
        let overall = at(sessions, 0, "overall_score").unwrap_or_default();
        return format!(
            "Your last session scored **{overall:.0}** of 100. Progress needs at least four sessions to compare; you have {n}."
        );
    }
    let lines: Vec<(&str, f64, f64)> = std::iter::once(&("overall_score", "overall"))
        .chain(&SCORES)
        .filter_map(|(column, name)| {
            Some((*name, mean(sessions, half, 2 * half, column)?, mean(sessions, 0, half, column)?))
        })
        .collect();
    let Some((_, before, now)) = lines.first().copied() else {
        return "Your sessions hold no overall scores yet.".into();
    };
    let word = match now - before {
        d if d >= NO_CHANGE => format!("You are improving: **{now:.0}** of 100 overall, up {d:.0} points"),
        d if d <= -NO_CHANGE => {
            format!("Your overall score went down: **{now:.0}** of 100, {:.0} points lower", -d)
        }
        _ => format!("You are holding your level: **{now:.0}** of 100 overall, as before"),
    };
    let mut out = format!(
        "{word} (your last {} against the {half} before).\n\n| | before | now | change |\n|---|---:|---:|---:|\n",
        sessions_word(half)
    );
    for (name, before, now) in &lines {
        out.push_str(&format!("| {name} | {before:.0} | {now:.0} | {:+.0} |\n", now - before));
    }
    out
}

fn comparison(sessions: &Rows, compared: &Rows) -> String {
    let n = sessions.rows.len();
    let day = text(sessions, 0, "started_at").unwrap_or_default();
    let scale = text(sessions, 0, "scale").map_or(String::new(), |s| format!(", {s}"));
    if n < 2 {
        let overall = at(sessions, 0, "overall_score").unwrap_or_default();
        return format!(
            "Your only session ({day}{scale}) scored **{overall:.0}** of 100; there is nothing yet to compare it with."
        );
    }
    let rows: Vec<(String, f64, f64)> = (0..compared.rows.len())
        .filter_map(|i| {
            Some((
                text(compared, i, "metric")?,
                at(compared, i, "last_score")?,
                at(compared, i, "average_score")?,
            ))
        })
        .collect();
    let mut out = String::new();
    if let Some((_, last, average)) = rows.iter().find(|r| r.0 == "overall") {
        let word = match last - average {
            d if d >= NO_CHANGE => format!("better than usual, by {d:.0} points"),
            d if d <= -NO_CHANGE => format!("weaker than usual, by {:.0} points", -d),
            _ => "about as usual".into(),
        };
        out = format!(
            "Your last session ({day}{scale}) was {word}: **{last:.0}** against an average of {average:.0}."
        );
    }
    let gap = |r: &&(String, f64, f64)| r.1 - r.2;
    let parts: Vec<&(String, f64, f64)> = rows.iter().filter(|r| r.0 != "overall").collect();
    let best =
        parts.iter().copied().max_by(|a, b| gap(a).total_cmp(&gap(b))).filter(|r| r.1 - r.2 >= NO_CHANGE);
    let worst =
        parts.iter().copied().min_by(|a, b| gap(a).total_cmp(&gap(b))).filter(|r| r.2 - r.1 >= NO_CHANGE);
    if let Some((name, last, average)) = best {
        out.push_str(&format!(" The largest gain is in {name} (+{:.0}).", last - average));
    }
    if let Some((name, last, average)) = worst {
        out.push_str(&format!(" Weaker than usual: {name} ({:.0}).", last - average));
    }
    out.push_str(&format!(
        "\n\n| | last session | average of {} before | difference |\n|---|---:|---:|---:|\n",
        if n > 2 { "those".into() } else { "the one".to_owned() }
    ));
    for (name, last, average) in &rows {
        out.push_str(&format!("| {name} | {last:.0} | {average:.0} | {:+.0} |\n", last - average));
    }
    out
}

fn scales(rows: &Rows) -> String {
    if rows.rows.is_empty() {
        return "You have not practised with a scale yet: choose one with `--scale \"A minor pentatonic\"` or on the *Live* page.".into();
    }
    let name = text(rows, 0, "scale").unwrap_or_default();
    let head = match rows.rows.len() {
        1 => format!("You have practised one scale, **{name}**."),
        n => format!("You have practised {n} scales, most of the time **{name}**."),
    };
    let mut out = format!(
        "{head}\n\n| scale | sessions | minutes | average | best | last played |\n|---|---:|---:|---:|---:|---|\n"
    );
    for i in 0..rows.rows.len() {
        let number = |c: &str| at(rows, i, c).map_or("–".to_owned(), |v| format!("{v:.0}"));
        out.push_str(&format!(
            "| {} | {} | {} | {} | {} | {} |\n",
            text(rows, i, "scale").unwrap_or_default().replace('|', "/"),
            number("sessions"),
            at(rows, i, "minutes").map_or("–".into(), |m| if m < 1.0 {
                "under 1".into()
            } else {
                format!("{m:.0}")
            }),
            number("average_score"),
            number("best_score"),
            ago(at(rows, i, "last_days_ago").unwrap_or_default())
        ));
    }
    out
}

fn ago(days: f64) -> String {
    match days {
        d if d < 0.5 => "today".into(),
        d if d < 1.5 => "yesterday".into(),
        d => format!("{d:.0} days ago"),
    }
}

fn weakest(average: &Rows, notes: &Rows) -> String {
    let Some(((area, score), (best, best_score))) = extremes(average) else {
        return "Your sessions hold no scores yet.".into();
    };
    let count = at(average, 0, "sessions").unwrap_or(1.0);
    let over = if count < 1.5 {
        "in your only session".into()
    } else {
        format!("over your last {count:.0} sessions")
    };
    let mut out = format!("Your weakest area is **{area}**: {score:.0} of 100 {over}.");
    if best != area {
        out.push_str(&format!(" Your strongest is {best}, {best_score:.0}."));
    }
    out.push(' ');
    out.push_str(&remedy(area, average));
    if let Some(notes) = wrong_notes(notes) {
        out.push(' ');
        out.push_str(&notes);
    }
    out
}

fn streak(days: &Rows) -> String {
    #[allow(clippy::cast_possible_truncation, reason = "whole days")]
    let ago: Vec<i64> =
        (0..days.rows.len()).filter_map(|i| at(days, i, "days_ago")).map(|d| d as i64).collect();
    let mut current = 0;
    if ago.first().is_some_and(|d| *d <= MOST_RECENT) {
        current = 1 + ago.windows(2).take_while(|w| w[1] == w[0] + 1).count();
    }
    let (mut best, mut run) = (0, 0);
    for (i, day) in ago.iter().enumerate() {
        run = if i > 0 && *day == ago[i - 1] + 1 { run + 1 } else { 1 };
        best = best.max(run);
    }
    let within = |limit: i64| {
        let n = ago.iter().filter(|d| **d < limit).count();
        let minutes: f64 = (0..n).filter_map(|i| at(days, i, "minutes")).sum();
        (n, minutes)
    };
    let ((week, week_minutes), (month, month_minutes)) = (within(7), within(30));
    let day_word = |n: usize| if n == 1 { "1 day".to_owned() } else { format!("{n} days") };
    let first = match (current, ago.first()) {
        (0, Some(days)) => format!("No streak at the moment: you last practised {days} days ago."),
        (1, Some(0)) => "You practised **today**; come back tomorrow and it is a streak.".into(),
        (1, _) => "You practised **yesterday**; play today and it is a streak.".into(),
        (n, Some(0)) => format!("You have practised **{n} days in a row**, today included."),
        (n, _) => format!("You have practised **{n} days in a row** up to yesterday; today keeps it alive."),
    };
    format!(
        "{first} In the last 7 days you played on {} ({}), in the last 30 on {} ({}). Your longest streak is {}.",
        day_word(week),
        minutes(week_minutes),
        day_word(month),
        minutes(month_minutes),
        day_word(best)
    )
}

fn minutes(minutes: f64) -> String {
    if minutes < 1.0 {
        "under a minute".into()
    } else if minutes < 90.0 {
        format!("{minutes:.0} min")
    } else {
        format!("{:.1} h", minutes / 60.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standing_questions_are_known_by_their_words() {
        for standing in Standing::ALL {
            assert_eq!(Standing::of(standing.question()), Some(standing));
        }
        for (question, expected) in [
            ("what should i work on", Some(Standing::Next)),
            ("Am I getting better?", Some(Standing::Progress)),
            ("Was my last session better than average?", Some(Standing::Comparison)),
            ("how many days did I practise this week", Some(Standing::Streak)),
            ("Which scale do I play best?", Some(Standing::Scales)),
            ("how many notes did I play in May", None),
        ] {
            assert_eq!(Standing::of(question), expected, "{question}");
        }
    }
}

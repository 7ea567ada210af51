//! Small drawings that the server makes: a line of scores, bars of days, and the notes of a session over time.

use std::fmt::Write;

use jiff::civil::Date;
use minijinja::{Value, context};

use super::words::{duration_words, moment, note_name};
use crate::music::scale::Scale;
use crate::practice::types::JudgedNote;

/// Size of a small line, in the units of the drawing.
const SPARK: (f64, f64) = (260.0, 48.0);

/// A line of scores without axes; `None` for fewer than two.
pub(super) fn spark(points: &[(Date, f64)]) -> Option<Value> {
    let (first, last) = (points.first()?, points.last()?);
    if points.len() < 2 {
        return None;
    }
    let low = points.iter().map(|p| p.1).fold(f64::INFINITY, f64::min);
    let high = points.iter().map(|p| p.1).fold(f64::NEG_INFINITY, f64::max);
    // A flat line lies in the middle, and a change of a few points is no cliff.
    let span = (high - low).max(10.0);
    let middle = f64::midpoint(high, low);
    let y = |score: f64| SPARK.1 / 2.0 - (score - middle) / span * (SPARK.1 - 8.0);
    let x = |n: usize| 4.0 + n as f64 / (points.len() - 1) as f64 * (SPARK.0 - 8.0);
    let mut path = String::new();
    for (n, (_, score)) in points.iter().enumerate() {
        let _ = write!(path, "{}{:.1} {:.1}", if n == 0 { 'M' } else { 'L' }, x(n), y(*score));
    }
    let said = format!(
        "Overall score by week: {:.0} in the week of {}, {:.0} in the week of {}; lowest {low:.0}, highest {high:.0}.",
        first.1, first.0, last.1, last.0
    );
    let end = (format!("{:.1}", x(points.len() - 1)), format!("{:.1}", y(last.1)));
    Some(context! {
        path, said, end_x => end.0, end_y => end.1, weeks => points.len(), now => format!("{:.0}", last.1),
        width => SPARK.0, height => SPARK.1,
    })
}

/// Bars of the last days' practice.
pub(super) fn day_bars(days: &[(Date, f64)]) -> Value {
    const WIDTH: usize = 18;
    let most = days.iter().map(|d| d.1).fold(0.0, f64::max);
    let bars: Vec<Value> = days
        .iter()
        .enumerate()
        .map(|(n, (date, seconds))| {
            let height = if most > 0.0 {
                (seconds / most * 40.0).max(if *seconds > 0.0 { 2.0 } else { 0.0 })
            } else {
                0.0
            };
            context! {
                x => n * WIDTH + 2,
                y => format!("{:.1}", 44.0 - height),
                height => format!("{height:.1}"),
                said => format!("{}: {}", date.strftime("%a %-d %b"), duration_words(*seconds)),
            }
        })
        .collect();
    let said = format!(
        "Practice of the last {} days, {} of them with playing; longest {}.",
        days.len(),
        days.iter().filter(|d| d.1 > 0.0).count(),
        duration_words(most)
    );
    context! { bars, said, width => days.len() * WIDTH + 4, bar => WIDTH - 4 }
}

/// Units of the drawing for a second and a semitone.
const SECOND: f64 = 16.0;
const SEMITONE: f64 = 9.0;
/// Room for names on the left, and for the time below.
const LEFT: f64 = 8.0;
const BELOW: f64 = 18.0;
/// Notes drawn at once; a page with more would be slow on a phone.
pub(super) const MOST_NOTES: usize = 1500;

/// Notes over time and pitch: right ones filled, wrong ones hollow, those not judged faint. At most [`MOST_NOTES`].
pub(super) fn notes(notes: &[JudgedNote], scale: Option<&Scale>) -> Option<Value> {
    let notes = &notes[..notes.len().min(MOST_NOTES)];
    let from = (notes.first()?.note.onset - 0.5).max(0.0);
    let until = notes.iter().map(|n| n.note.offset).fold(from + 10.0, f64::max) + 0.5;
    let low = notes.iter().map(|n| n.note.midi).min()?.saturating_sub(1);
    let high = notes.iter().map(|n| n.note.midi).max()?.saturating_add(1);
    let x = |seconds: f64| LEFT + (seconds - from) * SECOND;
    let y = |midi: u8| f64::from(high - midi) * SEMITONE;
    let height = f64::from(high - low + 1) * SEMITONE;
    let name = |midi| note_name(scale, midi);
    let rects: Vec<Value> = notes
        .iter()
        .map(|n| {
            let verdict = match n.reason {
                _ if n.note.gated => "not judged".to_owned(),
                Some(reason) => reason.words(name),
                None if n.right => "right".to_owned(),
                None => "not judged".to_owned(),
            };
            context! {
                x => format!("{:.1}", x(n.note.onset)),
                y => y(n.note.midi) + 1.0,
                width => format!("{:.1}", ((n.note.offset - n.note.onset) * SECOND - 1.0).max(3.0)),
                class => class(n),
                at => format!("{:.2}", n.note.onset),
                said => format!("{} {}: {verdict}", moment(n.note.onset), name(n.note.midi)),
            }
        })
        .collect();
    let every = 5.0;
    let ticks: Vec<Value> = std::iter::successors(Some((from / every).ceil() * every), |t| Some(t + every))
        .take_while(|t| *t <= until)
        .map(
            |t| context! { x => format!("{:.1}", x(t)), said => moment(t).trim_end_matches(".0").to_owned() },
        )
        .collect();
    let rows: Vec<Value> = (low..=high)
        .filter(|midi| scale.map_or(midi % 12 == 0, |s| s.contains(*midi)))
        .map(|midi| context! { y => y(midi), root => scale.map_or(0, |s| s.root().pitch_class()) == midi % 12 })
        .collect();
    Some(context! {
        rects, ticks, rows, from, second => SECOND, left => LEFT, note_height => SEMITONE - 2.0, row_height => SEMITONE,
        height => height, width => x(until), total_height => height + BELOW,
        label_y => height + BELOW - 5.0,
    })
}

/// Class of a note in the style sheet.
pub(super) fn class(note: &JudgedNote) -> &'static str {
    if note.note.gated {
        "gated"
    } else if note.right {
        "right"
    } else {
        "wrong"
    }
}

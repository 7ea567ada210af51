//! A window in detail as one wide picture on a common axis of time: the pitch over the notes, early and late, the
//! spectrogram. It scrolls sideways on the page; the labels of the axes stand still beside it.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::chart::num;
use super::spectrogram::{self, COLUMN_SECONDS, ROWS};
use super::take::{Detail, Played, TRACK_SECONDS};
use crate::cli::text::{self, clock};
use crate::dsp::event::ChordEvent;
use crate::music::note::{self, NoteName};
use crate::music::scale::Scale;
use crate::practice::types::{JudgedNote, Reason};

/// Width of a second: at a sixteenth at 120 bpm notes are 7 units apart.
const SECOND: f64 = 60.0;
/// Height of a semitone, and of the whole roll where there are many.
const SEMITONE: f64 = 15.0;
const ROLL: f64 = 420.0;
/// Height of the deviations, and what is drawn at their edge, ms.
const TIMING: f64 = 90.0;
const TIMING_REACH: f64 = 100.0;
/// Between two parts.
const GAP: f64 = 14.0;
/// Labels of the time.
const FOOT: f64 = 18.0;
/// Width of the labels at the left.
const AXIS: f64 = 50.0;
/// The pitch track is broken where it jumps, semitones.
const JUMP: f32 = 1.5;
/// Notes of an empty window, for its axis.
const EMPTY: (u8, u8) = (52, 64);
/// Frequencies named beside the spectrogram, Hz.
const NAMED_HZ: [(f64, &str); 6] =
    [(82.4, "E2"), (164.8, "E3"), (329.6, "E4"), (659.3, "E5"), (1318.5, "E6"), (2637.0, "E7")];

/// How notes are named and judged.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// Scale, for names and shading.
    pub scale: Option<&'a Scale>,
    /// Deviation up to which a note is right, ms.
    pub tolerance_ms: f64,
    /// Whether pitch is judged.
    pub pitch: bool,
}

impl Look<'_> {
    /// `C#4`, spelled by the scale.
    #[must_use]
    pub fn name(&self, midi: u8) -> String {
        match self.scale {
            Some(scale) => format!("{}{}", scale.spell(midi), i32::from(midi) / 12 - 1),
            None => note::midi_name(midi, true),
        }
    }

    /// `C#`, spelled by the scale.
    #[must_use]
    pub fn class(&self, pitch_class: u8) -> String {
        match self.scale {
            Some(scale) => scale.spell(pitch_class).to_string(),
            None => NoteName::of_pitch_class(pitch_class, true).to_string(),
        }
    }

    /// What became of a note, in a word or its reasons.
    #[must_use]
    pub fn verdict(&self, played: &Played) -> String {
        let judged = &played.judged;
        if judged.note.gated {
            return "not judged".into();
        }
        if judged.right {
            return "right".into();
        }
        judged
            .reason
            .map_or_else(|| "wrong".into(), |reason| reason.words(|midi| text::note_name(self.scale, midi)))
    }
}

/// The two pictures of a window.
#[derive(Clone, Debug)]
pub struct Panel {
    /// Labels, to stand still at the left.
    pub axis: String,
    /// The plot, to scroll.
    pub plot: String,
}

/// Where things lie in a window's picture.
struct Frame<'a> {
    detail: &'a Detail,
    look: &'a Look<'a>,
    width: f64,
    lowest: u8,
    highest: u8,
    semitone: f64,
    /// Offset of the whole guitar, semitones.
    offset: f64,
}

impl Frame<'_> {
    fn x(&self, t: f64) -> f64 {
        ((t - self.detail.window.start) * SECOND).clamp(0.0, self.width)
    }

    /// Of a fractional MIDI number, the guitar's offset taken out.
    fn y(&self, midi: f64) -> f64 {
        (f64::from(self.highest) + 0.5 - (midi - self.offset)) * self.semitone
    }

    fn roll(&self) -> f64 {
        f64::from(self.highest - self.lowest + 1) * self.semitone
    }

    fn timing_top(&self) -> f64 {
        self.roll() + GAP
    }

    fn timing_y(&self, ms: f64) -> f64 {
        let share = (ms / TIMING_REACH).clamp(-1.0, 1.0);
        self.timing_top() + TIMING / 2.0 - share * (TIMING / 2.0 - 4.0)
    }

    fn sound_top(&self) -> f64 {
        self.timing_top() + TIMING + GAP
    }

    fn sound_y(&self, hz: f64) -> f64 {
        self.sound_top() + ROWS as f64 - 0.5 - spectrogram::row_of(hz)
    }

    fn height(&self) -> f64 {
        self.sound_top() + ROWS as f64 + FOOT
    }
}

/// Draws a window.
#[must_use]
pub fn panel(detail: &Detail, look: &Look<'_>) -> Panel {
    let midis = || detail.notes.iter().map(|n| n.judged.note.midi);
    let lowest = midis().min().map_or(EMPTY.0, |m| m.saturating_sub(2));
    let highest = midis().max().map_or(EMPTY.1, |m| m.saturating_add(2));
    let rows = f64::from(highest - lowest + 1);
    let frame = Frame {
        detail,
        look,
        width: ((detail.window.end - detail.window.start) * SECOND).max(1.0),
        lowest,
        highest,
        semitone: (ROLL / rows).min(SEMITONE),
        offset: detail.window.facts.tuning_offset_cents.unwrap_or(0.0) / 100.0,
    };
    Panel { axis: axis(&frame), plot: plot(&frame) }
}

fn axis(f: &Frame<'_>) -> String {
    let mut svg = format!(
        r#"<svg class="axis" width="{AXIS}" height="{h}" viewBox="0 0 {AXIS} {h}" aria-hidden="true">"#,
        h = num(f.height())
    );
    let mut label = |y: f64, text: &str, class: &str| {
        let _ = write!(
            svg,
            r#"<text class="l{class}" x="{}" y="{}" text-anchor="end">{text}</text>"#,
            num(AXIS - 5.0),
            num(y + 4.0)
        );
    };
    let crowded = f.semitone < 11.0;
    for midi in f.lowest..=f.highest {
        let inside = f.look.scale.is_some_and(|s| s.contains(midi));
        let shown = if f.look.scale.is_some() { inside } else { !f.look.name(midi).contains('#') };
        if shown && (!crowded || midi % 12 == 0 || midi == f.lowest + 2) {
            label(f.y(f64::from(midi) + f.offset), &f.look.name(midi), "");
        }
    }
    for (ms, text) in [(70.0, "late"), (0.0, "0 ms"), (-70.0, "early")] {
        label(f.timing_y(ms), text, "");
    }
    for (hz, text) in NAMED_HZ {
        label(f.sound_y(hz), text, "");
    }
    svg.push_str("</svg>");
    svg
}

fn plot(f: &Frame<'_>) -> String {
    let window = &f.detail.window;
    let mut svg = format!(
        r#"<svg class="plot" width="{w}" height="{h}" viewBox="0 0 {w} {h}" role="img" aria-label="{} to {}: pitch over the notes, early and late, spectrogram; the table below lists the notes">"#,
        clock(window.start),
        clock(window.end),
        w = num(f.width),
        h = num(f.height())
    );
    background(f, &mut svg);
    for chord in &f.detail.chords {
        strum(f, chord, &mut svg);
    }
    for note in &f.detail.notes {
        bar(f, note, &mut svg);
    }
    track(f, &mut svg);
    for note in &f.detail.notes {
        deviation(f, note, &mut svg);
    }
    sound(f, &mut svg);
    svg.push_str("</svg>");
    svg
}

fn background(f: &Frame<'_>, svg: &mut String) {
    let (w, roll) = (num(f.width), f.roll());
    let mut inside = String::new();
    let mut lines = String::new();
    for midi in f.lowest..=f.highest {
        let y = f.y(f64::from(midi) + f.offset);
        if f.look.scale.is_some_and(|s| s.contains(midi)) {
            let _ = write!(inside, "M0 {}h{w}v{}h-{w}z", num(y - f.semitone / 2.0), num(f.semitone));
        }
        let _ = write!(lines, "M0 {}h{w}", num(y));
    }
    let _ = write!(svg, r#"<path class="in" d="{inside}"/><path class="tone" d="{lines}"/>"#);
    let (top, bottom) = (f.timing_y(f.look.tolerance_ms), f.timing_y(-f.look.tolerance_ms));
    let _ = write!(
        svg,
        r#"<rect class="band" x="0" y="{}" width="{w}" height="{}"/><path class="axis" d="M0 {}h{w}"/>"#,
        num(top),
        num(bottom - top),
        num(f.timing_y(0.0))
    );
    let mut seconds = String::new();
    let mut t = f.detail.window.start.ceil();
    while t < f.detail.window.end {
        let x = f.x(t);
        let _ = write!(seconds, "M{x} 0v{}M{x} {}v{TIMING}", num(roll), num(f.timing_top()), x = num(x));
        if t % 5.0 == 0.0 && f.width - x > 20.0 {
            let anchor = if x < 15.0 { "start" } else { "middle" };
            let _ = write!(
                svg,
                r#"<text class="l" x="{}" y="{}" text-anchor="{anchor}">{}</text>"#,
                num(x),
                num(f.height() - 5.0),
                clock(t)
            );
        }
        t += 1.0;
    }
    let _ = write!(svg, r#"<path class="grid" d="{seconds}"/>"#);
}

fn mistimed(judged: &JudgedNote) -> bool {
    matches!(judged.reason, Some(Reason::Early(_) | Reason::Late(_)))
}

/// Not judged, right, wrong in time alone, wrong note or out of tune.
fn class(note: &Played) -> &'static str {
    let judged = &note.judged;
    let timing_alone = mistimed(judged);
    match (judged.note.gated, judged.right, timing_alone) {
        (true, ..) => "g",
        (false, true, _) => "r",
        (false, false, true) => "t",
        (false, false, false) => "w",
    }
}

/// One note as a bar at the pitch it was judged by.
fn bar(f: &Frame<'_>, played: &Played, svg: &mut String) {
    let note = &played.judged.note;
    let (x, end) = (f.x(note.onset), f.x(note.offset));
    let height = (f.semitone * 0.5).max(4.0);
    let y = f.y(f64::from(note.midi) + f64::from(note.cents) / 100.0) - height / 2.0;
    let time = played.judged.deviation_ms.map_or_else(String::new, |ms| {
        format!(", {:.0} ms {}", ms.abs(), if ms < 0.0 { "early" } else { "late" })
    });
    let _ = write!(
        svg,
        r#"<rect class="n {}" x="{}" y="{}" width="{}" height="{}" rx="2"><title>{} at {:.2} s, {:+.0} cents{time}: {}</title></rect>"#,
        class(played),
        num(x),
        num(y),
        num((end - x).max(2.0)),
        num(height),
        f.look.name(note.midi),
        note.onset,
        played.cents,
        f.look.verdict(played)
    );
}

/// A chord as a block over all notes: what is in it is known, not in which octave.
fn strum(f: &Frame<'_>, chord: &ChordEvent, svg: &mut String) {
    let (x, end) = (f.x(chord.onset), f.x(chord.offset));
    let names: Vec<String> = chord.classes.iter().map(|pc| f.look.class(pc)).collect();
    let _ = write!(
        svg,
        r#"<rect class="n c" x="{}" y="0" width="{}" height="{}" rx="3"><title>chord of {} at {:.2} s</title></rect>"#,
        num(x),
        num((end - x).max(2.0)),
        num(f.roll()),
        names.join(", "),
        chord.onset
    );
}

/// The pitch as it was heard.
fn track(f: &Frame<'_>, svg: &mut String) {
    let mut path = String::new();
    let mut before: Option<(f32, f64)> = None;
    for (i, point) in f.detail.track.iter().enumerate() {
        let visible = point.filter(|m| {
            let shown = f64::from(*m) - f.offset;
            (f64::from(f.lowest) - 0.5..=f64::from(f.highest) + 0.5).contains(&shown)
        });
        let Some(midi) = visible else {
            before = None;
            continue;
        };
        // Rounded before the difference is taken, so that rounding does not add up.
        let y = (f.y(f64::from(midi)) * 10.0).round() / 10.0;
        match before.filter(|(last, _)| (midi - last).abs() < JUMP) {
            Some((_, last)) if num(y - last) == "0" => path.push_str("h1"),
            Some((_, last)) => {
                let _ = write!(path, "l1 {}", num(y - last));
            }
            None => {
                let _ = write!(path, "M{i} {}", num(y));
            }
        }
        before = Some((midi, y));
    }
    let _ = write!(
        svg,
        r#"<path class="track" transform="scale({} 1)" d="{path}"/>"#,
        (TRACK_SECONDS * SECOND * 1e6).round() / 1e6
    );
}

/// How early or late a note came.
fn deviation(f: &Frame<'_>, played: &Played, svg: &mut String) {
    let Some(ms) = played.judged.deviation_ms else { return };
    let late = mistimed(&played.judged);
    let (x, zero, y) = (num(f.x(played.judged.note.onset)), num(f.timing_y(0.0)), num(f.timing_y(ms)));
    let _ = write!(svg, r#"<path class="d {}" d="M{x} {zero}V{y}h0"/>"#, if late { "w" } else { "r" });
}

/// Spectrogram with onsets and notes.
fn sound(f: &Frame<'_>, svg: &mut String) {
    let (top, rows) = (num(f.sound_top()), ROWS);
    let _ = write!(svg, r#"<rect class="paper" x="0" y="{top}" width="{}" height="{rows}"/>"#, num(f.width));
    if let Some(png) = spectrogram::png(&f.detail.columns) {
        let x = (f.detail.first_column - COLUMN_SECONDS / 2.0 - f.detail.window.start) * SECOND;
        let _ = write!(
            svg,
            r#"<image x="{}" y="{top}" width="{}" height="{rows}" preserveAspectRatio="none" href="data:image/png;base64,{}"/>"#,
            num(x),
            num(f.detail.columns.len() as f64 * COLUMN_SECONDS * SECOND),
            STANDARD.encode(png)
        );
    }
    let (mut onsets, mut tones) = (String::new(), String::new());
    for chord in &f.detail.chords {
        let _ = write!(onsets, "M{} {top}v10", num(f.x(chord.onset)));
    }
    for note in f.detail.notes.iter().map(|n| &n.judged.note) {
        let x = f.x(note.onset);
        let _ = write!(onsets, "M{} {top}v10", num(x));
        let y = f.sound_y(f64::from(note.f0));
        if y.is_finite() && y > f.sound_top() && y < f.sound_top() + ROWS as f64 {
            let _ = write!(tones, "M{} {}H{}", num(x), num(y), num(f.x(note.offset)));
        }
    }
    let _ = write!(svg, r#"<path class="tones" d="{tones}"/><path class="onset" d="{onsets}"/>"#);
}

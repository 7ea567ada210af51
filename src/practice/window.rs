//! Judging a stretch of notes: scores, what they rest on, and a verdict for each note.

use crate::dsp::event::{ChordEvent, NoteEvent};
use crate::music::note::{NoteName, OCTAVE};
use crate::music::scale::Scale;

use super::noise::NoiseSums;
use super::score;
use super::settings::Settings;
use super::spread::median;
use super::timing::{self, Placed, Pulse};
use super::types::{Facts, JudgedChord, JudgedNote, Metric, NoiseCause, Reason, Scores};

/// Fewest notes from which the offset of the whole guitar is told: one note may just be out of tune.
pub(super) const FEWEST_FOR_OFFSET: usize = 5;
/// From this offset on, cents, a note may have been heard as its neighbour; below, the note stays what it was
/// heard as.
const RENAMING_OFFSET: f64 = 10.0;
/// A pitch class is called the worst when it was played this often and is off by more than full marks allow.
const WORST_NOTE_TIMES: usize = 2;

/// What a stretch of playing came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Judgement {
    pub(super) scores: Scores,
    pub(super) facts: Facts,
    pub(super) notes: Vec<JudgedNote>,
    pub(super) chords: Vec<JudgedChord>,
}

/// Circumstances of a stretch that lie outside its notes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around<'a> {
    /// Offset of the whole guitar, cents.
    pub(super) offset: Option<f64>,
    pub(super) noise: &'a NoiseSums,
    /// Chords among the notes.
    pub(super) chords: &'a [ChordEvent],
    /// What the notes are to be in time with.
    pub(super) pulse: &'a Pulse,
    /// Times at which input was lost.
    pub(super) breaks: &'a [f64],
    /// A whole session: coverage may count.
    pub(super) session: bool,
}

/// True for a note that is judged: heard well enough, not covered by the coach, its numbers in order.
pub(super) fn judged(note: &NoteEvent, settings: &Settings) -> bool {
    !note.gated && countable(note, settings)
}

/// True for a note loud enough to count, with numbers that mean something.
pub(super) fn countable(note: &NoteEvent, settings: &Settings) -> bool {
    note.cents.is_finite()
        && note.onset.is_finite()
        && f64::from(note.level_db) >= score::softest_db(settings.sensitivity)
}

/// True for a chord that is judged.
fn judged_chord(chord: &ChordEvent, settings: &Settings) -> bool {
    !chord.gated
        && chord.onset.is_finite()
        && f64::from(chord.level_db) >= score::softest_db(settings.sensitivity)
}

/// Offset of the whole guitar from the deviations of its notes (cents, each -50..=50): their median on the circle
/// of 100 cents, so that a guitar near a quarter tone off is found too. `None` with too few notes.
pub(super) fn tuning_offset(cents: &[f64]) -> Option<f64> {
    if cents.len() < FEWEST_FOR_OFFSET {
        return None;
    }
    let (mut re, mut im) = (0.0, 0.0);
    for c in cents {
        let (s, k) = (std::f64::consts::TAU * c / 100.0).sin_cos();
        re += k;
        im += s;
    }
    let centre = im.atan2(re) / std::f64::consts::TAU * 100.0;
    let mut around: Vec<f64> = cents.iter().map(|c| wrap(c - centre)).collect();
    Some(wrap(centre + median(&mut around)))
}

/// Into -50..=50 cents.
fn wrap(cents: f64) -> f64 {
    cents - 100.0 * (cents / 100.0).round()
}

/// The note meant and its deviation in cents, the offset of the whole guitar taken out.
fn intended(note: &NoteEvent, offset: Option<f64>) -> (u8, f64) {
    let offset = offset.unwrap_or(0.0);
    let cents = f64::from(note.cents) - offset;
    if offset.abs() < RENAMING_OFFSET {
        return (note.midi, cents.clamp(-50.0, 50.0));
    }
    let steps = (cents / 100.0).round();
    ((f64::from(note.midi) + steps).clamp(0.0, 127.0) as u8, cents - 100.0 * steps)
}

/// Judges notes (of which [`countable`] holds, or which are gated) together with what surrounds them.
pub(super) fn judge(settings: &Settings, notes: &[NoteEvent], around: Around<'_>) -> Judgement {
    let usable: Vec<&NoteEvent> = notes.iter().filter(|n| judged(n, settings)).collect();
    let chords: Vec<&ChordEvent> = around.chords.iter().filter(|c| judged_chord(c, settings)).collect();
    let mut facts = Facts {
        note_count: usable.len(),
        chord_count: chords.len(),
        gated_count: notes.iter().filter(|n| n.gated).count(),
        bpm: settings.tempo().map(|t| t.bpm()),
        ..Facts::default()
    };
    let mut scores = Scores::default();
    if usable.is_empty() && chords.is_empty() {
        let notes = notes.iter().map(|n| unjudged(*n)).collect();
        let chords = around.chords.iter().map(|c| unjudged_chord(*c)).collect();
        return Judgement { scores, facts, notes, chords };
    }
    let strictness = settings.strictness;
    let pitch = settings.enabled(Metric::PitchAccuracy);
    let offset = around.offset.filter(|_| pitch);
    // The scale needs the offset to know which note was meant, also where pitch itself is not judged.
    let meant: Vec<(u8, f64)> = usable.iter().map(|n| intended(n, around.offset)).collect();

    if pitch && !meant.is_empty() {
        let count = meant.len() as f64;
        let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / count;
        scores.pitch_accuracy =
            Some(mean(&mut meant.iter().map(|(_, cents)| score::pitch_marks(*cents, strictness))));
        facts.mean_abs_cents = Some(mean(&mut meant.iter().map(|(_, cents)| cents.abs())));
        facts.mean_signed_cents = Some(mean(&mut usable.iter().map(|n| f64::from(n.cents))));
        facts.tuning_offset_cents = offset;
        facts.worst_note = worst_note(&meant, settings);
    }
    let scale = settings.scale.filter(|_| settings.enabled(Metric::ScaleConformity));
    if let Some(scale) = scale.filter(|_| !meant.is_empty()) {
        let mut played = [false; OCTAVE as usize];
        let mut wrong = [0usize; OCTAVE as usize];
        for (midi, _) in &meant {
            let pc = usize::from(midi % OCTAVE);
            if scale.contains(*midi) { played[pc] = true } else { wrong[pc] += 1 }
        }
        let ratio = 1.0 - wrong.iter().sum::<usize>() as f64 / meant.len() as f64;
        let coverage = played.iter().filter(|p| **p).count() as f64 / scale.degrees().len() as f64;
        let asked = around.session && settings.whole_scale;
        scores.scale_conformity = Some(score::scale_score(ratio, asked.then_some(coverage)));
        facts.in_scale_ratio = Some(ratio);
        facts.coverage = Some(coverage);
        facts.wrong_notes = (0..OCTAVE)
            .filter(|pc| wrong[usize::from(*pc)] > 0)
            .map(|pc| (scale.spell(pc).to_string(), wrong[usize::from(pc)]))
            .collect();
        facts.wrong_notes.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
    }
    let within = |c: &ChordEvent| scale.map(|s| c.classes.iter().all(|class| s.contains(class)));
    if scale.is_some() && !chords.is_empty() {
        let inside = chords.iter().filter(|c| within(c) == Some(true)).count();
        facts.chords_in_scale = Some(inside as f64 / chords.len() as f64);
    }
    // Strokes in order of time, whatever was struck: first the notes' numbers, then the chords'.
    let mut strokes: Vec<(f64, usize)> =
        usable.iter().map(|n| n.onset).chain(chords.iter().map(|c| c.onset)).zip(0..).collect();
    strokes.sort_by(|a, b| a.0.total_cmp(&b.0));
    let timing = settings
        .enabled(Metric::TimingStability)
        .then(|| {
            let onsets: Vec<f64> = strokes.iter().map(|s| s.0).collect();
            timing::analyse(&onsets, around.pulse, around.breaks)
        })
        .flatten();
    if let Some(timing) = &timing {
        // Too few notes make no figure, and no score.
        if timing.has_figure() {
            scores.timing_stability = Some(score::timing_score(timing.sd_ms, timing.gap_ms, strictness));
            facts.timing_sd_ms = Some(timing.sd_ms);
        }
        facts.timing_sd_interval_ms = timing.interval_ms;
        facts.timing_notes = timing.counted;
        facts.click_offset_ms = timing.click_offset_ms;
        facts.subdivision = Some(timing.subdivision());
        facts.swing_ratio = timing.swing;
        facts.tendency = timing.tendency;
        facts.drift_bpm_per_min = timing.drift;
        facts.bpm = Some(timing.bpm);
    }
    add_noise(settings, around.noise, &mut scores, &mut facts);

    let mut placed_strokes: Vec<Option<Placed>> = vec![None; strokes.len()];
    if let Some(timing) = &timing {
        for (&(_, stroke), placed) in strokes.iter().zip(&timing.notes) {
            placed_strokes[stroke] = *placed;
        }
    }
    let mut index = usable.len();
    let chords = around
        .chords
        .iter()
        .map(|chord| {
            if !judged_chord(chord, settings) {
                return unjudged_chord(*chord);
            }
            let placed = placed_strokes[index];
            index += 1;
            JudgedChord {
                chord: *chord,
                in_scale: within(chord),
                deviation_ms: placed.map(|p| p.deviation_ms),
            }
        })
        .collect();
    let mut index = 0;
    let notes = notes
        .iter()
        .map(|note| {
            if !judged(note, settings) {
                return unjudged(*note);
            }
            let (midi, cents) = meant[index];
            let placed = placed_strokes[index];
            index += 1;
            let in_scale = scale.map(|s| s.contains(midi));
            let outside = scale.filter(|s| !s.contains(midi)).map(|s| nearest_in(&s, midi, cents));
            let reason = reason(outside, pitch.then_some(cents), placed, strictness);
            JudgedNote {
                note: *note,
                in_scale,
                deviation_ms: placed.map(|p| p.deviation_ms),
                place: placed.map(|p| p.place),
                right: reason.is_none(),
                reason,
            }
        })
        .collect();
    Judgement { scores, facts, notes, chords }
}

/// Noise score, its facts, and the overall that follows. Apart from the rest because frames come between notes too.
pub(super) fn add_noise(settings: &Settings, noise: &NoiseSums, scores: &mut Scores, facts: &mut Facts) {
    if settings.enabled(Metric::NoiseControl) && facts.strokes() > 0 {
        facts.noise_db = noise.ratio_db();
        facts.noise_causes = noise.causes();
        facts.noise_cause = facts.noise_causes.first().map(|c| c.0);
        facts.mains_hz =
            facts.noise_causes.iter().any(|c| c.0 == NoiseCause::Hum).then(|| noise.mains_hz()).flatten();
        scores.noise_control = facts.noise_db.map(|db| score::noise_score(db, settings.strictness));
    }
    scores.overall = score::overall(scores, settings.strictness);
}

fn unjudged_chord(chord: ChordEvent) -> JudgedChord {
    JudgedChord { chord, in_scale: None, deviation_ms: None }
}

fn unjudged(note: NoteEvent) -> JudgedNote {
    JudgedNote { note, in_scale: None, deviation_ms: None, place: None, right: false, reason: None }
}

/// Why a note is wrong: `outside` is the nearest note of the scale when it is none itself.
fn reason(
    outside: Option<u8>,
    cents: Option<f64>,
    placed: Option<Placed>,
    strictness: f64,
) -> Option<Reason> {
    if let Some(nearest) = outside {
        return Some(Reason::NotInScale(nearest));
    }
    let off = cents.map(|c| {
        let reason = if c > 0.0 { Reason::Sharp(c) } else { Reason::Flat(-c) };
        (c.abs() / score::right_cents(strictness), reason)
    });
    let late = placed.map(|p| {
        let ms = p.deviation_ms;
        let reason = if ms > 0.0 { Reason::Late(ms) } else { Reason::Early(-ms) };
        (ms.abs() / score::right_ms(strictness, p.gap_ms), reason)
    });
    let worse = |a: &(f64, Reason), b: &(f64, Reason)| a.0.total_cmp(&b.0);
    off.into_iter().chain(late).max_by(worse).filter(|w| w.0 > 1.0).map(|w| w.1)
}

/// The note of the scale nearest to a pitch; of two as near, the one to whose side it is off, else the lower.
fn nearest_in(scale: &Scale, midi: u8, cents: f64) -> u8 {
    let pitch = 100.0 * f64::from(midi) + cents;
    let near =
        (midi.saturating_sub(OCTAVE)..=midi.saturating_add(OCTAVE).min(127)).filter(|m| scale.contains(*m));
    near.min_by(|a, b| {
        let away = |m: &u8| (100.0 * f64::from(*m) - pitch).abs();
        away(a).total_cmp(&away(b))
    })
    .unwrap_or(midi)
}

fn worst_note(meant: &[(u8, f64)], settings: &Settings) -> Option<(String, f64)> {
    let mut by_class = [(0usize, 0.0f64, 0.0f64); OCTAVE as usize];
    for (midi, cents) in meant {
        let entry = &mut by_class[usize::from(midi % OCTAVE)];
        *entry = (entry.0 + 1, entry.1 + cents.abs(), entry.2 + cents);
    }
    let (pc, (times, _, signed)) = by_class
        .iter()
        .enumerate()
        .filter(|(_, (times, off, _))| {
            *times >= WORST_NOTE_TIMES && off / *times as f64 > score::FULL_MARKS_CENTS
        })
        .max_by(|a, b| (a.1.1 / a.1.0 as f64).total_cmp(&(b.1.1 / b.1.0 as f64)))?;
    let name = settings.scale.map_or_else(|| NoteName::of_pitch_class(pc as u8, true), |s| s.spell(pc as u8));
    Some((name.to_string(), signed / *times as f64))
}

//! Strings that ring on: lines in the spectrum that were there before the latest stroke and belong to no note that is
//! being played.
use super::ANALYSIS_RATE;
use super::fine::{BIN_HZ, BINS, LINE_SHARE, WINDOW, offset};
use super::hum::{Room, on_mains};

const MS: u64 = ANALYSIS_RATE as u64 / 1000;
/// Lines that are followed at once.
const LINES: usize = 24;
/// Band that is looked at, bins (60 Hz to 1 kHz).
const FROM: usize = 12;
/// A line stands when it is so much stronger than what lies three and four bins beside it …
const STANDS: f32 = 12.0;
/// … than the strongest of its spectrum, less this …
const WEAKEST: f32 = 1e-4;
/// … and than the same bin in the softest moments.
const OVER_ROOM: f32 = 4.0;
/// From one spectrum to the next a line moves no further than this, Hz.
const STILL_HZ: f32 = 2.5;
/// What a note explains: its multiples to within this, in Hz and as a share (stiff strings are sharp up there) …
const NEAR_HZ: f32 = 6.0;
const NEAR: f32 = 0.012;
/// … as long as its window holds any of it, and a little of its dying away.
const DYING: u64 = 100 * MS;
/// Part of the window that must lie after the latest stroke.
const INTO_NOTE: u64 = 90 * MS;
/// Spectra that a line must have been seen in.
const AGE: u32 = 3;

/// A note, by samples on the analyser's counter.
#[derive(Clone, Copy, Default)]
pub(crate) struct Played {
    pub(crate) onset: u64,
    /// End so far.
    pub(crate) end: u64,
    pub(crate) hz: f32,
}

#[derive(Clone, Copy, Default)]
struct Line {
    hz: f32,
    power: f32,
    /// End of the window in which it was first seen.
    born: u64,
    seen: u32,
    /// Seen in the newest spectrum.
    now: bool,
}

/// See the module.
pub(crate) struct RingsOn {
    lines: [Line; LINES],
}

impl RingsOn {
    pub(crate) fn new() -> Self {
        Self { lines: [Line::default(); LINES] }
    }

    pub(crate) fn reset(&mut self) {
        self.lines = [Line::default(); LINES];
    }

    /// Takes in the spectrum of the window that ends at `end` and gives the mean square of the lines that ring on.
    /// `notes`: those played last, newest last.
    pub(crate) fn push(&mut self, power: &[f32; BINS], end: u64, notes: &[Played], room: &Room) -> f32 {
        for line in &mut self.lines {
            line.now = false;
        }
        let strongest = power[FROM..].iter().fold(0.0f32, |m, p| m.max(*p));
        for bin in FROM..BINS - 4 {
            let p = power[bin];
            let around = 0.25 * (power[bin - 4] + power[bin - 3] + power[bin + 3] + power[bin + 4]);
            if p > power[bin - 1]
                && p >= power[bin + 1]
                && p > STANDS * around
                && p > WEAKEST * strongest
                && p > OVER_ROOM * room.at(bin)
            {
                self.see((bin as f32 + offset(power, bin)) * BIN_HZ, p / LINE_SHARE, end);
            }
        }
        for line in &mut self.lines {
            if !line.now {
                *line = Line::default();
            }
        }
        let stroke = notes.iter().map(|n| n.onset).filter(|o| *o < end).max().unwrap_or(0);
        if end - stroke.min(end) < INTO_NOTE {
            return 0.0;
        }
        let begins = end.saturating_sub(WINDOW);
        let explained = |hz: f32| {
            notes.iter().any(|n| {
                let k = (hz / n.hz.max(20.0)).round();
                n.onset < end
                    && n.end + DYING > begins
                    && k >= 1.0
                    && (hz - k * n.hz).abs() < NEAR_HZ.max(NEAR * hz)
            })
        };
        let rings = |l: &&Line| l.seen >= AGE && l.born <= stroke && !on_mains(l.hz) && !explained(l.hz);
        self.lines.iter().filter(rings).map(|l| l.power).sum()
    }

    fn see(&mut self, hz: f32, power: f32, end: u64) {
        let known = self.lines.iter_mut().find(|l| l.seen > 0 && !l.now && (l.hz - hz).abs() < STILL_HZ);
        if let Some(line) = known {
            *line = Line { hz, power, born: line.born, seen: line.seen + 1, now: true };
        } else if let Some(free) = self.lines.iter_mut().find(|l| l.seen == 0) {
            *free = Line { hz, power, born: end, seen: 1, now: true };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsp::fine::tests::{sine, spectra};

    const NOTES_HZ: [f32; 4] = [146.8, 196.0, 174.6, 130.8];
    const LENGTH: f32 = 0.3;

    /// A decaying string.
    fn string(hz: f32, amplitude: f32, t: f32) -> f32 {
        let partials = (1..6).map(|k| sine(k as f32 * hz, amplitude / k as f32, t)).sum::<f32>();
        if t < 0.0 { 0.0 } else { partials * (-1.5 * t).exp() }
    }

    /// Mean of what rings on in 3 s of damped notes, with another string struck or plucked at `from`.
    fn heard(hz: f32, amplitude: f32, from: f32) -> f32 {
        let (mut ringing, room) = (RingsOn::new(), Room::new());
        let note = |i: usize| NOTES_HZ[i % NOTES_HZ.len()];
        let sample = |t: f32| (t * ANALYSIS_RATE as f32) as u64;
        let played = |t: f32| {
            let i = (t / LENGTH) as usize;
            let age = t - i as f32 * LENGTH;
            let before =
                if i > 0 { string(note(i - 1), 0.2, age + LENGTH) * (-age / 0.008).exp() } else { 0.0 };
            before + string(note(i), 0.2, age)
        };
        let (mut sum, mut count) = (0.0, 0);
        spectra(
            3.0,
            |t| played(t) + string(hz, amplitude, t - from),
            |power, end| {
                let now = end as f32 / ANALYSIS_RATE as f32;
                let notes: Vec<Played> = (0..(now / LENGTH) as usize + 1)
                    .map(|i| Played {
                        onset: sample(i as f32 * LENGTH).max(1),
                        end: sample((i + 1) as f32 * LENGTH).min(end),
                        hz: note(i),
                    })
                    .collect();
                sum += ringing.push(power, end, &notes, &room);
                count += 1;
            },
        );
        sum / count as f32
    }

    #[test]
    fn a_string_that_rings_under_other_notes_is_heard_and_damped_notes_are_not() {
        assert_eq!(heard(110.0, 0.0, 0.0), 0.0);
        for hz in [82.4, 110.0, 246.9] {
            // On average a sixth of the power at its stroke.
            let (full, found) = (0.1 * 0.1 / 2.0 / 6.0, heard(hz, 0.1, 0.3));
            assert!((0.15 * full..2.0 * full).contains(&found), "{hz}: {found} of {full}");
        }
    }

    #[test]
    fn strings_struck_together_are_a_chord_until_the_next_stroke() {
        // Nothing is struck after this one.
        assert_eq!(heard(110.0, 0.1, 2.7), 0.0);
    }
}

//! What is always there: mains hum, and the floor of hiss.
//!
//! The softest moments of the last seconds (rests, the ends of notes) show what sounds apart from the playing. Their
//! spectra are averaged in decibels, so that a string that was still heard in one of them weighs little. Hum is a row of
//! lines in it that stand exactly on multiples of 50 or of 60 Hz; what lies between all lines is hiss.
use super::db;
use super::fine::{BIN_HZ, BINS, LINE_SHARE};
use super::residual::{HIGH_HZ, MIDDLE_HZ};

/// Spectra among which the softest are sought (8 s).
const PAST: usize = 96;
/// The share of them that counts as soft, and how far above their limit a spectrum still does, dB.
const SOFT_SHARE: f32 = 0.15;
const SOFT_DB: f32 = 1.0;
/// Share of the newest soft spectrum in the average.
const NEWEST: f32 = 0.12;
/// Soft spectra before anything is said.
const FEWEST: u32 = 4;
/// Mains frequencies, Hz, and how many multiples are looked at.
const MAINS_HZ: [u8; 2] = [50, 60];
const MULTIPLES: usize = 16;
/// A line stands when it lies so far above its surroundings, dB …
const STANDS_DB: f32 = 9.0;
/// … and no further than this from its place, bins (1.25 Hz): the mains keep within 0.2 Hz, 10 times that at its tenth
/// multiple on a bad day, while the open G (98 Hz) lies 2 Hz from 100.
const PLACE: f32 = 0.25;
/// So many lines make a hum: two may be a string's.
const LINES: usize = 3;
/// Where hiss is looked for, bins (300 Hz to 1 kHz), in pieces of 50 Hz.
const HISS_BINS: (usize, usize) = (60, 200);
const PIECE: usize = 10;
/// Most power of hiss above [`HIGH_HZ`] against below: four times what white noise has.
const RISES: f32 = 4.0 * (4500.0 - HIGH_HZ) / (HIGH_HZ - MIDDLE_HZ);
/// Silence: digital, or the last bit's.
const SILENCE_DB: f32 = -200.0;
/// A mean of decibels of noise lies this much below the decibels of its mean.
const LOG_BIAS_DB: f32 = 2.5;

/// See the module.
pub(crate) struct Room {
    past: [f32; PAST],
    seen: usize,
    soft: u32,
    average_db: [f32; BINS],
    hum: f32,
    mains: u8,
    density: f32,
}

impl Room {
    pub(crate) fn new() -> Self {
        Self {
            past: [0.0; PAST],
            seen: 0,
            soft: 0,
            average_db: [SILENCE_DB; BINS],
            hum: 0.0,
            mains: 0,
            density: 0.0,
        }
    }

    /// Takes in a spectrum.
    pub(crate) fn push(&mut self, power: &[f32; BINS]) {
        let level = db(power[4..].iter().sum());
        self.past[self.seen % PAST] = level;
        self.seen += 1;
        let mut sorted = self.past;
        let sorted = &mut sorted[..self.seen.min(PAST)];
        let rank = (SOFT_SHARE * sorted.len() as f32) as usize;
        let (_, limit, _) = sorted.select_nth_unstable_by(rank, f32::total_cmp);
        if level > *limit + SOFT_DB {
            return;
        }
        self.soft = self.soft.saturating_add(1);
        let share = NEWEST.max(1.0 / self.soft as f32);
        for (a, p) in self.average_db.iter_mut().zip(power) {
            *a += share * (decibels(*p) - *a);
        }
        if self.soft >= FEWEST {
            self.look();
        }
    }

    fn look(&mut self) {
        let a = &self.average_db;
        self.hum = 0.0;
        self.mains = 0;
        let mut most = LINES - 1;
        for mains in MAINS_HZ {
            let step = usize::from(mains) / BIN_HZ as usize;
            let (mut lines, mut sum) = (0, 0.0);
            for bin in (1..=MULTIPLES).map(|m| m * step).take_while(|b| b + 4 < BINS) {
                let around = 0.25 * (a[bin - 4] + a[bin - 3] + a[bin + 3] + a[bin + 4]);
                let placed = a[bin - 1].max(a[bin + 1]) < a[bin] - 3.0;
                if placed && a[bin] - around > STANDS_DB {
                    lines += 1;
                    sum += power(a[bin]) / LINE_SHARE;
                }
            }
            if lines > most {
                most = lines;
                self.hum = sum;
                self.mains = mains;
            }
        }
        // The lowest bin of each 50 Hz: the lines of hum, or of a string, lie elsewhere.
        let pieces = a[HISS_BINS.0..HISS_BINS.1].as_chunks::<PIECE>().0;
        let lowest =
            |piece: &[f32; PIECE]| power(piece.iter().fold(f32::MAX, |m, x| m.min(*x)) + LOG_BIAS_DB);
        self.density = pieces.iter().map(lowest).sum::<f32>() / pieces.len() as f32 / BIN_HZ;
    }

    /// Mean square of the hum and the frequency of its mains, Hz; zeros for none.
    pub(crate) fn hum(&self) -> (f32, u8) {
        (self.hum, self.mains)
    }

    /// Mean square of the hiss from 300 Hz to 4.5 kHz, from the least that lay between the partials up to 1.3 kHz and above.
    /// Each may hold more than hiss: hum fills the former, a string that changes the soft moments; and the harmonics of
    /// a harsh hum go far up, but hiss does not rise that much.
    pub(crate) fn hiss(&self, middle: f32, high: f32) -> f32 {
        let middle = middle.min(self.density * (HIGH_HZ - MIDDLE_HZ));
        middle + high.min(RISES * middle)
    }

    /// Mean square of a bin in the soft moments, 0 before there were any.
    pub(crate) fn at(&self, bin: usize) -> f32 {
        self.average_db.get(bin).map_or(0.0, |a| power(*a))
    }
}

/// Whether a line at this frequency may be one of the mains.
pub(crate) fn on_mains(hz: f32) -> bool {
    MAINS_HZ.into_iter().any(|mains| {
        let k = (hz / f32::from(mains)).round();
        k >= 1.0 && (hz - k * f32::from(mains)).abs() < PLACE * BIN_HZ
    })
}

fn decibels(power: f32) -> f32 {
    10.0 * power.max(1e-20).log10()
}

fn power(db: f32) -> f32 {
    10f32.powf(0.1 * db)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsp::fine::tests::{sine, spectra};

    /// Hum and its mains, and the density of hiss, after 6 s in which a note is struck twice a second and ends 0.2 s before
    /// the next.
    fn listen(note_hz: f32, noise: impl Fn(f32) -> f32) -> Room {
        let mut room = Room::new();
        let string = |t: f32| {
            let age = t % 0.8;
            let sounds = if age < 0.5 { 1.0 } else { (-(age - 0.5) / 0.01).exp() };
            sounds
                * (1..10).map(|k| sine(k as f32 * note_hz, 0.1 / k as f32, t)).sum::<f32>()
                * (-2.0 * age).exp()
        };
        spectra(6.0, |t| string(t) + noise(t), |power, _| room.push(power));
        room
    }

    #[test]
    fn hum_of_either_mains_is_known_and_measured() {
        for (mains, hz) in [(50u8, 50.0), (60, 60.0), (50, 49.9), (60, 60.1)] {
            let (hum, found) =
                listen(110.0, |t| [1.0, 2.0, 3.0, 5.0].iter().map(|k| sine(k * hz, 1e-3, t)).sum()).hum();
            assert_eq!(found, mains, "{hz}");
            assert!((10.0 * (hum / 2e-6).log10()).abs() < 1.5, "{hz}: {hum}");
        }
    }

    #[test]
    fn strings_near_the_mains_are_no_hum_nor_is_silence() {
        // Even if the string never rests: G1, B1 and their octaves lie next to 50, 60 and their multiples.
        for hz in [49.0, 61.74, 98.0, 123.47, 196.0, 246.9] {
            assert_eq!(listen(hz, |_| 0.0).hum(), (0.0, 0), "{hz}");
            let mut room = Room::new();
            let steady = |t: f32| (1..10).map(|k| sine(k as f32 * hz, 0.1, t)).sum::<f32>();
            spectra(6.0, steady, |power, _| room.push(power));
            assert_eq!(room.hum(), (0.0, 0), "{hz}");
        }
    }
}

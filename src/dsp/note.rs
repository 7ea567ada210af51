//! One sounding note: its pitch track, and what is said of it when it has ended.
use super::articulation::motion;
use super::event::{Attack, Motion};
use super::{ANALYSIS_RATE, db};

/// Hops of pitch that are kept: 2.7 s. Later a string has decayed and sagged; how it was tuned is known by then.
const TRACK: usize = 512;
/// The attack that is left out of the pitch, and the shorter one of notes below [`SHORT_NOTE`], samples.
const ATTACK: u64 = ANALYSIS_RATE as u64 * 80 / 1000;
const SHORT_ATTACK: u64 = ANALYSIS_RATE as u64 * 45 / 1000;
const SHORT_NOTE: u64 = ANALYSIS_RATE as u64 * 200 / 1000;
/// Spread (10th to 90th percentile) beyond which a note was bent or shaken, cents.
const BENT_CENTS: f32 = 45.0;
/// Half width of the plateau that is a bend's target, cents.
const PLATEAU_CENTS: f32 = 15.0;
/// Crossings of the median from which on it is a vibrato, whose target is its middle.
const VIBRATO_CROSSINGS: usize = 4;

/// Accepted pitches between the newest and the one that a jump is measured from (43 ms).
const ANCHOR_HOPS: usize = 8;

/// Values of the inharmonicity that are kept: those of 0.7 s, while the upper partials are still heard.
const STIFFNESS: usize = 128;

/// A string holds its frequency and is clear. From one estimate to the next it wanders by so many Hz at the most (median)
/// times its unclearness (1 less the mean clarity). Not where it was told under other strings: only three estimates may be
/// its own there. Measured: 1 in 500 of 9142 recorded notes goes further, and half of 141 squeaks that seemed to have a
/// pitch.
const WANDERS: f32 = 0.25;
/// Mean clarity of a note, likewise: 7 of 9142 have less, and what kitchen noise is taken for.
const CLEAR: f32 = 0.65;
/// No fret lies above E6, and no bend goes on from there by more than a semitone, Hz.
const HIGHEST_HZ: f32 = 1400.0;
/// A stroke that has lost so much 80 ms later, with no other in between, was one on muted strings, dB. Measured: picked
/// notes, staccato ones among them, at most 18 (1 in 300 more than 11), dead strings 21 to 28.
pub(super) const DEAD_AFTER: u64 = ANALYSIS_RATE as u64 * 80 / 1000;
pub(super) const DEAD_DB: f32 = -20.0;

/// A note that sounds. Pitches are cents on the absolute scale (100 per semitone, 6900 = A4).
pub(crate) struct Sounding {
    /// Sample of the onset.
    pub(crate) onset: u64,
    /// Sample at which its onset was announced.
    pub(crate) announced: u64,
    /// Sample at which its pitch had settled.
    pub(crate) decided: u64,
    /// How it began.
    pub(crate) attack: Attack,
    /// Latest pitch.
    pub(crate) recent: f32,
    /// Its stroke was not heard (gate, lost input): it is followed, so that it is not taken for a new note when
    /// something else stirs, and never reported.
    pub(crate) unheard: bool,
    /// Highest 21 ms mean square so far.
    pub(crate) peak: f32,
    /// End of the last voiced hop.
    pub(crate) last_voiced: u64,
    /// Unvoiced hops in a row.
    pub(crate) unvoiced: u32,
    /// It began over other strings that go on sounding, so another pitch than its own is theirs, or one common to them.
    pub(crate) mixed: bool,
    /// 21 ms mean square [`DEAD_AFTER`] its onset.
    after: Option<f32>,
    /// Low-band mean square about 100 and about 250 ms after the onset.
    pub(crate) early: Option<f32>,
    /// See `early`.
    pub(crate) late: Option<f32>,
    latest: [f32; ANCHOR_HOPS],
    track: [(u32, f32); TRACK],
    len: usize,
    clarity: f32,
    heard: u32,
    stiffness: [f32; STIFFNESS],
    stiff: usize,
    /// Hops in a row whose pitch lay whole octaves (or twelfths) away, and how far.
    folded: u32,
    fold: f32,
}

/// The verdict on a note's pitch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Verdict {
    /// Absolute cents.
    pub(crate) pitch: f32,
    /// 0..1.
    pub(crate) confidence: f32,
    /// Settled estimates it rests on.
    pub(crate) hops: usize,
    /// What it did, and how far, cents.
    pub(crate) motion: Motion,
    pub(crate) motion_cents: f32,
}

impl Sounding {
    pub(crate) fn new(onset: u64, decided: u64, pitch: f32, peak: f32) -> Self {
        Self {
            onset,
            announced: decided,
            decided,
            attack: Attack::Picked,
            recent: pitch,
            unheard: false,
            peak,
            last_voiced: decided,
            unvoiced: 0,
            mixed: false,
            after: None,
            early: None,
            late: None,
            latest: [pitch; ANCHOR_HOPS],
            track: [(0, 0.0); TRACK],
            len: 0,
            clarity: 0.0,
            heard: 0,
            stiffness: [0.0; STIFFNESS],
            stiff: 0,
            folded: 0,
            fold: 0.0,
        }
    }

    /// A hop that ends at `end` is over: the mean square of the last 21 ms, and that of its low band.
    pub(crate) fn hear(&mut self, end: u64, power: f32, low_power: f32) {
        const MS: u64 = ANALYSIS_RATE as u64 / 1000;
        self.peak = self.peak.max(power);
        let age = end.saturating_sub(self.onset);
        for (slot, least, power) in [
            (&mut self.after, DEAD_AFTER, power),
            (&mut self.early, 100 * MS, low_power),
            (&mut self.late, 250 * MS, low_power),
        ] {
            if slot.is_none() && age > least {
                *slot = Some(power);
            }
        }
    }

    /// What has a pitch for a moment and is no note all the same: a muted string, whose sound is gone at once, and the
    /// squeak of a finger along a string, whose pitch wanders. `hz`: its pitch. To be asked before the verdict.
    pub(crate) fn is_noise(&self, hz: f32) -> bool {
        let dead = self.after.is_some_and(|p| db(p) < db(self.peak) + DEAD_DB);
        let unclear = 1.0 - self.clarity / self.heard.max(1) as f32;
        let vague = unclear > 1.0 - CLEAR || self.wander(hz) * unclear > WANDERS;
        dead || hz > HIGHEST_HZ || !self.mixed && vague
    }

    /// Median change from one estimate to the next, Hz. Estimates that were held count once.
    fn wander(&self, hz: f32) -> f32 {
        let mut steps = [0.0f32; TRACK];
        let mut count = 0;
        for pair in self.track[..self.len].windows(2) {
            let step = (pair[1].1 - pair[0].1).abs();
            if step > 0.0 {
                steps[count] = step;
                count += 1;
            }
        }
        let steps = &mut steps[..count];
        steps.sort_unstable_by(f32::total_cmp);
        hz * ((median_of(steps) / 1200.0).exp2() - 1.0)
    }

    /// A pitch that continues the note.
    pub(crate) fn add(&mut self, end: u64, pitch: f32, clarity: f32, settled: bool) {
        self.recent = pitch;
        self.latest.copy_within(1.., 0);
        self.latest[ANCHOR_HOPS - 1] = pitch;
        self.folded = 0;
        self.heard += 1;
        self.clarity += clarity;
        if settled && self.len < TRACK {
            self.track[self.len] = (u32::try_from(end.saturating_sub(self.onset)).unwrap_or(u32::MAX), pitch);
            self.len += 1;
        }
    }

    /// The inharmonicity as it is known now.
    pub(crate) fn learn(&mut self, inharmonicity: Option<f32>) {
        if let (Some(b), Some(slot)) = (inharmonicity, self.stiffness.get_mut(self.stiff)) {
            *slot = b;
            self.stiff += 1;
        }
    }

    /// Median of the inharmonicity, where it was known.
    pub(crate) fn inharmonicity(&self) -> Option<f32> {
        let mut sorted = self.stiffness;
        let sorted = &mut sorted[..self.stiff];
        sorted.sort_unstable_by(f32::total_cmp);
        (!sorted.is_empty()).then(|| median_of(sorted))
    }

    /// Pitch some 43 ms ago: a bend has not gone far from it, a slide or hammer-on has.
    pub(crate) fn anchor(&self) -> f32 {
        self.latest[0]
    }

    /// A pitch whole octaves (or a twelfth) off without an onset: more likely the detector's slip than the
    /// player's leap, until it has lasted longer than what was believed before; then that was the slip.
    pub(crate) fn fold(&mut self, by: f32) {
        if (by - self.fold).abs() > 60.0 {
            self.folded = 0;
        }
        self.fold = by;
        self.folded += 1;
        if self.folded as usize > self.len.clamp(3, 60) {
            for t in &mut self.track[..self.len] {
                t.1 += by;
            }
            self.recent += by;
            for l in &mut self.latest {
                *l += by;
            }
            self.folded = 0;
        }
    }

    /// Judges the pitch. Reorders the track, so it is called once, at the end.
    pub(crate) fn verdict(&mut self, offset: u64) -> Option<Verdict> {
        let attack = if offset.saturating_sub(self.onset) < SHORT_NOTE { SHORT_ATTACK } else { ATTACK };
        let all = &mut self.track[..self.len];
        let stable = all.iter().position(|t| u64::from(t.0) >= attack).unwrap_or(0);
        let stable = if all.len() - stable >= 3 { stable } else { 0 };
        let part = &mut all[stable..];
        if part.is_empty() {
            return None;
        }
        let (motion, motion_cents) = motion(part);
        let mut crossings = 0;
        let middle = {
            let mut sorted = [0.0f32; TRACK];
            for (s, t) in sorted.iter_mut().zip(part.iter()) {
                *s = t.1;
            }
            let sorted = &mut sorted[..part.len()];
            sorted.sort_unstable_by(f32::total_cmp);
            let median = median_of(sorted);
            let spread = sorted[sorted.len() * 9 / 10] - sorted[sorted.len() / 10];
            for pair in part.windows(2) {
                crossings += usize::from((pair[0].1 > median) != (pair[1].1 > median));
            }
            if motion != Motion::Vibrato && spread > BENT_CENTS && crossings < VIBRATO_CROSSINGS {
                plateau(sorted)
            } else {
                median
            }
        };
        Some(Verdict {
            pitch: middle,
            confidence: (self.clarity / self.heard.max(1) as f32).clamp(0.0, 1.0),
            hops: part.len(),
            motion,
            motion_cents,
        })
    }
}

fn median_of(sorted: &[f32]) -> f32 {
    let n = sorted.len();
    if n == 0 {
        0.0
    } else if n % 2 == 1 {
        sorted[n / 2]
    } else {
        0.5 * (sorted[n / 2 - 1] + sorted[n / 2])
    }
}

/// Median of the densest stretch of sorted pitches.
fn plateau(sorted: &[f32]) -> f32 {
    let (mut best, mut end) = (0..1, 0);
    for start in 0..sorted.len() {
        while end < sorted.len() && sorted[end] - sorted[start] <= 2.0 * PLATEAU_CENTS {
            end += 1;
        }
        if end - start > best.len() {
            best = start..end;
        }
    }
    median_of(&sorted[best])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A note of 1 s whose pitch follows `pitch` (seconds → cents).
    fn verdict(pitch: impl Fn(f32) -> f32) -> f32 {
        let mut note = Sounding::new(0, 0, pitch(0.0), 0.1);
        for hop in 5..188u64 {
            note.add(hop * 256, pitch(hop as f32 * 256.0 / 48_000.0), 0.9, true);
        }
        note.verdict(188 * 256).unwrap().pitch
    }

    #[test]
    fn the_attack_is_left_out() {
        assert!((verdict(|t| if t < 0.07 { 6920.0 } else { 6903.0 }) - 6903.0).abs() < 0.1);
    }

    #[test]
    fn a_bend_is_judged_at_its_target() {
        let bend = |t: f32| 6200.0 + 200.0 * ((t - 0.1) / 0.25).clamp(0.0, 1.0);
        assert!((verdict(bend) - 6400.0).abs() < 3.0, "{}", verdict(bend));
    }

    #[test]
    fn a_vibrato_is_judged_at_its_middle() {
        let shake = |t: f32| 5704.0 + 50.0 * (std::f32::consts::TAU * 5.5 * t).sin();
        assert!((verdict(shake) - 5704.0).abs() < 8.0, "{}", verdict(shake));
    }

    #[test]
    fn a_wrong_octave_at_the_start_is_corrected_by_what_follows() {
        let mut note = Sounding::new(0, 0, 6900.0, 0.1);
        for hop in 5..10u64 {
            note.add(hop * 256, 6900.0, 0.9, true);
        }
        for _ in 0..6 {
            note.fold(-1200.0);
        }
        assert!((note.recent - 5700.0).abs() < 0.1);
        for hop in 16..100u64 {
            note.add(hop * 256, 5701.0, 0.9, true);
        }
        assert!((note.verdict(100 * 256).unwrap().pitch - 5701.0).abs() < 0.1);
    }

    #[test]
    fn a_note_without_settled_pitch_has_no_verdict() {
        let mut note = Sounding::new(0, 0, 6900.0, 0.1);
        note.add(2560, 6900.0, 0.9, false);
        assert_eq!(note.verdict(5120), None);
    }

    /// Whether 150 ms of a sound are taken for noise: its pitch, and its power against the loudest, by the time (seconds).
    fn is_noise(pitch: impl Fn(f32) -> f32, clarity: f32, power: impl Fn(f32) -> f32) -> bool {
        let mut note = Sounding::new(0, 0, pitch(0.0), 0.1);
        for hop in 5..28u64 {
            let t = hop as f32 * 256.0 / 48_000.0;
            note.hear(hop * 256, 0.1 * power(t), 0.1 * power(t));
            note.add(hop * 256, pitch(t), clarity, true);
        }
        note.is_noise(440.0 * ((note.recent - 6900.0) / 1200.0).exp2())
    }

    #[test]
    fn a_muted_string_and_a_squeak_are_noise() {
        let falls = |db_per_s: f32| move |t: f32| 10f32.powf(-db_per_s * t / 10.0);
        assert!(is_noise(|_| 6400.0, 0.95, falls(300.0)));
        let glide = |t: f32| 8500.0 + 1500.0 * (std::f32::consts::TAU * 3.0 * t).sin();
        assert!(is_noise(glide, 0.85, falls(30.0)));
        assert!(is_noise(|_| 3600.0, 0.6, falls(10.0)));
        assert!(is_noise(|_| 9100.0, 0.95, falls(10.0)));
    }

    #[test]
    fn a_staccato_a_palm_mute_and_a_wide_vibrato_are_none() {
        assert!(!is_noise(|_| 4000.0, 0.9, |t| if t < 0.07 { 1.0 } else { 0.02 }));
        assert!(!is_noise(|_| 4000.0, 0.9, |t| 10f32.powf(-18.0 * t)));
        let vibrato = |t: f32| 7200.0 + 60.0 * (std::f32::consts::TAU * 6.0 * t).sin();
        assert!(!is_noise(vibrato, 0.97, |_| 1.0));
        assert!(!is_noise(|_| 8800.0, 0.95, |_| 1.0));
    }
}

//! Every formula that turns a measurement into a score, 0 to 100, and nothing else.
//!
//! Each formula takes one kind of measurement only; so one mistake lowers one score. `strictness` (0..=1) is
//! how hard an error weighs: full marks are reached as easily at any strictness, what lies beyond loses more.

use super::types::{Metric, Scores};

/// Deviations up to here keep full marks, cents. Trained listeners miss differences of 5 to 6 cents (Loeffler,
/// "Instrument Timbres and Pitch Estimation in Polyphonic Music", 2006), and fretted notes wander by as much.
pub const FULL_MARKS_CENTS: f64 = 4.0;
/// From here a note has no marks, cents: half a semitone, the border to the next note.
pub const NO_MARKS_CENTS: f64 = 50.0;
/// Exponent of the curve in between at strictness 0 (a straight line) and 1.
const PITCH_CURVE: (f64, f64) = (1.0, 3.0);

/// A spread of note onsets up to here keeps full marks, ms: less than any player's (trained tappers spread by about
/// 2 % of the interval, Repp, "Sensorimotor synchronization: a review of the tapping literature", 2005), and as
/// much as a measured onset may be off.
pub const FULL_MARKS_MS: f64 = 4.0;
/// From here on the spread has no marks at strictness 0 and 1, ms.
const NO_MARKS_MS: (f64, f64) = (100.0, 45.0);
/// However slow the tempo, notes spread over the grid at random have no marks: their spread is 1/√12 = 0.289 of
/// the distance between grid points. So no marks are left from this share of that distance on, at strictness 0 and 1.
const NO_MARKS_OF_GAP: (f64, f64) = (0.27, 0.20);
/// Exponent of the timing curve: a straight line.
const TIMING_CURVE: f64 = 1.0;

/// Unwanted against wanted power up to here keeps full marks, dB: what a clean cable recording leaves.
pub const FULL_MARKS_NOISE_DB: f64 = -34.0;
/// From here on there are no marks, dB: the noise has a quarter of the power of the playing.
pub const NO_MARKS_NOISE_DB: f64 = -6.0;
/// Exponent of the noise curve at strictness 0 and 1.
const NOISE_CURVE: (f64, f64) = (0.7, 1.5);

/// Share of pitch accuracy in the overall score at strictness 0, and what strictness adds.
const PITCH_WEIGHT: (f64, f64) = (0.40, 0.15);

/// A note is right in pitch up to this deviation at strictness 0 and 1, cents: from a third of a semitone, which hurts
/// any ear, down to about twice what trained ones notice.
const RIGHT_CENTS: (f64, f64) = (30.0, 12.0);
/// A note is right in time up to this deviation at strictness 0 and 1, ms: from what anybody hears as stumbling down to
/// what players hear (a shift of one note in an even line is noticed from about 6 % of the interval on, 15 to 25 ms
/// here; Friberg and Sundberg, "Time discrimination in a monotonic, isochronous sequence", 1995).
const RIGHT_MS: (f64, f64) = (70.0, 25.0);
/// Where notes follow each other fast, the limit is this share of the distance between grid points: beyond half of it
/// a note would belong to the next point.
const RIGHT_OF_GAP: f64 = 0.3;
/// Softest peak that still counts at sensitivity 0 and 1, dBFS.
const SOFTEST_DB: (f64, f64) = (-35.0, -65.0);

fn between(ends: (f64, f64), share: f64) -> f64 {
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.5 };
    ends.0 + (ends.1 - ends.0) * share
}

/// 100 up to `full`, 0 from `none` on, `(1 - x)^curve` in between; 0 for what is not a number.
fn marks(value: f64, full: f64, none: f64, curve: f64) -> f64 {
    if value.is_nan() {
        return 0.0;
    }
    let x = ((value - full) / (none - full)).clamp(0.0, 1.0);
    100.0 * (1.0 - x).powf(curve)
}

/// Marks of one note by its deviation in cents, the offset of the whole guitar taken out.
#[must_use]
pub fn pitch_marks(cents: f64, strictness: f64) -> f64 {
    marks(cents.abs(), FULL_MARKS_CENTS, NO_MARKS_CENTS, between(PITCH_CURVE, strictness))
}

/// Scale score: the share of notes in the scale (0..=1), times the share of the scale that was played where the
/// exercise asks for all of it.
#[must_use]
pub fn scale_score(in_scale: f64, coverage_asked: Option<f64>) -> f64 {
    100.0 * (in_scale * coverage_asked.unwrap_or(1.0)).clamp(0.0, 1.0)
}

/// Timing score: `sd_ms` is the spread about the grid, `gap_ms` the distance between neighbouring grid points.
#[must_use]
pub fn timing_score(sd_ms: f64, gap_ms: f64, strictness: f64) -> f64 {
    let none = between(NO_MARKS_MS, strictness).min(between(NO_MARKS_OF_GAP, strictness) * gap_ms);
    let none = none.max(FULL_MARKS_MS + 1.0);
    marks(sd_ms, FULL_MARKS_MS, none, TIMING_CURVE)
}

/// Noise score: `noise_db` is 10·log10 of unwanted over wanted power.
#[must_use]
pub fn noise_score(noise_db: f64, strictness: f64) -> f64 {
    marks(noise_db, FULL_MARKS_NOISE_DB, NO_MARKS_NOISE_DB, between(NOISE_CURVE, strictness))
}

/// Overall: the mean of the measured scores, pitch weighted 0.40 + 0.15 × strictness and the rest equally; the
/// weights of what is missing are spread over what is there. `None` when nothing was measured.
#[must_use]
pub fn overall(scores: &Scores, strictness: f64) -> Option<f64> {
    let pitch = PITCH_WEIGHT.0 + PITCH_WEIGHT.1 * between((0.0, 1.0), strictness);
    let rest = (1.0 - pitch) / (Metric::ALL.len() - 1) as f64;
    let (mut sum, mut weights) = (0.0, 0.0);
    for metric in Metric::ALL {
        if let Some(score) = scores.get(metric) {
            let weight = if metric == Metric::PitchAccuracy { pitch } else { rest };
            sum += weight * score;
            weights += weight;
        }
    }
    (weights > 0.0).then(|| (sum / weights).clamp(0.0, 100.0))
}

/// Deviation (cents, tuning offset taken out) up to which a note is right in pitch: 30 at strictness 0, 21 at 0.5,
/// 12 at 1.
#[must_use]
pub fn right_cents(strictness: f64) -> f64 {
    between(RIGHT_CENTS, strictness)
}

/// Deviation (ms) up to which a note is right in time: 70 at strictness 0, 47.5 at 0.5, 25 at 1, and never more than
/// 0.3 of `gap_ms`, the distance between neighbouring grid points.
#[must_use]
pub fn right_ms(strictness: f64, gap_ms: f64) -> f64 {
    let limit = between(RIGHT_MS, strictness);
    if gap_ms > 0.0 { limit.min(RIGHT_OF_GAP * gap_ms) } else { limit }
}

/// Softest peak level of a note that counts, dBFS; softer ones are ghost notes and not judged.
#[must_use]
pub fn softest_db(sensitivity: f64) -> f64 {
    between(SOFTEST_DB, sensitivity)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ends_of_the_curves() {
        for s in [0.0, 0.5, 1.0] {
            assert_eq!(pitch_marks(3.9, s), 100.0);
            assert_eq!(pitch_marks(-50.0, s), 0.0);
            assert_eq!(timing_score(0.0, 300.0, s), 100.0);
            assert_eq!(timing_score(300.0 / 12f64.sqrt(), 300.0, s), 0.0);
            assert_eq!(noise_score(-34.0, s), 100.0);
            assert_eq!(noise_score(f64::NEG_INFINITY, s), 100.0);
            assert_eq!(noise_score(-6.0, s), 0.0);
        }
        assert_eq!(scale_score(0.9, None), 90.0);
        assert_eq!(scale_score(0.9, Some(0.5)), 45.0);
        assert_eq!(timing_score(f64::NAN, 300.0, 0.5), 0.0);
    }

    #[test]
    fn limits_are_as_documented() {
        assert_eq!([0.0, 0.5, 1.0].map(right_cents), [30.0, 21.0, 12.0]);
        assert_eq!([0.0, 0.5, 1.0].map(|s| right_ms(s, 300.0)), [70.0, 47.5, 25.0]);
        assert_eq!(right_ms(0.0, 100.0), 30.0);
        assert_eq!(right_ms(0.5, f64::NAN), 47.5);
    }

    #[test]
    fn overall_weighs_pitch_and_spreads_what_is_missing() {
        let mut scores = Scores { pitch_accuracy: Some(100.0), ..Scores::default() };
        assert_eq!(overall(&Scores::default(), 0.5), None);
        assert_eq!(overall(&scores, 0.5), Some(100.0));
        scores.scale_conformity = Some(0.0);
        scores.timing_stability = Some(0.0);
        scores.noise_control = Some(0.0);
        assert!((overall(&scores, 0.0).unwrap() - 40.0).abs() < 1e-9);
        assert!((overall(&scores, 1.0).unwrap() - 55.0).abs() < 1e-9);
        scores.noise_control = None;
        let rest = 0.6 / 3.0;
        assert!((overall(&scores, 0.0).unwrap() - 100.0 * 0.4 / (0.4 + 2.0 * rest)).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn curves_fall_and_tighten(a in 0.0..120.0f64, b in 0.0..120.0f64, s in 0.0..1.0f64, t in 0.0..1.0f64) {
            let (small, large) = (a.min(b), a.max(b));
            let (mild, strict) = (s.min(t), s.max(t));
            prop_assert!(pitch_marks(large, s) <= pitch_marks(small, s));
            prop_assert!(timing_score(large, 300.0, s) <= timing_score(small, 300.0, s));
            prop_assert!(noise_score(large - 60.0, s) <= noise_score(small - 60.0, s));
            prop_assert!(pitch_marks(a, strict) <= pitch_marks(a, mild));
            prop_assert!(timing_score(a, 300.0, strict) <= timing_score(a, 300.0, mild));
            prop_assert!(noise_score(a - 60.0, strict) <= noise_score(a - 60.0, mild));
        }

        #[test]
        fn scores_stay_in_range(x in proptest::num::f64::ANY, y in proptest::num::f64::ANY, s in proptest::num::f64::ANY) {
            for score in [pitch_marks(x, s), timing_score(x, y, s), noise_score(x, s)] {
                prop_assert!((0.0..=100.0).contains(&score));
            }
        }
    }
}

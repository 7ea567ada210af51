//! What the pitch of one note did: it stood, was shaken, bent, let down, or slid.
//!
//! The pitch track is cut at its turning points: a swing counts when it is larger than what a string wanders by itself.
//! Swings of even length to both sides are a vibrato; one lasting move is a bend, a release or a slide.
use super::ANALYSIS_RATE;
use super::event::Motion;

/// A swing smaller than this is none, cents: plucked strings fall by up to 20 cents in their attack, which is left out,
/// and wander by 3 to 6 afterwards; a shallow vibrato swings by 20 from crest to trough.
const SWING_CENTS: f32 = 14.0;
/// Half a period of a vibrato: 4 to 8 Hz (fingers and wrist), with room for one uneven swing, seconds.
const HALF_PERIOD: (f32, f32) = (0.05, 0.15);
/// Whole swings that make a vibrato: two periods.
const SWINGS: usize = 4;
/// Share of the swings that must be of that length and between half and twice the middle height.
const EVEN: f32 = 0.7;
/// A lasting move smaller than this is none, cents: a blues curl is a quarter tone, a string struck hard sags by 20.
const MOVED_CENTS: f32 = 35.0;
/// A move that is larger was no bend, cents: two tones is as far as a finger pushes a string.
const SLID_CENTS: f32 = 420.0;
/// Pitches of the beginning and the end that are averaged: 43 ms.
const END: usize = 8;
/// Turning points that are remembered.
const TURNS: usize = 64;
const RATE: f32 = ANALYSIS_RATE as f32;

/// The motion of a pitch track (samples since the onset, cents; the attack left out) and its extent in cents: from the
/// start to the farthest held pitch of a bend, release or slide (negative downwards), from the middle to the crest of a
/// vibrato, 0 when steady.
pub(crate) fn motion(track: &[(u32, f32)]) -> (Motion, f32) {
    if track.len() < 3 * END {
        return (Motion::Steady, 0.0);
    }
    let mut turns = [(0.0f32, 0.0f32); TURNS];
    let count = turning_points(track, &mut turns);
    if let Some(extent) = vibrato(&turns[..count]) {
        return (Motion::Vibrato, extent);
    }
    let mean = |part: &[(u32, f32)]| part.iter().map(|t| t.1).sum::<f32>() / part.len().max(1) as f32;
    let start = mean(&track[..END]);
    // The farthest pitch that was held for as long.
    let mut far = 0.0f32;
    for held in track.windows(END) {
        let away = mean(held) - start;
        if away.abs() > far.abs() {
            far = away;
        }
    }
    let moved = if far.abs() >= MOVED_CENTS { far } else { 0.0 };
    match moved {
        0.0 => (Motion::Steady, 0.0),
        m if m.abs() > SLID_CENTS => (Motion::Slide, m),
        m if m > 0.0 => (Motion::Bend, m),
        m => (Motion::Release, m),
    }
}

/// Ends of the swings: seconds, cents. Returns how many.
fn turning_points(track: &[(u32, f32)], turns: &mut [(f32, f32); TURNS]) -> usize {
    let point = |t: &(u32, f32)| (t.0 as f32 / RATE, t.1);
    let (mut low, mut high) = (point(&track[0]), point(&track[0]));
    let (mut rising, mut count) = (None, 0);
    for t in track {
        let p = point(t);
        if p.1 > high.1 {
            high = p;
        }
        if p.1 < low.1 {
            low = p;
        }
        let turned = match rising {
            Some(true) => high.1 - p.1 >= SWING_CENTS,
            Some(false) => p.1 - low.1 >= SWING_CENTS,
            None => high.1 - low.1 >= SWING_CENTS,
        };
        if turned && count < TURNS {
            // The swing that has just ended began at the other end.
            let up = rising.unwrap_or(p.1 < high.1);
            turns[count] = if up { high } else { low };
            count += 1;
            rising = Some(!up);
            (low, high) = (p, p);
        }
    }
    count
}

/// The extent of a vibrato, if the swings are one.
fn vibrato(turns: &[(f32, f32)]) -> Option<f32> {
    let swings = turns.len().checked_sub(1).filter(|n| *n >= SWINGS)?;
    let mut heights = [0.0f32; TURNS];
    for (h, pair) in heights.iter_mut().zip(turns.windows(2)) {
        *h = (pair[1].1 - pair[0].1).abs();
    }
    heights[..swings].sort_unstable_by(f32::total_cmp);
    let middle = heights[swings / 2];
    let even = turns
        .windows(2)
        .filter(|pair| {
            let (length, height) = (pair[1].0 - pair[0].0, (pair[1].1 - pair[0].1).abs());
            (HALF_PERIOD.0..=HALF_PERIOD.1).contains(&length)
                && (0.5 * middle..=2.0 * middle).contains(&height)
        })
        .count();
    (even as f32 >= EVEN * swings as f32).then_some(0.5 * middle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsp::testsig::Random;

    /// The motion of a note whose pitch follows `pitch` (seconds → cents) for `seconds`, read with an error of `noise`.
    fn of(seconds: f32, noise: f32, pitch: impl Fn(f32) -> f32) -> (Motion, f32) {
        let mut random = Random::new(9);
        let track: Vec<(u32, f32)> = (15..(seconds * 187.5) as u32)
            .map(|hop| (hop * 256, pitch((hop * 256) as f32 / RATE) + noise * random.normal()))
            .collect();
        motion(&track)
    }

    #[test]
    fn a_string_that_sags_and_wanders_is_steady() {
        for seconds in [0.2, 0.5, 2.0] {
            let heard = of(seconds, 2.0, |t| 5700.0 + 20.0 * (-t / 0.15).exp());
            assert_eq!(heard, (Motion::Steady, 0.0), "{seconds} s");
        }
    }

    #[test]
    fn a_vibrato_is_known_with_its_extent_at_every_usual_rate() {
        for hz in [4.0f32, 5.5, 8.0] {
            for extent in [15.0f32, 25.0, 50.0] {
                let (motion, cents) = of(1.5, 1.0, |t| {
                    5700.0 + extent * (std::f32::consts::TAU * hz * (t - 0.25).max(0.0)).sin()
                });
                assert_eq!(motion, Motion::Vibrato, "{hz} Hz ±{extent}");
                assert!((cents - extent).abs() < 0.2 * extent + 2.0, "{hz} Hz ±{extent}: {cents}");
            }
        }
    }

    #[test]
    fn bends_and_releases_are_told_apart_with_their_size() {
        let ramp = |t: f32, from: f32, long: f32| ((t - from) / long).clamp(0.0, 1.0);
        for size in [50.0f32, 100.0, 200.0, 300.0] {
            let (motion, cents) = of(1.2, 1.5, |t| 6200.0 + size * ramp(t, 0.3, 0.25));
            assert_eq!(motion, Motion::Bend, "{size}");
            assert!((cents - size).abs() < 6.0, "{size}: {cents}");
            let (motion, cents) = of(1.2, 1.5, |t| 6200.0 - size * ramp(t, 0.3, 0.25));
            assert_eq!(motion, Motion::Release, "{size}");
            assert!((cents + size).abs() < 6.0, "{size}: {cents}");
            // Up and down again is a bend.
            let (motion, cents) =
                of(1.7, 1.5, |t| 6200.0 + size * (ramp(t, 0.25, 0.2) - ramp(t, 0.85, 0.25)));
            assert_eq!(motion, Motion::Bend, "{size}");
            assert!((cents - size).abs() < 6.0, "{size}: {cents}");
        }
        let (motion, _) = of(1.2, 1.5, |t| 6200.0 + 700.0 * ramp(t, 0.3, 0.4));
        assert_eq!(motion, Motion::Slide);
    }

    #[test]
    fn too_short_a_note_is_steady() {
        assert_eq!(of(0.15, 0.0, |t| 6200.0 + 1000.0 * t), (Motion::Steady, 0.0));
        assert_eq!(motion(&[]), (Motion::Steady, 0.0));
    }
}

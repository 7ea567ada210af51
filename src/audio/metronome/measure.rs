//! Measures the round trip from a recording of the input: of clicks that are heard, or of a player who taps along.
//! Not for the real-time loop: it takes its time.

use crate::audio::ANALYSIS_RATE;
use crate::dsp::click::{CLICK, DELAYS, shape};

/// A click is heard from this correlation on: noise stays below 0.3.
const LEAST_ALIKE: f64 = 0.4;
/// And from this amplitude on (-90 dBFS).
const FAINTEST: f64 = 3e-5;
/// Fewest clicks or taps that a figure rests on.
pub const FEWEST: usize = 16;
/// Values further from the median than this many median deviations, and at least this, are left out, seconds.
const FAR: f64 = 4.0;
const LEAST_FAR: f64 = 0.001;
/// Of the clicks that are heard, the median deviation is below this, seconds: clocks and callbacks are steadier.
const STEADY: f64 = 0.002;
/// Who taps along has a spread below this (standard deviation), seconds, and the mean is then known to within 8 ms.
const EVEN: f64 = 0.03;
/// A tap comes no earlier than this before its click, seconds: players anticipate, by 20 to 50 ms.
const ANTICIPATION: f64 = 0.12;

/// A measured delay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Median, seconds.
    pub delay: f64,
    /// Median absolute deviation, seconds.
    pub spread: f64,
    /// Values that it rests on.
    pub count: usize,
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum Unmeasured {
    /// Fewer than half of the clicks are in the recording.
    #[error("{heard} of {of} clicks were heard")]
    Unheard {
        /// Clicks that were heard.
        heard: usize,
        /// Clicks that were played.
        of: usize,
    },
    /// What was heard does not agree.
    #[error("{agree} of {of} clicks agree, with a spread of {spread_ms:.1} ms")]
    Unsteady {
        /// Values that agree.
        agree: usize,
        /// Values.
        of: usize,
        /// Their median absolute deviation, ms.
        spread_ms: f64,
    },
}

/// The delays (seconds) at which clicks due at these times (seconds, if the way took no time) are heard in a recording at
/// the rate of the analysis: the best match of each, where there is one.
#[must_use]
pub fn heard(recording: &[f32], due: &[f64]) -> Vec<f64> {
    let rate = f64::from(ANALYSIS_RATE);
    let click: Vec<f64> = (0..CLICK).map(|i| shape(i as f64 / rate)).collect();
    let energy: f64 = click.iter().map(|c| c * c).sum();
    let high = without_lows(recording);
    let match_at = |at: usize| -> Option<(f64, f64)> {
        let under = high.get(at..at + CLICK)?;
        let (mut product, mut power) = (0.0, 0.0);
        for (x, c) in under.iter().zip(&click) {
            product += x * c;
            power += x * x;
        }
        Some((product / energy, product / (power * energy).sqrt().max(1e-12)))
    };
    due.iter()
        .filter_map(|due| {
            let from = ((due * rate + DELAYS.0).max(0.0)) as usize;
            let to = ((due * rate + DELAYS.1).max(0.0)) as usize;
            let best = (from..to)
                .filter_map(|at| match_at(at).map(|(value, alike)| (at, value, alike)))
                .filter(|(_, value, alike)| alike.abs() > LEAST_ALIKE && value.abs() > FAINTEST)
                .max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()))?;
            let at = best.0;
            let [before, middle, after] =
                [at.checked_sub(1)?, at, at + 1].map(|i| match_at(i).map_or(0.0, |m| m.0));
            let bend = before - 2.0 * middle + after;
            let off = if bend == 0.0 { 0.0 } else { (0.5 * (before - after) / bend).clamp(-0.5, 0.5) };
            Some((at as f64 + off) / rate - due)
        })
        .collect()
}

/// Two first-order high-passes at 1 kHz: the click's band stays, hum and rumble go.
fn without_lows(recording: &[f32]) -> Vec<f64> {
    let pole = (-2.0 * std::f64::consts::PI * 1000.0 / f64::from(ANALYSIS_RATE)).exp();
    let mut state = [[0.0f64; 2]; 2];
    recording
        .iter()
        .map(|x| {
            let mut y = f64::from(*x);
            for [x1, y1] in &mut state {
                let out = y - *x1 + pole * *y1;
                (*x1, *y1) = (y, out);
                y = out;
            }
            y
        })
        .collect()
}

/// The delay on which the clicks that were heard agree.
///
/// # Errors
/// Too few were heard, or they do not agree.
pub fn agreed(delays: &[f64], of: usize) -> Result<Measured, Unmeasured> {
    if 2 * delays.len() < of {
        return Err(Unmeasured::Unheard { heard: delays.len(), of });
    }
    let measured = middle(delays);
    if measured.count < FEWEST.min(of) || measured.spread > STEADY {
        let spread_ms = 1000.0 * measured.spread;
        return Err(Unmeasured::Unsteady { agree: measured.count, of, spread_ms });
    }
    Ok(measured)
}

/// Begins of strokes in a recording, seconds: where the level leaps by 12 dB over what was before, at least 0.12 s apart.
#[must_use]
pub fn strokes(recording: &[f32]) -> Vec<f64> {
    const FRAME: usize = ANALYSIS_RATE as usize / 1000;
    const BEFORE: usize = 30;
    const APART: usize = 120;
    /// -66 dBFS, and 20 dB above the quietest tenth.
    const SOFTEST: f64 = 2.5e-7;
    let power: Vec<f64> = recording
        .chunks_exact(FRAME)
        .map(|frame| frame.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / FRAME as f64)
        .collect();
    let mut sorted = power.clone();
    sorted.sort_by(f64::total_cmp);
    let floor = (100.0 * sorted.get(sorted.len() / 10).copied().unwrap_or(0.0)).max(SOFTEST);
    let mut found: Vec<usize> = Vec::new();
    let mut i = BEFORE;
    while i < power.len() {
        let before = power[i - BEFORE..i].iter().sum::<f64>() / BEFORE as f64;
        if power[i] > floor && power[i] > 16.0 * before {
            found.push(i);
            i += APART;
        } else {
            i += 1;
        }
    }
    found.iter().map(|i| (i * FRAME) as f64 / f64::from(ANALYSIS_RATE)).collect()
}

/// The delay of taps (seconds) behind clicks due at `first + n * beat` (n from 0 to `clicks`), of a player who means to be
/// on the click.
///
/// # Errors
/// Too few taps, or too uneven ones.
pub fn tapped(taps: &[f64], first: f64, beat: f64, clicks: usize) -> Result<Measured, Unmeasured> {
    let end = clicks as f64 - ANTICIPATION / beat;
    let delays: Vec<f64> = taps
        .iter()
        .map(|tap| (tap - first + ANTICIPATION) / beat)
        .filter(|beats| (0.0..end).contains(beats))
        .map(|beats| (beats - beats.floor()) * beat - ANTICIPATION)
        .collect();
    if 2 * delays.len() < clicks {
        return Err(Unmeasured::Unheard { heard: delays.len(), of: clicks });
    }
    let measured = middle(&delays);
    if measured.count < FEWEST.min(clicks) || 1.4826 * measured.spread > EVEN {
        let spread_ms = 1000.0 * measured.spread;
        return Err(Unmeasured::Unsteady { agree: measured.count, of: clicks, spread_ms });
    }
    Ok(measured)
}

/// Median and median deviation without what lies far off.
fn middle(values: &[f64]) -> Measured {
    let mut kept = values.to_vec();
    for _ in 0..3 {
        let (delay, spread) = center(&mut kept);
        let reach = (FAR * 1.4826 * spread).max(LEAST_FAR);
        kept.retain(|v| (v - delay).abs() <= reach);
    }
    let (delay, spread) = center(&mut kept);
    Measured { delay, spread, count: kept.len() }
}

fn center(values: &mut [f64]) -> (f64, f64) {
    let median = |values: &mut [f64]| {
        values.sort_by(f64::total_cmp);
        match values.len() {
            0 => 0.0,
            n if n % 2 == 1 => values[n / 2],
            n => 0.5 * (values[n / 2 - 1] + values[n / 2]),
        }
    };
    let center = median(values);
    (center, median(&mut values.iter().map(|v| (v - center).abs()).collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: f64 = ANALYSIS_RATE as f64;

    fn noise(level: f32, samples: usize) -> Vec<f32> {
        let mut state = 7u32;
        (0..samples)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                level * ((state >> 8) as f32 / (1 << 23) as f32 - 1.0)
            })
            .collect()
    }

    fn with_clicks(mut sound: Vec<f32>, at: &[f64], level: f64) -> Vec<f32> {
        for at in at {
            for (i, x) in sound.iter_mut().enumerate().skip((at * RATE).ceil() as usize).take(CLICK) {
                *x += (level * shape(i as f64 / RATE - at)) as f32;
            }
        }
        sound
    }

    fn due(n: usize, beat: f64) -> Vec<f64> {
        (0..n).map(|i| 0.5 + i as f64 * beat).collect()
    }

    #[test]
    fn clicks_are_heard_through_noise_at_any_delay() {
        let due = due(20, 0.8);
        for delay in [0.005, 0.083_31, 0.25, 0.6] {
            let at: Vec<f64> = due.iter().map(|d| d + delay).collect();
            let sound = with_clicks(noise(0.02, 17 * 48_000), &at, -0.1);
            let measured = agreed(&heard(&sound, &due), 20).unwrap();
            assert!((measured.delay - delay).abs() < 5e-5 && measured.spread < 5e-5, "{delay}: {measured:?}");
            assert_eq!(measured.count, 20);
        }
    }

    #[test]
    fn silence_and_confusion_are_no_measurement() {
        let due = due(20, 0.8);
        let said = agreed(&heard(&noise(0.01, 17 * 48_000), &due), 20);
        assert!(matches!(said, Err(Unmeasured::Unheard { .. })), "{said:?}");
        assert!(matches!(agreed(&[], 20), Err(Unmeasured::Unheard { heard: 0, of: 20 })));
        let scattered: Vec<f64> = (0..20).map(|i| 0.1 + 0.013 * f64::from(i % 7)).collect();
        assert!(matches!(agreed(&scattered, 20), Err(Unmeasured::Unsteady { .. })));
        let mut some_off = vec![0.1; 17];
        some_off.extend([0.3, 0.02, 0.5]);
        assert_eq!(agreed(&some_off, 20).unwrap().count, 17, "outliers are dropped");
    }

    #[test]
    fn taps_give_round_trip_and_habit() {
        let (first, beat) = (0.5, 0.6);
        let uneven = |i: usize| 0.008 * ((i * 7 % 5) as f64 - 2.0);
        let taps: Vec<f64> = (0..24).map(|i| first + i as f64 * beat + 0.09 + uneven(i)).collect();
        let measured = tapped(&taps, first, beat, 24).unwrap();
        assert!((measured.delay - 0.09).abs() < 1e-9, "{measured:?}");
        let wild: Vec<f64> = (0..24).map(|i| first + i as f64 * beat + 0.07 * ((i * 7 % 5) as f64)).collect();
        assert!(matches!(tapped(&wild, first, beat, 24), Err(Unmeasured::Unsteady { .. })));
        assert!(matches!(tapped(&taps[..5], first, beat, 24), Err(Unmeasured::Unheard { .. })));
    }

    #[test]
    fn muted_strokes_are_timed_to_a_millisecond() {
        let at: Vec<f64> = (0..10).map(|i| 0.4 + 0.6 * f64::from(i) + 0.001_7 * f64::from(i % 3)).collect();
        let mut sound = noise(1e-4, 7 * 48_000);
        for at in &at {
            let from = (at * RATE) as usize;
            for (i, burst) in noise(0.2, 2_400).into_iter().enumerate() {
                sound[from + i] += burst * (-(i as f32) / 400.0).exp();
            }
        }
        let found = strokes(&sound);
        assert_eq!(found.len(), at.len(), "{found:?}");
        assert!(found.iter().zip(&at).all(|(f, a)| (f - a).abs() <= 0.001), "{found:?} {at:?}");
        assert!(strokes(&noise(1e-3, 48_000)).is_empty());
    }
}

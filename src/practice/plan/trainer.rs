//! The speed trainer: a tempo that rises by itself, bar by bar.

use serde::{Deserialize, Serialize};

use super::{Fault, tempo};

/// Smallest and largest step, beats per minute: smaller ones are not felt, larger ones throw players out.
const STEP: std::ops::RangeInclusive<f64> = 1.0..=40.0;
/// Bars at one tempo.
const BARS: std::ops::RangeInclusive<u32> = 1..=64;

/// Begins at `start`, gets faster by `step` every `every_bars` bars, and stays at `end` once it is there.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpeedTrainer {
    /// First tempo, beats per minute.
    pub start: f64,
    /// Last tempo, beats per minute; above `start`.
    pub end: f64,
    /// Beats per minute.
    pub step: f64,
    /// Bars at each tempo.
    pub every_bars: u32,
}

impl SpeedTrainer {
    /// Tempo of a bar, counted from 0, beats per minute.
    #[must_use]
    pub fn tempo(&self, bar: u64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "bars of a session")]
        let steps = (bar / u64::from(self.every_bars.max(1))) as f64;
        (self.start + self.step * steps).min(self.end).max(self.start)
    }

    /// Bars until the last tempo begins.
    #[must_use]
    pub fn bars_to_end(&self) -> u64 {
        let steps = ((self.end - self.start) / self.step).ceil();
        if steps.is_finite() && steps > 0.0 { steps as u64 * u64::from(self.every_bars) } else { 0 }
    }

    /// Seconds at which a bar of `beats` beats begins.
    #[must_use]
    pub fn begins(&self, bar: u64, beats: u32) -> f64 {
        let climb = bar.min(self.bars_to_end());
        let rising: f64 = (0..climb).map(|b| 60.0 / self.tempo(b)).sum();
        #[expect(clippy::cast_precision_loss, reason = "bars of a session")]
        let level = (bar - climb) as f64 * 60.0 / self.end;
        (rising + level) * f64::from(beats)
    }

    /// The bar that sounds `seconds` after the begin, with `beats` beats a bar.
    #[must_use]
    pub fn bar_at(&self, seconds: f64, beats: u32) -> u64 {
        let beats = f64::from(beats.max(1));
        let (mut bar, mut at) = (0, 0.0);
        loop {
            let tempo = self.tempo(bar);
            let next = at + beats * 60.0 / tempo;
            if next > seconds {
                return bar;
            }
            if tempo >= self.end {
                return bar + ((seconds - at) / (beats * 60.0 / self.end)) as u64;
            }
            (bar, at) = (bar + 1, next);
        }
    }

    pub(super) fn check(&self, at: &str, faults: &mut Vec<Fault>) {
        tempo(&format!("{at}.start"), self.start, faults);
        tempo(&format!("{at}.end"), self.end, faults);
        if self.end <= self.start {
            let said = format!("is {}: it lies above `start`, which is {}", self.end, self.start);
            faults.push(Fault::new(format!("{at}.end"), said));
        }
        if !STEP.contains(&self.step) {
            let said = format!("is {}: {} to {} beats per minute", self.step, STEP.start(), STEP.end());
            faults.push(Fault::new(format!("{at}.step"), said));
        }
        if !BARS.contains(&self.every_bars) {
            let said = format!("is {}: {} to {} bars", self.every_bars, BARS.start(), BARS.end());
            faults.push(Fault::new(format!("{at}.every_bars"), said));
        }
    }
}

//! Sums over frames that the noise score rests on: constant memory however long the playing.

use crate::dsp::event::FrameReport;

use super::types::NoiseCause;

/// Bins of the histogram of unwanted power: one per dB from -120 to 0 dBFS.
const BINS: usize = 121;
/// Share of the frames below which the steady part of the noise lies.
const FLOOR_SHARE: f64 = 0.1;
/// Ratios are reported within these limits, dB.
const LIMITS_DB: (f64, f64) = (-120.0, 60.0);
/// Below this nothing is said about causes, dB: it is hardly heard.
const HEARD_DB: f64 = -28.0;
/// A cause stands out when it makes up this share of the unwanted power.
const STANDS_OUT: f64 = 0.6;

/// Wanted and unwanted power over a stretch of playing.
#[derive(Clone, Debug)]
pub(super) struct NoiseSums {
    wanted: f64,
    while_sounding: f64,
    between: f64,
    frames: u64,
    bins: Box<[u32; BINS]>,
}

impl Default for NoiseSums {
    fn default() -> Self {
        Self { wanted: 0.0, while_sounding: 0.0, between: 0.0, frames: 0, bins: Box::new([0; BINS]) }
    }
}

impl NoiseSums {
    /// Adds a frame; powers that are no numbers or negative are left out.
    pub(super) fn add(&mut self, frame: &FrameReport) {
        let usable = |p: f32| p.is_finite() && p >= 0.0;
        if !usable(frame.wanted) || !usable(frame.unwanted) {
            return;
        }
        let unwanted = f64::from(frame.unwanted);
        self.wanted += f64::from(frame.wanted);
        if frame.f0.is_some() {
            self.while_sounding += unwanted;
        } else {
            self.between += unwanted;
        }
        self.frames += 1;
        let db = (10.0 * unwanted.log10()).clamp(-120.0, 0.0);
        let bin = &mut self.bins[(db + 120.0) as usize];
        *bin = bin.saturating_add(1);
    }

    /// Adds another stretch.
    pub(super) fn merge(&mut self, other: &Self) {
        self.wanted += other.wanted;
        self.while_sounding += other.while_sounding;
        self.between += other.between;
        self.frames += other.frames;
        for (bin, more) in self.bins.iter_mut().zip(other.bins.iter()) {
            *bin = bin.saturating_add(*more);
        }
    }

    fn unwanted(&self) -> f64 {
        self.while_sounding + self.between
    }

    /// Unwanted against wanted power, dB; `None` when nothing wanted was heard.
    pub(super) fn ratio_db(&self) -> Option<f64> {
        (self.wanted > 0.0)
            .then(|| (10.0 * (self.unwanted() / self.wanted).log10()).clamp(LIMITS_DB.0, LIMITS_DB.1))
    }

    /// Main cause, when the noise is heard and one cause stands out. Squeaks, buzz and ringing under a note are
    /// not told apart yet.
    pub(super) fn cause(&self) -> Option<NoiseCause> {
        if self.ratio_db()? < HEARD_DB {
            return None;
        }
        let total = self.unwanted();
        if self.floor() * self.frames as f64 >= STANDS_OUT * total {
            Some(NoiseCause::Hum)
        } else if self.between >= STANDS_OUT * total {
            Some(NoiseCause::BetweenNotes)
        } else if self.while_sounding >= STANDS_OUT * total {
            Some(NoiseCause::UnderNotes)
        } else {
            None
        }
    }

    /// Power that is always there: the quiet end of the histogram.
    fn floor(&self) -> f64 {
        let wanted = (FLOOR_SHARE * self.frames as f64).ceil() as u64;
        let mut seen = 0u64;
        for (bin, count) in self.bins.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= wanted.max(1) {
                return 10f64.powf((bin as f64 + 0.5 - 120.0) / 10.0);
            }
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(voiced: bool, wanted: f32, unwanted: f32) -> FrameReport {
        FrameReport {
            t: 0.0,
            w: 0.02,
            f0: voiced.then_some(110.0),
            confidence: 1.0,
            provisional: false,
            level_db: -20.0,
            wanted,
            unwanted,
        }
    }

    fn sums(frames: &[FrameReport]) -> NoiseSums {
        let mut sums = NoiseSums::default();
        frames.iter().cycle().take(frames.len() * 100).for_each(|f| sums.add(f));
        sums
    }

    #[test]
    fn causes_are_told_apart() {
        let clean = sums(&[frame(true, 1e-2, 1e-7)]);
        assert_eq!((clean.ratio_db().unwrap().round(), clean.cause()), (-50.0, None));
        let hum = sums(&[frame(true, 1e-2, 1e-3), frame(false, 0.0, 1e-3)]);
        assert_eq!(hum.cause(), Some(NoiseCause::Hum));
        let squeak = sums(&[frame(true, 1e-2, 1e-6), frame(false, 0.0, 1e-3)]);
        assert_eq!(squeak.cause(), Some(NoiseCause::BetweenNotes));
        let buzz = sums(&[frame(true, 1e-2, 1e-3), frame(false, 0.0, 1e-6)]);
        assert_eq!(buzz.cause(), Some(NoiseCause::UnderNotes));
    }

    #[test]
    fn silence_and_nonsense_measure_nothing() {
        assert_eq!(NoiseSums::default().ratio_db(), None);
        let odd =
            sums(&[frame(true, f32::NAN, 1.0), frame(true, 1.0, -1.0), frame(true, f32::INFINITY, 0.0)]);
        assert_eq!((odd.ratio_db(), odd.frames), (None, 0));
        assert_eq!(sums(&[frame(true, 1.0, 0.0)]).ratio_db(), Some(-120.0));
    }
}

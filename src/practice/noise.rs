//! Sums over frames that the noise score rests on, and what the noise comes from: constant memory however long the
//! playing.

use crate::dsp::event::{FrameReport, NoisePowers};

use super::types::NoiseCause;

/// Ratios are reported within these limits, dB.
const LIMITS_DB: (f64, f64) = (-120.0, 60.0);
/// Causes that are recognised.
const CAUSES: usize = 5;
/// A cause is heard from this power on against the playing, dB, all averaged over the stretch. A steady tone or rustle is
/// heard in every rest, however short; a few squeaks, or a string that rings under the notes, only when they are loud.
/// Measured: clean playing stays 6 dB below each of them in a dry recording, and buzz, which a room that echoes
/// resembles most, 2 dB.
const fn heard_db(cause: NoiseCause) -> f64 {
    match cause {
        NoiseCause::Hum => -46.0,
        NoiseCause::Hiss => -50.5,
        NoiseCause::Squeaks => -40.0,
        NoiseCause::Buzz | NoiseCause::Ringing => -34.0,
        NoiseCause::BetweenNotes | NoiseCause::UnderNotes => -28.0,
    }
}
/// A squeak that lasts as long as a note looks like buzz, but buzz seldom looks like a squeak: where squeaks have this share
/// (-12 dB) of the power of buzz, there was none (measured: more than that with squeaks, mostly far less with buzz).
const SQUEAKS_FOR_SURE: f64 = 0.07;
/// One squeak is none of a player's habits, and may be a stroke that was not recognised: so many frames tell of more than
/// one (each squeak is told in four).
const SQUEAK_FRAMES: u64 = 5;
/// Unwanted power without a known cause is named by its place when it makes up this share of all.
const STANDS_OUT: f64 = 0.6;

/// Wanted and unwanted power over a stretch of playing.
#[derive(Clone, Debug, Default)]
pub(super) struct NoiseSums {
    wanted: f64,
    while_sounding: f64,
    between: f64,
    frames: u64,
    /// Power by cause, in the order in which a frame has them.
    causes: [f64; CAUSES],
    /// Frames that tell of squeaks or buzz.
    scraping: u64,
    /// Frames with hum from mains of 50 and of 60 Hz.
    mains: [u64; 2],
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
        for (sum, (_, power)) in self.causes.iter_mut().zip(frame.causes.each()) {
            *sum += if usable(power) { f64::from(power) } else { 0.0 };
        }
        self.scraping += u64::from(frame.causes.squeaks > 0.0 || frame.causes.buzz > 0.0);
        match frame.causes.mains_hz {
            50 => self.mains[0] += 1,
            60 => self.mains[1] += 1,
            _ => {}
        }
    }

    /// Adds another stretch.
    pub(super) fn merge(&mut self, other: &Self) {
        self.wanted += other.wanted;
        self.while_sounding += other.while_sounding;
        self.between += other.between;
        self.frames += other.frames;
        for (sum, more) in self.causes.iter_mut().zip(other.causes) {
            *sum += more;
        }
        self.scraping += other.scraping;
        for (count, more) in self.mains.iter_mut().zip(other.mains) {
            *count += more;
        }
    }

    fn unwanted(&self) -> f64 {
        self.while_sounding + self.between
    }

    /// Power against the wanted one, dB; `None` when nothing wanted was heard.
    fn against_wanted(&self, power: f64) -> Option<f64> {
        (self.wanted > 0.0).then(|| (10.0 * (power / self.wanted).log10()).clamp(LIMITS_DB.0, LIMITS_DB.1))
    }

    /// Unwanted against wanted power, dB; `None` when nothing wanted was heard.
    pub(super) fn ratio_db(&self) -> Option<f64> {
        self.against_wanted(self.unwanted())
    }

    /// The mains frequency that was heard most, Hz.
    pub(super) fn mains_hz(&self) -> Option<u8> {
        let [fifty, sixty] = self.mains;
        (fifty + sixty > 0).then_some(if fifty >= sixty { 50 } else { 60 })
    }

    /// Every cause that is heard, with its power against the wanted one, dB: first the one that lies furthest above what
    /// can just be heard of its kind. If none is heard but the noise is, the place of it, where one stands out.
    pub(super) fn causes(&self) -> Vec<(NoiseCause, f64)> {
        let mut powers = [(NoiseCause::Hum, 0.0); CAUSES];
        let kinds = NoisePowers::default().each();
        for ((named, (kind, _)), sum) in powers.iter_mut().zip(kinds).zip(self.causes) {
            *named = (kind, sum);
        }
        let of = |cause| powers.iter().find(|p| p.0 == cause).map_or(0.0, |p| p.1);
        let (squeaks, buzz) = (of(NoiseCause::Squeaks), of(NoiseCause::Buzz));
        if squeaks > SQUEAKS_FOR_SURE * buzz {
            for (cause, power) in &mut powers {
                match cause {
                    NoiseCause::Squeaks => *power += buzz,
                    NoiseCause::Buzz => *power = 0.0,
                    _ => {}
                }
            }
        }
        let scraping = |cause| matches!(cause, NoiseCause::Squeaks | NoiseCause::Buzz);
        let mut heard: Vec<(NoiseCause, f64)> = powers
            .into_iter()
            .filter_map(|(cause, power)| Some((cause, self.against_wanted(power)?)))
            .filter(|(cause, db)| *db >= heard_db(*cause))
            .filter(|(cause, _)| !scraping(*cause) || self.scraping >= SQUEAK_FRAMES)
            .collect();
        heard.sort_by(|a, b| (b.1 - heard_db(b.0)).total_cmp(&(a.1 - heard_db(a.0))));
        if heard.is_empty() {
            let total = self.unwanted();
            let place =
                [(NoiseCause::BetweenNotes, self.between), (NoiseCause::UnderNotes, self.while_sounding)];
            heard.extend(
                place
                    .into_iter()
                    .filter(|(_, power)| *power >= STANDS_OUT * total)
                    .filter_map(|(cause, power)| Some((cause, self.against_wanted(power)?)))
                    .filter(|(cause, db)| *db >= heard_db(*cause)),
            );
        }
        heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(voiced: bool, wanted: f32, unwanted: f32, causes: NoisePowers) -> FrameReport {
        FrameReport {
            t: 0.0,
            w: 0.02,
            f0: voiced.then_some(110.0),
            confidence: 1.0,
            provisional: false,
            level_db: -20.0,
            wanted,
            unwanted,
            causes,
        }
    }

    fn sums(frames: &[FrameReport]) -> NoiseSums {
        let mut sums = NoiseSums::default();
        frames.iter().cycle().take(frames.len() * 100).for_each(|f| sums.add(f));
        sums
    }

    fn names(sums: &NoiseSums) -> Vec<NoiseCause> {
        sums.causes().into_iter().map(|c| c.0).collect()
    }

    #[test]
    fn noise_without_a_known_cause_is_named_by_its_place() {
        let none = NoisePowers::default();
        let clean = sums(&[frame(true, 1e-2, 1e-7, none)]);
        assert_eq!((clean.ratio_db().unwrap().round(), clean.causes()), (-50.0, vec![]));
        let between = sums(&[frame(true, 1e-2, 1e-6, none), frame(false, 0.0, 1e-3, none)]);
        assert_eq!(names(&between), [NoiseCause::BetweenNotes]);
        let under = sums(&[frame(true, 1e-2, 1e-3, none), frame(false, 0.0, 1e-6, none)]);
        assert_eq!(names(&under), [NoiseCause::UnderNotes]);
    }

    #[test]
    fn the_cause_that_is_heard_best_comes_first() {
        let hum = NoisePowers { hum: 1e-5, hiss: 1e-6, mains_hz: 60, ..NoisePowers::default() };
        let hum = sums(&[frame(true, 1e-2, 2e-5, hum)]);
        assert_eq!(names(&hum), [NoiseCause::Hum, NoiseCause::Hiss]);
        assert_eq!((hum.causes()[0].1.round(), hum.mains_hz()), (-30.0, Some(60)));
        let faint = NoisePowers { hum: 1e-7, ringing: 1e-6, ..NoisePowers::default() };
        assert_eq!(names(&sums(&[frame(true, 1e-2, 1e-6, faint)])), []);
    }

    #[test]
    fn a_squeak_as_long_as_a_note_is_no_buzz() {
        let of = |squeaks, buzz| {
            names(&sums(&[frame(true, 1e-2, 1e-3, NoisePowers { squeaks, buzz, ..NoisePowers::default() })]))
        };
        assert_eq!(of(3e-4, 8e-4), [NoiseCause::Squeaks]);
        assert_eq!(of(5e-7, 8e-4), [NoiseCause::Buzz]);
    }

    #[test]
    fn stretches_add_up() {
        let powers = NoisePowers { ringing: 1e-3, mains_hz: 50, ..NoisePowers::default() };
        let one = sums(&[frame(true, 1e-2, 1e-3, powers)]);
        let mut two = NoiseSums::default();
        two.merge(&one);
        two.merge(&one);
        assert_eq!((two.causes(), two.mains_hz()), (one.causes(), one.mains_hz()));
    }

    #[test]
    fn silence_and_nonsense_measure_nothing() {
        assert_eq!((NoiseSums::default().ratio_db(), NoiseSums::default().causes()), (None, vec![]));
        let none = NoisePowers::default();
        let odd = sums(&[
            frame(true, f32::NAN, 1.0, none),
            frame(true, 1.0, -1.0, none),
            frame(true, f32::INFINITY, 0.0, none),
        ]);
        assert_eq!((odd.ratio_db(), odd.frames), (None, 0));
        assert_eq!(sums(&[frame(true, 1.0, 0.0, none)]).ratio_db(), Some(-120.0));
        let wild = NoisePowers { hum: f32::NAN, hiss: f32::INFINITY, squeaks: -1.0, ..none };
        assert_eq!(names(&sums(&[frame(true, 1.0, 1e-9, wild)])), []);
    }
}

//! Was the string struck anew, or does it ring on?
//!
//! A string that rings on undisturbed keeps the phase of each partial: what was heard just before an onset foretells
//! what is heard after it, less some decay. A stroke starts every partial at a new phase. Noise (a squeak, a knock, the
//! other hand) is loud but leaves the phases alone. So the share of the partials' energy that the past does not
//! foretell tells a repeated note from a noise over a ringing one, whatever their levels.
use super::LOW_RATE;
use super::filter::{LOW_LEN, LowHistory};
use super::fit::{LENGTHS, Partials};

/// Partials that are compared.
const PARTIALS: usize = 6;
/// Highest of them, Hz: above, a slight change of pitch turns the phase too far.
const TOP_HZ: f32 = 2500.0;
/// Periods that a window should hold.
const PERIODS: f32 = 4.5;
/// Decimated samples before an onset that are left out: the filter's delay and the uncertainty of the onset.
const GUARD: usize = 24;

#[derive(Clone, Copy, Default)]
struct Line {
    hz: f32,
    re: f32,
    im: f32,
}

/// The partials of the sounding string just before an onset.
#[derive(Clone, Copy)]
pub(crate) struct Before {
    f0: f32,
    lines: [Line; PARTIALS],
    count: usize,
    /// Start of the window before the onset, decimated samples.
    lead: usize,
}

impl Before {
    /// Measures a string of pitch `f0` that has sounded for `age` decimated samples when an onset came, `back` decimated
    /// samples ago. `None` if that leaves too little to measure.
    pub(crate) fn measure(
        partials: &Partials,
        low: &LowHistory,
        f0: f32,
        back: usize,
        age: usize,
    ) -> Option<Self> {
        let end = LOW_LEN.checked_sub(back + GUARD)?;
        let x = &low.all()[..end];
        let w = Partials::choose(f0, PERIODS, end.min(age))?;
        let mut before = Self { f0, lines: [Line::default(); PARTIALS], count: 0, lead: LENGTHS[w] + GUARD };
        for k in 1..=PARTIALS {
            let place = k as f32 * f0;
            if place > TOP_HZ && k > 2 {
                break;
            }
            if let Some(hz) = partials.measure(x, w, place).near(place) {
                let (re, im) = partials.phasor(x, w, hz);
                before.lines[before.count] = Line { hz, re, im };
                before.count += 1;
            }
        }
        (before.count > 0).then_some(before)
    }

    /// Share, 0..1, of the energy now in these partials that the string before the onset, `back` decimated samples ago,
    /// does not account for. `None` if too little has been heard since.
    pub(crate) fn novelty(&self, partials: &Partials, low: &LowHistory, back: usize) -> Option<f32> {
        let w = Partials::choose(self.f0, PERIODS, back.saturating_sub(GUARD))?;
        // From window to window; the newest one ends `back` after the onset.
        let lapse = (self.lead + back - LENGTHS[w]) as f32;
        let (mut new, mut all) = (0.0f32, 0.0f32);
        for line in &self.lines[..self.count] {
            let (re, im) = partials.phasor(low.all(), w, line.hz);
            let (s, c) = (std::f32::consts::TAU * (line.hz * lapse / LOW_RATE).fract()).sin_cos();
            let (pr, pi) = (line.re * c - line.im * s, line.re * s + line.im * c);
            let energy = re * re + im * im;
            let past = pr * pr + pi * pi;
            // The share of the past that is left: at most all of it.
            let left = if past > 0.0 { ((re * pr + im * pi) / past).clamp(0.0, 1.0) } else { 0.0 };
            new += (re - left * pr).powi(2) + (im - left * pi).powi(2);
            all += energy;
        }
        (all > 0.0).then(|| new / all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsp::testsig::Random;

    /// Decimated samples since the stroke in question.
    const BACK: usize = 560;

    /// The novelty of a decaying string of pitch `hz`, struck anew at another phase or not, with noise (rms) set in.
    fn novelty(hz: f32, again: bool, noise: f32) -> f32 {
        let (partials, mut random) = (Partials::new(), Random::new(3));
        let mut low = LowHistory::new();
        let at = LOW_LEN - BACK;
        let x: Vec<f32> = (0..LOW_LEN)
            .map(|i| {
                let struck = again && i >= at;
                let age = (if struck { i - at } else { i + 2000 }) as f32 / LOW_RATE;
                let string: f32 = (1..8)
                    .map(|k| {
                        let k = k as f32;
                        let turn = (k * hz * age).fract() + if struck { 0.3 * k } else { 0.0 };
                        0.2 / k * (-age * (1.0 + k)).exp() * (std::f32::consts::TAU * turn).sin()
                    })
                    .sum();
                string + if i >= at { noise * random.normal() } else { 0.0 }
            })
            .collect();
        for hop in x.as_chunks().0 {
            low.push(hop);
        }
        let before = Before::measure(&partials, &low, hz, BACK, 4000).expect("enough was heard before");
        before.novelty(&partials, &low, BACK).expect("and after")
    }

    #[test]
    fn a_stroke_is_new_and_noise_over_a_ringing_string_is_not() {
        for hz in [82.4, 110.0, 196.0, 440.0, 659.3] {
            assert!(novelty(hz, false, 0.0) < 0.02, "{hz}: {}", novelty(hz, false, 0.0));
            // As loud as the string.
            assert!(novelty(hz, false, 0.1) < 0.2, "{hz}: {}", novelty(hz, false, 0.1));
            assert!(novelty(hz, true, 0.0) > 0.5, "{hz}: {}", novelty(hz, true, 0.0));
            assert!(novelty(hz, true, 0.1) > 0.5, "{hz}: {}", novelty(hz, true, 0.1));
        }
    }

    #[test]
    fn too_little_sound_tells_nothing() {
        let (partials, low) = (Partials::new(), LowHistory::new());
        assert!(Before::measure(&partials, &low, 82.4, 300, 100).is_none());
        assert!(Before::measure(&partials, &low, 82.4, LOW_LEN + 5, 4000).is_none());
    }
}

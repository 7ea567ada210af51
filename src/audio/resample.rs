//! Any rate to any other, without allocation after construction, fed in blocks of any size, with its delay taken out.
//!
//! rubato's FFT resampler where the two rates share small factors (all usual ones), its sinc interpolator for odd rates.
//! The first output sample belongs to the first input sample: the filter's delay is dropped at the start and made up for
//! with silence at the end, so a position in the output, divided by its rate, is a time of the input.

use audioadapter_buffers::direct::SequentialSlice;
use rubato::{Async, Fft, FixedAsync, FixedSync, SincInterpolationParameters, WindowFunction};

use crate::audio::AudioError;

/// Input samples a step, seconds: what the resampler itself adds to the wait for an estimate. Shorter blocks would
/// narrow the filter's pass band.
const STEP_SECONDS: f64 = 0.006;

/// Longest FFT block, input samples, before the sinc interpolator takes over.
const LONGEST_STEP: usize = 2048;

/// Length of the sinc interpolator's filter: delay 64 samples, stop band below -100 dB.
const SINC_LENGTH: usize = 128;

/// One mono resampler.
pub struct Resampler {
    inner: Box<dyn rubato::Resampler<f32>>,
    from: u32,
    to: u32,
    /// Collects one step of input.
    input: Vec<f32>,
    filled: usize,
    output: Vec<f32>,
    /// Output samples still to be dropped at the start.
    trim: usize,
    taken: u64,
    given: u64,
}

impl std::fmt::Debug for Resampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Resampler({} Hz to {} Hz)", self.from, self.to)
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Resampler {
    /// From `from` Hz to `to` Hz.
    ///
    /// # Errors
    /// [`AudioError::Format`] for a rate below 1 kHz or above 1 MHz: no sound has it.
    pub fn new(from: u32, to: u32) -> Result<Self, AudioError> {
        for rate in [from, to] {
            if !(1_000..=1_000_000).contains(&rate) {
                return Err(AudioError::Format(format!(
                    "a sample rate of {rate} Hz cannot be used; 8000 to 192000 Hz can"
                )));
            }
        }
        let refused = |e: &dyn std::fmt::Display| {
            AudioError::Format(format!("{from} Hz cannot be resampled to {to} Hz: {e}"))
        };
        // An even block: the FFT filter's centre lies at half of it, and rubato rounds (441 samples are off by half a one).
        let block = (from / gcd(from, to)) as usize;
        let block = block * (1 + block % 2);
        let step = ((f64::from(from) * STEP_SECONDS) as usize).max(1).div_ceil(block) * block;
        let inner: Box<dyn rubato::Resampler<f32>> = if step <= LONGEST_STEP {
            let fft = Fft::<f32>::new_custom(
                from as usize,
                to as usize,
                step,
                1,
                1,
                WindowFunction::BlackmanHarris2,
                FixedSync::Input,
            );
            Box::new(fft.map_err(|e| refused(&e))?)
        } else {
            let step = ((f64::from(from) * STEP_SECONDS) as usize).max(64);
            let filter = SincInterpolationParameters::new(SINC_LENGTH, WindowFunction::BlackmanHarris2);
            let ratio = f64::from(to) / f64::from(from);
            let sinc = Async::<f32>::new_sinc(ratio, 1.0, &filter, step, 1, FixedAsync::Input);
            Box::new(sinc.map_err(|e| refused(&e))?)
        };
        let input = vec![0.0; inner.input_frames_max()];
        let output = vec![0.0; inner.output_frames_max()];
        let trim = inner.output_delay();
        Ok(Self { inner, from, to, input, filled: 0, output, trim, taken: 0, given: 0 })
    }

    /// Input rate, Hz.
    #[must_use]
    pub fn from(&self) -> u32 {
        self.from
    }

    /// Output rate, Hz.
    #[must_use]
    pub fn to(&self) -> u32 {
        self.to
    }

    /// How long after an input sample its output can come, seconds: one step and the filter's delay. It shifts no time
    /// stamp (the output is aligned with the input), it only makes results wait.
    #[must_use]
    pub fn wait_seconds(&self) -> f64 {
        self.input.len() as f64 / f64::from(self.from) + self.inner.output_delay() as f64 / f64::from(self.to)
    }

    /// Feeds any number of samples and hands on what is ready, in pieces.
    pub fn push(&mut self, mut samples: &[f32], out: &mut dyn FnMut(&[f32])) {
        self.taken += samples.len() as u64;
        while !samples.is_empty() {
            let want = self.inner.input_frames_next();
            let n = (want - self.filled).min(samples.len());
            let (now, later) = samples.split_at(n);
            self.input[self.filled..self.filled + n].copy_from_slice(now);
            self.filled += n;
            samples = later;
            if self.filled == want {
                self.filled = 0;
                self.step(want, u64::MAX, out);
            }
        }
    }

    /// Hands on the rest: afterwards output and input have the same length in seconds. The next push starts anew.
    pub fn finish(&mut self, out: &mut dyn FnMut(&[f32])) {
        let due = (u128::from(self.taken) * u128::from(self.to) + u128::from(self.from / 2))
            / u128::from(self.from);
        let due = u64::try_from(due).unwrap_or(u64::MAX);
        while self.given < due {
            let want = self.inner.input_frames_next();
            self.input[self.filled..want].fill(0.0);
            self.filled = 0;
            let before = (self.given, self.trim);
            self.step(want, due - self.given, out);
            if before == (self.given, self.trim) {
                break; // A resampler that gives nothing for a whole step would loop for ever.
            }
        }
        self.inner.reset();
        self.trim = self.inner.output_delay();
        (self.filled, self.taken, self.given) = (0, 0, 0);
    }

    fn step(&mut self, frames: usize, most: u64, out: &mut dyn FnMut(&[f32])) {
        let room = self.output.len();
        let (Ok(input), Ok(mut output)) = (
            SequentialSlice::new(&self.input[..frames], 1, frames),
            SequentialSlice::new_mut(&mut self.output, 1, room),
        ) else {
            return;
        };
        // The buffers have the sizes that the resampler itself named, so it cannot refuse them.
        let Ok((_, made)) = self.inner.process_into_buffer(&input, &mut output, None) else { return };
        let skip = self.trim.min(made);
        self.trim -= skip;
        let give = usize::try_from(most).unwrap_or(usize::MAX).min(made - skip);
        if give > 0 {
            self.given += give as u64;
            out(&self.output[skip..skip + give]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::TAU;

    fn convert(from: u32, to: u32, input: &[f32], block: usize) -> Vec<f32> {
        let mut resampler = Resampler::new(from, to).unwrap();
        let mut all = Vec::new();
        for piece in input.chunks(block) {
            resampler.push(piece, &mut |out| all.extend_from_slice(out));
        }
        resampler.finish(&mut |out| all.extend_from_slice(out));
        all
    }

    fn sine(rate: u32, hz: f64, frames: usize) -> Vec<f32> {
        (0..frames).map(|i| (TAU * hz * i as f64 / f64::from(rate)).sin() as f32).collect()
    }

    const RATES: [u32; 9] = [8_000, 22_050, 32_000, 44_100, 44_056, 88_200, 96_000, 176_400, 192_000];

    /// The interpolator for odd rates has a fractional delay, of which whole samples are taken out: 10 µs remain at most.
    fn within(rate: u32) -> f64 {
        if rate == 44_056 { 0.5 } else { 0.03 }
    }

    #[test]
    fn a_sine_stays_where_it_was_in_time_at_every_rate() {
        for rate in RATES {
            let hz = 440.0;
            let got = convert(rate, 48_000, &sine(rate, hz, rate as usize), 333);
            assert_eq!(got.len(), 48_000, "{rate}: as long as the input");
            // Phase against the ideal sine, away from both ends.
            let (mut re, mut im, mut power) = (0.0, 0.0, 0.0);
            for (i, x) in got.iter().enumerate().take(40_000).skip(4_000) {
                let phase = TAU * hz * i as f64 / 48_000.0;
                re += f64::from(*x) * phase.sin();
                im += f64::from(*x) * phase.cos();
                power += f64::from(*x) * f64::from(*x);
            }
            let shift = im.atan2(re) / (TAU * hz) * 48_000.0;
            assert!(shift.abs() < within(rate), "{rate}: shifted by {shift:.4} samples");
            let level = (power / 36_000.0 * 2.0).sqrt();
            assert!((level - 1.0).abs() < 1e-3, "{rate}: level {level}");
        }
    }

    #[test]
    fn a_pulse_stays_where_it_was_in_time_at_every_rate() {
        for rate in RATES {
            let mut input = vec![0.0; rate as usize / 2];
            let at = rate as usize / 4;
            // A smooth pulse, 2 ms wide: all of it within the pass band of every rate.
            for (i, x) in input.iter_mut().enumerate() {
                let t = (i as f64 - at as f64) / f64::from(rate) / 0.001;
                *x = (-t * t).exp() as f32;
            }
            let got = convert(rate, 48_000, &input, 1024);
            let weight: f64 = got.iter().map(|x| f64::from(*x)).sum();
            let centre: f64 =
                got.iter().enumerate().map(|(i, x)| i as f64 * f64::from(*x)).sum::<f64>() / weight;
            let want = at as f64 / f64::from(rate) * 48_000.0;
            assert!((centre - want).abs() < within(rate), "{rate}: {centre:.3} instead of {want:.3}");
        }
    }

    #[test]
    fn the_size_of_the_blocks_changes_nothing() {
        for rate in [44_100, 96_000, 44_056] {
            let input = sine(rate, 1234.5, 20_000);
            let whole = convert(rate, 48_000, &input, 20_000);
            for block in [1, 7, 441, 1023] {
                assert_eq!(convert(rate, 48_000, &input, block), whole, "{rate} in blocks of {block}");
            }
        }
    }

    #[test]
    fn it_can_be_used_again_after_the_end() {
        let input = sine(44_100, 440.0, 10_000);
        let mut resampler = Resampler::new(44_100, 48_000).unwrap();
        let mut run = || {
            let mut all = Vec::new();
            resampler.push(&input, &mut |out| all.extend_from_slice(out));
            resampler.finish(&mut |out| all.extend_from_slice(out));
            all
        };
        let first = run();
        assert_eq!(first, run());
        assert_eq!(first.len(), 10_884);
    }

    #[test]
    fn what_lies_above_the_new_nyquist_frequency_is_gone() {
        let got = convert(96_000, 48_000, &sine(96_000, 30_000.0, 48_000), 512);
        let peak = got[2000..22_000].iter().fold(0.0_f32, |m, x| m.max(x.abs()));
        assert!(peak < 1e-3, "an alias of {peak}");
    }

    #[test]
    fn impossible_rates_are_refused() {
        for rate in [0, 999, 2_000_000] {
            let error = Resampler::new(rate, 48_000).unwrap_err().to_string();
            assert!(error.contains(&rate.to_string()), "{error}");
        }
        assert!(Resampler::new(8_000, 48_000).unwrap().wait_seconds() < 0.05);
    }
}

//! The one real FFT of this module: planned once, then without allocation.
use std::sync::Arc;

use realfft::num_complex::Complex32;
use realfft::{RealFftPlanner, RealToComplex};

/// See the module.
pub(crate) struct Transform {
    fft: Arc<dyn RealToComplex<f32>>,
    input: Vec<f32>,
    spectrum: Vec<Complex32>,
    scratch: Vec<Complex32>,
}

impl Transform {
    /// Plans a transform of `size` real samples.
    pub(crate) fn new(size: usize) -> Self {
        let fft = RealFftPlanner::<f32>::new().plan_fft_forward(size);
        Self {
            input: fft.make_input_vec(),
            spectrum: fft.make_output_vec(),
            scratch: fft.make_scratch_vec(),
            fft,
        }
    }

    /// Spectrum, `size / 2 + 1` bins, of `x` under `window`; where the shorter of them ends, zeros follow.
    pub(crate) fn under(&mut self, x: &[f32], window: &[f32]) -> &[Complex32] {
        let n = x.len().min(window.len()).min(self.input.len());
        for ((i, x), w) in self.input.iter_mut().zip(x).zip(window) {
            *i = x * w;
        }
        self.input[n..].fill(0.0);
        self.spectrum()
    }

    /// The same of samples that are windowed already; at most `size` of them are taken.
    pub(crate) fn of(&mut self, x: impl Iterator<Item = f32>) -> &[Complex32] {
        self.input.fill(0.0);
        for (i, x) in self.input.iter_mut().zip(x) {
            *i = x;
        }
        self.spectrum()
    }

    fn spectrum(&mut self) -> &[Complex32] {
        // Lengths are fixed at construction, so this cannot fail; were it to, it would read as silence.
        if self.fft.process_with_scratch(&mut self.input, &mut self.spectrum, &mut self.scratch).is_err() {
            self.spectrum.fill(Complex32::default());
        }
        &self.spectrum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_stretch_is_followed_by_silence_whatever_was_there_before() {
        let (ones, window) = ([1.0f32; 16], [0.5f32; 16]);
        let mut used = Transform::new(16);
        used.under(&ones, &window);
        let padded: Vec<f32> = [[0.5f32; 8], [0.0; 8]].concat();
        let expected = Transform::new(16).of(padded.into_iter()).to_vec();
        assert_eq!(used.under(&ones[..8], &window), expected);
        assert_eq!(used.of(ones[..8].iter().map(|x| 0.5 * x)), expected);
        assert_eq!(used.under(&ones, &window)[0].re, 8.0);
    }
}

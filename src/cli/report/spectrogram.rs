//! A picture of the sound: level over time and frequency, in constant memory a column.
//!
//! Short-time Fourier transform with a Hann window; the bins are gathered into rows a quarter tone high, so that the
//! picture lines up with notes and not with hertz.

use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

use crate::audio::ANALYSIS_RATE;

/// Time between two columns, seconds: a sixteenth at 150 bpm has two.
pub const COLUMN_SECONDS: f64 = 0.05;
/// The same in samples.
const COLUMN: usize = (ANALYSIS_RATE / 20) as usize;
/// Samples of the transform: bins of 5.9 Hz, so that E2 and F2 (4.9 Hz apart) just come apart.
const LENGTH: usize = 8192;
/// Rows of an octave.
const ROWS_PER_OCTAVE: f64 = 24.0;
/// Lowest frequency, Hz (A1): the low E lies seven semitones above it.
pub const LOWEST_HZ: f64 = 55.0;
/// Rows of the picture: six octaves and a half, up to 5 kHz.
pub const ROWS: usize = 156;
/// What is stored: decibels of full scale above this, as whole numbers.
const FLOOR_DB: f64 = -120.0;
/// The picture reaches so far below its loudest point, dB.
const SHOWN_DB: f64 = 66.0;
/// A picture quieter than this is not turned up: noise should look like noise, dBFS.
const QUIETEST_TOP_DB: f64 = -50.0;
/// Colours of the picture: four bits a point.
const LEVELS: usize = 16;
/// Quiet and loud. Both stand out on white and on black; how much they cover says how loud it was.
const QUIET: [f64; 3] = [70.0, 120.0, 190.0];
const LOUD: [f64; 3] = [226.0, 98.0, 40.0];

/// Levels of one moment, lowest frequency first, as dB above -120 dBFS.
pub type Column = [u8; ROWS];

/// Row (counted from the lowest, fractional) at which a frequency in Hz lies.
#[must_use]
pub fn row_of(hz: f64) -> f64 {
    ROWS_PER_OCTAVE * (hz / LOWEST_HZ).log2()
}

/// Turns samples into columns.
pub struct Spectrogram {
    transform: Arc<dyn RealToComplex<f32>>,
    window: Vec<f32>,
    /// Samples not yet used up, from the start of the next transform on.
    samples: Vec<f32>,
    input: Vec<f32>,
    output: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
    /// First bin of each row, and one past its last.
    rows: Vec<(usize, usize)>,
    columns: u64,
    taken: u64,
}

impl std::fmt::Debug for Spectrogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Spectrogram({} columns)", self.columns)
    }
}

impl Default for Spectrogram {
    fn default() -> Self {
        let transform = RealFftPlanner::new().plan_fft_forward(LENGTH);
        let hann = |i: usize| 0.5 - 0.5 * (std::f64::consts::TAU * i as f64 / LENGTH as f64).cos();
        let bin = f64::from(ANALYSIS_RATE) / LENGTH as f64;
        let edge = |row: f64| LOWEST_HZ * (row / ROWS_PER_OCTAVE).exp2() / bin;
        let rows = (0..ROWS)
            .map(|row| {
                let (low, high) = (edge(row as f64 - 0.5), edge(row as f64 + 0.5));
                let first = low.ceil() as usize;
                let end = high.ceil() as usize;
                // Low rows are narrower than a bin: the nearest one stands for them.
                if first < end {
                    (first, end)
                } else {
                    (edge(row as f64).round() as usize, edge(row as f64).round() as usize + 1)
                }
            })
            .collect();
        Self {
            window: (0..LENGTH).map(|i| hann(i) as f32).collect(),
            // The first column is centred half a column after the first sample.
            samples: vec![0.0; LENGTH / 2 - COLUMN / 2],
            input: transform.make_input_vec(),
            output: transform.make_output_vec(),
            scratch: transform.make_scratch_vec(),
            transform,
            rows,
            columns: 0,
            taken: 0,
        }
    }
}

impl Spectrogram {
    /// Takes samples at [`ANALYSIS_RATE`]; hands on each column with the time of its centre in seconds.
    pub fn push(&mut self, samples: &[f32], out: &mut impl FnMut(f64, Column)) {
        self.taken += samples.len() as u64;
        self.samples.extend_from_slice(samples);
        self.columns(out);
    }

    /// The sound has ended: hands on the columns that it still reaches into.
    pub fn finish(&mut self, out: &mut impl FnMut(f64, Column)) {
        let wanted = self.taken.div_ceil(COLUMN as u64);
        self.samples.resize(self.samples.len() + LENGTH, 0.0);
        while self.columns < wanted && self.samples.len() >= LENGTH {
            self.column(out);
        }
    }

    fn columns(&mut self, out: &mut impl FnMut(f64, Column)) {
        while self.samples.len() >= LENGTH {
            self.column(out);
        }
    }

    fn column(&mut self, out: &mut impl FnMut(f64, Column)) {
        for ((to, x), w) in self.input.iter_mut().zip(&self.samples).zip(&self.window) {
            *to = if x.is_finite() { x * w } else { 0.0 };
        }
        self.samples.drain(..COLUMN);
        // The buffers were made for this length by the plan itself.
        let done = self.transform.process_with_scratch(&mut self.input, &mut self.output, &mut self.scratch);
        debug_assert!(done.is_ok());
        let mut column = [0; ROWS];
        for (level, (first, end)) in column.iter_mut().zip(&self.rows) {
            let power = self.output[*first..*end].iter().map(Complex::norm_sqr).fold(0.0, f32::max);
            // A full-scale sine has this magnitude: half the sum of a Hann window.
            let full = LENGTH as f64 / 4.0;
            let db = 10.0 * (f64::from(power) / (full * full)).max(1e-30).log10();
            *level = (db - FLOOR_DB).clamp(0.0, -FLOOR_DB).round() as u8;
        }
        out((self.columns as f64 + 0.5) * COLUMN_SECONDS, column);
        self.columns += 1;
    }
}

/// The columns as a PNG image, a pixel each, highest frequency at the top; transparent where it was quiet. `None` for
/// no columns.
#[must_use]
pub fn png(columns: &[Column]) -> Option<Vec<u8>> {
    if columns.is_empty() {
        return None;
    }
    let loudest = columns.iter().flatten().copied().max().unwrap_or(0);
    let top = f64::from(loudest).max(QUIETEST_TOP_DB - FLOOR_DB);
    let level = |db: u8| {
        let share = (f64::from(db) - top + SHOWN_DB) / SHOWN_DB;
        (share * LEVELS as f64).clamp(0.0, (LEVELS - 1) as f64) as u8
    };
    let stride = columns.len().div_ceil(2);
    let mut pixels = vec![0u8; stride * ROWS];
    for (x, column) in columns.iter().enumerate() {
        for (row, &db) in column.iter().enumerate() {
            let y = ROWS - 1 - row;
            pixels[y * stride + x / 2] |= level(db) << if x % 2 == 0 { 4 } else { 0 };
        }
    }
    let (mut palette, mut alpha) = (Vec::new(), Vec::new());
    for i in 0..LEVELS {
        let share = i as f64 / (LEVELS - 1) as f64;
        palette.extend((0..3).map(|c| (QUIET[c] + (LOUD[c] - QUIET[c]) * share.powi(2)) as u8));
        alpha.push((255.0 * share.powf(1.3)) as u8);
    }
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, u32::try_from(columns.len()).ok()?, ROWS as u32);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Four);
    encoder.set_palette(palette);
    encoder.set_trns(alpha);
    encoder.set_compression(png::Compression::High);
    encoder.set_filter(png::Filter::NoFilter);
    let mut writer = encoder.write_header().ok()?;
    writer.write_image_data(&pixels).ok()?;
    writer.finish().ok()?;
    Some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns_of(samples: &[f32], block: usize) -> Vec<(f64, Column)> {
        let (mut s, mut all) = (Spectrogram::default(), Vec::new());
        for part in samples.chunks(block) {
            s.push(part, &mut |t, c| all.push((t, c)));
        }
        s.finish(&mut |t, c| all.push((t, c)));
        all
    }

    #[test]
    fn a_tone_stands_in_its_row_at_its_level_and_time() {
        let rate = f64::from(ANALYSIS_RATE);
        let tone = |i: usize| (std::f64::consts::TAU * 440.0 * i as f64 / rate).sin();
        // Silence, then half a second of A4 at -6 dBFS.
        let samples: Vec<f32> =
            (0..48_000).map(|i| if i < 24_000 { 0.0 } else { 0.501 * tone(i) as f32 }).collect();
        let columns = columns_of(&samples, 1000);
        assert_eq!(columns.len(), 20);
        assert!((columns[0].0 - 0.025).abs() < 1e-12 && (columns[19].0 - 0.975).abs() < 1e-12);
        let (_, middle) = columns[15];
        let loudest = (0..ROWS).max_by_key(|&r| middle[r]).unwrap();
        assert_eq!(loudest as f64, row_of(440.0).round());
        assert!((f64::from(middle[loudest]) + FLOOR_DB + 6.0).abs() <= 1.5, "{}", middle[loudest]);
        assert_eq!(columns[4].1.iter().max(), Some(&0), "silence is silent");
    }

    #[test]
    fn blocks_make_no_difference() {
        let samples: Vec<f32> = (0..30_000).map(|i| ((i * i) as f32 * 0.001).sin()).collect();
        assert_eq!(columns_of(&samples, 7), columns_of(&samples, 30_000));
    }

    #[test]
    fn the_picture_is_a_png_of_that_size_and_noise_is_not_turned_up() {
        assert_eq!(png(&[]), None);
        for count in [1usize, 2, 7] {
            let file = png(&vec![[100; ROWS]; count]).unwrap();
            let reader = png::Decoder::new(std::io::Cursor::new(&file)).read_info().unwrap();
            assert_eq!((reader.info().width as usize, reader.info().height as usize), (count, ROWS));
        }
        let decoded = |level: u8| {
            let file = png(&[[level; ROWS], [level; ROWS]]).unwrap();
            let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
            let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
            reader.next_frame(&mut pixels).unwrap();
            pixels[0] >> 4
        };
        assert_eq!(decoded(100), 15);
        assert!(decoded(20) < 6, "-100 dBFS is drawn as quiet: {}", decoded(20));
    }
}

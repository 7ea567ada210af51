//! Sound files, and what a test asks of a recording: how loud, where is speech, where does this phrase begin, did
//! two voices ever speak at once.

use std::path::Path;

use realfft::RealFftPlanner;

/// Silence that ends a burst of speech, seconds: longer than the pauses inside a sentence, shorter than those
/// between two utterances.
const BURST_GAP: f64 = 0.4;
/// Frame over which loudness is measured, seconds.
const FRAME: f64 = 0.01;
/// RMS of a frame that counts as sound, −50 dBFS: far below speech, far above the zeros of the rig's silent devices.
const SOUND_RMS: f64 = 0.003_16;

/// A sound file in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Wav {
    /// Frames per second.
    pub rate: u32,
    /// Channels per frame.
    pub channels: u16,
    /// Interleaved samples, −1..1.
    pub samples: Vec<f32>,
}

impl Wav {
    /// A mono file.
    pub fn mono(rate: u32, samples: Vec<f32>) -> Self {
        Self { rate, channels: 1, samples }
    }

    /// Reads integer or float WAV.
    #[track_caller]
    pub fn read(path: &Path) -> Self {
        let mut reader = hound::WavReader::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let spec = reader.spec();
        let samples: Result<Vec<f32>, _> = match spec.sample_format {
            hound::SampleFormat::Float => reader.samples::<f32>().collect(),
            hound::SampleFormat::Int => {
                let full = 2f32.powi(i32::from(spec.bits_per_sample) - 1);
                reader.samples::<i32>().map(|s| s.map(|s| s as f32 / full)).collect()
            }
        };
        let samples = samples.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self { rate: spec.sample_rate, channels: spec.channels, samples }
    }

    /// Writes 32-bit float WAV.
    ///
    /// By hand, since `hound` marks a mono file as "front left", which PulseAudio takes at its word: only one of two
    /// speakers would sound.
    #[track_caller]
    pub fn write(&self, path: &Path) {
        const IEEE_FLOAT: u16 = 3;
        let frame = 4 * self.channels;
        let size = u32::try_from(4 * self.samples.len()).expect("a WAV file holds less than 4 GiB");
        let mut file = Vec::with_capacity(44 + size as usize);
        file.extend_from_slice(b"RIFF");
        file.extend_from_slice(&(36 + size).to_le_bytes());
        file.extend_from_slice(b"WAVEfmt ");
        file.extend_from_slice(&16_u32.to_le_bytes());
        file.extend_from_slice(&IEEE_FLOAT.to_le_bytes());
        file.extend_from_slice(&self.channels.to_le_bytes());
        file.extend_from_slice(&self.rate.to_le_bytes());
        file.extend_from_slice(&(self.rate * u32::from(frame)).to_le_bytes());
        file.extend_from_slice(&frame.to_le_bytes());
        file.extend_from_slice(&32_u16.to_le_bytes());
        file.extend_from_slice(b"data");
        file.extend_from_slice(&size.to_le_bytes());
        file.extend(self.samples.iter().flat_map(|sample| sample.to_le_bytes()));
        std::fs::write(path, file).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }

    /// All channels mixed to one.
    pub fn to_mono(&self) -> Vec<f32> {
        let n = usize::from(self.channels);
        self.samples.chunks_exact(n).map(|frame| frame.iter().sum::<f32>() / n as f32).collect()
    }

    /// Length, seconds.
    pub fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(self.channels) / f64::from(self.rate)
    }
}

/// Root mean square; 0 for no samples.
pub fn rms(samples: &[f32]) -> f64 {
    if samples.is_empty() {
        return 0.0;
    }
    (energy(samples) / samples.len() as f64).sqrt()
}

fn energy(samples: &[f32]) -> f64 {
    samples.iter().map(|&s| f64::from(s).powi(2)).sum()
}

/// Adds `other` to `base` from sample `at` on, `level_db` louder than `base` by their RMS (−6: half as loud).
/// What would stand past the end of `base` is left out. The RMS is taken over the whole of each, silence included.
pub fn mix_at_level(base: &mut [f32], other: &[f32], at: usize, level_db: f64) {
    let own = rms(other);
    assert!(own > 0.0, "a silent sound has no level to be mixed at");
    let gain = (rms(base) / own * 10f64.powf(level_db / 20.0)) as f32;
    for (to, &from) in base.iter_mut().skip(at).zip(other) {
        *to += gain * from;
    }
}

/// Where there is sound, in seconds from the start: stretches that at least 0.4 s of silence keep apart.
pub fn speech_bursts(samples: &[f32], rate: u32) -> Vec<(f64, f64)> {
    let frame = ((f64::from(rate) * FRAME) as usize).max(1);
    let mut bursts: Vec<(f64, f64)> = Vec::new();
    for (i, chunk) in samples.chunks(frame).enumerate() {
        if rms(chunk) < SOUND_RMS {
            continue;
        }
        let start = (i * frame) as f64 / f64::from(rate);
        let end = (i * frame + chunk.len()) as f64 / f64::from(rate);
        match bursts.last_mut() {
            Some(last) if start - last.1 < BURST_GAP => last.1 = end,
            _ => bursts.push((start, end)),
        }
    }
    bursts
}

/// Where one sound stands in another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placement {
    /// Sample of the longer sound at which the shorter one begins.
    pub offset: usize,
    /// Normalised correlation there, −1..1; 1: the same but for its level.
    pub correlation: f64,
    /// Level there over its own level (least squares).
    pub gain: f64,
}

/// Finds `needle` in `haystack` by normalised cross-correlation over every place where it fits whole; `None` when it
/// fits nowhere or either is silent.
pub fn align(needle: &[f32], haystack: &[f32]) -> Option<Placement> {
    let places = haystack.len().checked_sub(needle.len())? + 1;
    let needle_energy = energy(needle);
    if needle_energy == 0.0 || energy(haystack) == 0.0 {
        return None;
    }
    let products = correlate(needle, haystack);
    // Energy under the needle at each place, from running sums.
    let mut sums = Vec::with_capacity(haystack.len() + 1);
    sums.push(0.0);
    for &sample in haystack {
        sums.push(sums[sums.len() - 1] + f64::from(sample).powi(2));
    }
    // Places with next to nothing under the needle would divide rounding errors by nearly zero.
    let floor = needle_energy.min(sums[haystack.len()]) * 1e-9;
    (0..places)
        .filter_map(|at| {
            let under = sums[at + needle.len()] - sums[at];
            (under > floor).then(|| Placement {
                offset: at,
                correlation: products[at] / (under * needle_energy).sqrt(),
                gain: products[at] / needle_energy,
            })
        })
        .max_by(|a, b| a.correlation.total_cmp(&b.correlation))
}

/// Sum over `i` of `needle[i] * haystack[i + k]`, for each `k` from 0.
fn correlate(needle: &[f32], haystack: &[f32]) -> Vec<f64> {
    let size = (needle.len() + haystack.len()).next_power_of_two();
    let mut planner = RealFftPlanner::<f64>::new();
    let (forward, inverse) = (planner.plan_fft_forward(size), planner.plan_fft_inverse(size));
    let spectrum = |samples: &[f32]| {
        let mut padded: Vec<f64> = samples.iter().map(|&s| f64::from(s)).collect();
        padded.resize(size, 0.0);
        let mut out = forward.make_output_vec();
        forward.process(&mut padded, &mut out).expect("buffers were made for this size");
        out
    };
    let mut product = spectrum(haystack);
    for (h, n) in product.iter_mut().zip(spectrum(needle)) {
        *h *= n.conj() / size as f64;
    }
    // A real signal has real first and last bins; rounding must not make them anything else.
    product[0].im = 0.0;
    product[size / 2].im = 0.0;
    let mut out = inverse.make_output_vec();
    inverse.process(&mut product, &mut out).expect("buffers were made for this size");
    out
}

/// Checks a recording against the `voices` that should be on it, each once and cut off anywhere or whole: every one
/// is found, and nothing else sounds while it speaks, but for `fade` seconds around the change from one to the next.
/// All are mono at `rate`; the voices differ from each other. Returns where each was heard, in seconds.
///
/// # Errors
/// Says which voice was not found, or when what sounded at once.
pub fn one_voice_at_a_time(
    recording: &[f32],
    rate: u32,
    voices: &[&[f32]],
    fade: f64,
) -> Result<Vec<(f64, f64)>, String> {
    /// Beginning of a voice by which it is found: long enough to be like no other, short enough to survive a cut.
    const HEAD: f64 = 0.5;
    /// Alone, a voice that went through resampling and a device correlates above 0.95; under another as loud, at 0.7.
    const FOUND: f64 = 0.8;
    /// A voice frame that is this like the recording is heard (noise and other speech stay below).
    const HEARD: f64 = 0.5;
    /// Below, a fifth of the energy is something else.
    const ALONE: f64 = 0.9;
    /// Share of the frames that may fall below: consonants near the noise floor.
    const DOUBTFUL: f64 = 0.1;

    let seconds = |sample: usize| sample as f64 / f64::from(rate);
    let frame = rate as usize / 50;
    let mut heard = Vec::new();
    for (index, voice) in voices.iter().enumerate() {
        let Some(&(lead, _)) = speech_bursts(voice, rate).first() else {
            return Err(format!("voice {index} is silent"));
        };
        let voice = &voice[(lead * f64::from(rate)).round() as usize..];
        let head = &voice[..voice.len().min((HEAD * f64::from(rate)) as usize)];
        let place = align(head, recording).ok_or(format!("the recording is shorter than voice {index}"))?;
        if place.correlation < FOUND {
            return Err(format!(
                "voice {index} is not on the recording, or not alone: its beginning fits best at {:.2} s, with \
                 correlation {:.2}",
                seconds(place.offset),
                place.correlation
            ));
        }
        let mut likeness = Vec::new();
        for (i, own) in voice.chunks_exact(frame).enumerate() {
            let at = place.offset + i * frame;
            let Some(there) = recording.get(at..at + frame) else { break };
            if rms(own) < SOUND_RMS {
                continue;
            }
            let product: f64 = own.iter().zip(there).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            let norm = (energy(own) * energy(there)).sqrt();
            likeness.push((at, if norm > 0.0 { product / norm } else { 0.0 }));
        }
        let Some(last) = likeness.iter().rposition(|&(_, c)| c > HEARD) else {
            return Err(format!("voice {index} is not on the recording"));
        };
        let end = likeness[last].0 + frame;
        let doubtful: Vec<f64> = likeness[..=last]
            .iter()
            .filter(|&&(at, c)| c < ALONE && seconds(end - at) > fade && seconds(at - place.offset) > fade)
            .map(|&(at, _)| seconds(at))
            .collect();
        if doubtful.len() as f64 > DOUBTFUL * (last + 1) as f64 {
            return Err(format!(
                "while voice {index} speaks ({:.2} to {:.2} s) something else sounds, first at {:.2} s",
                seconds(place.offset),
                seconds(end),
                doubtful[0]
            ));
        }
        heard.push((seconds(place.offset), seconds(end)));
    }
    for (i, a) in heard.iter().enumerate() {
        for (j, b) in heard.iter().enumerate().skip(i + 1) {
            let both = a.1.min(b.1) - a.0.max(b.0);
            if both > fade {
                return Err(format!(
                    "voices {i} and {j} speak at once for {both:.2} s from {:.2} s on",
                    a.0.max(b.0)
                ));
            }
        }
    }
    Ok(heard)
}

/// Changes the rate by windowed sinc, with no delay. Slow and good: for references, not for products.
pub fn resample(samples: &[f32], from: u32, to: u32) -> Vec<f32> {
    /// Zero crossings of the sinc to each side.
    const ZEROS: f64 = 24.0;
    let ratio = f64::from(to) / f64::from(from);
    let cutoff = ratio.min(1.0);
    let reach = ZEROS / cutoff;
    let length = (samples.len() as f64 * ratio) as usize;
    (0..length)
        .map(|i| {
            let centre = i as f64 / ratio;
            let first = (centre - reach).ceil().max(0.0) as usize;
            let last = ((centre + reach).floor() as usize).min(samples.len().saturating_sub(1));
            let sum: f64 = (first..=last)
                .map(|j| {
                    let x = j as f64 - centre;
                    let angle = std::f64::consts::PI * cutoff * x;
                    let sinc = if angle.abs() < 1e-9 { 1.0 } else { angle.sin() / angle };
                    let hann = 0.5 + 0.5 * (std::f64::consts::PI * x / reach).cos();
                    f64::from(samples[j]) * sinc * hann * cutoff
                })
                .sum();
            sum as f32
        })
        .collect()
}

/// Plucked strings (Karplus–Strong), one note of `seconds` per MIDI number: something guitar-like to send through the
/// rig. The product's own virtual guitarist is the truth for scores; this one only has to sound.
pub fn plucked(midi: &[u8], seconds: f64, rate: u32) -> Vec<f32> {
    let mut out = Vec::new();
    let mut noise = 0x2545_f491_u32;
    for &note in midi {
        let hz = 440.0 * 2f64.powf((f64::from(note) - 69.0) / 12.0);
        let period = (f64::from(rate) / hz).round() as usize;
        let mut string: Vec<f32> = (0..period)
            .map(|_| {
                // xorshift32 (Marsaglia 2003): the same noise on every run.
                noise ^= noise << 13;
                noise ^= noise >> 17;
                noise ^= noise << 5;
                (f64::from(noise) / f64::from(u32::MAX) - 0.5) as f32
            })
            .collect();
        for i in 0..(seconds * f64::from(rate)) as usize {
            let (a, b) = (string[i % period], string[(i + 1) % period]);
            string[i % period] = 0.498 * (a + b);
            out.push(a);
        }
    }
    out
}

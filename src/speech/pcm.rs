//! Raw sound as it arrives in pieces: bytes to samples, a WAV header on top, silence in front.

/// Samples quieter than this at the start of an utterance are silence; -54 dBFS, below any consonant.
const SILENCE: f32 = 0.002;
/// Kept of the silence, so that the first sound is not cut into, seconds.
const LEAD: f64 = 0.005;
/// Length of the plain header that streaming writers send, bytes.
const WAV_HEADER: usize = 44;

/// Signed 16-bit little-endian mono, in pieces of any length: an odd byte waits for its other half.
#[derive(Debug, Default)]
pub(super) struct Samples {
    odd: Option<u8>,
}

impl Samples {
    /// Samples of this piece, -1..1.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<f32> {
        let mut out = Vec::with_capacity(bytes.len() / 2 + 1);
        let mut rest = bytes;
        if let (Some(low), Some((high, tail))) = (self.odd, rest.split_first()) {
            out.push(sample(low, *high));
            self.odd = None;
            rest = tail;
        }
        let pairs = rest.chunks_exact(2);
        if let [last] = pairs.remainder() {
            self.odd = Some(*last);
        }
        out.extend(pairs.map(|p| sample(p[0], p[1])));
        out
    }
}

fn sample(low: u8, high: u8) -> f32 {
    f32::from(i16::from_le_bytes([low, high])) / 32768.0
}

/// A streamed WAV: the rate from its header, then samples. Lengths in the header are made up by programs that
/// do not know yet how much they will say, so they are not looked at.
#[derive(Debug, Default)]
pub(super) struct Wav {
    header: Vec<u8>,
    pub(super) rate: Option<u32>,
    samples: Samples,
}

impl Wav {
    /// Samples of this piece; none until the header is complete.
    ///
    /// # Errors
    /// When it is no 16-bit mono WAV.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Result<Vec<f32>, String> {
        if self.rate.is_none() {
            let missing = (WAV_HEADER - self.header.len()).min(bytes.len());
            self.header.extend_from_slice(&bytes[..missing]);
            bytes = &bytes[missing..];
            if self.header.len() < WAV_HEADER {
                return Ok(Vec::new());
            }
            self.rate = Some(rate(&self.header)?);
        }
        Ok(self.samples.take(bytes))
    }
}

fn rate(header: &[u8]) -> Result<u32, String> {
    let u16_at = |i: usize| u16::from_le_bytes([header[i], header[i + 1]]);
    if &header[..4] != b"RIFF" || &header[8..12] != b"WAVE" || &header[36..40] != b"data" {
        return Err("it wrote no plain WAV".into());
    }
    if (u16_at(20), u16_at(22), u16_at(34)) != (1, 1, 16) {
        return Err("its WAV is not 16-bit mono".into());
    }
    let rate = u32::from_le_bytes([header[24], header[25], header[26], header[27]]);
    if (8_000..=192_000).contains(&rate) { Ok(rate) } else { Err(format!("its WAV has a rate of {rate} Hz")) }
}

/// Takes the silence off the start of an utterance.
#[derive(Debug)]
pub(super) struct Trim {
    started: bool,
}

impl Trim {
    pub(super) fn new() -> Self {
        Self { started: false }
    }

    /// The piece from its first sound on; empty while there is only silence.
    pub(super) fn take(&mut self, mut samples: Vec<f32>, rate: u32) -> Vec<f32> {
        if self.started {
            return samples;
        }
        let Some(first) = samples.iter().position(|s| s.abs() > SILENCE) else { return Vec::new() };
        self.started = true;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few hundred samples")]
        let lead = (f64::from(rate) * LEAD) as usize;
        samples.drain(..first.saturating_sub(lead));
        samples
    }
}

#[cfg(test)]
pub(super) fn header(rate: u32) -> Vec<u8> {
    let mut h = Vec::new();
    h.extend(b"RIFF\x24\xf0\xff\x7fWAVEfmt \x10\0\0\0\x01\0\x01\0");
    h.extend(rate.to_le_bytes());
    h.extend((rate * 2).to_le_bytes());
    h.extend(b"\x02\0\x10\0data\0\xf0\xff\x7f");
    h
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn samples_do_not_depend_on_how_the_bytes_were_cut(
            bytes in prop::collection::vec(any::<u8>(), 0..400), cuts in prop::collection::vec(1usize..9, 1..200)
        ) {
            let whole = Samples::default().take(&bytes);
            prop_assert_eq!(whole.len(), bytes.len() / 2);
            let (mut pieces, mut rest, mut samples) = (Vec::new(), bytes.as_slice(), Samples::default());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (head, tail) = rest.split_at((*cut).min(rest.len()));
                pieces.extend(samples.take(head));
                rest = tail;
            }
            prop_assert_eq!(pieces, whole);
        }
    }

    #[test]
    fn a_streamed_wav_is_read_byte_by_byte() {
        let mut bytes = header(22_050);
        assert_eq!(bytes.len(), WAV_HEADER);
        bytes.extend([0, 0x40, 0, 0xc0]);
        let mut wav = Wav::default();
        let got: Vec<f32> = bytes.iter().flat_map(|b| wav.take(&[*b]).unwrap()).collect();
        assert_eq!((wav.rate, got), (Some(22_050), vec![0.5, -0.5]));
    }

    #[test]
    fn something_else_than_wav_is_said_so() {
        let words = b"Error: The specified espeak-ng voice does not exist.";
        assert!(Wav::default().take(words).is_err());
        let mut stereo = header(44_100);
        stereo[22] = 2;
        assert!(Wav::default().take(&stereo).unwrap_err().contains("mono"));
    }

    #[test]
    fn only_the_silence_in_front_is_taken_off() {
        let mut trim = Trim::new();
        assert!(trim.take(vec![0.0; 1000], 16_000).is_empty());
        let mut piece = vec![0.001; 500];
        piece.extend([0.3; 10]);
        assert_eq!(trim.take(piece, 16_000).len(), 10 + 80, "5 ms are kept in front");
        assert_eq!(trim.take(vec![0.0; 100], 16_000).len(), 100, "pauses inside stay");
    }
}

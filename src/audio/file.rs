//! Recordings as input: WAV (integer samples of 8 to 32 bits, float of 32 and 64) and FLAC, streamed in constant memory.
//!
//! The kind is told by the content, never by the name. The WAV reader is our own since real files are laxer than the
//! specification: recorders that died leave lengths of 0 or 0xFFFFFFFF, editors add chunks of odd length. Layout:
//! IBM and Microsoft, "Multimedia Programming Interface and Data Specifications 1.0" (1991), chapter 3, and
//! Microsoft's WAVEFORMATEXTENSIBLE. FLAC is decoded by `claxon`.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::audio::capture::Channel;
use crate::audio::{AudioError, SampleSource};

/// A recording, mono from the chosen channel on.
pub struct FileSource {
    path: PathBuf,
    reader: Reader,
    channel: Channel,
    sample_rate: u32,
    channels: u16,
    /// Frames that the file claims to hold.
    frames: Option<u64>,
    read: u64,
    /// Decoded, not yet handed out.
    ready: Vec<f32>,
    given: usize,
    done: bool,
    /// Without the path: an error names it already.
    warning: Option<String>,
}

impl std::fmt::Debug for FileSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FileSource({}, {} Hz, {} channels)", self.path.display(), self.sample_rate, self.channels)
    }
}

enum Reader {
    Wav(Wav),
    Flac(Box<claxon::FlacReader<BufReader<File>>>, Vec<i32>, f32),
}

/// Frames decoded at a time.
const BLOCK: usize = 1024;

impl FileSource {
    /// Opens a recording. `channel` counts from 1; 0 mixes all.
    ///
    /// # Errors
    /// One of the file kinds of [`AudioError`], or [`AudioError::Format`] for a channel that the file does not have.
    pub fn open(path: &Path, channel: u16) -> Result<Self, AudioError> {
        let unreadable = |source| AudioError::Unreadable { path: path.into(), source };
        let corrupt = |message: String| AudioError::CorruptFile { path: path.into(), message };
        let mut file = File::open(path).map_err(unreadable)?;
        if file.metadata().map_err(unreadable)?.is_dir() {
            return Err(unreadable(std::io::Error::new(ErrorKind::IsADirectory, "it is a folder")));
        }
        let mut head = [0; 12];
        let got = read_up_to(&mut file, &mut head).map_err(unreadable)?;
        if got == 0 {
            return Err(AudioError::EmptyFile { path: path.into() });
        }
        file.seek(SeekFrom::Start(0)).map_err(unreadable)?;
        let buffered = BufReader::with_capacity(64 * 1024, file);
        let (reader, sample_rate, channels, frames) = match kind(&head[..got]) {
            Kind::Wav => {
                let wav = Wav::open(buffered).map_err(corrupt)?;
                let (rate, channels, frames) = (wav.rate, wav.channels, wav.frames());
                (Reader::Wav(wav), rate, channels, frames)
            }
            Kind::Flac => {
                let options = claxon::FlacReaderOptions { read_vorbis_comment: false, ..Default::default() };
                let flac =
                    claxon::FlacReader::new_ext(buffered, options).map_err(|e| corrupt(e.to_string()))?;
                let info = flac.streaminfo();
                let scale = 1.0 / (1_u64 << (info.bits_per_sample.clamp(1, 32) - 1)) as f32;
                let reader = Reader::Flac(Box::new(flac), Vec::new(), scale);
                (reader, info.sample_rate, info.channels as u16, info.samples)
            }
            Kind::Foreign(found) => return Err(AudioError::ForeignFile { path: path.into(), found }),
        };
        if !(1_000..=768_000).contains(&sample_rate) {
            return Err(corrupt(format!("it claims a sample rate of {sample_rate} Hz")));
        }
        if channel > channels {
            return Err(AudioError::Format(format!(
                "{} has {channels} channel(s), not {channel}; choose 1 to {channels}, or 0 for all mixed",
                path.display()
            )));
        }
        let mut source = Self {
            path: path.into(),
            reader,
            channel: Channel::from_setting(channel),
            sample_rate,
            channels,
            frames,
            read: 0,
            ready: Vec::with_capacity(BLOCK),
            given: 0,
            done: false,
            warning: None,
        };
        // The first block is decoded now, so that a file without any sound is an error and not a silent session.
        source.refill();
        if source.ready.is_empty() {
            return Err(match source.warning.take() {
                Some(message) if source.frames != Some(0) => corrupt(message),
                _ => AudioError::EmptyFile { path: path.into() },
            });
        }
        Ok(source)
    }

    /// Samples a second.
    #[must_use]
    pub fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    /// Channels of the recording.
    #[must_use]
    pub fn channels(&self) -> u16 {
        self.channels
    }

    /// Length that the file claims, seconds; `None` where it does not say.
    #[must_use]
    pub fn seconds(&self) -> Option<f64> {
        self.frames.map(|f| f as f64 / f64::from(self.sample_rate))
    }

    fn refill(&mut self) {
        self.ready.clear();
        self.given = 0;
        if self.done {
            return;
        }
        let outcome = match &mut self.reader {
            Reader::Wav(wav) => wav.block(self.channel, &mut self.ready),
            Reader::Flac(flac, buffer, scale) => {
                flac_block(flac, buffer, *scale, self.channel, &mut self.ready)
            }
        };
        self.read += self.ready.len() as u64;
        if let Err(message) = &outcome {
            self.warn(message);
        }
        if self.ready.is_empty() || outcome.is_err() {
            self.done = true;
            if let (Ok(()), Some(frames)) = (&outcome, self.frames)
                && self.read < frames
            {
                self.warn("the file ends early");
            }
        }
    }

    fn warn(&mut self, message: &str) {
        let rate = f64::from(self.sample_rate);
        let claimed = self.frames.map_or(String::new(), |f| format!(" of {:.1} s", f as f64 / rate));
        let seconds = self.read as f64 / rate;
        self.warning = Some(format!("it is cut short ({message}): {seconds:.1} s{claimed} could be read"));
    }
}

impl SampleSource for FileSource {
    fn read(&mut self, out: &mut [f32]) -> usize {
        let mut filled = 0;
        while filled < out.len() {
            if self.given == self.ready.len() {
                self.refill();
                if self.ready.is_empty() {
                    break;
                }
            }
            let n = (self.ready.len() - self.given).min(out.len() - filled);
            out[filled..filled + n].copy_from_slice(&self.ready[self.given..self.given + n]);
            self.given += n;
            filled += n;
        }
        filled
    }

    fn warning(&mut self) -> Option<String> {
        self.warning.take().map(|said| format!("{}: {said}", self.path.display()))
    }
}

fn flac_block(
    flac: &mut claxon::FlacReader<BufReader<File>>,
    buffer: &mut Vec<i32>,
    scale: f32,
    channel: Channel,
    out: &mut Vec<f32>,
) -> Result<(), String> {
    let taken = std::mem::take(buffer);
    match flac.blocks().read_next_or_eof(taken) {
        Ok(Some(block)) => {
            let mut frame = [0.0; 8];
            let channels = (block.channels() as usize).min(frame.len());
            for i in 0..block.duration() {
                for (c, sample) in frame[..channels].iter_mut().enumerate() {
                    *sample = block.sample(c as u32, i) as f32 * scale;
                }
                out.push(channel.pick(&frame[..channels]));
            }
            *buffer = block.into_buffer();
            Ok(())
        }
        Ok(None) => Ok(()),
        Err(e) => Err(e.to_string()),
    }
}

enum Kind {
    Wav,
    Flac,
    Foreign(&'static str),
}

fn kind(head: &[u8]) -> Kind {
    match head {
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E'] => Kind::Wav,
        [b'f', b'L', b'a', b'C', ..] => Kind::Flac,
        [b'R', b'F', b'6', b'4', ..] => Kind::Foreign("it looks like RF64, a WAV file above 4 GB"),
        [b'O', b'g', b'g', b'S', ..] => Kind::Foreign("it looks like Ogg"),
        [b'I', b'D', b'3', ..] | [0xff, 0xe0..=0xff, ..] => Kind::Foreign("it looks like MP3 or AAC"),
        [b'F', b'O', b'R', b'M', ..] => Kind::Foreign("it looks like AIFF"),
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => Kind::Foreign("it looks like MP4"),
        _ => Kind::Foreign("its content is of another kind"),
    }
}

fn read_up_to(file: &mut impl Read, out: &mut [u8]) -> std::io::Result<usize> {
    let mut got = 0;
    while got < out.len() {
        match file.read(&mut out[got..]) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(got)
}

/// How one sample lies in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Unsigned, as WAV has it for 8 bits.
    U8,
    /// Signed, in this many bytes, left-justified.
    Int(usize),
    F32,
    F64,
}

struct Wav {
    file: BufReader<File>,
    layout: Layout,
    channels: u16,
    rate: u32,
    /// Bytes left in the data chunk; `None` where its length is unknown (a recorder that died, a pipe).
    left: Option<u64>,
    bytes: Vec<u8>,
    frame: Vec<f32>,
}

/// More channels are a damaged header: they would ask for megabytes a block.
const MOST_CHANNELS: u16 = 256;

const TAG_PCM: u16 = 1;
const TAG_FLOAT: u16 = 3;
const TAG_EXTENSIBLE: u16 = 0xfffe;

impl Wav {
    fn open(mut file: BufReader<File>) -> Result<Self, String> {
        let cut = |_| "the file ends within its header".to_owned();
        file.seek_relative(12).map_err(cut)?;
        let mut format = None;
        loop {
            let mut header = [0; 8];
            if read_up_to(&mut file, &mut header).map_err(|e| e.to_string())? < header.len() {
                return Err("the file ends before any sound".into());
            }
            let [a, b, c, d, length @ ..] = header;
            let length = u32::from_le_bytes(length);
            match &[a, b, c, d] {
                b"fmt " => {
                    let mut body = [0; 40];
                    let want = (length as usize).min(body.len());
                    if want < 16
                        || read_up_to(&mut file, &mut body[..want]).map_err(|e| e.to_string())? < want
                    {
                        return Err("its format chunk is too short".into());
                    }
                    format = Some(format_of(&body[..want])?);
                    let rest = u64::from(length) - want as u64 + u64::from(length % 2);
                    file.seek_relative(rest as i64).map_err(cut)?;
                }
                b"data" => {
                    let (layout, channels, rate) = format.ok_or("it has no format chunk before its sound")?;
                    let streamed = length == 0 || length >= 0x7fff_f000;
                    return Ok(Self {
                        file,
                        layout,
                        channels,
                        rate,
                        left: (!streamed).then_some(u64::from(length)),
                        bytes: vec![0; BLOCK * usize::from(channels) * layout.bytes()],
                        frame: vec![0.0; usize::from(channels)],
                    });
                }
                // Chunks are padded to even lengths.
                _ => file.seek_relative(i64::from(length) + i64::from(length % 2)).map_err(cut)?,
            }
        }
    }

    fn frame_bytes(&self) -> usize {
        usize::from(self.channels) * self.layout.bytes()
    }

    fn frames(&self) -> Option<u64> {
        self.left.map(|bytes| bytes / self.frame_bytes() as u64)
    }

    fn block(&mut self, channel: Channel, out: &mut Vec<f32>) -> Result<(), String> {
        let size = self.frame_bytes();
        let whole = self.left.map_or(self.bytes.len() as u64, |left| left / size as u64 * size as u64);
        let want = usize::try_from(whole).unwrap_or(usize::MAX).min(self.bytes.len());
        let got = read_up_to(&mut self.file, &mut self.bytes[..want]).map_err(|e| e.to_string())?;
        if let Some(left) = &mut self.left {
            *left -= got as u64;
        }
        for bytes in self.bytes[..got].chunks_exact(size) {
            for (sample, bytes) in self.frame.iter_mut().zip(bytes.chunks_exact(self.layout.bytes())) {
                *sample = self.layout.sample(bytes);
            }
            out.push(channel.pick(&self.frame));
        }
        Ok(())
    }
}

fn format_of(body: &[u8]) -> Result<(Layout, u16, u32), String> {
    let u16_at = |i: usize| u16::from_le_bytes([body[i], body[i + 1]]);
    let channels = u16_at(2);
    let rate = u32::from_le_bytes([body[4], body[5], body[6], body[7]]);
    let (align, bits) = (u16_at(12), u16_at(14));
    let tag = match u16_at(0) {
        // The sub-format's first two bytes are the plain tag.
        TAG_EXTENSIBLE if body.len() >= 26 => u16_at(24),
        tag => tag,
    };
    if !(1..=MOST_CHANNELS).contains(&channels) || align == 0 || align % channels != 0 {
        return Err(format!("its format chunk makes no sense ({channels} channels, {align} bytes a frame)"));
    }
    let layout = match (tag, align / channels, bits) {
        (TAG_PCM, 1, 1..=8) => Layout::U8,
        (TAG_PCM, bytes @ 2..=4, bits) if bits > 8 && bits <= bytes * 8 => {
            // 24 bits in 4 bytes stand at the bottom, other depths at the top of their container.
            if (bytes, bits) == (4, 24) {
                return Err(
                    "24-bit samples in 4 bytes each are not supported: save it as plain 24 bit".into()
                );
            }
            Layout::Int(usize::from(bytes))
        }
        (TAG_FLOAT, 4, 32) => Layout::F32,
        (TAG_FLOAT, 8, 64) => Layout::F64,
        (TAG_PCM | TAG_FLOAT, ..) => return Err(format!("{bits}-bit samples are not supported")),
        (tag, ..) => {
            return Err(format!("its sound is compressed (format {tag:#06x}): convert it to plain PCM"));
        }
    };
    Ok((layout, channels, rate))
}

impl Layout {
    fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::Int(bytes) => bytes,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    fn sample(self, b: &[u8]) -> f32 {
        const FULL: f32 = 1.0 / 2_147_483_648.0;
        match (self, b) {
            (Self::U8, [a]) => (f32::from(*a) - 128.0) / 128.0,
            (Self::Int(2), [a, b]) => i32::from_le_bytes([0, 0, *a, *b]) as f32 * FULL,
            (Self::Int(3), [a, b, c]) => i32::from_le_bytes([0, *a, *b, *c]) as f32 * FULL,
            (Self::Int(4), [a, b, c, d]) => i32::from_le_bytes([*a, *b, *c, *d]) as f32 * FULL,
            (Self::F32, [a, b, c, d]) => f32::from_le_bytes([*a, *b, *c, *d]),
            (Self::F64, [a, b, c, d, e, f, g, h]) => {
                f64::from_le_bytes([*a, *b, *c, *d, *e, *f, *g, *h]) as f32
            }
            _ => 0.0,
        }
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;

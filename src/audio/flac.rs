//! A FLAC file written while it is heard: mono, 16 bits, block by block, in constant memory.
//!
//! The header is complete from the first byte on except for the length, which a decoder does without; it is put in at
//! the end. So what a killed program leaves behind can be played, and [`mend`] gives it its length.
//! Format: RFC 9639.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use flacenc::bitsink::ByteSink;
use flacenc::component::{BitRepr, StreamInfo};
use flacenc::config::Encoder;
use flacenc::encode_fixed_size_frame;
use flacenc::error::{Verified, Verify};
use flacenc::source::{Fill, FrameBuf};

/// Samples a block, as the reference encoder chooses: 85 ms at 48 kHz, which is all that a killed program loses.
const BLOCK: usize = 4096;
/// 96 dB are more than a guitar and its room have.
const BITS: usize = 16;
/// Full scale of [`BITS`].
const FULL: f32 = 32_767.0;
/// Marker, header of the only metadata block (last, stream info, 34 bytes).
const MARKER: [u8; 8] = [b'f', b'L', b'a', b'C', 0x80, 0, 0, 34];

/// A file that is being written.
pub struct FlacWriter<W> {
    out: W,
    encoder: Verified<Encoder>,
    info: StreamInfo,
    frame: FrameBuf,
    block: Vec<i32>,
    frames: usize,
    samples: u64,
    bytes: u64,
    /// Least and most bytes of a frame.
    sizes: Option<(usize, usize)>,
    /// A block was written in part: nothing can follow it.
    broken: bool,
}

/// What does not happen with the fixed values above.
fn impossible(error: impl std::fmt::Display) -> std::io::Error {
    std::io::Error::other(format!("the sound cannot be encoded: {error}"))
}

impl<W: Write + Seek> FlacWriter<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// As the disk says; a rate that FLAC does not know.
    pub fn new(mut out: W, rate: u32) -> std::io::Result<Self> {
        let mut encoder = Encoder::default();
        encoder.block_size = BLOCK;
        let encoder = encoder.into_verified().map_err(|(_, e)| impossible(e))?;
        let mut info = StreamInfo::new(rate as usize, 1, BITS).map_err(impossible)?;
        info.set_block_sizes(BLOCK, BLOCK).map_err(impossible)?;
        // 0: not known.
        info.set_frame_sizes(0, 0).map_err(impossible)?;
        out.write_all(&header(&info)?)?;
        Ok(Self {
            out,
            encoder,
            info,
            frame: FrameBuf::with_size(1, BLOCK).map_err(impossible)?,
            block: Vec::with_capacity(BLOCK),
            frames: 0,
            samples: 0,
            bytes: (MARKER.len() + 34) as u64,
            sizes: None,
            broken: false,
        })
    }

    /// Appends samples (full scale ±1; louder ones are clipped).
    ///
    /// # Errors
    /// As the disk says.
    pub fn push(&mut self, samples: &[f32]) -> std::io::Result<()> {
        for x in samples {
            self.block.push((x.clamp(-1.0, 1.0) * FULL).round() as i32);
            if self.block.len() == BLOCK {
                self.write_block()?;
            }
        }
        Ok(())
    }

    /// Appends silence.
    ///
    /// # Errors
    /// As the disk says.
    pub fn silence(&mut self, mut samples: u64) -> std::io::Result<()> {
        while samples > 0 {
            let n = samples.min((BLOCK - self.block.len()) as u64);
            self.block.resize(self.block.len() + n as usize, 0);
            samples -= n;
            if self.block.len() == BLOCK {
                self.write_block()?;
            }
        }
        Ok(())
    }

    /// Samples so far.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.samples + self.block.len() as u64
    }

    /// Writes the rest and the length. Gives back samples and bytes written.
    ///
    /// # Errors
    /// As the disk says; what was written before can be played.
    pub fn finish(mut self) -> std::io::Result<(u64, u64)> {
        let rest = if self.block.is_empty() || self.broken { Ok(()) } else { self.write_block() };
        // The length of what is there, even when the rest found no room.
        self.info.set_total_samples(usize::try_from(self.samples).unwrap_or(0));
        if let Some((least, most)) = self.sizes {
            self.info.set_frame_sizes(least, most).map_err(impossible)?;
        }
        self.out.seek(SeekFrom::Start(0))?;
        self.out.write_all(&header(&self.info)?)?;
        self.out.flush()?;
        rest?;
        Ok((self.samples, self.bytes))
    }

    fn write_block(&mut self) -> std::io::Result<()> {
        self.frame.fill_interleaved(&self.block).map_err(impossible)?;
        let frame = encode_fixed_size_frame(&self.encoder, &self.frame, self.frames, &self.info)
            .map_err(impossible)?;
        let mut sink = ByteSink::new();
        frame.write(&mut sink).map_err(impossible)?;
        let bytes = sink.as_slice();
        self.broken = true;
        self.out.write_all(bytes)?;
        self.broken = false;
        let n = bytes.len();
        self.sizes = Some(self.sizes.map_or((n, n), |(least, most)| (least.min(n), most.max(n))));
        self.frames += 1;
        self.samples += self.block.len() as u64;
        self.bytes += n as u64;
        self.block.clear();
        Ok(())
    }
}

fn header(info: &StreamInfo) -> std::io::Result<Vec<u8>> {
    let mut sink = ByteSink::new();
    info.write(&mut sink).map_err(impossible)?;
    Ok([&MARKER[..], sink.as_slice()].concat())
}

/// Gives a file that was cut off its length: what can be decoded of it. Samples and rate; no sample: nothing can be
/// played.
///
/// # Errors
/// A file that cannot be read or written, or is not one of ours.
pub fn mend(path: &Path) -> std::io::Result<(u64, u32)> {
    let foreign = |e: claxon::Error| std::io::Error::new(std::io::ErrorKind::InvalidData, e.to_string());
    let mut file = File::options().read(true).write(true).open(path)?;
    let mut marker = [0; MARKER.len()];
    file.read_exact(&mut marker)?;
    if marker != MARKER {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "it is no recording of FretCoach"));
    }
    file.rewind()?;
    let mut reader = claxon::FlacReader::new(std::io::BufReader::new(file)).map_err(foreign)?;
    let rate = reader.streaminfo().sample_rate;
    let (mut samples, mut buffer) = (0, Vec::new());
    {
        let mut blocks = reader.blocks();
        // What does not decode any more was being written when the program ended.
        while let Ok(Some(block)) = blocks.read_next_or_eof(buffer) {
            samples += u64::from(block.duration());
            buffer = block.into_buffer();
        }
    }
    let mut info = StreamInfo::new(rate as usize, 1, BITS).map_err(impossible)?;
    info.set_block_sizes(BLOCK, BLOCK).map_err(impossible)?;
    info.set_frame_sizes(0, 0).map_err(impossible)?;
    info.set_total_samples(usize::try_from(samples).unwrap_or(0));
    let mut file = File::options().write(true).open(path)?;
    file.write_all(&header(&info)?)?;
    Ok((samples, rate))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// A decaying tone with some noise.
    fn sound(samples: usize) -> Vec<f32> {
        let mut state = 1_u32;
        (0..samples)
            .map(|i| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let t = i as f32 / 48_000.0;
                let noise = (state >> 16) as f32 / 65_536.0 - 0.5;
                0.6 * (-2.0 * (t % 1.0)).exp() * (std::f32::consts::TAU * 220.0 * t).sin() + 0.01 * noise
            })
            .collect()
    }

    fn decoded(bytes: Vec<u8>) -> (Option<u64>, Vec<i32>) {
        let mut reader = claxon::FlacReader::new(Cursor::new(bytes)).unwrap();
        let total = reader.streaminfo().samples;
        (total, reader.samples().map_while(Result::ok).collect())
    }

    fn written(pieces: &[&[f32]]) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        let mut writer = FlacWriter::new(&mut out, 48_000).unwrap();
        for piece in pieces {
            writer.push(piece).unwrap();
        }
        let (samples, bytes) = writer.finish().unwrap();
        assert_eq!(samples, pieces.iter().map(|p| p.len() as u64).sum::<u64>());
        let out = out.into_inner();
        assert_eq!(bytes, out.len() as u64);
        out
    }

    #[test]
    fn what_is_written_is_what_is_read_to_the_last_bit() {
        let sound = sound(3 * BLOCK + 777);
        let file = written(&[&sound[..5], &sound[5..BLOCK + 1], &sound[BLOCK + 1..]]);
        assert!(file.len() < 2 * sound.len(), "{} bytes for {} samples of 16 bits", file.len(), sound.len());
        let (total, read) = decoded(file);
        assert_eq!(total, Some(sound.len() as u64));
        let want: Vec<i32> = sound.iter().map(|x| (x * FULL).round() as i32).collect();
        assert_eq!(read, want);
    }

    #[test]
    fn silence_is_as_long_as_it_was_and_costs_next_to_nothing() {
        let mut out = Cursor::new(Vec::new());
        let mut writer = FlacWriter::new(&mut out, 48_000).unwrap();
        writer.push(&[0.5; 10]).unwrap();
        writer.silence(48_000 * 60).unwrap();
        writer.push(&[2.0, -2.0]).unwrap();
        assert_eq!(writer.samples(), 48_000 * 60 + 12);
        writer.finish().unwrap();
        assert!(out.get_ref().len() < 20_000, "{} bytes for a minute of silence", out.get_ref().len());
        let (_, read) = decoded(out.into_inner());
        assert_eq!(read.len(), 48_000 * 60 + 12);
        assert_eq!(read[read.len() - 2..], [32_767, -32_767], "too loud is clipped, not wrapped");
    }

    /// A disk with room for so many bytes.
    struct Disk(Cursor<Vec<u8>>, usize);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let room = self.1.saturating_sub(self.0.position() as usize).min(bytes.len());
            if room == 0 {
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            self.0.write(&bytes[..room])
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Seek for Disk {
        fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
            self.0.seek(to)
        }
    }

    #[test]
    fn what_found_room_before_the_disk_was_full_is_a_whole_file() {
        let mut disk = Disk(Cursor::new(Vec::new()), 20_000);
        let mut writer = FlacWriter::new(&mut disk, 48_000).unwrap();
        let sound = sound(20 * BLOCK);
        assert_eq!(writer.push(&sound).unwrap_err().kind(), std::io::ErrorKind::StorageFull);
        let (samples, _) = writer.finish().unwrap();
        assert!(samples >= BLOCK as u64 && samples < sound.len() as u64);
        let (total, read) = decoded(disk.0.into_inner());
        assert_eq!((total, read.len() as u64), (Some(samples), samples));
    }

    #[test]
    fn a_file_that_was_cut_off_is_played_and_mended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.flac");
        let sound = sound(5 * BLOCK);
        let mut writer = FlacWriter::new(File::create(&path).unwrap(), 48_000).unwrap();
        writer.push(&sound).unwrap();
        // Killed: no end was written, and the last block only in part.
        drop(writer);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 100]).unwrap();
        let (total, read) = decoded(std::fs::read(&path).unwrap());
        assert_eq!((total, read.len()), (None, 4 * BLOCK), "a player that needs no length plays it already");
        assert_eq!(mend(&path).unwrap(), (4 * BLOCK as u64, 48_000));
        let (total, read) = decoded(std::fs::read(&path).unwrap());
        assert_eq!((total, read.len()), (Some(4 * BLOCK as u64), 4 * BLOCK));
        std::fs::write(&path, &whole[..60]).unwrap();
        assert_eq!(mend(&path).unwrap().0, 0, "nothing of the first block came through");
        std::fs::write(&path, b"RIFF is something else").unwrap();
        assert!(mend(&path).is_err());
    }
}

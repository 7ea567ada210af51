use std::f32::consts::TAU;
use std::fs;

use super::*;
use crate::audio::AudioErrorKind;

fn tone(i: usize) -> f32 {
    (TAU * 440.0 * i as f32 / 44_100.0).sin() * 0.8
}

fn all(source: &mut FileSource) -> Vec<f32> {
    let mut samples = Vec::new();
    let mut block = [0.0; 700];
    loop {
        match source.read(&mut block) {
            0 => return samples,
            n => samples.extend_from_slice(&block[..n]),
        }
    }
}

/// Stereo: the tone on the left, its half on the right. Written by `hound`, independent of the reader under test.
fn wav(path: &Path, bits: u16, float: bool, frames: usize) {
    let format = if float { hound::SampleFormat::Float } else { hound::SampleFormat::Int };
    let spec =
        hound::WavSpec { channels: 2, sample_rate: 44_100, bits_per_sample: bits, sample_format: format };
    let mut writer = hound::WavWriter::create(path, spec).unwrap();
    let full = (1_i64 << (bits - 1)) as f32;
    for i in 0..frames {
        for x in [tone(i), tone(i) / 2.0] {
            if float {
                writer.write_sample(x).unwrap();
            } else {
                writer.write_sample((x * full).round() as i32).unwrap();
            }
        }
    }
    writer.finalize().unwrap();
}

fn fails(path: &Path, kind: AudioErrorKind, words: &str) {
    let error = FileSource::open(path, 0).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    let text = error.to_string();
    assert!(text.contains(words), "`{text}` should say `{words}`");
    assert!(text.contains(path.file_name().unwrap().to_str().unwrap()), "`{text}` should name the file");
}

#[test]
fn wav_of_every_depth_and_channel() {
    let dir = tempfile::tempdir().unwrap();
    for (bits, float) in [(8, false), (16, false), (24, false), (32, false), (32, true)] {
        let path = dir.path().join(format!("{bits}{float}.wav"));
        wav(&path, bits, float, 5_000);
        for (channel, gain) in [(0, 0.75), (1, 1.0), (2, 0.5)] {
            let mut source = FileSource::open(&path, channel).unwrap();
            assert_eq!((source.sample_rate(), source.channels()), (44_100, 2));
            assert!((source.seconds().unwrap() - 5_000.0 / 44_100.0).abs() < 1e-9);
            let got = all(&mut source);
            assert_eq!(got.len(), 5_000);
            let step = 2.0 / (1_u64 << bits.min(24)) as f32;
            for (i, x) in got.iter().enumerate() {
                assert!(
                    (x - tone(i) * gain).abs() <= step,
                    "{bits} bits, channel {channel}, sample {i}: {x}"
                );
            }
            assert_eq!(source.warning(), None);
        }
    }
}

#[test]
fn wav_of_64_bit_float_and_with_foreign_chunks_of_odd_length() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("odd.wav");
    let mut bytes = Vec::new();
    bytes.extend(b"RIFF\0\0\0\0WAVE");
    bytes.extend(b"LIST\x03\0\0\0abc\0");
    bytes.extend(b"fmt \x10\0\0\0\x03\0\x01\0");
    bytes.extend(48_000_u32.to_le_bytes());
    bytes.extend((48_000_u32 * 8).to_le_bytes());
    bytes.extend([8, 0, 64, 0]);
    bytes.extend(b"data");
    bytes.extend((8_u32 * 3).to_le_bytes());
    for x in [0.25_f64, -0.5, f64::NAN] {
        bytes.extend(x.to_le_bytes());
    }
    bytes.extend(b"LIST\x04\0\0\0tail");
    fs::write(&path, &bytes).unwrap();
    let mut source = FileSource::open(&path, 1).unwrap();
    assert_eq!(all(&mut source), [0.25, -0.5, 0.0]);
    assert_eq!(source.warning(), None);
}

#[test]
fn a_recording_whose_length_was_never_written_is_read_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("died.wav");
    wav(&path, 16, false, 3_000);
    let whole = fs::read(&path).unwrap();
    let data = whole.windows(4).position(|w| w == b"data").unwrap();
    for length in [0_u32, u32::MAX] {
        let mut bytes = whole.clone();
        bytes[data + 4..data + 8].copy_from_slice(&length.to_le_bytes());
        fs::write(&path, &bytes).unwrap();
        let mut source = FileSource::open(&path, 1).unwrap();
        assert_eq!(source.seconds(), None);
        assert_eq!(all(&mut source).len(), 3_000);
        assert_eq!(source.warning(), None);
    }
}

#[test]
fn a_recording_that_is_cut_short_yields_what_there_is_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cut.wav");
    wav(&path, 16, false, 44_100);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2 + 1]).unwrap();
    let mut source = FileSource::open(&path, 1).unwrap();
    let got = all(&mut source);
    assert!((22_000..22_100).contains(&got.len()), "{}", got.len());
    assert!((got[20_000] - tone(20_000)).abs() < 1e-4);
    let warning = source.warning().unwrap();
    assert!(warning.contains("cut.wav") && warning.contains("0.5 s of 1.0 s"), "{warning}");
    assert_eq!(source.warning(), None, "said once");
}

/// A FLAC file of mono verbatim frames (RFC 9639), 16 bit, 44.1 kHz, 192 samples a frame.
fn flac(frames: usize) -> Vec<u8> {
    fn crc(bytes: &[u8], poly: u32, width: u32) -> u32 {
        let top = 1 << (width - 1);
        let mask = ((1_u64 << width) - 1) as u32;
        bytes.iter().fold(0, |mut crc, byte| {
            crc ^= u32::from(*byte) << (width - 8);
            for _ in 0..8 {
                crc = if crc & top != 0 { (crc << 1) ^ poly } else { crc << 1 } & mask;
            }
            crc
        })
    }
    let mut bytes = b"fLaC\x80\0\0\x22".to_vec();
    bytes.extend([0, 192, 0, 192, 0, 0, 0, 0, 0, 0]);
    // 20 bits rate, 3 bits channels - 1, 5 bits depth - 1, 36 bits samples.
    let info = 44_100_u64 << 44 | 15 << 36 | (frames * 192) as u64;
    bytes.extend(info.to_be_bytes());
    bytes.extend([0; 16]);
    for frame in 0..frames {
        // Fixed block size, 192 samples, 44.1 kHz, mono, 16 bit, frame number in one UTF-8 byte.
        let mut out = vec![0xff, 0xf8, 0x19, 0x08, frame as u8];
        out.push(crc(&out, 0x07, 8) as u8);
        out.push(0b0000_0010);
        for i in 0..192 {
            out.extend(((tone(frame * 192 + i) * 32_768.0) as i16).to_be_bytes());
        }
        let sum = crc(&out, 0x8005, 16) as u16;
        out.extend(sum.to_be_bytes());
        bytes.extend(out);
    }
    bytes
}

#[test]
fn flac_whole_and_cut_and_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("take.flac");
    let whole = flac(100);
    fs::write(&path, &whole).unwrap();
    let mut source = FileSource::open(&path, 0).unwrap();
    assert_eq!((source.sample_rate(), source.channels()), (44_100, 1));
    let got = all(&mut source);
    assert_eq!(got.len(), 19_200);
    assert!(got.iter().enumerate().all(|(i, x)| (x - tone(i)).abs() < 1e-4));
    assert_eq!(source.warning(), None);

    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let mut source = FileSource::open(&path, 0).unwrap();
    let got = all(&mut source).len();
    assert!((9_000..9_700).contains(&got), "{got}");
    assert!(source.warning().unwrap().contains("cut short"));

    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 0x55;
    fs::write(&path, &damaged).unwrap();
    let mut source = FileSource::open(&path, 0).unwrap();
    assert!((9_000..9_700).contains(&all(&mut source).len()));
    assert!(source.warning().is_some());

    let mut hopeless = whole;
    hopeless[60] ^= 0x55;
    fs::write(&path, &hopeless).unwrap();
    fails(&path, AudioErrorKind::BadFile, "damaged");
}

#[test]
fn what_cannot_be_read_gives_one_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    fails(&dir.path().join("missing.wav"), AudioErrorKind::UnreadableFile, "cannot be read");
    let folder = dir.path().join("folder.wav");
    fs::create_dir(&folder).unwrap();
    fails(&folder, AudioErrorKind::UnreadableFile, "folder");
    fails(&file("none.wav", b""), AudioErrorKind::BadFile, "empty");
    fails(&file("song.mp3", b"ID3\x04\0\0\0\0\0\0\0\0\0\0"), AudioErrorKind::BadFile, "MP3");
    fails(&file("song.ogg", b"OggS\0\x02\0\0\0\0\0\0\0\0"), AudioErrorKind::BadFile, "Ogg");
    fails(
        &file("letter.wav", b"Dear guitarist, this is a text."),
        AudioErrorKind::BadFile,
        "not a WAV or FLAC",
    );
    fails(&file("head.wav", b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\x01\0"), AudioErrorKind::BadFile, "too short");
    fails(&file("stub.wav", b"RIFF\x24\0\0\0WAVE"), AudioErrorKind::BadFile, "before any sound");
    fails(&file("stub.flac", b"fLaC\x80\0\0\x22\0\xc0"), AudioErrorKind::BadFile, "damaged");
    let silent = dir.path().join("silent.wav");
    wav(&silent, 16, false, 0);
    fails(&silent, AudioErrorKind::BadFile, "empty");
    let mut compressed = fs::read(&silent).unwrap();
    let fmt = compressed.windows(4).position(|w| w == b"fmt ").unwrap();
    compressed[fmt + 8] = 0x55;
    compressed.extend([0; 100]);
    fails(&file("mp3.wav", &compressed), AudioErrorKind::BadFile, "compressed");
    wav(&silent, 16, false, 10);
    let error = FileSource::open(&silent, 3).unwrap_err();
    assert_eq!(error.kind(), AudioErrorKind::Format);
    assert!(error.to_string().contains("2 channel"), "{error}");
}

#[test]
fn any_prefix_and_any_damage_is_survived() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hostile");
    let wav_path = dir.path().join("w.wav");
    wav(&wav_path, 16, false, 40);
    for whole in [fs::read(&wav_path).unwrap(), flac(2)] {
        for cut in 0..whole.len().min(200) {
            fs::write(&path, &whole[..cut]).unwrap();
            if let Ok(mut source) = FileSource::open(&path, 0) {
                assert!(all(&mut source).iter().all(|x| x.is_finite()));
            }
            let mut damaged = whole.clone();
            damaged[cut] ^= 0xff;
            fs::write(&path, &damaged).unwrap();
            if let Ok(mut source) = FileSource::open(&path, 0) {
                assert!(all(&mut source).iter().all(|x| x.is_finite()));
            }
        }
    }
}

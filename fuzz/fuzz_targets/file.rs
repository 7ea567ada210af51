//! Whatever bytes a recording holds: it is read or refused with a reason, never a panic, and no more sound comes out than
//! its bytes can hold. What is read then goes through the resampler, as in a session.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use fretcoach::audio::file::FileSource;
use fretcoach::audio::resample::Resampler;
use fretcoach::audio::{ANALYSIS_RATE, SampleSource};
use libfuzzer_sys::fuzz_target;

/// In memory where there is such a folder.
static PATH: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let folder = if memory.is_dir() { memory } else { std::env::temp_dir() };
    folder.join(format!("fretcoach-fuzz-{}", std::process::id()))
});

/// Samples that go through the resampler at most: planning it is what depends on the file.
const RESAMPLED: usize = 8192;
/// A FLAC frame of a constant holds 65,535 samples in no less than about this many bytes.
const SMALLEST_FRAME: usize = 8;
const LARGEST_FRAME: usize = 65_536;

fuzz_target!(|data: &[u8]| {
    let Some((&[how, block], content)) = data.split_first_chunk::<2>() else { return };
    std::fs::write(&*PATH, content).expect("the folder can be written to");
    let Ok(mut source) = FileSource::open(&PATH, u16::from(how % 4)) else { return };
    assert!(source.channels() > 0 && source.seconds().is_none_or(|s| s >= 0.0));
    let rate = source.sample_rate();
    let mut resampler = (how & 64 != 0 && rate != ANALYSIS_RATE)
        .then(|| Resampler::new(rate, ANALYSIS_RATE).expect("every rate that a file may have is resampled"));
    let mut out = vec![0.0; 1 + 16 * usize::from(block)];
    let (mut read, mut given) = (0usize, 0u64);
    loop {
        let n = source.read(&mut out);
        assert!(n <= out.len());
        if let Some(resampler) = resampler.as_mut().filter(|_| read < RESAMPLED) {
            resampler.push(&out[..n], &mut |made| given += made.len() as u64);
        }
        read += n;
        let _ = source.warning();
        if n < out.len() {
            break;
        }
    }
    assert!(read <= content.len() / SMALLEST_FRAME * LARGEST_FRAME, "{read} samples of {} bytes", content.len());
    if let Some(resampler) = &mut resampler {
        resampler.finish(&mut |made| given += made.len() as u64);
    }
    let _ = given;
});

//! Keeps the sound of a session as FLAC: a thread of its own, fed from the loop by a [`tap`](crate::audio::tap).
//!
//! It runs beside an open input. Before a session it remembers the latest seconds, so that the notes that begin a
//! session are in its recording; then it writes until the input is closed. A disk that is full or too slow costs the
//! recording, which then ends there and says so, and never the session.

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::audio::flac::FlacWriter;
use crate::audio::tap::{TapReader, Tapped};
use crate::audio::{ANALYSIS_RATE, AudioError};

/// Sound that is remembered before a session, samples: more than playing needs to begin one.
const REMEMBERED: usize = 6 * ANALYSIS_RATE as usize;
/// Sleep of a recorder with nothing to do.
const IDLE: Duration = Duration::from_millis(20);
/// Samples taken at a time.
const TAKEN: usize = 4096;

/// A finished recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// The file.
    pub path: PathBuf,
    /// Sample of the capture clock with which it begins.
    pub from: u64,
    /// Samples.
    pub samples: u64,
    /// Its size.
    pub bytes: u64,
}

/// A recorder beside an input.
pub struct Recorder {
    orders: Sender<(PathBuf, u64)>,
    trouble: Arc<Mutex<Option<String>>>,
    thread: Option<JoinHandle<Option<Recorded>>>,
}

impl Recorder {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`AudioError::Thread`].
    pub fn start(tap: TapReader) -> Result<Self, AudioError> {
        let (orders, ordered) = channel();
        let trouble = Arc::new(Mutex::new(None));
        let work = Work {
            tap,
            orders: ordered,
            trouble: trouble.clone(),
            position: 0,
            remembered: VecDeque::new(),
            file: None,
            done: None,
        };
        let thread = std::thread::Builder::new()
            .name("recorder".into())
            .spawn(move || work.run())
            .map_err(|source| AudioError::Thread { what: "recording", source })?;
        Ok(Self { orders, trouble, thread: Some(thread) })
    }

    /// Writes from this sample of the capture clock on into a new file.
    pub fn begin(&self, path: PathBuf, from: u64) {
        let _ = self.orders.send((path, from)); // A thread that has ended records nothing: its end said why.
    }

    /// Why nothing is recorded any more, once.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Waits until all that was heard is written; to be called when the input is closed. The recording, if there is one,
    /// and what went wrong that nobody has asked for yet.
    #[must_use]
    pub fn finish(mut self) -> (Option<Recorded>, Option<String>) {
        // A panic there has been printed already.
        let recorded = self.thread.take().and_then(|thread| thread.join().ok().flatten());
        (recorded, self.trouble())
    }
}

struct Work {
    tap: TapReader,
    orders: Receiver<(PathBuf, u64)>,
    trouble: Arc<Mutex<Option<String>>>,
    /// Samples of the capture clock that have come.
    position: u64,
    /// The latest of them.
    remembered: VecDeque<f32>,
    file: Option<Open>,
    /// A recording that was cut short.
    done: Option<Recorded>,
}

struct Open {
    writer: FlacWriter<File>,
    path: PathBuf,
    from: u64,
}

impl Work {
    fn run(mut self) -> Option<Recorded> {
        let mut block = vec![0.0; TAKEN];
        loop {
            if let Ok((path, from)) = self.orders.try_recv() {
                self.open(path, from);
            }
            match self.tap.read(&mut block) {
                Tapped::Samples(n) => self.take(&block[..n]),
                Tapped::Missing(n) => self.miss(n),
                Tapped::Nothing => std::thread::sleep(IDLE),
                Tapped::End { whole } => {
                    // An order that came with the last sound.
                    if let Ok((path, from)) = self.orders.try_recv() {
                        self.open(path, from);
                    }
                    if !whole && self.file.is_some() {
                        self.say("the disk is too slow");
                    }
                    return self.close().or(self.done);
                }
            }
        }
    }

    fn say(&self, why: impl std::fmt::Display) {
        let at = self.file.as_ref().map_or(0, |f| f.writer.samples()) / u64::from(ANALYSIS_RATE);
        let said = format!("the recording ends at {}:{:02}: {why}", at / 60, at % 60);
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
    }

    fn open(&mut self, path: PathBuf, from: u64) {
        // What is remembered begins here.
        let first = self.position - self.remembered.len() as u64;
        let from = from.max(first);
        let skip = usize::try_from(from - first).unwrap_or(usize::MAX).min(self.remembered.len());
        let opened =
            create(&path).and_then(|file| FlacWriter::new(file, ANALYSIS_RATE)).and_then(|mut writer| {
                let (a, b) = self.remembered.as_slices();
                writer.push(&a[skip.min(a.len())..])?;
                writer.push(&b[skip.saturating_sub(a.len())..])?;
                Ok(writer)
            });
        match opened {
            Ok(writer) => self.file = Some(Open { writer, path, from }),
            Err(e) => {
                let said = format!("nothing is recorded: {}: {e}", path.display());
                *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
            }
        }
        self.remembered = VecDeque::new();
    }

    fn take(&mut self, samples: &[f32]) {
        self.position += samples.len() as u64;
        match &mut self.file {
            Some(open) => {
                let result = open.writer.push(samples);
                self.check(result);
            }
            None => {
                self.remembered.extend(samples);
                let surplus = self.remembered.len().saturating_sub(REMEMBERED);
                self.remembered.drain(..surplus);
            }
        }
    }

    fn miss(&mut self, samples: u64) {
        self.position += samples;
        match &mut self.file {
            Some(open) => {
                let result = open.writer.silence(samples);
                self.check(result);
            }
            // Nothing begins across a gap.
            None => self.remembered.clear(),
        }
    }

    fn check(&mut self, result: std::io::Result<()>) {
        if let Err(e) = result {
            self.say(&e);
            // Closed now, so that what is there can be played; what still comes is thrown away.
            self.done = self.close();
        }
    }

    fn close(&mut self) -> Option<Recorded> {
        let Open { writer, path, from } = self.file.take()?;
        let (samples, bytes) = match writer.finish() {
            Ok(written) => written,
            Err(e) => {
                self.say(&e);
                // Without room for the rest the header still has its length.
                let bytes = std::fs::metadata(&path).map_or(0, |m| m.len());
                (crate::audio::flac::mend(&path).map_or(0, |(samples, _)| samples), bytes)
            }
        };
        if samples == 0 {
            // An empty file is of no use; if it cannot be removed, the next start does it.
            let _ = std::fs::remove_file(&path);
            return None;
        }
        Some(Recorded { path, from, samples, bytes })
    }
}

fn create(path: &Path) -> std::io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    File::create(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::tap::{Tap, tap};

    const SECOND: usize = ANALYSIS_RATE as usize;

    /// A second in which each sample tells its place.
    fn second(n: usize) -> Vec<f32> {
        (0..SECOND).map(|i| (n * SECOND + i) as f32 / (40.0 * SECOND as f32)).collect()
    }

    fn give(tap: &mut Tap, seconds: std::ops::Range<usize>) {
        for n in seconds {
            for part in second(n).chunks(480) {
                while !tap.has_room(part.len()) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                tap.take(part);
            }
        }
    }

    fn read(path: &Path) -> Vec<f32> {
        let mut reader = claxon::FlacReader::open(path).unwrap();
        reader.samples().map(|x| x.unwrap() as f32 / 32_767.0).collect()
    }

    fn assert_is(read: &[f32], from: usize) {
        for (i, x) in read.iter().enumerate() {
            let want = (from + i) as f32 / (40.0 * SECOND as f32);
            assert!((x - want).abs() < 1e-4, "sample {i} is {x} instead of {want}");
        }
    }

    #[test]
    fn a_recording_holds_the_session_from_its_first_sample_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recordings").join("a.flac");
        let (mut tap, reader) = tap();
        let recorder = Recorder::start(reader).unwrap();
        // Nine seconds of nobody playing, of which the last six are remembered.
        give(&mut tap, 0..9);
        std::thread::sleep(10 * IDLE);
        let from = 7 * SECOND + 100;
        recorder.begin(path.clone(), from as u64);
        give(&mut tap, 9..12);
        drop(tap);
        let (recorded, trouble) = recorder.finish();
        let recorded = recorded.unwrap();
        assert_eq!(trouble, None);
        assert_eq!((recorded.from, recorded.samples), (from as u64, (12 * SECOND - from) as u64));
        assert_eq!(recorded.bytes, std::fs::metadata(&path).unwrap().len());
        let sound = read(&path);
        assert_eq!(sound.len() as u64, recorded.samples);
        assert_is(&sound, from);
    }

    #[test]
    fn a_pause_is_silence_as_long_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.flac");
        let (mut tap, reader) = tap();
        let recorder = Recorder::start(reader).unwrap();
        recorder.begin(path.clone(), 0);
        give(&mut tap, 0..1);
        tap.skip(2 * SECOND as u64);
        give(&mut tap, 3..4);
        drop(tap);
        assert_eq!(recorder.finish().0.unwrap().samples, 4 * SECOND as u64);
        let sound = read(&path);
        assert_is(&sound[..SECOND], 0);
        assert!(sound[SECOND..3 * SECOND].iter().all(|x| *x == 0.0));
        assert_is(&sound[3 * SECOND..], 3 * SECOND);
    }

    #[test]
    fn a_full_disk_costs_the_recording_and_is_said_once() {
        let (mut tap, reader) = tap();
        let recorder = Recorder::start(reader).unwrap();
        // The system's own full disk.
        recorder.begin(PathBuf::from("/dev/full"), 0);
        give(&mut tap, 0..2);
        drop(tap);
        let (recorded, trouble) = recorder.finish();
        assert_eq!(recorded, None);
        let trouble = trouble.unwrap();
        assert!(trouble.contains("/dev/full") || trouble.contains("the recording ends at 0:0"), "{trouble}");
        assert!(Path::new("/dev/full").exists(), "what is no file of ours is not removed");
    }

    #[test]
    fn without_a_session_nothing_is_written() {
        let (mut tap, reader) = tap();
        let recorder = Recorder::start(reader).unwrap();
        give(&mut tap, 0..1);
        drop(tap);
        assert_eq!(recorder.finish(), (None, None));
    }
}

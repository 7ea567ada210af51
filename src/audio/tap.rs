//! A copy of what the loop hears, for a recording: samples and missing stretches leave by SPSC rings, *every value*.
//!
//! The loop's end never waits and never allocates. A reader that does not keep up loses the recording, not the session:
//! once a sample finds no room, nothing more is handed over, and the reader is told from where on.

#![deny(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rtrb::{Consumer, Producer, RingBuffer};

use crate::audio::ANALYSIS_RATE;

/// Seconds that may wait: a disk that is asleep takes that long to wake.
const RING_SECONDS: u32 = 10;
/// Missing stretches that may wait.
const MARKS: usize = 256;

/// Missing samples at a place of the stream.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// Samples handed over before it.
    at: u64,
    missing: u64,
}

/// The loop's end.
#[derive(Debug)]
pub struct Tap {
    samples: Producer<f32>,
    marks: Producer<Mark>,
    given: u64,
    /// Set for good once there was no room.
    closed: Arc<AtomicBool>,
}

/// The recorder's end.
#[derive(Debug)]
pub struct TapReader {
    samples: Consumer<f32>,
    marks: Consumer<Mark>,
    taken: u64,
    closed: Arc<AtomicBool>,
}

/// What was found at the recorder's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tapped {
    /// This many samples were copied.
    Samples(usize),
    /// At this place this many samples are missing.
    Missing(u64),
    /// Nothing yet.
    Nothing,
    /// Nothing any more. `whole`: all that was heard has been handed over.
    End {
        /// See there.
        whole: bool,
    },
}

/// Both ends. Samples are those of the analysis ([`ANALYSIS_RATE`]).
#[must_use]
pub fn tap() -> (Tap, TapReader) {
    let (samples, samples_out) = RingBuffer::new((RING_SECONDS * ANALYSIS_RATE) as usize);
    let (marks, marks_out) = RingBuffer::new(MARKS);
    let closed = Arc::new(AtomicBool::new(false));
    (
        Tap { samples, marks, given: 0, closed: closed.clone() },
        TapReader { samples: samples_out, marks: marks_out, taken: 0, closed },
    )
}

impl Tap {
    /// Hands samples over.
    pub fn take(&mut self, samples: &[f32]) {
        if self.closed.load(Ordering::Relaxed) {
            return;
        }
        if self.samples.push_entire_slice(samples).is_ok() {
            self.given += samples.len() as u64;
        } else {
            self.closed.store(true, Ordering::Release);
        }
    }

    /// Samples are missing here.
    pub fn skip(&mut self, missing: u64) {
        let closed = self.closed.load(Ordering::Relaxed);
        if !closed && self.marks.push(Mark { at: self.given, missing }).is_err() {
            self.closed.store(true, Ordering::Release);
        }
    }

    /// True when this many samples find room, or nothing is taken any more. For a loop that can wait.
    #[must_use]
    pub fn has_room(&self, samples: usize) -> bool {
        self.closed.load(Ordering::Relaxed) || self.samples.is_abandoned() || self.samples.slots() >= samples
    }
}

impl TapReader {
    /// Takes what is next.
    pub fn read(&mut self, out: &mut [f32]) -> Tapped {
        // Asked first: what was handed over before is then seen.
        let ended = self.samples.is_abandoned();
        let closed = self.closed.load(Ordering::Acquire);
        // Counted before the marks are looked at: what comes later may lie beyond a mark that was not seen.
        let mut room = out.len().min(self.samples.slots());
        if let Ok(mark) = self.marks.peek() {
            let before = mark.at - self.taken;
            if before == 0 {
                let missing = mark.missing;
                let _ = self.marks.pop(); // It was seen.
                return Tapped::Missing(missing);
            }
            room = room.min(usize::try_from(before).unwrap_or(room));
        }
        let n = self.samples.pop_partial_slice(&mut out[..room]).0.len();
        self.taken += n as u64;
        match n {
            0 if ended || closed => Tapped::End { whole: !closed },
            0 => Tapped::Nothing,
            n => Tapped::Samples(n),
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros)]
mod tests {
    use super::*;

    #[test]
    fn samples_and_missing_stretches_come_in_order() {
        let (mut tap, mut reader) = tap();
        let mut out = [0.0; 8];
        assert_eq!(reader.read(&mut out), Tapped::Nothing);
        tap.skip(5);
        tap.take(&[0.1, 0.2]);
        tap.skip(7);
        tap.take(&[0.3]);
        drop(tap);
        assert_eq!(reader.read(&mut out), Tapped::Missing(5));
        assert_eq!(reader.read(&mut out), Tapped::Samples(2));
        assert_eq!(out[..2], [0.1, 0.2]);
        assert_eq!(reader.read(&mut out), Tapped::Missing(7));
        assert_eq!(reader.read(&mut out), Tapped::Samples(1));
        assert_eq!(reader.read(&mut out), Tapped::End { whole: true });
    }

    #[test]
    fn a_reader_that_does_not_keep_up_gets_the_begin_whole_and_no_more() {
        let (mut tap, mut reader) = tap();
        let second: Vec<f32> = (0..ANALYSIS_RATE).map(|i| i as f32 / 1e6).collect();
        for _ in 0..RING_SECONDS + 3 {
            tap.take(&second);
            tap.skip(1);
        }
        assert!(tap.has_room(1), "nobody waits for a recording that is lost");
        let mut out = vec![0.0; second.len()];
        for _ in 0..RING_SECONDS {
            assert_eq!(reader.read(&mut out), Tapped::Samples(second.len()));
            assert_eq!(out, second);
            assert_eq!(reader.read(&mut out), Tapped::Missing(1));
        }
        assert_eq!(reader.read(&mut out), Tapped::End { whole: false });
    }
}

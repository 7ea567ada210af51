//! The sound card's callback: converts, picks the channel, copies into the ring, counts. Nothing else.
//!
//! This module owns ring ends, atomics and numbers only, so that there is nothing in it that could allocate, lock,
//! log, wait or panic. Channels: samples and loss marks are *every value*; the counters are *latest value*. Samples
//! that find the ring full are dropped, counted, and marked at their place, so that the clock of the music (the
//! sample counter) stays right.

#![deny(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};

use cpal::{FromSample, Sample};
use rtrb::{Consumer, Producer, RingBuffer};

use crate::audio::clock::{self, frames_ns};
use crate::audio::priority::{self, Granted};

/// Seconds of sound the ring holds: the loop may be late by that much before a sample is lost.
pub const RING_SECONDS: u32 = 4;

/// Marks in flight; a callback that finds no room for its mark drops its samples too and marks them later.
const MARKS: usize = 64;

/// Which channel carries the guitar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// The mean of all.
    Mix,
    /// One, counted from 0.
    One(usize),
}

impl Channel {
    /// From the setting: counted from 1, 0 for the mix.
    #[must_use]
    pub fn from_setting(channel: u16) -> Self {
        match usize::from(channel).checked_sub(1) {
            None => Self::Mix,
            Some(index) => Self::One(index),
        }
    }

    /// The sample of one frame (interleaved channels); silence for what is no number.
    #[must_use]
    pub fn pick(self, frame: &[f32]) -> f32 {
        let x = match self {
            Self::Mix => frame.iter().sum::<f32>() / frame.len().max(1) as f32,
            Self::One(index) => frame.get(index).copied().unwrap_or(0.0),
        };
        if x.is_finite() { x } else { 0.0 }
    }
}

/// What the callback tells the world, in atomics.
#[derive(Debug)]
pub struct CaptureState {
    /// Frames the device delivered, dropped ones included.
    pub frames: AtomicU64,
    /// Frames that found the ring full.
    pub dropped: AtomicU64,
    /// Frames that never reached us, as the watch found out by the clock: told to the loop, which skips them.
    pub missed: AtomicU64,
    /// Time of the first callback, [`clock::now_ns`]; `u64::MAX` before it.
    pub first_ns: AtomicU64,
    /// Frames in the first callback.
    pub first_frames: AtomicU64,
    /// Time of the last callback.
    pub last_ns: AtomicU64,
    /// Largest number of frames in one callback.
    pub period: AtomicU32,
    /// How far the frame count lagged behind the clock, nanoseconds: the least since the watch last took it.
    pub lateness_ns: AtomicI64,
    /// Real-time priority of the callback's thread.
    pub realtime: Granted,
    /// No more samples will come (recordings).
    pub ended: AtomicBool,
    /// The stream counts as lost: what a stalled server delivers late, while it is being closed, is out of time.
    pub closed: AtomicBool,
}

impl Default for CaptureState {
    fn default() -> Self {
        Self {
            frames: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            first_ns: AtomicU64::new(u64::MAX),
            first_frames: AtomicU64::new(0),
            last_ns: AtomicU64::new(0),
            period: AtomicU32::new(0),
            lateness_ns: AtomicI64::new(i64::MAX),
            realtime: Granted::default(),
            ended: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        }
    }
}

impl CaptureState {
    /// Time at which the first captured sample was played, as far as the first callback can tell; `None` before it.
    #[must_use]
    pub fn start_ns(&self, rate: u32) -> Option<u64> {
        let first = self.first_ns.load(Ordering::Acquire);
        let frames = self.first_frames.load(Ordering::Relaxed);
        (first != u64::MAX).then(|| first.saturating_sub(frames_ns(frames, rate)))
    }

    /// The least lateness since the last call; `None` if no callback came.
    #[must_use]
    pub fn take_lateness(&self) -> Option<i64> {
        let least = self.lateness_ns.swap(i64::MAX, Ordering::Relaxed);
        (least != i64::MAX).then_some(least)
    }
}

/// A place in the stream at which frames are missing.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// Samples written before it.
    at: u64,
    lost: u64,
}

/// The callback's end of the ring.
#[derive(Debug)]
pub struct Callback {
    samples: Producer<f32>,
    marks: Producer<Mark>,
    state: Arc<CaptureState>,
    channels: usize,
    channel: Channel,
    rate: u32,
    ask_realtime: bool,
    written: u64,
    /// Dropped since the last mark.
    pending: u64,
    frames: u64,
    origin_ns: u64,
}

/// The loop's end of the ring.
#[derive(Debug)]
pub struct Intake {
    samples: Consumer<f32>,
    marks: Consumer<Mark>,
    /// What the callback counts.
    pub state: Arc<CaptureState>,
    read: u64,
    missed: u64,
}

/// What the loop found in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// This many samples were copied.
    Samples(usize),
    /// At this place this many samples are missing.
    Lost(u64),
    /// Nothing yet.
    Nothing,
    /// Nothing any more.
    End,
}

/// A ring for a stream of `channels` at `rate` Hz. `realtime`: the callback asks for real-time priority in its
/// first run.
#[must_use]
pub fn ring(channels: u16, channel: Channel, rate: u32, realtime: bool) -> (Callback, Intake) {
    clock::start();
    let (samples, samples_out) = RingBuffer::new((rate.max(8_000) * RING_SECONDS) as usize);
    let (marks, marks_out) = RingBuffer::new(MARKS);
    let state = Arc::new(CaptureState::default());
    let callback = Callback {
        samples,
        marks,
        state: state.clone(),
        channels: usize::from(channels.max(1)),
        channel,
        rate,
        ask_realtime: realtime,
        written: 0,
        pending: 0,
        frames: 0,
        origin_ns: 0,
    };
    (callback, Intake { samples: samples_out, marks: marks_out, state, read: 0, missed: 0 })
}

impl Callback {
    /// The callback's body: interleaved frames as the device delivers them.
    pub fn on_data<T>(&mut self, data: &[T])
    where
        T: Sample,
        f32: FromSample<T>,
    {
        if self.ask_realtime {
            self.ask_realtime = false;
            self.state.realtime.set(priority::request(priority::CALLBACK_PRIORITY));
        }
        self.on_data_at(data, clock::now_ns());
    }

    /// As [`Callback::on_data`], at a given time.
    pub fn on_data_at<T>(&mut self, data: &[T], now_ns: u64)
    where
        T: Sample,
        f32: FromSample<T>,
    {
        let frames = data.len() / self.channels;
        if frames == 0 || self.state.closed.load(Ordering::Acquire) {
            return;
        }
        self.count(frames as u64, now_ns);
        if self.pending > 0 {
            let mark = Mark { at: self.written, lost: self.pending };
            if self.samples.slots() == 0 || self.marks.push(mark).is_err() {
                self.drop_frames(frames as u64);
                return;
            }
            self.pending = 0;
        }
        let fits = frames.min(self.samples.slots());
        // `fits` slots are free, so this cannot fail; if it did, the frames would be counted as dropped.
        let written = self.samples.write_chunk_uninit(fits).map_or(0, |chunk| {
            let (channels, channel) = (self.channels, self.channel);
            chunk.fill_from_iter(data.chunks_exact(channels).take(fits).map(|frame| match channel {
                Channel::Mix => {
                    finite(frame.iter().map(|s| f32::from_sample(*s)).sum::<f32>() / frame.len() as f32)
                }
                Channel::One(index) => frame.get(index).map_or(0.0, |s| finite(f32::from_sample(*s))),
            }))
        });
        self.written += written as u64;
        if written < frames {
            self.drop_frames((frames - written) as u64);
        }
    }

    fn count(&mut self, frames: u64, now_ns: u64) {
        let state = &*self.state;
        if self.frames == 0 {
            self.origin_ns = now_ns.saturating_sub(frames_ns(frames, self.rate));
            state.first_frames.store(frames, Ordering::Relaxed);
            state.first_ns.store(now_ns, Ordering::Release);
        }
        self.frames += frames;
        state.frames.store(self.frames, Ordering::Relaxed);
        state.period.fetch_max(u32::try_from(frames).unwrap_or(u32::MAX), Ordering::Relaxed);
        state.last_ns.store(now_ns, Ordering::Release);
        let elapsed = now_ns.saturating_sub(self.origin_ns) as i64;
        state.lateness_ns.fetch_min(elapsed - frames_ns(self.frames, self.rate) as i64, Ordering::Relaxed);
    }

    fn drop_frames(&mut self, frames: u64) {
        self.pending += frames;
        self.state.dropped.fetch_add(frames, Ordering::Relaxed);
    }

    /// Room for samples, for feeders that wait instead of dropping.
    #[must_use]
    pub fn room(&self) -> usize {
        self.samples.slots()
    }

    /// True when the loop has gone.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.samples.is_abandoned()
    }

    /// No more samples will come. For recordings; a device's end is decided by the watch.
    pub fn end(&self) {
        self.state.ended.store(true, Ordering::Release);
    }
}

fn finite(x: f32) -> f32 {
    if x.is_finite() { x } else { 0.0 }
}

impl Intake {
    /// Copies the next samples, or says what is at this place instead.
    pub fn read(&mut self, out: &mut [f32]) -> Found {
        let missed = self.state.missed.load(Ordering::Relaxed);
        if missed > self.missed {
            let lost = missed - self.missed;
            self.missed = missed;
            return Found::Lost(lost);
        }
        // Looked at before the ring: what was written before the end is then seen.
        let ended = self.state.ended.load(Ordering::Acquire);
        let mut room = out.len().min(self.samples.slots());
        if let Ok(mark) = self.marks.peek().copied() {
            let before = usize::try_from(mark.at.saturating_sub(self.read)).unwrap_or(usize::MAX);
            if before == 0 {
                let _ = self.marks.pop();
                return Found::Lost(mark.lost);
            }
            room = room.min(before);
        }
        if room == 0 {
            return if ended { Found::End } else { Found::Nothing };
        }
        let copied = self.samples.pop_partial_slice(&mut out[..room]).0.len();
        self.read += copied as u64;
        Found::Samples(copied)
    }

    /// Samples that wait in the ring.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.samples.slots()
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros)]
mod tests {
    use super::*;
    use crate::audio::clock::SECOND_NS;

    fn take(intake: &mut Intake) -> (Vec<f32>, Vec<(usize, u64)>) {
        let (mut all, mut gaps) = (Vec::new(), Vec::new());
        let mut block = [0.0; 100];
        loop {
            match intake.read(&mut block) {
                Found::Samples(n) => all.extend_from_slice(&block[..n]),
                Found::Lost(n) => gaps.push((all.len(), n)),
                Found::Nothing | Found::End => return (all, gaps),
            }
        }
    }

    #[test]
    fn channels_are_counted_from_one_and_zero_is_the_mix() {
        let frames = [0.1_f32, 0.5, -0.3, 0.2, 0.7, -0.9];
        for (setting, want) in [(1, [0.1, 0.2]), (2, [0.5, 0.7]), (3, [-0.3, -0.9]), (0, [0.1, 0.0])] {
            let (mut callback, mut intake) = ring(3, Channel::from_setting(setting), 48_000, false);
            callback.on_data(&frames);
            let (got, gaps) = take(&mut intake);
            assert!(gaps.is_empty());
            assert_eq!(got.len(), 2);
            for (g, w) in got.iter().zip(want) {
                assert!((g - w).abs() < 1e-6, "channel {setting}: {got:?}");
            }
            assert_eq!(intake.state.frames.load(Ordering::Relaxed), 2);
        }
    }

    #[test]
    fn every_sample_format_spans_minus_one_to_one() {
        fn check<T: Sample>(low: T, middle: T, high: T, name: &str)
        where
            f32: FromSample<T>,
        {
            let (mut callback, mut intake) = ring(1, Channel::Mix, 48_000, false);
            callback.on_data(&[low, middle, high]);
            let (got, _) = take(&mut intake);
            assert!((got[0] + 1.0).abs() < 1e-6, "{name}: {got:?}");
            assert!(got[1].abs() < 1e-6, "{name}: {got:?}");
            assert!((got[2] - 1.0).abs() < 0.01, "{name}: {got:?}");
        }
        check(i8::MIN, 0, i8::MAX, "i8");
        check(i16::MIN, 0, i16::MAX, "i16");
        check(i32::MIN, 0, i32::MAX, "i32");
        check(i64::MIN, 0, i64::MAX, "i64");
        check(u8::MIN, 128, u8::MAX, "u8");
        check(u16::MIN, 32_768, u16::MAX, "u16");
        check(u32::MIN, 1 << 31, u32::MAX, "u32");
        check(u64::MIN, 1 << 63, u64::MAX, "u64");
        check(-1.0_f32, 0.0, 1.0, "f32");
        check(-1.0_f64, 0.0, 1.0, "f64");
        let i24 = |x| cpal::I24::new(x).unwrap();
        check(i24(-(1 << 23)), i24(0), i24((1 << 23) - 1), "i24");
        let u24 = |x| cpal::U24::new(x).unwrap();
        check(u24(0), u24(1 << 23), u24((1 << 24) - 1), "u24");
    }

    #[test]
    fn what_is_no_number_becomes_silence() {
        let (mut callback, mut intake) = ring(2, Channel::Mix, 48_000, false);
        callback.on_data(&[f32::NAN, 0.5, f32::INFINITY, 0.5, 0.25, 0.75]);
        assert_eq!(take(&mut intake).0, [0.0, 0.0, 0.5]);
    }

    #[test]
    fn dropped_samples_are_counted_and_marked_at_their_place() {
        let (mut callback, mut intake) = ring(1, Channel::Mix, 8_000, false);
        let room = callback.room();
        let ramp: Vec<f32> = (0..room + 500).map(|i| i as f32 / 65_536.0).collect();
        callback.on_data(&ramp);
        callback.on_data(&ramp[..300]);
        assert_eq!(intake.state.dropped.load(Ordering::Relaxed), 800);
        let mut head = vec![0.0; 1000];
        assert_eq!(intake.read(&mut head), Found::Samples(1000));
        assert_eq!(head, ramp[..1000]);
        callback.on_data(&[0.5_f32; 10]);
        let (rest, gaps) = take(&mut intake);
        assert_eq!(rest.len(), room - 1000 + 10);
        assert_eq!(rest[..room - 1000], ramp[1000..room]);
        assert_eq!(rest[room - 1000..], [0.5; 10]);
        assert_eq!(gaps, [(room - 1000, 800)], "one mark, before the first sample that fitted again");
        assert_eq!(intake.state.frames.load(Ordering::Relaxed), room as u64 + 810);
    }

    #[test]
    fn lateness_is_the_least_since_it_was_taken() {
        let (mut callback, intake) = ring(1, Channel::Mix, 48_000, false);
        let data = [0.0_f32; 480];
        let ms = SECOND_NS / 1000;
        callback.on_data_at(&data, 100 * ms);
        callback.on_data_at(&data, 115 * ms);
        callback.on_data_at(&data, 127 * ms);
        assert_eq!(intake.state.start_ns(48_000), Some(90 * ms));
        assert_eq!(intake.state.take_lateness(), Some(0));
        assert_eq!(intake.state.take_lateness(), None);
        callback.on_data_at(&data, 140 * ms);
        assert_eq!(intake.state.take_lateness(), Some(10 * ms as i64));
        assert_eq!(intake.state.period.load(Ordering::Relaxed), 480);
    }

    #[test]
    fn what_a_lost_stream_still_delivers_is_out_of_time() {
        let (mut callback, mut intake) = ring(1, Channel::Mix, 48_000, false);
        callback.on_data_at(&[0.5_f32; 3], 100);
        intake.state.closed.store(true, Ordering::Release);
        callback.on_data_at(&[0.9_f32; 3], 2_000);
        assert_eq!(take(&mut intake).0, [0.5; 3]);
        assert_eq!(intake.state.last_ns.load(Ordering::Relaxed), 100);
    }

    #[test]
    fn the_end_comes_after_the_last_sample() {
        let (mut callback, mut intake) = ring(1, Channel::Mix, 48_000, false);
        callback.on_data(&[0.5_f32; 3]);
        callback.end();
        let mut out = [0.0; 8];
        assert_eq!(intake.read(&mut out), Found::Samples(3));
        assert_eq!(intake.read(&mut out), Found::End);
    }
}

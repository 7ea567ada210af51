//! What the output tells of its metronome: a latest-value cell of atomics, written in the sound card's callback.

#![deny(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros)]

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering, fence};

use super::{Climb, Metronome};
use crate::audio::clock::{SECOND_NS, frames_ns};

/// Several numbers that are read together or not at all (a seqlock: the writer never waits, a reader that meets a write
/// tries again a few times). One writer at a time.
#[derive(Debug)]
pub(crate) struct Cells<const N: usize> {
    /// Odd while a write is under way.
    sequence: AtomicU32,
    values: [AtomicU64; N],
}

impl<const N: usize> Default for Cells<N> {
    fn default() -> Self {
        Self { sequence: AtomicU32::new(0), values: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl<const N: usize> Cells<N> {
    pub fn write(&self, values: &[u64; N]) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        for (cell, value) in self.values.iter().zip(values) {
            cell.store(*value, Ordering::Relaxed);
        }
        self.sequence.store(sequence.wrapping_add(2), Ordering::Release);
    }

    /// `None` before the first write, and when a write was met at every attempt.
    pub fn read(&self) -> Option<[u64; N]> {
        const ATTEMPTS: usize = 8;
        for _ in 0..ATTEMPTS {
            let before = self.sequence.load(Ordering::Acquire);
            let values = std::array::from_fn(|i| self.values[i].load(Ordering::Relaxed));
            fence(Ordering::Acquire);
            if before == 0 {
                return None;
            }
            if before.is_multiple_of(2) && self.sequence.load(Ordering::Relaxed) == before {
                return Some(values);
            }
            std::hint::spin_loop();
        }
        None
    }
}

/// Clicks from a start to an end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Train {
    /// Counts the starts, from 1.
    pub number: u64,
    /// What is played.
    pub metronome: Metronome,
    /// Frames a second of the output.
    pub rate: u32,
    /// Frame of beat 0.
    pub origin: u64,
    /// No click begins at this frame or later; `u64::MAX` while it goes on.
    pub until: u64,
}

impl Train {
    /// True while it goes on.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.until == u64::MAX
    }
}

/// The board: one for each player.
#[derive(Debug, Default)]
pub struct Board {
    train: Cells<10>,
    /// Frames rendered since the device was opened.
    frames: AtomicU64,
    /// Time at which frame 0 would have been handed over, ns ([`crate::audio::clock`]): the least of late.
    offset_ns: AtomicI64,
}

impl Board {
    /// The latest train of clicks; `None` before the first.
    #[must_use]
    pub fn train(&self) -> Option<Train> {
        let [number, bpm, pattern, swing, rate, origin, until, beats, step, end] = self.train.read()?;
        let (after, every) = ((beats >> 32) as u32, beats as u32);
        let (step, end) = (f64::from_bits(step), f64::from_bits(end));
        let metronome = Metronome {
            bpm: f64::from_bits(bpm),
            accent: (pattern >> 32) as u32,
            parts: pattern as u32,
            swing: f64::from_bits(swing),
            climb: (every > 0).then_some(Climb { after, every, step, end }),
        };
        Some(Train { number, metronome, rate: rate as u32, origin, until })
    }

    pub(crate) fn set_train(&self, train: &Train) {
        let m = train.metronome;
        let climb = m.climb.unwrap_or(Climb { after: 0, every: 0, step: 0.0, end: 0.0 });
        self.train.write(&[
            train.number,
            m.bpm.to_bits(),
            u64::from(m.accent) << 32 | u64::from(m.parts),
            m.swing.to_bits(),
            u64::from(train.rate),
            train.origin,
            train.until,
            u64::from(climb.after) << 32 | u64::from(climb.every),
            climb.step.to_bits(),
            climb.end.to_bits(),
        ]);
    }

    /// Frames rendered since the device was opened.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.frames.load(Ordering::Acquire)
    }

    /// Time at which frame 0 would have been handed over, ns.
    #[must_use]
    pub fn offset_ns(&self) -> i64 {
        self.offset_ns.load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self, frames: u64, offset_ns: i64) {
        self.offset_ns.store(offset_ns, Ordering::Relaxed);
        self.frames.store(frames, Ordering::Release);
    }

    /// Beat that is being handed to the device, from 0, fractional; `None` without a running metronome or before its
    /// start.
    #[must_use]
    pub fn beat(&self) -> Option<f64> {
        let train = self.train().filter(Train::is_running)?;
        let frames = self.frames().checked_sub(train.origin)?;
        Some(train.metronome.beats(frames as f64 / f64::from(train.rate.max(1))))
    }
}

/// The clock that counts frames against the clock of the machine: the least time at which "frame 0" was handed over, in the
/// last 2 to 4 s. A callback comes late by chance but never early, so the least is the steadiest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offset {
    before: i64,
    now: i64,
    until_ns: u64,
}

impl Default for Offset {
    fn default() -> Self {
        Self { before: i64::MAX, now: i64::MAX, until_ns: 0 }
    }
}

impl Offset {
    /// At `now_ns` the count stood at `frames`.
    pub fn push(&mut self, now_ns: u64, frames: u64, rate: u32) -> i64 {
        if now_ns >= self.until_ns {
            (self.before, self.now) = (self.now, i64::MAX);
            self.until_ns = now_ns + 2 * SECOND_NS;
        }
        self.now = self.now.min(now_ns as i64 - frames_ns(frames, rate) as i64);
        self.now.min(self.before)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros)]
mod tests {
    use super::*;

    #[test]
    fn a_train_survives_the_board() {
        let board = Board::default();
        assert_eq!((board.train(), board.beat()), (None, None));
        let metronome = Metronome::new(93.5, 7, 4, 0.6).unwrap();
        let train = Train { number: 3, metronome, rate: 44_100, origin: 1 << 40, until: u64::MAX };
        board.set_train(&train);
        assert_eq!(board.train(), Some(train));
        board.count((1 << 40) + 44_100 * 60, 5);
        assert!((board.beat().unwrap() - 93.5).abs() < 1e-9);
        let climb = Climb { after: 7, every: 14, step: 2.5, end: 120.0 };
        let rising = Train { metronome: metronome.climbing(climb), ..train };
        board.set_train(&rising);
        assert_eq!(board.train(), Some(rising));
        board.set_train(&Train { until: 7, ..train });
        assert_eq!(board.beat(), None, "stopped");
    }

    #[test]
    fn the_offset_is_the_least_of_late() {
        let mut offset = Offset::default();
        let at = |ms: u64, late_ms: u64| (ms + late_ms) * 1_000_000;
        assert_eq!(offset.push(at(0, 7), 0, 48_000), 7_000_000);
        assert_eq!(offset.push(at(100, 2), 4_800, 48_000), 2_000_000);
        assert_eq!(offset.push(at(200, 9), 9_600, 48_000), 2_000_000);
        // What was long ago is forgotten: clocks drift.
        for ms in (300..6_000).step_by(100) {
            offset.push(at(ms, 5), ms * 48, 48_000);
        }
        assert_eq!(offset.push(at(6_000, 5), 288_000, 48_000), 5_000_000);
    }
}

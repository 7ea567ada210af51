//! What the player sees right now: a latest-value cell from the real-time loop to the display.
//!
//! Latest value, not every value: a reader that looks rarely misses frames, by design. A seqlock made of atomics: the
//! writer never waits; a reader that meets a write in progress tries again (H.-J. Boehm, "Can seqlocks get along
//! with programming language memory models?", MSPC 2012).

#![deny(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// One look at the playing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LiveFrame {
    /// Seconds on the capture clock.
    pub t: f64,
    /// Frequency, Hz; `None` where unvoiced.
    pub f0: Option<f32>,
    /// Deviation from [`LiveFrame::midi`], cents, -50..=50.
    pub cents: Option<f32>,
    /// Nearest note.
    pub midi: Option<u8>,
    /// 0..1.
    pub confidence: f32,
    /// The pitch is a first guess.
    pub provisional: bool,
    /// Input level, dBFS.
    pub level_db: f32,
}

#[derive(Debug)]
struct Cell {
    /// Odd while a write is under way.
    sequence: AtomicU32,
    t: AtomicU64,
    /// `f0` and `cents` as bits of `f32`, NaN for none.
    pitch: AtomicU64,
    /// `confidence` and `level_db` as bits of `f32`.
    level: AtomicU64,
    /// `midi` (256 for none) and, shifted by 16, `provisional`.
    note: AtomicU32,
}

/// The loop's end. There is one.
#[derive(Debug)]
pub struct LiveWriter(Arc<Cell>);

/// The display's end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LiveReader(Arc<Cell>);

/// A new cell that holds silence.
#[must_use]
pub fn cell() -> (LiveWriter, LiveReader) {
    let cell = Arc::new(Cell {
        sequence: AtomicU32::new(0),
        t: AtomicU64::new(0),
        pitch: AtomicU64::new(0),
        level: AtomicU64::new(0),
        note: AtomicU32::new(0),
    });
    let mut writer = LiveWriter(cell.clone());
    writer.write(&LiveFrame { level_db: -120.0, ..LiveFrame::default() });
    (writer, LiveReader(cell))
}

fn pack(a: f32, b: f32) -> u64 {
    u64::from(a.to_bits()) << 32 | u64::from(b.to_bits())
}

fn unpack(both: u64) -> (f32, f32) {
    (f32::from_bits((both >> 32) as u32), f32::from_bits(both as u32))
}

fn some(x: f32) -> Option<f32> {
    (!x.is_nan()).then_some(x)
}

impl LiveWriter {
    /// Replaces the value. Wait-free: five atomic stores.
    pub fn write(&mut self, frame: &LiveFrame) {
        let cell = &*self.0;
        let sequence = cell.sequence.load(Ordering::Relaxed);
        cell.sequence.store(sequence.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        cell.t.store(frame.t.to_bits(), Ordering::Relaxed);
        let pitch = pack(frame.f0.unwrap_or(f32::NAN), frame.cents.unwrap_or(f32::NAN));
        cell.pitch.store(pitch, Ordering::Relaxed);
        cell.level.store(pack(frame.confidence, frame.level_db), Ordering::Relaxed);
        let midi = frame.midi.map_or(256, u32::from);
        cell.note.store(u32::from(frame.provisional) << 16 | midi, Ordering::Relaxed);
        cell.sequence.store(sequence.wrapping_add(2), Ordering::Release);
    }
}

impl LiveReader {
    /// The latest value, whole.
    #[must_use]
    pub fn read(&self) -> LiveFrame {
        let cell = &*self.0;
        loop {
            let before = cell.sequence.load(Ordering::Acquire);
            let t = cell.t.load(Ordering::Relaxed);
            let pitch = cell.pitch.load(Ordering::Relaxed);
            let level = cell.level.load(Ordering::Relaxed);
            let note = cell.note.load(Ordering::Relaxed);
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && cell.sequence.load(Ordering::Relaxed) == before {
                let (f0, cents) = unpack(pitch);
                let (confidence, level_db) = unpack(level);
                return LiveFrame {
                    t: f64::from_bits(t),
                    f0: some(f0),
                    cents: some(cents),
                    midi: u8::try_from(note & 0xffff).ok(),
                    confidence,
                    provisional: note >> 16 != 0,
                    level_db,
                };
            }
            std::hint::spin_loop();
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn every_field_survives() {
        let (mut writer, reader) = cell();
        assert_eq!(reader.read(), LiveFrame { level_db: -120.0, ..LiveFrame::default() });
        let frame = LiveFrame {
            t: 12.25,
            f0: Some(110.5),
            cents: Some(-7.5),
            midi: Some(45),
            confidence: 0.75,
            provisional: true,
            level_db: -18.0,
        };
        writer.write(&frame);
        assert_eq!(reader.read(), frame);
        let silent = LiveFrame { f0: None, cents: None, midi: None, provisional: false, ..frame };
        writer.write(&silent);
        assert_eq!(reader.clone().read(), silent);
    }

    #[test]
    fn a_reader_never_sees_half_a_write() {
        let (mut writer, reader) = cell();
        let stop = Arc::new(AtomicBool::new(false));
        let frame = |n: u32| LiveFrame {
            t: f64::from(n),
            f0: Some(n as f32),
            cents: Some(n as f32),
            midi: Some((n % 128) as u8),
            confidence: n as f32,
            provisional: n % 2 == 1,
            level_db: n as f32,
        };
        writer.write(&frame(0));
        let (s, r) = (stop.clone(), reader.clone());
        let looking = std::thread::spawn(move || {
            let (mut last, mut looks) = (0.0, 0_u32);
            while !s.load(Ordering::Relaxed) || looks < 1000 {
                let seen = r.read();
                assert_eq!(seen, frame(seen.t as u32));
                assert!(seen.t >= last, "values never go back");
                last = seen.t;
                looks += 1;
            }
        });
        for n in 0..200_000 {
            writer.write(&frame(n));
        }
        stop.store(true, Ordering::Relaxed);
        looking.join().unwrap();
        assert_eq!(reader.read(), frame(199_999));
    }
}

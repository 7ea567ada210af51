//! The coach's own voice in the microphone is never scored.
//!
//! The player publishes when its voice has energy; the real-time loop asks whether a stretch of input may contain it.
//! Between the two lies an unknown delay (output buffers, the room, input buffers), so the answer is yes from the first
//! sample that was handed to the device until a tail after the last energetic one. Bursts that lie closer than the
//! tail are one.

#![deny(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::audio::clock::SECOND_NS;

/// Longest way from "handed to the device" to "captured", with the room's echo: up to about 400 ms through the buffers
/// of both directions (Bluetooth speakers included), and 200 ms until a living room has decayed by 20 dB and more.
pub const TAIL: Duration = Duration::from_millis(600);

/// Peak above which a piece of the voice counts as energy (-60 dBFS at the output).
pub const AUDIBLE: f32 = 1e-3;

/// Bursts remembered: the loop may lag behind the player by a few hundred milliseconds, never by four bursts, since
/// bursts are further apart than the tail.
const REMEMBERED: usize = 4;

#[derive(Debug)]
struct Burst {
    from: AtomicU64,
    /// Last energy.
    last: AtomicU64,
}

#[derive(Debug)]
struct Bursts {
    tail_ns: u64,
    current: AtomicUsize,
    slots: [Burst; REMEMBERED],
}

/// Shared between the player (which writes) and the loop (which asks). Cheap to clone; atomics only.
#[derive(Clone, Debug)]
pub struct EchoGate(Option<Arc<Bursts>>);

impl Default for EchoGate {
    fn default() -> Self {
        Self::new(TAIL)
    }
}

impl EchoGate {
    /// A gate that stays closed for `tail` after the last energy of the voice.
    #[must_use]
    pub fn new(tail: Duration) -> Self {
        let tail_ns = u64::try_from(tail.as_nanos()).unwrap_or(SECOND_NS);
        let slots =
            std::array::from_fn(|_| Burst { from: AtomicU64::new(u64::MAX), last: AtomicU64::new(0) });
        Self(Some(Arc::new(Bursts { tail_ns, current: AtomicUsize::new(0), slots })))
    }

    /// A gate that never closes: a cable, a file, the virtual guitarist.
    #[must_use]
    pub fn off() -> Self {
        Self(None)
    }

    /// False for [`EchoGate::off`].
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The voice has energy at `at_ns` ([`crate::audio::clock`]). Called by the one player, in order of time.
    pub fn voice(&self, at_ns: u64) {
        let Some(bursts) = &self.0 else { return };
        let current = bursts.current.load(Ordering::Relaxed);
        let slot = &bursts.slots[current];
        let from = slot.from.load(Ordering::Relaxed);
        if from != u64::MAX && at_ns <= slot.last.load(Ordering::Relaxed).saturating_add(bursts.tail_ns) {
            slot.last.fetch_max(at_ns, Ordering::Release);
            return;
        }
        let next = (current + 1) % REMEMBERED;
        let slot = &bursts.slots[next];
        // While it is rewritten the slot covers nothing; the reader meets this for nanoseconds, once in four bursts,
        // and only loses a burst that ended long ago.
        slot.from.store(u64::MAX, Ordering::Release);
        slot.last.store(at_ns, Ordering::Release);
        slot.from.store(at_ns, Ordering::Release);
        bursts.current.store(next, Ordering::Release);
    }

    /// May input captured between these times contain the voice?
    #[must_use]
    pub fn covers(&self, from_ns: u64, to_ns: u64) -> bool {
        let Some(bursts) = &self.0 else { return false };
        bursts.slots.iter().any(|slot| {
            let from = slot.from.load(Ordering::Acquire);
            from != u64::MAX
                && to_ns >= from
                && from_ns <= slot.last.load(Ordering::Acquire).saturating_add(bursts.tail_ns)
        })
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn at(gate: &EchoGate, ms: u64) -> bool {
        gate.covers(ms * MS, ms * MS)
    }

    #[test]
    fn closes_with_the_first_sample_and_opens_a_tail_after_the_last() {
        let gate = EchoGate::new(Duration::from_millis(600));
        assert!(!at(&gate, 0) && !at(&gate, 5000));
        for ms in 1000..2000 {
            gate.voice(ms * MS);
        }
        assert!(!at(&gate, 999), "before the voice");
        assert!(at(&gate, 1000) && at(&gate, 1999) && at(&gate, 2599));
        assert!(!at(&gate, 2600), "after the tail");
        assert!(gate.covers(900 * MS, 1001 * MS), "a hop that only touches the voice");
    }

    #[test]
    fn pauses_between_words_do_not_open_it_and_pauses_between_bursts_do() {
        let gate = EchoGate::new(Duration::from_millis(600));
        gate.voice(1000 * MS);
        gate.voice(1500 * MS);
        assert!(at(&gate, 1300), "a pause between words");
        gate.voice(4000 * MS);
        assert!(at(&gate, 1300), "an earlier burst is still known to a loop that lags");
        assert!(!at(&gate, 3000));
        assert!(at(&gate, 4500));
    }

    #[test]
    fn a_cable_is_never_gated() {
        let gate = EchoGate::off();
        gate.voice(1000 * MS);
        assert!(!gate.is_on() && !at(&gate, 1000));
        assert!(EchoGate::default().is_on());
    }

    #[test]
    fn any_number_of_bursts() {
        let gate = EchoGate::new(Duration::from_millis(100));
        for burst in 1..50_u64 {
            gate.voice(burst * 1000 * MS);
            assert!(at(&gate, burst * 1000 + 50));
            assert!(!at(&gate, burst * 1000 + 500));
            assert!(burst == 1 || at(&gate, (burst - 1) * 1000 + 50));
        }
    }
}

//! One monotonic clock for callback, loop, player and echo gate: nanoseconds since the program's first look at it.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

static ZERO: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Nanoseconds a second.
pub const SECOND_NS: u64 = 1_000_000_000;

/// Starts the clock. Called before any real-time thread runs, so that [`now_ns`] never initialises it there.
pub fn start() {
    LazyLock::force(&ZERO);
}

/// Nanoseconds since [`start`] (CLOCK_MONOTONIC through the vDSO: no system call).
#[must_use]
pub fn now_ns() -> u64 {
    u64::try_from(ZERO.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Processor time that this thread has used, nanoseconds: what it took itself, however often it was interrupted. A system
/// call of a few tenths of a microsecond. `None` where the system does not tell.
#[must_use]
pub fn thread_cpu_ns() -> Option<u64> {
    #[cfg(unix)]
    {
        let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `t` is a valid, writable timespec for the length of the call.
        let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut t) } != 0;
        (!failed).then(|| t.tv_sec as u64 * SECOND_NS + t.tv_nsec as u64)
    }
    #[cfg(not(unix))]
    {
        None
    }
}

/// The instant that [`now_ns`] calls `ns`.
#[must_use]
pub fn instant(ns: u64) -> Instant {
    *ZERO + Duration::from_nanos(ns)
}

/// Length of `frames` at `rate`, nanoseconds; 0 for a rate of 0.
#[must_use]
pub fn frames_ns(frames: u64, rate: u32) -> u64 {
    if rate == 0 {
        return 0;
    }
    let ns = u128::from(frames) * u128::from(SECOND_NS) / u128::from(rate);
    u64::try_from(ns).unwrap_or(u64::MAX)
}

/// Frames at `rate` in `ns` nanoseconds, rounded to the nearest.
#[must_use]
pub fn ns_frames(ns: u64, rate: u32) -> u64 {
    let frames = (u128::from(ns) * u128::from(rate) + u128::from(SECOND_NS / 2)) / u128::from(SECOND_NS);
    u64::try_from(frames).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_sleeps_uses_no_processor_time_and_one_that_computes_does() {
        let Some(before) = thread_cpu_ns() else { return };
        std::thread::sleep(Duration::from_millis(30));
        let slept = thread_cpu_ns().unwrap() - before;
        assert!(slept < 15_000_000, "{slept} ns");
        let (begin, mut sum) = (thread_cpu_ns().unwrap(), 0u64);
        while thread_cpu_ns().unwrap() - begin < 1_000_000 {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(sum > 0);
    }

    #[test]
    fn frames_and_nanoseconds_agree_at_every_rate() {
        for rate in [8_000, 22_050, 44_100, 48_000, 96_000, 192_000] {
            assert_eq!(frames_ns(u64::from(rate), rate), SECOND_NS);
            for frames in [0, 1, 441, 1_000_003, u64::from(rate) * 3600 * 24] {
                assert_eq!(ns_frames(frames_ns(frames, rate), rate), frames, "{frames} at {rate}");
            }
        }
        assert_eq!(frames_ns(10, 0), 0);
    }
}

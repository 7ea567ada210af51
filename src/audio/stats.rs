//! What the real-time loop counts, in atomics: read at any time, by anyone, without stopping it.

#![deny(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros)]

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::audio::priority::Granted;

/// Buckets an octave: a percentile is off by 9 % at most.
const PER_OCTAVE: u32 = 4;
/// From 1 ns to 2^36 ns (69 s).
const BUCKETS: usize = 36 * PER_OCTAVE as usize;

/// Times of the hops since the last [`EngineStats::take_window`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HopStats {
    /// Hops analysed.
    pub hops: u64,
    /// Median, nanoseconds.
    pub p50_ns: u64,
    /// 95th percentile, nanoseconds.
    pub p95_ns: u64,
    /// Longest, nanoseconds.
    pub max_ns: u64,
    /// Hops that took longer than the sound they hold.
    pub overruns: u64,
}

/// Counters of one engine.
#[derive(Debug)]
pub struct EngineStats {
    /// Frames that came from the device or file (before resampling).
    pub frames: AtomicU64,
    /// Frames that were dropped because the loop was late.
    pub dropped_samples: AtomicU64,
    /// Frames that the device lost, as found out by the clock.
    pub missed_samples: AtomicU64,
    /// Events that were dropped because nobody took them.
    pub dropped_events: AtomicU64,
    /// Places at which input is missing.
    pub gaps: AtomicU64,
    /// Seconds on the capture clock, as bits of `f64`.
    seconds: AtomicU64,
    peak: AtomicU32,
    /// Real-time priority of the loop.
    pub realtime: Granted,
    buckets: [AtomicU32; BUCKETS],
    max_ns: AtomicU64,
    overruns: AtomicU64,
    deadline_ns: u64,
}

impl EngineStats {
    /// For hops that each hold `deadline_ns` nanoseconds of sound.
    #[must_use]
    pub fn new(deadline_ns: u64) -> Self {
        Self {
            frames: AtomicU64::new(0),
            dropped_samples: AtomicU64::new(0),
            missed_samples: AtomicU64::new(0),
            dropped_events: AtomicU64::new(0),
            gaps: AtomicU64::new(0),
            seconds: AtomicU64::new(0),
            peak: AtomicU32::new(0),
            realtime: Granted::default(),
            buckets: std::array::from_fn(|_| AtomicU32::new(0)),
            max_ns: AtomicU64::new(0),
            overruns: AtomicU64::new(0),
            deadline_ns,
        }
    }

    /// Adds a hop that took `ns`.
    pub fn hop(&self, ns: u64) {
        self.buckets[bucket(ns)].fetch_add(1, Ordering::Relaxed);
        self.max_ns.fetch_max(ns, Ordering::Relaxed);
        if ns > self.deadline_ns {
            self.overruns.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The hops since the last call, which are then forgotten.
    #[must_use]
    pub fn take_window(&self) -> HopStats {
        let counts: [u32; BUCKETS] = std::array::from_fn(|i| self.buckets[i].swap(0, Ordering::Relaxed));
        let hops = counts.iter().map(|c| u64::from(*c)).sum();
        let max_ns = self.max_ns.swap(0, Ordering::Relaxed);
        let percentile = |share: f64| {
            let rank = (hops as f64 * share).ceil().max(1.0) as u64;
            let mut seen = 0;
            for (i, count) in counts.iter().enumerate() {
                seen += u64::from(*count);
                if seen >= rank {
                    return middle(i).min(max_ns);
                }
            }
            0
        };
        HopStats {
            hops,
            p50_ns: percentile(0.5),
            p95_ns: percentile(0.95),
            max_ns,
            overruns: self.overruns.swap(0, Ordering::Relaxed),
        }
    }

    /// Notes an input level (absolute sample value).
    pub fn level(&self, peak: f32) {
        // Bits of non-negative floats are in the order of their values.
        self.peak.fetch_max(peak.to_bits(), Ordering::Relaxed);
    }

    /// Highest input level since the last call, full scale 1.
    #[must_use]
    pub fn take_peak(&self) -> f32 {
        f32::from_bits(self.peak.swap(0, Ordering::Relaxed))
    }

    /// Where the capture clock stands, seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        f64::from_bits(self.seconds.load(Ordering::Relaxed))
    }

    pub(crate) fn set_seconds(&self, seconds: f64) {
        self.seconds.store(seconds.to_bits(), Ordering::Relaxed);
    }
}

/// Octave and quarter of an octave, by the two bits below the leading one.
fn bucket(ns: u64) -> usize {
    let ns = ns.max(1);
    let octave = ns.ilog2();
    let quarter = if octave >= 2 { (ns >> (octave - 2)) & 3 } else { 0 };
    ((octave * PER_OCTAVE) as usize + quarter as usize).min(BUCKETS - 1)
}

/// The middle of a bucket.
fn middle(bucket: usize) -> u64 {
    let (octave, quarter) = (bucket / PER_OCTAVE as usize, bucket % PER_OCTAVE as usize);
    let low = (1_u64 << octave) as f64 * (1.0 + quarter as f64 / 4.0);
    (low * 1.1) as u64
}

#[cfg(test)]
#[allow(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_a_tenth_and_the_window_is_forgotten() {
        let stats = EngineStats::new(5_000);
        for ns in 1..=10_000 {
            stats.hop(ns);
        }
        let window = stats.take_window();
        assert_eq!((window.hops, window.max_ns, window.overruns), (10_000, 10_000, 5_000));
        let near = |got: u64, want: f64| (got as f64 / want - 1.0).abs() < 0.13;
        assert!(near(window.p50_ns, 5_000.0), "{window:?}");
        assert!(near(window.p95_ns, 9_500.0), "{window:?}");
        assert_eq!(stats.take_window(), HopStats::default());
    }

    #[test]
    fn extreme_times_have_a_bucket() {
        let stats = EngineStats::new(1);
        stats.hop(0);
        stats.hop(u64::MAX);
        let window = stats.take_window();
        assert_eq!((window.hops, window.max_ns), (2, u64::MAX));
        assert!(window.p50_ns <= 2);
    }

    #[test]
    fn the_peak_is_the_highest_since_it_was_taken() {
        let stats = EngineStats::new(1);
        for level in [0.1, 0.7, 0.3] {
            stats.level(level);
        }
        assert_eq!(stats.take_peak(), 0.7);
        assert_eq!(stats.take_peak(), 0.0);
    }
}

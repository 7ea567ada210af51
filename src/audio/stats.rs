//! What the real-time loop counts, in atomics: read at any time, by anyone, without stopping it.

#![deny(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros)]

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::audio::clock;
use crate::audio::priority::Granted;

/// What a hop may take of the sound that it holds. A loop with every hop within this has nine tenths left for whatever else
/// the machine does, and catches up within a hop or two when it was kept from running.
pub const HOP_BUDGET: f64 = 0.1;

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
    /// Processor time of the hop that took most of it, nanoseconds: what is left of the longest when the time in which
    /// the system let others run is taken out. The longest itself where the system does not tell.
    pub cpu_max_ns: u64,
    /// Hops whose processor time was over [`HOP_BUDGET`] of the sound they hold: the analysis is too slow for this machine.
    pub overruns: u64,
    /// Hops that took longer than the sound they hold, whoever is to blame: input piles up meanwhile.
    pub late: u64,
}

impl HopStats {
    /// The costliest hop as a share of the sound that it holds, by processor time.
    #[must_use]
    pub fn worst_share(&self, deadline_ns: u64) -> f64 {
        self.cpu_max_ns as f64 / deadline_ns.max(1) as f64
    }
}

/// A hop that is being analysed, from [`EngineStats::begin`] to [`EngineStats::end`].
#[derive(Clone, Copy, Debug)]
pub struct HopClock {
    wall_ns: u64,
    cpu_ns: Option<u64>,
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
    cpu_max_ns: AtomicU64,
    overruns: AtomicU64,
    late: AtomicU64,
    deadline_ns: u64,
    budget_ns: u64,
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
            cpu_max_ns: AtomicU64::new(0),
            overruns: AtomicU64::new(0),
            late: AtomicU64::new(0),
            deadline_ns,
            budget_ns: (deadline_ns as f64 * HOP_BUDGET) as u64,
        }
    }

    /// The sound that a hop holds, nanoseconds: what it must not take.
    #[must_use]
    pub fn deadline_ns(&self) -> u64 {
        self.deadline_ns
    }

    /// A hop begins.
    #[must_use]
    pub fn begin(&self) -> HopClock {
        // The wall clock is read inside the two readings of the other, so that no hop seems to compute longer than it lasts.
        HopClock { cpu_ns: clock::thread_cpu_ns(), wall_ns: clock::now_ns() }
    }

    /// The hop is done.
    pub fn end(&self, hop: HopClock) {
        let wall_ns = clock::now_ns().saturating_sub(hop.wall_ns);
        self.hop(wall_ns, || {
            let spent = clock::thread_cpu_ns()?.saturating_sub(hop.cpu_ns?);
            Some(spent.min(wall_ns))
        });
    }

    /// Adds a hop that took `wall_ns`. Its processor time, never longer than that, is asked for only where it matters: where
    /// the hop may be the costliest so far, or over the budget.
    fn hop(&self, wall_ns: u64, cpu_ns: impl FnOnce() -> Option<u64>) {
        self.buckets[bucket(wall_ns)].fetch_add(1, Ordering::Relaxed);
        self.max_ns.fetch_max(wall_ns, Ordering::Relaxed);
        if wall_ns > self.deadline_ns {
            self.late.fetch_add(1, Ordering::Relaxed);
        }
        if wall_ns > self.cpu_max_ns.load(Ordering::Relaxed).min(self.budget_ns) {
            let cpu_ns = cpu_ns().unwrap_or(wall_ns);
            self.cpu_max_ns.fetch_max(cpu_ns, Ordering::Relaxed);
            if cpu_ns > self.budget_ns {
                self.overruns.fetch_add(1, Ordering::Relaxed);
            }
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
            cpu_max_ns: self.cpu_max_ns.swap(0, Ordering::Relaxed),
            overruns: self.overruns.swap(0, Ordering::Relaxed),
            late: self.late.swap(0, Ordering::Relaxed),
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

    fn add(stats: &EngineStats, wall_ns: u64, cpu_ns: u64) {
        stats.hop(wall_ns, || Some(cpu_ns));
    }

    #[test]
    fn percentiles_are_within_a_tenth_and_the_window_is_forgotten() {
        let stats = EngineStats::new(5_000);
        for ns in 1..=10_000 {
            add(&stats, ns, ns);
        }
        let window = stats.take_window();
        assert_eq!((window.hops, window.max_ns, window.cpu_max_ns), (10_000, 10_000, 10_000));
        assert_eq!((window.late, window.overruns), (5_000, 9_500));
        let near = |got: u64, want: f64| (got as f64 / want - 1.0).abs() < 0.13;
        assert!(near(window.p50_ns, 5_000.0), "{window:?}");
        assert!(near(window.p95_ns, 9_500.0), "{window:?}");
        assert_eq!(stats.take_window(), HopStats::default());
    }

    #[test]
    fn a_hop_that_had_to_wait_is_late_but_no_overrun() {
        let stats = EngineStats::new(5_000_000);
        add(&stats, 9_000_000, 40_000);
        add(&stats, 600_000, 500_001);
        add(&stats, 450_000, 450_000);
        // Slower by the clock on the wall than any budget, cheaper than what was seen before.
        add(&stats, 700_000, 20_000);
        let window = stats.take_window();
        assert_eq!((window.late, window.overruns, window.cpu_max_ns), (1, 1, 500_001));
        assert_eq!((window.hops, window.max_ns), (4, 9_000_000));
        assert!((window.worst_share(stats.deadline_ns()) - 0.1).abs() < 1e-5);
    }

    #[test]
    fn a_system_that_keeps_its_processor_time_to_itself_is_judged_by_the_wall() {
        let stats = EngineStats::new(5_000);
        stats.hop(700, || None);
        let window = stats.take_window();
        assert_eq!((window.cpu_max_ns, window.overruns, window.late), (700, 1, 0));
    }

    #[test]
    fn a_sleeping_hop_takes_time_but_no_processor() {
        clock::start();
        let stats = EngineStats::new(clock::SECOND_NS);
        let hop = stats.begin();
        std::thread::sleep(std::time::Duration::from_millis(20));
        stats.end(hop);
        let window = stats.take_window();
        assert!(window.max_ns >= 20_000_000 && window.cpu_max_ns <= window.max_ns, "{window:?}");
        if clock::thread_cpu_ns().is_some() {
            assert!(window.cpu_max_ns < 10_000_000, "{window:?}");
        }
    }

    #[test]
    fn extreme_times_have_a_bucket() {
        let stats = EngineStats::new(1);
        add(&stats, 0, 0);
        add(&stats, u64::MAX, u64::MAX);
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

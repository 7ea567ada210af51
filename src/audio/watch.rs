//! When does a device count as lost? A pure state machine: time and counts in, a verdict out.
//!
//! No error may come at all: a stalled server says nothing, PulseAudio moves a stream silently to another source when its
//! own vanishes, and cpal's PulseAudio host reports no overrun. So besides errors this watches frames: none for
//! [`SILENCE_NS`], or fewer than the clock demands.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cpal::ErrorKind;

/// No frames for so long: the device is lost. Half a second is ten times the longest scheduling hiccup that was seen with
/// real-time priority.
pub const SILENCE_NS: u64 = 500_000_000;
/// The same before the first frame: sinks that were asleep need up to 2 s.
pub const START_SILENCE_NS: u64 = 3_000_000_000;
/// A step of the watch counts as silence up to this long: when the watch itself was held up (a suspended laptop, Ctrl-Z,
/// a starved machine), the device is not to blame.
const STEP_CAP_NS: u64 = 100_000_000;
/// Unclassified errors within a second that make a device lost; ALSA reports them by the hundred thousand when its
/// server dies, and single ones for nothing.
const BACKEND_STORM: u32 = 10;
/// A deviation from the clock that does not shrink for so long is lost sound, not lateness.
const CONFIRM_NS: u64 = 1_000_000_000;
/// Fastest drift between sound card and system clock that is not loss: crystals are within 100 ppm of each other.
const DRIFT_PPM: u64 = 500;

/// What became of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Unplugged or removed.
    Gone,
    /// The stream broke (server died, format changed).
    Broken,
    /// The sound system went away.
    HostGone,
    /// A storm of errors without a name.
    Failing,
    /// No frames, no error.
    Stalled,
    /// The stream was silently moved: the device that it belongs to no longer exists.
    Moved,
}

impl Fault {
    /// Short fixed word for attributes.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Broken => "broken",
            Self::HostGone => "host_gone",
            Self::Failing => "failing",
            Self::Stalled => "stalled",
            Self::Moved => "moved",
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Gone => "it was unplugged or removed",
            Self::Broken => "its stream broke",
            Self::HostGone => "the sound system went away",
            Self::Failing => "it gives nothing but errors",
            Self::Stalled => "it delivers no sound any more",
            Self::Moved => "it no longer exists and its stream was moved to another device",
        })
    }
}

/// Errors as the stream's error callback counts them: atomics only, since storms of 100 000 a second were seen.
#[derive(Debug, Default)]
pub struct Errors {
    gone: AtomicU32,
    broken: AtomicU32,
    host: AtomicU32,
    backend: AtomicU32,
    xruns: AtomicU32,
}

/// The errors since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrorCounts {
    /// One that ends the stream.
    pub fatal: Option<Fault>,
    /// Unclassified ones.
    pub backend: u32,
    /// Overruns or underruns.
    pub xruns: u32,
}

impl Errors {
    /// Counts one. Lock-free.
    pub fn count(&self, kind: ErrorKind) {
        let counter = match kind {
            ErrorKind::DeviceNotAvailable | ErrorKind::PermissionDenied => &self.gone,
            ErrorKind::StreamInvalidated => &self.broken,
            ErrorKind::HostUnavailable => &self.host,
            ErrorKind::Xrun => &self.xruns,
            // Harmless: the stream goes on.
            ErrorKind::DeviceChanged | ErrorKind::RealtimeDenied => return,
            _ => &self.backend,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes and forgets the counts.
    pub fn take(&self) -> ErrorCounts {
        let some = |c: &AtomicU32| c.swap(0, Ordering::Relaxed) > 0;
        let (gone, broken, host) = (some(&self.gone), some(&self.broken), some(&self.host));
        let fatal = if gone {
            Some(Fault::Gone)
        } else if host {
            Some(Fault::HostGone)
        } else {
            broken.then_some(Fault::Broken)
        };
        ErrorCounts {
            fatal,
            backend: self.backend.swap(0, Ordering::Relaxed),
            xruns: self.xruns.swap(0, Ordering::Relaxed),
        }
    }
}

/// What the watch is shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Frames of the stream so far.
    pub frames: u64,
    /// Least lateness of the frame count against the clock since the last look, nanoseconds.
    pub lateness_ns: Option<i64>,
    /// Errors since the last look.
    pub errors: ErrorCounts,
    /// Is the device still listed? `None` when nobody has looked.
    pub listed: Option<bool>,
}

/// What the watch says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All is well.
    Fine,
    /// So many nanoseconds of sound never came; the stream itself goes on.
    Missed(u64),
    /// The stream is to be rebuilt.
    Lost(Fault),
}

/// Watches one stream from its opening to its loss.
#[derive(Debug)]
pub struct Watch {
    last_ns: u64,
    frames: u64,
    silent_ns: u64,
    storm: u32,
    storm_since: u64,
    gaps: GapDetector,
}

impl Watch {
    /// For a stream that was opened at `now_ns` with periods of `period_ns`.
    #[must_use]
    pub fn new(now_ns: u64, period_ns: u64) -> Self {
        Self {
            last_ns: now_ns,
            frames: 0,
            silent_ns: 0,
            storm: 0,
            storm_since: now_ns,
            gaps: GapDetector::new(2 * period_ns),
        }
    }

    /// One look. To be called every 20 to 100 ms.
    pub fn step(&mut self, now_ns: u64, seen: &Seen) -> Verdict {
        let passed = now_ns.saturating_sub(self.last_ns).min(STEP_CAP_NS);
        self.last_ns = now_ns;
        if let Some(fault) = seen.errors.fatal {
            return Verdict::Lost(fault);
        }
        if now_ns.saturating_sub(self.storm_since) > 1_000_000_000 {
            (self.storm, self.storm_since) = (0, now_ns);
        }
        self.storm = self.storm.saturating_add(seen.errors.backend);
        if self.storm > BACKEND_STORM {
            return Verdict::Lost(Fault::Failing);
        }
        if seen.listed == Some(false) {
            return Verdict::Lost(Fault::Moved);
        }
        if seen.frames == self.frames {
            self.silent_ns += passed;
            let limit = if self.frames == 0 { START_SILENCE_NS } else { SILENCE_NS };
            if self.silent_ns >= limit {
                return Verdict::Lost(Fault::Stalled);
            }
        } else {
            self.frames = seen.frames;
            self.silent_ns = 0;
        }
        let missed = seen.lateness_ns.and_then(|late| self.gaps.step(now_ns, late));
        missed.map_or(Verdict::Fine, Verdict::Missed)
    }
}

/// Finds lost sound by the clock alone: a stream that is late catches up; one that lost sound stays behind.
#[derive(Debug)]
pub struct GapDetector {
    threshold_ns: i64,
    /// Lateness that is normal for this stream; follows slow drift of the two clocks.
    base: Option<i64>,
    last_ns: u64,
    /// Since when the lateness is above the threshold, and its least since then.
    suspect: Option<(u64, i64)>,
}

impl GapDetector {
    /// Deviations up to `threshold_ns` are never loss.
    #[must_use]
    pub fn new(threshold_ns: u64) -> Self {
        let threshold_ns = i64::try_from(threshold_ns).unwrap_or(i64::MAX / 2);
        Self { threshold_ns, base: None, last_ns: 0, suspect: None }
    }

    /// Shows the least lateness since the last step; tells how many nanoseconds of sound are lost for good.
    pub fn step(&mut self, now_ns: u64, lateness_ns: i64) -> Option<u64> {
        let passed = now_ns.saturating_sub(self.last_ns);
        self.last_ns = now_ns;
        let Some(base) = self.base else {
            self.base = Some(lateness_ns);
            return None;
        };
        if lateness_ns <= base + self.threshold_ns {
            self.suspect = None;
            let most = i64::try_from(passed.saturating_mul(DRIFT_PPM) / 1_000_000).unwrap_or(0);
            self.base =
                Some(if lateness_ns < base { lateness_ns } else { base + most.min(lateness_ns - base) });
            return None;
        }
        let (since, least) = self.suspect.unwrap_or((now_ns, lateness_ns));
        let least = least.min(lateness_ns);
        if now_ns.saturating_sub(since) < CONFIRM_NS {
            self.suspect = Some((since, least));
            return None;
        }
        self.suspect = None;
        self.base = Some(least);
        u64::try_from(least - base).ok()
    }
}

/// Pauses between attempts to open a device again.
#[derive(Debug)]
pub struct Backoff(Duration);

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(2);

    /// Starts with the shortest pause.
    #[must_use]
    pub fn new() -> Self {
        Self(Self::FIRST)
    }

    /// The next pause; each is twice the one before, up to 2 s.
    pub fn pause(&mut self) -> Duration {
        let now = self.0;
        self.0 = (now * 2).min(Self::LONGEST);
        now
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const PERIOD: u64 = 21 * MS;

    /// Steps a watch every 50 ms and shows it a stream at 48 kHz that `live` says runs, until it speaks.
    fn run(
        watch: &mut Watch,
        from_ms: u64,
        to_ms: u64,
        live: impl Fn(u64) -> bool,
    ) -> Option<(u64, Verdict)> {
        for ms in (from_ms..to_ms).step_by(50) {
            let frames = (0..=ms / 50).filter(|k| live(k * 50)).count() as u64 * 2400;
            let verdict = watch.step(ms * MS, &Seen { frames, ..Seen::default() });
            if verdict != Verdict::Fine {
                return Some((ms, verdict));
            }
        }
        None
    }

    #[test]
    fn half_a_second_without_frames_is_a_stall() {
        let mut watch = Watch::new(0, PERIOD);
        let (ms, verdict) = run(&mut watch, 0, 5_000, |ms| ms < 1_000).unwrap();
        assert_eq!(verdict, Verdict::Lost(Fault::Stalled));
        assert!((1_400..=1_550).contains(&ms), "{ms}");
        let mut watch = Watch::new(0, PERIOD);
        assert_eq!(run(&mut watch, 0, 5_000, |ms| !(1_000..1_400).contains(&ms)), None, "a hiccup");
    }

    #[test]
    fn a_device_may_wake_up_slowly() {
        let mut watch = Watch::new(0, PERIOD);
        assert_eq!(run(&mut watch, 0, 4_000, |ms| ms > 2_000), None);
        let mut watch = Watch::new(0, PERIOD);
        let (ms, verdict) = run(&mut watch, 0, 9_000, |_| false).unwrap();
        assert_eq!(verdict, Verdict::Lost(Fault::Stalled));
        assert!((2_900..=3_100).contains(&ms), "{ms}");
    }

    #[test]
    fn a_watch_that_was_itself_asleep_blames_nobody() {
        let mut watch = Watch::new(0, PERIOD);
        assert_eq!(run(&mut watch, 0, 1_000, |_| true), None);
        // Suspended for an hour; the first look afterwards still sees the old count.
        let verdict = watch.step(3_600_000 * MS, &Seen { frames: 48_000, ..Seen::default() });
        assert_eq!(verdict, Verdict::Fine);
    }

    #[test]
    fn errors_that_end_the_stream_do_so_and_others_only_in_storms() {
        let errors = Errors::default();
        let mut watch = Watch::new(0, PERIOD);
        for kind in [ErrorKind::Xrun, ErrorKind::DeviceChanged, ErrorKind::RealtimeDenied] {
            errors.count(kind);
        }
        let mut frames = 0;
        let mut look = |ms: u64, errors: &Errors| {
            frames += 1;
            watch.step(ms * MS, &Seen { frames, errors: errors.take(), ..Seen::default() })
        };
        assert_eq!(look(50, &errors), Verdict::Fine);
        for second in 1..5 {
            for _ in 0..8 {
                errors.count(ErrorKind::BackendError);
            }
            assert_eq!(look(second * 1_100, &errors), Verdict::Fine, "a few a second");
        }
        for _ in 0..1_000 {
            errors.count(ErrorKind::BackendError);
        }
        assert_eq!(look(6_000, &errors), Verdict::Lost(Fault::Failing));
        for (kind, fault) in [
            (ErrorKind::DeviceNotAvailable, Fault::Gone),
            (ErrorKind::StreamInvalidated, Fault::Broken),
            (ErrorKind::HostUnavailable, Fault::HostGone),
        ] {
            errors.count(kind);
            errors.count(kind);
            assert_eq!(look(6_050, &errors), Verdict::Lost(fault));
            assert_eq!(errors.take(), ErrorCounts::default());
        }
    }

    #[test]
    fn a_device_that_is_no_longer_listed_was_moved() {
        let mut watch = Watch::new(0, PERIOD);
        let seen = |frames, listed| Seen { frames, listed, ..Seen::default() };
        assert_eq!(watch.step(50 * MS, &seen(1, Some(true))), Verdict::Fine);
        assert_eq!(watch.step(100 * MS, &seen(2, None)), Verdict::Fine);
        assert_eq!(watch.step(150 * MS, &seen(3, Some(false))), Verdict::Lost(Fault::Moved));
    }

    /// Shows a detector the lateness that `late` gives at each look and collects what it calls lost.
    fn gaps(seconds: u64, late: impl Fn(u64) -> i64) -> Vec<(u64, u64)> {
        let mut detector = GapDetector::new(2 * PERIOD);
        (0..seconds * 20)
            .map(|k| k * 50)
            .filter_map(|ms| detector.step(ms * MS, late(ms)).map(|lost| (ms, lost / MS)))
            .collect()
    }

    #[test]
    fn lost_sound_stays_behind_and_is_reported_once() {
        let found = gaps(20, |ms| if ms < 5_000 { 0 } else { 300 * MS as i64 });
        assert_eq!(found.len(), 1);
        assert!((6_000..=6_100).contains(&found[0].0) && found[0].1 == 300, "{found:?}");
    }

    #[test]
    fn two_losses_are_two_reports_and_each_counts_its_own() {
        let found = gaps(20, |ms| match ms {
            0..5_000 => 0,
            5_000..10_000 => 100 * MS as i64,
            _ => 350 * MS as i64,
        });
        assert_eq!(found.iter().map(|f| f.1).collect::<Vec<_>>(), [100, 250]);
    }

    #[test]
    fn lateness_that_is_made_up_for_is_no_loss() {
        assert!(gaps(20, |ms| if (5_000..5_900).contains(&ms) { 800 * MS as i64 } else { 0 }).is_empty());
    }

    #[test]
    fn jitter_and_the_drift_of_two_clocks_are_no_loss() {
        // 300 ppm over an hour are 1.08 s, with 15 ms of jitter.
        let drift =
            |sign: i64| gaps(3_600, move |ms| sign * ms as i64 * 300 + (ms as i64 * 7919 % 15) * MS as i64);
        assert_eq!(drift(1), []);
        assert_eq!(drift(-1), []);
    }

    #[test]
    fn many_small_losses_add_up() {
        // 5 ms of every second vanish: ten times any drift.
        let found = gaps(60, |ms| (ms / 1_000) as i64 * 5 * MS as i64);
        let sum: u64 = found.iter().map(|f| f.1).sum();
        assert!((150..=300).contains(&sum), "{found:?}");
    }

    #[test]
    fn pauses_double_up_to_two_seconds() {
        let mut backoff = Backoff::new();
        let pauses: Vec<u128> = (0..7).map(|_| backoff.pause().as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 2000, 2000]);
    }
}

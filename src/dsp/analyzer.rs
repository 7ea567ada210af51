//! The front door: any number of samples in, events out.
use super::bench::Stage;
use super::blockwise::Blockwise;
use super::event::{DspEvent, FrameReport, NoisePowers};
use super::filter::{DcBlock, Decimator, LowHistory, sanitize};
use super::level::{NoiseFloor, note_threshold_db};
use super::mcleod::Mcleod;
use super::noise::NoiseMeter;
use super::onset::OnsetDetector;
use super::pitch::{DetectorKind, PitchDetector};
use super::strum::Strums;
use super::tracker::{Clock, Heard, Resolution, Tracker};
use super::{ANALYSIS_RATE, HOP, LOW_HOP, db};

/// How to listen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AnalyzerConfig {
    /// Reference pitch, Hz. Outside 380..480 (or not a number) 440 is used.
    pub a4_hz: f32,
    /// 0..1: how soft a note still counts; 0.5 by default.
    pub sensitivity: f32,
    /// The pitch detector.
    pub detector: DetectorKind,
}

impl Default for AnalyzerConfig {
    fn default() -> Self {
        Self { a4_hz: 440.0, sensitivity: 0.5, detector: DetectorKind::default() }
    }
}

/// A note starts later than this after the gate has opened or lost input has come back, samples: it takes so long to
/// know a string that was struck before and goes on sounding, which else looks like a stroke.
const OPENING: u64 = 80 * ANALYSIS_RATE as u64 / 1000;
/// The clock stops counting lost samples here (six million years in), so that no sum of positions can overflow.
const LAST: u64 = u64::MAX / 2;
/// Hops without a note before the room is listened to (107 ms).
const IDLE_HOPS: u32 = 20;

/// Listens to one string at a time. See the module for the stages.
///
/// After [`Analyzer::new`] nothing allocates, locks or panics, whatever the samples (with the exception of
/// [`DetectorKind::Mcleod`], which allocates).
pub struct Analyzer {
    sensitivity: f32,
    detector: Box<dyn PitchDetector>,
    hop: [f32; HOP],
    filled: usize,
    /// Samples taken in or skipped.
    position: u64,
    clock: Clock,
    gated: bool,
    /// A gated sample is in the hop being filled.
    hop_gated: bool,
    /// An onset before this is none.
    deaf_until: u64,
    dc: DcBlock,
    decimator: Decimator,
    low: LowHistory,
    onsets: OnsetDetector,
    tracker: Tracker,
    strums: Strums,
    noise: NoiseMeter,
    floor: NoiseFloor,
    idle_hops: u32,
    powers: [f32; 4],
    /// Told of each stage, by benches.
    watch: Option<fn(Stage)>,
}

impl Analyzer {
    /// Plans everything. The only place that allocates.
    #[must_use]
    pub fn new(config: AnalyzerConfig) -> Self {
        let a4 = if (380.0..=480.0).contains(&config.a4_hz) { config.a4_hz } else { 440.0 };
        Self {
            sensitivity: config.sensitivity,
            detector: match config.detector {
                DetectorKind::Fretcoach => Box::new(Blockwise::new()),
                DetectorKind::Mcleod => Box::new(Mcleod::new()),
            },
            hop: [0.0; HOP],
            filled: 0,
            position: 0,
            clock: Clock { origin: 0.0 },
            gated: false,
            hop_gated: false,
            deaf_until: 0,
            dc: DcBlock::new(),
            decimator: Decimator::new(),
            low: LowHistory::new(),
            onsets: OnsetDetector::new(),
            tracker: Tracker::new(a4),
            strums: Strums::new(a4),
            noise: NoiseMeter::new(),
            floor: NoiseFloor::new(),
            idle_hops: 0,
            powers: [0.0; 4],
            watch: None,
        }
    }

    /// For benches: `watch` is called as each stage of a hop is done.
    #[doc(hidden)]
    pub fn set_watch(&mut self, watch: fn(Stage)) {
        self.watch = Some(watch);
    }

    #[inline]
    fn done(&self, stage: Stage) {
        if let Some(watch) = self.watch {
            watch(stage);
        }
    }

    /// Takes in samples at [`ANALYSIS_RATE`], any number of them, and hands events to `sink` in order of time: a
    /// frame per [`HOP`], a note start when a pitch has settled, a note when it has ended.
    ///
    /// A frame's `wanted` and `unwanted` are judged 37 ms late (an undecided stroke up to 0.2 s late, then all at
    /// once): they are meant to be summed over a window, not read one by one.
    pub fn process(&mut self, samples: &[f32], sink: &mut impl FnMut(DspEvent)) {
        let mut rest = samples;
        while !rest.is_empty() {
            let n = (HOP - self.filled).min(rest.len());
            let (now, later) = rest.split_at(n);
            sanitize(now, &mut self.hop[self.filled..self.filled + n]);
            self.filled += n;
            self.position = self.position.saturating_add(n as u64);
            self.hop_gated |= self.gated;
            rest = later;
            if self.filled == HOP {
                self.filled = 0;
                self.analyse(sink);
                self.hop_gated = false;
            }
        }
    }

    /// `samples` of input were lost: the sounding note is closed, what is heard next is not connected with what
    /// was heard before, the clock goes on, and a gap is reported. Levels learnt of the room are kept.
    pub fn skip(&mut self, samples: u64, sink: &mut impl FnMut(DspEvent)) {
        let from = self.position;
        self.close(from, sink);
        self.strums.reset();
        self.position = from.saturating_add(samples).min(LAST).max(from);
        self.filled = 0;
        self.hop_gated = false;
        self.restart();
        self.dc = DcBlock::new();
        self.decimator = Decimator::new();
        self.low = LowHistory::new();
        self.detector.reset();
        self.onsets.reset(self.position);
        self.noise.reset();
        self.powers = [0.0; 4];
        self.deaf_until = self.position.saturating_add(OPENING);
        sink(DspEvent::Gap { from: self.clock.seconds(from), to: self.clock.seconds(self.position) });
    }

    /// From the next sample on the coach's own voice is (or is no longer) in the input. Nothing in the gate becomes a
    /// note, noise or room level. A note that sounds when it shuts keeps what was measured before; it is reported
    /// with the next hop, its end being the last moment at which it was heard alone.
    pub fn set_gated(&mut self, gated: bool) {
        if self.gated && !gated {
            self.deaf_until = self.position.saturating_add(OPENING);
        }
        self.gated = gated;
        self.onsets.freeze(gated);
    }

    /// Capture-clock time of sample 0, seconds: takes out the delay of resampler and device.
    pub fn set_origin(&mut self, seconds: f64) {
        if seconds.is_finite() {
            self.clock.origin = seconds;
        }
    }

    /// The input has ended: reports the sounding note.
    pub fn finish(&mut self, sink: &mut impl FnMut(DspEvent)) {
        self.close(self.position, sink);
        self.restart();
    }

    /// Samples taken in or skipped so far.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Reports what sounds with what is known of it until sample `at`.
    fn close(&mut self, at: u64, sink: &mut impl FnMut(DspEvent)) {
        self.tracker.close(at, self.clock, &mut |e| self.strums.pass(e, sink));
        self.strums.close(at, self.clock, sink);
    }

    fn restart(&mut self) {
        self.tracker.restart(self.position);
        self.idle_hops = 0;
    }

    fn analyse(&mut self, sink: &mut impl FnMut(DspEvent)) {
        let end = self.position;
        self.done(Stage::Begin);
        let mut hop = self.hop;
        self.dc.run(&mut hop);
        let mut low = [0.0; LOW_HOP];
        self.decimator.run(&hop, &mut low);
        self.low.push(&low);
        self.strums.push(&low);
        let power = mean_square(&hop);
        let low_power = mean_square(&low);
        self.powers.copy_within(1.., 0);
        self.powers[3] = power;
        let smooth = self.powers.iter().sum::<f32>() / 4.0;
        self.done(Stage::Filter);
        self.detector.push(&hop, &self.low);
        self.done(Stage::Correlation);
        let onset =
            self.onsets.push(&hop, self.idle_hops > IDLE_HOPS && !self.hop_gated, self.tracker.alone());
        self.done(Stage::Onset);

        let mut frame = FrameReport {
            t: self.clock.seconds(end),
            w: HOP as f32 / ANALYSIS_RATE as f32,
            f0: None,
            confidence: 0.0,
            provisional: false,
            level_db: db(power),
            wanted: 0.0,
            unwanted: 0.0,
            causes: NoisePowers::default(),
        };
        if self.hop_gated {
            self.close(end - HOP as u64, sink);
            self.tracker.restart(end);
            self.noise.reset();
            self.idle_hops = 0;
            sink(DspEvent::Frame(frame));
            return;
        }

        self.tracker.advance(end, low_power);
        let mut resolution = Resolution::Open;
        if let Some(onset) = onset.as_ref().filter(|o| o.at < self.deaf_until) {
            self.tracker.unsure(onset.at);
        }
        if let Some(onset) = onset.filter(|o| o.at >= self.deaf_until) {
            self.strums.struck(onset, end, self.clock, sink);
            let through = &mut |e| self.strums.pass(e, sink);
            resolution = self.tracker.propose(onset, end, &self.low, self.clock, through);
        }
        let fresh = end.saturating_sub(self.tracker.fresh_from());
        let estimate = self.detector.estimate(&self.low, fresh);
        self.done(Stage::Pitch);
        let threshold_db = note_threshold_db(self.sensitivity, self.floor.db());
        let heard = Heard { low: &self.low, end, estimate, low_power, power: smooth, threshold_db };
        let through = &mut |e| self.strums.pass(e, sink);
        let decided = self.tracker.step(&heard, &self.onsets, self.clock, through);
        self.strums.step(&heard, self.clock, sink);
        if decided != Resolution::Open {
            resolution = decided;
        }
        self.done(Stage::Tracker);
        self.idle_hops = if self.tracker.idle() { self.idle_hops.saturating_add(1) } else { 0 };
        if self.idle_hops > IDLE_HOPS {
            self.floor.learn(power);
        }
        (frame.wanted, frame.unwanted) = self.noise.push(&heard, power, &self.low, &self.tracker, resolution);
        frame.causes = self.noise.causes();
        if self.strums.ringing() {
            // Where several strings sound there is no valley in which noise could be told from them. What stands still is
            // known from before.
            frame.wanted += std::mem::take(&mut frame.unwanted);
            frame.causes = frame.causes.steady();
        }
        self.done(Stage::Noise);
        if let Some(e) = estimate {
            frame.f0 = Some(e.f0);
            frame.w = e.window;
            frame.confidence = e.confidence;
            frame.provisional = !e.settled;
        }
        sink(DspEvent::Frame(frame));
    }
}

fn mean_square(x: &[f32]) -> f32 {
    let mut acc = [0.0f32; 8];
    for c in x.chunks_exact(8) {
        for k in 0..8 {
            acc[k] += c[k] * c[k];
        }
    }
    acc.iter().sum::<f32>() / x.len().max(1) as f32
}

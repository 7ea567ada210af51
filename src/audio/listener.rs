//! The body of the real-time loop: ring in, hops through the analyser, events out.
//!
//! After construction nothing here allocates, locks, logs or frees: buffers are made up front, feeds that are used up
//! travel back by ring, counters are atomics. Events leave by an SPSC ring, *every value*: when it is full they are
//! dropped and counted, except in fast mode, where the loop waits for the reader. The live cell is *latest value*.

#![deny(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rtrb::{Consumer, Producer};

use crate::audio::ANALYSIS_RATE;
use crate::audio::capture::{CaptureState, Found};
use crate::audio::clock::{frames_ns, now_ns, ns_frames};
use crate::audio::echo::EchoGate;
use crate::audio::engine::Hear;
use crate::audio::live::{LiveFrame, LiveWriter};
use crate::audio::metronome::ear::Ear;
use crate::audio::stats::EngineStats;
use crate::audio::supervisor::Feed;
use crate::audio::tap::Tap;
use crate::dsp::event::DspEvent;

/// Samples taken from the ring at a time.
const BLOCK: usize = 1024;

/// Pause of a loop in fast mode that waits for the reader of its events.
const BACK_PRESSURE: Duration = Duration::from_micros(200);

/// Switches that the engine's owner flips.
#[derive(Debug, Default)]
pub struct Switches {
    /// Input is thrown away, the clock runs on.
    pub paused: AtomicBool,
    /// Finish what is in the ring and end.
    pub stop: AtomicBool,
    /// The loop has finished.
    pub ended: AtomicBool,
}

/// What one round of the loop did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// There was something to do.
    Busy,
    /// There was nothing: sleep.
    Idle,
    /// There will be nothing any more.
    End,
}

/// Where events go.
struct Out {
    events: Producer<DspEvent>,
    /// Wait for room instead of dropping.
    wait: bool,
    live: LiveWriter,
    frame: LiveFrame,
    a4: f32,
    stats: Arc<EngineStats>,
    switches: Arc<Switches>,
}

impl Out {
    fn take(&mut self, event: DspEvent) {
        self.show(&event);
        let mut event = event;
        while let Err(rtrb::PushError::Full(back)) = self.events.push(event) {
            let waits =
                self.wait && !self.switches.stop.load(Ordering::Relaxed) && !self.events.is_abandoned();
            if !waits {
                self.stats.dropped_events.fetch_add(1, Ordering::Relaxed);
                return;
            }
            event = back;
            #[expect(clippy::disallowed_methods, reason = "only in fast mode, which is no real time")]
            std::thread::sleep(BACK_PRESSURE);
        }
    }

    fn show(&mut self, event: &DspEvent) {
        match event {
            DspEvent::Frame(frame) => {
                let note = frame.f0.and_then(|f0| note(f0, self.a4));
                self.frame = LiveFrame {
                    t: frame.t,
                    f0: frame.f0,
                    cents: note.map(|n| n.1),
                    midi: note.map(|n| n.0),
                    confidence: frame.confidence,
                    provisional: frame.provisional,
                    level_db: frame.level_db,
                };
            }
            DspEvent::Gap { to, .. } => {
                self.frame = LiveFrame { t: *to, level_db: -120.0, ..LiveFrame::default() };
            }
            DspEvent::Onset(_) | DspEvent::NoteStart(_) | DspEvent::Note(_) | DspEvent::Chord(_) => return,
        }
        self.live.write(&self.frame);
    }
}

/// Nearest MIDI note in equal temperament and the deviation from it in cents.
fn note(f0: f32, a4: f32) -> Option<(u8, f32)> {
    let exact = 69.0 + 12.0 * (f0 / a4).log2();
    let nearest = exact.round();
    (nearest.is_finite() && (0.0..128.0).contains(&nearest))
        .then_some((nearest as u8, (exact - nearest) * 100.0))
}

/// Collects samples into hops and gives them to the analyser.
struct Hops {
    hear: Box<dyn Hear>,
    hop: Vec<f32>,
    filled: usize,
    /// Samples at the analysis rate since the start, skipped ones included.
    position: u64,
    gate: EchoGate,
    gated: bool,
    ear: Option<Ear>,
    tap: Option<Tap>,
    out: Out,
}

impl Hops {
    fn take(&mut self, mut samples: &[f32], end_ns: u64) {
        while !samples.is_empty() {
            let n = (self.hop.len() - self.filled).min(samples.len());
            let (now, later) = samples.split_at(n);
            self.hop[self.filled..self.filled + n].copy_from_slice(now);
            self.filled += n;
            samples = later;
            if self.filled == self.hop.len() {
                self.flush(end_ns.saturating_sub(frames_ns(later.len() as u64, ANALYSIS_RATE)));
            }
        }
    }

    /// Analyses what is collected; `end_ns` is when its last sample was captured.
    fn flush(&mut self, end_ns: u64) {
        let n = std::mem::take(&mut self.filled);
        if n == 0 {
            return;
        }
        let Self { hear, hop, gate, gated, ear, tap, out, position, .. } = self;
        let hop = &mut hop[..n];
        if let Some(tap) = tap {
            // As it came in, clicks and voice included.
            while out.wait && !tap.has_room(n) && !out.switches.stop.load(Ordering::Relaxed) {
                #[expect(clippy::disallowed_methods, reason = "only in fast mode, which is no real time")]
                std::thread::sleep(BACK_PRESSURE);
            }
            tap.take(hop);
        }
        let start_ns = end_ns.saturating_sub(frames_ns(n as u64, ANALYSIS_RATE));
        let covered = gate.covers(start_ns, end_ns);
        if covered != *gated {
            *gated = covered;
            hear.set_gated(covered);
        }
        let clock = out.stats.begin();
        if let Some(ear) = ear {
            ear.hear(hop, *position + n as u64, end_ns, covered);
        }
        hear.process(hop, &mut |event| out.take(event));
        let stats = &*out.stats;
        stats.end(clock);
        stats.level(hop.iter().fold(0.0, |peak: f32, x| peak.max(x.abs())));
        *position += n as u64;
        stats.set_seconds(*position as f64 / f64::from(ANALYSIS_RATE));
    }

    /// Input is missing here.
    fn skip(&mut self, samples: u64, end_ns: u64) {
        self.flush(end_ns);
        if samples == 0 {
            return;
        }
        let Self { hear, ear, tap, out, position, .. } = self;
        if let Some(ear) = ear {
            ear.skip(samples);
        }
        if let Some(tap) = tap {
            tap.skip(samples);
        }
        hear.skip(samples, &mut |event| out.take(event));
        *position += samples;
        out.stats.gaps.fetch_add(1, Ordering::Relaxed);
        out.stats.set_seconds(*position as f64 / f64::from(ANALYSIS_RATE));
    }
}

/// The loop's state. Built inside the loop's thread, so that what hears need not be `Send`.
pub struct Listener {
    feeds: Consumer<Feed>,
    used: Producer<Feed>,
    feed: Option<Feed>,
    next: Option<Feed>,
    block: Vec<f32>,
    hops: Hops,
    /// Samples at the analysis rate that a pause has thrown away.
    paused: u64,
    stats: Arc<EngineStats>,
    switches: Arc<Switches>,
    /// Counts of the streams before this one.
    before: Counts,
}

/// Frames that a stream delivered, that found the ring full, that never came.
#[derive(Clone, Copy, Default)]
struct Counts {
    frames: u64,
    dropped: u64,
    missed: u64,
}

impl Counts {
    fn plus(self, state: &CaptureState) -> Self {
        Self {
            frames: self.frames + state.frames.load(Ordering::Relaxed),
            dropped: self.dropped + state.dropped.load(Ordering::Relaxed),
            missed: self.missed + state.missed.load(Ordering::Relaxed),
        }
    }

    fn show(self, stats: &EngineStats) {
        stats.frames.store(self.frames, Ordering::Relaxed);
        stats.dropped_samples.store(self.dropped, Ordering::Relaxed);
        stats.missed_samples.store(self.missed, Ordering::Relaxed);
    }
}

/// What a [`Listener`] is made of.
pub struct Parts {
    /// Rings of streams, in order.
    pub feeds: Consumer<Feed>,
    /// Used ones, to be freed elsewhere.
    pub used: Producer<Feed>,
    /// The analyser.
    pub hear: Box<dyn Hear>,
    /// Samples a hop, at the analysis rate.
    pub hop: usize,
    /// Events out.
    pub events: Producer<DspEvent>,
    /// Wait for the reader of the events instead of dropping (fast mode).
    pub wait: bool,
    /// Live display.
    pub live: LiveWriter,
    /// Reference pitch of the live display, Hz.
    pub a4: f32,
    /// The coach's voice.
    pub gate: EchoGate,
    /// Counters.
    pub stats: Arc<EngineStats>,
    /// Switches.
    pub switches: Arc<Switches>,
    /// The metronome.
    pub ear: Option<Ear>,
    /// A copy for the recorder.
    pub tap: Option<Tap>,
}

impl Listener {
    /// Makes all buffers.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { feeds, used, mut hear, hop, events, wait, live, a4, gate, stats, switches, ear, tap } =
            parts;
        // Output and input of the resampler are aligned, so the analyser's first sample is time 0 at every rate.
        hear.set_origin(0.0);
        let out = Out {
            events,
            wait,
            live,
            frame: LiveFrame::default(),
            a4,
            stats: stats.clone(),
            switches: switches.clone(),
        };
        let hops = Hops {
            hear,
            hop: vec![0.0; hop.max(1)],
            filled: 0,
            position: 0,
            gate,
            gated: false,
            ear,
            tap,
            out,
        };
        Self {
            feeds,
            used,
            feed: None,
            next: None,
            block: vec![0.0; BLOCK],
            hops,
            paused: 0,
            stats,
            switches,
            before: Counts::default(),
        }
    }

    /// One round: at most one block.
    pub fn round(&mut self) -> Round {
        if self.next.is_none() {
            self.next = self.feeds.pop().ok();
        }
        let Some(feed) = &mut self.feed else { return self.first_feed() };
        let found = feed.intake.read(&mut self.block);
        self.before.plus(&feed.intake.state).show(&self.stats);
        // The block's last sample is as old as what still waits behind it.
        let end_ns = now_ns().saturating_sub(frames_ns(feed.intake.waiting() as u64, feed.rate));
        match found {
            Found::Samples(n) => {
                self.samples(n, end_ns);
                Round::Busy
            }
            Found::Lost(n) => {
                let rate = feed.rate;
                self.rest_of_resampler(end_ns);
                self.resume(end_ns);
                self.hops.skip(at_analysis_rate(n, rate), end_ns);
                Round::Busy
            }
            Found::Nothing if self.next.is_some() => self.switch(end_ns),
            Found::Nothing if self.switches.stop.load(Ordering::Acquire) => Round::End,
            Found::Nothing => Round::Idle,
            Found::End if self.next.is_some() => self.switch(end_ns),
            Found::End => Round::End,
        }
    }

    fn first_feed(&mut self) -> Round {
        self.feed = self.next.take();
        match (&self.feed, self.switches.stop.load(Ordering::Acquire)) {
            (Some(_), _) => Round::Busy,
            (None, true) => Round::End,
            (None, false) => Round::Idle,
        }
    }

    fn samples(&mut self, n: usize, end_ns: u64) {
        let Some(feed) = &mut self.feed else { return };
        if self.switches.paused.load(Ordering::Relaxed) {
            self.paused += n as u64;
            return;
        }
        if self.paused > 0 {
            self.resume(end_ns);
            // Borrowed anew: `resume` needed the whole.
            return self.samples(n, end_ns);
        }
        let hops = &mut self.hops;
        match &mut feed.resampler {
            None => hops.take(&self.block[..n], end_ns),
            Some(resampler) => resampler.push(&self.block[..n], &mut |out| hops.take(out, end_ns)),
        }
    }

    /// After a pause: what was thrown away is a gap.
    fn resume(&mut self, end_ns: u64) {
        let paused = std::mem::take(&mut self.paused);
        if paused > 0 {
            let rate = self.feed.as_ref().map_or(ANALYSIS_RATE, |f| f.rate);
            self.rest_of_resampler(end_ns);
            self.hops.skip(at_analysis_rate(paused, rate), end_ns);
        }
    }

    fn rest_of_resampler(&mut self, end_ns: u64) {
        let hops = &mut self.hops;
        if let Some(resampler) = self.feed.as_mut().and_then(|f| f.resampler.as_mut()) {
            resampler.finish(&mut |out| hops.take(out, end_ns));
        }
    }

    /// The old stream has ended and a new one has begun: the time between them is a gap.
    fn switch(&mut self, end_ns: u64) -> Round {
        let Some(start_ns) = self.next.as_ref().and_then(|next| next.intake.state.start_ns(next.rate)) else {
            return if self.switches.stop.load(Ordering::Acquire) { Round::End } else { Round::Idle };
        };
        if self.used.slots() == 0 {
            return Round::Idle; // Never freed here: wait until the supervisor has taken the others.
        }
        self.rest_of_resampler(end_ns);
        self.resume(end_ns);
        let old = std::mem::replace(&mut self.feed, self.next.take());
        if let Some(old) = old {
            let state = &old.intake.state;
            self.before = self.before.plus(state);
            let last_ns = state.last_ns.load(Ordering::Acquire);
            let gap = ns_frames(start_ns.saturating_sub(last_ns), ANALYSIS_RATE);
            self.hops.skip(gap, last_ns);
            let _ = self.used.push(old); // There is room, seen above.
        }
        Round::Busy
    }

    /// The end: hands on what is still inside, the sounding note included.
    pub fn finish(&mut self) {
        let now = now_ns();
        self.rest_of_resampler(now);
        self.resume(now);
        self.hops.flush(now);
        let Hops { hear, out, .. } = &mut self.hops;
        hear.finish(&mut |event| out.take(event));
        self.switches.ended.store(true, Ordering::Release);
    }
}

fn at_analysis_rate(frames: u64, rate: u32) -> u64 {
    let frames = u128::from(frames) * u128::from(ANALYSIS_RATE) + u128::from(rate / 2);
    u64::try_from(frames / u128::from(rate.max(1))).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[allow(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros)]
#[path = "listener_tests.rs"]
mod tests;

//! The loop's side of the metronome: joins the clocks of output and input, takes the clicks out of what the microphone
//! hears, and tells when beat 0 was heard.
//!
//! Runs in the real-time loop: no allocation, lock or log after construction. What it tells is *latest value*.

#![deny(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::board::{Board, Cells, Offset, Train};
use crate::audio::ANALYSIS_RATE;
use crate::audio::clock::SECOND_NS;
use crate::dsp::click::{Canceller, Strike};

/// What is known of a train of clicks in the input. Times are seconds on the capture clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Echo {
    /// [`Train::number`].
    pub train: u64,
    /// Beat 0, if the way from the output to the input took no time: by the clock of the machine, good to a few
    /// milliseconds.
    pub nominal: f64,
    /// Beat 0 as it was heard, and by which share the input's clock is faster than the output's; `None` while the clicks
    /// have not been found.
    pub heard: Option<Beats>,
}

/// The beats as they were heard.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Beats {
    /// Beat 0, seconds on the capture clock.
    pub origin: f64,
    /// Length of a second of the output on the capture clock, less one.
    pub drift: f64,
    /// From handed over to captured, seconds.
    pub round_trip: f64,
    /// Standard error of the round trip, seconds.
    pub error: f64,
}

/// Between the app and the loop.
#[derive(Clone, Debug, Default)]
pub struct Link {
    /// What the output tells.
    pub board: Arc<Board>,
    told: Arc<Cells<7>>,
    /// Bits of the volume of the clicks.
    volume: Arc<AtomicU32>,
    /// The clicks may be heard in the input, and are taken out.
    pub cancel: bool,
}

impl Link {
    /// With the board of a player.
    #[must_use]
    pub fn new(board: Arc<Board>, volume: f32, cancel: bool) -> Self {
        Self {
            board,
            told: Arc::new(Cells::default()),
            volume: Arc::new(AtomicU32::new(volume.to_bits())),
            cancel,
        }
    }

    /// What is known of the latest train; `None` before its first click.
    #[must_use]
    pub fn echo(&self) -> Option<Echo> {
        let [train, nominal, found, origin, drift, round_trip, error] = self.told.read()?;
        let heard = (found == 1).then(|| Beats {
            origin: f64::from_bits(origin),
            drift: f64::from_bits(drift),
            round_trip: f64::from_bits(round_trip),
            error: f64::from_bits(error),
        });
        Some(Echo { train, nominal: f64::from_bits(nominal), heard })
    }
}

/// In the loop.
pub struct Ear {
    link: Link,
    canceller: Canceller,
    offset: Offset,
    train: Option<Train>,
    /// Click that is expected next.
    next: u64,
    /// Position at which frame 0 of the output would have been captured if the way took no time, as taken at the start of
    /// the train, and samples a frame.
    base: f64,
    scale: f64,
}

impl Ear {
    /// Makes all buffers.
    #[must_use]
    pub fn new(link: Link) -> Self {
        Self {
            link,
            canceller: Canceller::new(),
            offset: Offset::default(),
            train: None,
            next: 0,
            base: 0.0,
            scale: 1.0,
        }
    }

    /// Takes the clicks out of the samples, of which the last but one ends at `position` and was captured at `end_ns`.
    /// `gated`: the coach speaks.
    pub fn hear(&mut self, samples: &mut [f32], position: u64, end_ns: u64, gated: bool) {
        let input_ns = self.offset.push(end_ns, position, ANALYSIS_RATE);
        let Some(train) = self.link.board.train() else {
            self.canceller.process(samples, !gated);
            return;
        };
        // Position of the output's frame 0 by the clock of the machine.
        let base =
            (self.link.board.offset_ns() - input_ns) as f64 * f64::from(ANALYSIS_RATE) / SECOND_NS as f64;
        if self.train.is_none_or(|t| t.number != train.number) {
            self.canceller.restart();
            self.next = 0;
            self.base = base;
            self.scale = f64::from(ANALYSIS_RATE) / f64::from(train.rate.max(1));
        }
        self.train = Some(train);
        if self.link.cancel {
            self.expect(&train);
        }
        // Long after the last click nothing needs to be looked for.
        let ended = self.link.board.frames() > train.until.saturating_add(2 * u64::from(train.rate));
        if ended && self.canceller.is_active() {
            self.canceller.restart();
        }
        self.canceller.process(samples, !gated);
        self.tell(&train, base);
    }

    /// Input of this length is missing.
    pub fn skip(&mut self, samples: u64) {
        self.offset = Offset::default();
        self.canceller.skip(samples);
    }

    /// Tells the canceller of the clicks that were handed to the output.
    fn expect(&mut self, train: &Train) {
        let frames = self.link.board.frames().min(train.until);
        let volume = f32::from_bits(self.link.volume.load(Ordering::Relaxed));
        let m = &train.metronome;
        loop {
            let frame = train.origin + m.frame(self.next, train.rate);
            if frame >= frames {
                return;
            }
            let level = m.tick(self.next).level * volume;
            self.next += 1;
            let at = self.at(frame);
            self.canceller.expect(Strike { at, level });
        }
    }

    fn at(&self, frame: u64) -> f64 {
        self.base + frame as f64 * self.scale
    }

    fn tell(&self, train: &Train, base: f64) {
        let rate = f64::from(ANALYSIS_RATE);
        let nominal = (base + train.origin as f64 * self.scale) / rate;
        let mut told = [train.number, nominal.to_bits(), 0, 0, 0, 0, 0];
        if let Some(lock) = self.canceller.lock() {
            let first = self.at(train.origin);
            let origin = first + lock.delay + lock.drift * (first - lock.at);
            // Against the clocks as they stand now, as `nominal` is.
            let round_trip = lock.at + lock.delay - (lock.at - self.base + base);
            told[2..].copy_from_slice(&[
                1,
                (origin / rate).to_bits(),
                lock.drift.to_bits(),
                (round_trip / rate).to_bits(),
                (lock.error / rate).to_bits(),
            ]);
        }
        self.link.told.write(&told);
    }
}

//! A player for tests: it hears everything at once, or holds its breath until it is told to go on.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use futures::future::BoxFuture;
use tokio::sync::watch;

use super::{Interrupted, Mouth, Playback, Speaker, lock};

/// Period that the fake player claims to have, frames.
const PERIOD: u32 = 1024;

/// What one utterance was.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heard {
    /// Id of the advice.
    pub id: u64,
    /// All samples that were handed over.
    pub samples: Vec<f32>,
    /// Their rate, Hz.
    pub rate: u32,
    /// It was stopped or another one began.
    pub interrupted: bool,
    /// It was heard to its end, or stopped.
    pub over: bool,
}

/// A player that remembers what it was given.
#[derive(Clone)]
pub struct FakeSpeaker {
    heard: Arc<Mutex<Vec<Heard>>>,
    /// Number of the utterance that may sound; one that is no longer it was interrupted.
    current: Arc<watch::Sender<usize>>,
    muted: Arc<Mutex<bool>>,
    /// False: utterances do not come to an end until they are stopped or this becomes true.
    running: Arc<watch::Sender<bool>>,
    /// Why there is no device.
    trouble: Arc<Mutex<Option<String>>>,
}

impl Default for FakeSpeaker {
    fn default() -> Self {
        Self {
            heard: Arc::default(),
            current: Arc::new(watch::Sender::new(0)),
            muted: Arc::default(),
            running: Arc::new(watch::Sender::new(true)),
            trouble: Arc::default(),
        }
    }
}

impl FakeSpeaker {
    /// A player in which utterances last until [`FakeSpeaker::run_on`] or until they are stopped.
    #[must_use]
    pub fn holding() -> Self {
        let new = Self::default();
        new.running.send_replace(false);
        new
    }

    /// Lets utterances come to their end.
    pub fn run_on(&self) {
        self.running.send_replace(true);
    }

    /// All utterances so far, oldest first.
    #[must_use]
    pub fn heard(&self) -> Vec<Heard> {
        lock(&self.heard).clone()
    }

    /// Takes the device away, saying why, or (`None`) gives it back.
    pub fn set_trouble(&self, why: Option<&str>) {
        *lock(&self.trouble) = why.map(str::to_owned);
    }

    /// True while muted.
    #[must_use]
    pub fn is_muted(&self) -> bool {
        *lock(&self.muted)
    }
}

impl Speaker for FakeSpeaker {
    fn say(&self, id: u64) -> Box<dyn Mouth> {
        let mut heard = lock(&self.heard);
        heard.push(Heard { id, ..Heard::default() });
        let number = heard.len();
        self.current.send_replace(number);
        Box::new(FakeMouth {
            number,
            speaker: self.clone(),
            current: self.current.subscribe(),
            running: self.running.subscribe(),
            first: None,
        })
    }

    fn stop(&self) {
        self.current.send_replace(0);
    }

    fn set_muted(&self, muted: bool) {
        *lock(&self.muted) = muted;
    }

    fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }
}

struct FakeMouth {
    number: usize,
    speaker: FakeSpeaker,
    current: watch::Receiver<usize>,
    running: watch::Receiver<bool>,
    first: Option<Instant>,
}

impl FakeMouth {
    fn with<T>(&self, f: impl FnOnce(&mut Heard) -> T) -> T {
        f(&mut lock(&self.speaker.heard)[self.number - 1])
    }
}

impl Mouth for FakeMouth {
    fn push<'a>(&'a mut self, samples: &'a [f32], rate: u32) -> BoxFuture<'a, Result<(), Interrupted>> {
        Box::pin(async move {
            if *self.current.borrow() != self.number {
                return Err(Interrupted);
            }
            self.first.get_or_insert_with(Instant::now);
            self.with(|h| {
                h.samples.extend_from_slice(samples);
                h.rate = rate;
            });
            Ok(())
        })
    }

    fn first_sample(&self) -> Option<Instant> {
        self.first
    }

    fn finish(mut self: Box<Self>) -> BoxFuture<'static, Playback> {
        Box::pin(async move {
            let number = self.number;
            tokio::select! {
                biased;
                // Errors mean that the player is gone, which ends the utterance as well.
                _ = self.current.wait_for(|c| *c != number) => {}
                _ = self.running.wait_for(|r| *r) => {}
            }
            let interrupted = *self.current.borrow() != number;
            #[expect(clippy::cast_precision_loss, reason = "seconds of sound")]
            let seconds = self.with(|h| {
                h.interrupted = interrupted;
                h.over = true;
                h.samples.len() as f64 / f64::from(h.rate.max(1))
            });
            Playback {
                first_sample_handed_over: self.first,
                first_audible: self.first,
                finished: Instant::now(),
                interrupted,
                heard_seconds: seconds,
                error: None,
                period_frames: PERIOD,
                underruns: 0,
            }
        })
    }
}

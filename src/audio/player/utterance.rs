//! One utterance of the coach, from the side that makes its sound.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rtrb::Producer;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;

use crate::audio::player::source::Heard;
use crate::audio::resample::Resampler;

/// What becomes of an utterance, in order: handed over, audible, and one of the last three.
#[derive(Clone, Debug, PartialEq)]
pub enum PlaybackEvent {
    /// The first sample was handed to the device.
    FirstSampleHandedOver {
        /// When.
        at: Instant,
    },
    /// The first sample above -60 dBFS left the device (by the output buffer's length).
    FirstAudible {
        /// When.
        at: Instant,
    },
    /// The last sample was heard.
    Finished {
        /// When.
        at: Instant,
        /// Length of what was heard, seconds.
        heard_seconds: f64,
    },
    /// Another utterance or [`crate::audio::player::Player::stop`] silenced it.
    Interrupted {
        /// When.
        at: Instant,
        /// Length of what was heard, seconds.
        heard_seconds: f64,
    },
    /// No device, or it was lost in the middle. Says why.
    Failed(String),
}

/// The utterance was silenced or has no device: no more sound is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the utterance is over: it was interrupted or the output device was lost")]
pub struct Interrupted;

/// Pause of a pusher whose ring (many seconds of speech) is full. Never before the first sample.
const FULL: Duration = Duration::from_millis(20);

/// Takes the sound of one utterance. Dropped without [`Utterance::finish`], it ends with what was pushed.
pub struct Utterance {
    pub(super) id: u64,
    pub(super) samples: Option<Producer<f32>>,
    pub(super) heard: Arc<Heard>,
    pub(super) device_rate: u32,
    pub(super) rate: u32,
    pub(super) resampler: Option<Resampler>,
    /// Resampled, on its way into the ring.
    pub(super) ready: Vec<f32>,
    pub(super) events: Option<UnboundedReceiver<PlaybackEvent>>,
    pub(super) last: Option<oneshot::Receiver<PlaybackEvent>>,
}

impl std::fmt::Debug for Utterance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Utterance({}, {} Hz)", self.id, self.rate)
    }
}

impl Utterance {
    /// The number it was started with.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// What becomes of it; to be taken once, later calls give a closed channel.
    #[must_use]
    pub fn events(&mut self) -> UnboundedReceiver<PlaybackEvent> {
        self.events.take().unwrap_or_else(|| tokio::sync::mpsc::unbounded_channel().1)
    }

    /// The next samples have another rate (another speech engine took over).
    ///
    /// # Errors
    /// [`Interrupted`], also for a rate that no sound has.
    pub async fn set_sample_rate(&mut self, rate: u32) -> Result<(), Interrupted> {
        if rate == self.rate {
            return Ok(());
        }
        self.rest_of_resampler().await?;
        self.rate = rate;
        self.resampler = None;
        if rate != self.device_rate && self.device_rate != 0 {
            self.resampler = Some(Resampler::new(rate, self.device_rate).map_err(|_| Interrupted)?);
        }
        Ok(())
    }

    /// Adds sound: mono, full scale ±1. Returns when it is in the player's ring, which holds many seconds.
    ///
    /// # Errors
    /// [`Interrupted`]: stop making more.
    pub async fn push(&mut self, samples: &[f32]) -> Result<(), Interrupted> {
        self.ready.clear();
        let ready = &mut self.ready;
        match &mut self.resampler {
            None => ready.extend_from_slice(samples),
            Some(resampler) => resampler.push(samples, &mut |out| ready.extend_from_slice(out)),
        }
        self.hand_in().await
    }

    async fn rest_of_resampler(&mut self) -> Result<(), Interrupted> {
        self.ready.clear();
        let ready = &mut self.ready;
        if let Some(resampler) = &mut self.resampler {
            resampler.finish(&mut |out| ready.extend_from_slice(out));
        }
        self.hand_in().await
    }

    async fn hand_in(&mut self) -> Result<(), Interrupted> {
        let mut from = 0;
        loop {
            let Some(ring) = &mut self.samples else { return Err(Interrupted) };
            if self.heard.over.load(Ordering::Acquire) || ring.is_abandoned() {
                self.samples = None;
                return Err(Interrupted);
            }
            from += ring.push_partial_slice(&self.ready[from..]).0.len();
            if from == self.ready.len() {
                return Ok(());
            }
            tokio::time::sleep(FULL).await;
        }
    }

    /// Nothing more to say: waits until the rest has been heard (or silenced) and says how it ended.
    pub async fn finish(mut self) -> PlaybackEvent {
        // Silenced in the meantime: the last event says so.
        let _ = self.rest_of_resampler().await;
        self.heard.complete.store(true, Ordering::Release);
        let gone = || PlaybackEvent::Failed("the player has ended".into());
        match self.last.take() {
            Some(last) => last.await.unwrap_or_else(|_| gone()),
            None => gone(),
        }
    }
}

impl Drop for Utterance {
    fn drop(&mut self) {
        self.heard.complete.store(true, Ordering::Release);
    }
}

//! Lets the coach speak through the player: the only place where `coach` and `audio::player` meet.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::audio::ANALYSIS_RATE;
use crate::audio::player::{PlaybackEvent, Player, Utterance};
use crate::coach::{Interrupted, Mouth, Playback, Speaker};

/// The player as the coach sees it.
pub struct PlayerSpeaker(Player);

impl PlayerSpeaker {
    /// Speaks through `player`.
    #[must_use]
    pub fn new(player: Player) -> Self {
        Self(player)
    }
}

impl Speaker for PlayerSpeaker {
    fn say(&self, id: u64) -> Box<dyn Mouth> {
        // The rate of the first sound is not known yet; the device's own costs nothing if it turns out to fit.
        let rate = Some(self.0.status().rate).filter(|r| *r > 0).unwrap_or(ANALYSIS_RATE);
        let mut utterance = self.0.say(id, rate);
        let events = utterance.events();
        let before = self.0.status().underruns;
        Box::new(PlayerMouth {
            utterance,
            player: self.0.clone(),
            underruns_before: before,
            firsts: Mutex::new(Firsts { events, handed_over: None, audible: None }),
        })
    }

    fn stop(&self) {
        self.0.stop();
    }

    fn set_muted(&self, muted: bool) {
        self.0.set_muted(muted);
    }

    fn trouble(&self) -> Option<String> {
        let status = self.0.status();
        match status.device {
            Some(_) => None,
            None => Some(status.reason.unwrap_or_else(|| "there is no output device".into())),
        }
    }
}

struct PlayerMouth {
    utterance: Utterance,
    player: Player,
    underruns_before: u64,
    firsts: Mutex<Firsts>,
}

/// What the player has told so far.
struct Firsts {
    events: UnboundedReceiver<PlaybackEvent>,
    handed_over: Option<Instant>,
    audible: Option<Instant>,
}

impl Firsts {
    fn read(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            match event {
                PlaybackEvent::FirstSampleHandedOver { at } => self.handed_over = Some(at),
                PlaybackEvent::FirstAudible { at } => self.audible = Some(at),
                _ => {}
            }
        }
    }
}

impl Mouth for PlayerMouth {
    fn push<'a>(&'a mut self, samples: &'a [f32], rate: u32) -> BoxFuture<'a, Result<(), Interrupted>> {
        async move {
            self.utterance.set_sample_rate(rate).await.map_err(|_| Interrupted)?;
            self.utterance.push(samples).await.map_err(|_| Interrupted)
        }
        .boxed()
    }

    fn first_sample(&self) -> Option<Instant> {
        let mut firsts = self.firsts.lock().unwrap_or_else(PoisonError::into_inner);
        firsts.read();
        firsts.handed_over
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Playback> {
        async move {
            let Self { utterance, player, underruns_before, firsts } = *self;
            let last = utterance.finish().await;
            let mut firsts = firsts.into_inner().unwrap_or_else(PoisonError::into_inner);
            firsts.read();
            let status = player.status();
            let (finished, interrupted, heard_seconds, error) = match last {
                PlaybackEvent::Finished { at, heard_seconds } => (at, false, heard_seconds, None),
                PlaybackEvent::Interrupted { at, heard_seconds } => (at, true, heard_seconds, None),
                PlaybackEvent::Failed(why) => (Instant::now(), false, 0.0, Some(why)),
                PlaybackEvent::FirstSampleHandedOver { at } | PlaybackEvent::FirstAudible { at } => {
                    (at, true, 0.0, None)
                }
            };
            Playback {
                first_sample_handed_over: firsts.handed_over,
                first_audible: firsts.audible,
                finished,
                interrupted,
                heard_seconds,
                error,
                period_frames: status.period,
                underruns: status.underruns.saturating_sub(underruns_before),
            }
        }
        .boxed()
    }
}

//! The coach's voice: one player thread that owns the output device.
//!
//! Commands in, events out, joined when the last handle is dropped (librespot's player is the model). A new utterance
//! silences the one before it: the source in the mixer switches at its next block, fades the old voice over 4 ms, and what
//! was queued behind it is thrown away. So from [`Player::say`] or [`Player::stop`] to the last sample of the old voice
//! handed to the device it takes one output period (until the device asks again) and 4 ms; the device then still plays
//! its own buffer of up to two periods.
//!
//! The metronome is mixed in by the same source at exact frames, independent of utterances.
//!
//! Commands and events are *every value*; volume, mute and counters are *latest value* (atomics).

mod source;
mod thread;
mod utterance;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rtrb::{Producer, RingBuffer};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;

use crate::audio::AudioError;
use crate::audio::device::DeviceChoice;
use crate::audio::echo::EchoGate;
use crate::audio::metronome::Metronome;
use crate::audio::metronome::board::Board;
use crate::audio::resample::Resampler;
use crate::audio::supervisor::DeviceEvent;
use source::{Heard, Levels, Voice};
use thread::{Command, Keeper, Said};
pub use utterance::{Interrupted, PlaybackEvent, Utterance};

/// Speech that the ring of an utterance holds, seconds: longer than any advice, so that pushing never waits for it.
const RING_SECONDS: u32 = 20;
/// Length of the monitor's ring, seconds.
const MONITOR_SECONDS: f32 = 0.5;

/// Settings of the player.
#[derive(Clone, Debug)]
pub struct PlayerSettings {
    /// The device; a name of `none` means no sound at all.
    pub choice: DeviceChoice,
    /// First period, frames; 0: 1024 with real-time priority, 2048 without.
    pub period: u32,
    /// 0..2.
    pub volume: f32,
    /// Level of the monitor, 0..1.
    pub monitor_level: f32,
    /// Volume of the metronome, 0..1.
    pub click_volume: f32,
    /// Told when the voice has energy.
    pub gate: EchoGate,
}

impl Default for PlayerSettings {
    fn default() -> Self {
        Self {
            choice: DeviceChoice::default(),
            period: 0,
            volume: 1.0,
            monitor_level: 0.25,
            click_volume: 0.5,
            gate: EchoGate::off(),
        }
    }
}

impl PlayerSettings {
    /// From the settings, with the gate to tell.
    #[must_use]
    pub fn new(audio: &crate::config::Audio, gate: EchoGate) -> Self {
        Self {
            choice: DeviceChoice { host: audio.host.clone(), name: audio.output.clone() },
            period: audio.output_period,
            volume: audio.volume,
            monitor_level: audio.monitor,
            click_volume: audio.click_volume,
            gate,
        }
    }
}

/// How the player is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlayerStatus {
    /// Name of the output device; `None` while there is none.
    pub device: Option<String>,
    /// Why there is none.
    pub reason: Option<String>,
    /// Output period, frames.
    pub period: u32,
    /// Rate of the device, Hz.
    pub rate: u32,
    /// Real-time priority was granted to the device's callback.
    pub realtime: bool,
    /// Underruns of the device since the start.
    pub underruns: u64,
    /// Times that an utterance had nothing to play in its middle.
    pub starved: u64,
    /// An utterance is being played or waits for its sound.
    pub speaking: bool,
}

/// What handles and thread share.
pub(crate) struct Shared {
    pub levels: Arc<Levels>,
    pub board: Arc<Board>,
    pub status: Mutex<PlayerStatus>,
    /// Rate of the device, Hz; 0 while there is none.
    pub rate: AtomicU32,
    /// An utterance has been said and not yet ended.
    pub speaking: AtomicBool,
    pub monitor: Mutex<Option<(Producer<f32>, u32)>>,
    pub device_events: Mutex<Option<UnboundedReceiver<DeviceEvent>>>,
}

/// A lock that survives a panic elsewhere: the values are plain.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Inner {
    commands: Sender<Command>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Quit); // The thread may have ended.
        if let Some(thread) = locked(&self.thread).take() {
            let _ = thread.join(); // A panic there has been printed already.
        }
    }
}

/// A handle of the player. Cheap to clone; the player ends with the last one.
#[derive(Clone)]
pub struct Player(Arc<Inner>);

impl Player {
    /// Starts the thread and tries to open the device. Without one the player goes on trying; [`PlayerStatus::reason`]
    /// says why there is none.
    ///
    /// # Errors
    /// [`AudioError::Thread`] only.
    pub fn start(settings: PlayerSettings) -> Result<Self, AudioError> {
        crate::audio::clock::start();
        let (events, device_events) = unbounded_channel();
        let shared = Arc::new(Shared {
            levels: Arc::new(Levels::new(
                settings.volume.clamp(0.0, 2.0),
                settings.monitor_level.clamp(0.0, 1.0),
                settings.click_volume.clamp(0.0, 1.0),
            )),
            board: Arc::default(),
            status: Mutex::default(),
            rate: AtomicU32::new(0),
            speaking: AtomicBool::new(false),
            monitor: Mutex::new(None),
            device_events: Mutex::new(Some(device_events)),
        });
        let (commands, orders) = channel();
        let (ready, opened) = channel();
        let keeper = Keeper::new(settings, shared.clone(), orders, events);
        let thread = std::thread::Builder::new()
            .name("player".into())
            .spawn(move || keeper.run(&ready))
            .map_err(|source| AudioError::Thread { what: "playing sound", source })?;
        let _ = opened.recv(); // The first attempt is over; if the thread has ended, the status says so.
        Ok(Self(Arc::new(Inner { commands, shared, thread: Mutex::new(Some(thread)) })))
    }

    /// Starts an utterance whose first samples have `sample_rate`, and silences the one before it. At once; without a
    /// device the utterance fails.
    #[must_use]
    pub fn say(&self, id: u64, sample_rate: u32) -> Utterance {
        let shared = &self.0.shared;
        let (events, receiver) = unbounded_channel();
        let (last, ended) = oneshot::channel();
        let heard = Arc::new(Heard::default());
        let device_rate = shared.rate.load(Ordering::Acquire);
        let resampler = match device_rate {
            0 => Ok(None),
            rate if rate == sample_rate => Ok(None),
            rate => Resampler::new(sample_rate, rate).map(Some),
        };
        let mut said = Said {
            heard: heard.clone(),
            events,
            last: Some(last),
            rate: device_rate,
            voice: None,
            refused: None,
        };
        let (samples, resampler) = match resampler {
            Ok(resampler) if device_rate > 0 => {
                let (samples, ring) = RingBuffer::new((device_rate * RING_SECONDS) as usize);
                said.voice = Some(Voice::new(ring, heard.clone()));
                (Some(samples), resampler)
            }
            Ok(_) => (None, None),
            Err(e) => {
                said.refused = Some(e.to_string());
                (None, None)
            }
        };
        shared.speaking.store(true, Ordering::Release);
        // A thread that has ended drops the command, and with it the senders: `finish` then says so.
        let _ = self.0.commands.send(Command::Say(Box::new(said)));
        Utterance {
            id,
            samples,
            heard,
            device_rate,
            rate: sample_rate,
            resampler,
            ready: Vec::new(),
            events: Some(receiver),
            last: Some(ended),
        }
    }

    /// Silences the voice and forgets what was queued.
    pub fn stop(&self) {
        let _ = self.0.commands.send(Command::Stop); // A thread that has ended is silent.
    }

    /// Volume of the voice, 0..2.
    pub fn set_volume(&self, volume: f32) {
        if volume.is_finite() {
            self.0.shared.levels.volume.store(volume.clamp(0.0, 2.0).to_bits(), Ordering::Relaxed);
        }
    }

    /// Mutes the voice (not the monitor); it goes on inaudibly.
    pub fn set_muted(&self, muted: bool) {
        self.0.shared.levels.muted.store(muted, Ordering::Relaxed);
    }

    /// Starts the metronome, or starts it anew; `None` stops it. It goes on beneath the voice and is neither muted nor
    /// stopped with it. After a loss of the device it starts anew by itself.
    pub fn metronome(&self, metronome: Option<Metronome>) {
        let _ = self.0.commands.send(Command::Metronome(metronome)); // A thread that has ended is silent.
    }

    /// What the output tells of the metronome.
    #[must_use]
    pub fn board(&self) -> Arc<Board> {
        self.0.shared.board.clone()
    }

    /// A ring for sound that is to be heard as it is made (the virtual guitarist), with its rate in Hz. To be taken once;
    /// `None` afterwards (until it is given back) or while there is no device. It never counts as voice.
    #[must_use]
    pub fn monitor(&self) -> Option<(Producer<f32>, u32)> {
        locked(&self.0.shared.monitor).take()
    }

    /// Gives the monitor's ring back, for who asks for it next.
    pub fn give_back_monitor(&self, samples: Producer<f32>, rate: u32) {
        *locked(&self.0.shared.monitor) = Some((samples, rate));
    }

    /// How the player is now.
    #[must_use]
    pub fn status(&self) -> PlayerStatus {
        let shared = &self.0.shared;
        let mut status = locked(&shared.status).clone();
        status.speaking = shared.speaking.load(Ordering::Acquire);
        status
    }

    /// What becomes of the output device; to be taken once.
    #[must_use]
    pub fn device_events(&self) -> Option<UnboundedReceiver<DeviceEvent>> {
        locked(&self.0.shared.device_events).take()
    }
}

//! An input that is open, with the loop that hears it. It may outlive a wait and go on into the session that playing begins.

use rtrb::Consumer;
use tokio::sync::mpsc::UnboundedReceiver;

use super::input::{self, Chosen};
use super::setup;
use crate::audio::echo::EchoGate;
use crate::audio::engine::{Engine, EngineSettings, Monitor};
use crate::audio::metronome::ear::Link;
use crate::audio::player::Player;
use crate::audio::recorder::Recorder;
use crate::audio::supervisor::{DeviceEvent, StreamInfo};
use crate::audio::tap;
use crate::cli::exit::{Exit, Stop};
use crate::config::Config;
use crate::dsp::Analyzer;
use crate::dsp::event::DspEvent;

/// An open input.
pub struct Listening {
    /// The loop.
    pub engine: Engine,
    /// What it hears.
    pub events: Consumer<DspEvent>,
    /// What becomes of the device.
    pub device_events: UnboundedReceiver<DeviceEvent>,
    /// The stream, once it has been told.
    pub stream: Option<StreamInfo>,
    /// The metronome's clicks in the input; `None`: no metronome can click.
    pub clicks: Option<Link>,
    /// Keeps its sound, if the player wants that.
    pub recorder: Option<Recorder>,
    key: Key,
}

/// All that an open input depends on: another one has to be opened when it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// Of the input that these settings ask for.
    #[must_use]
    pub fn of(config: &Config, chosen: &Chosen) -> Self {
        let p = &config.practice;
        // The virtual guitarist plays what is practised.
        let demo = matches!(chosen, Chosen::Demo(_)).then(|| (&p.scale, p.bpm, &p.tuning, p.capo));
        let clicks =
            setup::metronome(config, is_live(chosen)).is_ok_and(|(metronome, _)| metronome.is_some());
        let all = (format!("{chosen:?}"), &config.audio, p.a4, p.sensitivity, p.record, clicks, demo);
        // Plain values always serialise.
        Self(serde_json::to_string(&all).unwrap_or_default())
    }
}

/// Somebody plays now, in a room: what comes out of the loudspeakers may be heard, and a metronome can click.
#[must_use]
pub fn is_live(chosen: &Chosen) -> bool {
    matches!(chosen, Chosen::Device(_))
}

impl Listening {
    /// Opens the input. `aloud`: the virtual guitarist is heard on the loudspeakers. May take seconds.
    ///
    /// # Errors
    /// Settings or a device that cannot be used.
    pub fn open(
        config: &Config,
        chosen: &Chosen,
        player: &Player,
        gate: &EchoGate,
        aloud: bool,
    ) -> Result<Self, Stop> {
        let (_, scale) = setup::judge(config)?;
        let analyzer = setup::analyzer(config)?;
        let (metronome, _) = setup::metronome(config, is_live(chosen))?;
        let direct = config.audio.direct || !is_live(chosen);
        let mut settings = EngineSettings::from(&config.audio);
        settings.a4 = config.practice.a4 as f32;
        if aloud && matches!(chosen, Chosen::Demo(_)) {
            settings.monitor = player.monitor().map(|(samples, rate)| {
                let player = player.clone();
                let back = Box::new(move |samples| player.give_back_monitor(samples, rate));
                Monitor { samples, rate, back: Some(back) }
            });
        }
        let clicks = metronome.map(|_| Link::new(player.board(), config.audio.click_volume, !direct));
        settings.metronome.clone_from(&clicks);
        let recorder = if config.practice.record {
            let (tap, reader) = tap::tap();
            settings.tap = Some(tap);
            Some(Recorder::start(reader).map_err(|e| Stop::because(Exit::Failed, &e))?)
        } else {
            None
        };
        let source = input::open(config, chosen.clone(), scale.as_ref())?;
        let gate = if direct { EchoGate::off() } else { gate.clone() };
        let mut engine = Engine::start(source, settings, move || Box::new(Analyzer::new(analyzer)), gate)
            .map_err(|e| Stop::because(Exit::Input, &e))?;
        let (events, device_events) = (engine.take_events(), engine.device_events());
        let key = Key::of(config, chosen);
        Ok(Self { engine, events, device_events, stream: None, clicks, recorder, key })
    }

    /// True while these settings ask for the same input.
    #[must_use]
    pub fn fits(&self, key: &Key) -> bool {
        self.key == *key
    }

    /// Closes it; takes up to a period of the device, or half a second when the device hangs.
    pub async fn close(self) {
        // A panic there has been printed already.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }
}

/// A stream for people: `Guitar (pulseaudio, 48000 Hz, period 1024)`.
#[must_use]
pub fn name_of(stream: &StreamInfo) -> String {
    match stream.host.as_str() {
        "file" | "source" => stream.name.clone(),
        host => {
            let realtime = if stream.realtime { ", real-time" } else { "" };
            format!("{} ({host}, {} Hz, period {}{realtime})", stream.name, stream.rate, stream.period)
        }
    }
}

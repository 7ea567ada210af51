//! Measures the round trip between an output and an input: plays clicks, records the input, compares.

use std::time::Duration;

use rtrb::{Consumer, Producer, RingBuffer};

use super::input::{self, Chosen};
use super::metronome::pair;
use crate::audio::ANALYSIS_RATE;
use crate::audio::echo::EchoGate;
use crate::audio::engine::{Engine, EngineSettings, Hear, Input};
use crate::audio::metronome::Metronome;
use crate::audio::metronome::ear::Link;
use crate::audio::metronome::measure::{self, Measured, Unmeasured};
use crate::audio::player::{Player, PlayerSettings};
use crate::audio::supervisor::{DeviceEvent, StreamInfo};
use crate::cli::exit::{Exit, Stop};
use crate::config::Config;
use crate::dsp::event::DspEvent;
use crate::store::DevicePair;

/// Clicks to be heard: slow, so that each has gone by before the next, whatever the delay.
const LOOPBACK: (f64, usize) = (75.0, 20);
/// Clicks to tap along with, and how many are let go by to get into the beat.
const TAP: (f64, usize) = (100.0, 28);
const LISTENED_TO: usize = 4;
/// Longest wait for the devices to make a sound.
const PATIENCE: Duration = Duration::from_secs(6);
/// How often the recording is collected.
const COLLECT: Duration = Duration::from_millis(20);
/// Sound that may wait to be collected, seconds.
const WAITING: usize = 10;
/// Of a player who taps along, no click is in the input; more than this share heard, and it is no such player.
const LEAKING: f64 = 0.75;

/// A round trip with the devices that it belongs to.
#[derive(Clone, Debug)]
pub struct Calibration {
    /// The devices.
    pub pair: DevicePair,
    /// The round trip.
    pub measured: Measured,
    /// Clicks that were played, or to be tapped with.
    pub of: usize,
}

/// Hands the input on, as it is.
struct Recorder(Producer<f32>);

impl Hear for Recorder {
    fn process(&mut self, samples: &[f32], _: &mut dyn FnMut(DspEvent)) {
        // A full ring means that nobody collects any more.
        let _ = self.0.push_partial_slice(samples);
    }

    fn skip(&mut self, samples: u64, _: &mut dyn FnMut(DspEvent)) {
        // What is missing is silence, so that the clock stays right.
        for _ in 0..samples.min((WAITING * ANALYSIS_RATE as usize) as u64) {
            let _ = self.0.push(0.0); // As above.
        }
    }

    fn set_gated(&mut self, _: bool) {}
    fn set_origin(&mut self, _: f64) {}
    fn finish(&mut self, _: &mut dyn FnMut(DspEvent)) {}
}

/// Plays the clicks and measures; `tell` is told which click it is, of how many.
///
/// # Errors
/// No device, nothing heard, too noisy or too uneven: each with what to do.
pub async fn run(
    config: &Config,
    tap: bool,
    tell: &mut dyn FnMut(usize, usize),
) -> Result<Calibration, Stop> {
    let choice = match input::choose(config) {
        Chosen::Device(choice) => choice,
        Chosen::File(_) => {
            return Err(Stop::new(Exit::Usage, "a file has no latency: choose a sound card with --input"));
        }
        Chosen::Demo(why) => {
            let why = why.unwrap_or_else(|| "the virtual guitarist hears nothing".into());
            return Err(Stop::new(Exit::Input, format!("{why}: choose a sound card with --input")));
        }
    };
    let player = Player::start(PlayerSettings::new(&config.audio, EchoGate::off()))
        .map_err(|e| Stop::because(Exit::Failed, &e))?;
    let status = player.status();
    if status.device.is_none() {
        let why = status.reason.unwrap_or_else(|| "there is no output device".into());
        let how = "calibrating needs an output that plays the clicks; choose one with --output (`fretcoach devices`)";
        return Err(Stop::new(Exit::Input, format!("{why}: {how}")));
    }
    let link = Link::new(player.board(), config.audio.click_volume, false);
    let settings = EngineSettings { metronome: Some(link.clone()), ..EngineSettings::from(&config.audio) };
    let (into, recorded) = RingBuffer::new(WAITING * ANALYSIS_RATE as usize);
    let mut engine =
        Engine::start(Input::Device(choice), settings, move || Box::new(Recorder(into)), EchoGate::off())
            .map_err(|e| Stop::because(Exit::Input, &e))?;
    let stream = opened(&mut engine).await?;
    let heard = listen(&player, &link, recorded, tap, tell).await;
    player.metronome(None);
    let pair = pair(&stream, config.audio.period, &player);
    // Closing the devices may take a period; a panic there has been printed already.
    let _ = tokio::task::spawn_blocking(move || drop((engine.stop(), player))).await;
    let (recording, due) = heard?;
    let (measured, of) = if tap { tapped(&recording, &due)? } else { loopback(&recording, &due)? };
    Ok(Calibration { pair, measured, of })
}

async fn opened(engine: &mut Engine) -> Result<StreamInfo, Stop> {
    let mut events = engine.device_events();
    let first = async {
        loop {
            match events.recv().await {
                Some(DeviceEvent::Opened(stream)) => return Some(stream),
                Some(_) => {}
                None => return None,
            }
        }
    };
    tokio::time::timeout(PATIENCE, first).await.ok().flatten().ok_or_else(|| {
        let said =
            "the input was opened but no sound came; choose another with --input (see `fretcoach devices`)";
        Stop::new(Exit::Input, said)
    })
}

/// Plays all clicks; the recording, and when each click was due in it, seconds.
async fn listen(
    player: &Player,
    link: &Link,
    mut recorded: Consumer<f32>,
    tap: bool,
    tell: &mut dyn FnMut(usize, usize),
) -> Result<(Vec<f32>, Vec<f64>), Stop> {
    let (bpm, clicks) = if tap { TAP } else { LOOPBACK };
    let accent = if tap { 4 } else { 0 };
    let metronome = Metronome::new(bpm, accent, 1, 0.5).map_err(|e| Stop::because(Exit::Failed, &e))?;
    let beat = metronome.at_beat(0.0).beat_seconds();
    let (mut recording, mut due) = (Vec::new(), Vec::new());
    let begun = tokio::time::Instant::now();
    let mut collect = tokio::time::interval(COLLECT);
    player.metronome(Some(metronome));
    loop {
        collect.tick().await;
        let waiting = recorded.slots();
        if let Ok(chunk) = recorded.read_chunk(waiting) {
            recording.extend(chunk);
        }
        let beats = link.board.beat();
        // The two clocks wander: each click is due by them as they stood then.
        if let (Some(beats), Some(echo)) = (beats, link.echo()) {
            while due.len() < clicks && beats >= due.len() as f64 + 0.5 {
                tell(due.len() + 1, clicks);
                due.push(echo.nominal + due.len() as f64 * beat);
            }
            if beats > clicks as f64 {
                return Ok((recording, due));
            }
        }
        let expected = PATIENCE + Duration::from_secs_f64(beat * (clicks + 1) as f64);
        if begun.elapsed() > expected {
            let said =
                "the devices stopped in the middle of the measurement; try again, and see `fretcoach doctor`";
            return Err(Stop::new(Exit::Input, said));
        }
    }
}

fn loopback(recording: &[f32], due: &[f64]) -> Result<(Measured, usize), Stop> {
    let measured = measure::agreed(&measure::heard(recording, due), due.len());
    let measured = measured.map_err(|e| {
        let what_to_do = match e {
            Unmeasured::Unheard { .. } => {
                "turn the loudspeakers and the microphone up, or lay a cable from the output to the input; with headphones \
                 or a guitar by cable use --tap"
            }
            Unmeasured::Unsteady { .. } => {
                "it is too noisy, or the sound stutters: be still while it clicks, turn the loudspeakers up, and try a \
                 longer --output-period"
            }
        };
        Stop::new(Exit::Input, format!("{e}: {what_to_do}"))
    })?;
    Ok((measured, due.len()))
}

fn tapped(recording: &[f32], due: &[f64]) -> Result<(Measured, usize), Stop> {
    let heard = measure::heard(recording, due);
    if measure::agreed(&heard, due.len()).is_ok_and(|m| m.count as f64 >= LEAKING * due.len() as f64) {
        let said =
            "the input hears the clicks themselves: measure without --tap, or turn the loudspeakers off";
        return Err(Stop::new(Exit::Input, said));
    }
    let taps = measure::strokes(recording);
    let due = &due[LISTENED_TO.min(due.len())..];
    let first = due.first().copied().unwrap_or(0.0);
    let measured = measure::tapped(&taps, first, 60.0 / TAP.0, due.len()).map_err(|e| {
        let said = match e {
            Unmeasured::Unheard { heard, of } => format!(
                "{heard} strokes were heard on {of} clicks: strike the muted strings once on every click, and turn the input up"
            ),
            Unmeasured::Unsteady { agree, spread_ms, .. } => format!(
                "the strokes are too uneven to tell ({agree} agree, within {spread_ms:.0} ms of their middle): listen for a \
                 bar, then strike the muted strings exactly on the click"
            ),
        };
        Stop::new(Exit::Input, said)
    })?;
    Ok((measured, due.len()))
}

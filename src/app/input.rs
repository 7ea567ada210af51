//! Which input is meant: a sound card, a recording or the virtual guitarist.

use std::path::{Path, PathBuf};

use super::setup;
use crate::audio::device::{self, DeviceChoice, Direction};
use crate::audio::engine::Input;
use crate::audio::guitarist::{Guitarist, Mistakes, Pattern, Performance};
use crate::audio::{ANALYSIS_RATE, SampleSource};
use crate::cli::exit::{Exit, Stop};
use crate::config::Config;
use crate::music::scale::Scale;

/// What the virtual guitarist plays when nothing else is asked for.
const DEMO_SCALE: &str = "A minor pentatonic";
/// See [`DEMO_SCALE`].
const DEMO_BPM: f64 = 90.0;

/// The kind of input that the settings mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// A sound card.
    Device(DeviceChoice),
    /// A recording.
    File(PathBuf),
    /// The virtual guitarist, and why.
    Demo(Option<String>),
}

/// Decides what `audio.input` means: nothing (first sound card, else the virtual guitarist), `demo`, a file, or a
/// device.
#[must_use]
pub fn choose(config: &Config) -> Chosen {
    let input = config.audio.input.trim();
    let device = DeviceChoice { host: config.audio.host.clone(), name: input.to_owned() };
    if input.eq_ignore_ascii_case("demo") {
        return Chosen::Demo(None);
    }
    if input.is_empty() {
        return match device::list(&config.audio.host) {
            Ok(devices) if devices.iter().any(|d| d.direction == Direction::Input) => Chosen::Device(device),
            Ok(_) => Chosen::Demo(Some("no sound card with an input was found".into())),
            Err(e) => Chosen::Demo(Some(format!("no sound card was found ({})", crate::span::chain(&e)))),
        };
    }
    let path = Path::new(input);
    let named_like_a_file =
        path.extension().is_some_and(|e| ["wav", "wave", "flac"].iter().any(|k| e.eq_ignore_ascii_case(k)))
            || input.contains('/');
    if named_like_a_file || path.is_file() { Chosen::File(path.to_owned()) } else { Chosen::Device(device) }
}

/// Lets the virtual guitarist choose what nobody has chosen: a scale and a tempo.
pub fn complete(config: &mut Config, chosen: &Chosen) {
    if matches!(chosen, Chosen::Demo(_)) {
        if config.practice.scale.trim().is_empty() {
            config.practice.scale = DEMO_SCALE.into();
        }
        if config.practice.bpm == 0.0 {
            config.practice.bpm = DEMO_BPM;
        }
    }
}

/// Makes the input.
///
/// # Errors
/// Mistakes or a tuning that the virtual guitarist does not know.
pub fn open(config: &Config, chosen: Chosen, scale: Option<&Scale>) -> Result<Input, Stop> {
    Ok(match chosen {
        Chosen::Device(choice) => Input::Device(choice),
        Chosen::File(path) => Input::File { path, fast: config.audio.fast },
        Chosen::Demo(_) => {
            let mistakes: Mistakes = config
                .audio
                .demo_mistakes
                .parse()
                .map_err(|e| Stop::new(Exit::Config, format!("audio.demo_mistakes: {e}")))?;
            let scale = scale.cloned().map_or_else(|| Scale::parse(DEMO_SCALE), Ok);
            let scale = scale.map_err(|e| Stop::because(Exit::Config, &e))?;
            let performance = Performance {
                scale,
                bpm: config.practice.bpm,
                mistakes,
                seed: config.audio.demo_seed,
                sample_rate: ANALYSIS_RATE,
                a4_hz: config.practice.a4,
                pattern: Pattern::Mixed,
                tuning: setup::tuning(config)?,
                ..Performance::default()
            };
            Input::Source {
                name: "virtual guitarist".into(),
                sample_rate: ANALYSIS_RATE,
                source: Box::new(Demo(Guitarist::new(&performance))),
                fast: config.audio.fast,
            }
        }
    })
}

/// The virtual guitarist as a source: endless.
struct Demo(Guitarist);

impl SampleSource for Demo {
    fn read(&mut self, out: &mut [f32]) -> usize {
        self.0.render(out);
        out.len()
    }
}

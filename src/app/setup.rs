//! From settings to the parts they describe; what cannot be is said in one line.

use crate::audio::metronome::Metronome;
use crate::cli::exit::{Exit, Stop};
use crate::config::Config;
use crate::dsp::AnalyzerConfig;
use crate::hub::link::Setup;
use crate::music::scale::Scale;
use crate::music::tuning::Tuning;
use crate::practice::settings::Settings;
use crate::practice::types::Metric;

/// What is practised and how, as the Hub's form holds it.
#[must_use]
pub fn of(config: &Config) -> Setup {
    let p = &config.practice;
    Setup {
        input: config.audio.input.clone(),
        scale: p.scale.clone(),
        bpm: p.bpm,
        metrics: p.metrics.clone(),
        sensitivity: p.sensitivity,
        strictness: p.strictness,
        tuning: p.tuning.clone(),
        capo: p.capo,
        metronome: p.metronome,
        minutes: p.minutes,
        ..Setup::default()
    }
}

/// How playing is judged, and the scale for the names of notes.
///
/// # Errors
/// A scale, tempo, tuning or metric that does not exist.
pub fn judge(config: &Config) -> Result<(Settings, Option<Scale>), Stop> {
    let p = &config.practice;
    // Judging knows notes, not strings; a tuning that does not exist is still said before the playing begins.
    tuning(config)?;
    let scale = if p.scale.trim().is_empty() {
        None
    } else {
        Some(Scale::parse(&p.scale).map_err(|e| Stop::because(Exit::Config, &e))?)
    };
    let metrics = p
        .metrics
        .iter()
        .map(|m| Metric::parse(m))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| Stop::because(Exit::Config, &e))?;
    let bpm = (p.bpm > 0.0).then_some(p.bpm);
    let settings = Settings::new(scale, bpm, metrics, p.sensitivity, p.strictness, p.whole_scale)
        .map_err(|e| Stop::because(Exit::Config, &e))?;
    Ok((settings, scale))
}

/// The metronome, if it can click: with a tempo, for a guitar that is played now. A metronome that is wanted and cannot
/// click is an error, or (beside a recording) a remark.
///
/// # Errors
/// Settings that no metronome can play.
pub fn metronome(config: &Config, live: bool) -> Result<(Option<Metronome>, Option<String>), Stop> {
    let p = &config.practice;
    let metronome = Metronome::new(p.bpm, p.click_accent, p.click_subdivision, p.click_swing);
    match (metronome, p.metronome) {
        (Err(e), true) => Err(Stop::because(Exit::Config, &e)),
        (Ok(_), true) if !live => {
            Ok((None, Some("no metronome: it would not be in time with what is played back".into())))
        }
        (metronome, _) => Ok((metronome.ok().filter(|_| live), None)),
    }
}

/// The strings of the guitar, with its capo.
///
/// # Errors
/// A tuning that does not exist, with the nearest names; a capo too high on the neck.
pub fn tuning(config: &Config) -> Result<Tuning, Stop> {
    Tuning::parse(&config.practice.tuning)
        .and_then(|t| t.with_capo(config.practice.capo))
        .map_err(|e| Stop::because(Exit::Config, &e))
}

/// How the loop hears.
///
/// # Errors
/// A detector that does not exist.
pub fn analyzer(config: &Config) -> Result<AnalyzerConfig, Stop> {
    Ok(AnalyzerConfig {
        a4_hz: config.practice.a4 as f32,
        sensitivity: config.practice.sensitivity as f32,
        detector: config.audio.detector.parse().map_err(|e| Stop::new(Exit::Config, format!("{e}")))?,
    })
}

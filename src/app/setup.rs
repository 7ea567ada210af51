//! From settings to the parts they describe; what cannot be is said in one line.

use super::input::Chosen;
use super::listening;
use crate::audio::metronome::Metronome;
use crate::cli::exit::{Exit, Stop};
use crate::config::Config;
use crate::dsp::AnalyzerConfig;
use crate::hub::link::Setup;
use crate::music::scale::Scale;
use crate::music::tuning::Tuning;
use crate::practice::settings::Settings;
use crate::practice::types::Metric;

/// Puts a player's setup in force: all of it, or (`free`) only what no flag, variable or file has set.
pub fn apply(config: &mut Config, setup: &Setup, free: bool) {
    let given = std::mem::take(&mut config.given);
    let may = |key: &str| !free || !given.contains(&key);
    let p = &mut config.practice;
    if may("audio.input") {
        config.audio.input.clone_from(&setup.input);
    }
    if may("practice.scale") {
        p.scale.clone_from(&setup.scale);
    }
    if may("practice.bpm") {
        p.bpm = setup.bpm;
    }
    if may("practice.metrics") {
        p.metrics.clone_from(&setup.metrics);
    }
    if may("practice.sensitivity") {
        p.sensitivity = setup.sensitivity;
    }
    if may("practice.strictness") {
        p.strictness = setup.strictness;
    }
    if may("practice.tuning") {
        p.tuning.clone_from(&setup.tuning);
    }
    if may("practice.capo") {
        p.capo = setup.capo;
    }
    if may("practice.metronome") {
        p.metronome = setup.metronome;
    }
    if may("practice.minutes") {
        p.minutes = setup.minutes;
    }
    if may("practice.record") {
        p.record = setup.record;
    }
    config.given = given;
}

/// Whether a session could begin with these settings.
///
/// # Errors
/// One line about the first one that is impossible.
pub fn check(config: &Config, chosen: &Chosen) -> Result<(), Stop> {
    config.check().map_err(|e| Stop::because(Exit::Config, &e))?;
    judge(config)?;
    analyzer(config)?;
    metronome(config, listening::is_live(chosen))?;
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_setup_fills_in_only_what_nothing_else_sets() {
        let mut config = Config { given: vec!["practice.bpm", "practice.scale"], ..Config::default() };
        config.practice.bpm = 120.0;
        let kept =
            Setup { bpm: 60.0, capo: 2, metrics: vec!["pitch".into()], ..Setup::of(&Config::default()) };
        let mut started = config.clone();
        apply(&mut started, &kept, true);
        assert_eq!((started.practice.bpm, started.practice.capo), (120.0, 2));
        assert_eq!(started.practice.metrics, ["pitch"]);
        apply(&mut config, &kept, false);
        assert_eq!(config.practice.bpm, 60.0, "what is asked for now counts");
        assert_eq!(config.given.len(), 2);
    }

    #[test]
    fn what_cannot_be_played_is_said_in_one_line() {
        let mut config = Config::default();
        let chosen = Chosen::Demo(None);
        assert!(check(&config, &chosen).is_ok());
        for (setup, says) in [
            (Setup { scale: "H flat".into(), ..Setup::of(&config) }, "H flat"),
            (Setup { bpm: 1_000.0, ..Setup::of(&config) }, "20 to 400"),
            (Setup { metrics: Vec::new(), ..Setup::of(&config) }, "metrics"),
            (Setup { tuning: "E9".into(), ..Setup::of(&config) }, "E9"),
        ] {
            apply(&mut config, &setup, false);
            let error = check(&config, &chosen).unwrap_err().to_string();
            assert!(error.contains(says) && !error.contains('\n'), "{error}");
            config = Config::default();
        }
    }
}

//! What a player has set up: checked before it is kept or played.

use crate::hub::link::{LiveView, Phase, Setup};
use crate::hub::{Hub, HubError, Viewer};
use crate::music::scale::Scale;
use crate::music::tuning::Tuning;
use crate::practice::types::Metric;
use crate::store::Store;

/// Longest name of a device, scale or tuning, characters.
const LONGEST: usize = 200;
/// Tempos that can be played, beats per minute; as the setting `practice.bpm`.
const TEMPO: std::ops::RangeInclusive<f64> = 20.0..=400.0;
/// Longest session, minutes.
const MINUTES: f64 = 24.0 * 60.0;

/// The setup with names as they are written (`Am` becomes `A natural minor`).
///
/// # Errors
/// [`HubError`] (422) that names what cannot be played and why.
pub fn checked(mut setup: Setup) -> Result<Setup, HubError> {
    let bad = |said: String| Err(HubError::bad(said));
    for (what, text) in [("input", &setup.input), ("scale", &setup.scale), ("tuning", &setup.tuning)] {
        if text.chars().count() > LONGEST || text.chars().any(char::is_control) {
            return bad(format!("{what}: at most {LONGEST} printable characters"));
        }
    }
    if !setup.scale.trim().is_empty() {
        setup.scale = Scale::parse(&setup.scale).map_err(|e| HubError::bad(format!("scale: {e}")))?.name();
    }
    let tuning = Tuning::parse(&setup.tuning).and_then(|t| t.with_capo(setup.capo));
    setup.tuning = tuning.map_err(|e| HubError::bad(e.to_string()))?.name().to_owned();
    if setup.bpm != 0.0 && !TEMPO.contains(&setup.bpm) {
        return bad(format!(
            "tempo: {} to {} bpm, or 0 to take it from the playing",
            TEMPO.start(),
            TEMPO.end()
        ));
    }
    if !(0.0..=MINUTES).contains(&setup.minutes) {
        return bad(format!("minutes: 0 (until stopped) to {MINUTES}"));
    }
    for (what, share) in [("sensitivity", setup.sensitivity), ("strictness", setup.strictness)] {
        if !(0.0..=1.0).contains(&share) {
            return bad(format!("{what}: 0 to 1"));
        }
    }
    for metric in &setup.metrics {
        Metric::parse(metric).map_err(|e| HubError::bad(e.to_string()))?;
    }
    if setup.metrics.is_empty() {
        return bad("nothing is left to score: choose at least one of pitch, scale, timing, noise".into());
    }
    Ok(setup)
}

/// As [`checked`], for a setup that comes from a browser: a file or a device by its path is only what this program was
/// started with, since whoever may steer it may not read the machine's files.
///
/// # Errors
/// As [`checked`].
pub fn given(hub: &Hub, setup: Setup) -> Result<Setup, HubError> {
    let input = setup.input.trim();
    let sound = ["wav", "wave", "flac"];
    let like_a_file = input.contains(['/', '\\'])
        || input.rsplit_once('.').is_some_and(|(_, e)| sound.iter().any(|k| e.eq_ignore_ascii_case(k)));
    if like_a_file && input != hub.config().audio.input.trim() {
        return Err(HubError::bad(format!(
            "input: `{input}` is a file; from the Hub only sound devices can be chosen, and `demo`"
        )));
    }
    checked(setup)
}

/// The setup kept for a player; `None`: nothing is kept, or what is kept is of another version.
async fn kept(store: &Store, user: &str) -> Result<Option<Setup>, HubError> {
    Ok(store.settings(user).await?.and_then(|json| serde_json::from_str(&json).ok()))
}

/// The setup in force for `viewer`: what the daemon would play, else what was kept, else what the settings say.
pub async fn of(hub: &Hub, viewer: &Viewer) -> Result<Setup, HubError> {
    if let Some(view) = hub.link().map(|link| link.view.borrow().clone())
        && view.user == viewer.user
    {
        return Ok(view.setup);
    }
    Ok(kept(hub.store(), &viewer.user).await?.unwrap_or_else(|| Setup::of(hub.config())))
}

/// Keeps a checked setup.
pub async fn keep(store: &Store, viewer: &Viewer, setup: &Setup) -> Result<(), HubError> {
    let json = serde_json::to_string(setup).expect("a setup is plain values");
    Ok(store.set_settings(&viewer.user, &json).await?)
}

/// Whether `viewer` may steer the daemon now.
///
/// # Errors
/// [`HubError`] (409): another player's session runs.
pub fn may_steer(view: &LiveView, viewer: &Viewer) -> Result<(), HubError> {
    if view.phase == Phase::Idle || view.user == viewer.user {
        return Ok(());
    }
    Err(HubError {
        status: axum::http::StatusCode::CONFLICT,
        said: format!("{} is practising here: wait for the end of that session", view.user),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::hub::Parts;

    #[test]
    fn a_setup_is_written_properly() {
        let given = Setup {
            scale: "am pent".into(),
            tuning: "Drop-D".into(),
            bpm: 90.0,
            ..Setup::of(&Config::default())
        };
        let setup = checked(given).unwrap();
        assert_eq!((setup.scale.as_str(), setup.tuning.as_str()), ("A minor pentatonic", "drop D"));
    }

    #[test]
    fn what_cannot_be_played_is_named() {
        let fine = Setup::of(&Config::default());
        for (setup, says) in [
            (Setup { scale: "H blorp".into(), ..fine.clone() }, "scale: "),
            (Setup { tuning: "drop x".into(), ..fine.clone() }, "drop x"),
            (Setup { capo: 13, ..fine.clone() }, "fret 13"),
            (Setup { bpm: 5.0, ..fine.clone() }, "tempo: 20 to 400"),
            (Setup { bpm: f64::NAN, ..fine.clone() }, "tempo"),
            (Setup { minutes: -1.0, ..fine.clone() }, "minutes"),
            (Setup { strictness: 1.1, ..fine.clone() }, "strictness: 0 to 1"),
            (Setup { metrics: vec![], ..fine.clone() }, "nothing is left"),
            (Setup { metrics: vec!["rhythm".into()], ..fine.clone() }, "pitch, scale, timing, noise"),
            (Setup { input: "x".repeat(300), ..fine.clone() }, "input: at most 200"),
            (Setup { input: "a\nb".into(), ..fine.clone() }, "input"),
        ] {
            let said = checked(setup).unwrap_err().said;
            assert!(said.contains(says), "{said}");
        }
        checked(fine).unwrap();
    }

    #[tokio::test]
    async fn a_browser_chooses_devices_and_no_files() {
        let mut config = Config::default();
        config.audio.input = "takes/mine.wav".into();
        let hub = Hub::new(Parts { config, store: Store::memory().await.unwrap(), link: None });
        let with = |input: &str| Setup { input: input.into(), ..Setup::of(hub.config()) };
        for file in ["/etc/passwd", "../x", "take.wav", "A.FLAC", "C:\\take"] {
            assert!(given(&hub, with(file)).unwrap_err().said.contains("is a file"), "{file}");
        }
        for fine in ["", "demo", "Scarlett 2i2 USB", "hw:1,0", "takes/mine.wav"] {
            given(&hub, with(fine)).unwrap();
        }
    }
}

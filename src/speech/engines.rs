//! Which engines are there, in the order in which they are tried, and why there is none.

use std::sync::Arc;

use super::Voice;
use super::openai::OpenAiVoice;
use super::program::{ESPEAK, Program, installed};
use crate::config::{Llm, Secret, Speech};
use crate::http::Origin;

/// OpenAI's own server.
const OPENAI_URL: &str = "https://api.openai.com/v1";

/// The configured engines in the order in which they are tried. `auto` stands for: the speech server if one is
/// configured, the command if one is configured, then espeak-ng if it is installed. What is not there is left
/// out; [`why_no_voice`] explains.
#[must_use]
pub fn engines(speech: &Speech, llm: &Llm, language: &str) -> Vec<Arc<dyn Voice>> {
    plan(speech, llm, language).into_iter().filter_map(Result::ok).collect()
}

/// Why the coach has no voice, and what to do about it; `None` when it has one.
#[must_use]
pub fn why_no_voice(speech: &Speech, llm: &Llm, language: &str) -> Option<String> {
    let plan = plan(speech, llm, language);
    if plan.iter().any(Result::is_ok) {
        return None;
    }
    let reasons: Vec<String> = plan.into_iter().filter_map(Result::err).collect();
    Some(if reasons.is_empty() {
        "speech is switched off (engine `none`)".to_owned()
    } else {
        reasons.join("; ")
    })
}

/// Every engine asked for: itself, or why it is not there.
fn plan(speech: &Speech, llm: &Llm, language: &str) -> Vec<Result<Arc<dyn Voice>, String>> {
    let mut plan = Vec::new();
    let names = if speech.engine.is_empty() { vec!["auto".to_owned()] } else { speech.engine.clone() };
    for name in &names {
        match name.trim().to_ascii_lowercase().as_str() {
            "none" => break,
            "openai" => plan.push(server(speech, llm).unwrap_or_else(|| {
                Err("openai: no server; set the speech base URL, or a key for OpenAI's".into())
            })),
            "command" => plan.push(command(speech).unwrap_or_else(|| {
                Err("command: none is set; give a program that reads text and writes 16-bit PCM".into())
            })),
            "espeak" | "espeak-ng" => plan.push(espeak(speech, language)),
            "auto" => {
                plan.extend(server(speech, llm));
                plan.extend(command(speech));
                plan.push(espeak(speech, language));
            }
            other => plan.push(Err(format!(
                "`{other}` is no speech engine; choose auto, openai, espeak-ng, command or none"
            ))),
        }
    }
    plan
}

/// `None` when no speech server is configured.
fn server(speech: &Speech, llm: &Llm) -> Option<Result<Arc<dyn Voice>, String>> {
    let (url, key) = address(speech, llm)?;
    Some(
        OpenAiVoice::new(&url, &key, speech)
            .map(|v| Arc::new(v) as Arc<dyn Voice>)
            .map_err(|e| format!("openai: {e}")),
    )
}

/// Base URL and key of the speech server. The language model's key is used only for its own origin.
fn address(speech: &Speech, llm: &Llm) -> Option<(String, Secret)> {
    let url = if speech.base_url.trim().is_empty() { OPENAI_URL } else { speech.base_url.as_str() };
    let llm_url = if llm.base_url.trim().is_empty() { OPENAI_URL } else { llm.base_url.as_str() };
    let key = if !speech.api_key.is_empty() {
        speech.api_key.clone()
    } else if llm.offline {
        // Who wants no model called wants nothing sent out on that key.
        Secret::default()
    } else if matches!((Origin::of(url), Origin::of(llm_url)), (Ok(a), Ok(b)) if a == b) {
        llm.api_key.clone()
    } else {
        Secret::default()
    };
    let configured = !speech.base_url.trim().is_empty() || !key.is_empty();
    configured.then(|| (url.to_owned(), key))
}

/// `None` when no command is set.
fn command(speech: &Speech) -> Option<Result<Arc<dyn Voice>, String>> {
    let program = speech.command.first().filter(|p| !p.trim().is_empty())?;
    Some(if !installed(program) {
        Err(format!("command: `{program}` is not installed or not found in PATH"))
    } else if !(8_000..=192_000).contains(&speech.command_sample_rate) {
        Err(format!("command: a rate of {} Hz; set the rate of its PCM", speech.command_sample_rate))
    } else {
        let voice = Program::command(&speech.command, speech.command_sample_rate, speech.first_byte_timeout);
        Ok(Arc::new(voice) as Arc<dyn Voice>)
    })
}

fn espeak(speech: &Speech, language: &str) -> Result<Arc<dyn Voice>, String> {
    if !installed(ESPEAK) {
        return Err("espeak-ng is not installed; for example `apt install espeak-ng`".into());
    }
    let voice = match speech.espeak_voice.trim() {
        "" => espeak_voice(language),
        voice => voice.to_owned(),
    };
    Ok(Arc::new(Program::espeak(&voice, speech.espeak_speed, speech.first_byte_timeout)))
}

/// espeak-ng's voice for a language given as a tag (`de`, `pt-BR`) or an English name (`German`).
fn espeak_voice(language: &str) -> String {
    const NAMES: [(&str, &str); 24] = [
        ("english", "en-us"),
        ("en", "en-us"),
        ("british english", "en-gb"),
        ("german", "de"),
        ("french", "fr-fr"),
        ("fr", "fr-fr"),
        ("spanish", "es"),
        ("italian", "it"),
        ("portuguese", "pt-br"),
        ("dutch", "nl"),
        ("swedish", "sv"),
        ("norwegian", "nb"),
        ("danish", "da"),
        ("finnish", "fi"),
        ("polish", "pl"),
        ("czech", "cs"),
        ("hungarian", "hu"),
        ("romanian", "ro"),
        ("greek", "el"),
        ("turkish", "tr"),
        ("russian", "ru"),
        ("ukrainian", "uk"),
        ("japanese", "ja"),
        ("chinese", "cmn"),
    ];
    let tag = language.trim().to_ascii_lowercase().replace('_', "-");
    if tag.is_empty() {
        return "en-us".into();
    }
    NAMES.iter().find(|(name, _)| *name == tag).map_or(tag, |(_, voice)| (*voice).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(voices: &[Arc<dyn Voice>]) -> Vec<&str> {
        voices.iter().map(|v| v.engine()).collect()
    }

    fn with(engine: &[&str]) -> Speech {
        Speech { engine: engine.iter().map(|e| (*e).to_owned()).collect(), ..Speech::default() }
    }

    #[test]
    fn auto_takes_what_is_configured_first() {
        let llm = Llm::default();
        let speech = Speech {
            base_url: "http://localhost:8880/v1".into(),
            command: vec!["sh".into()],
            ..with(&["auto"])
        };
        let voices = engines(&speech, &llm, "en");
        assert_eq!(names(&voices)[..2], ["openai", "command"]);
        let order =
            engines(&Speech { engine: vec!["command".into(), "openai".into()], ..speech }, &llm, "en");
        assert_eq!(names(&order), ["command", "openai"]);
    }

    #[test]
    fn no_voice_is_explained() {
        let llm = Llm::default();
        let why = |s: &Speech| why_no_voice(s, &llm, "en");
        assert!(engines(&with(&["none"]), &llm, "en").is_empty());
        assert!(why(&with(&["none"])).unwrap().contains("switched off"));
        assert!(why(&with(&["openai"])).unwrap().contains("base URL"));
        assert!(why(&with(&["festival"])).unwrap().contains("espeak-ng"));
        let missing = Speech { command: vec!["no-such-voice".into()], ..with(&["command", "openai"]) };
        let said = why(&missing).unwrap();
        assert!(said.contains("no-such-voice") && said.contains("openai"), "{said}");
        assert_eq!(why(&Speech { command: vec!["sh".into()], ..with(&["command"]) }), None);
    }

    #[test]
    fn the_models_key_speaks_only_to_its_own_host() {
        let llm = Llm { api_key: Secret::new("sk-llm"), ..Llm::default() };
        let at = |speech: &Speech, llm: &Llm| address(speech, llm).map(|(u, k)| (u, k.reveal().to_owned()));
        assert_eq!(at(&Speech::default(), &llm), Some((OPENAI_URL.into(), "sk-llm".into())));
        let local = Speech { base_url: "http://localhost:8880/v1".into(), ..Speech::default() };
        assert_eq!(at(&local, &llm).unwrap().1, "");
        let router = Llm { base_url: "https://openrouter.ai/api/v1".into(), ..llm.clone() };
        assert_eq!(at(&Speech::default(), &router), None, "a router's key is not for OpenAI");
        let offline = Llm { offline: true, ..llm.clone() };
        assert_eq!(at(&Speech::default(), &offline), None, "offline means offline");
        let own = Speech { api_key: Secret::new("sk-tts"), ..Speech::default() };
        assert_eq!(at(&own, &router).unwrap().1, "sk-tts");
    }

    #[test]
    fn languages_by_tag_or_name() {
        let cases = [
            ("en", "en-us"),
            ("English", "en-us"),
            ("German", "de"),
            ("de", "de"),
            ("pt_BR", "pt-br"),
            ("", "en-us"),
        ];
        for (language, voice) in cases {
            assert_eq!(espeak_voice(language), voice);
        }
    }
}

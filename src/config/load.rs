//! From texts to [`Config`]: pure, so that every rule of precedence can be tested without touching a process.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::settings::{self, Kind, SETTINGS, Setting};
use super::{Config, parse_duration};

/// Where settings come from, each already read. Later ones win: file, `.env`, environment, flags.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Config file: path (for messages) and text.
    pub file: Option<(PathBuf, String)>,
    /// Variables of the `.env` file.
    pub dotenv: Vec<(String, String)>,
    /// Variables of the environment.
    pub environment: Vec<(String, String)>,
    /// Flags as (key, text).
    pub flags: Vec<(&'static str, String)>,
}

/// What is wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is no TOML.
    #[error("{}: not a valid config file: {message}", path.display())]
    Syntax {
        /// Config file.
        path: PathBuf,
        /// Where and why.
        message: String,
    },
    /// A key nobody knows.
    #[error("{origin}: unknown setting `{name}`{}", meant(.nearest.as_deref()))]
    Unknown {
        /// File, `.env` or environment.
        origin: String,
        /// As written.
        name: String,
        /// Nearest known name.
        nearest: Option<String>,
    },
    /// A value that cannot be.
    #[error("{name}: {message}")]
    Value {
        /// Key or variable.
        name: String,
        /// What is wrong and what would be right; never the value of a secret.
        message: String,
    },
}

fn meant(nearest: Option<&str>) -> String {
    nearest.map_or_else(|| "; see the settings in the README".into(), |n| format!("; did you mean `{n}`?"))
}

/// Reads all sources into one [`Config`].
///
/// # Errors
/// A syntax error, an unknown name (with the nearest known one) or an impossible value, naming where it stands.
pub fn load(sources: &Sources) -> Result<Config, ConfigError> {
    let mut merged = Table::new();
    if let Some((path, text)) = &sources.file {
        let table: Table = text.parse().map_err(|e: toml::de::Error| ConfigError::Syntax {
            path: path.clone(),
            message: one_line(text, &e),
        })?;
        known_keys(&table, "", path)?;
        known_values(&table, path)?;
        merged = table;
    }
    for (origin, variables) in [(".env", &sources.dotenv), ("environment", &sources.environment)] {
        for (name, text) in variables {
            if let Some(setting) = SETTINGS.iter().find(|s| s.env == name) {
                // An empty variable is an unset one: the shell's usual way to switch a setting off.
                if !text.trim().is_empty() {
                    put(&mut merged, setting, setting.env, text)?;
                }
            } else if name.starts_with("FRETCOACH_") && !settings::OTHER_VARIABLES.contains(&name.as_str()) {
                let known = SETTINGS.iter().map(|s| s.env).chain(settings::OTHER_VARIABLES.iter().copied());
                return Err(ConfigError::Unknown {
                    origin: origin.into(),
                    name: name.clone(),
                    nearest: settings::nearest(name, known).map(Into::into),
                });
            }
        }
    }
    for (key, text) in &sources.flags {
        let setting = settings::by_key(key).expect("every flag is made from a key of the table");
        put(&mut merged, setting, &format!("--{}", setting.flag()), text)?;
    }
    let given = SETTINGS.iter().map(|s| s.key).filter(|key| is_set(&merged, key)).collect();
    let mut config: Config =
        Value::Table(merged).try_into().map_err(|e: toml::de::Error| ConfigError::Value {
            name: sources.file.as_ref().map_or_else(|| "settings".into(), |(p, _)| p.display().to_string()),
            message: e.message().trim().to_owned(),
        })?;
    config.given = given;
    validate(&config)?;
    Ok(config)
}

/// True when a dotted key stands in the table.
fn is_set(table: &Table, key: &str) -> bool {
    match key.split_once('.') {
        Some((section, name)) => table.get(section).and_then(|s| s.get(name)).is_some(),
        None => table.contains_key(key),
    }
}

/// Where and why a file is no TOML, in one line: the parser's own message draws the place over several.
fn one_line(text: &str, error: &toml::de::Error) -> String {
    let why = error.message().trim().replace('\n', ", ");
    match error.span() {
        Some(span) => {
            let line = text.get(..span.start).map_or(1, |before| before.matches('\n').count() + 1);
            format!("{why} (line {line})")
        }
        None => why,
    }
}

/// Each value of the file must be what its setting is; looked at one by one, so that the error names the setting.
fn known_values(table: &Table, path: &Path) -> Result<(), ConfigError> {
    for setting in SETTINGS {
        let value = match setting.key.split_once('.') {
            Some((section, name)) => table.get(section).and_then(|inner| inner.get(name)),
            None => table.get(setting.key),
        };
        if let Some(value) = value {
            fits(setting, value.clone()).map_err(|message| ConfigError::Value {
                name: format!("{}: {}", path.display(), setting.key),
                message,
            })?;
        }
    }
    Ok(())
}

/// Whether a setting can hold a value, and if not, why; never shows a secret.
fn fits(setting: &Setting, value: Value) -> Result<(), String> {
    let only = |name: &str, value| Table::from_iter([(name.to_owned(), value)]);
    let alone = match setting.key.split_once('.') {
        Some((section, name)) => only(section, Value::Table(only(name, value.clone()))),
        None => only(setting.key, value.clone()),
    };
    let Err(error) = Value::Table(alone).try_into::<Config>() else { return Ok(()) };
    let wanted = match setting.kind {
        Kind::Text if value.is_str() => return Err(error.message().trim().to_owned()),
        Kind::Text | Kind::Secret => "a text in quotes",
        // The number itself was read: it is below zero or too large for its field.
        Kind::Integer if value.is_integer() => return Err(format!("{value} is out of range")),
        Kind::Integer => "a whole number",
        Kind::Number => "a number",
        Kind::Flag => "true or false",
        Kind::Duration if value.is_str() => return Err(error.message().trim().to_owned()),
        Kind::Duration => "a time in quotes, such as \"30s\"",
        Kind::List | Kind::Words => "a list of texts, such as [\"a\", \"b\"]",
        Kind::Models => "a list such as [{ model = \"a\", base_url = \"http://localhost:1/v1\" }]",
    };
    Err(format!("it must be {wanted}"))
}

fn known_keys(table: &Table, prefix: &str, path: &Path) -> Result<(), ConfigError> {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        let section = SETTINGS.iter().any(|s| s.key.starts_with(&format!("{key}.")));
        match value {
            Value::Table(inner) if section => known_keys(inner, &key, path)?,
            _ if section => {
                return Err(ConfigError::Value {
                    name: format!("{}: {key}", path.display()),
                    message: format!("it must be a section: write [{key}], and its settings below"),
                });
            }
            _ if settings::by_key(&key).is_some() => {}
            _ => {
                return Err(ConfigError::Unknown {
                    origin: path.display().to_string(),
                    nearest: settings::nearest(&key, SETTINGS.iter().map(|s| s.key)).map(Into::into),
                    name: key,
                });
            }
        }
    }
    Ok(())
}

fn put(merged: &mut Table, setting: &Setting, name: &str, text: &str) -> Result<(), ConfigError> {
    let wrong = |message: String| ConfigError::Value { name: name.to_owned(), message };
    let text = text.trim();
    let value = match setting.kind {
        Kind::Text | Kind::Secret => Value::String(text.into()),
        Kind::Integer => {
            Value::Integer(text.parse().map_err(|_| wrong(format!("`{text}` is not a whole number")))?)
        }
        Kind::Number => Value::Float(
            text.parse::<f64>()
                .ok()
                .filter(|v| v.is_finite())
                .ok_or_else(|| wrong(format!("`{text}` is not a number")))?,
        ),
        Kind::Flag => Value::Boolean(match text.to_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => true,
            "false" | "0" | "no" | "off" => false,
            _ => return Err(wrong(format!("`{text}` is neither true nor false"))),
        }),
        Kind::Duration => {
            parse_duration(text).map_err(wrong)?;
            Value::String(text.into())
        }
        Kind::List => Value::Array(split(text, ',')),
        Kind::Words => Value::Array(split(text, ' ')),
        Kind::Models => Value::Array(
            text.split(',')
                .map(str::trim)
                .filter(|m| !m.is_empty())
                .map(|m| {
                    let (model, url) = m.split_once('@').unwrap_or((m, ""));
                    let mut entry = Table::new();
                    entry.insert("model".into(), Value::String(model.trim().into()));
                    entry.insert("base_url".into(), Value::String(url.trim().into()));
                    Value::Table(entry)
                })
                .collect(),
        ),
    };
    fits(setting, value.clone()).map_err(wrong)?;
    let mut table = merged;
    let mut parts = setting.key.split('.').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            table.insert(part.into(), value);
            break;
        }
        let inner = table.entry(part).or_insert_with(|| Value::Table(Table::new()));
        table = inner.as_table_mut().ok_or_else(|| wrong(format!("`{part}` must be a section")))?;
    }
    Ok(())
}

fn split(text: &str, by: char) -> Vec<Value> {
    text.split(by).map(str::trim).filter(|t| !t.is_empty()).map(|t| Value::String(t.into())).collect()
}

pub(super) fn validate(c: &Config) -> Result<(), ConfigError> {
    let range = |key: &str, value: f64, low: f64, high: f64| {
        if (low..=high).contains(&value) {
            Ok(())
        } else {
            Err(ConfigError::Value {
                name: key.into(),
                message: format!("{value} is out of range: {low} to {high}"),
            })
        }
    };
    let one_of = |key: &str, value: &str, allowed: &[&str]| {
        if allowed.contains(&value) {
            Ok(())
        } else {
            Err(ConfigError::Value {
                name: key.into(),
                message: format!("`{value}` is not known: choose {}", allowed.join(", ")),
            })
        }
    };
    if c.practice.bpm != 0.0 {
        range("practice.bpm", c.practice.bpm, 20.0, 400.0)?;
    }
    range("practice.sensitivity", c.practice.sensitivity, 0.0, 1.0)?;
    range("practice.strictness", c.practice.strictness, 0.0, 1.0)?;
    range("practice.a4", c.practice.a4, 380.0, 500.0)?;
    range("practice.minutes", c.practice.minutes, 0.0, 24.0 * 60.0)?;
    range("practice.capo", f64::from(c.practice.capo), 0.0, 12.0)?;
    range("practice.coach_every (seconds)", c.practice.coach_every.as_secs_f64(), 5.0, 600.0)?;
    range("audio.volume", f64::from(c.audio.volume), 0.0, 2.0)?;
    range("practice.count_in", f64::from(c.practice.count_in), 0.0, 8.0)?;
    range("practice.click_accent", f64::from(c.practice.click_accent), 0.0, 16.0)?;
    range("practice.click_subdivision", f64::from(c.practice.click_subdivision), 1.0, 6.0)?;
    range("practice.click_swing", c.practice.click_swing, 0.5, 0.75)?;
    range("audio.click_volume", f64::from(c.audio.click_volume), 0.0, 1.0)?;
    range("audio.monitor", f64::from(c.audio.monitor), 0.0, 1.0)?;
    range("audio.period", f64::from(c.audio.period), 64.0, 8192.0)?;
    if c.audio.output_period != 0 {
        range("audio.output_period", f64::from(c.audio.output_period), 64.0, 8192.0)?;
    }
    if c.audio.sample_rate != 0 {
        range("audio.sample_rate", f64::from(c.audio.sample_rate), 8_000.0, 384_000.0)?;
    }
    range("speech.speed", f64::from(c.speech.speed), 0.25, 4.0)?;
    range("speech.sample_rate", f64::from(c.speech.sample_rate), 8_000.0, 96_000.0)?;
    range("speech.command_sample_rate", f64::from(c.speech.command_sample_rate), 8_000.0, 96_000.0)?;
    range("speech.espeak_speed", f64::from(c.speech.espeak_speed), 80.0, 450.0)?;
    range("llm.max_tokens", f64::from(c.llm.max_tokens), 16.0, 100_000.0)?;
    one_of("env", &c.env, &["production", "development"])?;
    one_of("ambient.kind", &c.ambient.kind, &["wled", "http"])?;
    one_of("practice.start", &c.practice.start, &["now", "playing", "hub"])?;
    one_of("practice.mode", &c.practice.mode, &["manual", "ai"])?;
    one_of("audio.host", &c.audio.host, &["auto", "pulseaudio", "alsa"])?;
    one_of("audio.detector", &c.audio.detector, &["fretcoach", "mcleod"])?;
    one_of("telemetry.trace_layout", &c.telemetry.trace_layout, &["operation", "session"])?;
    for m in &c.practice.metrics {
        one_of("practice.metrics", m, &["pitch", "scale", "timing", "noise"])?;
    }
    if c.practice.metrics.is_empty() {
        return Err(ConfigError::Value {
            name: "practice.metrics".into(),
            message: "nothing is left to score: name at least one of pitch, scale, timing, noise".into(),
        });
    }
    for e in &c.speech.engine {
        one_of("speech.engine", e, &["auto", "openai", "espeak-ng", "command", "none"])?;
    }
    for (key, url) in [
        ("llm.base_url", &c.llm.base_url),
        ("speech.base_url", &c.speech.base_url),
        ("telemetry.otlp_endpoint", &c.telemetry.otlp_endpoint),
        ("ambient.url", &c.ambient.url),
    ] {
        if !url.is_empty() && !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(ConfigError::Value {
                name: key.into(),
                message: format!(
                    "`{}` is not a URL: it starts with http:// or https://",
                    crate::http::shown(url)
                ),
            });
        }
    }
    if c.user.trim().is_empty() || c.user.len() > 64 || c.user.chars().any(char::is_control) {
        return Err(ConfigError::Value {
            name: "user".into(),
            message: "a player's name has 1 to 64 printable characters".into(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
    }

    #[test]
    fn later_sources_win() {
        let sources = Sources {
            file: Some((
                "c.toml".into(),
                "[practice]\nbpm = 60.0\nscale = \"C major\"\nstrictness = 0.1".into(),
            )),
            dotenv: env(&[("FRETCOACH_BPM", "70"), ("FRETCOACH_STRICTNESS", "0.2")]),
            environment: env(&[("FRETCOACH_BPM", "80")]),
            flags: vec![("practice.bpm", "90".into())],
        };
        let c = load(&sources).unwrap();
        assert_eq!((c.practice.bpm, c.practice.strictness), (90.0, 0.2));
        assert_eq!(c.practice.scale, "C major");
        assert_eq!(
            c.given,
            ["practice.scale", "practice.bpm", "practice.strictness"],
            "and are known as given"
        );
    }

    #[test]
    fn unknown_names_point_at_the_nearest_known_one() {
        let file =
            Sources { file: Some(("c.toml".into(), "[practice]\nbmp = 60".into())), ..Sources::default() };
        assert_eq!(
            load(&file).unwrap_err().to_string(),
            "c.toml: unknown setting `practice.bmp`; did you mean `practice.bpm`?"
        );
        let var = Sources { environment: env(&[("FRETCOACH_SENSITIVTY", "1")]), ..Sources::default() };
        assert_eq!(
            load(&var).unwrap_err().to_string(),
            "environment: unknown setting `FRETCOACH_SENSITIVTY`; did you mean `FRETCOACH_SENSITIVITY`?"
        );
        let foreign = Sources { environment: env(&[("PATH", "/bin"), ("OTHER", "x")]), ..Sources::default() };
        assert!(load(&foreign).is_ok());
    }

    #[test]
    fn impossible_values_are_named() {
        for (name, value, says) in [
            ("FRETCOACH_BPM", "1000", "practice.bpm: 1000 is out of range: 20 to 400"),
            ("FRETCOACH_BPM", "fast", "FRETCOACH_BPM: `fast` is not a number"),
            ("FRETCOACH_BPM", "nan", "FRETCOACH_BPM: `nan` is not a number"),
            (
                "FRETCOACH_COACH_EVERY",
                "soon",
                "FRETCOACH_COACH_EVERY: `soon` is not a duration: write for example 30s, 500ms or 2m",
            ),
            (
                "FRETCOACH_HUB_BIND",
                "studio",
                "FRETCOACH_HUB_BIND: `studio` is not an address: write 127.0.0.1 (this machine alone), 0.0.0.0 (every network) or one of the machine's own",
            ),
            ("FRETCOACH_DIRECT", "maybe", "FRETCOACH_DIRECT: `maybe` is neither true nor false"),
            (
                "OPENAI_BASE_URL",
                "localhost:1",
                "llm.base_url: `localhost:1` is not a URL: it starts with http:// or https://",
            ),
        ] {
            let sources = Sources { environment: env(&[(name, value)]), ..Sources::default() };
            assert_eq!(load(&sources).unwrap_err().to_string(), says);
        }
    }

    #[test]
    fn a_wrong_value_in_the_file_is_named_in_one_line() {
        for (text, says) in [
            ("[practice]\nbpm = \"fast\"", "c.toml: practice.bpm: it must be a number"),
            ("[practice]\ncapo = -1", "c.toml: practice.capo: -1 is out of range"),
            ("[llm]\napi_key = 12345", "c.toml: llm.api_key: it must be a text in quotes"),
            (
                "[practice]\ncoach_every = \"soon\"",
                "c.toml: practice.coach_every: `soon` is not a duration: write for example 30s, 500ms or 2m",
            ),
            (
                "practice = 3",
                "c.toml: practice: it must be a section: write [practice], and its settings below",
            ),
            (
                "user = \"a\"\n[practice\n",
                "c.toml: not a valid config file: unclosed table, expected `]` (line 2)",
            ),
        ] {
            let sources = Sources { file: Some(("c.toml".into(), text.into())), ..Sources::default() };
            assert_eq!(load(&sources).unwrap_err().to_string(), says);
        }
        let flag = Sources { flags: vec![("practice.capo", "300".into())], ..Sources::default() };
        assert_eq!(load(&flag).unwrap_err().to_string(), "--capo: 300 is out of range");
        let whole = Sources {
            file: Some((
                "c.toml".into(),
                "[practice]\nbpm = 90\n[llm]\nfallbacks = [{ model = \"a\" }]".into(),
            )),
            ..Sources::default()
        };
        assert_eq!(load(&whole).unwrap().practice.bpm, 90.0);
    }

    #[test]
    fn fallbacks_and_lists_are_read_from_variables() {
        let sources = Sources {
            environment: env(&[
                ("FRETCOACH_FALLBACKS", "a, b@http://localhost:1/v1"),
                ("FRETCOACH_METRICS", "pitch,timing"),
                ("FRETCOACH_SPEECH_COMMAND", "piper --model x"),
                ("FRETCOACH_COACH_EVERY", "10"),
            ]),
            ..Sources::default()
        };
        let c = load(&sources).unwrap();
        assert_eq!(c.llm.fallbacks.len(), 2);
        assert_eq!(c.llm.fallbacks[1].base_url, "http://localhost:1/v1");
        assert_eq!(c.practice.metrics, ["pitch", "timing"]);
        assert_eq!(c.speech.command, ["piper", "--model", "x"]);
        assert_eq!(c.practice.coach_every.as_secs(), 10);
    }

    #[test]
    fn every_key_of_the_table_exists_and_every_default_is_valid() {
        let shown = toml::Value::try_from(Config::default()).unwrap();
        for s in SETTINGS.iter().filter(|s| s.kind != Kind::Secret) {
            let found = s.key.split('.').try_fold(&shown, |v, k| v.get(k));
            assert!(found.is_some(), "{} is not a field of Config", s.key);
        }
        validate(&Config::default()).unwrap();
    }

    #[test]
    fn a_secret_is_never_shown() {
        let sources =
            Sources { environment: env(&[("OPENAI_API_KEY", "sk-very-secret")]), ..Sources::default() };
        let c = load(&sources).unwrap();
        assert_eq!(c.llm.api_key.reveal(), "sk-very-secret");
        let shown = format!("{c:?}{}", serde_json::to_string(&c).unwrap());
        assert!(!shown.contains("very-secret"));
    }

    #[test]
    fn a_password_in_an_address_is_not_stored_and_is_known_as_a_secret() {
        let sources = Sources {
            environment: env(&[
                ("OPENAI_BASE_URL", "http://me:hunter22hunter@127.0.0.1:1/v1?key=abcdefgh1"),
                ("FRETCOACH_FALLBACKS", "m@http://you:hunter33hunter@127.0.0.1:2/v1"),
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://o:hunter44hunter@127.0.0.1:3"),
                ("FRETCOACH_SPEECH_COMMAND", "say --key hunter55hunter"),
            ]),
            ..Sources::default()
        };
        let c = load(&sources).unwrap();
        let stored = serde_json::to_string(&c).unwrap();
        assert!(!stored.contains("hunter") && !stored.contains("abcdefgh1"), "{stored}");
        assert!(stored.contains("http://127.0.0.1:1/v1") && stored.contains("say"));
        let secrets: Vec<_> = c.secrets().iter().map(|s| s.reveal().to_owned()).collect();
        for secret in ["hunter22hunter", "abcdefgh1", "hunter33hunter", "hunter44hunter"] {
            assert!(secrets.iter().any(|s| s == secret), "{secret} is not known as a secret");
        }
    }
}

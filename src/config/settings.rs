//! The table of all settings: key in the config file, environment variable, kind of value, meaning.
//!
//! Loading, the "did you mean" of errors and the test of `.env.example` all read this one table.

/// How the text of an environment variable or flag becomes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As it is.
    Text,
    /// As it is, never shown.
    Secret,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// `true`, `false`, `1`, `0`, `yes`, `no`, `on`, `off`.
    Flag,
    /// `30s`, `500ms`, `2m` or seconds.
    Duration,
    /// Comma-separated.
    List,
    /// A command line, split at blanks.
    Words,
    /// Comma-separated `model` or `model@base-url`.
    Models,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Dotted key in the config file.
    pub key: &'static str,
    /// Environment variable.
    pub env: &'static str,
    /// Kind of value.
    pub kind: Kind,
    /// What it means, one line.
    pub doc: &'static str,
}

impl Setting {
    /// Its flag on the command line, without the dashes: the last part of the key.
    #[must_use]
    pub fn flag(&self) -> String {
        match self.key {
            "speech.engine" => "speech".into(),
            key => key.rsplit('.').next().unwrap_or(key).replace('_', "-"),
        }
    }
}

const fn s(key: &'static str, env: &'static str, kind: Kind, doc: &'static str) -> Setting {
    Setting { key, env, kind, doc }
}

use Kind::{Duration, Flag, Integer, List, Models, Number, Secret, Text, Words};

/// Every setting.
pub const SETTINGS: &[Setting] = &[
    s("data_dir", "FRETCOACH_DATA_DIR", Text, "folder of the database, the log and the config file"),
    s("user", "FRETCOACH_USER", Text, "name of the player"),
    s(
        "deployment",
        "FRETCOACH_DEPLOYMENT",
        Text,
        "fretcoach-studio (desktop) or fretcoach-portable (headless)",
    ),
    s("env", "FRETCOACH_ENV", Text, "production or development"),
    s(
        "database_url",
        "DATABASE_URL",
        Secret,
        "postgres://user:password@host:port/database to copy everything to, for several devices or a school",
    ),
    s(
        "hub.bind",
        "FRETCOACH_HUB_BIND",
        Text,
        "address at which the Hub is served; from any but this machine's own it asks for a token",
    ),
    s("hub.port", "FRETCOACH_HUB_PORT", Integer, "port of the Hub; 0: a free one"),
    s(
        "hub.hosts",
        "FRETCOACH_HUB_HOSTS",
        List,
        "names under which browsers elsewhere reach the Hub, comma-separated, for example studio.local",
    ),
    s(
        "hub.proxy",
        "FRETCOACH_HUB_PROXY",
        Flag,
        "the Hub stands behind a reverse proxy: a token is asked of everyone, and cookies are for HTTPS alone",
    ),
    s("practice.scale", "FRETCOACH_SCALE", Text, "scale to practise, for example A minor pentatonic"),
    s(
        "practice.bpm",
        "FRETCOACH_BPM",
        Number,
        "tempo in beats per minute, 20 to 400; 0: taken from the playing",
    ),
    s("practice.mode", "FRETCOACH_MODE", Text, "manual or ai: a tag of every trace"),
    s(
        "practice.coach_every",
        "FRETCOACH_COACH_EVERY",
        Duration,
        "time between two pieces of advice, 5s to 10m",
    ),
    s(
        "practice.start",
        "FRETCOACH_START",
        Text,
        "when a session begins: now, playing (when somebody plays) or hub (when asked to there)",
    ),
    s("practice.record", "FRETCOACH_RECORD", Flag, "keep the sound of sessions, as FLAC in the data folder"),
    s("practice.minutes", "FRETCOACH_MINUTES", Number, "length of a session in minutes; 0: until you stop"),
    s("practice.metrics", "FRETCOACH_METRICS", List, "what is scored: pitch, scale, timing, noise"),
    s("practice.sensitivity", "FRETCOACH_SENSITIVITY", Number, "0 to 1: how soft a note still counts"),
    s("practice.strictness", "FRETCOACH_STRICTNESS", Number, "0 to 1: how hard an error weighs"),
    s("practice.a4", "FRETCOACH_A4", Number, "reference pitch of A4 in Hz, 380 to 500"),
    s(
        "practice.tuning",
        "FRETCOACH_TUNING",
        Text,
        "tuning by name (standard, drop d, dadgad) or as notes (E2 A2 D3 G3 B3 E4)",
    ),
    s("practice.capo", "FRETCOACH_CAPO", Integer, "fret of the capo; 0: none"),
    s(
        "practice.language",
        "FRETCOACH_LANGUAGE",
        Text,
        "language of the advice (the offline coach speaks English)",
    ),
    s(
        "practice.whole_scale",
        "FRETCOACH_WHOLE_SCALE",
        Flag,
        "the exercise asks for the whole scale: coverage counts",
    ),
    s("practice.metronome", "FRETCOACH_METRONOME", Flag, "click the beat; needs a tempo"),
    s("practice.count_in", "FRETCOACH_COUNT_IN", Integer, "bars that the metronome counts in, not judged"),
    s(
        "practice.click_accent",
        "FRETCOACH_CLICK_ACCENT",
        Integer,
        "beats a bar, the first of them accented; 0: no accents",
    ),
    s("practice.click_subdivision", "FRETCOACH_CLICK_SUBDIVISION", Integer, "clicks a beat, 1 to 6"),
    s(
        "practice.click_swing",
        "FRETCOACH_CLICK_SWING",
        Number,
        "where the second of a pair of clicks falls: 0.5 straight, 0.667 as triplets, 0.75 dotted",
    ),
    s(
        "audio.input",
        "FRETCOACH_INPUT",
        Text,
        "sound card by name or number, a WAV or FLAC file, or demo; empty: first sound card, else demo",
    ),
    s(
        "audio.channel",
        "FRETCOACH_CHANNEL",
        Integer,
        "channel with the guitar, from 1; 0: all channels mixed",
    ),
    s("audio.host", "FRETCOACH_AUDIO_HOST", Text, "auto, pulseaudio or alsa"),
    s("audio.sample_rate", "FRETCOACH_SAMPLE_RATE", Integer, "capture rate in Hz; 0: 48000 where offered"),
    s("audio.period", "FRETCOACH_PERIOD", Integer, "capture period in frames"),
    s(
        "audio.direct",
        "FRETCOACH_DIRECT",
        Flag,
        "the guitar comes by cable: no echo guard, clicks are not looked for",
    ),
    s("audio.detector", "FRETCOACH_DETECTOR", Text, "pitch detector: fretcoach, or mcleod as reference"),
    s("audio.fast", "FRETCOACH_FAST", Flag, "play a file as fast as possible instead of in real time"),
    s(
        "audio.output",
        "FRETCOACH_OUTPUT",
        Text,
        "output device by name or number; empty: the default one; none: silence",
    ),
    s(
        "audio.output_period",
        "FRETCOACH_OUTPUT_PERIOD",
        Integer,
        "first playback period in frames; 0: chosen",
    ),
    s("audio.volume", "FRETCOACH_VOLUME", Number, "volume of the coach, 0 to 2"),
    s("audio.click_volume", "FRETCOACH_CLICK_VOLUME", Number, "volume of the metronome, 0 to 1"),
    s("audio.monitor", "FRETCOACH_MONITOR", Number, "how loud the virtual guitarist is heard, 0 to 1"),
    s("audio.demo_seed", "FRETCOACH_DEMO_SEED", Integer, "seed of the virtual guitarist's mistakes"),
    s(
        "audio.demo_mistakes",
        "FRETCOACH_DEMO_MISTAKES",
        Text,
        "the virtual guitarist's mistakes: none, or any of timing=14,drift=2,wrong=0.06,detune=6,offset=-15,noise=0.15,hum=0.1,hiss=0.1,ringing=0.3",
    ),
    s(
        "llm.base_url",
        "OPENAI_BASE_URL",
        Text,
        "OpenAI-compatible server; empty: api.openai.com when there is a key",
    ),
    s(
        "llm.api_key",
        "OPENAI_API_KEY",
        Secret,
        "key of the language model; without key and base URL the offline coach speaks",
    ),
    s("llm.model", "FRETCOACH_MODEL", Text, "language model"),
    s(
        "llm.fallbacks",
        "FRETCOACH_FALLBACKS",
        Models,
        "models tried next on rate limit, time-out or error: model or model@base-url, comma-separated",
    ),
    s(
        "llm.first_token_timeout",
        "FRETCOACH_FIRST_TOKEN_TIMEOUT",
        Duration,
        "longest wait for a model's first token",
    ),
    s("llm.timeout", "FRETCOACH_LLM_TIMEOUT", Duration, "longest time for a model's whole answer"),
    s("llm.temperature", "FRETCOACH_TEMPERATURE", Number, "sampling temperature; negative: the server's own"),
    s("llm.max_tokens", "FRETCOACH_MAX_TOKENS", Integer, "most tokens of an answer"),
    s(
        "llm.prices",
        "FRETCOACH_PRICES",
        List,
        "prices in dollars per million tokens: model=input/output, comma-separated",
    ),
    s("llm.offline", "FRETCOACH_OFFLINE", Flag, "never call a model, even with a key"),
    s(
        "speech.engine",
        "FRETCOACH_SPEECH",
        List,
        "speech engines in order: auto, openai, espeak-ng, command, none",
    ),
    s(
        "speech.base_url",
        "FRETCOACH_SPEECH_BASE_URL",
        Text,
        "OpenAI-compatible speech server, for example http://localhost:8880/v1",
    ),
    s(
        "speech.api_key",
        "FRETCOACH_SPEECH_API_KEY",
        Secret,
        "key of the speech server; empty: the model's, if it is the same host",
    ),
    s("speech.model", "FRETCOACH_SPEECH_MODEL", Text, "speech model"),
    s("speech.voice", "FRETCOACH_SPEECH_VOICE", Text, "voice of the speech server"),
    s("speech.speed", "FRETCOACH_SPEECH_SPEED", Number, "speed of the speech server, 0.25 to 4"),
    s(
        "speech.instructions",
        "FRETCOACH_SPEECH_INSTRUCTIONS",
        Text,
        "how to speak, for models that take instructions",
    ),
    s(
        "speech.sample_rate",
        "FRETCOACH_SPEECH_SAMPLE_RATE",
        Integer,
        "rate of the speech server's raw PCM in Hz",
    ),
    s(
        "speech.first_byte_timeout",
        "FRETCOACH_SPEECH_TIMEOUT",
        Duration,
        "longest wait for the first sound of an engine",
    ),
    s("speech.espeak_voice", "FRETCOACH_ESPEAK_VOICE", Text, "voice of espeak-ng; empty: after the language"),
    s("speech.espeak_speed", "FRETCOACH_ESPEAK_SPEED", Integer, "speed of espeak-ng in words per minute"),
    s(
        "speech.command",
        "FRETCOACH_SPEECH_COMMAND",
        Words,
        "command that reads text and writes signed 16-bit mono PCM",
    ),
    s(
        "speech.command_sample_rate",
        "FRETCOACH_SPEECH_COMMAND_RATE",
        Integer,
        "rate of that command's PCM in Hz",
    ),
    s(
        "speech.wait_for_pause",
        "FRETCOACH_WAIT_FOR_PAUSE",
        Duration,
        "longest wait for a pause in the playing before the coach speaks",
    ),
    s(
        "telemetry.otlp_endpoint",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        Text,
        "OTLP/HTTP collector to deliver traces to, for example http://localhost:4318",
    ),
    s(
        "telemetry.otlp_headers",
        "OTEL_EXPORTER_OTLP_HEADERS",
        Secret,
        "headers for that collector: key=value,key=value",
    ),
    s(
        "telemetry.trace_layout",
        "FRETCOACH_TRACE_LAYOUT",
        Text,
        "operation: a trace for each operation; session: all under one session trace",
    ),
    s(
        "telemetry.capture_content",
        "FRETCOACH_CAPTURE_CONTENT",
        Flag,
        "false: no prompts, answers and texts in traces",
    ),
    s(
        "telemetry.queue",
        "FRETCOACH_TRACE_QUEUE",
        Integer,
        "spans that may wait for the store; more are dropped and counted",
    ),
    s(
        "telemetry.flush_timeout",
        "FRETCOACH_FLUSH_TIMEOUT",
        Duration,
        "longest time that the end waits for delivery",
    ),
    s(
        "ambient.url",
        "FRETCOACH_AMBIENT_URL",
        Text,
        "a lamp that shows the score: address of a WLED device, or any URL; empty: none",
    ),
    s("ambient.kind", "FRETCOACH_AMBIENT_KIND", Text, "wled, or http: a request of your own making"),
    s("ambient.method", "FRETCOACH_AMBIENT_METHOD", Text, "HTTP method of that request"),
    s(
        "ambient.body",
        "FRETCOACH_AMBIENT_BODY",
        Secret,
        "its body; {{r}}, {{g}}, {{b}}, {{hex}} and {{score}} are filled in, as in the URL",
    ),
    s(
        "ambient.headers",
        "FRETCOACH_AMBIENT_HEADERS",
        Secret,
        "its headers: name=value,name=value (keys stand there)",
    ),
];

/// Variables of the same prefix that are not settings of the file: read where they are used.
pub const OTHER_VARIABLES: &[&str] = &["FRETCOACH_CONFIG", "FRETCOACH_LOG"];

/// The setting with this dotted key.
#[must_use]
pub fn by_key(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|s| s.key == key)
}

/// The known name nearest to `name`, if any is near enough to be meant.
#[must_use]
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Below this Jaro-Winkler similarity two names have little in common.
    const NEAR: f64 = 0.8;
    known
        .into_iter()
        .map(|k| (strsim::jaro_winkler(&name.to_lowercase(), &k.to_lowercase()), k))
        .filter(|(similarity, _)| *similarity >= NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| k)
}

/// The table of the README: every setting with its variable, default and meaning.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from("| key | variable | default | meaning |\n|---|---|---|---|\n");
    for s in SETTINGS {
        let default = match default_of(s) {
            d if d.is_empty() => String::new(),
            d => format!("`{d}`"),
        };
        text.push_str(&format!("| `{}` | `{}` | {default} | {} |\n", s.key, s.env, s.doc));
    }
    text
}

/// The default of a setting, as a variable would be written.
fn default_of(setting: &Setting) -> String {
    let defaults = toml::Value::try_from(super::Config::default()).expect("the defaults are plain values");
    match setting.key.split('.').try_fold(&defaults, |v, k| v.get(k)) {
        Some(toml::Value::String(t)) => t.clone(),
        Some(toml::Value::Array(items)) => {
            items.iter().filter_map(|i| i.as_str()).collect::<Vec<_>>().join(",")
        }
        // f32 settings widen to f64: show the short form.
        Some(toml::Value::Float(f)) => format!("{}", (f * 1e6).round() / 1e6),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

/// The text of `.env.example`: every variable with its meaning and default, commented out.
#[must_use]
pub fn env_example() -> String {
    let mut text = String::from(
        "# Every setting of FretCoach as an environment variable, with its default.\n\
         # Copy to .env and uncomment what you change. The same settings can stand in config.toml (key in brackets).\n\
         # Rank, rising: built-in, config.toml, .env, environment, flags.\n",
    );
    let mut section = "";
    for s in SETTINGS {
        let group = s.key.split_once('.').map_or("general", |(g, _)| g);
        if group != section {
            section = group;
            text.push_str(&format!("\n## {group}\n"));
        }
        let shown = default_of(s);
        text.push_str(&format!("# {} [{}]\n#{}={shown}\n", s.doc, s.key, s.env));
    }
    text.push_str(
        "\n## not settings of the file\n\
         # another config file than config.toml in the data folder\n#FRETCOACH_CONFIG=\n\
         # what the log file holds: error, warn, info, debug or a tracing filter\n#FRETCOACH_LOG=info\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Run with `UPDATE=1` to write the file anew after a change to the table.
    #[test]
    fn env_example_lists_every_setting() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/.env.example");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, env_example()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), env_example());
    }

    /// As above: `UPDATE=1` writes it anew.
    #[test]
    fn the_readme_lists_every_setting() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
        let readme = std::fs::read_to_string(path).unwrap();
        let (begin, end) = ("<!-- settings -->\n", "<!-- end of settings -->");
        let at = readme.find(begin).expect("README.md marks where the settings begin") + begin.len();
        let to = readme.find(end).expect("README.md marks where the settings end");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, format!("{}{}{}", &readme[..at], markdown(), &readme[to..])).unwrap();
        } else {
            assert_eq!(&readme[at..to], markdown(), "run the test with UPDATE=1");
        }
    }

    #[test]
    fn the_example_loads_when_uncommented() {
        let pairs = env_example()
            .lines()
            .filter_map(|l| l.strip_prefix('#').filter(|l| !l.starts_with([' ', '#'])))
            .filter_map(|l| l.split_once('='))
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect();
        let sources = crate::config::load::Sources { dotenv: pairs, ..Default::default() };
        crate::config::load::load(&sources).unwrap();
    }
}

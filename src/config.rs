//! Every setting: its name, its environment variable, its default, what it means.
//!
//! Rank, rising: built-in, config file (`config.toml` in the data folder, or `--config`), `.env`, environment,
//! flags. Unknown keys in the file and unknown `FRETCOACH_*` variables are errors that name the nearest known one.
//! [`settings::SETTINGS`] is the single table from which loading, the errors and `.env.example` come.

pub mod load;
pub mod settings;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// All settings, resolved.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folder of the database, the config file and the lock. Empty until resolved.
    pub data_dir: PathBuf,
    /// Name of the player.
    pub user: String,
    /// Kind of device: `fretcoach-studio` (desktop) or `fretcoach-portable` (headless).
    pub deployment: String,
    /// `production` or `development`.
    pub env: String,
    /// The Postgres to which everything is copied too; empty: none.
    #[serde(skip_serializing)]
    pub database_url: Secret,
    /// Where the Hub is served.
    pub hub: Hub,
    /// What is practised and how strictly it is judged.
    pub practice: Practice,
    /// Sound in and out.
    pub audio: Audio,
    /// The language model and its fallbacks.
    pub llm: Llm,
    /// The coach's voice.
    pub speech: Speech,
    /// Traces.
    pub telemetry: Telemetry,
    /// A lamp that shows the score.
    pub ambient: Ambient,
    /// Keys of the settings that a flag, a variable or the file has set: what a player keeps in the Hub does not change
    /// them.
    #[serde(skip)]
    pub given: Vec<&'static str>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::new(),
            user: "default".into(),
            deployment: "fretcoach-studio".into(),
            env: "production".into(),
            database_url: Secret::default(),
            hub: Hub::default(),
            practice: Practice::default(),
            audio: Audio::default(),
            llm: Llm::default(),
            speech: Speech::default(),
            telemetry: Telemetry::default(),
            ambient: Ambient::default(),
            given: Vec::new(),
        }
    }
}

impl Config {
    /// Whether every value is one that can be.
    ///
    /// # Errors
    /// Names the first setting that cannot.
    pub fn check(&self) -> Result<(), load::ConfigError> {
        load::validate(self)
    }

    /// Every key and password, so that they can be kept out of logs and traces.
    #[must_use]
    pub fn secrets(&self) -> Vec<Secret> {
        let keys =
            [&self.llm.api_key, &self.speech.api_key, &self.telemetry.otlp_headers, &self.ambient.headers];
        let fallbacks = self.llm.fallbacks.iter().map(|f| &f.api_key);
        let urls =
            [&self.llm.base_url, &self.speech.base_url, &self.telemetry.otlp_endpoint, &self.ambient.url];
        let in_urls = urls
            .into_iter()
            .chain(self.llm.fallbacks.iter().map(|f| &f.base_url))
            .flat_map(|url| crate::http::secrets_in(url))
            .map(Secret::new);
        let database = crate::http::password_in(self.database_url.reveal()).map(Secret::new);
        let given = keys.into_iter().chain(fallbacks).filter(|s| !s.is_empty()).cloned();
        given.chain(in_urls).chain(database).collect()
    }
}

/// Where the Hub is served, and to whom.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hub {
    /// Address to listen at. Requests from any other than a loopback address need a token.
    #[serde(deserialize_with = "address")]
    pub bind: IpAddr,
    /// Port; 0: a free one.
    pub port: u16,
    /// Names (with or without port) that a browser may use besides the loopback names and the bound address.
    pub hosts: Vec<String>,
    /// A reverse proxy stands before the Hub: the peer's address says nothing, so that every request needs a token, and
    /// cookies are `Secure`.
    pub proxy: bool,
}

/// An IP address, or `localhost`.
fn address<'de, D: serde::Deserializer<'de>>(d: D) -> Result<IpAddr, D::Error> {
    let text = String::deserialize(d)?;
    if text.trim().eq_ignore_ascii_case("localhost") {
        return Ok(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    text.trim().trim_start_matches('[').trim_end_matches(']').parse().map_err(|_| {
        serde::de::Error::custom(format!(
            "`{text}` is not an address: write 127.0.0.1 (this machine alone), 0.0.0.0 (every network) or one of \
             the machine's own"
        ))
    })
}

/// A port that no well-known service has; A4 is 440 Hz.
pub const HUB_PORT: u16 = 8440;

impl Default for Hub {
    fn default() -> Self {
        Self { bind: IpAddr::V4(Ipv4Addr::LOCALHOST), port: HUB_PORT, hosts: Vec::new(), proxy: false }
    }
}

/// What is practised and how strictly it is judged.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Practice {
    /// Scale by name, forgiving of spelling; empty: none, and scale conformity is not measured.
    pub scale: String,
    /// Tempo in beats per minute; 0: inferred from the playing.
    pub bpm: f64,
    /// `manual` or `ai`: carried in the tags of every trace.
    pub mode: String,
    /// Time between two pieces of advice.
    #[serde(with = "duration")]
    pub coach_every: Duration,
    /// Length of the session; 0: until stopped.
    pub minutes: f64,
    /// Enabled metrics: `pitch`, `scale`, `timing`, `noise`.
    pub metrics: Vec<String>,
    /// 0..1: how soft a note still counts.
    pub sensitivity: f64,
    /// 0..1: how hard an error weighs.
    pub strictness: f64,
    /// Reference pitch of A4, Hz.
    pub a4: f64,
    /// Tuning by name (`standard`, `drop d`, …) or as notes (`E2 A2 D3 G3 B3 E4`).
    pub tuning: String,
    /// Fret of the capo; 0: none.
    pub capo: u8,
    /// Language of the advice, as an English name or tag (`en`, `de`, …).
    pub language: String,
    /// The exercise asks for the whole scale: coverage then counts in the session's scale score.
    pub whole_scale: bool,
    /// The metronome clicks. It needs a tempo.
    pub metronome: bool,
    /// Bars that it counts in; what is played meanwhile is not judged.
    pub count_in: u32,
    /// Beats a bar, the first accented; 0: no accents (and bars of four are counted in).
    pub click_accent: u32,
    /// When a session begins: `now`, `playing` (as soon as somebody plays), `hub` (when asked to). With the last two the
    /// program waits, and stays when a session has ended.
    pub start: String,
    /// The sound of sessions is kept, as FLAC in the data folder.
    pub record: bool,
    /// Clicks a beat, 1..=6.
    pub click_subdivision: u32,
    /// Where the second click of each pair falls, as share of the pair, 0.5..=0.75.
    pub click_swing: f64,
}

impl Default for Practice {
    fn default() -> Self {
        Self {
            scale: String::new(),
            bpm: 0.0,
            mode: "manual".into(),
            coach_every: Duration::from_secs(30),
            minutes: 0.0,
            metrics: ["pitch", "scale", "timing", "noise"].map(String::from).to_vec(),
            sensitivity: 0.5,
            strictness: 0.5,
            a4: 440.0,
            tuning: "standard".into(),
            capo: 0,
            language: "en".into(),
            whole_scale: false,
            metronome: false,
            count_in: 1,
            click_accent: 4,
            start: "now".into(),
            record: false,
            click_subdivision: 1,
            click_swing: 0.5,
        }
    }
}

/// Sound in and out.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audio {
    /// Empty (first sound card, else the virtual guitarist), `demo`, a device's name or index, or a WAV or FLAC file.
    pub input: String,
    /// Channel with the guitar, counted from 1; 0: all channels mixed.
    pub channel: u16,
    /// `auto` (PulseAudio where it answers, else ALSA), `pulseaudio` or `alsa`.
    pub host: String,
    /// Capture rate to ask for, Hz; 0: 48 kHz where offered, else the device's default.
    pub sample_rate: u32,
    /// Capture period, frames.
    pub period: u32,
    /// A cable, not a microphone: the echo guard is off, and the metronome's clicks are not looked for.
    pub direct: bool,
    /// Pitch detector: `fretcoach` or `mcleod` (the reference; it allocates).
    pub detector: String,
    /// File input: as fast as possible instead of at the speed of the music.
    pub fast: bool,
    /// Output device by name or index; empty: the default one; `none`: no sound.
    pub output: String,
    /// First playback period, frames; 0: 1024 with real-time priority, 2048 without. Doubled up to 4096 after an underrun.
    pub output_period: u32,
    /// Volume of the coach, 0..2.
    pub volume: f32,
    /// Volume of the metronome, 0..1.
    pub click_volume: f32,
    /// Level at which the virtual guitarist is heard, 0..1.
    pub monitor: f32,
    /// The virtual guitarist: seed of its mistakes.
    pub demo_seed: u64,
    /// The virtual guitarist: mistakes as `timing=12,drift=2,wrong=0.1,detune=20,offset=-15,noise=0.3`, or `none`.
    pub demo_mistakes: String,
}

impl Default for Audio {
    fn default() -> Self {
        Self {
            input: String::new(),
            channel: 0,
            host: "auto".into(),
            sample_rate: 0,
            period: 1024,
            direct: false,
            detector: "fretcoach".into(),
            fast: false,
            output: String::new(),
            output_period: 0,
            volume: 1.0,
            click_volume: 0.5,
            monitor: 0.25,
            demo_seed: 1,
            demo_mistakes: "timing=14,wrong=0.06,detune=6,noise=0.15".into(),
        }
    }
}

/// The language model.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Llm {
    /// Base URL of an OpenAI-compatible server; empty: `https://api.openai.com/v1` when there is a key, else the offline coach.
    #[serde(serialize_with = "shown_url")]
    pub base_url: String,
    /// Key; local servers need none.
    #[serde(skip_serializing)]
    pub api_key: Secret,
    /// Model name.
    pub model: String,
    /// Tried in order after the first on rate limit, time-out or error.
    pub fallbacks: Vec<Fallback>,
    /// Longest wait for the first token.
    #[serde(with = "duration")]
    pub first_token_timeout: Duration,
    /// Longest time for a whole answer.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Sampling temperature; negative: leave it to the server (some models accept no other).
    pub temperature: f32,
    /// Most tokens of an answer (reasoning models need room to think).
    pub max_tokens: u32,
    /// Prices per million tokens as `model=input/output`, beside the shipped price table.
    pub prices: Vec<String>,
    /// True: never call a model, even with a key.
    pub offline: bool,
}

impl Default for Llm {
    fn default() -> Self {
        Self {
            base_url: String::new(),
            api_key: Secret::default(),
            model: "gpt-4o-mini".into(),
            fallbacks: Vec::new(),
            first_token_timeout: Duration::from_secs(6),
            timeout: Duration::from_secs(20),
            temperature: 0.7,
            max_tokens: 300,
            prices: Vec::new(),
            offline: false,
        }
    }
}

impl Llm {
    /// The model as traces are tagged with it: `offline-coach` when none is asked.
    #[must_use]
    pub fn tag(&self) -> &str {
        if self.is_configured() { &self.model } else { "offline-coach" }
    }

    /// True when there is a model to ask.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        let nowhere = self.base_url.is_empty() && self.api_key.is_empty();
        !(self.offline || nowhere)
    }
}

/// A model to fall back on.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Fallback {
    /// Model name.
    pub model: String,
    /// Base URL; empty: as the first model's.
    #[serde(default)]
    #[serde(serialize_with = "shown_url")]
    pub base_url: String,
    /// Key; empty: as the first model's, if the base URL is the same too (a key never goes to another host).
    #[serde(default, skip_serializing)]
    pub api_key: Secret,
}

/// The coach's voice.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Speech {
    /// Engines in order of preference: `openai`, `espeak-ng`, `command`, `none`; `auto`: what is configured, then espeak-ng.
    pub engine: Vec<String>,
    /// Base URL of an OpenAI-compatible `/audio/speech` server; empty: OpenAI's, when there is a key.
    #[serde(serialize_with = "shown_url")]
    pub base_url: String,
    /// Key; empty: the language model's, if the host is the same.
    #[serde(skip_serializing)]
    pub api_key: Secret,
    /// Speech model.
    pub model: String,
    /// Voice of the server.
    pub voice: String,
    /// Speed, 0.25..4.
    pub speed: f32,
    /// How to speak, for models that take instructions.
    pub instructions: String,
    /// Rate of the server's raw PCM, Hz.
    pub sample_rate: u32,
    /// Longest wait for the first byte of sound.
    #[serde(with = "duration")]
    pub first_byte_timeout: Duration,
    /// espeak-ng voice; empty: after the language.
    pub espeak_voice: String,
    /// espeak-ng words per minute.
    pub espeak_speed: u32,
    /// Command that takes text on stdin and writes signed 16-bit mono PCM, as a list of arguments.
    #[serde(serialize_with = "shown_command")]
    pub command: Vec<String>,
    /// Rate of the command's PCM, Hz.
    pub command_sample_rate: u32,
    /// Longest wait for a pause in the playing before the coach speaks.
    #[serde(with = "duration")]
    pub wait_for_pause: Duration,
}

impl Default for Speech {
    fn default() -> Self {
        Self {
            engine: vec!["auto".into()],
            base_url: String::new(),
            api_key: Secret::default(),
            model: "gpt-4o-mini-tts".into(),
            voice: "alloy".into(),
            speed: 1.0,
            instructions: "Speak like a calm, friendly guitar teacher.".into(),
            sample_rate: 24_000,
            first_byte_timeout: Duration::from_secs(4),
            espeak_voice: String::new(),
            espeak_speed: 165,
            command: Vec::new(),
            command_sample_rate: 22_050,
            wait_for_pause: Duration::from_secs(3),
        }
    }
}

/// Traces.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// Base URL of an OTLP/HTTP collector (`/v1/traces` is appended, as the OpenTelemetry specification says); empty: none.
    #[serde(serialize_with = "shown_url")]
    pub otlp_endpoint: String,
    /// Headers for it, `key=value,key=value`. They go to that endpoint alone.
    #[serde(skip_serializing)]
    pub otlp_headers: Secret,
    /// `operation` or `session`.
    pub trace_layout: String,
    /// False: prompts, answers and texts are dropped from spans; shapes and counts stay.
    pub capture_content: bool,
    /// Spans waiting for the store; more are dropped and counted.
    pub queue: usize,
    /// Longest time that shutdown waits for delivery.
    #[serde(with = "duration")]
    pub flush_timeout: Duration,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            otlp_endpoint: String::new(),
            otlp_headers: Secret::default(),
            trace_layout: "operation".into(),
            capture_content: true,
            queue: 4096,
            flush_timeout: Duration::from_secs(5),
        }
    }
}

/// A lamp that shows the overall score as a colour.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ambient {
    /// The lamp; empty: none. For `wled` its address, for `http` the whole URL, in which `{{r}}`, `{{g}}`, `{{b}}`,
    /// `{{hex}}` and `{{score}}` are filled in.
    #[serde(serialize_with = "shown_url")]
    pub url: String,
    /// `wled` (its JSON interface) or `http` (any request).
    pub kind: String,
    /// HTTP method, for `http`.
    pub method: String,
    /// Body, filled in as the URL is, for `http`. A key may stand in it.
    #[serde(skip_serializing)]
    pub body: String,
    /// Headers, `name=value,name=value`: keys stand there.
    #[serde(skip_serializing)]
    pub headers: Secret,
}

impl Default for Ambient {
    fn default() -> Self {
        Self {
            url: String::new(),
            kind: "wled".into(),
            method: "POST".into(),
            body: String::new(),
            headers: Secret::default(),
        }
    }
}

/// A key or password: never printed, logged or written.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }
    /// The value itself, for the one place that sends it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
    /// True when nothing is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_empty() { "Secret(unset)" } else { "Secret(set)" })
    }
}

/// A URL is stored and traced without user, password and query.
fn shown_url<S: serde::Serializer>(url: &str, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&crate::http::shown(url))
}

/// A command is stored and traced without its arguments: people put keys there.
fn shown_command<S: serde::Serializer>(words: &[String], s: S) -> Result<S::Ok, S::Error> {
    s.collect_seq(words.iter().take(1))
}

mod duration {
    use jiff::SignedDuration;
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub fn serialize<S: Serializer>(d: &Duration, s: S) -> Result<S::Ok, S::Error> {
        let ms = d.as_millis();
        s.serialize_str(&if ms.is_multiple_of(1000) { format!("{}s", ms / 1000) } else { format!("{ms}ms") })
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(d)?;
        super::parse_duration(&text).map_err(serde::de::Error::custom)
    }

    pub(super) fn parse(text: &str) -> Option<Duration> {
        let plain = text.trim().parse::<f64>().ok().map(|s| format!("{}ms", (s * 1000.0).round()));
        let signed: SignedDuration = plain.as_deref().unwrap_or(text.trim()).parse().ok()?;
        Duration::try_from(signed).ok()
    }
}

/// Reads `30s`, `1m 30s`, `500ms` or a plain number of seconds.
///
/// # Errors
/// Says what was read and what a duration looks like.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    duration::parse(text)
        .ok_or_else(|| format!("`{text}` is not a duration: write for example 30s, 500ms or 2m"))
}

//! An OpenAI-compatible `/audio/speech` server, its raw sound handed on as it arrives.
//!
//! Plain HTTP instead of async-openai, which collects the whole body before it gives out the first byte.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::limits::{Limited, Pieces};
use super::pcm::{Samples, Trim, Wav};
use super::{PcmStream, SpeechError, Voice};
use crate::config::{Secret, Speech};
use crate::http::{self, Origin};

/// Read at most of a page that is no sound, bytes: a sentence of it is repeated.
const MAX_PAGE: usize = 64 * 1024;
/// Name of the engine.
pub(super) const ENGINE: &str = "openai";

/// A voice of a speech server.
pub struct OpenAiVoice {
    url: String,
    shown: String,
    key: Secret,
    client: reqwest::Client,
    model: String,
    voice: String,
    speed: f32,
    instructions: String,
    rate: u32,
    patience: Duration,
    /// The server refused `instructions`; it is not asked with them again.
    plain: AtomicBool,
}

impl OpenAiVoice {
    /// The configured voice on the server at `base_url`.
    ///
    /// # Errors
    /// A base URL that is none, a key that no header can carry, or no TLS.
    pub fn new(base_url: &str, key: &Secret, speech: &Speech) -> Result<Self, String> {
        let origin = Origin::of(base_url)?;
        let key = Secret::new(key.reveal().trim());
        if HeaderValue::from_str(key.reveal()).is_err() {
            return Err(format!(
                "the key for {} holds characters that cannot be sent; copy it again",
                origin.host
            ));
        }
        Ok(Self {
            url: format!("{}/audio/speech", http::base(base_url)),
            shown: http::shown(base_url),
            key,
            client: http::client(&origin)?,
            model: speech.model.clone(),
            voice: speech.voice.clone(),
            speed: speech.speed.clamp(0.25, 4.0),
            instructions: speech.instructions.trim().to_owned(),
            rate: speech.sample_rate,
            patience: speech.first_byte_timeout,
            plain: AtomicBool::new(false),
        })
    }

    fn body(&self, text: &str) -> Value {
        let mut body = json!({
            "model": self.model, "voice": self.voice, "input": text, "response_format": "pcm",
        });
        // Sent only when they say something: small servers refuse what they do not know.
        if (self.speed - 1.0).abs() > 0.001 {
            body["speed"] = json!(f64::from((self.speed * 100.0).round()) / 100.0);
        }
        if !self.instructions.is_empty() && !self.plain.load(Relaxed) && !self.model.starts_with("tts-1") {
            body["instructions"] = json!(self.instructions);
        }
        body
    }

    async fn request(&self, text: &str) -> Result<PcmStream, SpeechError> {
        let until = Instant::now() + self.patience;
        let late = || SpeechError::Timeout { engine: ENGINE, after: self.patience };
        let response = loop {
            let mut request = self.client.post(&self.url).json(&self.body(text));
            if !self.key.is_empty() {
                request = request.bearer_auth(self.key.reveal());
            }
            let sent = timeout_at(until, request.send()).await.map_err(|_| late())?;
            let response = sent.map_err(|e| {
                self.failed(&format!(
                    "no connection to {} ({}); check the base URL and the network",
                    self.shown,
                    http::network(e)
                ))
            })?;
            let status = response.status().as_u16();
            if response.status().is_success() {
                break response;
            }
            let body = timeout_at(until, http::begin_of(response, MAX_PAGE))
                .await
                .map_err(|_| late())?
                .unwrap_or_default();
            let refused = matches!(status, 400 | 422)
                && String::from_utf8_lossy(&body).contains("instructions")
                && !self.plain.swap(true, Relaxed);
            if !refused {
                return Err(self.refused(status, &body));
            }
        };
        let kind = response.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let kind = kind.to_ascii_lowercase();
        if kind.contains("json") || kind.starts_with("text/") {
            let body = timeout_at(until, http::begin_of(response, MAX_PAGE))
                .await
                .map_err(|_| late())?
                .unwrap_or_default();
            let said = http::message(&body, &self.key);
            return Err(self.failed(&format!("{} sent {kind} instead of sound ({said})", self.shown)));
        }
        let foreign = ["mpeg", "mp3", "ogg", "opus", "aac", "flac", "webm"];
        if foreign.iter().any(|f| kind.contains(f)) {
            return Err(self.failed(&format!(
                "{} sent {kind}; it must be able to send raw PCM (response_format `pcm`)",
                self.shown
            )));
        }
        let sound = Sound {
            shown: self.shown.clone(),
            key: self.key.clone(),
            bytes: response.bytes_stream().boxed(),
            rate: rate_of(&kind).unwrap_or(self.rate),
            form: Form::Unknown(Vec::new()),
            trim: Trim::new(),
        };
        let mut sound = Limited::new(sound, self.patience);
        match timeout_at(until, sound.first()).await {
            Err(_) => Err(late()),
            Ok(None) => Err(self.failed("the answer held no sound")),
            Ok(Some(first)) => {
                let (first, sample_rate) = first?;
                let chunks = stream::once(async { Ok(first) }).chain(sound.rest()).boxed();
                Ok(PcmStream { sample_rate, chunks })
            }
        }
    }

    fn refused(&self, status: u16, body: &[u8]) -> SpeechError {
        let said = http::message(body, &self.key);
        let next = match status {
            401 | 403 => "check the key and the base URL",
            404 => "check the speech model, the voice and the base URL",
            402 | 429 => "wait, or choose another speech engine",
            300..=399 => "put the final address into the base URL",
            500.. => "look at the server, or choose another speech engine",
            _ => "check model, voice and speed",
        };
        self.failed(&format!("{} answered {status} ({said}); {next}", self.shown))
    }

    fn failed(&self, message: &str) -> SpeechError {
        SpeechError::Failed { engine: ENGINE, message: http::redact(message, &self.key) }
    }
}

impl Voice for OpenAiVoice {
    fn engine(&self) -> &'static str {
        ENGINE
    }

    fn model(&self) -> &str {
        &self.model
    }

    fn voice(&self) -> &str {
        &self.voice
    }

    fn speak(&self, text: &str) -> BoxFuture<'_, Result<PcmStream, SpeechError>> {
        let text = text.to_owned();
        Box::pin(async move { self.request(&text).await })
    }
}

/// `audio/pcm;rate=24000`
fn rate_of(content_type: &str) -> Option<u32> {
    let rate = content_type.split(';').find_map(|p| p.trim().strip_prefix("rate="))?;
    rate.parse().ok().filter(|r| (8_000..=192_000).contains(r))
}

enum Form {
    /// The first bytes tell.
    Unknown(Vec<u8>),
    Raw(Samples),
    /// Asked for raw samples, some servers send them with a header all the same.
    Wav(Wav),
}

struct Sound {
    shown: String,
    key: Secret,
    bytes: BoxStream<'static, reqwest::Result<Bytes>>,
    rate: u32,
    form: Form,
    trim: Trim,
}

impl Pieces for Sound {
    fn engine(&self) -> &'static str {
        ENGINE
    }

    fn rate(&self) -> u32 {
        self.rate
    }

    fn piece(&mut self) -> BoxFuture<'_, Option<Result<Vec<f32>, SpeechError>>> {
        Box::pin(self.next())
    }
}

impl Sound {
    async fn next(&mut self) -> Option<Result<Vec<f32>, SpeechError>> {
        loop {
            let bytes = match self.bytes.next().await? {
                Ok(bytes) => bytes,
                Err(e) => {
                    return Some(Err(self.failed(&format!("the sound was cut off ({})", http::network(e)))));
                }
            };
            match self.decode(&bytes) {
                Err(what) => return Some(Err(self.failed(&what))),
                Ok(samples) => {
                    let samples = self.trim.take(samples, self.rate);
                    if !samples.is_empty() {
                        return Some(Ok(samples));
                    }
                }
            }
        }
    }

    fn decode(&mut self, bytes: &[u8]) -> Result<Vec<f32>, String> {
        if let Form::Unknown(start) = &mut self.form {
            start.extend_from_slice(bytes);
            if start.len() < 4 {
                return Ok(Vec::new());
            }
            let start = std::mem::take(start);
            let head = &start[..4];
            if head == b"RIFF" {
                self.form = Form::Wav(Wav::default());
            } else if head.starts_with(b"{\"") || head.starts_with(b"<!") || head.starts_with(b"<htm") {
                let said = http::message(&start, &self.key);
                return Err(format!("{} sent a message instead of sound ({said})", self.shown));
            } else if head.starts_with(b"ID3") || head == b"OggS" || head == b"fLaC" {
                return Err(format!(
                    "{} sent a compressed file; it must be able to send raw PCM",
                    self.shown
                ));
            } else {
                self.form = Form::Raw(Samples::default());
            }
            return self.decode(&start);
        }
        match &mut self.form {
            Form::Raw(samples) => Ok(samples.take(bytes)),
            Form::Wav(wav) => {
                let samples = wav.take(bytes)?;
                self.rate = wav.rate.unwrap_or(self.rate);
                Ok(samples)
            }
            Form::Unknown(_) => Ok(Vec::new()),
        }
    }

    fn failed(&self, message: &str) -> SpeechError {
        SpeechError::Failed { engine: ENGINE, message: http::redact(message, &self.key) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::speech::pcm::header;

    fn sound(form: &[&[u8]]) -> Sound {
        let pieces: Vec<reqwest::Result<Bytes>> =
            form.iter().map(|b| Ok(Bytes::copy_from_slice(b))).collect();
        Sound {
            shown: "http://x/v1".into(),
            key: Secret::new("sk-1"),
            bytes: stream::iter(pieces).boxed(),
            rate: 24_000,
            form: Form::Unknown(Vec::new()),
            trim: Trim::new(),
        }
    }

    async fn all(mut s: Sound) -> (u32, Result<Vec<f32>, String>) {
        let mut out = Vec::new();
        while let Some(piece) = s.piece().await {
            match piece {
                Ok(p) => out.extend(p),
                Err(e) => return (s.rate, Err(e.to_string())),
            }
        }
        (s.rate, Ok(out))
    }

    #[tokio::test]
    async fn raw_wav_and_words_are_told_apart() {
        let (rate, raw) = all(sound(&[&[0], &[0x40, 0], &[0xc0, 0], &[0x20]])).await;
        assert_eq!((rate, raw.unwrap()), (24_000, vec![0.5, -0.5, 0.25]));

        let mut wav = header(16_000);
        wav.extend([0, 0x40]);
        let (rate, samples) = all(sound(&[&wav[..7], &wav[7..]])).await;
        assert_eq!((rate, samples.unwrap()), (16_000, vec![0.5]));

        let (_, error) = all(sound(&[br#"{"error":{"message":"bad key sk-1"}}"#])).await;
        let error = error.unwrap_err();
        assert!(error.contains("bad key [key]"), "{error}");
        let (_, error) = all(sound(&[b"<!DOCTYPE html><p>Login</p>"])).await;
        assert!(error.unwrap_err().contains("Login"));
        assert!(all(sound(&[b"ID3\x04..."])).await.1.is_err());
    }

    #[tokio::test]
    async fn a_page_without_end_is_read_up_to_a_limit() {
        let endless = stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 1000])));
        let response = ::http::Response::new(reqwest::Body::wrap_stream(endless));
        assert_eq!(http::begin_of(response.into(), MAX_PAGE).await.unwrap().len(), MAX_PAGE);
    }

    #[test]
    fn only_what_says_something_is_sent() {
        let speech = Speech { model: "kokoro".into(), voice: "af_heart".into(), ..Speech::default() };
        let voice = OpenAiVoice::new("http://localhost:8880/v1/", &Secret::default(), &speech).unwrap();
        assert_eq!(voice.url, "http://localhost:8880/v1/audio/speech");
        let body = voice.body("Hi.");
        assert!(body.get("speed").is_none());
        assert_eq!(body["response_format"], "pcm");
        assert!(body["instructions"].as_str().unwrap().contains("guitar"));
        voice.plain.store(true, Relaxed);
        assert!(voice.body("Hi.").get("instructions").is_none());
        let fast = Speech { speed: 1.1, ..speech };
        let voice = OpenAiVoice::new("http://localhost:8880/v1", &Secret::default(), &fast).unwrap();
        assert_eq!(voice.body("Hi.")["speed"], 1.1);
    }

    #[test]
    fn the_rate_may_stand_in_the_content_type() {
        assert_eq!(rate_of("audio/pcm;rate=16000;channels=1"), Some(16_000));
        assert_eq!(rate_of("audio/l16; rate=44100"), Some(44_100));
        assert_eq!(rate_of("audio/pcm"), None);
        assert_eq!(rate_of("audio/pcm;rate=1"), None);
    }
}

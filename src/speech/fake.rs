//! A scripted voice for tests: a tone of known length for each sentence, or a failure.

use std::collections::VecDeque;
use std::sync::Mutex;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream;

use super::{PcmStream, SpeechError, Voice};

/// What a [`FakeVoice`] does with one sentence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Act {
    /// Speaks it: a tone of this length, seconds, in pieces of 20 ms.
    Speak(f64),
    /// Fails before any sound.
    Fail,
    /// Fails after this much sound, seconds.
    Break(f64),
}

/// A voice that follows a script; when the script is over it speaks a tenth of a second for each word.
pub struct FakeVoice {
    script: Mutex<VecDeque<Act>>,
    said: Mutex<Vec<String>>,
}

/// Rate of the tone, Hz.
pub const FAKE_RATE: u32 = 16_000;
/// Frequency of the tone, Hz.
const TONE: f32 = 440.0;

impl FakeVoice {
    /// A voice with its acts, one for each sentence.
    #[must_use]
    pub fn new(script: impl IntoIterator<Item = Act>) -> Self {
        Self { script: Mutex::new(script.into_iter().collect()), said: Mutex::default() }
    }

    /// Sentences it was asked to speak so far.
    #[must_use]
    pub fn said(&self) -> Vec<String> {
        self.said.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

impl Voice for FakeVoice {
    fn engine(&self) -> &'static str {
        "fake"
    }

    fn model(&self) -> &str {
        "tone"
    }

    fn voice(&self) -> &str {
        "sine"
    }

    fn speak(&self, text: &str) -> BoxFuture<'_, Result<PcmStream, SpeechError>> {
        self.said.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(text.to_owned());
        #[expect(clippy::cast_precision_loss, reason = "a handful of words")]
        let usual = Act::Speak(text.split_whitespace().count() as f64 * 0.1);
        let act = self
            .script
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .pop_front()
            .unwrap_or(usual);
        let failed = || SpeechError::Failed { engine: "fake", message: "it was told to fail".into() };
        Box::pin(async move {
            let (seconds, breaks) = match act {
                Act::Fail => return Err(failed()),
                Act::Speak(s) => (s, false),
                Act::Break(s) => (s, true),
            };
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of sound")]
            let n = (seconds * f64::from(FAKE_RATE)) as usize;
            #[expect(clippy::cast_precision_loss, reason = "a phase")]
            let tone: Vec<f32> = (0..n)
                .map(|i| 0.3 * (std::f32::consts::TAU * TONE * i as f32 / FAKE_RATE as f32).sin())
                .collect();
            let mut pieces: Vec<_> = tone.chunks(FAKE_RATE as usize / 50).map(|c| Ok(c.to_vec())).collect();
            if breaks {
                pieces.push(Err(failed()));
            }
            Ok(PcmStream { sample_rate: FAKE_RATE, chunks: stream::iter(pieces).boxed() })
        })
    }
}

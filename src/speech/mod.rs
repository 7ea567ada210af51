//! Text to speech: one trait, engines behind it (an OpenAI-compatible server, espeak-ng, any command, a fake).

mod engines;
mod fake;
mod limits;
mod openai;
mod pcm;
mod program;

pub use engines::{engines, why_no_voice};
pub use fake::{Act, FAKE_RATE, FakeVoice};
pub use openai::OpenAiVoice;
pub use program::Program;

use futures::future::BoxFuture;
use futures::stream::BoxStream;

/// Sound as it is made: mono, -1..1.
pub struct PcmStream {
    /// Samples a second.
    pub sample_rate: u32,
    /// Pieces in order; an error ends the stream.
    pub chunks: BoxStream<'static, Result<Vec<f32>, SpeechError>>,
}

/// Why an engine made no (complete) sound.
#[derive(Debug, thiserror::Error)]
pub enum SpeechError {
    /// The program is not installed or could not be started.
    #[error(
        "{engine}: {program} could not be started ({source}); install it or choose another speech engine"
    )]
    Start {
        /// Engine.
        engine: &'static str,
        /// Program.
        program: String,
        /// The system's word.
        source: std::io::Error,
    },
    /// The program or server failed midway.
    #[error("{engine}: {message}")]
    Failed {
        /// Engine.
        engine: &'static str,
        /// What happened and what to do.
        message: String,
    },
    /// Nothing came in time.
    #[error("{engine} gave no sound within {after:?}; check the server or choose another speech engine")]
    Timeout {
        /// Engine.
        engine: &'static str,
        /// The limit.
        after: std::time::Duration,
    },
    /// Sound came, but the sentence was not complete in time.
    #[error(
        "{engine} did not end the sentence within {after:?}; check the server or choose another speech engine"
    )]
    Unfinished {
        /// Engine.
        engine: &'static str,
        /// The limit.
        after: std::time::Duration,
    },
}

impl SpeechError {
    /// Short fixed word for `error.type`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Start { .. } => "engine_missing",
            Self::Failed { .. } => "engine_failed",
            Self::Timeout { .. } | Self::Unfinished { .. } => "timeout",
        }
    }
}

/// A speech engine.
pub trait Voice: Send + Sync {
    /// `openai`, `espeak-ng`, `command`, `fake`.
    fn engine(&self) -> &'static str;
    /// Model, for servers.
    fn model(&self) -> &str;
    /// Voice.
    fn voice(&self) -> &str;
    /// Speaks one sentence. The future ends with the first sound (or the first error); the stream yields the rest.
    fn speak(&self, text: &str) -> BoxFuture<'_, Result<PcmStream, SpeechError>>;
}

//! The coach: a window of playing becomes one short piece of advice, written by a model or by rules, and spoken.
//!
//! [`channel`] gives a handle and an actor. The actor lets at most one text be written at a time (`advise`), and
//! starts for each an utterance (`speak`) that takes the text sentence by sentence while it is still being
//! written. A newer window replaces one that still waits; a new utterance cancels the one before it.
//!
//! ```text
//! window ─▶ actor ─▶ advise: snapshot → prompt → chat {model} … or offline coach ─▶ text, record
//!                      └─ sentence ─▶ speak: tts request (engine after engine) ─▶ pause? ─▶ mouth ─▶ playback
//! ```

mod advise;
mod cause;
mod fake;
pub mod offline;
pub mod plan;
mod rest;
mod speak;
pub mod words;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use opentelemetry::KeyValue;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Config};
use crate::llm::{Chain, Usage};
use crate::practice::types::{Metric, Scores, Summary, Window};
use crate::prompt::Prompts;
use crate::span::Thread;
use crate::speech::{self, Voice};
pub use fake::{FakeSpeaker, Heard};
use offline::Offline;
use rest::Rests;
use speak::Floor;

/// Pieces of advice that a prompt repeats, so that the model says something new.
const REMEMBERED: usize = 3;

/// The player, as the coach needs it. The application implements it over the audio output.
pub trait Speaker: Send + Sync {
    /// Begins an utterance: whatever is heard falls silent, and the queue is emptied.
    fn say(&self, id: u64) -> Box<dyn Mouth>;
    /// Silences what is heard and empties the queue; its [`Mouth`] learns of it.
    fn stop(&self);
    /// While muted, nothing is heard.
    fn set_muted(&self, muted: bool);
    /// Why nothing can be heard at present (there is no output device); `None` when it can. Cheap: asked before
    /// any speech is made.
    fn trouble(&self) -> Option<String>;
}

/// One utterance in the player.
pub trait Mouth: Send {
    /// Hands over mono samples, -1..1, at `rate` Hz; waits while the queue is full.
    ///
    /// The future ends with [`Interrupted`] when the utterance was stopped or another one has begun.
    fn push<'a>(&'a mut self, samples: &'a [f32], rate: u32) -> BoxFuture<'a, Result<(), Interrupted>>;
    /// When the first sample was handed to the device, if it was by now.
    fn first_sample(&self) -> Option<Instant>;
    /// No more samples: ends when the utterance has been heard, or at once when it was stopped.
    fn finish(self: Box<Self>) -> BoxFuture<'static, Playback>;
}

/// The utterance was stopped, or another one has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the utterance was interrupted")]
pub struct Interrupted;

/// What became of an utterance.
#[derive(Clone, Debug, PartialEq)]
pub struct Playback {
    /// When the device took the first sample.
    pub first_sample_handed_over: Option<Instant>,
    /// When the first sample came out of the device, as well as that is known.
    pub first_audible: Option<Instant>,
    /// When the last one did.
    pub finished: Instant,
    /// It was stopped, or another utterance began.
    pub interrupted: bool,
    /// Length of what was heard, seconds.
    pub heard_seconds: f64,
    /// The output device failed.
    pub error: Option<String>,
    /// Output period, frames.
    pub period_frames: u32,
    /// Times the device ran dry.
    pub underruns: u64,
}

/// What stays the same for a session.
#[derive(Clone, Debug)]
pub struct CoachContext {
    /// Id of the session.
    pub session_id: String,
    /// Whose story the spans belong to.
    pub thread: Thread,
    /// What is practised.
    pub practice: config::Practice,
    /// Name of the scale, properly spelled; `None` without one.
    pub scale_name: Option<String>,
    /// Its pitch classes, spelled (`A`, `C`, `D`, …); empty without one.
    pub scale_notes: Vec<String>,
    /// Decides the offline coach's choice of words.
    pub seed: u64,
}

/// What the coach works with.
pub struct Parts {
    /// The session.
    pub context: CoachContext,
    /// Models; `None`: the offline coach.
    pub chain: Option<Chain>,
    /// Sampling temperature; `None`: left to the server.
    pub temperature: Option<f32>,
    /// Most tokens of an answer.
    pub max_tokens: u32,
    /// Prompt templates.
    pub prompts: Prompts,
    /// Engines in the language of the session, first tried first.
    pub voices: Vec<Arc<dyn Voice>>,
    /// Engines for the offline coach, which speaks English.
    pub english_voices: Vec<Arc<dyn Voice>>,
    /// Longest wait for a pause in the playing before the coach speaks.
    pub wait_for_pause: Duration,
    /// The player.
    pub speaker: Arc<dyn Speaker>,
    /// True while nobody plays.
    pub in_pause: watch::Receiver<bool>,
    /// Where the coach tells what it does. Every value; when nobody listens any more, the coach goes on.
    pub events: mpsc::UnboundedSender<CoachEvent>,
}

impl Parts {
    /// Parts as configured; with what could not be used, each a line for the log.
    #[must_use]
    pub fn from_config(
        config: &Config,
        context: CoachContext,
        speaker: Arc<dyn Speaker>,
        in_pause: watch::Receiver<bool>,
        events: mpsc::UnboundedSender<CoachEvent>,
    ) -> (Self, Vec<String>) {
        let mut lines = Vec::new();
        let chain = Chain::from_config(&config.llm).unwrap_or_else(|e| {
            lines.push(format!("language model: {e}; the offline coach speaks"));
            None
        });
        let (prompts, errors) = Prompts::load(Path::new(&config.data_dir));
        lines.extend(errors.iter().map(ToString::to_string));
        let language = &config.practice.language;
        let voices = speech::engines(&config.speech, &config.llm, language);
        let english_voices = if is_english(language) {
            voices.clone()
        } else {
            // A voice chosen by hand for another language would read English badly.
            let speech = config::Speech { espeak_voice: String::new(), ..config.speech.clone() };
            speech::engines(&speech, &config.llm, "en")
        };
        // Nobody would hear it: no engine is asked, and that is no failure.
        let silent = config.audio.output.trim().eq_ignore_ascii_case("none");
        let (voices, english_voices) = if silent { Default::default() } else { (voices, english_voices) };
        let why = if silent {
            Some("sound output is switched off".to_owned())
        } else {
            speech::why_no_voice(&config.speech, &config.llm, language)
        };
        lines.extend(why.map(|w| format!("no voice: {w}")));
        let parts = Self {
            context,
            chain,
            temperature: Some(config.llm.temperature).filter(|t| *t >= 0.0),
            max_tokens: config.llm.max_tokens,
            prompts,
            voices,
            english_voices,
            wait_for_pause: config.speech.wait_for_pause,
            speaker,
            in_pause,
            events,
        };
        (parts, lines)
    }
}

/// A closed window on its way to the coach.
#[derive(Clone, Debug)]
pub struct WindowSnapshot {
    /// The window.
    pub window: Window,
    /// When it was closed: all latencies count from here.
    pub closed_at: Instant,
    /// Attributes for its span: the histogram of the real-time loop, drops, overruns.
    pub hop_stats: Vec<KeyValue>,
}

/// Advice while playing, or the summary at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdviceKind {
    /// While playing.
    Live,
    /// At the end.
    Summary,
}

/// One piece of advice, complete.
#[derive(Clone, Debug, PartialEq)]
pub struct AdviceRecord {
    /// 1, 2, 3, … within the session.
    pub id: u64,
    /// Live or summary.
    pub kind: AdviceKind,
    /// The window it is about; `None` for a summary.
    pub window_index: Option<u32>,
    /// When its text was complete.
    pub at: jiff::Timestamp,
    /// What was said.
    pub text: String,
    /// Name of the model, or `offline`.
    pub source: String,
    /// Name and version of the prompt that the model answered; `None` for the offline coach.
    pub prompt: Option<(String, String)>,
    /// Weakest metric of the window.
    pub weakest: Option<Metric>,
    /// Trace in which it was made, in hexadecimal; `None` without a collector.
    pub trace_id: Option<String>,
    /// Span of the operation, in hexadecimal; `None` without a collector.
    pub span_id: Option<String>,
    /// From the close of the window to the complete text, ms.
    pub latency_ms: f64,
    /// From the close of the window to the first sentence, ms.
    pub first_sentence_ms: Option<f64>,
    /// From the request to the model's first text, ms.
    pub first_token_ms: Option<f64>,
    /// Tokens, where counted.
    pub usage: Option<Usage>,
    /// US dollars, where known.
    pub cost_usd: Option<f64>,
    /// What the player should know: why no model spoke, or why in English.
    pub note: Option<String>,
}

/// What the coach does.
#[derive(Clone, Debug, PartialEq)]
pub enum CoachEvent {
    /// A piece of advice is being written.
    AdviceStarted {
        /// Its id.
        id: u64,
    },
    /// A sentence of it is there; sentences are joined by a blank.
    AdviceDelta {
        /// Its id.
        id: u64,
        /// The sentence.
        text: String,
    },
    /// The whole text is there, or as much of it as had gone out when the summary took its place.
    Advice(Box<AdviceRecord>),
    /// It was spoken, to its end or until interrupted.
    Spoken {
        /// Its id.
        id: u64,
        /// Engine that spoke (the last one, when an earlier one failed).
        engine: String,
        /// Length of what was heard, seconds.
        heard_seconds: f64,
        /// From the close of the window to the first sample handed to the device, ms.
        first_sample_ms: Option<f64>,
        /// From the close of the window to the first sample heard, ms.
        first_audible_ms: Option<f64>,
        /// It did not come to its end.
        interrupted: bool,
    },
    /// It could not be spoken, or not to its end; its text stands.
    SpeechFailed {
        /// Its id.
        id: u64,
        /// What happened and what to do.
        reason: String,
        /// The advice before it failed by the same fault, and the player has been told.
        again: bool,
    },
    /// No advice on this window.
    Skipped {
        /// Why.
        reason: String,
    },
}

/// Speaks to the coach. Cheap to clone; when the actor is gone, nothing happens.
#[derive(Clone)]
pub struct CoachHandle {
    commands: mpsc::UnboundedSender<Command>,
}

enum Command {
    Window(WindowSnapshot),
    AskNow,
    Summary(Summary, oneshot::Sender<()>),
    StopVoice,
    Muted(bool),
}

impl CoachHandle {
    /// A window was closed: advice on it, unless nothing was played.
    pub fn window(&self, snapshot: WindowSnapshot) {
        self.send(Command::Window(snapshot));
    }

    /// Advice now: what is being written is spoken without waiting for a pause; otherwise the latest window is
    /// spoken of once more, in other words.
    pub fn ask_now(&self) {
        self.send(Command::AskNow);
    }

    /// The session is over: a summary, in place of all advice still under way. Ends when it has been heard (or
    /// stopped, or could not be made). Windows that come later are not spoken of.
    pub async fn summary(&self, summary: Summary) {
        let (done, heard) = oneshot::channel();
        self.send(Command::Summary(summary, done));
        // An error means that the actor is gone: there is nothing left to wait for.
        let _ = heard.await;
    }

    /// Silences the coach's voice; the text stands.
    pub fn stop_voice(&self) {
        self.send(Command::StopVoice);
    }

    /// While muted the coach writes, but does not speak, and asks no engine for sound.
    pub fn set_muted(&self, muted: bool) {
        self.send(Command::Muted(muted));
    }

    fn send(&self, command: Command) {
        // An error means that the actor is gone, which is how a session ends.
        let _ = self.commands.send(command);
    }
}

/// The coach itself: [`CoachActor::run`] it on the runtime. Dropping it ends everything it has started.
pub struct CoachActor {
    commands: mpsc::UnboundedReceiver<Command>,
    shared: Arc<Shared>,
    writers: JoinSet<()>,
    utterances: JoinSet<()>,
    waiting: Option<(WindowSnapshot, Option<Scores>)>,
    last: Option<(WindowSnapshot, Option<Scores>)>,
    /// Ends the wait for a pause of the advice under way.
    hurry: CancellationToken,
    next_id: u64,
    closing: bool,
}

/// What writers and utterances share.
struct Shared {
    context: CoachContext,
    chain: Option<Chain>,
    temperature: Option<f32>,
    max_tokens: u32,
    prompts: Prompts,
    voices: Vec<Arc<dyn Voice>>,
    english_voices: Vec<Arc<dyn Voice>>,
    wait_for_pause: Duration,
    in_pause: watch::Receiver<bool>,
    floor: Floor,
    /// Engines that failed lately, by their place in `voices` and `english_voices`: both come from the same
    /// settings in the same order.
    rests: Rests,
    events: mpsc::UnboundedSender<CoachEvent>,
    offline: Mutex<Offline>,
    /// What was said last, oldest first.
    said: Mutex<VecDeque<String>>,
}

impl Shared {
    fn tell(&self, event: CoachEvent) {
        // Whoever listened is gone: the coach still speaks.
        let _ = self.events.send(event);
    }

    fn english(&self) -> bool {
        is_english(&self.context.practice.language)
    }

    fn remember(&self, text: &str) {
        let mut said = lock(&self.said);
        said.push_back(text.to_owned());
        if said.len() > REMEMBERED {
            said.pop_front();
        }
    }
}

/// One text to be written.
struct Job {
    id: u64,
    what: What,
    /// All latencies count from here.
    asked: Instant,
    /// Scores of the window before.
    previous: Option<Scores>,
}

enum What {
    Live(WindowSnapshot),
    Summary(Summary),
}

/// A coach: the handle to speak to it, and the actor to run.
#[must_use]
pub fn channel(parts: Parts) -> (CoachHandle, CoachActor) {
    let (sender, commands) = mpsc::unbounded_channel();
    let shared = Shared {
        offline: Mutex::new(Offline::new(parts.context.seed)),
        context: parts.context,
        chain: parts.chain,
        temperature: parts.temperature,
        max_tokens: parts.max_tokens,
        prompts: parts.prompts,
        voices: parts.voices,
        english_voices: parts.english_voices,
        wait_for_pause: parts.wait_for_pause,
        in_pause: parts.in_pause,
        floor: Floor::new(parts.speaker),
        rests: Rests::default(),
        events: parts.events,
        said: Mutex::default(),
    };
    let actor = CoachActor {
        commands,
        shared: Arc::new(shared),
        writers: JoinSet::new(),
        utterances: JoinSet::new(),
        waiting: None,
        last: None,
        hurry: CancellationToken::new(),
        next_id: 1,
        closing: false,
    };
    (CoachHandle { commands: sender }, actor)
}

impl CoachActor {
    /// Works until the last handle is dropped.
    pub async fn run(mut self) {
        loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.obey(command).await,
                    None => break,
                },
                Some(end) = self.writers.join_next() => {
                    report(&end);
                    if self.writers.is_empty() && let Some((snapshot, previous)) = self.waiting.take() {
                        self.advise(snapshot, previous);
                    }
                }
                Some(end) = self.utterances.join_next() => report(&end),
            }
        }
        self.shared.floor.silence();
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Window(snapshot) => self.window(snapshot),
            Command::AskNow => self.ask_now(),
            Command::Summary(summary, done) => self.summary(summary, done).await,
            Command::StopVoice => self.shared.floor.silence(),
            Command::Muted(muted) => self.shared.floor.set_muted(muted),
        }
    }

    fn window(&mut self, snapshot: WindowSnapshot) {
        if self.closing {
            return;
        }
        let index = snapshot.window.index;
        let previous =
            self.last.as_ref().filter(|(s, _)| s.window.index < index).map(|(s, _)| s.window.scores);
        if let Some(reason) = nothing_to_say(&snapshot.window) {
            self.shared.tell(CoachEvent::Skipped { reason: format!("window {index}: {reason}") });
            return;
        }
        self.last = Some((snapshot.clone(), previous));
        if self.writers.is_empty() {
            self.advise(snapshot, previous);
        } else if let Some((old, _)) = self.waiting.replace((snapshot, previous)) {
            let reason = format!("window {}: a newer one came before its turn", old.window.index);
            self.shared.tell(CoachEvent::Skipped { reason });
        }
    }

    fn ask_now(&mut self) {
        if self.closing {
            return;
        }
        if !self.writers.is_empty() || self.shared.floor.is_waiting() {
            self.hurry.cancel();
        } else if let Some((snapshot, previous)) = self.last.clone() {
            let snapshot = WindowSnapshot { closed_at: Instant::now(), ..snapshot };
            self.advise(snapshot, previous);
            self.hurry.cancel();
        } else {
            self.shared.tell(CoachEvent::Skipped { reason: "nothing has been played yet".into() });
        }
    }

    async fn summary(&mut self, summary: Summary, done: oneshot::Sender<()>) {
        self.closing = true;
        self.waiting = None;
        // Their end comes at once: what they had let out is on record before the summary begins.
        self.writers.abort_all();
        while let Some(end) = self.writers.join_next().await {
            report(&end);
        }
        if summary.weakest.is_none() {
            self.shared.tell(CoachEvent::Skipped { reason: "summary: nothing was measured".into() });
            // Whoever waits may be gone already.
            let _ = done.send(());
            return;
        }
        let asked = Instant::now();
        self.start(What::Summary(summary), asked, None, Some(done));
        // The session is over: there is no playing to wait for.
        self.hurry.cancel();
    }

    fn advise(&mut self, snapshot: WindowSnapshot, previous: Option<Scores>) {
        let asked = snapshot.closed_at;
        self.start(What::Live(snapshot), asked, previous, None);
    }

    fn start(
        &mut self,
        what: What,
        asked: Instant,
        previous: Option<Scores>,
        heard: Option<oneshot::Sender<()>>,
    ) {
        let id = self.next_id;
        self.next_id += 1;
        self.hurry = CancellationToken::new();
        let (sentences, text) = mpsc::unbounded_channel();
        let job = Job { id, what, asked, previous };
        let utterance = speak::Utterance { id, asked, hurry: self.hurry.clone(), text };
        let (spoken, silence) = oneshot::channel::<()>();
        let shared = self.shared.clone();
        self.utterances.spawn(async move {
            speak::speak(&shared, utterance).await;
            drop(spoken);
        });
        let shared = self.shared.clone();
        self.writers.spawn(async move {
            advise::write(&shared, job, sentences).await;
            if let Some(heard) = heard {
                // Always an error: the utterance drops its end when it is over.
                let _ = silence.await;
                // Whoever waits may be gone already.
                let _ = heard.send(());
            }
        });
    }
}

/// A task of ours that panicked must not go unnoticed; one that was cancelled was cancelled by us.
fn report(end: &Result<(), tokio::task::JoinError>) {
    if let Err(error) = end
        && error.is_panic()
    {
        tracing::error!("the coach lost a piece of advice: {error}");
    }
}

/// Why there is no advice on this window.
fn nothing_to_say(window: &Window) -> Option<&'static str> {
    if window.facts.note_count == 0 && window.facts.gated_count > 0 {
        Some("every note was covered by the coach's own voice")
    } else if window.facts.note_count == 0 {
        Some("no notes")
    } else if window.weakest.is_none() {
        Some("nothing could be measured")
    } else {
        None
    }
}

fn is_english(language: &str) -> bool {
    let language = language.trim().to_ascii_lowercase();
    language.is_empty() || language == "en" || language.starts_with("en-") || language.contains("english")
}

/// The data behind our locks is replaced whole, so it is sound even after a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

//! From sentences to sound: one operation, `live-coach-tts`, a trace of its own, linked to the advice it speaks.
//!
//! Two halves run side by side. One makes sound, sentence by sentence, falling back from engine to engine; it
//! runs ahead of the player, so that there is no gap between sentences. The other waits for a pause in the
//! playing and hands the sound to the player.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::StreamExt;
use opentelemetry::trace::SpanContext;
use serde_json::json;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::Span;

use super::advise::ms;
use super::words::spoken;
use super::{CoachEvent, Mouth, Playback, Shared, Speaker, lock};
use crate::names::{attr, op, span, tag};
use crate::span::{Kind, SpanExt};
use crate::speech::{SpeechError, Voice};

/// How fast engines speak, characters a second: enough to guess which words of a sentence were heard before
/// its engine broke.
const CHARS_PER_SECOND: f64 = 14.0;

/// Most sound that is made ahead of the player, samples: half a minute at 48 kHz, more than any advice lasts. Beyond it
/// the engines wait, so that none can fill the memory, however long the coach waits for a pause.
pub(super) const MAX_AHEAD: u32 = 30 * 48_000;

/// One sentence on its way to the voice.
pub(super) struct Sentence {
    pub text: String,
    /// It is English whatever the session's language.
    pub english: bool,
    /// The operation that wrote it.
    pub advice: SpanContext,
    /// When the first sentence of this advice was complete.
    pub first: Instant,
}

/// One piece of advice to be spoken.
pub(super) struct Utterance {
    pub id: u64,
    /// All latencies count from here.
    pub asked: Instant,
    /// Cancelled: do not wait for a pause.
    pub hurry: CancellationToken,
    pub text: UnboundedReceiver<Sentence>,
}

/// Who may speak: one utterance at a time.
pub(super) struct Floor {
    speaker: Arc<dyn Speaker>,
    muted: AtomicBool,
    /// The latest utterance failed for want of a device, and the player has been told.
    told: AtomicBool,
    /// Held whenever the player is told to begin or to stop, so that a stop cannot come between the decision to
    /// speak and the first sound, nor hit the next utterance.
    holder: Mutex<Option<Holder>>,
}

struct Holder {
    id: u64,
    cancel: CancellationToken,
    sounding: bool,
}

impl Floor {
    pub(super) fn new(speaker: Arc<dyn Speaker>) -> Self {
        Self {
            speaker,
            muted: AtomicBool::new(false),
            told: AtomicBool::new(false),
            holder: Mutex::new(None),
        }
    }

    /// Stops what is spoken or about to be.
    pub(super) fn silence(&self) {
        let mut holder = lock(&self.holder);
        if let Some(holder) = holder.take() {
            holder.cancel.cancel();
        }
        self.speaker.stop();
    }

    pub(super) fn set_muted(&self, muted: bool) {
        self.muted.store(muted, Relaxed);
        self.speaker.set_muted(muted);
        if muted {
            self.silence();
        }
    }

    /// An utterance is ready and waits for a pause in the playing.
    pub(super) fn is_waiting(&self) -> bool {
        lock(&self.holder).as_ref().is_some_and(|h| !h.sounding)
    }

    /// Gives the floor to this utterance and cancels the one before; `None` while muted.
    fn take(&self, id: u64) -> Option<CancellationToken> {
        let mut holder = lock(&self.holder);
        if self.muted.load(Relaxed) {
            return None;
        }
        let cancel = CancellationToken::new();
        if let Some(before) = holder.replace(Holder { id, cancel: cancel.clone(), sounding: false }) {
            before.cancel.cancel();
            self.speaker.stop();
        }
        Some(cancel)
    }

    /// Begins to sound; `None` when it was stopped, or lost the floor, up to this moment.
    fn begin(&self, id: u64) -> Option<Box<dyn Mouth>> {
        let mut holder = lock(&self.holder);
        holder.as_mut().filter(|h| h.id == id)?.sounding = true;
        Some(self.speaker.say(id))
    }

    fn release(&self, id: u64) {
        let mut holder = lock(&self.holder);
        if holder.as_ref().is_some_and(|h| h.id == id) {
            *holder = None;
        }
    }
}

/// What was made of the text.
#[derive(Default)]
struct Made {
    text: String,
    sentences: i64,
    seconds: f64,
    bytes: i64,
    engine: Option<&'static str>,
    voice: String,
    /// No engine was left for a sentence.
    error: Option<SpeechError>,
}

/// Sound on its way to the player.
struct Piece {
    samples: Vec<f32>,
    rate: u32,
    /// Its share of [`MAX_AHEAD`], given back when the player has taken it.
    _room: OwnedSemaphorePermit,
}

/// Where sound goes to the player: waits while there is [`MAX_AHEAD`] of it.
struct Out {
    pieces: UnboundedSender<Piece>,
    room: Arc<Semaphore>,
}

impl Out {
    fn new() -> (Self, UnboundedReceiver<Piece>) {
        let (pieces, receiver) = mpsc::unbounded_channel();
        (Self { pieces, room: Arc::new(Semaphore::new(MAX_AHEAD as usize)) }, receiver)
    }

    async fn send(&self, samples: Vec<f32>, rate: u32) {
        // A piece that is longer than all the room takes it all. An empty one is nothing to play.
        let share = u32::try_from(samples.len()).unwrap_or(MAX_AHEAD).min(MAX_AHEAD);
        if share > 0
            && let Ok(room) = self.room.clone().acquire_many_owned(share).await
        {
            // An error means that the player has stopped; the trace says so elsewhere.
            let _ = self.pieces.send(Piece { samples, rate, _room: room });
        }
    }
}

/// What the player made of it.
struct Heard {
    playback: Playback,
    waited: Duration,
}

/// Speaks one piece of advice; ends when it has been heard, was stopped, or could not be spoken.
pub(super) async fn speak(shared: &Shared, mut utterance: Utterance) {
    let Some(first) = utterance.text.recv().await else { return };
    let voices = if first.english { &shared.english_voices } else { &shared.voices };
    if voices.is_empty() {
        return;
    }
    let Some(cancel) = shared.floor.take(utterance.id) else { return };
    let id = utterance.id;
    let root = shared.context.thread.root(op::LIVE_COACH_TTS, Kind::Chain, &[tag::LIVE_COACH, tag::TTS]);
    root.put(attr::OPERATION, "invoke_workflow");
    root.put(attr::WORKFLOW, op::LIVE_COACH_TTS);
    root.put(attr::FRETCOACH_SESSION, shared.context.session_id.clone());
    root.put(attr::ADVICE_ID, i64::try_from(id).unwrap_or(i64::MAX));
    if first.advice.is_valid() {
        root.link_to(&first.advice);
    }
    if let Some(why) = shared.floor.speaker.trouble() {
        unheard_of(shared, &root, id, first, &mut utterance.text, why).await;
        shared.floor.release(id);
        return;
    }
    shared.floor.told.store(false, Relaxed);
    let ready = first.first;
    let (sound, pieces) = Out::new();
    let mut made = Made::default();
    let make = async {
        let english = first.english || shared.english();
        tokio::select! {
            () = cancel.cancelled() => {}
            () = synthesise(shared, &root, voices, english, first, &mut utterance.text, &sound, &mut made) => {}
        }
        drop(sound);
    };
    let play = play(shared, &root, id, utterance.asked, ready, &utterance.hurry, &cancel, pieces);
    let ((), heard) = tokio::join!(make, play);
    shared.floor.release(id);
    report(shared, &root, id, utterance.asked, &made, heard.as_ref());
}

/// There is no output device: no engine is asked, and nothing waits for a pause. The first time is a failure, of
/// which the player is told; after that it is known.
async fn unheard_of(
    shared: &Shared,
    root: &Span,
    id: u64,
    first: Sentence,
    rest: &mut UnboundedReceiver<Sentence>,
    why: String,
) {
    let mut text = first.text;
    while let Some(sentence) = rest.recv().await {
        text.push(' ');
        text.push_str(&sentence.text);
    }
    root.input_text(&text);
    root.output_json(&json!({ "skipped": why }));
    root.put(attr::TTS_SECONDS, 0.0);
    let error = PlaybackError(why);
    let again = shared.floor.told.swap(true, Relaxed);
    if again {
        root.event("skipped", vec![]);
    } else {
        root.fail("playback", &error);
        tracing::warn!("advice {id}: {error}");
    }
    shared.tell(CoachEvent::SpeechFailed { id, reason: error.to_string(), again });
}

fn report(shared: &Shared, root: &Span, id: u64, asked: Instant, made: &Made, heard: Option<&Heard>) {
    root.input_text(&made.text);
    let playback = heard.map(|h| &h.playback);
    let seconds = playback.map_or(0.0, |p| p.heard_seconds);
    let broken = made.error.is_some() || playback.is_some_and(|p| p.error.is_some());
    let interrupted = broken || playback.is_none_or(|p| p.interrupted);
    root.output_json(&json!({
        "engine": made.engine, "voice": made.voice, "seconds": round(made.seconds), "heard_seconds": round(seconds),
        "bytes": made.bytes, "sentences": made.sentences, "interrupted": interrupted,
    }));
    if let Some(engine) = made.engine {
        root.put(attr::TTS_ENGINE, engine);
        root.put(attr::TTS_VOICE, made.voice.clone());
    }
    root.put(attr::TTS_SECONDS, made.seconds);
    root.put(attr::TTS_INTERRUPTED, interrupted);
    let handed = playback.and_then(|p| p.first_sample_handed_over).map(|t| ms(asked, t));
    let audible = playback.and_then(|p| p.first_audible).map(|t| ms(asked, t));
    if let Some(t) = audible.or(handed) {
        root.put(attr::FIRST_SAMPLE_MS, t);
    }
    if let Some(h) = heard {
        root.put(attr::WAITED_FOR_PAUSE_MS, h.waited.as_secs_f64() * 1e3);
        shared.tell(CoachEvent::Spoken {
            id,
            engine: made.engine.unwrap_or_default().to_owned(),
            heard_seconds: seconds,
            first_sample_ms: handed,
            first_audible_ms: audible,
            interrupted,
        });
    }
    let device = playback.and_then(|p| p.error.clone()).map(PlaybackError);
    if let Some(error) = &made.error {
        root.fail(error.kind(), error);
        let reason = crate::span::chain(error);
        tracing::warn!("advice {id} was not spoken: {reason}");
        shared.tell(CoachEvent::SpeechFailed { id, reason, again: false });
    } else if let Some(error) = device {
        shared.floor.told.store(true, Relaxed);
        root.fail("playback", &error);
        tracing::warn!("advice {id}: {error}");
        shared.tell(CoachEvent::SpeechFailed { id, reason: error.to_string(), again: false });
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the voice could not be played ({0}); check the output device")]
struct PlaybackError(String);

fn round(x: f64) -> f64 {
    (x * 1000.0).round() / 1000.0
}

#[expect(clippy::too_many_arguments, reason = "one call, both ends in this file")]
async fn synthesise(
    shared: &Shared,
    root: &Span,
    voices: &[Arc<dyn Voice>],
    english: bool,
    first: Sentence,
    text: &mut UnboundedReceiver<Sentence>,
    sound: &Out,
    made: &mut Made,
) {
    let order = shared.rests.order(voices.len(), Instant::now());
    let mut turn = 0;
    let mut attempt = 0;
    let mut next = Some(first);
    while let Some(sentence) = next {
        let mut rest = spoken(&sentence.text, english);
        if !made.text.is_empty() {
            made.text.push(' ');
        }
        made.text.push_str(&sentence.text);
        made.sentences += 1;
        let mut before: Option<&'static str> = None;
        loop {
            let engine = order[turn];
            let voice = voices[engine].as_ref();
            attempt += 1;
            let s = open(shared, root, voice, &rest, attempt);
            if let Some(kind) = before {
                s.put(attr::FALLBACK_REASON, kind);
            }
            let (seconds, result) = request(voice, &rest, &s, sound, made).await;
            let Err(error) = result else {
                shared.rests.worked(engine);
                break;
            };
            s.fail(error.kind(), &error);
            shared.rests.failed(engine, Instant::now());
            before = Some(error.kind());
            turn += 1;
            let Some(next) = order.get(turn) else {
                made.error = Some(error);
                return;
            };
            tracing::warn!("{error}; {} speaks on", voices[*next].engine());
            rest = unheard(&rest, seconds).to_owned();
            if rest.is_empty() {
                break;
            }
        }
        next = text.recv().await;
    }
}

fn open(shared: &Shared, root: &Span, voice: &dyn Voice, text: &str, attempt: i64) -> Span {
    let thread = &shared.context.thread;
    // Only a server is another party; a program on this machine is a step of our own.
    let remote = !voice.model().is_empty();
    let s = if remote {
        thread.client(root, span::TTS_REQUEST, Kind::Llm)
    } else {
        thread.child(root, span::TTS_REQUEST, Kind::Llm)
    };
    s.put(attr::OPERATION, "text_to_speech");
    s.put(attr::OUTPUT_TYPE, "speech");
    s.put(attr::PROVIDER, voice.engine());
    s.put(attr::TTS_ENGINE, voice.engine());
    s.put(attr::TTS_VOICE, voice.voice().to_owned());
    if remote {
        s.put(attr::REQUEST_MODEL, voice.model().to_owned());
        s.put(attr::LLM_MODEL, voice.model().to_owned());
    }
    s.put(attr::TTS_CHARS, i64::try_from(text.chars().count()).unwrap_or(i64::MAX));
    s.put(attr::ATTEMPT, attempt);
    s.input_text(text);
    s
}

/// One sentence by one engine: seconds of sound that it made, and how it ended.
async fn request(
    voice: &dyn Voice,
    text: &str,
    s: &Span,
    sound: &Out,
    made: &mut Made,
) -> (f64, Result<(), SpeechError>) {
    let asked = Instant::now();
    let mut pcm = match voice.speak(text).await {
        Ok(pcm) => pcm,
        Err(error) => return (0.0, Err(error)),
    };
    s.put(attr::TTFB_MS, ms(asked, Instant::now()));
    made.engine = Some(voice.engine());
    voice.voice().clone_into(&mut made.voice);
    let rate = pcm.sample_rate.max(1);
    let mut count = 0_usize;
    let mut result = Ok(());
    while let Some(piece) = pcm.chunks.next().await {
        match piece {
            Ok(samples) => {
                count += samples.len();
                sound.send(samples, rate).await;
            }
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "minutes of sound at most")]
    let seconds = count as f64 / f64::from(rate);
    // Engines send 16-bit samples.
    let bytes = i64::try_from(count * 2).unwrap_or(i64::MAX);
    made.seconds += seconds;
    made.bytes += bytes;
    s.put(attr::TTS_SECONDS, seconds);
    s.put(attr::TTS_BYTES, bytes);
    s.output_json(&json!({ "seconds": round(seconds), "bytes": bytes, "sample_rate": rate }));
    (seconds, result)
}

/// The words that were not spoken when an engine broke after so many seconds: rather one twice than one lost.
fn unheard(text: &str, seconds: f64) -> &str {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a sentence")]
    let spoken = (seconds.max(0.0) * CHARS_PER_SECOND) as usize;
    let end = text.char_indices().nth(spoken).map_or(text.len(), |(i, _)| i);
    let word = text[..end].rfind(' ').map_or(0, |i| i + 1);
    text[word..].trim()
}

#[expect(clippy::too_many_arguments, reason = "one call, both ends in this file")]
async fn play(
    shared: &Shared,
    root: &Span,
    id: u64,
    asked: Instant,
    ready: Instant,
    hurry: &CancellationToken,
    cancel: &CancellationToken,
    mut pieces: UnboundedReceiver<Piece>,
) -> Option<Heard> {
    let first = tokio::select! {
        biased;
        () = cancel.cancelled() => None,
        piece = pieces.recv() => piece,
    }?;
    let mut in_pause = shared.in_pause.clone();
    tokio::select! {
        biased;
        () = cancel.cancelled() => return None,
        () = hurry.cancelled() => {}
        // An error means that nobody tells of pauses any more: there is nothing to wait for.
        _ = in_pause.wait_for(|pause| *pause) => {}
        () = tokio::time::sleep_until((ready + shared.wait_for_pause).into()) => {}
    }
    let waited = ready.elapsed();
    let mut mouth = shared.floor.begin(id)?;
    let s = shared.context.thread.child(root, span::TTS_PLAYBACK, Kind::Tool);
    s.put(attr::WAITED_FOR_PAUSE_MS, waited.as_secs_f64() * 1e3);
    let mut next = Some(first);
    while let Some(piece) = next {
        if mouth.push(&piece.samples, piece.rate).await.is_err() {
            // Stopped, or another utterance has begun: no more sound is needed.
            cancel.cancel();
            break;
        }
        // Gives its room back: the next piece may be waiting for it.
        drop(piece);
        next = tokio::select! {
            biased;
            () = cancel.cancelled() => None,
            piece = pieces.recv() => piece,
        };
    }
    let early = mouth.first_sample();
    let mut playback = mouth.finish().await;
    playback.first_sample_handed_over = playback.first_sample_handed_over.or(early);
    playback.interrupted |= cancel.is_cancelled();
    if let Some(t) = playback.first_audible.or(playback.first_sample_handed_over) {
        s.put(attr::FIRST_SAMPLE_MS, ms(asked, t));
    }
    s.put(attr::TTS_SECONDS, playback.heard_seconds);
    s.put(attr::TTS_INTERRUPTED, playback.interrupted);
    s.put(attr::TTS_UNDERRUNS, i64::try_from(playback.underruns).unwrap_or(i64::MAX));
    s.put(attr::OUTPUT_PERIOD, i64::from(playback.period_frames));
    if let Some(error) = &playback.error {
        s.fail("playback", &PlaybackError(error.clone()));
    }
    Some(Heard { playback, waited })
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::coach::FakeSpeaker;

    #[test]
    fn who_was_stopped_before_the_first_sound_does_not_begin() {
        let speaker = FakeSpeaker::default();
        let floor = Floor::new(Arc::new(speaker.clone()));
        let stops: [fn(&Floor); 3] = [
            Floor::silence,
            |f| f.set_muted(true),
            |f| {
                f.take(2);
            },
        ];
        for stop in stops {
            let cancel = floor.take(1).unwrap();
            stop(&floor);
            assert!(cancel.is_cancelled() && floor.begin(1).is_none());
            assert!(speaker.heard().is_empty());
            floor.set_muted(false);
        }
        assert!(floor.begin(2).is_some() && !floor.is_waiting());
    }

    #[tokio::test]
    async fn engines_wait_when_they_are_far_ahead_of_the_player() {
        let (out, mut pieces) = Out::new();
        let second = vec![0.0; 48_000];
        for _ in 0..30 {
            out.send(second.clone(), 48_000).now_or_never().expect("there is room");
        }
        assert!(out.send(second.clone(), 48_000).now_or_never().is_none(), "no more room");
        pieces.recv().await.unwrap();
        out.send(second, 48_000).now_or_never().expect("the player has taken one");
        drop(pieces);
        let long = vec![0.0; MAX_AHEAD as usize + 1];
        out.send(long, 48_000).now_or_never().expect("nobody waits for a player that is gone");
    }

    #[test]
    fn the_next_engine_goes_on_where_the_last_one_broke() {
        let text = "Your timing is tight at ninety four today.";
        assert_eq!(unheard(text, 0.0), text);
        assert_eq!(unheard(text, 1.2), "tight at ninety four today.");
        assert_eq!(unheard(text, 60.0), "today.", "the end is rather said twice than lost");
        assert_eq!(unheard("", 1.0), "");
    }
}

//! The coach with scripted models, voices and player: who speaks when, and what is kept when something fails.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use futures::StreamExt;
use tokio::sync::Semaphore;

use super::*;
use crate::llm::{ChatDelta, ChatModel, ChatRequest, ChatStream, FakeModel, LlmError, Prices};
use crate::prompt::facts::tests as samples;
use crate::speech::{Act, FAKE_RATE, FakeVoice, PcmStream, SpeechError};

struct Stage {
    coach: CoachHandle,
    events: mpsc::UnboundedReceiver<CoachEvent>,
    speaker: FakeSpeaker,
    pause: watch::Sender<bool>,
}

#[derive(Default)]
struct Cast {
    models: Vec<Arc<dyn ChatModel>>,
    voices: Vec<Arc<dyn Voice>>,
    speaker: FakeSpeaker,
    playing: bool,
    language: String,
}

impl Cast {
    fn begin(self) -> Stage {
        let (events, receiver) = mpsc::unbounded_channel();
        let (pause, in_pause) = watch::channel(!self.playing);
        let practice = config::Practice { language: self.language, bpm: 90.0, ..config::Practice::default() };
        let parts = Parts {
            context: CoachContext {
                session_id: "s".into(),
                thread: Thread::new("s-live-aicoach-feedback", "u", vec![]),
                practice,
                scale_name: Some("A minor pentatonic".into()),
                scale_notes: ["A", "C", "D", "E", "G"].map(String::from).to_vec(),
                seed: 1,
            },
            chain: (!self.models.is_empty()).then(|| Chain::new(self.models, Prices::default())),
            temperature: Some(0.7),
            max_tokens: 300,
            prompts: Prompts::default(),
            english_voices: self.voices.clone(),
            voices: self.voices,
            // Longer than any test: whoever waits for a pause waits for the test to allow it.
            wait_for_pause: Duration::from_secs(600),
            speaker: Arc::new(self.speaker.clone()),
            in_pause,
            events,
        };
        let (coach, actor) = channel(parts);
        tokio::spawn(actor.run());
        Stage { coach, events: receiver, speaker: self.speaker, pause }
    }
}

impl Stage {
    async fn next(&mut self) -> CoachEvent {
        self.events.recv().await.expect("the coach goes on")
    }

    async fn record(&mut self) -> AdviceRecord {
        loop {
            if let CoachEvent::Advice(record) = self.next().await {
                return *record;
            }
        }
    }

    async fn until(&mut self, found: impl Fn(&CoachEvent) -> bool) -> CoachEvent {
        loop {
            let event = self.next().await;
            if found(&event) {
                return event;
            }
        }
    }
}

fn snapshot(index: u32) -> WindowSnapshot {
    let window = Window { index, ..samples::window() };
    WindowSnapshot { window, closed_at: Instant::now(), hop_stats: vec![] }
}

fn says(texts: &[&str]) -> Arc<FakeModel> {
    Arc::new(FakeModel::new("m", texts.iter().map(|t| FakeModel::says(t))))
}

fn is_spoken(e: &CoachEvent) -> bool {
    matches!(e, CoachEvent::Spoken { .. })
}

/// A model that answers only when it is allowed to.
struct Patient {
    allowed: Arc<Semaphore>,
    asked: AtomicUsize,
}

impl ChatModel for Patient {
    fn model(&self) -> &str {
        "patient"
    }
    fn provider(&self) -> &str {
        "fake"
    }
    fn server(&self) -> (String, u16) {
        ("fake.invalid".into(), 0)
    }
    fn stream(&self, _: &ChatRequest) -> BoxFuture<'_, Result<ChatStream, LlmError>> {
        self.asked.fetch_add(1, SeqCst);
        let allowed = self.allowed.clone();
        Box::pin(async move {
            allowed.acquire().await.expect("open").forget();
            let text = ["Good work.", " Now rest."].map(|t| Ok(ChatDelta::Text(t.into())));
            Ok(futures::stream::iter(text)
                .chain(futures::stream::iter([Ok(ChatDelta::Finish("stop".into()))]))
                .boxed())
        })
    }
}

fn patient() -> (Arc<Patient>, Arc<Semaphore>) {
    let allowed = Arc::new(Semaphore::new(0));
    (Arc::new(Patient { allowed: allowed.clone(), asked: AtomicUsize::new(0) }), allowed)
}

#[tokio::test]
async fn without_a_model_the_rules_speak_sentence_by_sentence() {
    let voice = Arc::new(FakeVoice::new([]));
    let mut stage = Cast { voices: vec![voice.clone()], ..Cast::default() }.begin();
    stage.coach.window(snapshot(0));
    assert_eq!(stage.next().await, CoachEvent::AdviceStarted { id: 1 });
    let mut deltas = Vec::new();
    let record = loop {
        match stage.next().await {
            CoachEvent::AdviceDelta { id: 1, text } => deltas.push(text),
            CoachEvent::Advice(record) => break *record,
            CoachEvent::Spoken { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        (record.source.as_str(), record.kind, record.window_index),
        ("offline", AdviceKind::Live, Some(0))
    );
    assert_eq!(record.weakest, Some(Metric::PitchAccuracy));
    assert_eq!((deltas.len(), deltas.join(" ")), (2, record.text.clone()));
    assert!(words::count(&record.text) <= 30 && record.note.is_none());
    let CoachEvent::Spoken { id: 1, interrupted: false, heard_seconds, .. } = stage.until(is_spoken).await
    else {
        panic!()
    };
    assert_eq!(voice.said().len(), 2);
    let heard = stage.speaker.heard();
    assert_eq!((heard.len(), heard[0].rate), (1, FAKE_RATE));
    assert!((heard[0].samples.len() as f64 / f64::from(FAKE_RATE) - heard_seconds).abs() < 1e-9);
}

#[tokio::test]
async fn no_notes_no_call() {
    let model = says(&["Nice."]);
    let mut stage = Cast { models: vec![model.clone()], ..Cast::default() }.begin();
    let mut empty = snapshot(0);
    empty.window.facts.note_count = 0;
    stage.coach.window(empty);
    assert!(matches!(stage.next().await, CoachEvent::Skipped { reason } if reason.contains("no notes")));
    assert!(model.asked().is_empty());
}

#[tokio::test]
async fn the_model_is_told_the_facts_and_cut_at_the_limit() {
    let long = format!("Your timing is tight. {} Never said.", "word ".repeat(30));
    let model = says(&[&long]);
    let voice = Arc::new(FakeVoice::new([]));
    let mut stage =
        Cast { models: vec![model.clone()], voices: vec![voice.clone()], ..Cast::default() }.begin();
    stage.coach.window(snapshot(0));
    let record = stage.record().await;
    assert_eq!((record.text.as_str(), record.source.as_str()), ("Your timing is tight.", "m"));
    stage.until(is_spoken).await;
    assert_eq!(voice.said(), ["Your timing is tight."]);
    let asked = &model.asked()[0];
    assert!(
        asked.messages[0].content.contains("30 words")
            && asked.messages[1].content.contains("22 cents sharp")
    );
}

#[tokio::test]
async fn all_models_fail_and_the_rules_speak() {
    let gone = Arc::new(FakeModel::new("gone", []));
    let junk = says(&["🎸 **"]);
    for (model, why) in [(gone, "the script is over"), (junk, "nothing that could be said")] {
        let mut stage = Cast { models: vec![model], ..Cast::default() }.begin();
        stage.coach.window(snapshot(0));
        let record = stage.record().await;
        assert_eq!(record.source, "offline");
        assert!(!record.text.is_empty() && record.note.unwrap().contains(why));
    }
}

#[tokio::test]
async fn in_another_language_the_rules_say_why_they_speak_english() {
    let mut stage = Cast { language: "de".into(), ..Cast::default() }.begin();
    stage.coach.window(snapshot(0));
    assert!(stage.record().await.note.unwrap().contains("English only"));
}

#[tokio::test]
async fn one_text_at_a_time_and_only_the_newest_window_waits() {
    let (model, allowed) = patient();
    let mut stage = Cast { models: vec![model.clone()], ..Cast::default() }.begin();
    for index in 0..4 {
        stage.coach.window(snapshot(index));
    }
    for index in [1, 2] {
        let skipped = stage.until(|e| matches!(e, CoachEvent::Skipped { .. })).await;
        assert!(
            matches!(skipped, CoachEvent::Skipped { reason } if reason.starts_with(&format!("window {index}:")))
        );
    }
    assert_eq!(model.asked.load(SeqCst), 1, "never two calls at once");
    allowed.add_permits(2);
    let indices = [stage.record().await.window_index, stage.record().await.window_index];
    assert_eq!(indices, [Some(0), Some(3)]);
    assert_eq!(model.asked.load(SeqCst), 2);
}

#[tokio::test]
async fn a_new_utterance_cancels_the_one_before() {
    let cast = Cast {
        models: vec![says(&["First one.", "Second one."])],
        voices: vec![Arc::new(FakeVoice::new([]))],
        speaker: FakeSpeaker::holding(),
        ..Cast::default()
    };
    let mut stage = cast.begin();
    stage.coach.window(snapshot(0));
    stage.record().await;
    while stage.speaker.heard().is_empty() {
        tokio::task::yield_now().await;
    }
    stage.coach.window(snapshot(1));
    let spoken = stage.until(is_spoken).await;
    assert!(matches!(spoken, CoachEvent::Spoken { id: 1, interrupted: true, .. }), "{spoken:?}");
    stage.speaker.run_on();
    let spoken = stage.until(is_spoken).await;
    assert!(matches!(spoken, CoachEvent::Spoken { id: 2, interrupted: false, .. }), "{spoken:?}");
}

#[tokio::test]
async fn stop_silences_and_mute_asks_no_engine() {
    let voice = Arc::new(FakeVoice::new([]));
    let cast = Cast { voices: vec![voice.clone()], speaker: FakeSpeaker::holding(), ..Cast::default() };
    let mut stage = cast.begin();
    stage.coach.window(snapshot(0));
    stage.record().await;
    while stage.speaker.heard().is_empty() {
        tokio::task::yield_now().await;
    }
    stage.coach.stop_voice();
    assert!(matches!(stage.until(is_spoken).await, CoachEvent::Spoken { interrupted: true, .. }));

    stage.coach.set_muted(true);
    let asked = voice.said().len();
    stage.coach.window(snapshot(1));
    assert_eq!(stage.record().await.id, 2, "the text is written all the same");
    stage.coach.set_muted(false);
    stage.speaker.run_on();
    stage.coach.window(snapshot(2));
    assert!(matches!(stage.until(is_spoken).await, CoachEvent::Spoken { id: 3, .. }));
    assert_eq!(voice.said().len(), asked + 2);
    assert!(!stage.speaker.is_muted());
}

#[tokio::test]
async fn it_waits_for_a_pause_with_the_sound_at_hand() {
    let voice = Arc::new(FakeVoice::new([]));
    let mut stage = Cast { voices: vec![voice.clone()], playing: true, ..Cast::default() }.begin();
    stage.coach.window(snapshot(0));
    stage.record().await;
    while voice.said().len() < 2 {
        tokio::task::yield_now().await;
    }
    assert!(stage.speaker.heard().is_empty(), "not into the playing");
    stage.pause.send_replace(true);
    assert!(matches!(stage.until(is_spoken).await, CoachEvent::Spoken { id: 1, .. }));
    // Asked for by hand, it does not wait.
    stage.pause.send_replace(false);
    stage.coach.window(snapshot(1));
    stage.record().await;
    stage.coach.ask_now();
    assert!(matches!(stage.until(is_spoken).await, CoachEvent::Spoken { id: 2, .. }));
}

#[tokio::test]
async fn asked_again_it_speaks_of_the_latest_window_in_other_words() {
    let mut stage = Cast::default().begin();
    stage.coach.ask_now();
    assert!(
        matches!(stage.next().await, CoachEvent::Skipped { reason } if reason.contains("nothing has been played"))
    );
    stage.coach.window(snapshot(5));
    let first = stage.record().await;
    stage.coach.ask_now();
    let second = stage.record().await;
    assert_eq!((second.window_index, second.id), (Some(5), 2));
    assert_ne!(first.text, second.text);
}

#[tokio::test]
async fn when_an_engine_breaks_the_next_speaks_the_rest() {
    let broken = Arc::new(FakeVoice::new([Act::Speak(0.5), Act::Break(0.0), Act::Fail]));
    let second = Arc::new(FakeVoice::new([]));
    let mut stage = Cast {
        models: vec![says(&["One is said. Two is not. Three neither."])],
        voices: vec![broken.clone(), second.clone()],
        ..Cast::default()
    }
    .begin();
    stage.coach.window(snapshot(0));
    assert!(matches!(stage.until(is_spoken).await, CoachEvent::Spoken { interrupted: false, .. }));
    assert_eq!(broken.said(), ["One is said.", "Two is not."]);
    assert_eq!(second.said(), ["Two is not.", "Three neither."]);
    assert_eq!(stage.speaker.heard().len(), 1, "one utterance");
}

#[tokio::test]
async fn when_all_engines_fail_the_text_is_kept() {
    let voices: Vec<Arc<dyn Voice>> =
        vec![Arc::new(FakeVoice::new([Act::Fail])), Arc::new(FakeVoice::new([Act::Fail]))];
    let mut stage = Cast { models: vec![says(&["Well done."])], voices, ..Cast::default() }.begin();
    stage.coach.window(snapshot(0));
    assert_eq!(stage.record().await.text, "Well done.");
    let failed = stage.next().await;
    assert!(
        matches!(&failed, CoachEvent::SpeechFailed { id: 1, reason, .. } if reason.contains("told to fail")),
        "{failed:?}"
    );
    assert!(stage.speaker.heard().is_empty());
}

#[tokio::test]
async fn an_engine_that_failed_is_not_waited_for_again() {
    let hangs = Arc::new(FakeVoice::new([Act::Fail]));
    let second = Arc::new(FakeVoice::new([]));
    let mut stage = Cast {
        models: vec![says(&["One.", "Two."])],
        voices: vec![hangs.clone(), second.clone()],
        ..Cast::default()
    }
    .begin();
    for index in 0..2 {
        stage.coach.window(snapshot(index));
        assert!(matches!(stage.until(is_spoken).await, CoachEvent::Spoken { interrupted: false, .. }));
    }
    assert_eq!(hangs.said(), ["One."]);
    assert_eq!(second.said(), ["One.", "Two."]);
}

#[tokio::test]
async fn without_an_output_device_no_speech_is_made_and_the_player_is_told_once() {
    let voice = Arc::new(FakeVoice::new([]));
    // Playing, and nobody waits for a pause: there is nothing to be heard in it.
    let mut stage = Cast {
        models: vec![says(&["One. Two.", "Three.", "Four.", "Five."])],
        voices: vec![voice.clone()],
        playing: true,
        ..Cast::default()
    }
    .begin();
    stage.speaker.set_trouble(Some("it was unplugged"));
    for index in 0..2 {
        stage.coach.window(snapshot(index));
        let failed = stage.until(|e| matches!(e, CoachEvent::SpeechFailed { .. })).await;
        let CoachEvent::SpeechFailed { reason, again, .. } = &failed else { unreachable!() };
        assert!(reason.contains("it was unplugged"), "{reason}");
        assert_eq!(*again, index == 1);
    }
    assert_eq!(voice.said(), [""; 0]);
    stage.speaker.set_trouble(None);
    stage.pause.send_replace(true);
    stage.coach.window(snapshot(2));
    stage.until(is_spoken).await;
    assert_eq!(voice.said(), ["Four."]);
    stage.speaker.set_trouble(Some("it was unplugged again"));
    stage.coach.window(snapshot(3));
    let failed = stage.until(|e| matches!(e, CoachEvent::SpeechFailed { .. })).await;
    assert!(matches!(failed, CoachEvent::SpeechFailed { again: false, .. }), "it is news again");
}

#[tokio::test]
async fn the_summary_replaces_all_else_and_is_heard_to_its_end() {
    let (model, allowed) = patient();
    let voice = Arc::new(FakeVoice::new([]));
    let mut stage =
        Cast { models: vec![model.clone()], voices: vec![voice.clone()], playing: true, ..Cast::default() }
            .begin();
    stage.coach.window(snapshot(0));
    stage.coach.window(snapshot(1));
    while model.asked.load(SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let coach = stage.coach.clone();
    let summary = tokio::spawn(async move { coach.summary(samples::summary()).await });
    while model.asked.load(SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    allowed.add_permits(1);
    summary.await.unwrap();
    let heard = stage.speaker.heard();
    assert!(heard.last().unwrap().over, "not before it was heard, nor waiting for a pause");
    let record = stage.record().await;
    assert_eq!((record.kind, record.window_index), (AdviceKind::Summary, None));
    assert_eq!(record.text, "Good work. Now rest.");
    stage.coach.window(snapshot(2));
    drop(stage.coach);
    while let Some(event) = stage.events.recv().await {
        assert!(!matches!(event, CoachEvent::AdviceStarted { .. }), "the session is over");
    }
}

/// A voice with pieces that each take all the room there is for sound.
struct Huge;

impl Voice for Huge {
    fn engine(&self) -> &'static str {
        "huge"
    }
    fn model(&self) -> &str {
        ""
    }
    fn voice(&self) -> &str {
        ""
    }
    fn speak(&self, _: &str) -> BoxFuture<'_, Result<PcmStream, SpeechError>> {
        let pieces = [(); 2].map(|()| Ok(vec![0.1; speak::MAX_AHEAD as usize]));
        Box::pin(async {
            Ok(PcmStream { sample_rate: 48_000, chunks: futures::stream::iter(pieces).boxed() })
        })
    }
}

#[tokio::test]
async fn huge_pieces_are_played_one_after_the_other() {
    let cast = Cast { models: vec![says(&["Good."])], voices: vec![Arc::new(Huge)], ..Cast::default() };
    let mut stage = cast.begin();
    stage.coach.window(snapshot(0));
    assert!(matches!(stage.until(is_spoken).await, CoachEvent::Spoken { interrupted: false, .. }));
    assert_eq!(stage.speaker.heard()[0].samples.len(), 2 * speak::MAX_AHEAD as usize);
}

/// A model that never ends its second sentence.
struct Lost;

impl ChatModel for Lost {
    fn model(&self) -> &str {
        "lost"
    }
    fn provider(&self) -> &str {
        "fake"
    }
    fn server(&self) -> (String, u16) {
        ("fake.invalid".into(), 0)
    }
    fn stream(&self, _: &ChatRequest) -> BoxFuture<'_, Result<ChatStream, LlmError>> {
        let begin = futures::stream::iter([Ok(ChatDelta::Text("Nice pulse. Now ease".into()))]);
        Box::pin(async { Ok(begin.chain(futures::stream::pending()).boxed()) })
    }
}

#[tokio::test]
async fn advice_cut_short_by_the_end_is_kept_as_far_as_it_went() {
    let gone = Arc::new(FakeModel::new("gone", []));
    let mut stage = Cast { models: vec![gone, Arc::new(Lost)], ..Cast::default() }.begin();
    stage.coach.window(snapshot(4));
    stage.until(|e| matches!(e, CoachEvent::AdviceDelta { .. })).await;
    stage.coach.summary(Summary { weakest: None, ..samples::summary() }).await;
    let CoachEvent::Advice(record) = stage.next().await else {
        panic!("before all else that the end brings")
    };
    assert_eq!((record.id, record.window_index, record.text.as_str()), (1, Some(4), "Nice pulse."));
    assert_eq!((record.source.as_str(), record.prompt.is_some()), ("lost", true));
    assert!(record.note.is_some() && record.first_sentence_ms.is_some());
    assert!(matches!(stage.next().await, CoachEvent::Skipped { .. }), "told once");
}

#[tokio::test]
async fn a_session_without_notes_has_no_summary_and_nobody_waits() {
    let mut stage = Cast::default().begin();
    stage.coach.summary(Summary { weakest: None, ..samples::summary() }).await;
    assert!(matches!(stage.next().await, CoachEvent::Skipped { .. }));
}

#[test]
fn english_is_known_by_tag_or_name() {
    assert!(["", "en", "en-GB", "English", "british english"].iter().all(|l| is_english(l)));
    assert!(["de", "German", "ent"].iter().all(|l| !is_english(l)));
}

//! From a window to a text: one operation, `live-feedback` or `session-summary`, with a span for each step.

use std::time::Instant;

use opentelemetry::KeyValue;
use opentelemetry::trace::SpanContext;
use serde_json::json;
use tokio::sync::mpsc::UnboundedSender;
use tracing::Span;

use super::offline::{self, Around};
use super::speak::Sentence;
use super::words::{Gate, count};
use super::{AdviceKind, AdviceRecord, CoachEvent, Job, Shared, What, lock};
use crate::llm::{Answer, Call, ChatRequest, Flow, Message, Sink};
use crate::names::{attr, op, span, tag};
use crate::practice::types::{Facts, Metric, Scores};
use crate::prompt::{Context, PromptError, Prompts, Rendered};
use crate::span::{Kind, SpanExt};

/// Writes the text of a job. Sentences go to the voice as they are complete; the record goes out at the end.
pub(super) async fn write(shared: &Shared, job: Job, out: UnboundedSender<Sentence>) {
    let root = open(shared, &job);
    let mut release = Release {
        shared,
        job: &job,
        root: &root,
        out: Some(out),
        advice: root.ids(),
        english: shared.english(),
        gate: Gate::new(job.max_words()),
        first: None,
        prompt: None,
        broken: 0,
        over: false,
    };
    shared.tell(CoachEvent::AdviceStarted { id: job.id });
    snapshot(shared, &root, &job);

    let mut note = None;
    let answer = match ask(shared, &root, &job, &mut release).await {
        Ok(answer) => answer,
        Err(why) => {
            root.put(attr::FALLBACK_REASON, why.0);
            note = Some(format!("{}; the offline coach spoke", why.1));
            None
        }
    };
    if answer.is_none() {
        release.english = true;
        release.prompt = None;
        release.gate = Gate::new(job.max_words());
        let said = by_rules(shared, &root, &job);
        for piece in said.iter() {
            // Complete sentences: none is held back.
            let _ = release.text(piece);
            release.end();
        }
        if !shared.english() && note.is_none() {
            note = Some("the offline coach speaks English only".into());
        }
    }
    if let Some(broken) = answer.as_ref().and_then(|a| a.broken.as_ref()) {
        note = Some(format!("the answer broke off: {broken}"));
    }
    release.record(answer.as_ref(), note);
}

pub(super) fn ms(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64() * 1e3
}

impl Job {
    fn kind(&self) -> AdviceKind {
        match self.what {
            What::Live(_) => AdviceKind::Live,
            What::Summary(_) => AdviceKind::Summary,
        }
    }

    fn window_index(&self) -> Option<u32> {
        match &self.what {
            What::Live(s) => Some(s.window.index),
            What::Summary(_) => None,
        }
    }

    fn weakest(&self) -> Option<Metric> {
        match &self.what {
            What::Live(s) => s.window.weakest,
            What::Summary(s) => s.weakest,
        }
    }

    fn strongest(&self) -> Option<Metric> {
        match &self.what {
            What::Live(s) => s.window.strongest,
            What::Summary(s) => s.strongest,
        }
    }

    fn scores(&self) -> &Scores {
        match &self.what {
            What::Live(s) => &s.window.scores,
            What::Summary(s) => &s.scores,
        }
    }

    fn facts(&self) -> &Facts {
        match &self.what {
            What::Live(s) => &s.window.facts,
            What::Summary(s) => &s.facts,
        }
    }

    fn max_words(&self) -> usize {
        match self.what {
            What::Live(_) => offline::MAX_WORDS,
            What::Summary(_) => offline::MAX_SUMMARY_WORDS,
        }
    }

    fn json(&self) -> serde_json::Value {
        let json = match &self.what {
            What::Live(s) => serde_json::to_value(&s.window),
            What::Summary(s) => serde_json::to_value(s),
        };
        json.unwrap_or_default()
    }
}

fn open(shared: &Shared, job: &Job) -> Span {
    let context = &shared.context;
    let (name, tags) = match job.what {
        What::Live(_) => (op::LIVE_FEEDBACK, [tag::LIVE_COACH, tag::LIVE_FEEDBACK]),
        What::Summary(_) => (op::SESSION_SUMMARY, [tag::LIVE_COACH, tag::SESSION_SUMMARY]),
    };
    let root = context.thread.root(name, Kind::Agent, &tags);
    root.put(attr::OPERATION, "invoke_workflow");
    root.put(attr::WORKFLOW, name);
    root.put(attr::FRETCOACH_SESSION, context.session_id.clone());
    root.put(attr::MODE, context.practice.mode.clone());
    root.put(attr::ADVICE_ID, i64::try_from(job.id).unwrap_or(i64::MAX));
    if let Some(scale) = &context.scale_name {
        root.put(attr::SCALE, scale.clone());
    }
    if let Some(bpm) = set_bpm(shared) {
        root.put(attr::BPM, bpm);
    }
    describe(&root, job);
    root.input_json(&job.json());
    root
}

/// The window in attributes, so that traces can be filtered by it.
fn describe(s: &Span, job: &Job) {
    if let What::Live(snapshot) = &job.what {
        let w = &snapshot.window;
        s.put(attr::WINDOW_INDEX, i64::from(w.index));
        s.put(attr::WINDOW_START, w.start);
        s.put(attr::WINDOW_END, w.end);
    }
    s.put(attr::WINDOW_NOTES, i64::try_from(job.facts().note_count).unwrap_or(i64::MAX));
    for metric in Metric::ALL {
        if let Some(value) = job.scores().get(metric) {
            s.put(format!("{}.{}", attr::SCORE, metric.name()), value);
        }
    }
    if let Some(overall) = job.scores().overall {
        s.put(format!("{}.overall", attr::SCORE), overall);
    }
    if let Some(metric) = job.weakest() {
        s.put(attr::WEAKEST, metric.name());
    }
    if let Some(metric) = job.strongest() {
        s.put(attr::STRONGEST, metric.name());
    }
}

fn snapshot(shared: &Shared, root: &Span, job: &Job) {
    let s = shared.context.thread.child(root, span::METRICS_SNAPSHOT, Kind::Tool);
    describe(&s, job);
    if let What::Live(snapshot) = &job.what {
        for a in &snapshot.hop_stats {
            s.put(a.key.clone(), a.value.clone());
        }
    }
    s.output_json(&json!(job.scores()));
}

/// Asks the models; `None` when there are none. The error is a fixed word and what happened.
async fn ask(
    shared: &Shared,
    root: &Span,
    job: &Job,
    release: &mut Release<'_>,
) -> Result<Option<Answer>, (&'static str, String)> {
    let Some(chain) = &shared.chain else { return Ok(None) };
    let rendered = render(shared, root, job).map_err(|e| ("prompt", e.to_string()))?;
    release.gate = Gate::new(rendered.max_words);
    release.prompt = Some((rendered.prompt.name.clone(), rendered.prompt.version.clone()));
    let messages = vec![Message::system(&rendered.system), Message::user(&rendered.user)];
    let request = ChatRequest::new(messages, shared.temperature, shared.max_tokens);
    let attributes = of_prompt(&rendered, &shared.context.practice.language);
    let call =
        Call { thread: &shared.context.thread, parent: root, request: &request, attributes: &attributes };
    let answer = chain.answer(&call, release).await.map_err(|e| (e.kind(), e.to_string()))?;
    if release.gate.is_empty() {
        return Err(("unusable_text", format!("{} wrote nothing that could be said", answer.model)));
    }
    Ok(Some(answer))
}

fn render(shared: &Shared, root: &Span, job: &Job) -> Result<Rendered, PromptError> {
    let s = shared.context.thread.child(root, span::PROMPT_RENDER, Kind::Tool);
    let context = Context {
        scale_name: shared.context.scale_name.clone(),
        scale_notes: shared.context.scale_notes.clone(),
        bpm: set_bpm(shared),
        language: shared.context.practice.language.clone(),
        previous_advice: lock(&shared.said).iter().cloned().collect(),
        previous: job.previous,
    };
    let with = |prompts: &Prompts| match &job.what {
        What::Live(w) => prompts.live_feedback(&w.window, &context),
        What::Summary(summary) => prompts.session_summary(summary, &context),
    };
    let rendered = with(&shared.prompts).or_else(|error| {
        // The player's own template cannot cope with these facts: the shipped one can.
        s.fail("prompt", &error);
        tracing::warn!("{error}; the shipped prompt is used");
        with(&Prompts::default())
    })?;
    for a in of_prompt(&rendered, &context.language) {
        s.put(a.key, a.value);
    }
    s.put(attr::PROMPT_TEMPLATE, rendered.template.clone());
    s.input_json(&rendered.variables);
    s.output_text(&format!("{}\n\n{}", rendered.system, rendered.user));
    Ok(rendered)
}

fn of_prompt(rendered: &Rendered, language: &str) -> Vec<KeyValue> {
    vec![
        KeyValue::new(attr::PROMPT_NAME, rendered.prompt.name.clone()),
        KeyValue::new(attr::PROMPT_VERSION, rendered.prompt.version.clone()),
        KeyValue::new(attr::PROMPT_HASH, rendered.prompt.sha256.clone()),
        KeyValue::new(attr::PROMPT_LANGUAGE, language.to_owned()),
        KeyValue::new(attr::PROMPT_VARIABLES, rendered.variables.to_string()),
    ]
}

fn by_rules(shared: &Shared, root: &Span, job: &Job) -> Option<String> {
    let s = shared.context.thread.child(root, span::OFFLINE_COACH, Kind::Tool);
    let around = Around {
        scale_name: shared.context.scale_name.clone(),
        scale_notes: shared.context.scale_notes.clone(),
        bpm: set_bpm(shared),
        previous: job.previous,
    };
    let mut coach = lock(&shared.offline);
    let said = match &job.what {
        What::Live(snapshot) => coach.advise(&snapshot.window, &around),
        What::Summary(summary) => coach.summarise(summary, &around),
    };
    if let Some(said) = &said {
        s.put(attr::ADVICE_CAUSE, said.cause.name());
        s.output_text(&said.text);
    }
    said.map(|s| s.text)
}

fn set_bpm(shared: &Shared) -> Option<f64> {
    Some(shared.context.practice.bpm).filter(|b| *b > 0.0)
}

/// Lets complete sentences out: to the display and to the voice, and at the end the record of them. However the
/// writing ends (it may be cancelled at any time), the trace says so, and what has gone out is on record.
struct Release<'a> {
    shared: &'a Shared,
    job: &'a Job,
    root: &'a Span,
    /// To the voice; `None` once nothing will follow.
    out: Option<UnboundedSender<Sentence>>,
    advice: SpanContext,
    english: bool,
    gate: Gate,
    first: Option<Instant>,
    /// Name and version of the prompt that is answered.
    prompt: Option<(String, String)>,
    /// Models whose answer broke so far; before anything has gone out, the next one is asked.
    broken: usize,
    /// The record has gone out.
    over: bool,
}

impl Release<'_> {
    fn send(&mut self, text: String) {
        let now = *self.first.get_or_insert_with(|| {
            let now = Instant::now();
            self.root.put(attr::TTFS_MS, ms(self.job.asked, now));
            now
        });
        let sentence =
            Sentence { text: text.clone(), english: self.english, advice: self.advice.clone(), first: now };
        if let Some(out) = &self.out {
            // The voice may have been stopped; the text goes on.
            let _ = out.send(sentence);
        }
        self.shared.tell(CoachEvent::AdviceDelta { id: self.job.id, text });
    }

    /// Tells the whole text; without an answer it is the offline coach's.
    fn record(&mut self, answer: Option<&Answer>, note: Option<String>) {
        let source = answer.map_or_else(|| "offline".to_owned(), |a| a.model.clone());
        self.over = true;
        self.tell(AdviceRecord {
            first_token_ms: answer.and_then(|a| a.first_token).map(|t| t.as_secs_f64() * 1e3),
            usage: answer.and_then(|a| a.usage),
            cost_usd: answer.and_then(|a| a.cost),
            ..self.so_far(source, note)
        });
    }

    /// What has gone out by now.
    fn so_far(&self, source: String, note: Option<String>) -> AdviceRecord {
        let ids = &self.advice;
        let valid = ids.is_valid();
        AdviceRecord {
            id: self.job.id,
            kind: self.job.kind(),
            window_index: self.job.window_index(),
            at: jiff::Timestamp::now(),
            text: self.gate.text(),
            source,
            prompt: self.prompt.clone(),
            weakest: self.job.weakest(),
            trace_id: valid.then(|| ids.trace_id().to_string()),
            span_id: valid.then(|| ids.span_id().to_string()),
            latency_ms: ms(self.job.asked, Instant::now()),
            first_sentence_ms: self.first.map(|t| ms(self.job.asked, t)),
            first_token_ms: None,
            usage: None,
            cost_usd: None,
            note,
        }
    }

    fn tell(&mut self, record: AdviceRecord) {
        // The voice need not wait for what follows.
        self.out = None;
        self.root.put(attr::ADVICE_SOURCE, record.source.clone());
        self.root.put(attr::ADVICE_WORDS, i64::try_from(count(&record.text)).unwrap_or(i64::MAX));
        self.root.output_text(&record.text);
        self.shared.remember(&record.text);
        self.shared.tell(CoachEvent::Advice(Box::new(record)));
    }

    /// The model that is being asked.
    fn model(&self) -> Option<String> {
        let models = self.shared.chain.as_ref()?.models();
        models.get(self.broken).map(|m| m.model().to_owned())
    }
}

impl Sink for Release<'_> {
    fn text(&mut self, piece: &str) -> Flow {
        for sentence in self.gate.push(piece) {
            self.send(sentence);
        }
        if self.gate.is_full() { Flow::Enough } else { Flow::More }
    }

    fn end(&mut self) {
        if let Some(sentence) = self.gate.end() {
            self.send(sentence);
        }
    }

    fn committed(&self) -> bool {
        !self.gate.is_empty()
    }

    fn discard(&mut self) {
        self.gate.discard();
        self.broken += 1;
    }
}

impl Drop for Release<'_> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        self.root.event("cancelled", vec![]);
        // Only an answer can be cancelled midway: the rules speak at once.
        if self.committed()
            && let Some(model) = self.model()
        {
            let note = "the advice was ended before its text was complete".to_owned();
            let record = self.so_far(model, Some(note));
            self.tell(record);
        }
    }
}

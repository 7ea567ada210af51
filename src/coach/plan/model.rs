//! A plan from a model: one structured-output call, its answer checked, and one attempt to have it put right.

use jiff::Timestamp;
use opentelemetry::KeyValue;
use tracing::Span;

use super::brief::{suits, variables};
use super::history::History;
use super::offline::Set;
use super::{Ask, Planner};
use crate::llm::{Answer, Call, Chain, ChatRequest, Flow, Format, Message, Sink};
use crate::names::{attr, span};
use crate::practice::plan::{Invalid, Plan, SCHEMA_NAME, schema};
use crate::prompt::{Prompts, Rendered};
use crate::span::{Kind, SpanExt, Thread};

/// Attempts: the plan, and once more with what was wrong with it.
const ATTEMPTS: usize = 2;
/// Longest answer that is sent back for repair, characters: a plan has about 2,000.
const REPAIRABLE: usize = 8000;

/// What a model made.
pub(super) struct Made {
    pub plan: Plan,
    /// Which model.
    pub model: String,
    /// Version of the prompt it answered.
    pub prompt_version: String,
}

/// Why it made none: a fixed word for the trace, and a sentence for the player.
pub(super) struct Refused {
    pub kind: &'static str,
    pub said: String,
}

impl Refused {
    /// [`PATIENCE`](super::PATIENCE) is over.
    pub fn too_late() -> Self {
        let said = format!("no model made a plan within {} s", super::PATIENCE.as_secs());
        Self { kind: "timeout", said }
    }
}

/// Nothing goes out before the plan is whole, so every model of the chain may be asked.
struct Whole;

impl Sink for Whole {
    fn text(&mut self, _: &str) -> Flow {
        Flow::More
    }
    fn end(&mut self) {}
    fn committed(&self) -> bool {
        false
    }
    fn discard(&mut self) {}
}

/// Asks the chain for a plan.
pub(super) async fn ask(
    planner: &Planner,
    chain: &Chain,
    (thread, root): (&Thread, &Span),
    (history, ask, set): (&History, &Ask, &Set),
    now: Timestamp,
) -> Result<Made, Refused> {
    let variables = variables(history, ask, set, &planner.practice.language, now);
    let rendered = render(planner, thread, root, &variables)?;
    let messages = vec![Message::system(&rendered.system), Message::user(&rendered.user)];
    let mut request = ChatRequest {
        format: Some(Format { name: SCHEMA_NAME.into(), schema: schema() }),
        ..ChatRequest::new(messages, planner.temperature, planner.max_tokens)
    };
    let attributes = vec![
        KeyValue::new(attr::PROMPT_NAME, rendered.prompt.name.clone()),
        KeyValue::new(attr::PROMPT_VERSION, rendered.prompt.version.clone()),
        KeyValue::new(attr::PROMPT_HASH, rendered.prompt.sha256.clone()),
        KeyValue::new(attr::PROMPT_LANGUAGE, planner.practice.language.clone()),
        KeyValue::new(attr::PROMPT_VARIABLES, rendered.variables.to_string()),
    ];
    let mut wrong: Option<(Answer, Invalid)> = None;
    for _ in 0..ATTEMPTS {
        if let Some((answer, invalid)) = &wrong {
            let said: String = answer.text.chars().take(REPAIRABLE).collect();
            let again = format!(
                "This plan cannot be used: {}. Answer again with the whole plan, corrected.",
                invalid.said()
            );
            request.messages.extend([Message::assistant(said), Message::user(again)]);
        }
        let call = Call { thread, parent: root, request: &request, attributes: &attributes };
        let answer = chain
            .answer(&call, &mut Whole)
            .await
            .map_err(|e| Refused { kind: e.kind(), said: e.to_string() })?;
        match Plan::read(&answer.text).and_then(|plan| suits(&plan, history, ask).map(|()| plan)) {
            Ok(plan) => {
                return Ok(Made { plan, model: answer.model, prompt_version: rendered.prompt.version });
            }
            Err(invalid) => {
                root.event("plan refused", vec![KeyValue::new(attr::PLAN_FAULT, invalid.said())]);
                wrong = Some((answer, invalid));
            }
        }
    }
    let (model, why) = wrong.map_or_else(Default::default, |(a, i)| (a.model, i.said()));
    Err(Refused {
        kind: "unusable_plan",
        said: format!("{model} made no usable plan in two attempts ({why})"),
    })
}

fn render(
    planner: &Planner,
    thread: &Thread,
    root: &Span,
    variables: &serde_json::Value,
) -> Result<Rendered, Refused> {
    let s = thread.child(root, span::PROMPT_RENDER, Kind::Tool);
    let rendered = planner.prompts().practice_plan(variables.clone()).or_else(|error| {
        // The player's own template cannot cope with these facts: the shipped one can.
        s.fail("prompt", &error);
        tracing::warn!("{error}; the shipped prompt is used");
        Prompts::default().practice_plan(variables.clone())
    });
    let rendered = rendered.map_err(|e| Refused { kind: "prompt", said: e.to_string() })?;
    s.put(attr::PROMPT_NAME, rendered.prompt.name.clone());
    s.put(attr::PROMPT_VERSION, rendered.prompt.version.clone());
    s.put(attr::PROMPT_HASH, rendered.prompt.sha256.clone());
    s.put(attr::PROMPT_TEMPLATE, rendered.template.clone());
    s.input_json(&rendered.variables);
    s.output_text(&format!("{}\n\n{}", rendered.system, rendered.user));
    Ok(rendered)
}

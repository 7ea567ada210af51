//! AI mode: what to practise next, from the player's own history.
//!
//! ```text
//! store ─▶ history (last sessions, totals, scales, plans) ─▶ a plan that waits and is still right? kept
//!                                                       └─▶ model (one call, one repair) … or offline planner ─▶ store
//! session ends ─▶ follow_up: what was measured against the sessions before ─▶ outcome, the plan is done
//! ```
//! [`Planner`] is the one door: for the command line, the Hub, the chat and the daemon. A plan that waits is kept while
//! it is younger than [`KEPT_DAYS`], not carried out, and still about the weakest area (or about a wish). At most one
//! waits for each player.

mod apply;
mod brief;
mod find;
mod follow;
pub mod history;
mod model;
pub mod offline;
pub mod wish;
pub mod words;

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use tracing::Span;

use crate::config::{self, Config};
use crate::llm::Chain;
use crate::music::scale::Scale;
use crate::names::{attr, op, span, tag};
use crate::practice::plan::{Invalid, Plan};
use crate::practice::types::Metric;
use crate::prompt::Prompts;
use crate::span::{Kind, SpanExt, Thread};
use crate::store::{PlanId, PlanRow, PlanStatus, SessionFilter, Store, StoreError};

pub use brief::ago;
pub use find::find;
pub use follow::follow_up;
use history::{History, Played, RECENT, SESSIONS};
use offline::Set;
use wish::{LONGEST, Wish};

/// A plan that waits longer is made anew: the playing has moved on.
pub const KEPT_DAYS: i64 = 7;
/// Sessions looked through for those that count.
const LOOKED_THROUGH: u32 = 20;
/// A plan has about 700 tokens; reasoning models think before.
const MAX_TOKENS: u32 = 4000;
/// Nobody plays while a plan is made: a model may take longer than with advice.
const FIRST_TOKEN: Duration = Duration::from_secs(20);
/// See [`FIRST_TOKEN`].
const WHOLE_ANSWER: Duration = Duration::from_secs(45);
/// Longest time for models, fallbacks and repair together; then the rules make the plan. A browser waits for 90 s.
const PATIENCE: Duration = Duration::from_secs(75);
/// Longest reason that is told with a plan, characters.
const NOTE: usize = 300;
/// What stands as source of a plan by rules.
pub const OFFLINE: &str = "offline";

/// What is asked of the planner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Today's plan: the one that waits, if it is still right.
    Today,
    /// Another one than the one that waits.
    Another,
    /// One by a wish in free words: `more bends, 20 minutes`.
    Wish(String),
}

impl Ask {
    /// The wish, if it is one.
    #[must_use]
    pub fn wish(&self) -> Option<&str> {
        match self {
            Self::Wish(text) => Some(text),
            _ => None,
        }
    }

    const fn word(&self) -> &'static str {
        match self {
            Self::Today => "today",
            Self::Another => "another",
            Self::Wish(_) => "wish",
        }
    }
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A plan that was handed in cannot be used.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The wish is no wish.
    #[error("{0}")]
    Wish(String),
    /// There is none to decide on.
    #[error("no plan is waiting; `fretcoach plan` makes one")]
    NothingWaits,
    /// It does not wait any more.
    #[error("plan {id} is {status} already; `fretcoach plan` shows today's", status = status.word())]
    Decided {
        /// Its short id.
        id: String,
        /// Where it stands.
        status: PlanStatus,
    },
}

/// Makes plans and keeps them. Cheap to clone.
#[derive(Clone)]
pub struct Planner {
    store: Store,
    /// Models given by hand; else those of `llm`, which are only set up when one is asked.
    chain: Option<Chain>,
    llm: config::Llm,
    data_dir: PathBuf,
    temperature: Option<f32>,
    max_tokens: u32,
    practice: config::Practice,
    deployment: String,
    llm_tag: String,
}

impl Planner {
    /// A planner as configured. What cannot be used of the configuration is said with each plan.
    #[must_use]
    pub fn new(config: &Config, store: Store) -> Self {
        let llm = config::Llm {
            first_token_timeout: config.llm.first_token_timeout.max(FIRST_TOKEN),
            timeout: config.llm.timeout.max(WHOLE_ANSWER),
            ..config.llm.clone()
        };
        Self {
            store,
            chain: None,
            data_dir: config.data_dir.clone(),
            temperature: Some(llm.temperature).filter(|t| *t >= 0.0),
            max_tokens: llm.max_tokens.max(MAX_TOKENS),
            practice: config.practice.clone(),
            deployment: config.deployment.clone(),
            llm_tag: llm.tag().to_owned(),
            llm,
        }
    }

    /// The same with these models.
    #[must_use]
    pub fn with_chain(self, chain: Chain) -> Self {
        Self { chain: Some(chain), ..self }
    }

    /// True when a model makes the plans.
    #[must_use]
    pub fn has_model(&self) -> bool {
        self.chain.is_some() || self.llm.is_configured()
    }

    /// The models to ask, and why there are none though some were meant.
    fn models(&self) -> (Option<Chain>, Option<String>) {
        match &self.chain {
            Some(chain) => (Some(chain.clone()), None),
            None => Chain::from_config(&self.llm).map_or_else(|e| (None, Some(e)), |chain| (chain, None)),
        }
    }

    /// The player's own prompt, or the shipped one.
    fn prompts(&self) -> Prompts {
        let (prompts, errors) = Prompts::load(&self.data_dir);
        for error in errors {
            tracing::warn!("{error}");
        }
        prompts
    }

    /// Today's plan, another one, or one by a wish; stored, and the one that waited before is dismissed. `from` is where
    /// it is asked for: `studio`, `portable` or `hub` (also with `fretcoach-` before).
    ///
    /// # Errors
    /// [`PlanError::Store`], or a wish that is empty or too long. That no model answers is no error: the plan is then
    /// made by rules, and says why.
    pub async fn propose(&self, user: &str, ask: Ask, from: &str) -> Result<PlanRow, PlanError> {
        let ask = tidy(ask)?;
        let now = stored_now();
        follow::catch_up(&self.store, user).await?;
        if ask == Ask::Today
            && let Some(waiting) = self.waiting(user).await?
            && still_right(&waiting, &self.gather(user, None).await?, now)
        {
            return Ok(waiting);
        }
        let id = PlanId::new();
        let from = from.strip_prefix("fretcoach-").unwrap_or(from);
        let (thread, root) = self.open(id, user, from);
        root.input_json(&json!({ "ask": ask.word(), "wish": ask.wish() }));
        let made = self.make(id, user, &ask, (&thread, &root), now).await;
        if let Err(error) = &made {
            root.fail("store", error);
        }
        made
    }

    async fn make(
        &self,
        id: PlanId,
        user: &str,
        ask: &Ask,
        (thread, root): (&Thread, &Span),
        now: Timestamp,
    ) -> Result<PlanRow, PlanError> {
        let history = self.gather(user, Some((thread, root))).await?;
        let set = self.set();
        root.put(attr::PLAN_LEVEL, history.level().label());
        if let Some(weakest) = history.weakest() {
            root.put(attr::WEAKEST, weakest.name());
        }
        let (chain, trouble) = self.models();
        let mut note = trouble.map(|why| format!("No model was asked: {why}."));
        let mut made = None;
        if let Some(chain) = &chain {
            let asked = model::ask(self, chain, (thread, root), (&history, ask, &set), now);
            match tokio::time::timeout(PATIENCE, asked)
                .await
                .unwrap_or_else(|_| Err(model::Refused::too_late()))
            {
                Ok(by_model) => made = Some(by_model),
                Err(refused) => {
                    root.put(attr::PLAN_FALLBACK, refused.kind);
                    tracing::warn!("practice plan: {}", refused.said);
                    note =
                        Some(format!("This plan is made by rules: {}.", refused.said.trim_end_matches('.')));
                }
            }
        }
        let (mut plan, source, prompt_version) = match made {
            Some(made) => (made.plan, made.model, Some(made.prompt_version)),
            None => {
                let (plan, unread) = self.by_rules(&history, ask, &set, (thread, root));
                note = note.into_iter().chain(unread).reduce(|a, b| format!("{a} {b}"));
                (plan, OFFLINE.to_owned(), None)
            }
        };
        plan.wish = ask.wish().map(str::to_owned);
        plan.note = note.map(|n| shortened(&n));
        let trace = root.ids();
        let row = PlanRow {
            id,
            user: user.to_owned(),
            created_at: now,
            source,
            prompt_version,
            status: PlanStatus::Pending,
            decided_at: now,
            plan,
            outcome: None,
            trace_id: trace.is_valid().then(|| trace.trace_id().to_string()),
        };
        root.put(attr::PLAN_SOURCE, row.source.clone());
        root.put(attr::PLAN_FOCUS, row.plan.focus.name());
        root.put(attr::SCALE, row.plan.scale.clone());
        root.put(attr::BPM, row.plan.tempo);
        root.output_json(&serde_json::to_value(&row.plan).unwrap_or_default());
        self.store.insert_plan(&row).await?;
        Ok(row)
    }

    fn by_rules(
        &self,
        history: &History,
        ask: &Ask,
        set: &Set,
        (thread, root): (&Thread, &Span),
    ) -> (Plan, Option<String>) {
        let s = thread.child(root, span::OFFLINE_PLANNER, Kind::Tool);
        let wish = ask.wish().map(Wish::read);
        let unread = wish.as_ref().filter(|w| w.is_empty()).map(|_| {
            "Without a model a wish is understood as far as it names minutes, a tempo, a scale, a technique, or easier \
             and harder; this one names none of them."
                .to_owned()
        });
        let plan = offline::plan(history, wish.as_ref(), set);
        s.output_json(&serde_json::to_value(&plan).unwrap_or_default());
        (plan, unread)
    }

    /// Keeps a plan that was made elsewhere (`source`: the model in a chat). The one that waited before is dismissed.
    ///
    /// # Errors
    /// [`PlanError::Invalid`], naming the fields, or [`PlanError::Store`].
    pub async fn save(&self, user: &str, plan: Plan, source: &str) -> Result<PlanRow, PlanError> {
        let plan = plan.check()?;
        let now = stored_now();
        let row = PlanRow {
            id: PlanId::new(),
            user: user.to_owned(),
            created_at: now,
            source: source.to_owned(),
            prompt_version: None,
            status: PlanStatus::Pending,
            decided_at: now,
            plan,
            outcome: None,
            trace_id: None,
        };
        self.store.insert_plan(&row).await?;
        Ok(row)
    }

    /// The player says yes to a plan.
    ///
    /// # Errors
    /// No such plan of this player, or one that is done or dismissed.
    pub async fn accept(&self, user: &str, plan: &str) -> Result<PlanRow, PlanError> {
        self.decide(user, plan, PlanStatus::Accepted).await
    }

    /// The player does not want a plan.
    ///
    /// # Errors
    /// As [`Planner::accept`].
    pub async fn dismiss(&self, user: &str, plan: &str) -> Result<PlanRow, PlanError> {
        self.decide(user, plan, PlanStatus::Dismissed).await
    }

    async fn decide(&self, user: &str, plan: &str, status: PlanStatus) -> Result<PlanRow, PlanError> {
        let row = self.store.plan(user, plan).await?;
        if !row.status.is_open() {
            return Err(PlanError::Decided { id: row.id.short(), status: row.status });
        }
        let now = stored_now();
        self.store.set_plan_status(&row.id, status, now).await?;
        Ok(PlanRow { status, decided_at: now, ..row })
    }

    /// The plan that waits for a player, whether still right or not.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn waiting(&self, user: &str) -> Result<Option<PlanRow>, PlanError> {
        let plans = self.store.plans(user, RECENT as u32).await?;
        Ok(plans.into_iter().find(|p| p.status.is_open()))
    }

    /// All plans of a player, newest first, at most `limit`; what sessions have carried out meanwhile is followed up.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn plans(&self, user: &str, limit: u32) -> Result<Vec<PlanRow>, PlanError> {
        follow::catch_up(&self.store, user).await?;
        Ok(self.store.plans(user, limit).await?)
    }

    fn set(&self) -> Set {
        Set {
            scale: Scale::parse(&self.practice.scale).ok(),
            minutes: self.practice.minutes,
            sensitivity: self.practice.sensitivity,
        }
    }

    /// The root span of one proposal. Its thread is the plan's.
    fn open(&self, id: PlanId, user: &str, from: &str) -> (Thread, Span) {
        let origin = if from == "hub" { tag::HUB } else { tag::CORE };
        let mut tags = vec![origin.to_owned(), self.deployment.clone(), self.llm_tag.clone()];
        tags.dedup();
        let thread = Thread::new(format!("{from}-ai-mode-{id}"), user, tags);
        let root = thread.root(
            op::PRACTICE_RECOMMENDATION,
            Kind::Agent,
            &[tag::AI_MODE, tag::PRACTICE_RECOMMENDATION],
        );
        root.put(attr::OPERATION, "invoke_workflow");
        root.put(attr::WORKFLOW, op::PRACTICE_RECOMMENDATION);
        root.put(attr::PLAN_ID, id.to_string());
        root.put(attr::MODE, "ai");
        root.put(attr::DEPLOYMENT, self.deployment.clone());
        (thread, root)
    }

    /// What is known of a player; each query a span where there is a trace.
    async fn gather(&self, user: &str, trace: Option<(&Thread, &Span)>) -> Result<History, PlanError> {
        let watch = |what: &str| {
            trace.map(|(thread, root)| {
                let s = thread.child(root, &format!("{} {what}", span::HISTORY_QUERY), Kind::Tool);
                s.input_json(&json!({ "query": what, "user": user }));
                s
            })
        };
        let s = watch("sessions");
        let filter =
            SessionFilter { user: Some(user.to_owned()), limit: LOOKED_THROUGH, ..SessionFilter::default() };
        let rows = self.store.sessions(&filter).await.inspect_err(|e| failed(s.as_ref(), e))?;
        let sessions: Vec<Played> = rows.into_iter().filter_map(Played::of).take(SESSIONS).collect();
        let told: Vec<_> =
            sessions.iter().map(|s| json!({ "id": s.id, "scores": s.summary.scores })).collect();
        found(s.as_ref(), &told);
        let s = watch("scales");
        let practised = self.store.practised(user).await.inspect_err(|e| failed(s.as_ref(), e))?;
        let told: Vec<_> =
            practised.iter().map(|p| json!({ "scale": p.scale, "sessions": p.sessions })).collect();
        found(s.as_ref(), &told);
        let s = watch("plans");
        let plans = self.store.plans(user, RECENT as u32).await.inspect_err(|e| failed(s.as_ref(), e))?;
        let planned = self.store.plan_count(user).await?;
        let told: Vec<_> = plans.iter().map(|p| json!({ "id": p.id, "status": p.status })).collect();
        found(s.as_ref(), &told);
        // Metrics that cannot be read are refused when the settings are loaded.
        let metrics = self.practice.metrics.iter().filter_map(|m| Metric::parse(m).ok()).collect();
        Ok(History { sessions, practised, plans, planned, metrics })
    }
}

/// Now, as exact as the store keeps it.
fn stored_now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}

fn found(span: Option<&Span>, rows: &[serde_json::Value]) {
    if let Some(s) = span {
        let json = json!(rows);
        s.put(attr::QUERY_ROWS, i64::try_from(rows.len()).unwrap_or(i64::MAX));
        s.output_json(&json);
    }
}

fn failed(span: Option<&Span>, error: &StoreError) {
    if let Some(s) = span {
        s.fail(error.kind(), error);
    }
}

/// A wish without blanks around it and line breaks in it.
fn tidy(ask: Ask) -> Result<Ask, PlanError> {
    let Ask::Wish(text) = ask else { return Ok(ask) };
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let length = text.chars().count();
    if length == 0 {
        return Err(PlanError::Wish(
            "the wish is empty: write what you want to practise, as \"more bends, 20 minutes\"".into(),
        ));
    }
    if length > LONGEST {
        return Err(PlanError::Wish(format!(
            "the wish has {length} characters: say it in at most {LONGEST}"
        )));
    }
    Ok(Ask::Wish(text))
}

/// Whether a plan that waits is still what the player needs.
fn still_right(waiting: &PlanRow, history: &History, now: Timestamp) -> bool {
    const DAY_SECONDS: i64 = 24 * 3600;
    let fresh = now.duration_since(waiting.created_at).as_secs() < KEPT_DAYS * DAY_SECONDS;
    let about = match history.weakest() {
        // What was wished for does not depend on what was measured.
        _ if waiting.plan.wish.is_some() => true,
        Some(weakest) => waiting.plan.focus.metric() == weakest,
        None => true,
    };
    let found_out =
        waiting.plan.kind == crate::practice::plan::PlanKind::First && history.weakest().is_some();
    waiting.status.is_open() && fresh && about && !found_out
}

fn shortened(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(NOTE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests;

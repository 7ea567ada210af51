//! The chat coach: questions in plain words, answered from the player's own history.
//!
//! [`Coach::turn`] takes a question and walks the [`graph`]: [`intent`] tells practice from the rest; a language model asks
//! the store in SQL ([`crate::store::query`] keeps it to the player's own rows) and answers; without a model, or when none
//! answers, the [`standing`] questions are answered from fixed queries. A [`chart`] is made of the rows of the last
//! query. Answers are Markdown, which [`markdown`] turns into harmless HTML. Threads are kept in the store.

pub mod chart;
pub mod graph;
pub mod intent;
pub mod markdown;
pub mod plain;
pub mod standing;
mod tools;
mod turn;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedSender;

use crate::config::Config;
use crate::llm::Chain;
use crate::practice::plan::Plan;
use crate::prompt::Prompts;
use crate::store::query::{QueryError, Rows};
use crate::store::{ChatId, Store, StoreError};

pub use chart::ChartSpec;
pub use standing::Standing;

/// Longest question, characters.
pub const MAX_QUESTION: usize = 2000;
/// Rows of a query that are kept with an answer; its chart is made of all of them.
const ROWS_KEPT: usize = 60;

/// Where a question comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The Hub.
    Web,
    /// The terminal.
    Terminal,
}

/// A question.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Who asks; only this player's practice is seen.
    pub user: &'a str,
    /// In which thread; `None` begins one.
    pub chat: Option<ChatId>,
    /// In words.
    pub text: &'a str,
    /// Where it comes from.
    pub from: From,
}

/// What happens during a turn, in order.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The thread of the turn.
    Thread {
        /// Its id.
        chat: ChatId,
    },
    /// What is being done, in a few words.
    Step {
        /// `looking it up`.
        text: String,
    },
    /// The next piece of the answer.
    Text {
        /// Markdown.
        text: String,
    },
    /// The text so far is void: the model called a tool instead, or broke off.
    Reset,
}

/// A query of a turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// As it was asked.
    pub sql: String,
    /// What came back, at most sixty rows.
    pub rows: Rows,
    /// Time in the database, milliseconds.
    pub ms: f64,
    /// Why nothing came back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Asked {
    /// A query with its rows.
    #[must_use]
    pub fn answered(sql: &str, rows: &Rows) -> Self {
        let mut kept = rows.clone();
        kept.more |= kept.rows.len() > ROWS_KEPT;
        kept.rows.truncate(ROWS_KEPT);
        Self { sql: sql.to_owned(), rows: kept, ms: rows.elapsed.as_secs_f64() * 1e3, error: None }
    }

    /// A query that yielded nothing.
    #[must_use]
    pub fn refused(sql: &str, error: &QueryError) -> Self {
        Self { sql: sql.to_owned(), rows: Rows::default(), ms: 0.0, error: Some(error.to_string()) }
    }
}

/// A plan that the coach proposes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// It passed every check.
    pub plan: Plan,
    /// Id under which the player saved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<String>,
}

/// What an answer rests on and what it cost; kept beside it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Detail {
    /// The model that answered, or `fixed queries`.
    pub source: String,
    /// In order.
    pub queries: Vec<Asked>,
    /// Made of the rows of a query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chart: Option<ChartSpec>,
    /// To be saved with one click.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proposal: Option<Proposal>,
    /// Tokens of all prompts.
    pub input_tokens: u64,
    /// Tokens of all answers.
    pub output_tokens: u64,
    /// Of the former, read from the provider's cache.
    pub cached_tokens: u64,
    /// US dollars, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// Model calls.
    pub calls: usize,
    /// From question to answer.
    pub seconds: f64,
    /// What the player should know: a fallback, a limit.
    pub notes: Vec<String>,
    /// The way through the graph.
    pub path: Vec<String>,
}

impl Detail {
    /// Reads what was kept; anything that does not read is nothing.
    #[must_use]
    pub fn read(json: Option<&str>) -> Self {
        json.and_then(|j| serde_json::from_str(j).ok()).unwrap_or_default()
    }

    /// Tokens, cost and time as a line of words; `None` when no model was asked.
    #[must_use]
    pub fn cost_line(&self) -> Option<String> {
        if self.calls == 0 {
            return None;
        }
        let mut line =
            format!("{} · {} tokens", self.source, thousands(self.input_tokens + self.output_tokens));
        if self.cached_tokens > 0 {
            line.push_str(&format!(" ({} cached)", thousands(self.cached_tokens)));
        }
        if let Some(dollars) = self.cost_usd {
            line.push_str(&format!(" · ${dollars:.4}"));
        }
        line.push_str(&format!(" · {:.1} s", self.seconds));
        Some(line)
    }
}

fn thousands(n: u64) -> String {
    if n < 1000 { n.to_string() } else { format!("{},{:03}", n / 1000, n % 1000) }
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// Its thread.
    pub chat: ChatId,
    /// Its place in the thread.
    pub seq: i64,
    /// Markdown.
    pub text: String,
    /// What it rests on.
    pub detail: Detail,
    /// Hexadecimal trace id.
    pub trace_id: Option<String>,
}

/// Why a question was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// Nothing was asked.
    #[error("the question is empty; ask something like \"{}\"", Standing::Next.question())]
    Empty,
    /// More was asked than fits.
    #[error("the question has {0} characters; {MAX_QUESTION} are possible")]
    TooLong(usize),
    /// Others are being answered.
    #[error("{turns} questions are being answered: wait a moment and ask again")]
    Busy {
        /// So many at a time.
        turns: usize,
    },
    /// The thread could not be read or kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The chat coach. Cheap to clone.
#[derive(Clone)]
pub struct Coach {
    store: Store,
    chain: Option<Chain>,
    prompts: Prompts,
    limits: graph::Limits,
    language: String,
    deployment: String,
    model_tag: String,
    temperature: Option<f32>,
}

impl std::fmt::Debug for Coach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Coach")
            .field("model", &self.model_tag)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// A chat answer has more to think about than a piece of advice: as sampling temperature at most this, so that SQL and
/// figures come out straight.
const TEMPERATURE: f32 = 0.2;
/// Most tokens of one answer: 200 words, a table and a query, with room for a model that thinks first.
const MAX_TOKENS: u32 = 2000;

impl Coach {
    /// The chat coach over a store, as configured.
    ///
    /// # Errors
    /// Says which setting of the language model is wrong.
    pub fn new(config: &Config, store: Store) -> Result<Self, String> {
        // Somebody who waits for an answer to read waits longer than somebody who plays on.
        let llm = crate::config::Llm {
            first_token_timeout: config.llm.first_token_timeout.max(FIRST_TOKEN),
            timeout: config.llm.timeout.max(WHOLE_ANSWER),
            ..config.llm.clone()
        };
        let (prompts, errors) = Prompts::load(&config.data_dir);
        for error in errors {
            tracing::warn!("{error}");
        }
        Ok(Self {
            store,
            chain: Chain::from_config(&llm)?,
            prompts,
            limits: graph::Limits::default(),
            language: config.practice.language.clone(),
            deployment: config.deployment.clone(),
            model_tag: config.llm.tag().to_owned(),
            temperature: (config.llm.temperature >= 0.0).then_some(config.llm.temperature.min(TEMPERATURE)),
        })
    }

    /// The same with other models.
    #[must_use]
    pub fn with_chain(self, chain: Option<Chain>) -> Self {
        Self { chain, ..self }
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(self, limits: graph::Limits) -> Self {
        Self { limits, ..self }
    }

    /// True when free questions can be asked.
    #[must_use]
    pub fn has_model(&self) -> bool {
        self.chain.is_some()
    }

    /// How far a turn may go.
    #[must_use]
    pub fn limits(&self) -> &graph::Limits {
        &self.limits
    }

    /// Takes a question, answers it, and keeps both. What happens on the way goes into `events`; nobody need listen.
    ///
    /// # Errors
    /// Only when the question is none, or the thread cannot be read or kept: whatever goes wrong on the way to the answer
    /// is part of the answer.
    pub async fn turn(
        &self,
        question: Question<'_>,
        events: UnboundedSender<Event>,
    ) -> Result<Turn, ChatError> {
        turn::take(self, question, events).await
    }
}

/// See [`Coach::new`].
const FIRST_TOKEN: std::time::Duration = std::time::Duration::from_secs(20);
/// See [`Coach::new`].
const WHOLE_ANSWER: std::time::Duration = std::time::Duration::from_secs(45);

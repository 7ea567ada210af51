//! What the store keeps, as values.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ids::{AdviceId, SessionId};
use crate::practice::types::{JudgedChord, JudgedNote, Summary, Window};

/// A session that begins.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Made by the caller, so that the session has its name before (and even if never) it is stored.
    pub id: SessionId,
    /// Name of the player; added to the users when new.
    pub user: String,
    /// `fretcoach-studio` or `fretcoach-portable`.
    pub deployment: String,
    /// `manual` or `ai`.
    pub mode: String,
    /// Scale as spelled by `music`; `None`: none chosen.
    pub scale: Option<String>,
    /// Beats per minute; `None`: inferred.
    pub bpm: Option<f64>,
    /// When.
    pub started_at: Timestamp,
    /// Device, file or `demo`.
    pub input: String,
    /// The settings as JSON, without secrets.
    pub config_json: String,
    /// Hexadecimal trace id of the session's root span.
    pub trace_id: Option<String>,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// By the player or by its length, with everything stored.
    Finished,
    /// The program was killed; closed at the next start from what was stored.
    Interrupted,
}

impl EndReason {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Interrupted => "interrupted",
        }
    }
}

/// A stored session.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionRow {
    /// Its id.
    pub id: SessionId,
    /// Name of the player.
    pub user: String,
    /// As [`NewSession::deployment`].
    pub deployment: String,
    /// As [`NewSession::mode`].
    pub mode: String,
    /// As [`NewSession::scale`].
    pub scale: Option<String>,
    /// As [`NewSession::bpm`].
    pub bpm: Option<f64>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; `None` while it runs.
    pub ended_at: Option<Timestamp>,
    /// How it ended; `None` while it runs, and after a kill until the next start closes it.
    pub end: Option<EndReason>,
    /// The process that writes it runs.
    pub running: bool,
    /// As [`NewSession::input`].
    pub input: String,
    /// As [`NewSession::config_json`].
    pub config_json: String,
    /// What came of it.
    pub summary: Option<Summary>,
    /// As [`NewSession::trace_id`].
    pub trace_id: Option<String>,
    /// Notes stored (gated ones too).
    pub note_count: u64,
    /// The process that writes (or wrote) it.
    pub owner: String,
}

/// Cost of the real-time loop during a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoopCost {
    /// Analysis hops.
    pub hops: u64,
    /// Median time of a hop, nanoseconds.
    pub hop_p50_ns: u64,
    /// 95th percentile, nanoseconds.
    pub hop_p95_ns: u64,
    /// Longest, nanoseconds.
    pub hop_max_ns: u64,
    /// Processor time of the costliest hop, nanoseconds.
    pub hop_cpu_max_ns: u64,
    /// Hops whose processor time was over its budget, a tenth of the sound they hold.
    pub overruns: u64,
    /// Hops that took longer than the sound they hold, waiting for the processor included.
    pub late: u64,
    /// Samples the callback could not hand over.
    pub dropped_samples: u64,
    /// Events the loop could not hand over.
    pub dropped_events: u64,
}

impl LoopCost {
    /// Takes in a later window: counts are added; of times the highest stays, so that each holds for every window.
    pub fn add(&mut self, window: &Self) {
        self.hops += window.hops;
        self.hop_p50_ns = self.hop_p50_ns.max(window.hop_p50_ns);
        self.hop_p95_ns = self.hop_p95_ns.max(window.hop_p95_ns);
        self.hop_max_ns = self.hop_max_ns.max(window.hop_max_ns);
        self.hop_cpu_max_ns = self.hop_cpu_max_ns.max(window.hop_cpu_max_ns);
        self.overruns += window.overruns;
        self.late += window.late;
        self.dropped_samples += window.dropped_samples;
        self.dropped_events += window.dropped_events;
    }
}

/// A closed window, with when and at what cost.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowRecord {
    /// Scores and facts.
    pub window: Window,
    /// Wall clock at which it closed.
    pub closed_at: Timestamp,
    /// Cost of the real-time loop, when measured.
    pub cost: Option<LoopCost>,
}

/// What a text was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdviceKind {
    /// At the end of a window.
    Live,
    /// Because the player asked for it now.
    Asked,
    /// At the end of the session.
    Summary,
}

impl AdviceKind {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Asked => "asked",
            Self::Summary => "summary",
        }
    }
}

/// What the coach said. Stored again with the same id, it replaces what was stored before.
#[derive(Clone, Debug, PartialEq)]
pub struct AdviceRow {
    /// Its id.
    pub id: AdviceId,
    /// What it was for.
    pub kind: AdviceKind,
    /// Wall clock.
    pub at: Timestamp,
    /// Seconds on the capture clock.
    pub at_s: f64,
    /// The window it speaks about.
    pub window_index: Option<u32>,
    /// The words.
    pub text: String,
    /// Model that wrote it, or `offline`.
    pub source: String,
    /// Version of the prompt template.
    pub prompt_version: Option<String>,
    /// `Some(true)`: heard to the end; `Some(false)`: interrupted, failed or muted; `None`: not known yet.
    pub spoken: Option<bool>,
    /// Hexadecimal trace id of its operation.
    pub trace_id: Option<String>,
    /// Hexadecimal span id of its operation's root.
    pub span_id: Option<String>,
}

/// A stretch without input.
#[derive(Clone, Debug, PartialEq)]
pub struct GapRow {
    /// Seconds on the capture clock.
    pub from: f64,
    /// Seconds on the capture clock.
    pub to: f64,
    /// `lost`, `moved`, `stalled`, `starved`, …
    pub cause: String,
}

/// What has happened since the last append; stored in one transaction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Batch<'a> {
    /// In order of time.
    pub notes: &'a [JudgedNote],
    /// In order of time.
    pub chords: &'a [JudgedChord],
    /// In order of time.
    pub windows: &'a [WindowRecord],
    /// In order of time.
    pub advice: &'a [AdviceRow],
    /// In order of time.
    pub gaps: &'a [GapRow],
}

impl Batch<'_> {
    /// True when there is nothing to store.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.notes.is_empty()
            && self.chords.is_empty()
            && self.windows.is_empty()
            && self.advice.is_empty()
            && self.gaps.is_empty()
    }
}

/// Which sessions to list, newest first.
#[derive(Clone, Debug)]
pub struct SessionFilter {
    /// Of this player alone.
    pub user: Option<String>,
    /// At most so many.
    pub limit: u32,
    /// Begun before this moment (for the next page).
    pub before: Option<Timestamp>,
}

impl Default for SessionFilter {
    fn default() -> Self {
        Self { user: None, limit: 20, before: None }
    }
}

/// How the store is.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// File, or `None` in memory.
    pub path: Option<std::path::PathBuf>,
    /// Size of the database with its write-ahead log, bytes.
    pub bytes: u64,
    /// Schema version.
    pub schema: i64,
    /// Sessions stored.
    pub sessions: u64,
    /// Traces stored.
    pub traces: u64,
    /// What SQLite's quick check found wrong; empty when all is well.
    pub faults: Vec<String>,
}

//! What is known of a player: the last sessions in detail, totals, scales, plans; and what follows from it. Pure.

use jiff::Timestamp;

use crate::practice::plan::{MIN_NOTES, PlanKind, TEMPO};
use crate::practice::types::{Metric, Scores, Summary};
use crate::store::{PlanRow, PlanStatus, Practised, SessionRow};

/// Sessions looked at in detail: about a week of practice.
pub const SESSIONS: usize = 5;
/// Plans that are not repeated: about two weeks of them.
pub const RECENT: usize = 10;
/// A spread that counts as holding a tempo, ms: a shift of one note is noticed from 15 to 25 ms on (see
/// `practice::score`).
pub const HELD_MS: f64 = 20.0;
/// What an uneven tempo is slowed down to, and the tempo for work that needs the ear more than speed, as factors.
const SLOWER: f64 = 0.85;
/// See [`SLOWER`].
const LISTENING: f64 = 0.9;
/// From here on a metric needs no mending (`excellent`).
pub const EXCELLENT: f64 = 90.0;
/// A little faster than what is held already.
const FASTER: f64 = 1.05;
/// Points of the overall score that the whole range of strictness is worth, when levels are compared.
const STRICTNESS_POINTS: f64 = 20.0;
/// With fewer sessions a player is at most [`Level::Developing`].
const SESSIONS_FOR_LEVEL: usize = 3;

/// A session that counts: it has ended, and enough was played ([`MIN_NOTES`]).
#[derive(Clone, Debug, PartialEq)]
pub struct Played {
    /// Its id.
    pub id: String,
    /// When it began.
    pub at: Timestamp,
    /// The scale chosen.
    pub scale: Option<String>,
    /// Tempo set, or inferred from the notes, beats per minute.
    pub bpm: Option<f64>,
    /// At which it was judged.
    pub strictness: f64,
    /// See `strictness`.
    pub sensitivity: f64,
    /// What came of it.
    pub summary: Summary,
}

impl Played {
    /// A stored session; `None` when it does not count.
    #[must_use]
    pub fn of(row: SessionRow) -> Option<Self> {
        let summary = row.summary.filter(|s| row.ended_at.is_some() && s.facts.strokes() >= MIN_NOTES)?;
        let config: serde_json::Value = serde_json::from_str(&row.config_json).unwrap_or_default();
        let share = |name: &str| config["practice"][name].as_f64().filter(|v| (0.0..=1.0).contains(v));
        let bpm = row.bpm.or(summary.facts.bpm);
        Some(Self {
            id: row.id.to_string(),
            at: row.started_at,
            scale: row.scale,
            bpm: bpm.filter(|b| TEMPO.contains(b)),
            // Sessions from before the settings were kept were judged at the defaults.
            strictness: share("strictness").unwrap_or(0.5),
            sensitivity: share("sensitivity").unwrap_or(0.5),
            summary,
        })
    }
}

/// How far a player is. Difficulty follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Nothing is known, or most is still uneven.
    Starting,
    /// The basics hold.
    Developing,
    /// Good throughout.
    Steady,
    /// Excellent under a strict ear.
    Advanced,
}

impl Level {
    /// All of them, rising.
    pub const ALL: [Self; 4] = [Self::Starting, Self::Developing, Self::Steady, Self::Advanced];

    /// In a word.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Starting => "starting out",
            Self::Developing => "developing",
            Self::Steady => "steady",
            Self::Advanced => "advanced",
        }
    }

    /// How strictly plans of this level are judged.
    #[must_use]
    pub const fn strictness(self) -> f64 {
        match self {
            Self::Starting => 0.3,
            Self::Developing => 0.5,
            Self::Steady => 0.65,
            Self::Advanced => 0.8,
        }
    }

    /// Tempo while none of the player's own is known, beats per minute.
    #[must_use]
    pub const fn tempo(self) -> f64 {
        match self {
            Self::Starting => 60.0,
            Self::Developing => 70.0,
            Self::Steady => 80.0,
            Self::Advanced => 90.0,
        }
    }
}

/// Everything that a plan is made from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// Sessions that count, newest first, at most [`SESSIONS`].
    pub sessions: Vec<Played>,
    /// All sessions by scale, latest practised first.
    pub practised: Vec<Practised>,
    /// Plans, newest first, at most [`RECENT`].
    pub plans: Vec<PlanRow>,
    /// Plans ever made.
    pub planned: u64,
    /// What is scored; empty: everything.
    pub metrics: Vec<Metric>,
}

/// The tempo of a plan and what it follows from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Beats per minute, whole.
    pub tempo: f64,
    /// The fastest tempo that was held, with its spread in ms.
    pub held: Option<(f64, f64)>,
    /// None was held: the slowest that was tried.
    pub tried: Option<f64>,
}

impl History {
    /// True when nothing that counts was ever played.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Mean of each enabled metric over the sessions that measured it, and of the overall score.
    #[must_use]
    pub fn means(&self) -> Scores {
        let mean = |get: &dyn Fn(&Scores) -> Option<f64>| {
            mean(self.sessions.iter().filter_map(|s| get(&s.summary.scores)))
        };
        let metric = |m: Metric| if self.enabled(m) { mean(&|s| s.get(m)) } else { None };
        Scores {
            pitch_accuracy: metric(Metric::PitchAccuracy),
            scale_conformity: metric(Metric::ScaleConformity),
            timing_stability: metric(Metric::TimingStability),
            noise_control: metric(Metric::NoiseControl),
            overall: mean(&|s| s.overall),
        }
    }

    /// True when a metric is scored.
    #[must_use]
    pub fn enabled(&self, metric: Metric) -> bool {
        self.metrics.is_empty() || self.metrics.contains(&metric)
    }

    /// The metric with the lowest mean; `None` when nothing was measured.
    #[must_use]
    pub fn weakest(&self) -> Option<Metric> {
        self.means().extremes().0
    }

    /// By the mean of the overall scores, 20 points × (strictness − 0.5) added to each: below 50 starting, below 70
    /// developing, below 85 steady, else advanced; at most developing with fewer than three sessions.
    #[must_use]
    pub fn level(&self) -> Level {
        let graded = self
            .sessions
            .iter()
            .filter_map(|s| s.summary.scores.overall.map(|o| o + STRICTNESS_POINTS * (s.strictness - 0.5)));
        let level = match mean(graded) {
            None => Level::Starting,
            Some(g) if g < 50.0 => Level::Starting,
            Some(g) if g < 70.0 => Level::Developing,
            Some(g) if g < 85.0 => Level::Steady,
            Some(_) => Level::Advanced,
        };
        if self.sessions.len() < SESSIONS_FOR_LEVEL { level.min(Level::Developing) } else { level }
    }

    /// What suits the player now: the first plan while nothing is known; more of it where even the weakest area is
    /// excellent; else work on the weakest area.
    #[must_use]
    pub fn kind(&self) -> PlanKind {
        match self.weakest().and_then(|m| self.means().get(m)) {
            None => PlanKind::First,
            Some(score) if score >= EXCELLENT => PlanKind::Build,
            Some(_) => PlanKind::Mend,
        }
    }

    /// The tempo for work on `metric`. It starts from the fastest tempo of the last sessions that was held (spread at
    /// most [`HELD_MS`]); where none was, from 0.85 of the slowest one tried; where none is known, from the level's. Work
    /// on timing is done at that tempo, everything else at 0.9 of it; what is excellent already, at 1.05.
    #[must_use]
    pub fn pace(&self, metric: Option<Metric>) -> Pace {
        let tempos = || self.sessions.iter().filter_map(|s| Some((s.bpm?, s.summary.facts.timing_sd_ms)));
        let held = tempos()
            .filter_map(|(bpm, sd)| Some((bpm, sd.filter(|sd| *sd <= HELD_MS)?)))
            .max_by(|a, b| a.0.total_cmp(&b.0));
        let tried = tempos().map(|t| t.0).min_by(f64::total_cmp).filter(|_| held.is_none());
        let base = held.map(|h| h.0).or(tried.map(|t| t * SLOWER)).unwrap_or(self.level().tempo());
        let factor = match (self.kind(), metric) {
            (PlanKind::Build, _) => FASTER,
            (PlanKind::First, _) | (_, Some(Metric::TimingStability)) => 1.0,
            _ => LISTENING,
        };
        // Slow enough for the speed trainer to begin below it, and what nearly every hand can follow above.
        Pace { tempo: (base * factor).round().clamp(40.0, 220.0), held, tried }
    }

    /// Length of a plan, minutes: the median of the last sessions, 10 to 30; 10 without any.
    #[must_use]
    pub fn minutes(&self) -> u32 {
        let mut minutes: Vec<f64> = self.sessions.iter().map(|s| s.summary.duration / 60.0).collect();
        minutes.sort_by(f64::total_cmp);
        let median = minutes.get(minutes.len() / 2).copied().unwrap_or(0.0);
        median.round().clamp(10.0, 30.0) as u32
    }

    /// Sensitivity of the newest session: it belongs to the instrument and the room, not to the level.
    #[must_use]
    pub fn sensitivity(&self) -> Option<f64> {
        self.sessions.first().map(|s| s.sensitivity)
    }

    /// The plan that waits to be carried out.
    #[must_use]
    pub fn open_plan(&self) -> Option<&PlanRow> {
        self.plans.iter().find(|p| p.status.is_open())
    }

    /// Plans that were carried out or are waiting, newest first: what was merely dismissed was not practised.
    pub fn practised_plans(&self) -> impl Iterator<Item = &PlanRow> {
        self.plans.iter().filter(|p| p.status != PlanStatus::Dismissed)
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0_u32), |(sum, n), v| (sum + v, n + 1));
    (n > 0).then(|| sum / f64::from(n))
}

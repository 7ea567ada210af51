//! What improves: the sessions of one player as figures over time, days of practice and their streak, pitches.
//!
//! A session belongs to the day on which it began, in the time zone that is asked for (that of the machine which shows
//! the page).

use std::collections::{BTreeMap, HashMap};

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

use super::tally::{PitchTally, Tally};
use super::{Store, StoreError, micros, moment, sql};
use crate::practice::types::{Metric, Scores};

/// A day counts for the streak from so much playing on, seconds: the length of one short exercise.
pub const STREAK_DAY_S: f64 = 300.0;

/// Progress is told from so many sessions on, before and after: the mean of fewer says little.
pub const FEWEST_SESSIONS: usize = 3;

/// Days of playing that progress compares with as many before them.
pub const PROGRESS_DAYS: i64 = 28;

/// One session as a trend needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionFigures {
    /// Its id.
    pub id: String,
    /// When it began.
    pub started_at: Timestamp,
    /// Scale practised.
    pub scale: Option<String>,
    /// Scores, where measured.
    pub scores: Scores,
    /// Notes stored.
    pub note_count: u64,
    /// Notes judged.
    pub judged_count: u64,
    /// Notes right.
    pub right_count: u64,
    /// Seconds of playing.
    pub practice_s: f64,
    /// Cents.
    pub mean_abs_cents: Option<f64>,
    /// Milliseconds.
    pub timing_sd_ms: Option<f64>,
    /// Beats per minute.
    pub bpm: Option<f64>,
}

impl Store {
    /// The figures of a player's sessions begun within `[from, until)`, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn figures(
        &self,
        user: &str,
        from: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<Vec<SessionFigures>, StoreError> {
        let mut running = self.untallied(user).await?;
        // Columns of one index alone, read by place: of years of practice this is the one long answer.
        let rows = sql(
            "SELECT s.id, s.started_at, s.scale, s.pitch_accuracy, s.scale_conformity, s.timing_stability, \
             s.noise_control, s.overall, s.note_count, s.judged_count, s.right_count, s.practice_s, s.mean_abs_cents, \
             s.timing_sd_ms, s.played_bpm FROM sessions s WHERE s.user_id = (SELECT id FROM users WHERE name = $1) \
             AND s.started_at >= $2 AND s.started_at < $3 ORDER BY s.started_at, s.id",
        )
        .bind(user)
        .bind(from.map_or(i64::MIN, micros))
        .bind(until.map_or(i64::MAX, micros))
        .all(self.reader())
        .await?;
        let failed = |e| self.failed(e);
        rows.iter()
            .map(|row| {
                let id: String = row.at(0).map_err(failed)?;
                let count = |place| {
                    row.at::<Option<i64>>(place).map(|n| n.unwrap_or(0).unsigned_abs()).map_err(failed)
                };
                let number = |place| row.at::<Option<f64>>(place).map_err(failed);
                let mut figures = SessionFigures {
                    started_at: moment(row.at(1).map_err(failed)?),
                    scale: row.at(2).map_err(failed)?,
                    scores: Scores {
                        pitch_accuracy: number(3)?,
                        scale_conformity: number(4)?,
                        timing_stability: number(5)?,
                        noise_control: number(6)?,
                        overall: number(7)?,
                    },
                    note_count: count(8)?,
                    judged_count: count(9)?,
                    right_count: count(10)?,
                    practice_s: number(11)?.unwrap_or(0.0),
                    mean_abs_cents: number(12)?,
                    timing_sd_ms: number(13)?,
                    bpm: number(14)?,
                    id,
                };
                if let Some(tally) = running.remove(&figures.id) {
                    figures.note_count = tally.note_count;
                    figures.judged_count = tally.judged_count;
                    figures.right_count = tally.right_count;
                    figures.practice_s = tally.practice_s;
                    figures.mean_abs_cents = tally.mean_abs_cents;
                    figures.timing_sd_ms = tally.timing_sd_ms;
                    figures.bpm = tally.bpm;
                }
                Ok(figures)
            })
            .collect()
    }

    /// Sessions of a player that run, or were left open: counted now.
    async fn untallied(&self, user: &str) -> Result<HashMap<String, Tally>, StoreError> {
        let ids: Vec<String> = sql(
            "SELECT id FROM sessions WHERE user_id = (SELECT id FROM users WHERE name = $1) AND note_count IS NULL",
        )
        .bind(user)
        .scalars(self.reader())
        .await?;
        let mut tallies = HashMap::with_capacity(ids.len());
        for id in ids {
            let tally = self.count_session(&id).await?;
            tallies.insert(id, tally);
        }
        Ok(tallies)
    }

    /// How often a player played each pitch, and how often right, in sessions begun within `[from, until)`, of one
    /// scale or of all. Lowest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn pitches(
        &self,
        user: &str,
        from: Option<Timestamp>,
        until: Option<Timestamp>,
        scale: Option<&str>,
    ) -> Result<Vec<PitchTally>, StoreError> {
        let rows = sql(
            "SELECT s.id, s.scale, s.note_count, s.pitch_json FROM sessions s WHERE s.user_id = (SELECT id FROM users WHERE name = $1) \
             AND s.started_at >= $2 AND s.started_at < $3",
        )
        .bind(user)
        .bind(from.map_or(i64::MIN, micros))
        .bind(until.map_or(i64::MAX, micros))
        .all(self.reader())
        .await?;
        let failed = |e| self.failed(e);
        let mut sums: BTreeMap<u8, (u64, u64)> = BTreeMap::new();
        for row in &rows {
            if scale.is_some() && row.at::<Option<String>>(1).map_err(failed)?.as_deref() != scale {
                continue;
            }
            let counted = row.at::<Option<i64>>(2).map_err(failed)?.is_some();
            let pitches = match row.at::<Option<String>>(3).map_err(failed)? {
                Some(text) if counted => self.parse("the pitches of a session", &text)?,
                _ => self.count_session(&row.at::<String>(0).map_err(failed)?).await?.pitches,
            };
            for pitch in pitches {
                let sum = sums.entry(pitch.midi).or_default();
                sum.0 += pitch.judged;
                sum.1 += pitch.right;
            }
        }
        Ok(sums.into_iter().map(|(midi, (judged, right))| PitchTally { midi, judged, right }).collect())
    }
}

/// Seconds of playing of each day with any.
#[must_use]
pub fn practice_days(sessions: &[SessionFigures], zone: &TimeZone) -> BTreeMap<Date, f64> {
    let mut days = BTreeMap::new();
    for session in sessions.iter().filter(|s| s.practice_s > 0.0) {
        *days.entry(session.started_at.to_zoned(zone.clone()).date()).or_default() += session.practice_s;
    }
    days
}

/// Days of practice in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Streak {
    /// Days up to today, or up to yesterday while today's practice is still to come.
    pub days: u32,
    /// Longest there ever was.
    pub longest: u32,
    /// Today counts already.
    pub today: bool,
}

/// The streak: days in a row with at least [`STREAK_DAY_S`] of playing. Today not yet played does not break it.
#[must_use]
pub fn streak(days: &BTreeMap<Date, f64>, today: Date) -> Streak {
    let (mut longest, mut run, mut last) = (0, 0, None::<Date>);
    for (&date, _) in days.iter().filter(|(date, seconds)| **seconds >= STREAK_DAY_S && **date <= today) {
        let follows = last.and_then(|last| last.tomorrow().ok()) == Some(date);
        run = if follows { run + 1 } else { 1 };
        longest = longest.max(run);
        last = Some(date);
    }
    let yesterday = today.yesterday().ok();
    let alive = last == Some(today) || (last.is_some() && last == yesterday);
    Streak { days: if alive { run } else { 0 }, longest, today: last == Some(today) }
}

/// What stands at one place of a trend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// A day.
    Day,
    /// A week from Monday on.
    #[default]
    Week,
    /// A month.
    Month,
}

impl Step {
    /// The first day of the stretch that a day belongs to.
    #[must_use]
    pub fn begin(self, day: Date) -> Date {
        match self {
            Self::Day => day,
            Self::Week => {
                let back = i64::from(day.weekday().since(Weekday::Monday));
                day.checked_sub(back.days()).unwrap_or(day)
            }
            Self::Month => day.first_of_month(),
        }
    }
}

/// A figure over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// Score.
    Overall,
    /// Score.
    PitchAccuracy,
    /// Score.
    ScaleConformity,
    /// Score.
    TimingStability,
    /// Score.
    NoiseControl,
    /// Mean absolute deviation, cents.
    MeanAbsCents,
    /// Spread about the grid, ms.
    TimingSdMs,
    /// Beats per minute.
    Tempo,
}

impl Figure {
    /// Every one.
    pub const ALL: [Self; 8] = [
        Self::Overall,
        Self::PitchAccuracy,
        Self::ScaleConformity,
        Self::TimingStability,
        Self::NoiseControl,
        Self::MeanAbsCents,
        Self::TimingSdMs,
        Self::Tempo,
    ];
    /// Those that are scores.
    pub const SCORES: [Self; 5] = [
        Self::Overall,
        Self::PitchAccuracy,
        Self::ScaleConformity,
        Self::TimingStability,
        Self::NoiseControl,
    ];

    /// Its value in a session.
    #[must_use]
    pub fn of(self, session: &SessionFigures) -> Option<f64> {
        let score = |metric| session.scores.get(metric);
        match self {
            Self::Overall => session.scores.overall,
            Self::PitchAccuracy => score(Metric::PitchAccuracy),
            Self::ScaleConformity => score(Metric::ScaleConformity),
            Self::TimingStability => score(Metric::TimingStability),
            Self::NoiseControl => score(Metric::NoiseControl),
            Self::MeanAbsCents => session.mean_abs_cents,
            Self::TimingSdMs => session.timing_sd_ms,
            Self::Tempo => session.bpm,
        }
    }
}

/// A place of a trend.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrendPoint {
    /// First day of the stretch, `2026-11-16`.
    #[serde(serialize_with = "civil")]
    pub from: Date,
    /// Sessions begun in it.
    pub sessions: u64,
    /// Seconds of playing.
    pub practice_s: f64,
    /// Notes judged.
    pub judged_count: u64,
    /// Notes right.
    pub right_count: u64,
    /// Mean over the sessions in which it was measured, with their number.
    pub means: BTreeMap<Figure, (f64, u64)>,
}

impl TrendPoint {
    /// The mean of a figure.
    #[must_use]
    pub fn mean(&self, figure: Figure) -> Option<f64> {
        self.means.get(&figure).map(|(mean, _)| *mean)
    }
}

fn civil<S: serde::Serializer>(date: &Date, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(date)
}

/// Figures over time: each stretch with a session in it, oldest first. Every session weighs the same.
#[must_use]
pub fn trend(sessions: &[SessionFigures], step: Step, zone: &TimeZone) -> Vec<TrendPoint> {
    let mut stretches: BTreeMap<Date, Vec<&SessionFigures>> = BTreeMap::new();
    for session in sessions {
        let day = session.started_at.to_zoned(zone.clone()).date();
        stretches.entry(step.begin(day)).or_default().push(session);
    }
    let point = |(from, all): (Date, Vec<&SessionFigures>)| TrendPoint {
        from,
        sessions: all.len() as u64,
        practice_s: all.iter().map(|s| s.practice_s).sum(),
        judged_count: all.iter().map(|s| s.judged_count).sum(),
        right_count: all.iter().map(|s| s.right_count).sum(),
        means: Figure::ALL
            .into_iter()
            .filter_map(|figure| {
                let mean = mean(all.iter().filter_map(|s| figure.of(s)))?;
                Some((figure, mean))
            })
            .collect(),
    };
    stretches.into_iter().map(point).collect()
}

/// Mean and number of values; `None` without any.
#[must_use]
pub fn mean(values: impl Iterator<Item = f64>) -> Option<(f64, u64)> {
    let (sum, n) = values.fold((0.0, 0), |(sum, n), v| (sum + v, n + 1));
    (n > 0).then(|| (sum / n as f64, n))
}

/// How a figure has changed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Progress {
    /// Which.
    pub figure: Figure,
    /// Mean of the [`PROGRESS_DAYS`] days before the last ones.
    pub before: f64,
    /// Mean of the last [`PROGRESS_DAYS`] days.
    pub now: f64,
}

/// What has changed in the last [`PROGRESS_DAYS`] days against as many before them; figures with fewer than
/// `FEWEST_SESSIONS` sessions on either side are left out.
#[must_use]
pub fn progress(sessions: &[SessionFigures], now: Timestamp) -> Vec<Progress> {
    let days_ago = |days: i64| now.checked_sub((days * 24).hours()).unwrap_or(Timestamp::UNIX_EPOCH);
    let (middle, begin) = (days_ago(PROGRESS_DAYS), days_ago(2 * PROGRESS_DAYS));
    Figure::ALL
        .into_iter()
        .filter_map(|figure| {
            let within = |from: Timestamp, until: Timestamp| {
                let inside = sessions.iter().filter(move |s| s.started_at >= from && s.started_at < until);
                mean(inside.filter_map(|s| figure.of(s))).filter(|(_, n)| *n >= FEWEST_SESSIONS as u64)
            };
            let (before, _) = within(begin, middle)?;
            let (now, _) = within(middle, Timestamp::MAX)?;
            Some(Progress { figure, before, now })
        })
        .collect()
}

#[cfg(test)]
#[path = "trends_tests.rs"]
mod tests;

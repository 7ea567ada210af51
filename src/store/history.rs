//! The sessions of one player as a table: filtered, sorted, page by page, without reading a note.

use std::collections::HashMap;
use std::fmt::Write;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::db::{Value, sql_owned};
use super::tally::Tally;
use super::{Row, Store, StoreError, micros, moment, sql};
use crate::practice::types::Scores;

/// What the table can be sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SortBy {
    /// When it began.
    #[default]
    Started,
    /// Name of the scale.
    Scale,
    /// Tempo.
    Tempo,
    /// Seconds of playing.
    Practice,
    /// Notes stored.
    Notes,
    /// Share of the judged notes that were right.
    Right,
    /// Score.
    Overall,
    /// Score.
    Pitch,
    /// Score.
    InScale,
    /// Score.
    Timing,
    /// Score.
    Clean,
    /// `ai` or `manual`.
    Mode,
    /// Device.
    Deployment,
}

impl SortBy {
    /// Every column, in the order in which they are shown.
    pub const ALL: [Self; 13] = [
        Self::Started,
        Self::Scale,
        Self::Tempo,
        Self::Practice,
        Self::Notes,
        Self::Right,
        Self::Overall,
        Self::Pitch,
        Self::InScale,
        Self::Timing,
        Self::Clean,
        Self::Mode,
        Self::Deployment,
    ];

    const fn column(self) -> &'static str {
        match self {
            Self::Started => "s.started_at",
            Self::Scale => "s.scale",
            Self::Tempo => "s.played_bpm",
            Self::Practice => "s.practice_s",
            Self::Notes => NOTES,
            Self::Right => {
                "CASE WHEN s.judged_count > 0 THEN CAST(s.right_count AS DOUBLE PRECISION) / s.judged_count END"
            }
            Self::Overall => "s.overall",
            Self::Pitch => "s.pitch_accuracy",
            Self::InScale => "s.scale_conformity",
            Self::Timing => "s.timing_stability",
            Self::Clean => "s.noise_control",
            Self::Mode => "s.mode",
            Self::Deployment => "s.deployment",
        }
    }
}

/// Notes of a session, of a running one too.
const NOTES: &str =
    "COALESCE(s.note_count, (SELECT CAST(COUNT(*) AS BIGINT) FROM notes n WHERE n.session_id = s.id))";

/// The rows of one player, by the player's name.
const OF_USER: &str = "s.user_id = (SELECT id FROM users WHERE name = $1)";

/// Which sessions of one player, in which order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionQuery {
    /// Name of the player.
    pub user: String,
    /// Of this scale; an empty text: without a scale.
    pub scale: Option<String>,
    /// `ai` or `manual`.
    pub mode: Option<String>,
    /// Of this device.
    pub deployment: Option<String>,
    /// Begun at this moment or later.
    pub from: Option<Timestamp>,
    /// Begun before this moment.
    pub until: Option<Timestamp>,
    /// With at least so many notes.
    pub least_notes: Option<u64>,
    /// With these words in the scale's name, the input's name or the advice; in any case.
    pub text: Option<String>,
    /// Sorted by this; sessions where it was not measured come last.
    pub sort: SortBy,
    /// The smallest first.
    pub ascending: bool,
    /// Leave out so many.
    pub offset: u64,
    /// At most so many.
    pub limit: u32,
}

/// A session in a line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SessionBrief {
    /// Its id.
    pub id: String,
    /// When it began, RFC 3339 in UTC in JSON.
    #[serde(serialize_with = "rfc3339")]
    pub started_at: Timestamp,
    /// When it ended.
    #[serde(serialize_with = "rfc3339_opt")]
    pub ended_at: Option<Timestamp>,
    /// `finished`, `interrupted`, or `None` while it runs or was left open.
    pub end: Option<String>,
    /// The process that writes it runs.
    pub running: bool,
    /// Scale practised.
    pub scale: Option<String>,
    /// `manual` or `ai`.
    pub mode: String,
    /// Device.
    pub deployment: String,
    /// Sound card, file or `demo`.
    pub input: String,
    /// The plan that it carries out.
    pub plan_id: Option<String>,
    /// Its sound was kept.
    pub recorded: bool,
    /// Scores, once it is summed up.
    pub scores: Scores,
    /// In figures.
    #[serde(flatten)]
    pub tally: Tally,
}

/// A page of the table.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SessionPage {
    /// The sessions of this page.
    pub sessions: Vec<SessionBrief>,
    /// Sessions of all pages.
    pub total: u64,
}

/// What the filters offer.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Choices {
    /// Scales practised.
    pub scales: Vec<String>,
    /// Modes.
    pub modes: Vec<String>,
    /// Devices.
    pub deployments: Vec<String>,
}

/// For serde.
pub(super) fn rfc3339<S: serde::Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

fn rfc3339_opt<S: serde::Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(|at| at.to_string()).serialize(serializer)
}

/// Conditions with their parameters; the player is `$1`.
struct Where {
    text: String,
    values: Vec<Value>,
}

impl Where {
    fn of(query: &SessionQuery) -> Self {
        let mut all = Self { text: OF_USER.to_owned(), values: vec![query.user.as_str().into()] };
        match query.scale.as_deref() {
            Some("") => all.text.push_str(" AND s.scale IS NULL"),
            Some(scale) => all.and("s.scale = $", scale.into()),
            None => {}
        }
        let mut equal = |condition, value: &Option<String>| {
            if let Some(value) = value {
                all.and(condition, value.into());
            }
        };
        equal("s.mode = $", &query.mode);
        equal("s.deployment = $", &query.deployment);
        if let Some(from) = query.from {
            all.and("s.started_at >= $", micros(from).into());
        }
        if let Some(until) = query.until {
            all.and("s.started_at < $", micros(until).into());
        }
        if let Some(least) = query.least_notes {
            let least = i64::try_from(least).unwrap_or(i64::MAX);
            all.and(&format!("{NOTES} >= $"), least.into());
        }
        if let Some(text) = query.text.as_deref().map(str::trim).filter(|t| !t.is_empty()) {
            let place = all.values.len() + 1;
            let like = format!("LIKE ${place} ESCAPE '!'");
            let _ = write!(
                all.text,
                " AND (lower(s.scale) {like} OR lower(s.input) {like} OR EXISTS (SELECT 1 FROM advice a \
                 WHERE a.session_id = s.id AND lower(a.body) {like}))"
            );
            all.values.push(pattern(text).into());
        }
        all
    }

    /// One more condition that ends with `$`.
    fn and(&mut self, condition: &str, value: Value) {
        let _ = write!(self.text, " AND {condition}{}", self.values.len() + 1);
        self.values.push(value);
    }
}

/// A text as it is looked for anywhere in another, in small letters; `!` takes the meaning from `%` and `_`.
fn pattern(text: &str) -> String {
    let mut pattern = String::from("%");
    for c in text.to_lowercase().chars() {
        if matches!(c, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

impl Store {
    /// A page of a player's sessions.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn session_page(&self, query: &SessionQuery) -> Result<SessionPage, StoreError> {
        let conditions = Where::of(query);
        let order = if query.ascending { "ASC" } else { "DESC" };
        let column = query.sort.column();
        let (limit, offset) = (conditions.values.len() + 1, conditions.values.len() + 2);
        let rows = sql_owned(format!(
            "SELECT s.id AS id, CAST(COUNT(*) OVER () AS BIGINT) AS total FROM sessions s WHERE {} \
             ORDER BY CASE WHEN {column} IS NULL THEN 1 ELSE 0 END, {column} {order}, s.started_at {order}, \
             s.id {order} LIMIT ${limit} OFFSET ${offset}",
            conditions.text
        ))
        .bind_all(conditions.values)
        .bind(i64::from(query.limit))
        .bind(i64::try_from(query.offset).unwrap_or(i64::MAX))
        .all(self.reader())
        .await?;
        let ids = rows.iter().map(|row| self.get(row, "id")).collect::<Result<Vec<String>, _>>()?;
        let total = match rows.first() {
            Some(row) => self.count(row, "total")?,
            // Beyond the last page: the count came with no row.
            None if query.offset > 0 => self.session_count(query).await?,
            None => 0,
        };
        Ok(SessionPage { sessions: self.briefs(&query.user, &ids).await?, total })
    }

    async fn session_count(&self, query: &SessionQuery) -> Result<u64, StoreError> {
        let conditions = Where::of(query);
        sql_owned(format!("SELECT CAST(COUNT(*) AS BIGINT) FROM sessions s WHERE {}", conditions.text))
            .bind_all(conditions.values)
            .scalar::<i64>(self.reader())
            .await
            .map(i64::unsigned_abs)
    }

    /// Sessions of a player by their ids, in that order; those that are not the player's are left out.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn briefs(&self, user: &str, ids: &[String]) -> Result<Vec<SessionBrief>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let places = (0..ids.len()).map(|n| format!("${}", n + 2)).collect::<Vec<_>>().join(", ");
        let rows = sql_owned(format!(
            "SELECT s.id, s.started_at, s.ended_at, s.end_reason, s.owner, \
             (SELECT d.seen_at FROM daemons d WHERE d.owner = s.owner) AS seen_at, \
             s.scale, s.mode, s.deployment, s.input, \
             s.plan_id, s.note_count, s.judged_count, s.right_count, s.practice_s, s.mean_abs_cents, s.timing_sd_ms, \
             s.played_bpm, s.pitch_json, s.pitch_accuracy, s.scale_conformity, s.timing_stability, s.noise_control, \
             s.overall, (SELECT CAST(COUNT(*) AS BIGINT) FROM recordings r WHERE r.session_id = s.id) AS recorded \
             FROM sessions s WHERE {OF_USER} AND s.id IN ({places})"
        ))
        .bind(user)
        .bind_all(ids.iter().map(Value::from))
        .all(self.reader())
        .await?;
        let mut found = HashMap::with_capacity(rows.len());
        for row in &rows {
            let brief = self.brief(row).await?;
            found.insert(brief.id.clone(), brief);
        }
        Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
    }

    async fn brief(&self, row: &Row) -> Result<SessionBrief, StoreError> {
        let id: String = self.get(row, "id")?;
        let end: Option<String> = self.get(row, "end_reason")?;
        let owner: String = self.get(row, "owner")?;
        let tally = match self.tally_of(row)? {
            Some(tally) => tally,
            None => self.count_session(&id).await?,
        };
        Ok(SessionBrief {
            running: end.is_none() && self.runs(row, &owner)?,
            started_at: moment(self.get(row, "started_at")?),
            ended_at: self.get::<Option<i64>>(row, "ended_at")?.map(moment),
            end,
            scale: self.get(row, "scale")?,
            mode: self.get(row, "mode")?,
            deployment: self.get(row, "deployment")?,
            input: self.get(row, "input")?,
            plan_id: self.get(row, "plan_id")?,
            recorded: self.count(row, "recorded")? > 0,
            scores: self.scores_of(row)?,
            tally,
            id,
        })
    }

    /// The figures kept with a session; `None` where there are none yet.
    fn tally_of(&self, row: &Row) -> Result<Option<Tally>, StoreError> {
        let Some(note_count) = self.get::<Option<i64>>(row, "note_count")? else { return Ok(None) };
        let count =
            |column| Ok::<_, StoreError>(self.get::<Option<i64>>(row, column)?.unwrap_or(0).unsigned_abs());
        let pitches: Option<String> = self.get(row, "pitch_json")?;
        Ok(Some(Tally {
            note_count: note_count.unsigned_abs(),
            judged_count: count("judged_count")?,
            right_count: count("right_count")?,
            practice_s: self.get::<Option<f64>>(row, "practice_s")?.unwrap_or(0.0),
            mean_abs_cents: self.get(row, "mean_abs_cents")?,
            timing_sd_ms: self.get(row, "timing_sd_ms")?,
            bpm: self.get(row, "played_bpm")?,
            pitches: pitches
                .map(|text| self.parse("the pitches of a session", &text))
                .transpose()?
                .unwrap_or_default(),
        }))
    }

    pub(super) fn scores_of(&self, row: &Row) -> Result<Scores, StoreError> {
        Ok(Scores {
            pitch_accuracy: self.get(row, "pitch_accuracy")?,
            scale_conformity: self.get(row, "scale_conformity")?,
            timing_stability: self.get(row, "timing_stability")?,
            noise_control: self.get(row, "noise_control")?,
            overall: self.get(row, "overall")?,
        })
    }

    /// What a player can filter by, sorted.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn choices(&self, user: &str) -> Result<Choices, StoreError> {
        let rows = sql_owned(format!(
            "SELECT DISTINCT s.scale AS scale, s.mode AS mode, s.deployment AS deployment FROM sessions s \
             WHERE {OF_USER}"
        ))
        .bind(user)
        .all(self.reader())
        .await?;
        let mut choices = Choices::default();
        for row in &rows {
            choices.scales.extend(self.get::<Option<String>>(row, "scale")?);
            choices.modes.push(self.get(row, "mode")?);
            choices.deployments.push(self.get(row, "deployment")?);
        }
        for list in [&mut choices.scales, &mut choices.modes, &mut choices.deployments] {
            list.sort();
            list.dedup();
        }
        Ok(choices)
    }

    /// A plan of this player, with what came of it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn carried_out(&self, user: &str, plan: &str) -> Result<Option<CarriedOut>, StoreError> {
        let row = sql("SELECT id, source, plan_json, outcome_json FROM plans \
             WHERE user_id = (SELECT id FROM users WHERE name = $1) AND id = $2")
        .bind(user)
        .bind(plan)
        .optional(self.reader())
        .await?;
        row.map(|row| {
            Ok(CarriedOut {
                id: self.get(&row, "id")?,
                source: self.get(&row, "source")?,
                plan_json: self.get(&row, "plan_json")?,
                outcome_json: self.get(&row, "outcome_json")?,
            })
        })
        .transpose()
    }
}

/// The plan that a session carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct CarriedOut {
    /// Its id.
    pub id: String,
    /// Model that made it, or `offline`.
    pub source: String,
    /// The plan as JSON.
    pub plan_json: String,
    /// What came of it, as JSON; `None`: not told yet.
    pub outcome_json: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_for_is_no_pattern() {
        assert_eq!(pattern("50%_Off!"), "%50!%!_off!!%");
    }

    #[test]
    fn every_condition_has_its_parameter() {
        let query = SessionQuery {
            user: "ada".into(),
            scale: Some("A minor".into()),
            mode: Some("ai".into()),
            deployment: Some("x".into()),
            from: Some(Timestamp::UNIX_EPOCH),
            until: Some(Timestamp::UNIX_EPOCH),
            least_notes: Some(5),
            text: Some("late".into()),
            ..SessionQuery::default()
        };
        let all = Where::of(&query);
        assert_eq!(all.values.len(), 8);
        for place in 1..=8 {
            assert!(all.text.contains(&format!("${place}")), "{place}: {}", all.text);
        }
    }
}

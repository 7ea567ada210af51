//! Practice plans, what became of them, and the sessions that carry them out.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::db::{Row, sql};
use super::sessions::prefix;
use super::{PlanId, SessionId, Store, StoreError, micros, moment};
use crate::practice::plan::{Outcome, Plan};

/// Columns of a plan with its player's name; every query of plans begins with it.
macro_rules! select_plans {
    ($rest:literal) => {
        concat!(
            "SELECT p.id, u.name AS user_name, p.created_at, p.source, p.prompt_version, p.status, p.decided_at, ",
            "p.plan_json, p.outcome_json, p.trace_id FROM plans p JOIN users u ON u.id = p.user_id ",
            $rest
        )
    };
}

/// Ids listed when a prefix fits several.
const MATCHES_SHOWN: i64 = 5;

/// Where a plan stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanStatus {
    /// Proposed.
    Pending,
    /// The player said yes, or a session has begun to carry it out.
    Accepted,
    /// A session has carried it out.
    Done,
    /// Another took its place, or the player did not want it.
    Dismissed,
}

impl PlanStatus {
    /// As stored and shown.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Accepted => "accepted",
            Self::Done => "done",
            Self::Dismissed => "dismissed",
        }
    }

    /// It still waits to be carried out.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Accepted)
    }
}

/// A stored plan.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanRow {
    /// Its id, the `practice_id` of its trace.
    pub id: PlanId,
    /// Name of the player.
    pub user: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Model that made it, or `offline`.
    pub source: String,
    /// Version of the prompt that the model answered.
    pub prompt_version: Option<String>,
    /// Where it stands.
    pub status: PlanStatus,
    /// Since when.
    pub decided_at: Timestamp,
    /// The plan.
    pub plan: Plan,
    /// Did it help?
    pub outcome: Option<Outcome>,
    /// Hexadecimal trace id of its operation.
    pub trace_id: Option<String>,
}

/// What a player has practised with one scale.
#[derive(Clone, Debug, PartialEq)]
pub struct Practised {
    /// The scale; `None`: without one.
    pub scale: Option<String>,
    /// Sessions that have ended.
    pub sessions: u64,
    /// Their length together, minutes.
    pub minutes: f64,
    /// Mean of their overall scores.
    pub overall: Option<f64>,
}

impl Store {
    /// Stores a plan, and its player when new. A plan that still waits for this player is dismissed: one waits at most.
    ///
    /// # Errors
    /// When the store cannot be written; nothing is changed then.
    pub async fn insert_plan(&self, row: &PlanRow) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let user = self.user_id(&mut tx, &row.user, row.created_at).await?;
        sql("UPDATE plans SET status = $2, decided_at = $3 WHERE user_id = $1 AND status IN ($4, $5)")
            .bind(&user)
            .bind(PlanStatus::Dismissed.word())
            .bind(micros(row.created_at))
            .bind(PlanStatus::Pending.word())
            .bind(PlanStatus::Accepted.word())
            .execute(&mut tx)
            .await?;
        let outcome = row.outcome.as_ref().map(|o| self.json("outcome", o)).transpose()?;
        sql("INSERT INTO plans (id, user_id, created_at, source, prompt_version, status, decided_at, scale, focus, \
             plan_json, outcome_json, trace_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)")
        .bind(row.id.to_string())
        .bind(user)
        .bind(micros(row.created_at))
        .bind(&row.source)
        .bind(&row.prompt_version)
        .bind(row.status.word())
        .bind(micros(row.decided_at))
        .bind(&row.plan.scale)
        .bind(row.plan.focus.name())
        .bind(self.json("plan", &row.plan)?)
        .bind(outcome)
        .bind(&row.trace_id)
        .execute(&mut tx)
        .await?;
        tx.commit().await
    }

    /// The plans of a player, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn plans(&self, user: &str, limit: u32) -> Result<Vec<PlanRow>, StoreError> {
        let rows = sql(select_plans!("WHERE u.name = $1 ORDER BY p.created_at DESC, p.id DESC LIMIT $2"))
            .bind(user)
            .bind(i64::from(limit))
            .all(self.reader())
            .await?;
        rows.iter().map(|row| self.plan_row(row)).collect()
    }

    /// How many plans were made for a player.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn plan_count(&self, user: &str) -> Result<u64, StoreError> {
        let count: i64 =
            sql("SELECT CAST(COUNT(*) AS BIGINT) FROM plans p JOIN users u ON u.id = p.user_id \
                              WHERE u.name = $1")
            .bind(user)
            .scalar(self.reader())
            .await?;
        Ok(count.unsigned_abs())
    }

    /// One plan of a player: by its id, by a prefix of it that no other shares, or `latest` (of those that were not
    /// dismissed).
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Ambiguous`], or when the store cannot be read.
    pub async fn plan(&self, user: &str, name: &str) -> Result<PlanRow, StoreError> {
        let not_found = || StoreError::NotFound { what: "plan", name: name.to_owned(), list: "plan --list" };
        let rows = if name == "latest" {
            sql(select_plans!(
                "WHERE u.name = $1 AND p.status <> $2 ORDER BY p.created_at DESC, p.id DESC LIMIT 1"
            ))
            .bind(user)
            .bind(PlanStatus::Dismissed.word())
            .all(self.reader())
            .await?
        } else {
            let prefix = prefix(name).ok_or_else(not_found)?;
            sql(select_plans!(
                "WHERE u.name = $1 AND substr(p.id, 1, length($2)) = $2 ORDER BY p.id LIMIT $3"
            ))
            .bind(user)
            .bind(&prefix)
            .bind(MATCHES_SHOWN)
            .all(self.reader())
            .await?
        };
        match rows.as_slice() {
            [] => Err(not_found()),
            [row] => self.plan_row(row),
            several => {
                let ids: Result<Vec<String>, StoreError> =
                    several.iter().map(|r| self.get(r, "id")).collect();
                Err(StoreError::Ambiguous { name: name.to_owned(), matches: ids?.join(", ") })
            }
        }
    }

    /// Sets where a plan stands.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn set_plan_status(
        &self,
        plan: &PlanId,
        status: PlanStatus,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sql("UPDATE plans SET status = $2, decided_at = $3 WHERE id = $1")
            .bind(plan.to_string())
            .bind(status.word())
            .bind(micros(at))
            .execute(&mut tx)
            .await?;
        tx.commit().await
    }

    /// A session has carried a plan out: keeps what came of it; the plan is done.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn finish_plan(
        &self,
        plan: &PlanId,
        outcome: &Outcome,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let outcome = self.json("outcome", outcome)?;
        let mut tx = self.begin().await?;
        sql("UPDATE plans SET status = $2, decided_at = $3, outcome_json = $4 WHERE id = $1")
            .bind(plan.to_string())
            .bind(PlanStatus::Done.word())
            .bind(micros(at))
            .bind(outcome)
            .execute(&mut tx)
            .await?;
        tx.commit().await
    }

    /// A session begins to carry out a plan, which counts as accepted from now on if it was waiting.
    ///
    /// # Errors
    /// When the store cannot be written; nothing is changed then.
    pub async fn link_plan(
        &self,
        session: &SessionId,
        plan: &PlanId,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sql("UPDATE sessions SET plan_id = $2 WHERE id = $1")
            .bind(session.to_string())
            .bind(plan.to_string())
            .execute(&mut tx)
            .await?;
        sql("UPDATE plans SET status = $2, decided_at = $3 WHERE id = $1 AND status = $4")
            .bind(plan.to_string())
            .bind(PlanStatus::Accepted.word())
            .bind(micros(at))
            .bind(PlanStatus::Pending.word())
            .execute(&mut tx)
            .await?;
        tx.commit().await
    }

    /// The plan that a session carries out.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn plan_of(&self, session: &SessionId) -> Result<Option<PlanId>, StoreError> {
        let row = sql("SELECT plan_id FROM sessions WHERE id = $1")
            .bind(session.to_string())
            .optional(self.reader())
            .await?;
        let Some(id) = row.map(|r| self.get::<Option<String>>(&r, "plan_id")).transpose()?.flatten() else {
            return Ok(None);
        };
        id.parse().map(Some).map_err(|e| self.unreadable(format!("the plan id {id}"), e))
    }

    /// Ids of the sessions that carry out a plan, newest first; `ended`: only those that have ended.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn plan_sessions(&self, plan: &PlanId, ended: bool) -> Result<Vec<SessionId>, StoreError> {
        let ids: Vec<String> =
            sql("SELECT id FROM sessions WHERE plan_id = $1 AND ($2 = 0 OR ended_at IS NOT NULL) \
                                    ORDER BY started_at DESC, id DESC")
            .bind(plan.to_string())
            .bind(i64::from(ended))
            .scalars(self.reader())
            .await?;
        ids.iter()
            .map(|id| id.parse().map_err(|e| self.unreadable(format!("the session id {id}"), e)))
            .collect()
    }

    /// What a player has practised, by scale, the latest practised first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn practised(&self, user: &str) -> Result<Vec<Practised>, StoreError> {
        const MICROS_A_MINUTE: f64 = 60e6;
        let rows = sql("SELECT s.scale AS scale, CAST(COUNT(*) AS BIGINT) AS sessions, \
             CAST(SUM(s.ended_at - s.started_at) AS BIGINT) AS length, \
             CAST(AVG(s.overall) AS DOUBLE PRECISION) AS overall \
             FROM sessions s JOIN users u ON u.id = s.user_id \
             WHERE u.name = $1 AND s.ended_at IS NOT NULL GROUP BY s.scale ORDER BY MAX(s.started_at) DESC")
        .bind(user)
        .all(self.reader())
        .await?;
        rows.iter()
            .map(|row| {
                #[expect(clippy::cast_precision_loss, reason = "microseconds of a life are exact enough")]
                let minutes = self.get::<Option<i64>>(row, "length")?.unwrap_or(0) as f64 / MICROS_A_MINUTE;
                Ok(Practised {
                    scale: self.get(row, "scale")?,
                    sessions: self.count(row, "sessions")?,
                    minutes,
                    overall: self.get(row, "overall")?,
                })
            })
            .collect()
    }

    fn plan_row(&self, row: &Row) -> Result<PlanRow, StoreError> {
        let id: String = self.get(row, "id")?;
        let outcome: Option<String> = self.get(row, "outcome_json")?;
        Ok(PlanRow {
            id: id.parse().map_err(|e| self.unreadable(format!("the plan id {id}"), e))?,
            user: self.get(row, "user_name")?,
            created_at: moment(self.get(row, "created_at")?),
            source: self.get(row, "source")?,
            prompt_version: self.get(row, "prompt_version")?,
            status: self.word("the status of a plan", &self.get::<String>(row, "status")?)?,
            decided_at: moment(self.get(row, "decided_at")?),
            plan: self.parse("a plan", &self.get::<String>(row, "plan_json")?)?,
            outcome: outcome.map(|text| self.parse("the outcome of a plan", &text)).transpose()?,
            trace_id: self.get(row, "trace_id")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::practice::plan::tests::plan;
    use crate::practice::plan::{Focus, Verdict};
    use crate::practice::types::Metric;
    use crate::store::NewSession;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn row(user: &str, second: i64) -> PlanRow {
        PlanRow {
            id: PlanId::new(),
            user: user.into(),
            created_at: at(second),
            source: "offline".into(),
            prompt_version: None,
            status: PlanStatus::Pending,
            decided_at: at(second),
            plan: plan(),
            outcome: None,
            trace_id: Some("ab".into()),
        }
    }

    async fn session(store: &Store, user: &str, scale: Option<&str>, second: i64) -> SessionId {
        let session = NewSession {
            id: SessionId::new(),
            user: user.into(),
            deployment: "fretcoach-studio".into(),
            mode: "ai".into(),
            scale: scale.map(String::from),
            bpm: None,
            started_at: at(second),
            input: "demo".into(),
            config_json: "{}".into(),
            trace_id: None,
        };
        store.start_session(&session).await.unwrap()
    }

    #[tokio::test]
    async fn one_plan_waits_at_most_and_each_player_has_their_own() {
        let store = Store::memory().await.unwrap();
        let (first, second, other) = (row("ann", 100), row("ann", 200), row("ben", 150));
        for row in [&first, &other, &second] {
            store.insert_plan(row).await.unwrap();
        }
        let plans = store.plans("ann", 10).await.unwrap();
        assert_eq!(plans[0], second);
        assert_eq!((plans[1].status, plans[1].decided_at), (PlanStatus::Dismissed, at(200)));
        assert_eq!(store.plans("ben", 10).await.unwrap(), std::slice::from_ref(&other));
        assert_eq!((store.plan_count("ann").await.unwrap(), store.plan_count("cleo").await.unwrap()), (2, 0));
        assert_eq!(store.plan("ann", "latest").await.unwrap(), second);
        assert_eq!(store.plan("ann", &first.id.to_string()).await.unwrap().id, first.id);
        for (user, name) in
            [("ann", other.id.to_string()), ("cleo", "latest".into()), ("ann", "no id".into())]
        {
            let error = store.plan(user, &name).await.unwrap_err();
            assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
        }
        store.set_plan_status(&second.id, PlanStatus::Dismissed, at(300)).await.unwrap();
        assert!(store.plan("ann", "latest").await.is_err());
    }

    #[tokio::test]
    async fn a_session_carries_out_a_plan_and_the_plan_is_done() {
        let store = Store::memory().await.unwrap();
        let mut p = row("ann", 100);
        p.plan.focus = Focus::Picking;
        store.insert_plan(&p).await.unwrap();
        let s = session(&store, "ann", Some("A minor pentatonic"), 200).await;
        assert_eq!(store.plan_of(&s).await.unwrap(), None);
        store.link_plan(&s, &p.id, at(200)).await.unwrap();
        assert_eq!(store.plan_of(&s).await.unwrap(), Some(p.id));
        assert_eq!(store.plan("ann", "latest").await.unwrap().status, PlanStatus::Accepted);
        assert_eq!(store.plan_sessions(&p.id, false).await.unwrap(), [s]);
        assert_eq!(store.plan_sessions(&p.id, true).await.unwrap(), []);
        let outcome = Outcome {
            session: s.to_string(),
            metric: Metric::TimingStability,
            verdict: Verdict::Better,
            now: Some(12.0),
            before: Some(18.0),
            varied: Some(2.0),
            score: Some(80.0),
            score_before: Some(70.0),
            sessions: 4,
            notes: 300,
            said: "Better.".into(),
        };
        store.finish_plan(&p.id, &outcome, at(800)).await.unwrap();
        // Practised once more: it stays done.
        let again = session(&store, "ann", None, 900).await;
        store.link_plan(&again, &p.id, at(900)).await.unwrap();
        let done = store.plan("ann", "latest").await.unwrap();
        assert_eq!((done.status, done.outcome, done.decided_at), (PlanStatus::Done, Some(outcome), at(800)));
        assert_eq!(store.plan_sessions(&p.id, false).await.unwrap(), [again, s]);
        assert_eq!(store.practised("ann").await.unwrap(), [], "none has ended");
    }
}

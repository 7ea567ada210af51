//! Did a plan help? Looked at when a session that carries it out has ended.

use jiff::Timestamp;

use super::history::SESSIONS;
use crate::practice::plan::{Heard, MIN_NOTES, Outcome};
use crate::practice::types::Summary;
use crate::store::{SessionFilter, SessionId, Store, StoreError};

/// Sessions before that are looked through for those that count.
const LOOKED_THROUGH: u32 = 20;

/// Works out what came of the plan that a session carried out, against up to five sessions before it, keeps it, and sets
/// the plan done. `None`: the session carries out no plan, has not ended, or nothing was played in it.
///
/// # Errors
/// When the store cannot be read or written.
pub async fn follow_up(store: &Store, session: &SessionId) -> Result<Option<Outcome>, StoreError> {
    let Some(plan) = store.plan_of(session).await? else { return Ok(None) };
    let row = store.session(&session.to_string()).await?;
    let (Some(summary), Some(ended)) = (row.summary.filter(|s| s.facts.strokes() > 0), row.ended_at) else {
        return Ok(None);
    };
    let plan = match store.plan(&row.user, &plan.to_string()).await {
        Ok(plan) => plan,
        // It was deleted, or belongs to somebody else.
        Err(StoreError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let filter = SessionFilter { user: Some(row.user), before: Some(row.started_at), limit: LOOKED_THROUGH };
    let before: Vec<Summary> = store
        .sessions(&filter)
        .await?
        .into_iter()
        .filter(|s| s.ended_at.is_some() && s.id != *session)
        .filter_map(|s| s.summary.filter(|s| s.facts.strokes() >= MIN_NOTES))
        .take(SESSIONS)
        .collect();
    let heard: Vec<Heard<'_>> = before.iter().map(Heard).collect();
    let outcome = Outcome::of(session.to_string(), plan.plan.focus.metric(), Heard(&summary), &heard);
    store.finish_plan(&plan.id, &outcome, ended.max(plan.created_at).min(Timestamp::now())).await?;
    Ok(Some(outcome))
}

/// Follows up what a process that was killed could not: plans that still wait although a session has carried them out.
pub(super) async fn catch_up(store: &Store, user: &str) -> Result<(), StoreError> {
    /// Plans looked at: at most one waits, and it is among the newest.
    const NEWEST: u32 = 5;
    for plan in store.plans(user, NEWEST).await?.iter().filter(|p| p.status.is_open()) {
        for session in store.plan_sessions(&plan.id, true).await? {
            if follow_up(store, &session).await?.is_some() {
                break;
            }
        }
    }
    Ok(())
}

//! The plan that a session is to carry out, also when it was made on another device.

use crate::span::chain;
use crate::store::{PlanRow, Store, StoreError};

/// A plan of a player by its id, a prefix of it, or `latest`, for a session on this device. With a shared database
/// (`shared` is its address, empty: none) a plan that was made elsewhere, in a Hub on another machine, is found too and
/// kept in this device's own store, where the session is; of two that are `latest` the newer one counts. A shared
/// database that does not answer is no error.
///
/// # Errors
/// No such plan here or there, a prefix that several share, or a store of this device that cannot be used.
pub async fn find(local: &Store, shared: &str, user: &str, name: &str) -> Result<PlanRow, StoreError> {
    if shared.is_empty() {
        return local.plan(user, name).await;
    }
    match Store::connect(shared).await {
        Ok(shared) => {
            let found = find_in(local, &shared, user, name).await;
            shared.close().await;
            found
        }
        Err(error) => {
            tracing::warn!("plans made elsewhere cannot be looked for: {}", chain(&error));
            local.plan(user, name).await
        }
    }
}

async fn find_in(local: &Store, shared: &Store, user: &str, name: &str) -> Result<PlanRow, StoreError> {
    let here = local.plan(user, name).await;
    match (here, shared.plan(user, name).await) {
        (Ok(here), Ok(there)) if here.id == there.id || here.created_at >= there.created_at => Ok(here),
        (Ok(_) | Err(StoreError::NotFound { .. }), Ok(there)) => {
            local.insert_plan(&there).await?;
            Ok(there)
        }
        (here, Err(error)) => {
            if !matches!(error, StoreError::NotFound { .. }) {
                tracing::warn!("plans made elsewhere cannot be looked for: {}", chain(&error));
            }
            here
        }
        (Err(error), Ok(_)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coach::plan::{Ask, Planner};
    use crate::config::Config;

    #[tokio::test]
    async fn a_plan_made_elsewhere_is_found_and_kept_here() {
        let (local, shared) = (Store::memory().await.unwrap(), Store::memory().await.unwrap());
        assert!(find_in(&local, &shared, "ann", "latest").await.is_err());
        let there = Planner::new(&Config::default(), shared.clone());
        let made = there.propose("ann", Ask::Today, "hub").await.unwrap();
        assert_eq!(find_in(&local, &shared, "ann", "latest").await.unwrap(), made);
        assert_eq!(local.plan("ann", "latest").await.unwrap(), made);
        assert_eq!(find_in(&local, &shared, "ann", "latest").await.unwrap(), made, "kept once");
        // The newer one counts, wherever it was made.
        let here = Planner::new(&Config::default(), local.clone());
        let newer = here.propose("ann", Ask::Another, "studio").await.unwrap();
        assert_eq!(find_in(&local, &shared, "ann", "latest").await.unwrap(), newer);
        assert_eq!(find_in(&local, &shared, "ann", &made.id.to_string()).await.unwrap().id, made.id);
        assert!(find_in(&local, &shared, "ben", "latest").await.is_err());
    }

    #[tokio::test]
    async fn a_shared_database_that_is_away_is_no_error() {
        let local = Store::memory().await.unwrap();
        let made = Planner::new(&Config::default(), local.clone())
            .propose("ann", Ask::Today, "studio")
            .await
            .unwrap();
        // Port 9 discards; nobody listens on it here.
        let away = "postgres://nobody@127.0.0.1:9/nothing";
        assert_eq!(find(&local, away, "ann", "latest").await.unwrap(), made);
    }
}

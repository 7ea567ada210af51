//! Tokens are looked up here and nowhere else, and wrong ones are slowed down.
//!
//! A token has 256 random bits: guessing is hopeless anyhow. The brakes keep a guesser from burdening the store and
//! the log, and cost an honest player who mistypes a moment.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;

use super::HubError;
use crate::store::Store;

/// Wrong tokens that an address may send within [`MEMORY`].
const WRONG: u32 = 10;
/// How long a wrong token is remembered.
const MEMORY: Duration = Duration::from_secs(60);
/// How long the answer to a wrong token waits.
const WAIT: Duration = Duration::from_millis(500);
/// Addresses remembered at most: beyond it the oldest are forgotten.
const ADDRESSES: usize = 1000;
/// Longest token that is looked up, bytes.
const LONGEST: usize = 256;

/// Remembers who was wrong.
#[derive(Debug, Default)]
pub struct Patience {
    wrong: Mutex<HashMap<IpAddr, (u32, Instant)>>,
}

impl Patience {
    /// The player who owns `token`.
    ///
    /// # Errors
    /// [`HubError`]: 401 for no token or a wrong one (after a while), 429 after too many wrong ones from this address.
    pub async fn user_of(
        &self,
        store: &Store,
        peer: Option<IpAddr>,
        token: &str,
    ) -> Result<String, HubError> {
        let unauthorized = |said: &str| HubError { status: StatusCode::UNAUTHORIZED, said: said.into() };
        if token.is_empty() {
            return Err(unauthorized(
                "a token is needed from here: `fretcoach user add NAME` makes one; send it as `Authorization: Bearer`",
            ));
        }
        if peer.is_some_and(|peer| self.tired_of(peer, Instant::now())) {
            return Err(HubError {
                status: StatusCode::TOO_MANY_REQUESTS,
                said: format!("too many wrong tokens from here: wait {} s", MEMORY.as_secs()),
            });
        }
        let plausible = token.len() <= LONGEST && token.bytes().all(|b| b.is_ascii_graphic());
        match if plausible { store.user_of_token(token).await? } else { None } {
            Some(user) => Ok(user),
            None => {
                if let Some(peer) = peer {
                    self.note(peer, Instant::now());
                }
                tokio::time::sleep(WAIT).await;
                Err(unauthorized("that token opens nothing: `fretcoach user token NAME` makes a new one"))
            }
        }
    }

    fn tired_of(&self, peer: IpAddr, now: Instant) -> bool {
        let table = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        table.get(&peer).is_some_and(|(count, since)| *count >= WRONG && now.duration_since(*since) < MEMORY)
    }

    fn note(&self, peer: IpAddr, now: Instant) {
        let mut table = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if table.len() >= ADDRESSES {
            table.retain(|_, (_, since)| now.duration_since(*since) < MEMORY);
        }
        if table.len() >= ADDRESSES
            && let Some(oldest) = table.iter().min_by_key(|(_, (_, since))| *since).map(|(ip, _)| *ip)
        {
            table.remove(&oldest);
        }
        let (count, since) = table.entry(peer).or_insert((0, now));
        if now.duration_since(*since) >= MEMORY {
            (*count, *since) = (0, now);
        }
        *count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_guesses_must_wait_and_others_need_not() {
        let patience = Patience::default();
        let (guesser, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let now = Instant::now();
        for _ in 0..WRONG {
            assert!(!patience.tired_of(guesser, now));
            patience.note(guesser, now);
        }
        assert!(patience.tired_of(guesser, now) && !patience.tired_of(other, now));
        let later = now + MEMORY;
        assert!(!patience.tired_of(guesser, later));
        patience.note(guesser, later);
        assert!(!patience.tired_of(guesser, later), "an old sin does not count twice");
    }

    #[test]
    fn memory_is_bounded() {
        let patience = Patience::default();
        for n in 0..2 * ADDRESSES as u32 {
            patience.note(IpAddr::from(n.to_be_bytes()), Instant::now());
        }
        assert!(patience.wrong.lock().unwrap().len() <= ADDRESSES);
    }
}

//! Newtype ids: UUIDv7, so that they sort by time and need no central counter.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new one, after all that were made before on this machine.
            #[must_use]
            #[allow(clippy::new_without_default)]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// The first thirteen characters: unique to the millisecond, and enough to name it on the command line.
            #[must_use]
            pub fn short(&self) -> String {
                self.0.to_string()[..SHORT].to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

/// The 48 bits of a UUIDv7 that hold the time in milliseconds, in its hyphenated form.
const SHORT: usize = 13;

id!(
    /// A player.
    UserId
);
id!(
    /// A practice session.
    SessionId
);
id!(
    /// A piece of advice or a summary.
    AdviceId
);
id!(
    /// A practice plan (`practice_id` in traces).
    PlanId
);
id!(
    /// A chat with the coach.
    ChatId
);
id!(
    /// A running process that writes to the store.
    InstanceId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_read_back() {
        let ids: Vec<SessionId> = (0..100).map(|_| SessionId::new()).collect();
        assert!(ids.windows(2).all(|w| w[0] < w[1]));
        assert_eq!(ids[0].to_string().parse::<SessionId>().unwrap(), ids[0]);
        assert!(ids[0].to_string().starts_with(&ids[0].short()));
    }
}

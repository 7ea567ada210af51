//! Which speech engine is tried first: one that failed lately rests at the end of the row.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::lock;

/// How long an engine that failed is tried last.
///
/// A server that hangs costs its whole time-out before the next engine speaks. At the usual 30 s between two pieces of
/// advice, two minutes let that happen to one in five instead of each, and a server that was started again is soon
/// heard.
const REST: Duration = Duration::from_secs(120);

/// When engines failed, by their place in the row.
#[derive(Default)]
pub(super) struct Rests(Mutex<HashMap<usize, Instant>>);

impl Rests {
    /// The places of `count` engines in the order in which to try them: as configured, those that rest last.
    pub(super) fn order(&self, count: usize, now: Instant) -> Vec<usize> {
        let failed = lock(&self.0);
        let rests = |i: &usize| failed.get(i).is_some_and(|at| now.saturating_duration_since(*at) < REST);
        let (last, mut order): (Vec<usize>, Vec<usize>) = (0..count).partition(rests);
        order.extend(last);
        order
    }

    /// The engine at this place failed.
    pub(super) fn failed(&self, engine: usize, now: Instant) {
        lock(&self.0).insert(engine, now);
    }

    /// The engine at this place spoke.
    pub(super) fn worked(&self, engine: usize) {
        lock(&self.0).remove(&engine);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_failed_is_tried_last_for_a_while() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let rests = Rests::default();
        assert_eq!(rests.order(3, start), [0, 1, 2]);
        rests.failed(0, start);
        assert_eq!(rests.order(3, after(119)), [1, 2, 0]);
        assert_eq!(rests.order(3, after(120)), [0, 1, 2]);
        rests.failed(1, after(100));
        assert_eq!(rests.order(3, after(110)), [2, 0, 1], "as configured among those that rest");
        rests.worked(0);
        assert_eq!(rests.order(3, after(110)), [0, 2, 1], "it spoke when it was its turn");
        assert_eq!(rests.order(1, after(110)), [0]);
    }
}

//! What happened after a piece of advice: the score it spoke about, in its window and in the next.

use minijinja::{Value, context};

use super::words::clock;
use crate::practice::types::Metric;
use crate::store::{AdviceKind, AdviceRow, WindowRecord};

/// Notes and chords that the window after must hold: a score from fewer says little.
pub(super) const FEWEST_NOTES: usize = 8;

/// What can be said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum After {
    /// It speaks about no window, or nothing was measured in it.
    NoAim,
    /// Nothing, or too little, was played in the next window, or the score was not measured there.
    TooLittle(Metric),
    /// The score before and after.
    Scores(Metric, f64, f64),
}

/// What happened after `advice`: the weakest metric of its window, there and in the window after it.
pub(super) fn after(advice: &AdviceRow, windows: &[WindowRecord]) -> After {
    let of = |index: u32| windows.iter().map(|w| &w.window).find(|w| w.index == index);
    let aim = advice.window_index.and_then(of).filter(|_| advice.kind != AdviceKind::Summary);
    let Some((window, metric)) = aim.and_then(|w| Some((w, w.weakest?))) else { return After::NoAim };
    let Some(before) = window.scores.get(metric) else { return After::NoAim };
    let next = of(window.index + 1).filter(|w| w.facts.strokes() >= FEWEST_NOTES);
    match next.and_then(|w| w.scores.get(metric)) {
        Some(after) => After::Scores(metric, before, after),
        None => After::TooLittle(metric),
    }
}

/// Advice as the page shows it.
pub(super) fn row(advice: &AdviceRow, windows: &[WindowRecord]) -> Value {
    let (said, trend) = match after(advice, windows) {
        After::NoAim => (None, "none"),
        After::TooLittle(metric) => {
            (Some(format!("{metric}: too little was played afterwards to tell")), "none")
        }
        After::Scores(metric, before, after) => {
            let difference = after.round() - before.round();
            let trend = match difference {
                d if d > 0.0 => "up",
                d if d < 0.0 => "down",
                _ => "level",
            };
            (
                Some(format!(
                    "{metric}: {before:.0} → {after:.0} ({difference:+.0}) in the stretch after it"
                )),
                trend,
            )
        }
    };
    context! {
        at => clock(advice.at_s),
        seconds => advice.at_s,
        kind => match advice.kind {
            AdviceKind::Live => None,
            AdviceKind::Asked => Some("asked for"),
            AdviceKind::Summary => Some("summary"),
        },
        text => advice.text.trim(),
        source => advice.source.clone(),
        heard => match advice.spoken {
            Some(true) => Some("heard"),
            Some(false) => Some("not heard to its end"),
            None => None,
        },
        after => said,
        trend,
        trace => advice.trace_id.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::practice::types::{Facts, Scores, Window};
    use crate::store::AdviceId;
    use jiff::Timestamp;

    fn window(index: u32, timing: Option<f64>, notes: usize) -> WindowRecord {
        let window = Window {
            index,
            start: 0.0,
            end: 30.0,
            scores: Scores { timing_stability: timing, ..Scores::default() },
            facts: Facts { note_count: notes, ..Facts::default() },
            weakest: timing.map(|_| Metric::TimingStability),
            strongest: None,
        };
        WindowRecord { window, closed_at: Timestamp::UNIX_EPOCH, cost: None }
    }

    fn advice(window_index: Option<u32>) -> AdviceRow {
        AdviceRow {
            id: AdviceId::new(),
            kind: AdviceKind::Live,
            at: Timestamp::UNIX_EPOCH,
            at_s: 30.0,
            window_index,
            text: "Slow down.".into(),
            source: "offline".into(),
            prompt_version: None,
            spoken: None,
            trace_id: None,
            span_id: None,
        }
    }

    #[test]
    fn the_score_after_is_told_only_when_enough_was_played() {
        let windows = [
            window(0, Some(60.0), 40),
            window(1, Some(72.0), 8),
            window(2, Some(90.0), 7),
            window(3, None, 40),
        ];
        let timing = Metric::TimingStability;
        assert_eq!(after(&advice(Some(0)), &windows), After::Scores(timing, 60.0, 72.0));
        assert_eq!(after(&advice(Some(1)), &windows), After::TooLittle(timing), "seven notes");
        assert_eq!(after(&advice(Some(2)), &windows), After::TooLittle(timing), "not measured");
        assert_eq!(after(&advice(Some(3)), &windows), After::NoAim);
        assert_eq!(after(&advice(None), &windows), After::NoAim);
        let summary = AdviceRow { kind: AdviceKind::Summary, ..advice(Some(0)) };
        assert_eq!(after(&summary, &windows), After::NoAim);
    }
}

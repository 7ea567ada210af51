//! The metronome as the judge knows it: when each beat was due at the microphone.

use crate::music::grid::Tempo;

/// A click that differs from the one before by less than this is the same one, measured anew, seconds: clocks drift,
/// and a better estimate of them must not part the playing in two.
const SAME_SECONDS: f64 = 0.03;
/// Clicks that are remembered; the oldest are forgotten first. More than one change of the click a second over an hour.
const REMEMBERED: usize = 4096;

/// A metronome whose beats are known in the time of the microphone or line input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Click {
    /// When its beat 0 was due in the input, seconds on the capture clock, the round trip already added.
    pub origin: f64,
    /// Its tempo.
    pub tempo: Tempo,
    /// The round trip was measured: deviations are true to the click. Without, only evenness can be judged, and the
    /// constant part of the deviations is taken out.
    pub latency_known: bool,
}

impl Click {
    /// Beats since beat 0 at a time in seconds.
    #[must_use]
    pub fn beats(&self, t: f64) -> f64 {
        (t - self.origin) / self.tempo.beat_seconds()
    }

    /// True when both give the same grid but for a small correction of its place.
    fn continues(&self, before: &Self) -> bool {
        let apart = self.beats(before.origin);
        self.tempo == before.tempo
            && self.latency_known == before.latency_known
            && (apart - apart.round()).abs() * self.tempo.beat_seconds() < SAME_SECONDS
    }
}

/// What the playing is to be in time with: a tempo that was set, and the clicks that were heard meanwhile.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pulse {
    /// Tempo set; used where there is no click. `None`: inferred.
    pub tempo: Option<Tempo>,
    /// From when on which click held (`None`: it fell silent), rising.
    clicks: Vec<(f64, Option<Click>)>,
}

impl From<Option<Tempo>> for Pulse {
    fn from(tempo: Option<Tempo>) -> Self {
        Self { tempo, clicks: Vec::new() }
    }
}

impl Pulse {
    /// A click begins, changes or falls silent (`None`). It holds for notes from half a beat before its beat 0 on, and
    /// never for those before `now` (seconds) when another click was heard until then.
    pub fn set(&mut self, now: f64, click: Option<Click>) {
        let from = match (self.clicks.last(), &click) {
            (_, None) => now,
            (None, Some(c)) => c.origin - 0.5 * c.tempo.beat_seconds(),
            (Some(_), Some(c)) => now.max(c.origin - 0.5 * c.tempo.beat_seconds()),
        };
        if !from.is_finite() || self.clicks.last().is_some_and(|(_, last)| *last == click) {
            return;
        }
        // What was to begin later has been overruled.
        while self.clicks.last().is_some_and(|(begun, _)| *begun >= from) {
            self.clicks.pop();
        }
        if self.clicks.len() == REMEMBERED {
            self.clicks.remove(0);
        }
        self.clicks.push((from, click));
    }

    /// The click that held at a time.
    #[must_use]
    pub fn click_at(&self, t: f64) -> Option<Click> {
        let held = self.clicks.partition_point(|(from, _)| *from <= t);
        self.clicks[..held].last().and_then(|(_, click)| *click)
    }

    /// True when notes at both times (rising) can be judged against one grid.
    #[must_use]
    pub fn one_grid(&self, a: f64, b: f64) -> bool {
        let first = self.clicks.partition_point(|(from, _)| *from <= a);
        let last = self.clicks.partition_point(|(from, _)| *from <= b);
        let mut before = first.checked_sub(1).and_then(|i| self.clicks[i].1);
        for (_, click) in &self.clicks[first..last.max(first)] {
            let same = match (&before, click) {
                (None, None) => true,
                (Some(before), Some(click)) => click.continues(before),
                _ => false,
            };
            if !same {
                return false;
            }
            before = *click;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn click(origin: f64, bpm: f64) -> Option<Click> {
        Some(Click { origin, tempo: Tempo::new(bpm).unwrap(), latency_known: true })
    }

    #[test]
    fn a_click_holds_from_its_first_beat_on() {
        let mut pulse = Pulse::default();
        assert_eq!(pulse.click_at(3.0), None);
        pulse.set(2.0, click(1.5, 120.0));
        assert_eq!(pulse.click_at(1.2), None);
        assert_eq!(pulse.click_at(1.3), click(1.5, 120.0));
        pulse.set(9.0, click(12.0, 90.0));
        assert_eq!((pulse.click_at(11.0), pulse.click_at(11.9)), (click(1.5, 120.0), click(12.0, 90.0)));
        assert!(!pulse.one_grid(11.0, 11.9) && pulse.one_grid(2.0, 11.0));
        pulse.set(20.0, None);
        assert_eq!(pulse.click_at(20.5), None);
        assert!(!pulse.one_grid(19.0, 21.0) && !pulse.one_grid(0.0, 2.0));
        // Overruled before it began.
        pulse.set(20.0, click(30.0, 60.0));
        pulse.set(21.0, click(25.0, 70.0));
        assert_eq!(pulse.click_at(40.0), click(25.0, 70.0));
    }

    #[test]
    fn a_click_measured_anew_parts_nothing() {
        let mut pulse = Pulse::default();
        pulse.set(0.0, click(0.5, 120.0));
        for i in 1..6000 {
            let now = f64::from(i);
            pulse.set(now, click(0.5 + now + 1e-4 * now, 120.0));
        }
        assert!(pulse.one_grid(2000.0, 5900.0));
        pulse.set(7000.0, click(7000.25, 120.0));
        assert!(!pulse.one_grid(6000.0, 7001.0));
        pulse.set(f64::NAN, None);
        assert!(pulse.click_at(7001.0).is_some());
    }
}

//! Follows the delay: a two-state Kalman filter (delay and drift) over the clicks.

use super::find::Found;

/// Wander of the delay, samples per root second, and of the drift, per root second: quartz clocks hold still, and what
/// moves is the temperature. More would let the guitar under the clicks move the delay.
const WANDER: f64 = 0.003;
const DRIFT_WANDER: f64 = 0.1e-6;
/// Error of a first delay, samples, and of a first drift; and how sure the difference of two clocks is before anything was
/// heard (consumer sound cards stay within 100 parts in a million).
const FIRST_ERROR: f64 = 0.5;
const FIRST_DRIFT: f64 = 60e-6;
/// A click further off than this is not believed, standard errors and at least samples.
const SURPRISE: f64 = 5.0;
const LEAST_SURPRISE: f64 = 1.0;
/// Beyond this a click cannot be fitted: a quarter of the period of its upper partials, samples.
const LINEAR: f64 = 2.5;
/// A click is there if it may have this share of its level.
const PRESENT: f64 = 0.6;
/// So many clicks in a row that are not there: the way has changed.
const LOST: u32 = 6;

/// How a click fits what was learnt.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fit {
    /// Later than predicted by this, samples; with variance.
    pub late: f64,
    pub late_variance: f64,
    /// Louder than predicted by this share; with variance.
    pub louder: f64,
    pub louder_variance: f64,
}

/// The delay in time.
#[derive(Clone, Debug)]
pub(super) struct Course {
    at: f64,
    delay: f64,
    drift: f64,
    /// Covariance: delay, both, drift.
    p: [f64; 3],
    misses: u32,
}

impl Course {
    /// A line through what was found: the median of the delays, and the drift by least squares with a prior of none.
    pub(super) fn new(found: &Found) -> Self {
        let pairs = &found.pairs[..found.many.max(1)];
        let mut delays = [0.0; super::STRIKES];
        let mut line = (median(&mut delays, pairs.iter().map(|p| p.1)), 0.0);
        let middle = pairs.iter().map(|p| p.0).sum::<f64>() / pairs.len() as f64;
        // A click read one oscillation off would bend the line: only those near the last line are asked.
        for reach in [14.0, 4.0, 4.0] {
            let (mut sum, mut weights, mut square, mut cross) = (0.0, 0.0, 0.0, 0.0);
            for (at, delay) in pairs {
                let x = at - middle;
                let off = delay - line.0 - line.1 * x;
                if off.abs() <= reach {
                    weights += 1.0;
                    sum += off;
                    square += x * x;
                    cross += x * off;
                }
            }
            if weights > 0.0 {
                line.0 += sum / weights;
                let prior = (FIRST_ERROR / FIRST_DRIFT).powi(2);
                line.1 += (cross - prior * line.1) / (square + prior);
            }
        }
        let square: f64 = pairs.iter().map(|p| (p.0 - middle).powi(2)).sum();
        let drift_variance = 1.0 / (square / FIRST_ERROR.powi(2) + FIRST_DRIFT.powi(-2));
        // From the first click on, so that the clicks that led here can be learnt in order.
        let first = pairs.iter().map(|p| p.0).fold(f64::INFINITY, f64::min);
        let back = first - middle;
        let delay_variance = FIRST_ERROR.powi(2) + back * back * drift_variance;
        Self {
            at: first,
            delay: line.0 + line.1 * back,
            drift: line.1,
            p: [delay_variance, back * drift_variance, drift_variance],
            misses: 0,
        }
    }

    /// Where a strike arrives.
    pub(super) fn arrival(&self, at: f64) -> f64 {
        at + self.delay + self.drift * (at - self.at)
    }

    /// Time, delay, drift, and the delay's standard error.
    pub(super) fn state(&self) -> (f64, f64, f64, f64) {
        (self.at, self.delay, self.drift, self.p[0].max(0.0).sqrt())
    }

    /// The last click was not where it should have been.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.misses > 0
    }

    pub(super) fn is_lost(&self) -> bool {
        self.misses >= LOST
    }

    /// A click at `at` has been fitted.
    pub(super) fn update(&mut self, at: f64, fit: &Fit) {
        let dt = at - self.at;
        let seconds = dt.abs() / f64::from(super::ANALYSIS_RATE);
        let [a, b, c] = self.p;
        let (a, b, c) = (
            a + 2.0 * dt * b + dt * dt * c + WANDER * WANDER * seconds,
            b + dt * c,
            c + DRIFT_WANDER * DRIFT_WANDER * seconds,
        );
        let innovation = a + fit.late_variance;
        if !fit.late.is_finite() || !innovation.is_finite() || innovation <= 0.0 {
            return;
        }
        self.delay += self.drift * dt;
        self.at = at;
        self.p = [a, b, c];
        let surprise = (SURPRISE * innovation.sqrt()).max(LEAST_SURPRISE);
        // A click that is not there has no share of what was learnt; a loud note on it hides that, and is no miss.
        if 1.0 + fit.louder + 2.0 * fit.louder_variance.sqrt() < PRESENT {
            self.misses += 1;
            return;
        }
        self.misses = 0;
        // Of a stroke on the click, its time may be off by anything.
        if fit.late.abs() > surprise.min(LINEAR) {
            return;
        }
        let (k, l) = (a / innovation, b / innovation);
        self.delay += k * fit.late;
        self.drift += l * fit.late;
        self.p = [(1.0 - k) * a, (1.0 - k) * b, c - l * b];
    }
}

/// The median, collected in `room`.
fn median(room: &mut [f64], values: impl Iterator<Item = f64>) -> f64 {
    let mut many = 0;
    for (slot, value) in room.iter_mut().zip(values) {
        *slot = value;
        many += 1;
    }
    let values = &mut room[..many];
    values.sort_unstable_by(f64::total_cmp);
    values.get(many / 2).copied().unwrap_or(0.0)
}

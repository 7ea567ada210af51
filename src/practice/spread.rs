//! How uneven: a spread that a few false onsets do not spoil, and how surely it is known.
//!
//! The spread is a standard deviation, after the wildest few notes were left out: those beyond `FAR` spreads, which
//! even playing all but never reaches, and at most `FEW` of the notes. So a false onset or a single stumble does not
//! pass for unevenness (it is told as a wrong note instead), while playing that is uneven throughout loses nothing of
//! its spread: of normal deviations the limit takes 6 in 100,000. What is far off beyond those few counts up to the limit.

use super::tempo::SMALLEST_SD;

/// Deviations beyond this many spreads are far off. With few notes the spread itself is uncertain, and so the limit
/// wider ([`FAR_FEW`] over the number of notes is added to 1).
const FAR: f64 = 4.0;
const FAR_FEW: f64 = 4.0;
/// At most this share of the notes is left out as far off, and always one.
const FEW: f64 = 0.05;
/// With fewer notes none is left out: which of them is the odd one cannot be told.
const FEWEST_TO_LEAVE_OUT: usize = 8;
/// Standard normal quantile of 90 %: an interval that holds the true spread four times in five.
const Z: f64 = 1.281_551_6;

/// Squares of deviations that can be pooled over runs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    /// Sum of squared deviations about their mean.
    pub squares: f64,
    /// Notes that it stands on.
    pub notes: usize,
}

/// Spread of deviations (seconds) without the wildest few.
#[must_use]
pub fn spread(deviations: &[f64]) -> Spread {
    let n = deviations.len();
    let middle = median(&mut deviations.to_vec());
    let mut away: Vec<f64> = deviations.iter().map(|d| d - middle).collect();
    if n < FEWEST_TO_LEAVE_OUT {
        return Spread { squares: squares_about_mean(&away), notes: n };
    }
    let far = FAR * (1.0 + FAR_FEW / n as f64);
    let mut sd = robust_sd(&mut away.clone());
    let mut limit = f64::INFINITY;
    for _ in 0..10 {
        let next = far * sd.max(SMALLEST_SD);
        if next == limit {
            break;
        }
        limit = next;
        let near: Vec<f64> = away.iter().copied().filter(|d| d.abs() <= limit).collect();
        sd = (squares_about_mean(&near) / (near.len().max(2) - 1) as f64).sqrt();
    }
    away.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    let beyond = away.iter().filter(|d| d.abs() > limit).count();
    let left_out = beyond.min(((FEW * n as f64).round() as usize).max(1));
    away.truncate(n - left_out);
    away.iter_mut().for_each(|d| *d = d.clamp(-limit, limit));
    Spread { squares: squares_about_mean(&away), notes: away.len() }
}

/// Interval that holds the true standard deviation four times in five, for one measured with `free` degrees of freedom:
/// `s √(f/χ²)` at the 90 % and 10 % points of the chi-square distribution, by Wilson and Hilferty's approximation (1931;
/// from 3 degrees on within 1 % of the exact ends, at 2 within 4 %). `None` with fewer than two degrees.
#[must_use]
pub fn interval(sd: f64, free: usize) -> Option<(f64, f64)> {
    if free < 2 || !sd.is_finite() {
        return None;
    }
    let part = 2.0 / (9.0 * free as f64);
    let ratio = |z: f64| (1.0 - part + z * part.sqrt()).powi(3);
    Some((sd / ratio(Z).sqrt(), sd / ratio(-Z).sqrt()))
}

/// Standard deviation of a normal distribution about 0 with the same median absolute value. Reorders its input.
pub(super) fn robust_sd(values: &mut [f64]) -> f64 {
    for v in values.iter_mut() {
        *v = v.abs();
    }
    1.4826 * median(values)
}

fn squares_about_mean(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    values.iter().map(|v| (v - mean).powi(2)).sum()
}

/// Median; reorders its input. 0 for none.
pub(super) fn median(values: &mut [f64]) -> f64 {
    let n = values.len();
    if n == 0 {
        return 0.0;
    }
    let (below, upper, _) = values.select_nth_unstable_by(n / 2, f64::total_cmp);
    let upper = *upper;
    if n % 2 == 1 {
        return upper;
    }
    let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    0.5 * (lower + upper)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_match_the_chi_square_table() {
        // 90 % and 10 % points of the table.
        for (free, high, low) in
            [(4, 7.779, 1.064), (9, 14.684, 4.168), (29, 39.087, 19.768), (2, 4.605, 0.211)]
        {
            let (from, to) = interval(10.0, free).unwrap();
            let exact = |chi: f64| 10.0 * (free as f64 / chi).sqrt();
            let within = if free > 2 { 0.01 } else { 0.04 };
            assert!((from / exact(high) - 1.0).abs() < within, "{free}: {from} {}", exact(high));
            assert!((to / exact(low) - 1.0).abs() < within, "{free}: {to} {}", exact(low));
        }
        assert_eq!((interval(10.0, 1), interval(f64::NAN, 9)), (None, None));
    }

    #[test]
    fn a_stumble_is_left_out_and_general_unevenness_is_not() {
        let even: Vec<f64> = (0..40).map(|i| 0.008 * [1.2, -0.7, 0.1, -1.4, 0.8][i % 5]).collect();
        let sd = |s: Spread| (s.squares / (s.notes - 1) as f64).sqrt();
        let clean = spread(&even);
        assert_eq!(clean.notes, 40);
        let mut stumbled = even.clone();
        stumbled[7] = 0.12;
        stumbled[30] = -0.3;
        let robust = spread(&stumbled);
        assert_eq!(robust.notes, 38);
        assert!((sd(robust) - sd(clean)).abs() < 0.0003);
        for i in 0..10 {
            stumbled[4 * i] = if i % 2 == 0 { 0.1 } else { -0.1 };
        }
        assert!(sd(spread(&stumbled)) > 2.0 * sd(clean));
        assert_eq!(spread(&[]).notes, 0);
        assert_eq!(spread(&[0.1; 20]).squares, 0.0);
    }
}

//! Charts of the whole take as SVG. Colours come from classes, so that the page's style sheet decides them.

use std::fmt::Write;

use super::take::{Noise, Onsets, Row, Spread};
use crate::cli::text::clock;
use crate::practice::types::Metric;

/// Width of a chart across the page, and of one of two side by side, in units that the page scales: a unit is about a
/// pixel on a desk, so that letters are as large in both.
const FULL: f64 = 1000.0;
const HALF: f64 = 480.0;
const HEIGHT: f64 = 220.0;
/// Room for the labels: left, right, top, bottom.
const MARGIN: (f64, f64, f64, f64) = (58.0, 14.0, 10.0, 26.0);
/// From so many windows on their points are drawn small.
const MANY: usize = 60;
/// Fewest values of which a mean and a spread are drawn.
const FEWEST: u64 = 4;
/// Levels outside are drawn at the edge, dBFS.
const LEVELS_DB: (f64, f64) = (-100.0, -10.0);

/// A number with at most one decimal, as short as it can be written.
#[must_use]
pub fn num(x: f64) -> String {
    let x = (x * 10.0).round() / 10.0;
    // No minus zero.
    if x == 0.0 { "0".into() } else { format!("{x}") }
}

/// Distance of the ticks on an axis of time, seconds, such that there are at most `most`.
fn time_step(seconds: f64, most: f64) -> f64 {
    const STEPS: [f64; 13] =
        [1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0];
    let fits = |step: &f64| seconds / step <= most;
    STEPS.into_iter().find(fits).unwrap_or_else(|| 3600.0 * (seconds / 3600.0 / most).ceil())
}

struct Chart {
    svg: String,
    width: f64,
    x: (f64, f64),
    y: (f64, f64),
}

impl Chart {
    fn new(label: &str, width: f64, x: (f64, f64), y: (f64, f64)) -> Self {
        let class = if width > HALF { "chart full" } else { "chart" };
        let mut svg = String::new();
        let _ = write!(
            svg,
            r#"<svg class="{class}" viewBox="0 0 {width} {HEIGHT}" role="img" aria-label="{label}">"#
        );
        Self { svg, width, x, y }
    }

    fn px(&self, x: f64) -> f64 {
        let share = (x - self.x.0) / (self.x.1 - self.x.0);
        MARGIN.0 + share.clamp(0.0, 1.0) * (self.width - MARGIN.0 - MARGIN.1)
    }

    fn py(&self, y: f64) -> f64 {
        let share = (y - self.y.0) / (self.y.1 - self.y.0);
        HEIGHT - MARGIN.3 - share.clamp(0.0, 1.0) * (HEIGHT - MARGIN.2 - MARGIN.3)
    }

    fn at(&self, x: f64, y: f64) -> String {
        format!("{} {}", num(self.px(x)), num(self.py(y)))
    }

    fn add(&mut self, text: std::fmt::Arguments<'_>) {
        let _ = self.svg.write_fmt(text);
    }

    /// A line across with its value at the left.
    fn across(&mut self, y: f64, label: &str, class: &str) {
        let (left, right, at) = (num(MARGIN.0), num(self.width - MARGIN.1), num(self.py(y)));
        self.add(format_args!(
            r#"<path class="{class}" d="M{left} {at}H{right}"/><text class="l" x="{}" y="{}" text-anchor="end">{label}</text>"#,
            num(MARGIN.0 - 6.0),
            num(self.py(y) + 4.0),
        ));
    }

    fn band(&mut self, low: f64, high: f64, class: &str) {
        let (top, bottom) = (self.py(high), self.py(low));
        self.add(format_args!(
            r#"<rect class="{class}" x="{}" y="{}" width="{}" height="{}"/>"#,
            num(MARGIN.0),
            num(top),
            num(self.width - MARGIN.0 - MARGIN.1),
            num(bottom - top)
        ));
    }

    fn below(&mut self, x: f64, label: &str) {
        let at = self.px(x);
        // A label at an end stays inside.
        let anchor = if at > self.width - MARGIN.1 - 20.0 { "end" } else { "middle" };
        let at = if anchor == "end" { self.width - 4.0 } else { at };
        self.add(format_args!(
            r#"<text class="l" x="{}" y="{}" text-anchor="{anchor}">{label}</text>"#,
            num(at),
            num(HEIGHT - 8.0)
        ));
    }

    fn times(&mut self) {
        let step = time_step(self.x.1 - self.x.0, (self.width / 80.0).floor());
        let mut t = 0.0;
        while t <= self.x.1 {
            self.below(t, &clock(t));
            t += step;
        }
    }

    fn end(mut self) -> String {
        self.svg.push_str("</svg>");
        self.svg
    }
}

/// Scores of each window over the time; `linked` says whether a window (by its index) stands below in detail.
#[must_use]
pub fn scores(rows: &[Row], seconds: f64, linked: &dyn Fn(u32) -> bool) -> String {
    let mut chart = Chart::new(
        "Scores by window; the table below has the same figures",
        FULL,
        (0.0, seconds),
        (0.0, 100.0),
    );
    for (low, high, class) in
        [(90.0, 100.0, "good2"), (70.0, 90.0, "good"), (50.0, 70.0, "fair"), (0.0, 50.0, "poor")]
    {
        chart.band(low, high, class);
    }
    for y in [0.0, 30.0, 50.0, 70.0, 90.0, 100.0] {
        chart.across(y, &num(y), "grid");
    }
    chart.times();
    let middle = |r: &Row| (r.start + r.end) / 2.0;
    let metrics = Metric::ALL.map(Some).into_iter().chain([None]);
    for metric in metrics {
        let value = |r: &Row| metric.map_or(r.scores.overall, |m| r.scores.get(m));
        let mut path = String::new();
        for part in rows.split(|r| value(r).is_none()) {
            for (i, row) in part.iter().enumerate() {
                let _ = write!(
                    path,
                    "{}{}",
                    if i == 0 { "M" } else { "L" },
                    chart.at(middle(row), value(row).unwrap_or(0.0))
                );
            }
            // A window alone is a short dash.
            if part.len() == 1 {
                path.push_str("m-3 0h6");
            }
        }
        let class = metric.map_or("overall", Metric::name);
        if !path.is_empty() {
            chart.add(format_args!(r#"<path class="line {class}" d="{path}"/>"#));
        }
    }
    let radius = if rows.len() > MANY { 2.2 } else { 4.5 };
    for row in rows {
        let Some(overall) = row.scores.overall else { continue };
        let (x, y) = (num(chart.px(middle(row))), num(chart.py(overall)));
        let words =
            format!("{} to {}: {}", clock(row.start), clock(row.end), crate::cli::text::scores(&row.scores));
        let dot =
            format!(r#"<circle class="dot" cx="{x}" cy="{y}" r="{radius}"><title>{words}</title></circle>"#);
        if linked(row.index) {
            chart.add(format_args!(r##"<a href="#w{}" aria-label="{words}">{dot}</a>"##, row.index));
        } else {
            chart.svg.push_str(&dot);
        }
    }
    chart.end()
}

/// Early and late over the time, with the band inside which a note is right.
#[must_use]
pub fn onsets(onsets: &Onsets, seconds: f64, tolerance: f64) -> String {
    let reach = 100.0f64;
    let mut chart = Chart::new(
        "Onset deviations over the take, early below and late above the line",
        HALF,
        (0.0, seconds),
        (-reach, reach),
    );
    chart.band(-tolerance, tolerance, "band");
    for (ms, label) in [(-100.0, "−100"), (-50.0, "early"), (0.0, "0 ms"), (50.0, "late"), (100.0, "+100")]
    {
        chart.across(ms, label, if ms == 0.0 { "axis" } else { "grid" });
    }
    chart.times();
    // One path for all: a dot is a line of no length with round ends.
    let (mut right, mut wrong) = (String::new(), String::new());
    for &(t, ms) in &onsets.points {
        let path = if ms.abs() <= tolerance { &mut right } else { &mut wrong };
        let _ = write!(path, "M{}h0", chart.at(t, ms));
    }
    chart.add(format_args!(r#"<path class="dots r" d="{right}"/><path class="dots w" d="{wrong}"/>"#));
    chart.end()
}

/// A histogram with mean and spread.
#[must_use]
pub fn spread(spread: &Spread, unit: &str, what: &str, tolerance: f64) -> String {
    let reach = spread.reach.0;
    let most = spread.bars.iter().copied().max().unwrap_or(0).max(1);
    let mean = spread.mean().unwrap_or(0.0);
    let sd = spread.sd().unwrap_or(0.0);
    let label = format!(
        "Histogram of {what}: {} values, mean {} {unit}, spread {} {unit}",
        spread.count,
        num(mean),
        num(sd)
    );
    let mut chart = Chart::new(&label, HALF, (-reach, reach), (0.0, most as f64 * 1.12));
    let (left, right) = (chart.px(-tolerance), chart.px(tolerance));
    let bottom = chart.py(0.0);
    chart.add(format_args!(
        r#"<rect class="band" x="{}" y="{}" width="{}" height="{}"/>"#,
        num(left),
        num(MARGIN.2),
        num(right - left),
        num(bottom - MARGIN.2)
    ));
    for step in [most.div_ceil(2), most] {
        chart.across(step as f64, &step.to_string(), "grid");
    }
    for (i, &count) in spread.bars.iter().enumerate().filter(|b| *b.1 > 0) {
        let from = -reach + i as f64 * spread.reach.1;
        let (x, y) = (chart.px(from), chart.py(count as f64));
        let to = from + spread.reach.1;
        let range = match (i, spread.bars.len() - 1) {
            (0, _) => format!("below {}", num(to)),
            (i, last) if i == last => format!("{} and more", num(from)),
            _ => format!("{} to {}", num(from), num(to)),
        };
        chart.add(format_args!(
            r#"<rect class="bar" x="{}" y="{}" width="{}" height="{}"><title>{range} {unit}: {count}</title></rect>"#,
            num(x + 1.0),
            num(y),
            num(chart.px(to) - x - 2.0),
            num(bottom - y)
        ));
    }
    if spread.count >= FEWEST && sd > 0.0 {
        // The normal distribution of the same mean and spread, for comparison.
        let mut path = String::new();
        for i in 0..=120 {
            let x = -reach + 2.0 * reach * f64::from(i) / 120.0;
            let z = (x - mean) / sd;
            let height = spread.count as f64 * spread.reach.1 / (sd * std::f64::consts::TAU.sqrt())
                * (-0.5 * z * z).exp();
            let _ = write!(path, "{}{}", if i == 0 { "M" } else { "L" }, chart.at(x, height));
        }
        chart.add(format_args!(r#"<path class="normal" d="{path}"/>"#));
    }
    if spread.count > 0 {
        let x = num(chart.px(mean));
        chart.add(format_args!(r#"<path class="mean" d="M{x} {}V{}"/>"#, num(MARGIN.2), num(bottom)));
    }
    chart.across(0.0, "0", "axis");
    for share in [-1.0, -0.5, 0.0, 0.5, 1.0] {
        let x = share * reach;
        let sign = if x > 0.0 {
            "+"
        } else if x < 0.0 {
            "−"
        } else {
            ""
        };
        chart.below(x, &format!("{sign}{} {unit}", num(x.abs())));
    }
    chart.end()
}

/// Wanted and unwanted sound over the time.
#[must_use]
pub fn noise(noise: &Noise, seconds: f64, hop_seconds: f64) -> String {
    let mut chart = Chart::new(
        "Level of the playing and of unwanted sound over the take",
        FULL,
        (0.0, seconds),
        LEVELS_DB,
    );
    for db in [-20.0, -40.0, -60.0, -80.0, -100.0] {
        chart.across(db, &format!("−{} dB", num(-db)), "grid");
    }
    chart.times();
    let width = noise.hops as f64 * hop_seconds;
    for (class, pick) in [("wanted", 0), ("unwanted", 1)] {
        let mut path = String::new();
        for (i, bin) in noise.bins.iter().enumerate().filter(|(_, b)| b.2 > 0) {
            let power = if pick == 0 { bin.0 } else { bin.1 } / bin.2 as f64;
            let db = 10.0 * power.max(1e-12).log10();
            let join = if path.is_empty() { "M" } else { "L" };
            let _ = write!(path, "{join}{}", chart.at((i as f64 + 0.5) * width, db));
        }
        chart.add(format_args!(r#"<path class="line {class}" d="{path}"/>"#));
    }
    chart.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!([num(0.0), num(-0.04), num(1.25), num(-3.0), num(12.34)], ["0", "0", "1.3", "-3", "12.3"]);
    }

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!([time_step(8.0, 9.0), time_step(90.0, 9.0), time_step(3600.0, 9.0)], [1.0, 10.0, 600.0]);
        assert!(1e6 / time_step(1e6, 9.0) <= 9.0);
    }
}

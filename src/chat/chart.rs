//! Charts from the rows of a query: a description that knows nothing of how it is drawn.

use serde::{Deserialize, Serialize};

use crate::store::query::{Cell, Rows};

/// How the values are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChartKind {
    /// Values over time.
    Lines,
    /// Values beside each other.
    Bars,
}

/// A row of values with a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChartSeries {
    /// As in the legend.
    pub name: String,
    /// One for each place; `None`: not measured.
    pub values: Vec<Option<f64>>,
}

/// A chart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChartSpec {
    /// Its heading.
    pub title: String,
    /// How it is drawn.
    pub kind: ChartKind,
    /// What the places are: `day`.
    pub x_title: String,
    /// Places, in order.
    pub x: Vec<String>,
    /// What is shown; all of one unit.
    pub series: Vec<ChartSeries>,
    /// Scores from 0 to 100; else any numbers.
    pub scores: bool,
    /// What it shows, in a sentence.
    pub alt: String,
}

/// Columns that are moments, finest last: the first of them that a result has is the axis.
const TIMES: [&str; 5] = ["started_at", "day", "week", "month", "created_at"];
/// Most series of a chart: more cannot be told apart.
const MAX_SERIES: usize = 5;
/// Most places.
const MAX_PLACES: usize = 120;
/// Columns that count or name rather than measure.
const NOT_MEASURED: [&str; 6] = ["recency", "days_ago", "number", "midi", "octave", "session"];

/// A chart of a result; `None` where it holds nothing to be drawn: no numbers, or a single one.
#[must_use]
pub fn of(rows: &Rows) -> Option<ChartSpec> {
    let numeric: Vec<usize> = (0..rows.columns.len())
        .filter(|&i| rows.rows.iter().any(|r| r[i].number().is_some()))
        .filter(|&i| rows.rows.iter().all(|r| !matches!(r[i], Cell::Text(_))))
        .filter(|&i| !NOT_MEASURED.contains(&rows.columns[i].as_str()))
        .collect();
    let shown = alike(rows, &numeric);
    let first = *shown.first()?;
    let scores = is_score(&rows.columns[first]);
    if let [row] = rows.rows.as_slice() {
        return one_row(rows, row, &shown, scores);
    }
    if rows.rows.len() < 2 || rows.rows.len() > MAX_PLACES {
        return None;
    }
    let time = TIMES.iter().find_map(|t| rows.columns.iter().position(|c| c == t));
    let text = (0..rows.columns.len()).find(|&i| rows.rows.iter().all(|r| matches!(r[i], Cell::Text(_))));
    let place =
        time.or(text).or_else(|| rows.columns.iter().position(|c| c == "days_ago" || c == "recency"))?;
    let mut order: Vec<&Vec<Cell>> = rows.rows.iter().collect();
    if time.is_some() {
        order.sort_by_key(|r| r[place].to_string());
    }
    let kind = if time.is_some() { ChartKind::Lines } else { ChartKind::Bars };
    let series: Vec<ChartSeries> = shown
        .iter()
        .map(|&i| ChartSeries {
            name: words(&rows.columns[i]),
            values: order.iter().map(|r| r[i].number()).collect(),
        })
        .collect();
    let names: Vec<&str> = series.iter().map(|s| s.name.as_str()).collect();
    let x_title = words(&rows.columns[place]);
    let title = format!("{} by {x_title}", capital(&listed(&names)));
    let x: Vec<String> = order.iter().map(|r| r[place].to_string()).collect();
    let alt = alt(&series, &x);
    Some(ChartSpec { title, kind, x_title, x, series, scores, alt })
}

/// A single row of several values: bars beside each other.
fn one_row(rows: &Rows, row: &[Cell], shown: &[usize], scores: bool) -> Option<ChartSpec> {
    if shown.len() < 2 {
        return None;
    }
    let x: Vec<String> = shown.iter().map(|&i| words(&rows.columns[i])).collect();
    let values: Vec<Option<f64>> = shown.iter().map(|&i| row[i].number()).collect();
    let series = vec![ChartSeries { name: if scores { "score".into() } else { "value".into() }, values }];
    let names: Vec<&str> = x.iter().map(String::as_str).collect();
    let title = capital(&listed(&names));
    let alt = alt(&series, &x);
    Some(ChartSpec { title, kind: ChartKind::Bars, x_title: String::new(), x, series, scores, alt })
}

/// The columns that share a unit with the first: scores with scores, others by the first word of what they measure.
fn alike(rows: &Rows, numeric: &[usize]) -> Vec<usize> {
    let mut shown: Vec<usize> = numeric.iter().copied().filter(|&i| is_score(&rows.columns[i])).collect();
    if shown.is_empty() {
        let unit = |i: usize| unit(&rows.columns[i]);
        let first = numeric.first().map(|&i| unit(i));
        shown = numeric.iter().copied().filter(|&i| Some(unit(i)) == first).collect();
    }
    shown.truncate(MAX_SERIES);
    shown
}

fn is_score(column: &str) -> bool {
    column.contains("score") || column.contains("overall") || column.ends_with("average")
}

/// Something that two columns of one unit share.
fn unit(column: &str) -> &str {
    ["minutes", "cents", "ms", "bpm", "notes", "sessions", "percent", "share"]
        .into_iter()
        .find(|u| column.contains(u))
        .unwrap_or(column)
}

/// A column's name as words.
fn words(column: &str) -> String {
    column.replace('_', " ").trim().to_owned()
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

/// Each series from its first to its last value.
fn alt(series: &[ChartSeries], x: &[String]) -> String {
    let sentence = |s: &ChartSeries| {
        let known: Vec<(&String, f64)> =
            x.iter().zip(&s.values).filter_map(|(x, v)| Some((x, (*v)?))).collect();
        match known.as_slice() {
            [] => format!("{}: not measured", s.name),
            [(x, v)] => format!("{}: {} at {x}", s.name, Cell::Real(*v)),
            [(x1, v1), .., (x2, v2)] => {
                format!("{}: {} at {x1}, {} at {x2}", s.name, Cell::Real(*v1), Cell::Real(*v2))
            }
        }
    };
    format!("{}.", series.iter().map(sentence).collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(columns: &[&str], rows: Vec<Vec<Cell>>) -> Rows {
        Rows { columns: columns.iter().map(|c| (*c).to_owned()).collect(), rows, ..Rows::default() }
    }

    fn t(text: &str) -> Cell {
        Cell::Text(text.into())
    }

    #[test]
    fn progress_is_drawn_over_time_in_order() {
        let chart = of(&rows(
            &["day", "overall_score", "minutes"],
            vec![
                vec![t("2026-11-20"), Cell::Real(85.0), Cell::Real(20.0)],
                vec![t("2026-11-18"), Cell::Null, Cell::Real(18.0)],
                vec![t("2026-11-16"), Cell::Real(81.0), Cell::Real(10.0)],
            ],
        ))
        .unwrap();
        assert_eq!((chart.kind, chart.scores), (ChartKind::Lines, true));
        assert_eq!(chart.x, ["2026-11-16", "2026-11-18", "2026-11-20"]);
        assert_eq!(chart.series.len(), 1, "minutes are no scores");
        assert_eq!(chart.series[0].values, [Some(81.0), None, Some(85.0)]);
        assert_eq!(chart.title, "Overall score by day");
        assert_eq!(chart.alt, "overall score: 81 at 2026-11-16, 85 at 2026-11-20.");
    }

    #[test]
    fn comparison_is_drawn_side_by_side() {
        let scales = of(&rows(
            &["scale", "average_score"],
            vec![vec![t("E blues"), Cell::Real(76.5)], vec![t("C major"), Cell::Real(78.0)]],
        ));
        assert_eq!(scales.unwrap().kind, ChartKind::Bars);
        let one = of(&rows(&["last_score", "average_score"], vec![vec![Cell::Real(85.0), Cell::Real(78.8)]]))
            .unwrap();
        assert_eq!(one.x, ["last score", "average score"]);
    }

    #[test]
    fn what_cannot_be_drawn_is_not() {
        assert_eq!(of(&Rows::default()), None);
        assert_eq!(of(&rows(&["n"], vec![vec![Cell::Whole(8)]])), None);
        assert_eq!(of(&rows(&["a", "b"], vec![vec![t("x"), t("y")], vec![t("x"), t("y")]])), None);
        assert_eq!(of(&rows(&["recency"], vec![vec![Cell::Whole(1)], vec![Cell::Whole(2)]])), None);
    }
}

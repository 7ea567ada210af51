//! Charts: the JSON of the `plotly` crate, drawn in the browser by plotly's own script (`assets/hub/charts.js` loads it).
//!
//! A page gives each [`Chart`] to the macro `chart` of `chart.html`, and calls its macro `scripts` once in the head. A
//! chart has a heading, a text alternative, and a table of its numbers, which is all there is without JavaScript. What
//! is put into a page later is drawn by `fretcoachCharts.draw(element)`.
//!
//! Colours are names of the style sheet, `var(--chart-1)`: the loader resolves them, in light and in dark. Traces are
//! SVG only, never WebGL.

use std::io::Write;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use flate2::Compression;
use flate2::write::GzEncoder;
use minijinja::{Value, context};
use plotly::common::{DashType, Font, HoverInfo, Line, Marker, Mode, Orientation, Title};
use plotly::configuration::DisplayModeBar;
use plotly::layout::{Axis, AxisRange, AxisType, BarMode, DragMode, HoverMode, Legend, Margin, RangeMode};
use plotly::{Bar, Configuration, Layout, Plot, Scatter, Trace, Traces};
use serde::Serialize;
use tokio::sync::OnceCell;

use super::{Hub, HubError};

/// Version of plotly's script that the crate carries. It stands in the script's address (`chart.html`, `charts.js`), so
/// that a browser may keep the file for good.
pub const PLOTLY: &str = "3.0.1";
/// A year: what is served under an address with a version never changes.
const FOR_GOOD: &str = "public, max-age=31536000, immutable";
/// Line styles in turn, so that series differ without their colours.
const DASHES: [DashType; 5] =
    [DashType::Solid, DashType::Dash, DashType::Dot, DashType::DashDot, DashType::LongDash];
/// Colours of the style sheet, `--chart-1` and on.
const COLOURS: usize = 5;
/// Bars of one series are drawn for at most so many places; more become a line, which stays readable.
const MOST_BARS: usize = 120;

/// What plotly draws: traces, layout and configuration. Serializes as plotly's JSON.
///
/// The crate's own [`Plot`] would copy its scripts (7 MB) whenever one is made.
#[derive(Clone, Serialize)]
pub struct Figure {
    data: Traces,
    layout: Layout,
    config: Configuration,
}

impl Figure {
    /// An empty figure; begin with [`layout`].
    #[must_use]
    pub fn new(layout: Layout) -> Self {
        let config = Configuration::new()
            .responsive(true)
            .display_logo(false)
            .display_mode_bar(DisplayModeBar::False)
            .double_click(plotly::configuration::DoubleClick::False);
        Self { data: Traces::new(), layout, config }
    }

    /// The same with one more trace.
    #[must_use]
    pub fn with(mut self, trace: Box<dyn Trace>) -> Self {
        self.data.push(trace);
        self
    }

    /// Plotly's JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// An axis in the page's colours.
fn axis(title: &str) -> Axis {
    Axis::new()
        .title(Title::with_text(plain(title)))
        .fixed_range(true)
        .auto_margin(true)
        .grid_color("var(--line)")
        .zero_line_color("var(--line)")
        .line_color("var(--line)")
}

/// A layout in the page's colours, with these titles of the axes.
#[must_use]
pub fn layout(x: &str, y: &str) -> Layout {
    Layout::new()
        .paper_background_color("rgba(0,0,0,0)")
        .plot_background_color("rgba(0,0,0,0)")
        .font(Font::new().color("var(--ink)").family("system-ui, sans-serif").size(13))
        .margin(Margin::new().left(48).right(12).top(8).bottom(40))
        .legend(
            Legend::new()
                .orientation(Orientation::Horizontal)
                .y(1.02)
                .y_anchor(plotly::common::Anchor::Bottom),
        )
        .hover_mode(HoverMode::XUnified)
        .hover_label(
            plotly::common::Label::new()
                .background_color("var(--card)")
                .border_color("var(--line)")
                .font(Font::new().color("var(--ink)")),
        )
        // A finger that scrolls the page must not draw a box in the chart.
        .drag_mode(DragMode::False)
        .x_axis(axis(x))
        .y_axis(axis(y))
}

/// Text as plotly shows it: it would take `<b>` and `<a>` for markup.
#[must_use]
pub fn plain(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The colour of the `n`th series, from 0.
#[must_use]
pub fn colour(n: usize) -> String {
    format!("var(--chart-{})", n % COLOURS + 1)
}

/// A row of values with a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Shown in the legend.
    pub name: String,
    /// One for each place on the x axis; `None`: not measured.
    pub values: Vec<Option<f64>>,
}

/// Numbers to be shown: places on the x axis and a value of every series at each.
#[derive(Clone, Debug, PartialEq)]
pub struct Data {
    /// What the x axis is: `day`.
    pub x_title: String,
    /// What the y axis is, with its unit: `score`, `minutes`.
    pub y_title: String,
    /// Dates (`2026-11-20`) become a time axis, everything else stands in this order.
    pub x: Vec<String>,
    /// What is shown.
    pub series: Vec<Series>,
    /// Ends of the y axis, where they are known.
    pub range: Option<(f64, f64)>,
}

/// A chart of a page.
#[derive(Clone)]
pub struct Chart {
    /// Unique on its page; letters, digits and hyphens.
    pub id: String,
    /// Its heading.
    pub title: String,
    /// What it shows, in a sentence, for those who do not see it.
    pub alt: String,
    /// What is drawn.
    pub figure: Figure,
    /// Heads of the table's columns.
    pub columns: Vec<String>,
    /// Rows of the table.
    pub rows: Vec<Vec<String>>,
}

impl Chart {
    /// Lines over time or over any row of places.
    #[must_use]
    pub fn lines(id: &str, title: &str, alt: &str, data: &Data) -> Self {
        let mut figure = Figure::new(layout_of(data));
        // A single point has no line.
        let mode = if data.x.len() < 40 { Mode::LinesMarkers } else { Mode::Lines };
        for (n, series) in data.series.iter().enumerate() {
            let line = Line::new().color(colour(n)).width(2.0).dash(DASHES[n % DASHES.len()].clone());
            let trace = Scatter::new(data.x.iter().map(|x| plain(x)).collect(), series.values.clone())
                .name(plain(&series.name))
                .mode(mode.clone())
                .connect_gaps(true)
                .line(line)
                .marker(Marker::new().color(colour(n)).size(6));
            figure = figure.with(trace);
        }
        Self::of(id, title, alt, figure, data)
    }

    /// Bars side by side; lines when there would be too many.
    #[must_use]
    pub fn bars(id: &str, title: &str, alt: &str, data: &Data) -> Self {
        if data.x.len() > MOST_BARS {
            return Self::lines(id, title, alt, data);
        }
        let mut figure = Figure::new(layout_of(data).bar_mode(BarMode::Group).bar_gap(0.15));
        for (n, series) in data.series.iter().enumerate() {
            let trace = Bar::new(data.x.iter().map(|x| plain(x)).collect(), series.values.clone())
                .name(plain(&series.name))
                .hover_info(HoverInfo::All)
                .marker(Marker::new().color(colour(n)));
            figure = figure.with(trace);
        }
        Self::of(id, title, alt, figure, data)
    }

    fn of(id: &str, title: &str, alt: &str, figure: Figure, data: &Data) -> Self {
        let columns =
            std::iter::once(data.x_title.clone()).chain(data.series.iter().map(|s| s.name.clone())).collect();
        let number = |v: Option<&Option<f64>>| v.copied().flatten().map_or_else(|| "–".to_owned(), brief);
        let rows = data.x.iter().enumerate().map(|(i, x)| {
            let values = data.series.iter().map(|s| number(s.values.get(i)));
            std::iter::once(x.clone()).chain(values).collect()
        });
        Self { id: id.into(), title: title.into(), alt: alt.into(), figure, columns, rows: rows.collect() }
    }

    /// What the macro `chart` of `chart.html` takes.
    #[must_use]
    pub fn value(&self) -> Value {
        context! {
            id => self.id.clone(),
            title => self.title.clone(),
            alt => self.alt.clone(),
            columns => self.columns.clone(),
            rows => self.rows.clone(),
            json => Value::from_safe_string(in_script(&self.figure.json())),
        }
    }
}

fn layout_of(data: &Data) -> Layout {
    let mut layout = layout(&data.x_title, &data.y_title).show_legend(data.series.len() > 1);
    let axis_y = axis(&data.y_title);
    layout = layout.y_axis(match data.range {
        Some((low, high)) => axis_y.range(AxisRange::new(low, high)),
        None => axis_y.range_mode(RangeMode::ToZero),
    });
    // Of one day alone plotly would show the milliseconds.
    if data.x.len() == 1 {
        layout = layout.x_axis(axis(&data.x_title).type_(AxisType::Category));
    }
    layout
}

/// A number with one decimal where it has one.
fn brief(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or_else(|| text.clone(), str::to_owned)
}

/// JSON that can stand in a script element of any page: no `</script>`, no `<!--`.
fn in_script(json: &serde_json::Value) -> String {
    json.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// Plotly's script, `/assets/plotly.js`.
pub fn routes() -> Router<Hub> {
    Router::new().route("/assets/plotly.js", get(script))
}

/// The script of the crate without MathJax, which stands after it: nothing here is typeset.
fn plotly_script() -> String {
    let mut sources = Plot::offline_js_sources();
    let end = sources.find("</script>").unwrap_or(sources.len());
    sources.truncate(end);
    let begin = sources.find('>').map_or(0, |at| at + 1);
    sources.split_off(begin)
}

/// Packed once, and only when a page with a chart is opened: 1.4 MB instead of 4.7 MB.
async fn packed() -> Result<Bytes, HubError> {
    static PACKED: OnceCell<Bytes> = OnceCell::const_new();
    let pack = || async {
        let packed = tokio::task::spawn_blocking(|| {
            let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
            gzip.write_all(plotly_script().as_bytes())?;
            gzip.finish()
        });
        let bytes = packed.await.map_err(std::io::Error::other).and_then(|packed| packed);
        bytes.map(Bytes::from).map_err(|e| HubError {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            said: format!("the script that draws charts could not be packed ({e}); load the page again"),
        })
    };
    PACKED.get_or_try_init(pack).await.cloned()
}

async fn script(headers: HeaderMap) -> Result<Response, HubError> {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let kind = (header::CONTENT_TYPE, "text/javascript; charset=utf-8");
    let keep = (header::CACHE_CONTROL, FOR_GOOD);
    let vary = (header::VARY, "accept-encoding");
    if takes_gzip(accepted) {
        let encoding = (header::CONTENT_ENCODING, "gzip");
        return Ok(([kind, keep, vary, encoding], packed().await?).into_response());
    }
    Ok(([kind, keep, vary], plotly_script()).into_response())
}

fn takes_gzip(accepted: &str) -> bool {
    accepted.split(',').any(|one| {
        let mut parts = one.split(';').map(str::trim);
        let refused = |part: &str| part.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0_f64));
        parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip")) && !parts.any(refused)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data() -> Data {
        Data {
            x_title: "day".into(),
            y_title: "score".into(),
            x: vec!["2026-11-19".into(), "2026-11-20".into()],
            series: vec![
                Series { name: "</script><b>pitch".into(), values: vec![Some(80.25), None] },
                Series { name: "timing".into(), values: vec![Some(70.0), Some(71.0)] },
            ],
            range: Some((0.0, 100.0)),
        }
    }

    #[test]
    fn the_script_is_plotly_alone_in_the_version_of_its_address() {
        let script = plotly_script();
        assert!(script.contains(&format!("plotly.js v{PLOTLY}")));
        assert!(!script.contains("MathJax=") && !script.contains("<script"), "MathJax is left out");
        assert!(script.trim_end().ends_with("}));") || script.trim_end().ends_with(';'), "whole");
        let loader = include_str!("../../assets/hub/charts.js");
        assert!(loader.contains(&format!("/assets/plotly.js?v={PLOTLY}")));
    }

    #[test]
    fn names_are_text_to_the_page_and_to_plotly() {
        for chart in [
            Chart::lines("a", "A", "what it shows", &data()),
            Chart::bars("b", "B", "what it shows", &data()),
        ] {
            let json = chart.value().get_attr("json").unwrap().to_string();
            assert!(!json.contains('<') && json.contains("\\u0026lt;b"), "{json}");
            let read: serde_json::Value = serde_json::from_str(&json).unwrap();
            assert_eq!(read["data"][0]["y"], serde_json::json!([80.25, null]));
            assert_eq!(read["data"][0]["name"], "&lt;/script&gt;&lt;b&gt;pitch");
            assert_eq!(read["config"]["displayModeBar"], false);
            assert_eq!(read["layout"]["yaxis"]["range"], serde_json::json!([0.0, 100.0]));
        }
    }

    #[test]
    fn the_table_holds_the_numbers_of_the_chart() {
        let chart = Chart::lines("a", "A", "what it shows", &data());
        assert_eq!(chart.columns, ["day", "</script><b>pitch", "timing"]);
        assert_eq!(chart.rows, [["2026-11-19", "80.2", "70"], ["2026-11-20", "–", "71"]]);
    }

    #[test]
    fn no_trace_needs_webgl() {
        for chart in [Chart::lines("a", "A", "", &data()), Chart::bars("b", "B", "", &data())] {
            for trace in chart.figure.json()["data"].as_array().unwrap() {
                assert!(["scatter", "bar"].contains(&trace["type"].as_str().unwrap()), "{trace}");
            }
        }
    }

    #[test]
    fn gzip_is_sent_to_those_who_take_it() {
        for (accepted, takes) in [
            ("gzip, deflate, br", true),
            ("br;q=1.0, GZIP;q=0.8", true),
            ("gzip;q=0", false),
            ("br", false),
            ("", false),
        ] {
            assert_eq!(takes_gzip(accepted), takes, "{accepted}");
        }
    }
}

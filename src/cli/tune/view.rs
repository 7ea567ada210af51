//! The tuner in the terminal: strings, the note in large letters, a needle, and a strobe.
//!
//! The strobe shows the phase between the string and its target, as a disc under a flashing light does: the bands run
//! right when the string is sharp, left when it is flat, and stand still when it is in tune. The lower rows run two and
//! four times as fast, so that even a tenth of a cent is seen.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use tui_big_text::{BigText, PixelSize};

use super::needle::{Mode, Reading, Tuner, words};

/// Columns from one band of the strobe to the next.
const BAND: f64 = 12.0;
/// How much faster the rows of the strobe run.
const ROWS: [f64; 3] = [1.0, 2.0, 4.0];
/// A row that moves by more of a band than this between two pictures would seem to stand or run backwards: it is drawn
/// as a blur.
const BLUR: f64 = 0.35;
/// Reach of the needle, cents.
const REACH: f64 = 50.0;
/// Below this a level meter shows nothing, dBFS.
const QUIET_DB: f32 = -60.0;
/// Columns from which words are written out.
const WIDE: u16 = 64;

/// Columns below which there is no room for the level.
const NARROW: u16 = 38;

/// All that is shown.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// State of the tuner.
    pub tuner: &'a Tuner,
    /// `drop D · capo 2 · A4 = 440 Hz`.
    pub title: &'a str,
    /// Names of the strings, from the lowest.
    pub names: &'a [String],
    /// Whether notes are spelled with sharps.
    pub sharps: bool,
    /// What is listened to, or what is the matter with it.
    pub device: &'a str,
    /// Something is the matter.
    pub trouble: bool,
    /// Time between two pictures, seconds.
    pub refresh: f64,
}

/// Draws the tuner; every size shows something sensible.
pub fn draw(frame: &mut Frame, v: &View) {
    let area = frame.area();
    let reading = v.tuner.reading();
    let big = if area.height >= 18 { 4 } else { 1 };
    let [title, _, strings, _, note, said, _, needle, _, strobe, _, figures, _, status, keys] =
        Layout::vertical([
            Constraint::Length(1),
            Constraint::Max(1),
            Constraint::Length(1),
            Constraint::Max(1),
            Constraint::Length(big),
            Constraint::Length(1),
            Constraint::Max(1),
            Constraint::Length(1),
            Constraint::Max(1),
            Constraint::Length(ROWS.len() as u16),
            Constraint::Max(1),
            Constraint::Length(1),
            Constraint::Fill(1),
            Constraint::Length(1),
            Constraint::Length(1),
        ])
        .areas(area);
    let wide = area.width >= WIDE;
    draw_title(frame, title, v);
    draw_strings(frame, strings, v, reading.as_ref(), wide);
    draw_note(frame, note, v, reading.as_ref());
    let colour = colour_of(reading.as_ref());
    centred(frame, said, Line::from(Span::styled(said_of(reading.as_ref()), Style::new().fg(colour))));
    centred(frame, needle, needle_line(needle.width, reading.as_ref(), colour));
    draw_strobe(frame, strobe, v, reading.as_ref(), colour);
    draw_figures(frame, figures, v, reading.as_ref());
    let style = Style::new().fg(if v.trouble { Color::Red } else { Color::DarkGray });
    frame.render_widget(Paragraph::new(Span::styled(format!(" {}", v.device), style)), status);
    draw_keys(frame, keys, v, wide);
}

fn centred(frame: &mut Frame, area: Rect, line: Line) {
    frame.render_widget(Paragraph::new(line).alignment(Alignment::Center), area);
}

fn colour_of(reading: Option<&Reading>) -> Color {
    match reading {
        Some(r) if !r.sounding => Color::DarkGray,
        Some(r) if r.in_tune => Color::Green,
        Some(r) if r.cents.abs() <= 15.0 => Color::Yellow,
        Some(_) => Color::Red,
        None => Color::DarkGray,
    }
}

fn said_of(reading: Option<&Reading>) -> String {
    match reading {
        None => "strike a string".into(),
        Some(r) if r.in_tune => format!("✓ {}", words(r)),
        Some(r) if r.cents > 0.0 => format!("{}: loosen", words(r)),
        Some(r) => format!("{}: tighten", words(r)),
    }
}

fn draw_title(frame: &mut Frame, area: Rect, v: &View) {
    let line = Line::from(vec![
        Span::styled(
            " FretCoach tuner ",
            Style::new().fg(Color::Black).bg(Color::Cyan).add_modifier(Modifier::BOLD),
        ),
        Span::raw(" "),
        Span::styled(v.title, Style::new().add_modifier(Modifier::BOLD)),
    ]);
    frame.render_widget(Paragraph::new(line), area);
}

/// `6 E2   5 A2  [4 D3]  3 G3 …`: players count from the thinnest.
fn draw_strings(frame: &mut Frame, area: Rect, v: &View, reading: Option<&Reading>, wide: bool) {
    if v.tuner.mode() == Mode::Chromatic {
        let words = if wide { "chromatic: any note, no strings" } else { "chromatic" };
        centred(frame, area, Line::from(Span::styled(words, Style::new().fg(Color::Gray))));
        return;
    }
    let count = v.names.len();
    let mut spans = Vec::new();
    for (i, name) in v.names.iter().enumerate() {
        let here = reading.is_some_and(|r| r.string == Some(i));
        let chosen = v.tuner.mode() == Mode::String(i);
        let mark = if v.tuner.is_tuned(i) { "✓" } else { "" };
        let style = match (here, v.tuner.is_tuned(i)) {
            (true, _) => Style::new().fg(Color::Black).bg(Color::Cyan).add_modifier(Modifier::BOLD),
            (false, true) => Style::new().fg(Color::Green),
            (false, false) => Style::new().fg(Color::Gray),
        };
        let style = if chosen { style.add_modifier(Modifier::UNDERLINED) } else { style };
        let text =
            if wide { format!(" {} {name}{mark} ", count - i) } else { format!("{}{name}{mark}", count - i) };
        spans.push(Span::styled(text, style));
        spans.push(Span::raw(if wide && count <= 7 { "  " } else { " " }));
    }
    spans.pop();
    centred(frame, area, Line::from(spans));
}

fn draw_note(frame: &mut Frame, area: Rect, v: &View, reading: Option<&Reading>) {
    let name = reading.map_or_else(|| "–".to_owned(), |r| name_of(v, r));
    let style = Style::new().fg(colour_of(reading)).add_modifier(Modifier::BOLD);
    if area.height < 4 {
        centred(frame, area, Line::from(Span::styled(name, style)));
        return;
    }
    // The large letters know ASCII alone.
    let text = if name == "–" { "-".to_owned() } else { name };
    let widget = BigText::builder()
        .pixel_size(PixelSize::HalfHeight)
        .style(style)
        .lines(vec![Line::from(text)])
        .alignment(Alignment::Center)
        .build();
    frame.render_widget(widget, area);
}

fn name_of(v: &View, r: &Reading) -> String {
    match r.string {
        Some(i) => v.names[i].clone(),
        None => crate::music::note::midi_name(r.midi, v.sharps),
    }
}

/// `♭ ├──────┼──●───┤ ♯`.
fn needle_line(width: u16, reading: Option<&Reading>, colour: Color) -> Line<'static> {
    let side = (usize::from(width).saturating_sub(8) / 2).clamp(4, 30);
    let mut cells: Vec<&str> = vec!["─"; 2 * side + 1];
    for quarter in [0, side / 2, side + side.div_ceil(2), 2 * side] {
        cells[quarter] = "┬";
    }
    cells[side] = "┼";
    let at =
        reading.map(|r| (side as f64 + (r.cents / REACH).clamp(-1.0, 1.0) * side as f64).round() as usize);
    let mut spans = vec![Span::raw("♭ ")];
    for (i, cell) in cells.into_iter().enumerate() {
        spans.push(match at {
            Some(at) if at == i => Span::styled("●", Style::new().fg(colour).add_modifier(Modifier::BOLD)),
            _ if i == side => Span::styled(cell, Style::new().fg(Color::Gray)),
            _ => Span::styled(cell, Style::new().fg(Color::DarkGray)),
        });
    }
    spans.push(Span::raw(" ♯"));
    Line::from(spans)
}

fn draw_strobe(frame: &mut Frame, area: Rect, v: &View, reading: Option<&Reading>, colour: Color) {
    let width = usize::from(area.width.saturating_sub(4)).min(72);
    for (y, speed) in ROWS.iter().enumerate().take(usize::from(area.height)) {
        let line = match reading {
            None => " ".repeat(width),
            Some(_) if (v.tuner.drift() * speed * v.refresh).abs() > BLUR => "▒".repeat(width),
            Some(_) => bands(width, v.tuner.phase() * speed),
        };
        let row = Rect { y: area.y + y as u16, height: 1, ..area };
        centred(frame, row, Line::from(Span::styled(line, Style::new().fg(colour))));
    }
}

/// Bands moved right by `phase` of their distance, drawn to half a column.
fn bands(width: usize, phase: f64) -> String {
    let lit = |half: usize| ((half as f64 + 0.5) / 2.0 / BAND - phase).rem_euclid(1.0) < 0.5;
    (0..width)
        .map(|x| match (lit(2 * x), lit(2 * x + 1)) {
            (true, true) => '█',
            (true, false) => '▌',
            (false, true) => '▐',
            (false, false) => ' ',
        })
        .collect()
}

fn draw_figures(frame: &mut Frame, area: Rect, v: &View, reading: Option<&Reading>) {
    let level = v.tuner.level_db();
    let share = ((level - QUIET_DB) / -QUIET_DB).clamp(0.0, 1.0);
    let filled = (share * 8.0).round() as usize;
    let mut spans = Vec::new();
    if let Some(r) = reading {
        spans.push(Span::raw(format!("{:.2} Hz", r.hz)));
        spans.push(Span::styled(format!(" of {:.2}   ", r.target_hz), Style::new().fg(Color::Gray)));
    }
    if area.width < NARROW {
        return centred(frame, area, Line::from(spans));
    }
    let colour = if level > -1.0 { Color::Red } else { Color::Green };
    spans.push(Span::styled("level ", Style::new().fg(Color::Gray)));
    spans.push(Span::styled("█".repeat(filled), Style::new().fg(colour)));
    spans.push(Span::styled("░".repeat(8 - filled), Style::new().fg(Color::DarkGray)));
    centred(frame, area, Line::from(spans));
}

fn draw_keys(frame: &mut Frame, area: Rect, v: &View, wide: bool) {
    let strings = format!("1-{}", v.names.len().min(9));
    let keys: [(&str, &str); 5] = if wide {
        [(&strings, "string"), ("a", "auto"), ("c", "chromatic"), ("t", "tuning"), ("q", "quit")]
    } else {
        [(&strings, ""), ("a", "uto"), ("c", "hrom"), ("t", "uning"), ("q", "uit")]
    };
    let mut spans = Vec::new();
    for (key, does) in keys {
        let now = match key {
            "a" => v.tuner.mode() == Mode::Auto,
            "c" => v.tuner.mode() == Mode::Chromatic,
            _ => false,
        };
        let (pad, gap) = if wide { (" ", " ") } else { ("", "") };
        let back = if now { Color::Cyan } else { Color::Gray };
        spans.push(Span::styled(format!("{pad}{key}{pad}"), Style::new().fg(Color::Black).bg(back)));
        spans.push(Span::raw(format!("{gap}{does}  ")));
    }
    frame.render_widget(Paragraph::new(Line::from(spans)), area);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsp::event::{FrameReport, NoisePowers};
    use crate::music::note::midi_to_hz;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn tuner(cents: f64) -> Tuner {
        let mut tuner = Tuner::new(vec![38, 45, 50, 55, 59, 64], 440.0, Mode::Auto);
        for i in 1..200 {
            tuner.frame(&FrameReport {
                t: f64::from(i) * 256.0 / 48_000.0,
                w: 0.02,
                f0: Some(midi_to_hz(45.0 + cents / 100.0, 440.0) as f32),
                confidence: 0.9,
                provisional: false,
                level_db: -18.0,
                wanted: 0.0,
                unwanted: 0.0,
                causes: NoisePowers::default(),
            });
        }
        tuner
    }

    fn shown(tuner: &Tuner, width: u16, height: u16) -> String {
        let names = ["D2", "A2", "D3", "G3", "B3", "E4"].map(String::from);
        let view = View {
            tuner,
            title: "drop D · A4 = 440 Hz",
            names: &names,
            sharps: true,
            device: "listening to Guitar",
            trouble: false,
            refresh: 0.04,
        };
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|f| draw(f, &view)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn the_screen_says_what_to_do() {
        let text = shown(&tuner(-7.2), 80, 24);
        for part in [
            "drop D · A4 = 440 Hz",
            " 5 A2 ",
            "-7.2 cents, flat: tighten",
            "109.54 Hz",
            "of 110.00",
            "♭ ",
            "█",
        ] {
            assert!(text.contains(part), "{part:?} is missing in\n{text}");
        }
        let text = shown(&tuner(0.3), 40, 24);
        for part in ["5A2✓", "✓ +0.3 cents, in tune"] {
            assert!(text.contains(part), "{part:?} is missing in\n{text}");
        }
        assert!(shown(&Tuner::new(vec![40], 440.0, Mode::Auto), 80, 24).contains("strike a string"));
    }

    #[test]
    fn any_size_of_terminal_is_drawn() {
        for (w, h) in [(1, 1), (20, 5), (40, 12), (200, 60)] {
            shown(&tuner(3.0), w, h);
        }
    }

    #[test]
    fn bands_move_right_with_the_phase() {
        let first = bands(24, 0.0);
        assert_eq!(first, "██████      ██████      ");
        assert_eq!(bands(24, 1.0), first);
        assert_eq!(bands(24, 0.25), "   ██████      ██████   ");
        assert!(bands(24, 1.0 / 24.0).starts_with("▐█████▌"));
    }
}

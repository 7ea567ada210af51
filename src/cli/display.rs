//! The live display in the terminal: draws a [`Screen`], reads single keys.

use std::time::Duration;

use crossterm::event::{Event, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use futures::StreamExt;
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Paragraph, Wrap};

use tokio::sync::{mpsc, watch};

use super::screen::{BeatView, DeviceState, Screen};
use super::text::{clock, short};
use crate::app::session::Command;
use crate::app::signals::Interrupts;
use crate::practice::metric::{Colour, Rating};

/// The keys, as shown at the foot and in the README.
pub const KEYS: [(&str, &str); 5] =
    [("space", "pause"), ("m", "mute"), ("s", "stop voice"), ("a", "advice now"), ("q", "quit")];

/// The key of the metronome, shown where there is one.
pub const CLICK_KEY: (&str, &str) = ("c", "click");

/// A deviation of this many cents or less is drawn as in tune (about what a trained ear lets pass).
const IN_TUNE_CENTS: f32 = 8.0;
/// A change of the score smaller than this is drawn as level: it is within the spread of a window's notes.
const TREND_POINTS: f64 = 3.0;
/// Left end of the level meter, dBFS.
const METER_FLOOR_DB: f32 = -60.0;

/// Time between two pictures: the eye sees a meter move, the processor hardly notices.
const REFRESH: Duration = Duration::from_millis(80);

/// Shows the session in the terminal and passes the player's keys on, until the session drops its end of `screen`.
///
/// # Errors
/// When the terminal cannot be drawn on.
pub async fn run(
    mut screen: watch::Receiver<Screen>,
    commands: mpsc::Sender<Command>,
    interrupts: Interrupts,
) -> std::io::Result<()> {
    let mut terminal = ratatui::try_init()?;
    let mut keys = EventStream::new();
    let mut refresh = tokio::time::interval(REFRESH);
    refresh.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let shown = loop {
        tokio::select! {
            _ = refresh.tick() => {
                if screen.has_changed().is_err() {
                    break Ok(());
                }
                let now = screen.borrow_and_update().clone();
                if let Err(e) = terminal.draw(|frame| draw(frame, &now)) {
                    break Err(e);
                }
            }
            Some(event) = keys.next() => match event {
                Ok(Event::Key(key)) => {
                    if is_interrupt(&key) {
                        interrupts.interrupt();
                    } else if command(&key) == Some(Command::Quit) {
                        interrupts.quit();
                    } else if let Some(command) = command(&key) {
                        // A full queue means a session that is busy ending: the key is dropped, since waiting here
                        // would keep Ctrl-C from being read.
                        let _ = commands.try_send(command);
                    }
                }
                Ok(_) => {}
                Err(e) => break Err(e),
            },
        }
    };
    ratatui::try_restore()?;
    shown
}

/// Ctrl-C comes as a key while the display owns the terminal.
fn is_interrupt(key: &KeyEvent) -> bool {
    key.kind != KeyEventKind::Release
        && key.code == KeyCode::Char('c')
        && key.modifiers.contains(KeyModifiers::CONTROL)
}

/// What a key asks for.
#[must_use]
pub fn command(key: &KeyEvent) -> Option<Command> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    match key.code {
        KeyCode::Char(' ' | 'p') => Some(Command::TogglePause),
        KeyCode::Char('m') => Some(Command::ToggleMute),
        KeyCode::Char('c') => Some(Command::ToggleClick),
        KeyCode::Char('s') => Some(Command::StopVoice),
        KeyCode::Char('a') | KeyCode::Enter => Some(Command::AskNow),
        KeyCode::Char('q') | KeyCode::Esc => Some(Command::Quit),
        _ => None,
    }
}

/// Draws the whole screen; every size down to 20 columns by 5 rows shows something sensible.
pub fn draw(frame: &mut Frame, s: &Screen) {
    let area = frame.area();
    let score_rows = s.metrics.len() as u16 + 1;
    let [title, top, notes, advice, status, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(score_rows.max(5) + 2),
        Constraint::Length(3),
        Constraint::Min(4),
        Constraint::Length(2),
        Constraint::Length(1),
    ])
    .areas(area);
    draw_title(frame, title, s);
    let [tuner, scores] = Layout::horizontal([Constraint::Length(34), Constraint::Min(20)]).areas(top);
    draw_tuner(frame, tuner, s);
    draw_scores(frame, scores, s);
    draw_notes(frame, notes, s);
    draw_advice(frame, advice, s);
    draw_status(frame, status, s);
    draw_keys(frame, keys, s);
}

fn panel(title: &str) -> Block<'_> {
    Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(Style::new().fg(Color::DarkGray))
        .title(Span::styled(format!(" {title} "), Style::new().fg(Color::Gray)))
}

fn draw_title(frame: &mut Frame, area: Rect, s: &Screen) {
    let (mark, colour) = match (&s.device_state, s.paused, s.closing) {
        (DeviceState::Lost(_), ..) if s.idle => ("no input", Color::Red),
        _ if s.idle => ("ready", Color::Cyan),
        (_, _, true) => ("summing up", Color::Cyan),
        (_, true, _) => ("paused", Color::Yellow),
        (DeviceState::Listening, ..) => ("listening", Color::Green),
        (DeviceState::Opening, ..) => ("opening the input", Color::Yellow),
        (DeviceState::Lost(_), ..) => ("input lost", Color::Red),
        (DeviceState::Ended, ..) => ("end of input", Color::Cyan),
    };
    let time = match s.planned {
        Some(planned) => format!("{} of {}", clock(s.elapsed), clock(planned)),
        None => clock(s.elapsed),
    };
    let left = Line::from(vec![
        Span::styled(
            " FretCoach ",
            Style::new().fg(Color::Black).bg(Color::Cyan).add_modifier(Modifier::BOLD),
        ),
        Span::raw(" "),
        Span::styled(s.title.as_str(), Style::new().add_modifier(Modifier::BOLD)),
    ]);
    let mut right = match s.beat {
        Some(BeatView::CountIn(left)) => {
            let count = format!("count-in {left}  ");
            vec![Span::styled(count, Style::new().fg(Color::Yellow).add_modifier(Modifier::BOLD))]
        }
        Some(BeatView::On(beat, of)) => {
            let colour = if beat == 1 { Color::Cyan } else { Color::Gray };
            vec![Span::styled(format!("♩ {beat}/{of}  "), Style::new().fg(colour))]
        }
        Some(BeatView::Off) | None => Vec::new(),
    };
    right.extend([
        Span::styled("● ", Style::new().fg(colour)),
        Span::styled(mark, Style::new().fg(colour)),
        Span::raw(format!("  {time} ")),
    ]);
    let right = Line::from(right);
    frame.render_widget(Paragraph::new(left), area);
    frame.render_widget(Paragraph::new(right).alignment(Alignment::Right), area);
}

fn draw_tuner(frame: &mut Frame, area: Rect, s: &Screen) {
    let block = panel("note");
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let [name_row, needle_row, cents_row, _, meter_row] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(inner);
    let (name, cents, colour) = match &s.note {
        Some((name, _, true)) => (name.as_str(), None, Color::DarkGray),
        Some((name, cents, false)) => {
            let colour = if cents.abs() <= IN_TUNE_CENTS { Color::Green } else { Color::Yellow };
            (name.as_str(), Some(*cents), colour)
        }
        None => ("–", None, Color::DarkGray),
    };
    let big = Style::new().fg(colour).add_modifier(Modifier::BOLD);
    frame.render_widget(Paragraph::new(Span::styled(name, big)).alignment(Alignment::Center), name_row);
    frame.render_widget(
        Paragraph::new(needle(needle_row.width as usize, cents, colour)).alignment(Alignment::Center),
        needle_row,
    );
    let words = cents.map_or_else(String::new, |c| match c {
        c if c.abs() <= IN_TUNE_CENTS => format!("{c:+.0} cents, in tune"),
        c if c > 0.0 => format!("{c:+.0} cents, sharp"),
        c => format!("{c:+.0} cents, flat"),
    });
    frame.render_widget(
        Paragraph::new(Span::styled(words, Style::new().fg(colour))).alignment(Alignment::Center),
        cents_row,
    );
    draw_meter(frame, meter_row, s.level_db);
}

/// `♭────────┼──●─────♯`, 50 cents to each side.
fn needle(width: usize, cents: Option<f32>, colour: Color) -> Line<'static> {
    let side = (width.saturating_sub(6) / 2).clamp(3, 12);
    let mut cells: Vec<&str> = vec!["─"; 2 * side + 1];
    cells[side] = "┼";
    let mut spans = vec![Span::raw("♭ ")];
    let at = cents.map(|c| (side as f32 + c.clamp(-50.0, 50.0) / 50.0 * side as f32).round() as usize);
    for (i, cell) in cells.into_iter().enumerate() {
        if at == Some(i) {
            spans.push(Span::styled("●", Style::new().fg(colour).add_modifier(Modifier::BOLD)));
        } else {
            spans.push(Span::styled(cell, Style::new().fg(Color::DarkGray)));
        }
    }
    spans.push(Span::raw(" ♯"));
    Line::from(spans)
}

fn draw_meter(frame: &mut Frame, area: Rect, level_db: f32) {
    let share = ((level_db - METER_FLOOR_DB) / -METER_FLOOR_DB).clamp(0.0, 1.0);
    let colour = match level_db {
        l if l > -1.0 => Color::Red,
        l if l > -6.0 => Color::Yellow,
        _ => Color::Green,
    };
    let label = if level_db <= METER_FLOOR_DB { "silent".to_owned() } else { format!("{level_db:.0} dB") };
    let [name, bar, figure] =
        Layout::horizontal([Constraint::Length(6), Constraint::Min(4), Constraint::Length(7)]).areas(area);
    frame.render_widget(Paragraph::new(Span::styled("level", Style::new().fg(Color::Gray))), name);
    frame.render_widget(Paragraph::new(bar_line(f64::from(share), bar.width, colour)), bar);
    frame.render_widget(Paragraph::new(label).alignment(Alignment::Right), figure);
}

fn bar_line(share: f64, width: u16, colour: Color) -> Line<'static> {
    let width = width as usize;
    let filled = ((share * width as f64).round() as usize).min(width);
    Line::from(vec![
        Span::styled("━".repeat(filled), Style::new().fg(colour)),
        Span::styled("─".repeat(width - filled), Style::new().fg(Color::DarkGray)),
    ])
}

/// Colour of a score by the bands of the design: from 70 green, 50 yellow, 30 orange, below red.
#[must_use]
pub fn score_colour(score: f64) -> Color {
    match Rating::of(score).colour() {
        Colour::Green => Color::Green,
        Colour::Yellow => Color::Yellow,
        Colour::Orange => Color::Rgb(255, 135, 0),
        Colour::Red => Color::Red,
    }
}

fn trend(now: Option<f64>, before: Option<f64>) -> Span<'static> {
    match (now, before) {
        (Some(n), Some(b)) if n - b >= TREND_POINTS => Span::styled("▲", Style::new().fg(Color::Green)),
        (Some(n), Some(b)) if b - n >= TREND_POINTS => Span::styled("▼", Style::new().fg(Color::Red)),
        (Some(_), Some(_)) => Span::styled("=", Style::new().fg(Color::DarkGray)),
        _ => Span::raw(" "),
    }
}

fn draw_scores(frame: &mut Frame, area: Rect, s: &Screen) {
    let block = panel("scores");
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let mut rows: Vec<(&str, Option<f64>, Option<f64>, bool)> = s
        .metrics
        .iter()
        .map(|m| (short(*m), s.scores.get(*m), s.previous.as_ref().and_then(|p| p.get(*m)), false))
        .collect();
    rows.push(("overall", s.scores.overall, s.previous.as_ref().and_then(|p| p.overall), true));
    for (i, (name, now, before, bold)) in rows.into_iter().enumerate() {
        let y = inner.y + i as u16;
        if y >= inner.bottom() {
            break;
        }
        let row = Rect { y, height: 1, ..inner };
        let [label, bar, figure] =
            Layout::horizontal([Constraint::Length(8), Constraint::Min(5), Constraint::Length(7)]).areas(row);
        let style = if bold { Style::new().add_modifier(Modifier::BOLD) } else { Style::new() };
        frame.render_widget(Paragraph::new(Span::styled(name, style)), label);
        let colour = now.map_or(Color::DarkGray, score_colour);
        frame.render_widget(Paragraph::new(bar_line(now.unwrap_or(0.0) / 100.0, bar.width, colour)), bar);
        let text = now.map_or_else(|| "   –".to_owned(), |n| format!("{n:4.0}"));
        frame.render_widget(
            Paragraph::new(Line::from(vec![
                Span::styled(text, style.fg(colour)),
                Span::raw(" "),
                trend(now, before),
            ])),
            figure,
        );
    }
}

fn draw_notes(frame: &mut Frame, area: Rect, s: &Screen) {
    let title = format!("notes: {} right, {} wrong (ms: early −, late +)", s.right, s.wrong);
    let block = panel(&title);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let mut spans: Vec<Span> = Vec::new();
    let mut width = 0;
    for n in s.recent.iter().rev() {
        // The latest note with all there is to say, wrong ones among the others with their mark, each with its time.
        let text = match (&n.reason, n.deviation_ms) {
            (Some(reason), _) if spans.is_empty() => format!("{} ({reason}) ", n.name),
            (_, Some(ms)) => format!("{} {} ", n.name, signed(ms)),
            _ => format!("{} ", n.name),
        };
        width += text.chars().count();
        if width > inner.width as usize {
            break;
        }
        let colour = match n.right {
            Some(true) => Color::Green,
            Some(false) => Color::Red,
            None => Color::DarkGray,
        };
        spans.push(Span::styled(text, Style::new().fg(colour)));
    }
    spans.reverse();
    frame.render_widget(Paragraph::new(Line::from(spans)), inner);
}

/// `+12`, `−3`, `0`
fn signed(ms: f64) -> String {
    match ms.round() {
        0.0 => "0".into(),
        late if late > 0.0 => format!("+{late:.0}"),
        early => format!("−{:.0}", early.abs()),
    }
}

fn draw_advice(frame: &mut Frame, area: Rect, s: &Screen) {
    let title = if s.next_advice > 0.0 && !s.closing {
        format!("coach (next in {:.0} s)", s.next_advice.ceil())
    } else {
        "coach".to_owned()
    };
    let block = panel(&title);
    let lines = match &s.advice {
        Some(a) => {
            let mark = if a.speaking { "♪ " } else { "" };
            vec![
                Line::from(Span::raw(format!("{mark}{}", a.text))),
                Line::from(Span::styled(
                    format!("{} · {}", clock(a.at), a.source),
                    Style::new().fg(Color::DarkGray),
                )),
            ]
        }
        None => vec![Line::from(Span::styled(
            "Play; the first advice comes after the first stretch of playing.",
            Style::new().fg(Color::DarkGray),
        ))],
    };
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: true }).block(block), area);
}

fn draw_status(frame: &mut Frame, area: Rect, s: &Screen) {
    let mut first = vec![Span::raw(" in: "), Span::styled(s.device.as_str(), Style::new().fg(Color::Gray))];
    if let DeviceState::Lost(why) = &s.device_state {
        first.push(Span::styled(format!("  {why}: trying again"), Style::new().fg(Color::Red)));
    }
    let losses = format!(
        "  dropped: {} samples, {} events{}",
        s.dropped_samples,
        s.dropped_events,
        if s.gap_seconds > 0.0 { format!(", gaps {:.1} s", s.gap_seconds) } else { String::new() }
    );
    let bad = s.dropped_samples + s.dropped_events > 0 || s.gap_seconds > 0.0;
    first.push(Span::styled(losses, Style::new().fg(if bad { Color::Yellow } else { Color::DarkGray })));
    let mut second = vec![Span::raw(" out: "), Span::styled(s.voice.as_str(), Style::new().fg(Color::Gray))];
    if s.muted {
        second.push(Span::styled("  muted", Style::new().fg(Color::Yellow)));
    }
    if let Some(message) = &s.message {
        second.push(Span::styled(format!("  {message}"), Style::new().fg(Color::Yellow)));
    }
    frame.render_widget(Paragraph::new(vec![Line::from(first), Line::from(second)]), area);
}

fn draw_keys(frame: &mut Frame, area: Rect, s: &Screen) {
    let mut spans = Vec::new();
    // While the summary is spoken only one wish is left.
    let keys: &[(&str, &str)] = match s {
        s if s.idle => &[("space", "begin"), ("m", "mute"), ("q", "quit")],
        s if s.closing => &[("q", "stop the voice and end"), ("Ctrl-C", "end at once")],
        _ => &KEYS,
    };
    let click = [CLICK_KEY];
    let click: &[(&str, &str)] = if s.beat.is_some() && !s.closing && !s.idle { &click } else { &[] };
    for &(key, does) in keys.iter().chain(click) {
        let does = match key {
            "space" if s.paused && !s.idle => "go on",
            "m" if s.muted => "unmute",
            _ => does,
        };
        spans.push(Span::styled(format!(" {key} "), Style::new().fg(Color::Black).bg(Color::Gray)));
        spans.push(Span::raw(format!(" {does}  ")));
    }
    let keys = Line::from(spans);
    // A link that is cut short leads nowhere.
    let room = usize::from(area.width).saturating_sub(keys.width());
    if let Some(hub) = s.hub.as_ref().filter(|hub| hub.len() < room) {
        let hub = Line::from(Span::styled(format!("{hub} "), Style::new().fg(Color::Gray)));
        frame.render_widget(Paragraph::new(hub).alignment(Alignment::Right), area);
    }
    let keys_area = Rect { width: (keys.width() as u16).min(area.width), ..area };
    frame.render_widget(Paragraph::new(keys), keys_area);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::screen::{AdviceView, RecentNote};
    use crate::practice::types::{Metric, Scores};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn playing() -> Screen {
        let mut s = Screen {
            title: "A minor pentatonic · 100 bpm".into(),
            elapsed: 83.0,
            planned: Some(300.0),
            note: Some(("C4".into(), -12.0, false)),
            level_db: -18.0,
            metrics: vec![
                Metric::PitchAccuracy,
                Metric::ScaleConformity,
                Metric::TimingStability,
                Metric::NoiseControl,
            ],
            scores: Scores {
                pitch_accuracy: Some(92.0),
                scale_conformity: Some(100.0),
                timing_stability: Some(61.0),
                noise_control: None,
                overall: Some(86.0),
            },
            previous: Some(Scores {
                pitch_accuracy: Some(80.0),
                timing_stability: Some(70.0),
                ..Scores::default()
            }),
            advice: Some(AdviceView {
                text: "Clean notes. You drift ahead of the beat: tap your foot.".into(),
                source: "offline coach".into(),
                speaking: false,
                at: 60.0,
            }),
            next_advice: 6.4,
            device: "Guitar (PulseAudio, 48000 Hz)".into(),
            device_state: DeviceState::Listening,
            voice: "espeak-ng".into(),
            ..Screen::default()
        };
        for (name, right, reason, deviation_ms) in [
            ("A3", Some(true), None, Some(-4.2)),
            ("C4", Some(true), None, Some(12.0)),
            ("E4", Some(false), Some("61 ms late"), Some(61.0)),
            ("C#4", Some(false), Some("not in the scale, C4 is"), Some(0.3)),
        ] {
            s.add_note(RecentNote { name: name.into(), right, reason: reason.map(Into::into), deviation_ms });
        }
        s
    }

    fn shown(s: &Screen, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|f| draw(f, s)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn the_screen_of_a_session() {
        insta::assert_snapshot!(shown(&playing(), 80, 24));
    }

    #[test]
    fn the_beat_and_the_count_are_shown_where_there_is_a_metronome() {
        let mut s = playing();
        assert!(!shown(&s, 100, 24).contains(" c  click"));
        for (beat, text) in [(BeatView::On(3, 4), "♩ 3/4"), (BeatView::CountIn(2), "count-in 2")] {
            s.beat = Some(beat);
            let screen = shown(&s, 100, 24);
            assert!(screen.contains(text) && screen.contains(" c  click"), "{screen}");
        }
    }

    #[test]
    fn a_disabled_metric_is_not_shown() {
        let mut s = playing();
        s.metrics.retain(|m| *m != Metric::NoiseControl);
        assert!(!shown(&s, 80, 24).contains("clean"));
    }

    #[test]
    fn losses_are_shown() {
        let mut s = playing();
        s.device_state = DeviceState::Lost("the sound server is gone".into());
        s.dropped_samples = 512;
        s.gap_seconds = 1.5;
        let text = shown(&s, 120, 24);
        for part in ["input lost", "the sound server is gone: trying again", "512 samples", "gaps 1.5 s"] {
            assert!(text.contains(part), "{part:?} missing in\n{text}");
        }
    }

    #[test]
    fn any_size_of_terminal_is_drawn() {
        for (w, h) in [(1, 1), (20, 5), (40, 12), (200, 60)] {
            shown(&playing(), w, h);
        }
    }
}

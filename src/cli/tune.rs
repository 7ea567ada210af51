//! `fretcoach tune`: the tuner. The same engine and the same detector as in practice, seen through [`needle`].
//!
//! On a terminal it is a live picture ([`view`]); in a pipe, or with `--plain`, a line whenever there is something to say.

pub mod needle;
pub mod view;

use std::io::{IsTerminal, Write};
use std::time::Duration;

use crossterm::event::{Event, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use futures::StreamExt;
use ratatui::DefaultTerminal;
use tokio::sync::mpsc;

use super::exit::{Exit, Stop, complain};
use super::text::clock;
use crate::app::chatter::Diverted;
use crate::app::input::{self, Chosen};
use crate::app::session::Command;
use crate::app::setup;
use crate::app::signals::Interrupts;
use crate::audio::ANALYSIS_RATE;
use crate::audio::echo::EchoGate;
use crate::audio::engine::{Engine, EngineSettings, Input, Monitor};
use crate::audio::guitarist::OpenStrings;
use crate::audio::player::{Player, PlayerSettings};
use crate::audio::supervisor::DeviceEvent;
use crate::config::Config;
use crate::dsp::Analyzer;
use crate::dsp::event::DspEvent;
use crate::music::note::midi_name;
use crate::music::tuning::Tuning;
use crate::store::{CaptureLock, LockError};
use needle::{Mode, Reading, Tuner, words};

/// Time between two pictures: 25 a second, so that the strobe runs smoothly.
const REFRESH: Duration = Duration::from_millis(40);
/// Interrupts on their way.
const COMMANDS: usize = 4;
/// A line is said again when the reading has changed by this much, cents, and not more often than this, seconds.
const SAY_CENTS: f64 = 1.0;
const SAY_SECONDS: f64 = 1.0;

/// What the command line asks for beside the settings.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes {
    /// Lines instead of the picture.
    pub plain: bool,
    /// Any note instead of the strings.
    pub chromatic: bool,
    /// One string, as players count them: 1 is the thinnest.
    pub string: Option<usize>,
}

/// The tunings that are known by name, one a line.
#[must_use]
pub fn list() -> String {
    let mut text = String::new();
    for (name, strings) in Tuning::named() {
        text.push_str(&format!("{name:20} {strings}\n"));
    }
    text.push_str(
        "\nOr name the strings from low to high: --tuning \"D A D G B E\", \"C2 G2 D3 A3 E4 G4\".\n",
    );
    text
}

/// Runs the tuner until the player quits or the input ends.
///
/// # Errors
/// A tuning or string that does not exist, an input that cannot be used, another process that captures.
pub async fn run(config: Config, wishes: Wishes) -> Result<Exit, Stop> {
    let mut desk = Desk::new(&config, wishes)?;
    let chosen = input::choose(&config);
    // Only a sound card is shared with practice; a file or the demo is nobody else's.
    let _lock = match &chosen {
        Chosen::Device(_) => Some(CaptureLock::acquire(&config.data_dir).map_err(|e| {
            let exit = if matches!(e, LockError::Held { .. }) { Exit::Busy } else { Exit::Data };
            Stop::because(exit, &e)
        })?),
        _ => None,
    };
    let analyzer = setup::analyzer(&config)?;
    // What the sound libraries print would tear the picture.
    let chatter = Diverted::nowhere();
    let gate = EchoGate::off();
    let mut settings = EngineSettings::from(&config.audio);
    settings.a4 = config.practice.a4 as f32;
    let mut player = None;
    if let Chosen::Demo(why) = &chosen {
        desk.device = match why {
            Some(why) => format!("{why}: the virtual guitarist tunes"),
            None => "the virtual guitarist tunes".into(),
        };
        let heard = Player::start(PlayerSettings::new(&config.audio, gate.clone()))
            .map_err(|e| Stop::because(Exit::Failed, &e))?;
        settings.monitor = heard.monitor().map(|(samples, rate)| Monitor { samples, rate, back: None });
        player = Some(heard);
    }
    let source = match chosen {
        Chosen::Demo(_) => {
            let strings =
                OpenStrings::new(&desk.tuning, config.practice.a4, config.audio.demo_seed, ANALYSIS_RATE);
            Input::Source {
                name: "virtual guitarist".into(),
                sample_rate: ANALYSIS_RATE,
                source: Box::new(strings),
                fast: config.audio.fast,
            }
        }
        other => input::open(&config, other, None)?,
    };
    let engine = Engine::start(source, settings, move || Box::new(Analyzer::new(analyzer)), gate)
        .map_err(|e| Stop::because(Exit::Input, &e))?;
    let (commands_in, commands) = mpsc::channel(COMMANDS);
    let interrupts = Interrupts::new(commands_in);
    interrupts
        .listen()
        .map_err(|e| Stop::new(Exit::Failed, format!("signals cannot be listened to: {e}")))?;
    let live = !wishes.plain && std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    let shown =
        if live { desk.show(engine, commands, interrupts).await } else { desk.tell(engine, commands).await };
    drop(player);
    drop(chatter);
    if let Err(e) = shown {
        complain(format_args!("the display failed: {e}"));
        return Ok(Exit::Failed);
    }
    Ok(Exit::Ok)
}

/// The tuner with all that is known around it.
struct Desk {
    tuning: Tuning,
    tuner: Tuner,
    a4: f64,
    capo: u8,
    sharps: bool,
    names: Vec<String>,
    title: String,
    /// How strings are tuned that are too low to be heard.
    hint: Option<String>,
    device: String,
    trouble: bool,
    said: Teller,
}

impl Desk {
    fn new(config: &Config, wishes: Wishes) -> Result<Self, Stop> {
        let tuning = setup::tuning(config)?;
        let count = tuning.strings().len();
        let mode = match wishes.string {
            _ if wishes.chromatic => Mode::Chromatic,
            None => Mode::Auto,
            Some(n) if (1..=count).contains(&n) => Mode::String(count - n),
            Some(n) => {
                let message =
                    format!("there is no string {n}: choose 1 (the thinnest) to {count} (the thickest)");
                return Err(Stop::new(Exit::Config, message));
            }
        };
        let mut desk = Self {
            tuner: Tuner::new(tuning.strings(), config.practice.a4, mode),
            a4: config.practice.a4,
            capo: config.practice.capo,
            sharps: true,
            names: Vec::new(),
            title: String::new(),
            hint: None,
            device: "opening the input".into(),
            trouble: false,
            said: Teller::default(),
            tuning: tuning.clone(),
        };
        desk.take(tuning, &config.practice.tuning, mode);
        Ok(desk)
    }

    /// Tunes to another tuning, written as `text`.
    fn take(&mut self, tuning: Tuning, text: &str, mode: Mode) {
        let written =
            Tuning::named().find(|(name, _)| *name == tuning.name()).map_or(text, |(_, strings)| strings);
        self.sharps = !flats(written);
        self.names = tuning.strings().iter().map(|m| midi_name(*m, self.sharps)).collect();
        let capo = if self.capo > 0 { format!(" · capo {}", self.capo) } else { String::new() };
        self.title = format!("{}{capo} · A4 = {} Hz", tuning.name(), self.a4);
        self.tuner = Tuner::new(tuning.strings(), self.a4, mode);
        let low: Vec<&str> = self.tuner.by_harmonic().map(|i| self.names[i].as_str()).collect();
        self.hint = (!low.is_empty())
            .then(|| format!("{} is too low to be heard: strike its harmonic at fret 12", low.join(", ")));
        self.tuning = tuning;
    }

    /// The next named tuning, or the one before.
    fn turn(&mut self, back: bool) {
        let all: Vec<(&str, &str)> = Tuning::named().collect();
        let here = all.iter().position(|(name, _)| *name == self.tuning.name());
        let step = if back { all.len() - 1 } else { 1 };
        let (name, strings) = all[here.map_or(0, |i| (i + step) % all.len())];
        if let Ok(tuning) = Tuning::parse(name).and_then(|t| t.with_capo(self.capo)) {
            let mode = if self.tuner.mode() == Mode::Chromatic { Mode::Chromatic } else { Mode::Auto };
            self.take(tuning, strings, mode);
        }
    }

    fn hear(&mut self, event: &DspEvent) {
        match event {
            DspEvent::Frame(frame) => self.tuner.frame(frame),
            DspEvent::Gap { .. } => self.tuner.gap(),
            _ => {}
        }
    }

    fn device(&mut self, event: DeviceEvent) {
        (self.device, self.trouble) = match event {
            DeviceEvent::Opened(stream) | DeviceEvent::Restored { stream, .. } => {
                match stream.host.as_str() {
                    // What the demo is was said better.
                    "source" => return,
                    "file" => (format!("listening to {}", stream.name), false),
                    host => (format!("listening to {} ({host}, {} Hz)", stream.name, stream.rate), false),
                }
            }
            DeviceEvent::Lost { name, fault } => (format!("{name} was lost: {fault}; looking for it"), true),
            DeviceEvent::Missed { .. } => return,
            DeviceEvent::Warning(said) => (said, true),
        };
    }

    /// Players count from the thinnest.
    fn choose(&mut self, number: usize) {
        let count = self.names.len();
        if (1..=count).contains(&number) {
            self.tuner.set_mode(Mode::String(count - number));
        }
    }

    /// True when the player quits.
    fn key(&mut self, key: &KeyEvent, interrupts: &Interrupts) -> bool {
        if key.kind == KeyEventKind::Release {
            return false;
        }
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => interrupts.interrupt(),
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Char('a' | ' ') => self.tuner.set_mode(Mode::Auto),
            KeyCode::Char('c') => {
                let chromatic = self.tuner.mode() == Mode::Chromatic;
                self.tuner.set_mode(if chromatic { Mode::Auto } else { Mode::Chromatic });
            }
            KeyCode::Char('t') | KeyCode::Right => self.turn(false),
            KeyCode::Char('T') | KeyCode::Left => self.turn(true),
            KeyCode::Char('0') => self.choose(10),
            KeyCode::Char(digit @ '1'..='9') => self.choose(digit as usize - '0' as usize),
            _ => {}
        }
        false
    }

    /// The live picture.
    async fn show(
        &mut self,
        mut engine: Engine,
        mut commands: mpsc::Receiver<Command>,
        interrupts: Interrupts,
    ) -> std::io::Result<()> {
        let mut terminal = ratatui::try_init()?;
        let mut events = engine.take_events();
        let mut devices = engine.device_events();
        let mut keys = EventStream::new();
        let mut tick = tokio::time::interval(REFRESH);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let shown = loop {
            tokio::select! {
                _ = tick.tick() => {
                    if engine.ended() && !self.trouble {
                        self.device = "the recording is over: q quits".into();
                    }
                    while let Ok(event) = events.pop() {
                        self.hear(&event);
                    }
                    if let Err(e) = self.picture(&mut terminal) {
                        break Err(e);
                    }
                }
                Some(command) = commands.recv() => if command == Command::Quit {
                    break Ok(());
                },
                Some(event) = devices.recv() => self.device(event),
                Some(event) = keys.next() => match event {
                    Ok(Event::Key(key)) => if self.key(&key, &interrupts) {
                        break Ok(());
                    },
                    Ok(_) => {}
                    Err(e) => break Err(e),
                },
            }
        };
        ratatui::try_restore()?;
        // Joining the loop's thread may take a period of the device.
        let _ = tokio::task::spawn_blocking(move || drop(engine)).await;
        shown
    }

    fn picture(&self, terminal: &mut DefaultTerminal) -> std::io::Result<()> {
        let view = view::View {
            tuner: &self.tuner,
            title: &self.title,
            names: &self.names,
            sharps: self.sharps,
            device: self.hint.as_ref().filter(|_| !self.trouble).unwrap_or(&self.device),
            trouble: self.trouble,
            refresh: REFRESH.as_secs_f64(),
        };
        terminal.draw(|frame| view::draw(frame, &view)).map(|_| ())
    }

    /// Plain lines, until the input ends or the player interrupts.
    async fn tell(
        &mut self,
        mut engine: Engine,
        mut commands: mpsc::Receiver<Command>,
    ) -> std::io::Result<()> {
        let mut events = engine.take_events();
        let mut devices = engine.device_events();
        let mut tick = tokio::time::interval(REFRESH);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        say(&format!("tuning to {}: {}", self.title, self.names.join(" ")))?;
        if let Some(hint) = &self.hint {
            say(hint)?;
        }
        if !self.device.is_empty() && self.device != "opening the input" {
            say(&self.device)?;
        }
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    let ended = engine.ended();
                    while let Ok(event) = events.pop() {
                        self.hear(&event);
                        if let DspEvent::Frame(frame) = event
                            && let Some(line) = self.line(frame.t)
                        {
                            say(&line)?;
                        }
                    }
                    if ended && events.is_empty() {
                        break;
                    }
                }
                Some(command) = commands.recv() => if command == Command::Quit {
                    break;
                },
                Some(event) = devices.recv() => {
                    let before = self.device.clone();
                    self.device(event);
                    if before != self.device {
                        say(&self.device)?;
                    }
                }
            }
        }
        let _ = tokio::task::spawn_blocking(move || drop(engine)).await;
        if self.said.last.is_none() {
            say("no string was heard: is the guitar plugged in and turned up?")?;
        }
        Ok(())
    }

    /// What is to be said now, if anything.
    fn line(&mut self, t: f64) -> Option<String> {
        let reading = self.tuner.reading()?;
        if !self.said.worth_saying(&reading, t) {
            return None;
        }
        let count = self.names.len();
        let name = match reading.string {
            Some(i) => format!("string {}, {}", count - i, self.names[i]),
            None => midi_name(reading.midi, self.sharps),
        };
        Some(format!("[{}] {name}: {:.2} Hz, {}", clock(t), reading.hz, words(&reading)))
    }
}

/// Remembers what was said, so that nothing is said twice.
#[derive(Clone, Copy, Debug, Default)]
struct Teller {
    last: Option<(f64, Reading)>,
}

impl Teller {
    fn worth_saying(&mut self, reading: &Reading, t: f64) -> bool {
        if !reading.settled {
            return false;
        }
        let worth = match &self.last {
            None => true,
            Some((at, last)) => {
                let changed =
                    (reading.cents - last.cents).abs() >= SAY_CENTS || reading.in_tune != last.in_tune;
                last.midi != reading.midi
                    || last.string != reading.string
                    || (changed && t - at >= SAY_SECONDS)
            }
        };
        if worth {
            self.last = Some((t, *reading));
        }
        worth
    }
}

/// Whether strings are written with flats.
fn flats(text: &str) -> bool {
    let words = text.split([' ', ',', ';', '/']);
    words
        .filter(|w| w.chars().next().is_some_and(|c| c.is_ascii_alphabetic()))
        .any(|w| w.chars().nth(1).is_some_and(|c| c == 'b' || c == '♭'))
}

/// A line for a pipe. A reader that has seen enough ends the tuner, without an error.
fn say(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(Exit::Ok as i32),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(midi: u8, cents: f64, settled: bool) -> Reading {
        let (hz, target_hz) = (110.0, 110.0);
        Reading {
            midi,
            string: None,
            hz,
            target_hz,
            cents,
            settled,
            in_tune: cents.abs() < 2.0,
            sounding: true,
        }
    }

    #[test]
    fn only_news_are_told() {
        let mut teller = Teller::default();
        assert!(!teller.worth_saying(&reading(45, 5.0, false), 0.1), "it still moves");
        assert!(teller.worth_saying(&reading(45, 5.0, true), 0.5));
        assert!(!teller.worth_saying(&reading(45, 5.4, true), 3.0), "nothing has changed");
        assert!(teller.worth_saying(&reading(45, 1.0, true), 3.1));
        assert!(!teller.worth_saying(&reading(45, 5.0, true), 3.5), "too soon");
        assert!(teller.worth_saying(&reading(50, 5.0, true), 3.6), "another string");
    }

    #[test]
    fn flats_are_told_from_notes() {
        assert!(flats("Eb2 Ab2") && flats("D B♭"));
        assert!(!flats("B2 E3") && !flats("standard") && !flats("b e") && !flats(""));
    }

    #[test]
    fn the_list_names_every_tuning() {
        let text = list();
        assert!(
            text.contains("drop D               D2 A2 D3 G3 B3 E4\n") && text.contains("8-string standard")
        );
    }
}

//! The session: what the loop heard goes through the judge to the store, the coach and the screen.
//!
//! One task owns it all. It polls the loop's ring (a ring has no wake-up, and a lock-free loop may not make one),
//! closes a window each `coach_every` of *playing time* on the capture clock, and hands it to the coach.

#[path = "session_beat.rs"]
mod beat;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use opentelemetry::KeyValue;
use tokio::sync::{mpsc, watch};
use tracing::Span;

use super::metronome::Beat;
use super::stage::{Stage, live_advice};
use crate::audio::engine::Engine;
use crate::audio::live::{LiveFrame, LiveReader};
use crate::audio::player::Player;
use crate::audio::stats::EngineStats;
use crate::audio::supervisor::{DeviceEvent, StreamInfo};
use crate::cli::exit::{Exit, Stop};
use crate::cli::screen::{AdviceView, DeviceState, RecentNote};
use crate::cli::text;
use crate::coach::{self, AdviceRecord, CoachEvent, CoachHandle, WindowSnapshot};
use crate::config::Config;
use crate::dsp::event::{ChordEvent, DspEvent};
use crate::hub::link::LiveEvent;
use crate::music::chord::chord_name;
use crate::music::note;
use crate::music::scale::Scale;
use crate::names::{attr, span};
use crate::practice::session::Session as Judge;
use crate::practice::types::{JudgedNote, Metric, Scores, Summary, Window};
use crate::span::{Kind, SpanExt, Thread, chain};
use crate::store::{AdviceId, AdviceKind, AdviceRow, GapRow, LoopCost, SessionWriter, WindowRecord};

/// How often the loop's ring is emptied. Short enough that the display never lags, long enough to cost nothing.
const TICK: Duration = Duration::from_millis(20);
/// How often the running scores are computed for the display.
const SCORE_EVERY: Duration = Duration::from_millis(250);
/// Longest time for the summary to be written and heard: sixty words take half a minute to say, a model and its fallbacks
/// up to another minute to write.
const SUMMARY_PATIENCE: Duration = Duration::from_secs(120);
/// Longest time for a voice that was told to be silent.
const SILENCE_PATIENCE: Duration = Duration::from_secs(5);
/// How long the end of a session waits for a store that cannot be written.
const STORE_PATIENCE: Duration = Duration::from_secs(5);
/// The gap that a pause leaves comes within this time, or there is none.
const PAUSE_GAP_COMES: Duration = Duration::from_secs(2);
/// No note for this long counts as a pause in the playing: a beat and a half at 120 bpm.
const PAUSE_SECONDS: f64 = 0.75;

/// What the display says where no engine speaks.
pub const TEXT_ONLY: &str = "text only";

/// What the player asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Judge no more, or go on.
    TogglePause,
    /// The coach's voice off or on.
    ToggleMute,
    /// The metronome on or off.
    ToggleClick,
    /// Be silent now.
    StopVoice,
    /// Advice now.
    AskNow,
    /// End the session properly.
    Quit,
}

/// What happened, for a reader of plain lines.
#[derive(Clone, Debug)]
pub enum News {
    /// The input was opened, lost or restored.
    Device(String),
    /// A window was closed.
    Window(Box<Window>),
    /// The coach said something.
    Advice {
        /// Its words.
        text: String,
        /// The model, or `offline coach`.
        source: String,
    },
    /// A remark of the program.
    Message(String),
    /// The session is over.
    Summary(Box<Summary>),
}

/// What the session works with.
pub struct Parts {
    /// Settings.
    pub config: Config,
    /// The judge.
    pub judge: Judge,
    /// Scale, for the names of notes.
    pub scale: Option<Scale>,
    /// The coach.
    pub coach: CoachHandle,
    /// What the coach says and does.
    pub coach_events: mpsc::UnboundedReceiver<CoachEvent>,
    /// The store.
    pub writer: SessionWriter,
    /// Root span of the session.
    pub root: Span,
    /// Whose story the spans belong to.
    pub thread: Thread,
    /// What the player asks for.
    pub commands: mpsc::Receiver<Command>,
    /// Whoever looks.
    pub stage: Stage,
    /// True while nobody plays: when the coach may speak.
    pub pause: watch::Sender<bool>,
    /// The output.
    pub player: Player,
    /// The metronome, where there can be one.
    pub beat: Option<Beat>,
    /// Speech engines, for the display.
    pub voice: String,
}

/// One practice session.
pub struct Session {
    p: Parts,
    /// There until the session ends.
    engine: Option<Engine>,
    events: rtrb::Consumer<DspEvent>,
    device_events: mpsc::UnboundedReceiver<DeviceEvent>,
    live: LiveReader,
    stats: Arc<EngineStats>,
    /// Capture clock, seconds: end of the last hop.
    now: f64,
    window_start: f64,
    /// Seconds of the running window without input, paused or lost.
    missing_seconds: f64,
    paused: bool,
    muted: bool,
    last_note_end: f64,
    sounding: bool,
    previous: Option<Scores>,
    /// Notes of closed windows, by their final verdict.
    right: usize,
    /// See `right`.
    wrong: usize,
    /// Advice whose voice has not ended yet.
    unspoken: HashMap<u64, AdviceRow>,
    /// What became of the voice of advice that is still being written: it may fail before the text is complete.
    early: HashMap<u64, bool>,
    /// Latest advice whose text is complete.
    advised: u64,
    /// Span of the device fault that lasts.
    last_fault: Option<Span>,
    /// Since when there is no input.
    lost_since: Option<Instant>,
    /// Fault of the device, until the gap it made has come.
    lost: Option<String>,
    last_said: String,
    /// The player asked for the advice that comes next.
    asked: bool,
    /// When the player went on after a pause whose gap has not come yet. A device leaves one as long as the pause, a
    /// recording, which waits, hardly any.
    resumed: Option<Instant>,
    /// The metronome was on when the player paused.
    beat_waits: bool,
    dropped_before: (u64, u64),
    /// Of all windows closed.
    costs: LoopCost,
}

impl Session {
    /// Takes the input with its loop and all it works with; nothing runs yet.
    #[must_use]
    pub fn new(mut engine: Engine, p: Parts) -> Self {
        let (events, device_events) = (engine.take_events(), engine.device_events());
        let (live, stats) = (engine.live(), engine.stats());
        Self {
            p,
            engine: Some(engine),
            events,
            device_events,
            live,
            stats,
            now: 0.0,
            window_start: 0.0,
            missing_seconds: 0.0,
            paused: false,
            muted: false,
            last_note_end: 0.0,
            sounding: false,
            previous: None,
            right: 0,
            wrong: 0,
            unspoken: HashMap::new(),
            early: HashMap::new(),
            advised: 0,
            last_fault: None,
            lost_since: None,
            lost: None,
            last_said: String::new(),
            asked: false,
            resumed: None,
            beat_waits: false,
            dropped_before: (0, 0),
            costs: LoopCost::default(),
        }
    }

    /// Runs until the player quits, the time is up or the input ends; then sums up, speaks, stores.
    pub async fn run(mut self) -> Ended {
        self.p.stage.tell(LiveEvent::Started { session: self.p.writer.id().to_string() });
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut score = tokio::time::interval(SCORE_EVERY);
        score.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    let ended = self.engine.as_ref().is_none_or(Engine::ended);
                    self.listen();
                    if ended && self.events.is_empty() || self.time_is_up() {
                        break;
                    }
                }
                _ = score.tick() => self.show_scores(),
                Some(command) = self.p.commands.recv() => {
                    if self.obey(command) {
                        break;
                    }
                }
                Some(event) = self.device_events.recv() => self.device(event),
                Some(event) = self.p.coach_events.recv() => self.coach(event),
            }
        }
        self.finish().await
    }
}

impl Session {
    /// Takes what the loop has heard since the last time.
    fn listen(&mut self) {
        while let Ok(event) = self.events.pop() {
            self.hear(&event);
            // After each event, since a recording played as fast as possible brings many windows at once.
            if self.played_in_window() >= self.p.config.practice.coach_every.as_secs_f64() {
                self.close_window(self.engine.is_some());
            }
            if self.time_is_up() {
                break;
            }
        }
        self.follow_beat();
        let pausing = self.paused || (!self.sounding && self.now - self.last_note_end >= PAUSE_SECONDS);
        self.p.pause.send_if_modified(|p| std::mem::replace(p, pausing) != pausing);
        self.show_live();
    }

    fn hear(&mut self, event: &DspEvent) {
        match event {
            DspEvent::Frame(f) => self.now = f.t,
            DspEvent::Onset(_) => {}
            DspEvent::NoteStart(_) => self.sounding = true,
            DspEvent::Chord(c) => {
                self.sounding = false;
                self.last_note_end = c.offset;
                self.show_chord(c);
            }
            DspEvent::Note(n) => {
                self.sounding = false;
                self.last_note_end = n.offset;
            }
            DspEvent::Gap { from, to } => self.gap(*from, *to),
        }
        if !self.is_judged(event) {
            return;
        }
        if let Some(note) = self.p.judge.push(event) {
            self.show_note(&note);
            self.p.writer.note(note);
        }
    }

    fn gap(&mut self, from: f64, to: f64) {
        self.now = to;
        self.sounding = false;
        self.missing_seconds += to - from;
        let resumed = self.resumed.take().is_some_and(|at| at.elapsed() < PAUSE_GAP_COMES);
        let cause = if resumed {
            "paused".to_owned()
        } else {
            self.p.stage.change(|s| s.gap_seconds += to - from);
            self.lost.take().unwrap_or_else(|| "missed".to_owned())
        };
        self.p.writer.gap(GapRow { from, to, cause });
    }

    /// Seconds of playing in the running window: pauses and lost input do not count.
    fn played_in_window(&self) -> f64 {
        self.now - self.window_start - self.missing_seconds
    }

    fn time_is_up(&self) -> bool {
        let minutes = self.p.config.practice.minutes;
        // The clock of the music stands still while there is no input; the player's time does not.
        let lost = self.lost_since.map_or(0.0, |since| since.elapsed().as_secs_f64());
        minutes > 0.0 && self.now + lost >= minutes * 60.0
    }

    /// Closes the running window; with `advise`, the coach is asked about it.
    fn close_window(&mut self, advise: bool) {
        let closed_at = Instant::now();
        let window = self.p.judge.close_window(self.now);
        self.window_start = self.now;
        self.missing_seconds = 0.0;
        for note in self.p.judge.closed_notes() {
            if !note.note.gated {
                *(if note.right { &mut self.right } else { &mut self.wrong }) += 1;
            }
            self.p.writer.note(note);
        }
        for chord in self.p.judge.closed_chords() {
            self.p.writer.chord(chord);
        }
        // The window's own verdicts replace the first ones, as in the history.
        let (right, wrong) = (self.right, self.wrong);
        self.p.stage.change(|s| (s.right, s.wrong) = (right, wrong));
        let cost = self.cost();
        self.costs.add(&cost);
        let attributes = cost_attributes(&cost);
        self.p.writer.window(WindowRecord {
            window: window.clone(),
            closed_at: Timestamp::now(),
            cost: Some(cost),
        });
        self.p.root.event("window", window_attributes(&window, &attributes));
        self.previous = Some(window.scores);
        self.p.stage.tell(LiveEvent::Window { index: window.index, scores: window.scores });
        self.p.stage.news(News::Window(Box::new(window.clone())));
        if advise {
            self.p.coach.window(WindowSnapshot { window, closed_at, hop_stats: attributes });
        }
    }

    fn cost(&mut self) -> LoopCost {
        let hops = self.stats.take_window();
        let dropped = (self.stats.dropped_samples.load(Relaxed), self.stats.dropped_events.load(Relaxed));
        let before = std::mem::replace(&mut self.dropped_before, dropped);
        LoopCost {
            hops: hops.hops,
            hop_p50_ns: hops.p50_ns,
            hop_p95_ns: hops.p95_ns,
            hop_max_ns: hops.max_ns,
            hop_cpu_max_ns: hops.cpu_max_ns,
            overruns: hops.overruns,
            late: hops.late,
            dropped_samples: dropped.0 - before.0,
            dropped_events: dropped.1 - before.1,
        }
    }

    /// True when the session is to end.
    fn obey(&mut self, command: Command) -> bool {
        match command {
            Command::Quit => return true,
            Command::TogglePause => {
                self.paused = !self.paused;
                self.resumed = (!self.paused).then(Instant::now);
                self.sounding = false;
                if let Some(engine) = &self.engine {
                    engine.pause(self.paused);
                }
                self.p.stage.change(|s| s.paused = self.paused);
                if self.paused {
                    self.p.coach.stop_voice();
                }
                self.pause_beat();
                self.say(if self.paused { "paused" } else { "going on" });
            }
            Command::ToggleMute => {
                self.muted = !self.muted;
                self.p.coach.set_muted(self.muted);
                self.p.stage.change(|s| s.muted = self.muted);
                self.say(if self.muted { "the coach is muted" } else { "the coach speaks again" });
            }
            Command::ToggleClick => self.toggle_beat(),
            Command::StopVoice => self.p.coach.stop_voice(),
            Command::AskNow => {
                self.asked = true;
                if self.p.judge.current().1.strokes() > 0 {
                    self.close_window(true);
                }
                self.p.coach.ask_now();
            }
        }
        false
    }
}

impl Session {
    fn device(&mut self, event: DeviceEvent) {
        match event {
            DeviceEvent::Opened(stream) => {
                let step = self.p.thread.child(&self.p.root, span::CAPTURE_OPEN, Kind::Chain);
                describe(&step, &stream);
                describe(&self.p.root, &stream);
                self.input(&stream);
                if self.p.config.practice.metronome {
                    self.begin_beat();
                }
            }
            DeviceEvent::Lost { name, fault } => {
                let step = self.p.thread.child(&self.p.root, span::DEVICE_CHANGE, Kind::Chain);
                step.put(attr::DEVICE_FAULT, fault.word());
                step.output_text(&format!("{name}: {fault}"));
                self.lost = Some(fault.word().into());
                self.lost_since.get_or_insert_with(Instant::now);
                self.p.stage.change(|s| s.device_state = DeviceState::Lost(fault.to_string()));
                self.p.stage.news(News::Device(format!("{name} was lost: {fault}; looking for it")));
                tracing::warn!(device = name, fault = fault.word(), "input lost");
                self.last_fault = Some(step);
            }
            DeviceEvent::Restored { stream, gap_seconds, attempts } => {
                if let Some(step) = self.last_fault.take() {
                    step.put(attr::GAP_SECONDS, gap_seconds);
                    step.put(attr::ATTEMPT, i64::from(attempts));
                    describe(&step, &stream);
                }
                tracing::info!(device = stream.name, gap_seconds, attempts, "input restored");
                self.p.stage.news(News::Device(format!("{} is back after {gap_seconds:.1} s", stream.name)));
                self.input(&stream);
            }
            DeviceEvent::Missed { name, seconds } => {
                let step = self.p.thread.child(&self.p.root, span::DEVICE_CHANGE, Kind::Chain);
                step.put(attr::DEVICE_FAULT, "missed");
                step.put(attr::GAP_SECONDS, seconds);
                tracing::warn!(device = name, seconds, "sound was lost");
                self.p
                    .stage
                    .news(News::Device(format!("{name}: {seconds:.2} s of sound never came; not judged")));
            }
            DeviceEvent::Warning(said) => {
                tracing::warn!("{said}");
                self.say(said);
            }
        }
    }

    /// The input is there (again).
    fn input(&mut self, stream: &StreamInfo) {
        self.lost_since = None;
        if let Some(beat) = &mut self.p.beat {
            beat.input(stream);
        }
        let name = match stream.host.as_str() {
            "file" | "source" => stream.name.clone(),
            host => {
                let realtime = if stream.realtime { ", real-time" } else { "" };
                format!("{} ({host}, {} Hz, period {}{realtime})", stream.name, stream.rate, stream.period)
            }
        };
        self.p.stage.news(News::Device(format!("listening to {name}")));
        self.p.stage.change(|s| {
            s.device = name;
            s.device_state = DeviceState::Listening;
        });
    }

    fn coach(&mut self, event: CoachEvent) {
        match event {
            CoachEvent::AdviceStarted { .. } => self.p.stage.change(|s| {
                s.advice = Some(AdviceView { at: self.now, ..AdviceView::default() });
            }),
            CoachEvent::AdviceDelta { text, .. } => self.p.stage.change(|s| {
                if let Some(advice) = &mut s.advice {
                    let gap = if advice.text.is_empty() { "" } else { " " };
                    advice.text.push_str(gap);
                    advice.text.push_str(&text);
                }
            }),
            CoachEvent::Advice(record) => self.advice(*record),
            CoachEvent::Spoken { id, interrupted, .. } => {
                self.spoken(id, !interrupted);
            }
            CoachEvent::SpeechFailed { id, reason, again } => {
                self.spoken(id, false);
                if !again {
                    self.say(format!("not spoken: {reason}"));
                }
            }
            CoachEvent::Skipped { reason } => {
                self.asked = false;
                self.say(format!("no advice ({reason})"));
            }
        }
    }

    fn advice(&mut self, record: AdviceRecord) {
        self.p.stage.news(News::Advice { text: record.text.clone(), source: record.source.clone() });
        let speaking = self.p.player.status().speaking;
        let (text, source) = (record.text.clone(), who(&record.source));
        let view = AdviceView { text, source, speaking, at: self.now };
        self.p.stage.tell(LiveEvent::Advice(live_advice(&view)));
        self.p.stage.change(|s| s.advice = Some(view));
        let row = AdviceRow {
            id: AdviceId::new(),
            kind: match record.kind {
                coach::AdviceKind::Live if self.asked => AdviceKind::Asked,
                coach::AdviceKind::Live => AdviceKind::Live,
                coach::AdviceKind::Summary => AdviceKind::Summary,
            },
            at: record.at,
            at_s: self.now,
            window_index: record.window_index,
            text: record.text,
            source: record.source,
            // The kind of advice tells the name.
            prompt_version: record.prompt.map(|(_, version)| version),
            spoken: self.early.remove(&record.id),
            trace_id: record.trace_id,
            span_id: record.span_id,
        };
        self.p.writer.advice(row.clone());
        self.advised = self.advised.max(record.id);
        if row.spoken.is_none() {
            self.unspoken.insert(record.id, row);
        }
        self.asked = false;
        if let Some(note) = record.note {
            self.say(note);
        }
    }

    fn spoken(&mut self, id: u64, heard: bool) {
        if let Some(mut row) = self.unspoken.remove(&id) {
            row.spoken = Some(heard);
            self.p.writer.advice(row);
        } else if id > self.advised {
            self.early.insert(id, heard);
        }
    }

    /// A remark; what was said last is not repeated.
    fn say(&mut self, said: impl Into<String>) {
        let said = said.into();
        if self.last_said != said {
            self.last_said.clone_from(&said);
            self.p.stage.say(said);
        }
    }

    fn show_live(&self) {
        // The last frame of an input that is closed says nothing.
        let silence = LiveFrame { level_db: f32::NEG_INFINITY, ..LiveFrame::default() };
        let live = if self.engine.is_some() { self.live.read() } else { silence };
        let (dropped_samples, dropped_events) =
            (self.stats.dropped_samples.load(Relaxed), self.stats.dropped_events.load(Relaxed));
        let next = self.p.config.practice.coach_every.as_secs_f64() - self.played_in_window();
        let beat = self.p.beat.as_ref().map(Beat::view);
        self.p.stage.change(|s| {
            s.elapsed = self.now;
            s.level_db = live.level_db;
            s.note = live
                .midi
                .zip(live.cents)
                .map(|(midi, cents)| (self.note_name(midi), cents, live.provisional));
            s.next_advice = next.max(0.0);
            s.beat = beat;
            (s.dropped_samples, s.dropped_events) = (dropped_samples, dropped_events);
        });
        self.p.stage.publish(&live, self.p.scale.as_ref());
    }

    fn show_scores(&mut self) {
        let (scores, facts) = self.p.judge.current();
        let player = self.p.player.status();
        let voice = match (&player.device, &player.reason) {
            _ if self.p.voice == TEXT_ONLY => TEXT_ONLY.to_owned(),
            (Some(device), _) => format!("{} on {device} (period {})", self.p.voice, player.period),
            (None, Some(why)) => format!("no sound: {why}"),
            (None, None) => self.p.voice.clone(),
        };
        let store = self.p.writer.state().borrow().trouble.clone();
        self.p.stage.change(|s| {
            s.scores = scores;
            s.previous = self.previous;
            s.facts = facts;
            s.voice = voice;
            if let Some(advice) = &mut s.advice {
                advice.speaking = player.speaking;
            }
        });
        if let Some(trouble) = store {
            self.say(trouble);
        }
    }

    fn show_note(&self, judged: &JudgedNote) {
        let note = RecentNote {
            name: self.note_name(judged.note.midi),
            right: (!judged.note.gated).then_some(judged.right),
            reason: self.reason(judged),
            deviation_ms: judged.deviation_ms,
        };
        self.p.stage.tell(LiveEvent::Note {
            onset: judged.note.onset,
            midi: Some(judged.note.midi),
            name: note.name.clone(),
            cents: Some(judged.note.cents),
            right: note.right,
            in_scale: judged.in_scale,
            deviation_ms: note.deviation_ms,
            reason: note.reason.clone(),
        });
        self.p.stage.change(|s| s.add_note(note));
    }

    fn show_chord(&self, chord: &ChordEvent) {
        let spell = |class| match &self.p.scale {
            Some(scale) => scale.spell(class),
            None => note::NoteName::of_pitch_class(class, true),
        };
        let name = chord_name(chord.classes.0, chord.bass, spell).unwrap_or_else(|| {
            chord.classes.iter().map(|c| spell(c).to_string()).collect::<Vec<_>>().join("-")
        });
        self.p.stage.tell(LiveEvent::Note {
            onset: chord.onset,
            midi: None,
            name: name.clone(),
            cents: None,
            right: None,
            in_scale: None,
            deviation_ms: None,
            reason: None,
        });
        let chord = RecentNote { name, right: None, reason: None, deviation_ms: None };
        self.p.stage.change(|s| s.add_note(chord));
    }

    fn note_name(&self, midi: u8) -> String {
        text::note_name(self.p.scale.as_ref(), midi)
    }

    /// Why a note was wrong, in a few words.
    fn reason(&self, judged: &JudgedNote) -> Option<String> {
        judged.reason.map(|reason| reason.words(|midi| self.note_name(midi)))
    }

    /// The end: hears what is left, sums up, lets the coach speak, stores.
    async fn finish(mut self) -> Ended {
        self.p.stage.change(|s| s.closing = true);
        if let Some(beat) = &mut self.p.beat {
            beat.end();
        }
        let engine = self.engine.take();
        // Joining the loop's thread may take a period of the device; a panic there has been printed already.
        let _ = tokio::task::spawn_blocking(move || engine.map(Engine::stop)).await;
        self.listen();
        if self.now > self.window_start {
            self.close_window(false);
        }
        let summary = self.p.judge.finish(self.now);
        self.show_scores();
        self.show_live();
        self.p.pause.send_replace(true);
        if summary.facts.strokes() > 0 {
            let coach = self.p.coach.clone();
            let mut spoken = std::pin::pin!(coach.summary(summary.clone()));
            let mut patience = std::pin::pin!(tokio::time::sleep(SUMMARY_PATIENCE));
            let mut silenced = false;
            let mut tick = tokio::time::interval(SCORE_EVERY);
            loop {
                tokio::select! {
                    () = &mut spoken => break,
                    _ = tick.tick() => {
                        self.show_scores();
                        self.show_live();
                    }
                    () = &mut patience => {
                        if silenced {
                            tracing::warn!("the summary did not end; the session ends without it");
                            break;
                        }
                        self.p.coach.stop_voice();
                        silenced = true;
                        patience.as_mut().reset(tokio::time::Instant::now() + SILENCE_PATIENCE);
                    }
                    Some(event) = self.p.coach_events.recv() => self.coach(event),
                    Some(command) = self.p.commands.recv() => match command {
                        Command::StopVoice | Command::Quit => self.p.coach.stop_voice(),
                        Command::ToggleMute => { self.obey(command); }
                        _ => {}
                    },
                }
            }
            while let Ok(event) = self.p.coach_events.try_recv() {
                self.coach(event);
            }
        }
        // Muted, replaced before its turn, or without any engine: it will not be heard any more.
        for (_, mut row) in self.unspoken.drain() {
            row.spoken = Some(false);
            self.p.writer.advice(row);
        }
        if let Some(said) = text::loop_cost(&self.costs, self.stats.deadline_ns()) {
            self.p.stage.news(News::Message(said));
        }
        self.p.stage.news(News::Summary(Box::new(summary.clone())));
        self.p.root.output_json(&crate::practice::summary_json(&summary));
        let session = self.p.writer.id().to_string();
        let stored = self.p.writer.finish(&summary, Timestamp::now(), STORE_PATIENCE).await;
        self.p.stage.tell(LiveEvent::Ended { session });
        let failure = stored.err().map(|e| {
            Stop::new(Exit::Data, format!("the end of the session could not be stored: {}", chain(&e)))
        });
        if let Some(stop) = &failure {
            tracing::error!("{stop}");
        }
        Ended { summary, failure }
    }
}

/// How a session ended.
pub struct Ended {
    /// What came of it.
    pub summary: Summary,
    /// Why the program should end with an error, if so.
    pub failure: Option<Stop>,
}

/// Who advises, for a player: the model's name, or that no model did.
fn who(source: &str) -> String {
    if source == "offline" { "offline coach".into() } else { source.into() }
}

fn describe(span: &Span, stream: &StreamInfo) {
    span.put(attr::AUDIO_HOST, stream.host.clone());
    span.put(attr::AUDIO_INPUT, stream.name.clone());
    span.put(attr::AUDIO_RATE, i64::from(stream.rate));
    span.put(attr::AUDIO_PERIOD, i64::from(stream.period));
    span.put(attr::REALTIME, stream.realtime);
}

fn cost_attributes(cost: &LoopCost) -> Vec<KeyValue> {
    [
        (attr::HOPS, cost.hops),
        (attr::HOP_P50_NS, cost.hop_p50_ns),
        (attr::HOP_P95_NS, cost.hop_p95_ns),
        (attr::HOP_MAX_NS, cost.hop_max_ns),
        (attr::HOP_CPU_MAX_NS, cost.hop_cpu_max_ns),
        (attr::OVERRUNS, cost.overruns),
        (attr::LATE_HOPS, cost.late),
        (attr::DROPPED_SAMPLES, cost.dropped_samples),
        (attr::DROPPED_EVENTS, cost.dropped_events),
    ]
    .into_iter()
    .map(|(name, value)| KeyValue::new(name, i64::try_from(value).unwrap_or(i64::MAX)))
    .collect()
}

fn window_attributes(window: &Window, cost: &[KeyValue]) -> Vec<KeyValue> {
    let mut all = vec![
        KeyValue::new(attr::WINDOW_INDEX, i64::from(window.index)),
        KeyValue::new(attr::WINDOW_START, window.start),
        KeyValue::new(attr::WINDOW_END, window.end),
        KeyValue::new(attr::WINDOW_NOTES, window.facts.note_count as i64),
    ];
    for metric in Metric::ALL {
        if let Some(score) = window.scores.get(metric) {
            all.push(KeyValue::new(format!("{}.{}", attr::SCORE, metric.name()), score));
        }
    }
    all.extend(window.scores.overall.map(|o| KeyValue::new(format!("{}.overall", attr::SCORE), o)));
    all.extend_from_slice(cost);
    all
}

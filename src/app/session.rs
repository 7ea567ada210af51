//! The session: what the loop heard goes through the judge to the store, the coach and the screen.
//!
//! One task owns it all. It polls the loop's ring (a ring has no wake-up, and a lock-free loop may not make one),
//! closes a window each `coach_every` of *playing time* on the capture clock, and hands it to the coach.

#[path = "session_advice.rs"]
mod advice;
#[path = "session_beat.rs"]
mod beat;
#[path = "session_device.rs"]
mod device;
#[path = "session_end.rs"]
mod end;
#[path = "session_plan.rs"]
mod plan;
#[path = "session_show.rs"]
mod show;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use opentelemetry::KeyValue;
use tokio::sync::{mpsc, watch};
use tracing::Span;

use super::course::Why;
use super::listening::Listening;
use super::metronome::Beat;
use super::stage::Stage;
use super::steps::Steps;
use crate::audio::engine::Engine;
use crate::audio::live::LiveReader;
use crate::audio::player::Player;
use crate::audio::recorder::Recorder;
use crate::audio::stats::EngineStats;
use crate::audio::supervisor::{DeviceEvent, StreamInfo};
use crate::coach::{CoachEvent, CoachHandle, WindowSnapshot};
use crate::config::Config;
use crate::dsp::event::DspEvent;
use crate::hub::link::LiveEvent;
use crate::music::scale::Scale;
use crate::names::attr;
use crate::practice::session::Session as Judge;
use crate::practice::types::{Metric, Scores, Summary, Window};
use crate::span::{SpanExt, Thread};
use crate::store::{AdviceRow, GapRow, LoopCost, SessionWriter, Store, WindowRecord};

pub use end::Ended;

/// How often the loop's ring is emptied. Short enough that the display never lags, long enough to cost nothing.
const TICK: Duration = Duration::from_millis(20);
/// How often the running scores are computed for the display.
const SCORE_EVERY: Duration = Duration::from_millis(250);
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
    /// End the session properly; the program goes on.
    Stop,
    /// End the session properly, and the program.
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
    /// Stores it as it happens.
    pub writer: SessionWriter,
    /// The history.
    pub store: Store,
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
    /// The coach's voice is muted.
    pub muted: bool,
    /// Begin of the session on the capture clock, seconds. All times of a session count from there.
    pub origin: f64,
    /// What was heard since then, before the session was there.
    pub lead: Vec<DspEvent>,
    /// Exercises of the plan that is carried out.
    pub steps: Option<Steps>,
}

/// One practice session.
pub struct Session {
    p: Parts,
    /// There until the session ends.
    engine: Option<Engine>,
    /// Keeps the sound.
    recorder: Option<Recorder>,
    events: rtrb::Consumer<DspEvent>,
    device_events: mpsc::UnboundedReceiver<DeviceEvent>,
    live: LiveReader,
    stats: Arc<EngineStats>,
    /// The input, when it was open before the session began.
    stream: Option<StreamInfo>,
    /// Why the session ends.
    why: Why,
    /// The session's clock, seconds: end of the last hop.
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
    /// The metronome is silent for an exercise without a tempo.
    rests_in_free_time: bool,
    dropped_before: (u64, u64),
    /// Of all windows closed.
    costs: LoopCost,
}

impl Session {
    /// Takes the input with its loop and all it works with; nothing runs yet.
    #[must_use]
    pub fn new(listening: Listening, p: Parts) -> Self {
        let Listening { engine, events, device_events, stream, recorder, .. } = listening;
        let (live, stats) = (engine.live(), engine.stats());
        // What the loop cost while nobody practised is no window's.
        let _ = stats.take_window();
        let dropped = (stats.dropped_samples.load(Relaxed), stats.dropped_events.load(Relaxed));
        Self {
            muted: p.muted,
            p,
            engine: Some(engine),
            recorder,
            events,
            device_events,
            live,
            stats,
            stream,
            why: Why::Over,
            now: 0.0,
            window_start: 0.0,
            missing_seconds: 0.0,
            paused: false,
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
            rests_in_free_time: false,
            dropped_before: dropped,
            costs: LoopCost::default(),
        }
    }

    /// Runs until the player ends it, the time is up or the input ends; then sums up, speaks, stores.
    pub async fn run(mut self) -> Ended {
        self.p.stage.tell(LiveEvent::Started { session: self.p.writer.id().to_string() });
        if self.muted {
            self.p.coach.set_muted(true);
        }
        if let Some(stream) = self.stream.take() {
            self.device(DeviceEvent::Opened(stream));
        }
        for event in std::mem::take(&mut self.p.lead) {
            self.hear(&event);
        }
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
            // The input may have been heard before the session began.
            let origin = self.p.origin;
            let Some(event) = (if origin > 0.0 { event.since(origin) } else { Some(event) }) else {
                continue;
            };
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
        self.follow_plan();
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
            Command::Stop | Command::Quit => {
                self.why = if command == Command::Stop { Why::Stopped } else { Why::Quit };
                return true;
            }
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

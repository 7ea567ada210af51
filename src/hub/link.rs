//! What joins the Hub to the daemon that plays: what is heard flows out, what the player wants flows in.
//!
//! [`LiveView`] is a *latest value* (a reader that looks rarely misses frames); [`LiveEvent`]s are *every value*
//! within the channel's length (a browser that falls behind is told to load the view again). The application
//! fills both and obeys [`Control`]; the Hub never touches sound.

use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, mpsc, watch};

use crate::config::Config;
use crate::practice::types::{Metric, Scores};

/// Events kept for a browser that is slow: some seconds of the fastest playing.
pub const EVENTS_KEPT: usize = 256;
/// Wishes that may wait for the daemon.
pub const CONTROLS_WAITING: usize = 16;

/// What the daemon is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// No session; the input is heard for the level meter, the tuner, and for playing to start.
    #[default]
    Idle,
    /// A session is being judged.
    Playing,
    /// A session is paused.
    Paused,
    /// A session is being summed up.
    Closing,
}

/// What is practised and how; what the setup form holds. Kept per player.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Setup {
    /// Input device as in `--input`; empty: the first sound card, else the virtual guitarist.
    pub input: String,
    /// Scale by name; empty: none.
    pub scale: String,
    /// Beats per minute; 0: taken from the playing.
    pub bpm: f64,
    /// Enabled metrics: `pitch`, `scale`, `timing`, `noise`.
    pub metrics: Vec<String>,
    /// 0..=1.
    pub sensitivity: f64,
    /// 0..=1.
    pub strictness: f64,
    /// Tuning by name or as notes.
    pub tuning: String,
    /// Fret of the capo; 0: none.
    pub capo: u8,
    /// The fretboard is drawn for a left-handed player.
    pub left_handed: bool,
    /// The metronome clicks.
    pub metronome: bool,
    /// Minutes; 0: until stopped.
    pub minutes: f64,
    /// A session starts by itself when playing starts.
    pub autostart: bool,
    /// The sound of sessions is kept (FLAC).
    pub record: bool,
}

/// The note that sounds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LiveNote {
    /// Spelled by the scale: `A3`.
    pub name: String,
    /// MIDI number.
    pub midi: u8,
    /// Frequency of the first partial, Hz.
    pub f0: f32,
    /// Deviation from `midi`, cents, -50..=50.
    pub cents: f32,
    /// Still a guess.
    pub provisional: bool,
}

/// The metronome as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum LiveBeat {
    /// It could click.
    Off,
    /// It clicks.
    On {
        /// Beat of the bar, from 1.
        beat: u32,
        /// Beats a bar.
        beats: u32,
    },
    /// It counts in.
    CountIn {
        /// Beats left.
        left: u32,
    },
}

/// The latest advice.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LiveAdvice {
    /// Its words so far.
    pub text: String,
    /// The model's name or `offline coach`.
    pub source: String,
    /// It is being spoken.
    pub speaking: bool,
    /// Seconds of the session at which it came.
    pub at: f64,
}

impl Setup {
    /// What the settings say: what a player who has set up nothing yet begins with.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let practice = &config.practice;
        Self {
            input: config.audio.input.clone(),
            scale: practice.scale.clone(),
            bpm: practice.bpm,
            metrics: practice.metrics.clone(),
            sensitivity: practice.sensitivity,
            strictness: practice.strictness,
            tuning: practice.tuning.clone(),
            capo: practice.capo,
            left_handed: false,
            metronome: practice.metronome,
            minutes: practice.minutes,
            autostart: practice.start == "playing",
            record: practice.record,
        }
    }
}

/// Everything the live page shows, except the single notes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LiveView {
    /// What the daemon is doing.
    pub phase: Phase,
    /// Whose session it is, or would be.
    pub user: String,
    /// Id of the running session; of the last one while idle.
    pub session: Option<String>,
    /// The plan that the session carries out.
    pub plan: Option<String>,
    /// What is practised.
    pub setup: Setup,
    /// The scale properly spelled; `None`: none.
    pub scale_name: Option<String>,
    /// Pitch classes of the scale, 0 is C.
    pub scale_classes: Vec<u8>,
    /// Open strings as MIDI numbers with the capo, lowest first.
    pub strings: Vec<u8>,
    /// Seconds on the session's clock.
    pub elapsed: f64,
    /// Planned length, seconds.
    pub planned: Option<f64>,
    /// The coach's voice is muted.
    pub muted: bool,
    /// The metronome; `None`: there is none.
    pub beat: Option<LiveBeat>,
    /// Its tempo now (a speed trainer changes it), beats per minute.
    pub bpm: Option<f64>,
    /// Note that sounds.
    pub note: Option<LiveNote>,
    /// Level of the input, dBFS; `None`: silence or no input.
    pub level_db: Option<f32>,
    /// Enabled metrics in order.
    pub metrics: Vec<Metric>,
    /// Scores of the running window.
    pub scores: Scores,
    /// Scores of the window before, for the trend.
    pub previous: Option<Scores>,
    /// Notes right and wrong in the session.
    pub right: usize,
    /// See `right`.
    pub wrong: usize,
    /// Latest advice.
    pub advice: Option<LiveAdvice>,
    /// Seconds of playing to the next advice.
    pub next_advice: f64,
    /// `Guitar (PulseAudio, 48000 Hz)`.
    pub device: String,
    /// What is wrong with it; `None`: sound comes in.
    pub device_trouble: Option<String>,
    /// Voice engine and output, or why there is no voice.
    pub voice: String,
    /// Latest remark of the program.
    pub message: Option<String>,
}

/// Something that happened, in order.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum LiveEvent {
    /// A note or chord was judged.
    Note {
        /// Onset on the session's clock, seconds.
        onset: f64,
        /// MIDI number; `None` for a chord.
        midi: Option<u8>,
        /// Its name, or the chord's.
        name: String,
        /// Deviation, cents.
        cents: Option<f32>,
        /// Right by every enabled metric; `None`: not judged.
        right: Option<bool>,
        /// In the scale.
        in_scale: Option<bool>,
        /// Deviation from its place in time, ms, early negative.
        deviation_ms: Option<f64>,
        /// Why it was wrong, in a few words.
        reason: Option<String>,
    },
    /// A session began.
    Started {
        /// Its id.
        session: String,
    },
    /// A window was closed.
    Window {
        /// Its number, from 0.
        index: u32,
        /// Its scores.
        scores: Scores,
    },
    /// Advice is complete.
    Advice(LiveAdvice),
    /// A session is over and stored.
    Ended {
        /// Its id.
        session: String,
    },
    /// A remark of the program.
    Message {
        /// Its words.
        text: String,
    },
}

/// What the player wants.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do", deny_unknown_fields)]
pub enum Control {
    /// Begin a session with this setup (`None`: the one in force), carrying out a plan if one is named.
    Start {
        /// What is practised and how.
        #[serde(default)]
        setup: Option<Setup>,
        /// Id of a plan.
        #[serde(default)]
        plan: Option<String>,
        /// Whose session it is: who asks, set by the Hub and never read from the request. `None`: the daemon's own player.
        #[serde(skip)]
        user: Option<String>,
    },
    /// End the session properly: summary, voice, store. The daemon stays.
    Stop,
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
    /// Use this setup from now on: at once while idle, else from the next session on.
    Set {
        /// What is practised and how.
        setup: Setup,
        /// As in [`Control::Start`].
        #[serde(skip)]
        user: Option<String>,
    },
}

/// The Hub's end of the joint. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Link {
    /// What is shown.
    pub view: watch::Receiver<LiveView>,
    /// What happens.
    pub events: broadcast::Sender<LiveEvent>,
    /// What the player wants; refused (full) when the daemon does not keep up.
    pub control: mpsc::Sender<Control>,
}

/// The application's end.
#[derive(Debug)]
pub struct Joint {
    /// What is shown.
    pub view: watch::Sender<LiveView>,
    /// What happens. An error only means that no browser looks.
    pub events: broadcast::Sender<LiveEvent>,
    /// What the player wants.
    pub control: mpsc::Receiver<Control>,
}

/// Both ends.
#[must_use]
pub fn joint(first: LiveView) -> (Joint, Link) {
    let (view, view_out) = watch::channel(first);
    let (events, _) = broadcast::channel(EVENTS_KEPT);
    let (control, control_out) = mpsc::channel(CONTROLS_WAITING);
    (Joint { view, events: events.clone(), control: control_out }, Link { view: view_out, events, control })
}

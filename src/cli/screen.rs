//! What the live display shows: a plain value, filled by the session, drawn by [`super::display`].

use std::collections::VecDeque;

use crate::practice::types::{Facts, Metric, Scores};

/// How many of the latest notes are shown.
pub const RECENT_NOTES: usize = 24;

/// State of the input device as the player should see it.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum DeviceState {
    /// Not opened yet.
    #[default]
    Opening,
    /// Sound comes in.
    Listening,
    /// Nothing comes in; it is being reopened.
    Lost(String),
    /// The input has come to its end (a file).
    Ended,
}

/// One of the latest notes.
#[derive(Clone, Debug, PartialEq)]
pub struct RecentNote {
    /// `A3`, spelled by the scale.
    pub name: String,
    /// Right by every enabled metric; `None`: heard while the coach spoke, not judged.
    pub right: Option<bool>,
    /// Why it was wrong, in a few words.
    pub reason: Option<String>,
    /// Deviation from its place in time, ms, early negative.
    pub deviation_ms: Option<f64>,
}

/// Latest advice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AdviceView {
    /// Its words so far.
    pub text: String,
    /// Who says it: the model's name or `offline coach`.
    pub source: String,
    /// It is being spoken.
    pub speaking: bool,
    /// Seconds of the session at which it came.
    pub at: f64,
}

/// The metronome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeatView {
    /// It could click.
    Off,
    /// It clicks: beat of the bar, from 1, of so many.
    On(u32, u32),
    /// It counts in: beats left.
    CountIn(u32),
}

/// Everything on the screen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Screen {
    /// What is practised: `A minor pentatonic · 100 bpm`.
    pub title: String,
    /// Seconds of the session.
    pub elapsed: f64,
    /// Planned length, seconds.
    pub planned: Option<f64>,
    /// Judging is paused.
    pub paused: bool,
    /// The coach's voice is muted.
    pub muted: bool,
    /// No session: the program waits for one.
    pub idle: bool,
    /// The session is being closed (summary is made and spoken).
    pub closing: bool,
    /// The metronome; `None`: there is none.
    pub beat: Option<BeatView>,
    /// Note that sounds: name, deviation in cents, still a guess.
    pub note: Option<(String, f32, bool)>,
    /// Level of the input, dBFS.
    pub level_db: f32,
    /// Enabled metrics in order.
    pub metrics: Vec<Metric>,
    /// Scores of the running window.
    pub scores: Scores,
    /// Scores of the window before, for the trend.
    pub previous: Option<Scores>,
    /// What the scores rest on.
    pub facts: Facts,
    /// Notes right and wrong in the session.
    pub right: usize,
    /// See `right`.
    pub wrong: usize,
    /// Latest notes, newest last.
    pub recent: VecDeque<RecentNote>,
    /// Latest advice.
    pub advice: Option<AdviceView>,
    /// Seconds to the next advice.
    pub next_advice: f64,
    /// `Guitar (PulseAudio, 48000 Hz)`.
    pub device: String,
    /// How it is.
    pub device_state: DeviceState,
    /// Samples lost on the way to the analysis.
    pub dropped_samples: u64,
    /// Events lost on the way from the analysis.
    pub dropped_events: u64,
    /// Seconds of input lost in gaps.
    pub gap_seconds: f64,
    /// Voice engine and output device, or why there is no voice.
    pub voice: String,
    /// Latest remark of the program.
    pub message: Option<String>,
    /// Address of the Hub.
    pub hub: Option<String>,
}

impl Screen {
    /// Adds a note to the latest ones.
    pub fn add_note(&mut self, note: RecentNote) {
        match note.right {
            Some(true) => self.right += 1,
            Some(false) => self.wrong += 1,
            None => {}
        }
        if self.recent.len() == RECENT_NOTES {
            self.recent.pop_front();
        }
        self.recent.push_back(note);
    }
}

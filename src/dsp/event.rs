//! What the real-time loop says: plain `Copy` values that cross a ring without allocating.
//!
//! All times are seconds on the *capture clock*: 0 is the first input sample, and the clock runs with the
//! sample counter of the capture stream, not with the wall clock. Delays of resampler and analysis are
//! already taken out.

/// One analysis hop.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct FrameReport {
    /// End of the last sample used, seconds: when the estimate was available.
    pub t: f64,
    /// Length of the window that the estimate covers, seconds.
    pub w: f32,
    /// Frequency of the first partial, Hz; `None` where unvoiced.
    pub f0: Option<f32>,
    /// 0..1: how sure the detector is of `f0` (0 when unvoiced).
    pub confidence: f32,
    /// The pitch is a first guess: shown, never scored.
    pub provisional: bool,
    /// RMS of the hop, dBFS (a full-scale square wave is 0), at least -120.
    pub level_db: f32,
    /// Mean-square power (full scale = 1) that belongs to the playing: the partials of the sounding note
    /// and its attack. Judged 37 ms late, an undecided stroke up to 0.2 s late and then all at once: sum it
    /// (and `unwanted`) over a window.
    pub wanted: f32,
    /// Mean-square power of everything else: string noise, squeaks, buzz, hum, hiss between notes.
    pub unwanted: f32,
    /// The parts of it whose cause is known. Strokes must be certain before some of it can be told: up to 0.3 s late, so
    /// that it too is for summing over a window.
    pub causes: NoisePowers,
}

/// What unwanted sound comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoiseCause {
    /// Strings ring on.
    Ringing,
    /// Fingers squeak on wound strings.
    Squeaks,
    /// Strings buzz against the frets.
    Buzz,
    /// Hum of the mains (in sessions of earlier versions: hum or hiss).
    Hum,
    /// A steady hiss or rustle.
    Hiss,
    /// String noise between notes: none of the above.
    BetweenNotes,
    /// Noise while notes sound: none of the above.
    UnderNotes,
}

/// Mean-square power (full scale = 1) of unwanted sound by its cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct NoisePowers {
    /// Mains hum, between notes and under them.
    pub hum: f32,
    /// Steady broadband noise, likewise, from 300 Hz to 4.5 kHz.
    pub hiss: f32,
    /// Fingers that slide along wound strings. Said when a squeak is over, all of it at once.
    pub squeaks: f32,
    /// Rattle of a sounding string. Said when it is over, all of it at once.
    pub buzz: f32,
    /// Strings that were not stopped: their partials up to 1 kHz.
    pub ringing: f32,
    /// Frequency of the mains that hum, Hz: 50, 60, or 0 for none.
    pub mains_hz: u8,
}

impl NoisePowers {
    /// Hum and hiss alone.
    #[must_use]
    pub const fn steady(self) -> Self {
        Self { squeaks: 0.0, buzz: 0.0, ringing: 0.0, ..self }
    }

    /// Each cause with its power.
    #[must_use]
    pub const fn each(&self) -> [(NoiseCause, f32); 5] {
        [
            (NoiseCause::Hum, self.hum),
            (NoiseCause::Hiss, self.hiss),
            (NoiseCause::Squeaks, self.squeaks),
            (NoiseCause::Buzz, self.buzz),
            (NoiseCause::Ringing, self.ringing),
        ]
    }
}

/// One note, reported once, when it has ended (or its pitch has settled for good).
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct NoteEvent {
    /// Start of the string's sound, seconds, sample-accurate.
    pub onset: f64,
    /// End of the sound, seconds.
    pub offset: f64,
    /// The moment at which its onset was decided for good, seconds: when it was announced ([`OnsetEvent`]), if that
    /// stood.
    pub t: f64,
    /// The moment at which its pitch had first settled, seconds.
    pub settled: f64,
    /// Nearest MIDI note number in the tuning in use.
    pub midi: u8,
    /// Frequency of the first partial, Hz: median over the stable part, attack left out.
    pub f0: f32,
    /// Median deviation from `midi` in cents, -50..50, before any tuning offset of the whole guitar is
    /// taken out. For a bend or vibrato: deviation of its target.
    pub cents: f32,
    /// Peak level after the onset, dBFS.
    pub level_db: f32,
    /// 0..1.
    pub confidence: f32,
    /// Inharmonicity B of the string (Fletcher 1964: `f_k = k F √(1 + B k²)`), where enough partials were heard.
    pub inharmonicity: Option<f32>,
    /// How it was played.
    pub technique: Technique,
    /// The coach's own voice (or a gap) covered the onset: kept, shown, never scored.
    pub gated: bool,
}

/// How a note was played, as far as it can be heard. The default is a picked, steady note. Palm mutes and harmonics are
/// not told apart from other notes.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Technique {
    /// How its sound began.
    pub attack: Attack,
    /// What its pitch did.
    pub motion: Motion,
    /// How far the pitch moved, cents: from the start to the target of a bend or slide (negative downwards), from
    /// the middle to the crest of a vibrato. 0 when steady.
    pub motion_cents: f32,
}

/// How the sound of a note began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attack {
    /// The string was struck.
    #[default]
    Picked,
    /// A finger came down on the sounding string: a higher note without a stroke.
    HammerOn,
    /// A finger left the sounding string: a lower note without a stroke.
    PullOff,
    /// A finger slid along the sounding string.
    Slide,
}

/// What the pitch of a note did while it sounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Motion {
    /// It stood still.
    #[default]
    Steady,
    /// It swung about its middle.
    Vibrato,
    /// It was bent up to its target.
    Bend,
    /// It was bent when it was struck, and let down.
    Release,
    /// It slid over frets.
    Slide,
}

/// A stroke has been heard; what it is a stroke of (note, chord, dead string, noise) comes later.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OnsetEvent {
    /// Start of the sound, seconds, sample-accurate.
    pub onset: f64,
    /// The moment at which it was decided, seconds.
    pub t: f64,
}

/// Pitch classes: bit 0 is C, bit 11 is B.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PitchClasses(pub u16);

impl PitchClasses {
    /// Whether it holds a pitch class, 0 (C) to 11 (B).
    #[must_use]
    pub fn has(self, class: u8) -> bool {
        class < 12 && self.0 & (1 << class) != 0
    }

    /// Adds a pitch class; anything above 11 is left out.
    pub fn add(&mut self, class: u8) {
        if class < 12 {
            self.0 |= 1 << class;
        }
    }

    /// The classes it holds, rising from C.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..12).filter(move |&c| self.has(c))
    }
}

/// Several strings struck together, reported once, when they have ended. Never judged as a single note.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ChordEvent {
    /// Start of the first string's sound, seconds.
    pub onset: f64,
    /// End of the sound, seconds.
    pub offset: f64,
    /// The moment at which its onset was decided, seconds.
    pub t: f64,
    /// What was heard in it.
    pub classes: PitchClasses,
    /// Lowest note, MIDI number, where it is known.
    pub bass: Option<u8>,
    /// Peak level after the onset, dBFS.
    pub level_db: f32,
    /// 0..1.
    pub confidence: f32,
    /// As [`NoteEvent::gated`].
    pub gated: bool,
}

/// A note that has just been recognised and still sounds: for the live display only.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NoteStart {
    /// As [`NoteEvent::onset`].
    pub onset: f64,
    /// As [`NoteEvent::t`].
    pub t: f64,
    /// As [`NoteEvent::midi`].
    pub midi: u8,
    /// Deviation so far, cents.
    pub cents: f32,
}

/// Everything that leaves the real-time loop, in order of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum DspEvent {
    /// A hop was analysed.
    Frame(FrameReport),
    /// A stroke was heard.
    Onset(OnsetEvent),
    /// A note was recognised and still sounds.
    NoteStart(NoteStart),
    /// A note is complete.
    Note(NoteEvent),
    /// A chord is complete.
    Chord(ChordEvent),
    /// Input was lost between these two times: nothing in there is judged.
    Gap {
        /// Seconds.
        from: f64,
        /// Seconds.
        to: f64,
    },
}

impl DspEvent {
    /// When it was told, seconds on the capture clock.
    #[must_use]
    pub fn time(&self) -> f64 {
        match self {
            Self::Frame(frame) => frame.t,
            Self::Onset(onset) => onset.t,
            Self::NoteStart(start) => start.t,
            Self::Note(note) => note.offset.max(note.t),
            Self::Chord(chord) => chord.offset.max(chord.t),
            Self::Gap { to, .. } => *to,
        }
    }

    /// The same on a clock that is 0 at `origin`; `None` for what began before.
    #[must_use]
    pub fn since(&self, origin: f64) -> Option<Self> {
        let moved = match *self {
            Self::Frame(frame) => Self::Frame(FrameReport { t: frame.t - origin, ..frame }),
            Self::Onset(o) => Self::Onset(OnsetEvent { onset: o.onset - origin, t: o.t - origin }),
            Self::NoteStart(n) => {
                Self::NoteStart(NoteStart { onset: n.onset - origin, t: n.t - origin, ..n })
            }
            Self::Note(n) => Self::Note(NoteEvent {
                onset: n.onset - origin,
                offset: n.offset - origin,
                t: n.t - origin,
                settled: n.settled - origin,
                ..n
            }),
            Self::Chord(c) => Self::Chord(ChordEvent {
                onset: c.onset - origin,
                offset: c.offset - origin,
                t: c.t - origin,
                ..c
            }),
            Self::Gap { from, to } => Self::Gap { from: (from - origin).max(0.0), to: to - origin },
        };
        let begin = match moved {
            Self::Frame(frame) => frame.t,
            Self::Onset(o) => o.onset,
            Self::NoteStart(n) => n.onset,
            Self::Note(n) => n.onset,
            Self::Chord(c) => c.onset,
            Self::Gap { to, .. } => to,
        };
        (begin >= 0.0).then_some(moved)
    }
}

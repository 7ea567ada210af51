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
}

/// One note, reported once, when it has ended (or its pitch has settled for good).
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct NoteEvent {
    /// Start of the string's sound, seconds, sample-accurate.
    pub onset: f64,
    /// End of the sound, seconds.
    pub offset: f64,
    /// The moment at which the note was decided (its first settled pitch), seconds.
    pub t: f64,
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
    /// The coach's own voice (or a gap) covered the onset: kept, shown, never scored.
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
    /// A note was recognised and still sounds.
    NoteStart(NoteStart),
    /// A note is complete.
    Note(NoteEvent),
    /// Input was lost between these two times: nothing in there is judged.
    Gap {
        /// Seconds.
        from: f64,
        /// Seconds.
        to: f64,
    },
}

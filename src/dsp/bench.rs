//! For benches and tests alone, hidden from the documentation: where in a hop the time goes, and the plain path of the inner
//! loops on a processor that has the wide one.
pub use super::wide::only_plain;

/// What of a hop has just been done, in this order. A hop behind the gate ends after [`Stage::Onset`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The hop begins.
    Begin,
    /// DC blocker, decimation, level.
    Filter,
    /// The detector took the hop in.
    Correlation,
    /// Spectral flux and band envelopes.
    Onset,
    /// What the tracker makes of a proposed onset, and the estimate of the pitch.
    Pitch,
    /// Notes.
    Tracker,
    /// What is playing and what is not.
    Noise,
}

impl Stage {
    /// All that take time, in their order.
    pub const TIMED: [Self; 6] =
        [Self::Filter, Self::Correlation, Self::Onset, Self::Pitch, Self::Tracker, Self::Noise];
}

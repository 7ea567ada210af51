//! Sound in and out.
//!
//! The way of one sample in: a sound card ([`device`], [`supervisor`]), a recording ([`mod@file`]) or any other
//! [`SampleSource`] → the copy-only callback ([`capture`]) → an SPSC ring → the real-time loop ([`engine`]), which
//! resamples ([`resample`]) and hands hops to a [`engine::Hear`]. What the loop says leaves by an SPSC ring (every
//! value) and by a latest-value cell ([`live`]).
//!
//! The way of one sample out: an [`player::Utterance`] → an SPSC ring → the one source in the output device's mixer,
//! all owned by the one player thread ([`player`]). What it plays is published to the [`echo`] gate, so that the
//! coach's own voice in the microphone is never scored.
//!
//! The [`metronome`] goes the second way out and the first way back in: its clicks are mixed into the output at their very
//! frame, and taken out of what the microphone hears of them.
//!
//! A session's sound can be kept: the loop hands a copy to a [`tap`], whose [`recorder`] writes [`flac`].
//!
//! [`watch`] decides, as a pure state machine, when a device counts as lost; [`supervisor`] and [`player`] act on it.

pub mod capture;
pub mod clock;
pub mod desk;
pub mod device;
pub mod echo;
pub mod engine;
pub mod error;
pub mod feeder;
pub mod file;
pub mod flac;
pub mod guitarist;
pub mod listener;
pub mod live;
pub mod metronome;
pub mod player;
pub mod priority;
pub mod recorder;
pub mod resample;
pub mod stats;
pub mod supervisor;
pub mod tap;
pub mod watch;

pub use error::{AudioError, AudioErrorKind};

/// Samples a second at which everything is analysed.
pub const ANALYSIS_RATE: u32 = 48_000;

/// Mono sound that is made or read rather than captured: a recording, the virtual guitarist.
pub trait SampleSource {
    /// Fills the front of `out` with the next samples (mono, full scale ±1) and says how many; 0 means the end.
    fn read(&mut self, out: &mut [f32]) -> usize;

    /// After the end: one line about why the sound ended early, if it did.
    fn warning(&mut self) -> Option<String> {
        None
    }
}

impl<S: SampleSource + ?Sized> SampleSource for Box<S> {
    fn read(&mut self, out: &mut [f32]) -> usize {
        (**self).read(out)
    }

    fn warning(&mut self) -> Option<String> {
        (**self).warning()
    }
}

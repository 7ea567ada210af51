//! What can go wrong with sound, by kind, so that the program can choose an exit code.

use std::path::PathBuf;

/// Why there is no sound.
#[derive(Debug, thiserror::Error)]
pub enum AudioError {
    /// No sound system answers.
    #[error(
        "no sound system answers ({host}: {message}); start PulseAudio or PipeWire, or choose another audio host"
    )]
    NoHost {
        /// The host that was asked for.
        host: String,
        /// The system's word.
        message: String,
    },
    /// The device does not exist, or its name fits several.
    #[error("{what}; {available}")]
    NoDevice {
        /// What was asked for and why it was not found.
        what: String,
        /// What exists instead, or what to do.
        available: String,
    },
    /// The device exists but could not be opened.
    #[error(
        "{device} could not be {action}: {source}; check that it is plugged in and not used by another program"
    )]
    Device {
        /// Name of the device.
        device: String,
        /// `opened`, `started`, `asked for its formats`.
        action: &'static str,
        /// The system's word.
        source: cpal::Error,
    },
    /// The device did not answer in time.
    #[error("the sound system did not answer within {seconds:.1} s while opening {device}; is it stopped?")]
    Unresponsive {
        /// Name of the device.
        device: String,
        /// How long we waited.
        seconds: f64,
    },
    /// Rate, channel or sample format that cannot be had.
    #[error("{0}")]
    Format(String),
    /// The file cannot be opened or read at all.
    #[error("{path} cannot be read: {source}", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// The file holds no sound.
    #[error("{path} is empty: it holds no sound", path = .path.display())]
    EmptyFile {
        /// The file.
        path: PathBuf,
    },
    /// The file is no WAV or FLAC file.
    #[error("{path} is not a WAV or FLAC file ({found}); convert it first, for example `ffmpeg -i IN out.wav`", path = .path.display())]
    ForeignFile {
        /// The file.
        path: PathBuf,
        /// What it looks like.
        found: &'static str,
    },
    /// The file says WAV or FLAC but cannot be decoded.
    #[error("{path} is damaged or of an unsupported kind: {message}", path = .path.display())]
    CorruptFile {
        /// The file.
        path: PathBuf,
        /// What the decoder found.
        message: String,
    },
    /// A thread could not be started.
    #[error("a thread for {what} could not be started: {source}")]
    Thread {
        /// What for.
        what: &'static str,
        /// The system's word.
        source: std::io::Error,
    },
}

/// The kinds of [`AudioError`] that a caller tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AudioErrorKind {
    /// No sound system.
    NoHost,
    /// No such device, or it cannot be opened.
    MissingDevice,
    /// A rate, channel or format that cannot be had.
    Format,
    /// A file that cannot be opened.
    UnreadableFile,
    /// A file that holds nothing usable: empty, damaged or foreign.
    BadFile,
    /// The operating system refused something else.
    System,
}

impl AudioError {
    /// The kind, for exit codes.
    #[must_use]
    pub fn kind(&self) -> AudioErrorKind {
        match self {
            Self::NoHost { .. } => AudioErrorKind::NoHost,
            Self::NoDevice { .. } | Self::Device { .. } | Self::Unresponsive { .. } => {
                AudioErrorKind::MissingDevice
            }
            Self::Format(_) => AudioErrorKind::Format,
            Self::Unreadable { .. } => AudioErrorKind::UnreadableFile,
            Self::EmptyFile { .. } | Self::ForeignFile { .. } | Self::CorruptFile { .. } => {
                AudioErrorKind::BadFile
            }
            Self::Thread { .. } => AudioErrorKind::System,
        }
    }

    /// Short fixed word for `error.type`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self.kind() {
            AudioErrorKind::NoHost => "no_audio_host",
            AudioErrorKind::MissingDevice => "missing_device",
            AudioErrorKind::Format => "audio_format",
            AudioErrorKind::UnreadableFile => "unreadable_file",
            AudioErrorKind::BadFile => "bad_file",
            AudioErrorKind::System => "system",
        }
    }
}

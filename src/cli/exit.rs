//! Exit codes: stable, named, documented in the README.

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Something failed that should not: please report it.
    Failed = 1,
    /// The command line was not understood.
    Usage = 2,
    /// A setting is unknown or impossible (also: scale, tempo, tuning).
    Config = 3,
    /// The input device or file is missing, unreadable, or holds no sound.
    Input = 4,
    /// The data folder or database cannot be used.
    Data = 5,
    /// Another process captures on this data folder.
    Busy = 6,
    /// `doctor` found something that does not work.
    Unhealthy = 7,
    /// Nothing with that name (session, trace).
    NotFound = 8,
    /// Stopped at once by a second Ctrl-C.
    Aborted = 130,
}

/// Every code with its name and meaning, for `--help` and the README.
pub const CODES: [(Exit, &str, &str); 10] = [
    (Exit::Ok, "ok", "done"),
    (Exit::Failed, "failed", "something failed that should not"),
    (Exit::Usage, "usage", "the command line was not understood"),
    (Exit::Config, "config", "a setting is unknown or impossible"),
    (Exit::Input, "input", "the input device or file is missing, unreadable or empty"),
    (Exit::Data, "data", "the data folder or database cannot be used"),
    (Exit::Busy, "busy", "another process captures on this data folder"),
    (Exit::Unhealthy, "unhealthy", "doctor found something that does not work"),
    (Exit::NotFound, "not-found", "no session or trace with that name"),
    (Exit::Aborted, "aborted", "stopped at once by a second Ctrl-C"),
];

/// One line on standard error. A terminal or pipe that is gone is no reason to fail, let alone to panic.
pub fn complain(line: impl std::fmt::Display) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "fretcoach: {line}");
}

/// An error that ends the program: one line for the user, and the code.
#[derive(Debug)]
pub struct Stop {
    /// How the program ends.
    pub exit: Exit,
    /// What happened, to what, and what to do next.
    pub message: String,
}

impl Stop {
    /// An end with a message.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// An end caused by `error`, with all its causes in the line.
    pub fn because(exit: Exit, error: &(dyn std::error::Error + 'static)) -> Self {
        Self { exit, message: crate::span::chain(error) }
    }
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Stop {}

//! The log: where lines go, and that no secret stands in them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

use super::record::Scrub;

/// Where log lines go.
#[derive(Clone, Debug)]
pub enum Log {
    /// To a file: where the live display has the terminal.
    File(PathBuf),
    /// To standard error.
    Stderr,
    /// Nowhere.
    Off,
}

/// Name of the log file in the data folder.
pub const LOG_FILE: &str = "fretcoach.log";

/// A log that has grown beyond this is put aside (as `fretcoach.log.1`) at the next start.
const MAX_LOG: u64 = 5 * 1024 * 1024;

/// Writes lines without secrets.
#[derive(Clone)]
pub(super) struct LogWriter {
    to: Target,
    scrub: Scrub,
}

#[derive(Clone)]
enum Target {
    File(Arc<Mutex<File>>),
    Stderr,
    Off,
}

impl LogWriter {
    /// A file that cannot be opened is told on standard error; logging is never a reason not to start.
    pub(super) fn new(log: &Log, scrub: Scrub) -> Self {
        let to = match log {
            Log::Stderr => Target::Stderr,
            Log::Off => Target::Off,
            Log::File(path) => match open(path) {
                Ok(file) => Target::File(Arc::new(Mutex::new(file))),
                Err(error) => {
                    // Standard error that is gone is no reason to panic.
                    let _ = writeln!(
                        io::stderr(),
                        "fretcoach: no log will be kept: {} cannot be written ({error})",
                        path.display()
                    );
                    Target::Off
                }
            },
        };
        Self { to, scrub }
    }
}

/// Puts a log aside that has grown long, so that everything of this start stands in a new one.
///
/// # Errors
/// When the file cannot be renamed.
pub fn rotate(path: &Path) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|m| m.len() > MAX_LOG) {
        fs::rename(path, path.with_extension("log.1"))?;
    }
    Ok(())
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    rotate(path)?;
    OpenOptions::new().append(true).create(true).open(path)
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = &'a LogWriter;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &LogWriter {
    /// Called once per line: the formatter builds the whole line first.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let clean = self.scrub.text(&text);
        match &self.to {
            Target::Off => {}
            Target::Stderr => io::stderr().lock().write_all(clean.as_bytes())?,
            Target::File(file) => {
                file.lock().unwrap_or_else(PoisonError::into_inner).write_all(clean.as_bytes())?;
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

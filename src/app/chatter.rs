//! Keeps the sound libraries' own messages off the terminal.
//!
//! ALSA's plugins, JACK's client among them, print to standard error whenever a device is looked for. On the live display
//! that is garbage; in the log it is a hint.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Where standard error went before; a process has one standard error.
static BEFORE: Mutex<Option<OwnedFd>> = Mutex::new(None);

/// Standard error goes elsewhere for as long as this lives, or until [`restore`].
#[derive(Debug)]
pub struct Diverted(());

impl Diverted {
    /// Appends standard error to a file; `None` when the system refuses, and nothing changes.
    #[must_use]
    pub fn to(path: &Path) -> Option<Self> {
        Self::into_file(&OpenOptions::new().create(true).append(true).open(path).ok()?)
    }

    /// Throws standard error away; `None` when the system refuses, and nothing changes.
    #[must_use]
    pub fn nowhere() -> Option<Self> {
        Self::into_file(&OpenOptions::new().write(true).open("/dev/null").ok()?)
    }

    fn into_file(file: &File) -> Option<Self> {
        // SAFETY: plain system calls on descriptors that are open: standard error and `file`.
        let before = unsafe { libc::dup(libc::STDERR_FILENO) };
        if before < 0 {
            return None;
        }
        // SAFETY: `before` was just made by `dup` and belongs to nobody else.
        let before = unsafe { OwnedFd::from_raw_fd(before) };
        // SAFETY: as above.
        let moved = unsafe { libc::dup2(file.as_raw_fd(), libc::STDERR_FILENO) };
        if moved < 0 {
            return None;
        }
        // Diverted twice, it still comes back to where it was at first.
        BEFORE.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(before);
        Some(Self(()))
    }
}

impl Drop for Diverted {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives standard error back to our own words, for who ends the program without unwinding. Nothing changes when it was
/// not diverted.
pub fn restore() {
    if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // SAFETY: both descriptors are open; on failure messages keep going to the file, which harms nobody.
        unsafe { libc::dup2(before.as_raw_fd(), libc::STDERR_FILENO) };
    }
}

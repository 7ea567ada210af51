//! Keeps the sound libraries' own messages off the terminal.
//!
//! ALSA's plugins, JACK's client among them, print to standard error whenever a device is looked for. On the live display
//! that is garbage; in the log it is a hint.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

/// Standard error goes elsewhere for as long as this lives.
#[derive(Debug)]
pub struct Diverted(OwnedFd);

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
        (moved >= 0).then_some(Self(before))
    }
}

impl Drop for Diverted {
    fn drop(&mut self) {
        // SAFETY: both descriptors are open; on failure messages keep going to the file, which harms nobody.
        unsafe { libc::dup2(self.0.as_raw_fd(), libc::STDERR_FILENO) };
    }
}

//! Real-time priority, asked for once by each audio thread itself, and only noted when refused.

use std::sync::atomic::{AtomicU8, Ordering};

/// SCHED_FIFO priority of the sound card's callbacks: above the loop that feeds on them, below the kernel's threads and
/// the sound server (PulseAudio and PipeWire take 20 and more).
pub const CALLBACK_PRIORITY: i32 = 15;
/// SCHED_FIFO priority of the real-time loop.
pub const LOOP_PRIORITY: i32 = 10;

/// Puts the calling thread into the SCHED_FIFO class. True if the system allowed it.
///
/// One system call, no allocation: fit for the first run of a callback. Threads started by this one do not inherit
/// the class (SCHED_RESET_ON_FORK).
#[must_use]
pub fn request(priority: i32) -> bool {
    #[cfg(target_os = "linux")]
    {
        let param = libc::sched_param { sched_priority: priority };
        // SAFETY: `param` lives through the call; pid 0 is the calling thread; the call touches no memory of ours.
        unsafe {
            libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const param) == 0
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = priority;
        false
    }
}

/// True if this process may use real-time priority: tried on a thread of its own, which then ends.
#[must_use]
pub fn allowed() -> bool {
    std::thread::Builder::new()
        .name("rt-probe".into())
        .spawn(|| request(CALLBACK_PRIORITY))
        .ok()
        .and_then(|t| t.join().ok())
        .unwrap_or(false)
}

/// Whether a thread got real-time priority, as set by that thread.
#[derive(Debug, Default)]
pub struct Granted(AtomicU8);

impl Granted {
    /// Notes the answer.
    pub fn set(&self, granted: bool) {
        self.0.store(if granted { 2 } else { 1 }, Ordering::Relaxed);
    }

    /// The answer; `None` before the thread has asked.
    #[must_use]
    pub fn get(&self) -> Option<bool> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            answer => Some(answer == 2),
        }
    }
}

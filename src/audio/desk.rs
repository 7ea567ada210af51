//! A thread for everything about devices that may block for ever: asking, opening, closing.
//!
//! A stopped sound server answers nothing, and ALSA's PulseAudio plug-in can deadlock while a stream is closed. Whoever
//! needs a device therefore asks a desk and waits as long as it likes; a desk that does not answer is left behind (its
//! thread ends when its call returns, and what it then opened is closed at once) and a new one takes over.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Longest wait for a stream to close before it is left to its own thread.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// What the jobs of one desk share: one connection to the sound system, made when first needed. A connection is kept
/// since cpal's PulseAudio client leaves a thread behind for each that is dropped unused.
#[derive(Default)]
pub struct Bench {
    /// The connection.
    pub host: Option<cpal::Host>,
}

type Job = Box<dyn FnOnce(&mut Bench) + Send>;

/// A running desk.
pub struct Desk {
    jobs: Sender<Job>,
}

impl Desk {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system's, if it has no thread left.
    pub fn start(name: &str) -> std::io::Result<Self> {
        let (jobs, queue) = channel::<Job>();
        std::thread::Builder::new().name(name.into()).spawn(move || {
            let mut bench = Bench::default();
            while let Ok(job) = queue.recv() {
                hush_alsa();
                job(&mut bench);
            }
        })?;
        Ok(Self { jobs })
    }

    /// Hands in a job; the answer comes by the channel. If the receiver is dropped first, the answer is dropped on the
    /// desk's thread, which closes a stream that came too late.
    pub fn ask<T: Send + 'static>(&self, job: impl FnOnce(&mut Bench) -> T + Send + 'static) -> Receiver<T> {
        let (answer, receiver) = channel();
        // A desk whose thread is gone drops the job, and with it the sender: the receiver then says "disconnected".
        let _ = self.jobs.send(Box::new(move |bench| {
            let _ = answer.send(job(bench)); // The asker may have given up.
        }));
        receiver
    }
}

/// libasound writes every device that it cannot open to stderr, over the live display. What matters comes as an error
/// of the job; the rest goes into a buffer, which each call replaces.
fn hush_alsa() {
    #[cfg(target_os = "linux")]
    drop(alsa::Output::local_error_handler()); // Without it there is only more text on the terminal.
}

/// Drops something that may hang while it is dropped, on a thread of its own. False if it did hang: it is then left
/// to that thread.
pub fn close<T: Send + 'static>(thing: T) -> bool {
    let (done, closed) = channel::<()>();
    let spawned = std::thread::Builder::new().name("stream-close".into()).spawn(move || {
        drop(thing);
        drop(done);
    });
    spawned.is_ok() && matches!(closed.recv_timeout(CLOSE_TIMEOUT), Err(RecvTimeoutError::Disconnected))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_desk_that_hangs_is_left_behind_and_its_late_answer_is_dropped() {
        struct Stream(Sender<()>);
        impl Drop for Stream {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        let desk = Desk::start("test-desk").unwrap();
        let (wake, asleep) = channel::<()>();
        let (dropped, closed) = channel();
        let answer = desk.ask(move |_| {
            let _ = asleep.recv();
            Stream(dropped)
        });
        assert!(matches!(answer.recv_timeout(Duration::from_millis(10)), Err(RecvTimeoutError::Timeout)));
        drop(answer);
        wake.send(()).unwrap();
        closed.recv().unwrap();
        assert_eq!(desk.ask(|_| 7).recv().unwrap(), 7, "and the desk itself works on");
    }

    #[test]
    fn what_hangs_while_it_is_closed_does_not_hang_us() {
        struct Hangs(Receiver<()>);
        impl Drop for Hangs {
            fn drop(&mut self) {
                let _ = self.0.recv();
            }
        }
        let (keep, never) = channel::<()>();
        assert!(!close(Hangs(never)));
        drop(keep);
        assert!(close(7));
    }
}

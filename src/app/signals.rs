//! Ctrl-C and its kin: the first ends the session properly, the second at once.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::chatter;
use super::session::Command;
use crate::cli::exit::{Exit, complain};

/// Counts the interrupts of the program, wherever they come from. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Interrupts {
    commands: mpsc::Sender<Command>,
    leave: CancellationToken,
    count: Arc<AtomicU32>,
}

impl Interrupts {
    /// Interrupts that are passed on as [`Command::Quit`].
    #[must_use]
    pub fn new(commands: mpsc::Sender<Command>) -> Self {
        Self { commands, leave: CancellationToken::new(), count: Arc::default() }
    }

    /// Cancelled once the program is to end.
    #[must_use]
    pub fn leave(&self) -> CancellationToken {
        self.leave.clone()
    }

    /// Ctrl-C: ends the session; once more, ends the program.
    pub fn interrupt(&self) {
        if self.count.fetch_add(1, Ordering::Relaxed) > 0 {
            if std::io::stdout().is_terminal() {
                ratatui::restore();
            }
            chatter::restore();
            complain("stopped at once; what was played is kept, the next start closes the session");
            std::process::exit(Exit::Aborted as i32);
        }
        self.quit();
    }

    /// A request to end properly, however often it comes.
    pub fn quit(&self) {
        self.leave.cancel();
        // A full queue holds a command that was not obeyed yet: the session is ending or hung, and a second
        // interrupt ends it at once.
        let _ = self.commands.try_send(Command::Quit);
    }

    /// Listens to the signals of the process until the program ends.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn listen(&self) -> std::io::Result<()> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let this = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => this.interrupt(),
                    _ = terminate.recv() => this.quit(),
                    _ = hangup.recv() => this.quit(),
                }
            }
        });
        Ok(())
    }
}

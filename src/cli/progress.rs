//! One line on a terminal that says how far a long command is; nothing where standard error is no terminal.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use super::text;

/// It is drawn this often.
const EVERY: Duration = Duration::from_millis(200);

/// The line.
#[derive(Debug)]
pub struct Progress {
    shown: bool,
    started: Instant,
    drawn: Instant,
    /// Columns of the line as it stands.
    width: usize,
}

impl Progress {
    /// `room`: false where other lines stream to the same terminal.
    #[must_use]
    pub fn new(room: bool) -> Self {
        let now = Instant::now();
        Self { shown: room && io::stderr().is_terminal(), started: now, drawn: now, width: 0 }
    }

    /// Draws what `line` makes of the seconds since the start, if it is time to.
    pub fn at(&mut self, line: impl FnOnce(f64) -> String) {
        if !self.shown || self.drawn.elapsed() < EVERY {
            return;
        }
        self.drawn = Instant::now();
        self.draw(&line(self.started.elapsed().as_secs_f64()));
    }

    /// Takes the line away.
    pub fn end(&mut self) {
        if self.width > 0 {
            self.draw("");
            self.draw("");
        }
    }

    fn draw(&mut self, line: &str) {
        // Over what stood there before.
        eprint!("\r{line:width$}", width = self.width);
        self.width = line.chars().count();
    }
}

/// Time that is left, `m:ss`, when `share` (0 to 1) took `elapsed` seconds.
#[must_use]
pub fn left(share: f64, elapsed: f64) -> String {
    text::clock(if share > 0.0 { elapsed * (1.0 - share) / share } else { 0.0 })
}

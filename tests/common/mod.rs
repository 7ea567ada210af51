//! What the end-to-end tests share: a sound card that exists only in memory ([`rig`]), sound files and questions
//! about them ([`wav`]), programs under test ([`process`]), and what they kept of a session ([`session`]).
//!
//! Everything here panics with a message that says what to do, since a test can do nothing better.

// Each test program includes this module and uses a part of it.
#![allow(dead_code)]

pub mod history;
pub mod postgres;
pub mod process;
pub mod rig;
pub mod session;
pub mod wav;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Repeats `ask` until it yields something; panics with `what` when `limit` passes first.
///
/// The limit only ends a test that hangs: it is generous, and no test passes or fails by how long a thing took.
#[track_caller]
pub fn wait_until<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < limit, "waited {} s in vain for {what}", limit.as_secs());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Where a program stands on the search path.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// Panics with the Debian packages to install unless all `programs` are there.
#[track_caller]
pub fn require_programs(what: &str, programs: &[&str], packages: &str) {
    let missing: Vec<&str> = programs.iter().copied().filter(|p| find_program(p).is_none()).collect();
    assert!(
        missing.is_empty(),
        "{what} needs {}, which is not installed. On Debian: apt-get install --no-install-recommends {packages} \
         (`scripts/install-deps test` does it)",
        missing.join(", "),
    );
}

/// Lets the kernel end `command` when the thread that spawns it ends, however that happens.
///
/// A test that is interrupted runs no destructors; without this its recorders and daemons would live on. The
/// kernel watches the spawning *thread*, so spawn from the thread of the test itself.
pub fn die_with_parent(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: prctl with PR_SET_PDEATHSIG only sets a flag of the new process; it is async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
}

/// Sends a signal to one process.
///
/// # Panics
/// When the process is gone.
#[track_caller]
pub fn signal(pid: u32, signal: i32) {
    let pid = libc::pid_t::try_from(pid).expect("process ids fit in pid_t");
    // SAFETY: kill takes plain numbers and touches no memory of ours.
    let result = unsafe { libc::kill(pid, signal) };
    assert_eq!(result, 0, "signal {signal} to process {pid}: {}", std::io::Error::last_os_error());
}

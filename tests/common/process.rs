//! Programs under test: started in a clean environment and a folder of their own, heard, measured, interrupted, and
//! looked at inside a terminal.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::rig::Rig;
use super::{die_with_parent, require_programs, signal, wait_until};

/// Longest run of a program that is expected to end by itself.
const RUN_LIMIT: Duration = Duration::from_secs(120);

/// How to start a program. The environment holds the search path, a home, and what the test sets: no setting or key
/// of the machine reaches the program. Home, working folder and data folder are temporary.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    before: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    home: TempDir,
    limit: Duration,
}

impl Program {
    /// The `fretcoach` binary, working on a temporary data folder.
    pub fn fretcoach() -> Self {
        let mut program = Self::new(env!("CARGO_BIN_EXE_fretcoach"));
        program.before = vec!["--data-dir".into(), program.data_dir().into()];
        program
    }

    /// Any program, by path or by name on the search path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let home = tempfile::Builder::new().prefix("fretcoach").tempdir().expect("a folder for the program");
        Self { path: path.into(), before: Vec::new(), env: Vec::new(), home, limit: RUN_LIMIT }
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Sound in and out through the rig.
    #[must_use]
    pub fn on(mut self, rig: &Rig) -> Self {
        self.env.extend(rig.env());
        self
    }

    /// Another longest run than two minutes.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Home and working folder.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Data folder given to [`Program::fretcoach`]; the program makes it.
    pub fn data_dir(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn environment(&self) -> Vec<(OsString, OsString)> {
        let mut all: Vec<(OsString, OsString)> = vec![
            ("PATH".into(), std::env::var_os("PATH").unwrap_or_default()),
            ("HOME".into(), self.home().into()),
            ("LC_ALL".into(), "C.UTF-8".into()),
            ("RUST_BACKTRACE".into(), "1".into()),
            // Many programs at once, each with a Hub of its own.
            ("FRETCOACH_HUB_PORT".into(), "0".into()),
        ];
        all.extend(self.env.iter().cloned());
        all
    }

    /// Starts it; `stdin` is empty, output is captured.
    #[track_caller]
    pub fn spawn<S: AsRef<OsStr>>(&self, args: &[S]) -> Running {
        let mut command = Command::new(&self.path);
        command
            .args(&self.before)
            .args(args)
            .env_clear()
            .envs(self.environment())
            .current_dir(self.home())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        die_with_parent(&mut command);
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{}: {e}", self.path.display()));
        let out = Captured::of(child.stdout.take().expect("stdout is piped"));
        let err = Captured::of(child.stderr.take().expect("stderr is piped"));
        Running { child, out, err, limit: self.limit }
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// With its output when it does not end in time; it is then killed.
    #[track_caller]
    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Finished {
        self.spawn(args).wait()
    }
}

/// Output of a program as it comes, read by a thread of its own so that the program never blocks on a full pipe.
#[derive(Debug)]
struct Captured {
    text: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Captured {
    fn of(mut pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // A broken pipe ends the output like its end does.
            while let Ok(n @ 1..) = pipe.read(&mut buffer) {
                to.lock().expect("the reader does not panic").extend_from_slice(&buffer[..n]);
            }
        });
        Self { text, reader: Some(reader) }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().expect("the reader does not panic")).into_owned()
    }
}

/// A program that runs; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    out: Captured,
    err: Captured,
    limit: Duration,
}

impl Running {
    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub fn stdout(&self) -> String {
        self.out.so_far()
    }

    /// What it has complained of so far.
    pub fn stderr(&self) -> String {
        self.err.so_far()
    }

    /// True until it ends.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it is a child of this process").is_none()
    }

    /// Waits until its standard output holds `text`, and returns all of it so far.
    ///
    /// # Panics
    /// When it ends without, or `limit` passes.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str, limit: Duration) -> String {
        let start = Instant::now();
        loop {
            let running = self.is_running();
            let so_far = self.stdout();
            if so_far.contains(text) {
                return so_far;
            }
            let said = || format!("stdout:\n{so_far}\nstderr:\n{}", self.err.so_far());
            assert!(running || self.out.reading(), "it ended without printing `{text}`\n{}", said());
            assert!(start.elapsed() < limit, "no `{text}` in {} s\n{}", limit.as_secs(), said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends a signal, such as `libc::SIGINT` (what Ctrl-C does) or `libc::SIGKILL`.
    #[track_caller]
    pub fn signal(&self, number: i32) {
        signal(self.pid(), number);
    }

    /// What Ctrl-C does.
    #[track_caller]
    pub fn interrupt(&self) {
        self.signal(libc::SIGINT);
    }

    /// Memory and processor time so far.
    #[track_caller]
    pub fn usage(&self) -> Usage {
        Usage::of(self.pid())
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// With its output when it does not end in time; it is then killed.
    #[track_caller]
    pub fn wait(mut self) -> Finished {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it is a child of this process") {
                break status;
            }
            if start.elapsed() > self.limit {
                panic!(
                    "it did not end in {} s and was killed\nstdout:\n{}\nstderr:\n{}",
                    self.limit.as_secs(),
                    self.stdout(),
                    self.stderr()
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        // What it printed last may still be in the pipes. A grandchild that outlives it keeps them open for ever, hence
        // no join.
        let drained = Instant::now();
        while (self.out.reading() || self.err.reading()) && drained.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(1));
        }
        Finished { status, stdout: self.stdout(), stderr: self.stderr() }
    }
}

impl Captured {
    /// True until the other end is closed.
    fn reading(&self) -> bool {
        self.reader.as_ref().is_some_and(|reader| !reader.is_finished())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program that has ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// All it printed.
    pub stdout: String,
    /// All it complained of.
    pub stderr: String,
}

impl Finished {
    /// Exit code; `None` when a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Itself, when it succeeded.
    ///
    /// # Panics
    /// With its output when it did not.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(
            self.status.success(),
            "it ended with {}\nstdout:\n{}\nstderr:\n{}",
            self.status,
            self.stdout,
            self.stderr
        );
        self
    }
}

/// Memory and processor time of a process, all its threads together, from `/proc`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    /// Resident memory now, bytes.
    pub rss: u64,
    /// Most resident memory at any time, bytes.
    pub peak_rss: u64,
    /// Processor time of its own, seconds.
    pub cpu: f64,
    /// Processor time of the children that it started and that have ended, seconds.
    pub children_cpu: f64,
}

impl Usage {
    /// Measures a process.
    ///
    /// # Panics
    /// When it is gone.
    #[track_caller]
    pub fn of(pid: u32) -> Self {
        let read = |name: &str| {
            std::fs::read_to_string(format!("/proc/{pid}/{name}"))
                .unwrap_or_else(|e| panic!("process {pid} can't be measured: {name}: {e}"))
        };
        let status = read("status");
        let bytes = |key: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(key)).unwrap_or_else(|| {
                panic!("process {pid} can't be measured: no `{key}` in its status (it has ended)")
            });
            1024 * line
                .trim()
                .trim_end_matches(" kB")
                .parse::<u64>()
                .expect("the kernel writes numbers of kB")
        };
        let stat = read("stat");
        // The name, in brackets, may hold spaces: count from behind it. Fields are numbered as in proc(5), from 3 there.
        let after_name = stat.rsplit_once(") ").expect("the kernel puts the name in brackets").1;
        let fields: Vec<&str> = after_name.split(' ').collect();
        // SAFETY: sysconf takes and returns plain numbers.
        let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
        let seconds = |field: usize| {
            fields[field - 3].parse::<f64>().expect("the kernel writes times as numbers of ticks") / ticks
        };
        Self {
            rss: bytes("VmRSS:"),
            peak_rss: bytes("VmHWM:"),
            cpu: seconds(14) + seconds(15),
            children_cpu: seconds(16) + seconds(17),
        }
    }
}

/// Files in which a program in a terminal leaves its process id, the modes of the terminal before and after it, and
/// its exit code.
const PID: &str = "pid";
const MODES_BEFORE: &str = "modes-before";
const MODES_AFTER: &str = "modes-after";
const STATUS: &str = "status";
/// Runs a program (the fifth argument and on) in a terminal, and writes its process id, the modes of the terminal and
/// its exit code to files. tmux knows some of it too, but now and then it misses how a program ended. The shell
/// survives Ctrl-C to tell, and lives on: a dead terminal shows and answers other than what the program left.
const IN_TERMINAL: &str = r#"trap : INT QUIT
pid=$1 before=$2 after=$3 status=$4
shift 4
stty -g >"$before"
sh -c 'echo $$ >"$0"; exec "$@"' "$pid" "$@"
code=$?
stty -g >"$after"
echo $code >"$status"
exec sleep 600"#;

/// A program inside a terminal (tmux), to be looked at and typed into; ends when dropped.
#[derive(Debug)]
pub struct Tmux {
    program: Program,
    dir: TempDir,
    server: Child,
}

impl Tmux {
    /// Starts a program in a terminal of its own, 100 columns by 32 rows.
    #[track_caller]
    pub fn new<S: AsRef<OsStr>>(program: Program, args: &[S]) -> Self {
        Self::sized(program, args, 100, 32)
    }

    /// Starts a program in a terminal of a given size.
    #[track_caller]
    pub fn sized<S: AsRef<OsStr>>(program: Program, args: &[S], columns: u16, rows: u16) -> Self {
        require_programs("a test of the live display", &["tmux"], "tmux");
        // Not TMPDIR: the path of a socket has at most 107 bytes.
        let dir =
            tempfile::Builder::new().prefix("tmux").tempdir_in("/tmp").expect("a folder for the terminal");
        let mut command = tmux_client(dir.path());
        // In the foreground, so that it ends with the test even when that is killed.
        command.arg("-D").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        die_with_parent(&mut command);
        let server = command.spawn().expect("tmux was found on the search path");
        let terminal = Self { dir, server, program };
        let program = &terminal.program;
        wait_until("the terminal to be ready", Duration::from_secs(20), || {
            terminal.client(["show-options", "-g"]).status.success().then_some(())
        });
        terminal.tmux(["set-option", "-g", "status", "off"]);
        let mut line: Vec<OsString> =
            ["new-session", "-d", "-s", "test", "-x", &columns.to_string(), "-y", &rows.to_string(), "-c"]
                .map(OsString::from)
                .to_vec();
        line.push(program.home().into());
        line.extend(["env", "-i", "TERM=tmux-256color"].map(OsString::from));
        for (name, value) in program.environment() {
            let mut pair = name;
            pair.push("=");
            pair.push(value);
            line.push(pair);
        }
        line.extend(["sh", "-c", IN_TERMINAL, "sh"].map(OsString::from));
        let file = |name: &str| OsString::from(terminal.dir.path().join(name));
        line.extend([PID, MODES_BEFORE, MODES_AFTER, STATUS].map(file));
        line.push(program.path.clone().into());
        line.extend(program.before.iter().cloned());
        line.extend(args.iter().map(|a| a.as_ref().to_owned()));
        terminal.tmux(line);
        terminal
    }

    /// The program, to ask about what it kept.
    pub fn program(&self) -> &Program {
        &self.program
    }

    fn client<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> std::process::Output {
        // -N: a client that comes too early must not start a second server on the same socket.
        tmux_client(self.dir.path()).arg("-N").args(args).output().expect("tmux was found on the search path")
    }

    #[track_caller]
    fn tmux<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        let output = self.client(args);
        assert!(output.status.success(), "tmux: {}", String::from_utf8_lossy(&output.stderr).trim());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Types keys by tmux's names: `q`, `Space`, `C-c`, `Up`.
    #[track_caller]
    pub fn send_keys(&self, keys: &[&str]) {
        self.tmux(["send-keys", "-t", "test"].iter().chain(keys));
    }

    /// What the screen shows, one line per row.
    #[track_caller]
    pub fn capture(&self) -> String {
        self.tmux(["capture-pane", "-p", "-t", "test"])
    }

    /// As [`capture`](Self::capture), with what has scrolled off the top.
    #[track_caller]
    pub fn capture_with_history(&self) -> String {
        self.tmux(["capture-pane", "-p", "-S", "-", "-t", "test"])
    }

    /// As [`capture`](Self::capture), with colours as escape sequences.
    #[track_caller]
    pub fn capture_coloured(&self) -> String {
        self.tmux(["capture-pane", "-p", "-e", "-t", "test"])
    }

    /// Waits until the screen shows `text`, and returns all of it.
    #[track_caller]
    pub fn wait_for(&self, text: &str, limit: Duration) -> String {
        let start = Instant::now();
        loop {
            let screen = self.capture();
            if screen.contains(text) {
                return screen;
            }
            assert!(start.elapsed() < limit, "no `{text}` on the screen in {} s:\n{screen}", limit.as_secs());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Changes the size of the terminal.
    #[track_caller]
    pub fn resize(&self, columns: u16, rows: u16) {
        self.tmux(["resize-window", "-t", "test", "-x", &columns.to_string(), "-y", &rows.to_string()]);
    }

    /// Process id of the program.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        wait_until("the program in the terminal to start", Duration::from_secs(20), || self.number(PID))
    }

    /// Exit code of the program, 128 and more when a signal ended it; `None` while it runs. The screen stays as it was.
    #[track_caller]
    pub fn exit_code(&self) -> Option<i32> {
        self.number(STATUS)
    }

    /// The number in one of the files that [`IN_TERMINAL`] writes; `None` until its line is complete.
    fn number<T: std::str::FromStr>(&self, file: &str) -> Option<T> {
        std::fs::read_to_string(self.dir.path().join(file)).ok()?.strip_suffix('\n')?.parse().ok()
    }

    /// What tmux knows of the terminal, by one of its formats (`#{cursor_flag}`).
    #[track_caller]
    pub fn ask(&self, format: &str) -> String {
        self.tmux(["display-message", "-p", "-t", "test", format]).trim().to_owned()
    }

    /// Modes of the terminal (`stty -g`) before the program and after it.
    ///
    /// # Panics
    /// While the program runs.
    #[track_caller]
    pub fn modes(&self) -> (String, String) {
        let read = |name: &str| {
            let file = self.dir.path().join(name);
            std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
        };
        (read(MODES_BEFORE), read(MODES_AFTER))
    }

    /// Waits for the program to end, and returns its exit code.
    #[track_caller]
    pub fn wait(&self, limit: Duration) -> i32 {
        wait_until("the program in the terminal to end", limit, || self.exit_code())
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = self.client(["kill-server"]);
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// tmux on a server of its own, with none of the user's settings.
fn tmux_client(dir: &Path) -> Command {
    let mut command = Command::new("tmux");
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("LC_ALL", "C.UTF-8")
        .env("SHELL", "/bin/sh")
        .arg("-u")
        .arg("-S")
        .arg(dir.join("tmux.sock"))
        .args(["-f", "/dev/null"]);
    command
}

//! A sound card that exists only in memory: a private PulseAudio with a mono sink `guitar` and a stereo sink
//! `speakers`, paced in real time and exact to the bit.
//!
//! Play a take into the guitar with [`Rig::play_guitar`]; the program under test captures `guitar.monitor`, plays to
//! `speakers`, and [`Rig::record_speakers`] hears it. [`Rig::env`] points a child process at the rig. Each rig has
//! its own folder, socket and server, so any number may run side by side, and none touches the user's sound.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tempfile::TempDir;

use super::wav::Wav;
use super::{die_with_parent, require_programs, signal, wait_until};

const DEVICES: &str = include_str!("../rig/pulse.pa");
const ALSA_NAMES: &str = include_str!("../rig/asound.conf");
/// Longest wait for the server to answer: only a machine in trouble needs seconds (60 ms when idle).
const START_LIMIT: Duration = Duration::from_secs(20);
/// A server that nobody has been connected to for this long ends by itself, so that a killed test leaves nothing behind.
const IDLE_EXIT_SECONDS: u32 = 60;
/// Real-time priority of the server, where the machine grants it: a late server is heard as a gap.
const PRIORITY: i32 = 20;
/// Sound on its way to a recorder: waited for before the recording ends.
const RECORDER_DELAY: Duration = Duration::from_millis(400);

/// A running rig; it ends when dropped.
#[derive(Debug)]
pub struct Rig {
    dir: TempDir,
    server: Mutex<Option<Child>>,
}

impl Rig {
    /// Starts a server of its own with both devices.
    ///
    /// # Panics
    /// When PulseAudio is not installed (names the Debian packages) or does not start (shows its log).
    #[track_caller]
    pub fn start() -> Self {
        require_programs(
            "the sound rig",
            &["pulseaudio", "pactl", "paplay", "parecord"],
            "pulseaudio pulseaudio-utils libasound2-plugins",
        );
        // Not TMPDIR: the path of a socket has at most 107 bytes.
        let dir = tempfile::Builder::new().prefix("rig").tempdir_in("/tmp").expect("a folder for the rig");
        let rig = Self { dir, server: Mutex::new(None) };
        let write = |name: &str, text: String| {
            std::fs::write(rig.file(name), text)
                .unwrap_or_else(|e| panic!("{}: {e}", rig.file(name).display()));
        };
        let socket = rig.file("pulse.sock").display().to_string();
        write("pulse.pa", DEVICES.replace("SOCKET", &socket));
        write("asound.conf", ALSA_NAMES.to_owned());
        write("alsa.conf", format!("</usr/share/alsa/alsa.conf>\n<{}>\n", rig.file("asound.conf").display()));
        rig.restart();
        rig
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Folder of this rig, for recordings and takes; removed with it.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn server(&self) -> MutexGuard<'_, Option<Child>> {
        self.server.lock().expect("nothing panics while the server is held")
    }

    /// Process id of the server.
    ///
    /// # Panics
    /// When it was killed.
    #[track_caller]
    pub fn server_pid(&self) -> u32 {
        self.server().as_ref().expect("the rig's server was killed and not restarted").id()
    }

    /// The environment that makes a child process use this rig, by PulseAudio and by ALSA names
    /// (`guitar.monitor` and `speakers`, or `guitar_in` and `speakers`).
    pub fn env(&self) -> Vec<(OsString, OsString)> {
        let mut socket = OsString::from("unix:");
        socket.push(self.file("pulse.sock"));
        vec![
            ("PULSE_SERVER".into(), socket),
            ("PULSE_COOKIE".into(), self.file("cookie").into()),
            ("XDG_RUNTIME_DIR".into(), self.dir().into()),
            ("ALSA_CONFIG_PATH".into(), self.file("alsa.conf").into()),
        ]
    }

    /// A program with nothing but the search path and the rig in its environment.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir())
            .env("LC_ALL", "C.UTF-8")
            .envs(self.env())
            .stdin(Stdio::null());
        command
    }

    /// Ends the server at once, as a crash would: no client is told anything. No-op when it is dead already.
    pub fn kill_server(&self) {
        let server = self.server().take();
        if let Some(mut server) = server {
            // Fails only when it has ended by itself, which is what is wanted.
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    /// Starts the server again (killing it first if it still runs), with both devices as at first.
    #[track_caller]
    pub fn restart(&self) {
        self.kill_server();
        let socket = self.file("pulse.sock");
        if socket.exists() {
            std::fs::remove_file(&socket).expect("the old socket can be removed");
        }
        let log = File::create(self.file("pulse.log")).expect("a log for the rig");
        let server = self
            .command("pulseaudio")
            .args(["-n", "--daemonize=no", "--use-pid-file=no", "--realtime=no", "--high-priority=no"])
            .arg(format!("--exit-idle-time={IDLE_EXIT_SECONDS}"))
            .arg("-F")
            .arg(self.file("pulse.pa"))
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            .spawn()
            .expect("pulseaudio was found on the search path");
        let pid = server.id();
        *self.server() = Some(server);
        wait_until("the rig's PulseAudio to answer", START_LIMIT, || {
            let ended = self.server().as_mut().and_then(|s| s.try_wait().ok().flatten());
            if let Some(status) = ended {
                let log = std::fs::read_to_string(self.file("pulse.log")).unwrap_or_default();
                panic!("PulseAudio ended with {status}:\n{log}");
            }
            self.try_pactl(&["info"]).status.success().then_some(())
        });
        ask_for_realtime(pid);
    }

    /// Stops the server for a while, as a machine under load would: connections stay, no sound moves.
    pub fn stall(&self, time: Duration) {
        signal(self.server_pid(), libc::SIGSTOP);
        std::thread::sleep(time);
        signal(self.server_pid(), libc::SIGCONT);
    }

    fn try_pactl(&self, args: &[&str]) -> Output {
        self.command("pactl").args(args).output().expect("pactl was found on the search path")
    }

    /// Runs `pactl` on this rig and returns what it prints.
    ///
    /// # Panics
    /// With its message when it fails.
    #[track_caller]
    pub fn pactl(&self, args: &[&str]) -> String {
        let output = self.try_pactl(args);
        assert!(
            output.status.success(),
            "pactl {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Names of the sinks that exist.
    #[track_caller]
    pub fn sinks(&self) -> Vec<String> {
        self.pactl(&["list", "short", "sinks"])
            .lines()
            .filter_map(|line| line.split('\t').nth(1).map(str::to_owned))
            .collect()
    }

    /// Takes `guitar` or `speakers` away, as pulling a plug would.
    #[track_caller]
    pub fn unload_sink(&self, name: &str) {
        let module = self
            .pactl(&["list", "short", "modules"])
            .lines()
            .find(|line| line.contains("module-null-sink") && has_sink_name(line, name))
            .and_then(|line| line.split('\t').next().map(str::to_owned))
            .unwrap_or_else(|| panic!("the rig has no sink `{name}`"));
        self.pactl(&["unload-module", &module]);
    }

    /// Brings `guitar` or `speakers` back, at 48 kHz, and makes it the default again.
    #[track_caller]
    pub fn load_sink(&self, name: &str) {
        self.load_sink_at(name, 48_000);
    }

    /// As [`load_sink`](Self::load_sink), at another rate (unload it first).
    #[track_caller]
    pub fn load_sink_at(&self, name: &str, rate: u32) {
        let line = DEVICES
            .lines()
            .find(|line| line.starts_with("load-module module-null-sink") && has_sink_name(line, name))
            .unwrap_or_else(|| panic!("the rig knows no sink `{name}`"));
        let line = line.replace("rate=48000", &format!("rate={rate}"));
        let args: Vec<&str> = line.split(' ').collect();
        self.pactl(&args);
        if name == "guitar" {
            self.pactl(&["set-default-source", "guitar.monitor"]);
        } else {
            self.pactl(&["set-default-sink", name]);
        }
    }

    /// Lets the guitar hear the speakers, as a microphone in the room does: `speakers.monitor` is mixed into `guitar`
    /// after about `delay`, changed by `gain_db`. Ends when dropped.
    #[track_caller]
    pub fn loopback(&self, delay: Duration, gain_db: f64) -> Loopback<'_> {
        let latency = format!("latency_msec={}", delay.as_millis());
        let args = [
            "load-module",
            "module-loopback",
            "source=speakers.monitor",
            "sink=guitar",
            &latency,
            "adjust_time=0",
        ];
        let module = self.pactl(&args);
        let input = wait_until("the loopback's stream", START_LIMIT, || {
            self.list("sink-inputs")
                .into_iter()
                .find(|input| input["owner_module"].to_string().trim_matches('"') == module)
                .map(|input| input["index"].to_string())
        });
        // PulseAudio's volumes are the cube roots of gains, 65536 for one. (Its own "-6dB" would be relative.)
        let volume = (65_536.0 * 10f64.powf(gain_db / 60.0)).round() as u32;
        self.pactl(&["set-sink-input-volume", &input, &volume.to_string()]);
        Loopback { rig: self, module }
    }

    fn list(&self, what: &str) -> Vec<serde_json::Value> {
        let text = self.pactl(&["--format=json", "list", what]);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("pactl list {what}: {e}: {text}"))
    }

    /// Plays a file into the guitar in real time; wait for the child to know when it is over. Begin a take with 0.25 s
    /// of silence: the start of a stream may cost a few milliseconds.
    #[track_caller]
    pub fn play_guitar(&self, take: &Path) -> Child {
        let mut command = self.command("paplay");
        command.arg("--device=guitar").arg(take);
        die_with_parent(&mut command);
        command.spawn().expect("paplay was found on the search path")
    }

    /// Writes what the speakers play into a file, from now on until [`Recording::stop`].
    #[track_caller]
    pub fn record_speakers(&self, path: &Path) -> Recording {
        self.record("speakers.monitor", path)
    }

    /// Writes what a source (`guitar.monitor`, `speakers.monitor`) hears into a file, in the source's own rate and
    /// channels, from now on until [`Recording::stop`].
    #[track_caller]
    pub fn record(&self, source: &str, path: &Path) -> Recording {
        let (rate, channels) = self.source_format(source);
        let mut command = self.command("parecord");
        command
            .arg(format!("--device={source}"))
            .args(["--file-format=wav", "--format=float32le", "--latency-msec=50"])
            .arg(format!("--rate={rate}"))
            .arg(format!("--channels={channels}"))
            .arg(path);
        die_with_parent(&mut command);
        let child = command.spawn().expect("parecord was found on the search path");
        let pid = child.id().to_string();
        wait_until("the recorder to be connected", START_LIMIT, || {
            self.list("source-outputs")
                .iter()
                .any(|output| output["properties"]["application.process.id"] == pid.as_str())
                .then_some(())
        });
        Recording { child, path: path.to_owned() }
    }

    /// Rate and channels of a source, from a line such as `0 guitar.monitor module-null-sink.c float32le 1ch 48000Hz IDLE`.
    #[track_caller]
    fn source_format(&self, source: &str) -> (u32, u16) {
        let sources = self.pactl(&["list", "short", "sources"]);
        let parse = || -> Option<(u32, u16)> {
            let line = sources.lines().find(|line| line.split('\t').nth(1) == Some(source))?;
            let mut format = line.split('\t').nth(3)?.split(' ').skip(1);
            let channels = format.next()?.strip_suffix("ch")?.parse().ok()?;
            Some((format.next()?.strip_suffix("Hz")?.parse().ok()?, channels))
        };
        parse().unwrap_or_else(|| panic!("the rig has no source `{source}`, only:\n{sources}"))
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.kill_server();
    }
}

fn has_sink_name(line: &str, name: &str) -> bool {
    line.split([' ', '\t']).any(|word| word.strip_prefix("sink_name=") == Some(name))
}

/// Asks for real-time priority for every thread of the server. Refused without the right to it, and then the rig
/// works all the same while the machine is not overloaded.
fn ask_for_realtime(pid: u32) {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return };
    for thread in threads.flatten() {
        if let Some(id) = thread.file_name().to_str().and_then(|name| name.parse::<libc::pid_t>().ok()) {
            let parameter = libc::sched_param { sched_priority: PRIORITY };
            // SAFETY: the pointer is to a live local; the call changes nothing else of ours.
            unsafe { libc::sched_setscheduler(id, libc::SCHED_FIFO, &raw const parameter) };
        }
    }
}

/// The speakers heard by the guitar; ends when dropped.
#[derive(Debug)]
pub struct Loopback<'rig> {
    rig: &'rig Rig,
    module: String,
}

impl Drop for Loopback<'_> {
    fn drop(&mut self) {
        // The server may have been killed meanwhile, and the loopback with it.
        let _ = self.rig.try_pactl(&["unload-module", &self.module]);
    }
}

/// A recording under way. Dropped without [`stop`](Self::stop), its file is incomplete.
#[derive(Debug)]
pub struct Recording {
    child: Child,
    path: PathBuf,
}

impl Recording {
    /// Waits until everything played so far has been written, ends the recording and reads it.
    #[track_caller]
    pub fn stop(mut self) -> Wav {
        std::thread::sleep(RECORDER_DELAY);
        let ended = self.child.try_wait().expect("the recorder is a child of this process");
        assert!(ended.is_none(), "parecord ended before it was stopped: {ended:?}");
        signal(self.child.id(), libc::SIGINT);
        let status = self.child.wait().expect("the recorder is a child of this process");
        assert!(status.success(), "parecord ended with {status}");
        Wav::read(&self.path)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

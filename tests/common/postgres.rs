//! A Postgres for a test: made, started and thrown away by the test itself, from the programs of Debian's package.
//!
//! It listens on a socket in its own temporary folder, so tests never meet each other's, and it ends with the test
//! program however that ends: a shell that waits for the end of a pipe stops it and removes its folder.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::wait_until;

/// `nobody`: Postgres refuses to run as root.
const NOBODY: u32 = 65534;

/// Longest wait for the server; it takes about a second.
const STARTS_WITHIN: Duration = Duration::from_secs(60);

/// Stops the server when its standard input ends, and removes the folder unless told `keep`.
const SUPERVISOR: &str = r#"folder=$1; shift
"$@" </dev/null >>"$folder/log" 2>&1 &
server=$!
read -r word
kill -QUIT "$server" 2>/dev/null
wait "$server"
[ "$word" = keep ] || rm -rf "$folder""#;

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    folder: PathBuf,
    supervisor: Option<Child>,
    databases: AtomicU32,
}

/// The server of this test program, started by whoever asks first; each test takes a [`Postgres::database`] of its own.
pub fn shared() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(Postgres::start)
}

impl Postgres {
    /// Makes a server and starts it.
    #[track_caller]
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("fcpg").tempdir().expect("a temporary folder").keep();
        if is_root() {
            std::os::unix::fs::chown(&folder, Some(NOBODY), Some(NOBODY))
                .expect("root may give folders away");
        }
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700))
            .expect("the folder is ours");
        let data = folder.join("data");
        let made = unprivileged(&program("initdb"))
            .args([
                "--no-sync",
                "--auth=trust",
                "--username=fretcoach",
                "--encoding=UTF8",
                "--locale=C",
                "-D",
            ])
            .arg(&data)
            .output()
            .expect("initdb can be started");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let mut server = Self { folder, supervisor: None, databases: AtomicU32::new(0) };
        server.start_again();
        server
    }

    /// Starts it after [`Postgres::stop`], with what it held.
    #[track_caller]
    pub fn start_again(&mut self) {
        let server = unprivileged(&program("postgres"));
        let mut supervisor = Command::new("sh");
        supervisor
            .args(["-c", SUPERVISOR, "sh"])
            .arg(&self.folder)
            .arg(server.get_program())
            .args(server.get_args());
        supervisor.arg("-D").arg(self.folder.join("data")).arg("-k").arg(&self.folder);
        for setting in [
            "listen_addresses=",
            "fsync=off",
            // Whoever needs what was committed to outlive a crash must say so.
            "synchronous_commit=off",
            "full_page_writes=off",
            "shared_buffers=16MB",
            "max_connections=100",
        ] {
            supervisor.arg("-c").arg(setting);
        }
        let supervisor = supervisor.stdin(Stdio::piped()).spawn().expect("sh can be started");
        self.supervisor = Some(supervisor);
        wait_until("Postgres to accept connections", STARTS_WITHIN, || {
            let ready = Command::new(program("pg_isready"))
                .args(["-q", "-U", "fretcoach", "-h"])
                .arg(&self.folder)
                .status();
            ready.expect("pg_isready can be started").success().then_some(())
        });
    }

    /// Stops it at once, as a crash would; what was committed stays.
    pub fn stop(&mut self) {
        if let Some(mut supervisor) = self.supervisor.take() {
            let mut pipe = supervisor.stdin.take().expect("it was piped");
            pipe.write_all(b"keep\n").expect("the supervisor listens");
            drop(pipe);
            supervisor.wait().expect("the supervisor ends");
        }
    }

    /// The address of a new, empty database.
    #[track_caller]
    pub fn database(&self) -> String {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name} TEMPLATE template0"));
        self.url(&name)
    }

    fn url(&self, database: &str) -> String {
        let folder = self.folder.display().to_string().replace('/', "%2F");
        format!("postgres://fretcoach@{folder}/{database}")
    }

    /// What `psql` prints for a statement: rows as lines, columns parted by `|`. `database`: a name or an address.
    #[track_caller]
    pub fn psql(&self, database: &str, statement: &str) -> String {
        let name = database.rsplit('/').next().unwrap_or(database);
        let output = Command::new(program("psql"))
            .args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-U", "fretcoach", "-d", name, "-c", statement, "-h"])
            .arg(&self.folder)
            .output()
            .expect("psql can be started");
        assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut supervisor) = self.supervisor.take() {
            drop(supervisor.stdin.take());
            // It removes the folder; a test that ends needs no answer.
            let _ = supervisor.wait();
        } else {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

fn is_root() -> bool {
    // SAFETY: takes nothing, touches nothing, always succeeds.
    unsafe { libc::geteuid() == 0 }
}

/// A command that runs as nobody when we are root.
fn unprivileged(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
    command
}

/// A program of the newest Postgres installed: Debian keeps them out of the search path.
#[track_caller]
fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path())))
        .filter(|(_, path)| path.join("bin").join(name).exists())
        .max();
    match newest {
        Some((_, path)) => path.join("bin").join(name),
        None => super::find_program(name).unwrap_or_else(|| {
            panic!(
                "the tests of the shared database need {name}. On Debian: apt-get install --no-install-recommends \
                 postgresql (`scripts/install-deps test` does it)"
            )
        }),
    }
}

//! A Postgres of the test's own, from Debian's package, in a folder of its own and without a network port.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running server; it ends when dropped.
pub struct Postgres {
    folder: tempfile::TempDir,
    server: Child,
    bin: PathBuf,
}

impl Postgres {
    pub async fn start() -> Self {
        tokio::task::spawn_blocking(Self::boot).await.expect("the server starts")
    }

    fn boot() -> Self {
        let bin = std::fs::read_dir("/usr/lib/postgresql")
            .expect("Postgres is installed (apt install postgresql)")
            .filter_map(|e| Some(e.ok()?.path().join("bin")))
            .max()
            .expect("a version of it");
        let folder = tempfile::Builder::new().prefix("fc-pg").tempdir_in("/tmp").expect("a folder");
        let data = folder.path().join("data");
        if let Some((uid, gid)) = owner() {
            std::os::unix::fs::chown(folder.path(), Some(uid), Some(gid)).expect("the folder is given away");
        }
        let done = command(&bin, "initdb")
            .args(["-U", "postgres", "-A", "trust", "--no-sync", "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .status();
        assert!(done.expect("initdb runs").success(), "initdb");
        let server = command(&bin, "postgres")
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(folder.path())
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "shared_buffers=16MB"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("postgres runs");
        let this = Self { folder, server, bin };
        let until = Instant::now() + Duration::from_secs(30);
        while !this.psql("postgres", "SELECT 1") {
            assert!(Instant::now() < until, "Postgres did not come up");
            std::thread::sleep(Duration::from_millis(50));
        }
        this
    }

    fn psql(&self, database: &str, sql: &str) -> bool {
        let mut psql = command(&self.bin, "psql");
        psql.arg("-h").arg(self.folder.path()).args(["-U", "postgres", "-qtAc", sql, database]);
        psql.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
    }

    /// The address of a new database.
    pub async fn url(&self, database: &str) -> String {
        assert!(self.psql("postgres", &format!("CREATE DATABASE {database}")), "a database");
        let folder = self.folder.path().to_str().expect("a plain path").replace('/', "%2F");
        format!("postgres://postgres@{folder}/{database}")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGINT: fast shutdown; nothing is kept anyway.
        let done = Command::new("kill").args(["-INT", &self.server.id().to_string()]).status();
        if !done.is_ok_and(|s| s.success()) {
            let _ = self.server.kill();
        }
        let _ = self.server.wait();
    }
}

/// Postgres refuses to run as root: then as the user of Debian's package.
fn owner() -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;
    let me = std::fs::metadata("/proc/self").expect("/proc").uid();
    (me == 0).then(|| {
        let users = std::fs::read_to_string("/etc/passwd").expect("users");
        let line = users.lines().find(|l| l.starts_with("postgres:")).expect("the user postgres");
        let mut ids = line.split(':').skip(2).map(|n| n.parse().expect("a number"));
        (ids.next().expect("a user"), ids.next().expect("a group"))
    })
}

fn command(bin: &Path, program: &str) -> Command {
    let mut command = Command::new(bin.join(program));
    command.current_dir("/tmp").env_remove("PGDATABASE");
    if let Some((uid, gid)) = owner() {
        command.gid(gid).uid(uid);
    }
    command
}

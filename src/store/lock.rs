//! Who may do what on a data folder, by advisory file locks: the system gives them back when a process dies, however
//! it dies, so no lock is ever stale.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Why a lock was not given.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process captures on this data folder.
    #[error(
        "another FretCoach{pid} already practises on {folder}; stop it, or give this one its own --data-dir",
        pid = .pid.map(|p| format!(" (process {p})")).unwrap_or_default(), folder = folder.display()
    )]
    Held {
        /// Its process id, when it could be read.
        pid: Option<u32>,
        /// The data folder.
        folder: PathBuf,
    },
    /// The lock file cannot be made.
    #[error(
        "{path} cannot be locked ({source}); mend the folder's permissions or choose another with --data-dir",
        path = path.display()
    )]
    Io {
        /// The lock file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

/// The right to capture on a data folder: one process has it, as long as this value lives.
#[derive(Debug)]
pub struct CaptureLock {
    _file: File,
}

impl CaptureLock {
    /// Takes the lock, or says who has it.
    ///
    /// # Errors
    /// [`LockError::Held`] names the process that captures; [`LockError::Io`] when the folder cannot be written.
    pub fn acquire(data_dir: &Path) -> Result<Self, LockError> {
        let path = data_dir.join("capture.lock");
        let io = |source| LockError::Io { path: path.clone(), source };
        fs::create_dir_all(data_dir).map_err(io)?;
        match lock(&path).map_err(io)? {
            Ok(file) => Ok(Self { _file: file }),
            Err(pid) => Err(LockError::Held { pid, folder: data_dir.to_path_buf() }),
        }
    }
}

/// A named role that one process at a time holds (`delivery-otlp`, or a process's own existence).
#[derive(Debug)]
pub(crate) struct RoleLock {
    path: PathBuf,
    /// The file goes with the lock: right for names that are never used again.
    remove: bool,
    _file: File,
}

impl RoleLock {
    /// Takes the role; `None` when another process has it.
    pub(crate) fn acquire(data_dir: &Path, role: &str, remove: bool) -> io::Result<Option<Self>> {
        let path = role_path(data_dir, role);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        Ok(lock(&path)?.ok().map(|file| Self { path, remove, _file: file }))
    }
}

impl Drop for RoleLock {
    fn drop(&mut self) {
        if self.remove {
            // A file left behind is only untidy: the next start removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// True while a process holds the role. Removes the file of one that died.
pub(crate) fn is_held(data_dir: &Path, role: &str) -> bool {
    let path = role_path(data_dir, role);
    if !path.exists() {
        return false;
    }
    match lock(&path) {
        Ok(Ok(_free)) => {
            // Untidy at worst, as above.
            let _ = fs::remove_file(&path);
            false
        }
        // When in doubt it lives: nobody's open work is closed by mistake.
        Ok(Err(_)) | Err(_) => true,
    }
}

fn role_path(data_dir: &Path, role: &str) -> PathBuf {
    data_dir.join("run").join(format!("{role}.lock"))
}

/// The locked file with our process id in it, or the process id of the one that holds it.
fn lock(path: &Path) -> io::Result<Result<File, Option<u32>>> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    match fs4::FileExt::try_lock(&file) {
        Ok(()) => {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            write!(file, "{}", std::process::id())?;
            file.flush()?;
            Ok(Ok(file))
        }
        Err(fs4::TryLockError::WouldBlock) => {
            let mut text = String::new();
            let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            Ok(Err(pid))
        }
        Err(fs4::TryLockError::Error(source)) => Err(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_capture_is_told_who_has_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = CaptureLock::acquire(dir.path()).unwrap();
        let error = CaptureLock::acquire(dir.path()).unwrap_err();
        assert!(
            matches!(error, LockError::Held { pid: Some(pid), .. } if pid == std::process::id()),
            "{error}"
        );
        assert!(error.to_string().contains(&std::process::id().to_string()));
        drop(first);
        CaptureLock::acquire(dir.path()).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = CaptureLock::acquire(&file.path().join("below a file")).unwrap_err();
        assert!(matches!(error, LockError::Io { .. }), "{error}");
    }

    #[test]
    fn a_role_ends_with_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_held(dir.path(), "x"));
        let role = RoleLock::acquire(dir.path(), "x", true).unwrap().unwrap();
        assert!(is_held(dir.path(), "x"));
        assert!(RoleLock::acquire(dir.path(), "x", true).unwrap().is_none());
        drop(role);
        assert!(!is_held(dir.path(), "x"));
    }
}

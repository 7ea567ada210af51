//! `fretcoach export` and `fretcoach import`.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::Path;

use super::exit::{Exit, Stop, complain};
use super::progress::{Progress, left};
use crate::config::Config;
use crate::store::transfer::{self, TransferError, Transferred};
use crate::store::{Store, open_shared_or_local};

/// Bytes read or written at once.
const BUFFER: usize = 1 << 20;

fn failed(error: &TransferError) -> Stop {
    let exit = match error {
        TransferError::Store(_) => Exit::Data,
        TransferError::File { .. } | TransferError::Format { .. } => Exit::Input,
    };
    Stop::because(exit, error)
}

/// Writes the history of the configured player (or of all) to a file, a folder (CSV), or standard output (`-`).
///
/// # Errors
/// A store that cannot be read, a file that cannot be written; nothing is left at the file's place then.
pub async fn export(config: &Config, csv: bool, all_users: bool, to: &str) -> Result<Exit, Stop> {
    let (store, note) = open_shared_or_local(config.database_url.reveal(), &config.data_dir)
        .await
        .map_err(|e| Stop::because(Exit::Data, &e))?;
    if let Some(note) = note {
        complain(note);
    }
    let user = (!all_users).then_some(config.user.as_str());
    let mut progress = Progress::new(true);
    let mut tell = |done: u64, total: u64| {
        progress.at(|elapsed| {
            let share = done as f64 / total.max(1) as f64;
            format!("{:.0} % · {done} of {total} sessions · {} left", 100.0 * share, left(share, elapsed))
        });
    };
    let path = Path::new(to);
    let done = match (csv, to) {
        (true, "-") => {
            return Err(Stop::new(
                Exit::Usage,
                "CSV is a folder of tables: name one, `fretcoach export --format csv FOLDER`",
            ));
        }
        (true, _) => transfer::export_csv(&store, user, path, &mut tell).await,
        (false, "-") => {
            let mut out = BufWriter::with_capacity(BUFFER, io::stdout());
            match transfer::export(&store, user, &mut out, Path::new("standard output"), &mut tell).await {
                // A reader that has seen enough (`| head`) is no error.
                Err(TransferError::File { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => {
                    std::process::exit(Exit::Ok as i32);
                }
                done => done,
            }
        }
        (false, _) => to_file(&store, user, path, &mut tell).await,
    };
    progress.end();
    store.close().await;
    let done = done.map_err(|e| failed(&e))?;
    let whose = user.map_or_else(|| "of all players".to_owned(), |user| format!("of {user}"));
    complain(format!("exported {} {whose}, {} rows", sessions(&done), done.rows));
    Ok(Exit::Ok)
}

/// The file is put in place whole.
async fn to_file(
    store: &Store,
    user: Option<&str>,
    path: &Path,
    tell: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Transferred, TransferError> {
    let failed = |source| TransferError::File { path: path.to_path_buf(), source };
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let half = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    let mut out = BufWriter::with_capacity(BUFFER, half);
    let done = transfer::export(store, user, &mut out, path, tell).await?;
    out.flush().map_err(failed)?;
    let half = out.into_inner().map_err(|e| failed(e.into_error()))?;
    half.persist(path).map_err(|e| failed(e.error))?;
    Ok(done)
}

/// Takes in a file that `export` has written, into this machine's own store.
///
/// # Errors
/// A file that cannot be read or is no export, a store that cannot be written. Lines that do not read are told, and the
/// exit code says so.
pub async fn import(config: &Config, from: &str) -> Result<Exit, Stop> {
    let path = Path::new(from);
    let unreadable = |source| failed(&TransferError::File { path: path.to_path_buf(), source });
    let file = File::open(path).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    let store = Store::open_in(&config.data_dir).await.map_err(|e| Stop::because(Exit::Data, &e))?;
    let mut progress = Progress::new(true);
    let mut tell = |bytes: u64| {
        progress.at(|elapsed| {
            let share = (bytes as f64 / size.max(1) as f64).min(1.0);
            let mb = |bytes: u64| bytes as f64 / 1e6;
            format!(
                "{:.0} % · {:.0} of {:.0} MB · {} left",
                100.0 * share,
                mb(bytes),
                mb(size),
                left(share, elapsed)
            )
        });
    };
    let mut input = BufReader::with_capacity(BUFFER, file);
    let done = transfer::import(&store, &mut input, path, &mut tell).await;
    progress.end();
    store.close().await;
    let done = done.map_err(|e| failed(&e))?;
    for (line, why) in &done.faults {
        complain(format!("{from}:{line}: {why}"));
    }
    let left_out = match done.skipped {
        0 => String::new(),
        n => format!("; left out because of faulty lines: {n}"),
    };
    super::print(&format!("imported {}, {} rows{left_out}\n", sessions(&done), done.rows))?;
    Ok(if done.skipped == 0 { Exit::Ok } else { Exit::Input })
}

fn sessions(done: &Transferred) -> String {
    format!("{} session{}", done.sessions, if done.sessions == 1 { "" } else { "s" })
}

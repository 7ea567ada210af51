//! `fretcoach db`: where the store is and what is in it; check, backup, making room.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;

use clap::{Arg, ArgAction, ArgMatches, Command};
use jiff::{Span, Timestamp, Zoned};
use serde_json::json;

use super::exit::{Exit, Stop};
use crate::config::Config;
use crate::store::{Prunable, Store, StoreError};

/// The command with its own commands.
#[must_use]
pub fn command(format: Arg) -> Command {
    Command::new("db")
        .about("Where the store is, how big, and what is in it; check, backup, prune")
        .arg(format)
        .subcommand(Command::new("check").about("Check the whole file"))
        .subcommand(
            Command::new("backup")
                .about("Write a copy of the store to a new file, while others may use it")
                .arg(Arg::new("file").value_name("FILE").required(true).help("the copy; must not exist yet")),
        )
        .subcommand(
            Command::new("prune")
                .about("Make room: remove old traces, and old sessions if you say so")
                .arg(
                    Arg::new("older-than")
                        .long("older-than")
                        .value_name("TIME")
                        .required(true)
                        .help("for example 90d, 12w, 1y"),
                )
                .arg(Arg::new("sessions").long("sessions").action(ArgAction::SetTrue).help(
                    "sessions too, with notes, advice and recordings (copies in a shared database stay)",
                ))
                .arg(yes()),
        )
}

/// `--yes`.
#[must_use]
pub fn yes() -> Arg {
    Arg::new("yes").long("yes").short('y').action(ArgAction::SetTrue).help("do not ask")
}

/// Runs the command.
///
/// # Errors
/// One line that says what could not be done.
pub async fn run(config: &Config, matches: &ArgMatches, as_json: bool) -> Result<Exit, Stop> {
    let failed = |e: StoreError| Stop::because(Exit::Data, &e);
    let store = Store::open_in(&config.data_dir).await.map_err(failed)?;
    let exit = match matches.subcommand() {
        Some(("check", _)) => check(&store).await.map_err(failed),
        Some(("backup", sub)) => {
            let file = Path::new(sub.get_one::<String>("file").expect("clap requires the file"));
            store.backup(file).await.map_err(failed)?;
            let size = std::fs::metadata(file).map_or(0, |m| m.len());
            said(&format!("{} holds a copy of the store, {}", file.display(), megabytes(size)))
        }
        Some(("prune", sub)) => prune(&store, sub).await,
        _ => show(config, &store, as_json).await,
    };
    store.close().await;
    exit
}

fn said(line: &str) -> Result<Exit, Stop> {
    super::print(&format!("{line}\n"))?;
    Ok(Exit::Ok)
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

async fn check(store: &Store) -> Result<Exit, StoreError> {
    let faults = store.check().await?;
    let _ = match faults.as_slice() {
        [] => super::print(&format!("{} is whole\n", store.place().display())),
        some => super::print(&format!("{}: {}\n", store.place().display(), some.join("\n"))),
    };
    Ok(if faults.is_empty() { Exit::Ok } else { Exit::Unhealthy })
}

async fn show(config: &Config, store: &Store, as_json: bool) -> Result<Exit, Stop> {
    let failed = |e: StoreError| Stop::because(Exit::Data, &e);
    let health = store.health().await.map_err(failed)?;
    let rows = store.rows_by_table().await.map_err(failed)?;
    let waiting = store.copy_waiting().await.map_err(failed)?;
    let shared = match config.database_url.is_empty() {
        true => None,
        false => Some(match Store::connect(config.database_url.reveal()).await {
            Ok(shared) => {
                let described = async {
                    Ok::<_, StoreError>((shared.health().await?.bytes, shared.rows_by_table().await?))
                };
                let described = described.await;
                shared.close().await;
                described.map(|(bytes, rows)| (shared.place().display().to_string(), bytes, rows))
            }
            Err(e) => Err(e),
        }),
    };
    if as_json {
        let tables = |rows: &[(&str, u64)]| {
            rows.iter().map(|(t, n)| ((*t).to_owned(), json!(n))).collect::<serde_json::Map<_, _>>()
        };
        let shared = shared.map(|shared| match shared {
            Ok((place, bytes, rows)) => json!({"place": place, "bytes": bytes, "rows": tables(&rows)}),
            Err(e) => json!({"error": e.to_string()}),
        });
        let all = json!({
            "file": store.place().display().to_string(), "bytes": health.bytes, "schema": health.schema,
            "rows": tables(&rows), "shared": shared, "waiting": waiting,
        });
        super::print(&format!("{all:#}\n"))?;
        return Ok(Exit::Ok);
    }
    let mut text =
        format!("{}\n{}, schema {}\n\n", store.place().display(), megabytes(health.bytes), health.schema);
    let list = |rows: &[(&str, u64)]| {
        rows.iter().map(|(table, n)| format!("  {table:<14} {n:>10}\n")).collect::<String>()
    };
    text.push_str(&list(&rows));
    text.push('\n');
    match shared {
        None => text.push_str("No shared database (DATABASE_URL); everything stays on this machine.\n"),
        Some(Ok((place, bytes, rows))) => {
            text.push_str(&format!(
                "{place}\n{}; {waiting} rows wait to be copied\n\n{}",
                megabytes(bytes),
                list(&rows)
            ));
        }
        Some(Err(e)) => text.push_str(&format!("{e}\n{waiting} rows wait to be copied\n")),
    }
    super::print(&text)?;
    Ok(Exit::Ok)
}

/// The moment that lies `time` (`90d`, `12w`, `1y`) before now.
fn before(time: &str, now: &Zoned) -> Result<Timestamp, String> {
    let wrong = || format!("`{time}` is not a time such as 90d, 12w or 1y");
    let span: Span = time.parse().map_err(|_| wrong())?;
    if !span.is_positive() {
        return Err(wrong());
    }
    now.checked_sub(span).map(|then| then.timestamp()).map_err(|_| wrong())
}

async fn prune(store: &Store, matches: &ArgMatches) -> Result<Exit, Stop> {
    let failed = |e: StoreError| Stop::because(Exit::Data, &e);
    let time = matches.get_one::<String>("older-than").expect("clap requires it");
    let before = before(time, &Zoned::now()).map_err(|e| Stop::new(Exit::Usage, e))?;
    let sessions = matches.get_flag("sessions");
    let found = store.prunable(before, sessions).await.map_err(failed)?;
    if found.traces + found.sessions == 0 {
        return said(&format!("nothing is older than {time}{}", kept(&found)));
    }
    let what = if sessions {
        format!("{} sessions with all that belongs to them and {} traces", found.sessions, found.traces)
    } else {
        format!("{} traces", found.traces)
    };
    confirm(matches.get_flag("yes"), &format!("Remove {what} from before {}?", before.strftime("%Y-%m-%d")))?;
    let gone = store.prune(before, sessions).await.map_err(failed)?;
    let size = store.health().await.map_err(failed)?.bytes;
    said(&format!(
        "removed {} sessions and {} traces; {} now{}",
        gone.sessions,
        gone.traces,
        megabytes(size),
        kept(&gone)
    ))
}

fn kept(found: &Prunable) -> String {
    match found.waiting {
        0 => String::new(),
        n => format!("; {n} are kept until they have been delivered or copied"),
    }
}

/// Asks on the terminal unless `yes`.
///
/// # Errors
/// When the answer is not yes, or nobody can be asked.
pub fn confirm(yes: bool, question: &str) -> Result<(), Stop> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Stop::new(Exit::Usage, format!("{question} Say so with --yes; nothing was changed")));
    }
    let mut err = io::stderr();
    // A terminal that is gone answers nothing, which is no.
    let _ = write!(err, "{question} [y/N] ").and_then(|()| err.flush());
    let mut answer = String::new();
    let _ = io::stdin().lock().read_line(&mut answer);
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Stop::new(Exit::Ok, "nothing was changed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_now_are_read() {
        let now: Zoned = "2026-03-31T12:00:00[UTC]".parse().unwrap();
        for (time, then) in [
            ("90d", "2025-12-31T12:00:00Z"),
            ("2w", "2026-03-17T12:00:00Z"),
            ("1y", "2025-03-31T12:00:00Z"),
            ("36h", "2026-03-30T00:00:00Z"),
        ] {
            assert_eq!(before(time, &now).unwrap(), then.parse::<Timestamp>().unwrap(), "{time}");
        }
        for wrong in ["", "90", "d", "-90d", "0d", "soon"] {
            assert!(before(wrong, &now).unwrap_err().contains("90d"), "{wrong}");
        }
    }
}

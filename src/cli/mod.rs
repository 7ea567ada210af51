//! The command line and what it prints.

pub mod analyze;
pub mod args;
pub mod calibrate;
pub mod chat;
pub mod db;
pub mod devices;
pub mod display;
pub mod doctor;
pub mod exit;
pub mod history;
pub mod hub;
pub mod manual;
pub mod plain;
pub mod plan;
pub mod progress;
pub mod report;
pub mod screen;
pub mod table;
pub mod text;
pub mod traces;
pub mod transfer;
pub mod tune;
pub mod user;

use std::future::Future;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::{ArgMatches, FromArgMatches};

use crate::app::{boot, practice};
use crate::config::Config;
use crate::store::{Store, StoreError, open_shared_or_local};
use exit::{Exit, Stop, complain};
use history::HistoryArgs;
use traces::TracesArgs;

/// Threads of the runtime: the session, the coach and the store hardly ever work at the same time.
const WORKERS: usize = 2;

/// Runs the program as the command line says.
#[must_use]
pub fn main() -> ExitCode {
    let matches = match args::command().try_get_matches() {
        Ok(matches) => matches,
        Err(e) => {
            let code = if e.use_stderr() { Exit::Usage } else { Exit::Ok };
            // A closed pipe while printing help is no error.
            let _ = e.print();
            return ExitCode::from(code as u8);
        }
    };
    let exit = run(&matches).unwrap_or_else(|stop| {
        complain(&stop);
        stop.exit
    });
    ExitCode::from(exit as u8)
}

fn run(matches: &ArgMatches) -> Result<Exit, Stop> {
    let (name, sub) = matches.subcommand().expect("clap requires a subcommand");
    // These tell about the program and need neither settings nor a data folder.
    match name {
        "completions" => return manual::completions(sub),
        "man" => return manual::page(),
        _ => {}
    }
    let config = boot::config(args::given(sub), sub.get_one::<String>("config").map(String::as_str))?;
    let format = sub.try_get_one::<String>("format").ok().flatten().map_or("text", String::as_str);
    match name {
        "practice" => {
            let wishes = practice::Wishes {
                plain: sub.get_flag("plain"),
                no_hub: sub.get_flag("no-hub"),
                plan: sub.get_one::<String>("plan").cloned(),
            };
            wait(practice::run(config, wishes))
        }
        "analyze" => {
            let file = sub.get_one::<String>("file").expect("clap requires the file");
            let report = sub.get_one::<String>("report").map(Path::new);
            analyze::run(&config, Path::new(file), analyze::Format::of(format), report)
        }
        "tune" if sub.get_flag("list") => {
            print(&tune::list())?;
            Ok(Exit::Ok)
        }
        "tune" => {
            let wishes = tune::Wishes {
                plain: sub.get_flag("plain"),
                chromatic: sub.get_flag("chromatic"),
                string: sub.get_one::<u8>("string").map(|n| usize::from(*n)),
            };
            wait(tune::run(config, wishes))
        }
        "calibrate" => wait(calibrate::run(config, sub.get_flag("tap"), format == "json")),
        "plan" => {
            let args =
                plan::PlanArgs::from_arg_matches(sub).map_err(|e| Stop::new(Exit::Usage, e.to_string()))?;
            wait(plan::run(config, args))
        }
        "devices" => devices::run(&config, format == "json"),
        "history" if let Some(("delete", sub)) = sub.subcommand() => {
            let name = sub.get_one::<String>("session").expect("clap requires the session");
            wait(history::delete(&config, name, sub.get_flag("yes")))
        }
        "history" => {
            let mut args =
                HistoryArgs::from_arg_matches(sub).map_err(|e| Stop::new(Exit::Usage, e.to_string()))?;
            args.user = Some(config.user.clone());
            wait(show_shared(config, async move |store| history::run(&store, &args).await))
        }
        "traces" => {
            let args =
                TracesArgs::from_arg_matches(sub).map_err(|e| Stop::new(Exit::Usage, e.to_string()))?;
            wait(show(config, async move |store| traces::run(&store, &args).await))
        }
        "hub" => wait(hub::run(config)),
        "export" => {
            let to = sub.get_one::<String>("to").expect("it has a default");
            wait(transfer::export(&config, format == "csv", sub.get_flag("all-users"), to))
        }
        "import" => {
            wait(transfer::import(&config, sub.get_one::<String>("file").expect("clap requires the file")))
        }
        "db" => wait(db::run(&config, sub, format == "json")),
        "user" => wait(user::run(&config, sub)),
        "chat" => {
            let args =
                chat::ChatArgs::from_arg_matches(sub).map_err(|e| Stop::new(Exit::Usage, e.to_string()))?;
            wait(chat::run(config, args))
        }
        "doctor" => wait(doctor::run(config, sub.get_flag("quiet"), format == "json")),
        other => unreachable!("clap knows no command {other}"),
    }
}

/// Runs a command that needs the runtime.
fn wait(command: impl Future<Output = Result<Exit, Stop>>) -> Result<Exit, Stop> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .map_err(|e| Stop::new(Exit::Failed, format!("the program could not start its threads: {e}")))?;
    let exit = runtime.block_on(command);
    // What still runs (a server that does not answer) must not hold the end up.
    runtime.shutdown_background();
    exit
}

/// Prints what a question to the shared database yields, or to this machine's store where there is none or it is away.
async fn show_shared<F>(config: Config, ask: impl FnOnce(Store) -> F) -> Result<Exit, Stop>
where
    F: Future<Output = Result<String, StoreError>>,
{
    let (store, note) = open_shared_or_local(config.database_url.reveal(), &config.data_dir)
        .await
        .map_err(|e| Stop::because(Exit::Data, &e))?;
    if let Some(note) = note {
        complain(note);
    }
    show_of(store, ask).await
}

/// Prints what a question to this machine's store yields.
async fn show<F>(config: Config, ask: impl FnOnce(Store) -> F) -> Result<Exit, Stop>
where
    F: Future<Output = Result<String, StoreError>>,
{
    let store = Store::open_in(&config.data_dir).await.map_err(|e| Stop::because(Exit::Data, &e))?;
    show_of(store, ask).await
}

async fn show_of<F>(store: Store, ask: impl FnOnce(Store) -> F) -> Result<Exit, Stop>
where
    F: Future<Output = Result<String, StoreError>>,
{
    let text = ask(store.clone()).await;
    store.close().await;
    let text = text.map_err(|e| {
        let exit = if matches!(e, StoreError::NotFound { .. }) { Exit::NotFound } else { Exit::Data };
        Stop::because(exit, &e)
    })?;
    print(&format!("{}\n", text.trim_end()))?;
    Ok(Exit::Ok)
}

/// Prints a result. A reader that has seen enough (`| head`) is no error.
///
/// # Errors
/// Any other failure, such as a full disk behind `>`: the result is lost, and the exit code must say so.
fn print(text: &str) -> Result<(), Stop> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(unprinted(&e)),
        _ => Ok(()),
    }
}

/// Why a result did not reach its reader.
fn unprinted(error: &std::io::Error) -> Stop {
    Stop::new(Exit::Failed, format!("the result could not be printed: {error}"))
}

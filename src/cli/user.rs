//! `fretcoach user`: the players, their tokens, and deleting for good.
//!
//! With a shared database, players and tokens are kept there and on this machine: the Hub of `fretcoach practice` reads
//! the one, a Hub that runs by itself the other.

use clap::{Arg, ArgMatches, Command};
use jiff::tz::TimeZone;

use super::db::{confirm, yes};
use super::exit::{Exit, Stop, complain};
use super::table::{self, Column};
use crate::config::Config;
use crate::store::{Store, StoreError, check_user_name, open_shared_or_local};

/// The command with its own commands.
#[must_use]
pub fn command() -> Command {
    let name = || Arg::new("name").value_name("NAME").required(true).help("name of the player");
    Command::new("user")
        .about("Players: add one, give a token for the Hub, delete for good")
        .subcommand_required(true)
        .subcommand(Command::new("list").about("List the players"))
        .subcommand(Command::new("add").about("Add a player, and make a token for the Hub").arg(name()))
        .subcommand(
            Command::new("token")
                .about("Make a new token with which a player opens the Hub from elsewhere; an older one ends")
                .arg(name()),
        )
        .subcommand(
            Command::new("delete")
                .about("Delete a player for good, with all sessions, plans, chats and recordings")
                .arg(name())
                .arg(yes()),
        )
}

/// Runs the command.
///
/// # Errors
/// One line that says what could not be done.
pub async fn run(config: &Config, matches: &ArgMatches) -> Result<Exit, Stop> {
    let (what, sub) = matches.subcommand().expect("clap requires a subcommand");
    if what == "list" {
        return list(config).await;
    }
    let name = sub.get_one::<String>("name").expect("clap requires the name");
    check_user_name(name).map_err(|e| Stop::new(Exit::Usage, e))?;
    let stores = stores(config).await?;
    let done = match what {
        "add" => add(&stores, name).await,
        "token" => token(&stores, name).await,
        _ => delete(&stores, name, sub.get_flag("yes")).await,
    };
    for store in &stores {
        store.close().await;
    }
    done
}

/// This machine's file, and the shared database when one is named.
async fn stores(config: &Config) -> Result<Vec<Store>, Stop> {
    let failed = |e: StoreError| Stop::because(Exit::Data, &e);
    let mut stores = vec![Store::open_in(&config.data_dir).await.map_err(failed)?];
    if !config.database_url.is_empty() {
        stores.push(Store::connect(config.database_url.reveal()).await.map_err(failed)?);
    }
    Ok(stores)
}

fn failed(error: StoreError) -> Stop {
    let exit = match error {
        StoreError::NotFound { .. } => Exit::NotFound,
        StoreError::Running { .. } => Exit::Busy,
        _ => Exit::Data,
    };
    Stop::because(exit, &error)
}

async fn list(config: &Config) -> Result<Exit, Stop> {
    let (store, note) =
        open_shared_or_local(config.database_url.reveal(), &config.data_dir).await.map_err(failed)?;
    if let Some(note) = note {
        complain(note);
    }
    let players = store.players().await.map_err(failed)?;
    store.close().await;
    if players.is_empty() {
        super::print("no player yet; `fretcoach user add NAME` adds one, `fretcoach practice` too\n")?;
        return Ok(Exit::Ok);
    }
    let columns =
        [Column::left("player"), Column::right("sessions"), Column::left("last"), Column::left("token")];
    let rows = players.iter().map(|p| {
        let last =
            p.last_session.map(|at| at.to_zoned(TimeZone::system()).strftime("%y-%m-%d %H:%M").to_string());
        vec![
            p.name.clone(),
            p.sessions.to_string(),
            last.unwrap_or_else(|| "–".into()),
            if p.has_token { "yes" } else { "–" }.to_owned(),
        ]
    });
    super::print(&table::render(&columns, &rows.collect::<Vec<_>>()))?;
    Ok(Exit::Ok)
}

async fn add(stores: &[Store], name: &str) -> Result<Exit, Stop> {
    let mut added = false;
    for store in stores {
        added |= store.add_user(name).await.map_err(failed)?;
    }
    if !added {
        let message =
            format!("there is a player {name} already; `fretcoach user token {name}` makes a new token");
        return Err(Stop::new(Exit::Usage, message));
    }
    token(stores, name).await
}

async fn token(stores: &[Store], name: &str) -> Result<Exit, Stop> {
    let (first, others) = stores.split_first().expect("there is always this machine's store");
    let mut known = false;
    for store in stores {
        known |= store.users().await.map_err(failed)?.iter().any(|user| user == name);
    }
    if !known {
        return Err(failed(StoreError::NotFound {
            what: "player",
            name: name.to_owned(),
            list: "user list",
        }));
    }
    for store in stores {
        store.add_user(name).await.map_err(failed)?;
    }
    let token = first.new_token(name).await.map_err(failed)?;
    for store in others {
        store.put_token(name, &token).await.map_err(failed)?;
    }
    complain(format!("the token of {name}; it is shown only now, and opens their Hub from anywhere:"));
    super::print(&format!("{token}\n"))?;
    Ok(Exit::Ok)
}

async fn delete(stores: &[Store], name: &str, yes: bool) -> Result<Exit, Stop> {
    let mut sessions = None;
    for store in stores {
        let player = store.players().await.map_err(failed)?.into_iter().find(|p| p.name == name);
        sessions = sessions.max(player.map(|p| p.sessions));
    }
    let Some(sessions) = sessions else {
        return Err(failed(StoreError::NotFound {
            what: "player",
            name: name.to_owned(),
            list: "user list",
        }));
    };
    confirm(
        yes,
        &format!("Delete {name} with {sessions} sessions, all plans, chats and recordings, for good?"),
    )?;
    for store in stores {
        match store.delete_user(name).await {
            Ok(_) | Err(StoreError::NotFound { .. }) => {}
            Err(e) => return Err(failed(e)),
        }
    }
    super::print(&format!("{name} is deleted, with {sessions} sessions\n"))?;
    Ok(Exit::Ok)
}

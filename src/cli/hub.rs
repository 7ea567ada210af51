//! `fretcoach hub`: the Hub by itself, on the history alone. What is played right now is shown by the Hub of `practice`.

use tokio::sync::mpsc;

use super::exit::{Exit, Stop};
use super::print;
use crate::app::hub;
use crate::app::practice::start_telemetry;
use crate::app::signals::Interrupts;
use crate::config::Config;
use crate::store::open_shared_or_local;

/// Serves until Ctrl-C.
///
/// # Errors
/// The store cannot be opened, or no port can be had.
pub async fn run(config: Config) -> Result<Exit, Stop> {
    let (store, away) = open_shared_or_local(config.database_url.reveal(), &config.data_dir)
        .await
        .map_err(|e| Stop::because(Exit::Data, &e))?;
    let telemetry = start_telemetry(&config, store.clone()).await?;
    let (commands_in, mut commands) = mpsc::channel(1);
    Interrupts::new(commands_in)
        .listen()
        .map_err(|e| Stop::new(Exit::Failed, format!("signals cannot be listened to: {e}")))?;
    let served = hub::start(&config, store.clone(), None).await.map_err(|e| Stop::new(Exit::Failed, e))?;
    let remark: String = served.remark.iter().chain(&away).map(|line| format!("{line}\n")).collect();
    print(&format!("Hub: {}\n{remark}Ctrl-C ends it.\n", served.url))?;
    commands.recv().await;
    served.stop().await;
    telemetry.shutdown(config.telemetry.flush_timeout).await;
    store.close().await;
    Ok(Exit::Ok)
}

//! `fretcoach practice`: boots every part, lets [`super::studio`] run the sessions, shuts down in order.
//!
//! Boot: lock → settings → store → telemetry → player → input → Hub → display. Shutdown goes the other way: the session
//! and its voice first, then Hub and display, then traces, then store.

use std::io::{IsTerminal, Write};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::begin::{self, COMMANDS};
use super::chatter::Diverted;
use super::input::{self, Chosen};
use super::listening::Listening;
use super::session::News;
use super::signals::Interrupts;
use super::stage::Stage;
use super::studio::{Left, Parts, Studio, find_plan};
use super::{hub, recover, setup};
use crate::audio::echo::EchoGate;
use crate::audio::player::{Player, PlayerSettings};
use crate::cli::exit::{Exit, Stop, complain};
use crate::cli::screen::Screen;
use crate::cli::{display, plain};
use crate::config::Config;
use crate::hub::ambient;
use crate::hub::link::{Setup, joint};
use crate::store::{CaptureLock, LockError, Store, copy};
use crate::telemetry::{self, About, LOG_FILE, Log, Patience, Telemetry, TelemetryError};

/// What the command line asks for beside the settings.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// Plain lines instead of the live display.
    pub plain: bool,
    /// No web pages.
    pub no_hub: bool,
    /// The plan that the session carries out: an id, or `latest`.
    pub plan: Option<String>,
}

/// Runs sessions until the program is to end.
///
/// # Errors
/// One line that says what could not be used and what to do; a session that has begun is always kept.
pub async fn run(base: Config, wishes: Wishes) -> Result<Exit, Stop> {
    let _lock = CaptureLock::acquire(&base.data_dir).map_err(|e| {
        let exit = if matches!(e, LockError::Held { .. }) { Exit::Busy } else { Exit::Data };
        Stop::because(exit, &e)
    })?;
    let live = !wishes.plain && std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    let at_once = base.practice.start == "now";
    if base.practice.start == "hub" && wishes.no_hub && !live {
        return Err(Stop::new(
            Exit::Config,
            "practice.start is `hub`, and there is no Hub: leave --no-hub out",
        ));
    }
    // An unwritable log is told by telemetry below.
    let _ = telemetry::rotate_log(&base.data_dir.join(LOG_FILE));
    let chatter = Diverted::to(&base.data_dir.join(LOG_FILE));
    let (config, chosen) = complete(&base);
    setup::check(&config, &chosen)?;
    drop((config, chosen));
    let store = Store::open_in(&base.data_dir).await.map_err(|e| Stop::because(Exit::Data, &e))?;
    let telemetry = start_telemetry(&base, store.clone()).await?;
    let (mut config, chosen, setup, forgotten) = remember(&base, &store).await?;
    let plan = match &wishes.plan {
        None => None,
        Some(name) => Some(find_plan(&store, &config, name).await?),
    };
    // What waits for its session is the player's own setup; the plan is that session's alone.
    let own = config.clone();
    if let Some(plan) = &plan {
        plan.plan.apply(&mut config.practice);
        setup::check(&config, &chosen)?;
    }
    let copy = (!config.database_url.is_empty()).then(|| copy::start(&store, config.database_url.reveal()));
    let closed = store.close_abandoned(recover::summary).await.map_err(|e| Stop::because(Exit::Data, &e))?;
    recover::recordings(&store).await;

    let gate = EchoGate::default();
    let player = Player::start(PlayerSettings::new(&config.audio, gate.clone()))
        .map_err(|e| Stop::because(Exit::Failed, &e))?;
    let first = if at_once { Some(Listening::open(&config, &chosen, &player, &gate, true)?) } else { None };

    let (commands_in, commands) = mpsc::channel(COMMANDS);
    let interrupts = Interrupts::new(commands_in.clone());
    interrupts
        .listen()
        .map_err(|e| Stop::new(Exit::Failed, format!("signals cannot be listened to: {e}")))?;
    let leave = interrupts.leave();
    let screen =
        watch::Sender::new(Screen { idle: !at_once, level_db: f32::NEG_INFINITY, ..Screen::default() });
    let (news, news_out) = mpsc::unbounded_channel();
    let (_, scale) = setup::judge(&config)?;
    let (joint, link) = joint(begin::view(&config, &setup, scale.as_ref())?);
    let stage = Stage::new(screen.clone(), joint.view, joint.events, news);
    let hub = if wishes.no_hub { None } else { Some(hub::start(&config, store.clone(), Some(link)).await) };
    let ui = if live {
        drop(news_out);
        tokio::spawn(display::run(screen.subscribe(), commands_in, interrupts))
    } else {
        tokio::spawn(async move {
            plain::run(news_out).await;
            Ok(())
        })
    };
    drop(screen);
    let (hub, about_hub) = match hub {
        Some(Ok(mut hub)) => {
            stage.news(News::Message(format!("Hub: {}", hub.url)));
            stage.change(|s| s.hub = Some(hub.url.clone()));
            let remark = hub.remark.take();
            (Some(hub), remark)
        }
        Some(Err(why)) => (None, Some(why)),
        None => (None, None),
    };
    let recovered = match closed.len() {
        0 => None,
        1 => Some("the last session was cut off; what was played is in the history".to_owned()),
        n => Some(format!("{n} sessions were cut off; what was played is in the history")),
    };
    let demo = match &chosen {
        Chosen::Demo(Some(why)) => Some(format!("{why}: the virtual guitarist plays")),
        _ => None,
    };
    let waits = (!at_once).then(|| match base.practice.start.as_str() {
        "playing" => "ready: a session begins when you play".to_owned(),
        _ => "ready: begin a session in the Hub".to_owned(),
    });
    for line in recovered.into_iter().chain(forgotten).chain(demo).chain(about_hub).chain(waits) {
        tracing::info!("{line}");
        stage.say(line);
    }

    let lamp = lamp(&config, &stage);
    let parts = Parts {
        base,
        setup,
        store: store.clone(),
        player: player.clone(),
        gate,
        stage,
        commands,
        wishes: joint.control,
        leave,
        plan,
    };
    let flush_timeout = config.telemetry.flush_timeout;
    let Left { last, failure } = Studio::new(parts, own, chosen).run(first).await;
    if let Some(lamp) = lamp {
        lamp.abort();
    }
    if let Some(hub) = hub {
        hub.stop().await;
    }
    // The studio has dropped its ends of all channels: the display ends by itself.
    let shown = ui.await;
    drop(player);
    drop(chatter);
    if let Ok(Err(e)) = shown {
        complain(format_args!("the display failed: {e}"));
    }
    if let Some((id, summary)) = last.filter(|_| live) {
        let summary = plain::line(&News::Summary(Box::new(summary)));
        // A terminal that is gone needs no summary: it is kept.
        let _ = writeln!(
            std::io::stdout(),
            "{}\nKept as session {}; see `fretcoach history latest`.",
            summary.trim_start(),
            id.short()
        );
    }
    telemetry.shutdown(flush_timeout).await;
    if let Some(copy) = copy {
        copy.stop(flush_timeout).await;
    }
    store.close().await;
    match failure {
        Some(stop) => Err(stop),
        None => Ok(Exit::Ok),
    }
}

/// Shows the score as the colour of a lamp, if there is one.
fn lamp(config: &Config, stage: &Stage) -> Option<JoinHandle<()>> {
    match ambient::Target::new(&config.ambient) {
        Ok(target) => {
            let (view, stage) = (stage.view(), stage.clone());
            target.map(|target| tokio::spawn(ambient::follow(target, view, move |line| stage.say(line))))
        }
        Err(why) => {
            stage.say(why);
            None
        }
    }
}

/// The settings with what the input fills in, and the input.
fn complete(base: &Config) -> (Config, Chosen) {
    let mut config = base.clone();
    let chosen = input::choose(&config);
    input::complete(&mut config, &chosen);
    (config, chosen)
}

/// The settings with what the player has set up in the Hub, and a remark if that cannot be used any more.
///
/// # Errors
/// The store cannot be read.
async fn remember(base: &Config, store: &Store) -> Result<(Config, Chosen, Setup, Option<String>), Stop> {
    let kept = store.settings(&base.user).await.map_err(|e| Stop::because(Exit::Data, &e))?;
    // What another version has kept may have another shape: it counts as nothing.
    let kept = kept.and_then(|json| serde_json::from_str::<Setup>(&json).ok());
    let plain = |remark| {
        let (config, chosen) = complete(base);
        (config, chosen, Setup::of(base), remark)
    };
    let Some(kept) = kept else { return Ok(plain(None)) };
    let mut with = base.clone();
    setup::apply(&mut with, &kept, true);
    let (config, chosen) = complete(&with);
    if let Err(stop) = setup::check(&config, &chosen) {
        return Ok(plain(Some(format!("what you have set up is left out: {stop}"))));
    }
    let autostart = kept.autostart || base.practice.start == "playing";
    let setup = Setup { left_handed: kept.left_handed, autostart, ..Setup::of(&with) };
    Ok((config, chosen, setup, None))
}

/// Starts keeping spans, with the log beside them.
///
/// # Errors
/// The store or the exporter's address cannot be used.
pub async fn start_telemetry(config: &Config, store: Store) -> Result<Telemetry, Stop> {
    let about = About {
        env: config.env.clone(),
        deployment: config.deployment.clone(),
        log: Log::File(config.data_dir.join(LOG_FILE)),
        secrets: config.secrets(),
        patience: Patience::default(),
    };
    telemetry::init(&config.telemetry, &about, store).await.map_err(|e| {
        let exit = if matches!(e, TelemetryError::Store(_)) { Exit::Data } else { Exit::Config };
        Stop::because(exit, &e)
    })
}

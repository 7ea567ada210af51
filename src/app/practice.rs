//! `fretcoach practice`: boots every part, runs one session, shuts down in order.
//!
//! Boot: lock → settings → store → telemetry → player → input → coach → display. Shutdown goes the other way: the input
//! first (nothing new is heard), then summary and voice, then store, then traces.

use std::io::{IsTerminal, Write};
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tracing::Span;

use super::chatter::Diverted;
use super::input::{self, Chosen};
use super::metronome::Beat;
use super::mouth::PlayerSpeaker;
use super::session::{Command, News, Parts, Session, TEXT_ONLY};
use super::signals::Interrupts;
use super::stage::Stage;
use super::{hub, recover, setup};
use crate::audio::echo::EchoGate;
use crate::audio::engine::{Engine, EngineSettings, Monitor};
use crate::audio::metronome::ear::Link;
use crate::audio::player::{Player, PlayerSettings};
use crate::cli::exit::{Exit, Stop, complain};
use crate::cli::screen::Screen;
use crate::cli::{display, plain};
use crate::coach::{self, CoachContext};
use crate::config::Config;
use crate::dsp::Analyzer;
use crate::hub::link::{Control, LiveView, joint};
use crate::music::scale::Scale;
use crate::names::{attr, op, tag};
use crate::practice::session::Session as Judge;
use crate::practice::types::Metric;
use crate::span::{Kind, SpanExt, Thread};
use crate::store::{CaptureLock, LockError, NewSession, SessionId, SessionWriter, Store, copy};
use crate::telemetry::{self, About, LOG_FILE, Log, Patience, Telemetry, TelemetryError};

/// Commands that may wait: a foot switch is slower than the session.
const COMMANDS: usize = 16;

/// What the command line asks for beside the settings.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// Plain lines instead of the live display.
    pub plain: bool,
    /// No web pages.
    pub no_hub: bool,
}

/// Runs one session.
///
/// # Errors
/// One line that says what could not be used and what to do; a session that has begun is always kept.
pub async fn run(mut config: Config, wishes: Wishes) -> Result<Exit, Stop> {
    let _lock = CaptureLock::acquire(&config.data_dir).map_err(|e| {
        let exit = if matches!(e, LockError::Held { .. }) { Exit::Busy } else { Exit::Data };
        Stop::because(exit, &e)
    })?;
    // An unwritable log is told by telemetry below.
    let _ = telemetry::rotate_log(&config.data_dir.join(LOG_FILE));
    let chatter = Diverted::to(&config.data_dir.join(LOG_FILE));
    let chosen = input::choose(&config);
    input::complete(&mut config, &chosen);
    let (settings, scale) = setup::judge(&config)?;
    let analyzer = setup::analyzer(&config)?;
    let (metronome, no_metronome) = setup::metronome(&config, matches!(chosen, Chosen::Device(_)))?;
    let store = Store::open_in(&config.data_dir).await.map_err(|e| Stop::because(Exit::Data, &e))?;
    let telemetry = start_telemetry(&config, store.clone()).await?;
    let copy = (!config.database_url.is_empty()).then(|| copy::start(&store, config.database_url.reveal()));
    let closed = store.close_abandoned(recover::summary).await.map_err(|e| Stop::because(Exit::Data, &e))?;

    let direct = config.audio.direct || !matches!(chosen, Chosen::Device(_));
    let gate = if direct { EchoGate::off() } else { EchoGate::default() };
    let player = Player::start(PlayerSettings::new(&config.audio, gate.clone()))
        .map_err(|e| Stop::because(Exit::Failed, &e))?;
    let mut engine_settings = EngineSettings::from(&config.audio);
    engine_settings.a4 = config.practice.a4 as f32;
    if matches!(chosen, Chosen::Demo(_)) {
        engine_settings.monitor = player.monitor().map(|(samples, rate)| Monitor { samples, rate });
    }
    let beat = match metronome {
        None => None,
        Some(metronome) => {
            let measured = store.calibrations().await.map_err(|e| Stop::because(Exit::Data, &e))?;
            let link = Link::new(player.board(), config.audio.click_volume, !direct);
            engine_settings.metronome = Some(link.clone());
            Some(Beat::new(&config, metronome, link, player.clone(), measured))
        }
    };
    let why_demo = match &chosen {
        Chosen::Demo(why) => why.clone(),
        _ => None,
    };
    let source = input::open(&config, chosen.clone(), scale.as_ref())?;
    let engine = Engine::start(source, engine_settings, move || Box::new(Analyzer::new(analyzer)), gate)
        .map_err(|e| Stop::because(Exit::Input, &e))?;

    let id = SessionId::new();
    let (thread, root) = open_trace(&config, id, scale.as_ref());
    let (commands_in, commands) = mpsc::channel(COMMANDS);
    let interrupts = Interrupts::new(commands_in.clone());
    interrupts
        .listen()
        .map_err(|e| Stop::new(Exit::Failed, format!("signals cannot be listened to: {e}")))?;
    let (pause_in, pause) = watch::channel(true);
    let context = CoachContext {
        session_id: id.to_string(),
        thread: thread.clone(),
        practice: config.practice.clone(),
        scale_name: scale.as_ref().map(Scale::name),
        scale_notes: scale.as_ref().map(Scale::pitch_classes).unwrap_or_default(),
        seed: config.audio.demo_seed,
    };
    let speaker = Arc::new(PlayerSpeaker::new(player.clone()));
    let (told, coach_events) = mpsc::unbounded_channel();
    let (coach_parts, remarks) = coach::Parts::from_config(&config, context, speaker, pause, told);
    let voice = match coach_parts.voices.iter().map(|v| v.engine()).collect::<Vec<_>>() {
        engines if engines.is_empty() => TEXT_ONLY.to_owned(),
        engines => engines.join(", then "),
    };
    root.put(attr::TTS_ENGINE, voice.clone());
    let (coach, coach_actor) = coach::channel(coach_parts);
    let coach_task = tokio::spawn(coach_actor.run());

    let writer = SessionWriter::begin(
        store.clone(),
        NewSession {
            id,
            user: config.user.clone(),
            deployment: config.deployment.clone(),
            mode: config.practice.mode.clone(),
            scale: scale.as_ref().map(Scale::name),
            bpm: settings.bpm,
            started_at: Timestamp::now(),
            input: match &chosen {
                Chosen::Demo(_) => "demo".into(),
                Chosen::Device(device) if device.name.is_empty() => "default device".into(),
                Chosen::Device(_) | Chosen::File(_) => config.audio.input.clone(),
            },
            config_json: serde_json::to_string(&config).unwrap_or_default(),
            trace_id: Some(root.ids().trace_id().to_string()),
        },
    );
    let screen = watch::Sender::new(Screen {
        title: title(scale.as_ref(), settings.bpm),
        planned: (config.practice.minutes > 0.0).then_some(config.practice.minutes * 60.0),
        metrics: Metric::ALL.into_iter().filter(|m| settings.enabled(*m)).collect(),
        level_db: f32::NEG_INFINITY,
        ..Screen::default()
    });
    let (news, news_out) = mpsc::unbounded_channel();
    let (joint, link) = joint(first_view(&config, id, scale.as_ref())?);
    let stage = Stage::new(screen.clone(), joint.view, joint.events, news);
    let served = if wishes.no_hub { None } else { Some(hub::start(&config, store.clone(), link).await) };
    let obeying = tokio::spawn(obey(joint.control, commands_in.clone()));
    let live = !wishes.plain && std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    let ui = if live {
        drop(news_out);
        tokio::spawn(display::run(screen.subscribe(), commands_in, interrupts))
    } else {
        tokio::spawn(async move {
            plain::run(news_out).await;
            Ok(())
        })
    };
    stage.news(News::Message(format!("practising {}", title(scale.as_ref(), settings.bpm))));
    let (hub, no_hub) = match served {
        Some(Ok(hub)) => (Some(hub), None),
        Some(Err(why)) => (None, Some(why)),
        None => (None, None),
    };
    if let Some(hub) = &hub {
        stage.news(News::Message(format!("Hub: {}", hub.url)));
        stage.change(|s| s.hub = Some(hub.url.clone()));
    }
    let no_hub = no_hub.or_else(|| hub.as_ref().and_then(|h| h.remark.clone()));
    let recovered = match closed.len() {
        0 => None,
        1 => Some("the last session was cut off; what was played is in the history".to_owned()),
        n => Some(format!("{n} sessions were cut off; what was played is in the history")),
    };
    let demo = why_demo.map(|why| format!("{why}: the virtual guitarist plays"));
    for line in recovered.into_iter().chain(remarks).chain(demo).chain(no_metronome).chain(no_hub) {
        tracing::info!("{line}");
        stage.say(line);
    }
    drop(screen);

    let session = Session::new(
        engine,
        Parts {
            judge: Judge::new(settings),
            scale,
            coach,
            coach_events,
            writer,
            root,
            thread,
            commands,
            stage,
            pause: pause_in,
            player: player.clone(),
            beat,
            voice,
            config: config.clone(),
        },
    );
    let ended = session.run().await;
    // The session has dropped its ends of all channels: actors and display end by themselves.
    let _ = coach_task.await;
    obeying.abort();
    if let Some(hub) = hub {
        hub.stop().await;
    }
    let shown = ui.await;
    drop(player);
    drop(chatter);
    if let Ok(Err(e)) = shown {
        complain(format_args!("the display failed: {e}"));
    }
    if live {
        let summary = plain::line(&News::Summary(Box::new(ended.summary.clone())));
        // A terminal that is gone needs no summary: it is kept.
        let _ = writeln!(
            std::io::stdout(),
            "{}\nKept as session {}; see `fretcoach history latest`.",
            summary.trim_start(),
            id.short()
        );
    }
    telemetry.shutdown(config.telemetry.flush_timeout).await;
    if let Some(copy) = copy {
        copy.stop(config.telemetry.flush_timeout).await;
    }
    store.close().await;
    match ended.failure {
        Some(stop) => Err(stop),
        None => Ok(Exit::Ok),
    }
}

/// Passes on what the Hub's pages ask for.
async fn obey(mut wishes: mpsc::Receiver<Control>, commands: mpsc::Sender<Command>) {
    while let Some(wish) = wishes.recv().await {
        if let Some(command) = command(&wish) {
            // A full queue means a session that is busy ending.
            let _ = commands.try_send(command);
        }
    }
}

fn command(wish: &Control) -> Option<Command> {
    match wish {
        Control::Stop => Some(Command::Quit),
        Control::TogglePause => Some(Command::TogglePause),
        Control::ToggleMute => Some(Command::ToggleMute),
        Control::ToggleClick => Some(Command::ToggleClick),
        Control::StopVoice => Some(Command::StopVoice),
        Control::AskNow => Some(Command::AskNow),
        Control::Start { .. } | Control::Set { .. } => None,
    }
}

/// What the Hub shows of a session that has heard nothing yet.
fn first_view(config: &Config, id: SessionId, scale: Option<&Scale>) -> Result<LiveView, Stop> {
    let p = &config.practice;
    Ok(LiveView {
        user: config.user.clone(),
        session: Some(id.to_string()),
        setup: setup::of(config),
        scale_name: scale.map(Scale::name),
        scale_classes: scale.map(|s| (0..12).filter(|pc| s.contains(*pc)).collect()).unwrap_or_default(),
        strings: setup::tuning(config)?.strings(),
        bpm: (p.bpm > 0.0).then_some(p.bpm),
        ..LiveView::default()
    })
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

fn title(scale: Option<&Scale>, bpm: Option<f64>) -> String {
    let scale = scale.map_or_else(|| "free playing".to_owned(), Scale::name);
    match bpm {
        Some(bpm) => format!("{scale} · {bpm} bpm"),
        None => scale,
    }
}

/// The root span of the session, with the whole configuration.
fn open_trace(config: &Config, id: SessionId, scale: Option<&Scale>) -> (Thread, Span) {
    let mode = if config.practice.mode == "ai" { tag::AI_MODE } else { tag::MANUAL_MODE };
    let tags = [tag::CORE, config.deployment.as_str(), config.llm.tag(), mode];
    let thread = Thread::new(
        format!("{id}-live-aicoach-feedback"),
        config.user.clone(),
        tags.iter().map(|t| (*t).to_owned()).collect(),
    );
    let root = thread.root(op::SESSION, Kind::Chain, &[]);
    root.put(attr::OPERATION, "invoke_workflow");
    root.put(attr::WORKFLOW, op::SESSION);
    root.put(attr::FRETCOACH_SESSION, id.to_string());
    root.put(attr::MODE, config.practice.mode.clone());
    root.put(attr::DEPLOYMENT, config.deployment.clone());
    root.put(attr::DETECTOR, config.audio.detector.clone());
    if let Some(scale) = scale {
        root.put(attr::SCALE, scale.name());
    }
    if config.practice.bpm > 0.0 {
        root.put(attr::BPM, config.practice.bpm);
    }
    // Serialising leaves secrets out.
    root.input_json(&serde_json::to_value(config).unwrap_or_default());
    let thread = if config.telemetry.trace_layout == "session" { thread.under(&root) } else { thread };
    (thread, root)
}

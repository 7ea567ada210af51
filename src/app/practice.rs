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
use super::session::{News, Parts, Session, TEXT_ONLY};
use super::signals::Interrupts;
use super::{recover, setup};
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
use crate::music::scale::Scale;
use crate::names::{attr, op, tag};
use crate::practice::session::Session as Judge;
use crate::practice::types::Metric;
use crate::span::{Kind, SpanExt, Thread};
use crate::store::{CaptureLock, LockError, NewSession, SessionId, SessionWriter, Store};
use crate::telemetry::{self, About, LOG_FILE, Log, Patience, Telemetry, TelemetryError};

/// Commands that may wait: a foot switch is slower than the session.
const COMMANDS: usize = 16;

/// Runs one session.
///
/// # Errors
/// One line that says what could not be used and what to do; a session that has begun is always kept.
pub async fn run(mut config: Config, force_plain: bool) -> Result<Exit, Stop> {
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
    let live = !force_plain && std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    let ui = if live {
        drop(news_out);
        tokio::spawn(display::run(screen.subscribe(), commands_in, interrupts))
    } else {
        tokio::spawn(async move {
            plain::run(news_out).await;
            Ok(())
        })
    };
    let said = News::Message;
    let _ = news.send(said(format!("practising {}", title(scale.as_ref(), settings.bpm))));
    let recovered = match closed.len() {
        0 => None,
        1 => Some("the last session was cut off; what was played is in the history".to_owned()),
        n => Some(format!("{n} sessions were cut off; what was played is in the history")),
    };
    let demo = why_demo.map(|why| format!("{why}: the virtual guitarist plays"));
    for line in recovered.into_iter().chain(remarks).chain(demo).chain(no_metronome) {
        tracing::info!("{line}");
        screen.send_modify(|s| s.message = Some(line.clone()));
        let _ = news.send(said(line));
    }

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
            screen,
            news,
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
    store.close().await;
    match ended.failure {
        Some(stop) => Err(stop),
        None => Ok(Exit::Ok),
    }
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

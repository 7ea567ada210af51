//! The begin of one session: from settings and an open input to everything that works on it.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::Span;

use super::course::Begun;
use super::input::Chosen;
use super::listening::{self, Listening};
use super::metronome::Beat;
use super::mouth::PlayerSpeaker;
use super::session::{Command, News, Parts, Session, TEXT_ONLY};
use super::setup;
use super::stage::Stage;
use super::steps::{self, Steps};
use crate::audio::ANALYSIS_RATE;
use crate::audio::player::Player;
use crate::cli::exit::{Exit, Stop};
use crate::cli::screen::Screen;
use crate::coach::{self, CoachContext};
use crate::config::Config;
use crate::dsp::event::DspEvent;
use crate::hub::link::{LiveView, Setup};
use crate::music::scale::Scale;
use crate::names::{attr, op, tag};
use crate::practice::session::Session as Judge;
use crate::practice::types::Metric;
use crate::span::{Kind, SpanExt, Thread, chain};
use crate::store::{NewSession, PlanRow, SessionId, SessionWriter, Store};

/// Commands that may wait: a foot switch is slower than the session.
pub const COMMANDS: usize = 16;

/// A session that is to begin.
pub struct Begin {
    /// Settings, complete.
    pub config: Config,
    /// What the player has set up, as the Hub shows it.
    pub setup: Setup,
    /// Which input it is.
    pub chosen: Chosen,
    /// The open input.
    pub listening: Listening,
    /// Begin of the session on the capture clock, seconds.
    pub origin: f64,
    /// What was heard since then.
    pub lead: Vec<DspEvent>,
    /// Who began it.
    pub begun: Begun,
    /// The coach's voice is muted.
    pub muted: bool,
    /// The plan that it carries out; the settings hold what it says.
    pub plan: Option<PlanRow>,
}

/// What a session needs of the program.
pub struct House<'a> {
    /// The history.
    pub store: &'a Store,
    /// The output.
    pub player: &'a Player,
    /// Whoever looks.
    pub stage: &'a Stage,
}

/// A session that is ready to run.
pub struct Ready {
    /// The session.
    pub session: Session,
    /// Commands to it.
    pub commands: mpsc::Sender<Command>,
    /// Its coach, which ends after it.
    pub coach: JoinHandle<()>,
}

/// Puts a session together.
///
/// # Errors
/// Settings that cannot be used, a store that cannot be read.
pub async fn begin(house: House<'_>, begin: Begin) -> Result<Ready, Stop> {
    let Begin { config, setup, chosen, listening, origin, lead, begun, muted, plan } = begin;
    let House { store, player, stage } = house;
    let (settings, scale) = setup::judge(&config)?;
    let (metronome, no_metronome) = setup::metronome(&config, listening::is_live(&chosen))?;
    let beat = match (metronome, &listening.clicks) {
        (Some(metronome), Some(clicks)) => {
            let measured = store.calibrations().await.map_err(|e| Stop::because(Exit::Data, &e))?;
            // Who plays already needs no count-in.
            let count_in = if begun == Begun::ByPlaying { 0 } else { config.practice.count_in };
            let clicks = clicks.clone();
            let first = plan.as_ref().and_then(|p| p.plan.exercises.first());
            let planned = first.and_then(|e| steps::metronome(e, &config.practice));
            let metronome = planned.unwrap_or(metronome);
            Some(Beat::new(&config, metronome, clicks, player.clone(), measured, origin, count_in))
        }
        _ => None,
    };
    let id = SessionId::new();
    let (thread, root) = open_trace(&config, id, scale.as_ref());
    let (commands_in, commands) = mpsc::channel(COMMANDS);
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
    let no_plan = match &plan {
        Some(plan) => carry_out(store, &writer, plan).await.err(),
        None => None,
    };
    if let (Some(recorder), Some(file)) = (&listening.recorder, store.recording_file(&id)) {
        recorder.begin(file, (origin * f64::from(ANALYSIS_RATE)).round() as u64);
    }
    let title = title(scale.as_ref(), settings.bpm);
    let planned = (config.practice.minutes > 0.0).then_some(config.practice.minutes * 60.0);
    let metrics = Metric::ALL.into_iter().filter(|m| settings.enabled(*m)).collect();
    stage.change(|s| {
        let (hub, level_db) = (s.hub.take(), f32::NEG_INFINITY);
        *s = Screen { title: title.clone(), planned, metrics, level_db, muted, hub, ..Screen::default() };
    });
    let view = view(&config, &setup, scale.as_ref())?;
    let plan_id = plan.as_ref().map(|p| p.id.to_string());
    stage.change_view(|v| *v = LiveView { session: Some(id.to_string()), plan: plan_id, ..view });
    stage.news(News::Message(format!("practising {title}")));
    for line in remarks.into_iter().chain(no_metronome).chain(no_plan) {
        tracing::info!("{line}");
        stage.say(line);
    }
    let session = Session::new(
        listening,
        Parts {
            judge: Judge::new(settings),
            scale,
            coach,
            coach_events,
            writer,
            store: store.clone(),
            root,
            thread,
            commands,
            stage: stage.clone(),
            pause: pause_in,
            player: player.clone(),
            beat,
            voice,
            muted,
            origin,
            lead,
            steps: plan.as_ref().map(|p| Steps::of(&p.plan)),
            config,
        },
    );
    Ok(Ready { session, commands: commands_in, coach: coach_task })
}

/// Links a session with its plan.
///
/// # Errors
/// One line: the store cannot be written. The session goes on without the link.
async fn carry_out(store: &Store, writer: &SessionWriter, plan: &PlanRow) -> Result<(), String> {
    // The session must be there first.
    let linked = match writer.flush().await {
        Ok(()) => store.link_plan(&writer.id(), &plan.id, Timestamp::now()).await,
        Err(e) => Err(e),
    };
    linked.map_err(|e| format!("the plan is not linked to this session: {}", chain(&e)))
}

/// `A minor pentatonic · 90 bpm`
#[must_use]
pub fn title(scale: Option<&Scale>, bpm: Option<f64>) -> String {
    let scale = scale.map_or_else(|| "free playing".to_owned(), Scale::name);
    match bpm {
        Some(bpm) => format!("{scale} · {bpm} bpm"),
        None => scale,
    }
}

/// What the Hub shows of what is or would be practised, before anything is heard.
///
/// # Errors
/// A tuning that does not exist.
pub fn view(config: &Config, setup: &Setup, scale: Option<&Scale>) -> Result<LiveView, Stop> {
    let bpm = config.practice.bpm;
    Ok(LiveView {
        user: config.user.clone(),
        setup: setup.clone(),
        scale_name: scale.map(Scale::name),
        scale_classes: scale.map(|s| (0..12).filter(|pc| s.contains(*pc)).collect()).unwrap_or_default(),
        strings: setup::tuning(config)?.strings(),
        bpm: (bpm > 0.0).then_some(bpm),
        ..LiveView::default()
    })
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

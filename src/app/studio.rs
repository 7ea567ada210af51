//! The life of the program that plays: waits for a session, runs it, and waits for the next, until it is told to leave.
//!
//! While it waits, the input is heard for the level meter, the tuner and, if the player wants that, for playing to
//! begin; nothing is judged or kept. [`super::course`] decides what a wish means and what comes after a session;
//! here it is done.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::autostart::Autostart;
use super::begin::{self, Begin, House, Ready};
use super::course::{self, After, Begun, Reply, Why};
use super::input::{self, Chosen};
use super::listening::{self, Key, Listening};
use super::session::{Command, Ended, News};
use super::setup;
use super::stage::Stage;
use crate::audio::echo::EchoGate;
use crate::audio::live::LiveFrame;
use crate::audio::player::Player;
use crate::audio::supervisor::DeviceEvent;
use crate::cli::exit::{Exit, Stop};
use crate::cli::screen::DeviceState;
use crate::coach;
use crate::config::Config;
use crate::hub::link::{Control, LiveView, Phase, Setup};
use crate::music::scale::Scale;
use crate::practice::types::Summary;
use crate::store::{PlanRow, SessionId, Store, StoreError};

/// As a session's: the display never lags, and it costs nothing.
const TICK: Duration = Duration::from_millis(20);
/// Time between two attempts to open an input that is not there: a guitar interface that was forgotten is plugged in
/// within seconds.
const REOPEN: Duration = Duration::from_secs(3);

/// What the program works with, for as long as it lives.
pub struct Parts {
    /// Settings as read, before any player's own.
    pub base: Config,
    /// What the player has set up.
    pub setup: Setup,
    /// The history.
    pub store: Store,
    /// The output.
    pub player: Player,
    /// Told when the coach's voice has energy.
    pub gate: EchoGate,
    /// Whoever looks.
    pub stage: Stage,
    /// From keys and signals.
    pub commands: mpsc::Receiver<Command>,
    /// From the Hub.
    pub wishes: mpsc::Receiver<Control>,
    /// Cancelled once the program is to end.
    pub leave: CancellationToken,
    /// The plan that the first session carries out.
    pub plan: Option<PlanRow>,
}

/// The program that plays.
pub struct Studio {
    p: Parts,
    /// Settings in force, complete.
    config: Config,
    chosen: Chosen,
    muted: bool,
    /// What the player asked for while a session was being summed up.
    next: Option<Wish>,
    last: Option<(SessionId, Summary)>,
    failure: Option<Stop>,
}

/// A session that the player asked for.
#[derive(Default)]
struct Wish {
    setup: Option<Setup>,
    user: Option<String>,
    plan: Option<String>,
}

/// What came of it all.
pub struct Left {
    /// The last session.
    pub last: Option<(SessionId, Summary)>,
    /// Why the program should end with an error, if so.
    pub failure: Option<Stop>,
}

/// How a wait ended.
enum Woken {
    Leave,
    Asked(Wish, Option<Listening>),
    Played { listening: Listening, origin: f64, auto: Autostart },
}

/// The input of a wait.
#[derive(Default)]
struct Ears {
    open: Option<Listening>,
    opening: Option<JoinHandle<Result<Listening, Stop>>>,
    try_at: Option<tokio::time::Instant>,
    trouble: Option<String>,
}

impl Studio {
    /// With settings that were found possible.
    #[must_use]
    pub fn new(p: Parts, config: Config, chosen: Chosen) -> Self {
        Self { p, config, chosen, muted: false, next: None, last: None, failure: None }
    }

    /// Runs one session after another until the program is to end. `first`: an input that is open for the session of
    /// the command line.
    pub async fn run(mut self, first: Option<Listening>) -> Left {
        let mut begin = match first {
            Some(listening) => {
                let (config, plan) = self.given_plan();
                Some(Begin { config, plan, ..self.session(listening, Begun::ByCommandLine) })
            }
            None => None,
        };
        let mut armed = true;
        loop {
            let now = match begin.take() {
                Some(begin) => begin,
                None => match self.wait(armed).await {
                    None => break,
                    Some(begin) => begin,
                },
            };
            let begun = now.begun;
            let house = House { store: &self.p.store, player: &self.p.player, stage: &self.p.stage };
            let why = match begin::begin(house, now).await {
                Ok(ready) => self.accompany(ready).await,
                Err(stop) if begun == Begun::ByCommandLine => {
                    self.failure = Some(stop);
                    break;
                }
                Err(stop) => {
                    self.p.stage.say(format!("no session: {stop}"));
                    Why::Stopped
                }
            };
            let why = if self.p.leave.is_cancelled() { Why::Quit } else { why };
            match course::after(begun, why) {
                After::Leave => break,
                After::Wait { armed: again } => armed = again,
            }
        }
        Left { last: self.last, failure: self.failure }
    }

    /// A session on an input that has just been opened.
    fn session(&self, listening: Listening, begun: Begun) -> Begin {
        Begin {
            config: self.config.clone(),
            setup: self.p.setup.clone(),
            chosen: self.chosen.clone(),
            listening,
            origin: 0.0,
            lead: Vec::new(),
            begun,
            muted: self.muted,
            plan: None,
        }
    }

    /// The settings with the plan of the command line, which the first session carries out.
    fn given_plan(&mut self) -> (Config, Option<PlanRow>) {
        let mut config = self.config.clone();
        // It is its player's alone.
        let plan = self.p.plan.take_if(|plan| plan.user == config.user);
        if let Some(plan) = &plan {
            plan.plan.apply(&mut config.practice);
        }
        (config, plan)
    }

    /// The settings with a plan of the player's, for one session.
    async fn planned(&self, name: &str) -> Result<(Config, PlanRow), Stop> {
        let mut config = self.config.clone();
        let plan = find_plan(&self.p.store, &config, name).await?;
        plan.plan.apply(&mut config.practice);
        setup::check(&config, &self.chosen)?;
        Ok((config, plan))
    }

    /// Runs a session to its end, and sees to what the player wants meanwhile. Why it ended.
    async fn accompany(&mut self, ready: Ready) -> Why {
        let Ready { session, commands, coach } = ready;
        let mut running = std::pin::pin!(session.run());
        let ended = loop {
            tokio::select! {
                ended = &mut running => break ended,
                Some(command) = self.p.commands.recv() => pass(&commands, command),
                Some(wish) = self.p.wishes.recv() => {
                    let phase = self.p.stage.phase();
                    match course::reply(phase, &wish) {
                        Reply::Pass(command) => pass(&commands, command),
                        Reply::Refuse(why) => self.p.stage.say(why),
                        Reply::Begin | Reply::BeginNext => {
                            if let Control::Start { setup, user, plan } = wish {
                                self.next = Some(Wish { setup, user, plan });
                                pass(&commands, Command::StopVoice);
                            }
                        }
                        Reply::Use => if let Control::Set { setup, user } = wish {
                            self.keep(setup, user).await;
                        }
                    }
                }
            }
        };
        // The session has dropped its ends of all channels: the coach ends by itself.
        let _ = coach.await;
        let Ended { summary, failure, id, why, muted } = ended;
        self.muted = muted;
        self.last = Some((id, summary));
        self.failure = self.failure.take().or(failure);
        why
    }

    /// Takes a setup for the next session, if it is possible; what is wrong with it is said.
    async fn keep(&mut self, setup: Setup, user: Option<String>) -> bool {
        let mut config = self.p.base.clone();
        setup::apply(&mut config, &setup, false);
        if let Some(user) = user {
            config.user = user;
        }
        // Looking for sound cards may take a moment.
        let for_choice = config.clone();
        let chosen = tokio::task::spawn_blocking(move || input::choose(&for_choice)).await;
        let Ok(chosen) = chosen else { return false };
        input::complete(&mut config, &chosen);
        if let Err(stop) = setup::check(&config, &chosen) {
            self.p.stage.say(stop.message);
            return false;
        }
        self.p.base.user.clone_from(&config.user);
        (self.config, self.chosen, self.p.setup) = (config, chosen, setup);
        let setup = self.p.setup.clone();
        self.p.stage.change_view(|v| v.setup = setup);
        true
    }

    /// Waits for a session: until somebody asks for one or plays. `None`: the program is to end.
    async fn wait(&mut self, armed: bool) -> Option<Begin> {
        loop {
            let woken = match self.next.take() {
                Some(wish) => Woken::Asked(wish, None),
                None => self.listen(armed).await,
            };
            match woken {
                Woken::Leave => return None,
                Woken::Played { mut listening, origin, auto } => {
                    let mut heard = auto;
                    // What has come since belongs to it too, and is heard in order.
                    while let Ok(event) = listening.events.pop() {
                        heard.hear(&event);
                    }
                    let lead = heard.heard_since(origin);
                    let (config, plan) = self.given_plan();
                    let begin = self.session(listening, Begun::ByPlaying);
                    return Some(Begin { origin, lead, config, plan, ..begin });
                }
                Woken::Asked(wish, open) => {
                    if let Some(setup) = wish.setup
                        && !self.keep(setup, wish.user).await
                    {
                        if let Some(open) = open {
                            open.close().await;
                        }
                        continue;
                    }
                    let (config, plan) = match &wish.plan {
                        None => self.given_plan(),
                        Some(name) => match self.planned(name).await {
                            Ok((config, plan)) => (config, Some(plan)),
                            Err(stop) => {
                                self.p.stage.say(stop.message);
                                if let Some(open) = open {
                                    open.close().await;
                                }
                                continue;
                            }
                        },
                    };
                    match self.open_for_session(&config, open).await {
                        Ok((listening, origin)) => {
                            let begin = self.session(listening, Begun::ByWish);
                            return Some(Begin { origin, config, plan, ..begin });
                        }
                        Err(stop) => self.p.stage.say(stop.message),
                    }
                }
            }
        }
    }

    /// The input of a session that was asked for: the one that is open, from now on, or a new one.
    async fn open_for_session(
        &self,
        config: &Config,
        open: Option<Listening>,
    ) -> Result<(Listening, f64), Stop> {
        if let Some(listening) = open {
            // A guitarist made of numbers starts anew, and aloud.
            if listening::is_live(&self.chosen) && listening.fits(&Key::of(config, &self.chosen)) {
                let origin = listening.engine.live().read().t;
                return Ok((listening, origin));
            }
            listening.close().await;
        }
        self.opening(config, true)
            .await
            .unwrap_or_else(|e| Err(Stop::new(Exit::Failed, format!("the input could not be opened: {e}"))))
            .map(|listening| (listening, 0.0))
    }

    fn opening(&self, config: &Config, aloud: bool) -> JoinHandle<Result<Listening, Stop>> {
        let (config, chosen) = (config.clone(), self.chosen.clone());
        let (player, gate) = (self.p.player.clone(), self.p.gate.clone());
        tokio::task::spawn_blocking(move || Listening::open(&config, &chosen, &player, &gate, aloud))
    }

    /// Listens without judging, until something begins.
    async fn listen(&mut self, armed: bool) -> Woken {
        self.show_idle();
        let mut ears = Ears::default();
        let mut auto = Autostart::new(armed);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let leave = self.p.leave.clone();
        let mut woken = loop {
            tokio::select! {
                () = leave.cancelled() => break Woken::Leave,
                _ = tick.tick() => {
                    self.look_after(&mut ears).await;
                    if let Some(origin) = self.hear(&mut ears, &mut auto)
                        && let Some(listening) = ears.open.take()
                    {
                        return Woken::Played { listening, origin, auto };
                    }
                }
                Some(command) = self.p.commands.recv() => match command {
                    Command::TogglePause => break Woken::Asked(Wish::default(), ears.open.take()),
                    Command::ToggleMute => self.toggle_mute(),
                    Command::Quit => break Woken::Leave,
                    _ => {}
                },
                Some(wish) = self.p.wishes.recv() => match (course::reply(Phase::Idle, &wish), wish) {
                    (Reply::Begin, Control::Start { setup, user, plan }) => {
                        break Woken::Asked(Wish { setup, user, plan }, ears.open.take());
                    }
                    (Reply::Use, Control::Set { setup, user }) => {
                        let kept = self.keep(setup, user).await;
                        if kept && self.reopen(&mut ears).await {
                            auto = Autostart::new(armed);
                        }
                    }
                    (Reply::Pass(Command::ToggleMute), _) => self.toggle_mute(),
                    (Reply::Refuse(why), _) => self.p.stage.say(why),
                    _ => {}
                },
            }
        };
        if let Some(open) = ears.open.take() {
            open.close().await;
        }
        // An input that is being opened is waited for: a sound card may be opened only once.
        if let Woken::Asked(_, open @ None) = &mut woken
            && let Some(opening) = ears.opening.take()
        {
            *open = opening.await.ok().and_then(Result::ok);
        }
        woken
    }

    /// After a change of the setup: closes an input that does not fit it any more. True when another is to be opened.
    async fn reopen(&self, ears: &mut Ears) -> bool {
        self.show_idle();
        let key = Key::of(&self.config, &self.chosen);
        if let Some(old) = ears.open.take_if(|open| !open.fits(&key)) {
            old.close().await;
        }
        (ears.try_at, ears.trouble) = (None, None);
        ears.open.is_none()
    }

    /// Opens the input, or opens it anew.
    async fn look_after(&self, ears: &mut Ears) {
        // A recording is not played before its session.
        if ears.open.is_some() || matches!(self.chosen, Chosen::File(_)) {
            return;
        }
        match ears.opening.take() {
            Some(opening) if !opening.is_finished() => ears.opening = Some(opening),
            Some(opening) => match opening.await {
                // Opened with settings that no longer hold, it is closed again.
                Ok(Ok(open)) if !open.fits(&Key::of(&self.config, &self.chosen)) => open.close().await,
                Ok(Ok(open)) => (ears.open, ears.trouble) = (Some(open), None),
                Ok(Err(stop)) => {
                    if ears.trouble.as_ref() != Some(&stop.message) {
                        self.p.stage.say(stop.message.clone());
                    }
                    let lost = DeviceState::Lost(stop.message.clone());
                    self.p.stage.change(|s| s.device_state = lost);
                    ears.trouble = Some(stop.message);
                    ears.try_at = Some(tokio::time::Instant::now() + REOPEN);
                }
                Err(e) => tracing::error!("the input could not be opened: {e}"),
            },
            None if ears.try_at.is_none_or(|at| tokio::time::Instant::now() >= at) => {
                ears.opening = Some(self.opening(&self.config, false));
            }
            None => {}
        }
    }

    /// Shows what is heard; when a session begins by itself, if one does.
    fn hear(&self, ears: &mut Ears, auto: &mut Autostart) -> Option<f64> {
        let silence = LiveFrame { level_db: f32::NEG_INFINITY, ..LiveFrame::default() };
        let Some(open) = &mut ears.open else {
            self.p.stage.change(|s| s.level_db = silence.level_db);
            self.p.stage.publish(&silence, None);
            return None;
        };
        while let Ok(event) = open.device_events.try_recv() {
            self.device(event, open);
        }
        let mut begins = None;
        while let Ok(event) = open.events.pop() {
            begins = begins.or(auto.hear(&event));
        }
        let frame = open.engine.live().read();
        self.p.stage.change(|s| {
            s.level_db = frame.level_db;
            s.note = None;
        });
        let scale = Scale::parse(&self.config.practice.scale).ok();
        self.p.stage.publish(&frame, scale.as_ref());
        begins.filter(|_| self.p.setup.autostart)
    }

    fn device(&self, event: DeviceEvent, open: &mut Listening) {
        match event {
            DeviceEvent::Opened(stream) | DeviceEvent::Restored { stream, .. } => {
                let name = listening::name_of(&stream);
                self.p.stage.change(|s| (s.device, s.device_state) = (name, DeviceState::Listening));
                open.stream = Some(stream);
            }
            DeviceEvent::Lost { name, fault } => {
                self.p.stage.change(|s| s.device_state = DeviceState::Lost(fault.to_string()));
                self.p.stage.news(News::Device(format!("{name} was lost: {fault}; looking for it")));
            }
            // Nothing is judged now.
            DeviceEvent::Missed { .. } => {}
            DeviceEvent::Warning(said) => self.p.stage.say(said),
        }
    }

    fn toggle_mute(&mut self) {
        self.muted = !self.muted;
        let muted = self.muted;
        self.p.stage.change(|s| s.muted = muted);
    }

    /// What is shown while no session runs: what would be practised, and what came of the last one.
    fn show_idle(&self) {
        let scale = Scale::parse(&self.config.practice.scale).ok();
        let bpm = self.config.practice.bpm;
        let title = begin::title(scale.as_ref(), (bpm > 0.0).then_some(bpm));
        let muted = self.muted;
        let planned = (self.config.practice.minutes > 0.0).then_some(self.config.practice.minutes * 60.0);
        self.p.stage.change(|s| {
            (s.idle, s.paused, s.closing) = (true, false, false);
            (s.title, s.muted, s.planned) = (title, muted, planned);
            (s.note, s.beat, s.next_advice) = (None, None, 0.0);
            if matches!(s.device_state, DeviceState::Ended) {
                s.device_state = DeviceState::Opening;
            }
        });
        if let Ok(would) = begin::view(&self.config, &self.p.setup, scale.as_ref()) {
            self.p.stage.change_view(|v| {
                let session = v.session.take().filter(|_| v.user == would.user);
                *v = LiveView { session, plan: None, ..would };
            });
        }
        let silence = LiveFrame { level_db: f32::NEG_INFINITY, ..LiveFrame::default() };
        self.p.stage.publish(&silence, scale.as_ref());
    }
}

/// A plan of a player's, by id or as `latest`.
///
/// # Errors
/// There is none of that name; the store cannot be read.
pub async fn find_plan(store: &Store, config: &Config, name: &str) -> Result<PlanRow, Stop> {
    coach::plan::find(store, config.database_url.reveal(), &config.user, name).await.map_err(|e| {
        let missing = matches!(e, StoreError::NotFound { .. } | StoreError::Ambiguous { .. });
        Stop::because(if missing { Exit::NotFound } else { Exit::Data }, &e)
    })
}

fn pass(commands: &mpsc::Sender<Command>, command: Command) {
    // A full queue means a session that is busy ending.
    let _ = commands.try_send(command);
}

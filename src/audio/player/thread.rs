//! The player thread: opens and reopens the device, passes utterances to the source, tells what becomes of them.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::time::Duration;

use cpal::BufferSize;
use rtrb::{Consumer, Producer, RingBuffer};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use crate::audio::AudioError;
use crate::audio::clock::{self, SECOND_NS, frames_ns, now_ns};
use crate::audio::desk::{self, Bench, Desk};
use crate::audio::device::{self, Direction};
use crate::audio::metronome::Metronome;
use crate::audio::player::source::{Dials, Done, Heard, Order, Pulse, Speaker, Voice};
use crate::audio::player::{MONITOR_SECONDS, PlaybackEvent, PlayerSettings, Shared, locked};
use crate::audio::priority;
use crate::audio::supervisor::{DeviceEvent, StreamInfo};
use crate::audio::watch::{Backoff, Errors, Fault, GapDetector, Seen, Verdict, Watch};

/// First period with real-time priority, frames; measured: without it 1024 stutters on a loaded machine.
const PERIOD_REALTIME: u32 = 1024;
/// First period without.
const PERIOD: u32 = 2048;
/// Longest period: at 4096 with real-time priority 42 s under full load were exact.
const PERIOD_MOST: u32 = 4096;
/// How often the thread looks while something is said: how exactly events come after what they tell.
const LOOK_SPEAKING: Duration = Duration::from_millis(2);
/// And while nothing is.
const LOOK: Duration = Duration::from_millis(50);
/// How often the watch looks; it wants steps of 20 to 100 ms.
const WATCH_EVERY_NS: u64 = SECOND_NS / 20;
const LISTED_EVERY_NS: u64 = SECOND_NS;
const LISTED_EVERY_ALSA_NS: u64 = 5 * SECOND_NS;
const OPEN_TIMEOUT: Duration = Duration::from_secs(4);
const LOYALTY_NS: u64 = 2 * SECOND_NS;
/// Pause between attempts while there has never been a device: one may be plugged in.
const NEVER_OPENED: Duration = Duration::from_secs(3);
/// An output stream is not opened in the middle of an utterance's first sound, so a lost half period is already a
/// click; less is jitter.
const UNDERRUN_PERIODS: f64 = 0.5;
/// Orders in flight; more than two (a voice and a hush) wait only when the callback does not run.
const ORDERS: usize = 16;
const DONE: usize = 32;

/// To the thread.
pub(crate) enum Command {
    Say(Box<Said>),
    Stop,
    Metronome(Option<Metronome>),
    Quit,
}

/// An utterance as the thread knows it.
pub(crate) struct Said {
    pub heard: Arc<Heard>,
    pub events: UnboundedSender<PlaybackEvent>,
    pub last: Option<oneshot::Sender<PlaybackEvent>>,
    /// Rate that its ring was made for, Hz.
    pub rate: u32,
    pub voice: Option<Voice>,
    /// Why it cannot be played.
    pub refused: Option<String>,
}

impl Said {
    fn end(mut self, how: PlaybackEvent) {
        self.heard.over.store(true, Ordering::Release);
        let _ = self.events.send(how.clone()); // Nobody may be listening.
        if let Some(last) = self.last.take() {
            let _ = last.send(how); // As above.
        }
    }
}

/// An utterance in the source.
struct Playing {
    said: Said,
    told_first: bool,
    told_audible: bool,
    silenced: bool,
}

/// An open device.
struct Open {
    sink: rodio::MixerDeviceSink,
    orders: Producer<Order>,
    done: Consumer<Done>,
    errors: Arc<Errors>,
    info: StreamInfo,
    pulse: Arc<Pulse>,
    watch: Watch,
    underruns: GapDetector,
    watch_at: u64,
    listed: Option<Receiver<Option<bool>>>,
    list_at: u64,
    announced: bool,
}

pub(crate) struct Keeper {
    settings: PlayerSettings,
    shared: Arc<Shared>,
    commands: Receiver<Command>,
    events: UnboundedSender<DeviceEvent>,
    desk: Option<Desk>,
    open: Option<Open>,
    /// Rings of devices that are being closed.
    leaving: Vec<Consumer<Done>>,
    playing: Vec<Playing>,
    monitor: Option<Consumer<f32>>,
    metronome: Option<Metronome>,
    period: u32,
    /// The period is to be doubled when nothing is said.
    longer: bool,
    pinned: Option<StreamInfo>,
    backoff: Backoff,
    attempts: u32,
    try_at: u64,
    lost_at: Option<u64>,
}

impl Keeper {
    pub fn new(
        settings: PlayerSettings,
        shared: Arc<Shared>,
        commands: Receiver<Command>,
        events: UnboundedSender<DeviceEvent>,
    ) -> Self {
        let period = match settings.period {
            0 if priority::allowed() => PERIOD_REALTIME,
            0 => PERIOD,
            chosen => chosen,
        };
        Self {
            settings,
            shared,
            commands,
            events,
            desk: None,
            open: None,
            leaving: Vec::new(),
            playing: Vec::new(),
            monitor: None,
            metronome: None,
            period,
            longer: false,
            pinned: None,
            backoff: Backoff::new(),
            attempts: 0,
            try_at: 0,
            lost_at: None,
        }
    }

    fn is_off(&self) -> bool {
        self.settings.choice.name.trim().eq_ignore_ascii_case("none")
    }

    pub fn run(mut self, ready: &Sender<()>) {
        if self.is_off() {
            locked(&self.shared.status).reason = Some("sound output is switched off".into());
        } else {
            self.try_open();
        }
        let _ = ready.send(()); // The starter waits for it.
        loop {
            let look = if self.playing.is_empty() { LOOK } else { LOOK_SPEAKING };
            match self.commands.recv_timeout(look) {
                Ok(Command::Say(said)) => self.say(*said),
                Ok(Command::Stop) => self.hush(),
                Ok(Command::Metronome(metronome)) => {
                    self.metronome = metronome;
                    if let Some(open) = &mut self.open {
                        let _ = open.orders.push(Order::Metronome(metronome)); // Full only if the callback is dead.
                    }
                }
                Ok(Command::Quit) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.collect();
            self.tell();
            self.look_after_device();
        }
        self.fail_all("the player was stopped");
        if let Some(open) = self.open.take() {
            desk::close(open.sink);
        }
    }

    // ---- utterances ----

    fn say(&mut self, mut said: Said) {
        self.hush();
        let problem = match (&said.refused, &self.open) {
            (Some(why), _) => Some(why.clone()),
            (None, None) => Some(self.no_device()),
            (None, Some(open)) if said.rate != open.info.rate => {
                Some("the output device has just changed".into())
            }
            _ => None,
        };
        let voice = said.voice.take();
        if let Some(problem) = problem {
            said.end(PlaybackEvent::Failed(problem));
            self.tell();
            return;
        }
        let playing = Playing { said, told_first: false, told_audible: false, silenced: false };
        self.playing.push(playing);
        if let (Some(open), Some(voice)) = (&mut self.open, voice)
            && open.orders.push(Order::Speak(voice)).is_err()
            && let Some(playing) = self.playing.pop()
        {
            playing.said.end(PlaybackEvent::Failed("the output device does not take any sound".into()));
        }
        self.shared.speaking.store(!self.playing.is_empty(), Ordering::Release);
    }

    fn no_device(&self) -> String {
        let reason = locked(&self.shared.status).reason.clone();
        reason.unwrap_or_else(|| "there is no output device".into())
    }

    fn hush(&mut self) {
        let mut any = false;
        for playing in &mut self.playing {
            any |= !playing.silenced;
            playing.silenced = true;
            playing.said.heard.over.store(true, Ordering::Release);
        }
        if any && let Some(open) = &mut self.open {
            let _ = open.orders.push(Order::Hush); // Full only if the callback is dead; the watch sees that.
        }
    }

    /// Tells what has become of the utterances.
    fn tell(&mut self) {
        let now = now_ns();
        let latency = self.latency_ns();
        let rate = self.shared.rate.load(Ordering::Relaxed);
        let mut i = 0;
        while i < self.playing.len() {
            let playing = &mut self.playing[i];
            let heard = playing.said.heard.clone();
            let first = heard.first_ns.load(Ordering::Acquire);
            if first != u64::MAX && !playing.told_first {
                playing.told_first = true;
                playing.send(PlaybackEvent::FirstSampleHandedOver { at: clock::instant(first) });
            }
            let audible = heard.audible_ns.load(Ordering::Acquire).saturating_add(latency);
            if audible <= now && !playing.told_audible {
                playing.told_audible = true;
                playing.send(PlaybackEvent::FirstAudible { at: clock::instant(audible) });
            }
            let ended = heard.end_ns.load(Ordering::Acquire).saturating_add(latency);
            if ended <= now {
                let playing = self.playing.remove(i);
                let heard_seconds = heard.frames.load(Ordering::Relaxed) as f64 / f64::from(rate.max(1));
                let at = clock::instant(ended);
                locked(&self.shared.status).starved += u64::from(heard.starved.load(Ordering::Relaxed));
                playing.said.end(if playing.silenced {
                    PlaybackEvent::Interrupted { at, heard_seconds }
                } else {
                    PlaybackEvent::Finished { at, heard_seconds }
                });
            } else {
                i += 1;
            }
        }
        self.shared.speaking.store(!self.playing.is_empty(), Ordering::Release);
    }

    /// From "handed to the device" to "heard": the device's double buffer, which is one period full when it asks for the next.
    fn latency_ns(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| 2 * frames_ns(u64::from(open.info.period), open.info.rate))
    }

    fn fail_all(&mut self, why: &str) {
        for playing in self.playing.drain(..) {
            playing.said.end(PlaybackEvent::Failed(why.into()));
        }
        self.shared.speaking.store(false, Ordering::Release);
    }

    /// Frees what the source has finished with.
    fn collect(&mut self) {
        let mut monitor = None;
        let mut take = |done: Done| match done {
            Done::Voice(voice) => drop(voice),
            Done::Monitor(ring) => monitor = Some(ring),
        };
        if let Some(open) = &mut self.open {
            while let Ok(done) = open.done.pop() {
                take(done);
            }
        }
        self.leaving.retain_mut(|ring| {
            let gone = ring.is_abandoned();
            while let Ok(done) = ring.pop() {
                take(done);
            }
            !gone
        });
        if let Some(ring) = monitor {
            self.monitor = Some(ring);
        }
        if let (Some(open), Some(ring)) = (&mut self.open, self.monitor.take())
            && let Err(rtrb::PushError::Full(Order::Monitor(ring))) = open.orders.push(Order::Monitor(ring))
        {
            self.monitor = Some(ring);
        }
    }

    // ---- the device ----

    fn look_after_device(&mut self) {
        let now = now_ns();
        if self.open.is_none() {
            if !self.is_off() && now >= self.try_at {
                self.try_open();
            }
            return;
        }
        match self.step_watch(now) {
            Verdict::Lost(fault) => self.lose(fault),
            // A metronome that starts anew in the midst of playing is worse than one that stutters.
            _ if self.longer && self.playing.is_empty() && self.metronome.is_none() => self.reopen_longer(),
            _ => {}
        }
    }

    fn step_watch(&mut self, now: u64) -> Verdict {
        self.listed(now);
        let Some(open) = &mut self.open else { return Verdict::Fine };
        if now < open.watch_at {
            return Verdict::Fine;
        }
        open.watch_at = now + WATCH_EVERY_NS;
        let pulse = &*open.pulse;
        let frames = pulse.frames.load(Ordering::Relaxed);
        if frames > 0 && !open.announced {
            open.announced = true;
            let realtime = pulse.realtime.get().unwrap_or(false);
            locked(&self.shared.status).realtime = realtime;
            let stream = StreamInfo { realtime, ..open.info.clone() };
            let event = match self.lost_at.take() {
                None => DeviceEvent::Opened(stream),
                Some(lost) => {
                    let gap_seconds = now.saturating_sub(lost) as f64 / SECOND_NS as f64;
                    DeviceEvent::Restored { stream, gap_seconds, attempts: self.attempts }
                }
            };
            let _ = self.events.send(event); // Nobody may be listening.
        }
        let errors = open.errors.take();
        let late = pulse.take_lateness().and_then(|late| open.underruns.step(now, late));
        let underruns = u64::from(errors.xruns) + u64::from(late.is_some());
        if underruns > 0 {
            locked(&self.shared.status).underruns += underruns;
            self.longer |= self.period < PERIOD_MOST;
        }
        let listed = match open.listed.take().map(|answer| (answer.try_recv(), answer)) {
            Some((Ok(found), _)) => found,
            Some((Err(TryRecvError::Empty), answer)) => {
                open.listed = Some(answer);
                None
            }
            _ => None,
        };
        open.watch.step(now, &Seen { frames, lateness_ns: None, errors, listed })
    }

    /// Asks, now and then, whether the device still exists.
    fn listed(&mut self, now: u64) {
        let (Some(open), Some(desk)) = (&mut self.open, &self.desk) else { return };
        if open.listed.is_some() || now < open.list_at {
            return;
        }
        let every = if open.info.host == "alsa" { LISTED_EVERY_ALSA_NS } else { LISTED_EVERY_NS };
        open.list_at = now + every;
        let (host, id) = (open.info.host.clone(), open.info.id.clone());
        open.listed = Some(desk.ask(move |bench| device::listed(bench, &host, Direction::Output, &id)));
    }

    fn lose(&mut self, fault: Fault) {
        let Some(open) = self.open.take() else { return };
        self.shared.rate.store(0, Ordering::Release);
        let name = open.info.name.clone();
        self.shut(open, matches!(fault, Fault::HostGone | Fault::Broken | Fault::Stalled));
        let reason = format!("the output device {name} was lost: {fault}");
        self.fail_all(&reason);
        let mut status = locked(&self.shared.status);
        (status.device, status.reason) = (None, Some(reason));
        drop(status);
        let _ = self.events.send(DeviceEvent::Lost { name, fault }); // Nobody may be listening.
        self.lost_at.get_or_insert(now_ns());
        (self.backoff, self.attempts) = (Backoff::new(), 0);
        self.try_at = now_ns() + nanos(self.backoff.pause());
    }

    fn reopen_longer(&mut self) {
        self.longer = false;
        self.period = (self.period * 2).min(PERIOD_MOST);
        if let Some(open) = self.open.take() {
            self.shut(open, false);
        }
        self.try_open();
    }

    fn shut(&mut self, open: Open, connection_too: bool) {
        let Open { sink, done, orders, .. } = open;
        drop(orders);
        let closed = desk::close(sink);
        self.leaving.push(done);
        self.collect();
        if !closed || connection_too {
            self.desk = None;
        }
    }

    fn try_open(&mut self) {
        self.attempts += 1;
        match self.open_device() {
            Ok(mut open) => {
                let rate = open.info.rate;
                self.offer_monitor(rate);
                if let Some(ring) = self.monitor.take() {
                    let _ = open.orders.push(Order::Monitor(ring)); // The ring is new and has room.
                }
                if self.metronome.is_some() {
                    let _ = open.orders.push(Order::Metronome(self.metronome)); // As above.
                }
                let mut status = locked(&self.shared.status);
                status.device = Some(open.info.name.clone());
                (status.reason, status.period, status.rate) = (None, open.info.period, rate);
                drop(status);
                self.pinned = Some(open.info.clone());
                self.open = Some(open);
                self.shared.rate.store(rate, Ordering::Release);
            }
            Err(e) => {
                let reason = e.to_string();
                if self.attempts == 1 && self.pinned.is_none() {
                    let _ = self.events.send(DeviceEvent::Warning(format!("no sound output: {reason}")));
                }
                // If this was to be a longer period, the device is lost all the same.
                self.shared.rate.store(0, Ordering::Release);
                // The first opening after a failed start is a recovery.
                self.lost_at.get_or_insert(now_ns());
                let mut status = locked(&self.shared.status);
                (status.device, status.reason) = (None, Some(reason));
                drop(status);
                let pause = if self.pinned.is_none() { NEVER_OPENED } else { self.backoff.pause() };
                self.try_at = now_ns() + nanos(pause);
            }
        }
    }

    /// Makes the monitor's ring with the first device.
    fn offer_monitor(&mut self, rate: u32) {
        if self.pinned.is_none() {
            let (samples, ring) = RingBuffer::new((rate as f32 * MONITOR_SECONDS) as usize);
            *locked(&self.shared.monitor) = Some((samples, rate));
            self.monitor = Some(ring);
        }
    }

    fn open_device(&mut self) -> Result<Open, AudioError> {
        if self.desk.is_none() {
            let desk = Desk::start("player-desk")
                .map_err(|source| AudioError::Thread { what: "opening the output device", source })?;
            self.desk = Some(desk);
        }
        let mut choice = self.settings.choice.clone();
        let mut pinned = None;
        let mut only_pinned = false;
        if let Some(info) = &self.pinned {
            choice.host.clone_from(&info.host);
            let waited = self.lost_at.map_or(0, |lost| now_ns().saturating_sub(lost));
            only_pinned = !(choice.name.trim().is_empty() && waited > LOYALTY_NS);
            pinned = Some(info.id.clone());
        }
        let rate = self.pinned.as_ref().map_or(0, |info| info.rate);
        let period = self.period;
        let pulse = Arc::new(Pulse::default());
        let dials = Dials {
            levels: self.shared.levels.clone(),
            pulse: pulse.clone(),
            board: self.shared.board.clone(),
        };
        let gate = self.settings.gate.clone();
        let (orders, orders_out) = RingBuffer::new(ORDERS);
        let (done_in, done) = RingBuffer::new(DONE);
        let errors = Arc::new(Errors::default());
        let counter = errors.clone();
        let Some(desk) = &self.desk else { return Err(AudioError::Format("no desk".into())) };
        let answer = desk.ask(move |bench: &mut Bench| {
            let chosen = device::select(
                bench,
                Direction::Output,
                &choice,
                pinned.as_deref(),
                only_pinned,
                rate,
                period,
            )?;
            let make = |rate, channels| Speaker::new(orders_out, done_in, dials, gate, rate, channels, true);
            open_sink(chosen, period, make, move |e: cpal::Error| counter.count(e.kind()))
        });
        let (sink, info) = match answer.recv_timeout(OPEN_TIMEOUT) {
            Ok(outcome) => outcome?,
            Err(_) => {
                // This desk hangs: leave it behind.
                self.desk = None;
                let device = match self.settings.choice.name.trim() {
                    "" => "the default output".to_owned(),
                    name => name.to_owned(),
                };
                return Err(AudioError::Unresponsive { device, seconds: OPEN_TIMEOUT.as_secs_f64() });
            }
        };
        let now = now_ns();
        let period_ns = frames_ns(u64::from(info.period), info.rate);
        Ok(Open {
            sink,
            orders,
            done,
            errors,
            pulse,
            watch: Watch::new(now, period_ns),
            underruns: GapDetector::new((period_ns as f64 * UNDERRUN_PERIODS) as u64),
            watch_at: now,
            listed: None,
            list_at: now + LISTED_EVERY_NS,
            announced: false,
            info,
        })
    }
}

impl Playing {
    fn send(&self, event: PlaybackEvent) {
        let _ = self.said.events.send(event); // Nobody may be listening.
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn open_sink(
    chosen: device::Chosen,
    period: u32,
    make: impl FnOnce(u32, u16) -> Speaker,
    on_error: impl FnMut(cpal::Error) + Send + 'static,
) -> Result<(rodio::MixerDeviceSink, StreamInfo), AudioError> {
    let device::Chosen { device, info, config, format } = chosen;
    let name = info.name.clone();
    let refused = move |message: String| AudioError::Device {
        device: name,
        action: "opened",
        source: cpal::Error::with_message(cpal::ErrorKind::BackendError, message),
    };
    let (Some(rate), Some(channels)) = (NonZero::new(config.sample_rate), NonZero::new(config.channels))
    else {
        return Err(refused("it has no channels".into()));
    };
    let period = match config.buffer_size {
        BufferSize::Fixed(frames) => frames,
        BufferSize::Default => period,
    };
    let sink = rodio::DeviceSinkBuilder::from_device(device).map(|builder| {
        builder
            .with_sample_rate(rate)
            .with_channels(channels)
            .with_sample_format(format)
            .with_buffer_size(BufferSize::Fixed(period))
            .with_error_callback(on_error)
            .open_stream()
    });
    let mut sink = sink.and_then(|opened| opened).map_err(|e| {
        let cause = std::error::Error::source(&e).map_or(String::new(), |cause| format!(": {cause}"));
        refused(format!("{e}{cause}"))
    })?;
    sink.log_on_drop(false);
    sink.mixer().add(make(config.sample_rate, config.channels));
    let stream = StreamInfo {
        host: info.host,
        name: info.name,
        id: info.id,
        rate: config.sample_rate,
        channels: config.channels,
        format: format.to_string(),
        period,
        realtime: false,
    };
    Ok((sink, stream))
}

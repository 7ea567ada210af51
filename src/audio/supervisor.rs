//! Keeps the capture stream alive: notices a lost, moved, stalled or starved device, rebuilds it, tells what happened.
//!
//! One thread owns the stream. What may block (opening, listing, closing) is done at a [`crate::audio::desk`]. Each new
//! stream comes with a ring of its own, handed to the loop as a [`Feed`] through an SPSC ring; finished feeds come back
//! the same way, so that the loop never frees memory. Device events are *every value*, on an unbounded channel: they are
//! rare by construction (one per loss and recovery).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use cpal::traits::{DeviceTrait, StreamTrait};
use rtrb::{Consumer, Producer};
use tokio::sync::mpsc::UnboundedSender;

use crate::audio::capture::{self, CaptureState, Channel, Intake};
use crate::audio::clock::{SECOND_NS, frames_ns, now_ns, ns_frames};
use crate::audio::desk::{self, Bench, Desk};
use crate::audio::device::{self, DeviceChoice, Direction};
use crate::audio::resample::Resampler;
use crate::audio::watch::{Backoff, Errors, Fault, Seen, Verdict, Watch};
use crate::audio::{ANALYSIS_RATE, AudioError};

/// How often the watch looks. Twenty times a second costs nothing and finds an error within 50 ms.
const LOOK: Duration = Duration::from_millis(50);
/// How often the list of devices is looked through for ours (a silent move). ALSA reads its configuration files for it.
const LISTED_EVERY_NS: u64 = SECOND_NS;
const LISTED_EVERY_ALSA_NS: u64 = 5 * SECOND_NS;
/// Longest wait for a device to open; opening waits for the first sound, and a sleeping sink takes up to 2 s.
const OPEN_TIMEOUT: Duration = Duration::from_secs(4);
/// Bound on the host's own waiting for a stream to be created.
const CREATE_TIMEOUT: Duration = Duration::from_secs(2);
/// A default device that vanished is waited for this long; then the new default device is taken.
const LOYALTY_NS: u64 = 2 * SECOND_NS;

/// What became of a sound device.
#[derive(Clone, Debug, PartialEq)]
pub enum DeviceEvent {
    /// The device was opened and its first sound has arrived.
    Opened(StreamInfo),
    /// The device was lost; it is being looked for.
    Lost {
        /// Name of the device.
        name: String,
        /// How.
        fault: Fault,
    },
    /// A device is there again.
    Restored {
        /// What was opened.
        stream: StreamInfo,
        /// Length of the gap, seconds.
        gap_seconds: f64,
        /// Attempts it took.
        attempts: u32,
    },
    /// The stream goes on, but some sound never came (found by the clock).
    Missed {
        /// Name of the device.
        name: String,
        /// How much, seconds.
        seconds: f64,
    },
    /// Something about the input that the player should know: a recording that is cut short, a first failed attempt to
    /// open the output.
    Warning(String),
}

/// A stream as it was opened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StreamInfo {
    /// `pulseaudio`, `alsa`.
    pub host: String,
    /// Name of the device.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Samples a second.
    pub rate: u32,
    /// Channels.
    pub channels: u16,
    /// Sample format.
    pub format: String,
    /// Frames a callback.
    pub period: u32,
    /// Real-time priority was granted.
    pub realtime: bool,
}

/// What to capture.
#[derive(Clone, Debug)]
pub struct CaptureSettings {
    /// The device.
    pub choice: DeviceChoice,
    /// Channel with the guitar, from 1; 0: all mixed.
    pub channel: u16,
    /// Rate to ask for, Hz; 0: 48 kHz where offered.
    pub sample_rate: u32,
    /// Period to ask for, frames.
    pub period: u32,
    /// Ask for real-time priority.
    pub realtime: bool,
}

/// A stream's ring on its way to the loop.
#[derive(Debug)]
pub struct Feed {
    /// The ring.
    pub intake: Intake,
    /// Rate of its samples, Hz.
    pub rate: u32,
    /// To the analysis rate; `None` where it is that already.
    pub resampler: Option<Resampler>,
}

impl Feed {
    /// With a resampler if the rate needs one.
    ///
    /// # Errors
    /// [`AudioError::Format`] for an impossible rate.
    pub fn new(intake: Intake, rate: u32) -> Result<Self, AudioError> {
        let resampler = if rate == ANALYSIS_RATE { None } else { Some(Resampler::new(rate, ANALYSIS_RATE)?) };
        Ok(Self { intake, rate, resampler })
    }
}

/// The running supervisor.
pub struct Supervisor {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Supervisor {
    /// Opens the device (waiting for it) and keeps it open until [`Supervisor::stop`]. Feeds go to `feeds`; the loop sends
    /// used ones back by `used`.
    ///
    /// # Errors
    /// Why the device cannot be opened now. Once it was open, losing it is an event and no error.
    pub fn start(
        settings: CaptureSettings,
        feeds: Producer<Feed>,
        used: Consumer<Feed>,
        events: UnboundedSender<DeviceEvent>,
    ) -> Result<Self, AudioError> {
        let (stop, stopped) = channel();
        let (first, opened) = channel();
        let thread = std::thread::Builder::new()
            .name("capture".into())
            .spawn(move || {
                let mut keeper = Keeper { settings, feeds, used, events, stopped, desk: None };
                let outcome = keeper.open(None, false);
                match outcome {
                    Ok(open) => {
                        let _ = first.send(Ok(())); // The starter waits for it.
                        keeper.keep(open);
                    }
                    Err(e) => {
                        let _ = first.send(Err(e));
                    }
                }
            })
            .map_err(|source| AudioError::Thread { what: "capturing sound", source })?;
        let supervisor = Self { stop: Some(stop), thread: Some(thread) };
        match opened.recv() {
            Ok(Ok(())) => Ok(supervisor),
            Ok(Err(e)) => Err(e),
            // Only if the thread panicked; the join in drop tells nothing more.
            Err(_) => Err(AudioError::Format("the capture thread ended before it opened a device".into())),
        }
    }

    /// Closes the stream and ends the thread.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // A panic there has been printed already.
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.end();
    }
}

/// An open stream.
struct Open {
    stream: cpal::Stream,
    feed: Option<Feed>,
    state: Arc<CaptureState>,
    errors: Arc<Errors>,
    info: StreamInfo,
}

struct Keeper {
    settings: CaptureSettings,
    feeds: Producer<Feed>,
    used: Consumer<Feed>,
    events: UnboundedSender<DeviceEvent>,
    stopped: Receiver<()>,
    desk: Option<Desk>,
}

/// How a stream ended.
enum End {
    Stop,
    Lost(Fault),
}

impl Keeper {
    fn is_stopped(&self) -> bool {
        matches!(self.stopped.try_recv(), Err(TryRecvError::Disconnected))
    }

    /// Waits; false when it is time to stop.
    fn sleep(&self, pause: Duration) -> bool {
        matches!(self.stopped.recv_timeout(pause), Err(RecvTimeoutError::Timeout))
    }

    fn tell(&self, event: DeviceEvent) {
        let _ = self.events.send(event); // Nobody may be listening.
    }

    fn desk(&mut self) -> Result<&Desk, AudioError> {
        if self.desk.is_none() {
            let desk = Desk::start("capture-desk")
                .map_err(|source| AudioError::Thread { what: "opening sound devices", source })?;
            self.desk = Some(desk);
        }
        self.desk.as_ref().ok_or_else(|| AudioError::Format("no desk".into()))
    }

    fn open(&mut self, pinned: Option<&StreamInfo>, only_pinned: bool) -> Result<Open, AudioError> {
        let mut settings = self.settings.clone();
        let mut id = None;
        if let Some(info) = pinned {
            settings.choice.host.clone_from(&info.host);
            id = Some(info.id.clone());
        }
        let name = pinned.map_or_else(|| settings.choice.name.clone(), |info| info.name.clone());
        let answer = self.desk()?.ask(move |bench| open(bench, &settings, id.as_deref(), only_pinned));
        let started = now_ns();
        loop {
            match answer.recv_timeout(LOOK) {
                Ok(outcome) => return outcome,
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let waited = Duration::from_nanos(now_ns().saturating_sub(started));
                    if waited > OPEN_TIMEOUT || self.is_stopped() {
                        break;
                    }
                }
            }
        }
        // This desk hangs: leave it behind.
        self.desk = None;
        let device = if name.is_empty() { "the default input".to_owned() } else { name };
        Err(AudioError::Unresponsive { device, seconds: OPEN_TIMEOUT.as_secs_f64() })
    }

    fn keep(&mut self, first: Open) {
        let mut open = first;
        let mut recovery: Option<(u64, u32)> = None;
        loop {
            self.hand_over(&mut open);
            let end = self.watch(&open, recovery.take());
            let Open { stream, state, info, .. } = open;
            state.closed.store(true, Ordering::Release);
            // With the desk's own connection kept, closing the stream ends the stream's threads.
            let closed = desk::close(stream);
            let fault = match end {
                End::Stop => return,
                End::Lost(fault) => fault,
            };
            if !closed || matches!(fault, Fault::HostGone | Fault::Broken | Fault::Stalled) {
                // Its connection is as dead as the stream.
                self.desk = None;
            }
            self.tell(DeviceEvent::Lost { name: info.name.clone(), fault });
            let lost_ns = state.last_ns.load(Ordering::Acquire);
            let Some((again, attempts)) = self.reopen(&info) else { return };
            recovery = Some((lost_ns, attempts));
            open = again;
        }
    }

    fn reopen(&mut self, lost: &StreamInfo) -> Option<(Open, u32)> {
        let mut backoff = Backoff::new();
        let since = now_ns();
        for attempt in 1.. {
            let any =
                self.settings.choice.name.trim().is_empty() && now_ns().saturating_sub(since) > LOYALTY_NS;
            if let Ok(open) = self.open(Some(lost), !any) {
                return Some((open, attempt));
            }
            if !self.sleep(backoff.pause()) {
                return None;
            }
        }
        None
    }

    fn hand_over(&mut self, open: &mut Open) {
        while self.used.pop().is_ok() {}
        if let Some(feed) = open.feed.take() {
            // The ring has room for more feeds than can be on their way; if the loop has ended, nobody minds.
            let _ = self.feeds.push(feed);
        }
    }

    fn watch(&mut self, open: &Open, mut recovery: Option<(u64, u32)>) -> End {
        let rate = open.info.rate;
        let mut watch = Watch::new(now_ns(), frames_ns(u64::from(open.info.period), rate));
        let mut announced = false;
        let mut asked: Option<Receiver<Option<bool>>> = None;
        let every = if open.info.host == "alsa" { LISTED_EVERY_ALSA_NS } else { LISTED_EVERY_NS };
        let mut ask_at = now_ns() + every;
        while self.sleep(LOOK) {
            while self.used.pop().is_ok() {}
            let now = now_ns();
            let frames = open.state.frames.load(Ordering::Relaxed);
            if !announced && frames > 0 {
                announced = true;
                self.announce(open, recovery.take());
            }
            let mut listed = None;
            if let Some(answer) = asked.take() {
                match answer.try_recv() {
                    Ok(found) => listed = found,
                    // A server that is stopped answers later; the frames tell meanwhile.
                    Err(TryRecvError::Empty) => asked = Some(answer),
                    Err(TryRecvError::Disconnected) => {}
                }
            } else if now >= ask_at {
                ask_at = now + every;
                let (host, id) = (open.info.host.clone(), open.info.id.clone());
                asked = self
                    .desk()
                    .ok()
                    .map(|desk| desk.ask(move |bench| device::listed(bench, &host, Direction::Input, &id)));
            }
            let lateness_ns = open.state.take_lateness();
            let seen = Seen { frames, lateness_ns, errors: open.errors.take(), listed };
            match watch.step(now, &seen) {
                Verdict::Fine => {}
                Verdict::Missed(ns) => {
                    open.state.missed.fetch_add(ns_frames(ns, rate), Ordering::Relaxed);
                    let seconds = ns as f64 / SECOND_NS as f64;
                    self.tell(DeviceEvent::Missed { name: open.info.name.clone(), seconds });
                }
                Verdict::Lost(fault) => return End::Lost(fault),
            }
        }
        End::Stop
    }

    fn announce(&self, open: &Open, recovery: Option<(u64, u32)>) {
        let stream = StreamInfo {
            period: open.info.period.max(open.state.period.load(Ordering::Relaxed)),
            realtime: open.state.realtime.get().unwrap_or(false),
            ..open.info.clone()
        };
        self.tell(match recovery {
            None => DeviceEvent::Opened(stream),
            Some((lost_ns, attempts)) => {
                let start = open.state.start_ns(stream.rate).unwrap_or(lost_ns);
                let gap_seconds = start.saturating_sub(lost_ns) as f64 / SECOND_NS as f64;
                DeviceEvent::Restored { stream, gap_seconds, attempts }
            }
        });
    }
}

fn open(
    bench: &mut Bench,
    settings: &CaptureSettings,
    pinned: Option<&str>,
    only_pinned: bool,
) -> Result<Open, AudioError> {
    let CaptureSettings { choice, channel, sample_rate, period, realtime } = settings;
    let chosen = device::select(bench, Direction::Input, choice, pinned, only_pinned, *sample_rate, *period)?;
    let device::Chosen { device, info, config, format } = chosen;
    if *channel > config.channels {
        return Err(AudioError::Format(format!(
            "{} has {} channel(s), not {channel}; choose 1 to {}, or 0 for all mixed",
            info.name, config.channels, config.channels
        )));
    }
    let failed = |action| {
        let device = info.name.clone();
        move |source| AudioError::Device { device, action, source }
    };
    let rate = config.sample_rate;
    let (callback, intake) = capture::ring(config.channels, Channel::from_setting(*channel), rate, *realtime);
    let state = intake.state.clone();
    let feed = Feed::new(intake, rate)?;
    let errors = Arc::new(Errors::default());
    let counter = errors.clone();
    let stream = build(&device, config, format, callback, move |e: cpal::Error| counter.count(e.kind()))
        .map_err(failed("opened"))?;
    stream.play().map_err(failed("started"))?;
    let period = stream.buffer_size().unwrap_or(*period);
    Ok(Open {
        stream,
        feed: Some(feed),
        state,
        errors,
        info: StreamInfo {
            host: info.host,
            name: info.name,
            id: info.id,
            rate,
            channels: config.channels,
            format: format.to_string(),
            period,
            realtime: false,
        },
    })
}

/// One stream with the callback as its body, for whichever sample format the device has.
fn build(
    device: &cpal::Device,
    config: cpal::StreamConfig,
    format: cpal::SampleFormat,
    mut callback: capture::Callback,
    on_error: impl FnMut(cpal::Error) + Send + 'static,
) -> Result<cpal::Stream, cpal::Error> {
    macro_rules! streams {
        ($($variant:ident $sample:ty),+ $(,)?) => {
            match format {
                $(cpal::SampleFormat::$variant => device.build_input_stream::<$sample, _, _>(
                    config,
                    move |data, _| callback.on_data(data),
                    on_error,
                    Some(CREATE_TIMEOUT),
                ),)+
                _ => Err(cpal::Error::with_message(
                    cpal::ErrorKind::UnsupportedConfig,
                    format!("sample format {format} is not supported"),
                )),
            }
        };
    }
    streams!(
        F32 f32, I16 i16, I32 i32, I24 cpal::I24, U8 u8, I8 i8, U16 u16, U32 u32, U24 cpal::U24, I64 i64,
        U64 u64, F64 f64,
    )
}

//! The real-time loop with all that belongs to it: where samples come from, the thread that hears, what comes out.
//!
//! ```text
//! sound card ─callback─▶ ring ┐
//! file, guitarist ─feeder─▶ ring ┴▶ DSP thread: resample → hops → Hear ─▶ ring of DspEvents (every value)
//!                                                                    └▶ LiveReader (latest value)
//! ```
//! The DSP thread is a plain thread with real-time priority where allowed (below the callback's). It sleeps when the ring
//! is empty and after its start neither allocates nor locks nor logs.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use rtrb::{Consumer, Producer, RingBuffer};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::audio::clock::frames_ns;
use crate::audio::device::DeviceChoice;
use crate::audio::echo::EchoGate;
use crate::audio::feeder::Feeder;
use crate::audio::file::FileSource;
use crate::audio::listener::{Listener, Parts, Round, Switches};
use crate::audio::live::{self, LiveReader};
use crate::audio::metronome::ear::{Ear, Link};
use crate::audio::priority;
use crate::audio::stats::EngineStats;
use crate::audio::supervisor::{CaptureSettings, DeviceEvent, Feed, StreamInfo, Supervisor};
use crate::audio::tap::Tap;
use crate::audio::{ANALYSIS_RATE, AudioError, SampleSource};
use crate::dsp::event::DspEvent;

/// An analyser as the loop sees it. Samples are mono at [`ANALYSIS_RATE`]. No `Send`: it is built inside the loop's thread
/// and never leaves it. After construction it must not allocate, lock or log.
pub trait Hear {
    /// Takes the next samples, any number of them.
    fn process(&mut self, samples: &[f32], sink: &mut dyn FnMut(DspEvent));
    /// Input of this length is missing: the clock runs on, nothing in there is judged, a sounding note ends.
    fn skip(&mut self, samples: u64, sink: &mut dyn FnMut(DspEvent));
    /// From here on input may (or may no longer) contain the coach's voice.
    fn set_gated(&mut self, gated: bool);
    /// Time of the first sample, seconds on the capture clock. Called before the first sample.
    fn set_origin(&mut self, seconds: f64);
    /// No more samples: ends the sounding note.
    fn finish(&mut self, sink: &mut dyn FnMut(DspEvent));
}

/// Where samples come from.
pub enum Input {
    /// A sound card.
    Device(DeviceChoice),
    /// A recording.
    File {
        /// WAV or FLAC.
        path: PathBuf,
        /// As fast as possible instead of at the speed of the music.
        fast: bool,
    },
    /// Anything else: the virtual guitarist.
    Source {
        /// For people.
        name: String,
        /// Samples a second.
        sample_rate: u32,
        /// The sound.
        source: Box<dyn SampleSource + Send>,
        /// As fast as possible.
        fast: bool,
    },
}

/// A way to the player's monitor: what is fed is also heard.
pub struct Monitor {
    /// From [`crate::audio::player::Player::monitor`].
    pub samples: Producer<f32>,
    /// Rate of the player, Hz.
    pub rate: u32,
    /// Takes the way back when the input is over, for the next one.
    pub back: Option<Box<dyn FnOnce(Producer<f32>) + Send>>,
}

impl std::fmt::Debug for Monitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Monitor({} Hz)", self.rate)
    }
}

/// Settings of an engine.
#[derive(Debug)]
pub struct EngineSettings {
    /// Channel with the guitar, from 1; 0: all mixed.
    pub channel: u16,
    /// Rate to ask a device for, Hz; 0: 48 kHz where offered, else the device's default.
    pub sample_rate: u32,
    /// Period to ask a device for, frames.
    pub period: u32,
    /// Samples a hop, at the analysis rate.
    pub hop: usize,
    /// Reference pitch for the live display, Hz.
    pub a4: f32,
    /// Ask for real-time priority.
    pub realtime: bool,
    /// Lets the input be heard (files and sources at the speed of the music only).
    pub monitor: Option<Monitor>,
    /// The metronome, whose clicks are in the input.
    pub metronome: Option<Link>,
    /// A copy of what is heard, for a recorder.
    pub tap: Option<Tap>,
}

/// 5.3 ms: the hop of the analysis.
pub const HOP: usize = 256;

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            channel: 0,
            sample_rate: 0,
            period: 1024,
            hop: HOP,
            a4: 440.0,
            realtime: true,
            monitor: None,
            metronome: None,
            tap: None,
        }
    }
}

impl From<&crate::config::Audio> for EngineSettings {
    fn from(audio: &crate::config::Audio) -> Self {
        Self {
            channel: audio.channel,
            sample_rate: audio.sample_rate,
            period: audio.period,
            ..Self::default()
        }
    }
}

/// Events between the loop and the session: 80 s of frames, far more than any session may sleep.
const EVENTS: usize = 16_384;
/// Streams on their way to the loop and back.
const FEEDS: usize = 8;
/// Sleep of a loop with nothing to do: short against a period, long enough to cost nothing.
const IDLE: Duration = Duration::from_micros(2_500);
/// The same in fast mode, where the feeder refills at once.
const IDLE_FAST: Duration = Duration::from_micros(100);

/// Held only to be dropped: that ends the thread behind it.
enum Front {
    Device(#[expect(dead_code, reason = "dropping it closes the device")] Supervisor),
    Fed(#[expect(dead_code, reason = "dropping it ends the feeder")] Feeder),
}

/// A running engine.
pub struct Engine {
    front: Option<Front>,
    thread: Option<JoinHandle<()>>,
    switches: Arc<Switches>,
    stats: Arc<EngineStats>,
    live: LiveReader,
    events: Consumer<DspEvent>,
    device_events: UnboundedReceiver<DeviceEvent>,
}

impl Engine {
    /// Opens the input and starts to listen. `make` builds the analyser inside the DSP thread.
    ///
    /// # Errors
    /// A device, file or rate that cannot be used; a system without threads.
    pub fn start(
        input: Input,
        settings: EngineSettings,
        make: impl FnOnce() -> Box<dyn Hear> + Send + 'static,
        gate: EchoGate,
    ) -> Result<Self, AudioError> {
        crate::audio::clock::start();
        let EngineSettings { channel, sample_rate, period, hop, a4, realtime, monitor, metronome, tap } =
            settings;
        let switches = Arc::new(Switches::default());
        let stats = Arc::new(EngineStats::new(frames_ns(hop as u64, ANALYSIS_RATE)));
        let (feeds_in, feeds) = RingBuffer::<Feed>::new(FEEDS);
        let (used, used_out) = RingBuffer::<Feed>::new(FEEDS);
        let (told, device_events) = unbounded_channel();
        let (fed, fast) = match input {
            Input::Device(choice) => {
                let capture = CaptureSettings { choice, channel, sample_rate, period, realtime };
                (Err(capture), false)
            }
            Input::File { path, fast } => {
                let source = FileSource::open(&path, channel)?;
                let info =
                    described("file", path.display().to_string(), source.sample_rate(), source.channels());
                let source: Box<dyn SampleSource + Send> = Box::new(source);
                (Ok((info, source)), fast)
            }
            Input::Source { name, sample_rate, source, fast } => {
                (Ok((described("source", name, sample_rate, 1), source)), fast)
            }
        };
        let front = match fed {
            Err(capture) => Front::Device(Supervisor::start(capture, feeds_in, used_out, told)?),
            Ok((info, source)) => {
                let monitor = monitor.filter(|_| !fast);
                Front::Fed(Feeder::start(info, source, fast, monitor, switches.clone(), feeds_in, told)?)
            }
        };
        let (events_in, events) = RingBuffer::new(EVENTS);
        let (writer, reader) = live::cell();
        let (loop_stats, loop_switches) = (stats.clone(), switches.clone());
        let thread = std::thread::Builder::new()
            .name("dsp".into())
            .spawn(move || {
                let _ended = Ended(loop_switches.clone());
                // Not in fast mode: a loop that never sleeps would starve the rest of the machine.
                if realtime && !fast {
                    loop_stats.realtime.set(priority::request(priority::LOOP_PRIORITY));
                }
                let listener = Listener::new(Parts {
                    feeds,
                    used,
                    hear: make(),
                    hop,
                    events: events_in,
                    wait: fast,
                    live: writer,
                    a4,
                    gate,
                    stats: loop_stats,
                    switches: loop_switches,
                    ear: metronome.map(Ear::new),
                    tap,
                });
                run(listener, if fast { IDLE_FAST } else { IDLE });
            })
            .map_err(|source| AudioError::Thread { what: "hearing", source })?;
        Ok(Self {
            front: Some(front),
            thread: Some(thread),
            switches,
            stats,
            live: reader,
            events,
            device_events,
        })
    }

    /// Everything that was heard, in order.
    pub fn events(&mut self) -> &mut Consumer<DspEvent> {
        &mut self.events
    }

    /// The same, to keep: then it can be read on after [`Engine::stop`]. A second call gives an empty ring.
    #[must_use]
    pub fn take_events(&mut self) -> Consumer<DspEvent> {
        std::mem::replace(&mut self.events, RingBuffer::new(1).1)
    }

    /// The latest frame.
    #[must_use]
    pub fn live(&self) -> LiveReader {
        self.live.clone()
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> Arc<EngineStats> {
        self.stats.clone()
    }

    /// What becomes of the device; to be taken once, later calls give a closed channel.
    #[must_use]
    pub fn device_events(&mut self) -> UnboundedReceiver<DeviceEvent> {
        std::mem::replace(&mut self.device_events, unbounded_channel().1)
    }

    /// Stops or resumes hearing. A device goes on and the pause becomes a gap; a recording waits.
    pub fn pause(&self, paused: bool) {
        self.switches.paused.store(paused, Ordering::Relaxed);
    }

    /// True when a recording or source is over and everything it caused is in the events' ring.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.switches.ended.load(Ordering::Acquire)
    }

    /// Closes the input, hears what has come in, ends the sounding note, waits for the thread. Gives back the events that
    /// nobody has taken (empty after [`Engine::take_events`]).
    pub fn stop(mut self) -> Consumer<DspEvent> {
        self.end();
        self.take_events()
    }

    fn end(&mut self) {
        self.switches.stop.store(true, Ordering::Release);
        drop(self.front.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // A panic there has been printed already.
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.end();
    }
}

fn described(host: &str, name: String, rate: u32, channels: u16) -> StreamInfo {
    let (host, id) = (host.to_owned(), name.clone());
    StreamInfo { host, name, id, rate, channels, format: "f32".into(), period: 0, realtime: false }
}

/// Marks the loop as ended, whichever way it ends.
struct Ended(Arc<Switches>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Release);
    }
}

fn run(mut listener: Listener, idle: Duration) {
    loop {
        match listener.round() {
            Round::Busy => {}
            Round::Idle => std::thread::sleep(idle),
            Round::End => break,
        }
    }
    listener.finish();
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;

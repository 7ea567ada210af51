//! Recordings and made sound through the same ring as a sound card: at the speed of the music, or as fast as the loop takes it.
//!
//! At the speed of the music the pace is the monotonic clock's, and a loop that is too slow loses samples as with a real
//! device (counted, marked). In fast mode nothing is lost: the feeder waits for room.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rtrb::Producer;
use tokio::sync::mpsc::UnboundedSender;

use crate::audio::capture::{self, Callback, Channel};
use crate::audio::clock::{frames_ns, now_ns};
use crate::audio::engine::Monitor;
use crate::audio::listener::Switches;
use crate::audio::resample::Resampler;
use crate::audio::supervisor::{DeviceEvent, Feed, StreamInfo};
use crate::audio::{AudioError, SampleSource};

/// Blocks a second at the speed of the music.
const BLOCKS_A_SECOND: u32 = 100;
/// Frames a block in fast mode.
const FAST_BLOCK: usize = 4096;
/// Pause of a feeder whose ring is full.
const FULL: Duration = Duration::from_micros(200);
/// Pause of a feeder whose player pauses.
const PAUSED: Duration = Duration::from_millis(10);

/// A running feeder.
pub struct Feeder {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // A panic there has been printed already.
        }
    }
}

struct Work {
    source: Box<dyn SampleSource + Send>,
    rate: u32,
    callback: Callback,
    monitor: Option<(Monitor, Option<Resampler>)>,
    switches: Arc<Switches>,
    stop: Arc<AtomicBool>,
    events: UnboundedSender<DeviceEvent>,
}

impl Feeder {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`AudioError::Format`] for an impossible rate, [`AudioError::Thread`].
    pub fn start(
        info: StreamInfo,
        source: Box<dyn SampleSource + Send>,
        fast: bool,
        monitor: Option<Monitor>,
        switches: Arc<Switches>,
        mut feeds: Producer<Feed>,
        events: UnboundedSender<DeviceEvent>,
    ) -> Result<Self, AudioError> {
        let rate = info.rate;
        let (callback, intake) = capture::ring(1, Channel::Mix, rate, false);
        // The ring for feeds is new and has room.
        let _ = feeds.push(Feed::new(intake, rate)?);
        let monitor = match monitor {
            Some(monitor) if monitor.rate == rate => Some((monitor, None)),
            Some(monitor) => {
                let resampler = Resampler::new(rate, monitor.rate)?;
                Some((monitor, Some(resampler)))
            }
            None => None,
        };
        let _ = events.send(DeviceEvent::Opened(info)); // Nobody may be listening.
        let stop = Arc::new(AtomicBool::new(false));
        let work = Work { source, rate, callback, monitor, switches, stop: stop.clone(), events };
        let thread = std::thread::Builder::new()
            .name("feeder".into())
            .spawn(move || {
                // Kept until the end: when it goes, the loop knows that no other stream will come.
                let _feeds = feeds;
                if fast { work.run_fast() } else { work.run_paced() }
            })
            .map_err(|source| AudioError::Thread { what: "reading the input", source })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Work {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire) || self.callback.is_abandoned()
    }

    fn end(mut self) {
        if let Some(warning) = self.source.warning() {
            let _ = self.events.send(DeviceEvent::Warning(warning)); // Nobody may be listening.
        }
        self.callback.end();
        if let Some((Monitor { samples, back: Some(back), .. }, _)) = self.monitor.take() {
            back(samples);
        }
    }

    fn run_fast(mut self) {
        let mut block = vec![0.0; FAST_BLOCK];
        while !self.is_stopped() {
            if self.switches.paused.load(Ordering::Relaxed) {
                std::thread::sleep(PAUSED);
                continue;
            }
            if self.callback.room() < block.len() {
                std::thread::sleep(FULL);
                continue;
            }
            match self.source.read(&mut block) {
                0 => break,
                n => self.callback.on_data(&block[..n]),
            }
        }
        self.end();
    }

    fn run_paced(mut self) {
        let mut block = vec![0.0; (self.rate / BLOCKS_A_SECOND).max(1) as usize];
        let mut origin = now_ns();
        let mut frames = 0;
        while !self.is_stopped() {
            if self.switches.paused.load(Ordering::Relaxed) {
                std::thread::sleep(PAUSED);
                origin = now_ns().saturating_sub(frames_ns(frames, self.rate));
                continue;
            }
            let n = self.source.read(&mut block);
            if n == 0 {
                break;
            }
            frames += n as u64;
            // A block can be heard when its last sample has been played.
            let due = origin + frames_ns(frames, self.rate);
            if let Some(wait) = due.checked_sub(now_ns()) {
                std::thread::sleep(Duration::from_nanos(wait));
            }
            self.callback.on_data(&block[..n]);
            if let Some((monitor, resampler)) = &mut self.monitor {
                let heard = &mut monitor.samples;
                // A full ring means that nothing is played now: what is not heard is not kept.
                let mut hear = |samples: &[f32]| {
                    let _ = heard.push_partial_slice(samples);
                };
                match resampler {
                    None => hear(&block[..n]),
                    Some(resampler) => resampler.push(&block[..n], &mut hear),
                }
            }
        }
        self.end();
    }
}

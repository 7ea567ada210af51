//! The one source in the output device's mixer: the coach's voice and the monitor, from rings, and the metronome's clicks.
//!
//! Runs in the sound card's callback: no allocation, lock, log or free. What it is to play comes by an SPSC ring, what it
//! has finished with goes back by another, to be freed by the player thread. It renders blocks of [`BLOCK`] frames and looks
//! at its inbox and at the clock once a block.

#![deny(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros)]

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};

use rtrb::{Consumer, Producer};

use crate::audio::clock::{frames_ns, now_ns};
use crate::audio::echo::{AUDIBLE, EchoGate};
use crate::audio::metronome::Metronome;
use crate::audio::metronome::board::{Board, Offset, Train};
use crate::audio::priority::{self, Granted};
use crate::dsp::click::{self, CLICK_SECONDS};

/// Frames rendered at a time: 1.3 ms at 48 kHz, a fraction of the shortest period.
pub(crate) const BLOCK: usize = 64;
/// A voice that is silenced fades for 4 ms, so that it does not click.
const FADE_SECONDS: f32 = 0.004;
/// Frames the monitor collects before it (re)starts: three of the feeder's blocks, so that the two clocks' jitter is not heard.
const MONITOR_HEAD_SECONDS: f32 = 0.03;
/// The metronome begins this long after it was asked for, so that its first click is heard whole.
const TRAIN_BEGINS: f32 = 0.1;
/// More than this in the monitor's ring is lateness, which is dropped.
const MONITOR_MOST_SECONDS: f32 = 0.12;

/// What the source tells about one utterance.
#[derive(Debug)]
pub(crate) struct Heard {
    /// First sample handed to the device, ns; `u64::MAX` before.
    pub first_ns: AtomicU64,
    /// First audible sample handed to the device, ns; `u64::MAX` before.
    pub audible_ns: AtomicU64,
    /// Samples handed to the device.
    pub frames: AtomicU64,
    /// Last sample handed to the device (finished or silenced), ns; `u64::MAX` before.
    pub end_ns: AtomicU64,
    /// Times that the voice had nothing to say in the middle.
    pub starved: AtomicU32,
    /// Everything has been pushed.
    pub complete: AtomicBool,
    /// Nobody needs to push any more.
    pub over: AtomicBool,
}

impl Default for Heard {
    fn default() -> Self {
        Self {
            first_ns: AtomicU64::new(u64::MAX),
            audible_ns: AtomicU64::new(u64::MAX),
            frames: AtomicU64::new(0),
            end_ns: AtomicU64::new(u64::MAX),
            starved: AtomicU32::new(0),
            complete: AtomicBool::new(false),
            over: AtomicBool::new(false),
        }
    }
}

/// The sound of one utterance at the device's rate.
#[derive(Debug)]
pub(crate) struct Voice {
    pub samples: Consumer<f32>,
    pub heard: Arc<Heard>,
    hungry: bool,
}

impl Voice {
    pub fn new(samples: Consumer<f32>, heard: Arc<Heard>) -> Self {
        Self { samples, heard, hungry: false }
    }
}

/// To the source.
pub(crate) enum Order {
    /// Silence the voice that speaks and play this one.
    Speak(Voice),
    /// Silence the voice that speaks.
    Hush,
    /// The monitor's ring.
    Monitor(Consumer<f32>),
    /// Start the metronome anew, or stop it.
    Metronome(Option<Metronome>),
}

/// From the source: to be freed or used again elsewhere.
pub(crate) enum Done {
    Voice(Voice),
    Monitor(Consumer<f32>),
}

/// How loud; shared by all devices of a player.
#[derive(Debug)]
pub(crate) struct Levels {
    /// Bits of `f32`.
    pub volume: AtomicU32,
    pub monitor: AtomicU32,
    pub click: AtomicU32,
    pub muted: AtomicBool,
}

impl Levels {
    pub fn new(volume: f32, monitor: f32, click: f32) -> Self {
        Self {
            volume: AtomicU32::new(volume.to_bits()),
            monitor: AtomicU32::new(monitor.to_bits()),
            click: AtomicU32::new(click.to_bits()),
            muted: AtomicBool::new(false),
        }
    }
}

/// What the source tells about its device, in atomics. One for each device that is opened: one that hangs while it is
/// closed may still count.
#[derive(Debug)]
pub(crate) struct Pulse {
    /// Frames rendered.
    pub frames: AtomicU64,
    /// Least lateness of the frame count against the clock since the watch last took it, ns.
    pub lateness_ns: AtomicI64,
    pub realtime: Granted,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            frames: AtomicU64::new(0),
            lateness_ns: AtomicI64::new(i64::MAX),
            realtime: Granted::default(),
        }
    }
}

impl Pulse {
    pub fn take_lateness(&self) -> Option<i64> {
        let least = self.lateness_ns.swap(i64::MAX, Ordering::Relaxed);
        (least != i64::MAX).then_some(least)
    }
}

/// All that is set from, and told, outside.
#[derive(Clone, Debug)]
pub(crate) struct Dials {
    pub levels: Arc<Levels>,
    pub pulse: Arc<Pulse>,
    pub board: Arc<Board>,
}

/// The source. Mono inside, copied to every channel.
pub(crate) struct Speaker {
    orders: Consumer<Order>,
    done: Producer<Done>,
    dials: Dials,
    gate: EchoGate,
    rate: u32,
    channels: u16,
    ask_realtime: bool,
    voice: Option<Voice>,
    /// Silenced, fading; and how many of its frames are left.
    fading: Option<(Voice, usize)>,
    fade: usize,
    monitor: Option<Consumer<f32>>,
    monitor_plays: bool,
    train: Option<Train>,
    /// Click of the train that has not sounded to its end.
    tick: u64,
    /// Sound of a click at the device's rate.
    click: Box<[f32]>,
    offset: Offset,
    gain: f32,
    block: [f32; BLOCK],
    /// Next frame of the block, and channel of it.
    frame: usize,
    channel: u16,
    frames: u64,
    origin_ns: u64,
}

impl Speaker {
    pub fn new(
        orders: Consumer<Order>,
        done: Producer<Done>,
        dials: Dials,
        gate: EchoGate,
        rate: u32,
        channels: u16,
        ask_realtime: bool,
    ) -> Self {
        let gain = f32::from_bits(dials.levels.volume.load(Ordering::Relaxed));
        Self {
            orders,
            done,
            dials,
            gate,
            rate,
            channels: channels.max(1),
            ask_realtime,
            voice: None,
            fading: None,
            fade: ((FADE_SECONDS * rate as f32) as usize).max(1),
            monitor: None,
            monitor_plays: false,
            train: None,
            tick: 0,
            click: sound(rate),
            offset: Offset::default(),
            gain,
            block: [0.0; BLOCK],
            frame: BLOCK,
            channel: 0,
            frames: 0,
            origin_ns: 0,
        }
    }

    /// The next block, at a given time.
    pub fn render(&mut self, now_ns: u64) -> &[f32; BLOCK] {
        self.count(now_ns);
        self.obey(now_ns);
        self.block = [0.0; BLOCK];
        self.fade_out(now_ns);
        self.speak(now_ns);
        self.scale();
        let energy = self.block.iter().any(|x| x.abs() > AUDIBLE);
        if energy {
            self.gate.voice(now_ns);
            if let Some(voice) = &self.voice {
                let _ = voice.heard.audible_ns.compare_exchange(
                    u64::MAX,
                    now_ns,
                    Ordering::Release,
                    Ordering::Relaxed,
                );
            }
        }
        self.hear_monitor();
        self.tick();
        &self.block
    }

    fn count(&mut self, now_ns: u64) {
        if self.ask_realtime {
            self.ask_realtime = false;
            self.dials.pulse.realtime.set(priority::request(priority::CALLBACK_PRIORITY));
        }
        if self.frames == 0 {
            self.origin_ns = now_ns;
        }
        self.frames += BLOCK as u64;
        self.dials.pulse.frames.store(self.frames, Ordering::Relaxed);
        let late = now_ns.saturating_sub(self.origin_ns) as i64 - frames_ns(self.frames, self.rate) as i64;
        self.dials.pulse.lateness_ns.fetch_min(late, Ordering::Relaxed);
        // A device that was given up may hang on for a while: its board is another's now.
        if self.orders.is_abandoned() {
            self.train = None;
        } else {
            let offset_ns = self.offset.push(now_ns, self.frames - BLOCK as u64, self.rate);
            self.dials.board.count(self.frames, offset_ns);
        }
    }

    /// Starts the metronome anew, or stops it: the click that sounds is finished.
    fn beat(&mut self, metronome: Option<Metronome>) {
        let begun = self.frames - BLOCK as u64;
        let train = match (metronome, self.train) {
            (Some(metronome), _) => {
                self.tick = 0;
                let origin = begun + (TRAIN_BEGINS * self.rate as f32) as u64;
                let number = self.dials.board.train().map_or(1, |t| t.number + 1);
                Train { number, metronome, rate: self.rate, origin, until: u64::MAX }
            }
            (None, Some(train)) => Train { until: train.until.min(begun), ..train },
            (None, None) => return,
        };
        self.dials.board.set_train(&train);
        self.train = Some(train);
    }

    /// Mixes in the clicks at their frames.
    fn tick(&mut self) {
        let Some(train) = &self.train else { return };
        let (from, to) = (self.frames - BLOCK as u64, self.frames);
        let volume = f32::from_bits(self.dials.levels.click.load(Ordering::Relaxed));
        let mut n = self.tick;
        loop {
            let at = train.origin + train.metronome.frame(n, train.rate);
            if at >= to || at >= train.until {
                return;
            }
            let level = volume * train.metronome.tick(n).level;
            for (frame, x) in (from..to).zip(&mut self.block) {
                let sound = frame.checked_sub(at).and_then(|i| self.click.get(i as usize));
                if let Some(sound) = sound {
                    *x = (*x + level * sound).clamp(-1.0, 1.0);
                }
            }
            let sounding = at + self.click.len() as u64 > to;
            n += 1;
            if !sounding && n == self.tick + 1 {
                self.tick = n;
            }
        }
    }

    /// Takes orders, as long as there is room to give back what they replace.
    fn obey(&mut self, now_ns: u64) {
        while self.done.slots() >= 3 {
            let Ok(order) = self.orders.pop() else { return };
            match order {
                Order::Speak(voice) => {
                    self.hush(now_ns);
                    self.voice = Some(voice);
                }
                Order::Hush => self.hush(now_ns),
                Order::Metronome(metronome) => self.beat(metronome),
                Order::Monitor(monitor) => {
                    self.monitor_plays = false;
                    if let Some(old) = self.monitor.replace(monitor) {
                        self.give_back(Done::Monitor(old));
                    }
                }
            }
        }
    }

    fn hush(&mut self, now_ns: u64) {
        let Some(voice) = self.voice.take() else { return };
        if let Some((faded, _)) = self.fading.take() {
            faded.heard.end_ns.store(now_ns, Ordering::Release);
            self.give_back(Done::Voice(faded));
        }
        if voice.samples.is_empty() {
            voice.heard.end_ns.store(now_ns, Ordering::Release);
            self.give_back(Done::Voice(voice));
        } else {
            self.fading = Some((voice, self.fade));
        }
    }

    fn give_back(&mut self, done: Done) {
        // Room is made sure of before anything is taken in; a thing that found none would be freed here, in the callback:
        // wrong, but not unsound.
        let _ = self.done.push(done);
    }

    fn fade_out(&mut self, now_ns: u64) {
        let Some((mut voice, left)) = self.fading.take() else { return };
        let n = left.min(BLOCK);
        let (got, _) = voice.samples.pop_partial_slice(&mut self.block[..n]);
        let got = got.len();
        for (i, x) in self.block[..got].iter_mut().enumerate() {
            *x *= (left - i) as f32 / self.fade as f32;
        }
        voice.heard.frames.fetch_add(got as u64, Ordering::Relaxed);
        if left > BLOCK && got == n {
            self.fading = Some((voice, left - BLOCK));
        } else {
            voice.heard.end_ns.store(now_ns + frames_ns(got as u64, self.rate), Ordering::Release);
            self.give_back(Done::Voice(voice));
        }
    }

    fn speak(&mut self, now_ns: u64) {
        let Some(voice) = &mut self.voice else { return };
        let heard = &*voice.heard;
        // Looked at before the ring: what was pushed before the end is then seen.
        let complete = heard.complete.load(Ordering::Acquire);
        let mut fresh = [0.0; BLOCK];
        let got = voice.samples.pop_partial_slice(&mut fresh).0.len();
        for (x, voice) in self.block.iter_mut().zip(&fresh[..got]) {
            *x += voice;
        }
        if got > 0 {
            let _ = heard.first_ns.compare_exchange(u64::MAX, now_ns, Ordering::Release, Ordering::Relaxed);
            heard.frames.fetch_add(got as u64, Ordering::Relaxed);
        }
        if got < BLOCK && complete {
            heard.end_ns.store(now_ns + frames_ns(got as u64, self.rate), Ordering::Release);
            if let Some(voice) = self.voice.take() {
                self.give_back(Done::Voice(voice));
            }
            return;
        }
        let started = heard.first_ns.load(Ordering::Relaxed) != u64::MAX;
        let hungry = got < BLOCK && started;
        if hungry && !voice.hungry {
            heard.starved.fetch_add(1, Ordering::Relaxed);
        }
        voice.hungry = hungry;
    }

    /// Volume, changed over one block so that it does not click.
    fn scale(&mut self) {
        let levels = &*self.dials.levels;
        let muted = levels.muted.load(Ordering::Relaxed);
        let target = if muted { 0.0 } else { f32::from_bits(levels.volume.load(Ordering::Relaxed)) };
        let step = (target - self.gain) / BLOCK as f32;
        for (i, x) in self.block.iter_mut().enumerate() {
            *x = (*x * (self.gain + step * i as f32)).clamp(-1.0, 1.0);
        }
        self.gain = target;
    }

    fn hear_monitor(&mut self) {
        let Some(monitor) = &mut self.monitor else { return };
        let seconds = |s: f32| (s * self.rate as f32) as usize;
        let waiting = monitor.slots();
        if !self.monitor_plays {
            if waiting < seconds(MONITOR_HEAD_SECONDS) {
                return;
            }
            self.monitor_plays = true;
        }
        if waiting > seconds(MONITOR_MOST_SECONDS)
            && let Ok(late) = monitor.read_chunk(waiting - seconds(MONITOR_HEAD_SECONDS))
        {
            late.commit_all();
        }
        let level = f32::from_bits(self.dials.levels.monitor.load(Ordering::Relaxed));
        let mut fresh = [0.0; BLOCK];
        let got = monitor.pop_partial_slice(&mut fresh).0.len();
        self.monitor_plays = got == BLOCK;
        for (x, heard) in self.block.iter_mut().zip(&fresh[..got]) {
            *x = (*x + heard * level).clamp(-1.0, 1.0);
        }
    }
}

/// The click at a rate in Hz.
fn sound(rate: u32) -> Box<[f32]> {
    let frames = (CLICK_SECONDS * f64::from(rate)) as usize + 1;
    (0..frames).map(|i| click::shape(i as f64 / f64::from(rate.max(1))) as f32).collect()
}

impl Drop for Speaker {
    /// The device is gone: gives the rings back, so that the monitor goes on with the next device.
    fn drop(&mut self) {
        if let Some(monitor) = self.monitor.take() {
            self.give_back(Done::Monitor(monitor));
        }
    }
}

impl Iterator for Speaker {
    type Item = f32;

    fn next(&mut self) -> Option<f32> {
        if self.frame == BLOCK {
            self.render(now_ns());
            self.frame = 0;
        }
        let x = self.block[self.frame];
        self.channel += 1;
        if self.channel == self.channels {
            self.channel = 0;
            self.frame += 1;
        }
        Some(x)
    }
}

impl rodio::Source for Speaker {
    fn current_span_len(&self) -> Option<usize> {
        None
    }

    fn channels(&self) -> rodio::ChannelCount {
        NonZero::new(self.channels).unwrap_or(NonZero::<u16>::MIN)
    }

    fn sample_rate(&self) -> rodio::SampleRate {
        NonZero::new(self.rate).unwrap_or(NonZero::<u32>::MIN)
    }

    fn total_duration(&self) -> Option<std::time::Duration> {
        None
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros)]
#[path = "source_tests.rs"]
mod tests;

//! The callback, the real-time loop and the resampler allocate nothing after their start.
//!
//! The guard counts what one thread allocates or frees while it is forbidden to; the loop is run by hand on that thread.

use std::sync::Arc;

use assert_no_alloc::{AllocDisabler, assert_no_alloc, violation_count};
use fretcoach::audio::capture::{self, Channel};
use fretcoach::audio::clock::SECOND_NS;
use fretcoach::audio::echo::EchoGate;
use fretcoach::audio::engine::{HOP, Hear};
use fretcoach::audio::listener::{Listener, Parts, Round, Switches};
use fretcoach::audio::live;
use fretcoach::audio::stats::EngineStats;
use fretcoach::audio::supervisor::Feed;
use fretcoach::audio::tap;
use fretcoach::dsp::event::DspEvent;
use rtrb::RingBuffer;

#[global_allocator]
static GUARD: AllocDisabler = AllocDisabler;

/// Allocates nothing itself and reports something for each call.
struct Quiet(u64);

impl Hear for Quiet {
    fn process(&mut self, samples: &[f32], sink: &mut dyn FnMut(DspEvent)) {
        self.0 += samples.len() as u64;
        sink(DspEvent::Gap { from: 0.0, to: self.0 as f64 });
    }
    fn skip(&mut self, samples: u64, sink: &mut dyn FnMut(DspEvent)) {
        self.0 += samples;
        sink(DspEvent::Gap { from: 0.0, to: self.0 as f64 });
    }
    fn set_gated(&mut self, _: bool) {}
    fn set_origin(&mut self, _: f64) {}
    fn finish(&mut self, _: &mut dyn FnMut(DspEvent)) {}
}

fn guarded<T>(what: &str, body: impl FnOnce() -> T) -> T {
    let before = violation_count();
    let result = assert_no_alloc(body);
    assert_eq!(violation_count(), before, "{what} allocated or freed");
    result
}

#[test]
fn the_guard_notices_an_allocation() {
    let before = violation_count();
    assert_no_alloc(|| drop(std::hint::black_box(Vec::<u8>::with_capacity(100))));
    assert!(violation_count() > before);
}

#[test]
fn the_callback_allocates_nothing_even_when_the_ring_is_full() {
    let (mut callback, _intake) = capture::ring(2, Channel::One(1), 8_000, true);
    let data = vec![0.25_f32; 2 * 4_096];
    let ints = vec![1_000_i16; 2 * 1_023];
    guarded("the callback", || {
        for _ in 0..100 {
            callback.on_data(&data);
            callback.on_data(&ints);
            callback.on_data(&ints[..2]);
            callback.on_data::<f32>(&[]);
        }
    });
}

#[test]
fn the_loop_allocates_nothing_at_any_rate_over_gaps_and_new_streams() {
    let (mut feeds, feeds_out) = RingBuffer::new(8);
    let (used, mut used_out) = RingBuffer::new(8);
    let (events, _events_out) = RingBuffer::new(64);
    let (writer, _live) = live::cell();
    let gate = EchoGate::default();
    let stats = Arc::new(EngineStats::new(SECOND_NS));
    // Its reader never reads: the recording is lost on the way, and that allocates nothing either.
    let (tap, _recorder) = tap::tap();
    let mut listener = Listener::new(Parts {
        feeds: feeds_out,
        used,
        hear: Box::new(Quiet(0)),
        hop: HOP,
        events,
        wait: false,
        live: writer,
        a4: 440.0,
        gate: gate.clone(),
        stats: stats.clone(),
        switches: Arc::new(Switches::default()),
        ear: None,
        tap: Some(tap),
    });
    let data = vec![0.25_f32; 3_000];
    let mut streams = Vec::new();
    for rate in [48_000, 44_100, 96_000, 44_056] {
        let (mut callback, intake) = capture::ring(1, Channel::Mix, rate, false);
        let feed = Feed::new(intake, rate).unwrap();
        assert!(feeds.push(feed).is_ok());
        guarded(&format!("the loop at {rate} Hz"), || {
            for _ in 0..30 {
                callback.on_data(&data);
                gate.voice(fretcoach::audio::clock::now_ns());
                while listener.round() == Round::Busy {}
            }
            // Fills the ring: samples are dropped, marked, skipped.
            for _ in 0..140 {
                callback.on_data(&data);
            }
            while listener.round() == Round::Busy {}
            callback.on_data(&data);
            while listener.round() == Round::Busy {}
        });
        streams.push(callback);
    }
    guarded("the end", || listener.finish());
    assert_eq!(std::iter::from_fn(|| used_out.pop().ok()).count(), 3, "used feeds are freed elsewhere");
    let window = stats.take_window();
    assert!(window.hops > 1_000 && stats.gaps.load(std::sync::atomic::Ordering::Relaxed) >= 4, "{window:?}");
}

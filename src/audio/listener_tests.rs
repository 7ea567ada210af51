use super::*;
use crate::audio::capture::{self, Callback, Channel};
use crate::audio::clock::SECOND_NS;
use crate::audio::live;
use crate::dsp::event::FrameReport;
use rtrb::RingBuffer;
use std::sync::Mutex;

const MS: u64 = 1_000_000;

#[derive(Clone, Debug, PartialEq)]
enum Told {
    Samples(usize),
    Skip(u64),
    Gated(bool),
    Finish,
}

/// Keeps what it is told and reports a frame for each hop.
#[derive(Clone, Default)]
struct Spy(Arc<Mutex<(Vec<Told>, Vec<f32>)>>);

fn frame(t: f64, f0: Option<f32>) -> DspEvent {
    DspEvent::Frame(FrameReport {
        t,
        w: 0.01,
        f0,
        confidence: 0.9,
        provisional: false,
        level_db: -12.0,
        wanted: 0.1,
        unwanted: 0.0,
        causes: crate::dsp::event::NoisePowers::default(),
    })
}

impl Hear for Spy {
    fn process(&mut self, samples: &[f32], sink: &mut dyn FnMut(DspEvent)) {
        let mut told = self.0.lock().unwrap();
        told.1.extend_from_slice(samples);
        match told.0.last_mut() {
            Some(Told::Samples(n)) => *n += samples.len(),
            _ => told.0.push(Told::Samples(samples.len())),
        }
        sink(frame(told.1.len() as f64 / 48_000.0, Some(445.0)));
    }
    fn skip(&mut self, samples: u64, sink: &mut dyn FnMut(DspEvent)) {
        self.0.lock().unwrap().0.push(Told::Skip(samples));
        sink(DspEvent::Gap { from: 1.0, to: 2.0 });
    }
    fn set_gated(&mut self, gated: bool) {
        self.0.lock().unwrap().0.push(Told::Gated(gated));
    }
    fn set_origin(&mut self, seconds: f64) {
        assert_eq!(seconds, 0.0);
    }
    fn finish(&mut self, sink: &mut dyn FnMut(DspEvent)) {
        self.0.lock().unwrap().0.push(Told::Finish);
        sink(DspEvent::Gap { from: 9.0, to: 9.0 });
    }
}

struct Bench {
    listener: Listener,
    feeds: Producer<Feed>,
    used: Consumer<Feed>,
    events: Consumer<DspEvent>,
    live: live::LiveReader,
    stats: Arc<EngineStats>,
    switches: Arc<Switches>,
    spy: Spy,
}

fn bench(gate: EchoGate, events: usize) -> Bench {
    let (feeds_in, feeds) = RingBuffer::new(8);
    let (used, used_out) = RingBuffer::new(8);
    let (events_in, events) = RingBuffer::new(events);
    let (writer, live) = live::cell();
    let stats = Arc::new(EngineStats::new(SECOND_NS));
    let switches = Arc::new(Switches::default());
    let spy = Spy::default();
    let listener = Listener::new(Parts {
        feeds,
        used,
        hear: Box::new(spy.clone()),
        hop: 256,
        events: events_in,
        wait: false,
        live: writer,
        a4: 440.0,
        gate,
        stats: stats.clone(),
        switches: switches.clone(),
        ear: None,
        tap: None,
    });
    Bench { listener, feeds: feeds_in, used: used_out, events, live, stats, switches, spy }
}

impl Bench {
    fn stream(&mut self, rate: u32) -> Callback {
        let (callback, intake) = capture::ring(1, Channel::Mix, rate, false);
        self.feeds.push(Feed::new(intake, rate).unwrap()).unwrap();
        callback
    }

    fn run(&mut self) -> Round {
        loop {
            match self.listener.round() {
                Round::Busy => {}
                other => return other,
            }
        }
    }

    fn told(&self) -> Vec<Told> {
        self.spy.0.lock().unwrap().0.clone()
    }
}

#[test]
fn samples_go_through_in_whole_hops_and_the_rest_at_the_end() {
    let mut bench = bench(EchoGate::off(), 1_000);
    assert_eq!(bench.run(), Round::Idle);
    let mut callback = bench.stream(48_000);
    let ramp: Vec<f32> = (0..1_000).map(|i| i as f32 / 1_000.0).collect();
    callback.on_data(&ramp[..700]);
    assert_eq!(bench.run(), Round::Idle);
    assert_eq!(bench.told(), [Told::Samples(512)]);
    callback.on_data(&ramp[700..]);
    callback.end();
    assert_eq!(bench.run(), Round::End);
    bench.listener.finish();
    assert_eq!(bench.told(), [Told::Samples(1_000), Told::Finish]);
    assert_eq!(bench.spy.0.lock().unwrap().1, ramp);
    assert!(bench.switches.ended.load(Ordering::Relaxed));
    assert_eq!(bench.events.slots(), 4 + 1, "a frame a hop, and the end");
    assert!((bench.stats.seconds() - 1_000.0 / 48_000.0).abs() < 1e-9);
    assert_eq!(bench.stats.take_window().hops, 4);
    assert_eq!(bench.stats.take_peak(), 0.999);
    let seen = bench.live.read();
    assert_eq!((seen.midi, seen.f0), (None, None), "a gap clears the display");
}

#[test]
fn the_display_shows_note_and_cents_of_the_last_frame() {
    let mut bench = bench(EchoGate::off(), 10);
    let mut callback = bench.stream(48_000);
    callback.on_data(&[0.1; 256]);
    bench.run();
    let seen = bench.live.read();
    assert_eq!((seen.midi, seen.f0, seen.level_db), (Some(69), Some(445.0), -12.0));
    assert!((seen.cents.unwrap() - 19.56).abs() < 0.01, "{seen:?}");
    assert_eq!(note(440.0 * 2.0_f32.powf(0.51 / 12.0), 440.0).unwrap().0, 70);
    assert_eq!(note(0.0, 440.0), None);
    assert_eq!(note(f32::NAN, 440.0), None);
}

#[test]
fn dropped_samples_are_skipped_at_their_place_and_counted() {
    let mut bench = bench(EchoGate::off(), 1_000);
    let mut callback = bench.stream(8_000);
    bench.run();
    let room = callback.room();
    callback.on_data(&vec![0.1; room + 800]);
    bench.run();
    callback.on_data(&[0.2; 160]);
    callback.end();
    bench.run();
    bench.listener.finish();
    // At 8 kHz: 6 samples of the analysis for each.
    assert_eq!(bench.told(), [Told::Samples(room * 6), Told::Skip(4_800), Told::Samples(960), Told::Finish]);
    assert_eq!(bench.stats.dropped_samples.load(Ordering::Relaxed), 800);
    assert_eq!(bench.stats.gaps.load(Ordering::Relaxed), 1);
    let seconds = (room + 960) as f64 / 8_000.0;
    assert!((bench.stats.seconds() - seconds).abs() < 1e-9, "the clock ran on");
}

#[test]
fn what_the_watch_calls_missed_is_skipped() {
    let mut bench = bench(EchoGate::off(), 1_000);
    let mut callback = bench.stream(48_000);
    callback.on_data(&[0.1; 512]);
    bench.run();
    bench.listener.feed.as_ref().unwrap().intake.state.missed.fetch_add(4_800, Ordering::Relaxed);
    callback.on_data(&[0.1; 512]);
    bench.run();
    assert_eq!(bench.told(), [Told::Samples(512), Told::Skip(4_800), Told::Samples(512)]);
    assert_eq!(bench.stats.missed_samples.load(Ordering::Relaxed), 4_800);
}

#[test]
fn a_new_stream_follows_after_a_gap_as_long_as_the_clock_says() {
    let mut bench = bench(EchoGate::off(), 1_000);
    let mut first = bench.stream(48_000);
    first.on_data_at(&[0.1; 480], 1_000 * MS);
    bench.run();
    let mut second = bench.stream(96_000);
    assert_eq!(bench.run(), Round::Idle, "not before its first sound");
    first.on_data_at(&[0.1; 480], 1_010 * MS);
    // 96 kHz: 960 samples are 10 ms, so this stream began at 1500 ms.
    second.on_data_at(&[0.2; 960], 1_510 * MS);
    second.end();
    assert_eq!(bench.run(), Round::End);
    bench.listener.finish();
    // 490 ms between the last sound of one and the first of the other.
    assert_eq!(bench.told(), [Told::Samples(960), Told::Skip(23_520), Told::Samples(480), Told::Finish]);
    assert!(bench.used.pop().is_ok(), "freed elsewhere");
    assert_eq!(bench.stats.frames.load(Ordering::Relaxed), 1_920);
}

#[test]
fn a_pause_is_one_gap() {
    let mut bench = bench(EchoGate::off(), 1_000);
    let mut callback = bench.stream(48_000);
    callback.on_data(&[0.1; 256]);
    bench.run();
    bench.switches.paused.store(true, Ordering::Relaxed);
    for _ in 0..10 {
        callback.on_data(&[0.9; 480]);
        bench.run();
    }
    bench.switches.paused.store(false, Ordering::Relaxed);
    callback.on_data(&[0.1; 256]);
    bench.run();
    assert_eq!(bench.told(), [Told::Samples(256), Told::Skip(4_800), Told::Samples(256)]);
    assert!(bench.spy.0.lock().unwrap().1.iter().all(|x| *x == 0.1));
}

#[test]
fn the_coachs_voice_closes_the_gate_for_the_hops_that_may_hold_it() {
    let gate = EchoGate::new(std::time::Duration::from_secs(1));
    let mut bench = bench(gate.clone(), 1_000);
    let mut callback = bench.stream(48_000);
    callback.on_data(&[0.1; 256]);
    bench.run();
    // A hop counts as captured when its last sample came in; this voice began before both.
    gate.voice(now_ns().saturating_sub(SECOND_NS / 10));
    callback.on_data(&[0.1; 512]);
    bench.run();
    assert_eq!(bench.told(), [Told::Samples(256), Told::Gated(true), Told::Samples(512)]);
}

#[test]
fn events_that_nobody_takes_are_dropped_and_counted() {
    let mut bench = bench(EchoGate::off(), 3);
    let mut callback = bench.stream(48_000);
    callback.on_data(&[0.1; 256 * 10]);
    bench.run();
    assert_eq!(bench.events.slots(), 3);
    assert_eq!(bench.stats.dropped_events.load(Ordering::Relaxed), 7);
}

#[test]
fn stop_hears_what_has_come_and_ends() {
    let mut bench = bench(EchoGate::off(), 100);
    let mut callback = bench.stream(48_000);
    callback.on_data(&[0.1; 300]);
    bench.switches.stop.store(true, Ordering::Relaxed);
    assert_eq!(bench.run(), Round::End);
    bench.listener.finish();
    assert_eq!(bench.told(), [Told::Samples(300), Told::Finish]);
    drop(callback);
}

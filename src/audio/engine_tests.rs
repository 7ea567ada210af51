use super::*;
use crate::audio::AudioErrorKind;
use crate::dsp::event::FrameReport;

/// Reports a frame for each hop, with the sum of its samples as level.
struct Sum(f64);

impl Hear for Sum {
    fn process(&mut self, samples: &[f32], sink: &mut dyn FnMut(DspEvent)) {
        self.0 += samples.len() as f64 / f64::from(ANALYSIS_RATE);
        sink(DspEvent::Frame(FrameReport {
            t: self.0,
            w: 0.0,
            f0: None,
            confidence: 0.0,
            provisional: false,
            level_db: samples.iter().sum(),
            wanted: 0.0,
            unwanted: 0.0,
            causes: crate::dsp::event::NoisePowers::default(),
        }));
    }
    fn skip(&mut self, _: u64, sink: &mut dyn FnMut(DspEvent)) {
        sink(DspEvent::Gap { from: self.0, to: self.0 });
    }
    fn set_gated(&mut self, _: bool) {}
    fn set_origin(&mut self, _: f64) {}
    fn finish(&mut self, _: &mut dyn FnMut(DspEvent)) {}
}

/// So many samples of one.
struct Ones(usize);

impl SampleSource for Ones {
    fn read(&mut self, out: &mut [f32]) -> usize {
        let n = out.len().min(self.0);
        out[..n].fill(1.0);
        self.0 -= n;
        n
    }
    fn warning(&mut self) -> Option<String> {
        Some("that was all".into())
    }
}

fn ones(n: usize, fast: bool) -> Input {
    Input::Source { name: "ones".into(), sample_rate: 48_000, source: Box::new(Ones(n)), fast }
}

fn start(input: Input, settings: EngineSettings) -> Result<Engine, AudioError> {
    Engine::start(input, settings, || Box::new(Sum(0.0)), EchoGate::off())
}

fn settings() -> EngineSettings {
    EngineSettings { realtime: false, ..EngineSettings::default() }
}

#[test]
fn fast_mode_loses_neither_samples_nor_events() {
    // Longer than both rings.
    let n = 48_000 * 100;
    let mut engine = start(ones(n, true), settings()).unwrap();
    let mut devices = engine.device_events();
    let (mut sum, mut frames, mut last) = (0.0, 0, 0.0);
    loop {
        let ended = engine.ended();
        while let Ok(event) = engine.events().pop() {
            let DspEvent::Frame(frame) = event else { panic!("{event:?}") };
            sum += f64::from(frame.level_db);
            frames += 1;
            last = frame.t;
        }
        if ended {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(sum, n as f64);
    assert_eq!(frames, n.div_ceil(HOP));
    assert!(frames > EVENTS && (last - 100.0).abs() < 1e-6);
    let stats = engine.stats();
    assert_eq!(stats.dropped_samples.load(Ordering::Relaxed), 0);
    assert_eq!(stats.dropped_events.load(Ordering::Relaxed), 0);
    assert_eq!(stats.frames.load(Ordering::Relaxed), n as u64);
    assert!(
        matches!(devices.try_recv(), Ok(DeviceEvent::Opened(info)) if info.name == "ones" && info.host == "source")
    );
    assert!(matches!(devices.try_recv(), Ok(DeviceEvent::Warning(text)) if text == "that was all"));
    engine.stop();
}

#[test]
fn at_the_speed_of_the_music_it_is_also_heard() {
    let (samples, mut heard) = RingBuffer::new(96_000);
    let settings =
        EngineSettings { monitor: Some(Monitor { samples, rate: 96_000, back: None }), ..settings() };
    let mut engine = start(ones(4_800, false), settings).unwrap();
    while !engine.ended() {
        std::thread::sleep(Duration::from_millis(2));
    }
    let events = engine.take_events();
    assert_eq!(events.slots(), 4_800_usize.div_ceil(HOP));
    assert!(engine.stop().is_empty(), "the events were taken");
    // At the player's rate, less what is still inside the resampler.
    assert!((8_000..=9_600).contains(&heard.slots()), "{}", heard.slots());
    let all: Vec<f32> = std::iter::from_fn(|| heard.pop().ok()).collect();
    assert!(all[1_000..8_000].iter().all(|x| (x - 1.0).abs() < 1e-3));
}

#[test]
fn stop_in_the_middle_and_drop_end_the_threads() {
    let mut engine = start(ones(usize::MAX, false), settings()).unwrap();
    engine.pause(true);
    engine.pause(false);
    while engine.events().is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let live = engine.live();
    let events = engine.stop();
    assert!(!events.is_empty());
    assert!(live.read().t > 0.0);
    // A reader that never reads does not keep a fast engine from ending.
    drop(start(ones(usize::MAX, true), settings()).unwrap());
}

#[test]
fn a_file_that_cannot_be_used_is_an_error_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let open = |name: &str| {
        start(Input::File { path: dir.path().join(name), fast: true }, settings()).err().unwrap()
    };
    assert_eq!(open("missing.wav").kind(), AudioErrorKind::UnreadableFile);
    std::fs::write(dir.path().join("empty.wav"), b"").unwrap();
    assert_eq!(open("empty.wav").kind(), AudioErrorKind::BadFile);
    let impossible =
        Input::Source { name: "odd".into(), sample_rate: 7, source: Box::new(Ones(1)), fast: true };
    assert_eq!(start(impossible, settings()).err().unwrap().kind(), AudioErrorKind::Format);
}

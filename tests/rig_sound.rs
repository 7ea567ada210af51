//! Capture and player on real devices: a private PulseAudio with null sinks (`tests/rig/rig.sh`), one for each test.
//!
//! The sound system is found by environment variables, which belong to a process: each test runs itself once more as a
//! process of its own, on a rig of its own, so that they run beside each other.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fretcoach::audio::device::{self, DeviceChoice, Direction};
use fretcoach::audio::echo::EchoGate;
use fretcoach::audio::engine::{Engine, EngineSettings, Hear, Input};
use fretcoach::audio::player::{PlaybackEvent, Player, PlayerSettings};
use fretcoach::audio::supervisor::{DeviceEvent, StreamInfo};
use fretcoach::audio::watch::Fault;
use fretcoach::dsp::event::DspEvent;
use tokio::sync::mpsc::UnboundedReceiver;

const RATE: u32 = 48_000;
const INSIDE: &str = "FRETCOACH_TEST_RIG";
/// Nothing on the rig takes that long; only so that a failure is no hang.
const PATIENCE: Duration = Duration::from_secs(15);

struct Rig {
    dir: PathBuf,
}

fn script(verb: &str, dir: &Path) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rig/rig.sh");
    let done = Command::new(path).arg(verb).arg(dir).stdin(Stdio::null()).output().unwrap();
    assert!(done.status.success(), "rig.sh {verb}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

impl Rig {
    fn start(&self) {
        script("start", &self.dir);
    }
    fn kill(&self) {
        script("kill", &self.dir);
    }
    fn pid(&self) -> libc::pid_t {
        std::fs::read_to_string(self.dir.join("pid")).unwrap().trim().parse().unwrap()
    }
    fn signal(&self, signal: libc::c_int) {
        // SAFETY: a plain system call on the rig's own server.
        assert_eq!(unsafe { libc::kill(self.pid(), signal) }, 0);
    }
    fn pactl(&self, args: &[&str]) {
        let done = Command::new("pactl").args(args).output().unwrap();
        assert!(done.status.success(), "pactl {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
    /// Writes a mono file and plays it into the guitar's sink; returns when it has been played.
    fn play(&self, samples: &[f32]) {
        let path = self.dir.join("take.wav");
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: RATE,
            bits_per_sample: 32,
            sample_format: hound::SampleFormat::Float,
        };
        let mut writer = hound::WavWriter::create(&path, spec).unwrap();
        samples.iter().for_each(|x| writer.write_sample(*x).unwrap());
        writer.finalize().unwrap();
        let done = Command::new("paplay").arg("--device=guitar").arg(&path).output().unwrap();
        assert!(done.status.success(), "paplay: {}", String::from_utf8_lossy(&done.stderr));
    }
}

/// Runs `body` on a rig of its own, in a process of its own.
fn on_rig(test: &str, body: impl FnOnce(&Rig)) {
    if let Ok(dir) = std::env::var(INSIDE) {
        body(&Rig { dir: dir.into() });
        return;
    }
    let dir = tempfile::Builder::new().prefix("rig").tempdir().unwrap();
    let rig = Rig { dir: dir.path().into() };
    rig.start();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", test, "--nocapture"]).env(INSIDE, dir.path());
    for line in script("env", dir.path()).lines() {
        let (name, value) = line.split_once('=').unwrap();
        child.env(name, value);
    }
    let done = child.output().unwrap();
    let out = String::from_utf8_lossy(&done.stdout);
    print!(
        "{}",
        out.lines().filter(|l| l.starts_with("measured")).map(|l| format!("{l}\n")).collect::<String>()
    );
    let log = std::fs::read_to_string(dir.path().join("pulse.log")).unwrap_or_default();
    // A stopped server takes no other signal; it may also be gone already.
    let _ = Command::new("kill").arg("-KILL").arg(rig.pid().to_string()).stderr(Stdio::null()).status();
    assert!(done.status.success(), "{out}\n{}\n{log}", String::from_utf8_lossy(&done.stderr));
    assert!(out.contains("1 passed"), "the test found itself by name:\n{out}");
}

/// An analyser that only keeps what it is given.
#[derive(Clone, Default)]
struct Tape(Arc<Mutex<Vec<f32>>>);

impl Hear for Tape {
    fn process(&mut self, samples: &[f32], _: &mut dyn FnMut(DspEvent)) {
        self.0.lock().unwrap().extend_from_slice(samples);
    }
    fn skip(&mut self, samples: u64, sink: &mut dyn FnMut(DspEvent)) {
        let mut tape = self.0.lock().unwrap();
        let from = tape.len() as f64 / f64::from(RATE);
        tape.extend(std::iter::repeat_n(0.0, samples as usize));
        sink(DspEvent::Gap { from, to: tape.len() as f64 / f64::from(RATE) });
    }
    fn set_gated(&mut self, _: bool) {}
    fn set_origin(&mut self, _: f64) {}
    fn finish(&mut self, _: &mut dyn FnMut(DspEvent)) {}
}

fn listen(device: &str) -> (Engine, UnboundedReceiver<DeviceEvent>, Tape) {
    listen_on("auto", "pulseaudio", device)
}

fn listen_on(host: &str, found: &str, device: &str) -> (Engine, UnboundedReceiver<DeviceEvent>, Tape) {
    let tape = Tape::default();
    let ours = tape.clone();
    let choice = DeviceChoice { host: host.into(), name: device.into() };
    let mut engine = Engine::start(
        Input::Device(choice),
        EngineSettings::default(),
        move || Box::new(ours),
        EchoGate::off(),
    )
    .unwrap();
    let mut events = engine.device_events();
    let opened = opened(&mut events);
    assert_eq!((opened.host.as_str(), opened.rate), (found, RATE));
    (engine, events, tape)
}

fn next<T: std::fmt::Debug>(events: &mut UnboundedReceiver<T>) -> T {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if let Ok(event) = events.try_recv() {
            return event;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("no event came");
}

fn opened(events: &mut UnboundedReceiver<DeviceEvent>) -> StreamInfo {
    match next(events) {
        DeviceEvent::Opened(info) => info,
        other => panic!("{other:?}"),
    }
}

fn lost(events: &mut UnboundedReceiver<DeviceEvent>) -> Fault {
    loop {
        match next(events) {
            DeviceEvent::Lost { fault, .. } => return fault,
            DeviceEvent::Missed { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

fn restored(events: &mut UnboundedReceiver<DeviceEvent>) -> f64 {
    match next(events) {
        DeviceEvent::Restored { gap_seconds, .. } => gap_seconds,
        other => panic!("{other:?}"),
    }
}

/// White noise between silences: no two places of it are alike.
fn noise(seed: u32, seconds: f32) -> Vec<f32> {
    let mut state = seed;
    let quiet = RATE as usize / 4;
    let n = (seconds * RATE as f32) as usize;
    let mut out = vec![0.0; quiet];
    out.extend((0..n).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    }));
    out.extend(vec![0.0; quiet]);
    out
}

/// Waits until the tape holds this sound, every sample of it in order, and says where.
fn find(tape: &Tape, sound: &[f32]) -> usize {
    let sound = &sound[RATE as usize / 4..sound.len() - RATE as usize / 4];
    let until = Instant::now() + PATIENCE;
    let mut best = 0;
    while Instant::now() < until {
        let heard = tape.0.lock().unwrap().clone();
        for at in 0..heard.len().saturating_sub(sound.len()) {
            if heard[at..at + 8] == sound[..8] {
                let same = heard[at..].iter().zip(sound).take_while(|(a, b)| a == b).count();
                if same == sound.len() {
                    return at;
                }
                best = best.max(same);
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("only {best} of {} samples were captured in order", sound.len());
}

fn player() -> (Player, UnboundedReceiver<DeviceEvent>) {
    let player = Player::start(PlayerSettings::default()).unwrap();
    let mut events = player.device_events().unwrap();
    opened(&mut events);
    (player, events)
}

fn tone(hz: f32, seconds: f32, rate: u32) -> Vec<f32> {
    let n = (seconds * rate as f32) as usize;
    (0..n).map(|i| (std::f32::consts::TAU * hz * i as f32 / rate as f32).sin() * 0.5).collect()
}

fn say(player: &Player, id: u64, sound: &[f32], rate: u32) -> PlaybackEvent {
    let mut utterance = player.say(id, rate);
    block_on(async move {
        let _ = utterance.push(sound).await;
        utterance.finish().await
    })
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn devices_are_listed_and_a_missing_one_says_what_there_is() {
    on_rig("devices_are_listed_and_a_missing_one_says_what_there_is", |_| {
        let all = device::list("auto").unwrap();
        let input = device::choose(&all, Direction::Input, "").unwrap();
        assert_eq!((input.id.as_str(), input.default, input.channels), ("guitar.monitor", true, 1));
        assert!(input.rates.0 <= 44_100 && input.rates.1 >= 96_000 && input.formats.contains(&"f32".into()));
        assert_eq!(device::choose(&all, Direction::Output, "speak").unwrap().name, "Speakers");
        let choice = DeviceChoice { host: "auto".into(), name: "Stratocaster".into() };
        let started = Engine::start(
            Input::Device(choice),
            EngineSettings::default(),
            || Box::new(Tape::default()),
            EchoGate::off(),
        );
        let text = started.err().unwrap().to_string();
        assert!(text.contains("Stratocaster") && text.contains("guitar.monitor"), "{text}");
        let choice = DeviceChoice { host: "pulseaudio".into(), name: String::new() };
        let settings = EngineSettings { channel: 2, ..EngineSettings::default() };
        let started =
            Engine::start(Input::Device(choice), settings, || Box::new(Tape::default()), EchoGate::off());
        assert!(started.err().unwrap().to_string().contains("1 channel"));
    });
}

#[test]
fn every_sample_is_captured() {
    on_rig("every_sample_is_captured", |rig| {
        let (engine, _, tape) = listen("guitar.monitor");
        let sound = noise(1, 3.0);
        rig.play(&sound);
        find(&tape, &sound);
        let stats = engine.stats();
        engine.stop();
        assert_eq!(stats.dropped_samples.load(std::sync::atomic::Ordering::Relaxed), 0);
        assert_eq!(stats.gaps.load(std::sync::atomic::Ordering::Relaxed), 0);
        let hops = stats.take_window();
        assert!(hops.hops > 500, "{hops:?}");
    });
}

#[test]
fn one_voice_at_a_time_is_heard() {
    on_rig("one_voice_at_a_time_is_heard", |rig| {
        let (player, _) = player();
        let path = rig.dir.join("said.wav");
        let mut recorder = Command::new("parecord")
            .args(["--device=speakers.monitor", "--file-format=wav", "--rate=48000", "--latency-msec=20"])
            .arg(&path)
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(400));

        let mut first = player.say(1, 22_050);
        let mut first_events = first.events();
        let low = tone(440.0, 3.0, 22_050);
        block_on(first.push(&low)).unwrap();
        assert!(matches!(next(&mut first_events), PlaybackEvent::FirstSampleHandedOver { .. }));
        assert!(matches!(next(&mut first_events), PlaybackEvent::FirstAudible { .. }));
        assert!(player.status().speaking);
        std::thread::sleep(Duration::from_millis(400));

        // Two rates within one utterance, while the first one speaks.
        let said_at = Instant::now();
        let mut second = player.say(2, 24_000);
        let mut second_events = second.events();
        block_on(second.push(&tone(1_000.0, 0.3, 24_000))).unwrap();
        block_on(second.set_sample_rate(16_000)).unwrap();
        block_on(second.push(&tone(1_000.0, 0.3, 16_000))).unwrap();
        let PlaybackEvent::FirstSampleHandedOver { at: handed_at } = next(&mut second_events) else {
            panic!()
        };
        let end = block_on(second.finish());
        let PlaybackEvent::Finished { heard_seconds, .. } = end else { panic!("{end:?}") };
        assert!((heard_seconds - 0.6).abs() < 0.001, "{heard_seconds}");
        let PlaybackEvent::Interrupted { heard_seconds, .. } = block_on(first.finish()) else { panic!() };
        assert!(heard_seconds < 2.9, "{heard_seconds}");

        // `stop` silences, too, and pushing then says so.
        let mut third = player.say(3, RATE);
        block_on(third.push(&tone(440.0, 3.0, RATE))).unwrap();
        let mut third_events = third.events();
        next(&mut third_events);
        std::thread::sleep(Duration::from_millis(200));
        player.stop();
        assert!(matches!(block_on(third.finish()), PlaybackEvent::Interrupted { .. }));
        std::thread::sleep(Duration::from_millis(400));
        let status = player.status();
        drop(player);
        // SAFETY: a plain system call on our own child.
        assert_eq!(unsafe { libc::kill(recorder.id() as libc::pid_t, libc::SIGINT) }, 0);
        recorder.wait().unwrap();

        let said: Vec<f32> = hound::WavReader::open(&path)
            .unwrap()
            .into_samples::<i16>()
            .step_by(2)
            .map(|x| f32::from(x.unwrap()) / 32_768.0)
            .collect();
        let voices = voices(&said);
        let order: Vec<u32> = voices.iter().map(|v| v.0).collect();
        assert_eq!(order, [440, 1_000, 440], "{voices:?}");
        let length = |i: usize| (voices[i].2 - voices[i].1) as f64 / f64::from(RATE);
        assert!((length(1) - 0.6).abs() < 0.02, "{voices:?}");
        assert!((length(0) - heard_seconds).abs() < 0.02, "heard as told: {} and {heard_seconds}", length(0));
        assert!(length(2) < 2.9, "{voices:?}");
        // Between the two: at most the period in which the source was not asked, and the fade.
        let between = voices[1].1.abs_diff(voices[0].2) as f64 / f64::from(RATE);
        assert!(between < 0.1, "{voices:?}");
        println!(
            "measured: period {} frames, real time {}, underruns {}; {:.1} ms from say to first sample handed over; \
             {:.1} ms between the voices on the recording",
            status.period,
            status.realtime,
            status.underruns,
            handed_at.duration_since(said_at).as_secs_f64() * 1e3,
            between * 1e3,
        );
    });
}

/// Which tone sounds from where to where, by the power of the two tones in blocks of 5 ms.
fn voices(said: &[f32]) -> Vec<(u32, usize, usize)> {
    const BLOCK: usize = 240;
    let power = |block: &[f32], hz: f32| {
        let (mut re, mut im) = (0.0, 0.0);
        for (i, x) in block.iter().enumerate() {
            let (sin, cos) = (std::f32::consts::TAU * hz * i as f32 / RATE as f32).sin_cos();
            re += x * cos;
            im += x * sin;
        }
        (re * re + im * im).sqrt() / BLOCK as f32
    };
    let mut found: Vec<(u32, usize, usize)> = Vec::new();
    for (i, block) in said.chunks_exact(BLOCK).enumerate() {
        let (low, high) = (power(block, 440.0), power(block, 1_000.0));
        if low.max(high) < 0.05 {
            continue;
        }
        let hz = if low > high { 440 } else { 1_000 };
        match found.last_mut() {
            Some(last) if last.0 == hz && i * BLOCK < last.2 + 4 * BLOCK => last.2 = (i + 1) * BLOCK,
            _ => found.push((hz, i * BLOCK, (i + 1) * BLOCK)),
        }
    }
    found
}

#[test]
fn a_killed_server_is_survived_by_capture_and_player() {
    on_rig("a_killed_server_is_survived_by_capture_and_player", |rig| {
        let (mut engine, mut events, tape) = listen("guitar");
        let (player, mut player_events) = player();
        let before = noise(2, 0.5);
        rig.play(&before);
        let first = find(&tape, &before);
        let mut cut = player.say(1, RATE);
        let mut cut_events = cut.events();
        block_on(cut.push(&tone(440.0, 5.0, RATE))).unwrap();
        next(&mut cut_events);

        rig.kill();
        assert!(matches!(lost(&mut events), Fault::Broken | Fault::HostGone | Fault::Stalled));
        lost(&mut player_events);
        let end = block_on(cut.finish());
        assert!(matches!(&end, PlaybackEvent::Failed(why) if why.contains("lost")), "{end:?}");
        let end = say(&player, 2, &tone(440.0, 0.1, RATE), RATE);
        assert!(matches!(&end, PlaybackEvent::Failed(_)), "{end:?}");
        assert_eq!(player.status().device, None);

        rig.start();
        let gap = restored(&mut events);
        restored(&mut player_events);
        let after = noise(3, 0.5);
        rig.play(&after);
        let second = find(&tape, &after);
        assert!(second > first);
        let end = say(&player, 3, &tone(440.0, 0.2, RATE), RATE);
        assert!(matches!(end, PlaybackEvent::Finished { .. }), "{end:?}");
        let mut gaps = Vec::new();
        while let Ok(event) = engine.events().pop() {
            if let DspEvent::Gap { from, to } = event {
                gaps.push(to - from);
            }
        }
        assert_eq!(gaps.len(), 1, "{gaps:?}");
        assert!((gaps[0] - gap).abs() < 0.05, "the gap is as long on the capture clock: {gaps:?} and {gap}");
        println!("measured: server killed, gap {gap:.2} s (of which the restart took most)");
        engine.stop();
    });
}

#[test]
fn a_device_that_vanishes_is_waited_for() {
    on_rig("a_device_that_vanishes_is_waited_for", |rig| {
        let (engine, mut events, tape) = listen("guitar.monitor");
        rig.pactl(&["unload-module", "module-null-sink"]);
        let fault = lost(&mut events);
        assert!(matches!(fault, Fault::Gone | Fault::Moved | Fault::Broken | Fault::Stalled), "{fault:?}");
        let sink = |name: &str, more: &[&str]| {
            let name = format!("sink_name={name}");
            let mut args = vec![
                "load-module",
                "module-null-sink",
                &name,
                "norewinds=1",
                "format=float32le",
                "rate=48000",
            ];
            args.extend(more);
            rig.pactl(&args);
        };
        // Another source alone does not do: the one that was chosen is waited for.
        sink("other", &[]);
        std::thread::sleep(Duration::from_millis(300));
        assert!(events.try_recv().is_err());
        sink("guitar", &["channels=1", "channel_map=mono"]);
        let gap = restored(&mut events);
        let sound = noise(4, 0.5);
        rig.play(&sound);
        find(&tape, &sound);

        // Only ours vanishes now, and the server silently moves the stream to the other one.
        let list = Command::new("pactl").args(["list", "short", "modules"]).output().unwrap();
        let list = String::from_utf8(list.stdout).unwrap();
        let ours = list.lines().find(|l| l.contains("sink_name=guitar")).unwrap();
        rig.pactl(&["unload-module", ours.split_whitespace().next().unwrap()]);
        let moved = lost(&mut events);
        println!("measured: device unloaded: {fault:?}, gap {gap:.2} s; unloaded beside another: {moved:?}");
        sink("guitar", &["channels=1", "channel_map=mono"]);
        restored(&mut events);
        engine.stop();
    });
}

#[test]
fn a_server_that_stalls_for_two_seconds_leaves_a_gap_of_two_seconds() {
    on_rig("a_server_that_stalls_for_two_seconds_leaves_a_gap_of_two_seconds", |rig| {
        let (mut engine, mut events, tape) = listen("guitar.monitor");
        let (player, mut player_events) = player();
        rig.signal(libc::SIGSTOP);
        let stalled = Instant::now();
        assert_eq!(lost(&mut events), Fault::Stalled);
        assert_eq!(lost(&mut player_events), Fault::Stalled);
        std::thread::sleep(Duration::from_secs(2).saturating_sub(stalled.elapsed()));
        rig.signal(libc::SIGCONT);
        let gap = restored(&mut events);
        restored(&mut player_events);
        assert!((1.8..8.0).contains(&gap), "{gap}");
        let sound = noise(5, 0.5);
        rig.play(&sound);
        find(&tape, &sound);
        let end = say(&player, 1, &tone(440.0, 0.2, RATE), RATE);
        assert!(matches!(end, PlaybackEvent::Finished { .. }), "{end:?}");
        let gaps = std::iter::from_fn(|| engine.events().pop().ok())
            .filter(|e| matches!(e, DspEvent::Gap { .. }))
            .count();
        assert_eq!(gaps, 1);
        println!("measured: server stalled for 2 s, gap {gap:.2} s");
        engine.stop();
    });
}

#[test]
fn the_alsa_host_captures_and_survives_a_killed_server_too() {
    on_rig("the_alsa_host_captures_and_survives_a_killed_server_too", |rig| {
        let all = device::list("alsa").unwrap();
        assert!(all.iter().any(|d| d.id == "guitar_in" && d.direction == Direction::Input), "{all:?}");
        assert!(all.iter().all(|d| d.id != "null"), "a device that never waits is none");
        let (engine, mut events, tape) = listen_on("alsa", "alsa", "guitar_in");
        let before = noise(6, 0.5);
        rig.play(&before);
        find(&tape, &before);
        // No error comes here, and closing the stream hangs for ever inside the plug-in.
        rig.kill();
        let fault = lost(&mut events);
        rig.start();
        let gap = restored(&mut events);
        let after = noise(7, 0.5);
        rig.play(&after);
        find(&tape, &after);
        println!("measured: ALSA, server killed: {fault:?}, gap {gap:.2} s");
        engine.stop();
    });
}

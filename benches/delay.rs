//! How long the program itself takes to speak: from the close of a window to the first sample handed to the device,
//! beyond what model and speech server take, and from the text to the first sample with espeak-ng.
//!
//! Coach, HTTP clients and player are the product's own, on the sound card in memory of the tests. Model and voice stream
//! from a server on this machine with fixed delays, which are subtracted. A player hands over whole periods, so up to one
//! of them is waiting for the device: every figure stands beside the period.
//!
//! `cargo bench --bench delay`

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/common/openai_server.rs"]
mod openai_server;

use std::io::Read;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use common::rig::Rig;
use fretcoach::app::mouth::PlayerSpeaker;
use fretcoach::audio::echo::EchoGate;
use fretcoach::audio::player::{Player, PlayerSettings};
use fretcoach::coach::{self, CoachContext, CoachEvent, CoachHandle, Parts, WindowSnapshot};
use fretcoach::config::Config;
use fretcoach::practice::types::{Facts, Metric, Scores, Tendency, Window};
use fretcoach::span::Thread;
use openai_server::{Reply, Server, Step, tone};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;

/// Utterances per figure.
const RUNS: usize = 30;
/// First ones, which open connections and fill caches, are not counted.
const WARM_UP: usize = 3;
/// What the model takes to its first text, and the voice to its first sound.
const MODEL: Duration = Duration::from_millis(60);
const VOICE: Duration = Duration::from_millis(60);
/// The goal for each delay up to the device, ms.
const GOAL: f64 = 40.0;
/// Louder than this is the voice: the rig's speakers are silent otherwise.
const SOUND: f32 = 0.003;
/// Frames that the recorder reads at a time: 2 ms.
const GRAIN: usize = 96;
/// Rate of the rig's speakers, Hz.
const RATE: f64 = 48_000.0;
/// Between two utterances, so that they are told apart on the recording.
const REST: Duration = Duration::from_millis(150);
/// Several periods, over which the runs are spread by the golden ratio.
const SPREAD: Duration = Duration::from_millis(200);
/// See [`SPREAD`]: its multiples fill any interval evenly.
const GOLDEN: f64 = 0.618_033_988_749_895;
/// How often it is looked whether an utterance has been recorded.
const LOOK: Duration = Duration::from_millis(5);

fn main() {
    let installed = |p: &str| common::find_program(p).is_some();
    if !["pulseaudio", "pactl", "paplay", "parecord", "parec"].iter().all(|p| installed(p)) {
        println!(
            "delay: not measured, since PulseAudio is not installed (`scripts/install-deps test` does it)"
        );
        return;
    }
    let rig = Rig::start();
    for (name, value) in rig.env() {
        // SAFETY: no other thread runs yet.
        unsafe { std::env::set_var(name, value) };
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(measure(installed("espeak-ng")));
    drop(rig);
}

async fn measure(espeak: bool) {
    let gate = EchoGate::off();
    let player = Player::start(PlayerSettings { gate, ..PlayerSettings::default() }).expect("a player");
    while player.status().device.is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let server = Server::start().await;
    server
        .usually_chat(Reply::chat(vec![Step::Wait(MODEL), Step::Text("Your timing is tight.".into())], true));
    let sound = tone(0.3);
    let mut pieces = vec![Step::Wait(VOICE)];
    pieces.extend(sound.chunks(2400).map(|c| Step::Raw(c.to_vec())));
    server.usually_speech(Reply::body("audio/pcm", pieces));

    let mut config = Config::default();
    config.llm.base_url = server.base_url();
    config.speech.engine = vec!["openai".into()];
    config.speech.base_url = server.base_url();
    let recorder = Recorder::start();
    let servers = run(&config, &player, &recorder).await;
    let period = |p: &Player| (p.status().period, p.status().rate, p.status().realtime);
    let (frames, rate, realtime) = period(&player);
    let ms = f64::from(frames) / f64::from(rate.max(1)) * 1e3;
    println!(
        "output: period {frames} frames at {rate} Hz = {ms:.1} ms, real-time priority {}, underruns {}",
        if realtime { "granted" } else { "not granted" },
        player.status().underruns
    );
    println!(
        "model and voice answer after {} + {} ms, which are subtracted",
        MODEL.as_millis(),
        VOICE.as_millis()
    );
    let taken = (MODEL + VOICE).as_secs_f64() * 1e3;
    let own = |f: fn(&Run) -> f64| servers.iter().map(|r| f(r) - taken).collect::<Vec<_>>();
    show("window close to first sample handed over", own(|r| r.handed), ms, GOAL);
    show("  as recorded (two periods more)", own(|r| r.recorded), ms, 2.0f64.mul_add(ms, GOAL));
    if !espeak {
        println!("espeak-ng: not measured, since it is not installed");
        return;
    }
    let mut config = Config::default();
    config.speech.engine = vec!["espeak-ng".into()];
    let runs = run(&config, &player, &recorder).await;
    let (frames, rate, _) = period(&player);
    let ms = f64::from(frames) / f64::from(rate.max(1)) * 1e3;
    println!("output: period {frames} frames at {rate} Hz = {ms:.1} ms");
    let of = |f: fn(&Run) -> f64| runs.iter().map(f).collect::<Vec<_>>();
    show("text to first sample handed over, espeak-ng", of(|r| r.handed - r.text), ms, GOAL);
    show("window close to the same, offline coach", of(|r| r.handed), ms, GOAL);
    show("  as recorded (two periods more)", of(|r| r.recorded - r.text), ms, 2.0f64.mul_add(ms, GOAL));
}

/// One utterance; all times in ms from the close of the window.
struct Run {
    text: f64,
    handed: f64,
    recorded: f64,
}

async fn run(config: &Config, player: &Player, recorder: &Recorder) -> Vec<Run> {
    let (told, mut events) = tokio::sync::mpsc::unbounded_channel();
    // Nobody plays: there is no pause to wait for.
    let (_pause, in_pause) = watch::channel(true);
    let context = CoachContext {
        session_id: "bench".into(),
        thread: Thread::new("bench-live-aicoach-feedback", "default", vec![]),
        practice: config.practice.clone(),
        scale_name: Some("A minor pentatonic".into()),
        scale_notes: ["A", "C", "D", "E", "G"].map(String::from).to_vec(),
        seed: 7,
    };
    let speaker = Arc::new(PlayerSpeaker::new(player.clone()));
    let (parts, lines) = Parts::from_config(config, context, speaker, in_pause, told);
    assert!(lines.is_empty(), "{lines:?}");
    let (coach, actor) = coach::channel(parts);
    let actor = tokio::spawn(actor.run());
    let mut runs = Vec::new();
    for index in 0..RUNS + WARM_UP {
        // Spread evenly over the period, as real windows close: else every run would meet the same moment of it.
        tokio::time::sleep(REST + SPREAD.mul_f64((index as f64 * GOLDEN).fract())).await;
        recorder.listen();
        let run = one(&coach, &mut events, index, recorder).await;
        if index >= WARM_UP {
            runs.push(run);
        }
    }
    drop(coach);
    actor.await.expect("the coach ends");
    runs
}

async fn one(
    coach: &CoachHandle,
    events: &mut UnboundedReceiver<CoachEvent>,
    index: usize,
    recorder: &Recorder,
) -> Run {
    let closed_at = Instant::now();
    let window = window(u32::try_from(index).expect("a few"));
    coach.window(WindowSnapshot { window, closed_at, hop_stats: vec![] });
    let (mut text, mut handed) = (None, None);
    while text.is_none() || handed.is_none() {
        if recorder.heard().is_some() {
            // Only its beginning matters.
            coach.stop_voice();
        }
        let Ok(event) = tokio::time::timeout(LOOK, events.recv()).await else { continue };
        match event.expect("the coach lives") {
            CoachEvent::Advice(record) => text = record.first_sentence_ms,
            CoachEvent::Spoken { first_sample_ms, .. } => handed = first_sample_ms,
            CoachEvent::SpeechFailed { reason, .. } => panic!("{reason}"),
            CoachEvent::AdviceDelta { .. }
            | CoachEvent::AdviceStarted { .. }
            | CoachEvent::Skipped { .. } => {}
        }
    }
    let heard = recorder.heard().expect("what was spoken was recorded");
    Run {
        text: text.unwrap_or_default(),
        handed: handed.unwrap_or_default(),
        recorded: heard.saturating_duration_since(closed_at).as_secs_f64() * 1e3,
    }
}

fn show(what: &str, mut ms: Vec<f64>, period: f64, goal: f64) {
    ms.sort_by(f64::total_cmp);
    let at = |share: f64| ms[((ms.len() - 1) as f64 * share).round() as usize];
    let (p50, p95, max) = (at(0.5), at(0.95), at(1.0));
    let verdict = if p95 < goal { "met" } else { "MISSED" };
    println!(
        "{what:<46} p50 {p50:5.1}  p95 {p95:5.1}  max {max:5.1} ms  = {:.2} / {:.2} / {:.2} periods  \
         ({} runs; goal p95 < {goal:.0} ms: {verdict})",
        p50 / period,
        p95 / period,
        max / period,
        ms.len()
    );
}

fn window(index: u32) -> Window {
    Window {
        index,
        start: f64::from(index) * 30.0,
        end: f64::from(index + 1) * 30.0,
        scores: Scores {
            pitch_accuracy: Some(61.0),
            scale_conformity: Some(88.0),
            timing_stability: Some(94.0),
            noise_control: None,
            overall: Some(79.0),
        },
        facts: Facts {
            note_count: 42,
            mean_abs_cents: Some(14.0),
            worst_note: Some(("G".into(), 22.0)),
            timing_sd_ms: Some(11.0),
            tendency: Some(Tendency::Steady),
            ..Facts::default()
        },
        weakest: Some(Metric::PitchAccuracy),
        strongest: Some(Metric::TimingStability),
    }
}

/// Hears the rig's speakers as they sound. What it notes is late by its own buffer of a few ms, never early.
struct Recorder {
    child: Child,
    heard: Arc<Mutex<Heard>>,
}

#[derive(Default)]
struct Heard {
    listening: bool,
    at: Option<Instant>,
}

impl Recorder {
    fn start() -> Self {
        let mut command = Command::new("parec");
        command
            .args([
                "--device=speakers.monitor",
                "--raw",
                "--format=float32le",
                "--rate=48000",
                "--channels=1",
            ])
            .args(["--latency-msec=2", "--process-time-msec=2"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        common::die_with_parent(&mut command);
        let mut child = command.spawn().expect("parec was found on the search path");
        let sound = child.stdout.take().expect("stdout is piped");
        let heard = Arc::<Mutex<Heard>>::default();
        let ours = Arc::clone(&heard);
        std::thread::spawn(move || listen(sound, &ours));
        Self { child, heard }
    }

    /// From now on, notes when the next sound comes.
    fn listen(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Heard { listening: true, at: None };
    }

    fn heard(&self) -> Option<Instant> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).at
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listen(mut sound: ChildStdout, heard: &Mutex<Heard>) {
    let mut bytes = [0; GRAIN * 4];
    while sound.read_exact(&mut bytes).is_ok() {
        let now = Instant::now();
        let samples = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let Some(first) = samples.into_iter().position(|x| x.abs() > SOUND) else { continue };
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut heard.listening) {
            let since = Duration::from_secs_f64((GRAIN - first) as f64 / RATE);
            heard.at = now.checked_sub(since);
        }
    }
}

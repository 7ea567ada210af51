//! `fretcoach doctor`: tries each part as a session would use it, and says what to do about what fails.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::json;

use super::exit::{Exit, Stop};
use crate::app::chatter::Diverted;
use crate::app::input::{self, Chosen};
use crate::app::metronome;
use crate::app::setup;
use crate::audio::device::{self, Direction};
use crate::audio::echo::EchoGate;
use crate::audio::engine::{Engine, EngineSettings};
use crate::audio::player::{PlaybackEvent, Player, PlayerSettings};
use crate::audio::stats::HOP_BUDGET;
use crate::audio::supervisor::{DeviceEvent, StreamInfo};
use crate::config::Config;
use crate::dsp::Analyzer;
use crate::llm::{Chain, ChatDelta, ChatModel, ChatRequest, Message};
use crate::span::{Kind, SpanExt, Thread, chain};
use crate::speech::{self, Voice};
use crate::store::{DevicePair, Store, StoreError};
use crate::telemetry::{self, About, Log, Patience};

/// How long the input is listened to.
const LISTEN: Duration = Duration::from_secs(3);
/// Below this peak nothing is plugged in, or its volume is down.
const SILENT_DB: f32 = -60.0;
/// What the voice says.
const TEST_SENTENCE: &str = "Fret coach is ready.";

/// Parts without which there is no session.
const NEEDED: [&str; 2] = ["store", "input"];

/// Prints a line of the report. A reader that has gone does not end the examination: its exit code still counts.
fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Good,
    /// Works without, and says how to have it.
    Off,
    Bad,
}

struct Check {
    part: String,
    state: State,
    said: String,
}

struct Report {
    checks: Vec<Check>,
    quiet: bool,
}

impl Report {
    fn add(&mut self, part: impl Into<String>, state: State, said: impl Into<String>) {
        let check = Check { part: part.into(), state, said: said.into() };
        if !self.quiet {
            let mark = match check.state {
                State::Good => "ok  ",
                State::Off => "--  ",
                State::Bad => "FAIL",
            };
            line(&format!("{mark} {:<18} {}", check.part, check.said));
        }
        self.checks.push(check);
    }
}

/// Tests everything; with `silent` nothing is played.
///
/// # Errors
/// Never for a part that fails: that is the report, and [`Exit::Unhealthy`].
pub async fn run(config: Config, silent: bool, as_json: bool) -> Result<Exit, Stop> {
    let _chatter = Diverted::nowhere();
    let mut report = Report { checks: Vec::new(), quiet: as_json };
    report.add("settings", State::Good, format!("data folder {}", config.data_dir.display()));
    let store = check_store(&config, &mut report).await;
    let stream = check_input(&config, &mut report).await;
    let player = check_output(&config, &mut report);
    if let (Some(store), Some(stream), Some(player)) = (&store, &stream, &player) {
        check_calibration(&config, store, &metronome::pair(stream, config.audio.period, player), &mut report)
            .await;
    }
    check_shared(&config, store.as_ref(), &mut report).await;
    check_models(&config, &mut report).await;
    check_voices(&config, player.filter(|_| !silent).as_ref(), &mut report).await;
    check_exporter(&config, store, &mut report).await;
    let bad = report.checks.iter().filter(|c| c.state == State::Bad).count();
    if as_json {
        let rows: Vec<_> = report
            .checks
            .iter()
            .map(|c| {
                let state = match c.state {
                    State::Good => "ok",
                    State::Off => "off",
                    State::Bad => "fail",
                };
                json!({"part": c.part, "state": state, "message": c.said})
            })
            .collect();
        super::print(&format!("{:#}\n", json!({"healthy": bad == 0, "checks": rows})))?;
    } else if bad == 0 {
        line("\nAll that is configured works; `--` marks what could be added.");
    } else {
        let needed = report.checks.iter().any(|c| c.state == State::Bad && NEEDED.contains(&c.part.as_str()));
        let then = if needed { "practising needs it" } else { "practising works without" };
        line(&format!("\n{bad} of {} checks failed; {then}.", report.checks.len()));
    }
    Ok(if bad == 0 { Exit::Ok } else { Exit::Unhealthy })
}

async fn check_store(config: &Config, report: &mut Report) -> Option<Store> {
    let opened = match Store::open_in(&config.data_dir).await {
        Ok(store) => store.health().await.map(|health| (store, health)),
        Err(e) => Err(e),
    };
    match opened {
        Ok((store, h)) if h.faults.is_empty() => {
            let size = h.bytes as f64 / (1024.0 * 1024.0);
            report.add(
                "store",
                State::Good,
                format!("sessions {}, traces {}, {size:.1} MB", h.sessions, h.traces),
            );
            Some(store)
        }
        Ok((_, h)) => {
            report.add("store", State::Bad, format!("the database is damaged: {}", h.faults.join("; ")));
            None
        }
        Err(e) => {
            report.add("store", State::Bad, chain(&e));
            None
        }
    }
}

/// Does the Postgres answer, and does anything wait for it?
async fn check_shared(config: &Config, store: Option<&Store>, report: &mut Report) {
    const PART: &str = "shared database";
    if config.database_url.is_empty() {
        return report.add(PART, State::Off, "none (DATABASE_URL): everything stays on this machine");
    }
    let waiting = match store {
        Some(store) => {
            store.copy_waiting().await.map_or_else(|e| chain(&e), |n| format!("{n} rows wait to be copied"))
        }
        None => "what waits is not known".to_owned(),
    };
    let asked = async {
        let shared = Store::connect(config.database_url.reveal()).await?;
        let health = shared.health().await;
        let place = shared.place().display().to_string();
        shared.close().await;
        Ok::<_, StoreError>((place, health?))
    };
    match asked.await {
        Ok((place, health)) => {
            report.add(PART, State::Good, format!("{place}: {} sessions; {waiting}", health.sessions));
        }
        Err(e) => report.add(PART, State::Bad, format!("{}; {waiting}", chain(&e))),
    }
}

/// Is the latency between these two devices known?
async fn check_calibration(config: &Config, store: &Store, pair: &DevicePair, report: &mut Report) {
    let rows = match store.calibrations().await {
        Ok(rows) => rows,
        Err(e) => return report.add("latency", State::Bad, chain(&e)),
    };
    let tap = if config.audio.direct { " --tap" } else { "" };
    let how = format!("`fretcoach calibrate{tap}` measures it, `practice --metronome` uses it");
    match rows.iter().find(|r| r.pair == *pair) {
        Some(r) => report.add(
            "latency",
            State::Good,
            format!(
                "{:.1} ms from {} to {} ({}, {})",
                r.round_trip_ms,
                pair.output,
                pair.input,
                r.method,
                r.measured_at.strftime("%Y-%m-%d")
            ),
        ),
        None if rows.iter().any(|r| r.pair.same_devices(pair)) => {
            report.add("latency", State::Off, format!("measured at other rates or periods; {how}"));
        }
        None => report.add("latency", State::Off, format!("not measured for these two devices; {how}")),
    }
}

/// The device that was opened, if it is one.
async fn check_input(config: &Config, report: &mut Report) -> Option<StreamInfo> {
    match device::list(&config.audio.host) {
        Ok(devices) => {
            let count = |d| devices.iter().filter(|i| i.direction == d).count();
            let number = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
            let (inputs, outputs) = (count(Direction::Input), count(Direction::Output));
            match devices.first() {
                Some(d) => report.add(
                    "sound system",
                    State::Good,
                    format!("{}: {}, {}", d.host, number(inputs, "input"), number(outputs, "output")),
                ),
                None => report.add("sound system", State::Off, "no sound card was found"),
            }
        }
        Err(e) => report.add("sound system", State::Off, chain(&e)),
    }
    let mut config = config.clone();
    let chosen = input::choose(&config);
    input::complete(&mut config, &chosen);
    if let Chosen::Demo(why) = &chosen {
        let why = why.clone().unwrap_or_else(|| "chosen by audio.input".into());
        report.add("input", State::Off, format!("{why}: the virtual guitarist will play"));
        return None;
    }
    let from_file = matches!(chosen, Chosen::File(_));
    let started = setup::analyzer(&config).and_then(|hearing| {
        let source = input::open(&config, chosen, None)?;
        let settings = EngineSettings::from(&config.audio);
        Engine::start(source, settings, move || Box::new(Analyzer::new(hearing)), EchoGate::off())
            .map_err(|e| Stop::because(Exit::Input, &e))
    });
    match started {
        Ok(mut engine) => {
            let mut devices = engine.device_events();
            let peak_db = listen(&engine, report.quiet).await;
            let hops = engine.stats().take_window();
            let worst = 100.0 * hops.worst_share(engine.stats().deadline_ns());
            let frames = engine.stats().frames.load(std::sync::atomic::Ordering::Relaxed);
            let _ = tokio::task::spawn_blocking(move || drop(engine.stop())).await;
            if frames == 0 {
                let said = "the device opened but no sound came; choose another with --input (see `fretcoach devices`)";
                report.add("input", State::Bad, said);
            } else if peak_db < SILENT_DB && !from_file {
                let said = format!(
                    "silent (peak {peak_db:.0} dBFS): play a note while this runs, turn the input up, or choose another with --input"
                );
                report.add("input", State::Bad, said);
            } else {
                report.add("input", State::Good, format!("peak {peak_db:.0} dBFS in {} s", LISTEN.as_secs()));
            }
            if hops.hops > 0 {
                let said = format!(
                    "a hop takes {:.0} µs, the costliest took {worst:.1} % of its deadline (more than {:.0} % is too slow)",
                    hops.p50_ns as f64 / 1e3,
                    100.0 * HOP_BUDGET
                );
                // A few are the machine's own business; more are lost input in the end.
                let state = if hops.overruns * 100 <= hops.hops { State::Good } else { State::Bad };
                report.add("hearing", state, said);
            }
            std::iter::from_fn(|| devices.try_recv().ok()).find_map(|event| match event {
                DeviceEvent::Opened(stream) if !from_file => Some(stream),
                _ => None,
            })
        }
        Err(stop) => {
            report.add("input", State::Bad, stop.message);
            None
        }
    }
}

/// Listens, with a level meter on a terminal; the peak in dBFS.
async fn listen(engine: &Engine, quiet: bool) -> f32 {
    let meter = !quiet && std::io::stdout().is_terminal();
    let until = Instant::now() + LISTEN;
    let mut peak = 0.0f32;
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = engine.stats().take_peak();
        peak = peak.max(now);
        if meter {
            let db = 20.0 * now.max(1e-6).log10();
            let bars = ((db + 60.0) / 2.0).clamp(0.0, 30.0) as usize;
            print!("\rplay something  [{:<30}] {db:>4.0} dB ", "#".repeat(bars));
            let _ = std::io::stdout().flush(); // A terminal that is gone needs no meter.
        }
    }
    if meter {
        print!("\r{:60}\r", "");
    }
    20.0 * peak.max(1e-6).log10()
}

fn check_output(config: &Config, report: &mut Report) -> Option<Player> {
    if config.audio.output == "none" {
        report.add("output", State::Off, "switched off by audio.output");
        return None;
    }
    match Player::start(PlayerSettings::new(&config.audio, EchoGate::off())) {
        Ok(player) => {
            let s = player.status();
            match (s.device, s.reason) {
                (Some(device), _) => {
                    let realtime = if s.realtime { ", real-time" } else { "" };
                    report.add(
                        "output",
                        State::Good,
                        format!("{device}, {} Hz, period {}{realtime}", s.rate, s.period),
                    );
                    Some(player)
                }
                (None, why) => {
                    let why = why.unwrap_or_else(|| "no output device".into());
                    report.add("output", State::Off, format!("{why}: advice is shown as text"));
                    None
                }
            }
        }
        Err(e) => {
            report.add("output", State::Bad, chain(&e));
            None
        }
    }
}

async fn check_models(config: &Config, report: &mut Report) {
    match Chain::from_config(&config.llm) {
        Ok(None) => report.add(
            "model",
            State::Off,
            "no key and no base URL: the offline coach advises; set OPENAI_API_KEY or OPENAI_BASE_URL to have a model",
        ),
        Ok(Some(chain)) => {
            for model in chain.models() {
                check_model(model, config.llm.timeout, report).await;
            }
        }
        Err(said) => report.add("model", State::Bad, said),
    }
}

async fn check_model(model: &Arc<dyn ChatModel>, limit: Duration, report: &mut Report) {
    let part = format!("model {}", model.model());
    let request = ChatRequest::new(vec![Message::user("Answer with the single word: ready")], None, 200);
    let began = Instant::now();
    let answer = tokio::time::timeout(limit, async {
        let mut stream = model.stream(&request).await?;
        let (mut text, mut first) = (String::new(), None);
        while let Some(delta) = stream.next().await {
            if let ChatDelta::Text(piece) = delta? {
                first.get_or_insert_with(|| began.elapsed());
                text.push_str(&piece);
            }
        }
        Ok::<_, crate::llm::LlmError>((text, first))
    })
    .await;
    let (host, port) = model.server();
    match answer {
        Ok(Ok((text, Some(first)))) => {
            let said: String = text.trim().chars().take(40).collect();
            report.add(
                part,
                State::Good,
                format!("{host}:{port} answered after {} ms: {said}", first.as_millis()),
            );
        }
        Ok(Ok((_, None))) => report.add(part, State::Bad, format!("{host}:{port} gave an empty answer")),
        Ok(Err(e)) => report.add(part, State::Bad, chain(&e)),
        Err(_) => report.add(part, State::Bad, format!("{host}:{port} gave no answer within {limit:?}")),
    }
}

async fn check_voices(config: &Config, player: Option<&Player>, report: &mut Report) {
    let voices = speech::engines(&config.speech, &config.llm, &config.practice.language);
    if voices.is_empty() {
        let why = speech::why_no_voice(&config.speech, &config.llm, &config.practice.language);
        report.add("voice", State::Off, why.unwrap_or_else(|| "no speech engine".into()));
    }
    for voice in voices {
        let part = format!("voice {}", voice.engine());
        match speak(&*voice, player).await {
            Ok((first_ms, seconds)) => report.add(
                part,
                State::Good,
                format!("first sound after {first_ms} ms, {seconds:.1} s of speech"),
            ),
            Err(said) => report.add(part, State::Bad, said),
        }
    }
}

/// Speaks the test sentence, aloud with a player: milliseconds to the first sound, seconds of speech.
async fn speak(voice: &dyn Voice, player: Option<&Player>) -> Result<(u128, f64), String> {
    let began = Instant::now();
    let mut pcm = voice.speak(TEST_SENTENCE).await.map_err(|e| chain(&e))?;
    let mut utterance = player.map(|p| p.say(1, pcm.sample_rate));
    let (mut first, mut samples) = (None, 0usize);
    while let Some(chunk) = pcm.chunks.next().await {
        let chunk = chunk.map_err(|e| chain(&e))?;
        first.get_or_insert_with(|| began.elapsed().as_millis());
        samples += chunk.len();
        if let Some(u) = &mut utterance {
            // The player says below why it stopped.
            let _ = u.push(&chunk).await;
        }
    }
    if let Some(PlaybackEvent::Failed(why)) = match utterance {
        Some(u) => Some(u.finish().await),
        None => None,
    } {
        return Err(format!("spoken, but not heard: {why}"));
    }
    let first = first.ok_or("it made no sound")?;
    Ok((first, samples as f64 / f64::from(pcm.sample_rate)))
}

async fn check_exporter(config: &Config, store: Option<Store>, report: &mut Report) {
    if config.telemetry.otlp_endpoint.is_empty() {
        report.add(
            "traces",
            State::Off,
            "kept in the store (`fretcoach traces`); set OTEL_EXPORTER_OTLP_ENDPOINT to deliver them too",
        );
        return;
    }
    let Some(store) = store else { return };
    let about = About {
        env: config.env.clone(),
        deployment: config.deployment.clone(),
        log: Log::Off,
        secrets: config.secrets(),
        patience: Patience::default(),
    };
    let telemetry = match telemetry::init(&config.telemetry, &about, store).await {
        Ok(telemetry) => telemetry,
        Err(e) => return report.add("traces", State::Bad, chain(&e)),
    };
    let span =
        Thread::new("doctor", config.user.clone(), vec!["doctor".into()]).root("doctor", Kind::Chain, &[]);
    span.output_text("a test trace of `fretcoach doctor`");
    let trace = span.ids().trace_id().to_string();
    drop(span);
    let flushed = telemetry.flush(config.telemetry.flush_timeout).await;
    let stats = telemetry.stats();
    let endpoint = crate::http::shown(&config.telemetry.otlp_endpoint);
    if stats.parked > 0 {
        let said = format!("{endpoint} refused the test trace; see `fretcoach traces {}`", &trace[..8]);
        report.add("traces", State::Bad, said);
    } else if flushed.delivered {
        report.add("traces", State::Good, format!("{endpoint} took test trace {trace}"));
    } else {
        let said = format!(
            "{endpoint} did not answer; traces wait in the store. Check OTEL_EXPORTER_OTLP_ENDPOINT and that the collector runs"
        );
        report.add("traces", State::Bad, said);
    }
    telemetry.shutdown(Duration::ZERO).await;
}

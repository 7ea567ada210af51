//! The daemon steered from the Hub: sessions one after another in one process, sessions that begin by themselves,
//! recordings, and a lamp. The real program, the virtual guitarist, no sound card.

mod common;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use common::process::{Program, Running};
use common::session::{Kept, Note, Trace, json as printed, sessions};
use common::wait_until;
use fretcoach::names::op;
use fretcoach::store::{RecordingRow, Store};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// Longest wait for anything here.
const SOON: Duration = Duration::from_secs(60);

/// A daemon that plays, and the way to its Hub.
struct Daemon {
    running: Running,
    url: String,
    runtime: Runtime,
    client: reqwest::Client,
}

impl Daemon {
    /// Starts it with the virtual guitarist and without sound output.
    #[track_caller]
    fn start(program: &Program, further: &[&str]) -> Self {
        let mut args = vec!["practice", "--plain", "--input", "demo", "--output", "none"];
        args.extend(further);
        let mut running = program.spawn(&args);
        let printed = running.wait_for("Hub: http://", SOON);
        let url =
            printed.lines().find_map(|l| l.strip_prefix("Hub: ")).expect("it was waited for").to_owned();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        // Whoever is first; the program has installed its own provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { running, url, runtime, client }
    }

    /// What the live page shows.
    #[track_caller]
    fn view(&self) -> Value {
        self.runtime.block_on(async {
            let answer = self.client.get(format!("{}/api/live", self.url)).send().await.expect("an answer");
            assert!(answer.status().is_success(), "{}", answer.status());
            serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON")
        })
    }

    /// Asks for something.
    #[track_caller]
    fn wish(&self, wish: &Value) {
        self.runtime.block_on(async {
            let request = self.client.post(format!("{}/api/control", self.url));
            let request = request.header("content-type", "application/json").body(wish.to_string());
            let answer = request.send().await.expect("an answer");
            let status = answer.status();
            assert!(status.is_success(), "{wish}: {status}: {}", answer.text().await.unwrap_or_default());
        });
    }

    /// Waits until the view is like this, and returns it.
    #[track_caller]
    fn until(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        wait_until(what, SOON, || Some(self.view()).filter(&is))
    }

    #[track_caller]
    fn until_phase(&self, phase: &str) -> Value {
        self.until(phase, |v| v["phase"] == phase)
    }

    /// Plays until so many notes have been judged.
    #[track_caller]
    fn until_notes(&self, count: u64) -> Value {
        self.until("notes", |v| v["right"].as_u64() >= Some(0) && judged(v) >= count)
    }

    /// A setup like the one in force, with these fields changed.
    fn setup(&self, changes: &Value) -> Value {
        let mut setup = self.view()["setup"].clone();
        for (key, value) in changes.as_object().expect("fields") {
            setup[key] = value.clone();
        }
        setup
    }

    /// Ends the program as Ctrl-C does.
    #[track_caller]
    fn leave(self) -> String {
        self.running.interrupt();
        self.running.wait().ok().stdout
    }
}

fn judged(view: &Value) -> u64 {
    view["right"].as_u64().unwrap_or(0) + view["wrong"].as_u64().unwrap_or(0)
}

fn store<T>(program: &Program, ask: impl AsyncFnOnce(Store) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let store = Store::open_in(&program.data_dir()).await.expect("a store");
        let answer = ask(store.clone()).await;
        store.close().await;
        answer
    })
}

#[track_caller]
fn recording(program: &Program, session: &str) -> (RecordingRow, std::path::PathBuf) {
    let id = session.parse().expect("an id");
    store(program, async |store| {
        let row = store.recording(&id).await.expect("it can be asked").expect("there is a recording");
        (row, store.recording_file(&id).expect("a folder"))
    })
}

/// Notes of a file, as the program hears them.
#[track_caller]
fn heard_in(program: &Program, file: &Path) -> Vec<Note> {
    let out =
        program.run(&["analyze", file.to_str().expect("plain letters"), "--format", "jsonl"]).ok().stdout;
    out.lines()
        .map(|l| serde_json::from_str::<Value>(l).expect("JSON"))
        .filter(|l| l["type"] == "note")
        .map(|n| Note {
            onset: n["onset"].as_f64().expect("a time"),
            midi: u8::try_from(n["midi"].as_u64().expect("a note")).expect("below 128"),
            gated: false,
        })
        .collect()
}

/// The recording is as long as its session, and sounds where the notes are.
#[track_caller]
fn assert_sounds_where_the_notes_are(program: &Program, session: &str) {
    let kept = Kept::read(program, session);
    let (row, file) = recording(program, session);
    assert!(row.from_s.abs() < 0.01, "{row:?}");
    assert_eq!(std::fs::metadata(&file).expect("the file").len(), row.bytes);
    let sound = claxon::FlacReader::open(&file).expect("FLAC");
    let samples = sound.streaminfo().samples.expect("a length");
    assert!((samples as f64 / f64::from(row.sample_rate) - row.seconds).abs() < 1e-9);
    let last = kept.list("windows").last().and_then(|w| w["end"].as_f64());
    if let Some(last) = last {
        assert!((row.seconds - last).abs() < 0.1, "{} s of sound for {last} s of session", row.seconds);
    }
    let (stored, heard) = (kept.notes(), heard_in(program, &file));
    assert!(stored.len() >= 5, "{stored:?}");
    let found =
        stored.iter().filter(|s| heard.iter().any(|h| h.midi == s.midi && (h.onset - s.onset).abs() < 0.02));
    let found = found.count();
    // The first and the last may be cut by the begin and the end of the session.
    assert!(found + 2 >= stored.len(), "{found} of {}: {stored:?}\n{heard:?}", stored.len());
}

#[test]
fn sessions_follow_one_another_from_the_hub() {
    let program = Program::fretcoach();
    let mut daemon = Daemon::start(&program, &["--start", "hub"]);
    let idle = daemon.until("a note while nobody practises", |v| v["note"]["f0"].is_number());
    assert_eq!((&idle["phase"], &idle["session"]), (&json!("idle"), &Value::Null));
    assert!(idle["level_db"].is_number(), "{idle}");

    let first = daemon.setup(&json!({ "scale": "C major", "bpm": 120.0 }));
    daemon.wish(&json!({ "do": "start", "setup": first }));
    let playing = daemon.until_phase("playing");
    assert_eq!((&playing["scale_name"], &playing["bpm"]), (&json!("C major"), &json!(120.0)));
    assert_eq!(playing["scale_classes"], json!([0, 2, 4, 5, 7, 9, 11]));
    assert_eq!(playing["strings"], json!([40, 45, 50, 55, 59, 64]));
    let id = playing["session"].as_str().expect("an id").to_owned();
    daemon.until_notes(4);
    daemon.wish(&json!({ "do": "toggle_pause" }));
    let paused = daemon.until_phase("paused");
    daemon.wish(&json!({ "do": "toggle_pause" }));
    daemon.until("the session to go on", |v| {
        v["phase"] == "playing" && v["elapsed"].as_f64() > paused["elapsed"].as_f64()
    });
    daemon.wish(&json!({ "do": "stop" }));
    let stopped = daemon.until_phase("idle");
    assert_eq!(stopped["session"].as_str(), Some(id.as_str()), "the last one, while none runs");
    assert!(daemon.running.is_running());

    let second = daemon
        .setup(&json!({ "scale": "E minor pentatonic", "bpm": 100.0, "metrics": ["pitch"], "record": true }));
    daemon.wish(&json!({ "do": "start", "setup": second }));
    let playing = daemon.until_phase("playing");
    assert_eq!(playing["metrics"], json!(["pitch_accuracy"]));
    assert_ne!(playing["session"].as_str(), Some(id.as_str()));
    daemon.until_notes(8);
    daemon.wish(&json!({ "do": "stop" }));
    daemon.until_phase("idle");
    let said = daemon.leave();

    let kept = sessions(&program);
    assert_eq!(kept.len(), 2, "{said}");
    assert_eq!(kept.iter().map(|s| &s["scale"]).collect::<Vec<_>>(), ["E minor pentatonic", "C major"]);
    assert!(kept.iter().all(|s| s["end"] == "finished"), "{kept:?}");
    for session in &kept {
        let id = session["id"].as_str().expect("an id");
        let traces = Trace::all(&program, id);
        assert_eq!(traces.iter().filter(|t| t.name == op::SESSION).count(), 1, "one root a session");
        traces.iter().for_each(Trace::assert_whole);
    }
    assert_sounds_where_the_notes_are(&program, kept[0]["id"].as_str().expect("an id"));
    store(&program, async |store| {
        assert_eq!(store.recording(&id.parse().expect("an id")).await.expect("an answer"), None);
    });
    let kept_setup = store(&program, async |store| store.settings("default").await.expect("an answer"));
    assert!(kept_setup.expect("the setup is remembered").contains("E minor pentatonic"));
}

#[test]
fn a_session_begins_when_somebody_plays_and_holds_the_notes_that_began_it() {
    let program = Program::fretcoach();
    let daemon = Daemon::start(&program, &["--start", "playing", "--record", "--bpm", "150"]);
    let playing = daemon.until_phase("playing");
    let id = playing["session"].as_str().expect("an id").to_owned();
    daemon.until_notes(8);
    daemon.wish(&json!({ "do": "stop" }));
    daemon.until_phase("idle");
    // The guitarist plays on, and that begins nothing: there was no rest.
    let since = Instant::now();
    let mut notes = 0;
    while since.elapsed() < Duration::from_secs(4) {
        let view = daemon.view();
        assert_eq!(view["phase"], "idle");
        notes += usize::from(view["note"]["f0"].is_number());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(notes > 0, "nothing was heard: the test shows nothing");
    daemon.leave();
    assert_eq!(sessions(&program).len(), 1);
    let first = Kept::read(&program, &id).notes().first().map(|n| n.onset).expect("notes");
    assert!((0.0..0.6).contains(&first), "the first note lies at {first} s: it began the session");
    assert_sounds_where_the_notes_are(&program, &id);
}

#[test]
fn a_session_of_the_command_line_that_is_stopped_from_the_hub_leaves_the_program_waiting() {
    let program = Program::fretcoach();
    let mut daemon = Daemon::start(&program, &[]);
    daemon.until_notes(2);
    daemon.wish(&json!({ "do": "stop" }));
    daemon.until_phase("idle");
    assert!(daemon.running.is_running());
    daemon.wish(&json!({ "do": "set", "setup": daemon.setup(&json!({ "capo": 3 })) }));
    let set = daemon.until("the capo", |v| v["setup"]["capo"] == 3);
    assert_eq!(set["strings"][0], 43, "an E string with a capo on the third fret");
    daemon.wish(&json!({ "do": "start" }));
    daemon.until_phase("playing");
    daemon.until_notes(1);
    daemon.leave();
    assert_eq!(sessions(&program).len(), 2, "Ctrl-C ends session and program");

    // The next start remembers the capo, and that a flag counts more than what is remembered.
    let daemon = Daemon::start(&program, &["--start", "hub", "--tuning", "drop D"]);
    let remembered = daemon.view();
    assert_eq!((&remembered["setup"]["capo"], &remembered["strings"][0]), (&json!(3), &json!(41)));
    daemon.leave();
}

#[test]
fn the_recording_of_a_killed_session_can_be_played() {
    let program = Program::fretcoach();
    let daemon = Daemon::start(&program, &["--record"]);
    let id = daemon.until_notes(6)["session"].as_str().expect("an id").to_owned();
    daemon.running.signal(libc::SIGKILL);
    let _ = daemon.running.wait();
    // One whose session is not here may belong to a backup, or to a history yet to be imported.
    let folder = program.data_dir().join("recordings");
    let stray = folder.join("0199aaaa-0000-7000-8000-000000000000.flac");
    std::fs::write(&stray, "nothing").expect("a file");
    let again = ["practice", "--plain", "--input", "demo", "--fast", "--minutes", "0.05", "--no-speech"];
    program.run(&again).ok();
    assert!(stray.exists());
    let (row, file) = recording(&program, &id);
    let sound = claxon::FlacReader::open(&file).expect("FLAC");
    assert_eq!(sound.streaminfo().samples, Some((row.seconds * 48_000.0).round() as u64));
    assert_sounds_where_the_notes_are(&program, &id);
}

#[test]
fn a_plan_is_carried_out_linked_and_followed_up() {
    let program = Program::fretcoach();
    program.run(&["plan"]).ok();
    let mut daemon = Daemon::start(&program, &["--plan", "latest"]);
    let view = daemon.until_notes(3);
    let (session, plan) = (view["session"].as_str().expect("an id"), view["plan"].as_str().expect("an id"));
    daemon.running.wait_for("exercise 1 of ", SOON);
    daemon.wish(&json!({ "do": "stop" }));
    let idle = daemon.until_phase("idle");
    assert_eq!(
        (&idle["plan"], &idle["setup"]["minutes"]),
        (&Value::Null, &json!(0.0)),
        "the plan was that session's"
    );
    let said = daemon.leave();
    assert_eq!(Kept::read(&program, session).0["session"]["mode"], "ai");
    let id = session.parse().expect("an id");
    let (linked, row) = store(&program, async |store| {
        let linked = store.plan_of(&id).await.expect("an answer").map(|p| p.to_string());
        (linked, store.plan("default", plan).await.expect("the plan"))
    });
    assert_eq!(linked.as_deref(), Some(plan));
    let outcome = row.outcome.expect("it was followed up");
    assert_eq!(outcome.session, session);
    assert!(said.contains(&outcome.said), "{said}");
    let unknown = program.run(&["practice", "--plain", "--input", "demo", "--plan", "0199aaaa"]);
    assert_eq!(unknown.code(), Some(8), "{unknown:?}");
}

/// Colours that a lamp was told, with their times.
type Told = Arc<Mutex<Vec<(Instant, Value)>>>;

#[test]
fn a_lamp_shows_the_score() {
    async fn take(State(told): State<Told>, body: String) {
        let state = serde_json::from_str(&body).expect("JSON");
        told.lock().expect("no panic").push((Instant::now(), state));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let told = Told::default();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
    let address = listener.local_addr().expect("an address");
    let app = Router::new().route("/json/state", axum::routing::post(take)).with_state(told.clone());
    runtime.spawn(async move { axum::serve(listener, app).await });

    let program = Program::fretcoach().env("FRETCOACH_AMBIENT_URL", format!("http://{address}"));
    let daemon = Daemon::start(&program, &["--bpm", "150"]);
    daemon.until("a score", |v| v["scores"]["overall"].is_number());
    wait_until("a colour", SOON, || (!told.lock().expect("no panic").is_empty()).then_some(()));
    daemon.until_notes(10);
    daemon.leave();
    let told = told.lock().expect("no panic").clone();
    let colour = &told[0].1["seg"][0]["col"][0];
    assert!(told[0].1["on"] == true && colour.as_array().is_some_and(|c| c.len() == 3), "{told:?}");
    let span = told[told.len() - 1].0 - told[0].0;
    assert!(told.len() as f64 <= 2.0 + 3.2 * span.as_secs_f64(), "{} in {span:?}", told.len());
    assert!(told.windows(2).all(|w| w[0].1 != w[1].1), "the same colour twice");
}

#[test]
fn without_a_hub_the_program_is_as_it_was() {
    let program = Program::fretcoach();
    let args =
        ["practice", "--plain", "--input", "demo", "--fast", "--minutes", "0.05", "--no-speech", "--no-hub"];
    let out = program.run(&args).ok().stdout;
    assert!(!out.contains("Hub") && out.contains("Session:"), "{out}");
    let refused = program.run(&["practice", "--plain", "--no-hub", "--start", "hub"]);
    assert_eq!(refused.code(), Some(3), "{refused:?}");
    assert!(refused.stderr.contains("--no-hub"), "{}", refused.stderr);
    let _ = printed(&program, &["history", "--format", "json"]);
}

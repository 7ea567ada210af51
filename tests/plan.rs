//! `fretcoach plan` as a guitarist uses it: with a history, with a model behind real HTTP, and with none.

mod common;
#[path = "common/openai_server.rs"]
mod openai_server;

use std::time::Duration;

use common::postgres;
use common::process::{Finished, Program};
use fretcoach::cli::exit::Exit;
use fretcoach::coach::plan::{self, Ask, Planner};
use fretcoach::config::Config;
use fretcoach::practice::plan::{Plan, Verdict};
use fretcoach::practice::types::{Facts, Scores, Summary};
use fretcoach::store::{NewSession, PlanId, PlanStatus, SessionId, Store};
use jiff::{SignedDuration, Timestamp};
use openai_server::{Reply, Server};
use serde_json::{Value, json};

/// Three sessions of a player whose timing is the weakest, played some days ago.
async fn practised(program: &Program) {
    let store = Store::open_in(&program.data_dir()).await.unwrap();
    for day in 1..=3 {
        session(&store, Timestamp::now() - SignedDuration::from_hours(24 * day), 58.0, 18.0, None).await;
    }
    store.close().await;
}

/// A quarter of an hour with this timing, which carries out a plan or none.
async fn session(
    store: &Store,
    begun: Timestamp,
    timing: f64,
    spread: f64,
    plan: Option<PlanId>,
) -> SessionId {
    let session = NewSession {
        id: SessionId::new(),
        user: "default".into(),
        deployment: "fretcoach-studio".into(),
        mode: "manual".into(),
        scale: Some("E minor".into()),
        bpm: Some(80.0),
        started_at: begun,
        input: "demo".into(),
        config_json: "{}".into(),
        trace_id: None,
    };
    store.start_session(&session).await.unwrap();
    if let Some(plan) = plan {
        store.link_plan(&session.id, &plan, begun).await.unwrap();
    }
    let summary = Summary {
        duration: 900.0,
        scores: Scores {
            pitch_accuracy: Some(82.0),
            scale_conformity: Some(93.0),
            timing_stability: Some(timing),
            noise_control: Some(78.0),
            overall: Some(77.0),
        },
        facts: Facts { note_count: 400, timing_sd_ms: Some(spread), ..Facts::default() },
        weakest: None,
        strongest: None,
        overall_by_window: vec![],
    };
    let ended = begun + SignedDuration::from_mins(15);
    store.finish_session(&session.id, &summary, ended).await.unwrap();
    session.id
}

fn plan_of(finished: &Finished) -> Value {
    let value: Value = serde_json::from_str(&finished.stdout).unwrap();
    value["plan"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_from_the_terminal() {
    let program = Program::fretcoach();
    let first = program.run(&["plan"]).ok().stdout;
    assert!(
        first.starts_with("First session:") && first.contains("fretcoach practice --plan latest"),
        "{first}"
    );
    practised(&program).await;
    let text = program.run(&["plan"]).ok().stdout;
    for said in
        ["E minor", "15 minutes at 80 bpm", "58 of 100 over your last 3 sessions", "a spread of 18 ms"]
    {
        assert!(text.replace("\n ", "").replace("  ", " ").contains(said), "{said} is missing in\n{text}");
    }
    assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
    let kept = plan_of(&program.run(&["plan", "--format", "json"]).ok());
    let another = plan_of(&program.run(&["plan", "--another", "--format", "json"]).ok());
    assert_ne!(kept["id"], another["id"]);
    let wished = program.run(&["plan", "--wish", "bends, 20 minutes"]).ok().stdout;
    assert!(wished.starts_with("Bends in") && wished.contains("20 minutes"), "{wished}");
    assert!(program.run(&["plan", "accept"]).ok().stdout.contains("You have accepted it."));
    assert!(program.run(&["plan", "dismiss"]).ok().stdout.contains("Dismissed."));
    let nothing = program.run(&["plan", "accept"]);
    assert_eq!(nothing.status.code(), Some(Exit::NotFound as i32));
    assert!(nothing.stderr.contains("no plan is waiting"), "{}", nothing.stderr);
    let list = program.run(&["plan", "--list"]).ok().stdout;
    assert_eq!(list.matches("dismissed").count(), 4, "{list}");
    let old = kept["id"].as_str().unwrap();
    assert!(program.run(&["plan", old]).ok().stdout.contains("Dismissed. Today's plan: fretcoach plan"));
    assert_eq!(program.run(&["plan", "--wish", " "]).status.code(), Some(Exit::Usage as i32));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_writes_the_plan_and_the_trace_tells_how() {
    let server = Server::start().await;
    let program = Program::fretcoach()
        .env("OPENAI_BASE_URL", server.base_url())
        .env("OPENAI_API_KEY", "sk-plan-5c1f0e77")
        .env("FRETCOACH_MODEL", "first");
    practised(&program).await;
    let exercise = |title: &str, minutes, tempo: Value, trainer: Value| json!({ "title": title, "how": "Slowly.", "minutes": minutes, "tempo": tempo, "speed_trainer": trainer });
    let trainer = json!({ "start": 64, "end": 88, "step": 4, "every_bars": 4 });
    let good = json!({
        "scale": "E dorian", "type": "mend", "focus": "picking", "tempo": 76, "strictness": 0.6, "sensitivity": 0.5,
        "minutes": 12,
        "exercises": [
            exercise("Warm up", 2, Value::Null, Value::Null), exercise("Eighths", 6, json!(76), Value::Null),
            exercise("Faster", 4, Value::Null, trainer),
        ],
        "reasoning": "Your timing is at 58.",
    });
    let wrong = json!({ "scale": "E dorian", "minutes": 12 });
    server.on_chat(Reply::says(&wrong.to_string(), Duration::ZERO));
    server.on_chat(Reply::says(&good.to_string(), Duration::ZERO));
    let row = plan_of(&program.run(&["plan", "--format", "json"]).ok());
    assert_eq!((&row["source"], &row["plan"]["focus"]), (&json!("first"), &json!("picking")));
    serde_json::from_value::<Plan>(row["plan"].clone()).unwrap();
    let asked = server.asked();
    let format = &asked[0].body["response_format"];
    assert_eq!(format["type"], "json_schema");
    assert_eq!(format["json_schema"]["strict"], true);
    assert_eq!(asked.len(), 2, "asked once more with what was wrong");

    let trace = row["trace_id"].as_str().expect("a trace");
    let out = program.run(&["traces", trace, "--format", "json"]).ok().stdout;
    let trace: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(trace["trace"]["name"], "practice-recommendation");
    assert_eq!(trace["trace"]["thread"], format!("studio-ai-mode-{}", row["id"].as_str().unwrap()));
    let spans = trace["spans"].as_array().unwrap();
    let names: Vec<&str> = spans.iter().filter_map(|s| s["name"].as_str()).collect();
    for name in ["history query sessions", "history query scales", "history query plans", "prompt render"] {
        assert!(names.contains(&name), "{name} is missing in {names:?}");
    }
    assert_eq!(names.iter().filter(|n| **n == "chat first").count(), 2);
    let root = spans.iter().find(|s| s["parent_id"].is_null()).unwrap();
    let tags = root["attributes"]["tag.tags"].as_array().unwrap();
    for tag in ["fretcoach-core", "fretcoach-studio", "first", "ai-mode", "practice-recommendation"] {
        assert!(tags.contains(&json!(tag)), "{tag} is missing in {tags:?}");
    }
    assert!(!out.contains("sk-plan-5c1f0e77"));

    // Garbage twice: the rules make the plan, and say why.
    server.usually_chat(Reply::says("Just play!", Duration::ZERO));
    let row = plan_of(&program.run(&["plan", "--another", "--format", "json"]).ok());
    assert_eq!((&row["source"], &row["plan"]["focus"]), (&json!("offline"), &json!("timing_stability")));
    let note = row["plan"]["note"].as_str().unwrap();
    assert!(note.contains("first made no usable plan in two attempts"), "{note}");
    // Nobody answers.
    server.usually_chat(Reply::status(503, "out of order"));
    let row = plan_of(&program.run(&["plan", "--another", "--format", "json"]).ok());
    assert!(row["plan"]["note"].as_str().unwrap().contains("503"), "{row}");
}

/// The whole way of a plan: made from the history, carried out, followed up; and the next one is another.
async fn way_of_a_plan(store: &Store) {
    let now = Timestamp::now();
    for hours in [72, 48, 24] {
        session(store, now - SignedDuration::from_hours(hours), 58.0, 18.0, None).await;
    }
    let practised = store.practised("default").await.unwrap();
    assert_eq!((practised.len(), practised[0].sessions, practised[0].minutes), (1, 3, 45.0));
    let planner = Planner::new(&Config::default(), store.clone());
    let made = planner.propose("default", Ask::Today, "hub").await.unwrap();
    assert_eq!(store.plan("default", "latest").await.unwrap(), made);
    let done = session(store, now + SignedDuration::from_secs(1), 85.0, 9.0, Some(made.id)).await;
    assert_eq!(store.plan_sessions(&made.id, true).await.unwrap(), [done]);
    let outcome = plan::follow_up(store, &done).await.unwrap().unwrap();
    assert_eq!((outcome.verdict, outcome.sessions), (Verdict::Better, 3));
    let row = store.plan("default", &made.id.to_string()).await.unwrap();
    assert_eq!((row.status, row.outcome), (PlanStatus::Done, Some(outcome)));
    let next = planner.propose("default", Ask::Today, "hub").await.unwrap();
    assert!(!next.plan.repeats(&made.plan));
    assert_eq!(store.plan_count("default").await.unwrap(), 2);
}

#[tokio::test]
async fn the_way_of_a_plan_on_sqlite() {
    way_of_a_plan(&Store::memory().await.unwrap()).await;
}

#[tokio::test]
async fn the_way_of_a_plan_on_postgres_and_to_another_device() {
    let url = postgres::shared().database();
    let shared = Store::connect(&url).await.unwrap();
    way_of_a_plan(&shared).await;
    let device = Store::memory().await.unwrap();
    let found = plan::find(&device, &url, "default", "latest").await.unwrap();
    assert_eq!(found, shared.plan("default", "latest").await.unwrap());
    assert_eq!(device.plan("default", "latest").await.unwrap(), found);
    shared.close().await;
}

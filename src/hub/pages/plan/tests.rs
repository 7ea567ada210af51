use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use jiff::SignedDuration;
use serde_json::Value as Json;
use tower_service::Service;

use super::*;
use crate::config::Config;
use crate::hub::Parts;
use crate::hub::link::{Joint, LiveView, joint};
use crate::practice::types::{Facts, Scores, Summary};
use crate::store::{NewSession, PlanId, SessionId, Store};

async fn hub() -> (Hub, Joint) {
    let (joint, link) = joint(LiveView::default());
    (Hub::new(Parts { config: config(), store: Store::memory().await.unwrap(), link: Some(link) }), joint)
}

fn config() -> Config {
    Config { user: "ann".into(), ..Config::default() }
}

async fn ask(hub: &Hub, method: &str, path: &str, body: Option<&str>) -> (StatusCode, String, String) {
    let json = path.starts_with("/api");
    let media = if json { "application/json" } else { "application/x-www-form-urlencoded" };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, media)
        .header(header::ACCEPT, if json { "application/json" } else { "text/html" })
        .body(Body::from(body.unwrap_or_default().to_owned()))
        .unwrap();
    let response = hub.router().call(request).await.unwrap();
    let to = response.headers().get(header::LOCATION).map(|v| v.to_str().unwrap().to_owned());
    let status = response.status();
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, to.unwrap_or_default(), String::from_utf8(bytes.to_vec()).unwrap())
}

async fn page_of(hub: &Hub) -> String {
    let (status, _, text) = ask(hub, "GET", "/plan", None).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    text
}

async fn api(hub: &Hub, method: &str, path: &str, body: Option<&str>) -> (StatusCode, Json) {
    let (status, _, text) = ask(hub, method, path, body).await;
    (status, serde_json::from_str(&text).unwrap())
}

/// A session of 300 notes with this spread that carries out a plan, or none.
async fn session(store: &Store, spread: f64, day: i64, plan: Option<&PlanId>) -> SessionId {
    let begun = Timestamp::now() - SignedDuration::from_hours(24 * (30 - day));
    let session = NewSession {
        id: SessionId::new(),
        user: "ann".into(),
        deployment: "fretcoach-studio".into(),
        mode: "manual".into(),
        scale: Some("A minor pentatonic".into()),
        bpm: Some(80.0),
        started_at: begun,
        input: "demo".into(),
        config_json: "{}".into(),
        trace_id: None,
    };
    let id = store.start_session(&session).await.unwrap();
    if let Some(plan) = plan {
        store.link_plan(&id, plan, begun).await.unwrap();
    }
    let summary = Summary {
        duration: 600.0,
        scores: Scores {
            pitch_accuracy: Some(80.0),
            timing_stability: Some(60.0),
            overall: Some(70.0),
            ..Scores::default()
        },
        facts: Facts { note_count: 300, timing_sd_ms: Some(spread), ..Facts::default() },
        weakest: None,
        strongest: None,
        overall_by_window: vec![],
    };
    store.finish_session(&id, &summary, begun + SignedDuration::from_mins(10)).await.unwrap();
    id
}

#[tokio::test]
async fn looking_makes_no_plan_and_asking_makes_one() {
    let (hub, _joint) = hub().await;
    assert!(page_of(&hub).await.contains("Plan today's practice"));
    assert_eq!(api(&hub, "GET", "/api/plans", None).await.1, json!({ "plans": [], "waiting": null }));
    let (status, to, _) = ask(&hub, "POST", "/plan", Some("ask=today")).await;
    assert_eq!((status, to.as_str()), (StatusCode::SEE_OTHER, "/plan"));
    let page = page_of(&hub).await;
    for shown in ["Accept and start", "Another plan", "A minor pentatonic", "speed trainer", "None yet."] {
        assert!(page.contains(shown), "{shown} is missing");
    }
    let (_, plans) = api(&hub, "GET", "/api/plans", None).await;
    let id = plans["waiting"].as_str().unwrap().to_owned();
    let (_, one) = api(&hub, "GET", &format!("/api/plans/{id}"), None).await;
    assert_eq!((&one["plan"], one["plan"]["plan"]["type"].as_str()), (&plans["plans"][0], Some("first")));
    // Asked again, it is kept.
    ask(&hub, "POST", "/plan", Some("ask=today")).await;
    assert_eq!(api(&hub, "GET", "/api/plans", None).await.1["waiting"], *id);
}

#[tokio::test]
async fn wishes_and_models_texts_are_never_markup() {
    let (hub, _joint) = hub().await;
    let wish = "ask=wish&wish=%3Cscript%3Ealert(1)%3C%2Fscript%3E+%26+20+minutes";
    ask(&hub, "POST", "/plan", Some(wish)).await;
    let page = page_of(&hub).await;
    assert!(!page.contains("<script>alert") && page.contains("&lt;script&gt;alert(1)"), "{page}");
    let (status, _, said) = ask(&hub, "POST", "/plan", Some("ask=wish&wish=+")).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(said.contains("wish is empty"), "{said}");
    let (status, said) = api(&hub, "POST", "/api/plans", Some(r#"{"ask": "tomorrow"}"#)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(said["error"].as_str().unwrap().contains("choose today, another or wish"));
}

#[tokio::test]
async fn starting_hands_the_plan_to_the_daemon() {
    let (hub, mut joint) = hub().await;
    let (_, made) = api(&hub, "POST", "/api/plans", Some("{}")).await;
    let id = made["plan"]["id"].as_str().unwrap().to_owned();
    let (status, to, _) = ask(&hub, "POST", &format!("/plan/{id}/start"), None).await;
    assert_eq!((status, to.as_str()), (StatusCode::SEE_OTHER, "/"));
    // With a setup: the session is the player's own, whoever played before.
    let begun = joint.control.try_recv().unwrap();
    let Control::Start { setup: Some(_), plan, user } = &begun else { panic!("{begun:?}") };
    assert_eq!((plan.as_deref(), user.as_deref()), (Some(id.as_str()), Some("ann")));
    assert_eq!(api(&hub, "GET", &format!("/api/plans/{id}"), None).await.1["plan"]["status"], "accepted");
    // While a session runs nothing is begun.
    joint.view.send_modify(|v| v.phase = Phase::Playing);
    let (status, said) = api(&hub, "POST", &format!("/api/plans/{id}/start"), None).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(said["error"].as_str().unwrap().contains("session is running"), "{said}");
    assert!(joint.control.try_recv().is_err());
}

#[tokio::test]
async fn without_a_daemon_the_page_says_how() {
    let hub = Hub::new(Parts { config: config(), store: Store::memory().await.unwrap(), link: None });
    let (_, made) = api(&hub, "POST", "/api/plans", Some("{}")).await;
    let id = made["plan"]["id"].as_str().unwrap().to_owned();
    let page = page_of(&hub).await;
    assert!(page.contains("fretcoach practice --plan latest") && !page.contains("Accept and start"));
    let (status, said) = api(&hub, "POST", &format!("/api/plans/{id}/start"), None).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(said["error"].as_str().unwrap().contains("--plan latest"), "{said}");
    ask(&hub, "POST", &format!("/plan/{id}/accept"), None).await;
    assert!(page_of(&hub).await.contains("accepted"));
    ask(&hub, "POST", &format!("/plan/{id}/dismiss"), None).await;
    let page = page_of(&hub).await;
    assert!(page.contains("Plan today's practice") && page.contains("not practised"), "{page}");
    let (status, _) = api(&hub, "POST", &format!("/api/plans/{id}/accept"), None).await;
    assert_eq!(status, StatusCode::CONFLICT);
    let (status, _) = api(&hub, "POST", &format!("/api/plans/{id}/frame"), None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn past_plans_show_what_came_of_them() {
    let (hub, _joint) = hub().await;
    for (day, spread) in [(1, 24.0), (2, 25.0), (3, 26.0)] {
        session(hub.store(), spread, day, None).await;
    }
    let (_, made) = api(&hub, "POST", "/api/plans", Some("{}")).await;
    let id: PlanId = made["plan"]["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(made["plan"]["plan"]["focus"], "timing_stability");
    let done = session(hub.store(), 12.0, 10, Some(&id)).await;
    let page = page_of(&hub).await;
    assert!(page.contains("against 25 ms on average in the 3 sessions before"), "{page}");
    assert!(page.contains(&format!("/history/{done}")) && page.contains(">better<"), "{page}");
}

#[tokio::test]
async fn players_see_their_own_plans_only() {
    let (hub, _joint) = hub().await;
    let (_, made) = api(&hub, "POST", "/api/plans", Some("{}")).await;
    let id = made["plan"]["id"].as_str().unwrap().to_owned();
    for (method, path) in [
        ("GET", format!("/api/plans/{id}")),
        ("POST", format!("/api/plans/{id}/accept")),
        ("POST", format!("/api/plans/{id}/start")),
    ] {
        let mut request = Request::builder().method(method).uri(&path).body(Body::empty()).unwrap();
        request.extensions_mut().insert(Viewer { user: "ben".into() });
        let status = hub.router().call(request).await.unwrap().status();
        assert_eq!(status, StatusCode::NOT_FOUND, "{method} {path}");
    }
}

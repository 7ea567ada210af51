use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode, header};
use serde_json::Value as Json;
use tower_service::Service;

use super::*;
use crate::config::Config;
use crate::dsp::event::{NoteEvent, Technique};
use crate::hub::Parts;
use crate::practice::types::{Facts, JudgedNote, Metric, Reason, Scores, Summary, Window};
use crate::store::{
    AdviceId, AdviceKind, AdviceRow, Batch, GapRow, LoopCost, NewSession, Store, WindowRecord,
};

/// What must never reach a page as markup.
const HOSTILE: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 8191*8191 }}";

struct Answer {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Json {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }
}

fn hub(store: &Store, user: &str) -> Hub {
    let config = Config { user: user.into(), ..Config::default() };
    Hub::new(Parts { config, store: store.clone(), link: None })
}

async fn ask(hub: &Hub, request: Request<Body>) -> Answer {
    let answer = hub.router().call(request).await.unwrap();
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    Answer { status, headers, text: String::from_utf8_lossy(&body).into_owned() }
}

async fn get_page(hub: &Hub, address: &str) -> Answer {
    ask(hub, Request::get(address).header(header::ACCEPT, "text/html").body(Body::empty()).unwrap()).await
}

/// A page that must be there: well formed as far as that can be told, and without inline script or style.
async fn page_of(hub: &Hub, address: &str) -> String {
    let answer = get_page(hub, address).await;
    assert_eq!(answer.status, StatusCode::OK, "{address}: {}", answer.text);
    let text = answer.text;
    assert!(!text.contains(" style=") && !text.contains("<style"), "{address}: inline style");
    for script in text.split("<script").skip(1) {
        let head = script.split('>').next().unwrap();
        assert!(
            head.contains("src=") || head.contains("application/json"),
            "{address}: inline script {head}"
        );
    }
    assert_eq!(text.matches("<h1").count(), 1, "{address}: one heading of the page");
    assert!(!text.contains("<img") && !text.contains("<script>"), "{address}: text became markup");
    text
}

async fn post(hub: &Hub, address: &str, form: &str) -> Answer {
    let request = Request::post(address)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(form.to_owned()))
        .unwrap();
    ask(hub, request).await
}

fn note(i: usize, reason: Option<Reason>, gated: bool) -> JudgedNote {
    let onset = i as f64 * 0.5;
    let note = NoteEvent {
        onset,
        offset: onset + 0.4,
        t: onset + 0.05,
        midi: 57 + (i % 5) as u8,
        f0: 220.0,
        cents: 3.0,
        level_db: -18.0,
        confidence: 0.9,
        settled: onset + 0.05,
        inharmonicity: None,
        technique: Technique::default(),
        gated,
    };
    let right = reason.is_none() && !gated;
    JudgedNote { note, in_scale: Some(true), deviation_ms: Some(8.0), place: Some(0.5), right, reason }
}

fn window(index: u32, timing: f64) -> WindowRecord {
    let window = Window {
        index,
        start: f64::from(index) * 30.0,
        end: f64::from(index + 1) * 30.0,
        scores: Scores { timing_stability: Some(timing), overall: Some(timing), ..Scores::default() },
        facts: Facts { note_count: 20, ..Facts::default() },
        weakest: Some(Metric::TimingStability),
        strongest: None,
    };
    let cost = LoopCost { hops: 100, hop_p95_ns: 50_000, ..LoopCost::default() };
    WindowRecord { window, closed_at: Timestamp::now(), cost: Some(cost) }
}

struct Played<'a> {
    user: &'a str,
    scale: Option<&'a str>,
    words: &'a str,
    notes: usize,
    finished: bool,
    scored: bool,
}

const PLAYED: Played<'static> = Played {
    user: "ada",
    scale: Some("A minor"),
    words: "Slow down.",
    notes: 40,
    finished: true,
    scored: true,
};

async fn play(store: &Store, played: Played<'_>) -> String {
    let session = NewSession {
        id: SessionId::new(),
        user: played.user.into(),
        deployment: "fretcoach-studio".into(),
        mode: "manual".into(),
        scale: played.scale.map(Into::into),
        bpm: Some(90.0),
        started_at: Timestamp::now(),
        input: played.words.into(),
        config_json: r#"{"practice":{"tuning":"drop D","capo":2}}"#.into(),
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".into()),
    };
    store.start_session(&session).await.unwrap();
    let mut notes: Vec<JudgedNote> = (0..played.notes).map(|i| note(i, None, false)).collect();
    if played.notes > 2 {
        notes[1] = note(1, Some(Reason::Late(52.0)), false);
        notes[2] = note(2, None, true);
    }
    let windows = if played.scored { vec![window(0, 60.0), window(1, 71.0)] } else { Vec::new() };
    let advice = [AdviceRow {
        id: AdviceId::new(),
        kind: AdviceKind::Live,
        at: Timestamp::now(),
        at_s: 30.0,
        window_index: Some(0),
        text: played.words.into(),
        source: "offline coach".into(),
        prompt_version: None,
        spoken: Some(true),
        trace_id: None,
        span_id: None,
    }];
    let gaps = [GapRow { from: 4.0, to: 5.5, cause: played.words.into() }];
    let batch = Batch { notes: &notes, windows: &windows, advice: &advice, gaps: &gaps, ..Batch::default() };
    store.append(&session.id, &batch).await.unwrap();
    if played.finished {
        let scores = if played.scored { windows[0].window.scores } else { Scores::default() };
        let summary = Summary {
            duration: 60.0,
            scores,
            facts: Facts {
                note_count: played.notes,
                timing_sd_ms: Some(17.0),
                wrong_notes: vec![(played.words.into(), 2)],
                ..Facts::default()
            },
            weakest: played.scored.then_some(Metric::TimingStability),
            strongest: None,
            overall_by_window: vec![],
        };
        store.finish_session(&session.id, &summary, Timestamp::now()).await.unwrap();
    }
    session.id.to_string()
}

#[tokio::test]
async fn an_empty_history_says_how_to_begin() {
    let hub = hub(&Store::memory().await.unwrap(), "ada");
    assert!(page_of(&hub, "/history").await.contains("No sessions yet"));
    assert!(page_of(&hub, "/history/trends").await.contains("No session in these 90 days"));
    assert_eq!(get_page(&hub, "/api/sessions").await.json()["total"], 0);
    assert_eq!(get_page(&hub, "/history/latest").await.status, StatusCode::NOT_FOUND);
    assert_eq!(get_page(&hub, "/history/compare").await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(get_page(&hub, "/api/trends").await.json()["streak"]["days"], 0);
}

#[tokio::test]
async fn a_session_is_shown_in_full() {
    let store = Store::memory().await.unwrap();
    let id = play(&store, PLAYED).await;
    let hub = hub(&store, "ada");
    let list = page_of(&hub, "/history").await;
    assert!(list.contains(&format!("/history/{id}")) && list.contains("1 session<"), "{list}");
    let page = page_of(&hub, &format!("/history/{id}")).await;
    for told in [
        "timing stability: 60 → 71 (+11) in the stretch after it",
        "52 ms late",
        "not judged",
        "38 of 39 (97 %)",
        "fretcoach traces 4bf92f3577b34da6a3ce929d0e0e4736",
        "drop D, capo on fret 2",
        "39 notes: 0 early, 39 late, 0 within 5 ms of their place; spread of 17 ms.",
        "200 steps of the analysis",
        "Input lost",
    ] {
        assert!(page.contains(told), "{told}: {page}");
    }
    let wrong = page_of(&hub, &format!("/history/{id}?wrong=1")).await;
    assert!(wrong.contains("1 to 1 of 1"), "only the wrong note is listed");
    let json = get_page(&hub, &format!("/api/sessions/{id}")).await.json();
    assert_eq!(json["session"]["right_count"], 38);
    assert_eq!(json["session"]["scores"]["timing_stability"], 60.0);
    assert_eq!(json["windows"].as_array().unwrap().len(), 2);
    let notes = get_page(&hub, &format!("/api/sessions/{id}/notes?from=1&limit=1")).await.json();
    assert_eq!(
        (notes["total"].as_u64(), notes["notes"][0]["reason"]["code"].as_str()),
        (Some(40), Some("late"))
    );
    assert!(page_of(&hub, "/history/latest").await.contains(&id));
    assert!(page_of(&hub, "/history/trends").await.contains("1 session,"));
    assert!(page_of(&hub, "/history/trends?days=20&scale=A+minor&step=day").await.contains("Practice time"));
}

#[tokio::test]
async fn sessions_that_run_or_lack_scores_are_told_as_they_are() {
    let store = Store::memory().await.unwrap();
    let running = play(&store, Played { finished: false, ..PLAYED }).await;
    let silent = play(&store, Played { notes: 0, scored: false, scale: None, ..PLAYED }).await;
    let hub = hub(&store, "ada");
    let list = page_of(&hub, "/history?sort=right&dir=asc").await;
    assert!(list.contains("running") && list.contains("–"), "{list}");
    let page = page_of(&hub, &format!("/history/{running}")).await;
    assert!(page.contains("This session still runs") && !page.contains("Delete this session"), "{page}");
    let page = page_of(&hub, &format!("/history/{silent}")).await;
    assert!(page.contains("No notes were heard") && page.contains("Free playing"), "{page}");
    // It is being written: it cannot be deleted.
    let refused = post(&hub, "/history/delete", &format!("sessions={running}")).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.text);
    assert_eq!(get_page(&hub, "/api/sessions").await.json()["total"], 2);
}

#[tokio::test]
async fn names_and_words_never_become_markup() {
    let store = Store::memory().await.unwrap();
    let id = play(&store, Played { scale: Some(HOSTILE), words: HOSTILE, ..PLAYED }).await;
    let other = play(&store, PLAYED).await;
    let hub = hub(&store, "ada");
    for address in [
        "/history".to_owned(),
        format!("/history?q={}&scale={}", encode(HOSTILE), encode(HOSTILE)),
        format!("/history/{id}"),
        "/history/trends".into(),
        format!("/history/trends?scale={}", encode(HOSTILE)),
        format!("/history/compare?sessions={id},{other}"),
        format!("/history/delete?sessions={id}"),
    ] {
        let page = page_of(&hub, &address).await;
        assert!(!page.contains("onerror=alert(2)>") && !page.contains("67092481"), "{address}: {page}");
    }
}

#[tokio::test]
async fn parameters_that_mean_nothing_are_refused_with_a_reason() {
    let store = Store::memory().await.unwrap();
    play(&store, PLAYED).await;
    let hub = hub(&store, "ada");
    for (address, said) in [
        ("/history?from=yesterday", "`yesterday` is no day"),
        ("/history?notes=many", "`many` is no whole number"),
        ("/history?sort=cents", "`cents` is no column"),
        ("/history/trends?days=0", "`0` is no number from 1"),
        ("/history/trends?step=hour", "none of day, week, month"),
        ("/api/sessions?page=-1", "no whole number"),
        ("/history/compare?sessions=a,b,c,d,e", "too many"),
    ] {
        let answer = get_page(&hub, address).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{address}");
        assert!(
            answer.text.contains(said) || answer.text.contains(&said.replace('`', "&#x60;")),
            "{address}: {}",
            answer.text
        );
    }
    assert!(
        page_of(&hub, "/history?from=2020-01-01&until=2020-12-31").await.contains("No session is like that")
    );
}

#[tokio::test]
async fn sessions_are_compared_and_deleted_by_their_player_alone() {
    let store = Store::memory().await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(play(&store, PLAYED).await);
    }
    let (ada, bob) = (hub(&store, "ada"), hub(&store, "bob"));
    let chosen =
        post(&ada, "/history/select", &format!("sessions={}&sessions={}&do=compare", ids[0], ids[1])).await;
    assert_eq!(chosen.status, StatusCode::SEE_OTHER);
    let to = chosen.headers[header::LOCATION].to_str().unwrap();
    assert!(page_of(&ada, to).await.contains("Session 2"));
    assert!(
        page_of(&ada, &format!("/history/compare?sessions={}", ids[0]))
            .await
            .contains("mean of your 2 other sessions")
    );
    assert_eq!(
        get_page(&ada, &format!("/api/compare?sessions={}", ids[0])).await.json()["sides"][1]["figures"]["overall"],
        60.0
    );
    assert_eq!(post(&ada, "/history/select", "do=delete").await.status, StatusCode::UNPROCESSABLE_ENTITY);

    for address in [
        format!("/history/{}", ids[0]),
        format!("/api/sessions/{}/notes", ids[0]),
        format!("/history/delete?sessions={}", ids[0]),
    ] {
        assert_eq!(get_page(&bob, &address).await.status, StatusCode::NOT_FOUND, "{address}");
    }
    assert_eq!(
        post(&bob, "/history/delete", &format!("sessions={}", ids[0])).await.status,
        StatusCode::NOT_FOUND
    );
    let delete = |hub: Hub, id: String| async move {
        let request = Request::builder().method(Method::DELETE).uri(format!("/api/sessions/{id}"));
        ask(&hub, request.body(Body::empty()).unwrap()).await.status
    };
    assert_eq!(delete(bob, ids[2].clone()).await, StatusCode::NOT_FOUND);
    assert_eq!(delete(ada.clone(), ids[2].clone()).await, StatusCode::NO_CONTENT);

    let asked = page_of(&ada, &format!("/history/delete?sessions={},{}", ids[0], ids[1])).await;
    assert!(asked.contains("Delete 2 sessions?"));
    assert_eq!(get_page(&ada, "/api/sessions").await.json()["total"], 2, "asking deletes nothing");
    let gone = post(&ada, "/history/delete", &format!("sessions={}&sessions={}", ids[0], ids[1])).await;
    assert_eq!(gone.status, StatusCode::SEE_OTHER);
    assert_eq!(get_page(&ada, "/api/sessions").await.json()["total"], 0);
}

#[tokio::test]
async fn plotlys_script_is_packed_and_kept_for_good() {
    let hub = hub(&Store::memory().await.unwrap(), "ada");
    let request = Request::get("/assets/plotly.js?v=3.0.1").header(header::ACCEPT_ENCODING, "gzip");
    let answer = ask(&hub, request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.headers[header::CONTENT_ENCODING], "gzip");
    assert!(answer.headers[header::CACHE_CONTROL].to_str().unwrap().contains("immutable"));
}

#[tokio::test]
async fn a_recording_is_served_in_ranges_to_its_player_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_in(dir.path()).await.unwrap();
    let id = play(&store, PLAYED).await;
    let session: SessionId = id.parse().unwrap();
    let ada = hub(&store, "ada");
    let address = format!("/api/sessions/{id}/recording");
    assert_eq!(get_page(&ada, &address).await.status, StatusCode::NOT_FOUND);
    let keep = |file: &str| crate::store::RecordingRow {
        session,
        file: file.into(),
        sample_rate: 48_000,
        from_s: 0.5,
        seconds: 2.0,
        bytes: 1000,
    };
    store.add_recording(&keep(&format!("{id}.flac"))).await.unwrap();
    assert!(page_of(&ada, &format!("/history/{id}")).await.contains("lies on the device that made it"));
    assert_eq!(get_page(&ada, &address).await.status, StatusCode::NOT_FOUND, "the file is elsewhere");

    let sound: Vec<u8> = (0..1000u32).map(|i| b'a' + (i % 26) as u8).collect();
    std::fs::create_dir_all(dir.path().join(crate::store::RECORDINGS)).unwrap();
    std::fs::write(store.recording_file(&session).unwrap(), &sound).unwrap();
    let request = Request::get(&address).header(header::RANGE, "bytes=26-51").body(Body::empty()).unwrap();
    let part = ask(&ada, request).await;
    assert_eq!(part.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.text, "abcdefghijklmnopqrstuvwxyz");
    assert_eq!(part.headers[header::CONTENT_RANGE], "bytes 26-51/1000");
    assert_eq!(part.headers[header::CONTENT_TYPE], "audio/flac");
    assert_eq!(get_page(&ada, &address).await.text.len(), 1000);
    assert!(page_of(&ada, &format!("/history/{id}")).await.contains("<audio controls"));
    assert_eq!(get_page(&hub(&store, "bob"), &address).await.status, StatusCode::NOT_FOUND);

    // A name that leads out of the folder leads nowhere.
    std::fs::write(dir.path().join("secret"), "secret").unwrap();
    for name in ["../secret", "/etc/passwd", "..", ""] {
        store.add_recording(&keep(name)).await.unwrap();
        assert_eq!(get_page(&ada, &address).await.status, StatusCode::NOT_FOUND, "{name}");
    }
}

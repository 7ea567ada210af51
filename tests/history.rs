//! The history of a player, on both engines: the table, the figures beside each session, and the pages made of them.

mod common;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use common::postgres;
use fretcoach::config::Config;
use fretcoach::dsp::event::{ChordEvent, NoteEvent, PitchClasses, Technique};
use fretcoach::hub::{Hub, Parts};
use fretcoach::practice::types::{Facts, JudgedChord, JudgedNote, Scores, Summary};
use fretcoach::store::{Batch, NewSession, PitchTally, SessionId, SessionQuery, SortBy, Store, Tally};
use jiff::{Timestamp, ToSpan};
use tower_service::Service;

/// The same test on both engines.
macro_rules! on_both_engines {
    ($($test:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $test() {
                super::$test(fretcoach::store::Store::memory().await.unwrap()).await;
            })*
        }
        mod on_postgres {
            $(#[tokio::test]
            async fn $test() {
                let url = super::postgres::shared().database();
                super::$test(fretcoach::store::Store::connect(&url).await.unwrap()).await;
            })*
        }
    };
}
on_both_engines!(
    the_table_filters_sorts_and_pages,
    a_session_is_in_figures_while_it_runs_and_after,
    nobody_sees_anothers_session,
    every_page_answers,
);

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn judged(onset: f64, midi: u8, right: bool, gated: bool) -> JudgedNote {
    let note = NoteEvent {
        onset,
        offset: onset + 0.5,
        t: onset + 0.05,
        midi,
        f0: 220.0,
        cents: 1.0,
        level_db: -18.0,
        confidence: 0.9,
        settled: onset + 0.05,
        inharmonicity: None,
        technique: Technique::default(),
        gated,
    };
    JudgedNote { note, in_scale: Some(true), deviation_ms: None, place: None, right, reason: None }
}

fn chord(onset: f64) -> JudgedChord {
    let chord = ChordEvent {
        onset,
        offset: onset + 1.0,
        t: onset,
        classes: PitchClasses(0b1001_0001),
        bass: None,
        level_db: -12.0,
        confidence: 0.9,
        gated: false,
    };
    JudgedChord { chord, in_scale: None, deviation_ms: None }
}

fn summary(overall: Option<f64>) -> Summary {
    Summary {
        duration: 60.0,
        scores: Scores { overall, timing_stability: overall.map(|o| o - 10.0), ..Scores::default() },
        facts: Facts {
            mean_abs_cents: Some(6.5),
            timing_sd_ms: Some(21.0),
            bpm: Some(88.0),
            ..Facts::default()
        },
        weakest: None,
        strongest: None,
        overall_by_window: Vec::new(),
    }
}

/// A session with notes two seconds apart; `None`: it still runs.
async fn play(
    store: &Store,
    user: &str,
    when: &str,
    scale: &str,
    rights: &[bool],
    end: Option<Option<f64>>,
) -> SessionId {
    let session = NewSession {
        id: SessionId::new(),
        user: user.into(),
        deployment: if scale.is_empty() { "fretcoach-portable" } else { "fretcoach-studio" }.into(),
        mode: if rights.len() > 3 { "ai" } else { "manual" }.into(),
        scale: (!scale.is_empty()).then(|| scale.to_owned()),
        bpm: None,
        started_at: at(when),
        input: "demo".into(),
        config_json: "{}".into(),
        trace_id: None,
    };
    let id = store.start_session(&session).await.unwrap();
    let notes: Vec<JudgedNote> = rights
        .iter()
        .enumerate()
        .map(|(i, right)| judged(2.0 * i as f64, 57 + (i % 2) as u8, *right, false))
        .collect();
    store.append(&id, &Batch { notes: &notes, ..Batch::default() }).await.unwrap();
    if let Some(overall) = end {
        store.finish_session(&id, &summary(overall), at(when) + 60.seconds()).await.unwrap();
    }
    id
}

async fn ids(store: &Store, query: SessionQuery) -> (Vec<String>, u64) {
    let page = store.session_page(&query).await.unwrap();
    (page.sessions.into_iter().map(|s| s.id).collect(), page.total)
}

fn of_ada() -> SessionQuery {
    SessionQuery { user: "ada".into(), limit: 10, ..SessionQuery::default() }
}

async fn the_table_filters_sorts_and_pages(store: Store) {
    let a = play(&store, "ada", "2026-03-01T10:00:00Z", "A minor", &[true, false], Some(Some(70.0))).await;
    let b = play(&store, "ada", "2026-03-02T10:00:00Z", "E blues", &[true; 5], Some(Some(90.0))).await;
    let c = play(&store, "ada", "2026-03-03T10:00:00Z", "", &[true, false, true], Some(None)).await;
    let d = play(&store, "ada", "2026-03-04T10:00:00Z", "A minor", &[false; 4], None).await;
    play(&store, "bob", "2026-03-02T10:00:00Z", "A minor", &[true; 9], Some(Some(99.0))).await;
    let [a, b, c, d] = [a, b, c, d].map(|id| id.to_string());
    let all = |list: &[&String]| list.iter().map(|s| (*s).clone()).collect::<Vec<_>>();

    assert_eq!(ids(&store, of_ada()).await, (all(&[&d, &c, &b, &a]), 4));
    let by = |sort, ascending| SessionQuery { sort, ascending, ..of_ada() };
    // What was not measured comes last, however it is sorted; a running session has its notes all the same.
    assert_eq!(ids(&store, by(SortBy::Overall, false)).await.0, all(&[&b, &a, &d, &c]));
    assert_eq!(ids(&store, by(SortBy::Overall, true)).await.0, all(&[&a, &b, &c, &d]));
    assert_eq!(ids(&store, by(SortBy::Notes, true)).await.0, all(&[&a, &c, &d, &b]));
    assert_eq!(ids(&store, by(SortBy::Right, true)).await.0, all(&[&a, &c, &b, &d]));
    for sort in SortBy::ALL {
        assert_eq!(ids(&store, by(sort, false)).await.1, 4, "{sort:?}");
    }
    assert_eq!(
        ids(&store, SessionQuery { scale: Some("A minor".into()), ..of_ada() }).await.0,
        all(&[&d, &a])
    );
    assert_eq!(ids(&store, SessionQuery { scale: Some(String::new()), ..of_ada() }).await.0, all(&[&c]));
    assert_eq!(ids(&store, SessionQuery { least_notes: Some(4), ..of_ada() }).await.0, all(&[&d, &b]));
    assert_eq!(ids(&store, SessionQuery { mode: Some("ai".into()), ..of_ada() }).await.0, all(&[&d, &b]));
    assert_eq!(
        ids(&store, SessionQuery { deployment: Some("fretcoach-portable".into()), ..of_ada() }).await.1,
        1
    );
    assert_eq!(ids(&store, SessionQuery { text: Some("BLUE".into()), ..of_ada() }).await.0, all(&[&b]));
    assert_eq!(ids(&store, SessionQuery { text: Some("%".into()), ..of_ada() }).await.1, 0);
    let days = SessionQuery {
        from: Some(at("2026-03-02T00:00:00Z")),
        until: Some(at("2026-03-03T10:00:00Z")),
        ..of_ada()
    };
    assert_eq!(ids(&store, days).await.0, all(&[&b]));
    assert_eq!(ids(&store, SessionQuery { limit: 2, offset: 2, ..of_ada() }).await, (all(&[&b, &a]), 4));
    assert_eq!(ids(&store, SessionQuery { limit: 2, offset: 20, ..of_ada() }).await, (vec![], 4));
    assert_eq!(ids(&store, SessionQuery { user: "nobody".into(), ..of_ada() }).await, (vec![], 0));
    let choices = store.choices("ada").await.unwrap();
    assert_eq!(choices.scales, ["A minor", "E blues"]);
    assert_eq!(choices.modes, ["ai", "manual"]);
}

async fn a_session_is_in_figures_while_it_runs_and_after(store: Store) {
    let id = play(&store, "ada", "2026-03-04T10:00:00Z", "A minor", &[true, true, false], None).await;
    store
        .append(
            &id,
            &Batch { chords: &[chord(7.0)], notes: &[judged(5.5, 60, true, true)], ..Batch::default() },
        )
        .await
        .unwrap();
    let running = store.briefs("ada", &[id.to_string()]).await.unwrap().remove(0);
    assert!(running.end.is_none());
    let expected = Tally {
        note_count: 4,
        judged_count: 3,
        right_count: 2,
        practice_s: 8.0,
        pitches: vec![
            PitchTally { midi: 57, judged: 2, right: 1 },
            PitchTally { midi: 58, judged: 1, right: 1 },
        ],
        ..Tally::default()
    };
    assert_eq!(running.tally, expected);
    let figures = store.figures("ada", None, None).await.unwrap().remove(0);
    assert_eq!((figures.note_count, figures.practice_s), (4, 8.0), "counted on the spot");

    store.finish_session(&id, &summary(Some(80.0)), at("2026-03-04T10:01:00Z")).await.unwrap();
    let ended = store.briefs("ada", &[id.to_string()]).await.unwrap().remove(0);
    let expected = Tally { mean_abs_cents: Some(6.5), timing_sd_ms: Some(21.0), bpm: Some(88.0), ..expected };
    assert_eq!((ended.tally, ended.end.as_deref()), (expected, Some("finished")));
    assert_eq!(store.pitches("ada", None, None, Some("A minor")).await.unwrap()[0].judged, 2);
    assert!(store.pitches("ada", None, None, Some("E blues")).await.unwrap().is_empty());

    // More notes after all: the figures follow.
    store.append(&id, &Batch { notes: &[judged(9.0, 60, true, false)], ..Batch::default() }).await.unwrap();
    assert_eq!(store.briefs("ada", &[id.to_string()]).await.unwrap()[0].tally.judged_count, 4);
    assert_eq!(store.figures("ada", None, None).await.unwrap()[0].judged_count, 4);
    assert_eq!(store.session(&id.to_string()).await.unwrap().note_count, 5);
    assert_eq!(store.pitches("ada", None, None, None).await.unwrap().len(), 3);
    assert_eq!((store.tally_missing().await.unwrap(), store.tally_missing().await.unwrap()), (1, 0));
    assert_eq!(store.pitches("ada", None, None, None).await.unwrap().len(), 3);
}

async fn nobody_sees_anothers_session(store: Store) {
    let id =
        play(&store, "bob", "2026-03-04T10:00:00Z", "A minor", &[true], Some(Some(80.0))).await.to_string();
    assert!(store.briefs("ada", std::slice::from_ref(&id)).await.unwrap().is_empty());
    assert!(store.figures("ada", None, None).await.unwrap().is_empty());
    assert!(store.pitches("ada", None, None, None).await.unwrap().is_empty());
    assert_eq!(store.choices("ada").await.unwrap(), Default::default());
}

async fn every_page_answers(store: Store) {
    let one = play(&store, "ada", "2026-03-01T10:00:00Z", "A minor", &[true, false], Some(Some(70.0))).await;
    let two = play(&store, "ada", "2026-03-02T10:00:00Z", "", &[true; 5], None).await;
    let config = Config { user: "ada".into(), ..Config::default() };
    let mut router = Hub::new(Parts { config, store, link: None }).router();
    for address in [
        "/history".to_owned(),
        "/history?sort=right&dir=asc&notes=1&q=a&from=2026-01-01&page=1".into(),
        format!("/history/{one}"),
        format!("/history/{two}?wrong=1"),
        "/history/trends?days=3650&scale=A+minor".into(),
        format!("/history/compare?sessions={one},{two}"),
        format!("/history/compare?sessions={one}"),
        format!("/history/delete?sessions={one}"),
        "/api/sessions?sort=notes".into(),
        format!("/api/sessions/{one}"),
        format!("/api/sessions/{one}/notes"),
        "/api/trends?days=3650".into(),
        format!("/api/compare?sessions={one}"),
    ] {
        let answer = router.call(Request::get(&address).body(Body::empty()).unwrap()).await.unwrap();
        let status = answer.status();
        let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        assert_eq!(status, StatusCode::OK, "{address}: {}", String::from_utf8_lossy(&body));
    }
}

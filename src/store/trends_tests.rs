use jiff::civil::date;
use proptest::prelude::*;

use super::*;
use crate::dsp::event::{ChordEvent, NoteEvent, PitchClasses, Technique};
use crate::practice::types::{Facts, JudgedChord, JudgedNote, Summary};
use crate::store::{Batch, NewSession, SessionId, SessionQuery, SortBy, Store};

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

#[tokio::test]
async fn the_table_filters_sorts_and_pages() {
    let store = Store::memory().await.unwrap();
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

#[tokio::test]
async fn a_session_is_in_figures_while_it_runs_and_after() {
    let store = Store::memory().await.unwrap();
    let id = play(&store, "ada", "2026-03-04T10:00:00Z", "A minor", &[true, true, false], None).await;
    store
        .append(
            &id,
            &Batch { chords: &[chord(7.0)], notes: &[judged(5.5, 60, true, true)], ..Batch::default() },
        )
        .await
        .unwrap();
    let running = store.briefs("ada", &[id.to_string()]).await.unwrap().remove(0);
    assert!(running.running && running.end.is_none());
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

#[tokio::test]
async fn nobody_sees_anothers_session() {
    let store = Store::memory().await.unwrap();
    let id =
        play(&store, "bob", "2026-03-04T10:00:00Z", "A minor", &[true], Some(Some(80.0))).await.to_string();
    assert!(store.briefs("ada", std::slice::from_ref(&id)).await.unwrap().is_empty());
    assert!(store.figures("ada", None, None).await.unwrap().is_empty());
    assert!(store.pitches("ada", None, None, None).await.unwrap().is_empty());
    assert!(store.recording_of("ada", &id).await.unwrap().is_none());
    assert_eq!(store.choices("ada").await.unwrap(), Default::default());
}

fn figures(when: &str, overall: Option<f64>, practice_s: f64) -> SessionFigures {
    SessionFigures {
        id: when.into(),
        started_at: at(when),
        scale: None,
        scores: Scores { overall, ..Scores::default() },
        note_count: 10,
        judged_count: 8,
        right_count: 6,
        practice_s,
        mean_abs_cents: None,
        timing_sd_ms: None,
        bpm: None,
    }
}

#[test]
fn days_are_those_of_the_players_clock() {
    let berlin = TimeZone::get("Europe/Berlin").unwrap();
    let sessions =
        [figures("2026-07-01T21:30:00Z", None, 100.0), figures("2026-07-01T22:30:00Z", None, 50.0)];
    let days = practice_days(&sessions, &berlin);
    assert_eq!(days, BTreeMap::from([(date(2026, 7, 1), 100.0), (date(2026, 7, 2), 50.0)]));
    assert_eq!(practice_days(&sessions, &TimeZone::UTC), BTreeMap::from([(date(2026, 7, 1), 150.0)]));
}

#[test]
fn a_streak_waits_for_today_and_breaks_the_day_after() {
    let played =
        |days: &[i8]| days.iter().map(|d| (date(2026, 3, *d), STREAK_DAY_S)).collect::<BTreeMap<_, _>>();
    let on = |days: &[i8], today| streak(&played(days), date(2026, 3, today));
    assert_eq!(on(&[], 5), Streak::default());
    assert_eq!(on(&[3, 4], 4), Streak { days: 2, longest: 2, today: true });
    assert_eq!(on(&[3, 4], 5), Streak { days: 2, longest: 2, today: false });
    assert_eq!(on(&[3, 4], 6), Streak { days: 0, longest: 2, today: false });
    assert_eq!(on(&[1, 2, 3, 5, 6], 6), Streak { days: 2, longest: 3, today: true });
    let mut short = played(&[3, 4, 5]);
    short.insert(date(2026, 3, 4), STREAK_DAY_S - 1.0);
    assert_eq!(streak(&short, date(2026, 3, 5)), Streak { days: 1, longest: 1, today: true });
    // Across the end of a month, and of summer time.
    let ends = BTreeMap::from([(date(2026, 3, 31), 400.0), (date(2026, 4, 1), 400.0)]);
    assert_eq!(streak(&ends, date(2026, 4, 1)).days, 2);
}

#[test]
fn a_trend_has_the_mean_and_the_number_of_sessions() {
    let sessions = [
        figures("2026-11-15T12:00:00Z", Some(50.0), 60.0),
        figures("2026-11-16T12:00:00Z", Some(60.0), 60.0),
        figures("2026-11-22T12:00:00Z", Some(70.0), 30.0),
        figures("2026-11-22T13:00:00Z", None, 30.0),
    ];
    let weeks = trend(&sessions, Step::Week, &TimeZone::UTC);
    let starts: Vec<Date> = weeks.iter().map(|w| w.from).collect();
    assert_eq!(starts, [date(2026, 11, 9), date(2026, 11, 16)], "weeks begin on Monday");
    assert_eq!(weeks[1].means, BTreeMap::from([(Figure::Overall, (65.0, 2))]));
    assert_eq!((weeks[1].sessions, weeks[1].practice_s, weeks[1].right_count), (3, 120.0, 18));
    assert_eq!(trend(&sessions, Step::Day, &TimeZone::UTC).len(), 3);
    assert_eq!(trend(&sessions, Step::Month, &TimeZone::UTC)[0].mean(Figure::Overall), Some(60.0));
}

#[test]
fn progress_needs_enough_on_both_sides() {
    let now = at("2026-06-30T00:00:00Z");
    let mut sessions: Vec<SessionFigures> = [40, 41, 42]
        .iter()
        .map(|d| SessionFigures {
            started_at: now - (d * 24).hours(),
            ..figures("2026-01-01T00:00:00Z", Some(60.0), 1.0)
        })
        .collect();
    for days in [1, 2] {
        sessions.push(SessionFigures {
            started_at: now - (days * 24).hours(),
            ..figures("2026-01-01T00:00:00Z", Some(70.0), 1.0)
        });
    }
    assert!(progress(&sessions, now).is_empty(), "two sessions say too little");
    sessions.push(SessionFigures {
        started_at: now - 1.hours(),
        ..figures("2026-01-01T00:00:00Z", Some(82.0), 1.0)
    });
    assert_eq!(progress(&sessions, now), [Progress { figure: Figure::Overall, before: 60.0, now: 74.0 }]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever was played, the figures of the store are those of a walk over all notes.
    #[test]
    fn aggregates_equal_a_walk_over_all_notes(
        played in proptest::collection::vec(
            proptest::collection::vec((0u32..400_000, 40u8..80, any::<bool>(), any::<bool>()), 0..30), 1..6),
        running in 0usize..8,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = Store::memory().await.unwrap();
            let mut naive: BTreeMap<u8, (u64, u64)> = BTreeMap::new();
            let (mut judged_notes, mut right_notes, mut seconds) = (0, 0, 0.0);
            for (n, notes) in played.iter().enumerate() {
                // Onsets name notes: in order, none twice.
                let notes: BTreeMap<u32, _> = notes.iter().map(|(at, midi, right, gated)| (*at, (*midi, *right, *gated))).collect();
                let rows: Vec<JudgedNote> = notes
                    .iter()
                    .map(|(at, (midi, right, gated))| judged(f64::from(*at) / 1000.0, *midi, *right, *gated))
                    .collect();
                let id = play(&store, "ada", "2026-03-04T10:00:00Z", "A minor", &[], None).await;
                store.append(&id, &Batch { notes: &rows, ..Batch::default() }).await.unwrap();
                if n != running {
                    store.finish_session(&id, &summary(None), at("2026-03-04T11:00:00Z")).await.unwrap();
                }
                for note in rows.iter().filter(|r| !r.note.gated) {
                    judged_notes += 1;
                    right_notes += u64::from(note.right);
                    let sum = naive.entry(note.note.midi).or_default();
                    sum.0 += 1;
                    sum.1 += u64::from(note.right);
                }
                let onsets: Vec<f64> = rows.iter().map(|r| r.note.onset).collect();
                seconds += onsets.windows(2).map(|w| (w[1] - w[0]).min(super::super::REST_S)).sum::<f64>();
                seconds += if onsets.is_empty() { 0.0 } else { 0.5 };
            }
            let figures = store.figures("ada", None, None).await.unwrap();
            assert_eq!(figures.iter().map(|f| f.judged_count).sum::<u64>(), judged_notes);
            assert_eq!(figures.iter().map(|f| f.right_count).sum::<u64>(), right_notes);
            assert!((figures.iter().map(|f| f.practice_s).sum::<f64>() - seconds).abs() < 1e-6);
            let pitches = store.pitches("ada", None, None, None).await.unwrap();
            let naive: Vec<PitchTally> =
                naive.into_iter().map(|(midi, (judged, right))| PitchTally { midi, judged, right }).collect();
            assert_eq!(pitches, naive);
            Ok::<(), TestCaseError>(())
        })?;
    }
}

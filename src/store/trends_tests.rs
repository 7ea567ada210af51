use jiff::civil::date;
use proptest::prelude::*;

use super::*;
use crate::dsp::event::{NoteEvent, Technique};
use crate::practice::types::{Facts, JudgedNote, Summary};
use crate::store::{Batch, NewSession, SessionId, Store};

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

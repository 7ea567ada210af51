//! Sessions with one of everything, for tests of what is kept, copied and carried away.

use fretcoach::dsp::event::{Attack, ChordEvent, Motion, NoteEvent, PitchClasses, Technique};
use fretcoach::practice::types::{Facts, JudgedChord, JudgedNote, Metric, Reason, Scores, Summary, Window};
use fretcoach::store::transfer;
use fretcoach::store::{
    AdviceId, AdviceKind, AdviceRow, Batch, GapRow, NewSession, SessionId, Store, WindowRecord,
};
use jiff::Timestamp;

/// A moment, so many seconds after the first of these tests.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + seconds).unwrap()
}

/// A session that begins.
pub fn session(user: &str, seconds: i64) -> NewSession {
    NewSession {
        id: SessionId::new(),
        user: user.into(),
        deployment: "fretcoach-studio".into(),
        mode: "manual".into(),
        scale: Some("A minor pentatonic".into()),
        bpm: Some(90.0),
        started_at: at(seconds),
        input: "demo".into(),
        config_json: r#"{"practice":{"scale":"A minor \"pentatonic\""}}"#.into(),
        trace_id: None,
    }
}

/// A note; the numbers differ from note to note in their last bits.
pub fn note(onset: f64) -> JudgedNote {
    let right = onset.fract() < 0.5;
    let note = NoteEvent {
        onset,
        offset: onset + 0.1 + 0.2,
        t: onset + 0.05,
        midi: 57,
        f0: 220.3,
        cents: (onset as f32).sin(),
        level_db: -18.25,
        confidence: 0.93,
        settled: onset + 0.07,
        inharmonicity: Some(0.000_061),
        technique: Technique { attack: Attack::HammerOn, motion: Motion::Bend, motion_cents: 197.5 },
        gated: false,
    };
    let reason = (!right).then_some(Reason::NotInScale(60));
    JudgedNote { note, in_scale: Some(right), deviation_ms: Some(onset.cos()), place: None, right, reason }
}

fn chord(onset: f64) -> JudgedChord {
    let chord = ChordEvent {
        onset,
        offset: onset + 0.6,
        t: onset + 0.02,
        classes: PitchClasses(0b0010_0001_0001),
        bass: None,
        level_db: -14.5,
        confidence: 0.75,
        gated: false,
    };
    JudgedChord { chord, in_scale: None, deviation_ms: Some(4.5) }
}

fn scores() -> Scores {
    Scores { pitch_accuracy: Some(91.0), overall: Some(77.7), ..Scores::default() }
}

/// A window.
pub fn window(index: u32) -> WindowRecord {
    let start = f64::from(index) * 30.0;
    WindowRecord {
        window: Window {
            index,
            start,
            end: start + 30.0,
            scores: scores(),
            facts: Facts::default(),
            weakest: Some(Metric::TimingStability),
            strongest: None,
        },
        closed_at: at(30 * (i64::from(index) + 1)),
        cost: None,
    }
}

/// Advice.
pub fn advice(text: &str) -> AdviceRow {
    AdviceRow {
        id: AdviceId::new(),
        kind: AdviceKind::Live,
        at: at(31),
        at_s: 31.0,
        window_index: Some(0),
        text: text.into(),
        source: "offline".into(),
        prompt_version: None,
        spoken: None,
        trace_id: None,
        span_id: None,
    }
}

/// What came of it.
pub fn summary() -> Summary {
    Summary {
        duration: 61.5,
        scores: scores(),
        facts: Facts::default(),
        weakest: None,
        strongest: None,
        overall_by_window: vec![Some(77.0), None],
    }
}

/// Stores a finished session with `notes` notes and one of everything else.
pub async fn full_session(store: &Store, user: &str, seconds: i64, notes: u32) -> SessionId {
    let id = store.start_session(&session(user, seconds)).await.unwrap();
    let notes: Vec<JudgedNote> = (0..notes).map(|n| note(f64::from(n) / 3.0)).collect();
    let batch = Batch {
        notes: &notes,
        chords: &[chord(0.3)],
        windows: &[window(0), window(1)],
        advice: &[advice("Slow down: \"half\" the tempo.\nThen — again. 吉他 🎸")],
        gaps: &[GapRow { from: 4.0, to: 5.5, cause: "stalled".into() }],
    };
    store.append(&id, &batch).await.unwrap();
    store.finish_session(&id, &summary(), at(seconds + 62)).await.unwrap();
    id
}

/// Everything in a store, as its export.
pub async fn everything(store: &Store) -> String {
    let mut out = Vec::new();
    let path = std::path::Path::new("memory");
    transfer::export(store, None, &mut out, path, &mut |_, _| {}).await.unwrap();
    String::from_utf8(out).unwrap()
}

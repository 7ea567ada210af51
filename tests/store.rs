//! The store keeps what it is given, through kills, full disks, foreign files and several processes; what it promises
//! whatever the database, it promises on SQLite and on Postgres.

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::postgres;
use fretcoach::cli::history::{self, Format, HistoryArgs};
use fretcoach::dsp::event::{Attack, ChordEvent, Motion, NoteEvent, PitchClasses, Technique};
use fretcoach::practice::types::{
    Facts, JudgedChord, JudgedNote, Metric, Reason, Scores, Summary, Tendency, Window,
};
use fretcoach::store::{
    AdviceId, AdviceKind, AdviceRow, Batch, EndReason, GapRow, LoopCost, NewSession, RECORDINGS,
    SessionFilter, SessionId, SessionWriter, Store, StoreError, WindowRecord,
};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// Set in the environment of a copy of this test program that is to be killed; holds the data folder.
const CHILD: &str = "FRETCOACH_TEST_STORE_CHILD";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + seconds).unwrap()
}

fn session(user: &str, seconds: i64) -> NewSession {
    NewSession {
        id: SessionId::new(),
        user: user.into(),
        deployment: "fretcoach-studio".into(),
        mode: "manual".into(),
        scale: Some("A minor pentatonic".into()),
        bpm: Some(90.0),
        started_at: at(seconds),
        input: "demo".into(),
        config_json: "{}".into(),
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".into()),
    }
}

fn note(onset: f64, right: bool) -> JudgedNote {
    let note = NoteEvent {
        onset,
        offset: onset + 0.4,
        t: onset + 0.05,
        midi: 57,
        f0: 220.3,
        cents: 2.4,
        level_db: -18.25,
        confidence: 0.93,
        settled: onset + 0.07,
        inharmonicity: Some(0.000_061),
        technique: Technique { attack: Attack::HammerOn, motion: Motion::Bend, motion_cents: 197.5 },
        gated: false,
    };
    let reason = (!right).then_some(Reason::NotInScale(60));
    JudgedNote { note, in_scale: Some(right), deviation_ms: Some(-7.5), place: Some(0.5), right, reason }
}

fn chord(onset: f64) -> JudgedChord {
    let chord = ChordEvent {
        onset,
        offset: onset + 0.6,
        t: onset + 0.02,
        classes: PitchClasses(0b0010_0001_0001),
        bass: Some(45),
        level_db: -14.5,
        confidence: 0.75,
        gated: false,
    };
    JudgedChord { chord, in_scale: Some(true), deviation_ms: Some(4.5) }
}

fn scores(overall: f64) -> Scores {
    Scores {
        pitch_accuracy: Some(91.0),
        scale_conformity: Some(80.0),
        timing_stability: Some(62.5),
        noise_control: None,
        overall: Some(overall),
    }
}

fn facts() -> Facts {
    Facts {
        chord_count: 3,
        chords_in_scale: Some(1.0),
        note_count: 40,
        gated_count: 1,
        in_scale_ratio: Some(0.95),
        coverage: Some(0.8),
        wrong_notes: vec![("C#".into(), 2)],
        worst_note: Some(("G".into(), -14.0)),
        mean_abs_cents: Some(6.2),
        mean_signed_cents: Some(-1.5),
        tuning_offset_cents: Some(-18.0),
        timing_sd_ms: Some(23.0),
        timing_sd_interval_ms: Some((20.1, 27.2)),
        timing_notes: 38,
        subdivision: Some("eighths".into()),
        tendency: Some(Tendency::Rushing),
        drift_bpm_per_min: Some(1.5),
        bpm: Some(90.0),
        noise_db: None,
        noise_cause: None,
        ..Facts::default()
    }
}

fn window(index: u32) -> WindowRecord {
    let start = f64::from(index) * 30.0;
    WindowRecord {
        window: Window {
            index,
            start,
            end: start + 30.0,
            scores: scores(77.0 + f64::from(index)),
            facts: facts(),
            weakest: Some(Metric::TimingStability),
            strongest: Some(Metric::PitchAccuracy),
        },
        closed_at: at(30 * (i64::from(index) + 1)),
        cost: Some(LoopCost { hops: 2812, hop_p50_ns: 41_000, ..LoopCost::default() }),
    }
}

fn advice(kind: AdviceKind, at_s: i64, text: &str) -> AdviceRow {
    AdviceRow {
        id: AdviceId::new(),
        kind,
        at: at(at_s),
        at_s: at_s as f64,
        window_index: Some(0),
        text: text.into(),
        source: "offline".into(),
        prompt_version: Some("1".into()),
        spoken: None,
        trace_id: None,
        span_id: None,
    }
}

fn summary() -> Summary {
    Summary {
        duration: 61.5,
        scores: scores(78.0),
        facts: facts(),
        weakest: Some(Metric::TimingStability),
        strongest: Some(Metric::PitchAccuracy),
        overall_by_window: vec![Some(77.0), None],
    }
}

/// A database of one of the two engines, opened as often as a test likes.
enum Place {
    Sqlite(tempfile::TempDir),
    Postgres(String),
}

impl Place {
    fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    fn postgres() -> Self {
        Self::Postgres(postgres::shared().database())
    }

    async fn try_open(&self) -> Result<Store, StoreError> {
        match self {
            Self::Sqlite(dir) => Store::open_in(&dir.path().join("new/folder")).await,
            Self::Postgres(url) => Store::connect(url).await,
        }
    }

    async fn open(&self) -> Store {
        self.try_open().await.unwrap()
    }

    /// A statement past the store.
    async fn raw(&self, statement: &'static str) {
        match self {
            Self::Sqlite(dir) => raw(&dir.path().join("new/folder/fretcoach.db"), statement).await,
            Self::Postgres(url) => {
                postgres::shared().psql(url, statement);
            }
        }
    }
}

/// The same test on both engines.
macro_rules! on_both_engines {
    ($($test:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Place::sqlite()).await;
            })*
        }
        mod on_postgres {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Place::postgres()).await;
            })*
        }
    };
}
on_both_engines!(
    everything_comes_back_as_it_went,
    a_batch_is_stored_whole_or_not_at_all,
    sessions_are_found_by_player_page_and_prefix,
    opening_twice_and_at_once_migrates_once,
    a_newer_schema_is_refused,
    another_programs_tables_are_left_alone,
    text_of_any_kind_comes_back,
    settings_are_kept_for_each_player,
    a_token_opens_for_one_player_until_it_is_replaced,
    a_deleted_session_is_gone_with_all_of_it,
    a_deleted_player_is_gone_and_the_others_stay,
    history_prints_what_is_stored,
);

async fn everything_comes_back_as_it_went(place: Place) {
    let store = place.open().await;
    let new = session("ada", 0);
    let id = store.start_session(&new).await.unwrap();
    let notes = [note(0.1, true), note(0.7, false)];
    let (windows, mut said) = ([window(0), window(1)], [advice(AdviceKind::Live, 31, "Slow down.")]);
    let gaps = [GapRow { from: 4.0, to: 5.5, cause: "stalled".into() }];
    let chords = [chord(0.3), JudgedChord { in_scale: None, deviation_ms: None, ..chord(1.3) }];
    let batch = Batch { notes: &notes, chords: &chords, windows: &windows, advice: &said, gaps: &gaps };
    store.append(&id, &batch).await.unwrap();
    // A note is known by its onset: what is judged of it later takes the place of what was judged at once.
    let rejudged = note(0.1, false);
    store.append(&id, &Batch { notes: std::slice::from_ref(&rejudged), ..Batch::default() }).await.unwrap();
    said[0].spoken = Some(true);
    store.append(&id, &Batch { advice: &said, ..Batch::default() }).await.unwrap();
    store.finish_session(&id, &summary(), at(62)).await.unwrap();

    // What another process sees.
    let store = place.open().await;
    let row = store.session("latest").await.unwrap();
    assert_eq!((row.id, row.user.as_str(), row.note_count), (id, "ada", 2));
    assert_eq!((row.end, row.ended_at, row.started_at), (Some(EndReason::Finished), Some(at(62)), at(0)));
    assert_eq!(row.summary, Some(summary()));
    assert_eq!((row.scale, row.bpm, row.trace_id), (new.scale, new.bpm, new.trace_id));
    assert_eq!(store.notes(&id).await.unwrap(), [rejudged, notes[1].clone()]);
    assert_eq!(store.chords(&id).await.unwrap(), chords);
    assert_eq!(store.windows(&id).await.unwrap(), windows);
    assert_eq!(store.advice(&id).await.unwrap(), said);
    assert_eq!(store.gaps(&id).await.unwrap(), gaps);
    let health = store.health().await.unwrap();
    assert_eq!((health.sessions, health.faults), (1, vec![]));
    assert!(health.bytes > 0);
}

async fn a_batch_is_stored_whole_or_not_at_all(place: Place) {
    let store = place.open().await;
    let id = store.start_session(&session("ada", 0)).await.unwrap();
    let stranger = SessionId::new();
    let batch = Batch { notes: &[note(0.1, true)], windows: &[window(0)], ..Batch::default() };
    assert!(store.append(&stranger, &batch).await.is_err(), "a session that was never begun");
    assert!(store.notes(&stranger).await.unwrap().is_empty());
    store.append(&id, &batch).await.unwrap();
}

async fn sessions_are_found_by_player_page_and_prefix(place: Place) {
    let store = place.open().await;
    let mut ids = Vec::new();
    for (n, user) in ["ada", "bob", "ada"].into_iter().enumerate() {
        ids.push(store.start_session(&session(user, n as i64 * 100)).await.unwrap());
    }
    assert_eq!(store.users().await.unwrap(), ["ada", "bob"]);
    let list = |filter| {
        let store = store.clone();
        async move { store.sessions(&filter).await.unwrap().iter().map(|s| s.id).collect::<Vec<_>>() }
    };
    assert_eq!(list(SessionFilter::default()).await, [ids[2], ids[1], ids[0]]);
    assert_eq!(list(SessionFilter { limit: 1, ..Default::default() }).await, [ids[2]]);
    assert_eq!(
        list(SessionFilter { user: Some("ada".into()), ..Default::default() }).await,
        [ids[2], ids[0]]
    );
    assert_eq!(list(SessionFilter { before: Some(at(200)), ..Default::default() }).await, [ids[1], ids[0]]);

    assert_eq!(store.session(&ids[1].to_string().replace('-', "")).await.unwrap().id, ids[1]);
    assert_eq!(store.session("latest").await.unwrap().id, ids[2]);
    // All ids of this test begin with the same digits of the time.
    let error = store.session("01").await.unwrap_err();
    assert!(matches!(error, StoreError::Ambiguous { .. }), "{error}");
    let error = store.session("ffff").await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
    assert!(error.to_string().contains("fretcoach history"));
}

async fn opening_twice_and_at_once_migrates_once(place: Place) {
    let opened = futures::future::join_all((0..4).map(|_| place.try_open())).await;
    for store in &opened {
        assert_eq!(store.as_ref().unwrap().health().await.unwrap().sessions, 0);
    }
    let id = opened[0].as_ref().unwrap().start_session(&session("ada", 0)).await.unwrap();
    assert_eq!(place.open().await.session("latest").await.unwrap().id, id);
}

#[tokio::test]
async fn files_that_are_not_ours_are_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);

    let text = b"dear diary, today I practised".to_vec();
    std::fs::write(path("diary.db"), &text).unwrap();
    let error = Store::open(&path("diary.db")).await.unwrap_err();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
    assert_eq!(std::fs::read(path("diary.db")).unwrap(), text);

    raw(&path("other.db"), "CREATE TABLE songs (title TEXT)").await;
    let before = std::fs::read(path("other.db")).unwrap();
    let error = Store::open(&path("other.db")).await.unwrap_err();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
    assert_eq!(std::fs::read(path("other.db")).unwrap(), before);

    std::fs::create_dir(path("folder.db")).unwrap();
    let error = Store::open(&path("folder.db")).await.unwrap_err();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
}

#[tokio::test]
async fn a_damaged_file_is_told_from_a_foreign_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.db");
    Store::open(&path).await.unwrap().close().await;
    let mut bytes = std::fs::read(&path).unwrap();
    let page = 4096;
    // The header stays, the pages behind it become noise.
    for (n, byte) in bytes[page..].iter_mut().enumerate() {
        *byte = (n * 31 % 251) as u8;
    }
    bytes[100..page].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    let error = Store::open(&path).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains(".recover"));
}

async fn a_newer_schema_is_refused(place: Place) {
    place.open().await.close().await;
    match place {
        Place::Sqlite(_) => {
            place
                .raw(
                    "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                     VALUES (999, 'later', 1, x'00', 0)",
                )
                .await;
        }
        Place::Postgres(_) => {
            place
                .raw(
                    "INSERT INTO fretcoach_schema (version, description, success, checksum, execution_time) \
                     VALUES (999, 'later', TRUE, '\\x00', 0)",
                )
                .await;
        }
    }
    let error = place.try_open().await.unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 999, .. }), "{error}");
    assert!(error.to_string().contains("update FretCoach"));
}

async fn another_programs_tables_are_left_alone(place: Place) {
    if let Place::Sqlite(dir) = &place {
        std::fs::create_dir_all(dir.path().join("new/folder")).unwrap();
    }
    place.raw("CREATE TABLE sessions (cookie TEXT)").await;
    let error = place.try_open().await.unwrap_err();
    assert!(matches!(error, StoreError::Foreign { .. } | StoreError::ForeignServer { .. }), "{error}");
    assert!(error.to_string().contains("untouched"), "{error}");
    place.raw("INSERT INTO sessions (cookie) VALUES ('still there')").await;
}

async fn text_of_any_kind_comes_back(place: Place) {
    let store = place.open().await;
    let name = "Jürgen '); DROP TABLE users; -- 吉他 🎸\u{202e}";
    let id = store.start_session(&session(name, 0)).await.unwrap();
    let said = [advice(AdviceKind::Live, 31, "a\n\t\"b\" \\ $1 %s <b>\u{1}</b>")];
    store.append(&id, &Batch { advice: &said, ..Batch::default() }).await.unwrap();
    assert_eq!(store.users().await.unwrap(), [name]);
    assert_eq!(store.advice(&id).await.unwrap(), said);
    // The one character that Postgres cannot keep is replaced; the row is kept.
    let nul = [AdviceRow { text: "before\0after".into(), ..said[0].clone() }];
    store.append(&id, &Batch { advice: &nul, ..Batch::default() }).await.unwrap();
    let kept = &store.advice(&id).await.unwrap()[0].text;
    assert!(kept.starts_with("before") && kept.ends_with("after"), "{kept:?}");
}

async fn settings_are_kept_for_each_player(place: Place) {
    let store = place.open().await;
    assert_eq!(store.settings("ada").await.unwrap(), None);
    store.set_settings("ada", r#"{"bpm":60}"#).await.unwrap();
    store.set_settings("bob", r#"{"bpm":90}"#).await.unwrap();
    store.set_settings("ada", r#"{"bpm":70}"#).await.unwrap();
    assert_eq!(store.settings("ada").await.unwrap().as_deref(), Some(r#"{"bpm":70}"#));
    assert_eq!(store.settings("bob").await.unwrap().as_deref(), Some(r#"{"bpm":90}"#));
}

async fn a_token_opens_for_one_player_until_it_is_replaced(place: Place) {
    let store = place.open().await;
    let error = store.new_token("ada").await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
    assert!(store.add_user("ada").await.unwrap() && store.add_user("bob").await.unwrap());
    assert!(!store.add_user("ada").await.unwrap(), "there already");
    let (first, bobs) = (store.new_token("ada").await.unwrap(), store.new_token("bob").await.unwrap());
    assert_eq!(first.len(), 64, "32 random bytes in hexadecimal");
    assert_eq!(store.user_of_token(&first).await.unwrap().as_deref(), Some("ada"));
    assert_eq!(store.user_of_token(&bobs).await.unwrap().as_deref(), Some("bob"));
    for wrong in ["", "ada", &first[1..], &first.to_uppercase(), "' OR '1'='1"] {
        assert_eq!(store.user_of_token(wrong).await.unwrap(), None, "{wrong:?}");
    }
    let second = store.new_token("ada").await.unwrap();
    assert_eq!(store.user_of_token(&first).await.unwrap(), None, "replaced");
    assert_eq!(store.user_of_token(&second).await.unwrap().as_deref(), Some("ada"));
    assert!(store.players().await.unwrap().iter().all(|p| p.has_token));
    assert!(store.revoke_token("ada").await.unwrap());
    assert_eq!(store.user_of_token(&second).await.unwrap(), None);
    store.delete_user("bob").await.unwrap();
    assert_eq!(store.user_of_token(&bobs).await.unwrap(), None, "gone with its player");
}

/// A finished session with one of everything.
async fn full_session(store: &Store, user: &str, seconds: i64) -> SessionId {
    let id = store.start_session(&session(user, seconds)).await.unwrap();
    let batch = Batch {
        notes: &[note(0.1, true), note(0.7, false)],
        chords: &[chord(0.3)],
        windows: &[window(0), window(1)],
        advice: &[advice(AdviceKind::Live, 31, "Slow down.")],
        gaps: &[GapRow { from: 4.0, to: 5.5, cause: "stalled".into() }],
    };
    store.append(&id, &batch).await.unwrap();
    store.finish_session(&id, &summary(), at(seconds + 62)).await.unwrap();
    id
}

async fn a_deleted_session_is_gone_with_all_of_it(place: Place) {
    let store = place.open().await;
    let (gone, kept) = (full_session(&store, "ada", 0).await, full_session(&store, "ada", 100).await);
    let recording = match &place {
        Place::Postgres(_) => None,
        Place::Sqlite(dir) => {
            let file = dir.path().join("new/folder").join(RECORDINGS).join("x.flac");
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, "sound").unwrap();
            place
                .raw(
                    "INSERT INTO recordings (session_id, file, sample_rate, from_s, seconds, bytes) \
                     SELECT id, 'x.flac', 48000, 0, 1, 5 FROM sessions ORDER BY started_at LIMIT 1",
                )
                .await;
            Some(file)
        }
    };
    store.delete_session(&gone).await.unwrap();
    assert!(recording.is_none_or(|file| !file.exists()));
    assert!(matches!(store.session(&gone.to_string()).await, Err(StoreError::NotFound { .. })));
    assert!(matches!(store.delete_session(&gone).await, Err(StoreError::NotFound { .. })), "once");
    assert!(store.notes(&gone).await.unwrap().is_empty() && store.advice(&gone).await.unwrap().is_empty());
    assert!(store.windows(&gone).await.unwrap().is_empty() && store.gaps(&gone).await.unwrap().is_empty());
    assert_eq!(store.session("latest").await.unwrap().id, kept);
    assert_eq!(store.notes(&kept).await.unwrap().len(), 2);
}

async fn a_deleted_player_is_gone_and_the_others_stay(place: Place) {
    let store = place.open().await;
    for n in 0..3 {
        full_session(&store, "ada", n * 100).await;
    }
    let kept = full_session(&store, "bob", 400).await;
    store.set_settings("ada", "{}").await.unwrap();
    assert_eq!(store.delete_user("ada").await.unwrap(), 3);
    assert_eq!(store.users().await.unwrap(), ["bob"]);
    let left = store.sessions(&SessionFilter::default()).await.unwrap();
    assert_eq!(left.iter().map(|s| s.id).collect::<Vec<_>>(), [kept]);
    assert_eq!(store.settings("ada").await.unwrap(), None);
    assert!(matches!(store.delete_user("ada").await, Err(StoreError::NotFound { .. })));
}

#[tokio::test]
async fn a_session_that_is_played_is_not_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_in(dir.path()).await.unwrap();
    let id = store.start_session(&session("ada", 0)).await.unwrap();
    for error in [store.delete_session(&id).await.unwrap_err(), store.delete_user("ada").await.unwrap_err()] {
        assert!(matches!(error, StoreError::Running { .. }), "{error}");
    }
    assert!(store.session("latest").await.unwrap().running);
}

#[tokio::test]
async fn what_was_deleted_is_not_left_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_in(dir.path()).await.unwrap();
    let id = store.start_session(&session("ada", 0)).await.unwrap();
    let said = [advice(AdviceKind::Live, 31, "a very private word")];
    store.append(&id, &Batch { advice: &said, ..Batch::default() }).await.unwrap();
    store.finish_session(&id, &summary(), at(62)).await.unwrap();
    store.delete_session(&id).await.unwrap();
    for file in std::fs::read_dir(dir.path()).unwrap().map(|f| f.unwrap().path()).filter(|f| f.is_file()) {
        let bytes = std::fs::read(&file).unwrap();
        let found = bytes.windows(12).any(|w| w == b"very private");
        assert!(!found, "{}", file.display());
    }
}

#[tokio::test]
async fn folders_that_cannot_be_used_are_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for path in [file.path().join("below/x.db"), Path::new("/proc/fretcoach/x.db").to_path_buf()] {
        let error = Store::open(&path).await.unwrap_err();
        assert!(matches!(error, StoreError::Folder { .. } | StoreError::ReadOnly { .. }), "{error:?}");
        let said = error.to_string();
        assert!(said.contains("--data-dir") && said.contains(&path.display().to_string()), "{said}");
    }
}

/// A statement by SQLite itself, past the store.
async fn raw(path: &Path, sql: &'static str) {
    use sqlx::Connection;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// Plays until it is killed: the other half of the test below. Does nothing in an ordinary run.
#[tokio::test]
async fn child_that_is_killed() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let store = Store::open_in(Path::new(&folder)).await.unwrap();
    let writer = SessionWriter::begin(store, session("ada", 0));
    writer.window(window(0));
    for i in 0.. {
        writer.note(note(f64::from(i), true));
        if i == 20 {
            writer.flush().await.unwrap();
            // From here on the parent may kill at any moment.
            println!("stored 20");
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_killed_session_is_closed_at_the_next_start_with_what_was_stored() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_is_killed", "--nocapture"])
        .env(CHILD, dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = std::io::BufReader::new(child.stdout.take().unwrap());
    let told = tokio::task::spawn_blocking(|| {
        std::io::BufRead::lines(out).map_while(Result::ok).any(|line| line.contains("stored 20"))
    });
    assert!(told.await.unwrap());

    let store = Store::open_in(dir.path()).await.unwrap();
    let summarise = |_: &_, notes: &[JudgedNote], windows: &[WindowRecord]| {
        assert!(notes.len() >= 20 && windows.len() == 1);
        Some(summary())
    };
    assert!(store.close_abandoned(summarise).await.unwrap().is_empty(), "it still runs");
    assert!(store.session("latest").await.unwrap().running);

    child.kill().unwrap();
    child.wait().unwrap();
    let row = store.session("latest").await.unwrap();
    assert_eq!((row.end, row.running), (None, false));
    let closed = store.close_abandoned(summarise).await.unwrap();
    let row = store.session("latest").await.unwrap();
    assert_eq!((closed.as_slice(), row.end), (&[row.id][..], Some(EndReason::Interrupted)));
    assert_eq!(row.summary, Some(summary()));
    let notes = store.notes(&row.id).await.unwrap();
    let last = notes.last().unwrap().note.offset.max(30.0);
    assert_eq!(row.ended_at.unwrap(), row.started_at + ((last * 1000.0).round() as i64).milliseconds());
    assert!(
        notes.iter().enumerate().all(|(i, n)| n.note.onset == i as f64),
        "nothing missing before the last"
    );
    assert!(store.close_abandoned(summarise).await.unwrap().is_empty(), "once");
}

async fn history_store(place: &Place) -> (Store, String) {
    let store = place.open().await;
    let mut done = session("ada", 0);
    done.id = "01a0f5ea-9c00-7000-8000-000000000001".parse().unwrap();
    let id = store.start_session(&done).await.unwrap();
    let mut gated = note(1.9, true);
    gated.note.gated = true;
    let mut said = [
        advice(AdviceKind::Live, 31, "Clean pitch. You rush the eighths: tap your foot on each beat."),
        advice(AdviceKind::Summary, 62, "A good minute; work on the timing."),
    ];
    said[0].spoken = Some(true);
    for (n, a) in said.iter_mut().enumerate() {
        a.id = format!("01a0f5ea-9c00-7000-8000-00000000010{n}").parse().unwrap();
    }
    let batch = Batch {
        notes: &[note(0.1, true), note(0.7, false), gated],
        chords: &[chord(0.4)],
        windows: &[window(0), window(1)],
        advice: &said,
        gaps: &[GapRow { from: 41.0, to: 42.5, cause: "stalled".into() }],
    };
    store.append(&id, &batch).await.unwrap();
    store.finish_session(&id, &summary(), at(62)).await.unwrap();
    let mut open = session("bob", 4000);
    open.id = "01a0f627-a500-7000-8000-000000000002".parse().unwrap();
    (open.scale, open.bpm) = (None, None);
    store.start_session(&open).await.unwrap();
    (store, id.to_string())
}

fn args(session: Option<&str>, format: Format) -> HistoryArgs {
    HistoryArgs { session: session.map(Into::into), user: None, limit: 20, notes: false, format }
}

async fn history_prints_what_is_stored(place: Place) {
    let (store, id) = history_store(&place).await;
    // In a shared database nobody has said that the second session runs.
    let name = |text: &str| match place {
        Place::Sqlite(_) => text.to_owned(),
        Place::Postgres(_) => format!("{text}_shared"),
    };
    let list = history::run_in(&store, &args(None, Format::Text), &TimeZone::UTC).await.unwrap();
    insta::assert_snapshot!(name("history_list"), list);
    let one = history::run_in(&store, &args(Some(&id), Format::Text), &TimeZone::UTC).await.unwrap();
    insta::assert_snapshot!("history_session", one);
    let one = history::run_in(&store, &args(Some(&id), Format::Json), &TimeZone::UTC).await.unwrap();
    let one: serde_json::Value = serde_json::from_str(&one).unwrap();
    insta::with_settings!({ sort_maps => true }, { insta::assert_json_snapshot!("history_session_json", one) });
    let list = history::run_in(&store, &args(None, Format::Json), &TimeZone::UTC).await.unwrap();
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list["sessions"][0]["end"], serde_json::Value::Null);
    assert_eq!(list["sessions"][1]["scores"]["overall"], 78.0);
}

#[tokio::test]
async fn an_empty_history_says_how_to_begin() {
    let store = Store::memory().await.unwrap();
    let text = history::run(&store, &args(None, Format::Text)).await.unwrap();
    assert!(text.contains("fretcoach practice"), "{text}");
    let latest = history::run(&store, &args(Some("latest"), Format::Text)).await.unwrap_err();
    assert_eq!(latest.to_string(), "there is no session yet; `fretcoach practice` makes one");
    let json = history::run(&store, &args(None, Format::Json)).await.unwrap();
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&json).unwrap(),
        serde_json::json!({ "sessions": [] })
    );
}

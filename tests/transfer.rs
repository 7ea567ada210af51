//! What is exported comes back exactly, on either engine; what is damaged keeps nothing else out.

mod common;

use std::io::{BufReader, Read};
use std::path::Path;

use common::history::{at, everything, full_session};
use common::postgres;
use fretcoach::store::transfer::{self, TransferError, Transferred};
use fretcoach::store::{SessionFilter, Store};
use proptest::prelude::*;

async fn import(store: &Store, text: &str) -> Result<Transferred, TransferError> {
    transfer::import(store, &mut text.as_bytes(), Path::new("x.jsonl"), &mut |_| {}).await
}

async fn history() -> Store {
    let store = Store::memory().await.unwrap();
    for (n, user) in ["ada", "bob", "ada"].into_iter().enumerate() {
        full_session(&store, user, n as i64 * 100, 30).await;
    }
    store.set_settings("ada", r#"{"bpm":60}"#).await.unwrap();
    store.start_session(&common::history::session("ada", 400)).await.unwrap();
    store
}

#[tokio::test]
async fn export_import_export_is_identical() {
    let text = everything(&history().await).await;
    for store in
        [Store::memory().await.unwrap(), Store::connect(&postgres::shared().database()).await.unwrap()]
    {
        let done = import(&store, &text).await.unwrap();
        assert_eq!((done.sessions, done.skipped, done.faults.as_slice()), (4, 0, &[][..]));
        assert_eq!(everything(&store).await, text);
        // Again changes nothing.
        import(&store, &text).await.unwrap();
        assert_eq!(everything(&store).await, text);
    }
}

#[tokio::test]
async fn one_player_is_exported_alone() {
    let store = history().await;
    let mut out = Vec::new();
    transfer::export(&store, Some("bob"), &mut out, Path::new("x"), &mut |_, _| {}).await.unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("\"bob\"") && !text.contains("\"ada\""));
    let other = Store::memory().await.unwrap();
    import(&other, &text).await.unwrap();
    assert_eq!(other.users().await.unwrap(), ["bob"]);
    assert_eq!(other.sessions(&SessionFilter::default()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_faulty_line_leaves_out_its_session_alone_and_is_named() {
    let text = everything(&history().await).await;
    let lines: Vec<&str> = text.lines().collect();
    let heads: Vec<usize> =
        (0..lines.len()).filter(|n| lines[*n].contains("\"table\":\"sessions\"")).collect();
    let broken = heads[1] + 5;
    for damage in ["{", "not json", r#"{"table":"notes"}"#, &lines[broken][..40], &"x".repeat(17 << 20)] {
        let mut damaged = lines.clone();
        damaged[broken] = damage;
        let store = Store::memory().await.unwrap();
        let done = import(&store, &damaged.join("\n")).await.unwrap();
        assert_eq!((done.sessions, done.skipped), (3, 1));
        assert_eq!(done.faults[0].0, broken as u64 + 1, "lines are counted from 1");
        assert_eq!(store.sessions(&SessionFilter::default()).await.unwrap().len(), 3);
        // What is whole comes in when the file is mended.
        import(&store, &text).await.unwrap();
        assert_eq!(everything(&store).await, text);
    }
}

#[tokio::test]
async fn a_file_that_is_no_export_is_refused() {
    let store = Store::memory().await.unwrap();
    for (text, said) in [
        ("", "first line"),
        ("dear diary", "first line"),
        ("{\"x\":1}\n", "not a header"),
        ("{\"fretcoach_export\":99}\n", "update FretCoach"),
    ] {
        let error = import(&store, text).await.unwrap_err().to_string();
        assert!(error.contains(said) && error.contains("fretcoach export"), "{error}");
    }
    // A later program's columns and tables are passed over.
    let later = "{\"fretcoach_export\":1,\"more\":2}\n{\"table\":\"moods\",\"x\":1}\n\
                 {\"table\":\"users\",\"name\":\"ada\",\"created_at\":1,\"shoe_size\":42}\n";
    import(&store, later).await.unwrap();
    assert_eq!(store.users().await.unwrap(), ["ada"]);
}

#[tokio::test]
async fn tables_are_written_as_csv() {
    let store = history().await;
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("csv");
    transfer::export_csv(&store, None, &folder, &mut |_, _| {}).await.unwrap();
    let mut notes = csv::Reader::from_path(folder.join("notes.csv")).unwrap();
    assert_eq!(notes.headers().unwrap().get(1), Some("onset_s"));
    assert_eq!(notes.records().map(Result::unwrap).count(), 90);
    let mut sessions = csv::Reader::from_path(folder.join("sessions.csv")).unwrap();
    assert_eq!(sessions.headers().unwrap().get(1), Some("user"));
    let users: Vec<String> = sessions.records().map(|r| r.unwrap()[1].to_owned()).collect();
    assert_eq!(users, ["ada", "ada", "ada", "bob"]);
    let mut advice = csv::Reader::from_path(folder.join("advice.csv")).unwrap();
    let body = advice.headers().unwrap().iter().position(|h| h == "body").unwrap();
    let said = advice.records().next().unwrap().unwrap()[body].to_owned();
    assert!(said.contains("\n") && said.contains("\"half\"") && said.contains("🎸"));
}

/// A long export that is made while it is read, so that a test sees how much of it is held at once.
struct Endless {
    header: Option<String>,
    sessions: std::ops::Range<u64>,
    buffer: std::io::Cursor<Vec<u8>>,
}

impl Read for Endless {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.buffer.position() == self.buffer.get_ref().len() as u64 {
            let mut text = self.header.take().unwrap_or_default();
            if let Some(n) = self.sessions.next() {
                let id = format!("01a0f5ea-9c00-7000-8000-{n:012x}");
                text += &format!(
                    "{{\"table\":\"sessions\",\"id\":\"{id}\",\"user\":\"ada\",\"deployment\":\"d\",\"mode\":\"m\",\
                     \"input\":\"i\",\"config_json\":\"{{}}\",\"started_at\":{n},\"ended_at\":{n},\"owner\":\"o\"}}\n"
                );
                for i in 0..1500 {
                    text += &format!(
                        "{{\"table\":\"notes\",\"session_id\":\"{id}\",\"onset_s\":{i}.5,\"offset_s\":1.0,\
                         \"decided_s\":1.0,\"midi\":57,\"f0_hz\":220.0,\"cents\":0.0,\"level_db\":-9.0,\
                         \"confidence\":1.0,\"gated\":0,\"is_right\":1}}\n"
                    );
                }
            }
            self.buffer = std::io::Cursor::new(text.into_bytes());
        }
        self.buffer.read(out)
    }
}

/// Set in the environment of the copy of this test program that does the work below, alone in its process.
const ALONE: &str = "FRETCOACH_TEST_TRANSFER_ALONE";

/// Rows of a batch, pages of SQLite, the program's own growth: not the file, which is several times as large.
const MOST_MEMORY: u64 = 6 << 20;

#[tokio::test]
async fn a_large_file_comes_in_with_progress_and_in_constant_memory() {
    if std::env::var_os(ALONE).is_none() {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_large_file_comes_in_with_progress_and_in_constant_memory", "--nocapture"])
            .env(ALONE, "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_in(dir.path()).await.unwrap();
    full_session(&store, "warm", 0, 2000).await;
    let file = Endless {
        header: Some("{\"fretcoach_export\":1}\n".into()),
        sessions: 0..60,
        buffer: std::io::Cursor::new(Vec::new()),
    };
    let mut told = Vec::with_capacity(100_000);
    let before = peak();
    let mut tell = |bytes| told.push(bytes);
    let done = transfer::import(&store, &mut BufReader::new(file), Path::new("x"), &mut tell).await.unwrap();
    let more = peak() - before;
    assert_eq!((done.sessions, done.rows, done.skipped), (60, 60 * 1501, 0));
    assert!(told.windows(2).all(|w| w[0] < w[1]) && told.len() == 60 * 1501);
    let size = *told.last().unwrap();
    assert!(size > 2 * MOST_MEMORY, "{size}");
    assert!(more < MOST_MEMORY, "{} kB more for a file of {} kB", more >> 10, size >> 10);
}

/// Most bytes of memory that this process has held.
fn peak() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[tokio::test]
async fn the_store_is_looked_after() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_in(dir.path()).await.unwrap();
    let old = full_session(&store, "ada", 0, 200).await;
    let new = full_session(&store, "ada", 1_000_000, 10).await;
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    let rows = store.rows_by_table().await.unwrap();
    assert!(rows.contains(&("sessions", 2)) && rows.contains(&("notes", 210)), "{rows:?}");

    let copy = dir.path().join("copy of ada's.db");
    store.backup(&copy).await.unwrap();
    assert!(store.backup(&copy).await.is_err(), "never over another file");
    let restored = Store::open(&copy).await.unwrap();
    assert_eq!(everything(&restored).await, everything(&store).await);

    let before = at(500_000);
    let found = store.prunable(before, true).await.unwrap();
    assert_eq!((found.sessions, found.traces, found.waiting), (1, 0, 0));
    assert_eq!(store.prune(before, false).await.unwrap().sessions, 0);
    assert_eq!(store.prune(before, true).await.unwrap().sessions, 1);
    let left = store.sessions(&SessionFilter::default()).await.unwrap();
    assert_eq!(left.iter().map(|s| s.id).collect::<Vec<_>>(), [new]);
    assert!(store.notes(&old).await.unwrap().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever stands in a file: nothing panics, and what the store then holds can be exported and imported again.
    #[test]
    fn any_lines_are_survived(lines in proptest::collection::vec(line(), 0..30)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = Store::memory().await.unwrap();
            let text = format!("{{\"fretcoach_export\":1}}\n{}", lines.join("\n"));
            import(&store, &text).await.unwrap();
            let text = everything(&store).await;
            let other = Store::memory().await.unwrap();
            let done = import(&other, &text).await.unwrap();
            assert_eq!(done.skipped, 0, "{:?}", done.faults);
            assert_eq!(everything(&other).await, text);
        });
    }
}

fn line() -> impl Strategy<Value = String> {
    let id = prop_oneof![
        Just("01a0f5ea-9c00-7000-8000-000000000001"),
        Just("01a0f5ea-9c00-7000-8000-000000000002"),
        Just("not an id"),
    ];
    let number =
        prop_oneof![any::<i64>().prop_map(|n| n.to_string()), any::<f64>().prop_map(|x| format!("{x:e}"))];
    let text = prop_oneof!["\\PC{0,8}", Just("ada".to_owned())];
    prop_oneof![
        "\\PC{0,20}",
        (id.clone(), text.clone(), any::<i32>()).prop_map(|(id, user, n)| {
            serde_json::json!({"table": "sessions", "id": id, "user": user, "deployment": user, "mode": "m",
                "input": "i", "config_json": "{}", "started_at": n, "owner": "o"})
            .to_string()
        }),
        (id.clone(), number.clone()).prop_map(|(id, x)| format!(
            "{{\"table\":\"gaps\",\"session_id\":\"{id}\",\"seq\":1,\"from_s\":{x},\"to_s\":2.5,\"cause\":\"x\"}}"
        )),
        (id, text, number).prop_map(|(id, text, x)| format!(
            "{{\"table\":\"chats\",\"id\":\"{id}\",\"user\":\"ada\",\"title\":{},\"created_at\":{x},\"updated_at\":1}}",
            serde_json::Value::from(text)
        )),
    ]
}

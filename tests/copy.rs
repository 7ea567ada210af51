//! The copy to a shared Postgres: everything arrives, once, in order, whatever stops in between.

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::history::{advice, everything, full_session, note, session, summary, window};
use common::postgres::{self, Postgres};
use fretcoach::store::copy::{self, CopyState, Handle};
use fretcoach::store::{Batch, SessionFilter, SessionWriter, Store, StoreError};
use jiff::Timestamp;

/// Ends a test that hangs; nothing is judged by it.
const PATIENCE: Duration = Duration::from_secs(120);

/// Set in the environment of a copy of this test program that is to be killed: data folder and address.
const CHILD: (&str, &str) = ("FRETCOACH_TEST_COPY_CHILD", "FRETCOACH_TEST_COPY_URL");

async fn until(handle: &Handle, what: &str, good: impl FnMut(&CopyState) -> bool) {
    let mut state = handle.state();
    let waited = tokio::time::timeout(PATIENCE, state.wait_for(good)).await;
    assert!(waited.is_ok(), "waited in vain for {what}: {:?}", handle.state().borrow());
}

/// Until all that is stored by now is copied.
async fn caught_up(store: &Store, handle: &Handle) {
    let all = tokio::time::timeout(PATIENCE, async {
        loop {
            until(handle, "the copy", |s| s.caught_up).await;
            if store.copy_waiting().await.unwrap() == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    all.await.expect("the copy catches up");
}

async fn local() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_in(dir.path()).await.unwrap();
    (dir, store)
}

#[tokio::test]
async fn history_from_before_and_what_is_played_now_arrive() {
    let url = postgres::shared().database();
    let (_dir, store) = local().await;
    // More notes than one page, stored before a shared database was named.
    full_session(&store, "ada", 0, 2500).await;
    store.set_settings("ada", r#"{"bpm":60}"#).await.unwrap();
    let handle = copy::start(&store, &url);
    caught_up(&store, &handle).await;
    let shared = Store::connect(&url).await.unwrap();
    assert_eq!(everything(&shared).await, everything(&store).await);

    // A session as it is played: what is judged later and said later replaces what was there.
    let new = session("bob", 100);
    let id = store.start_session(&new).await.unwrap();
    let mut said = [advice("Good.")];
    let first =
        Batch { notes: &[note(0.5), note(1.0)], windows: &[window(0)], advice: &said, ..Batch::default() };
    store.append(&id, &first).await.unwrap();
    caught_up(&store, &handle).await;
    assert!(shared.session("latest").await.unwrap().running, "its daemon says that it runs");
    let mut again = note(0.5);
    again.right = false;
    said[0].spoken = Some(true);
    store.append(&id, &Batch { notes: &[again.clone()], advice: &said, ..Batch::default() }).await.unwrap();
    store.finish_session(&id, &summary(), Timestamp::now()).await.unwrap();
    caught_up(&store, &handle).await;
    assert_eq!(shared.notes(&id).await.unwrap(), [again, note(1.0)]);
    assert_eq!(shared.advice(&id).await.unwrap(), said);
    assert_eq!(everything(&shared).await, everything(&store).await);
    handle.stop(PATIENCE).await;
}

#[tokio::test]
async fn an_outage_in_the_middle_of_a_session_only_delays() {
    let mut server = Postgres::start();
    let url = server.database();
    let (_dir, store) = local().await;
    let handle = copy::start(&store, &url);
    let writer = SessionWriter::begin(store.clone(), session("ada", 0));
    for n in 0..100 {
        writer.note(note(f64::from(n)));
    }
    writer.flush().await.unwrap();
    caught_up(&store, &handle).await;
    server.stop();
    for n in 100..300 {
        writer.note(note(f64::from(n)));
    }
    writer.window(window(0));
    writer.flush().await.unwrap();
    until(&handle, "the outage to be noticed", |s| s.trouble.is_some()).await;
    let trouble = handle.state().borrow().trouble.clone().unwrap();
    assert!(trouble.contains("cannot be reached"), "{trouble}");
    for n in 300..400 {
        writer.note(note(f64::from(n)));
    }
    writer.flush().await.unwrap();
    assert!(store.copy_waiting().await.unwrap() >= 300, "they wait");
    server.start_again();
    for n in 400..450 {
        writer.note(note(f64::from(n)));
    }
    let id = writer.id();
    writer.finish(&summary(), Timestamp::now(), PATIENCE).await.unwrap();
    caught_up(&store, &handle).await;
    let shared = Store::connect(&url).await.unwrap();
    let onsets: Vec<f64> = shared.notes(&id).await.unwrap().iter().map(|n| n.note.onset).collect();
    assert_eq!(onsets, (0..450).map(f64::from).collect::<Vec<_>>(), "all, once");
    assert_eq!(everything(&shared).await, everything(&store).await);
    handle.stop(PATIENCE).await;
    shared.close().await;
}

#[tokio::test]
async fn what_is_visible_there_was_once_true_here() {
    let url = postgres::shared().database();
    let (_dir, store) = local().await;
    let handle = copy::start(&store, &url);
    let shared = Store::connect(&url).await.unwrap();
    let id = store.start_session(&session("ada", 0)).await.unwrap();
    let mut stored = 0;
    let mut seen = 0;
    while seen < 600 {
        if stored < 600 {
            let some: Vec<_> = (stored..stored + 7).map(|n| note(f64::from(n))).collect();
            store.append(&id, &Batch { notes: &some, ..Batch::default() }).await.unwrap();
            stored += 7;
        }
        let notes = shared.notes(&id).await.unwrap();
        assert!(
            notes.iter().enumerate().all(|(n, note)| note.note.onset == n as f64),
            "no hole before the last"
        );
        let now = i32::try_from(notes.len()).unwrap();
        assert!(now >= seen, "nothing goes away");
        seen = now;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    handle.stop(PATIENCE).await;
}

#[tokio::test]
async fn several_daemons_share_one_database() {
    let url = postgres::shared().database();
    let ((_a, first), (_b, second)) = (local().await, local().await);
    // Both start at once, on an empty server, each with a history of the same player and of one of its own.
    for (store, own) in [(&first, "ada"), (&second, "bob")] {
        full_session(store, "cleo", 0, 40).await;
        full_session(store, own, 100, 40).await;
    }
    let handles = [copy::start(&first, &url), copy::start(&second, &url)];
    let live = [session("cleo", 200), session("cleo", 200)];
    for (store, new) in [&first, &second].into_iter().zip(&live) {
        store.start_session(new).await.unwrap();
        store.append(&new.id, &Batch { notes: &[note(0.25)], ..Batch::default() }).await.unwrap();
    }
    caught_up(&first, &handles[0]).await;
    caught_up(&second, &handles[1]).await;
    let shared = Store::connect(&url).await.unwrap();
    assert_eq!(shared.users().await.unwrap(), ["ada", "bob", "cleo"], "joined by name");
    let count = async |user: &str| {
        let filter = SessionFilter { user: Some(user.into()), ..SessionFilter::default() };
        shared.sessions(&filter).await.unwrap().len()
    };
    assert_eq!((count("ada").await, count("bob").await, count("cleo").await), (1, 1, 4));
    for new in &live {
        assert_eq!(shared.notes(&new.id).await.unwrap(), [note(0.25)]);
        assert!(shared.session(&new.id.to_string()).await.unwrap().running);
    }

    // A Hub deletes a session and a player for good: every daemon deletes its own, and nothing comes back.
    let cleos = SessionFilter { user: Some("cleo".into()), ..SessionFilter::default() };
    let old = first.sessions(&cleos).await.unwrap().into_iter().find(|s| !s.running).unwrap();
    shared.delete_session(&old.id).await.unwrap();
    shared.delete_user("bob").await.unwrap();
    let gone = tokio::time::timeout(PATIENCE, async {
        loop {
            let session = first.session(&old.id.to_string()).await;
            let player = second.users().await.unwrap().contains(&"bob".to_owned());
            if matches!(session, Err(StoreError::NotFound { .. })) && !player {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    gone.await.expect("the daemons hear of it");
    assert_eq!(shared.users().await.unwrap(), ["ada", "cleo"]);
    assert_eq!(count("cleo").await, 3);
    // The name may begin anew.
    let mut new = session("bob", 0);
    new.started_at = Timestamp::now();
    second.start_session(&new).await.unwrap();
    caught_up(&second, &handles[1]).await;
    assert_eq!(shared.session("latest").await.unwrap().id, new.id);
    assert_eq!(count("bob").await, 1);
    for handle in handles {
        handle.stop(PATIENCE).await;
    }
}

#[tokio::test]
async fn deletions_are_copied_and_nothing_comes_back() {
    let url = postgres::shared().database();
    let (dir, store) = local().await;
    let (gone, kept) = (full_session(&store, "ada", 0, 20).await, full_session(&store, "ada", 100, 20).await);
    full_session(&store, "bob", 0, 20).await;
    let handle = copy::start(&store, &url);
    caught_up(&store, &handle).await;
    store.delete_session(&gone).await.unwrap();
    store.delete_user("bob").await.unwrap();
    caught_up(&store, &handle).await;
    let shared = Store::connect(&url).await.unwrap();
    assert_eq!(shared.users().await.unwrap(), ["ada"]);
    let left = shared.sessions(&SessionFilter::default()).await.unwrap();
    assert_eq!(left.iter().map(|s| s.id).collect::<Vec<_>>(), [kept]);
    handle.stop(PATIENCE).await;

    // A daemon with an old copy of the file brings nothing back, and loses it too.
    store.close().await;
    let store = Store::open_in(dir.path()).await.unwrap();
    let (_other_dir, other) = local().await;
    let old = session("ada", 0);
    let old = fretcoach::store::NewSession { id: gone, ..old };
    other.start_session(&old).await.unwrap();
    other.append(&gone, &Batch { notes: &[note(0.0)], ..Batch::default() }).await.unwrap();
    other.finish_session(&gone, &summary(), Timestamp::now()).await.unwrap();
    let handle = copy::start(&other, &url);
    caught_up(&other, &handle).await;
    assert!(matches!(shared.session(&gone.to_string()).await, Err(StoreError::NotFound { .. })));
    assert!(matches!(other.session(&gone.to_string()).await, Err(StoreError::NotFound { .. })));
    assert_eq!(store.sessions(&SessionFilter::default()).await.unwrap().len(), 1);
    handle.stop(PATIENCE).await;
}

#[tokio::test]
async fn what_was_stored_before_the_end_is_copied_at_the_end() {
    let url = postgres::shared().database();
    let (_dir, store) = local().await;
    for n in 0..3 {
        let handle = copy::start(&store, &url);
        caught_up(&store, &handle).await;
        full_session(&store, "ada", n * 100, 30).await;
        handle.stop(PATIENCE).await;
        assert_eq!(store.copy_waiting().await.unwrap(), 0);
    }
    assert_eq!(everything(&Store::connect(&url).await.unwrap()).await, everything(&store).await);
}

#[tokio::test]
async fn a_new_empty_database_gets_everything() {
    let (_dir, store) = local().await;
    full_session(&store, "ada", 0, 50).await;
    for _ in 0..2 {
        let url = postgres::shared().database();
        let handle = copy::start(&store, &url);
        caught_up(&store, &handle).await;
        handle.stop(PATIENCE).await;
        assert_eq!(everything(&Store::connect(&url).await.unwrap()).await, everything(&store).await);
    }
}

/// Plays and copies until it is killed: the other half of the test below. Does nothing in an ordinary run.
#[tokio::test]
async fn child_that_is_killed() {
    let (Some(folder), Ok(url)) = (std::env::var_os(CHILD.0), std::env::var(CHILD.1)) else { return };
    let store = Store::open_in(Path::new(&folder)).await.unwrap();
    let handle = copy::start(&store, &url);
    let writer = SessionWriter::begin(store.clone(), session("ada", 0));
    for n in 0.. {
        writer.note(note(f64::from(n)));
        if n % 50 == 0 {
            writer.flush().await.unwrap();
        }
        if n == 200 {
            until(&handle, "the first copies", |s| s.copied > 50).await;
            // From here on the parent may kill at any moment.
            println!("copying");
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_killed_daemon_goes_on_where_it_was() {
    let url = postgres::shared().database();
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_is_killed", "--nocapture"])
            .env(CHILD.0, dir.path())
            .env(CHILD.1, &url)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = std::io::BufReader::new(child.stdout.take().unwrap());
        let told = tokio::task::spawn_blocking(|| {
            std::io::BufRead::lines(out).map_while(Result::ok).any(|line| line.contains("copying"))
        });
        assert!(told.await.unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let store = Store::open_in(dir.path()).await.unwrap();
    store.close_abandoned(|_, _, _| Some(summary())).await.unwrap();
    let handle = copy::start(&store, &url);
    caught_up(&store, &handle).await;
    handle.stop(PATIENCE).await;
    let shared = Store::connect(&url).await.unwrap();
    assert_eq!(everything(&shared).await, everything(&store).await);
    assert_eq!(shared.sessions(&SessionFilter::default()).await.unwrap().len(), 2);
}

#[tokio::test]
async fn without_the_server_nothing_is_held_up_and_all_of_it_waits() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let (_dir, store) = local().await;
    let handle = copy::start(&store, &format!("postgres://ada:s3cret@127.0.0.1:{port}/x"));
    until(&handle, "the refusal", |s| s.trouble.is_some()).await;
    let trouble = handle.state().borrow().trouble.clone().unwrap();
    assert!(trouble.contains(&port.to_string()) && !trouble.contains("s3cret"), "{trouble}");
    full_session(&store, "ada", 0, 20).await;
    assert!(store.copy_waiting().await.unwrap() > 20);
    // Ends at once, with all of it waiting for the next start.
    handle.stop(PATIENCE).await;
    let url = postgres::shared().database();
    let handle = copy::start(&store, &url);
    caught_up(&store, &handle).await;
    handle.stop(PATIENCE).await;
    assert_eq!(everything(&Store::connect(&url).await.unwrap()).await, everything(&store).await);
}

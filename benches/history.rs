//! How long does each page and answer of the Hub take at 50, 500 and 5,000 sessions of 800 notes on SQLite, and how does
//! that grow?
//!
//! `cargo bench --bench history` (the data are made once, below `target/history-bench`; 4 million notes take minutes).
//! `-- 50,500` takes these sizes alone.

#[path = "history/played.rs"]
mod played;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::http::Request;
use fretcoach::config::Config;
use fretcoach::hub::{Hub, Parts};
use fretcoach::store::{SessionFilter, Store};
use jiff::Timestamp;
use tower_service::Service;

const SIZES: [usize; 3] = [50, 500, 5000];
const NOTES: usize = 800;
/// What a page may take at the largest size.
const LIMIT: Duration = Duration::from_millis(150);
const ROUNDS: usize = 15;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(run());
}

async fn run() {
    let asked: Vec<usize> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .flat_map(|a| a.split(',').filter_map(|n| n.parse().ok()).collect::<Vec<_>>())
        .collect();
    let sizes = if asked.is_empty() { SIZES.to_vec() } else { asked };
    let mut table: Vec<(String, Vec<Spread>)> = Vec::new();
    for (column, size) in sizes.iter().enumerate() {
        let store = filled(*size).await;
        let config = Config::default();
        let ids: Vec<String> = store
            .sessions(&SessionFilter { user: Some(config.user.clone()), limit: 4, before: None })
            .await
            .expect("sessions")
            .iter()
            .map(|s| s.id.to_string())
            .collect();
        let mut router = Hub::new(Parts { config, store, link: None }).router();
        for (row, (name, address)) in pages(&ids, *size).into_iter().enumerate() {
            let spread = measure(&mut router, &address).await;
            if column == 0 {
                table.push((name, Vec::new()));
            }
            table[row].1.push(spread);
        }
    }
    print(&sizes, &table);
}

/// The store with so many sessions, made when it is not there yet.
async fn filled(sessions: usize) -> Store {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("history-bench").join(sessions.to_string());
    let path = folder.join("fretcoach.db");
    let done = folder.join("done");
    if !done.exists() {
        let _ = std::fs::remove_dir_all(&folder);
        let store = Store::open(&path).await.expect("a store");
        let began = Instant::now();
        played::play(&store, &Config::default().user, sessions, NOTES, Timestamp::now())
            .await
            .expect("played");
        println!("{} notes stored in {:.0} s", sessions * NOTES, began.elapsed().as_secs_f64());
        store.close().await;
        std::fs::write(&done, "").expect("a file");
    }
    let store = Store::open(&path).await.expect("a store");
    println!("{sessions} sessions: {:.0} MB", size(&path) as f64 / 1e6);
    store
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |m| m.len())
}

fn pages(ids: &[String], sessions: usize) -> Vec<(String, String)> {
    let last = sessions.div_ceil(25);
    let (one, four) = (&ids[0], ids.join(","));
    [
        ("live".to_owned(), "/".to_owned()),
        ("plan".into(), "/plan".into()),
        ("chat".into(), "/chat".into()),
        ("tuner".into(), "/tuner".into()),
        ("history".into(), "/history".into()),
        ("history, last page".into(), format!("/history?page={last}")),
        ("history, by overall".into(), "/history?sort=overall".into()),
        ("history, by notes right".into(), "/history?sort=right&dir=asc".into()),
        ("history, one scale, 100 notes".into(), "/history?scale=E%20blues&notes=100".into()),
        ("history, words in advice".into(), "/history?q=low%20strings".into()),
        ("history, words nowhere".into(), "/history?q=zither".into()),
        ("one session".into(), format!("/history/{one}")),
        ("trends, 90 days".into(), "/history/trends".into()),
        ("trends, all, by day".into(), "/history/trends?days=36500&step=day".into()),
        ("trends, all, one scale".into(), "/history/trends?days=36500&scale=E%20blues".into()),
        ("compare with average".into(), format!("/history/compare?sessions={one}")),
        ("compare four".into(), format!("/history/compare?sessions={four}")),
        ("delete?".into(), format!("/history/delete?sessions={four}")),
        ("api sessions".into(), "/api/sessions".into()),
        ("api sessions, 500".into(), "/api/sessions?limit=500&sort=timing".into()),
        ("api session".into(), format!("/api/sessions/{one}")),
        ("api notes".into(), format!("/api/sessions/{one}/notes")),
        ("api trends, all".into(), "/api/trends?days=36500&step=day".into()),
        ("api compare".into(), format!("/api/compare?sessions={one}")),
    ]
    .into()
}

/// Times of an answer, milliseconds.
struct Spread {
    median: f64,
    low: f64,
    high: f64,
    bytes: usize,
}

async fn measure(router: &mut axum::Router, address: &str) -> Spread {
    let mut times = Vec::with_capacity(ROUNDS);
    let mut bytes = 0;
    for round in 0..=ROUNDS {
        let request = Request::get(address).body(Body::empty()).expect("a request");
        let began = Instant::now();
        let answer = router.call(request).await.expect("an answer");
        let status = answer.status();
        let body = to_bytes(answer.into_body(), usize::MAX).await.expect("a body");
        let took = began.elapsed();
        assert!(status.is_success(), "{address}: {status} {}", String::from_utf8_lossy(&body));
        bytes = body.len();
        // The first warms the caches.
        if round > 0 {
            times.push(took.as_secs_f64() * 1e3);
        }
    }
    times.sort_by(f64::total_cmp);
    Spread { median: times[ROUNDS / 2], low: times[0], high: times[ROUNDS - 1], bytes }
}

fn print(sizes: &[usize], table: &[(String, Vec<Spread>)]) {
    print!("\n{:32}", "median ms (lowest to highest)");
    for size in sizes {
        print!(" {size:>10} sessions        ");
    }
    println!(" grows   KB");
    let mut slow = Vec::new();
    for (name, spreads) in table {
        print!("{name:32}");
        for s in spreads {
            print!(" {:>8.1} ({:>6.1} to {:>6.1})", s.median, s.low, s.high);
        }
        let (Some(first), Some(last)) = (spreads.first(), spreads.last()) else { continue };
        println!("  ×{:<5.1} {:>4}", last.median / first.median, last.bytes / 1000);
        if last.high > LIMIT.as_secs_f64() * 1e3 {
            slow.push(name);
        }
    }
    match slow.as_slice() {
        [] => println!("\nEvery answer stayed below {} ms.", LIMIT.as_millis()),
        slow => println!("\nOver {} ms at least once: {slow:?}", LIMIT.as_millis()),
    }
}

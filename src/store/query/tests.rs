//! Hostile and awkward queries, and generated ones, on both engines: nothing of anybody else ever comes out.

use std::path::Path;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::store::db::sql_owned;

#[path = "../../../tests/chat/history.rs"]
mod history;
#[path = "../../../tests/common/postgres.rs"]
#[allow(dead_code, unreachable_pub)]
mod postgres_server;

use history::OTHERS;

/// For the server's module, which waits like the tests it is shared with.
fn wait_until<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = std::time::Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < limit, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// See [`wait_until`]; Debian keeps Postgres out of the search path anyway.
fn find_program(_: &str) -> Option<std::path::PathBuf> {
    None
}

/// A new database of a server that ends with the tests.
async fn database() -> String {
    tokio::task::spawn_blocking(|| postgres_server::shared().database()).await.unwrap()
}

/// Small limits, so that what is contained is contained soon.
const LIMITS: Limits = Limits { rows: 50, cell: 100, bytes: 20_000, time: Duration::from_millis(400) };

async fn filled(store: Store, with_others: bool) -> Store {
    for statement in history::inserts(with_others) {
        sql_owned(statement.clone())
            .execute(store.writer())
            .await
            .unwrap_or_else(|e| panic!("{statement}: {e}"));
    }
    store
}

async fn sqlite(folder: &Path, with_others: bool) -> Store {
    let name = format!("{with_others}.db");
    filled(Store::open(&folder.join(name)).await.unwrap(), with_others).await
}

struct Case {
    verdict: String,
    sql: String,
}

/// The queries for an engine.
fn cases(dialect: Dialect) -> Vec<Case> {
    let engine = if dialect == Dialect::Sqlite { "sqlite" } else { "postgres" };
    include_str!("../../../tests/chat/hostile.txt")
        .lines()
        .filter(|line| !(line.starts_with('#') || line.trim().is_empty()))
        .filter_map(|line| {
            let mut parts = line.splitn(3, '|');
            let mut part = || parts.next().unwrap_or_else(|| panic!("three parts: {line}")).trim().to_owned();
            let (verdict, on, sql) = (part(), part(), part());
            assert!(["both", "sqlite", "postgres"].contains(&on.as_str()), "{line}");
            (on == "both" || on == engine).then_some(Case { verdict, sql })
        })
        .collect()
}

fn assert_own(sql: &str, rows: &Rows) {
    let all = serde_json::to_string(rows).unwrap();
    assert!(!all.contains(OTHERS), "{sql}\nshows another's rows: {all}");
    assert!(rows.rows.len() <= LIMITS.rows && rows.bytes <= LIMITS.bytes, "{sql}: {} rows", rows.rows.len());
}

/// Everything that is kept, in one number for each table: nothing has been written.
async fn counts(store: &Store) -> Vec<i64> {
    let mut all = Vec::new();
    for table in ["users", "sessions", "windows", "notes", "advice", "plans", "tokens", "chats"] {
        all.push(sql_owned(format!("SELECT COUNT(*) FROM {table}")).scalar(store.reader()).await.unwrap());
    }
    all.push(sql("SELECT CAST(SUM(overall) AS BIGINT) FROM sessions").scalar(store.reader()).await.unwrap());
    all
}

async fn every_hostile_query_is_refused_or_contained(store: &Store) {
    let before = counts(store).await;
    let mut wrong = Vec::new();
    let cases = cases(store.dialect());
    assert!(cases.len() >= 150, "{} queries", cases.len());
    for Case { verdict, sql } in &cases {
        let answer = store.ask("ann", sql, LIMITS).await;
        let as_told = match (verdict.as_str(), &answer) {
            ("refused", Err(QueryError::Refused(_))) | ("answered" | "contained", Ok(_)) => true,
            ("contained", Err(e)) => !matches!(e, QueryError::Unavailable(_)),
            _ => false,
        };
        if !as_told {
            wrong.push(format!("{verdict}: {sql}\n    {answer:?}"));
        }
        if let Ok(rows) = &answer {
            assert_own(sql, rows);
        }
        if let Err(error) = &answer {
            assert!(!error.to_string().contains(OTHERS), "{sql}: {error}");
        }
        // Past the guard.
        match store.ask_checked("ann", sql, LIMITS).await {
            Ok(rows) => assert_own(sql, &rows),
            Err(error) => {
                let said = error.to_string();
                assert!(
                    !said.contains(OTHERS) && !matches!(error, QueryError::Unavailable(_)),
                    "{sql}: {said}"
                );
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(counts(store).await, before, "nothing was written");
}

#[tokio::test]
async fn hostile_queries_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    every_hostile_query_is_refused_or_contained(&sqlite(folder.path(), true).await).await;
}

async fn value(store: &Store, user: &str, query: &str) -> String {
    let rows = store.ask(user, query, LIMITS).await.unwrap_or_else(|e| panic!("{query}: {e}"));
    rows.rows
        .iter()
        .map(|r| r.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join("; ")
}

async fn the_views_show_what_is_kept(store: &Store) {
    for (query, expected) in [
        ("SELECT COUNT(*), ROUND(AVG(overall_score), 1) FROM sessions", "8 78.8"),
        ("SELECT scale, bpm, minutes, notes FROM sessions WHERE recency = 1", "A minor pentatonic 100 20 6"),
        ("SELECT days_ago FROM sessions ORDER BY recency DESC LIMIT 2", "20; 15"),
        ("SELECT cents_off, timing_spread_ms, tendency FROM sessions WHERE recency = 2", "16.5 30 rushing"),
        ("SELECT COUNT(*) FROM sessions WHERE days_ago < 7", "5"),
        (
            "SELECT scale, sessions, minutes, last_days_ago FROM scales ORDER BY minutes DESC",
            "A minor pentatonic 5 70 0; E blues 2 32 6; C major 1 18 2",
        ),
        ("SELECT COUNT(*), SUM(minutes) FROM days", "8 120"),
        (
            "SELECT note, octave, COUNT(*), AVG(cents) FROM notes WHERE is_right = 0 GROUP BY note, octave ORDER BY note",
            "D 4 8 22; E 4 8 3; F# 4 8 5",
        ),
        (
            "SELECT mistake, COUNT(*) FROM notes WHERE mistake IS NOT NULL GROUP BY mistake ORDER BY mistake",
            "pitch 8; scale 8; timing 8",
        ),
        ("SELECT COUNT(*) FROM windows", "24"),
        ("SELECT DISTINCT words FROM advice", "Relax the picking hand."),
        ("SELECT status, focus, days_ago FROM plans", "done timing 3"),
        ("SELECT day FROM sessions WHERE weekday NOT IN ('Mon','Tue','Wed','Thu','Fri','Sat','Sun')", ""),
        ("SELECT COUNT(DISTINCT week) FROM sessions WHERE week <= day AND substr(day, 1, 7) = month", ""),
    ] {
        let found = value(store, "ann", query).await;
        if expected.is_empty() {
            assert!(!found.contains('Z'), "{query}: {found}");
        } else {
            assert_eq!(found, expected, "{query}");
        }
    }
    for query in standing::ALL {
        assert!(!value(store, "ann", query).await.is_empty(), "{query}");
    }
    let bob = format!("{OTHERS}bob");
    assert_eq!(value(store, &bob, "SELECT COUNT(*) FROM sessions").await, "5");
    let eve = format!("{OTHERS}eve' OR '1'='1");
    assert_eq!(value(store, &eve, "SELECT COUNT(*) FROM notes").await, "6");
    assert_eq!(value(store, "nobody", "SELECT COUNT(*) FROM sessions").await, "0");
    let cut = store.ask("ann", "SELECT * FROM notes", Limits { rows: 5, ..LIMITS }).await.unwrap();
    assert!(cut.more && cut.rows.len() == 5 && cut.columns.len() == 13, "{cut:?}");
    let long = "SELECT 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' AS x";
    assert!(value(store, "ann", long).await.chars().count() <= LIMITS.cell + 1);
}

#[tokio::test]
async fn views_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    the_views_show_what_is_kept(&sqlite(folder.path(), true).await).await;
    let memory = Store::memory().await.unwrap();
    assert!(matches!(memory.ask("ann", "SELECT 1", LIMITS).await, Err(QueryError::Unavailable(_))));
}

/// Queries made of everything that is allowed. All answers are whole (no LIMIT), so that they can be compared as sets.
fn queries() -> impl Strategy<Value = String> {
    let table = prop::sample::select(views::VIEWS.to_vec());
    table.prop_flat_map(|view| {
        let all: Vec<views::Column> = view.columns.to_vec();
        let numbers: Vec<&str> = all.iter().filter(|c| c.kind != "TEXT").map(|c| c.name).collect();
        let texts: Vec<&str> = all.iter().filter(|c| c.kind == "TEXT").map(|c| c.name).collect();
        let column = prop::sample::select(all.iter().map(|c| c.name).collect::<Vec<_>>());
        let number = prop::sample::select(numbers);
        let text = prop::sample::select(texts);
        let value = prop_oneof![
            number.clone().prop_map(str::to_owned),
            (number.clone(), -5_i64..100).prop_map(|(n, k)| format!("({n} + {k}) * 2")),
            number.clone().prop_map(|n| format!("COALESCE({n}, -1)")),
            (number.clone(), -5_i64..100).prop_map(|(n, k)| format!("CASE WHEN {n} > {k} THEN 1 ELSE 0 END")),
            (number.clone(), -5_i64..100).prop_map(|(n, k)| format!("1.0 / NULLIF({n} - {k}, 0)")),
            number.clone().prop_map(|n| format!("ABS({n})")),
        ];
        let condition = prop_oneof![
            (number.clone(), -5_i64..100).prop_map(|(n, k)| format!("{n} > {k}")),
            (number.clone(), -5_i64..100).prop_map(|(n, k)| format!("1.0 / NULLIF({n} - {k}, 0) < 0.5")),
            number.clone().prop_map(|n| format!("{n} IS NOT NULL")),
            text.clone().prop_map(|t| format!("{t} LIKE '%i%'")),
            text.clone().prop_map(|t| format!("LENGTH({t}) > 5")),
            text.clone().prop_map(|t| format!("{t} NOT IN ('x', 'E blues')")),
            (number.clone(), 0_i64..90).prop_map(move |(n, k)| format!(
                "{n} >= (SELECT MIN({n}) + {k} FROM {})",
                view.name
            )),
        ];
        let conditions = prop::collection::vec(condition, 0..3).prop_map(|all| {
            if all.is_empty() { String::new() } else { format!(" WHERE {}", all.join(" AND ")) }
        });
        let name = view.name;
        prop_oneof![
            (prop::collection::vec(column, 1..4), conditions.clone())
                .prop_map(move |(c, w)| format!("SELECT {} FROM {name}{w}", c.join(", "))),
            (value.clone(), conditions.clone(), prop::sample::select(vec!["SUM", "AVG", "MIN", "MAX", "COUNT"]))
                .prop_map(move |(v, w, f)| format!("SELECT {f}({v}), COUNT(*) FROM {name}{w}")),
            (text.clone(), value.clone(), conditions.clone())
                .prop_map(move |(t, v, w)| format!("SELECT {t}, COUNT(*), MAX({v}) FROM {name}{w} GROUP BY {t} HAVING COUNT(*) > 0")),
            (text.clone(), value.clone(), conditions.clone()).prop_map(move |(t, v, w)| format!(
                "WITH a AS (SELECT {t} AS t, {v} AS v FROM {name}{w}) SELECT t, v, RANK() OVER (ORDER BY v DESC) FROM a"
            )),
            (value.clone(), conditions.clone()).prop_map(move |(v, w)| format!(
                "SELECT {v} AS v FROM {name}{w} UNION SELECT overall_score FROM sessions"
            )),
            (text, conditions).prop_map(move |(t, w)| format!(
                "SELECT x.{t}, COUNT(*) FROM (SELECT * FROM {name}{w}) x LEFT JOIN sessions s ON s.day <= x.{t} GROUP BY x.{t}"
            )),
        ]
    })
}

/// An answer as a set of rows, reals to nine digits: sums may be taken in another order. A failure as it was told.
fn told(answer: &Result<Rows, QueryError>) -> Vec<String> {
    match answer {
        Ok(rows) => {
            let cell = |c: &Cell| match c {
                Cell::Real(x) => format!("{x:.9e}"),
                other => format!("{other:?}"),
            };
            let mut all: Vec<String> =
                rows.rows.iter().map(|r| r.iter().map(cell).collect::<Vec<_>>().join(", ")).collect();
            all.sort();
            all
        }
        Err(error) => vec![error.to_string()],
    }
}

async fn others_make_no_difference(alone: &Store, among: &Store, count: u32) {
    // Large enough for every row: a cut would fall elsewhere.
    let limits = Limits { rows: 1000, cell: 100, bytes: 1_000_000, time: Duration::from_secs(20) };
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        prop::test_runner::TestRng::deterministic_rng(prop::test_runner::RngAlgorithm::ChaCha),
    );
    let mut answered = 0;
    for _ in 0..count {
        let query = queries().new_tree(&mut runner).unwrap().current();
        let one = alone.ask("ann", &query, limits).await;
        let other = among.ask("ann", &query, limits).await;
        assert_eq!(told(&one), told(&other), "{query}");
        assert!(!matches!(one, Err(QueryError::Refused(_) | QueryError::Unavailable(_))), "{query}: {one:?}");
        answered += u32::from(one.is_ok_and(|rows| !rows.rows.is_empty()));
    }
    assert!(answered * 2 > count, "most queries say something: {answered} of {count}");
}

#[tokio::test]
async fn others_make_no_difference_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let (alone, among) = (sqlite(folder.path(), false).await, sqlite(folder.path(), true).await);
    others_make_no_difference(&alone, &among, 250).await;
}

#[tokio::test]
async fn the_same_on_postgres() {
    let alone = filled(Store::connect(&database().await).await.unwrap(), false).await;
    let among = filled(Store::connect(&database().await).await.unwrap(), true).await;
    the_views_show_what_is_kept(&among).await;
    every_hostile_query_is_refused_or_contained(&among).await;
    others_make_no_difference(&alone, &among, 100).await;
}

//! The Hub in a real browser, served by the real daemon in which the virtual guitarist plays: every page at desktop and
//! phone size, light and dark; nothing on the console, nothing sticking out, everything by keyboard and with a name;
//! and a session steered from the live page. Pictures of all of it lie in `target/screenshots`.

#[path = "common/browser.rs"]
mod browser;
mod common;

use std::time::Duration;

use browser::{Browser, DESKTOP, PHONE};
use common::process::{Program, Running};
use fretcoach::config::Config;
use fretcoach::hub::link::{Joint, LiveAdvice, LiveEvent, LiveNote, LiveView, Phase, Setup, joint};
use fretcoach::hub::{Hub, Parts};
use fretcoach::practice::types::Metric;
use fretcoach::store::Store;
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// Longest wait for the daemon; it only ends a test that hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon in which the virtual guitarist plays; its Hub has a port of its own.
struct Daemon {
    _running: Running,
    /// Its home and data folder.
    _program: Program,
    url: String,
}

impl Daemon {
    fn start() -> Self {
        let program = Program::fretcoach().env("FRETCOACH_HUB_PORT", "0");
        let mut running = program.spawn(&[
            "practice",
            "--plain",
            "--input",
            "demo",
            "--output",
            "none",
            "--no-speech",
            "--scale",
            "A minor pentatonic",
            "--bpm",
            "100",
            "--coach-every",
            "5s",
        ]);
        let said = running.wait_for("Hub: http://", PATIENCE);
        let url = said.split("Hub: ").nth(1).and_then(|rest| rest.split_whitespace().next());
        let url = url.expect("the address follows").to_owned();
        Self { _running: running, _program: program, url }
    }

    fn page(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }
}

/// Every page, with the name of its pictures.
const PAGES: [(&str, &str); 13] = [
    ("live", "/"),
    ("tuner", "/tuner"),
    ("history", "/history"),
    ("session", "/history/latest"),
    ("trends", "/history/trends"),
    ("compare", "/history/compare?sessions=latest"),
    ("plan", "/plan"),
    ("chat", "/chat"),
    ("thread", "/chat/{thread}"),
    ("graph", "/chat/graph"),
    ("users", "/users"),
    ("api", "/api"),
    ("missing", "/nowhere"),
];

/// A page has settled: it is loaded, the live feed has come, the charts are drawn.
const SETTLED: &str = "return document.readyState === 'complete' \
    && document.getElementById('phase')?.textContent !== 'connecting' \
    && [...document.querySelectorAll('[data-chart]')].every(c => c.dataset.chart === 'drawn')";

#[tokio::test]
async fn every_page_is_fit_to_be_seen() {
    let daemon = Daemon::start();
    let browser = Browser::start().await;
    browser.look(DESKTOP).await;
    browser.open(&daemon.page("/")).await;
    browser.until("notes to be judged", "return document.querySelectorAll('#recent li').length >= 5").await;
    browser.until("advice", "return document.getElementById('advice-source').textContent !== ''").await;
    // Something to look at on the other pages: a session that is over, a plan, an answer.
    browser.run(&fetch("/api/control", r#"{"do":"stop"}"#)).await;
    browser.until("the end of the first session", &phase("ready")).await;
    browser.run(&fetch("/api/plans", r#"{"ask":"today"}"#)).await;
    let thread = browser.run(&fetch("/api/chats", r#"{"question":"what should I practise next?"}"#)).await;
    browser.run(&fetch("/api/control", r#"{"do":"start"}"#)).await;
    browser.until("the second session", &phase("playing")).await;
    let first = browser
        .run("return document.querySelector('#ended a')?.getAttribute('href') ?? '/history/latest'")
        .await;
    let mut faults = Vec::new();
    for look in [DESKTOP, PHONE] {
        browser.look(look).await;
        for (name, path) in PAGES {
            let path = path
                .replace("/history/latest", first.as_str().expect("a path"))
                .replace("{thread}", thread["chat"].as_str().expect("the answer names its thread"));
            browser.prefer("light", false).await;
            browser.open(&daemon.page(&path)).await;
            browser.until(&format!("{path} to settle"), SETTLED).await;
            // A live page is worth a picture when it has something on it.
            if matches!(name, "live" | "tuner") {
                let lit = "return !document.querySelector('.needle')?.dataset.state?.startsWith('s')";
                browser.until("a note", lit).await;
            }
            browser.picture(&format!("{name}-{}-light", look.name)).await;
            browser.prefer("dark", false).await;
            browser.until("the charts in the dark", SETTLED).await;
            browser.picture(&format!("{name}-{}-dark", look.name)).await;
            let place = format!("{name} on a {}", look.name);
            let wider = browser.overflow().await;
            if wider > 0 {
                faults.push(format!("{place}: {wider} px too wide:\n{}", browser.sticking_out().await));
            }
            let complaints = browser.complaints().await.into_iter();
            // The browser itself logs the status of a page that is an error.
            let said = complaints.filter(|c| !(name == "missing" && c.contains("404")));
            faults.extend(said.map(|c| format!("{place}: {c}")));
            if look == DESKTOP {
                faults.extend(browser.out_of_reach().await.into_iter().map(|f| format!("{place}: {f}")));
            }
            let headings = browser.run("return document.querySelectorAll('h1').length").await;
            if headings != json!(1) {
                faults.push(format!("{place}: {headings} headings of the first order"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    browser.close().await;
}

/// A script that posts JSON and returns the answer's.
fn fetch(path: &str, body: &str) -> String {
    format!(
        "return fetch('{path}', {{ method: 'POST', headers: {{ 'content-type': 'application/json' }}, body: '{body}' }})\
         .then(answer => answer.text()).then(text => text ? JSON.parse(text) : null)"
    )
}

/// What `phase` says on the live page.
fn phase(word: &str) -> String {
    format!("return document.getElementById('phase').textContent === '{word}'")
}

#[tokio::test]
async fn a_session_is_steered_from_the_live_page() {
    let daemon = Daemon::start();
    let browser = Browser::start().await;
    browser.look(DESKTOP).await;
    browser.prefer("light", true).await;
    browser.open(&daemon.page("/")).await;
    browser.until("the session to run", &phase("playing")).await;
    browser.run("document.getElementById('pause').click()").await;
    browser.until("the pause", &phase("paused")).await;
    browser.run("document.activeElement.blur()").await;
    browser.press(" ").await;
    browser.until("the session to go on", &phase("playing")).await;
    browser.press("m").await;
    let muted = "return document.getElementById('mute').getAttribute('aria-pressed') === 'true'";
    browser.until("silence", muted).await;
    browser.press("q").await;
    browser.until("the end", &phase("ready")).await;
    browser.until("a link to the session", "return document.querySelector('#ended a') !== null").await;

    browser.run("document.getElementById('setup-card').open = true").await;
    browser
        .run(
            "const f = document.getElementById('setup').elements; f.root.value = 'E'; f.kind.value = 'blues'; f.bpm.value = 90;\
             f.left_handed.checked = true; f.strictness.value = 0.8; document.getElementById('setup').requestSubmit()",
        )
        .await;
    browser
        .until(
            "it to be kept",
            "return document.getElementById('setup-said').textContent.startsWith('Saved')",
        )
        .await;
    browser.open(&daemon.page("/")).await;
    browser.until("the page", &phase("ready")).await;
    let kept = "const f = document.getElementById('setup').elements;\
                return [f.root.value, f.kind.value, f.bpm.value, f.left_handed.checked, f.strictness.value].join()";
    assert_eq!(browser.run(kept).await, json!("E,blues,90,true,0.8"));

    browser.press(" ").await;
    browser.until("the next session", &phase("playing")).await;
    let title = browser.run("return document.getElementById('title').textContent").await;
    assert_eq!(title, json!("E blues · 90 bpm"));
    let wrong = "const f = document.getElementById('setup').elements; f.tuning.value = 'nonsense';\
                 document.getElementById('setup').requestSubmit()";
    browser.run(wrong).await;
    let told = "return document.getElementById('setup-said').textContent.includes('nonsense')";
    browser.until("what is wrong with the tuning", told).await;
    // The refusal is in the console too, as every answer that is an error.
    let complaints = browser.complaints().await;
    assert!(complaints.iter().all(|c| c.contains("422")), "{complaints:?}");
    browser.close().await;
}

/// A Hub of this process, with the daemon's end of the joint in the test's hands.
async fn own_hub(first: LiveView) -> (Joint, String, CancellationToken) {
    let (joint, link) = joint(first);
    let store = Store::memory().await.expect("a store in memory");
    let hub = Hub::new(Parts { config: Config::default(), store, link: Some(link) });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let stop = CancellationToken::new();
    tokio::spawn(hub.serve(listener, stop.clone()));
    (joint, url, stop)
}

fn playing() -> LiveView {
    LiveView {
        phase: Phase::Playing,
        user: "default".into(),
        setup: Setup::of(&Config::default()),
        strings: vec![40, 45, 50, 55, 59, 64],
        metrics: Metric::ALL.to_vec(),
        ..LiveView::default()
    }
}

/// Markup that would run if any text of the feed became part of the page.
const MARKUP: &str = "<img src=x onerror=\"window.hacked=1\"><script>window.hacked=1</script>";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_are_never_markup_and_the_feed_is_prompt() {
    let text = || MARKUP.to_owned();
    let note = LiveNote { name: text(), midi: 57, f0: 220.0, cents: 3.0, provisional: false };
    let advice = LiveAdvice { text: text(), source: text(), speaking: true, at: 1.0 };
    let (joint, url, stop) = own_hub(LiveView {
        scale_name: Some(text()),
        device: text(),
        device_trouble: Some(text()),
        voice: text(),
        message: Some(text()),
        note: Some(note),
        advice: Some(advice.clone()),
        setup: Setup { tuning: text(), ..Setup::of(&Config::default()) },
        ..playing()
    })
    .await;
    let browser = Browser::start().await;
    browser.open(&format!("{url}/")).await;
    browser.until("the view", "return document.getElementById('trouble').textContent.includes('<img')").await;
    let judged = LiveEvent::Note {
        onset: 1.0,
        midi: Some(57),
        name: text(),
        cents: None,
        right: Some(false),
        in_scale: None,
        deviation_ms: Some(-5.0),
        reason: Some(text()),
    };
    joint.events.send(judged).expect("the page listens");
    joint.events.send(LiveEvent::Advice(advice)).expect("the page listens");
    joint.events.send(LiveEvent::Ended { session: text() }).expect("the page listens");
    browser.until("the event", "return document.querySelector('#ended a') !== null").await;
    let harmed = "return [window.hacked ?? 0, document.querySelectorAll('img, main script').length].join()";
    assert_eq!(browser.run(harmed).await, json!("0,0"));
    assert_eq!(browser.complaints().await, Vec::<String>::new());

    // How far behind the page is: the clock of the daemon's side is sent as the session's time.
    browser
        .run(
            "window.late = []; const s = new EventSource('/api/live/events');\
             for (const name of ['view', 'tick']) s.addEventListener(name, m => window.late.push(Date.now() - JSON.parse(m.data).elapsed))",
        )
        .await;
    browser.until("the second stream", "return window.late.length > 0").await;
    for _ in 0..100 {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs_f64() * 1000.0;
        joint.view.send_modify(|v| v.elapsed = now);
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let late = browser.run("return window.late.slice(1).sort((a, b) => a - b)").await;
    let late: Vec<f64> =
        late.as_array().expect("a list").iter().filter_map(serde_json::Value::as_f64).collect();
    assert!(late.len() >= 50, "only {} pictures of 100 came", late.len());
    println!(
        "the page is behind the daemon by {:.1} ms (median), {:.1} ms (95th of 100)",
        late[late.len() / 2],
        late[late.len() * 95 / 100]
    );
    browser.close().await;
    stop.cancel();
}

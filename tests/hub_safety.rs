//! Who may talk to the Hub, asked over a bare socket: no library is polite on the attacker's behalf.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use fretcoach::config::{self, Config};
use fretcoach::hub::door::Peer;
use fretcoach::hub::guard::{LARGEST_BODY, POLICY};
use fretcoach::hub::link::{Control, Joint, LiveView, Phase, Setup, joint};
use fretcoach::hub::{Hub, Parts};
use fretcoach::store::{AdviceId, AdviceKind, AdviceRow, Batch, NewSession, SessionId, Store};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tower_service::Service;

/// A Hub that is served, and the daemon's end of its joint.
struct Served {
    at: SocketAddr,
    store: Store,
    joint: Joint,
    _stop: tokio_util::sync::DropGuard,
}

/// An answer, taken apart.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    /// A header's value; empty: it is not there.
    fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find(|l| l.to_ascii_lowercase().starts_with(&format!("{name}:")));
        line.and_then(|l| l.split_once(": ")).map_or("", |(_, value)| value.trim())
    }
}

async fn serve(hub: config::Hub) -> Served {
    let store = Store::memory().await.expect("a store in memory");
    store.add_user("default").await.expect("the store takes it");
    let config = Config { hub, ..Config::default() };
    let first = LiveView { user: "default".into(), setup: Setup::of(&config), ..LiveView::default() };
    let (joint, link) = joint(first);
    let listener = tokio::net::TcpListener::bind((config.hub.bind, 0)).await.expect("a free port");
    let at = listener.local_addr().expect("an address");
    let stop = CancellationToken::new();
    let hub = Hub::new(Parts { config, store: store.clone(), link: Some(link) });
    tokio::spawn(hub.serve(listener, stop.clone()));
    Served { at, store, joint, _stop: stop.drop_guard() }
}

impl Served {
    /// Sends exactly `text` and reads the answer to its end.
    async fn send_to(&self, to: IpAddr, text: String) -> Answer {
        let at = SocketAddr::new(to, self.at.port());
        let raw = tokio::task::spawn_blocking(move || {
            let mut socket = TcpStream::connect(at).expect("the Hub listens");
            socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a plain number");
            // The Hub may answer, and close, before all is sent.
            let _ = socket.write_all(text.as_bytes());
            let mut raw = Vec::new();
            let _ = socket.read_to_end(&mut raw);
            String::from_utf8_lossy(&raw).into_owned()
        });
        let raw = raw.await.expect("the socket is read");
        let (head, body) = raw.split_once("\r\n\r\n").unwrap_or((&raw, ""));
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// A request with these lines of header, from this machine. `HOST` stands for the proper name.
    async fn ask(&self, line: &str, headers: &[&str], body: &str) -> Answer {
        self.send_to(IpAddr::from([127, 0, 0, 1]), self.text(line, headers, body)).await
    }

    fn text(&self, line: &str, headers: &[&str], body: &str) -> String {
        let mut text = format!("{line} HTTP/1.1\r\nConnection: close\r\n");
        for header in headers {
            text.push_str(&header.replace("HOST", &format!("127.0.0.1:{}", self.at.port())));
            text.push_str("\r\n");
        }
        if !body.is_empty() {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        format!("{text}\r\n{body}")
    }
}

/// What the Hub must say beside every answer.
fn assert_guarded(answer: &Answer, what: &str) {
    for (name, value) in [
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(answer.header(name), value, "{name} of {what}: {}", answer.head);
    }
    assert_eq!(answer.header("access-control-allow-origin"), "", "{what}");
    assert!(!answer.header("cache-control").is_empty(), "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_elsewhere_do_not_reach_the_hub() {
    let mut hub = serve(config::Hub::default()).await;
    let port = hub.at.port();
    let json = "Content-Type: application/json";
    let wish = r#"{"do":"ask_now"}"#;
    let post = "POST /api/control";
    let rebound = format!("Host: rebind.evil.example:{port}");
    let digits = format!("Host: 127.0.0.1.nip.io:{port}");
    let own = format!("Origin: http://127.0.0.1:{port}");
    let other_port = "Origin: http://127.0.0.1:1";
    for (line, headers, body, status) in [
        // DNS rebinding: the page's own name leads to this machine.
        ("GET /", vec![rebound.as_str()], "", 421),
        ("GET /api/live", vec![&digits], "", 421),
        ("GET /", vec!["Host: HOST", "Host: HOST"], "", 421),
        ("GET http://evil.example/", vec!["Host: HOST"], "", 421),
        ("GET /", vec![], "", 421),
        // A page elsewhere that asks, streams, sends a form, or embeds.
        ("GET /api/live", vec!["Host: HOST", "Origin: http://evil.example"], "", 403),
        ("GET /api/live/events", vec!["Host: HOST", "Sec-Fetch-Site: cross-site"], "", 403),
        ("GET /api/live/events", vec!["Host: HOST", "Sec-Fetch-Site: same-site"], "", 403),
        (
            "GET /",
            vec![
                "Host: HOST",
                "Sec-Fetch-Site: cross-site",
                "Sec-Fetch-Mode: navigate",
                "Sec-Fetch-Dest: iframe",
            ],
            "",
            403,
        ),
        (
            "GET /assets/live.js",
            vec![
                "Host: HOST",
                "Sec-Fetch-Site: cross-site",
                "Sec-Fetch-Mode: no-cors",
                "Sec-Fetch-Dest: script",
            ],
            "",
            403,
        ),
        (
            "OPTIONS /api/control",
            vec!["Host: HOST", "Origin: http://evil.example", "Access-Control-Request-Method: POST"],
            "",
            403,
        ),
        (post, vec!["Host: HOST", "Origin: http://evil.example", json], wish, 403),
        (post, vec!["Host: HOST", "Origin: null", json], wish, 403),
        (post, vec!["Host: HOST", other_port, json], wish, 403),
        (
            post,
            vec![
                "Host: HOST",
                "Sec-Fetch-Site: cross-site",
                "Sec-Fetch-Mode: navigate",
                "Sec-Fetch-Dest: document",
                json,
            ],
            wish,
            403,
        ),
        (
            "POST /users",
            vec![
                "Host: HOST",
                "Origin: https://evil.example",
                "Content-Type: application/x-www-form-urlencoded",
            ],
            "name=default",
            403,
        ),
        // A form can send text that looks like JSON, but not with its type.
        (post, vec!["Host: HOST", "Content-Type: text/plain"], wish, 415),
        (post, vec!["Host: HOST", "Content-Type: application/x-www-form-urlencoded"], wish, 415),
    ] {
        let answer = hub.ask(line, &headers, body).await;
        assert_eq!(answer.status, status, "{line} {headers:?}: {answer:?}");
        assert_guarded(&answer, line);
    }
    assert!(hub.joint.control.try_recv().is_err(), "none of it reached the daemon");
    // The Hub's own page does reach it, and so does a link from elsewhere to a page.
    let answer = hub.ask(post, &["Host: HOST", &own, "Sec-Fetch-Site: same-origin", json], wish).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(hub.joint.control.try_recv(), Ok(Control::AskNow));
    let link =
        ["Host: HOST", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"];
    assert_eq!(hub.ask("GET /history", &link, "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_guarded_and_errors_suit_who_asked() {
    let hub = serve(config::Hub::default()).await;
    for (line, accept, status, kind) in [
        ("GET /", "text/html", 200, "text/html"),
        ("GET /assets/style.css", "*/*", 200, "text/css"),
        ("GET /nowhere", "text/html,*/*", 404, "text/html"),
        ("GET /nowhere", "*/*", 404, "application/json"),
        ("GET /api/nowhere", "text/html", 404, "application/json"),
        ("DELETE /tuner", "text/html", 405, "text/html"),
        ("PATCH /api/settings", "text/html", 405, "application/json"),
    ] {
        let answer = hub.ask(line, &["Host: HOST", &format!("Accept: {accept}")], "").await;
        assert_eq!(answer.status, status, "{line}: {answer:?}");
        assert!(answer.header("content-type").starts_with(kind), "{line}: {answer:?}");
        assert_guarded(&answer, line);
    }
    let json = ["Host: HOST", "Content-Type: application/json"];
    let huge = format!(r#"{{"scale":"{}"}}"#, "x".repeat(LARGEST_BODY));
    let answer = hub.ask("PUT /api/settings", &json, &huge).await;
    assert_eq!(answer.status, 413, "{answer:?}");
    for broken in ["{", r#"{"do":"fly"}"#, r#"{"do":"start","user":"mallory"}"#] {
        let answer = hub.ask("POST /api/control", &json, broken).await;
        assert!(
            (400..500).contains(&answer.status) && answer.body.contains("\"error\""),
            "{broken}: {answer:?}"
        );
    }
}

/// An address of this machine that is not loopback, if it has one.
fn elsewhere() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: the system only chooses the address that it would send from.
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|a| a.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

/// The status of a request as it would come from `peer`, through the same guard without a socket.
async fn status_from(hub: &Hub, at: SocketAddr, peer: [u8; 4], path: &str, headers: &[(&str, &str)]) -> u16 {
    let mut request =
        Request::builder().uri(path).extension(ConnectInfo(Peer(SocketAddr::from((peer, 50_000)))));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).expect("a request");
    hub.guarded(at).call(request).await.expect("the router answers").status().as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_elsewhere_a_token_is_needed_and_decides() {
    let store = Store::memory().await.expect("a store in memory");
    for name in ["default", "anna"] {
        store.add_user(name).await.expect("the store takes it");
    }
    let token = store.new_token("anna").await.expect("anna is known");
    let hub = Hub::new(Parts { config: Config::default(), store: store.clone(), link: None });
    let at = SocketAddr::from(([0, 0, 0, 0], 8440));
    let host = ("host", "192.168.1.5:8440");
    let bearer = format!("Bearer {token}");
    let cookie = format!("fretcoach_token={token}");
    let page = ("accept", "text/html");
    for (path, more, status) in [
        ("/api/users", vec![], 401),
        ("/api/users", vec![("authorization", "Bearer nonsense")], 401),
        ("/api/users", vec![("authorization", "Basic YTpi")], 401),
        ("/api/users", vec![("authorization", bearer.as_str())], 200),
        ("/api/users", vec![("cookie", &cookie)], 200),
        // The switcher's cookie, forged headers and loopback's name open nothing.
        ("/api/users", vec![("cookie", "fretcoach_user=ZGVmYXVsdA")], 401),
        ("/api/users", vec![("x-forwarded-for", "127.0.0.1")], 401),
        ("/api/users", vec![("x-real-ip", "127.0.0.1"), ("forwarded", "for=127.0.0.1")], 401),
        ("/assets/live.js", vec![], 401),
        ("/assets/style.css", vec![], 200),
        ("/login", vec![page], 200),
        // Browsers are shown the way.
        ("/history", vec![page], 303),
        ("/history", vec![page, ("cookie", &cookie)], 200),
    ] {
        let mut headers = vec![host];
        headers.extend(more.clone());
        assert_eq!(status_from(&hub, at, [192, 168, 1, 9], path, &headers).await, status, "{path} {more:?}");
    }
    let local = [("host", "127.0.0.1:8440"), ("x-forwarded-for", "203.0.113.9")];
    assert_eq!(
        status_from(&hub, at, [127, 0, 0, 1], "/api/users", &local).await,
        401,
        "a proxy passed it on"
    );

    // A wrong token here does not fall back on being here.
    let wrong = [("host", "127.0.0.1:8440"), ("authorization", "Bearer nonsense")];
    assert_eq!(status_from(&hub, at, [127, 0, 0, 1], "/api/users", &wrong).await, 401);
    store.revoke_token("anna").await.expect("anna is known");
    let revoked = [host, ("cookie", cookie.as_str())];
    assert_eq!(status_from(&hub, at, [192, 168, 1, 9], "/api/users", &revoked).await, 401);
}

/// The same over a real socket, where this machine has an address for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_address_of_the_other_end_decides_and_nothing_it_says() {
    let Some(address) = elsewhere() else {
        // Machines without any network: the test above asks the same guard without a socket.
        return;
    };
    let any = config::Hub { bind: IpAddr::from([0, 0, 0, 0]), ..config::Hub::default() };
    let hub = serve(any).await;
    hub.store.add_user("anna").await.expect("the store takes it");
    let token = hub.store.new_token("anna").await.expect("anna is known");
    let host = format!("Host: {address}:{}", hub.at.port());
    let ask = async |headers: &[&str]| hub.send_to(address, hub.text("GET /api/users", headers, "")).await;
    let answer = ask(&[&host]).await;
    assert_eq!((answer.status, answer.header("www-authenticate")), (401, "Bearer"), "{answer:?}");
    assert_guarded(&answer, "a refusal");
    assert_eq!(ask(&["Host: HOST", "X-Forwarded-For: 127.0.0.1"]).await.status, 401);
    let answer = ask(&[&host, &format!("Authorization: Bearer {token}")]).await;
    assert!(answer.status == 200 && answer.body.contains("\"current\":\"anna\""), "{answer:?}");
    assert!(!answer.body.contains("default"), "others are not named: {answer:?}");

    // Logging in: the token becomes a cookie that neither scripts nor other sites get.
    let form = format!("token={token}");
    let kind = "Content-Type: application/x-www-form-urlencoded";
    let login = hub.send_to(address, hub.text("POST /login", &[&host, kind], &form)).await;
    let cookie = login.header("set-cookie").to_owned();
    assert_eq!(login.status, 303, "{login:?}");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let sent = format!("Cookie: {}", cookie.split(';').next().unwrap_or_default());
    assert_eq!(ask(&[&host, &sent]).await.status, 200);
    let foreign = hub
        .send_to(address, hub.text("POST /login", &[&host, kind, "Origin: http://evil.example"], &form))
        .await;
    assert_eq!(foreign.status, 403, "nobody logs somebody else in");

    // Players are added, and tokens made, at the machine alone.
    let bearer = format!("Authorization: Bearer {token}");
    for path in ["/users/add", "/users/token"] {
        let request = hub.text(&format!("POST {path}"), &[&host, &bearer, kind], "name=mallory");
        assert_eq!(hub.send_to(address, request).await.status, 403, "{path}");
    }
    assert!(!hub.store.users().await.expect("it reads").contains(&"mallory".to_owned()));

    // Guessing is slowed down, then refused for a while; another address is not.
    let mut last = 0;
    for guess in 0..11 {
        last = ask(&[&host, &format!("Authorization: Bearer guess{guess}")]).await.status;
    }
    assert_eq!(last, 429);
    let here = hub.ask("GET /api/users", &["Host: HOST"], "").await;
    assert_eq!(here.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_switcher_knows_only_players_and_steers_only_their_own_sessions() {
    let mut hub = serve(config::Hub::default()).await;
    hub.store.add_user("anna").await.expect("the store takes it");
    let kind = "Content-Type: application/x-www-form-urlencoded";
    let answer = hub.ask("POST /users", &["Host: HOST", kind], "name=nobody").await;
    assert_eq!(answer.status, 404, "{answer:?}");
    let answer = hub.ask("POST /users", &["Host: HOST", kind], "name=anna").await;
    let cookie = format!("Cookie: {}", answer.header("set-cookie").split(';').next().unwrap_or_default());
    let users = hub.ask("GET /api/users", &["Host: HOST", &cookie], "").await;
    assert!(users.body.contains("\"current\":\"anna\""), "{users:?}");
    // `fretcoach_user=bm9ib2R5` is `nobody`: refused, and forgotten.
    let gone = hub.ask("GET /api/users", &["Host: HOST", "Cookie: fretcoach_user=bm9ib2R5"], "").await;
    assert!(gone.status == 403 && gone.header("set-cookie").contains("Max-Age=0"), "{gone:?}");

    // What she starts is hers, whatever the request says of it.
    let json = "Content-Type: application/json";
    let start = hub.ask("POST /api/control", &["Host: HOST", &cookie, json], r#"{"do":"start"}"#).await;
    assert_eq!(start.status, 202, "{start:?}");
    let wish = hub.joint.control.try_recv();
    assert!(matches!(&wish, Ok(Control::Start { user: Some(user), .. }) if user == "anna"), "{wish:?}");
    // While the daemon's player plays, she neither sees nor steers.
    hub.joint.view.send_modify(|v| (v.phase, v.right) = (Phase::Playing, 7));
    let stop = hub.ask("POST /api/control", &["Host: HOST", &cookie, json], r#"{"do":"stop"}"#).await;
    assert!(stop.status == 409 && hub.joint.control.try_recv().is_err(), "{stop:?}");
    let view = hub.ask("GET /api/live", &["Host: HOST", &cookie], "").await;
    assert!(view.body.contains("\"right\":0") && view.body.contains("is practising here"), "{view:?}");
}

/// Markup that would run if it became part of a page.
const MARKUP: &str = "<script>hacked()</script><img src=x onerror=hacked()>";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_of_players_and_models_are_never_markup() {
    let hub = serve(config::Hub::default()).await;
    let user = &MARKUP[..MARKUP.len().min(64)];
    hub.store.add_user(user).await.expect("the store takes it");
    let begun = NewSession {
        id: SessionId::new(),
        user: "default".into(),
        deployment: MARKUP.into(),
        mode: "manual".into(),
        scale: Some(MARKUP.into()),
        bpm: Some(90.0),
        started_at: Timestamp::now(),
        input: MARKUP.into(),
        config_json: "{}".into(),
        trace_id: None,
    };
    hub.store.start_session(&begun).await.expect("the store takes it");
    let advice = [AdviceRow {
        id: AdviceId::new(),
        kind: AdviceKind::Live,
        at: Timestamp::now(),
        at_s: 1.0,
        window_index: Some(0),
        text: MARKUP.into(),
        source: MARKUP.into(),
        prompt_version: None,
        spoken: None,
        trace_id: None,
        span_id: None,
    }];
    hub.store.append(&begun.id, &Batch { advice: &advice, ..Batch::default() }).await.expect("it takes it");
    let json = ["Host: HOST", "Content-Type: application/json"];
    let wish = serde_json::json!({ "ask": "wish", "wish": format!("20 minutes {MARKUP}") }).to_string();
    let plan = hub.ask("POST /api/plans", &json, &wish).await;
    assert!(matches!(plan.status, 200 | 422), "{plan:?}");
    let question =
        serde_json::json!({ "question": format!("what should I practise next? {MARKUP}") }).to_string();
    let chat = hub.ask("POST /api/chats", &json, &question).await;
    let chat: serde_json::Value =
        serde_json::from_str(&chat.body).unwrap_or_else(|e| panic!("{e}: {chat:?}"));
    let thread = format!("GET /chat/{}", chat["chat"].as_str().unwrap_or("-"));
    let session = format!("GET /history/{}", begun.id);
    let named = "GET /history/%3Cscript%3Ehacked()%3C%2Fscript%3E";
    let searched =
        "GET /history?q=%3Cscript%3Ehacked()%3C%2Fscript%3E&scale=%22%3E%3Cscript%3Ehacked()%3C%2Fscript%3E";
    let mut shown = 0;
    for line in [
        "GET /",
        "GET /users",
        "GET /history",
        &session,
        named,
        searched,
        "GET /plan",
        "GET /chat",
        &thread,
        "GET /tuner",
    ] {
        let answer = hub.ask(line, &["Host: HOST", "Accept: text/html"], "").await;
        assert!(matches!(answer.status, 200 | 404 | 422), "{line}: {answer:?}");
        assert!(answer.header("content-type").starts_with("text/html"), "{line}");
        assert!(!answer.body.contains("<script>hacked") && !answer.body.contains("<img src=x"), "{line}");
        shown += usize::from(answer.body.contains("hacked()"));
    }
    assert!(shown >= 4, "the texts are shown, as texts: {shown}");
}

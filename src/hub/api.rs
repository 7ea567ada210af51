//! What the API offers: one table, shown as a page and as an OpenAPI document at `/api`. A test holds it against the
//! routes in the sources, so that none is missing and none is invented.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use minijinja::context;
use minijinja::value::Serde;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Hub, HubError, Viewer, page};

/// One thing that can be asked for.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Endpoint {
    /// `GET`, `POST`, `PUT` or `DELETE`.
    pub method: &'static str,
    /// Path; `{name}` stands for a part of it.
    pub path: &'static str,
    /// What it does, one line.
    pub says: &'static str,
    /// Query parameters with their meaning.
    pub query: &'static [(&'static str, &'static str)],
    /// An example of the JSON body; empty: there is none.
    pub body: &'static str,
    /// What comes back.
    pub answer: &'static str,
}

const fn get_(path: &'static str, says: &'static str, answer: &'static str) -> Endpoint {
    Endpoint { method: "GET", path, says, query: &[], body: "", answer }
}

/// A setup, as in [`Setup`](super::link::Setup).
const SETUP: &str = r#"{"input":"","scale":"A minor pentatonic","bpm":90,"metrics":["pitch","scale","timing","noise"],"sensitivity":0.5,"strictness":0.5,"tuning":"standard","capo":0,"left_handed":false,"metronome":false,"minutes":0,"autostart":false,"record":false}"#;

/// Every endpoint, in the order of the pages.
pub const ENDPOINTS: &[Endpoint] = &[
    get_("/api", "this list, as an OpenAPI document (or a page, for a browser)", "OpenAPI 3.1"),
    get_(
        "/api/live",
        "what is played right now: phase, note, level, scores, advice, device, setup",
        "the live view; 409 in a Hub that runs by itself",
    ),
    get_(
        "/api/live/events",
        "the same as it happens, as server-sent events, at most 50 pictures a second",
        "events `view` (the whole view, first of all), `tick` (elapsed, note, level_db, beat, next_advice), `event` (an object with `type`: note, started, window, advice, ended, message) and `reload` (some were missed: forget what you gathered)",
    ),
    Endpoint {
        method: "POST",
        path: "/api/control",
        says: "steers the session: start, stop, toggle_pause, toggle_mute, toggle_click, stop_voice, ask_now, set",
        query: &[],
        body: r#"{"do":"start","setup":null,"plan":null}"#,
        answer: "202, and the live view follows; 409 while another player's session runs",
    },
    get_("/api/settings", "what you have set up for your sessions", "the setup"),
    Endpoint {
        method: "PUT",
        path: "/api/settings",
        says: "keeps a setup; the daemon takes it at once while idle, else for the next session",
        query: &[],
        body: SETUP,
        answer: "the setup as it was kept, names written properly; 422 says what cannot be played",
    },
    get_(
        "/api/devices",
        "sound inputs of the machine that runs the Hub",
        "`inputs` with id, name, default, channels; `trouble`",
    ),
    get_("/api/scales", "roots and kinds of scales; a scale is written `root kind`", "`roots`, `kinds`"),
    get_(
        "/api/tunings",
        "tunings with a name; others are written as notes",
        "`tunings` with name and strings; `max_capo`",
    ),
    Endpoint {
        method: "GET",
        path: "/api/sessions",
        says: "your sessions, the latest first",
        query: &[
            ("scale", "one scale; `-`: sessions without"),
            ("mode", "manual or ai"),
            ("deployment", "one kind of device"),
            ("from", "first day, as 2026-11-20"),
            ("until", "last day"),
            ("notes", "at least so many notes"),
            ("q", "words in the advice or the scale"),
            ("sort", "a column"),
            ("dir", "asc or desc"),
            ("page", "from 1"),
            ("limit", "rows of a page"),
        ],
        body: "",
        answer: "`sessions`, `total`, `offset`, `limit`",
    },
    get_("/api/sessions/{session}", "one session in full: id, its first letters, or `latest`", "the session"),
    Endpoint {
        method: "DELETE",
        path: "/api/sessions/{session}",
        says: "deletes a session for good, with its notes, advice, recording and traces",
        query: &[],
        body: "",
        answer: "204; 409 while it is being played",
    },
    Endpoint {
        method: "GET",
        path: "/api/sessions/{session}/notes",
        says: "its notes in order",
        query: &[
            ("from", "first note, from 0"),
            ("limit", "at most so many"),
            ("wrong", "1: only those marked wrong"),
        ],
        body: "",
        answer: "the notes with their verdicts",
    },
    get_(
        "/api/sessions/{id}/recording",
        "its sound, when it was kept on this device",
        "FLAC; 404 when none was kept",
    ),
    Endpoint {
        method: "GET",
        path: "/api/trends",
        says: "how your scores and practice time go over the days",
        query: &[
            ("scale", "one scale; empty: all"),
            ("step", "day, week or month"),
            ("days", "how many days back; 90 unless told"),
        ],
        body: "",
        answer: "points per step, streak, progress",
    },
    Endpoint {
        method: "GET",
        path: "/api/compare",
        says: "up to four sessions side by side; one alone beside your average",
        query: &[("sessions", "ids, comma-separated")],
        body: "",
        answer: "both sides with their figures",
    },
    Endpoint {
        method: "GET",
        path: "/api/plans",
        says: "your practice plans, the latest first",
        query: &[("limit", "at most so many; 20 unless told")],
        body: "",
        answer: "the plans with their state and, once carried out, whether they helped",
    },
    Endpoint {
        method: "POST",
        path: "/api/plans",
        says: "plans today's practice, another one, or one after a wish",
        query: &[],
        body: r#"{"ask":"wish","wish":"more bends, 20 minutes"}"#,
        answer: "the plan; `ask` is today, another or wish",
    },
    get_("/api/plans/{id}", "one plan", "the plan"),
    Endpoint {
        method: "POST",
        path: "/api/plans/{id}/{step}",
        says: "decides on a plan: `step` is accept, dismiss, or start (which begins the session)",
        query: &[],
        body: "",
        answer: "the plan as it is now; 409 when it was decided before",
    },
    get_("/api/chats", "your conversations with the coach, the latest first", "the threads"),
    Endpoint {
        method: "POST",
        path: "/api/chats",
        says: "asks the coach a question, in a new conversation (`chat` null) or in one that goes on",
        query: &[],
        body: r#"{"question":"what should I practise next?","chat":null}"#,
        answer: "the answer with its queries and charts; asked for `text/event-stream`, events as it is written",
    },
    get_("/api/chats/graph", "the agent's graph: nodes, decisions, limits", "the graph"),
    get_("/api/chats/{id}", "one conversation in full", "its messages"),
    Endpoint {
        method: "DELETE",
        path: "/api/chats/{id}",
        says: "deletes a conversation for good",
        query: &[],
        body: "",
        answer: "204",
    },
    Endpoint {
        method: "POST",
        path: "/api/chats/{id}/{seq}/plan",
        says: "saves the practice plan that an answer proposed",
        query: &[],
        body: "",
        answer: "the plan",
    },
    get_("/api/users", "who you are, and (on this machine) whom you may switch to", "`current`, `users`"),
];

/// `/api` itself.
pub fn routes() -> Router<Hub> {
    Router::new().route("/api", get(show))
}

async fn show(viewer: Viewer, headers: HeaderMap) -> Result<Response, HubError> {
    let accepts = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !accepts.contains("text/html") {
        return Ok(Json(document()).into_response());
    }
    page::render(&viewer, "", "api.html", context! { endpoints => Serde(ENDPOINTS) })
}

/// The table as an OpenAPI document.
#[must_use]
pub fn document() -> Value {
    let mut paths: BTreeMap<&str, serde_json::Map<String, Value>> = BTreeMap::new();
    for endpoint in ENDPOINTS {
        paths.entry(endpoint.path).or_default().insert(endpoint.method.to_lowercase(), operation(endpoint));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "FretCoach",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Whatever the Hub's pages show. Errors are {\"error\": text}. From another machine each \
                            request carries `Authorization: Bearer` with your token.",
        },
        "components": { "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } } },
        "security": [{}, { "token": [] }],
        "paths": paths,
    })
}

fn operation(endpoint: &Endpoint) -> Value {
    let in_path = endpoint.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parameters: Vec<Value> = in_path
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .chain(endpoint.query.iter().map(|(name, says)| {
            json!({ "name": name, "in": "query", "description": says, "schema": { "type": "string" } })
        }))
        .collect();
    let media = if endpoint.path.ends_with("/events") { "text/event-stream" } else { "application/json" };
    let mut operation = json!({
        "summary": endpoint.says,
        "parameters": parameters,
        "responses": {
            "200": { "description": endpoint.answer, "content": { media: {} } },
            "default": { "description": "what went wrong, and what to do", "content": { "application/json": {
                "schema": { "type": "object", "properties": { "error": { "type": "string" } } } } } },
        },
    });
    if !endpoint.body.is_empty() {
        let example: Value = serde_json::from_str(endpoint.body).unwrap_or_default();
        operation["requestBody"] = json!({ "content": { "application/json": { "example": example } } });
    }
    operation
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::{Ipv4Addr, SocketAddr};
    use std::path::Path;

    use axum::body::Body;
    use axum::extract::ConnectInfo;
    use axum::http::{Request, StatusCode};
    use tower_service::Service;

    use super::*;
    use crate::config::Config;
    use crate::hub::Parts;
    use crate::hub::door::Peer;
    use crate::store::Store;

    /// Every `.route("/api…", get(…).put(…))` in the sources of the Hub, as (method, path).
    fn in_sources(folder: &Path, found: &mut BTreeSet<(String, String)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                in_sources(&path, found);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]").next().unwrap();
            for (at, _) in text.match_indices(".route(") {
                let call = call(&text[at + ".route(".len()..]);
                let mut parts = call.splitn(3, '"');
                let (Some(""), Some(route)) = (parts.next().map(str::trim), parts.next()) else { continue };
                if route != "/api" && !route.starts_with("/api/") {
                    continue;
                }
                let handlers = parts.next().unwrap();
                for method in ["get", "post", "put", "delete", "patch"] {
                    let named = |before: &str| handlers.contains(&format!("{before}{method}("));
                    if [" ", ".", "\n", "::"].into_iter().any(named) {
                        found.insert((method.to_uppercase(), route.to_owned()));
                    }
                }
            }
        }
    }

    /// The arguments of a call, up to the bracket that closes it.
    fn call(text: &str) -> &str {
        let mut depth = 1;
        for (at, c) in text.char_indices() {
            match c {
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return &text[..at];
            }
        }
        text
    }

    #[test]
    fn the_table_is_what_the_sources_route() {
        let mut routed = BTreeSet::new();
        in_sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/hub"), &mut routed);
        let told: BTreeSet<_> = ENDPOINTS.iter().map(|e| (e.method.to_owned(), e.path.to_owned())).collect();
        assert_eq!(told.len(), ENDPOINTS.len(), "none is told twice");
        let missing: Vec<_> = routed.difference(&told).collect();
        let invented: Vec<_> = told.difference(&routed).collect();
        assert!(missing.is_empty(), "not in the table of src/hub/api.rs: {missing:?}");
        assert!(invented.is_empty(), "in the table, but not routed: {invented:?}");
    }

    #[tokio::test]
    async fn every_endpoint_answers() {
        let store = Store::memory().await.unwrap();
        let hub = Hub::new(Parts { config: Config::default(), store, link: None });
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, 8440));
        let mut router = hub.guarded(at);
        for endpoint in ENDPOINTS {
            let path = endpoint.path.replace(['{', '}'], "");
            let mut request =
                Request::builder().method(endpoint.method).uri(&path).header(header::HOST, at.to_string());
            request = request.extension(ConnectInfo(Peer(at)));
            if !endpoint.body.is_empty() {
                request = request.header(header::CONTENT_TYPE, "application/json");
            }
            let answer = router.call(request.body(Body::from(endpoint.body)).unwrap()).await.unwrap();
            let status = answer.status();
            let bytes = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
            let text = String::from_utf8_lossy(&bytes);
            assert!(!text.contains("there is no such page"), "{} {path} is not routed", endpoint.method);
            assert_ne!(status, StatusCode::METHOD_NOT_ALLOWED, "{} {path}", endpoint.method);
            assert!(status != StatusCode::INTERNAL_SERVER_ERROR, "{} {path}: {text}", endpoint.method);
        }
    }

    #[test]
    fn examples_are_json_and_the_setup_is_one() {
        for endpoint in ENDPOINTS.iter().filter(|e| !e.body.is_empty()) {
            serde_json::from_str::<Value>(endpoint.body).unwrap_or_else(|e| panic!("{}: {e}", endpoint.path));
        }
        let setup: super::super::link::Setup = serde_json::from_str(SETUP).unwrap();
        assert_eq!(super::super::setup::checked(setup.clone()).unwrap(), setup);
        assert!(document()["paths"]["/api/settings"]["put"]["requestBody"].is_object());
    }
}

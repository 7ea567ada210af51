//! The one HTTP client, and what every caller of a server needs to know about its address and its errors.
//!
//! Shared by the language model and the voice, so that a server that offers both is spoken to over one
//! connection pool. Knows nothing of either.

use std::sync::OnceLock;
use std::time::Duration;

use futures::StreamExt;
use reqwest::{Client, Url};

use crate::config::Secret;

/// Longest wait for a TCP and TLS connection. Callers have shorter or longer limits of their own for answers;
/// this one only keeps a dead address from eating all of them.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest piece of a server's error text that is repeated in ours, characters.
const MAX_MESSAGE: usize = 240;

/// Where a server is: scheme, host and port, which together decide who gets to see a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// `http` or `https`.
    pub scheme: String,
    /// Host name or address, lower case.
    pub host: String,
    /// Port, the scheme's own where none is written.
    pub port: u16,
}

impl Origin {
    /// Reads a base URL.
    ///
    /// # Errors
    /// Says what is wrong with the URL and shows one that works.
    pub fn of(base_url: &str) -> Result<Self, String> {
        let example = "write for example http://localhost:11434/v1";
        let url = Url::parse(base_url.trim())
            .map_err(|e| format!("`{}` is not a base URL ({e}); {example}", shown(base_url)))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("`{}` is neither http nor https; {example}", shown(base_url)));
        }
        let host = url.host_str().ok_or_else(|| format!("`{}` names no host; {example}", shown(base_url)))?;
        Ok(Self {
            scheme: url.scheme().to_owned(),
            host: host.to_ascii_lowercase(),
            port: url.port_or_known_default().unwrap_or(80),
        })
    }

    /// True for this machine itself.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let host = self.host.trim_matches(['[', ']']);
        host == "localhost"
            || host.ends_with(".localhost")
            || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

/// The base URL as requests need it: no blanks, no trailing slash.
#[must_use]
pub fn base(url: &str) -> String {
    url.trim().trim_end_matches('/').to_owned()
}

/// The base URL as it may be shown: without user, password and query, where people put keys.
#[must_use]
pub fn shown(url: &str) -> String {
    match Url::parse(url.trim()) {
        Ok(mut url) => {
            // Both fail only for URLs that cannot have a user at all.
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.set_query(None);
            url.set_fragment(None);
            base(url.as_str())
        }
        Err(_) => {
            base(url.split(['?', '#']).next().unwrap_or_default().rsplit('@').next().unwrap_or_default())
        }
    }
}

/// What in a URL may be a key: user, password and the values of its query.
#[must_use]
pub fn secrets_in(url: &str) -> Vec<String> {
    let Ok(url) = Url::parse(url.trim()) else { return Vec::new() };
    let user = (!url.username().is_empty()).then(|| url.username().to_owned());
    let password = url.password().map(str::to_owned);
    let query = url.query_pairs().map(|(_, value)| value.into_owned());
    user.into_iter().chain(password).chain(query).filter(|s| !s.is_empty()).collect()
}

/// The password in a URL.
#[must_use]
pub fn password_in(url: &str) -> Option<String> {
    let url = Url::parse(url.trim()).ok()?;
    let in_query =
        || url.query_pairs().find(|(key, _)| key == "password").map(|(_, value)| value.into_owned());
    url.password().map(str::to_owned).or_else(in_query).filter(|s| !s.is_empty())
}

/// The begin of an answer, at most `most` bytes: a server that never stops must not fill memory.
///
/// # Errors
/// When the connection breaks before that.
pub async fn begin_of(response: reqwest::Response, most: usize) -> reqwest::Result<Vec<u8>> {
    let mut body = Vec::new();
    let mut pieces = response.bytes_stream();
    while body.len() < most
        && let Some(piece) = pieces.next().await.transpose()?
    {
        body.extend_from_slice(&piece[..piece.len().min(most - body.len())]);
    }
    Ok(body)
}

/// The client for this origin. A server on this machine is never asked through a proxy, whatever the environment says.
///
/// # Errors
/// When TLS cannot be set up, for example because no root certificates are installed.
pub fn client(origin: &Origin) -> Result<Client, String> {
    static NEAR: OnceLock<Result<Client, String>> = OnceLock::new();
    static FAR: OnceLock<Result<Client, String>> = OnceLock::new();
    if origin.is_loopback() { NEAR.get_or_init(|| build(false)) } else { FAR.get_or_init(|| build(true)) }
        .clone()
}

fn build(proxies: bool) -> Result<Client, String> {
    // Fails only when a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder()
        .user_agent(concat!("fretcoach/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        // A key goes where the player sent it and nowhere else.
        .redirect(reqwest::redirect::Policy::none());
    let builder = if proxies { builder } else { builder.no_proxy() };
    builder.build().map_err(|e| {
        format!("no HTTP client ({}); install the ca-certificates package", crate::span::chain(&e))
    })
}

/// What the network said, without the URL (which may hold a key), innermost cause included.
#[must_use]
pub fn network(error: reqwest::Error) -> String {
    crate::span::chain(&error.without_url())
}

/// The message in a server's error body: the usual JSON fields, or the text of a page, on one line, shortened,
/// with the key taken out should the server repeat it.
#[must_use]
pub fn message(body: &[u8], key: &Secret) -> String {
    let text = String::from_utf8_lossy(body);
    let found = serde_json::from_str::<serde_json::Value>(&text)
        .ok()
        .and_then(|v| {
            // Gemini wraps the object in an array.
            let v = v.get(0).cloned().unwrap_or(v);
            ["/error/message", "/error", "/message", "/detail/0/msg", "/detail"]
                .iter()
                .find_map(|p| v.pointer(p).and_then(|m| m.as_str()).map(str::to_owned))
        })
        .unwrap_or_else(|| without_tags(&text));
    let line = found.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = redact(&line, key);
    if line.is_empty() {
        return "no explanation given".into();
    }
    match line.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// The text with the key replaced.
#[must_use]
pub fn redact(text: &str, key: &Secret) -> String {
    let key = key.reveal().trim();
    if key.is_empty() { text.to_owned() } else { text.replace(key, "[key]") }
}

fn without_tags(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        match c {
            '<' => inside = true,
            '>' if inside => {
                inside = false;
                out.push(' ');
            }
            _ if !inside => out.push(c),
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_compare_by_scheme_host_and_port() {
        let a = Origin::of("https://API.openai.com/v1/").unwrap();
        assert_eq!((a.host.as_str(), a.port), ("api.openai.com", 443));
        assert_eq!(a, Origin::of("https://api.openai.com:443/other").unwrap());
        assert_ne!(a, Origin::of("http://api.openai.com/v1").unwrap());
        assert!(Origin::of("http://[::1]:8080/v1").unwrap().is_loopback());
        assert!(Origin::of("http://127.0.0.1/v1").unwrap().is_loopback());
        assert!(!Origin::of("http://localhost.evil.example/v1").unwrap().is_loopback());
    }

    #[test]
    fn bad_urls_are_explained_without_what_they_hide() {
        for url in ["localhost:11434/v1", "ftp://me:hunter2@host/", "not a url", ""] {
            let error = Origin::of(url).unwrap_err();
            assert!(error.contains("http://localhost:11434/v1"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert_eq!(shown("https://me:hunter2@host/v1/?key=abc"), "https://host/v1");
    }

    #[test]
    fn messages_come_from_json_or_page_and_never_hold_the_key() {
        let key = Secret::new("sk-secret");
        let json = br#"{"error":{"message":"Incorrect API key: sk-secret","type":"x"}}"#;
        assert_eq!(message(json, &key), "Incorrect API key: [key]");
        assert_eq!(message(br#"[{"error":{"message":"quota"}}]"#, &key), "quota");
        assert_eq!(message(br#"{"error":"model not found"}"#, &key), "model not found");
        assert_eq!(message(b"<html><h1>502</h1>\n Bad   gateway</html>", &key), "502 Bad gateway");
        assert_eq!(message(b"", &key), "no explanation given");
        assert!(message(&b"x".repeat(9000), &key).chars().count() <= MAX_MESSAGE + 1);
    }
}

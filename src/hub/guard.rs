//! Who may come in: the one check before every page and every piece of the API.
//!
//! What it keeps out, and how:
//! - *A web page elsewhere that talks to this machine* (cross-site requests, DNS rebinding): the `Host` must be a name
//!   under which the Hub is known to be reached, and what a browser says of a request's origin (`Origin`,
//!   `Sec-Fetch-Site`) must be the Hub itself. Only following a link to a page from elsewhere is let through.
//! - *Other machines*: a request from any but a loopback address needs a token, and the token alone decides whose data
//!   is seen. A request that a proxy passed on counts as one from elsewhere.
//! - *Markup in texts*: templates escape, and the content security policy runs no script but ours.
//!
//! TLS is left to a reverse proxy: with `hub.proxy` a token is asked of everyone, and cookies are for HTTPS alone.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};

use super::door::Peer;
use super::patience::Patience;
use super::{Hub, HubError, Viewer, cookie};
use crate::config;

/// Longest time for an answer to begin; the slowest honest ones wait for a language model.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(90);
/// Largest body that is read, bytes: the longest is a question to the coach.
pub const LARGEST_BODY: usize = 64 * 1024;
/// Headers with which proxies say that they passed a request on.
const PASSED_ON: [&str; 4] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip"];
/// Where a browser without a token may look.
const OPEN: [&str; 2] = ["/login", "/assets/style.css"];
/// The content security policy: everything from the Hub itself, nothing inline, no frames.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; media-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// How the Hub is served: decides which requests were meant for it.
#[derive(Clone, Debug)]
pub struct Served {
    /// Address of the listener, with its real port.
    pub address: SocketAddr,
    /// Names under which browsers elsewhere reach it, in lower case, with or without port.
    pub hosts: Vec<String>,
    /// A reverse proxy stands before it.
    pub proxy: bool,
}

impl Served {
    /// As the settings say, at this address.
    #[must_use]
    pub fn new(address: SocketAddr, config: &config::Hub) -> Self {
        let hosts = config.hosts.iter().map(|h| h.trim().to_ascii_lowercase()).collect();
        Self { address, hosts, proxy: config.proxy }
    }

    /// Whether `host` (`name` or `name:port`, from the `Host` header) is a name of this Hub. A name that resolves to it
    /// by a trick (DNS rebinding) is none: only loopback names, addresses written in digits, and `hub.hosts` are.
    #[must_use]
    pub fn knows(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let Some((name, port)) = split(&host) else { return false };
        let listed = self.hosts.iter().any(|h| *h == name || *h == host);
        // Behind a proxy the port in the name is the proxy's.
        if listed && self.proxy {
            return true;
        }
        if port.unwrap_or(80) != self.address.port() {
            return false;
        }
        let bound = self.address.ip();
        let literal = name.trim_matches(['[', ']']).parse::<IpAddr>().ok();
        listed
            || name == "localhost"
            || literal.is_some_and(|ip| ip.is_loopback() || ip == bound || bound.is_unspecified())
    }
}

/// Name and port of a `Host` header; `None` when it is malformed. IPv6 addresses keep their brackets.
fn split(host: &str) -> Option<(&str, Option<u16>)> {
    let at = if host.starts_with('[') { host.find(']')? + 1 } else { host.find(':').unwrap_or(host.len()) };
    let (name, rest) = host.split_at(at);
    if name.is_empty() {
        return None;
    }
    match rest.strip_prefix(':') {
        None if rest.is_empty() => Some((name, None)),
        None => None,
        Some(port) => port.parse().ok().map(|port| (name, Some(port))),
    }
}

/// `localhost`, or a loopback address in digits.
fn is_loopback_name(name: &str) -> bool {
    let ip = name.trim_matches(['[', ']']).parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// From this machine: the switcher decides.
    Local,
    /// From elsewhere, or through a proxy: a token decides.
    Remote,
}

/// Why a request is turned away. Each is told in one line, with what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another name in `Host` than the Hub's, or none, or two.
    Host,
    /// A page of another origin made it.
    Origin,
}

impl From<Refusal> for HubError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Host => Self {
                status: StatusCode::MISDIRECTED_REQUEST,
                said: "the Hub does not go by that name: open it as http://127.0.0.1 with its port, or add the name to \
                       hub.hosts"
                    .into(),
            },
            Refusal::Origin => Self {
                status: StatusCode::FORBIDDEN,
                said: "a page of another site asked for this: open the Hub itself and ask there".into(),
            },
        }
    }
}

/// Looks at a request without its body: was it meant for us, did our own pages make it, and where from.
///
/// # Errors
/// See [`Refusal`].
pub fn judge(
    served: &Served,
    peer: Option<IpAddr>,
    method: &Method,
    path: &str,
    authority: Option<&str>,
    version: Version,
    headers: &HeaderMap,
) -> Result<Standing, Refusal> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next().map(|h| h.to_str()), hosts.next()) {
        (Some(Ok(host)), None) if served.knows(host) => host.to_ascii_lowercase(),
        _ => return Err(Refusal::Host),
    };
    if authority.is_some_and(|a| !a.eq_ignore_ascii_case(&host)) {
        return Err(Refusal::Host);
    }
    if let Some(origin) = headers.get(header::ORIGIN)
        && !origin.to_str().is_ok_and(|o| same_origin(o, &host, served.proxy))
    {
        return Err(Refusal::Origin);
    }
    let said = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    // `same-site` is another port of this machine: not us. `none` is the address bar.
    if !matches!(said("sec-fetch-site"), None | Some("same-origin" | "none")) {
        let follows_a_link = matches!(*method, Method::GET | Method::HEAD)
            && said("sec-fetch-mode") == Some("navigate")
            && said("sec-fetch-dest") == Some("document")
            && !path.starts_with("/api/");
        if !follows_a_link {
            return Err(Refusal::Origin);
        }
    }
    let passed_on = version < Version::HTTP_11 || PASSED_ON.iter().any(|name| headers.contains_key(*name));
    // A name of the network in `Host` comes through a proxy, even one that says nothing of itself.
    let by_loopback_name = split(&host).is_some_and(|(name, _)| is_loopback_name(name));
    let here = by_loopback_name && peer.is_some_and(|ip| ip.to_canonical().is_loopback());
    Ok(if here && !passed_on && !served.proxy { Standing::Local } else { Standing::Remote })
}

/// Whether `Origin` names the same scheme and authority as the request. Behind a proxy the page's scheme is HTTPS.
fn same_origin(origin: &str, host: &str, proxy: bool) -> bool {
    let (authority, port) = match origin.split_once("://") {
        Some(("http", rest)) => (rest, ":80"),
        Some(("https", rest)) if proxy => (rest, ":443"),
        _ => return false,
    };
    let authority = authority.to_ascii_lowercase();
    authority.trim_end_matches(port) == host.trim_end_matches(port)
}

/// What the guard works with.
#[derive(Clone, Debug)]
pub struct Guard {
    hub: Hub,
    served: Arc<Served>,
    patience: Arc<Patience>,
}

impl Guard {
    /// For a Hub at an address.
    #[must_use]
    pub fn new(hub: Hub, served: Served) -> Self {
        Self { hub, served: Arc::new(served), patience: Arc::default() }
    }

    /// Whose wrong tokens are counted: a proxy's address stands for everybody behind it, so nobody's.
    fn asked_by(&self, peer: Option<IpAddr>) -> Option<IpAddr> {
        peer.filter(|_| !self.served.proxy)
    }
}

/// Lets a request in as somebody, or turns it away.
///
/// # Errors
/// [`HubError`]: 421 for a foreign `Host`, 403 for a foreign page or an unknown player, 401 without a token, 429 after
/// too many wrong ones, 503 when no answer begins in time.
pub async fn guard(
    State(guard): State<Guard>,
    mut request: Request,
    next: Next,
) -> Result<Response, HubError> {
    let peer = request.extensions().get::<ConnectInfo<Peer>>().map(|c| c.0.0.ip());
    let path = request.uri().path().to_owned();
    let standing = judge(
        &guard.served,
        peer,
        request.method(),
        &path,
        request.uri().authority().map(|a| a.as_str()),
        request.version(),
        request.headers(),
    )?;
    request.extensions_mut().insert(standing);
    let open = OPEN.contains(&path.as_str());
    match viewer(&guard, standing, peer, request.headers()).await {
        Ok(viewer) => {
            request.extensions_mut().insert(viewer);
        }
        Err(_) if open => {}
        // A browser is shown where tokens are asked for; a program is told.
        Err(error) if error.status == StatusCode::UNAUTHORIZED && reads_pages(&request) => {
            return Ok(Redirect::to("/login").into_response());
        }
        Err(error) => return Err(error),
    }
    request.extensions_mut().insert(Entrance {
        secure: guard.served.proxy,
        peer: guard.asked_by(peer),
        patience: Arc::clone(&guard.patience),
    });
    let viewer = request.extensions().get::<Viewer>().cloned();
    let answer = tokio::time::timeout(ANSWER_WITHIN, next.run(request)).await;
    let mut response = answer.map_err(|_| HubError {
        status: StatusCode::SERVICE_UNAVAILABLE,
        said: format!("no answer within {} s: try again", ANSWER_WITHIN.as_secs()),
    })?;
    // For the page that tells an error.
    if let Some(viewer) = viewer {
        response.extensions_mut().insert(viewer);
    }
    Ok(response)
}

/// What the login needs to know.
#[derive(Clone, Debug)]
pub struct Entrance {
    /// Cookies are for HTTPS alone.
    pub secure: bool,
    /// Address to slow down when its tokens are wrong; `None`: the address is a proxy's.
    pub peer: Option<IpAddr>,
    /// Looks tokens up.
    pub patience: Arc<Patience>,
}

/// A browser that wants to see a page.
fn reads_pages(request: &Request) -> bool {
    request.method() == Method::GET
        && !request.uri().path().starts_with("/api")
        && !request.uri().path().starts_with("/assets/")
}

/// Who asks. A `Bearer` token counts everywhere; from elsewhere the login's cookie does; here the switcher.
async fn viewer(
    guard: &Guard,
    standing: Standing,
    peer: Option<IpAddr>,
    headers: &HeaderMap,
) -> Result<Viewer, HubError> {
    let bearer = headers
        .get(header::AUTHORIZATION)
        .map(|value| value.to_str().ok().and_then(|v| v.strip_prefix("Bearer ")).unwrap_or_default().trim());
    let token = match (bearer, standing) {
        (Some(token), _) => Some(token.to_owned()),
        (None, Standing::Remote) => Some(cookie::get(headers, cookie::TOKEN).unwrap_or_default()),
        (None, Standing::Local) => None,
    };
    match token {
        Some(token) => {
            let user = guard.patience.user_of(guard.hub.store(), guard.asked_by(peer), &token).await?;
            Ok(Viewer { user })
        }
        None => switched(&guard.hub, headers).await,
    }
}

/// The player of the switcher, else the daemon's own.
async fn switched(hub: &Hub, headers: &HeaderMap) -> Result<Viewer, HubError> {
    let own = Viewer { user: hub.config().user.clone() };
    match cookie::get(headers, cookie::USER).and_then(|text| cookie::unpack(&text)) {
        None => Ok(own),
        Some(user) if user == own.user => Ok(own),
        Some(user) if hub.store().users().await?.contains(&user) => Ok(Viewer { user }),
        Some(user) => Err(HubError {
            status: StatusCode::FORBIDDEN,
            said: format!("there is no player `{user}` any more; load the page again to be {}", own.user),
        }),
    }
}

/// What every answer says to browsers, errors too.
pub async fn headers(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // What is played is nobody else's business, a shared browser's history included. Files of the binary change with it:
    // a browser asks again each time and is cheaply told.
    let cache = if path.starts_with("/assets/") { "no-cache" } else { "no-store" };
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static(cache));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    fn served(bind: &str, hosts: &[&str], proxy: bool) -> Served {
        let config = config::Hub {
            hosts: hosts.iter().map(|h| (*h).into()).collect(),
            proxy,
            ..config::Hub::default()
        };
        Served::new(bind.parse().unwrap(), &config)
    }

    /// A GET of `path` with these headers from `peer`.
    fn asked(
        served: &Served,
        peer: Option<IpAddr>,
        path: &str,
        pairs: &[(&str, &str)],
    ) -> Result<Standing, Refusal> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
        }
        judge(served, peer, &Method::GET, path, None, Version::HTTP_11, &headers)
    }

    #[test]
    fn only_names_of_this_machine_are_known_on_loopback() {
        let hub = served("127.0.0.1:8440", &[], false);
        for host in ["127.0.0.1:8440", "localhost:8440", "LOCALHOST:8440", "[::1]:8440", "127.0.0.2:8440"] {
            assert!(hub.knows(host), "{host}");
        }
        for host in [
            "localhost",
            "127.0.0.1",
            "127.0.0.1:80",
            "evil.example:8440",
            "localhost.evil.example:8440",
            "127.0.0.1.nip.io:8440",
            "192.168.1.5:8440",
            "localhost.:8440",
            "",
            ":8440",
            "[::1",
            "[::1]x:8440",
            "localhost:8440:8440",
            "localhost:x",
            "a@localhost:8440",
            "0:8440",
            "2130706433:8440",
            "0x7f.1:8440",
        ] {
            assert!(!hub.knows(host), "{host}");
        }
    }

    #[test]
    fn beyond_loopback_digits_and_listed_names_are_known() {
        let hub = served("0.0.0.0:8440", &["Studio.local"], false);
        for host in ["192.168.1.5:8440", "studio.local:8440", "localhost:8440"] {
            assert!(hub.knows(host), "{host}");
        }
        for host in ["studio.local:81", "evil.example:8440", "studio.local.evil.example:8440"] {
            assert!(!hub.knows(host), "{host}");
        }
        let bound = served("10.0.0.7:8440", &[], false);
        assert!(bound.knows("10.0.0.7:8440") && !bound.knows("10.0.0.8:8440"));
        let proxied = served("127.0.0.1:8440", &["school.example", "other.example:444"], true);
        assert!(proxied.knows("school.example") && proxied.knows("school.example:443"));
        assert!(proxied.knows("other.example:444") && !proxied.knows("other.example:445"));
        let https = |host: &str, origin: &str| {
            asked(&proxied, HERE, "/api/live", &[("host", host), ("origin", origin)])
        };
        assert_eq!(https("school.example", "https://school.example"), Ok(Standing::Remote));
        assert_eq!(https("school.example", "https://school.example.evil"), Err(Refusal::Origin));
    }

    #[test]
    fn a_proxy_that_says_nothing_of_itself_opens_no_door() {
        let hub = served("127.0.0.1:8440", &["school.example"], false);
        assert_eq!(asked(&hub, HERE, "/", &[("host", "school.example:8440")]), Ok(Standing::Remote));
        assert_eq!(asked(&hub, HERE, "/", &[("host", "school.example")]), Err(Refusal::Host));
    }

    #[test]
    fn other_sites_are_turned_away() {
        let hub = served("127.0.0.1:8440", &[], false);
        let own = ("host", "localhost:8440");
        for (path, more, expected) in [
            ("/", vec![], Ok(Standing::Local)),
            (
                "/api/live",
                vec![("origin", "http://localhost:8440"), ("sec-fetch-site", "same-origin")],
                Ok(Standing::Local),
            ),
            ("/", vec![("origin", "http://evil.example")], Err(Refusal::Origin)),
            ("/", vec![("origin", "null")], Err(Refusal::Origin)),
            ("/", vec![("origin", "https://localhost:8440")], Err(Refusal::Origin)),
            // Another name of the same machine is another origin for a browser too.
            ("/", vec![("origin", "http://127.0.0.1:8440")], Err(Refusal::Origin)),
            ("/", vec![("sec-fetch-site", "cross-site")], Err(Refusal::Origin)),
            ("/api/live", vec![("sec-fetch-site", "same-site")], Err(Refusal::Origin)),
            (
                "/history",
                vec![
                    ("sec-fetch-site", "cross-site"),
                    ("sec-fetch-mode", "navigate"),
                    ("sec-fetch-dest", "document"),
                ],
                Ok(Standing::Local),
            ),
            (
                "/history",
                vec![
                    ("sec-fetch-site", "cross-site"),
                    ("sec-fetch-mode", "navigate"),
                    ("sec-fetch-dest", "iframe"),
                ],
                Err(Refusal::Origin),
            ),
            (
                "/api/live",
                vec![
                    ("sec-fetch-site", "cross-site"),
                    ("sec-fetch-mode", "navigate"),
                    ("sec-fetch-dest", "document"),
                ],
                Err(Refusal::Origin),
            ),
            ("/", vec![("host", "evil.example:8440")], Err(Refusal::Host)),
        ] {
            let mut pairs = more.clone();
            pairs.push(own);
            assert_eq!(asked(&hub, HERE, path, &pairs), expected, "{path} {more:?}");
        }
        assert_eq!(asked(&hub, HERE, "/", &[]), Err(Refusal::Host));
        assert_eq!(asked(&hub, HERE, "/", &[("host", "evil.example:8440")]), Err(Refusal::Host));
    }

    #[test]
    fn a_form_of_another_site_changes_nothing_however_it_navigates() {
        let hub = served("127.0.0.1:8440", &[], false);
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "localhost:8440"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let post = judge(&hub, HERE, &Method::POST, "/users", None, Version::HTTP_11, &headers);
        assert_eq!(post, Err(Refusal::Origin));
    }

    #[test]
    fn what_comes_from_elsewhere_or_through_a_proxy_is_not_local() {
        let hub = served("0.0.0.0:8440", &[], false);
        let host = ("host", "192.168.1.5:8440");
        let away = "192.168.1.9".parse().ok();
        assert_eq!(asked(&hub, away, "/", &[host]), Ok(Standing::Remote));
        assert_eq!(asked(&hub, None, "/", &[host]), Ok(Standing::Remote));
        let mapped = "::ffff:127.0.0.1".parse().ok();
        assert_eq!(asked(&hub, mapped, "/", &[("host", "127.0.0.1:8440")]), Ok(Standing::Local));
        // Whoever asks for the address of the network from loopback is a proxy.
        assert_eq!(asked(&hub, mapped, "/", &[host]), Ok(Standing::Remote));
        assert_eq!(asked(&hub, HERE, "/", &[host, ("x-forwarded-for", "127.0.0.1")]), Ok(Standing::Remote));
        assert_eq!(asked(&hub, away, "/", &[host, ("x-forwarded-for", "127.0.0.1")]), Ok(Standing::Remote));
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1:8440"));
        let old = judge(&hub, HERE, &Method::GET, "/", None, Version::HTTP_10, &headers);
        assert_eq!(old, Ok(Standing::Remote), "proxies speak HTTP/1.0 unless told otherwise");
        let absolute = judge(&hub, HERE, &Method::GET, "/", Some("evil.example"), Version::HTTP_11, &headers);
        assert_eq!(absolute, Err(Refusal::Host));
        let proxied = served("127.0.0.1:8440", &[], true);
        assert_eq!(asked(&proxied, HERE, "/", &[("host", "127.0.0.1:8440")]), Ok(Standing::Remote));
    }
}

//! The overall score as the colour of a lamp: WLED by its JSON interface, or anything that takes an HTTP request
//! (Home Assistant, and through it Tuya, Hue and the rest) by a template.
//!
//! At most three requests a second, small changes left out, one request at a time. A lamp that does not answer is
//! told of once; then it is tried again now and then, in silence.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::{Ambient, Secret};
use crate::http::{self, Origin};
use crate::hub::link::{LiveView, Phase};

/// Three a second at most: a lamp on Wi-Fi takes a tenth of a second for each, and a person sees no more.
const EVERY: f64 = 1.0 / 3.0;
/// Of 255, in the channel that changes most: below this the eye sees no step.
const SMALL: u8 = 8;
/// After a failure, seconds until the lamp is tried again.
const RETRY: f64 = 15.0;
/// Longest time for a request: a lamp stands in the same house.
const PATIENCE: Duration = Duration::from_secs(2);
/// Score and colour, rising; between them the colour changes evenly. The bands are those of the scores: red, from 30
/// orange, from 50 yellow, from 70 green.
const COLOURS: [(f64, Rgb); 5] = [
    (0.0, Rgb(255, 0, 0)),
    (40.0, Rgb(255, 96, 0)),
    (60.0, Rgb(255, 200, 0)),
    (80.0, Rgb(60, 220, 0)),
    (100.0, Rgb(0, 255, 40)),
];

/// A colour: red, green, blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rgb(pub u8, pub u8, pub u8);

impl Rgb {
    /// Colour of an overall score.
    #[must_use]
    pub fn of(score: f64) -> Self {
        let above = COLOURS.iter().position(|(at, _)| score <= *at).unwrap_or(COLOURS.len() - 1).max(1);
        let ((low, a), (high, b)) = (COLOURS[above - 1], COLOURS[above]);
        let share = ((score - low) / (high - low)).clamp(0.0, 1.0);
        let mix = |a: u8, b: u8| (f64::from(a) + share * (f64::from(b) - f64::from(a))).round() as u8;
        Self(mix(a.0, b.0), mix(a.1, b.1), mix(a.2, b.2))
    }

    fn differs(self, other: Self) -> bool {
        [(self.0, other.0), (self.1, other.1), (self.2, other.2)].iter().any(|(a, b)| a.abs_diff(*b) >= SMALL)
    }
}

/// What a lamp is to be told, and when. Pure: `now` is in seconds on any clock.
#[derive(Clone, Debug, Default)]
pub struct Lamp {
    shown: Option<Rgb>,
    /// Not before.
    next: f64,
}

/// The next step of a lamp.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Tell it this colour and score now.
    Show(Rgb, f64),
    /// Look again at this time.
    At(f64),
    /// Nothing to do until the score changes.
    Rest,
}

impl Lamp {
    /// What to do about `score` at `now`.
    pub fn step(&mut self, now: f64, score: Option<f64>) -> Step {
        let Some(score) = score.filter(|s| s.is_finite()) else { return Step::Rest };
        let colour = Rgb::of(score);
        if self.shown.is_some_and(|shown| !shown.differs(colour)) {
            return Step::Rest;
        }
        if now < self.next {
            return Step::At(self.next);
        }
        self.shown = Some(colour);
        self.next = now + EVERY;
        Step::Show(colour, score)
    }

    /// The last colour did not arrive.
    pub fn failed(&mut self, now: f64) {
        self.shown = None;
        self.next = now + RETRY;
    }
}

/// Where and how a lamp is told.
#[derive(Clone, Debug)]
pub struct Target {
    client: Client,
    method: Method,
    url: String,
    body: String,
    headers: HeaderMap,
    key: Secret,
}

impl Target {
    /// From the settings; `None`: no lamp is set.
    ///
    /// # Errors
    /// One line that names the setting.
    pub fn new(settings: &Ambient) -> Result<Option<Self>, String> {
        let url = settings.url.trim();
        if url.is_empty() {
            return Ok(None);
        }
        let origin = Origin::of(url).map_err(|e| format!("ambient.url: {e}"))?;
        let client = http::client(&origin)?;
        let method = settings.method.trim().to_ascii_uppercase();
        let method = method.parse().map_err(|_| format!("ambient.method: `{method}` is no HTTP method"))?;
        let mut headers = HeaderMap::new();
        let mut target = match settings.kind.as_str() {
            "wled" => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                let base = http::base(url);
                let url = if base.ends_with("/json/state") { base } else { format!("{base}/json/state") };
                // `tt`: fade in tenths of a second, for this request alone.
                let body = r#"{"on":true,"tt":3,"seg":[{"col":[[{{r}},{{g}},{{b}}]]}]}"#.to_owned();
                Self { client, method: Method::POST, url, body, headers, key: Secret::default() }
            }
            _ => {
                let body = settings.body.clone();
                if body.trim_start().starts_with(['{', '[']) {
                    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                }
                Self { client, method, url: url.to_owned(), body, headers, key: Secret::default() }
            }
        };
        for pair in settings.headers.reveal().split(',').map(str::trim).filter(|p| !p.is_empty()) {
            // What stands there may be a key: it is not repeated.
            let wrong = || "ambient.headers: write name=value,name=value".to_owned();
            let (name, value) = pair.split_once('=').ok_or_else(wrong)?;
            let name = name.trim().parse::<HeaderName>().map_err(|_| wrong())?;
            let mut value = value.trim().parse::<HeaderValue>().map_err(|_| wrong())?;
            value.set_sensitive(true);
            target.headers.insert(name, value);
        }
        target.key = settings.headers.clone();
        Ok(Some(target))
    }

    /// Tells the lamp.
    ///
    /// # Errors
    /// What the network or the lamp said, without address and headers.
    pub async fn show(&self, colour: Rgb, score: f64) -> Result<(), String> {
        let request = self
            .client
            .request(self.method.clone(), filled(&self.url, colour, score))
            .headers(self.headers.clone())
            .timeout(PATIENCE);
        let request = match filled(&self.body, colour, score) {
            body if body.is_empty() => request,
            body => request.body(body),
        };
        let answer = request.send().await.map_err(http::network)?;
        if answer.status().is_success() { Ok(()) } else { Err(format!("it answers {}", answer.status())) }
    }
}

/// A template with its values.
fn filled(template: &str, Rgb(r, g, b): Rgb, score: f64) -> String {
    template
        .replace("{{r}}", &r.to_string())
        .replace("{{g}}", &g.to_string())
        .replace("{{b}}", &b.to_string())
        .replace("{{hex}}", &format!("{r:02x}{g:02x}{b:02x}"))
        .replace("{{score}}", &format!("{score:.0}"))
}

/// Follows the live view until its sender is gone. `said`: takes the one line about a lamp that does not answer.
pub async fn follow(target: Target, mut view: watch::Receiver<LiveView>, said: impl Fn(String)) {
    let began = Instant::now();
    let mut lamp = Lamp::default();
    let mut told = false;
    loop {
        let score = {
            let view = view.borrow_and_update();
            view.scores.overall.filter(|_| view.phase == Phase::Playing)
        };
        match lamp.step(began.elapsed().as_secs_f64(), score) {
            Step::Show(colour, score) => {
                if let Err(why) = target.show(colour, score).await {
                    lamp.failed(began.elapsed().as_secs_f64());
                    if !std::mem::replace(&mut told, true) {
                        said(format!(
                            "the lamp does not show the score: {}",
                            http::redact(&why, &target.key)
                        ));
                    }
                }
            }
            Step::At(at) => {
                let wait = Duration::from_secs_f64((at - began.elapsed().as_secs_f64()).max(0.0));
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    changed = view.changed() => if changed.is_err() { return },
                }
            }
            Step::Rest => {
                if view.changed().await.is_err() {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::extract::{Request, State};
    use axum::http::StatusCode;

    use super::*;

    #[test]
    fn the_colour_follows_the_bands_of_the_scores() {
        let is = |score: f64| Rgb::of(score);
        assert_eq!(is(0.0), Rgb(255, 0, 0));
        assert_eq!((is(-5.0), is(120.0)), (is(0.0), is(100.0)));
        assert!(is(90.0).1 > 200 && is(90.0).0 < 60, "green: {:?}", is(90.0));
        assert!(is(60.0).0 > 200 && is(60.0).1 > 150, "yellow: {:?}", is(60.0));
        assert!(is(40.0).0 > 200 && (60..150).contains(&is(40.0).1), "orange: {:?}", is(40.0));
        // Even: no score makes a jump.
        for tenth in 0..1000 {
            let (a, b) = (is(f64::from(tenth) / 10.0), is(f64::from(tenth + 1) / 10.0));
            assert!(!a.differs(b), "{a:?} {b:?}");
        }
    }

    #[test]
    fn a_lamp_is_told_three_times_a_second_at_most_and_only_of_what_is_seen() {
        let mut lamp = Lamp::default();
        let mut shown = Vec::new();
        // Ten seconds of a score that never stands still, looked at every 20 ms.
        for step in 0..500 {
            let now = 0.02 * f64::from(step);
            let score = 50.0 + 50.0 * (now * 3.0).sin();
            if let Step::Show(colour, _) = lamp.step(now, Some(score)) {
                shown.push((now, colour));
            }
        }
        assert!(shown.len() > 20 && shown.len() <= 31, "{}", shown.len());
        assert!(shown.windows(2).all(|w| w[1].0 - w[0].0 >= EVERY - 1e-9 && w[1].1.differs(w[0].1)));
        let mut still = Lamp::default();
        assert!(matches!(still.step(0.0, Some(70.0)), Step::Show(..)));
        assert_eq!(still.step(5.0, Some(70.3)), Step::Rest, "nobody sees a third of a point");
        assert_eq!(still.step(6.0, None), Step::Rest, "nothing was measured");
        assert!(matches!(still.step(7.0, Some(30.0)), Step::Show(..)));
        let Step::At(again) = still.step(7.1, Some(90.0)) else { panic!("too soon") };
        assert!((again - 7.0 - EVERY).abs() < 1e-9);
    }

    #[test]
    fn a_lamp_that_failed_is_left_alone_for_a_while() {
        let mut lamp = Lamp::default();
        assert!(matches!(lamp.step(0.0, Some(50.0)), Step::Show(..)));
        lamp.failed(0.1);
        assert!(matches!(lamp.step(1.0, Some(90.0)), Step::At(at) if at > 10.0));
        assert!(matches!(lamp.step(16.0, Some(50.0)), Step::Show(..)), "the same colour: it never arrived");
    }

    #[derive(Clone, Default)]
    struct Asked(Arc<Mutex<Vec<(String, String, String)>>>, Arc<Mutex<StatusCode>>);

    async fn server() -> (String, Asked) {
        async fn take(State(asked): State<Asked>, request: Request) -> StatusCode {
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(body, 10_000).await.unwrap();
            let key = parts.headers.get("authorization").map(|v| v.to_str().unwrap().to_owned());
            let line = format!("{} {}", parts.method, parts.uri);
            asked.0.lock().unwrap().push((
                line,
                key.unwrap_or_default(),
                String::from_utf8(body.to_vec()).unwrap(),
            ));
            *asked.1.lock().unwrap()
        }
        let asked = Asked(Arc::default(), Arc::new(Mutex::new(StatusCode::OK)));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback(take).with_state(asked.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        (format!("http://{address}"), asked)
    }

    #[tokio::test]
    async fn wled_is_told_in_its_own_words_and_others_by_template() {
        let (url, asked) = server().await;
        let wled = Ambient { url: url.clone(), ..Ambient::default() };
        Target::new(&wled).unwrap().unwrap().show(Rgb(1, 2, 3), 40.0).await.unwrap();
        let house = Ambient {
            url: format!("{url}/light?score={{{{score}}}}"),
            kind: "http".into(),
            method: "put".into(),
            body: r#"{"rgb_color":[{{r}},{{g}},{{b}}],"hex":"{{hex}}"}"#.into(),
            headers: Secret::new("authorization=Bearer abc"),
        };
        Target::new(&house).unwrap().unwrap().show(Rgb(255, 16, 0), 39.6).await.unwrap();
        let asked = asked.0.lock().unwrap().clone();
        let wled: serde_json::Value = serde_json::from_str(&asked[0].2).unwrap();
        assert_eq!(asked[0].0, "POST /json/state");
        assert_eq!(wled["seg"][0]["col"][0], serde_json::json!([1, 2, 3]));
        assert_eq!(asked[1].0, "PUT /light?score=40");
        assert_eq!(asked[1].1, "Bearer abc");
        assert_eq!(asked[1].2, r#"{"rgb_color":[255,16,0],"hex":"ff1000"}"#);
    }

    #[tokio::test]
    async fn a_lamp_that_refuses_is_told_of_once_and_without_its_key() {
        let (url, asked) = server().await;
        *asked.1.lock().unwrap() = StatusCode::FORBIDDEN;
        let settings =
            Ambient { url, headers: Secret::new("authorization=Bearer abc"), ..Ambient::default() };
        let target = Target::new(&settings).unwrap().unwrap();
        let (view, seen) = watch::channel(LiveView { phase: Phase::Playing, ..LiveView::default() });
        let said = Arc::new(Mutex::new(Vec::new()));
        let lines = said.clone();
        let following = tokio::spawn(follow(target, seen, move |line| lines.lock().unwrap().push(line)));
        for score in [10.0, 90.0, 20.0, 80.0] {
            view.send_modify(|v| v.scores.overall = Some(score));
            while asked.0.lock().unwrap().is_empty() || said.lock().unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        drop(view);
        following.await.unwrap();
        let said = said.lock().unwrap().clone();
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("403") && !said[0].contains("abc"), "{said:?}");
        assert_eq!(asked.0.lock().unwrap().len(), 1, "and it is left alone for a while");
    }

    #[test]
    fn mistakes_in_the_settings_are_named_and_keys_are_not() {
        let with = |change: fn(&mut Ambient)| {
            let mut settings = Ambient { url: "http://lamp.local".into(), ..Ambient::default() };
            change(&mut settings);
            Target::new(&settings).map(|t| t.is_some())
        };
        assert_eq!(with(|_| {}), Ok(true));
        assert_eq!(with(|s| s.url.clear()), Ok(false));
        assert!(with(|s| s.url = "lamp".into()).unwrap_err().starts_with("ambient.url"));
        assert!(with(|s| s.method = "a b".into()).unwrap_err().starts_with("ambient.method"));
        let error = with(|s| s.headers = Secret::new("hunter2")).unwrap_err();
        assert!(error.starts_with("ambient.headers") && !error.contains("hunter2"), "{error}");
    }
}

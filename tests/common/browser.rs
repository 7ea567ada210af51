//! Debian's Chromium, driven through its own chromedriver: a fresh profile, nothing of the machine's, no network of its
//! own. What a page complains of on its console fails the test that looks at it.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::prelude::*;
use thirtyfour::{ChromiumLikeCapabilities, LoggingPrefsLogLevel};
use tokio::sync::{Mutex, MutexGuard};

use crate::common::process::{Program, Running};
use crate::common::require_programs;

/// Longest wait for the browser or a page; it only ends a test that hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// Only what a test needs: no first run, no updates, no sync, no speech, no GPU.
const ARGUMENTS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
];

/// How a page is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// For names of screenshots.
    pub name: &'static str,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
}

/// A laptop.
pub const DESKTOP: Look = Look { name: "desktop", width: 1280, height: 800 };
/// A small phone.
pub const PHONE: Look = Look { name: "phone", width: 360, height: 740 };

/// A browser; it ends with all its processes when dropped.
pub struct Browser {
    /// WebDriver's own handle.
    pub driver: WebDriver,
    _chromedriver: Running,
    profile: TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// Browsers take turns: a small machine is slower with two than with one after the other.
static TURN: Mutex<()> = Mutex::const_new(());

impl Browser {
    /// Starts it.
    ///
    /// # Panics
    /// Without Chromium and its driver, with the packages to install.
    pub async fn start() -> Self {
        let turn = TURN.lock().await;
        // WebDriver's client wants one even for plain HTTP. An error only means that another test was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        require_programs("the browser tests", &["chromium", "chromedriver"], "chromium chromium-driver");
        let mut chromedriver = Program::new("chromedriver").spawn(&["--port=0"]);
        let said = chromedriver.wait_for("started successfully on port", PATIENCE);
        let port = said.rsplit("on port ").next().unwrap_or_default();
        let port: u16 = port
            .trim()
            .trim_end_matches('.')
            .parse()
            .unwrap_or_else(|_| panic!("chromedriver names no port:\n{said}"));
        let profile = tempfile::tempdir().expect("a folder for the profile");
        let mut wishes = DesiredCapabilities::chrome();
        for argument in ARGUMENTS {
            wishes.add_arg(argument).expect("arguments are plain words");
        }
        wishes
            .add_arg(&format!("--user-data-dir={}", profile.path().display()))
            .expect("arguments are plain words");
        wishes.set_browser_log_level(LoggingPrefsLogLevel::All).expect("a plain value");
        let driver = WebDriver::new(format!("http://127.0.0.1:{port}"), wishes)
            .await
            .unwrap_or_else(|e| panic!("Chromium does not start: {e}"));
        Self { driver, _chromedriver: chromedriver, profile, _turn: turn }
    }

    /// Ends it properly.
    pub async fn close(&self) {
        self.driver.clone().quit().await.expect("the browser ends");
    }

    /// A command of the DevTools protocol.
    pub async fn devtools(&self, command: &str, values: Value) -> Value {
        self.driver.cdp().send_raw(command, values).await.unwrap_or_else(|e| panic!("{command}: {e}"))
    }

    /// Looks as a device of this size would.
    pub async fn look(&self, look: Look) {
        let mobile = look.width < 600;
        let metrics =
            json!({ "width": look.width, "height": look.height, "deviceScaleFactor": 1, "mobile": mobile });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// Prefers dark or light, and less motion when asked.
    pub async fn prefer(&self, scheme: &str, less_motion: bool) {
        let motion = if less_motion { "reduce" } else { "no-preference" };
        let features = json!([
            { "name": "prefers-color-scheme", "value": scheme },
            { "name": "prefers-reduced-motion", "value": motion },
        ]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// Opens a page.
    pub async fn open(&self, url: &str) {
        self.driver.goto(url).await.unwrap_or_else(|e| panic!("{url}: {e}"));
    }

    /// What a script returns.
    pub async fn run(&self, script: &str) -> Value {
        let done = self.driver.execute(script, Vec::new()).await;
        done.unwrap_or_else(|e| panic!("{script}: {e}")).json().clone()
    }

    /// Waits until a script returns `true`.
    ///
    /// # Panics
    /// When it does not, with `what`, what the script returned last and the text of the page.
    pub async fn until(&self, what: &str, script: &str) {
        let start = Instant::now();
        loop {
            let answer = self.run(script).await;
            if answer == Value::Bool(true) {
                return;
            }
            if start.elapsed() > PATIENCE {
                let page = self.run("return document.body.innerText").await;
                panic!("waited in vain for {what}: {answer}\n{}", page.as_str().unwrap_or_default());
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// Presses a key, as a keyboard does: `Tab`, ` `, `m`.
    pub async fn press(&self, key: &str) {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            " " => 32,
            letter => u32::from(letter.to_ascii_uppercase().as_bytes()[0]),
        };
        let text = match key {
            "Tab" => "",
            "Enter" => "\r",
            other => other,
        };
        let down = if text.is_empty() { "rawKeyDown" } else { "keyDown" };
        let values =
            |kind: &str| json!({ "type": kind, "key": key, "windowsVirtualKeyCode": code, "text": text });
        self.devtools("Input.dispatchKeyEvent", values(down)).await;
        self.devtools(
            "Input.dispatchKeyEvent",
            json!({ "type": "keyUp", "key": key, "windowsVirtualKeyCode": code }),
        )
        .await;
    }

    /// Errors and warnings of the page since it was asked last; refusals by the content security policy are among them.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self.driver.browser_log().await.expect("the log was asked for at the start");
        log.into_iter()
            .filter(|entry| matches!(entry.level.as_str(), "SEVERE" | "WARNING"))
            .map(|entry| format!("{}: {}", entry.level, entry.message))
            .collect()
    }

    /// Keeps a picture of the whole page in `target/screenshots`.
    pub async fn picture(&self, name: &str) {
        let metrics = self.devtools("Page.getLayoutMetrics", json!({})).await;
        let size = &metrics["cssContentSize"];
        let shown = &metrics["cssVisualViewport"];
        // No taller than a poster: a long history is the same all the way down. The screen is made as tall, so that what
        // clings to its lower edge does not lie across the middle.
        let least = shown["clientHeight"].as_f64().unwrap_or(600.0);
        let height = size["height"].as_f64().unwrap_or(least).clamp(least, 4000.0) as u32;
        let width = shown["clientWidth"].as_f64().unwrap_or(800.0) as u32;
        self.look(Look { name: "", width, height }).await;
        let picture = self.devtools("Page.captureScreenshot", json!({ "format": "png" })).await;
        self.look(Look { name: "", width, height: least as u32 }).await;
        use base64::Engine as _;
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(picture["data"].as_str().unwrap_or_default())
            .expect("DevTools sends base64");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().map(|t| t.join("screenshots"));
        let folder: PathBuf = folder.expect("the folder for tests lies in target");
        std::fs::create_dir_all(&folder).expect("target can be written");
        std::fs::write(folder.join(format!("{name}.png")), bytes).expect("target can be written");
    }

    /// How much wider than the screen the page is, pixels.
    pub async fn overflow(&self) -> i64 {
        let script = "const d = document.documentElement; return Math.max(d.scrollWidth, document.body.scrollWidth) - innerWidth";
        self.run(script).await.as_i64().unwrap_or(i64::MAX)
    }

    /// Which elements stick out to the right, for the message of a test.
    pub async fn sticking_out(&self) -> String {
        let script = "return [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)\
                      .slice(0, 5).map(e => e.outerHTML.slice(0, 120)).join('\\n')";
        self.run(script).await.as_str().unwrap_or_default().to_owned()
    }

    /// Visible things that can be used but that Tab does not reach, or that have no name for a screen reader.
    pub async fn out_of_reach(&self) -> Vec<String> {
        let count = self
            .run(
                "const wanted = [...document.querySelectorAll('a[href],button,input,select,textarea,summary')].filter(e =>\
                 !e.disabled && e.type !== 'hidden' && e.checkVisibility({ visibilityProperty: true }));\
                 window.wanted = new Set(wanted); document.activeElement?.blur(); window.scrollTo(0, 0);\
                 document.body.tabIndex = -1; document.body.focus(); document.body.removeAttribute('tabindex');\
                 return wanted.length",
            )
            .await
            .as_u64()
            .unwrap_or(0);
        // Some stops are not in the list: scrolling boxes, the browser's own.
        for _ in 0..count + 20 {
            self.press("Tab").await;
            let left =
                self.run("window.wanted.delete(document.activeElement); return window.wanted.size").await;
            if left == json!(0) {
                break;
            }
        }
        // One of a group of radio buttons is reached by Tab, the others by arrows.
        let unreached = self
            .run(
                "return [...window.wanted].filter(e => e.isConnected && e.checkVisibility() && e.type !== 'radio')\
                 .map(e => 'Tab does not reach ' + e.outerHTML.slice(0, 160))",
            )
            .await;
        let mut faults: Vec<String> = strings(&unreached);
        let tree = self.devtools("Accessibility.getFullAXTree", json!({})).await;
        const USED: [&str; 10] = [
            "button",
            "link",
            "textbox",
            "combobox",
            "checkbox",
            "radio",
            "slider",
            "spinbutton",
            "searchbox",
            "switch",
        ];
        for node in tree["nodes"].as_array().into_iter().flatten() {
            let role = node["role"]["value"].as_str().unwrap_or_default();
            let name = node["name"]["value"].as_str().unwrap_or_default().trim();
            if node["ignored"] != json!(true) && USED.contains(&role) && name.is_empty() {
                faults.push(format!("a {role} has no name: {}", node["properties"]));
            }
        }
        faults
    }
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|s| s.as_str().map(String::from)).collect()
}

impl Drop for Browser {
    /// Chromium is chromedriver's child and would outlive it: whoever works in our profile is ours, and is ended by id.
    fn drop(&mut self) {
        let ours = self.profile.path().display().to_string();
        let Ok(all) = std::fs::read_dir("/proc") else { return };
        for process in all.flatten() {
            let id = process.file_name().to_string_lossy().parse::<i32>();
            let Ok(id) = id else { continue };
            let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&command).contains(&ours) {
                // SAFETY: kill takes plain numbers and touches no memory of ours.
                unsafe { libc::kill(id, libc::SIGKILL) };
            }
        }
    }
}

//! The Hub's two cookies. Neither can be read by scripts or sent by other sites.

use axum::http::{HeaderMap, HeaderValue, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The player chosen with the switcher, [`pack`]ed.
pub const USER: &str = "fretcoach_user";
/// The token given at the login.
pub const TOKEN: &str = "fretcoach_token";
/// A year, seconds: a player logs in on a phone once.
const KEPT: u32 = 365 * 24 * 3600;

/// The cookie of this name, if the browser sent it.
#[must_use]
pub fn get(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
}

/// Any text as a cookie's value.
#[must_use]
pub fn pack(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// The text of a [`pack`]ed value; `None` for what is none.
#[must_use]
pub fn unpack(value: &str) -> Option<String> {
    URL_SAFE_NO_PAD.decode(value).ok().and_then(|bytes| String::from_utf8(bytes).ok())
}

/// What sets a cookie; an empty value takes it away. `secure`: for HTTPS alone.
///
/// # Panics
/// Never for packed texts and tokens: both are plain letters and digits.
#[must_use]
pub fn set(name: &str, value: &str, secure: bool) -> HeaderValue {
    let kept = if value.is_empty() { 0 } else { KEPT };
    let secure = if secure { "; Secure" } else { "" };
    let line = format!("{name}={value}; Path=/; Max-Age={kept}; HttpOnly; SameSite=Strict{secure}");
    HeaderValue::try_from(line).expect("values are packed or were accepted as tokens")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_survives_the_browser() {
        let mut headers = HeaderMap::new();
        for name in ["anna", "Zoë \"Z\"; Path=/", "李"] {
            let set = set(USER, &pack(name), false);
            let sent = set.to_str().unwrap().split(';').next().unwrap().to_owned();
            headers.insert(header::COOKIE, HeaderValue::try_from(format!("other=1; {sent}")).unwrap());
            assert_eq!(get(&headers, USER).and_then(|v| unpack(&v)).as_deref(), Some(name));
        }
        assert_eq!(get(&headers, TOKEN), None);
        assert_eq!(unpack("%%%"), None);
    }

    #[test]
    fn no_script_and_no_other_site_gets_it() {
        let text = set(TOKEN, "abc", true).to_str().unwrap().to_owned();
        assert!(text.contains("HttpOnly") && text.contains("SameSite=Strict") && text.contains("Secure"));
        assert!(set(TOKEN, "", false).to_str().unwrap().contains("Max-Age=0"));
    }
}

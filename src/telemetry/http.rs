//! The HTTP client under `opentelemetry-otlp`: it sees the status and the words of every answer, and it alone decides
//! where a request goes and what stands in its head.
//!
//! The exporter reads `OTEL_EXPORTER_OTLP_HEADERS` and others from the environment by itself and would add them to
//! *every* endpoint. Nothing of that survives here: of the exporter's request only the body and what describes it are
//! used; address and headers are this client's own.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use reqwest::Url;

use super::TelemetryError;

/// Longest answer that is read; an honest collector says a few words.
const MAX_ANSWER: usize = 64 * 1024;

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The server answered.
    Answered {
        status: u16,
        /// Its words; empty when they are no text.
        body: String,
        /// How long it asks us to wait.
        retry_after: Option<Duration>,
        /// Spans it says it has not taken, and why.
        partial: Option<(i64, String)>,
    },
    /// No answer came.
    Unreachable(String),
}

/// Sends to one endpoint.
#[derive(Debug)]
pub(super) struct OtlpClient {
    client: reqwest::Client,
    url: Url,
    headers: HeaderMap,
    last: Mutex<Option<Outcome>>,
}

impl OtlpClient {
    pub(super) fn new(url: Url, headers: HeaderMap, timeout: Duration) -> Result<Self, TelemetryError> {
        // Whoever comes first chooses the TLS implementation; it is the same one everywhere in this program.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .timeout(timeout)
            // A redirect would carry our headers to another host.
            .redirect(reqwest::redirect::Policy::none());
        if is_loopback(&url) {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|e| TelemetryError::Client(Box::new(e)))?;
        Ok(Self { client, url, headers, last: Mutex::new(None) })
    }

    /// What came of the last request; `None` when none was made since the last call.
    pub(super) fn take_outcome(&self) -> Option<Outcome> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn keep(&self, outcome: Outcome) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, reqwest::Error> {
        let (head, body) = request.into_parts();
        let mut headers = self.headers.clone();
        for name in [CONTENT_TYPE, CONTENT_ENCODING] {
            if let Some(value) = head.headers.get(&name) {
                headers.insert(name, value.clone());
            }
        }
        let mut answer = self.client.post(self.url.clone()).headers(headers).body(body).send().await?;
        let mut read = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            let room = MAX_ANSWER - read.len();
            read.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if read.len() == MAX_ANSWER {
                break;
            }
        }
        let mut response = Response::new(Bytes::from(read));
        *response.status_mut() = answer.status();
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        Ok(response)
    }
}

#[async_trait]
impl HttpClient for OtlpClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        match self.send(request).await {
            Ok(response) => {
                self.keep(Outcome::Answered {
                    status: response.status().as_u16(),
                    body: words(response.body()),
                    retry_after: retry_after(response.headers()),
                    partial: partial(&response),
                });
                Ok(response)
            }
            Err(error) => {
                self.keep(Outcome::Unreachable(crate::span::chain(&error.without_url())));
                Err("no answer".into())
            }
        }
    }
}

fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|h| matches!(h, "localhost" | "[::1]") || h.starts_with("127."))
}

/// The answer as text, control characters and bytes that are no text left out.
fn words(body: &[u8]) -> String {
    String::from_utf8_lossy(body)
        .chars()
        .filter(|c| *c != char::REPLACEMENT_CHARACTER && (*c == '\n' || !c.is_control()))
        .collect::<String>()
        .trim()
        .to_owned()
}

/// Seconds only: the form that collectors use. A date is treated as absent, and our own back-off applies.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// A success may still say that some spans were not taken (OTLP: partial success). Other bodies, such as Langfuse's
/// JSON, are no such message.
fn partial(response: &Response<Bytes>) -> Option<(i64, String)> {
    let kind = response.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    if !response.status().is_success() || !kind.starts_with("application/x-protobuf") {
        return None;
    }
    let said = ExportTraceServiceResponse::decode(response.body().as_ref()).ok()?.partial_success?;
    (said.rejected_spans > 0 || !said.error_message.is_empty())
        .then_some((said.rejected_spans, said.error_message))
}

/// The traces address of a collector: `/v1/traces` appended to its base, as the OpenTelemetry specification says.
pub(super) fn traces_url(base: &str) -> Result<Url, TelemetryError> {
    let wrong = |message: String| TelemetryError::Endpoint { endpoint: crate::http::shown(base), message };
    let trimmed = base.trim().trim_end_matches('/');
    let full =
        if trimmed.ends_with("/v1/traces") { trimmed.to_owned() } else { format!("{trimmed}/v1/traces") };
    // The base alone too: with a path appended, `http://` would take the path's first word for a host.
    let url = Url::parse(trimmed).and_then(|_| Url::parse(&full)).map_err(|e| wrong(e.to_string()))?;
    match url.scheme() {
        "http" | "https" if url.host_str().is_some() => Ok(url),
        other => Err(wrong(format!("`{other}` is neither http nor https"))),
    }
}

/// Headers written as `key=value,key=value`, values percent-encoded (OpenTelemetry's baggage form).
pub(super) fn parse_headers(text: &str) -> Result<HeaderMap, TelemetryError> {
    let mut headers = HeaderMap::new();
    for (n, pair) in text.split(',').map(str::trim).filter(|p| !p.is_empty()).enumerate() {
        // What is wrong may hold a key: only its place is told.
        let wrong = |message| TelemetryError::Headers { place: n + 1, message };
        let (name, value) = pair.split_once('=').ok_or_else(|| wrong("it has no `=`"))?;
        let name: HeaderName = name.trim().parse().map_err(|_| wrong("its name is no header name"))?;
        let value = percent_decode(value.trim()).ok_or_else(|| wrong("its %-encoding is broken"))?;
        let mut value = HeaderValue::from_bytes(&value).map_err(|_| wrong("its value is no header value"))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// What in these headers is a key, by the headers' names: other values (a project's name) are ordinary words.
pub(super) fn secrets_of(headers: &HeaderMap) -> Vec<String> {
    const TELLING: [&str; 6] = ["auth", "key", "token", "secret", "password", "cookie"];
    headers
        .iter()
        .filter(|(name, _)| TELLING.iter().any(|word| name.as_str().contains(word)))
        .filter_map(|(_, value)| value.to_str().ok())
        // `Bearer KEY`, `Basic KEY`: the key is one too without the word before it.
        .flat_map(|value| [Some(value), value.split_once(' ').map(|(_, key)| key)])
        .flatten()
        .map(str::to_owned)
        .collect()
}

fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digit = |b: Option<u8>| char::from(b?).to_digit(16);
                u8::try_from(digit(bytes.next())? * 16 + digit(bytes.next())?).ok()?
            }
            other => other,
        });
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_appended_once() {
        for base in ["http://c:4318", "http://c:4318/", " http://c:4318/v1/traces "] {
            assert_eq!(traces_url(base).unwrap().as_str(), "http://c:4318/v1/traces");
        }
        assert_eq!(traces_url("https://h/api/otel").unwrap().as_str(), "https://h/api/otel/v1/traces");
        for wrong in ["collector:4318", "ftp://h", "not an address", "http://"] {
            assert!(traces_url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn headers_are_decoded_and_mistakes_do_not_print_them() {
        let headers = parse_headers("authorization=Basic%20QUJD==, x-scope = a%2Cb ,").unwrap();
        assert_eq!(headers["authorization"], "Basic QUJD==");
        assert_eq!(headers["x-scope"], "a,b");
        assert_eq!(secrets_of(&headers), ["Basic QUJD==", "QUJD=="]);
        assert!(parse_headers("").unwrap().is_empty());
        for wrong in ["key-without-value", "a=ok,b b=x", "a=%2", "a=%zz"] {
            let error = parse_headers(wrong).unwrap_err().to_string();
            assert!(!error.contains(wrong) && error.contains("OTEL_EXPORTER_OTLP_HEADERS"), "{error}");
        }
    }

    #[test]
    fn a_partial_success_is_read_and_other_bodies_are_not() {
        use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;
        let said = ExportTracePartialSuccess { rejected_spans: 2, error_message: "too old".into() };
        let body = ExportTraceServiceResponse { partial_success: Some(said) }.encode_to_vec();
        let answer = |kind: &'static str, body: Vec<u8>| {
            let mut response = Response::new(Bytes::from(body));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            response
        };
        let read = partial(&answer("application/x-protobuf", body.clone()));
        assert_eq!(read, Some((2, "too old".into())));
        assert_eq!(partial(&answer("application/json", body)), None);
        assert_eq!(partial(&answer("application/x-protobuf", b"\xff\xff".to_vec())), None);
        assert_eq!(partial(&answer("application/x-protobuf", Vec::new())), None);
    }
}

//! The operator's side of the Unix socket: one request to the running daemon.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

/// How long an answer may take: longer than the daemon gives its shards.
const PATIENCE: Duration = Duration::from_secs(330);
/// The largest answer: a page of messages with all their recipients.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Why there is no answer. For people.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no ringpost is running on {0} (its control socket does not answer): start it with `ringpost serve`")]
    NotRunning(PathBuf),
    /// Somebody listens, but not to us.
    #[error("{0}: permission denied: run this command as the user that ringpost runs as, or as root")]
    NotPermitted(PathBuf),
    /// It was refused, or not done.
    #[error("{0}")]
    Refused(String),
    /// The connection, or what came through it.
    #[error("{0}: {1}")]
    Broken(PathBuf, String),
    /// No answer came.
    #[error("ringpost did not answer within {} s", PATIENCE.as_secs())]
    Silent,
}

/// Sends one request and gives back its JSON; an answer of another class than 2xx is an error.
pub fn request(socket: &Path, method: Method, target: &str, body: Option<&Value>) -> Result<Value, ClientError> {
    let body = body.map(Value::to_string).unwrap_or_default();
    parsed(socket, &exchange(socket, method, target, "application/json", body)?)
}

/// Sends a text and gives back the JSON that answers it.
pub fn send_text(socket: &Path, target: &str, text: String) -> Result<Value, ClientError> {
    parsed(socket, &exchange(socket, Method::POST, target, "text/csv", text)?)
}

/// Gives back a text.
pub fn fetch_text(socket: &Path, target: &str) -> Result<Bytes, ClientError> {
    exchange(socket, Method::GET, target, "text/csv", String::new())
}

fn parsed(socket: &Path, answer: &[u8]) -> Result<Value, ClientError> {
    serde_json::from_slice(answer).map_err(|error| ClientError::Broken(socket.to_owned(), error.to_string()))
}

fn exchange(socket: &Path, method: Method, target: &str, kind: &str, body: String) -> Result<Bytes, ClientError> {
    let broken = |error: String| ClientError::Broken(socket.to_owned(), error);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| broken(error.to_string()))?;
    runtime.block_on(async {
        let conversation = converse(socket, method, target, kind, body);
        tokio::time::timeout(PATIENCE, conversation).await.map_err(|_| ClientError::Silent)?
    })
}

async fn converse(socket: &Path, method: Method, target: &str, kind: &str, body: String) -> Result<Bytes, ClientError> {
    let broken = |error: &dyn std::fmt::Display| ClientError::Broken(socket.to_owned(), error.to_string());
    let stream = UnixStream::connect(socket).await.map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => ClientError::NotRunning(socket.to_owned()),
        ErrorKind::PermissionDenied => ClientError::NotPermitted(socket.to_owned()),
        _ => broken(&error),
    })?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    let driver = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header("host", "localhost")
        .header("content-type", kind)
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| broken(&error))?;
    let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
    let bytes = body.collect().await.map_err(|error| broken(&error))?.to_bytes();
    driver.abort();
    if status.is_success() {
        return Ok(bytes);
    }
    let answer = parsed(socket, &bytes)?;
    let why = answer["error"].as_str().map_or_else(|| format!("HTTP status {status}"), str::to_owned);
    Err(ClientError::Refused(why))
}

/// A query of those conditions that are given, or nothing.
pub fn query(conditions: &Value) -> String {
    let mut query = String::new();
    for (name, value) in conditions.as_object().into_iter().flatten() {
        query.push(if query.is_empty() { '?' } else { '&' });
        query.push_str(name);
        query.push('=');
        match value {
            Value::String(text) => push_encoded(&mut query, text),
            other => push_encoded(&mut query, &other.to_string()),
        }
    }
    query
}

fn push_encoded(query: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            query.push(char::from(byte));
        } else {
            query.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_hold_any_text() {
        let conditions = serde_json::json!({ "recipient": "a+b&c@тк", "limit": 5 });
        assert_eq!(query(&conditions), "?limit=5&recipient=a%2Bb%26c%40%D1%82%D0%BA");
        assert_eq!(query(&serde_json::json!({})), "");
    }

    #[test]
    fn nobody_there_is_said_plainly() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let socket = folder.path().join("control.sock");
        let error = request(&socket, Method::GET, "/health", None).expect_err("nobody listens");
        assert!(matches!(error, ClientError::NotRunning(_)), "{error}");
        drop(std::os::unix::net::UnixListener::bind(&socket).expect("a socket"));
        let error = request(&socket, Method::GET, "/health", None).expect_err("nobody listens any more");
        assert!(error.to_string().contains("ringpost serve"), "{error}");
    }
}

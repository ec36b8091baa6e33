//! The operator's side of the Unix socket: one request to the running daemon.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

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
    /// What came cannot be written down.
    #[error("the answer cannot be written: {0}")]
    Unwritten(std::io::Error),
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

/// Writes a text to `out` as it comes, whatever its length.
pub fn copy_text(socket: &Path, target: &str, out: &mut impl Write) -> Result<(), ClientError> {
    let broken = |error: &dyn std::fmt::Display| ClientError::Broken(socket.to_owned(), error.to_string());
    runtime(socket)?.block_on(async {
        let asked = ask(socket, Method::GET, target, "text/csv", String::new());
        let mut response = tokio::time::timeout(PATIENCE, asked).await.map_err(|_| ClientError::Silent)??;
        if !response.status().is_success() {
            return whole(socket, response).await.map(drop);
        }
        let body = response.body_mut();
        while let Some(frame) = tokio::time::timeout(PATIENCE, body.frame()).await.map_err(|_| ClientError::Silent)? {
            let frame = frame.map_err(|error| broken(&error))?;
            if let Some(piece) = frame.data_ref() {
                out.write_all(piece).map_err(ClientError::Unwritten)?;
            }
        }
        Ok(())
    })
}

fn parsed(socket: &Path, answer: &[u8]) -> Result<Value, ClientError> {
    serde_json::from_slice(answer).map_err(|error| ClientError::Broken(socket.to_owned(), error.to_string()))
}

fn exchange(socket: &Path, method: Method, target: &str, kind: &str, body: String) -> Result<Bytes, ClientError> {
    runtime(socket)?.block_on(async {
        let conversation = async { whole(socket, ask(socket, method, target, kind, body).await?).await };
        tokio::time::timeout(PATIENCE, conversation).await.map_err(|_| ClientError::Silent)?
    })
}

fn runtime(socket: &Path) -> Result<Runtime, ClientError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| ClientError::Broken(socket.to_owned(), error.to_string()))
}

async fn ask(
    socket: &Path,
    method: Method,
    target: &str,
    kind: &str,
    body: String,
) -> Result<Response<Incoming>, ClientError> {
    let broken = |error: &dyn std::fmt::Display| ClientError::Broken(socket.to_owned(), error.to_string());
    let stream = UnixStream::connect(socket).await.map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => ClientError::NotRunning(socket.to_owned()),
        ErrorKind::PermissionDenied => ClientError::NotPermitted(socket.to_owned()),
        _ => broken(&error),
    })?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    // It goes on for as long as the runtime does, which is for this one answer.
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header("host", "localhost")
        .header("content-type", kind)
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| broken(&error))?;
    sender.send_request(request).await.map_err(|error| broken(&error))
}

/// All of an answer; one of another class than 2xx is an error.
async fn whole(socket: &Path, response: Response<Incoming>) -> Result<Bytes, ClientError> {
    let broken = |error: &dyn std::fmt::Display| ClientError::Broken(socket.to_owned(), error.to_string());
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
    let bytes = body.collect().await.map_err(|error| broken(&error))?.to_bytes();
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

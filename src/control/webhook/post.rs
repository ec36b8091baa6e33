//! Posting one request to one endpoint, over a connection that is kept while it works.

use std::io;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Endpoint;
use super::letter::Letter;
use crate::config::webhook::Url;

/// Octets of an answer that are read, so that its connection can be used again.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Why events are not told. For people; never shows more of the URL than its host.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// No connection.
    #[error("{0} cannot be reached: {1}")]
    Unreachable(Box<str>, io::Error),
    /// The connection, or what came through it.
    #[error("{0}: {1}")]
    Broken(Box<str>, hyper::Error),
    /// An answer of another class than 2xx.
    #[error("{0} answered {1}")]
    Refused(Box<str>, StatusCode),
    /// An answer that sends us elsewhere.
    #[error("{0} answered {1}, but redirects are not followed: set the URL that it names")]
    Redirected(Box<str>, StatusCode),
    /// No answer came within so many seconds.
    #[error("{0} did not answer within {1} s")]
    Silent(Box<str>, u64),
    /// What cannot be said in HTTP.
    #[error("{0}: the request cannot be made: {1}")]
    Impossible(Box<str>, hyper::http::Error),
}

/// The way to an endpoint.
pub struct Post {
    endpoint: Endpoint,
    /// What worked last.
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Post {
    /// No connection yet.
    pub fn new(endpoint: Endpoint) -> Post {
        Post { endpoint, connection: None }
    }

    /// Posts a letter, signed as of `time_s` seconds since the epoch; done when the endpoint has answered 2xx.
    pub async fn send(&mut self, letter: &Letter, time_s: u64) -> Result<(), PostError> {
        let request = self.request(letter, time_s)?;
        let patience = self.endpoint.webhook.timeout;
        let silent = PostError::Silent(self.host(), patience.as_secs());
        tokio::time::timeout(patience, self.exchange(request)).await.map_err(|_| silent)?
    }

    fn request(&self, letter: &Letter, time_s: u64) -> Result<Request<Full<Bytes>>, PostError> {
        let url = &self.endpoint.webhook.url;
        Request::post(&*url.target)
            .header("host", authority(url))
            .header("content-type", "application/json")
            .header("user-agent", concat!("ringpost/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", &letter.id)
            .header("webhook-timestamp", time_s)
            .header("webhook-signature", self.endpoint.secrets.sign(&letter.id, time_s, &letter.body))
            .body(Full::new(letter.body.clone()))
            .map_err(|error| PostError::Impossible(self.host(), error))
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<(), PostError> {
        // A kept connection may have been closed meanwhile, which says nothing about the endpoint.
        if let Some(mut kept) = self.connection.take()
            && kept.ready().await.is_ok()
            && let Ok(response) = kept.send_request(request.clone()).await
        {
            return self.conclude(kept, response).await;
        }
        let mut fresh = self.connect().await?;
        let response = fresh.send_request(request).await.map_err(|error| PostError::Broken(self.host(), error))?;
        self.conclude(fresh, response).await
    }

    /// Judges an answer; a connection on which it came whole is kept.
    async fn conclude(
        &mut self,
        connection: SendRequest<Full<Bytes>>,
        response: Response<Incoming>,
    ) -> Result<(), PostError> {
        let status = response.status();
        if Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.is_ok() {
            self.connection = Some(connection);
        }
        match status {
            _ if status.is_success() => Ok(()),
            _ if status.is_redirection() => Err(PostError::Redirected(self.host(), status)),
            _ => Err(PostError::Refused(self.host(), status)),
        }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, PostError> {
        let unreachable = |error| PostError::Unreachable(self.host(), error);
        let url = &self.endpoint.webhook.url;
        let stream = TcpStream::connect((&*url.host, url.port)).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        match &self.endpoint.tls {
            None => self.speak(stream).await,
            Some(tls) => {
                let name = ServerName::try_from(url.host.to_string())
                    .map_err(|error| unreachable(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
                let stream = TlsConnector::from(tls.clone()).connect(name, stream).await.map_err(unreachable)?;
                self.speak(stream).await
            }
        }
    }

    async fn speak(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<SendRequest<Full<Bytes>>, PostError> {
        let broken = |error| PostError::Broken(self.host(), error);
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // It ends with the sender; what is wrong with it the sender tells.
        tokio::spawn(connection);
        Ok(sender)
    }

    fn host(&self) -> Box<str> {
        self.endpoint.webhook.url.host.clone()
    }
}

/// `Host`: with a port where it is not the scheme's own (RFC 9110 §7.2).
fn authority(url: &Url) -> String {
    let host = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.to_string() };
    let own = if url.tls { 443 } else { 80 };
    if url.port == own { host } else { format!("{host}:{}", url.port) }
}

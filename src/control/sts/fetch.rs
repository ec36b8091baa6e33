//! Fetching a policy over HTTPS (RFC 8461 §3.3). Redirects are not followed.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::super::resolver;
use super::Access;
use crate::assurance::sts::{Missing, POLICY_BYTES_MAX};
use crate::dns::Answer;

/// Where a policy host has it.
const PATH: &str = "/.well-known/mta-sts.txt";

/// How long all of it may take (§3.3 suggests a minute).
const PATIENCE: Duration = Duration::from_secs(30);

/// Addresses of a policy host that are tried.
const ADDRESSES_MAX: usize = 4;

/// Why there is no policy.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// The policy host has no address.
    #[error("the policy host has no address")]
    NoAddress,
    /// No connection, or no certificate of the policy host's.
    #[error("the policy host cannot be reached: {0}")]
    Unreachable(#[from] io::Error),
    /// The connection, or what came through it.
    #[error("the policy host's answer: {0}")]
    Broken(#[from] hyper::Error),
    /// What cannot be said in HTTP.
    #[error("the request cannot be made: {0}")]
    Impossible(#[from] hyper::http::Error),
    /// Another answer than 200.
    #[error("the policy host answered {0}")]
    Refused(StatusCode),
    /// Of another type than text/plain.
    #[error("the policy is not text/plain")]
    OddType,
    /// Larger than a policy is, or cut off.
    #[error("the policy did not come whole, or is too large")]
    NotWhole,
    /// It took too long.
    #[error("no policy within {} s", PATIENCE.as_secs())]
    Silent,
}

impl FetchError {
    /// What reports say of it.
    pub fn missing(&self) -> Missing {
        match self {
            FetchError::Unreachable(error) => {
                let error = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
                match error {
                    Some(rustls::Error::InvalidCertificate(_)) => Missing::Untrusted,
                    _ => Missing::Unfetched,
                }
            }
            FetchError::OddType | FetchError::NotWhole => Missing::Invalid,
            _ => Missing::Unfetched,
        }
    }
}

/// The policy file of `domain`.
pub(super) async fn file(resolver: &TokioResolver, access: &Access, domain: &str) -> Result<Bytes, FetchError> {
    tokio::time::timeout(PATIENCE, exchange(resolver, access, domain)).await.map_err(|_| FetchError::Silent)?
}

async fn exchange(resolver: &TokioResolver, access: &Access, domain: &str) -> Result<Bytes, FetchError> {
    let host = format!("mta-sts.{domain}");
    let Answer::Addresses(addresses, _) = resolver::addresses(resolver, &host).await else {
        return Err(FetchError::NoAddress);
    };
    let no_tls = || io::Error::new(io::ErrorKind::Unsupported, "no TLS");
    let tls = TlsConnector::from(access.tls.clone().ok_or_else(no_tls)?);
    let name =
        ServerName::try_from(host.clone()).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let stream = tls.connect(name, connect(&addresses, access.port).await?).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the sender; what is wrong with it the sender tells.
    tokio::spawn(connection);
    let request = Request::get(PATH)
        .header("host", if access.port == 443 { host } else { format!("{host}:{}", access.port) })
        .header("user-agent", concat!("ringpost/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    if response.status() != StatusCode::OK {
        return Err(FetchError::Refused(response.status()));
    }
    let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/plain")) {
        return Err(FetchError::OddType);
    }
    let body = Limited::new(response.into_body(), POLICY_BYTES_MAX).collect().await;
    body.map(|body| body.to_bytes()).map_err(|_| FetchError::NotWhole)
}

async fn connect(addresses: &[IpAddr], port: u16) -> Result<TcpStream, FetchError> {
    let mut last = FetchError::NoAddress;
    for address in addresses.iter().take(ADDRESSES_MAX) {
        match TcpStream::connect(SocketAddr::new(*address, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

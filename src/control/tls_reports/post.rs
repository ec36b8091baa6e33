//! Posting a report to the URL that a domain names (RFC 8460 §5.4).
//!
//! A stranger chooses the URL, and what its name leads to; so it may be a host of our own network. What that host gets to
//! see is the beginning of a TLS handshake, at most: a report leaves only when the certificate is a trusted one for the
//! URL's name, redirects are not followed, and nothing of an answer but its status is looked at. An address in place of a
//! name is refused. A policy host (`control::sts`) is met in the same way.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::super::resolver;
use crate::config::webhook;
use crate::dns::Answer;

/// How long one report may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Addresses of a host that are tried.
const ADDRESSES_MAX: usize = 4;

/// Posts `report`, which is compressed.
///
/// # Errors
/// Why it was not taken; for people.
pub(super) async fn post(
    resolver: &TokioResolver,
    tls: Option<Arc<ClientConfig>>,
    url: &str,
    report: Vec<u8>,
) -> Result<(), String> {
    let exchange = exchange(resolver, tls, url, report);
    tokio::time::timeout(PATIENCE, exchange).await.map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))?
}

async fn exchange(
    resolver: &TokioResolver,
    tls: Option<Arc<ClientConfig>>,
    url: &str,
    report: Vec<u8>,
) -> Result<(), String> {
    let url = webhook::url(url)?;
    if url.host.parse::<IpAddr>().is_ok() {
        return Err("its host is an address: no certificate would tell whose it is".into());
    }
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let tls = TlsConnector::from(tls.ok_or("there is no TLS to post with")?);
    let name = ServerName::try_from(url.host.to_string()).map_err(|error| words(&error))?;
    let stream = connect(resolver, &url.host, url.port).await.map_err(|error| words(&error))?;
    let stream = tls.connect(name, stream).await.map_err(|error| words(&error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| words(&error))?;
    // It ends with the sender; what is wrong with it the sender tells.
    tokio::spawn(connection);
    let request = Request::post(&*url.target)
        .header("host", if url.port == 443 { url.host.to_string() } else { format!("{}:{}", url.host, url.port) })
        .header("user-agent", concat!("ringpost/", env!("CARGO_PKG_VERSION")))
        .header("content-type", "application/tlsrpt+gzip")
        .body(Full::new(Bytes::from(report)))
        .map_err(|error| words(&error))?;
    let response = sender.send_request(request).await.map_err(|error| words(&error))?;
    if response.status().is_success() { Ok(()) } else { Err(format!("it answered {}", response.status())) }
}

async fn connect(resolver: &TokioResolver, host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    let Answer::Addresses(addresses, _) = resolver::addresses(resolver, host).await else { return Err(last) };
    for address in addresses.into_iter().take(ADDRESSES_MAX) {
        match TcpStream::connect(SocketAddr::new(address, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assurance::Trust;
    use crate::control::resolver::build;

    #[test]
    fn nothing_is_posted_to_addresses_odd_urls_or_without_tls() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let resolver = build(&["127.0.0.1:9".parse().expect("an address")], Duration::from_millis(1)).expect("one");
            let tls = shards::tls::client_config_with_roots(Trust::default().usual).ok();
            for (url, why) in [
                ("https://127.0.0.1/x", "address"),
                ("https://127.0.0.1:8443/x", "address"),
                ("https://[::1]/x", "address"),
                ("https://[::ffff:10.0.0.1]:443/", "address"),
                ("https://a.test/\r\nHost: b.test", "ASCII"),
                ("https://a.test\r\n/x", "URL"),
                ("https://user@a.test/x", "user"),
            ] {
                let refused = post(&resolver, tls.clone(), url, vec![1]).await.expect_err("not posted");
                assert!(refused.contains(why), "{url}: {refused}");
            }
        });
    }
}

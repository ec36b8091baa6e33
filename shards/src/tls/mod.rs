//! TLS over a [`Stream`]: rustls without an executor's traits, one connection type for both plain and encrypted.
//!
//! Owns: the handshake, records, close_notify, how configurations are built from PEM. Never: when to encrypt (STARTTLS and
//! implicit TLS are the caller's), what a certificate's name must be beyond what the given configuration checks.
//! A peer that closes without close_notify has closed, no more: the protocols above mark the ends of their messages, and
//! many peers never say it.
//! RFC: 5246, 8446; versions before 1.2 do not exist here (RFC 8996).
//! Limits: a connection that waits for its peer holds its keys and one buffer of 4 KiB (8 KiB of memory in all, measured);
//! one that sends, 64 KiB more.

mod config;
mod session;
#[cfg(test)]
mod tests;
mod validity;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConnection, ServerConnection};

use crate::Reactor;
use crate::net::{Chunk, Stream};
pub use config::{
    TlsError, authorities, client_config_trusting, client_config_unverified, client_config_verified_by,
    client_config_with_roots, every_scheme, server_config,
};
use session::Session;
pub use validity::{Validity, validities};

/// How long [`Connection::close`] waits for a peer that does not read.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// A connection that is plain, or encrypted since [`Connection::accept_tls`] or [`Connection::connect_tls`].
pub struct Connection(Kind);

enum Kind {
    Plain(Stream),
    /// Boxed, so that a plain connection does not pay for it.
    Encrypted(Box<Session>),
}

/// What the handshake agreed on, for trace fields and events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    /// As in RFC 8446 and 5246 registries' usual spelling: `TLSv1.3`, `TLSv1.2`.
    pub protocol: &'static str,
    /// The IANA name of the cipher suite.
    pub cipher: &'static str,
    /// Whether the session was resumed.
    pub resumed: bool,
}

impl Connection {
    /// A plain connection.
    pub fn plain(stream: Stream) -> Self {
        Self(Kind::Plain(stream))
    }

    /// The server's side of a handshake, within `patience` in all. Consumes the plain connection.
    pub async fn accept_tls(
        self,
        reactor: &Reactor,
        config: Arc<rustls::ServerConfig>,
        patience: Duration,
    ) -> io::Result<Connection> {
        let tls = ServerConnection::new(config).map_err(session::broken)?;
        self.encrypt(reactor, tls.into(), patience).await
    }

    /// The client's side of a handshake, within `patience` in all.
    pub async fn connect_tls(
        self,
        reactor: &Reactor,
        config: Arc<rustls::ClientConfig>,
        name: rustls::pki_types::ServerName<'static>,
        patience: Duration,
    ) -> io::Result<Connection> {
        let tls = ClientConnection::new(config, name).map_err(session::broken)?;
        self.encrypt(reactor, tls.into(), patience).await
    }

    async fn encrypt(self, reactor: &Reactor, tls: rustls::Connection, patience: Duration) -> io::Result<Connection> {
        let Kind::Plain(stream) = self.0 else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the connection is encrypted already"));
        };
        let mut session = Session::new(reactor, stream, tls);
        match reactor.timeout(patience, session.handshake()).await {
            Ok(outcome) => outcome?,
            Err(_) => {
                let why = if session.heard() { "the peer stopped in it" } else { "the peer said nothing" };
                return Err(io::Error::new(io::ErrorKind::TimedOut, format!("no TLS handshake in time: {why}")));
            }
        }
        Ok(Connection(Kind::Encrypted(Box::new(session))))
    }

    /// The peer's address.
    pub fn peer(&self) -> SocketAddr {
        self.stream().peer()
    }

    /// Our own address.
    pub fn local(&self) -> SocketAddr {
        self.stream().local()
    }

    fn stream(&self) -> &Stream {
        match &self.0 {
            Kind::Plain(stream) => stream,
            Kind::Encrypted(session) => session.stream(),
        }
    }

    /// What the handshake agreed on; `None` while plain.
    pub fn tls(&self) -> Option<TlsFacts> {
        match &self.0 {
            Kind::Plain(_) => None,
            Kind::Encrypted(session) => session.facts(),
        }
    }

    /// The next (decrypted) bytes. Empty: the peer has closed its side. A peer that sends records without content is
    /// waited for no longer than `patience` in all.
    pub async fn receive(&mut self, patience: Duration) -> io::Result<Chunk> {
        match &mut self.0 {
            Kind::Plain(stream) => stream.receive(patience).await,
            Kind::Encrypted(session) => session.receive(patience).await,
        }
    }

    /// Sends all of `bytes` and empties it. `patience` renews with progress. After an error, or when the future was
    /// dropped, how much has gone out is unknown: close or drop the connection.
    pub async fn send(&mut self, bytes: &mut Vec<u8>, patience: Duration) -> io::Result<()> {
        match &mut self.0 {
            Kind::Plain(stream) => stream.send(bytes, patience).await,
            Kind::Encrypted(session) => session.send(bytes, patience).await,
        }
    }

    /// Says close_notify where encrypted, and closes.
    pub async fn close(self) {
        if let Kind::Encrypted(session) = self.0 {
            session.close(CLOSE_PATIENCE).await;
        }
    }

    /// Closes at once with a reset; for peers that play faults.
    pub fn reset(self) {
        match self.0 {
            Kind::Plain(stream) => stream.reset(),
            Kind::Encrypted(session) => session.into_stream().reset(),
        }
    }
}

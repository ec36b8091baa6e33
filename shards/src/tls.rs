//! TLS over a [`Stream`]: rustls without an executor's traits, one connection type for both plain and encrypted.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::net::{Chunk, Stream};

/// A connection that is plain, or encrypted since [`Connection::accept_tls`] or [`Connection::connect_tls`].
pub struct Connection(Stream);

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
        Self(stream)
    }

    /// The server's side of a handshake, within `patience` in all. Consumes the plain connection.
    pub async fn accept_tls(self, _config: Arc<rustls::ServerConfig>, _patience: Duration) -> io::Result<Connection> {
        todo!()
    }

    /// The client's side of a handshake, within `patience` in all.
    pub async fn connect_tls(
        self,
        _config: Arc<rustls::ClientConfig>,
        _name: rustls::pki_types::ServerName<'static>,
        _patience: Duration,
    ) -> io::Result<Connection> {
        todo!()
    }

    /// The peer's address.
    pub fn peer(&self) -> SocketAddr {
        self.0.peer()
    }

    /// Our own address.
    pub fn local(&self) -> SocketAddr {
        self.0.local()
    }

    /// What the handshake agreed on; `None` while plain.
    pub fn tls(&self) -> Option<TlsFacts> {
        todo!()
    }

    /// The next (decrypted) bytes. Empty: the peer has closed its side.
    pub async fn receive(&mut self, _patience: Duration) -> io::Result<Chunk> {
        todo!()
    }

    /// Sends all of `bytes` and empties it.
    pub async fn send(&mut self, _bytes: &mut Vec<u8>, _patience: Duration) -> io::Result<()> {
        todo!()
    }

    /// Says close_notify where encrypted, and closes.
    pub async fn close(self) {
        todo!()
    }

    /// Closes at once with a reset; for peers that play faults.
    pub fn reset(self) {
        todo!()
    }
}

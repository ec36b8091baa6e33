//! An encrypted connection: a rustls session that is fed from a stream and drained into it.

use std::io::{self, BufRead, Read, Write};
use std::mem;
use std::time::Duration;

use rustls::{CipherSuite, HandshakeKind, ProtocolVersion};

use super::TlsFacts;
use crate::Reactor;
use crate::net::{Chunk, Stream};

/// Encrypted bytes that are made before they are sent.
const SEND_BYTES_MAX: usize = 64 * 1024;

/// Longer than any patience: where the whole handshake has one.
const UNLIMITED: Duration = Duration::from_secs(365 * 24 * 60 * 60);

pub(super) struct Session {
    reactor: Reactor,
    stream: Stream,
    tls: rustls::Connection,
    /// Decrypted bytes that nobody has taken yet.
    received: Vec<u8>,
    /// Whether the peer said close_notify, or closed without it.
    closed: bool,
    /// Whether it said, or closed, anything in the handshake.
    heard: bool,
}

/// Whether a peer begins in plain text. A record begins with its type, which is below 32 (RFC 8446 §5.1).
fn is_text(begin: &[u8]) -> bool {
    begin.first().is_some_and(|octet| (b' '..=b'~').contains(octet) || octet.is_ascii_whitespace())
}

/// A reader that has nothing yet: lets rustls shrink its buffer, which it does before it reads.
struct NothingYet;

impl Read for NothingYet {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

impl Session {
    pub(super) fn new(reactor: &Reactor, stream: Stream, mut tls: rustls::Connection) -> Session {
        tls.set_buffer_limit(Some(SEND_BYTES_MAX));
        Session { reactor: reactor.clone(), stream, tls, received: Vec::new(), closed: false, heard: false }
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    pub(super) fn into_stream(self) -> Stream {
        self.stream
    }

    /// Completes the handshake. Waits as long as it takes: the caller limits the whole of it.
    pub(super) async fn handshake(&mut self) -> io::Result<()> {
        loop {
            self.flush(UNLIMITED).await?;
            if !self.tls.is_handshaking() {
                return Ok(());
            }
            let chunk = self.stream.receive(UNLIMITED).await?;
            let is_first = !mem::replace(&mut self.heard, true);
            if chunk.is_empty() {
                let when = if is_first { "before" } else { "during" };
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("closed {when} the TLS handshake")));
            }
            let taken = self.take_in(&chunk, UNLIMITED).await;
            if is_first && is_text(&chunk) {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "plain text where TLS was to begin"));
            }
            taken?;
        }
    }

    /// Whether anything came from the peer in the handshake.
    pub(super) fn heard(&self) -> bool {
        self.heard
    }

    pub(super) async fn receive(&mut self, patience: Duration) -> io::Result<Chunk> {
        let deadline = self.reactor.now() + patience;
        while self.received.is_empty() && !self.closed {
            let chunk = self.stream.receive(deadline.since(self.reactor.now())).await?;
            if chunk.is_empty() {
                self.closed = true;
            } else {
                self.take_in(&chunk, deadline.since(self.reactor.now())).await?;
            }
        }
        Ok(Chunk::owned(mem::take(&mut self.received)))
    }

    pub(super) async fn send(&mut self, bytes: &mut Vec<u8>, patience: Duration) -> io::Result<()> {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let taken = self.tls.writer().write(rest)?;
            if taken == 0 {
                return Err(io::Error::new(io::ErrorKind::WriteZero, "TLS takes no more bytes"));
            }
            rest = &rest[taken..];
            self.flush(patience).await?;
        }
        bytes.clear();
        Ok(())
    }

    /// Says close_notify to a peer that will hear it within `patience`, and closes.
    pub(super) async fn close(mut self, patience: Duration) {
        self.tls.send_close_notify();
        // The peer may be gone already; closing is all that is left to do.
        let _ = self.flush(patience).await;
    }

    pub(super) fn facts(&self) -> Option<TlsFacts> {
        let protocol = match self.tls.protocol_version()? {
            ProtocolVersion::TLSv1_3 => "TLSv1.3",
            ProtocolVersion::TLSv1_2 => "TLSv1.2",
            _ => return None,
        };
        let cipher = iana_name(self.tls.negotiated_cipher_suite()?.suite());
        Some(TlsFacts { protocol, cipher, resumed: self.tls.handshake_kind() == Some(HandshakeKind::Resumed) })
    }

    /// Decrypts `chunk` into `received`, and answers what asks for an answer on the TLS layer.
    async fn take_in(&mut self, chunk: &[u8], patience: Duration) -> io::Result<()> {
        let decrypted = self.decrypt(chunk);
        if self.tls.wants_write() {
            // After an error this is the alert that tells the peer why; the error is what counts.
            let answered = self.flush(patience).await;
            decrypted.and(answered)
        } else {
            decrypted
        }
    }

    fn decrypt(&mut self, mut chunk: &[u8]) -> io::Result<()> {
        while !chunk.is_empty() {
            // Nothing is read after close_notify; what may still come is no part of the session.
            if self.tls.read_tls(&mut chunk)? == 0 {
                break;
            }
            let state = self.tls.process_new_packets().map_err(broken)?;
            let end = self.received.len() + state.plaintext_bytes_to_read();
            while self.received.len() < end {
                let mut reader = self.tls.reader();
                let bytes = reader.fill_buf()?;
                let taken = bytes.len();
                self.received.extend_from_slice(bytes);
                reader.consume(taken);
            }
            self.closed |= state.peer_has_closed();
        }
        match self.tls.read_tls(&mut NothingYet) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }

    /// Sends what TLS has made. The buffer lives as long as that takes.
    async fn flush(&mut self, patience: Duration) -> io::Result<()> {
        let mut bytes = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut bytes)?;
        }
        if bytes.is_empty() { Ok(()) } else { self.stream.send(&mut bytes, patience).await }
    }
}

/// What rustls refuses, as an error of the connection.
pub(super) fn broken(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// rustls names the suites of TLS 1.3 in its own way.
fn iana_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        suite => suite.as_str().unwrap_or("unknown"),
    }
}

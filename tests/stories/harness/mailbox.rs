//! A destination that keeps what it gets, byte for byte, and can be told to misbehave.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::{PATIENCE, wait_for};

/// A message as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// MAIL's argument.
    pub mail: String,
    /// RCPTs' arguments that were answered 250.
    pub rcpt: Vec<String>,
    /// The content, dots unstuffed.
    pub content: Vec<u8>,
    /// The client's address, and what it called itself in EHLO.
    pub client: (IpAddr, String),
}

impl Received {
    /// The content as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.content).into_owned()
    }
}

/// What to do instead of the ordinary thing, once, when a command begins with `on`.
#[derive(Clone, Debug)]
pub struct Fault {
    /// `connect`, `EHLO`, `MAIL`, `RCPT`, `DATA`, `.`; a longer prefix narrows it.
    pub on: &'static str,
    /// What happens.
    pub effect: Effect,
}

/// A fault's effect.
#[derive(Clone, Debug)]
pub enum Effect {
    /// This reply.
    Reply(&'static str),
    /// The connection is reset.
    Reset,
    /// Nothing is said any more; the line stays open until the other side has had enough.
    Silence,
    /// The message is taken, its reply never sent, the connection reset.
    TakeAndReset,
    /// The message is taken, and nothing is said any more.
    TakeAndSilence,
}

/// A destination on a thread per connection.
#[derive(Clone)]
pub struct Mailbox {
    /// Where it listens.
    pub address: SocketAddr,
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    received: Mutex<Vec<Received>>,
    faults: Mutex<VecDeque<Fault>>,
    extensions: Mutex<Vec<&'static str>>,
    connections: Mutex<usize>,
}

impl Mailbox {
    /// Listens on a port of its own.
    pub fn open() -> Self {
        Self::open_at("127.0.0.1:0".parse().expect("an address"))
    }

    /// Listens on `address`.
    pub fn open_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).expect("a port");
        let mailbox = Self { address: listener.local_addr().expect("its address"), inner: Arc::default() };
        let inner = mailbox.inner.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let inner = inner.clone();
                std::thread::spawn(move || {
                    // A connection that ends early is the story's own doing.
                    let _ = Visit { inner, ehlo: String::new(), mail: String::new(), rcpt: Vec::new() }.serve(&stream);
                });
            }
        });
        mailbox
    }

    /// Offers these EHLO keywords.
    pub fn offer(&self, extensions: &[&'static str]) {
        *self.inner.extensions.lock().expect("not poisoned") = extensions.to_vec();
    }

    /// Adds a fault; faults are used up in order, each by the first command that it fits.
    pub fn fault(&self, on: &'static str, effect: Effect) {
        self.inner.faults.lock().expect("not poisoned").push_back(Fault { on, effect });
    }

    /// Faults that have not happened yet.
    pub fn faults_left(&self) -> usize {
        self.inner.faults.lock().expect("not poisoned").len()
    }

    /// What has arrived.
    pub fn received(&self) -> Vec<Received> {
        self.inner.received.lock().expect("not poisoned").clone()
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        *self.inner.connections.lock().expect("not poisoned")
    }

    /// Waits for `count` messages.
    pub fn wait(&self, count: usize) -> Vec<Received> {
        wait_for(&format!("{count} message(s) in the mailbox"), PATIENCE, || {
            let received = self.received();
            (received.len() >= count).then_some(received)
        })
    }
}

struct Visit {
    inner: Arc<Inner>,
    ehlo: String,
    mail: String,
    rcpt: Vec<String>,
}

impl Visit {
    fn serve(&mut self, stream: &TcpStream) -> std::io::Result<()> {
        *self.inner.connections.lock().expect("not poisoned") += 1;
        let mut reader = BufReader::new(stream);
        let mut writer = stream;
        if !self.answer("connect", "220 mailbox.test ESMTP", &mut writer, stream)? {
            return Ok(());
        }
        let mut line = String::new();
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let command = line.trim_end().to_owned();
            let verb = command.split(' ').next().unwrap_or("").to_ascii_uppercase();
            let go_on = match verb.as_str() {
                "DATA" => self.data(&command, &mut reader, stream)?,
                "QUIT" => {
                    writer.write_all(b"221 bye\r\n")?;
                    false
                }
                _ => self.command(&verb, &command, stream)?,
            };
            if !go_on {
                return Ok(());
            }
        }
    }

    fn command(&mut self, verb: &str, command: &str, stream: &TcpStream) -> std::io::Result<bool> {
        let mut writer = stream;
        let ordinary = if verb == "EHLO" { self.hello() } else { "250 ok".to_owned() };
        let faults = self.inner.faults.lock().expect("not poisoned").len();
        let go_on = self.answer(command, &ordinary, &mut writer, stream)?;
        let faulty = self.inner.faults.lock().expect("not poisoned").len() < faults;
        match verb {
            "EHLO" => self.ehlo = command["EHLO".len()..].trim().to_owned(),
            "MAIL" => {
                self.mail = command.to_owned();
                self.rcpt.clear();
            }
            "RCPT" if !faulty => self.rcpt.push(command.to_owned()),
            "RSET" => self.rcpt.clear(),
            _ => {}
        }
        Ok(go_on)
    }

    fn hello(&self) -> String {
        let mut lines = vec!["mailbox.test"];
        lines.extend(self.inner.extensions.lock().expect("not poisoned").iter());
        let last = lines.len() - 1;
        let numbered = lines.iter().enumerate();
        numbered
            .map(|(at, line)| format!("250{}{line}", if at == last { " " } else { "-" }))
            .collect::<Vec<_>>()
            .join("\r\n")
    }

    fn data(&mut self, command: &str, reader: &mut impl BufRead, stream: &TcpStream) -> std::io::Result<bool> {
        let mut writer = stream;
        if self.rcpt.is_empty() {
            writer.write_all(b"554 no valid recipients\r\n")?;
            return Ok(true);
        }
        let faults = self.inner.faults.lock().expect("not poisoned").len();
        if !self.answer(command, "354 go ahead", &mut writer, stream)? {
            return Ok(false);
        }
        if self.inner.faults.lock().expect("not poisoned").len() < faults {
            return Ok(true);
        }
        let content = read_content(reader)?;
        let client = (stream.peer_addr()?.ip(), self.ehlo.clone());
        let message = Received { mail: self.mail.clone(), rcpt: self.rcpt.clone(), content, client };
        let fault = self.take_fault(".");
        let taken = matches!(fault, None | Some(Effect::TakeAndReset | Effect::TakeAndSilence));
        if taken {
            self.inner.received.lock().expect("not poisoned").push(message);
        }
        match fault {
            None => writer.write_all(b"250 2.0.0 taken\r\n").map(|()| true),
            Some(effect) => perform(&effect, &mut writer, stream),
        }
    }

    fn answer(
        &self,
        command: &str,
        ordinary: &str,
        writer: &mut impl Write,
        stream: &TcpStream,
    ) -> std::io::Result<bool> {
        match self.take_fault(command) {
            None => writer.write_all(format!("{ordinary}\r\n").as_bytes()).map(|()| true),
            Some(effect) => perform(&effect, writer, stream),
        }
    }

    fn take_fault(&self, command: &str) -> Option<Effect> {
        let mut faults = self.inner.faults.lock().expect("not poisoned");
        let at = faults.iter().position(|fault| command.starts_with(fault.on))?;
        faults.remove(at).map(|fault| fault.effect)
    }
}

/// Does what a fault says; false ends the connection.
fn perform(effect: &Effect, writer: &mut impl Write, stream: &TcpStream) -> std::io::Result<bool> {
    match effect {
        Effect::Reply(reply) => {
            writer.write_all(format!("{reply}\r\n").as_bytes())?;
            Ok(!reply.starts_with("421"))
        }
        Effect::Silence | Effect::TakeAndSilence => {
            let mut heard = stream;
            std::io::copy(&mut heard, &mut std::io::sink())?;
            Ok(false)
        }
        Effect::Reset | Effect::TakeAndReset => {
            let socket = socket2::SockRef::from(stream);
            socket.set_linger(Some(std::time::Duration::ZERO))?;
            Ok(false)
        }
    }
}

fn read_content(reader: &mut impl BufRead) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if line == b".\r\n" {
            return Ok(content);
        }
        content.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}

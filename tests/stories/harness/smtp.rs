//! A client that says exactly what a story tells it to.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use super::PATIENCE;

/// A plain connection to a server.
pub struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    /// Connects and reads the greeting.
    pub fn connect(server: SocketAddr) -> Self {
        Self::over(TcpStream::connect(server).expect("connected"))
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream.set_nodelay(true).expect("set");
        let mut client = Self { reader: BufReader::new(stream) };
        let greeting = client.reply();
        assert!(greeting.starts_with("220"), "{greeting}");
        client
    }

    /// Connects and says EHLO.
    pub fn greet(server: SocketAddr) -> Self {
        let mut client = Self::connect(server);
        client.expect("EHLO story.test", "250");
        client
    }

    /// The same from an address of the host; which shard a client meets depends on its address.
    pub fn greet_from(address: IpAddr, server: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(server), Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::new(address, 0).into()).expect("bound");
        socket.connect(&server.into()).expect("connected");
        let mut client = Self::over(socket.into());
        client.expect("EHLO story.test", "250");
        client
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).expect("sent");
    }

    /// A whole reply, lines joined by `\n`; empty when the server has closed.
    pub fn reply(&mut self) -> String {
        let mut whole = String::new();
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line).unwrap_or(0) == 0 {
                return whole;
            }
            let last = line.as_bytes().get(3) != Some(&b'-');
            whole.push_str(line.trim_end());
            if last {
                return whole;
            }
            whole.push('\n');
        }
    }

    /// Sends a command and returns its reply.
    pub fn say(&mut self, command: &str) -> String {
        self.send(format!("{command}\r\n").as_bytes());
        self.reply()
    }

    /// Sends a command whose reply must begin with `code`.
    pub fn expect(&mut self, command: &str, code: &str) -> String {
        let reply = self.say(command);
        assert!(reply.starts_with(code), "{command}: expected {code}, got {reply}");
        reply
    }

    /// A whole transaction; returns the reply to the final dot.
    pub fn submit(&mut self, reverse_path: &str, recipients: &[&str], content: &str) -> String {
        self.expect(&format!("MAIL FROM:<{reverse_path}>"), "250");
        for recipient in recipients {
            self.expect(&format!("RCPT TO:<{recipient}>"), "250");
        }
        self.expect("DATA", "354");
        self.send(content.replace("\r\n.", "\r\n..").as_bytes());
        self.say(if content.ends_with("\r\n") { "." } else { "\r\n." })
    }
}

/// The ID in `250 2.6.0 <…> queued as ID`.
pub fn queue_id(reply: &str) -> String {
    assert!(reply.starts_with("250 2.6.0 "), "{reply}");
    reply.split("queued as ").nth(1).unwrap_or_else(|| panic!("no id in {reply}")).trim().to_owned()
}

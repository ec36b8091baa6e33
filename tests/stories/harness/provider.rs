//! The dialogue of a provider that a story makes up: what it says to whom, and what it counts, is the story's.

use std::io::{BufRead, BufReader, Result, Write};
use std::net::TcpStream;

/// Speaks SMTP with a client that is greeted, until it leaves or is told 421. `say` answers a command, `None` with 250;
/// `take` gets the last RCPT command of each message that arrived.
pub fn converse(
    mut stream: &TcpStream,
    mut say: impl FnMut(&str) -> Result<Option<&'static str>>,
    mut take: impl FnMut(&str),
) -> Result<()> {
    let (mut reader, mut line, mut recipient) = (BufReader::new(stream), String::new(), String::new());
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let command = line.trim_end();
        if verb(command) == "RCPT" {
            command.clone_into(&mut recipient);
        }
        let reply = match verb(command) {
            "DATA" => {
                stream.write_all(b"354 go on\r\n")?;
                while line != ".\r\n" {
                    line.clear();
                    if reader.read_line(&mut line)? == 0 {
                        return Ok(());
                    }
                }
                take(&recipient);
                "250 taken"
            }
            "QUIT" => return stream.write_all(b"221 bye\r\n"),
            _ => say(command)?.unwrap_or("250 ok"),
        };
        stream.write_all(format!("{reply}\r\n").as_bytes())?;
        if reply.starts_with("421") {
            return Ok(());
        }
    }
}

/// The first word of a command.
pub fn verb(command: &str) -> &str {
    command.split([' ', ':']).next().unwrap_or_default()
}

//! Writes the log: its own thread, so that a terminal, pipe or journal that does not take lines holds up nobody.

use std::io::Write;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::{Either, select};

use super::journal::Journal;
use crate::events::log::Channel;

/// How long the last lines may take at the end.
const LAST_LINES_PATIENCE: Duration = Duration::from_secs(1);

/// The thread that writes.
pub struct Writer {
    stop: oneshot::Sender<()>,
    stopped: mpsc::Receiver<()>,
}

impl Writer {
    /// Starts to write what comes through `channel`: to the journal where there is one, and to `out` where there is none
    /// or it takes nothing.
    pub fn start(
        channel: Arc<Channel>,
        journal: Option<Journal>,
        out: impl Write + Send + 'static,
    ) -> std::io::Result<Writer> {
        let (stop, when_stopping) = oneshot::channel();
        let (ended, stopped) = mpsc::sync_channel(1);
        thread::Builder::new().name("log".into()).spawn(move || {
            shards::launch::or_die("the log", || Pen { channel: &channel, journal, out }.write_until(when_stopping));
            let _ = ended.send(());
        })?;
        Ok(Writer { stop, stopped })
    }

    /// Writes what is left and ends.
    pub fn finish(self) {
        let _ = self.stop.send(());
        // When nobody takes the last lines they are lost: ending in time matters more.
        let _ = self.stopped.recv_timeout(LAST_LINES_PATIENCE);
    }
}

/// What the thread writes with.
struct Pen<'a, W> {
    channel: &'a Channel,
    journal: Option<Journal>,
    out: W,
}

impl<W: Write> Pen<'_, W> {
    fn write_until(&mut self, mut when_stopping: oneshot::Receiver<()>) {
        let mut running = true;
        while running {
            let next = select(Box::pin(self.channel.next()), &mut when_stopping);
            match futures::executor::block_on(next) {
                Either::Left((lines, _)) => self.write(&lines),
                Either::Right(_) => running = false,
            }
        }
        while let Some(lines) = self.channel.try_next() {
            self.write(&lines);
        }
    }

    /// Writes whole lines. Once the journal does not take one, the others do not wait for it.
    fn write(&mut self, lines: &str) {
        let Some(journal) = &self.journal else { return self.write_out(lines) };
        let lengths = lines.split_inclusive('\n').take_while(|line| journal.send(line).is_ok()).map(str::len);
        let sent = lengths.sum();
        if sent < lines.len() {
            self.channel.note_journal_refusal();
            self.write_out(&lines[sent..]);
        }
    }

    fn write_out(&mut self, lines: &str) {
        if self.out.write_all(lines.as_bytes()).and_then(|()| self.out.flush()).is_err() {
            self.channel.lose(lines.lines().count() as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{Event, Style};

    struct Memory(mpsc::Sender<Vec<u8>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(std::io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn everything_said_before_the_end_is_written() {
        let (memory, written) = mpsc::channel();
        let channel = Channel::new(Style::Logfmt);
        let writer = Writer::start(channel.clone(), None, Memory(memory)).expect("a thread");
        for shards in 0..100 {
            channel.say(shards::Timestamp::from_millis(0), &Event::Ready { shards });
        }
        writer.finish();
        let written = String::from_utf8(written.iter().flatten().collect()).expect("UTF-8");
        assert_eq!(written.matches("event=ready").count(), 100);
        assert!(written.ends_with("shards=99\n"), "{written}");
    }

    #[test]
    fn what_the_journal_does_not_take_is_written_and_what_nobody_takes_is_counted() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        let channel = Channel::new(Style::Logfmt);
        let mut pen = Pen { channel: &channel, journal: Some(Journal::at(&path).expect("a socket")), out: Vec::new() };
        pen.write("event=a\nevent=b\n");
        assert_eq!(pen.out, b"event=a\nevent=b\n", "there is no journal");
        let journal = std::os::unix::net::UnixDatagram::bind(&path).expect("bound");
        pen.write("event=c\nevent=d\n");
        assert_eq!(pen.out, b"event=a\nevent=b\n", "there is one");
        for event in ["event=c", "event=d"] {
            let mut entry = [0; 256];
            let length = journal.recv(&mut entry).expect("an entry");
            assert!(String::from_utf8_lossy(&entry[..length]).starts_with(&format!("MESSAGE={event}\n")));
        }
        drop(journal);
        let mut closed = Pen { channel: &channel, journal: pen.journal, out: std::io::Cursor::new([0_u8; 4]) };
        closed.write("event=e\nevent=f\n");
        assert_eq!((channel.lost_lines(), channel.journal_refusals()), (2, 2));
        channel.say(shards::Timestamp::from_millis(0), &Event::Stopped);
        assert!(channel.try_next().is_some_and(|lines| lines.contains("event=log_overflow lost_lines=2")));
    }
}

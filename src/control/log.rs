//! Writes the log: its own thread, so that a terminal or pipe that does not take lines holds up nobody.

use std::io::Write;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::{Either, select};

use crate::events::log::Channel;

/// How long the last lines may take at the end.
const LAST_LINES_PATIENCE: Duration = Duration::from_secs(1);

/// The thread that writes.
pub struct Writer {
    stop: oneshot::Sender<()>,
    stopped: mpsc::Receiver<()>,
}

impl Writer {
    /// Starts to write what comes through `channel` to `out`.
    pub fn start(channel: Arc<Channel>, out: impl Write + Send + 'static) -> std::io::Result<Writer> {
        let (stop, when_stopping) = oneshot::channel();
        let (ended, stopped) = mpsc::sync_channel(1);
        thread::Builder::new().name("log".into()).spawn(move || {
            write_until(&channel, out, when_stopping);
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

fn write_until(channel: &Channel, mut out: impl Write, mut when_stopping: oneshot::Receiver<()>) {
    let mut running = true;
    while running {
        let next = select(Box::pin(channel.next()), &mut when_stopping);
        match futures::executor::block_on(next) {
            Either::Left((lines, _)) => write(&mut out, &lines),
            Either::Right(_) => running = false,
        }
    }
    while let Some(lines) = channel.try_next() {
        write(&mut out, &lines);
    }
}

fn write(out: &mut impl Write, lines: &str) {
    // There is nowhere left to report that the log cannot be written.
    let _ = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
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
        let writer = Writer::start(channel.clone(), Memory(memory)).expect("a thread");
        for shards in 0..100 {
            channel.say(shards::Timestamp::from_millis(0), &Event::Ready { shards });
        }
        writer.finish();
        let written = String::from_utf8(written.iter().flatten().collect()).expect("UTF-8");
        assert_eq!(written.matches("event=ready").count(), 100);
        assert!(written.ends_with("shards=99\n"), "{written}");
    }
}

//! A shard's buffer of lines, and the way to the one who writes them.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use crossbeam::queue::ArrayQueue;
use futures::task::AtomicWaker;
use shards::Reactor;

use super::event::{Event, Level};
use super::line::Line;
use crate::message::date;

/// What a shard holds before it must hand over.
pub const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Buffers on their way to the writer.
pub const HANDOVERS_MAX: usize = 256;
/// How long a line may wait for company: one hand-over carries many.
const COMPANY: Duration = Duration::from_millis(20);

/// Who reads the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Programs and administrators: logfmt.
    Logfmt,
    /// Someone who watches the demo: a sentence per step of a message's way.
    Story,
}

/// The channel between all shards and the one writer. Bounded; never blocks.
pub struct Channel {
    buffers: ArrayQueue<String>,
    lost_lines: AtomicU64,
    reader: AtomicWaker,
    style: Style,
}

impl Channel {
    /// A new channel.
    pub fn new(style: Style) -> Arc<Self> {
        Arc::new(Self {
            buffers: ArrayQueue::new(HANDOVERS_MAX),
            lost_lines: AtomicU64::new(0),
            reader: AtomicWaker::new(),
            style,
        })
    }

    /// The next buffer of whole lines. There is one reader.
    pub async fn next(&self) -> String {
        std::future::poll_fn(|context: &mut Context<'_>| {
            self.reader.register(context.waker());
            self.try_next().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// A buffer, if one is there.
    pub fn try_next(&self) -> Option<String> {
        self.buffers.pop()
    }

    /// Hands over lines from outside a shard (the control thread), at once.
    pub fn say(&self, time: shards::Timestamp, event: &Event<'_>) {
        let mut lines = String::new();
        write_event(&mut lines, self.style, time, None, event);
        self.hand_over(lines);
    }

    fn hand_over(&self, mut lines: String) {
        let carried = lines.bytes().filter(|byte| *byte == b'\n').count() as u64;
        let lost = self.lost_lines.swap(0, Ordering::Relaxed);
        if lost > 0 {
            Line::new(&mut lines).put("level", Level::Warn).put("event", "log_overflow").put("lost_lines", lost).end();
        }
        if self.buffers.push(lines).is_err() {
            self.lost_lines.fetch_add(lost + carried, Ordering::Relaxed);
        }
        self.reader.wake();
    }
}

/// One shard's log; a cheap handle.
#[derive(Clone)]
pub struct Log(Rc<Inner>);

struct Inner {
    reactor: Reactor,
    shard: usize,
    channel: Arc<Channel>,
    lines: RefCell<String>,
}

impl Log {
    /// The log of `shard`.
    pub fn new(reactor: &Reactor, shard: usize, channel: Arc<Channel>) -> Self {
        Self(Rc::new(Inner { reactor: reactor.clone(), shard, channel, lines: RefCell::new(String::new()) }))
    }

    /// Writes an event's line into the buffer; it goes out within 20 ms.
    pub fn emit(&self, event: &Event<'_>) {
        let inner = &self.0;
        let (first, full) = {
            let mut lines = inner.lines.borrow_mut();
            let first = lines.is_empty();
            write_event(&mut lines, inner.channel.style, inner.reactor.wall(), Some(inner.shard), event);
            (first, lines.len() >= BUFFER_BYTES_MAX)
        };
        if full {
            self.flush();
        } else if first {
            let log = self.clone();
            let wait = async move {
                log.0.reactor.sleep(COMPANY).await;
                log.flush();
            };
            inner.reactor.spawn(wait).detach();
        }
    }

    /// Hands over what is buffered.
    pub fn flush(&self) {
        let lines = std::mem::take(&mut *self.0.lines.borrow_mut());
        if !lines.is_empty() {
            self.0.channel.hand_over(lines);
        }
    }
}

fn write_event(out: &mut String, style: Style, time: shards::Timestamp, shard: Option<usize>, event: &Event<'_>) {
    match style {
        Style::Logfmt => {
            let mut line = Line::new(out);
            line.put("time", date::rfc3339(time)).put("level", event.level()).put("event", event.name());
            line.put_some("shard", shard);
            event.fields(&mut line);
            line.end();
        }
        Style::Story => write_story(out, event),
    }
}

/// A sentence for what someone who sends a first message wants to see; other events are left out.
fn write_story(out: &mut String, event: &Event<'_>) {
    let _ = match event {
        Event::Accepted { id, client, sender, recipients, bytes, .. } => {
            writeln!(
                out,
                "  {id}  accepted   from {client}: <{sender}>, {recipients} recipient(s), {bytes} bytes, safe on disk"
            )
        }
        Event::Delivered(attempt) => writeln!(
            out,
            "  {}  delivered  to <{}> at {}: {}",
            attempt.id,
            attempt.recipient,
            attempt.answer.remote.as_deref().unwrap_or("the next hop"),
            one_line(&attempt.answer.text)
        ),
        Event::Deferred { attempt, retry_s } => writeln!(
            out,
            "  {}  deferred   <{}>, next attempt in {retry_s} s: {}",
            attempt.id,
            attempt.recipient,
            one_line(&attempt.answer.text)
        ),
        Event::Failed(attempt) => {
            writeln!(out, "  {}  failed     <{}>: {}", attempt.id, attempt.recipient, one_line(&attempt.answer.text))
        }
        Event::Notified { id, about, action, recipient } => {
            writeln!(out, "  {id}  notice     about {about} ({action}) queued to <{recipient}>")
        }
        Event::Refused { client, what, reply, .. } => {
            writeln!(out, "  refused {what} of {client}: {}", one_line(&reply.to_string()))
        }
        Event::TlsFailed { client, why } => writeln!(out, "  TLS handshake with {client} failed: {}", one_line(why)),
        Event::Trouble(why) => writeln!(out, "  trouble: {}", one_line(&why.to_string())),
        _ => Ok(()),
    };
}

/// What a peer said, safe for a terminal.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::MessageId;
    use crate::smtp::path::ReversePath;

    fn accepted() -> Event<'static> {
        Event::Accepted {
            id: MessageId(17),
            message_id: "<a@b>",
            client: "127.0.0.1:4711".parse().expect("an address"),
            account: None,
            sender: &ReversePath::Null,
            recipients: 2,
            bytes: 1024,
            screening: Some("clean"),
            dkim: None,
        }
    }

    #[test]
    fn an_event_is_one_line() {
        let mut out = String::new();
        write_event(&mut out, Style::Logfmt, shards::Timestamp::from_millis(0), Some(1), &accepted());
        assert!(out.starts_with("time=1970-01-01T00:00:00.000Z level=info event=accepted shard=1 id="), "{out}");
        assert!(
            out.ends_with("message_id=<a@b> client=127.0.0.1:4711 sender=<> recipients=2 bytes=1024 screening=clean\n"),
            "{out}"
        );
    }

    #[test]
    fn what_does_not_fit_is_counted_and_told() {
        let channel = Channel::new(Style::Logfmt);
        for _ in 0..HANDOVERS_MAX + 3 {
            channel.say(shards::Timestamp::from_millis(0), &Event::Stopped);
        }
        let read = |channel: &Channel| std::iter::from_fn(|| channel.try_next()).collect::<String>();
        assert_eq!(read(&channel).lines().count(), HANDOVERS_MAX);
        channel.say(shards::Timestamp::from_millis(0), &Event::Stopped);
        assert!(read(&channel).contains("event=log_overflow lost_lines=3\n"));
    }
}

//! A shard's buffer of lines, and the way to the one who writes them.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use crossbeam::queue::ArrayQueue;
use futures::task::AtomicWaker;
use shards::Reactor;

use super::event::{Event, Level};
use super::flood::{self, Floods, Verdict};
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
    /// Since the last line that told of it.
    lost_lines: AtomicU64,
    /// In all.
    lost_lines_total: AtomicU64,
    journal_refusals: AtomicU64,
    reader: AtomicWaker,
    style: Style,
    /// The severity beyond which nothing is written.
    severity_max: AtomicU8,
}

impl Channel {
    /// A new channel that takes events of every level.
    pub fn new(style: Style) -> Arc<Self> {
        Arc::new(Self {
            buffers: ArrayQueue::new(HANDOVERS_MAX),
            lost_lines: AtomicU64::new(0),
            lost_lines_total: AtomicU64::new(0),
            journal_refusals: AtomicU64::new(0),
            reader: AtomicWaker::new(),
            style,
            severity_max: AtomicU8::new(Level::Info.severity()),
        })
    }

    /// From now on, what matters less than `level` is left out.
    pub fn set_level(&self, level: Level) {
        self.severity_max.store(level.severity(), Ordering::Relaxed);
    }

    fn takes(&self, event: &Event<'_>) -> bool {
        event.level().severity() <= self.severity_max.load(Ordering::Relaxed)
    }

    /// Lines that were lost so far: nobody took them in time, or they could not be written.
    pub fn lost_lines(&self) -> u64 {
        self.lost_lines_total.load(Ordering::Relaxed)
    }

    /// Times that the journal took nothing, and the lines went to stderr.
    pub fn journal_refusals(&self) -> u64 {
        self.journal_refusals.load(Ordering::Relaxed)
    }

    /// Counts one.
    pub fn note_journal_refusal(&self) {
        self.journal_refusals.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a line that could not be written. The next one that can tells of it.
    pub fn lose(&self, lines: u64) {
        self.lost_lines.fetch_add(lines, Ordering::Relaxed);
        self.lost_lines_total.fetch_add(lines, Ordering::Relaxed);
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
        if self.takes(event) {
            let mut lines = String::new();
            write_event(&mut lines, self.style, time, None, event);
            self.hand_over(time, lines);
        }
    }

    fn hand_over(&self, time: shards::Timestamp, mut lines: String) {
        let carried = lines.bytes().filter(|byte| *byte == b'\n').count() as u64;
        let lost_lines = self.lost_lines.swap(0, Ordering::Relaxed);
        if lost_lines > 0 {
            write_event(&mut lines, self.style, time, None, &Event::LogOverflow { lost_lines });
        }
        if self.buffers.push(lines).is_err() {
            self.lost_lines.fetch_add(lost_lines, Ordering::Relaxed);
            self.lose(carried);
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
    floods: RefCell<Floods>,
}

impl Log {
    /// The log of `shard`.
    pub fn new(reactor: &Reactor, shard: usize, channel: Arc<Channel>) -> Self {
        let (reactor, lines, floods) = (reactor.clone(), RefCell::default(), RefCell::default());
        Self(Rc::new(Inner { reactor, shard, channel, lines, floods }))
    }

    /// Writes an event's line into the buffer; it goes out within 20 ms. What is below the configured level is left out;
    /// of what others cause in any number, what is too much is counted.
    pub fn emit(&self, event: &Event<'_>) {
        if self.0.channel.takes(event) && self.admits(event) {
            self.write(event);
        }
    }

    /// Whether the event is none too many of its kind. Whoever suppresses first tells how many there were, in time.
    fn admits(&self, event: &Event<'_>) -> bool {
        let Some(kind) = event.flood() else { return true };
        let verdict = self.0.floods.borrow_mut().admit(kind, self.0.reactor.now());
        if let Verdict::Begin(window_left) = verdict {
            let log = self.clone();
            let wait = async move {
                log.0.reactor.sleep(window_left).await;
                log.tell_suppressed(kind);
            };
            self.0.reactor.spawn(wait).detach();
        }
        verdict == Verdict::Write
    }

    fn tell_suppressed(&self, kind: flood::Kind) {
        let lines = self.0.floods.borrow_mut().close(kind);
        if lines > 0 {
            self.write(&Event::Suppressed { kind, lines });
        }
    }

    fn write(&self, event: &Event<'_>) {
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
            self.0.channel.hand_over(self.0.reactor.wall(), lines);
        }
    }

    /// Says what is still to be said, at the end.
    pub fn close(&self) {
        flood::KINDS.into_iter().for_each(|kind| self.tell_suppressed(kind));
        self.flush();
    }

    /// What was suppressed so far, as metrics.
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        self.0.floods.borrow().counts().collect()
    }
}

pub(super) fn write_event(
    out: &mut String,
    style: Style,
    time: shards::Timestamp,
    shard: Option<usize>,
    event: &Event<'_>,
) {
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
    let mut story = String::new();
    let _ = match event {
        Event::Accepted { id, client, sender, recipients, bytes, .. } => {
            write!(
                story,
                "  {id}  accepted   from {client}: <{sender}>, {recipients} recipient(s), {bytes} bytes, safe on disk"
            )
        }
        Event::Delivered(attempt) => write!(
            story,
            "  {}  delivered  to <{}> at {}: {}",
            attempt.id,
            attempt.recipient,
            attempt.answer.remote.as_deref().unwrap_or("the next hop"),
            attempt.answer.text
        ),
        Event::Deferred { attempt, retry_s } => write!(
            story,
            "  {}  deferred   <{}>, next attempt in {retry_s} s: {}",
            attempt.id, attempt.recipient, attempt.answer.text
        ),
        Event::Failed(attempt) => {
            write!(story, "  {}  failed     <{}>: {}", attempt.id, attempt.recipient, attempt.answer.text)
        }
        Event::Notified { id, about, action, recipient } => {
            write!(story, "  {id}  notice     about {about} ({action}) queued to <{recipient}>")
        }
        Event::Refused { client, what, reply, .. } => {
            write!(story, "  refused {what} of {client}: {}", reply)
        }
        Event::TlsFailed { client, why } => write!(story, "  TLS handshake with {client} failed: {}", why),
        Event::Trouble(why) => write!(story, "  trouble: {}", why),
        Event::Suppressed { kind, lines } => write!(story, "  {lines} more lines about {} left out", kind.name()),
        Event::LogOverflow { lost_lines } => write!(story, "  {lost_lines} lines lost"),
        _ => Ok(()),
    };
    if !story.is_empty() {
        out.push_str(&one_line(&story));
        out.push('\n');
    }
}

/// What a peer said, safe for a terminal.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Demand, Origin};
    use crate::queue::MessageId;
    use crate::smtp::path::ReversePath;

    fn accepted() -> Event<'static> {
        const NOBODY: &Origin = &Origin { pool: None, tenant: None, campaign: None, demand: Demand::Usual };
        Event::Accepted {
            id: MessageId(17),
            message_id: "<a@b>",
            client: "127.0.0.1:4711".parse().expect("an address"),
            account: None,
            sender: &ReversePath::Null,
            recipients: 2,
            bytes: 1024,
            screening: Some("clean"),
            preflight: None,
            dkim: None,
            origin: NOBODY,
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

//! The operator's orders to a shard's queue, and its reports.

use crate::queue::MessageId;

/// Which recipients an order is about; every given condition must hold.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// One message.
    pub id: Option<MessageId>,
    /// The recipient's domain, lower case.
    pub domain: Option<Box<str>>,
    /// The recipient's whole address.
    pub recipient: Option<Box<str>>,
    /// The reverse-path.
    pub sender: Option<Box<str>>,
    /// due, held (leased recipients are shown as due).
    pub state: Option<Box<str>>,
}

/// An order.
#[derive(Clone, Debug)]
pub enum Order {
    /// Messages in order of id, after `after`, at most `limit`.
    List {
        /// Which.
        selection: Selection,
        /// The last id of the page before.
        after: Option<MessageId>,
        /// Messages per page (≤ 1000).
        limit: usize,
    },
    /// Everything about one message, also a delivered one while its placeholder lasts.
    Show(MessageId),
    /// Count queued recipients (constant time when the selection is empty).
    Count(Selection),
    /// due → held.
    Hold(Selection),
    /// held → due now.
    Release(Selection),
    /// due later → due now.
    Retry(Selection),
    /// due or held → failed, with its DSN.
    Bounce(Selection),
    /// Suspend (true) or resume all delivery of this shard.
    Suspend(bool),
    /// Counters of this shard.
    Metrics,
}

/// A shard's report. JSON values are what `--json` prints and the HTTP API returns. A message is
///
/// ```json
/// { "id": "0010000000000a2f", "arrival": "2026-11-23T07:44:43.120Z", "sender": "user@example.org", "bytes": 1234,
///   "account": "user@example.org", "client": "name [192.0.2.7]",
///   "recipients": [{ "address": "jo@example.org", "state": "due", "attempts": 2, "next": "2026-11-23T07:54:43.000Z",
///                    "status": "4.2.2", "why": "452 4.2.2 mailbox full", "remote": "mx.example.org [192.0.2.1]" }] }
/// ```
///
/// The null reverse-path is `""`; times are RFC 3339; what is not known is left out. `state` is due, held, delivered or
/// failed; `next` belongs to due, the last three to the last attempt. In a list, `recipients` are those that were
/// selected. `Show` may add more, such as `subject` and `message_id`.
#[derive(Clone, Debug)]
pub enum Report {
    /// One JSON object a message.
    Messages(Vec<serde_json::Value>),
    /// Show: `None` if there is no such message here.
    Message(Option<serde_json::Value>),
    /// Recipients that were counted or changed.
    Count(u64),
    /// Metrics: name and value. A name that ends in `_total` only grows; others are gauges.
    Metrics(Vec<(&'static str, u64)>),
    /// It could not be done; for people.
    Failed(String),
}

impl super::Queue {
    /// Carries out an operator's order, in slices that let other work of the shard run.
    pub async fn order(&self, order: Order) -> Report {
        match order {
            Order::Suspend(suspend) => {
                self.core.state.borrow_mut().suspended = suspend;
                self.core.ready.give();
                Report::Count(0)
            }
            _ => Report::Failed("this order is not yet known".into()),
        }
    }
}

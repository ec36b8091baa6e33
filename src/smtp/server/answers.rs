//! Proceed: what the driver's answers lead to.

use super::context::Context;
use super::state::{After, Ignoring, Pending, State, Transaction, Way, say};
use super::{AUTH_FAILURES_MAX, Answer};
use crate::smtp::reply::{self, Reply};

/// The answer to what was asked last. A message's fate comes through `accepted` and `refused`; `Accept` alone is no
/// proof, so it cannot end there.
pub(super) fn proceed(pending: Pending, answer: Answer, context: &mut Context) -> State {
    match (pending, answer) {
        (Pending::Authenticate { user }, Answer::Accept) => {
            context.peer.user = Some(user);
            context.say(reply::AUTHENTICATED, State::Ready)
        }
        (Pending::Authenticate { .. }, Answer::Refuse(reply)) => authentication_failed(&reply, context),
        (Pending::Sender(sender), Answer::Accept) => {
            context.peer.messages = context.peer.messages.saturating_add(1);
            context.say(reply::SENDER_OK, State::Transaction(Transaction::new(sender)))
        }
        (Pending::Recipient(mut transaction, recipient), Answer::Accept) => {
            transaction.envelope.recipients.push(recipient);
            context.say(reply::RECIPIENT_OK, State::Transaction(transaction))
        }
        (Pending::Recipient(transaction, _), Answer::Refuse(reply)) => {
            say(&reply, State::Transaction(transaction), &mut context.output)
        }
        (Pending::Content(transaction, way), Answer::Accept) => content_may_come(transaction, way, context),
        (Pending::Content(transaction, way), Answer::Refuse(reply)) => {
            content_may_not_come(transaction, way, reply, context)
        }
        (Pending::Message { .. }, Answer::Accept) => context.say(reply::LOCAL_ERROR, State::Ready),
        (Pending::Sender(_) | Pending::Message { .. }, Answer::Refuse(reply)) => {
            say(&reply, State::Ready, &mut context.output)
        }
    }
}

/// Only wrong credentials count; our own trouble does not.
fn authentication_failed(reply: &Reply, context: &mut Context) -> State {
    if reply.is_permanent() {
        context.peer.auth_failures += 1;
        if context.peer.auth_failures >= AUTH_FAILURES_MAX {
            return context.say(reply::TOO_MANY_AUTH_FAILURES, State::Closing);
        }
    }
    say(reply, State::Ready, &mut context.output)
}

fn content_may_come(transaction: Transaction, way: Way, context: &mut Context) -> State {
    match way {
        Way::Data => {
            reply::write_go_ahead(&mut context.output);
            transaction.data(&context.settings)
        }
        Way::Bdat { octets, last } if context.is_excessive(octets) => {
            let reply = reply::MESSAGE_TOO_LARGE.reply();
            Ignoring::start(octets, reply, After::failed_chunk(last), &context.settings, &mut context.output)
        }
        Way::Bdat { octets, last } => transaction.chunk(octets, last, &context.settings),
    }
}

fn content_may_not_come(transaction: Transaction, way: Way, reply: Reply, context: &mut Context) -> State {
    match way {
        Way::Data => say(&reply, State::Transaction(transaction), &mut context.output),
        Way::Bdat { octets, last } => {
            Ignoring::start(octets, reply, After::failed_chunk(last), &context.settings, &mut context.output)
        }
    }
}

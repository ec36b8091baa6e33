//! Check → ask: what each command leads to, before anyone is asked.

use super::Question;
use super::context::Context;
use super::state::{After, Ignoring, Pending, State, Turn, Way};
use crate::smtp::command::Command;
use crate::smtp::envelope::{Recipient, Sender};
use crate::smtp::extension::Offer;
use crate::smtp::reply::{self, Fixed};
use crate::smtp::sasl::{Exchange, Mechanism, Progress};

/// Carries out `command`, said in `state`.
pub(super) fn obey(state: State, command: Command, context: &mut Context) -> Turn {
    match command {
        Command::Ehlo(name) => ehlo(name, context),
        Command::Helo(name) => helo(name, context),
        Command::Mail(sender) => mail(state, sender, context),
        Command::Rcpt(recipient) => rcpt(state, recipient, context),
        Command::Data => data(state, context),
        Command::Bdat { octets, last } => bdat(state, octets, last, context),
        Command::Rset => context.done(reply::OK, State::Ready),
        Command::Noop => context.done(reply::OK, state),
        Command::Vrfy => context.done(reply::VERIFY, state),
        Command::Help => context.done(reply::HELP, state),
        Command::Quit => context.done(reply::BYE, State::Closing),
        Command::StartTls => starttls(state, context),
        Command::Auth(mechanism, initial) => auth(state, mechanism, initial.as_deref(), context),
    }
}

/// Also resets the transaction (RFC 5321 §4.1.4).
fn ehlo(name: Box<str>, context: &mut Context) -> Turn {
    let settings = &context.settings;
    let peer = &mut context.peer;
    (peer.name, peer.extended) = (Some(name), true);
    let offer = Offer {
        message_bytes_max: settings.message_bytes_max,
        recipients_max: settings.recipients_max,
        messages_max: settings.messages_max,
        starttls: settings.starttls && !peer.tls,
        auth: settings.auth_required && peer.tls,
        requiretls: peer.tls,
    };
    offer.write(&settings.hostname, &mut context.output);
    State::Ready.into()
}

fn helo(name: Box<str>, context: &mut Context) -> Turn {
    (context.peer.name, context.peer.extended) = (Some(name), false);
    reply::write_hello(&context.settings.hostname, &mut context.output);
    State::Ready.into()
}

/// RFC 3207 §4. What the peer sent behind STARTTLS in plain text is thrown away by the session.
fn starttls(state: State, context: &mut Context) -> Turn {
    if context.peer.tls {
        return context.wrong(reply::TLS_RUNS, state);
    }
    if !context.settings.starttls {
        return context.wrong(reply::NO_STARTTLS, state);
    }
    match state {
        State::Ready => context.done(reply::START_TLS, State::StartingTls),
        state => context.wrong(reply::NOT_IN_TRANSACTION, state),
    }
}

/// RFC 4954 §4.
fn auth(state: State, mechanism: Mechanism, initial: Option<&str>, context: &mut Context) -> Turn {
    let (peer, settings) = (&context.peer, &context.settings);
    let obstacle = if !settings.auth_required {
        Some(reply::NO_AUTH)
    } else if !peer.tls {
        Some(if settings.starttls { reply::TLS_REQUIRED } else { reply::ENCRYPTION_REQUIRED })
    } else if !peer.extended {
        Some(reply::EHLO_FIRST)
    } else if peer.user.is_some() {
        Some(reply::AUTHENTICATED_ALREADY)
    } else if !matches!(state, State::Ready) {
        Some(reply::NOT_IN_TRANSACTION)
    } else {
        None
    };
    match obstacle {
        Some(obstacle) => context.wrong(obstacle, state),
        None => proceed_with_auth(Exchange::start(mechanism, initial), context),
    }
}

/// AUTH's exchange took a step.
pub(super) fn proceed_with_auth(progress: Progress, context: &mut Context) -> Turn {
    match progress {
        Progress::Challenge(challenge, exchange) => {
            reply::write_challenge(challenge, &mut context.output);
            State::Authenticating(exchange).into()
        }
        Progress::Credentials { user, password } => {
            Turn::Ask(Pending::Authenticate { user: user.clone() }, Question::Authenticate { user, password })
        }
        Progress::Cancelled => context.wrong(reply::AUTH_CANCELLED, State::Ready),
        Progress::Malformed => context.wrong(reply::BAD_AUTH_RESPONSE, State::Ready),
    }
}

fn mail(state: State, sender: Sender, context: &mut Context) -> Turn {
    let (peer, settings) = (&context.peer, &context.settings);
    let obstacle = match &state {
        _ if peer.name.is_none() => Some(reply::EHLO_FIRST),
        State::Ready if settings.tls_required && !peer.tls => Some(reply::TLS_REQUIRED),
        State::Ready if settings.auth_required && peer.user.is_none() => Some(reply::AUTH_REQUIRED),
        State::Ready if sender.requiretls && !peer.tls => Some(reply::REQUIRETLS_NEEDS_TLS),
        State::Ready => None,
        state => Some(out_of_order(state)),
    };
    if let Some(obstacle) = obstacle {
        return context.wrong(obstacle, state);
    }
    if settings.messages_max > 0 && peer.messages >= settings.messages_max {
        return context.done(reply::TOO_MANY_MESSAGES, State::Closing);
    }
    if sender.size.is_some_and(|size| size > settings.message_bytes_max) {
        return context.done(reply::MESSAGE_TOO_LARGE, State::Ready);
    }
    Turn::Ask(Pending::Sender(sender.clone()), Question::Sender(sender))
}

/// Out of order it is no error that counts, nor are DATA and BDAT: a pipelining client says them before it knows that
/// MAIL was refused (RFC 2920 §3.1).
fn rcpt(state: State, recipient: Recipient, context: &mut Context) -> Turn {
    let transaction = match state {
        State::Transaction(transaction) => transaction,
        state => return context.done(out_of_order(&state), state),
    };
    if transaction.envelope.recipients.len() >= context.settings.recipients_max {
        return context.done(reply::TOO_MANY_RECIPIENTS, State::Transaction(transaction));
    }
    if !transaction.envelope.sender.smtputf8 && !recipient.path.as_str().is_ascii() {
        return context.done(reply::RECIPIENT_NEEDS_SMTPUTF8, State::Transaction(transaction));
    }
    Turn::Ask(Pending::Recipient(transaction, recipient.clone()), Question::Recipient(recipient))
}

fn data(state: State, context: &mut Context) -> Turn {
    match state {
        State::Transaction(transaction) if transaction.envelope.recipients.is_empty() => {
            context.done(reply::NO_RECIPIENTS, State::Transaction(transaction))
        }
        State::Transaction(transaction) => Turn::Ask(Pending::Content(transaction, Way::Data), Question::Content),
        state => context.done(out_of_order(&state), state),
    }
}

/// Whatever the answer will be, the octets of a BDAT follow it at once (RFC 3030 §2).
fn bdat(state: State, octets: u64, last: bool, context: &mut Context) -> Turn {
    let (reply, then) = match state {
        State::Transaction(transaction) if !transaction.envelope.recipients.is_empty() => {
            return Turn::Ask(Pending::Content(transaction, Way::Bdat { octets, last }), Question::Content);
        }
        State::BetweenChunks(transfer) if !context.is_excessive(octets) => return transfer.chunk(octets, last).into(),
        State::BetweenChunks(_) => (reply::MESSAGE_TOO_LARGE, After::failed_chunk(last)),
        State::Transaction(transaction) => (reply::NO_RECIPIENTS, After::Transaction(transaction)),
        State::ChunksFailed => (reply::CHUNKS_FAILED, After::failed_chunk(last)),
        state => (out_of_order(&state), After::Ready),
    };
    Ignoring::start(octets, reply.reply(), then, &context.settings, &mut context.output).into()
}

/// What is wrong with a command of a transaction that `state` does not permit.
fn out_of_order(state: &State) -> Fixed {
    match state {
        State::Transaction(_) => reply::NESTED_MAIL,
        State::BetweenChunks(_) => reply::CHUNKS_OPEN,
        State::ChunksFailed => reply::CHUNKS_FAILED,
        _ => reply::MAIL_FIRST,
    }
}

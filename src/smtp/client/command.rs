//! The commands that carry an envelope, with the parameters that the peer offers to take.

use std::io::Write;

use super::Transaction;
use super::capabilities::Capabilities;
use crate::smtp::envelope::{Body, Notify, Recipient, Return};

/// Appends formatted text; writing to memory does not fail.
macro_rules! push {
    ($output:expr, $($text:tt)*) => {
        write!($output, $($text)*).expect("writing to a Vec cannot fail")
    };
}

/// MAIL with SIZE, BODY, SMTPUTF8, RET, ENVID and REQUIRETLS as offered. A peer without 8BITMIME gets no BODY.
pub(super) fn mail(transaction: &Transaction, offered: &Capabilities, output: &mut Vec<u8>) {
    let sender = &transaction.sender;
    push!(output, "MAIL FROM:<{}>", sender.path);
    if offered.size.is_some() {
        push!(output, " SIZE={}", transaction.content.len());
    }
    if offered.eight_bit_mime && sender.body == Body::EightBitMime {
        push!(output, " BODY=8BITMIME");
    }
    if offered.smtputf8 && transaction.needs_smtputf8() {
        push!(output, " SMTPUTF8");
    }
    if offered.dsn {
        match sender.ret {
            Some(Return::Full) => push!(output, " RET=FULL"),
            Some(Return::Headers) => push!(output, " RET=HDRS"),
            None => {}
        }
        if let Some(envid) = &sender.envid {
            push!(output, " ENVID={envid}");
        }
    }
    if offered.requiretls && sender.requiretls {
        push!(output, " REQUIRETLS");
    }
    push!(output, "\r\n");
}

/// RCPT; with NOTIFY and ORCPT if `dsn` is offered.
pub(super) fn rcpt(recipient: &Recipient, dsn: bool, output: &mut Vec<u8>) {
    push!(output, "RCPT TO:<{}>", recipient.path);
    if dsn {
        notify(recipient.notify, output);
        if let Some(orcpt) = &recipient.orcpt {
            push!(output, " ORCPT={orcpt}");
        }
    }
    push!(output, "\r\n");
}

fn notify(notify: Notify, output: &mut Vec<u8>) {
    if notify.never {
        push!(output, " NOTIFY=NEVER");
        return;
    }
    let wanted = [(notify.success, "SUCCESS"), (notify.failure, "FAILURE"), (notify.delay, "DELAY")];
    let mut before = " NOTIFY=";
    for (_, word) in wanted.into_iter().filter(|(wanted, _)| *wanted) {
        push!(output, "{before}{word}");
        before = ",";
    }
}

/// BDAT of the whole content.
pub(super) fn bdat_last(bytes: usize, output: &mut Vec<u8>) {
    push!(output, "BDAT {bytes} LAST\r\n");
}

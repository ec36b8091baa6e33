//! One transaction: MAIL, RCPTs, content, and what became of each recipient.
//!
//! Commands that PIPELINING permits to send early are *ahead*: written with MAIL, before any reply. Their replies are
//! read in order whatever the earlier ones said (RFC 2920 §3.1), so the stages below are the same with and without it;
//! a stage only writes its command if that is not ahead.
//!
//! BDAT and its content are never ahead, although RFC 3030 §4.2 permits it: they go out once a recipient wants them, in
//! the round trip that DATA would take for its 354. A peer that flushes its replies twice under Nagle's algorithm, as
//! Postfix does, would hold the last one back until our delayed acknowledgement (measured: 44 ms a message, against
//! 1.1 ms); and a connection lost after RCPT would leave open whether the peer has the message.

use std::time::Duration;

use super::capabilities::Capabilities;
use super::content::{Content, Framing};
use super::{Patience, Phase, Result, Transaction, command};
use crate::smtp::reply::{Codes, Fixed, Reply, codes};

/// RFC 6531 §3.5.
const NEEDS_SMTPUTF8: Fixed =
    codes(550, 5, 6, 7).fixed("The next hop does not offer SMTPUTF8, which this message's addresses or header need");
/// RFC 1870 §6.
const TOO_LARGE: Codes = codes(552, 5, 3, 4);

/// A transaction that has begun.
pub(super) struct Running {
    transaction: Transaction,
    framing: Framing,
    ahead: Ahead,
    stage: Stage,
    /// The reply that refused MAIL, while replies to what was ahead are still to come.
    mail_refused: Option<Reply>,
    /// For each recipient, the reply that refused it.
    refused: Vec<Option<Reply>>,
}

/// How much was written together with MAIL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ahead {
    Nothing,
    Recipients,
    /// DATA too; its content waits for 354.
    Data,
}

/// Whose reply, or what, comes next.
enum Stage {
    Mail,
    Rcpt {
        index: usize,
    },
    Data,
    /// Blocks of content are to be written.
    Content(Content),
    /// Everything is written; the final reply is to come.
    Dot,
}

/// What a reply led to.
pub(super) enum Progress {
    /// More is to be written or read.
    Going(Running),
    /// The transaction has ended.
    Ended(Vec<Result>, Afterwards),
}

/// What the connection is good for after a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Afterwards {
    /// Another transaction.
    Fresh,
    /// Another transaction, after RSET: the peer may still hold this one's sender and recipients.
    NeedsReset,
    /// Nothing.
    Unusable,
}

/// Why a transaction cannot be had from this peer; the reply that we make of it.
pub(super) fn impossible(transaction: &Transaction, offered: &Capabilities) -> Option<Reply> {
    if transaction.needs_smtputf8() && !offered.smtputf8 {
        return Some(NEEDS_SMTPUTF8.reply());
    }
    let size = transaction.content.len() as u64;
    match offered.size {
        Some(size_max) if size_max > 0 && size > size_max => {
            Some(TOO_LARGE.say(format!("The message has {size} octets, the next hop takes {size_max}")))
        }
        _ => None,
    }
}

impl Running {
    /// Writes MAIL, and all that may go with it. `pipelining` and `chunking`: both we and the peer want to use them.
    pub(super) fn start(
        transaction: Transaction,
        offered: &Capabilities,
        pipelining: bool,
        chunking: bool,
        output: &mut Vec<u8>,
    ) -> Self {
        let framing = if chunking { Framing::Chunk } else { Framing::Dot };
        let ahead = match framing {
            _ if !pipelining => Ahead::Nothing,
            Framing::Dot => Ahead::Data,
            Framing::Chunk => Ahead::Recipients,
        };
        let refused = vec![None; transaction.recipients.len()];
        let dsn = offered.dsn;
        command::mail(&transaction, offered, output);
        if ahead != Ahead::Nothing {
            transaction.recipients.iter().for_each(|recipient| command::rcpt(recipient, dsn, output));
        }
        if ahead == Ahead::Data {
            output.extend_from_slice(b"DATA\r\n");
        }
        Self { transaction, framing, ahead, stage: Stage::Mail, mail_refused: None, refused }
    }

    /// Where a loss now would be. `flushed`: all that was written has gone out.
    pub(super) fn phase(&self, flushed: bool) -> Phase {
        match self.stage {
            Stage::Mail => Phase::Mail,
            Stage::Rcpt { .. } => Phase::Rcpt,
            Stage::Data => Phase::Data,
            Stage::Dot if flushed => Phase::Dot,
            Stage::Content(_) | Stage::Dot => Phase::Content,
        }
    }

    /// How long the next reply may take (RFC 5321 §4.5.3.2). A peer may hold all replies to what is ahead until it has
    /// dealt with the last of it.
    pub(super) fn patience(&self, patience: &Patience) -> Duration {
        match (&self.stage, self.ahead) {
            (Stage::Dot, _) => patience.dot,
            (Stage::Data, _) => patience.data,
            (_, Ahead::Data) => patience.data.max(patience.command),
            _ => patience.command,
        }
    }

    /// Writes the next block of content, if it is content's turn.
    pub(super) fn write(&mut self, output: &mut Vec<u8>) {
        if let Stage::Content(content) = &mut self.stage
            && content.write_block(&self.transaction.content, output)
        {
            self.stage = Stage::Dot;
        }
    }

    /// Takes the reply to the oldest unanswered command.
    pub(super) fn hear(self, reply: Reply, offered: &Capabilities, output: &mut Vec<u8>) -> Progress {
        if reply.code == 421 {
            return self.refuse_rest(reply, true);
        }
        let expected = match self.stage {
            Stage::Data => reply.code / 100 != 2,
            Stage::Content(_) => !reply.is_positive() && reply.code / 100 != 3,
            Stage::Mail | Stage::Rcpt { .. } | Stage::Dot => reply.code / 100 != 3,
        };
        if !expected {
            return self.lose(true, &format!("the peer's reply does not fit the command: {reply}"));
        }
        match self.stage {
            Stage::Mail => self.hear_mail(reply, offered, output),
            Stage::Rcpt { index } => self.hear_rcpt(index, reply, offered, output),
            Stage::Data => self.hear_data(reply, output),
            Stage::Content(_) => self.refuse_rest(reply, false),
            Stage::Dot => self.hear_final(reply),
        }
    }

    fn hear_mail(mut self, reply: Reply, offered: &Capabilities, output: &mut Vec<u8>) -> Progress {
        if !reply.is_positive() {
            if self.ahead == Ahead::Nothing {
                return self.end(Result::Refused(Phase::Mail, reply), Afterwards::Fresh);
            }
            self.mail_refused = Some(reply);
        }
        self.recipient(0, offered, output)
    }

    fn hear_rcpt(mut self, index: usize, reply: Reply, offered: &Capabilities, output: &mut Vec<u8>) -> Progress {
        if !reply.is_positive() {
            self.refused[index] = Some(reply);
        }
        if index + 1 < self.refused.len() {
            return self.recipient(index + 1, offered, output);
        }
        if self.ahead != Ahead::Data {
            return self.content(output);
        }
        self.stage = Stage::Data;
        Progress::Going(self)
    }

    fn recipient(mut self, index: usize, offered: &Capabilities, output: &mut Vec<u8>) -> Progress {
        if self.ahead == Ahead::Nothing {
            command::rcpt(&self.transaction.recipients[index], offered.dsn, output);
        }
        self.stage = Stage::Rcpt { index };
        Progress::Going(self)
    }

    /// Every RCPT is answered and nothing more is ahead: on to the content, if anyone wants it.
    fn content(mut self, output: &mut Vec<u8>) -> Progress {
        let Some(reply) = self.refusal_of_all() else {
            match self.framing {
                Framing::Dot => {
                    output.extend_from_slice(b"DATA\r\n");
                    self.stage = Stage::Data;
                }
                Framing::Chunk => {
                    command::bdat_last(self.transaction.content.len(), output);
                    self.stage = Stage::Content(Content::new(Framing::Chunk));
                    self.write(output);
                }
            }
            return Progress::Going(self);
        };
        let afterwards = self.after_no_content();
        self.end(Result::Refused(Phase::Rcpt, reply), afterwards)
    }

    fn hear_data(mut self, reply: Reply, output: &mut Vec<u8>) -> Progress {
        if reply.code / 100 != 3 {
            let afterwards = self.after_no_content();
            return self.end(Result::Refused(Phase::Data, reply), afterwards);
        }
        if self.refusal_of_all().is_none() {
            self.stage = Stage::Content(Content::new(Framing::Dot));
            self.write(output);
        } else {
            // The peer wants content for no one: nothing, then (RFC 2920 §3.1).
            output.extend_from_slice(b".\r\n");
            self.stage = Stage::Dot;
        }
        Progress::Going(self)
    }

    /// The reply to the final dot consumes the transaction whatever it says (RFC 5321 §4.1.1.4); one to BDAT only if it
    /// is positive (RFC 3030 §2).
    fn hear_final(self, reply: Reply) -> Progress {
        let consumed = self.framing == Framing::Dot || reply.is_positive();
        let afterwards = if consumed { Afterwards::Fresh } else { self.after_no_content() };
        if reply.is_positive() {
            self.end(Result::Accepted(reply), afterwards)
        } else {
            self.end(Result::Refused(Phase::Dot, reply), afterwards)
        }
    }

    /// The reply that refused the last recipient, if all of them (or MAIL) are refused.
    fn refusal_of_all(&self) -> Option<Reply> {
        if self.mail_refused.is_some() {
            return self.mail_refused.clone();
        }
        if self.refused.iter().any(Option::is_none) { None } else { self.refused.last().cloned().flatten() }
    }

    /// A transaction that got past MAIL and not to its content is still open at the peer.
    fn after_no_content(&self) -> Afterwards {
        if self.mail_refused.is_some() { Afterwards::Fresh } else { Afterwards::NeedsReset }
    }

    /// The peer ends the conversation with `reply`: it stands for everyone who has no answer yet.
    pub(super) fn refuse_rest(self, reply: Reply, flushed: bool) -> Progress {
        let phase = self.phase(flushed);
        self.end(Result::Refused(phase, reply), Afterwards::Unusable)
    }

    /// The connection ended: lost for everyone who has no answer yet.
    pub(super) fn lose(self, flushed: bool, why: &str) -> Progress {
        let phase = self.phase(flushed);
        self.end(Result::Lost(phase, why.into()), Afterwards::Unusable)
    }

    /// Ends: refused for whom the peer has refused, `rest` for the others.
    fn end(self, rest: Result, afterwards: Afterwards) -> Progress {
        let mail_refused = self.mail_refused;
        let results = self.refused.into_iter().map(|refused| match (&mail_refused, refused) {
            (Some(reply), _) => Result::Refused(Phase::Mail, reply.clone()),
            (None, Some(reply)) => Result::Refused(Phase::Rcpt, reply),
            (None, None) => rest.clone(),
        });
        Progress::Ended(results.collect(), afterwards)
    }
}

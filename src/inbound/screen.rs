//! Screening's part of a conversation: whom and what it is asked about, and what its refusals say.

use std::net::IpAddr;

use super::converse::Conversation;
use crate::queue::MessageId;
use crate::screening::{self, Kind, Mail, Passed};
use crate::smtp::envelope::{Envelope, Sender};
use crate::smtp::reply::{self, Reply};

/// Why something is not taken, and what screening found where that is the reason.
pub(super) struct Refusal {
    pub(super) reply: Reply,
    pub(super) verdict: Option<Box<str>>,
}

impl From<Reply> for Refusal {
    fn from(reply: Reply) -> Refusal {
        Refusal { reply, verdict: None }
    }
}

impl Conversation {
    /// Whether the answer to MAIL takes a question to block lists.
    pub(super) fn client_is_to_be_looked_up(&self) -> bool {
        self.rights.is_some()
            && !self.is_about_returns()
            && self.inbound.0.screening.asks_about(self.client.ip(), self.account_name())
    }

    /// MAIL's sender, and then the client: a listed one hears what policy has to say first.
    pub(super) async fn sender_and_client(&mut self, sender: &Sender) -> Result<(), Refusal> {
        self.sender(sender)?;
        let client = self.client.ip();
        let screening = self.inbound.0.screening.clone();
        self.client_screened = screening.client(client).await.map_err(|refused| refusal(refused, client))?;
        Ok(())
    }

    /// What scanners say of a message, and block lists said of its client.
    pub(super) async fn screen(&self, id: MessageId, envelope: &Envelope, content: &[u8]) -> Result<Passed, Refusal> {
        let mail = Mail {
            client: self.client.ip(),
            client_name: self.session.client_name().unwrap_or_default(),
            sender: &envelope.sender.path,
            recipients: &envelope.recipients,
            account: self.account_name(),
            id: &id.to_string(),
            content,
        };
        let passed = self.inbound.0.screening.content(&mail).await.map_err(|refused| refusal(refused, mail.client))?;
        Ok(self.client_screened.clone().and(passed))
    }

    fn account_name(&self) -> Option<&str> {
        self.account().map(|account| &*account.name)
    }
}

fn refusal(refused: screening::Refused, client: IpAddr) -> Refusal {
    let reply = match &refused.refusal {
        screening::Refusal::Malware(signature) => reply::malware(signature),
        screening::Refusal::Spam(words) => reply::spam(words),
        screening::Refusal::Later(words) => reply::screened_later(words),
        screening::Refusal::Listed(zone) => reply::listed(client, zone),
        screening::Refusal::Unscreened(Kind::Clamav) => reply::MALWARE_UNKNOWN.reply(),
        screening::Refusal::Unscreened(Kind::Rspamd) => reply::SPAM_UNKNOWN.reply(),
        screening::Refusal::Unscreened(Kind::BlockLists) => reply::LISTING_UNKNOWN.reply(),
    };
    Refusal { reply, verdict: Some(refused.verdict) }
}

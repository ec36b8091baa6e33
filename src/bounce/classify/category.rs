//! What replies are about, what is done about it, and what other systems call it.

use serde::Deserialize;

/// What to do with the recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The next hop has taken responsibility.
    Deliver,
    /// Try again later.
    Defer,
    /// Never try again.
    Reject,
}

impl Action {
    /// Its name: `deliver`, `defer` or `reject`.
    pub fn name(self) -> &'static str {
        match self {
            Action::Deliver => "deliver",
            Action::Defer => "defer",
            Action::Reject => "reject",
        }
    }
}

/// What a reply says of the path to its host, and so of all that goes there: what a rule says of it, or its category.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PathSignal {
    /// Nothing.
    None,
    /// There are too many connections: fewer, and it rests for a while.
    Connections,
    /// There is too much: less, and it rests for a while.
    Rate,
    /// We are not trusted: much less.
    Reputation,
    /// We are on a block list: much less, and it rests for long.
    Block,
}

impl PathSignal {
    /// Its name in rules and for people.
    pub fn name(self) -> &'static str {
        match self {
            PathSignal::None => "none",
            PathSignal::Connections => "connections",
            PathSignal::Rate => "rate",
            PathSignal::Reputation => "reputation",
            PathSignal::Block => "block",
        }
    }
}

/// Names of categories, and of their counterparts: one table for all of them.
macro_rules! categories {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $action:expr, $powermta:literal, $kumomta:literal;)*) => {
        /// What a reply is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
        pub enum Category {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl Category {
            /// All of them.
            pub const ALL: &[Category] = &[$(Category::$variant,)*];

            /// Its name in events, in rules and for people.
            pub fn name(self) -> &'static str {
                match self { $(Category::$variant => $name,)* }
            }

            /// The category of this name.
            pub fn named(name: &str) -> Option<Category> {
                match name { $($name => Some(Category::$variant),)* _ => None }
            }

            /// What is done about it whatever the reply's code; `None`: the code's class decides.
            pub(super) fn action(self) -> Option<Action> {
                match self { $(Category::$variant => $action,)* }
            }

            /// Whether it lasts where no code says so.
            pub(super) fn lasts(self) -> bool {
                self.action() != DEFER && !matches!(self, Category::Tls | Category::Expired | Category::System)
            }

            /// PowerMTA's bounce category (`bounceCat` in its accounting files).
            pub fn powermta(self) -> &'static str {
                match self { $(Category::$variant => $powermta,)* }
            }

            /// KumoMTA's bounce class (`bounce_classification` in its logs), whatever was done.
            pub(super) fn kumomta(self) -> &'static str {
                match self { $(Category::$variant => $kumomta,)* }
            }
        }
    };
}

impl Category {
    /// Whether it is of the way to a host (our address, how much we send, no connection) and not of a message or recipient.
    pub fn is_of_the_way(self) -> bool {
        use Category::{Blocklist, HostName, Network, Rate, Reputation};
        matches!(self, Blocklist | HostName | Network | Rate | Reputation)
    }

    /// KumoMTA's bounce class (`bounce_classification` in its logs), where this was done about it.
    pub fn kumomta_after(self, action: Action) -> &'static str {
        match (self, action) {
            (Category::Other, Action::Defer) => Category::System.kumomta(),
            (Category::System, Action::Reject) => Category::Other.kumomta(),
            (category, _) => category.kumomta(),
        }
    }
}

const DEFER: Option<Action> = Some(Action::Defer);
const REJECT: Option<Action> = Some(Action::Reject);
const BY_CLASS: Option<Action> = None;

categories! {
    /// Not a failure.
    Accepted = "accepted", Some(Action::Deliver), "", "";
    /// There is no such mailbox.
    RecipientUnknown = "recipient-unknown", BY_CLASS, "bad-mailbox", "InvalidRecipient";
    /// The mailbox is switched off, or has moved.
    RecipientInactive = "recipient-inactive", BY_CLASS, "inactive-mailbox", "InactiveMailbox";
    /// One mailbox gets more mail than its host allows, or is in use; other mailboxes there are not.
    RecipientRate = "recipient-rate", DEFER, "quota-issues", "TransientFailure";
    /// The mailbox has no room.
    MailboxFull = "mailbox-full", DEFER, "quota-issues", "QuotaIssues";
    /// The recipient's domain does not exist or takes no mail.
    DomainUnknown = "domain-unknown", BY_CLASS, "bad-domain", "BadDomain";
    /// The sender's address or domain is not accepted.
    Sender = "sender", BY_CLASS, "invalid-sender", "InvalidSender";
    /// SPF, DKIM or DMARC do not show that the message is its sender's.
    Authentication = "authentication", BY_CLASS, "policy-related", "AuthenticationFailed";
    /// Our address, network or domain is on a block list.
    Blocklist = "blocklist", DEFER, "spam-related", "SpamBlock";
    /// Our address or domain has a bad name there.
    Reputation = "reputation", DEFER, "spam-related", "SpamBlock";
    /// Our address's name: no reverse DNS, or not the one that EHLO says.
    HostName = "host-name", DEFER, "bad-configuration", "BadConfiguration";
    /// We send more, or with more connections, than the host likes.
    Rate = "rate", DEFER, "policy-related", "TransientFailure";
    /// Strangers are asked to come again.
    Greylisting = "greylisting", DEFER, "policy-related", "TransientFailure";
    /// The message looks like spam.
    Spam = "spam", REJECT, "spam-related", "SpamContent";
    /// The message carries something malicious.
    Virus = "virus", REJECT, "virus-related", "VirusRelated";
    /// A kind of file that is not accepted.
    Attachment = "attachment", BY_CLASS, "content-related", "ProhibitedAttachment";
    /// The message is larger than its recipient, or the host, takes.
    MessageSize = "message-size", BY_CLASS, "content-related", "QuotaIssues";
    /// The message is not formed as the host wants it.
    MessageForm = "message-form", BY_CLASS, "content-related", "ContentRelated";
    /// A rule of the house.
    Policy = "policy", BY_CLASS, "policy-related", "PolicyRelated";
    /// The host does not handle mail for the domain.
    Relaying = "relaying", BY_CLASS, "relaying-issues", "RelayDenied";
    /// The host wants a user and a password.
    Credentials = "credentials", BY_CLASS, "bad-configuration", "BadConfiguration";
    /// More recipients than one transaction may have (RFC 5321 §4.5.3.1.10).
    TooManyRecipients = "too-many-recipients", DEFER, "protocol-errors", "TooManyRecipients";
    /// The two hosts do not understand each other.
    Protocol = "protocol", BY_CLASS, "protocol-errors", "ProtocolErrors";
    /// Encryption is demanded, or failed.
    Tls = "tls", BY_CLASS, "policy-related", "PolicyRelated";
    /// The message goes round in circles: what passes when someone mends the forwarding.
    RoutingLoop = "routing-loop", DEFER, "routing-errors", "RoutingErrors";
    /// Some host's DNS is in trouble.
    Dns = "dns", DEFER, "routing-errors", "DNSFailure";
    /// No connection, or a broken one; the host is down or overloaded.
    Network = "network", DEFER, "bad-connection", "BadConnection";
    /// A host behind the next hop did not get rid of the message in time.
    Expired = "expired", BY_CLASS, "message-expired", "MessageExpired";
    /// The host has trouble of its own: disk, database, configuration.
    System = "system", BY_CLASS, "other", "TransientFailure";
    /// Nothing was sent: the recipient is on a list of such.
    Suppressed = "suppressed", REJECT, "other", "Uncategorized";
    /// None of these.
    Other = "other", BY_CLASS, "other", "Uncategorized";
}

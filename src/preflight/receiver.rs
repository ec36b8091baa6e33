//! The large receivers whose rules for bulk mail are public, and by which MX hosts their mailboxes are known. Pure.

/// A large receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Receiver {
    /// Personal mailboxes at Google.
    Gmail,
    /// Yahoo's, and those that it keeps for AOL and others.
    Yahoo,
    /// Microsoft's for everybody: outlook.com, hotmail, live, msn.
    Outlook,
}

/// Names of MX hosts, each with everything below. Companies at Google and at Microsoft have other ones, and the rules for bulk
/// mail are not about them.
const MX: [(&str, Receiver); 3] = [
    ("gmail-smtp-in.l.google.com", Receiver::Gmail),
    ("yahoodns.net", Receiver::Yahoo),
    ("olc.protection.outlook.com", Receiver::Outlook),
];

impl Receiver {
    /// All of them.
    pub const ALL: &[Receiver] = &[Receiver::Gmail, Receiver::Yahoo, Receiver::Outlook];

    /// As people call it.
    pub fn name(self) -> &'static str {
        match self {
            Receiver::Gmail => "Gmail",
            Receiver::Yahoo => "Yahoo",
            Receiver::Outlook => "Outlook",
        }
    }

    /// Whose mailboxes `host` (lower case), an MX host, takes mail for.
    pub fn at(host: &str) -> Option<Receiver> {
        let is_below = |name| host.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        MX.iter().find(|(name, _)| is_below(*name)).map(|(_, receiver)| *receiver)
    }

    /// The names of several, as a sentence has them.
    pub fn names(receivers: &[Receiver]) -> String {
        receivers.iter().map(|receiver| receiver.name()).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mailboxes_of_people_are_told_from_those_of_companies() {
        for (host, expected) in [
            ("gmail-smtp-in.l.google.com", Some(Receiver::Gmail)),
            ("alt4.gmail-smtp-in.l.google.com", Some(Receiver::Gmail)),
            ("mta5.am0.yahoodns.net", Some(Receiver::Yahoo)),
            ("outlook-com.olc.protection.outlook.com", Some(Receiver::Outlook)),
            ("aspmx.l.google.com", None),
            ("example-com.mail.protection.outlook.com", None),
            ("notyahoodns.net", None),
            ("", None),
        ] {
            assert_eq!(Receiver::at(host), expected, "{host}");
        }
    }
}

//! Recipients to whom nothing is sent, as the message requires TLS (REQUIRETLS, RFC 8689) and the way there does not keep it.
//!
//! What the server found at its last attempt counts: a host tells whether it keeps REQUIRETLS in a session alone.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::assurance::Policy;

/// Queued messages that are looked at.
pub(super) const LOOKED_MAX: usize = 1_000;
/// Recipients that are named.
const NAMED_MAX: usize = 20;

/// Those recipients.
#[derive(Default)]
pub(super) struct Stopped {
    named: Vec<Recipient>,
    /// Beyond [`NAMED_MAX`].
    further: usize,
}

struct Recipient {
    message: String,
    address: String,
    state: String,
    why: String,
}

impl Stopped {
    /// Those of `messages`, as the server describes them, whose address is wanted.
    pub fn among(messages: &[Value], is_wanted: impl Fn(&str) -> bool) -> Stopped {
        let mut stopped = Stopped::default();
        for message in messages {
            for recipient in message["recipients"].as_array().into_iter().flatten().filter(|one| is_stopped(one)) {
                let text = |value: &Value| value.as_str().unwrap_or_default().replace(char::is_control, " ");
                let address = text(&recipient["address"]);
                if !is_wanted(&address) {
                    continue;
                }
                if stopped.named.len() == NAMED_MAX {
                    stopped.further += 1;
                    continue;
                }
                let (message, state, why) = (text(&message["id"]), text(&recipient["state"]), text(&recipient["why"]));
                stopped.named.push(Recipient { message, address, state, why });
            }
        }
        stopped
    }

    /// A line each; nothing where there is none.
    pub fn words(&self) -> String {
        let mut text = String::new();
        for Recipient { message, address, state, why } in &self.named {
            _ = writeln!(text, "\nREQUIRETLS stands in the way of {message} to {address} ({state}): {why}");
        }
        if self.further > 0 {
            _ = writeln!(text, "\nREQUIRETLS stands in the way of {} more", self.further);
        }
        text
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        let one = |one: &Recipient| json!({ "id": one.message, "recipient": one.address, "state": one.state, "why": one.why });
        self.named.iter().map(one).collect()
    }
}

/// Whether it has not got the message, and for want of what REQUIRETLS asks of a session.
fn is_stopped(recipient: &Value) -> bool {
    let tls = &recipient["tls"];
    recipient["state"] != "delivered" && tls["policy"] == Policy::RequireTls.name() && tls["refused"] == true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipient(address: &str, state: &str, policy: &str, refused: bool) -> Value {
        let tls = if refused { json!({ "policy": policy, "refused": true }) } else { json!({ "policy": policy }) };
        json!({ "address": address, "state": state, "why": "it does not\nkeep it", "tls": tls })
    }

    #[test]
    fn those_are_named_whom_it_stops_and_no_others() {
        let message = json!({ "id": "0000000000000011", "recipients": [
            recipient("a@a.test", "due", "requiretls", true),
            recipient("b@a.test", "failed", "requiretls", true),
            recipient("c@a.test", "due", "mta-sts", true),
            recipient("d@a.test", "due", "requiretls", false),
            recipient("e@a.test", "delivered", "requiretls", false),
            { "address": "f@a.test", "state": "due" },
        ] });
        let messages = std::slice::from_ref(&message);
        assert_eq!(
            Stopped::among(messages, |_| true).words(),
            "\nREQUIRETLS stands in the way of 0000000000000011 to a@a.test (due): it does not keep it\n\
             \nREQUIRETLS stands in the way of 0000000000000011 to b@a.test (failed): it does not keep it\n"
        );
        let one = Stopped::among(messages, |address| address == "b@a.test");
        let expected = json!([{ "id": "0000000000000011", "recipient": "b@a.test", "state": "failed",
                                "why": "it does not keep it" }]);
        assert_eq!(one.json(), expected);
        assert_eq!(Stopped::among(messages, |_| false).words(), "");
        let many = vec![message; NAMED_MAX];
        let many = Stopped::among(&many, |_| true);
        assert_eq!(many.words().lines().filter(|line| !line.is_empty()).count(), NAMED_MAX + 1);
        assert!(many.words().ends_with(&format!("of {NAMED_MAX} more\n")));
    }
}

//! What is kept of a budget across restarts, in the form of JSON: what later versions add, earlier ones pass over.

use serde::{Deserialize, Serialize};

use super::budget::Budget;
use super::throttle::Throttle;
use super::warm_up::Spent;

/// What is kept.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Known {
    /// What replies made of the limits.
    pub throttle: Option<Throttle>,
    /// What of a warm-up's day counts as sent.
    pub spent: Option<Spent>,
    /// Until when the peer wants nothing of the source, in seconds since the epoch.
    pub blocked_until_s: u64,
}

impl Known {
    /// What is known of `budget`.
    pub fn of(budget: &Budget) -> Known {
        Known {
            throttle: budget.throttle().cloned(),
            spent: budget.warming.as_ref().and_then(|warming| warming.to_keep()),
            blocked_until_s: budget.blocked_until_s,
        }
    }

    /// What was kept; what cannot be read is nothing.
    pub fn decode(value: &[u8]) -> Known {
        serde_json::from_slice(value).unwrap_or_default()
    }

    /// As it is kept; `None`: there is nothing to be kept.
    pub fn encode(&self) -> Option<Vec<u8>> {
        if *self == Known::default() { None } else { serde_json::to_vec(self).ok() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_was_written_and_what_is_unknown_is_passed_over() {
        let known =
            Known { spent: Some(Spent { day: 7, messages: 50, beside: 0 }), blocked_until_s: 9, throttle: None };
        assert_eq!(Known::decode(&known.encode().expect("something")), known);
        let earlier = Known::decode(br#"{"spent":{"day":7,"messages":50}}"#).spent;
        assert_eq!(earlier, Some(Spent { day: 7, messages: 50, beside: 0 }), "as earlier versions wrote it");
        assert_eq!(Known::decode(br#"{"blocked_until_s":9,"later":[1]}"#).blocked_until_s, 9);
        assert_eq!(Known::default().encode(), None);
        assert_eq!(Known::decode(b"\xff"), Known::default());
    }
}

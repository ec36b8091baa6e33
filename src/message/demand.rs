//! What a message itself asks of the way that it takes (RFC 8689). Pure.
//!
//! | a message | asks |
//! |---|---|
//! | with REQUIRETLS | [`Demand::Required`] |
//! | … from the null reverse-path: a notice about such a one | [`Demand::Encrypted`]: §5 wants it protected, and not lost for a next hop without REQUIRETLS |
//! | with `TLS-Required: No` and without REQUIRETLS | [`Demand::Waived`] |
//! | any other | [`Demand::Usual`] |

/// What a message asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Demand {
    /// Nothing: its destinations and the configuration decide.
    #[default]
    Usual,
    /// That nobody asks for TLS on the recipients' behalf: their DANE and MTA-STS do not count (§4.2.2).
    Waived,
    /// At least encryption.
    Encrypted,
    /// An authenticated next hop that takes REQUIRETLS, and passes it on (§4.2.1).
    Required,
}

impl Demand {
    const ALL: [Demand; 4] = [Demand::Usual, Demand::Waived, Demand::Encrypted, Demand::Required];

    /// What a message asks that says this of itself.
    pub fn of(requiretls: bool, is_notice: bool, waives: bool) -> Demand {
        match (requiretls, is_notice, waives) {
            (true, false, _) => Demand::Required,
            (true, true, _) => Demand::Encrypted,
            (false, _, true) => Demand::Waived,
            (false, _, false) => Demand::Usual,
        }
    }

    /// Its name on disk and for people; empty: nothing is asked.
    pub fn name(self) -> &'static str {
        match self {
            Demand::Usual => "",
            Demand::Waived => "waived",
            Demand::Encrypted => "encrypted",
            Demand::Required => "required",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Demand> {
        Demand::ALL.into_iter().find(|demand| demand.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requiretls_wins_over_the_field_that_waives() {
        assert_eq!(Demand::of(true, false, true), Demand::Required);
        assert_eq!(Demand::of(true, true, true), Demand::Encrypted);
        assert_eq!(Demand::of(false, false, true), Demand::Waived);
        assert_eq!(Demand::of(false, true, false), Demand::Usual);
    }

    #[test]
    fn each_is_found_by_its_name() {
        assert!(Demand::ALL.into_iter().all(|demand| Demand::named(demand.name()) == Some(demand)));
        assert_eq!(Demand::named("more"), None);
    }
}

use super::Demand;

/// Whose a message is, from where it goes out, and what it asks of its way: what its account, its listener or itself
/// says. Names of at most 64 octets without control characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The pool, or single source, that it asks for.
    pub pool: Option<Box<str>>,
    /// Its tenant.
    pub tenant: Option<Box<str>>,
    /// Its campaign.
    pub campaign: Option<Box<str>>,
    /// What it asks of TLS.
    pub demand: Demand,
}

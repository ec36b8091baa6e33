/// Whose a message is, and from where it goes out: what its account, its listener or itself says. Names of at most 64
/// octets without control characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The pool, or single source, that it asks for.
    pub pool: Option<Box<str>>,
    /// Its tenant.
    pub tenant: Option<Box<str>>,
    /// Its campaign.
    pub campaign: Option<Box<str>>,
}

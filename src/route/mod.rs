//! From a forward-path to the hosts to try (RFC 5321 §5, RFC 7505). Pure: DNS answers come in, next hops go out.

/// Where mail for a domain goes: one destination for limits, back-off and connection reuse.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Site {
    /// Its name: `[host]:port` of a route, or the sorted MX host names joined by `,`.
    pub key: Box<str>,
    /// Hosts by preference; equal ones share a rank and are shuffled for every connection.
    pub hosts: Vec<Host>,
    /// The port.
    pub port: u16,
}

/// One host of a site.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host {
    /// A name to resolve, or an address.
    pub name: Box<str>,
    /// MX preference; 0 for a route.
    pub preference: u16,
}

//! In which order hosts and their addresses are tried.

use std::net::IpAddr;

use super::Host;

/// The hosts of a site for one connection: best preference first, equal ones shuffled by `random` so that they share
/// the load (RFC 5321 §5.1).
pub fn hosts_in_order(hosts: &[Host], random: u64) -> Vec<&Host> {
    let mut order: Vec<&Host> = hosts.iter().collect();
    fastrand::Rng::with_seed(random).shuffle(&mut order);
    order.sort_by_key(|host| host.preference);
    order
}

/// The addresses of one host, IPv6 and IPv4 in turn as long as there are both, IPv6 first, each family in the order in
/// which the resolver gave it (RFC 5321 §5.1). Where one family does not work, no more than every other try is lost.
pub fn interleaved(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut v6 = addresses.iter().copied().filter(IpAddr::is_ipv6);
    let mut v4 = addresses.iter().copied().filter(IpAddr::is_ipv4);
    let mut order = Vec::with_capacity(addresses.len());
    while order.len() < addresses.len() {
        order.extend(v6.next());
        order.extend(v4.next());
    }
    order
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn preference_decides_and_chance_only_among_equals() {
        let host = |preference, name: &str| Host { name: name.into(), preference };
        let hosts = [host(10, "a"), host(10, "b"), host(10, "c"), host(20, "z")];
        let mut first = HashSet::new();
        for random in 0..64 {
            let order = hosts_in_order(&hosts, random);
            assert_eq!(&*order[3].name, "z");
            assert_eq!(order.len(), 4);
            first.insert(order[0].name.clone());
        }
        assert_eq!(first.len(), 3, "every equal host leads for some connections");
        assert_eq!(hosts_in_order(&hosts, 7), hosts_in_order(&hosts, 7), "the same number gives the same order");
    }

    #[test]
    fn families_take_turns() {
        let addresses = |list: &[&str]| -> Vec<IpAddr> { list.iter().map(|a| a.parse().expect("address")).collect() };
        let both = addresses(&["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8::2"]);
        let order = addresses(&["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "192.0.2.3"]);
        assert_eq!(interleaved(&both), order);
        assert_eq!(interleaved(&both[..3]), &both[..3]);
        assert!(interleaved(&[]).is_empty());
    }
}

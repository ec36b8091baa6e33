//! For which domain a session counts in TLS reports, if for any.

use super::super::reporting::Reporting;
use super::super::resolve::resolve;
use super::*;
use crate::assurance::Demand;

fn reporting() -> Reporting {
    let reporting = Reporting::default();
    reporting.want(true);
    reporting
}

/// A task to a recipient there.
fn to(domain: &str, site: &Arc<Site>) -> Task {
    let mut task = task(site, 1, 1);
    task.recipients[0].1.path = Mailbox::parse(&format!("r@{domain}"), true).expect("a mailbox");
    task
}

#[test]
fn hosts_that_a_route_names_are_not_told_of_to_the_domain() {
    let route = "[[route]]\ndomains = [\"routed.test\"]\nnext_hop = \"hop.other.test\"\n";
    shards::launch::run(async move |reactor: Reactor| {
        let mx = |name: &str| Answer::Mx(vec![(1, name.into())], PATIENT);
        let names = HashMap::from([
            (Question::Mx("routed.test".into()), mx("mx.routed.test")),
            (Question::Mx("own.test".into()), mx("mx.own.test")),
        ]);
        let (dns, config, reporting) = (resolver(&reactor, names), config(route), reporting());
        for (domain, expected) in [("routed.test", None), ("own.test", Some("own.test".into()))] {
            let site = resolve(&dns, &reporting, &config, domain, Demand::Usual).await.expect("a site");
            assert_eq!(reporting.domain_of(&to(domain, &Arc::new(site))), expected);
        }
    })
    .expect("a shard");
}

#[test]
fn a_domain_counts_once_however_it_is_written() {
    let (site, reporting) = (site(&["mx.test"], 25), reporting());
    for written in ["bücher.test", "BÜCHER.Test", "xn--bcher-kva.test", "XN--BCHER-KVA.TEST"] {
        assert_eq!(reporting.domain_of(&to(written, &site)).as_deref(), Some("xn--bcher-kva.test"), "{written}");
    }
}

#[test]
fn only_a_report_of_our_own_counts_nowhere() {
    let (site, reporting) = (site(&["mx.test"], 25), reporting());
    let mut report = to("d.test", &site);
    report.content = Arc::new(b"TLS-Report-Domain: d.test\r\n\r\n".to_vec());
    assert!(reporting.domain_of(&report).is_some(), "a client's");
    report.sender.path = ReversePath::Null;
    assert_eq!(reporting.domain_of(&report), None);
    report.content = Arc::new(b"Subject: a notice\r\n\r\nTLS-Report-Domain: d.test\r\n".to_vec());
    assert!(reporting.domain_of(&report).is_some(), "its body says so");
    reporting.want(false);
    assert_eq!(reporting.domain_of(&report), None);
}

//! The resolver's side of a shard's DNS questions, on a bad day.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use futures::StreamExt;
use futures::channel::mpsc;
use ringpost::dns::{Answer, Query, Question};
use shards::Reactor;

const TTL: Duration = Duration::from_secs(60);

/// The zone that everyone in the simulation sees.
#[derive(Clone)]
pub struct Resolver {
    /// Hosts of each domain, with their addresses.
    pub domains: Rc<BTreeMap<String, Vec<(String, IpAddr)>>>,
    /// How often a question meets SERVFAIL, 0 to 100.
    pub servfail_percent: Rc<Cell<u64>>,
}

impl Resolver {
    /// Answers until nobody can ask any more.
    pub async fn run(self, reactor: Reactor, mut queries: mpsc::Receiver<Query>) {
        while let Some(Query { question, reply }) = queries.next().await {
            let (this, clock) = (self.clone(), reactor.clone());
            let answering = async move {
                let usual = clock.random() % 50;
                let slow = if clock.random().is_multiple_of(20) { 4_000 } else { 0 };
                clock.sleep(Duration::from_millis(usual + slow)).await;
                let fails = clock.random() % 100 < this.servfail_percent.get();
                let answer = if fails { Answer::Trouble("SERVFAIL".into()) } else { this.answer(&question) };
                // Who asked may have gone.
                let _ = reply.send(answer);
            };
            reactor.spawn(answering).detach();
        }
    }

    fn answer(&self, question: &Question) -> Answer {
        match question {
            Question::Mx(domain) => match self.domains.get(&**domain) {
                Some(hosts) => {
                    let exchanger = |(at, host): (usize, &(String, IpAddr))| (at as u16, host.0.as_str().into());
                    Answer::Mx(hosts.iter().enumerate().map(exchanger).collect(), TTL)
                }
                None => Answer::NoSuchName(TTL),
            },
            // No block list lists anybody, no domain has a policy, nobody signs, and nobody asks for texts and names.
            Question::Ipv4(_)
            | Question::Ipv6(_)
            | Question::Texts(_)
            | Question::Names(_)
            | Question::SecureMx(_)
            | Question::Tlsa(..)
            | Question::Policy(_) => Answer::NoSuchName(TTL),
            Question::Addresses(name) => {
                let host = self.domains.values().flatten().find(|(host, _)| **host == **name);
                host.map_or(Answer::NoSuchName(TTL), |(_, address)| Answer::Addresses(vec![*address], TTL))
            }
        }
    }
}

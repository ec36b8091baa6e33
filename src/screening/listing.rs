//! Asking the block lists about a client, all at the same time.

use std::cell::RefCell;
use std::net::IpAddr;
use std::time::Duration;

use futures::future::try_join_all;

use super::finding::{Failure, Finding, Kind, Passed, Refused, judge};
use super::health::Health;
use super::{Tools, block_list};
use crate::config::screening as settings;
use crate::dns::Question;

/// The configured lists.
pub(super) struct BlockLists {
    settings: settings::BlockLists,
    lists: Vec<(settings::BlockList, RefCell<Health>)>,
    tools: Tools,
}

impl BlockLists {
    pub(super) fn new(settings: &settings::BlockLists, tools: &Tools) -> BlockLists {
        let lists = settings.zones.iter().map(|list| (list.clone(), RefCell::default())).collect();
        BlockLists { settings: settings.clone(), lists, tools: tools.clone() }
    }

    pub(super) fn asks_about(&self, client: IpAddr) -> bool {
        (self.settings.private_addresses || !block_list::is_private(client))
            && !self.settings.exempt_networks.iter().any(|network| network.contains(client))
    }

    /// The first list that knows the client refuses it.
    pub(super) async fn judge(&self, client: IpAddr) -> Result<Passed, Refused> {
        let asked = self.lists.iter().map(async |(list, health)| {
            let answer = self.ask(client, list, health).await;
            self.tools.note(Kind::BlockLists, &answer);
            judge(Kind::BlockLists, answer, self.settings.on_failure)
        });
        let passed = try_join_all(asked).await?;
        Ok(passed.into_iter().fold(Passed::default(), Passed::and))
    }

    async fn ask(
        &self,
        client: IpAddr,
        list: &settings::BlockList,
        health: &RefCell<Health>,
    ) -> Result<Finding, Failure> {
        let reactor = &self.tools.reactor;
        if !health.borrow_mut().may_ask(reactor.now()) {
            return Err(Failure::Resting);
        }
        let question = Question::Ipv4(block_list::name(client, &list.zone).into());
        let patience: Duration = self.settings.timeout;
        match reactor.timeout(patience, self.tools.dns.ask(question)).await {
            Ok(answer) => {
                health.borrow_mut().answered();
                block_list::finding(list, &answer)
            }
            Err(_) => {
                health.borrow_mut().was_silent(reactor.now());
                Err(Failure::TimedOut)
            }
        }
    }
}

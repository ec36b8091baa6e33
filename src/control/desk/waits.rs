//! What due mail waits for: every owner asked where its lanes go, then every home what is in the way there. Asked when an
//! operator looks at the queue, and at no other time.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Desk, Trouble, unexpected};
use crate::message::date::rfc3339;
use crate::message::{Demand, Origin};
use crate::queue::MessageId;
use crate::queue::behind::{Behind, LANES_MAX, Obstacles};
use crate::queue::lane;
use crate::queue::orders::{Order, Report, Waiting};

use crate::control::clock;

/// Where each shard's lanes go, and what is in the way.
struct Answers {
    /// By shard and lane.
    behind: BTreeMap<(usize, Box<str>), Behind>,
    obstacles: Obstacles,
}

impl Desk {
    /// Says of the recipients of messages that are due what they wait for.
    pub async fn explain_messages(&self, messages: &mut [Value]) -> Result<(), Trouble> {
        let now = rfc3339(clock::now());
        let lanes = messages.iter().flat_map(|message| {
            let due = recipients(message).filter(|recipient| is_due(recipient, &now));
            due.filter_map(|recipient| lane_of(message, recipient))
        });
        let answers = self.answers(some(lanes)).await?;
        for message in messages {
            let Some(shard) = message["id"].as_str().and_then(|id| id.parse().ok()).map(MessageId::shard) else {
                continue;
            };
            let told: Vec<Option<String>> = recipients(message)
                .map(|recipient| {
                    let lane = is_due(recipient, &now).then(|| lane_of(message, recipient)).flatten()?;
                    let behind = answers.behind.get(&(shard, lane))?;
                    Some(behind.words(&answers.obstacles, recipient["under_way"] == true))
                })
                .collect();
            let recipients = message["recipients"].as_array_mut().into_iter().flatten();
            for (recipient, told) in recipients.zip(told).filter_map(|(recipient, told)| Some((recipient, told?))) {
                recipient["waits_for"] = told.into();
            }
        }
        Ok(())
    }

    /// Says of domains that have something due what it waits for.
    pub async fn explain_domains(&self, domains: &mut [Waiting]) -> Result<(), Trouble> {
        let lanes = domains.iter().flat_map(|waiting| &waiting.lanes);
        let answers = self.answers(some(lanes.cloned())).await?;
        for waiting in domains {
            let places =
                (0..self.shards()).flat_map(|shard| waiting.lanes.iter().map(move |lane| (shard, lane.clone())));
            let behind = places.filter_map(|place| answers.behind.get(&place));
            // Of what waits, not of what is under way, unless that is all.
            let first = behind.min_by_key(|behind| behind.stage);
            waiting.waits_for = first.map(|behind| behind.words(&answers.obstacles, false).into());
        }
        Ok(())
    }

    async fn answers(&self, lanes: BTreeSet<Box<str>>) -> Result<Answers, Trouble> {
        if lanes.is_empty() {
            return Ok(Answers { behind: BTreeMap::new(), obstacles: Obstacles::default() });
        }
        let _turn = self.turn().await?;
        let owners = (0..self.shards()).map(|shard| {
            let order = Order::Behind(lanes.clone());
            async move {
                match self.ask(shard, order).await? {
                    Report::Behind(behind) => Ok((shard, behind)),
                    other => Err(unexpected(shard, other)),
                }
            }
        });
        let behind = futures::future::try_join_all(owners).await?;
        let ways: BTreeSet<Box<str>> = behind.iter().flat_map(|(_, behind)| Behind::ways(behind)).collect();
        let homes = (0..self.shards()).map(|shard| {
            let order = Order::Obstacles(ways.clone());
            async move {
                match self.ask(shard, order).await? {
                    Report::Obstacles(obstacles) => Ok(obstacles),
                    other => Err(unexpected(shard, other)),
                }
            }
        });
        let obstacles = futures::future::try_join_all(homes).await?.into_iter().flatten().collect();
        let of_shard =
            |(shard, all): (usize, Vec<Behind>)| all.into_iter().map(move |one| ((shard, one.lane.clone()), one));
        Ok(Answers { behind: behind.into_iter().flat_map(of_shard).collect(), obstacles })
    }
}

/// Those lanes, each once, [`LANES_MAX`] at most.
fn some(lanes: impl Iterator<Item = Box<str>>) -> BTreeSet<Box<str>> {
    let mut different = BTreeSet::new();
    for lane in lanes {
        if different.len() >= LANES_MAX {
            break;
        }
        different.insert(lane);
    }
    different
}

fn recipients(message: &Value) -> impl Iterator<Item = &Value> {
    message["recipients"].as_array().into_iter().flatten()
}

/// Whether a recipient could go now: times of one form are in the order of their texts.
fn is_due(recipient: &Value, now: &str) -> bool {
    recipient["state"] == "due" && recipient["next"].as_str().is_some_and(|next| next <= now)
}

/// The lane in which a recipient of a message is queued.
fn lane_of(message: &Value, recipient: &Value) -> Option<Box<str>> {
    let domain = recipient["address"].as_str()?.rsplit_once('@')?.1.to_lowercase();
    let part = |key: &str| message[key].as_str().map(Into::into);
    let demand = message["tls_asked"].as_str().and_then(Demand::named).unwrap_or_default();
    let origin = Origin { pool: part("pool"), tenant: part("tenant"), campaign: part("campaign"), demand };
    Some(lane::name(Cow::Owned(domain), &origin).into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::limit::Party;

    #[test]
    fn the_lane_of_a_recipient_is_known_by_what_is_shown_of_it() {
        let message = json!({ "id": "1", "tenant": "acme", "pool": "bulk", "tls_asked": "required" });
        let lane = lane_of(&message, &json!({ "address": "Jo@One.test" })).expect("a lane");
        let demand = Demand::named("required").expect("a demand");
        let party = Party { tenant: "acme", campaign: "" };
        assert_eq!(lane::Lane::of(&lane), lane::Lane { domain: "one.test", pool: "bulk", party, demand });
        assert_eq!(lane_of(&json!({}), &json!({ "address": "jo@one.test" })).as_deref(), Some("one.test"));
    }

    #[test]
    fn only_what_could_go_now_is_asked_about() {
        let due =
            |state: &str, next: &str| is_due(&json!({ "state": state, "next": next }), "2026-11-23T07:50:00.000Z");
        assert!(due("due", "2026-11-23T07:49:59.999Z") && !due("due", "2026-11-23T07:50:01.000Z"));
        assert!(!due("suspended", "2026-11-23T07:49:59.999Z") && !is_due(&json!({ "state": "held" }), "2026"));
    }
}

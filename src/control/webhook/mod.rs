//! Webhooks: what the shards have to tell goes to the endpoints, by HTTP.
//!
//! Owns: a lane for each webhook and shard, which asks the shard for its next events, posts them, and says that they are
//! told once the endpoint has answered 2xx. Never: keeps an event (the shards' queues do, see `queue::webhook`), or holds
//! up a shard: whoever is slow is asked later.
//! Requests follow the scheme of Standard Webhooks (standardwebhooks.com): see [`letter`] and [`secret`]. Redirects are
//! refused: an endpoint is where the administrator says it is.
//! On disk: a secret where there was none. After a crash: what the shards do not know to be told is told again.
//! Limits: one request under way in each lane, so events arrive in the order of their shard and a message's in its own;
//! its size by `batch_max`; its time by `timeout`; [`lane::RETRY_MAX`] between two tries.

mod lane;
mod letter;
mod post;
mod secret;

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use tokio::task::JoinHandle;

use super::desk::Desk;
use super::{trust, vital};
use crate::config::{Config, Webhook};
use crate::events::log::Channel;
use lane::Lane;
use secret::Secrets;

/// A webhook with what its files hold.
#[derive(Clone)]
pub struct Endpoint {
    webhook: Webhook,
    secrets: Secrets,
    /// `None`: plain HTTP.
    tls: Option<Arc<ClientConfig>>,
}

/// Reads what the webhooks of `config` need. The errors are for people, one line each.
pub fn prepare(config: &Config) -> Result<Vec<Endpoint>, Vec<String>> {
    let mut endpoints = Vec::with_capacity(config.webhooks.len());
    let mut refusals = Vec::new();
    for webhook in &config.webhooks {
        match endpoint(webhook) {
            Ok(endpoint) => endpoints.push(endpoint),
            Err(why) => refusals.push(format!("webhook `{}`: {why}", webhook.name)),
        }
    }
    if refusals.is_empty() { Ok(endpoints) } else { Err(refusals) }
}

fn endpoint(webhook: &Webhook) -> Result<Endpoint, String> {
    let secrets = Secrets::read_or_make(&webhook.secret_file).map_err(|error| error.to_string())?;
    let tls = match (&webhook.ca_file, webhook.url.tls) {
        (_, false) => None,
        (Some(file), true) => Some(trusting(file)?),
        (None, true) => Some(trusting_the_system()?),
    };
    Ok(Endpoint { webhook: webhook.clone(), secrets, tls })
}

fn trusting(file: &Path) -> Result<Arc<ClientConfig>, String> {
    let named = |why: &dyn std::fmt::Display| format!("{}: {why}", file.display());
    let pem = std::fs::read(file).map_err(|error| named(&error))?;
    shards::tls::client_config_trusting(&pem).map_err(|error| named(&error))
}

fn trusting_the_system() -> Result<Arc<ClientConfig>, String> {
    let roots = trust::of_the_system();
    if roots.is_empty() {
        return Err(
            "this system has no certificate authorities: install its package `ca-certificates`, or set ca_file".into(),
        );
    }
    shards::tls::client_config_with_roots(roots).map_err(|error| error.to_string())
}

/// The lanes at work; they end when this is dropped, and what is under way then is told again.
#[derive(Default)]
pub struct Lanes(Vec<JoinHandle<()>>);

impl Lanes {
    /// Starts a lane for each endpoint and shard.
    pub fn start(endpoints: Vec<Endpoint>, desk: &Desk, log: &Arc<Channel>) -> Lanes {
        let mut lanes = Vec::new();
        for endpoint in endpoints {
            for shard in 0..desk.shards() {
                let lane = Lane::new(endpoint.clone(), shard, desk.clone(), log.clone());
                lanes.push(vital::spawn("a webhook's lane", lane.run()));
            }
        }
        Lanes(lanes)
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

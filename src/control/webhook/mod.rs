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

mod asked;
mod lane;
mod letter;
mod post;
mod secret;

use std::fmt::Display;
use std::sync::Arc;

use rustls::ClientConfig;
use tokio::task::JoinHandle;

use super::desk::Desk;
use super::{named, trust, vital};
use crate::config::{Config, Mistake, NamedFile, Webhook, unreadable_public};
use crate::events::log::Channel;
use lane::Lane;
use secret::{SecretError, Secrets};

/// A webhook with what its files hold.
#[derive(Clone)]
pub struct Endpoint {
    webhook: Webhook,
    secrets: Secrets,
    /// `None`: plain HTTP.
    tls: Option<Arc<ClientConfig>>,
}

/// What is wrong with the files that webhooks name. A secret that is not there is made by [`prepare`] alone.
pub fn mistakes(config: &Config) -> Vec<Mistake> {
    let secret = |webhook: &Webhook| named::mistake("webhook.secret_file", &webhook.secret_file, config, Secrets::read);
    config.webhooks.iter().flat_map(|webhook| secret(webhook).into_iter().chain(tls(webhook).err())).collect()
}

/// Reads what the webhooks of `config` need, and makes the secrets that there are not.
pub fn prepare(config: &Config) -> Result<Vec<Endpoint>, Vec<Mistake>> {
    let mut endpoints = Vec::with_capacity(config.webhooks.len());
    let mut mistakes = Vec::new();
    for webhook in &config.webhooks {
        match endpoint(webhook) {
            Ok(endpoint) => endpoints.push(endpoint),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    if mistakes.is_empty() { Ok(endpoints) } else { Err(mistakes) }
}

fn endpoint(webhook: &Webhook) -> Result<Endpoint, Mistake> {
    let secrets = Secrets::read_or_make(&webhook.secret_file.path).map_err(|error| about_secret(webhook, &error))?;
    Ok(Endpoint { webhook: webhook.clone(), secrets, tls: tls(webhook)? })
}

fn about_secret(webhook: &Webhook, error: &SecretError) -> Mistake {
    Mistake { line: webhook.secret_file.line, text: format!("webhook.secret_file: {error}") }
}

/// Whom a webhook's endpoint is trusted by; `None`: it is not asked.
fn tls(webhook: &Webhook) -> Result<Option<Arc<ClientConfig>>, Mistake> {
    match (&webhook.ca_file, webhook.url.tls) {
        (_, false) => Ok(None),
        (Some(file), true) => trusting(file).map(Some),
        (None, true) => trusting_the_system().map(Some).map_err(|why| Mistake {
            line: webhook.secret_file.line,
            text: format!("webhook `{}`: {why}", webhook.name),
        }),
    }
}

fn trusting(file: &NamedFile) -> Result<Arc<ClientConfig>, Mistake> {
    let mistake = |why: &dyn Display| Mistake {
        line: file.line,
        text: format!("webhook.ca_file: {}: {why}", file.path.display()),
    };
    let pem = std::fs::read(&file.path).map_err(|error| mistake(&unreadable_public(&file.path, &error)))?;
    shards::tls::client_config_trusting(&pem).map_err(|error| mistake(&error))
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

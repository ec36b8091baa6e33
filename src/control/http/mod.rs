//! The HTTP API and the console.
//!
//! | request | does |
//! |---|---|
//! | `GET /` | the console, a page for people |
//! | `GET /health` | 200 while all shards answer, else 503; no token |
//! | `GET /metrics` | counters and gauges of every shard, in Prometheus' text format |
//! | `GET /api/v1/queue?id&domain&recipient&sender&tenant&campaign&state&destination&after&limit` | a page of messages; `next` is the `after` of the next |
//! | `GET /api/v1/queue/count?…` | the number of queued recipients |
//! | `GET /api/v1/queue/domains?domain&destination&resting&after&limit` | what waits for each domain, and which rest, until when and why |
//! | `GET /api/v1/listeners` | the addresses that the server listens on |
//! | `GET /api/v1/paths?destination` | what replies and plans have made of the limits from each source to each destination |
//! | `POST /api/v1/paths/lift` | lifts once what keeps mail from a domain's destination: `{"domain": "gmail.com", "source": "s1", "asked_by": "jo"}`, all but the domain optional |
//! | `GET /api/v1/queue/ID` | everything about one message, also after its delivery, as long as its placeholder is kept |
//! | `GET /api/v1/messages?message_id` | the same about each message of a Message-ID (percent-encoded) |
//! | `GET /api/v1/suppressions?list&address&after&limit` | a page of suppressed recipients; `next` is the `after` of the next |
//! | `GET /api/v1/suppressions/export?list` | all of them as CSV |
//! | `POST /api/v1/suppressions/add`, `remove` | puts addresses on a list, or takes them off |
//! | `POST /api/v1/suppressions/import?list` | puts those of a CSV body, or of one with an address a line, on lists |
//! | `POST /api/v1/queue/hold`, `release`, `retry`, `bounce` | changes the recipients that the JSON body selects |
//! | `GET /api/v1/tls-reports` | what was counted for TLS reports, by day |
//! | `POST /api/v1/tls-reports/send` | tells a day now: `{"day": "2026-11-25"}`, today without one |
//! | `POST /api/v1/queue/suspend`, `resume` | suspends or resumes the delivery of a tenant, a campaign or all |
//! | `GET /api/v1/queue/suspensions` | what is suspended, and what resumes it |
//!
//! Over the Unix socket no token is asked for (its mode is 0600); over TCP `/metrics` and `/api` want
//! `Authorization: Bearer TOKEN`. An error is `{"error": "…"}`.
//!
//! Never: touches a queue itself (the [`Desk`] asks the shards). Limits: pages of [`desk::PAGE_MAX`](super::desk::PAGE_MAX)
//! messages; bodies of [`BODY_BYTES_MAX`], those of imports of [`suppression::IMPORT_BYTES_MAX`];
//! [`bounded::CONNECTIONS_MAX`] connections over TCP, and as many over the socket.

mod bounded;
mod console;
mod export;
mod families;
mod metrics;
mod paths;
mod queue;
mod suppression;
mod tls_reports;
mod token;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;

use super::desk::{Desk, Trouble};
use super::suppression::Keeper;
use crate::events::log::Channel;
pub use bounded::Bounded;
pub use paths::{WantedLift, no_source};
pub use queue::{Wanted, WantedDomains, WantedScope};
pub use suppression::{Added, Listed, Removed};
pub use tls_reports::Asking;
pub use token::Token;

/// The largest request body: a selection is far smaller.
pub const BODY_BYTES_MAX: usize = 16 << 10;

/// Who may ask.
#[derive(Clone)]
pub enum Access {
    /// Whoever can open the socket.
    Socket,
    /// Whoever knows the token.
    Bearer(Arc<Token>),
}

/// Everything that is served at one place.
pub fn router(
    desk: Desk,
    keeper: Keeper,
    log: Arc<Channel>,
    reporter: Asking,
    listeners: Arc<[SocketAddr]>,
    access: Access,
) -> Router {
    let large = DefaultBodyLimit::max(suppression::IMPORT_BYTES_MAX);
    let suppressions = Router::new()
        .route("/api/v1/suppressions", get(suppression::list))
        .route("/api/v1/suppressions/export", get(export::export))
        .route("/api/v1/suppressions/add", post(suppression::add))
        .route("/api/v1/suppressions/remove", post(suppression::remove))
        .route("/api/v1/suppressions/import", post(suppression::import).layer(large))
        .with_state(keeper.clone());
    let sender = reporter.clone();
    let guarded = Router::new()
        .route("/metrics", get(async move |desk| metrics::all(desk, &keeper, &log).await))
        .route("/api/v1/queue", get(queue::list))
        .route("/api/v1/queue/count", get(queue::count))
        .route("/api/v1/queue/domains", get(queue::domains))
        .route("/api/v1/queue/suspensions", get(queue::suspensions))
        .route("/api/v1/queue/{id}", get(queue::show))
        .route("/api/v1/paths", get(paths::list))
        .route("/api/v1/paths/lift", post(paths::lift))
        .route("/api/v1/listeners", get(async move || axum::Json(json!({ "listeners": listeners }))))
        .route("/api/v1/messages", get(queue::find))
        .route("/api/v1/queue/hold", post(queue::hold))
        .route("/api/v1/queue/release", post(queue::release))
        .route("/api/v1/queue/retry", post(queue::retry))
        .route("/api/v1/queue/bounce", post(queue::bounce))
        .route("/api/v1/queue/suspend", post(queue::suspend))
        .route("/api/v1/queue/resume", post(queue::resume))
        .merge(suppressions)
        .route("/api/v1/tls-reports", get(async move || tls_reports::show(reporter).await))
        .route("/api/v1/tls-reports/send", post(async move |body| tls_reports::send(sender, body).await))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
    let guarded = match access {
        Access::Socket => guarded,
        Access::Bearer(token) => guarded.route_layer(axum::middleware::from_fn_with_state(token, token::ask)),
    };
    guarded.route("/health", get(health)).with_state(desk).merge(console::routes()).fallback(nowhere)
}

async fn health(desk: axum::extract::State<Desk>) -> Result<Response, Refusal> {
    desk.metrics().await?;
    Ok(axum::Json(json!({ "status": "ok", "shards": desk.shards() })).into_response())
}

async fn nowhere() -> Refusal {
    Refusal(StatusCode::NOT_FOUND, "there is nothing at this address".into())
}

/// A request that was not done, and why.
#[derive(Debug)]
struct Refusal(StatusCode, String);

impl From<Trouble> for Refusal {
    fn from(trouble: Trouble) -> Self {
        let status = match trouble {
            Trouble::Failed(..) => StatusCode::INTERNAL_SERVER_ERROR,
            Trouble::Silent(_) => StatusCode::GATEWAY_TIMEOUT,
            Trouble::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        };
        Refusal(status, trouble.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, axum::Json(json!({ "error": self.1 }))).into_response()
    }
}

#[cfg(test)]
mod tests;

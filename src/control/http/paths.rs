//! Egress paths over HTTP: what has become of their limits, and lifting that once.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Refusal;
use super::queue::{bad, shown};
use crate::control::desk::{Desk, Outcome};
use crate::queue::orders::{Domains, Lift, Waiting};
use crate::smtp::path::Mailbox;

/// Characters of who asked.
const ASKED_BY_CHARS_MAX: usize = 100;

/// Which egress paths.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    destination: Option<String>,
}

pub(super) async fn list(
    State(desk): State<Desk>,
    asked: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Value>, Refusal> {
    let Query(wanted) = asked.map_err(|rejection| bad(rejection.body_text()))?;
    Ok(Json(json!({ "paths": desk.adjusted(wanted.destination.as_deref()).await? })))
}

/// What is to be lifted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WantedLift {
    /// A recipient's domain: what is lifted is at its destination.
    pub domain: String,
    /// From this source, or those of this pool; from all, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Who asks, for the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_by: Option<String>,
}

impl WantedLift {
    fn lift(self) -> Result<Lift, Refusal> {
        let domain = self.domain.to_lowercase();
        // What is no domain of an address need not be looked up.
        if Mailbox::parse(&format!("x@{domain}"), true).is_err() {
            return Err(bad(format!("domain: `{domain}` is not the domain of an address")));
        }
        let asked_by = self.asked_by.as_deref().unwrap_or("the HTTP API");
        Ok(Lift {
            domain: domain.into(),
            source: self.source.map(Into::into),
            asked_by: asked_by.chars().take(ASKED_BY_CHARS_MAX).collect(),
        })
    }
}

pub(super) async fn lift(
    State(desk): State<Desk>,
    ordered: Result<Json<WantedLift>, JsonRejection>,
) -> Result<Json<Value>, Refusal> {
    let Json(wanted) = ordered.map_err(|rejection| bad(rejection.body_text()))?;
    let lift = wanted.lift()?;
    match desk.lift(&lift).await? {
        Outcome::Lifted { destination, paths, recipients } => {
            let mut answer = json!({ "destination": destination, "paths": paths, "recipients": recipients });
            if recipients == 0 {
                answer["waiting"] = waiting(&desk, &lift.domain).await?;
            }
            let suspended = desk.suspensions().await?;
            if !suspended.is_empty() {
                answer["suspensions"] = shown(&suspended);
            }
            Ok(Json(answer))
        }
        Outcome::NoSource(names) => Err(bad(no_source(lift.source.as_deref().unwrap_or_default(), &names))),
        Outcome::Nowhere(why) => Err(Refusal(StatusCode::UNPROCESSABLE_ENTITY, why)),
    }
}

/// What waits at a domain although nothing was lifted, and for what.
async fn waiting(desk: &Desk, domain: &str) -> Result<Value, Refusal> {
    let this = Domains { domain: Some(domain.into()), ..Domains::default() };
    let mut domains = desk.domains(&this, None, 1).await?.domains;
    desk.explain_domains(&mut domains).await?;
    Ok(domains.iter().filter(|waiting| waiting.waits_for.is_some()).map(Waiting::json).collect())
}

/// What is said of a source that does not exist.
pub fn no_source(name: &str, names: &[Box<str>]) -> String {
    let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    format!("there is no [[source]] or [[pool]] named `{name}`; there are: {names}")
}

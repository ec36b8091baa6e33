//! The queue over HTTP: selections come in, JSON goes out.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Refusal;
use crate::control::desk::{Change, Desk, PAGE_MAX};
use crate::queue::MessageId;
use crate::queue::orders::{Domains, Scope, Selection, StateWanted, Suspended, Waiting};

/// Messages of a page where nothing is said.
const PAGE_DEFAULT: usize = 100;

/// Which recipients: every given condition must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Wanted {
    /// A message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The recipient's domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The recipient's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// The reverse-path; `<>` is the null one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// Whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Of which campaign.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub campaign: Option<String>,
    /// `due`, and of these `new`, `deferred`, `scheduled` and `suspended`; `held`; or `uncertain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Because of which destination the recipient's domain rests now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// Everything. Changes want it said.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// Pages: the last id of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Pages: messages per page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

impl Wanted {
    /// Whether no condition is given.
    pub fn is_unconditional(&self) -> bool {
        let Wanted { id, domain, recipient, sender, tenant, campaign, state, destination, .. } = self;
        [id, domain, recipient, sender, tenant, campaign, state, destination]
            .iter()
            .all(|condition| condition.is_none())
    }

    fn selection(&self) -> Result<Selection, Refusal> {
        let state = |name: &str| {
            StateWanted::named(name).ok_or_else(|| {
                let all = StateWanted::ALL.map(|state| format!("`{}`", state.0)).join(", ");
                bad(format!("state: `{name}` must be one of {all}"))
            })
        };
        Ok(Selection {
            id: self.id.as_deref().map(message_id).transpose()?,
            domain: self.domain.as_ref().map(|domain| domain.to_lowercase().into()),
            recipient: self.recipient.as_deref().map(|path| without_brackets(path).into()),
            sender: self.sender.as_deref().map(|path| without_brackets(path).into()),
            tenant: self.tenant.as_deref().map(Into::into),
            campaign: self.campaign.as_deref().map(Into::into),
            state: self.state.as_deref().map(state).transpose()?,
            destinations: self.destination.as_deref().map(Into::into).into_iter().collect(),
        })
    }
}

/// Which domains: every given condition must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct WantedDomains {
    /// This one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Those that rest because of this destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// Those that rest.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub resting: bool,
    /// Pages: the last name of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Pages: domains per page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

impl WantedDomains {
    fn domains(&self) -> Domains {
        Domains {
            domain: self.domain.as_ref().map(|domain| domain.to_lowercase().into()),
            destination: self.destination.as_deref().map(Into::into),
            resting: self.resting,
        }
    }
}

fn without_brackets(path: &str) -> &str {
    path.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).unwrap_or(path)
}

fn message_id(text: &str) -> Result<MessageId, Refusal> {
    text.parse().map_err(|_| bad(format!("`{text}` is not the id of a message")))
}

pub(super) fn bad(text: String) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, text)
}

type Asked = Result<Query<Wanted>, QueryRejection>;
type Ordered = Result<Json<Wanted>, JsonRejection>;

pub(super) async fn list(State(desk): State<Desk>, asked: Asked) -> Result<Json<Value>, Refusal> {
    let Query(wanted) = asked.map_err(|rejection| bad(rejection.body_text()))?;
    let limit = page_limit(wanted.limit)?;
    let after = wanted.after.as_deref().map(message_id).transpose()?;
    let mut page = desk.list(&wanted.selection()?, after, limit).await?;
    desk.explain_messages(&mut page.messages).await?;
    let last = page.messages.last().filter(|_| page.more).map(|message| message["id"].clone());
    Ok(Json(json!({ "messages": page.messages, "next": last })))
}

pub(super) async fn count(State(desk): State<Desk>, asked: Asked) -> Result<Json<Value>, Refusal> {
    let Query(wanted) = asked.map_err(|rejection| bad(rejection.body_text()))?;
    let recipients = desk.count(&wanted.selection()?).await?;
    Ok(Json(json!({ "recipients": recipients })))
}

pub(super) async fn domains(
    State(desk): State<Desk>,
    asked: Result<Query<WantedDomains>, QueryRejection>,
) -> Result<Json<Value>, Refusal> {
    let Query(wanted) = asked.map_err(|rejection| bad(rejection.body_text()))?;
    let limit = page_limit(wanted.limit)?;
    let mut page = desk.domains(&wanted.domains(), wanted.after.as_deref(), limit).await?;
    desk.explain_domains(&mut page.domains).await?;
    let last = page.domains.last().filter(|_| page.more).map(|waiting| &waiting.domain);
    let domains: Vec<Value> = page.domains.iter().map(Waiting::json).collect();
    Ok(Json(json!({ "domains": domains, "next": last })))
}

fn page_limit(limit: Option<usize>) -> Result<usize, Refusal> {
    match limit.unwrap_or(PAGE_DEFAULT) {
        limit if (1..=PAGE_MAX).contains(&limit) => Ok(limit),
        _ => Err(bad(format!("limit: must be between 1 and {PAGE_MAX}"))),
    }
}

pub(super) async fn show(State(desk): State<Desk>, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let mut found = desk.show(message_id(&id)?).await?;
    desk.explain_messages(found.as_mut_slice()).await?;
    found.map(Json).ok_or_else(|| Refusal(StatusCode::NOT_FOUND, format!("there is no message {id}")))
}

/// Messages by what their senders know of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Known {
    message_id: String,
}

pub(super) async fn find(
    State(desk): State<Desk>,
    asked: Result<Query<Known>, QueryRejection>,
) -> Result<Json<Value>, Refusal> {
    let Query(Known { message_id }) = asked.map_err(|rejection| bad(rejection.body_text()))?;
    let message_id = message_id.trim();
    let message_id = if message_id.starts_with('<') { message_id.to_owned() } else { format!("<{message_id}>") };
    let mut found = desk.find(&message_id).await?;
    desk.explain_messages(&mut found).await?;
    Ok(Json(json!({ "messages": found })))
}

pub(super) async fn hold(State(desk): State<Desk>, ordered: Ordered) -> Result<Json<Value>, Refusal> {
    change(&desk, Change::Hold, ordered).await
}

pub(super) async fn release(State(desk): State<Desk>, ordered: Ordered) -> Result<Json<Value>, Refusal> {
    change(&desk, Change::Release, ordered).await
}

pub(super) async fn retry(State(desk): State<Desk>, ordered: Ordered) -> Result<Json<Value>, Refusal> {
    let waits_too = match &ordered {
        Ok(Json(Wanted { domain: Some(domain), .. })) => waits_beside(&desk, &domain.to_lowercase()).await?,
        _ => None,
    };
    let Json(mut answer) = change(&desk, Change::Retry, ordered).await?;
    if let Some((destination, recipients)) = waits_too {
        answer["waiting_still"] = json!({ "destination": destination, "recipients": recipients });
    }
    Ok(Json(answer))
}

/// The destination because of which a domain rests, and the recipients at other domains that wait for it too.
async fn waits_beside(desk: &Desk, domain: &str) -> Result<Option<(Arc<str>, u64)>, Refusal> {
    let this = Domains { domain: Some(domain.into()), resting: true, ..Domains::default() };
    let Some(own) = desk.domains(&this, None, 1).await?.domains.pop() else { return Ok(None) };
    let Some(rest) = own.rest.filter(|rest| !rest.destination.is_empty()) else { return Ok(None) };
    let others = desk.count(&Selection::behind(&rest.destination)).await?.saturating_sub(own.recipients);
    Ok((others > 0).then_some((rest.destination, others)))
}

pub(super) async fn bounce(State(desk): State<Desk>, ordered: Ordered) -> Result<Json<Value>, Refusal> {
    change(&desk, Change::Bounce, ordered).await
}

/// Releasing everything also resumes all delivery. What is to be tried and is suspended is told.
async fn change(desk: &Desk, change: Change, ordered: Ordered) -> Result<Json<Value>, Refusal> {
    let Json(wanted) = ordered.map_err(|rejection| bad(rejection.body_text()))?;
    if wanted.is_unconditional() != wanted.all {
        return Err(bad(
            "select by id, domain, recipient, sender, tenant, campaign, state or destination; or say `all`, without a condition".into(),
        ));
    }
    let recipients = desk.change(change, &wanted.selection()?).await?;
    let mut answer = json!({ "recipients": recipients });
    let suspended = match change {
        Change::Release if wanted.all => desk.suspend(&Scope::All, false).await?.scopes,
        Change::Release | Change::Retry => desk.suspensions().await?,
        Change::Hold | Change::Bounce => Vec::new(),
    };
    if !suspended.is_empty() {
        answer["suspensions"] = shown(&suspended);
    }
    Ok(Json(answer))
}

/// What is suspended, and the commands that resume it.
pub(super) fn shown(suspended: &[Scope]) -> Value {
    suspended.iter().map(|scope| json!({ "suspension": scope.to_string(), "resume": scope.resumed_by() })).collect()
}

pub(super) async fn suspensions(State(desk): State<Desk>) -> Result<Json<Value>, Refusal> {
    Ok(Json(json!({ "suspensions": shown(&desk.suspensions().await?) })))
}

/// What is to be suspended or resumed: a tenant, a campaign, or all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct WantedScope {
    /// This tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// This campaign.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub campaign: Option<String>,
    /// Everything.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
}

impl WantedScope {
    fn scope(self) -> Result<Scope, Refusal> {
        match (self.tenant, self.campaign, self.all) {
            (Some(tenant), None, false) => Ok(Scope::Tenant(tenant.into())),
            (None, Some(campaign), false) => Ok(Scope::Campaign(campaign.into())),
            (None, None, true) => Ok(Scope::All),
            _ => Err(bad("say one of: a tenant, a campaign, or `all`".into())),
        }
    }
}

type Scoped = Result<Json<WantedScope>, JsonRejection>;

pub(super) async fn suspend(State(desk): State<Desk>, ordered: Scoped) -> Result<Json<Value>, Refusal> {
    set_suspended(&desk, ordered, true).await
}

pub(super) async fn resume(State(desk): State<Desk>, ordered: Scoped) -> Result<Json<Value>, Refusal> {
    set_suspended(&desk, ordered, false).await
}

async fn set_suspended(desk: &Desk, ordered: Scoped, suspended: bool) -> Result<Json<Value>, Refusal> {
    let Json(wanted) = ordered.map_err(|rejection| bad(rejection.body_text()))?;
    let scope = wanted.scope()?;
    let was_suspended = desk.suspensions().await?.contains(&scope);
    let Suspended { scopes, recipients } = desk.suspend(&scope, suspended).await?;
    Ok(Json(json!({
        "suspended": suspended,
        "changed": was_suspended != suspended,
        "recipients": recipients,
        "suspensions": shown(&scopes),
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selections_are_checked_and_normal() {
        let wanted = Wanted {
            id: Some("17".into()),
            domain: Some("Example.ORG".into()),
            sender: Some("<>".into()),
            recipient: Some("<jo@example.org>".into()),
            state: Some("held".into()),
            ..Wanted::default()
        };
        let selection = wanted.selection().expect("good");
        assert_eq!(selection.id, Some(MessageId(0x17)));
        assert_eq!(selection.domain.as_deref(), Some("example.org"));
        assert_eq!(selection.sender.as_deref(), Some(""));
        assert_eq!(selection.recipient.as_deref(), Some("jo@example.org"));
        for wrong in [
            Wanted { id: Some("xyz".into()), ..Wanted::default() },
            Wanted { state: Some("leased".into()), ..Wanted::default() },
        ] {
            assert_eq!(wrong.selection().expect_err("bad").0, StatusCode::BAD_REQUEST);
        }
    }
}

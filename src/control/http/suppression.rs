//! Suppressed recipients over HTTP.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, Query, Request, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Refusal;
use crate::config::suppression::Cause;
use crate::control::desk::PAGE_MAX;
use crate::control::suppression::{Keeper, Refused, now_s, off_the_thread};
use crate::suppression::{Change, Entry, FOR_EVER, Key, List, Lists, Scope, table};

/// The largest body of an import: several million addresses.
pub const IMPORT_BYTES_MAX: usize = 256 << 20;
/// How long the body of an import may take to come, while others wait.
const BODY_PATIENCE: Duration = Duration::from_secs(300);
/// Entries of a page where nothing is said.
const PAGE_DEFAULT: usize = 100;
/// Addresses of one request that are not imported.
const ADDRESSES_MAX: usize = 200;

/// Which entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listed {
    /// Of this list: `global`, `relay` or `account:NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list: Option<String>,
    /// Of this address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Pages: the `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Pages: entries per page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// What is to be put on a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Added {
    /// The addresses.
    pub addresses: Vec<String>,
    /// The list; absent: everybody's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list: Option<String>,
    /// Why; absent: an operator wants it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Until when; absent: for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// What is to be taken off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Removed {
    /// The addresses; every one of the list where `all` says so.
    pub addresses: Vec<String>,
    /// The list; absent: every one that has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list: Option<String>,
    /// The whole of the list, which must be named.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Refusal {
        let status = match refused {
            Refused::Off | Refused::Full(..) | Refused::FullTogether(_) => StatusCode::CONFLICT,
            Refused::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Refused::NoAccount(..) => StatusCode::NOT_FOUND,
            Refused::Disk(_) => StatusCode::INSUFFICIENT_STORAGE,
            Refused::NotEverywhere => StatusCode::GATEWAY_TIMEOUT,
            Refused::Defect(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Refusal(status, refused.to_string())
    }
}

pub(super) fn bad(text: impl Into<String>) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, text.into())
}

fn scope(name: Option<&str>) -> Result<Option<Scope>, Refusal> {
    let named = |name: &str| {
        table::scope_named(name)
            .ok_or_else(|| bad(format!("list: `{name}` must be `global`, `relay` or `account:NAME`")))
    };
    name.map(named).transpose()
}

/// The list of a name that is looked at or emptied: one that there can be.
pub(super) async fn known(keeper: &Keeper, name: Option<&str>) -> Result<Option<Scope>, Refusal> {
    let scope = scope(name)?;
    if let Some(scope) = &scope {
        keeper.knows(scope).await?;
    }
    Ok(scope)
}

fn key(address: &str) -> Result<Key, Refusal> {
    Key::parse(address).map_err(|why| bad(format!("`{address}`: {why}")))
}

pub(super) async fn list(
    State(keeper): State<Keeper>,
    asked: Result<Query<Listed>, QueryRejection>,
) -> Result<Json<Value>, Refusal> {
    let Query(listed) = asked.map_err(|rejection| bad(rejection.body_text()))?;
    let limit = listed.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(bad(format!("limit: must be between 1 and {PAGE_MAX}")));
    }
    let wanted = known(&keeper, listed.list.as_deref()).await?;
    let after = match listed.after.as_deref().map(|after| after.split_once('\t')) {
        None => None,
        Some(Some((list, address))) => scope(Some(list))?.map(|scope| (scope, address)),
        Some(None) => return Err(bad("after: must be the `next` of the page before")),
    };
    let address = listed.address.as_deref().map(key).transpose()?;
    let lists = keeper.lists();
    let after = after.map(|(scope, address)| (scope, address.to_owned()));
    let page = off_the_thread(move || page(&lists, wanted.as_ref(), after.as_ref(), address.as_ref(), limit));
    let mut page = page.await?;
    page["on"] = keeper.is_on().await.into();
    Ok(Json(page))
}

/// A page of `limit` entries that suppress, after a place; perhaps of one list or one address alone.
fn page(
    lists: &Lists,
    wanted: Option<&Scope>,
    after: Option<&(Scope, String)>,
    address: Option<&Key>,
    limit: usize,
) -> Value {
    let now_s = now_s();
    let mut page = Vec::new();
    let mut next = None;
    for (scope, list) in lists.scopes().filter(|(scope, _)| wanted.is_none_or(|wanted| wanted == scope)) {
        let begin = match after {
            Some((last, _)) if scope < *last => continue,
            Some((last, address)) if scope == *last => Some(&**address),
            _ => None,
        };
        for (found, entry) in matching(list, begin, address).filter(|(_, entry)| entry.suppresses(now_s)) {
            if page.len() == limit {
                return json!({ "suppressions": page, "next": next });
            }
            next = Some(format!("{}\t{found}", table::scope_name(&scope)));
            page.push(shown(&scope, found, &entry));
        }
    }
    json!({ "suppressions": page, "next": null })
}

/// The entries of a list from the one after `begin` on, or of one address alone.
fn matching<'a>(
    list: &'a List,
    begin: Option<&'a str>,
    address: Option<&'a Key>,
) -> Box<dyn Iterator<Item = (&'a str, Entry)> + 'a> {
    match address {
        None => Box::new(list.after(begin)),
        Some(key) => {
            let is_ahead = begin.is_none_or(|begin| begin < key.as_str());
            Box::new(list.get(key.as_str()).filter(|_| is_ahead).map(|entry| (key.as_str(), entry)).into_iter())
        }
    }
}

fn shown(scope: &Scope, address: &str, entry: &Entry) -> Value {
    let mut shown = json!({
        "address": address,
        "list": table::scope_name(scope),
        "cause": entry.cause.name(),
        "since": table::time(entry.since_s),
    });
    if entry.until_s != FOR_EVER {
        shown["until"] = table::time(entry.until_s).into();
    }
    shown
}

/// A list, where one is meant.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct OfList {
    pub list: Option<String>,
}

pub(super) async fn add(
    State(keeper): State<Keeper>,
    ordered: Result<Json<Added>, JsonRejection>,
) -> Result<Json<Value>, Refusal> {
    let Json(added) = ordered.map_err(|rejection| bad(rejection.body_text()))?;
    some(&added.addresses)?;
    let scope = scope(added.list.as_deref())?.unwrap_or(Scope::Everyone);
    let cause = match added.cause.as_deref() {
        None => Cause::Operator,
        Some(name) => Cause::named(name).ok_or_else(|| bad(format!("cause: `{name}` is not known")))?,
    };
    let until_s = added.until.as_deref().map_or(Ok(FOR_EVER), table::seconds).map_err(bad)?;
    let entry = Entry { cause, since_s: now_s(), until_s, strikes: 0 };
    if !entry.is_current(entry.since_s) {
        return Err(bad("until: is over already"));
    }
    let change =
        |address: &String| Ok(Change { scope: scope.clone(), address: key(address)?.into(), entry: Some(entry) });
    let changes = added.addresses.iter().map(change).collect::<Result<Vec<_>, Refusal>>()?;
    Ok(Json(json!({ "added": keeper.change(changes).await? })))
}

fn some(addresses: &[String]) -> Result<(), Refusal> {
    match addresses.len() {
        0 => Err(bad("addresses: name at least one")),
        1..=ADDRESSES_MAX => Ok(()),
        _ => Err(bad(format!("addresses: at most {ADDRESSES_MAX}; import more"))),
    }
}

pub(super) async fn remove(
    State(keeper): State<Keeper>,
    ordered: Result<Json<Removed>, JsonRejection>,
) -> Result<Json<Value>, Refusal> {
    let Json(removed) = ordered.map_err(|rejection| bad(rejection.body_text()))?;
    let wanted = known(&keeper, removed.list.as_deref()).await?;
    let lists = keeper.lists();
    if removed.all {
        let Some(scope) = wanted.filter(|_| removed.addresses.is_empty()) else {
            return Err(bad("all: is about a list that is named, and no address"));
        };
        let _place = keeper.whole().await?;
        let changes = off_the_thread(move || {
            let off =
                |(address, _): (&str, Entry)| Change { scope: scope.clone(), address: address.into(), entry: None };
            lists.of(&scope).after(None).map(off).collect()
        });
        return Ok(Json(json!({ "removed": keeper.change(changes.await?).await? })));
    }
    some(&removed.addresses)?;
    let off = |scope: &Scope, address: &str| Change { scope: scope.clone(), address: address.into(), entry: None };
    let keys = removed.addresses.iter().map(|address| key(address)).collect::<Result<Vec<_>, _>>()?;
    let scopes = lists.scopes().filter(|(scope, _)| wanted.as_ref().is_none_or(|wanted| wanted == scope));
    let changes = scopes.flat_map(|(scope, _)| keys.iter().map(move |key| off(&scope.clone(), key.as_str()))).collect();
    Ok(Json(json!({ "removed": keeper.change(changes).await? })))
}

pub(super) async fn import(
    State(keeper): State<Keeper>,
    asked: Result<Query<OfList>, QueryRejection>,
    request: Request,
) -> Result<Json<Value>, Refusal> {
    let Query(OfList { list }) = asked.map_err(|rejection| bad(rejection.body_text()))?;
    let scope = scope(list.as_deref())?.unwrap_or(Scope::Everyone);
    // Nothing of the body is read before its turn has come.
    let (_place, entries_max) = keeper.whole().await?;
    let text = match tokio::time::timeout(BODY_PATIENCE, String::from_request(request, &())).await {
        Ok(text) => text.map_err(|rejection| Refusal(rejection.status(), rejection.body_text()))?,
        Err(_) => return Err(Refusal(StatusCode::REQUEST_TIMEOUT, "the body came too slowly".into())),
    };
    let read = off_the_thread(move || table::read(&text, &scope, now_s(), entries_max)).await?;
    let changes = read.map_err(|mistakes| bad(format!("nothing was imported: {}", mistakes.join("; "))))?;
    Ok(Json(json!({ "imported": keeper.change(changes).await? })))
}

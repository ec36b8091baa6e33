//! TLS reports over HTTP: what was counted, and telling it now.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::Refusal;
use crate::control::tls_reports::Ask;

/// The way to the reporter.
pub type Asking = mpsc::Sender<Ask>;

/// Which day is told.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Wanted {
    day: Option<String>,
}

pub(super) async fn show(asking: Asking) -> Result<impl IntoResponse, Refusal> {
    let text = ask(asking, Ask::Show).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text))
}

pub(super) async fn send(asking: Asking, wanted: Result<Json<Wanted>, JsonRejection>) -> Result<Json<Value>, Refusal> {
    let Json(wanted) = wanted.map_err(|error| Refusal(StatusCode::BAD_REQUEST, error.body_text()))?;
    let value = ask(asking, |answer| Ask::Send(wanted.day, answer)).await?;
    match value["error"].as_str() {
        Some(why) => Err(Refusal(StatusCode::BAD_REQUEST, why.to_owned())),
        None => Ok(Json(value)),
    }
}

async fn ask<T>(asking: Asking, what: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, Refusal> {
    let stopping = || Refusal(StatusCode::SERVICE_UNAVAILABLE, "ringpost is stopping".into());
    let (answer, answered) = oneshot::channel();
    asking.send(what(answer)).await.map_err(|_| stopping())?;
    answered.await.map_err(|_| stopping())
}

//! The console: one page, its script and its style, all from here. It asks the API like any other client.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// Nothing but this server's own script and style runs in the page, and nobody may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const NO_SNIFFING: HeaderName = HeaderName::from_static("x-content-type-options");

pub(super) fn routes() -> Router {
    Router::new()
        .route("/", get(|| async { file("text/html; charset=utf-8", include_str!("console.html")) }))
        .route("/console.js", get(|| async { file("text/javascript; charset=utf-8", include_str!("console.js")) }))
        .route("/console.css", get(|| async { file("text/css; charset=utf-8", include_str!("console.css")) }))
}

fn file(media_type: &'static str, text: &'static str) -> Response {
    let fields = [
        (CONTENT_TYPE, media_type),
        (CONTENT_SECURITY_POLICY, POLICY),
        (CACHE_CONTROL, "no-cache"),
        (NO_SNIFFING, "nosniff"),
    ];
    (fields, text).into_response()
}

//! The protocol's endpoints, one per file, and the way that every call takes through the vault.
//!
//! A call is believed in steps: headers ([`caller`]), key ([`key`]), rate limit ([`limit`]), body, signature, and then the
//! endpoint, whose one unit of work in the store judges what can change between two calls (state of key, agent and app,
//! the nonce, the grant) and writes the audit row. A refusal on the way is answered by one renderer ([`answer`]) and
//! leaves a row as well.

mod answer;
mod auth_poll;
mod auth_session;
mod call;
mod caller;
mod catalog;
mod connect_poll;
mod connect_session;
mod health;
mod hooks;
mod key;
mod limit;
mod list;
mod report;
mod revoke;
mod scope_report;
mod token;
mod verify_token;

use std::{sync::Arc, time::Instant};

use alter_core::wire::{
    auth, catalog as wire_catalog, code::Code, connect as wire_connect, error::ErrorBody, grants, identity,
    report as wire_report, token as wire_token,
};
use axum::{
    Router,
    extract::{Request, State},
    response::Response,
    routing::{get, post},
};
use http::StatusCode;

pub(crate) use answer::Failure;
pub(crate) use caller::body as read_body;
pub(crate) use key::{KeyRoom, KnownKey};
pub(crate) use limit::RowBudget;
#[cfg(feature = "cli")]
pub(crate) use list::status as grant_status;

use self::{
    answer::{Dressing, Reply},
    call::{Endpoint, serve},
};
use crate::{signin, telemetry, vault::Core, wallet};

/// Every route of the vault.
pub(crate) fn router(core: Arc<Core>) -> Router {
    Router::new()
        .route(wire_token::PATH, post(timed::<token::Token>))
        .route(wire_report::API_CALL_PATH, post(timed::<report::Report>))
        .route("/sdk/grants/{id}/report-scope-mismatch", post(timed::<scope_report::ScopeReport>))
        .route(hooks::PATH, post(hooks::hear).get(hooks::verify))
        .route(grants::LIST_PATH, post(timed::<list::List>))
        .route("/sdk/oauth/grants/{id}/revoke", post(timed::<revoke::Revoke>))
        .route(wire_catalog::PATH, get(timed::<catalog::Catalog>))
        .route(identity::VERIFY_TOKEN_PATH, post(timed::<verify_token::VerifyToken>))
        .route(signin::CALLBACK_PATH, get(signin::callback))
        .route(wire_connect::SESSION_PATH, post(timed::<connect_session::CreateConnect>))
        .route(wire_connect::POLL_PATH, post(timed::<connect_poll::PollConnect>))
        .route(auth::SESSION_PATH, post(timed::<auth_session::CreateSignIn>))
        .route(auth::POLL_PATH, post(timed::<auth_poll::PollSignIn>))
        .merge(crate::connect::pages())
        .merge(wallet::pages())
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .method_not_allowed_fallback(async || {
            unserved(
                StatusCode::METHOD_NOT_ALLOWED,
                Code::from("method_not_allowed"),
                "this route takes another method",
            )
        })
        .fallback(async || unserved(StatusCode::NOT_FOUND, Code::NotFound, "there is no such route"))
        .with_state(core)
}

/// Serves a call, and counts and times it.
async fn timed<E: Endpoint>(core: State<Arc<Core>>, request: Request) -> Response {
    let began = Instant::now();
    #[cfg(feature = "otel")]
    let span = telemetry::spans::of_call(E::ROUTE, request.headers());
    let response = serve::<E>(core, request);
    #[cfg(feature = "otel")]
    let response = tracing::Instrument::instrument(response, span.clone());
    let response = response.await;
    #[cfg(feature = "otel")]
    span.record("http.response.status_code", response.status().as_u16());
    telemetry::answered(E::ROUTE, response.status(), began.elapsed());
    response
}

fn unserved(status: StatusCode, code: Code, message: &str) -> Response {
    Dressing::new(caller::request_id()).render(Reply::error_with(status, &ErrorBody::new(code, message)))
}

//! The revocation endpoint (RFC 7009).

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde_json::json;

use super::{error::OauthError, ledger::Revoked};
use crate::{
    counts::Revocations,
    date,
    faults::RevokeFault,
    net::Connection,
    params::Params,
    site::Site,
    state::{State as Remembered, World},
};

/// How long a call hangs that is to hang.
const HANG: Duration = Duration::from_secs(600);

pub(super) async fn revoke(
    State(world): State<Arc<World>>,
    Extension(site): Extension<Site>,
    Extension(connection): Extension<Connection>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (fault, answer) = {
        let mut state = world.lock();
        let fault = state.faults.take_revoke_fault();
        let counts = &mut state.tally.revocations;
        counts.calls += 1;
        counts.faults += u64::from(fault != RevokeFault::None);
        let answer = match fault {
            RevokeFault::None | RevokeFault::Drop => carry_out(&world, &mut state, site, &headers, &body),
            _ => instead(&world, &state, fault),
        };
        (fault, answer)
    };
    match fault {
        RevokeFault::Drop => connection.cut().await,
        RevokeFault::Hang => {
            tokio::time::sleep(HANG).await;
            answer
        }
        _ => answer,
    }
}

fn carry_out(
    world: &World,
    state: &mut Remembered,
    site: Site,
    headers: &HeaderMap,
    body: &[u8],
) -> Response {
    let answer = Params::parse(body).map_err(OauthError::from).and_then(|form| {
        let client = world.authenticate(site, headers, &form)?;
        let missing = || OauthError::InvalidRequest("token is missing".to_owned());
        state.ledger.revoke(form.get("token").ok_or_else(missing)?, client)
    });
    let Revocations { access_tokens, refresh_tokens, unknown_tokens, refused, .. } =
        &mut state.tally.revocations;
    match answer {
        Ok(kind) => {
            *match kind {
                Revoked::Access => access_tokens,
                Revoked::Refresh => refresh_tokens,
                Revoked::Unknown => unknown_tokens,
            } += 1;
            StatusCode::OK.into_response()
        }
        Err(error) => {
            *refused += 1;
            error.into_response()
        }
    }
}

/// The answer of a fault that carries nothing out.
fn instead(world: &World, state: &Remembered, fault: RevokeFault) -> Response {
    let (status, error) = match fault {
        RevokeFault::UnsupportedTokenType => (StatusCode::BAD_REQUEST, "unsupported_token_type"),
        RevokeFault::InvalidClient => {
            return OauthError::InvalidClient("the sandbox was told to refuse").into_response();
        }
        _ => (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
    };
    let body = json!({"error": error, "error_description": "the sandbox was told to fail"});
    let mut response = (status, Json(body)).into_response();
    let retry_after = date::retry_after(&state.faults, status, world.clock.now_ms());
    response.headers_mut().extend(retry_after.map(|value| (header::RETRY_AFTER, value)));
    response
}

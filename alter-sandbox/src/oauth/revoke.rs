//! The revocation endpoint (RFC 7009).

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap};
use bytes::Bytes;

use super::error::OauthError;
use crate::{params::Params, state::World};

pub(super) async fn revoke(
    State(world): State<Arc<World>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(), OauthError> {
    let form = Params::parse(&body)?;
    let client = world.authenticate(&headers, &form)?;
    let token = form.get("token").ok_or_else(|| OauthError::InvalidRequest("token is missing".to_owned()))?;
    world.lock().ledger.revoke(token, &client.client_id)
}

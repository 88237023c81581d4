//! `POST /sdk/oauth/grants/{id}/revoke` (spec/03 §3.2).

use alter_core::wire::{
    grants::{RevokeRequest, RevokeResponse},
    secret::SecretText,
};

use super::{
    answer::{Failure, Reply},
    call::{Call, Endpoint, decided},
};
use crate::{domain::Scope, store::RevokeCommand};

pub(super) struct Revoke;

impl Endpoint for Revoke {
    const ROUTE: &'static str = "POST /sdk/oauth/grants/{id}/revoke";
    const SCOPE: Scope = Scope::GrantsWrite;
    const MAX_BODY: usize = 64 * 1024;

    async fn answer(call: &Call) -> Result<Reply, Failure> {
        let grant_id = call.path_grant()?;
        let asked: RevokeRequest = if call.body.is_empty() { RevokeRequest::default() } else { call.json()? };
        let user = call.user(asked.user_token.as_ref().map(SecretText::expose)).await?;
        let command = RevokeCommand { admission: call.admission(), grant_id, user, reason: asked.reason };
        let revoked = decided(call.core.store.revoke_grant(command).await?)?;
        call.core.outbox.wake();
        Ok(Reply::json(&RevokeResponse {
            success: true,
            message: "the grant is revoked; the next call is refused".to_owned(),
            grant_id: revoked.grant_id.to_string(),
            revoked_at: revoked.revoked_at.to_string(),
        }))
    }
}

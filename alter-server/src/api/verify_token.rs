//! `POST /sdk/auth/verify-token` (spec/03 §5).

use alter_core::wire::identity::{VerifyTokenRequest, VerifyTokenResponse};

use super::{
    answer::{Failure, Reply},
    call::{Call, Endpoint, decided},
};
use crate::{audit::Action, domain::Scope, store::AdmittedNote};

pub(super) struct VerifyToken;

impl Endpoint for VerifyToken {
    const ROUTE: &'static str = "POST /sdk/auth/verify-token";
    const SCOPE: Scope = Scope::IdentityVerify;
    const REFUSED: Action = Action::UserVerified;
    const MAX_BODY: usize = 64 * 1024;

    async fn answer(call: &Call) -> Result<Reply, Failure> {
        let asked: VerifyTokenRequest = call.json()?;
        let user = call.user(Some(asked.token.expose())).await?;
        let sub = user.as_ref().map(|user| user.subject.clone()).unwrap_or_default();
        let note = AdmittedNote {
            admission: call.admission(),
            action: Action::UserVerified,
            user,
            code: None,
            grant: None,
            detail: None,
        };
        decided(call.core.store.note(note).await?)?;
        Ok(Reply::json(&VerifyTokenResponse { sub }))
    }
}

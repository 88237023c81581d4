//! `POST /sdk/auth/session` (spec/03 §2.2).

use alter_core::wire::{
    auth::{AuthSessionRequest, AuthSessionResponse},
    code::Code,
};

use super::{
    answer::{Failure, Reply},
    call::{Call, Endpoint},
    connect_session::{create, page_with, public_url},
};
use crate::{
    audit::Action,
    connect,
    domain::{Asked, Scope, SessionKind},
};

pub(super) struct CreateSignIn;

impl Endpoint for CreateSignIn {
    const ROUTE: &'static str = "POST /sdk/auth/session";
    const SCOPE: Scope = Scope::IdpUsersWrite;
    const REFUSED: Action = Action::SessionCreated;
    const MAX_BODY: usize = 64 * 1024;

    async fn answer(call: &Call) -> Result<Reply, Failure> {
        let AuthSessionRequest {} = call.json()?;
        let public = public_url(call)?;
        if call.app.config.sign_in.is_none() {
            return Err(Failure::refused(
                Code::IdpSigninNotConfigured,
                "nobody can sign in to this app on the vault's pages: an operator sets it up with `alter-server idp sign-in`",
            ));
        }
        let (session, token) = create(call, SessionKind::SignIn, None, Asked::default()).await?;
        Ok(Reply::created(&AuthSessionResponse {
            auth_url: page_with(public, connect::SIGN_IN_PATH, &token),
            session_token: token,
            expires_in: connect::LIFETIME.as_secs(),
            expires_at: session.expires_at.to_string(),
        }))
    }
}

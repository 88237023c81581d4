//! `POST /sdk/oauth/connect/session` (spec/03 §1.1).

use alter_core::wire::{
    code::Code,
    connect::{ConnectSessionRequest, ConnectSessionResponse, PAGE_PATH},
    secret::SecretText,
};
use secrecy::{ExposeSecret, SecretString};

use super::{
    answer::{Failure, Reply},
    call::{Call, Endpoint, decided},
};
use crate::{
    audit::Action,
    connect::{self, choice},
    domain::{Asked, ConnectSession, Identity, Scope, SessionId, SessionKind, SessionRef, TokenDigest},
    store::CreateSession,
    web::{self, PublicUrl},
};

pub(super) struct CreateConnect;

impl Endpoint for CreateConnect {
    const ROUTE: &'static str = "POST /sdk/oauth/connect/session";
    const SCOPE: Scope = Scope::ConnectInitiate;
    const REFUSED: Action = Action::SessionCreated;
    const MAX_BODY: usize = 256 * 1024;

    async fn answer(call: &Call) -> Result<Reply, Failure> {
        let request: ConnectSessionRequest = call.json()?;
        let public = public_url(call)?;
        let providers = call.core.store.list_providers(call.key.material.app_id).await?;
        let asked = connect::read_request(&request, &call.app.config, &providers)
            .map_err(|(code, message)| Failure::refused(code, message))?;
        let user = call.user(request.user_token.as_ref().map(SecretText::expose)).await?;
        let direct = asked.direct;
        let single_provider = choice::offered(&asked, &providers).len() == 1;
        let (session, token) = create(call, SessionKind::Connect, user, asked).await?;
        Ok(Reply::json(&ConnectSessionResponse {
            connect_url: page_with(public, PAGE_PATH, &token),
            session_token: token,
            expires_in: connect::LIFETIME.as_secs(),
            expires_at: session.expires_at.to_string(),
            scope_constraint_warnings: Vec::new(),
            single_provider,
            direct,
        }))
    }
}

/// Where browsers reach the vault.
pub(super) fn public_url(call: &Call) -> Result<&PublicUrl, Failure> {
    call.core.web.public_url.as_ref().ok_or_else(|| {
        Failure::refused(
            Code::ServiceUnavailable,
            "this vault does not know the address under which browsers reach it, so it has no pages: its operator sets it \
             with --public-url (ALTER_PUBLIC_URL)",
        )
    })
}

/// Makes a session, and its token.
pub(super) async fn create(
    call: &Call,
    kind: SessionKind,
    user: Option<Identity>,
    asked: Asked,
) -> Result<(ConnectSession, SecretText), Failure> {
    let admission = call.admission();
    let id = SessionId::random();
    let secret: [u8; 32] = web::random().map_err(|error| Failure::Internal(error.to_string()))?;
    let session = SessionRef { app_id: admission.app_id, id };
    let token = SecretString::from(format!(
        "{}{}",
        connect::token_prefix(kind),
        session.with_secret(&secret).expose_secret()
    ));
    let expires_at = admission.at.checked_add(connect::LIFETIME);
    let asked = Asked { key_id: Some(admission.key_id), ..asked };
    let command = CreateSession {
        id,
        kind,
        token: TokenDigest::of(&secret),
        user,
        asked,
        expires_at: expires_at.map_err(|error| Failure::Internal(error.to_string()))?,
        admission,
    };
    let session = decided(call.core.store.create_session(command).await?)?;
    Ok((session, SecretText::from(token.expose_secret())))
}

/// A page's address with the session's token in its fragment, which no server and no log sees.
pub(super) fn page_with(public: &PublicUrl, path: &str, token: &SecretText) -> SecretText {
    let url = SecretString::from(format!("{}#session={}", public.join(path), token.expose()));
    SecretText::from(url.expose_secret())
}

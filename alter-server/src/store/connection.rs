//! What a connection leaves behind, the same in every store.

use alter_core::wire::code::Code;
use secrecy::{ExposeSecret, SecretSlice, SecretString};

use super::{NewConnection, StoreError, check};
use crate::{
    domain::{AppId, GrantId, Provider, ProviderKind, Refusal, TokenGeneration},
    seal::{Envelope, Field, SealContext, Sealed, SealedField},
};

/// A credential, sealed for its generation.
pub(super) struct SealedConnection {
    pub(super) generation: u64,
    pub(super) token_generation: TokenGeneration,
    pub(super) access: Sealed,
    pub(super) refresh: Option<Sealed>,
    pub(super) scopes: Vec<String>,
}

/// Whether what the provider gave can be kept at all; nothing is written before this.
pub(super) fn check_connection(new: &NewConnection, provider: Option<&Provider>) -> Result<(), Box<Refusal>> {
    if provider.is_none_or(|provider| provider.kind != ProviderKind::OAuth) {
        let text = "the application has no such OAuth provider any more";
        return Err(Refusal::new(Code::InvalidRequest, text));
    }
    if check::token(&new.access_token).is_err() || check::label(new.label.as_deref()).is_err() {
        let text = "the provider gave an access token that no request can carry, or the label is no label";
        return Err(Refusal::new(Code::from("activation_failed"), text));
    }
    Ok(())
}

/// Seals a new credential. `kept` is generation and refresh token of the grant that gets it: a refresh token that stays is opened
/// and sealed anew, since what is kept is bound to its generation.
pub(super) fn seal_connection(
    envelope: &Envelope,
    (app_id, grant_id): (AppId, GrantId),
    kept: Option<(u64, Option<Sealed>)>,
    new: &NewConnection,
) -> Result<SealedConnection, StoreError> {
    let (before, kept) = kept.unwrap_or((0, None));
    let generation = before + 1;
    let at = |field, generation| SealContext::of(app_id, field, grant_id.uuid(), generation);
    let bytes = |secret: &SecretString| SecretSlice::from(secret.expose_secret().as_bytes().to_vec());
    let access = envelope.seal(&at(Field::GrantAccessToken, generation), &bytes(&new.access_token))?;
    let refresh = match (&new.refresh_token, kept) {
        (Some(token), _) => Some(bytes(token)),
        (None, Some(sealed)) => {
            let context = at(Field::GrantRefreshToken, before);
            Some(envelope.open(&SealedField { context, sealed })?)
        }
        (None, None) => None,
    };
    let refresh =
        refresh.map(|token| envelope.seal(&at(Field::GrantRefreshToken, generation), &token)).transpose()?;
    // What a client would refuse in the answer (spec/01 §5.1) would make the grant useless.
    let usable = |scope: &&String| check::scopes(std::slice::from_ref(*scope)).is_ok();
    let scopes = new.scopes.iter().filter(usable).cloned().collect();
    Ok(SealedConnection { generation, token_generation: TokenGeneration::random(), access, refresh, scopes })
}

//! One revocation at a provider.

use std::str;

use secrecy::{ExposeSecret, SecretString};

use super::{Failed, Inner, Outcome};
use crate::{
    domain::{AppId, Provider, ProviderId, RevokedToken},
    oauth::{RefreshCall, RevokeCall, RevokeFailure},
    seal::{SealError, SealedField},
    store::StoreError,
};

/// What a revocation works with.
struct Told<'a> {
    provider: &'a Provider,
    client_secret: Option<SecretString>,
    access: Option<SecretString>,
    refresh: Option<SecretString>,
}

impl Inner {
    /// Tells the provider that the tokens are to die. Which of them it is told is the provider's own setting; the other one is
    /// told when the first kind is not supported there (RFC 7009 §2.2.1).
    pub(super) async fn revoke(
        &self,
        app_id: AppId,
        id: &ProviderId,
        access: Option<&SealedField>,
        refresh: Option<&SealedField>,
    ) -> Outcome {
        let (provider, client_secret) = match self.provider(app_id, id).await {
            Ok(Some(found)) => found,
            Ok(None) => return Outcome::Dead("the provider's definition is gone".to_owned()),
            Err(error) => return later(error.to_string()),
        };
        let open = |field: Option<&SealedField>| field.map(|field| self.open_text(field)).transpose();
        let opened = (open(client_secret.as_ref()), open(access), open(refresh));
        let (Ok(client_secret), Ok(access), Ok(refresh)) = opened else {
            return slow(
                "what is sealed cannot be opened: the vault lacks the key it was sealed with".to_owned(),
            );
        };
        let Some(oauth) = provider.oauth.as_ref().filter(|oauth| oauth.revoke_url.is_some()) else {
            return Outcome::Dead(
                "the provider's definition names no revocation endpoint any more".to_owned(),
            );
        };
        let by = oauth.revocation.token;
        let told = Told { provider: &provider, client_secret, access, refresh };
        let order = match by {
            RevokedToken::Refresh => [RevokedToken::Refresh, RevokedToken::Access],
            RevokedToken::Access => [RevokedToken::Access, RevokedToken::Refresh],
        };
        let mut unsupported = None;
        for kind in order {
            let Some(token) = told.token(kind) else { continue };
            match self.tell(&told, kind, token).await {
                // The access token was at its end before the grant was; with the refresh token everything would go on.
                Ok((status, true))
                    if kind == RevokedToken::Access && by == kind && told.refresh.is_some() =>
                {
                    return self.tell_with_fresh(&told, status).await;
                }
                Ok((status, already)) => return done(kind, status, already),
                Err(RevokeFailure::Unsupported(text)) => unsupported = Some(text),
                Err(failure) => return failed(failure),
            }
        }
        let why = unsupported.unwrap_or_else(|| "there is no token that it could be told".to_owned());
        Outcome::Dead(format!("not supported by the provider: {why}"))
    }

    /// An access token is needed that still works: with that, the provider ends the whole grant.
    async fn tell_with_fresh(&self, told: &Told<'_>, status: u16) -> Outcome {
        let (Some(refreshing), Some(refresh_token)) = (told.provider.refreshing(), &told.refresh) else {
            return done(RevokedToken::Access, status, true);
        };
        let client_secret = told.client_secret.as_ref();
        let call = RefreshCall { refreshing, client_secret, refresh_token };
        match self.endpoint.refresh(&call).await {
            Ok(fresh) => match self.tell(told, RevokedToken::Access, &fresh.access_token).await {
                Ok((status, already)) => done(RevokedToken::Access, status, already),
                Err(failure) => failed(failure),
            },
            Err(refused) if refused.failure.code.is_final() => {
                Outcome::Done("refresh token, refused by the provider: dead already".to_owned())
            }
            Err(refused) if refused.failure.code.blames_the_app() => slow(refused.to_string()),
            Err(refused) => Outcome::Failed(Failed {
                error: refused.to_string(),
                retry_after: refused.retry_after,
                slow: false,
                down: true,
            }),
        }
    }

    /// One call. Answers the status, and whether the token was dead before.
    async fn tell(
        &self,
        told: &Told<'_>,
        kind: RevokedToken,
        token: &SecretString,
    ) -> Result<(u16, bool), RevokeFailure> {
        let client_secret = told.client_secret.as_ref();
        let call = RevokeCall { provider: told.provider, client_secret, token, kind };
        let answer = self.endpoint.revoke(&call).await?;
        Ok((answer.status.as_u16(), answer.already))
    }

    async fn provider(
        &self,
        app_id: AppId,
        id: &ProviderId,
    ) -> Result<Option<(Provider, Option<SealedField>)>, StoreError> {
        let store = &self.parts.store;
        let found = store.list_providers(app_id).await?.into_iter().find(|provider| provider.id == *id);
        let Some(provider) = found else { return Ok(None) };
        let secret = store.provider_client_secret(app_id, id.clone()).await?;
        Ok(Some((provider, secret)))
    }

    /// Opens a sealed text.
    pub(super) fn open_text(&self, field: &SealedField) -> Result<SecretString, SealError> {
        let opened = self.parts.keys.open(field)?;
        let text = str::from_utf8(opened.expose_secret()).map_err(|_| SealError::Malformed)?;
        Ok(SecretString::from(text))
    }
}

impl Told<'_> {
    fn token(&self, kind: RevokedToken) -> Option<&SecretString> {
        match kind {
            RevokedToken::Refresh => self.refresh.as_ref(),
            RevokedToken::Access => self.access.as_ref(),
        }
    }
}

fn done(kind: RevokedToken, status: u16, already: bool) -> Outcome {
    let name = match kind {
        RevokedToken::Refresh => "refresh token",
        RevokedToken::Access => "access token",
    };
    Outcome::Done(format!("{name}, HTTP {status}{}", if already { ": dead already" } else { "" }))
}

fn failed(failure: RevokeFailure) -> Outcome {
    match failure {
        RevokeFailure::Passing { text, retry_after } => {
            Outcome::Failed(Failed { error: text, retry_after, slow: false, down: true })
        }
        RevokeFailure::Refused(text) => slow(text),
        RevokeFailure::Unsupported(text) => Outcome::Dead(format!("not supported by the provider: {text}")),
    }
}

fn slow(error: String) -> Outcome {
    Outcome::Failed(Failed { error, retry_after: None, slow: true, down: false })
}

fn later(error: String) -> Outcome {
    Outcome::Failed(Failed { error, retry_after: None, slow: false, down: false })
}

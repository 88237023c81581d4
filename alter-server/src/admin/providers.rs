//! Identity providers and providers.

use std::str::FromStr;

use secrecy::SecretString;

use super::{Admin, AdminError, invalid};
use crate::{
    domain::{
        AdditionalInjection, AppConfig, AppId, ClientAuth, IdpConfig, Injection, InjectionTarget, Provider,
        ProviderId, PutProvider, ValueSource,
    },
    idp,
};

/// Header of the placeholder that goes along with a credential for the query.
const QUERY_PLACEHOLDER_HEADER: &str = "X-Alter-Injection";
/// Name under which a credential for the query travels.
const QUERY_VALUE: &str = "value";

/// How a provider wants its credential.
///
/// Published clients always write the main value into a header (spec/01 §6.4). So for [`InjectionStyle::Query`] the main
/// value is the word `query` in the harmless header `X-Alter-Injection`, and the credential travels as an additional
/// value that only goes into the query: the secret is never sent in two places.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum InjectionStyle {
    /// `Authorization: Bearer …`.
    Bearer,
    /// `Authorization: Basic …` of `user:password`.
    Basic,
    /// A header of its own, such as `X-Api-Key`.
    Header(String),
    /// A query parameter.
    Query(String),
}

impl FromStr for InjectionStyle {
    type Err = AdminError;

    fn from_str(text: &str) -> Result<Self, AdminError> {
        match text.split_once(':') {
            None if text == "bearer" => Ok(Self::Bearer),
            None if text == "basic" => Ok(Self::Basic),
            Some(("header", name)) if !name.is_empty() => Ok(Self::Header(name.to_owned())),
            Some(("query", name)) if !name.is_empty() => Ok(Self::Query(name.to_owned())),
            _ => Err(invalid("an injection is bearer, basic, header:NAME or query:NAME")),
        }
    }
}

impl InjectionStyle {
    /// Main and additional injections of a provider with this style.
    #[must_use]
    pub fn injections(&self) -> (Injection, Vec<AdditionalInjection>) {
        let authorization =
            |format: &str| Injection { header: "Authorization".into(), format: format.into() };
        match self {
            Self::Bearer => (authorization("Bearer {token}"), Vec::new()),
            Self::Basic => (authorization("Basic {token}"), Vec::new()),
            Self::Header(name) => (Injection { header: name.clone(), format: "{token}".into() }, Vec::new()),
            Self::Query(name) => (
                Injection { header: QUERY_PLACEHOLDER_HEADER.into(), format: "{token}".into() },
                vec![AdditionalInjection {
                    target: InjectionTarget::QueryParam,
                    key: name.clone(),
                    value_source: ValueSource::Additional(QUERY_VALUE.into()),
                }],
            ),
        }
    }

    /// The style of a provider that was made with one.
    pub(super) fn of(provider: &Provider) -> Option<Self> {
        let style = match (provider.injection.header.as_str(), provider.injection.format.as_str()) {
            ("Authorization", "Bearer {token}") => Self::Bearer,
            ("Authorization", "Basic {token}") => Self::Basic,
            (QUERY_PLACEHOLDER_HEADER, "{token}") => Self::Query(provider.additional.first()?.key.clone()),
            (header, "{token}") => Self::Header(header.to_owned()),
            _ => return None,
        };
        (style.injections() == (provider.injection.clone(), provider.additional.clone())).then_some(style)
    }

    /// The additional value that carries a credential for the query.
    pub(super) const QUERY_VALUE: &'static str = QUERY_VALUE;
}

fn client_secret_fits(secret: &SecretString) -> bool {
    use secrecy::ExposeSecret;

    let text = secret.expose_secret();
    (1..=8_192).contains(&text.len()) && !text.contains(char::is_control)
}

impl Admin {
    /// Sets where the app's users come from, after the issuer's keys were fetched once: nothing is stored that cannot
    /// work. Replaces the identity provider that was set before.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`] if a rule is broken, or discovery or the key set does not answer.
    pub async fn set_idp(&self, app: AppId, idp: IdpConfig) -> Result<AppConfig, AdminError> {
        idp::rules(&idp)?;
        idp::probe(&idp).await?;
        Ok(self.store().set_idp(self.by(), app, Some(idp)).await?)
    }

    /// Takes the identity provider away: no user's token is accepted any more.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`].
    pub async fn remove_idp(&self, app: AppId) -> Result<AppConfig, AdminError> {
        Ok(self.store().set_idp(self.by(), app, None).await?)
    }

    /// The app's configuration, its identity provider included.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`].
    pub async fn app_config(&self, app: AppId) -> Result<AppConfig, AdminError> {
        let config = self.store().app_config(app).await?;
        config.ok_or_else(|| AdminError::NotFound("there is no such app".to_owned()))
    }

    /// Creates or replaces a provider.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`] if [`Provider::check`] refuses it, or a public client is given a secret, [`AdminError::Conflict`] if its kind would change while
    /// it is in use.
    pub async fn put_provider(
        &self,
        app: AppId,
        provider: Provider,
        client_secret: Option<SecretString>,
    ) -> Result<Provider, AdminError> {
        provider.check().map_err(|error| invalid(error.to_string()))?;
        let public = provider.oauth.as_ref().is_some_and(|oauth| oauth.client_auth == ClientAuth::None);
        if public && client_secret.is_some() {
            return Err(invalid(
                "a public client (client_auth none) has no client secret: leave it out, or choose post or basic",
            ));
        }
        if let Some(secret) = &client_secret
            && !client_secret_fits(secret)
        {
            return Err(invalid("a client secret is 1 to 8192 bytes without control characters"));
        }
        let put = PutProvider { app_id: app, provider, client_secret };
        Ok(self.store().put_provider(self.by(), put).await?)
    }

    /// The app's providers by id.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn providers(&self, app: AppId) -> Result<Vec<Provider>, AdminError> {
        Ok(self.store().list_providers(app).await?)
    }

    /// One provider.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`].
    pub async fn provider(&self, app: AppId, id: &ProviderId) -> Result<Provider, AdminError> {
        let found = self.providers(app).await?.into_iter().find(|provider| provider.id == *id);
        found.ok_or_else(|| AdminError::NotFound(format!("the app has no provider {id}")))
    }

    /// Removes a provider that no active grant and no secret hangs on.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`], [`AdminError::Conflict`].
    pub async fn remove_provider(&self, app: AppId, id: ProviderId) -> Result<(), AdminError> {
        Ok(self.store().remove_provider(self.by(), app, id).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ProviderKind;

    #[test]
    fn a_style_is_found_again_in_the_provider_it_made() {
        for text in ["bearer", "basic", "header:X-Api-Key", "query:api_key"] {
            let style: InjectionStyle = text.parse().unwrap();
            let (injection, additional) = style.injections();
            let provider = Provider {
                id: "p".parse().unwrap(),
                kind: ProviderKind::ManagedSecret,
                name: "P".into(),
                hosts: vec!["api.example.test".parse().unwrap()],
                injection,
                additional,
                oauth: None,
            };
            provider.check().unwrap();
            assert_eq!(InjectionStyle::of(&provider), Some(style));
        }
        assert!("cookie".parse::<InjectionStyle>().is_err());
        assert!("header:".parse::<InjectionStyle>().is_err());
    }
}

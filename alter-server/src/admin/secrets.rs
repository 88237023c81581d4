//! Managed secrets.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::{Admin, AdminError, InjectionStyle, invalid, named};
use crate::domain::{
    AppId, ManagedSecret, NewSecret, Provider, ProviderId, ProviderKind, SecretId, SecretMaterial,
    ValueSource,
};

/// Longest value, in bytes (spec/01 §5.1).
const MAX_VALUE: usize = 8_192;

impl Admin {
    /// Keeps a secret for a provider of kind managed secret. `value` is what a person would type: the key, or for basic
    /// authentication `user:password`. `additional` are the further values that the provider's injections name.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`] if a value cannot be injected, [`AdminError::Conflict`] if the provider has a secret already.
    pub async fn create_secret(
        &self,
        app: AppId,
        provider: ProviderId,
        name: &str,
        value: SecretString,
        additional: BTreeMap<String, SecretString>,
    ) -> Result<ManagedSecret, AdminError> {
        let name = named("secret", name)?;
        let definition = self.provider(app, &provider).await?;
        let material = material(&definition, &value, additional)?;
        let new = NewSecret { id: SecretId::random(), app_id: app, provider, name, material };
        Ok(self.store().create_secret(self.by(), new).await?)
    }

    /// Replaces a secret's value; its grants stay, and the next release hands out the new one.
    ///
    /// # Errors
    ///
    /// As [`Self::create_secret`]; [`AdminError::NotFound`].
    pub async fn rotate_secret(
        &self,
        app: AppId,
        id: SecretId,
        value: SecretString,
        additional: BTreeMap<String, SecretString>,
    ) -> Result<ManagedSecret, AdminError> {
        let secret = self.secret(app, &id.to_string()).await?;
        let definition = self.provider(app, &secret.provider).await?;
        let material = material(&definition, &value, additional)?;
        Ok(self.store().rotate_secret(self.by(), app, id, material).await?)
    }

    /// The app's managed secrets, oldest first; never their values.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn secrets(&self, app: AppId) -> Result<Vec<ManagedSecret>, AdminError> {
        Ok(self.store().list_secrets(app).await?)
    }

    /// The secret with this id or of this provider.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`].
    pub async fn secret(&self, app: AppId, id_or_provider: &str) -> Result<ManagedSecret, AdminError> {
        let id = id_or_provider.parse::<SecretId>().ok();
        let secrets = self.secrets(app).await?;
        let found = secrets
            .into_iter()
            .find(|secret| Some(secret.id) == id || secret.provider.as_str() == id_or_provider);
        found.ok_or_else(|| AdminError::NotFound(format!("the app has no managed secret {id_or_provider:?}")))
    }
}

/// What is sealed for `provider`, so that a client can inject it as it is.
fn material(
    provider: &Provider,
    value: &SecretString,
    mut additional: BTreeMap<String, SecretString>,
) -> Result<SecretMaterial, AdminError> {
    if provider.kind != ProviderKind::ManagedSecret {
        return Err(invalid(format!("{} is not a provider of kind managed-secret", provider.id)));
    }
    usable(value)?;
    for (name, value) in &additional {
        if ValueSource::try_from(format!("additional_credentials.{name}")).is_err() {
            return Err(invalid(format!("{name:?} is no name of an additional value: use a-z, 0-9 and _")));
        }
        usable(value)?;
    }
    let token = match InjectionStyle::of(provider) {
        Some(InjectionStyle::Basic) => {
            if !value.expose_secret().contains(':') {
                return Err(invalid("for basic authentication the value is user:password"));
            }
            let encoded = Zeroizing::new(STANDARD.encode(value.expose_secret()));
            SecretString::from(encoded.as_str())
        }
        Some(InjectionStyle::Query(_)) => {
            additional.insert(InjectionStyle::QUERY_VALUE.to_owned(), value.clone());
            SecretString::from("query")
        }
        _ => value.clone(),
    };
    usable(&token)?;
    for item in &provider.additional {
        if let ValueSource::Additional(name) = &item.value_source
            && !additional.contains_key(name)
        {
            return Err(invalid(format!(
                "provider {} injects the additional value {name:?}: give it",
                provider.id
            )));
        }
    }
    if additional.len() > 10 {
        return Err(invalid("a secret has at most 10 additional values"));
    }
    Ok(SecretMaterial { token, additional })
}

/// Whether a value can be written into a header: 1 to 8,192 printable ASCII characters, none of them a space at an end.
fn usable(value: &SecretString) -> Result<(), AdminError> {
    let text = value.expose_secret();
    let fits = (1..=MAX_VALUE).contains(&text.len())
        && text.trim() == text
        && text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if fits {
        Ok(())
    } else {
        Err(invalid("a value must be 1 to 8192 printable ASCII characters on one line"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(style: &str) -> Provider {
        let (injection, additional) = style.parse::<InjectionStyle>().unwrap().injections();
        Provider {
            id: "p".parse().unwrap(),
            kind: ProviderKind::ManagedSecret,
            name: "P".into(),
            hosts: vec!["api.example.test".parse().unwrap()],
            injection,
            additional,
            oauth: None,
        }
    }

    #[test]
    fn a_secret_for_the_query_goes_nowhere_else() {
        let made = material(&provider("query:k"), &SecretString::from("s3cret"), BTreeMap::new()).unwrap();
        assert_eq!(made.token.expose_secret(), "query");
        assert_eq!(made.additional["value"].expose_secret(), "s3cret");
    }

    #[test]
    fn basic_authentication_is_encoded_once() {
        let made = material(&provider("basic"), &SecretString::from("a:b"), BTreeMap::new()).unwrap();
        assert_eq!(made.token.expose_secret(), "YTpi");
        assert!(material(&provider("basic"), &SecretString::from("ab"), BTreeMap::new()).is_err());
    }

    #[test]
    fn what_cannot_be_a_header_value_is_refused() {
        for value in ["", " a", "a\nb", "é", &"x".repeat(8_193)] {
            assert!(material(&provider("bearer"), &SecretString::from(value), BTreeMap::new()).is_err());
        }
    }
}

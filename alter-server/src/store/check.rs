//! Rules of what may be kept, the same in every store.

use secrecy::{ExposeSecret, SecretString};

use super::StoreError;
use crate::domain::{IdpConfig, Provider, SecretMaterial, SignInSettings, ValueSource, is_credential_name};

/// A name of something that operators make.
pub(super) fn name(name: &str, what: &str) -> Result<(), StoreError> {
    if (1..=100).contains(&name.chars().count()) && !name.contains(char::is_control) && name.trim() == name {
        return Ok(());
    }
    Err(StoreError::Invalid(format!(
        "the name of {what} is 1 to 100 characters on one line, without spaces around it"
    )))
}

/// A grant's label.
pub(super) fn label(label: Option<&str>) -> Result<(), StoreError> {
    let ok = label
        .is_none_or(|label| (1..=255).contains(&label.chars().count()) && !label.contains(char::is_control));
    if ok {
        Ok(())
    } else {
        Err(StoreError::Invalid("a label is 1 to 255 characters on one line".to_owned()))
    }
}

/// An access token that moves in (spec/01 §5.1).
pub(super) fn token(token: &SecretString) -> Result<(), StoreError> {
    let text = token.expose_secret();
    let printable = text.bytes().all(|b| (0x20..=0x7e).contains(&b));
    if !(1..=8192).contains(&text.len()) || !printable || text.trim() != text {
        let rule = "an access token is 1 to 8192 printable ASCII characters without spaces around it";
        return Err(StoreError::Invalid(rule.to_owned()));
    }
    Ok(())
}

/// The scopes of an import. What a client would refuse in the answer is refused here (spec/01 §5.1): the grant could never
/// be used.
pub(super) fn scopes(scopes: &[String]) -> Result<(), StoreError> {
    let bad = |scope: &String| scope.is_empty() || scope.trim() != scope || scope.contains(char::is_control);
    if scopes.iter().any(bad) {
        let text = "a scope is not empty and has no control characters and no spaces around it";
        return Err(StoreError::Invalid(text.to_owned()));
    }
    Ok(())
}

/// Where users come from.
pub(super) fn idp(idp: Option<&IdpConfig>) -> Result<(), StoreError> {
    if let Some(idp) = idp
        && (idp.issuer.is_empty() || idp.audiences.is_empty() || idp.algorithms.is_empty())
    {
        let text = "an identity provider needs an issuer, at least one audience and at least one algorithm";
        return Err(StoreError::Invalid(text.to_owned()));
    }
    Ok(())
}

/// Where users sign in.
pub(super) fn sign_in(
    sign_in: Option<&SignInSettings>,
    secret: Option<&SecretString>,
) -> Result<(), StoreError> {
    let text = match sign_in {
        Some(settings) if settings.client_id.trim().is_empty() => "a sign-in needs a client id",
        None if secret.is_some() => "a client secret needs a sign-in that it belongs to",
        _ if secret.is_some_and(|secret| secret.expose_secret().is_empty()) => "the client secret is empty",
        _ => return Ok(()),
    };
    Err(StoreError::Invalid(text.to_owned()))
}

/// A place that is told of changes: https, or http on loopback.
pub(super) fn webhook_url(url: &str) -> Result<(), StoreError> {
    if url.len() <= 2048 && crate::domain::endpoint_url(url).is_ok() {
        return Ok(());
    }
    Err(StoreError::Invalid(
        "a webhook's address is https (or http on loopback), without user name and fragment".to_owned(),
    ))
}

/// The name of a managed secret.
pub(super) fn secret_name(name: &str) -> Result<(), StoreError> {
    if !(1..=100).contains(&name.chars().count()) || name.contains(char::is_control) {
        return Err(StoreError::Invalid(
            "the name of a secret is 1 to 100 characters on one line".to_owned(),
        ));
    }
    Ok(())
}

/// Limits of spec/01 §5.1 for values that are injected, and that the provider's injections find what they name.
pub(super) fn material(material: &SecretMaterial, provider: &Provider) -> Result<(), StoreError> {
    let value_ok = |text: &str| {
        (1..=8192).contains(&text.len())
            && text.bytes().all(|b| (0x20..=0x7e).contains(&b))
            && !text.trim().is_empty()
    };
    let values_ok = value_ok(material.token.expose_secret())
        && material.additional.values().all(|value| value_ok(value.expose_secret()));
    if !values_ok {
        let text = "each value of a secret is 1 to 8192 printable ASCII characters and not blank";
        return Err(StoreError::Invalid(text.to_owned()));
    }
    if material.additional.len() > 10 || !material.additional.keys().all(|name| is_credential_name(name)) {
        let text = "a secret has at most 10 additional values, named by at most 50 of a-z, 0-9 and '_', starting with a letter";
        return Err(StoreError::Invalid(text.to_owned()));
    }
    for item in &provider.additional {
        if let ValueSource::Additional(name) = &item.value_source
            && !material.additional.contains_key(name)
        {
            return Err(StoreError::Invalid(format!(
                "the provider injects the additional value {name:?}: give it"
            )));
        }
    }
    Ok(())
}

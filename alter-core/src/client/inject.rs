//! How a credential gets into a provider call (spec/01 §5.2, §6.3, §6.4).

use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use super::url_rules::Target;
use crate::{
    error::{Error, Kind, Policy},
    wire::token::{Injection, InjectionTarget, PLACEHOLDER, SIGV4_PREFIX, TokenResponse},
};

/// A provider call with its credential in it.
pub(crate) struct Injected {
    pub(crate) uri: Uri,
    /// The headers that carry a credential: never reported.
    pub(crate) names: Vec<HeaderName>,
}

/// Puts the credential into `headers` and the URL. What is injected takes the place of whatever the caller gave
/// under the same name, in every spelling.
pub(crate) fn inject(
    token: &TokenResponse,
    target: &Target,
    headers: &mut HeaderMap,
) -> Result<Injected, Error> {
    if token.injection_format.starts_with(SIGV4_PREFIX) {
        return Err(Error::new(
            Kind::Unsupported { feature: "aws_sigv4".into() },
            "this credential signs requests for AWS, which this version cannot do yet",
        ));
    }
    if token.allowed_hosts.as_deref().is_some_and(|hosts| !target.is_within(hosts)) {
        return Err(Error::new(
            Kind::Policy(Policy::BlockedDestination),
            "the credential is bound to other hosts than the URL's; nothing was sent there",
        ));
    }
    let mut names = Vec::new();
    let main = token.injection_format.replacen(PLACEHOLDER, token.access_token.expose(), 1);
    set(headers, &mut names, &token.injection_header, &main)?;
    let mut query = Vec::new();
    for injection in token.additional_injections.as_deref().unwrap_or_default() {
        // As the published client does: a part that the vault did not send is left out (spec/01 §6.4).
        let Some(value) = source(token, injection) else {
            tracing::debug!(key = %injection.key, "an injection has no value and is left out");
            continue;
        };
        match injection.target {
            InjectionTarget::Header => set(headers, &mut names, &injection.key, value)?,
            InjectionTarget::QueryParam => query.push((injection.key.as_str(), value)),
        }
    }
    Ok(Injected { uri: target.with_injected(&query)?, names })
}

fn source<'a>(token: &'a TokenResponse, injection: &Injection) -> Option<&'a str> {
    let value = match injection.value_source.strip_prefix("additional_credentials.") {
        None => token.access_token.expose(),
        Some(name) => token.additional_credentials.as_ref()?.get(name)?.expose(),
    };
    Some(value).filter(|value| !value.is_empty())
}

fn set(headers: &mut HeaderMap, names: &mut Vec<HeaderName>, name: &str, value: &str) -> Result<(), Error> {
    let unusable = || Error::malformed("the vault's answer holds a header that cannot be sent");
    let name = HeaderName::try_from(name).map_err(|_| unusable())?;
    let mut value = HeaderValue::from_str(value).map_err(|_| unusable())?;
    value.set_sensitive(true);
    headers.insert(name.clone(), value);
    names.push(name);
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn token(more: &Value) -> TokenResponse {
        let mut answer = json!({"access_token": "tok-1", "grant_id": "11111111-2222-3333-4444-555555555555"});
        answer.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        TokenResponse::parse(answer.to_string().as_bytes()).unwrap()
    }

    fn target() -> Target {
        Target::parse("https://h.example/v1?a=1", &[], &[]).unwrap()
    }

    #[test]
    fn an_injected_header_wins_over_the_callers_in_every_spelling() {
        let mut headers = HeaderMap::new();
        headers.append("authorization", HeaderValue::from_static("Basic mine"));
        headers.append("AUTHORIZATION", HeaderValue::from_static("Basic mine too"));
        inject(&token(&json!({})), &target(), &mut headers).unwrap();
        let sent: Vec<_> = headers.get_all("Authorization").iter().collect();
        assert_eq!(sent, ["Bearer tok-1"]);
        assert!(sent[0].is_sensitive());
    }

    #[test]
    fn the_placeholder_is_filled_once() {
        let mut headers = HeaderMap::new();
        let format = json!({"injection_header": "X-Key", "injection_format": "{token}:{token}"});
        inject(&token(&format), &target(), &mut headers).unwrap();
        assert_eq!(headers["x-key"], "tok-1:{token}");
    }

    #[test]
    fn further_injections_are_set_and_an_absent_source_is_left_out() {
        let mut headers = HeaderMap::new();
        let injected = inject(
            &token(&json!({
                "additional_credentials": {"app": "app 2"},
                "additional_injections": [
                    {"target": "header", "key": "X-App", "value_source": "additional_credentials.app"},
                    {"target": "query_param", "key": "key", "value_source": "additional_credentials.app"},
                    {"target": "header", "key": "X-None", "value_source": "additional_credentials.none"},
                ],
            })),
            &target(),
            &mut headers,
        )
        .unwrap();
        assert_eq!(headers["x-app"], "app 2");
        assert!(!headers.contains_key("x-none"));
        assert_eq!(injected.uri, "https://h.example/v1?a=1&key=app%202");
        assert_eq!(injected.names, ["authorization", "x-app"]);
    }

    #[test]
    fn a_credential_bound_elsewhere_is_not_sent() {
        let refused =
            inject(&token(&json!({"allowed_hosts": ["api.example"]})), &target(), &mut HeaderMap::new());
        assert!(matches!(refused.err().unwrap().kind(), Kind::Policy(Policy::BlockedDestination)));
        let bound = token(&json!({"allowed_hosts": ["*.example", "h.example"]}));
        assert!(inject(&bound, &target(), &mut HeaderMap::new()).is_ok());
    }
}

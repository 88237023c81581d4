//! Which account a fresh token is for: the userinfo endpoint, and what an ID token says.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderName, HeaderValue, Method, header};
use secrecy::{ExposeSecret, SecretString};
use serde::{
    Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value, json};
use url::Url;
use zeroize::Zeroizing;

use super::{TokenEndpoint, TokenFailure, exchange::PATIENCE};
use crate::domain::{
    AccountFacts, FailureCode, InjectionTarget, OAuthSettings, Provider, ValueSource, endpoint_url,
};

/// Deepest nesting of an answer that is read for names of an account.
const DEEPEST: u8 = 16;
/// How often the userinfo endpoint is asked when it does not answer.
const ATTEMPTS: usize = 2;

/// Why it is not known which account a token is for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountFailure {
    /// The ID token was not issued for this request: by another issuer, for another client, with another nonce.
    #[error("the ID token is not for this request: {0}")]
    IdToken(&'static str),
    /// The provider cannot be asked at the moment.
    #[error("the provider did not say which account this is: {0}")]
    Unavailable(String),
}

impl TokenEndpoint {
    /// Finds out which account `access_token` is for. `facts` is the token answer without its tokens, `callback` the query of
    /// the redirect.
    ///
    /// The ID token's signature is not checked: it came from the token endpoint itself over TLS, which OpenID Connect Core
    /// §3.1.3.7 item 6 takes in its place. Issuer (if one is set), audience and nonce are.
    ///
    /// # Errors
    ///
    /// [`AccountFailure`].
    pub async fn account(
        &self,
        provider: &Provider,
        access_token: &SecretString,
        id_token: Option<&SecretString>,
        nonce: &str,
        facts: Value,
        callback: Map<String, Value>,
    ) -> Result<AccountFacts, AccountFailure> {
        let Some(oauth) = &provider.oauth else { return Ok(AccountFacts::default()) };
        let claims = match id_token {
            Some(token) => claims(oauth, token.expose_secret(), nonce)?,
            None => Value::Null,
        };
        let mut document = json!({ "token": facts, "id_token": claims, "callback": callback });
        let Some(url) = oauth.userinfo_url.as_deref().filter(|_| oauth.account.needs_userinfo()) else {
            return Ok(oauth.account.read(&document));
        };
        match self.userinfo(provider, oauth, url, access_token).await {
            Ok(userinfo) => document["userinfo"] = userinfo,
            // Without an id the same account could not be told from another one: then it is better to ask again later.
            Err(failure)
                if failure.failure.code.is_passing() && oauth.account.read(&document).id.is_none() =>
            {
                return Err(AccountFailure::Unavailable(failure.failure.to_string()));
            }
            Err(failure) => tracing::warn!(provider = %provider.id, %failure, "userinfo did not answer"),
        }
        Ok(oauth.account.read(&document))
    }

    async fn userinfo(
        &self,
        provider: &Provider,
        oauth: &OAuthSettings,
        url: &str,
        token: &SecretString,
    ) -> Result<Value, TokenFailure> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.userinfo_once(provider, oauth, url, token).await {
                Err(failure) if failure.failure.code.is_passing() && attempt < ATTEMPTS => {}
                ended => return ended,
            }
        }
    }

    async fn userinfo_once(
        &self,
        provider: &Provider,
        oauth: &OAuthSettings,
        url: &str,
        token: &SecretString,
    ) -> Result<Value, TokenFailure> {
        let lacks = |why: &str| TokenFailure::new(FailureCode::Misconfigured, why, super::Spent::No);
        let mut url = endpoint_url(url).map_err(|error| lacks(&format!("userinfo_url: {error}")))?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let client = self.client(alter_core::wire::url::is_loopback(&url))?;
        let headers = injected(provider, &mut url, token).ok_or_else(|| lacks("the token fits no header"))?;
        let asked = &oauth.account.userinfo;
        let method = if asked.post { Method::POST } else { Method::GET };
        let mut request = client.request(method, url).header(header::ACCEPT, "application/json");
        for (name, value) in &asked.headers {
            request = request.header(name, value);
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(body) = &asked.body {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body.clone());
        }
        let answered = self.send(request, &host, PATIENCE).await?;
        let status = answered.status;
        if !status.is_success() {
            let code = if status.is_server_error() || status.as_u16() == 429 {
                FailureCode::ProviderUnavailable
            } else {
                FailureCode::Misconfigured
            };
            let why = format!("the userinfo endpoint answered HTTP {}", status.as_u16());
            return Err(TokenFailure::new(code, &why, super::Spent::No));
        }
        Ok(facts(&answered.body))
    }
}

/// The token as in every call of the provider's API: in a header, or in `url`'s query.
pub(super) fn injected(
    provider: &Provider,
    url: &mut Url,
    token: &SecretString,
) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let token = token.expose_secret();
    let mut value = HeaderValue::from_str(&provider.injection.format.replace("{token}", token)).ok()?;
    value.set_sensitive(true);
    let mut headers = vec![(HeaderName::try_from(&provider.injection.header).ok()?, value)];
    for more in provider.additional.iter().filter(|more| more.value_source == ValueSource::Token) {
        match more.target {
            InjectionTarget::Header => {
                let mut value = HeaderValue::from_str(token).ok()?;
                value.set_sensitive(true);
                headers.push((HeaderName::try_from(&more.key).ok()?, value));
            }
            InjectionTarget::QueryParam => {
                url.query_pairs_mut().append_pair(&more.key, token);
            }
        }
    }
    Some(headers)
}

/// The claims of an ID token, with those checked that bind it to this request.
fn claims(oauth: &OAuthSettings, token: &str, nonce: &str) -> Result<Value, AccountFailure> {
    let decoded =
        token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok()).map(Zeroizing::new);
    // What cannot be read names nobody, and decides nothing.
    let Some(claims) = decoded.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok()) else {
        return Ok(Value::Null);
    };
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if let Some(issuer) = &oauth.issuer
        && text("iss").is_some_and(|iss| iss != issuer)
    {
        return Err(AccountFailure::IdToken("another issuer"));
    }
    let ours = |value: &Value| oauth.client_id.is_some() && value.as_str() == oauth.client_id.as_deref();
    let audience = match claims.get("aud") {
        None => true,
        Some(Value::Array(list)) => list.iter().any(ours),
        Some(one) => ours(one),
    };
    if !audience {
        return Err(AccountFailure::IdToken("another audience"));
    }
    if claims.get("nonce").is_some_and(|given| given.as_str() != Some(nonce)) {
        return Err(AccountFailure::IdToken("another nonce"));
    }
    Ok(claims)
}

/// A JSON answer without the members that are tokens, at any depth: they are skipped while it is read, and never become
/// text that stays behind in memory. Null if it is no JSON.
pub(super) fn facts(body: &[u8]) -> Value {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let mut reader = serde_json::Deserializer::from_slice(body);
    Facts(0).deserialize(&mut reader).unwrap_or(Value::Null)
}

fn is_secret(name: &str) -> bool {
    name.ends_with("token") || name.ends_with("secret") || name == "code"
}

#[derive(Clone, Copy)]
struct Facts(u8);

impl<'de> DeserializeSeed<'de> for Facts {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Facts {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        if self.0 >= DEEPEST {
            while list.next_element::<IgnoredAny>()?.is_some() {}
        }
        while let Some(value) = list.next_element_seed(Self(self.0 + 1))? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if self.0 >= DEEPEST || is_secret(&name) {
                members.next_value::<IgnoredAny>()?;
            } else {
                object.insert(name, members.next_value_seed(Self(self.0 + 1))?);
            }
        }
        Ok(object.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_token(claims: &Value) -> String {
        format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    fn settings() -> OAuthSettings {
        serde_json::from_value(json!({"client_id": "c", "issuer": "https://id.example.test"})).unwrap()
    }

    #[test]
    fn no_token_of_an_answer_becomes_a_fact() {
        let body = br#"{"access_token":"canary-1","id_token":"canary-2","ok":true,"n":12345678901234567,
            "authed_user":{"id":"U1","access_token":"canary-3"},"list":[{"refresh_token":"canary-4","id":7}]}"#;
        let facts = facts(body);
        assert_eq!(
            facts,
            json!({"ok": true, "n": 12_345_678_901_234_567_u64, "authed_user": {"id": "U1"}, "list": [{"id": 7}]})
        );
        assert_eq!(super::facts(b"<html>"), Value::Null);
        let deep = "[".repeat(5_000) + &"]".repeat(5_000);
        let _ = super::facts(deep.as_bytes());
    }

    #[test]
    fn an_id_token_for_another_request_is_refused() {
        let good = json!({"iss": "https://id.example.test", "aud": ["c", "d"], "nonce": "n", "sub": "7"});
        assert_eq!(claims(&settings(), &id_token(&good), "n").unwrap()["sub"], "7");
        for (member, value) in [
            ("iss", json!("https://evil.example.test")),
            ("aud", json!("d")),
            ("aud", json!(["d"])),
            ("aud", json!(7)),
            ("nonce", json!("m")),
            ("nonce", json!(null)),
        ] {
            let mut bad = good.clone();
            bad[member] = value;
            assert!(claims(&settings(), &id_token(&bad), "n").is_err(), "{bad}");
        }
        for unreadable in ["", "a", "a.b.c", "a.!!.c"] {
            assert_eq!(claims(&settings(), unreadable, "n").unwrap(), Value::Null);
        }
    }
}

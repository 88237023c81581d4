//! The authorization request (RFC 6749 §4.1.1) with PKCE (RFC 7636 §4.3).

use std::{collections::BTreeMap, fmt};

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use url::Url;

use crate::domain::{InvalidProvider, OAuthSettings, Pkce, endpoint_url};

/// What one authorization request says.
pub struct Authorization<'a> {
    /// The app's registration.
    pub oauth: &'a OAuthSettings,
    /// The one redirect address of the vault, exactly as it is registered at the provider.
    pub redirect_uri: &'a str,
    /// What the provider gives back.
    pub state: &'a str,
    /// The proof key's secret, 43 to 128 characters; only its digest goes out. Left out where [`Pkce::None`] says so.
    pub verifier: &'a str,
    /// What an ID token must give back; sent when `openid` is among the scopes.
    pub nonce: &'a str,
    /// Scopes to ask for; the parameter is left out without any.
    pub scopes: &'a [String],
    /// Make the provider ask which account is meant.
    pub select_account: bool,
    /// Add to what the account granted before, where the provider can ([`OAuthSettings::incremental`]).
    pub incremental: bool,
}

/// Without state, proof key and nonce.
impl fmt::Debug for Authorization<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorization")
            .field("redirect_uri", &self.redirect_uri)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

/// The address that the person's browser goes to.
///
/// # Errors
///
/// [`InvalidProvider`] when the settings name no authorization endpoint, or no client.
pub fn authorization_url(request: &Authorization<'_>) -> Result<Url, InvalidProvider> {
    let missing = |what: &str| InvalidProvider(format!("{what} is not set"));
    let oauth = request.oauth;
    let mut url = endpoint_url(oauth.authorize_url.as_deref().ok_or_else(|| missing("authorize_url"))?)?;
    let client_id = oauth.client_id.as_deref().ok_or_else(|| missing("client_id"))?;
    let scope = oauth.scope_separator.join(request.scopes);
    let challenge =
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, request.verifier.as_bytes()).as_ref());

    // By name, so that each occurs once: of two values a provider takes the one that it likes.
    let mut params: BTreeMap<&str, &str> = BTreeMap::new();
    let incremental = oauth.incremental.as_ref().filter(|_| request.incremental);
    let select = Some(&oauth.select_account_params).filter(|_| request.select_account);
    for more in [Some(&oauth.authorize_params), incremental, select].into_iter().flatten() {
        params.extend(more.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    }
    params.insert("response_type", "code");
    params.insert("client_id", client_id);
    params.insert("redirect_uri", request.redirect_uri);
    params.insert("state", request.state);
    if !scope.is_empty() {
        params.insert("scope", &scope);
    }
    if request.scopes.iter().any(|scope| scope == "openid") {
        params.insert("nonce", request.nonce);
    }
    if oauth.pkce == Pkce::S256 {
        params.insert("code_challenge", &challenge);
        params.insert("code_challenge_method", "S256");
    }
    // What the endpoint's own query says stays, unless it is ours to say.
    let own: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(name, _)| !params.contains_key(name.as_ref()))
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    url.query_pairs_mut().clear().extend_pairs(own).extend_pairs(params);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn url(
        settings: serde_json::Value,
        change: impl FnOnce(&mut Authorization<'_>),
    ) -> BTreeMap<String, String> {
        let oauth: OAuthSettings = serde_json::from_value(settings).unwrap();
        let scopes = ["openid".to_owned(), "a".to_owned()];
        let mut request = Authorization {
            oauth: &oauth,
            redirect_uri: "https://vault.example/sdk/oauth/callback",
            state: "st",
            verifier: "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
            nonce: "n",
            scopes: &scopes,
            select_account: false,
            incremental: false,
        };
        change(&mut request);
        let url = authorization_url(&request).unwrap();
        let pairs: Vec<_> = url.query_pairs().into_owned().collect();
        let map: BTreeMap<_, _> = pairs.iter().cloned().collect();
        assert_eq!(pairs.len(), map.len(), "each parameter once: {url}");
        map
    }

    fn settings() -> serde_json::Value {
        json!({
            "authorize_url": "https://id.example.test/authorize?tenant=7&state=theirs",
            "client_id": "c",
            "authorize_params": {"access_type": "offline", "prompt": "consent"},
            "select_account_params": {"prompt": "select_account"},
            "incremental": {"include_granted_scopes": "true"},
        })
    }

    #[test]
    fn the_request_has_a_proof_key_the_state_and_the_exact_redirect_address() {
        let params = url(settings(), |_| {});
        let expected = [
            ("access_type", "offline"),
            ("client_id", "c"),
            // RFC 7636, appendix B.
            ("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
            ("code_challenge_method", "S256"),
            ("nonce", "n"),
            ("prompt", "consent"),
            ("redirect_uri", "https://vault.example/sdk/oauth/callback"),
            ("response_type", "code"),
            ("scope", "openid a"),
            ("state", "st"),
            ("tenant", "7"),
        ];
        assert_eq!(params, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }

    #[test]
    fn another_account_and_more_scopes_are_asked_for_in_the_providers_words() {
        let params = url(settings(), |request| {
            request.select_account = true;
            request.incremental = true;
        });
        assert_eq!(params["prompt"], "select_account");
        assert_eq!(params["include_granted_scopes"], "true");
    }

    #[test]
    fn what_a_provider_cannot_take_is_left_out() {
        let mut settings = settings();
        settings["pkce"] = json!("none");
        let params = url(settings, |request| request.scopes = &[]);
        for absent in ["code_challenge", "code_challenge_method", "scope", "nonce"] {
            assert!(!params.contains_key(absent), "{absent}");
        }
    }
}

//! Redeeming an authorization code (RFC 6749 §4.1.3, RFC 7636 §4.5).

use std::{fmt, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    Answer, Spent, TokenEndpoint, TokenFailure, Tokens,
    account::facts,
    classify::classify,
    form::{self, Client},
};
use crate::domain::{FailureCode, OAuthSettings, Pkce, endpoint_url};

/// A person waits in front of a browser: less than what a refresh in the background may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A code to redeem.
#[derive(Debug)]
pub struct CodeCall<'a> {
    /// The app's registration.
    pub oauth: &'a OAuthSettings,
    /// The client's secret; not sent by a public client.
    pub client_secret: Option<&'a SecretString>,
    /// The code.
    pub code: &'a SecretString,
    /// The proof key's secret.
    pub verifier: &'a SecretString,
    /// The redirect address of the authorization request, character by character.
    pub redirect_uri: &'a str,
}

/// What a code was good for.
pub struct Exchanged {
    /// The tokens.
    pub tokens: Tokens,
    /// The rest of the answer, without any token in it: some providers name the account there.
    pub facts: Value,
    /// When the request began to be sent; the access token's life is counted from here.
    pub sent_at: Instant,
}

impl fmt::Debug for Exchanged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchanged").field("tokens", &self.tokens).finish_non_exhaustive()
    }
}

impl TokenEndpoint {
    /// Redeems a code, once. A code is good for one use: after a failure a new one is needed, whatever the failure was.
    ///
    /// # Errors
    ///
    /// [`TokenFailure`]: nothing could be sent, no answer came, or the answer says no.
    pub async fn exchange(&self, call: &CodeCall<'_>) -> Result<Exchanged, TokenFailure> {
        let lacks = |why: &str| TokenFailure::new(FailureCode::Misconfigured, why, Spent::No);
        let oauth = call.oauth;
        let url = oauth.token_url.as_deref().ok_or_else(|| lacks("token_url is not set"))?;
        let url = endpoint_url(url).map_err(|error| lacks(&format!("token_url: {error}")))?;
        let id = oauth.client_id.as_deref().ok_or_else(|| lacks("client_id is not set"))?;
        let client = Client { id, auth: oauth.client_auth, secret: call.client_secret };
        let (code, verifier) = (call.code.expose_secret(), call.verifier.expose_secret());
        let mut members =
            vec![("grant_type", "authorization_code"), ("code", code), ("redirect_uri", call.redirect_uri)];
        if oauth.pkce == Pkce::S256 {
            members.push(("code_verifier", verifier));
        }
        let written = form::write(&client, members, &oauth.token_params, vec![code, verifier]);
        let (form, scrub) = written.map_err(lacks)?;
        let answered = self.ask(url, form, PATIENCE).await?;
        let answer = Answer { status: answered.status, headers: &answered.headers, body: &answered.body };
        let tokens = classify(&answer, answered.now, &scrub)?;
        Ok(Exchanged { tokens, facts: facts(&answered.body), sent_at: answered.sent_at })
    }
}

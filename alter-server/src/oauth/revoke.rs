//! Telling a provider that a token is to die (RFC 7009), and what its answer means.
//!
//! | Answer | Meaning |
//! |---|---|
//! | 2xx, and not `"ok": false` | revoked |
//! | an error that says the token is not good (any more): `invalid_token`, `token_revoked` … | it was dead already |
//! | 401 where the token is the request's own credential; 404 to a `DELETE` | it was dead already |
//! | `unsupported_token_type` | this kind of token cannot be revoked there |
//! | 408, 425, 429, 5xx, an error of the same meaning, no answer | try again |
//! | anything else, such as `invalid_client` | the registration or the settings are wrong: the operator's to repair |
//!
//! Revoking twice does no harm: an answer that was lost is asked for again.

use std::time::Duration;

use alter_core::wire::url::is_loopback;
use http::{HeaderMap, Method, StatusCode, header};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use super::{
    Scrub, TokenEndpoint, TokenFailure,
    account::injected,
    classify::{is_unavailable, retry_after, spelled_out},
    exchange::PATIENCE,
    form::{self, Client, Form},
};
use crate::domain::{Provider, Revocation, RevocationForm, RevokedToken, endpoint_url};

/// A token to revoke.
#[derive(Debug)]
pub struct RevokeCall<'a> {
    /// The provider; its settings say where and how it is told.
    pub provider: &'a Provider,
    /// The app's secret there; not sent by a public client.
    pub client_secret: Option<&'a SecretString>,
    /// The token.
    pub token: &'a SecretString,
    /// Which of the two it is.
    pub kind: RevokedToken,
}

/// The token is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RevokedAnswer {
    /// What the provider answered with.
    pub status: StatusCode,
    /// It says that the token was dead before.
    pub already: bool,
}

/// Why it is not known that the token is dead. Texts are cleaned, and no secret is in them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RevokeFailure {
    /// This kind of token cannot be revoked there (RFC 7009 §2.2.1): perhaps the other one can.
    #[error("the provider does not revoke this kind of token: {0}")]
    Unsupported(String),
    /// The registration or the provider's settings are wrong: the operator's to repair.
    #[error("{0}")]
    Refused(String),
    /// It may go better later.
    #[error("{text}")]
    Passing {
        /// What happened.
        text: String,
        /// What the provider asked us to wait, at most an hour.
        retry_after: Option<Duration>,
    },
}

/// Errors that say that the token is not good, so that there is nothing left to revoke: RFC 6750 §3.1 and Google, Slack,
/// Dropbox, Twitch. `invalid_grant` is none of them: it may as well say that the token is another client's.
const DEAD: [&str; 7] = [
    "invalid_token",
    "token_revoked",
    "token_expired",
    "account_inactive",
    "expired_access_token",
    "invalid_access_token",
    "Invalid token",
];
/// Errors that pass, under whatever status.
const PASSING: [&str; 7] = [
    "temporarily_unavailable",
    "server_error",
    "ratelimited",
    "rate_limited",
    "internal_error",
    "service_unavailable",
    "request_timeout",
];

impl TokenEndpoint {
    /// Tells the provider once that a token is to die.
    ///
    /// # Errors
    ///
    /// [`RevokeFailure`].
    pub async fn revoke(&self, call: &RevokeCall<'_>) -> Result<RevokedAnswer, RevokeFailure> {
        let lacks = |why: &str| RevokeFailure::Refused(why.to_owned());
        let oauth = call.provider.oauth.as_ref();
        let oauth = oauth.ok_or_else(|| lacks("the provider has no OAuth settings"))?;
        let url = oauth.revoke_url.as_deref().ok_or_else(|| lacks("revoke_url is not set"))?;
        let mut url = endpoint_url(url).map_err(|error| lacks(&format!("revoke_url: {error}")))?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let how = &oauth.revocation;
        let client = self.client(is_loopback(&url)).map_err(passing)?;
        let method = if how.delete { Method::DELETE } else { Method::POST };
        let (request, scrub) = if how.form == RevocationForm::Bearer {
            let headers = injected(call.provider, &mut url, call.token);
            let headers = headers.ok_or_else(|| lacks("the token does not fit into a header"))?;
            let scrub = Scrub::new([call.token.expose_secret()]);
            let request = client.request(method, url);
            (headers.into_iter().fold(request, |request, (name, value)| request.header(name, value)), scrub)
        } else {
            let id = oauth.client_id.as_deref().ok_or_else(|| lacks("client_id is not set"))?;
            let auth = how.client_auth.unwrap_or(oauth.client_auth);
            let client_proof = Client { id, auth, secret: call.client_secret };
            let (Form { body, authorization }, scrub) = written(call, how, &client_proof).map_err(lacks)?;
            let kind = match how.form {
                RevocationForm::Json => "application/json",
                _ => "application/x-www-form-urlencoded",
            };
            let mut request = client.request(method, url).header(header::CONTENT_TYPE, kind).body(body);
            if let Some(authorization) = authorization {
                request = request.header(header::AUTHORIZATION, authorization);
            }
            (request, scrub)
        };
        let request = request.header(header::ACCEPT, "application/json");
        let answered = self.send(request, &host, PATIENCE.min(self.limits().whole)).await.map_err(passing)?;
        judge(how, answered.status, &answered.headers, &answered.body, answered.now, &scrub)
    }
}

fn written<'a>(
    call: &'a RevokeCall<'_>,
    how: &'a Revocation,
    client: &Client<'a>,
) -> Result<(Form, Scrub), &'static str> {
    let token = call.token.expose_secret();
    let mut members = vec![(how.member.as_str(), token)];
    if how.hint {
        let hint = match call.kind {
            RevokedToken::Refresh => "refresh_token",
            RevokedToken::Access => "access_token",
        };
        members.push(("token_type_hint", hint));
    }
    if how.form == RevocationForm::Json {
        form::write_json(client, members, &how.params, vec![token])
    } else {
        form::write(client, members, &how.params, vec![token])
    }
}

fn passing(TokenFailure { failure, retry_after, .. }: TokenFailure) -> RevokeFailure {
    RevokeFailure::Passing { text: failure.to_string(), retry_after }
}

/// Judges an answer, as the table above says.
fn judge(
    how: &Revocation,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
    scrub: &Scrub,
) -> Result<RevokedAnswer, RevokeFailure> {
    let dead = |already| Ok(RevokedAnswer { status, already });
    let number = status.as_u16();
    let (error, description) = spelled_out(headers, body).unzip();
    let (error, description) = (error.unwrap_or_default(), description.flatten());
    // Facebook's and Notion's words for a good answer have no `ok`; only Slack's refusals come under 200.
    let refused = status.is_success() && !error.is_empty() && is_refusal(body);
    if status.is_success() && !refused {
        return dead(false);
    }
    let said = match (&*error, description) {
        ("", _) => format!("HTTP {number}"),
        (error, Some(text)) => format!("{error}: {text} (HTTP {number})"),
        (error, None) => format!("{error} (HTTP {number})"),
    };
    let said: String = scrub.clean(&said).chars().take(300).collect();
    let unavailable = status == StatusCode::TOO_MANY_REQUESTS || is_unavailable(status);
    if unavailable || PASSING.contains(&&*error) {
        return Err(RevokeFailure::Passing { text: said, retry_after: retry_after(headers, now) });
    }
    if error == "unsupported_token_type" {
        return Err(RevokeFailure::Unsupported(said));
    }
    let by_token = how.form == RevocationForm::Bearer && status == StatusCode::UNAUTHORIZED;
    let by_name = how.delete && matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE);
    if DEAD.contains(&&*error) || by_token || by_name {
        return dead(true);
    }
    // Slack's word for a token that it does not know (any more), where the token is the credential.
    if how.form == RevocationForm::Bearer && error == "invalid_auth" {
        return dead(true);
    }
    Err(RevokeFailure::Refused(said))
}

/// `"ok": false`, or an OAuth error under a good status.
fn is_refusal(body: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Said {
        ok: Option<bool>,
        error: Option<serde::de::IgnoredAny>,
    }
    serde_json::from_slice::<Said>(body)
        .is_ok_and(|said| said.ok == Some(false) || (said.ok.is_none() && said.error.is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(how: &Revocation, status: u16, body: &str) -> Result<RevokedAnswer, RevokeFailure> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, http::HeaderValue::from_static("17"));
        let scrub = Scrub::new(["secret-token-1"]);
        let status = StatusCode::from_u16(status).unwrap();
        judge(how, status, &headers, body.as_bytes(), Timestamp::UNIX_EPOCH, &scrub)
    }

    #[test]
    fn every_answer_means_what_the_table_says() {
        let form = Revocation::default();
        let bearer = Revocation { form: RevocationForm::Bearer, delete: true, ..Revocation::default() };
        for (how, status, body) in [
            (&form, 200, ""),
            (&form, 200, "{}"),
            (&form, 204, ""),
            (&form, 200, "null"),
            (&bearer, 200, r#"{"ok":true,"revoked":true}"#),
            (&form, 200, r#"{"status":"success","message":"done"}"#),
        ] {
            let revoked = judged(how, status, body).unwrap();
            assert!(!revoked.already, "{status} {body}");
        }
        for (how, status, body) in [
            (&form, 400, r#"{"error":"invalid_token","error_description":"Token expired or revoked"}"#),
            (&form, 401, r#"{"error":"invalid_token"}"#),
            (&bearer, 401, "gone"),
            (&bearer, 404, ""),
            (&bearer, 200, r#"{"ok":false,"error":"token_revoked"}"#),
            (&bearer, 200, r#"{"ok":false,"error":"invalid_auth"}"#),
        ] {
            assert!(judged(how, status, body).unwrap().already, "{status} {body}");
        }
        let unsupported = judged(&form, 400, r#"{"error":"unsupported_token_type"}"#).unwrap_err();
        assert!(matches!(unsupported, RevokeFailure::Unsupported(_)));
        for (status, body) in [
            (503, ""),
            (500, r#"{"error":"invalid_token"}"#),
            (429, ""),
            (400, r#"{"error":"temporarily_unavailable"}"#),
            (200, r#"{"ok":false,"error":"ratelimited"}"#),
        ] {
            let failure = judged(&form, status, body).unwrap_err();
            let wait = Some(Duration::from_secs(17));
            assert!(
                matches!(failure, RevokeFailure::Passing { retry_after, .. } if retry_after == wait),
                "{body}"
            );
        }
        for (status, body) in [
            (401, r#"{"error":"invalid_client"}"#),
            (400, r#"{"error":"invalid_request"}"#),
            (403, "<html>"),
            (404, ""),
            (302, ""),
            (200, r#"{"ok":false,"error":"missing_scope"}"#),
        ] {
            assert!(matches!(judged(&form, status, body), Err(RevokeFailure::Refused(_))), "{status} {body}");
        }
    }

    #[test]
    fn a_provider_that_quotes_the_token_is_not_quoted() {
        let said = r#"{"error":"invalid_request","error_description":"bad secret-token-1\u0007"}"#;
        let failure = judged(&Revocation::default(), 400, said).unwrap_err();
        assert_eq!(failure.to_string(), "invalid_request: bad [secret] (HTTP 400)");
    }
}

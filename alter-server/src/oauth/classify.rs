//! What a token endpoint's answer means.
//!
//! | Answer | Meaning | Refresh token spent? |
//! |---|---|---|
//! | 2xx with an access token, and not `"ok": false` | tokens | yes |
//! | 2xx or 4xx with an error of the table | what the table says | no |
//! | the same with an error that the table does not have | misconfigured: tried again later, ends nothing | no |
//! | 429, whatever is in it | rate limited | no |
//! | 408, 425, 5xx, whatever is in it | provider unavailable | no |
//! | 3xx or 4xx without an error that can be read: a firewall, a proxy, a page | unreadable | no |
//! | 2xx that is anything else | unreadable | maybe |
//!
//! A gateway's 502 or 504 counts as "no" although what stands behind it may have spent the token: outages look like that,
//! for all grants at once, and a grant that is asked about again is at worst where it would be without asking.

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderMap, StatusCode, header};
use jiff::{Timestamp, fmt::rfc2822};
use secrecy::{ExposeSecret, SecretString};

use super::{
    Scrub,
    loose::{self, Loose},
};
use crate::domain::{FailureCode, RefreshFailure};

/// Longest wait that a provider can ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);
/// Longest life of an access token that is believed, in seconds: ten years.
const LONGEST_LIFE: f64 = 315_360_000.0;
/// Longest token, in bytes (spec/01 §5.1).
const MAX_TOKEN: usize = 8_192;
/// Longest ID token that is read, in bytes.
const MAX_ID_TOKEN: usize = 65_536;
/// Most scopes of a grant.
const MAX_SCOPES: usize = 1_000;

/// A complete answer.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// Status.
    pub status: StatusCode,
    /// Header fields.
    pub headers: &'a HeaderMap,
    /// The whole body.
    pub body: &'a [u8],
}

/// New tokens.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// The access token: fit to be handed to a client (spec/01 §5.1).
    pub access_token: SecretString,
    /// The refresh token to use from now on; `None` keeps the present one.
    pub refresh_token: Option<SecretString>,
    /// Life of the access token; at most ten years. `None` if the answer has none that makes sense.
    pub expires_in: Option<Duration>,
    /// Scopes, if the answer names them.
    pub scopes: Option<Vec<String>>,
    /// The ID token (OpenID Connect Core §3.1.3.3), if one came along.
    pub id_token: Option<SecretString>,
}

/// Whether the refresh token that was presented may have been used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spent {
    /// No: nothing was sent, or the provider said no. It may be presented again.
    No,
    /// It was sent, and no answer came that says what became of it.
    Maybe,
}

/// Why there are no new tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{failure}")]
pub struct TokenFailure {
    /// Why. Nothing secret is in it.
    pub failure: RefreshFailure,
    /// What the provider asked us to wait, at most an hour.
    pub retry_after: Option<Duration>,
    /// Whether the refresh token may be spent.
    pub spent: Spent,
}

impl TokenFailure {
    pub(super) fn new(code: FailureCode, detail: &str, spent: Spent) -> Self {
        Self { failure: RefreshFailure::new(code, detail), retry_after: None, spent }
    }
}

/// How an error is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `"error": "…"` (RFC 6749 §5.2), under any status.
    Error,
    /// `"ok": false, "error": "…"`, with status 200.
    Slack,
    /// `"status": "…"`.
    Status,
    /// `"status": 400, "message": "…"`.
    Message,
    /// `"errors": [{"resource": "…", "field": "…", "code": "…"}]`, joined by colons.
    Field,
}

/// One known error.
struct Row {
    form: Form,
    says: &'static str,
    /// How `error_description` must begin, where the error alone does not tell.
    begins: &'static str,
    means: FailureCode,
    /// Who says so. For readers.
    #[cfg_attr(not(test), expect(dead_code, reason = "for readers, and checked by a test"))]
    source: &'static str,
}

macro_rules! rows {
    ($($form:ident $says:literal $(+ $begins:literal)? => $means:ident, $source:literal;)+) => {
        /// Rows with a description stand before those without.
        const TABLE: &[Row] = &[$(Row {
            form: Form::$form,
            says: $says,
            begins: concat!($($begins)?),
            means: FailureCode::$means,
            source: $source,
        },)+];
    };
}

rows! {
    Error "invalid_grant" + "AADSTS50196" => RateLimited, "Microsoft Entra error codes: LoopDetected, too many requests in a short time";
    Error "invalid_request" + "Value passed for the token was invalid" => InvalidGrant, "X (Twitter) API v2, spent or revoked refresh token";
    Error "unauthorized_client" + "refresh_token is invalid" => InvalidGrant, "Atlassian 3LO, status 403, revoked refresh token";

    Error "invalid_grant" => InvalidGrant, "RFC 6749 §5.2";
    Error "invalid_client" => InvalidClient, "RFC 6749 §5.2";
    Error "unauthorized_client" => Misconfigured, "RFC 6749 §5.2: this app may not refresh";
    Error "invalid_request" => Misconfigured, "RFC 6749 §5.2";
    Error "invalid_scope" => Misconfigured, "RFC 6749 §5.2";
    Error "unsupported_grant_type" => Misconfigured, "RFC 6749 §5.2";
    Error "temporarily_unavailable" => ProviderUnavailable, "RFC 6749 §4.1.2.1, sent by token endpoints too";
    Error "server_error" => ProviderUnavailable, "RFC 6749 §4.1.2.1, sent by token endpoints too";
    Error "slow_down" => RateLimited, "RFC 8628 §3.5";
    Error "interaction_required" => InvalidGrant, "OpenID Connect Core §3.1.2.6; Microsoft: the user must sign in again";
    Error "login_required" => InvalidGrant, "OpenID Connect Core §3.1.2.6";
    Error "consent_required" => InvalidGrant, "OpenID Connect Core §3.1.2.6";

    Error "bad_refresh_token" => InvalidGrant, "GitHub, status 200: refreshing user access tokens";
    Error "incorrect_client_credentials" => InvalidClient, "GitHub, status 200: troubleshooting token requests";
    Error "deleted_client" => InvalidClient, "Google: OAuth 2.0 for web server applications";
    Error "disabled_client" => InvalidClient, "Google: the app's project was disabled";
    Error "internal_failure" => ProviderUnavailable, "Google";
    Error "rate_limit_exceeded" => RateLimited, "Salesforce: OAuth 2.0 error codes";
    Error "unknown_error" => ProviderUnavailable, "Salesforce, with the description `retry your request`";
    Error "too_many_requests" => RateLimited, "Auth0";

    Slack "invalid_refresh_token" => InvalidGrant, "Slack: oauth.v2.access, tooling.tokens.rotate";
    Slack "token_revoked" => InvalidGrant, "Slack: oauth.v2.access";
    Slack "account_inactive" => InvalidGrant, "Slack: the user or workspace was deleted";
    Slack "bad_client_secret" => InvalidClient, "Slack: oauth.v2.access";
    Slack "invalid_client_id" => InvalidClient, "Slack: oauth.v2.access";
    Slack "ratelimited" => RateLimited, "Slack: rate limits";
    Slack "rate_limited" => RateLimited, "Slack";
    Slack "internal_error" => ProviderUnavailable, "Slack: common errors";
    Slack "fatal_error" => ProviderUnavailable, "Slack: common errors";
    Slack "service_unavailable" => ProviderUnavailable, "Slack: common errors";
    Slack "request_timeout" => ProviderUnavailable, "Slack: common errors";
    Slack "team_added_to_org" => ProviderUnavailable, "Slack: the workspace is being moved";
    Slack "accesslimited" => ProviderUnavailable, "Slack: limited on the current network";

    Status "BAD_REFRESH_TOKEN" => InvalidGrant, "HubSpot: oauth/v1/token";
    Status "BAD_CLIENT_ID" => InvalidClient, "HubSpot: oauth/v1/token";
    Status "BAD_CLIENT_SECRET" => InvalidClient, "HubSpot: oauth/v1/token";

    Message "Invalid refresh token" => InvalidGrant, "Twitch: refreshing access tokens";
    Message "invalid client secret" => InvalidClient, "Twitch, status 403";

    Field "RefreshToken:refresh_token:invalid" => InvalidGrant, "Strava: oauth/token, status 400";
    Field "Application:client_id:invalid" => InvalidClient, "Strava: oauth/token";
    Field "Application:client_secret:invalid" => InvalidClient, "Strava: oauth/token";
}

/// An error that an answer spells out.
struct Said<'a> {
    form: Form,
    error: String,
    description: Option<&'a str>,
}

impl Said<'_> {
    fn means(&self) -> Option<FailureCode> {
        let begins = |row: &Row| {
            row.begins.is_empty() || self.description.is_some_and(|text| text.starts_with(row.begins))
        };
        let find = |form| {
            TABLE
                .iter()
                .find(|row| row.form == form && row.says == self.error && begins(row))
                .map(|row| row.means)
        };
        // Slack uses the standard's words too.
        find(self.form).or_else(|| (self.form == Form::Slack).then(|| find(Form::Error)).flatten())
    }
}

/// Judges an answer. `now` is the present moment as the provider's clock shows it; `scrub` knows what must not be shown.
///
/// # Errors
///
/// [`TokenFailure`], whose class is final only if the answer spells out an error of the table.
pub fn classify(answer: &Answer<'_>, now: Timestamp, scrub: &Scrub) -> Result<Tokens, TokenFailure> {
    let Answer { status, headers, body } = *answer;
    let members = members(headers, body);
    let refused =
        members.as_ref().is_some_and(|members| matches!(members.get("ok"), Some(Loose::Flag(false))));
    if status.is_success()
        && !refused
        && let Some(members) = &members
        && members.get("access_token").is_some_and(|token| !is_nothing(token))
    {
        return tokens(members, now).map_err(|rule| {
            TokenFailure::new(
                FailureCode::Unreadable,
                &format!("the new tokens cannot be used: {rule}"),
                Spent::Maybe,
            )
        });
    }
    let said = members.as_ref().and_then(said);
    let (code, spent) = match &said {
        _ if status == StatusCode::TOO_MANY_REQUESTS => (FailureCode::RateLimited, Spent::No),
        _ if is_unavailable(status) => (FailureCode::ProviderUnavailable, Spent::No),
        Some(said) if status.is_success() || status.is_client_error() => {
            (said.means().unwrap_or(FailureCode::Misconfigured), Spent::No)
        }
        None if status.is_success() && !refused => (FailureCode::Unreadable, Spent::Maybe),
        _ => (FailureCode::Unreadable, Spent::No),
    };
    let detail = match said {
        // The failure's own code stands before its detail wherever it is shown.
        Some(Said { error, description: Some(text), .. }) if error == code.as_str() => {
            format!("{text} (HTTP {})", status.as_u16())
        }
        Some(Said { error, .. }) if error == code.as_str() => {
            format!("the provider says nothing more (HTTP {})", status.as_u16())
        }
        Some(Said { error, description: Some(text), .. }) => {
            format!("{error}: {text} (HTTP {})", status.as_u16())
        }
        Some(Said { error, .. }) => format!("{error} (HTTP {})", status.as_u16()),
        None if members.is_some() => {
            format!("JSON with neither tokens nor an error (HTTP {})", status.as_u16())
        }
        None if status.is_redirection() => {
            format!(
                "a redirection, which is not followed: token_url must name the endpoint itself (HTTP {})",
                status.as_u16()
            )
        }
        None => format!("not the answer of a token endpoint (HTTP {})", status.as_u16()),
    };
    let mut failure = TokenFailure::new(code, &scrub.clean(&detail), spent);
    failure.retry_after = retry_after(headers, now);
    Err(failure)
}

/// The failure when a body did not come to its end: the status alone speaks. `code` and `why` say what happened to the body.
pub(super) fn without_body(
    status: StatusCode,
    headers: &HeaderMap,
    now: Timestamp,
    (code, why): (FailureCode, &str),
) -> TokenFailure {
    let (code, spent) = match status {
        StatusCode::TOO_MANY_REQUESTS => (FailureCode::RateLimited, Spent::No),
        _ if is_unavailable(status) => (FailureCode::ProviderUnavailable, Spent::No),
        _ if status.is_success() => (code, Spent::Maybe),
        _ => (code, Spent::No),
    };
    let mut failure = TokenFailure::new(code, &format!("{why} (HTTP {})", status.as_u16()), spent);
    failure.retry_after = retry_after(headers, now);
    failure
}

pub(super) fn is_unavailable(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT || status == StatusCode::TOO_EARLY
}

/// The answer's members: JSON whatever its type says (some call it text), or a form if that is what it says.
fn members(headers: &HeaderMap, body: &[u8]) -> Option<BTreeMap<String, Loose>> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let parsed = serde_json::from_slice(body).or_else(|_| serde_json::from_str(&loose::mended(body)));
    if let Ok(Loose::Object(members)) = parsed {
        return Some(members);
    }
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?.split(';').next()?.trim();
    if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return None;
    }
    let text = |(name, value): (std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)| {
        (name.into_owned(), Loose::Text(SecretString::from(value.into_owned())))
    };
    Some(form_urlencoded::parse(body).map(text).collect())
}

/// The error that an answer spells out, whatever its status: its word, and what is said about it.
pub(super) fn spelled_out(headers: &HeaderMap, body: &[u8]) -> Option<(String, Option<String>)> {
    let members = members(headers, body)?;
    let Said { error, description, .. } = said(&members)?;
    Some((error, description.map(str::to_owned)))
}

fn said(members: &BTreeMap<String, Loose>) -> Option<Said<'_>> {
    let text = |name: &str| members.get(name).and_then(Loose::text).filter(|text| !text.is_empty());
    let description = ["error_description", "message", "error_message", "reason"].into_iter().find_map(text);
    let error = text("error");
    // Twitch names the status in words under `error`, which says nothing.
    if let (Some(Loose::Number(_)), Some(message)) = (members.get("status"), text("message"))
        && error.is_none_or(|error| ["Bad Request", "Unauthorized", "Forbidden"].contains(&error))
    {
        return Some(Said { form: Form::Message, error: message.to_owned(), description: None });
    }
    if let Some(error) = error {
        let slack = matches!(members.get("ok"), Some(Loose::Flag(false)));
        let form = if slack { Form::Slack } else { Form::Error };
        return Some(Said { form, error: error.to_owned(), description });
    }
    if let Some(Loose::List(errors)) = members.get("errors")
        && let Some(first) = errors.first().and_then(Loose::object)
    {
        let part = |name: &str| first.get(name).and_then(Loose::text);
        if let (Some(resource), Some(field), Some(code)) = (part("resource"), part("field"), part("code")) {
            let error = format!("{resource}:{field}:{code}");
            return Some(Said { form: Form::Field, error, description });
        }
        // Fitbit: the standard's words under `errorType`.
        if let Some(error) = part("errorType") {
            return Some(Said { form: Form::Error, error: error.to_owned(), description: part("message") });
        }
    }
    if let Some(status) = text("status") {
        return Some(Said { form: Form::Status, error: status.to_owned(), description });
    }
    // Google's and Meta's APIs: an object. None of its words is known to end a grant.
    let object = members.get("error").and_then(Loose::object)?;
    let part = |name: &str| object.get(name).and_then(Loose::text);
    let error = ["status", "type", "code"].into_iter().find_map(part).unwrap_or("error");
    Some(Said { form: Form::Status, error: format!("error object {error}"), description: part("message") })
}

fn tokens(members: &BTreeMap<String, Loose>, now: Timestamp) -> Result<Tokens, &'static str> {
    let token = |name: &str| match members.get(name) {
        None | Some(Loose::Null) => Ok(None),
        Some(Loose::Text(text)) if text.expose_secret().is_empty() => Ok(None),
        Some(Loose::Text(text)) if is_token(text.expose_secret()) => Ok(Some(text.clone())),
        Some(_) => Err(()),
    };
    Ok(Tokens {
        access_token: token("access_token")
            .ok()
            .flatten()
            .ok_or("the access token is not 1 to 8192 printable ASCII characters")?,
        refresh_token: token("refresh_token")
            .map_err(|()| "the refresh token is not 1 to 8192 printable ASCII characters")?,
        expires_in: lifetime(members, now),
        scopes: scopes(members.get("scope").or_else(|| members.get("scopes"))),
        // Who the account is can be found out otherwise: what is no token is left out, and loses nothing.
        id_token: members.get("id_token").and_then(|token| match token {
            Loose::Text(text) if text.expose_secret().len() <= MAX_ID_TOKEN => Some(text.clone()),
            _ => None,
        }),
    })
}

/// Some write members that they do not give as null or as an empty text.
fn is_nothing(value: &Loose) -> bool {
    matches!(value, Loose::Null) || value.text() == Some("")
}

fn is_token(text: &str) -> bool {
    text.len() <= MAX_TOKEN && text.trim() == text && text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
}

/// How long the access token lives: `expires_in`, else an instant on the provider's clock. What is not positive makes no
/// sense for a token that was just made, so it counts as not said; some providers write 0 for "does not expire".
fn lifetime(members: &BTreeMap<String, Loose>, now: Timestamp) -> Option<Duration> {
    let number = |name: &str| members.get(name).and_then(Loose::number);
    let left = number("expires_in").or_else(|| {
        let until = ["expires_at", "expires_on"].into_iter().find_map(|name| instant(members.get(name)?))?;
        Some(until - now.as_duration().as_secs_f64())
    })?;
    (left > 0.0).then(|| Duration::from_secs_f64(left.min(LONGEST_LIFE)))
}

/// Seconds since 1970: a number of seconds or milliseconds, or RFC 3339.
fn instant(value: &Loose) -> Option<f64> {
    if let Some(number) = value.number() {
        return Some(if number > 100_000_000_000.0 { number / 1_000.0 } else { number });
    }
    Some(value.text()?.parse::<Timestamp>().ok()?.as_duration().as_secs_f64())
}

/// Separated by spaces (RFC 6749 §3.3), by commas (Slack, GitHub), or a list (Twitch). None at all counts as not said.
fn scopes(value: Option<&Loose>) -> Option<Vec<String>> {
    let texts: Vec<&str> = match value? {
        Loose::List(list) => list.iter().filter_map(Loose::text).collect(),
        one => vec![one.text()?],
    };
    let parts = texts.into_iter().flat_map(|text| text.split(|c: char| c.is_whitespace() || c == ','));
    let fits = |scope: &&str| !scope.is_empty() && scope.len() <= 1_000 && !scope.contains(char::is_control);
    let scopes: Vec<String> = parts.filter(fits).take(MAX_SCOPES).map(str::to_owned).collect();
    (!scopes.is_empty()).then_some(scopes)
}

/// `Retry-After`: seconds, or a date that is read against the answer's own `Date`, so that a wrong clock does no harm.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let until = http_date(text)?;
        until.duration_since(date(headers).unwrap_or(now)).try_into().unwrap_or(Duration::ZERO)
    };
    Some(wait.min(LONGEST_WAIT))
}

/// The answer's `Date`.
pub(super) fn date(headers: &HeaderMap) -> Option<Timestamp> {
    http_date(headers.get(header::DATE)?.to_str().ok()?.trim())
}

/// The preferred form of RFC 9110 §5.6.7, which is one of RFC 2822's.
fn http_date(text: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_its_source_and_can_be_reached() {
        for (index, row) in TABLE.iter().enumerate() {
            assert!(!row.source.is_empty(), "{}", row.says);
            let shadows = |earlier: &&Row| {
                earlier.form == row.form && earlier.says == row.says && row.begins.starts_with(earlier.begins)
            };
            assert!(TABLE[..index].iter().find(shadows).is_none(), "{} twice", row.says);
        }
    }
}

//! `POST /sdk/token`: asking for a credential and being told how to inject it (spec/01 §5).

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::secret::SecretText;

/// Path of the endpoint.
pub const PATH: &str = "/sdk/token";
/// An injection format that starts with this stands for AWS Signature Version 4.
pub const SIGV4_PREFIX: &str = "AWS4-HMAC-SHA256";
/// What an injection format must contain once: the place of the token.
pub const PLACEHOLDER: &str = "{token}";

/// Header names, lower case, that no injection may set (spec/01 §5.1).
pub const FORBIDDEN_HEADERS: [&str; 22] = [
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "upgrade",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "cookie",
    "set-cookie",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "x-http-method-override",
    "x-method-override",
    "www-authenticate",
    "strict-transport-security",
    "content-security-policy",
];

/// The request. Exactly one of `grant_id` and `provider_id` is set; the builder of the client sees to it, the vault
/// checks it. Members are sent in this order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TokenRequest {
    /// Address by grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_id: Option<String>,
    /// Address by provider: an OAuth provider's id or a managed secret's slug.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// Why the call is made, for the audit row. Always sent, `null` when there is none.
    #[serde(default)]
    pub reason: Option<String>,
    /// The call that is about to be made.
    #[serde(default)]
    pub request: Option<IntendedCall>,
    /// The JWT of the user on whose behalf the call is made.
    #[serde(default, deserialize_with = "SecretText::present", skip_serializing_if = "Option::is_none")]
    pub user_token: Option<SecretText>,
    /// The vault's id of a user, to choose among several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_user_id: Option<String>,
    /// Which of the user's accounts at the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Which of several sibling grants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// The provider call that a token is asked for.
///
/// `Debug` leaves the URL out: a caller may have put a secret into its query.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntendedCall {
    /// Upper-case method.
    pub method: String,
    /// The URL as the client will call it, without injected parameters.
    pub url: String,
}

impl fmt::Debug for IntendedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntendedCall").field("method", &self.method).finish_non_exhaustive()
    }
}

/// The answer: a credential and how to inject it. `None` members are not sent: the published client takes an absent
/// member for its default and refuses a `null` (spec/01 §5.1).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TokenResponse {
    /// What takes the place of `{token}`.
    pub access_token: SecretText,
    /// The grant that was resolved.
    pub grant_id: Uuid,
    /// `Bearer` unless told otherwise; informational.
    #[serde(default = "bearer")]
    pub token_type: String,
    /// Seconds until the credential or its grant ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
    /// The same as an instant, RFC 3339, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Scopes that the grant has at the provider.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// The provider of the grant.
    #[serde(default)]
    pub provider_id: String,
    /// Which version of the credential this is; absent for managed secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_generation: Option<Uuid>,
    /// The provider is known to want scopes that the grant lacks.
    #[serde(default, skip_serializing_if = "is_false")]
    pub scope_mismatch: bool,
    /// Header that carries the credential.
    #[serde(default = "authorization")]
    pub injection_header: String,
    /// Value of that header, with `{token}` where the credential goes.
    #[serde(default = "bearer_format")]
    pub injection_format: String,
    /// Further secrets by name, such as the second half of a key pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub additional_credentials: Option<BTreeMap<String, SecretText>>,
    /// Further headers and query parameters to set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub additional_injections: Option<Vec<Injection>>,
    /// Hosts that the credential may be sent to: `api.example.com`, `*.example.com`, with an optional port. Ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_hosts: Option<Vec<String>>,
    /// What the vault went through to get the token. Never fatal: a malformed one is dropped.
    #[serde(default, deserialize_with = "RetryInfo::lenient", skip_serializing_if = "Option::is_none")]
    pub retry_info: Option<RetryInfo>,
}

/// One more header or query parameter to set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Injection {
    /// Header or query parameter.
    pub target: InjectionTarget,
    /// Its name.
    pub key: String,
    /// `token`, or `additional_credentials.<name>`.
    pub value_source: String,
}

/// Where an [`Injection`] goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InjectionTarget {
    /// A request header.
    Header,
    /// A query parameter.
    QueryParam,
}

/// How often the vault had to try before it had the token (spec/01 §8.1).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetryInfo {
    /// Tries in all, at least 1.
    pub total_attempts: u32,
    /// The try that succeeded; 0 for none.
    pub successful_attempt: u32,
    /// The failed tries.
    #[serde(default)]
    pub errors: Vec<AttemptError>,
}

/// One failed try.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptError {
    /// Which try, from 1.
    pub attempt: u32,
    /// What happened, at most 500 characters.
    pub error: String,
    /// Its class.
    pub error_type: String,
    /// Seconds waited afterwards.
    pub delay_s: f64,
    /// No further try would have helped.
    #[serde(default)]
    pub permanent: bool,
}

impl RetryInfo {
    fn lenient<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Ok(serde_json::from_value::<Self>(value).ok().filter(Self::is_plausible))
    }

    fn is_plausible(&self) -> bool {
        self.total_attempts >= 1
            && self.successful_attempt <= self.total_attempts
            && self
                .errors
                .iter()
                .all(|error| error.attempt >= 1 && error.error.chars().count() <= 500 && error.delay_s >= 0.0)
    }
}

fn bearer() -> String {
    "Bearer".to_owned()
}

fn authorization() -> String {
    "Authorization".to_owned()
}

fn bearer_format() -> String {
    "Bearer {token}".to_owned()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if wants a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// The answer breaks the contract of spec/01 §5.1. Names the field, never its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContractError {
    /// Not a JSON object with the fields of a token answer.
    #[error("the token answer is not an object with the documented fields")]
    Shape,
    /// A field that is there and wrong.
    #[error("the token answer's {field} {rule}")]
    Field {
        /// The field.
        field: &'static str,
        /// The rule that it breaks.
        rule: &'static str,
    },
}

impl TokenResponse {
    /// Reads an answer and checks every rule of spec/01 §5.1 before anything is done with it.
    ///
    /// # Errors
    ///
    /// [`ContractError`], which never quotes the answer.
    pub fn parse(bytes: &[u8]) -> Result<Self, ContractError> {
        // serde's own message may quote a value of the answer, so it is dropped here.
        let answer: Self = serde_json::from_slice(bytes).map_err(|_| ContractError::Shape)?;
        answer.check()?;
        Ok(answer)
    }

    /// Checks the rules of spec/01 §5.1. The vault calls it before it answers, too.
    ///
    /// # Errors
    ///
    /// [`ContractError`] naming the first field that breaks a rule.
    pub fn check(&self) -> Result<(), ContractError> {
        let rule = |holds: bool, field, rule| {
            if holds { Ok(()) } else { Err(ContractError::Field { field, rule }) }
        };
        let printable = |text: &str| text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        let token = self.access_token.expose();
        rule(!token.is_empty() && printable(token), "access_token", "must be non-empty printable ASCII")?;
        rule(
            label(&self.token_type, 255) && !self.token_type.is_empty(),
            "token_type",
            "must be a short word",
        )?;
        rule(
            self.expires_at.as_deref().is_none_or(|at| at.parse::<jiff::Timestamp>().is_ok()),
            "expires_at",
            "must be an RFC 3339 instant",
        )?;
        rule(
            self.scopes.iter().all(|scope| !scope.is_empty() && label(scope, usize::MAX)),
            "scopes",
            "must be non-empty words",
        )?;
        rule(label(&self.provider_id, 255), "provider_id", "must be a short word")?;
        check_header(&self.injection_header, 60)
            .map_err(|rule| ContractError::Field { field: "injection_header", rule })?;
        check_format(&self.injection_format)
            .map_err(|rule| ContractError::Field { field: "injection_format", rule })?;
        let credentials = self.additional_credentials.as_ref();
        rule(
            credentials.is_none_or(|all| {
                all.len() <= 10
                    && all.iter().all(|(name, value)| {
                        let value = value.expose();
                        name.len() <= 50
                            && value.len() <= 8_192
                            && !value.trim().is_empty()
                            && !value.contains(['\r', '\n', '\0'])
                    })
            }),
            "additional_credentials",
            "must be at most 10 non-blank values without line breaks",
        )?;
        let injections = self.additional_injections.as_deref().unwrap_or_default();
        rule(injections.len() <= 10, "additional_injections", "must be at most 10")?;
        for injection in injections {
            injection
                .check()
                .map_err(|rule| ContractError::Field { field: "additional_injections", rule })?;
        }
        // The published client would send the bare format as the credential (spec/01 §6.10).
        rule(
            !self.injection_format.starts_with(SIGV4_PREFIX)
                || credentials.is_some_and(|all| all.contains_key("secret_key")),
            "additional_credentials",
            "must hold secret_key for AWS signatures",
        )
    }
}

impl Injection {
    /// Checks the rules for one injection.
    ///
    /// # Errors
    ///
    /// The rule that it breaks, in words.
    pub fn check(&self) -> Result<(), &'static str> {
        match self.target {
            InjectionTarget::Header => check_header(&self.key, 100)?,
            InjectionTarget::QueryParam => check_name(&self.key, 100)?,
        }
        let named = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_lowercase())
                && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        };
        let known = self.value_source == "token"
            || self.value_source.strip_prefix("additional_credentials.").is_some_and(named);
        if known && self.value_source.len() <= 100 {
            Ok(())
        } else {
            Err("value_source must be token or additional_credentials.<name>")
        }
    }
}

/// Checks the name of a header that is to be injected.
///
/// # Errors
///
/// The rule that it breaks, in words.
pub fn check_header(name: &str, max: usize) -> Result<(), &'static str> {
    check_name(name, max)?;
    if name.contains('_') {
        return Err("a header name may hold letters, digits and hyphens only");
    }
    if FORBIDDEN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
        return Err("this header may not be injected");
    }
    Ok(())
}

/// Checks an injection format.
///
/// # Errors
///
/// The rule that it breaks, in words.
pub fn check_format(format: &str) -> Result<(), &'static str> {
    if format.len() > 200 || format.bytes().any(|byte| !(0x20..0x7f).contains(&byte)) {
        return Err("an injection format is at most 200 printable ASCII characters");
    }
    if !format.contains(PLACEHOLDER) && !format.starts_with(SIGV4_PREFIX) {
        return Err("an injection format must contain {token}");
    }
    Ok(())
}

fn check_name(name: &str, max: usize) -> Result<(), &'static str> {
    let fits = name.len() <= max
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if fits {
        Ok(())
    } else {
        Err("a name starts with a letter and holds letters, digits, hyphens, underscores")
    }
}

fn label(text: &str, max: usize) -> bool {
    text.len() <= max && text.trim() == text && !text.chars().any(|c| c.is_ascii_control())
}

/// Seconds from now until an instant; `None` when either is unknown. Never negative.
#[must_use]
pub fn seconds_until(at: Option<jiff::Timestamp>, now: jiff::Timestamp) -> Option<u64> {
    at.map(|at| u64::try_from(at.as_second().saturating_sub(now.as_second())).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::wire::json::to_ascii_vec;

    #[test]
    fn requests_are_spelled_as_captured() {
        let request = TokenRequest {
            grant_id: None,
            provider_id: Some("google".into()),
            reason: Some("why".into()),
            request: Some(IntendedCall {
                method: "POST".into(),
                url: "http://127.0.0.1/v1/a%2Fb?keep=1".into(),
            }),
            user_token: Some("jwt.jwt.jwt".into()),
            app_user_id: Some("u-1".into()),
            account: Some("a@b.c".into()),
            label: Some("L".into()),
        };
        assert_eq!(
            String::from_utf8(to_ascii_vec(&request).unwrap()).unwrap(),
            concat!(
                r#"{"provider_id":"google","reason":"why","request":{"method":"POST","url":"http://127.0.0.1/v1/a%2Fb?keep=1"},"#,
                r#""user_token":"jwt.jwt.jwt","app_user_id":"u-1","account":"a@b.c","label":"L"}"#
            )
        );
        assert!(!format!("{request:?}").contains("jwt"));
    }

    #[test]
    fn the_smallest_answer_has_the_documented_defaults() {
        let answer = TokenResponse::parse(
            br#"{"access_token":"tok","grant_id":"11111111-2222-3333-4444-555555555555","future":1}"#,
        )
        .unwrap();
        assert_eq!(answer.injection_header, "Authorization");
        assert_eq!(answer.injection_format, "Bearer {token}");
        assert!(answer.scopes.is_empty() && answer.retry_info.is_none());
    }

    #[test]
    fn every_rule_of_the_answer_is_kept() {
        for (field, value) in [
            ("access_token", json!("")),
            ("access_token", json!("a\nb")),
            ("access_token", json!("é")),
            ("access_token", json!(null)),
            ("grant_id", json!("nope")),
            ("token_type", json!(null)),
            ("token_type", json!(" x")),
            ("expires_in", json!(-1)),
            ("expires_in", json!(60.0)),
            ("expires_in", json!(true)),
            ("expires_at", json!("yesterday")),
            ("scopes", json!(null)),
            ("scopes", json!([""])),
            ("provider_id", json!("a\u{1}")),
            ("token_generation", json!("x")),
            ("scope_mismatch", json!("true")),
            ("injection_header", json!("Host")),
            ("injection_header", json!("X_Key")),
            ("injection_format", json!("Bearer")),
            ("injection_format", json!("AWS4-HMAC-SHA256")),
            ("additional_credentials", json!({"a": " "})),
            ("additional_injections", json!([{"target": "body", "key": "k", "value_source": "token"}])),
            (
                "additional_injections",
                json!([{"target": "header", "key": "Cookie", "value_source": "token"}]),
            ),
            ("additional_injections", json!([{"target": "header", "key": "K", "value_source": "other"}])),
            (
                "additional_injections",
                json!([{"target": "query_param", "key": "k", "value_source": "token", "more": 1}]),
            ),
        ] {
            let mut answer = json!({"access_token": "t", "grant_id": "11111111-2222-3333-4444-555555555555"});
            answer[field] = value.clone();
            let refused = TokenResponse::parse(answer.to_string().as_bytes()).unwrap_err();
            assert!(!refused.to_string().contains("yesterday"), "{refused}");
        }
    }

    #[test]
    fn malformed_retry_information_is_dropped_without_failing_the_call() {
        for info in [json!(3), json!({"total_attempts": 0, "successful_attempt": 0}), json!({})] {
            let answer = json!({
                "access_token": "t", "grant_id": "11111111-2222-3333-4444-555555555555", "retry_info": info,
            });
            assert!(TokenResponse::parse(answer.to_string().as_bytes()).unwrap().retry_info.is_none());
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = TokenResponse::parse(&bytes);
        }
    }
}

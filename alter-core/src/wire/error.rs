//! The body of an error (spec/02 §1.3, §2.2): `{"error": code, "message": text, …}`, flat or inside `detail`.

use serde::Serialize;
use serde_json::{Map, Value};

use super::{code::Code, limit::whole_number};

/// Longest text that is kept of an answer, in characters.
pub const MAX_TEXT: usize = 300;
/// Longest list that is kept of an answer.
pub const MAX_ITEMS: usize = 100;

/// One grant that a request could have meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GrantCandidate {
    /// The grant's id.
    pub grant_id: String,
    /// The grant's label among its siblings.
    pub label: Option<String>,
    /// The account at the provider, as `account` takes it.
    pub account_identifier: Option<String>,
    /// The account in words.
    pub account_display_name: Option<String>,
}

/// The body of an error. Every field but `error` and `message` is optional; which code carries which is in the table
/// of spec/02 §1.3.
///
/// The vault serialises it; a client reads it with [`ErrorBody::parse`], which believes nothing: fields of the wrong
/// type are dropped, texts are cut to 300 characters and freed of control characters, lists are cut to 100 items.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ErrorBody {
    /// The code; `None` when the answer had none.
    #[serde(rename = "error")]
    pub code: Option<Code>,
    /// What happened, in words for a developer.
    pub message: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The grant that the failure is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant_id: Option<String>,
    /// The provider that was asked for. Sent when the failing lookup was by identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// The agent that asked. Sent when the failing lookup was by identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// The vault's id of the user. Sent when the failing lookup was by identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_user_id: Option<String>,
    /// Grants that the request could have meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<GrantCandidate>,
    /// The accounts of the candidates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub account_identifiers: Vec<String>,
    /// The users of the candidates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub app_user_ids: Vec<String>,
    /// The ids of the candidates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub grant_ids: Vec<String>,
    /// The request named an account, and still several grants match.
    #[serde(skip_serializing_if = "is_false")]
    pub account_was_provided: bool,
    /// There are more candidates than are listed.
    #[serde(skip_serializing_if = "is_false")]
    pub candidates_truncated: bool,
    /// Scopes of which the key lacks some.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub required: Vec<String>,
    /// Scopes that the key has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub granted: Vec<String>,
    /// Scopes that the key lacks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// Any one of the required scopes is enough.
    #[serde(skip_serializing_if = "is_false")]
    pub required_any_of: bool,
    /// The key's scopes are those of an older catalogue: rotating it brings the missing ones.
    #[serde(skip_serializing_if = "is_false")]
    pub scope_version_mismatch: bool,
    /// Why a delegation was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail_reason: Option<String>,
    /// The label that is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Oldest session that a rule allows, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_session_age_seconds: Option<u64>,
    /// How long to wait, in seconds. A copy of the `Retry-After` header for the codes that need it in the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// Which limit binds: `ip`, `api_key`, `organization` or one to come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The binding limit, in calls per window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// The window of the binding limit, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_seconds: Option<u64>,
    /// The approval that the failure is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval_id: Option<String>,
    /// Fields that belong to one code only and are nested on the wire, such as those of `scope_mismatch`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<NestedFields>,
}

/// The nested `details` object of those codes that have one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NestedFields {
    /// The grant that the failure is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant_id: Option<String>,
    /// The provider that the failure is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// The agent that asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// The vault's id of the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_user_id: Option<String>,
    /// Why, where the code leaves it open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if wants a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// What the bytes of an error answer turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParsedError {
    /// Not JSON, or JSON that is not an object: a page of a proxy in between, or nothing. The bytes are dropped.
    Foreign {
        /// Whether the bytes were JSON at all; a 429 that is not JSON counts as a throttle.
        json: bool,
    },
    /// An error body, perhaps without a code.
    Body(Box<ErrorBody>),
}

impl ErrorBody {
    /// A body with a code and a text, to which fields are added.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code: Some(code), message: Some(message.into()), ..Self::default() }
    }

    /// Reads the bytes of an error answer. An object under `detail` stands for the whole body.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> ParsedError {
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(mut outer)) => {
                let fields = match outer.remove("detail") {
                    Some(Value::Object(inner)) => inner,
                    _ => outer,
                };
                ParsedError::Body(Box::new(Self::from_fields(&fields)))
            }
            Ok(_) => ParsedError::Foreign { json: true },
            Err(_) => ParsedError::Foreign { json: false },
        }
    }

    fn from_fields(fields: &Map<String, Value>) -> Self {
        let text = |name| fields.get(name).and_then(text);
        let list = |name| fields.get(name).map(texts).unwrap_or_default();
        let number = |name| fields.get(name).and_then(whole_number);
        let flag = |name| fields.get(name) == Some(&Value::Bool(true));
        Self {
            code: fields.get("error").and_then(Value::as_str).map(Code::from),
            message: text("message").filter(|message| !message.is_empty()),
            hint: text("hint").filter(|hint| !hint.is_empty()),
            grant_id: text("grant_id"),
            provider_id: text("provider_id"),
            agent_id: text("agent_id"),
            app_user_id: text("app_user_id"),
            candidates: fields.get("candidates").map(candidates).unwrap_or_default(),
            account_identifiers: list("account_identifiers"),
            app_user_ids: list("app_user_ids"),
            grant_ids: list("grant_ids"),
            account_was_provided: flag("account_was_provided"),
            candidates_truncated: flag("candidates_truncated"),
            required: list("required"),
            granted: list("granted"),
            missing: list("missing"),
            required_any_of: flag("required_any_of"),
            scope_version_mismatch: flag("scope_version_mismatch"),
            detail_reason: text("detail_reason"),
            label: text("label"),
            max_session_age_seconds: number("max_session_age_seconds"),
            retry_after: number("retry_after"),
            scope: text("scope"),
            limit: number("limit"),
            window_seconds: number("window_seconds"),
            approval_id: text("approval_id"),
            details: fields.get("details").and_then(Value::as_object).map(|nested| {
                let text = |name| nested.get(name).and_then(self::text);
                NestedFields {
                    grant_id: text("grant_id"),
                    provider_id: text("provider_id"),
                    agent_id: text("agent_id"),
                    app_user_id: text("app_user_id"),
                    reason: text("reason"),
                }
            }),
        }
    }
}

/// Text of an answer, made safe to show: no control characters, at most 300 characters.
///
/// ```
/// use alter_core::wire::error::clean;
///
/// assert_eq!(clean("no\u{1b}[31m such\ngrant"), "no[31m such grant");
/// assert_eq!(clean(&"x".repeat(1_000)).chars().count(), 301);
/// ```
#[must_use]
pub fn clean(text: &str) -> String {
    let mut cleaned: String = text
        .chars()
        .filter_map(|c| match c {
            '\n' | '\r' | '\t' => Some(' '),
            c if c.is_control() => None,
            c => Some(c),
        })
        .take(MAX_TEXT + 1)
        .collect();
    if cleaned.chars().count() > MAX_TEXT {
        cleaned.pop();
        cleaned.push('…');
    }
    cleaned
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(clean)
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(text).take(MAX_ITEMS).collect()
}

fn candidates(value: &Value) -> Vec<GrantCandidate> {
    let candidate = |value: &Value| {
        let field = |name| value.get(name).and_then(text);
        Some(GrantCandidate {
            grant_id: field("grant_id")?,
            label: field("label"),
            account_identifier: field("account_identifier"),
            account_display_name: field("account_display_name"),
        })
    };
    value.as_array().into_iter().flatten().filter_map(candidate).take(MAX_ITEMS).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(value: &Value) -> ErrorBody {
        match ErrorBody::parse(value.to_string().as_bytes()) {
            ParsedError::Body(body) => *body,
            foreign => panic!("{foreign:?}"),
        }
    }

    #[test]
    fn a_body_under_detail_stands_for_the_whole() {
        let body =
            parse(&json!({"error": "outer", "detail": {"error": "key_expired", "message": "x", "hint": ""}}));
        assert_eq!(body.code, Some(Code::KeyExpired));
        assert_eq!(body.hint, None);
        let listed = parse(&json!({"detail": [{"loc": ["body"]}]}));
        assert_eq!(listed, ErrorBody::default());
    }

    #[test]
    fn fields_of_the_wrong_type_are_dropped() {
        let body = parse(&json!({
            "error": "ambiguous_grant", "provider_id": 7, "account_was_provided": "yes",
            "missing": ["a", 1], "candidates": [{"grant_id": "g", "label": 1}, {"label": "no id"}, 3],
            "retry_after": true, "grant_id": {"a": 1},
        }));
        assert_eq!(body.code, Some(Code::AmbiguousGrant));
        assert_eq!((body.provider_id, body.account_was_provided, body.retry_after), (None, false, None));
        assert_eq!(body.missing, ["a"]);
        assert_eq!(body.candidates.len(), 1);
        assert_eq!(body.grant_id, None);
    }

    #[test]
    fn long_and_dirty_answers_are_cut_and_cleaned() {
        let body = parse(&json!({
            "message": format!("\u{1b}{}", "m".repeat(200_000)), "grant_ids": vec!["g"; 10_000],
        }));
        assert_eq!(body.message.unwrap().chars().count(), MAX_TEXT + 1);
        assert_eq!(body.grant_ids.len(), MAX_ITEMS);
    }

    #[test]
    fn what_is_no_object_is_foreign() {
        assert_eq!(ErrorBody::parse(b"<html>"), ParsedError::Foreign { json: false });
        assert_eq!(ErrorBody::parse(b""), ParsedError::Foreign { json: false });
        assert_eq!(ErrorBody::parse(b"[]"), ParsedError::Foreign { json: true });
    }

    #[test]
    fn what_the_vault_writes_a_client_reads() {
        let mut body = ErrorBody::new(Code::AmbiguousGrant, "two accounts");
        body.candidates.push(GrantCandidate {
            grant_id: "g".into(),
            label: None,
            account_identifier: Some("a@b.c".into()),
            account_display_name: None,
        });
        body.account_identifiers.push("a@b.c".into());
        body.retry_after = Some(3);
        assert_eq!(parse(&serde_json::to_value(&body).unwrap()), body);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = ErrorBody::parse(&bytes);
        }
    }
}

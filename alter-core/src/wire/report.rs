//! The reports that follow a provider call: the audit row (spec/01 §7) and the scope mismatch (spec/01 §6.9).

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Path of the audit report.
pub const API_CALL_PATH: &str = "/sdk/oauth/audit/api-call";
/// Largest body that is reported, in bytes; a larger one is replaced by its size.
pub const MAX_BODY: usize = 10_000;

/// Header names, lower case, that are never reported, in either direction (spec/01 §7.4).
pub const UNREPORTED_HEADERS: [&str; 8] = [
    "authorization",
    "cookie",
    "set-cookie",
    "x-api-key",
    "x-auth-token",
    "x-amz-date",
    "x-amz-content-sha256",
    "x-amz-security-token",
];

/// What a client says of a provider call that it made. Every member is sent, in this order. It is the client's own
/// statement; the vault trusts it no further than that. `Debug` leaves out URL, headers, bodies, reason and context,
/// which may hold anything.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ApiCallReport {
    /// From the token answer.
    pub grant_id: String,
    /// From the token answer.
    #[serde(default)]
    pub provider_id: String,
    /// From the token answer.
    #[serde(default)]
    pub token_generation: Option<String>,
    /// Upper-case method.
    pub method: String,
    /// The URL without what was injected.
    pub url: String,
    /// Request headers, without injected ones and [`UNREPORTED_HEADERS`].
    #[serde(default)]
    pub request_headers: Option<BTreeMap<String, String>>,
    /// The request body: JSON as it was given, else text or a placeholder.
    #[serde(default)]
    pub request_body: Option<Value>,
    /// The provider's status; 0 when the call failed on the way.
    pub response_status: u16,
    /// The provider's headers, lower case, repeats joined with `, `; `null` when the call failed on the way.
    #[serde(default)]
    pub response_headers: Option<BTreeMap<String, String>>,
    /// The provider's body as text, or a placeholder with its size.
    #[serde(default)]
    pub response_body: Option<String>,
    /// How long the provider took, in milliseconds.
    #[serde(default)]
    pub latency_ms: u64,
    /// Why the call was made.
    #[serde(default)]
    pub reason: Option<String>,
    /// The audit context of the call.
    #[serde(default)]
    pub context: Option<BTreeMap<String, String>>,
}

impl fmt::Debug for ApiCallReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiCallReport")
            .field("grant_id", &self.grant_id)
            .field("provider_id", &self.provider_id)
            .field("method", &self.method)
            .field("response_status", &self.response_status)
            .field("latency_ms", &self.latency_ms)
            .finish_non_exhaustive()
    }
}

/// Path of the scope report of a grant.
#[must_use]
pub fn scope_mismatch_path(grant_id: &uuid::Uuid) -> String {
    format!("/sdk/grants/{grant_id}/report-scope-mismatch")
}

/// A provider said that the grant lacks scopes. The bounds are those of [`ScopeMismatchReport::clamp`].
///
/// `Debug` leaves out what the provider wrote and the URL.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScopeMismatchReport {
    /// The provider's status, 403.
    pub provider_status_code: u16,
    /// The provider's code, `insufficient_scope`.
    pub provider_error_code: String,
    /// The scopes that the provider named.
    #[serde(default)]
    pub missing_scopes: Option<Vec<String>>,
    /// The provider's `WWW-Authenticate`.
    #[serde(default)]
    pub raw_www_authenticate: Option<String>,
    /// The URL that was called, without what was injected.
    #[serde(default)]
    pub api_endpoint: Option<String>,
    /// How it was noticed.
    #[serde(default)]
    pub detection_source: Option<String>,
    /// 22 base64url characters that tie the two sides' logs together.
    #[serde(default)]
    pub sdk_correlation_id: Option<String>,
}

impl fmt::Debug for ScopeMismatchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopeMismatchReport")
            .field("provider_status_code", &self.provider_status_code)
            .field("sdk_correlation_id", &self.sdk_correlation_id)
            .finish_non_exhaustive()
    }
}

impl ScopeMismatchReport {
    /// Cuts every member to what the vault takes: 50 scopes of 256 characters, 4,096 for the challenge, 2,048 for
    /// the URL.
    #[must_use]
    pub fn clamp(mut self) -> Self {
        if let Some(scopes) = &mut self.missing_scopes {
            scopes.truncate(50);
            for scope in scopes {
                cut(scope, 256);
            }
        }
        if let Some(challenge) = &mut self.raw_www_authenticate {
            cut(challenge, 4_096);
        }
        if let Some(url) = &mut self.api_endpoint {
            cut(url, 2_048);
        }
        self
    }
}

fn cut(text: &mut String, characters: usize) {
    if let Some((at, _)) = text.char_indices().nth(characters) {
        text.truncate(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_of_the_audit_report_is_sent_in_order() {
        let spelled = serde_json::to_string(&ApiCallReport::default()).unwrap();
        let mut at = 0;
        for member in [
            "grant_id",
            "provider_id",
            "token_generation",
            "method",
            "url",
            "request_headers",
            "request_body",
            "response_status",
            "response_headers",
            "response_body",
            "latency_ms",
            "reason",
            "context",
        ] {
            let found = spelled.find(&format!("\"{member}\":")).unwrap();
            assert!(found >= at, "{member}");
            at = found;
        }
    }

    #[test]
    fn what_was_sent_and_answered_is_not_printed() {
        let canary = || "CANARY".to_owned();
        let report = ApiCallReport {
            url: "https://api.example.com/?key=CANARY".into(),
            request_headers: Some(BTreeMap::from([("x-signature".into(), canary())])),
            request_body: Some(Value::String(canary())),
            response_headers: Some(BTreeMap::from([("x-token".into(), canary())])),
            response_body: Some(canary()),
            reason: Some(canary()),
            context: Some(BTreeMap::from([("run_id".into(), canary())])),
            ..ApiCallReport::default()
        };
        assert!(!format!("{report:?}").contains("CANARY"));
    }

    #[test]
    fn scope_reports_are_cut_at_whole_characters() {
        let report = ScopeMismatchReport {
            provider_status_code: 403,
            provider_error_code: "insufficient_scope".into(),
            missing_scopes: Some(vec!["é".repeat(300); 60]),
            raw_www_authenticate: Some("x".repeat(5_000)),
            api_endpoint: Some("u".repeat(5_000)),
            detection_source: None,
            sdk_correlation_id: None,
        }
        .clamp();
        let scopes = report.missing_scopes.unwrap();
        assert_eq!((scopes.len(), scopes[0].chars().count()), (50, 256));
        assert_eq!(report.raw_www_authenticate.unwrap().len(), 4_096);
        assert_eq!(report.api_endpoint.unwrap().len(), 2_048);
    }
}

//! `POST /sdk/oauth/audit/api-call`: what a client says about its call to the provider (spec/01 §7).

use std::collections::BTreeMap;

use alter_core::wire::{
    code::Code,
    report::{ApiCallReport, UNREPORTED_HEADERS},
};
use serde_json::Value;

use super::{
    answer::{Failure, Reply},
    call::{Call, Endpoint, decided},
};
use crate::{audit::CallReport, domain::Scope, store::ReportCommand};

pub(super) struct Report;

impl Endpoint for Report {
    const ROUTE: &'static str = "POST /sdk/oauth/audit/api-call";
    const SCOPE: Scope = Scope::AuditEmit;
    /// The published client reports a JSON request body whole (spec/01 §7.2).
    const MAX_BODY: usize = 4 * 1024 * 1024;

    async fn answer(call: &Call) -> Result<Reply, Failure> {
        let said: ApiCallReport = call.json()?;
        let unknown = || Failure::refused(Code::GrantNotFound, "the report names no grant");
        let command = ReportCommand {
            admission: call.admission(),
            grant_id: said.grant_id.parse().map_err(|_| unknown())?,
            report: kept(said),
        };
        decided(call.core.store.record_report(command).await?)?;
        Ok(Reply::empty())
    }
}

/// What is kept of a report. The store cuts texts and seals bodies.
fn kept(said: ApiCallReport) -> CallReport {
    CallReport {
        method: said.method.to_ascii_uppercase(),
        url: said.url,
        status: said.response_status,
        latency_ms: said.latency_ms,
        reason: said.reason,
        context: said.context.as_ref().and_then(|context| serde_json::to_string(context).ok()),
        // The client's statement; whatever is no version it was given says nothing.
        token_generation: said.token_generation.and_then(|text| text.parse().ok()),
        request_headers: headers(said.request_headers),
        request_body: said.request_body.and_then(|body| match body {
            Value::Null => None,
            Value::String(text) => Some(text),
            other => Some(other.to_string()),
        }),
        response_headers: headers(said.response_headers),
        response_body: said.response_body,
    }
}

/// Header values that carry credentials are left out here once more: a client may be wrong.
fn headers(reported: Option<BTreeMap<String, String>>) -> Option<String> {
    let mut reported = reported?;
    reported.retain(|name, _| !UNREPORTED_HEADERS.contains(&name.to_ascii_lowercase().as_str()));
    serde_json::to_string(&reported).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_reported_headers_are_left_out() {
        let reported = BTreeMap::from([
            ("Authorization".to_owned(), "Bearer secret".to_owned()),
            ("Set-Cookie".to_owned(), "secret".to_owned()),
            ("accept".to_owned(), "*/*".to_owned()),
        ]);
        assert_eq!(headers(Some(reported)).as_deref(), Some(r#"{"accept":"*/*"}"#));
    }

    #[test]
    fn a_json_body_is_kept_as_text() {
        let said =
            ApiCallReport { request_body: Some(serde_json::json!({"a": 1})), ..ApiCallReport::default() };
        assert_eq!(kept(said).request_body.as_deref(), Some(r#"{"a":1}"#));
    }
}

//! What others are told of a change, as JSON: no secret, and nothing that a list of grants does not say.

use jiff::Timestamp;
use serde::Serialize;

use crate::domain::{AppId, GrantEvent, GrantFacts, GrantId, Principal, ProviderId, UserId};

/// A change of a grant's state.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change<'a> {
    pub(super) app_id: AppId,
    pub(super) event: GrantEvent,
    pub(super) grant: &'a GrantFacts,
    /// UTC.
    pub(super) at: Timestamp,
    /// Why, in the words of whoever did it.
    pub(super) reason: Option<&'a str>,
    /// Who did it, as `revoked_by` says it.
    pub(super) by: Option<&'a str>,
    /// What the provider said to a revocation.
    pub(super) receipt: Option<&'a str>,
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    event: GrantEvent,
    timestamp: Timestamp,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    app_id: AppId,
    grant_id: GrantId,
    provider_id: &'a ProviderId,
    principal_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_user_id: Option<UserId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_identifier: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<&'a str>,
}

impl<'a> Change<'a> {
    /// A change about which there is nothing else to say.
    pub(super) const fn new(app_id: AppId, event: GrantEvent, grant: &'a GrantFacts, at: Timestamp) -> Self {
        Self { app_id, event, grant, at, reason: None, by: None, receipt: None }
    }

    /// The body, as it is signed and sent (spec: Standard Webhooks, "payload structure").
    pub(super) fn payload(&self) -> String {
        // What was removed is not told again.
        let told = self.event != GrantEvent::Deleted;
        let data = Data {
            app_id: self.app_id,
            grant_id: self.grant.id,
            provider_id: &self.grant.provider,
            principal_type: self.grant.principal.type_str(),
            app_user_id: match self.grant.principal {
                Principal::User(id) => Some(id),
                _ => None,
            },
            account_identifier: self.grant.account_identifier.as_deref().filter(|_| told),
            label: self.grant.label.as_deref().filter(|_| told),
            reason: self.reason,
            by: self.by,
            receipt: self.receipt,
        };
        let body = Body { event: self.event, timestamp: self.at, data };
        // Text keys and plain values only: there is nothing that could fail.
        serde_json::to_string(&body).unwrap_or_default()
    }

    /// Whether an endpoint that asked for these events (one per line; none is all) is told.
    pub(super) fn is_wanted(&self, events: &str) -> bool {
        events.is_empty() || events.lines().any(|event| event == self.event.as_str())
    }
}

/// Events as one column holds them.
pub(super) fn events_text(events: &[GrantEvent]) -> String {
    events.iter().map(|event| event.as_str()).collect::<Vec<_>>().join("\n")
}

/// Reads what [`events_text`] wrote; what a later version added is left out.
pub(super) fn events(text: &str) -> Vec<GrantEvent> {
    GrantEvent::ALL.into_iter().filter(|event| text.lines().any(|line| line == event.as_str())).collect()
}

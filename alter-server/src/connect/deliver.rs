//! Where the result goes: to the window that opened the page, to the address that the app named, or nowhere (spec/03
//! §6.4–6.7). Origins and addresses were checked when the session was made.

use serde::Serialize;
use serde_json::{Value, json};
use url::Url;

use crate::domain::{ConnectSession, ConnectedGrant, Operation, Provider, ProviderId, SessionEnd};

/// A result on its way, as the page's script gets it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Delivery {
    /// The opener's origin; never `*`.
    pub(super) origin: Option<String>,
    /// What is posted to it.
    pub(super) message: Value,
    /// Where the browser goes if nobody opened the page.
    pub(super) return_url: Option<String>,
}

impl Delivery {
    /// Of a session that has ended, or whose time is over.
    pub(super) fn of(session: &ConnectSession, providers: &[Provider]) -> Self {
        let asked = &session.asked;
        let grants = &session.progress.grants;
        let (message, query) = match (&session.progress.end, grants.last()) {
            (Some(SessionEnd::Error { code, message }), _) => failure(code, message),
            (_, Some(last)) => {
                let told: Vec<Value> = grants.iter().map(|grant| item(grant, providers)).collect();
                (json!({"type": "alter_connect_success", "grants": told}), query(last, providers))
            }
            (_, None) => failure("session_expired", "The link has expired. Please start again."),
        };
        Self {
            origin: asked.allowed_origin.clone(),
            message,
            return_url: with(asked.return_url.as_deref(), &query),
        }
    }

    /// As the page carries it to its script.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

type Query = Vec<(&'static str, String)>;

fn failure(code: &str, message: &str) -> (Value, Query) {
    let told = json!({"type": "alter_connect_error", "error": code, "error_description": message});
    let query = vec![
        ("alter_connect_error", "true".to_owned()),
        ("error_code", code.to_owned()),
        ("error_description", message.to_owned()),
    ];
    (told, query)
}

fn name(id: &ProviderId, providers: &[Provider]) -> String {
    let known = providers.iter().find(|provider| provider.id == *id);
    known.map_or_else(|| id.to_string(), |provider| provider.name.clone())
}

/// The account, never empty: the widget drops a result without one (spec/03 §6.6).
fn account(grant: &ConnectedGrant, providers: &[Provider]) -> String {
    let known = grant.account_identifier.clone().filter(|account| !account.is_empty());
    known.unwrap_or_else(|| name(&grant.provider, providers))
}

fn operation(grant: &ConnectedGrant) -> &'static str {
    match grant.operation {
        Operation::Creation => "creation",
        Operation::Reauth => "reauth",
    }
}

fn item(grant: &ConnectedGrant, providers: &[Provider]) -> Value {
    json!({
        "grant_id": grant.grant_id.to_string(),
        "provider": grant.provider.to_string(),
        "provider_name": name(&grant.provider, providers),
        "account_identifier": account(grant, providers),
        "timestamp": grant.at.to_string(),
        "operation": operation(grant),
        "scopes": grant.scopes,
        "status": "active",
    })
}

/// Only one grant fits: the last one.
fn query(grant: &ConnectedGrant, providers: &[Provider]) -> Query {
    let mut query = vec![
        ("alter_connect_success", "true".to_owned()),
        ("grant_id", grant.grant_id.to_string()),
        ("provider", grant.provider.to_string()),
        ("account_identifier", account(grant, providers)),
        ("provider_name", name(&grant.provider, providers)),
        ("timestamp", grant.at.to_string()),
        ("operation", operation(grant).to_owned()),
        ("status", "active".to_owned()),
    ];
    if !grant.scopes.is_empty() {
        query.push(("scopes", grant.scopes.join(",")));
    }
    query
}

fn with(return_url: Option<&str>, query: &Query) -> Option<String> {
    let mut url = Url::parse(return_url?).ok()?;
    url.query_pairs_mut().extend_pairs(query);
    Some(url.into())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::domain::{AppId, Asked, GrantId, Progress, SessionId, SessionKind, SessionRef, TokenDigest};

    fn session(progress: Progress) -> ConnectSession {
        ConnectSession {
            session: SessionRef { app_id: AppId::random(), id: SessionId::random() },
            kind: SessionKind::Connect,
            token: TokenDigest::of(b"x"),
            version: 1,
            created_at: Timestamp::UNIX_EPOCH,
            expires_at: Timestamp::UNIX_EPOCH,
            asked: Asked {
                allowed_origin: Some("https://shop.example".to_owned()),
                return_url: Some("https://shop.example/done?order=1#top".to_owned()),
                ..Asked::default()
            },
            progress,
            user_token: None,
        }
    }

    #[test]
    fn a_grant_is_told_with_everything_that_the_widget_wants_even_without_an_account() {
        let grant = ConnectedGrant {
            grant_id: GrantId::random(),
            provider: "google".parse().unwrap(),
            operation: Operation::Reauth,
            scopes: vec!["a".to_owned(), "b".to_owned()],
            account_identifier: None,
            grant_expires_at: None,
            at: Timestamp::UNIX_EPOCH,
        };
        let progress =
            Progress { grants: vec![grant], end: Some(SessionEnd::Completed), ..Progress::default() };
        let told = Delivery::of(&session(progress), &[]);
        let one = &told.message["grants"][0];
        assert_eq!(
            (one["account_identifier"].as_str(), one["operation"].as_str()),
            (Some("google"), Some("reauth"))
        );
        let url = Url::parse(told.return_url.as_deref().unwrap()).unwrap();
        let query: std::collections::BTreeMap<_, _> = url.query_pairs().into_owned().collect();
        assert_eq!((query["order"].as_str(), query["scopes"].as_str()), ("1", "a,b"));
        assert_eq!(query["account_identifier"], "google");
        assert_eq!((url.host_str(), url.fragment()), (Some("shop.example"), Some("top")));
    }

    #[test]
    fn an_end_without_a_grant_is_told_as_well() {
        let told = Delivery::of(&session(Progress::default()), &[]);
        assert_eq!(told.message["error"], "session_expired");
        let end = SessionEnd::Error { code: "connect_denied".into(), message: "no & no".into() };
        let told = Delivery::of(&session(Progress { end: Some(end), ..Progress::default() }), &[]);
        assert_eq!(told.message["type"], "alter_connect_error");
        let url = told.return_url.unwrap();
        assert!(url.contains("error_code=connect_denied") && url.contains("no+%26+no"), "{url}");
    }
}

//! `POST /sdk/auth/session` and `POST /sdk/auth/poll`: signing a user in from a program that has no web pages
//! (spec/03 §2.2).

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    connect::{FlowCode, PollFormatError, required_text},
    error::clean,
    limit::whole_number,
    secret::SecretText,
};

/// Path of the creation.
pub const SESSION_PATH: &str = "/sdk/auth/session";
/// Path of the poll.
pub const POLL_PATH: &str = "/sdk/auth/poll";
/// The key scope that the creation needs.
pub const SESSION_KEY_SCOPE: &str = "idp_users:write";
/// The key scope that the poll needs.
pub const POLL_KEY_SCOPE: &str = "idp_users:read";
/// Longest time that a vault holds a poll open, in milliseconds.
pub const MAX_WAIT_MS: u64 = 30_000;

/// The request for a session: literally `{}`.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct AuthSessionRequest {}

/// A sign-in that was begun; sent with exactly 201. Texts are never empty.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AuthSessionResponse {
    /// What the sign-in is polled with.
    pub session_token: SecretText,
    /// Where the person signs in. It may hold the token, as OpenID Connect's `state`.
    pub auth_url: SecretText,
    /// Seconds until the session ends.
    pub expires_in: u64,
    /// The same as an instant, RFC 3339, UTC.
    pub expires_at: String,
}

impl AuthSessionResponse {
    /// Reads an answer and checks the rules of spec/03 §2.2.
    ///
    /// # Errors
    ///
    /// [`PollFormatError`], which never quotes the answer.
    pub fn parse(bytes: &[u8]) -> Result<Self, PollFormatError> {
        let answer: Self = serde_json::from_slice(bytes).map_err(|_| PollFormatError::Shape)?;
        let empty = [
            ("session_token", answer.session_token.expose()),
            ("auth_url", answer.auth_url.expose()),
            ("expires_at", &answer.expires_at),
        ]
        .into_iter()
        .find_map(|(field, text)| text.is_empty().then_some(field));
        empty.map_or(Ok(answer), |field| Err(PollFormatError::Field(field)))
    }
}

/// Asks how far a sign-in is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AuthPollRequest {
    /// From the session.
    pub session_token: SecretText,
    /// How long the vault may hold the poll open, in milliseconds; more than [`MAX_WAIT_MS`] counts as that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
}

/// How far a sign-in is; sent with exactly 200. `Debug` leaves out who signed in.
#[derive(Clone, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum AuthPoll {
    /// The person is not done.
    Pending,
    /// They are signed in.
    Completed {
        /// Their JWT, from the app's identity provider.
        user_token: SecretText,
        /// What the identity provider says about them.
        user_info: Map<String, Value>,
    },
    /// Over without a token. Flat here, nested in the poll of a connect session.
    Error {
        /// Why; a client reads an absent one as the empty code.
        error_code: FlowCode,
        /// What happened, in words for the person.
        error_message: String,
        /// Seconds after which a new session may succeed.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_seconds: Option<u64>,
    },
    /// Unknown, or past its end.
    Expired,
}

impl AuthPoll {
    /// Reads an answer by the rules of spec/03 §2.2.
    ///
    /// # Errors
    ///
    /// [`PollFormatError`], which never quotes the answer.
    pub fn parse(bytes: &[u8]) -> Result<Self, PollFormatError> {
        let mut fields: Map<String, Value> =
            serde_json::from_slice(bytes).map_err(|_| PollFormatError::Shape)?;
        match required_text(&fields, "status")? {
            "pending" => Ok(Self::Pending),
            "completed" => {
                let user_token = SecretText::from(required_text(&fields, "user_token")?);
                let user_info = match fields.remove("user_info") {
                    Some(Value::Object(info)) => info,
                    _ => Map::new(),
                };
                Ok(Self::Completed { user_token, user_info })
            }
            "error" => {
                let text = |name| fields.get(name).and_then(Value::as_str).unwrap_or_default();
                Ok(Self::Error {
                    error_code: FlowCode::from(text("error_code")),
                    error_message: clean(text("error_message")),
                    retry_after_seconds: fields.get("retry_after_seconds").and_then(whole_number),
                })
            }
            "expired" => Ok(Self::Expired),
            other => Err(PollFormatError::UnknownStatus(clean(other))),
        }
    }
}

impl fmt::Debug for AuthPoll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pending => f.write_str("Pending"),
            Self::Completed { .. } => f.debug_struct("Completed").finish_non_exhaustive(),
            Self::Error { error_code, .. } => {
                f.debug_struct("Error").field("error_code", error_code).finish_non_exhaustive()
            }
            Self::Expired => f.write_str("Expired"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::wire::{connect::FlowClass, json::to_ascii_vec};

    fn parse(answer: &Value) -> Result<AuthPoll, PollFormatError> {
        AuthPoll::parse(answer.to_string().as_bytes())
    }

    #[test]
    fn requests_are_spelled_as_captured() {
        assert_eq!(to_ascii_vec(&AuthSessionRequest {}).unwrap(), b"{}");
        let mut poll = AuthPollRequest { session_token: "canary".into(), wait_ms: Some(25_000) };
        assert_eq!(to_ascii_vec(&poll).unwrap(), br#"{"session_token":"canary","wait_ms":25000}"#);
        poll.wait_ms = None;
        assert_eq!(to_ascii_vec(&poll).unwrap(), br#"{"session_token":"canary"}"#);
        assert!(!format!("{poll:?}").contains("canary"));
    }

    #[test]
    fn an_answer_is_flat_and_a_nested_error_is_not_read() {
        let AuthPoll::Error { error_code, error_message, retry_after_seconds } = parse(&json!({
            "status": "error", "error_code": "service_unavailable", "error_message": "later",
            "retry_after_seconds": 60.0,
        }))
        .unwrap() else {
            panic!()
        };
        assert_eq!(error_code.class(), FlowClass::Unavailable);
        assert_eq!((error_message.as_str(), retry_after_seconds), ("later", Some(60)));
        let nested = json!({"status": "error", "error": {"error_code": "x", "error_message": "y"}});
        let AuthPoll::Error { error_code, .. } = parse(&nested).unwrap() else { panic!() };
        assert_eq!(error_code.as_str(), "");
    }

    #[test]
    fn a_completed_sign_in_has_a_token_and_perhaps_a_person() {
        let done = |more: Value| {
            let mut answer = json!({"status": "completed"});
            answer.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            parse(&answer)
        };
        let told = done(json!({"user_token": "canary", "user_info": {"name": "Ann"}})).unwrap();
        assert!(!format!("{told:?}").contains("canary") && !format!("{told:?}").contains("Ann"));
        let AuthPoll::Completed { user_info, .. } = done(json!({"user_token": "t", "user_info": 3})).unwrap()
        else {
            panic!()
        };
        assert!(user_info.is_empty());
        for refused in [json!({}), json!({"user_token": ""}), json!({"user_token": 3})] {
            assert_eq!(done(refused).unwrap_err(), PollFormatError::Field("user_token"));
        }
        assert_eq!(
            parse(&json!({"status": "odd"})).unwrap_err(),
            PollFormatError::UnknownStatus("odd".into())
        );
    }

    #[test]
    fn a_session_is_typed_strictly() {
        let good =
            json!({"session_token": "s", "auth_url": "https://x", "expires_in": 600, "expires_at": "t"});
        assert!(AuthSessionResponse::parse(good.to_string().as_bytes()).is_ok());
        for (field, value) in
            [("session_token", json!("")), ("auth_url", json!(null)), ("expires_in", json!(600.0))]
        {
            let mut answer = good.clone();
            answer[field] = value;
            assert!(AuthSessionResponse::parse(answer.to_string().as_bytes()).is_err(), "{field}");
        }
    }

    #[test]
    fn what_a_vault_writes_a_client_reads() {
        for poll in [
            AuthPoll::Pending,
            AuthPoll::Expired,
            AuthPoll::Completed { user_token: "t".into(), user_info: Map::new() },
            AuthPoll::Error {
                error_code: FlowCode::ConnectDenied,
                error_message: "no".into(),
                retry_after_seconds: None,
            },
        ] {
            let spelled = serde_json::to_value(&poll).unwrap();
            assert_eq!(serde_json::to_value(parse(&spelled).unwrap()).unwrap(), spelled);
        }
    }
}

//! What goes wrong on demand.

use std::str::FromStr;

use serde::Serialize;
use serde_json::Value;

/// Longest delay that can be asked for, in milliseconds: ten minutes.
const MAX_DELAY_MS: u64 = 600_000;
/// Longest lifetime that can be asked for, in seconds: ten years.
const MAX_EXPIRES_IN: u64 = 315_360_000;

/// How the token endpoint misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TokenFault {
    /// It does not.
    #[default]
    None,
    /// The request is carried out, a refresh token spent and rotated, and then the connection is closed
    /// without an answer.
    Drop,
    /// A firewall in front of the provider answers 403 with an HTML page. Nothing is carried out.
    Html403,
    /// 400 `invalid_grant`, whatever was presented. Nothing is carried out.
    InvalidGrant,
    /// 500 with a JSON error. Nothing is carried out.
    ServerError,
}

impl TokenFault {
    const ALL: [Self; 5] = [Self::None, Self::Drop, Self::Html403, Self::InvalidGrant, Self::ServerError];

    /// The name on the control endpoint.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Drop => "drop",
            Self::Html403 => "html403",
            Self::InvalidGrant => "invalid_grant",
            Self::ServerError => "server_error",
        }
    }
}

impl FromStr for TokenFault {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|fault| fault.as_str() == name);
        known.ok_or_else(|| format!("token_fault is one of {}", Self::ALL.map(Self::as_str).join(", ")))
    }
}

/// The sandbox's behaviour from now on. The default is a provider that behaves.
///
/// ```
/// use alter_sandbox::{Faults, TokenFault};
///
/// let faults = Faults::default().rotate(true).delay_ms(300).token_fault(TokenFault::Drop);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Faults {
    /// The token endpoint carries a request out at once and answers this many milliseconds later, as a slow
    /// provider does: a caller who hangs up meanwhile has lost what it would have been given.
    pub delay_ms: u64,
    /// Lifetime of access tokens issued from now on, in seconds.
    pub expires_in: u64,
    /// Whether a refresh replaces the refresh token, the old one being refused from then on (RFC 6749 §6).
    pub rotate: bool,
    /// How the token endpoint misbehaves.
    pub token_fault: TokenFault,
    /// The status with which the API answers every call, if it is not to do its work. Calls are still counted.
    pub api_status: Option<u16>,
    /// The key set is answered this many milliseconds late.
    pub jwks_delay_ms: u64,
    /// The status with which the key set is refused, if it is.
    pub jwks_status: Option<u16>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            delay_ms: 0,
            expires_in: 3600,
            rotate: false,
            token_fault: TokenFault::None,
            api_status: None,
            jwks_delay_ms: 0,
            jwks_status: None,
        }
    }
}

impl Faults {
    /// Sets [`Faults::delay_ms`].
    #[must_use]
    pub fn delay_ms(mut self, milliseconds: u64) -> Self {
        self.delay_ms = milliseconds;
        self
    }

    /// Sets [`Faults::expires_in`], in seconds.
    #[must_use]
    pub fn expires_in(mut self, seconds: u64) -> Self {
        self.expires_in = seconds;
        self
    }

    /// Sets [`Faults::rotate`].
    #[must_use]
    pub fn rotate(mut self, on: bool) -> Self {
        self.rotate = on;
        self
    }

    /// Sets [`Faults::token_fault`].
    #[must_use]
    pub fn token_fault(mut self, fault: TokenFault) -> Self {
        self.token_fault = fault;
        self
    }

    /// Sets [`Faults::api_status`].
    #[must_use]
    pub fn api_status(mut self, status: u16) -> Self {
        self.api_status = Some(status);
        self
    }

    /// Sets [`Faults::jwks_delay_ms`].
    #[must_use]
    pub fn jwks_delay_ms(mut self, milliseconds: u64) -> Self {
        self.jwks_delay_ms = milliseconds;
        self
    }

    /// Sets [`Faults::jwks_status`].
    #[must_use]
    pub fn jwks_status(mut self, status: u16) -> Self {
        self.jwks_status = Some(status);
        self
    }

    /// These faults with the members of a JSON object changed; all of them or, on an error, none.
    pub(crate) fn changed(&self, change: &Value) -> Result<Self, BadChange> {
        let Some(members) = change.as_object() else {
            return Err(BadChange::new(None, "the body is a JSON object", &FIELDS));
        };
        let mut next = self.clone();
        for (name, value) in members {
            let bad = |message: &str| BadChange::new(Some(name), message, &[]);
            match name.as_str() {
                "delay_ms" => next.delay_ms = whole(value, MAX_DELAY_MS).map_err(|m| bad(&m))?,
                "jwks_delay_ms" => next.jwks_delay_ms = whole(value, MAX_DELAY_MS).map_err(|m| bad(&m))?,
                "expires_in" => next.expires_in = whole(value, MAX_EXPIRES_IN).map_err(|m| bad(&m))?,
                "rotate" => next.rotate = value.as_bool().ok_or_else(|| bad("rotate is true or false"))?,
                "api_status" => next.api_status = status(value).map_err(bad)?,
                "jwks_status" => next.jwks_status = status(value).map_err(bad)?,
                "token_fault" => {
                    next.token_fault =
                        value.as_str().unwrap_or_default().parse().map_err(|message: String| {
                            BadChange::new(Some(name), &message, &TokenFault::ALL.map(TokenFault::as_str))
                        })?;
                }
                _ => return Err(BadChange::new(Some(name), "there is no such setting", &FIELDS)),
            }
        }
        Ok(next)
    }
}

const FIELDS: [&str; 7] =
    ["delay_ms", "expires_in", "rotate", "token_fault", "api_status", "jwks_delay_ms", "jwks_status"];

/// A change that was not made, as the control endpoint answers it.
#[derive(Debug, Serialize)]
pub(crate) struct BadChange {
    error: &'static str,
    field: Option<String>,
    message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allowed: Vec<String>,
}

impl BadChange {
    pub(crate) fn new(field: Option<&str>, message: &str, allowed: &[&str]) -> Self {
        Self {
            error: "invalid_control",
            field: field.map(crate::params::shown),
            message: message.to_owned(),
            allowed: allowed.iter().map(|&name| name.to_owned()).collect(),
        }
    }
}

fn whole(value: &Value, max: u64) -> Result<u64, String> {
    value.as_u64().filter(|number| *number <= max).ok_or_else(|| format!("a whole number from 0 to {max}"))
}

/// A status, or `null` or 0 for "off".
fn status(value: &Value) -> Result<Option<u16>, &'static str> {
    match (value, value.as_u64()) {
        (Value::Null, _) | (_, Some(0)) => Ok(None),
        (_, Some(code @ 200..=599)) => Ok(u16::try_from(code).ok()),
        _ => Err("a status from 200 to 599, or null for off"),
    }
}

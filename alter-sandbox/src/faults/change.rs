//! Faults as the control endpoint changes them: by the members of a JSON object.

use std::str::FromStr;

use serde::Serialize;
use serde_json::Value;

use super::{AuthorizeFault, Faults, IdTokenFault, RevokeFault, TokenFault};

/// Longest delay that can be asked for, in milliseconds: ten minutes.
const MAX_DELAY_MS: u64 = 600_000;
/// Longest time that can be asked for, in seconds: ten years.
const MAX_SECONDS: u64 = 315_360_000;
/// Largest number of calls that a fault can be limited to.
const MAX_TIMES: u64 = 1_000_000;
/// Longest error text, in bytes.
const MAX_TEXT: usize = 1000;

const FIELDS: [&str; 27] = [
    "delay_ms",
    "expires_in",
    "rotate",
    "reuse_detection",
    "reuse_window",
    "refresh_idle",
    "token_fault",
    "fault_times",
    "retry_after",
    "retry_after_as_date",
    "ok_error",
    "trickle_ms",
    "date_skew",
    "api_status",
    "jwks_delay_ms",
    "jwks_status",
    "authorize_fault",
    "authorize_fault_times",
    "authorize_delay_ms",
    "granted_scope",
    "remember_consent",
    "coop",
    "sign_in_coop",
    "sign_in_fault",
    "id_token_fault",
    "revoke_fault",
    "revoke_fault_times",
];

impl Faults {
    /// The default faults with the members of a JSON object changed, as the control endpoint takes it.
    ///
    /// ```
    /// use alter_sandbox::{Faults, TokenFault};
    ///
    /// let faults = Faults::from_json(r#"{"rotate": true, "token_fault": "drop"}"#)?;
    /// assert_eq!(faults, Faults::default().rotate(true).token_fault(TokenFault::Drop));
    /// assert!(Faults::from_json(r#"{"token_fault": "explode"}"#).is_err());
    /// # Ok::<(), String>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong with which member.
    pub fn from_json(json: &str) -> Result<Self, String> {
        let change =
            serde_json::from_str(json).map_err(|error| format!("the faults are not JSON: {error}"))?;
        Self::default().changed(&change).map_err(|bad| match bad.field {
            Some(field) => format!("{field}: {}", bad.message),
            None => bad.message,
        })
    }

    /// These faults with the members of a JSON object changed; all of them or, on an error, none.
    pub(crate) fn changed(&self, change: &Value) -> Result<Self, BadChange> {
        let Some(members) = change.as_object() else {
            return Err(BadChange::new(None, "the body is a JSON object", &FIELDS));
        };
        let mut next = self.clone();
        for (name, value) in members {
            next.change(name, value)?;
        }
        Ok(next)
    }

    fn change(&mut self, name: &str, value: &Value) -> Result<(), BadChange> {
        let bad = |message: String| BadChange::new(Some(name), &message, &[]);
        match name {
            "delay_ms" => self.delay_ms = whole(value, MAX_DELAY_MS).map_err(bad)?,
            "jwks_delay_ms" => self.jwks_delay_ms = whole(value, MAX_DELAY_MS).map_err(bad)?,
            "trickle_ms" => self.trickle_ms = whole(value, MAX_DELAY_MS).map_err(bad)?,
            "expires_in" => self.expires_in = whole(value, MAX_SECONDS).map_err(bad)?,
            "reuse_window" => self.reuse_window = whole(value, MAX_SECONDS).map_err(bad)?,
            "refresh_idle" => self.refresh_idle = optional(value, MAX_SECONDS).map_err(bad)?,
            "retry_after" => self.retry_after = optional(value, MAX_SECONDS).map_err(bad)?,
            "fault_times" => self.fault_times = optional(value, MAX_TIMES).map_err(bad)?,
            "rotate" => self.rotate = boolean(value).map_err(bad)?,
            "reuse_detection" => self.reuse_detection = boolean(value).map_err(bad)?,
            "retry_after_as_date" => self.retry_after_as_date = boolean(value).map_err(bad)?,
            "date_skew" => self.date_skew = skew(value).map_err(bad)?,
            "ok_error" => self.ok_error = text(value).map_err(bad)?,
            "api_status" => self.api_status = status(value).map_err(bad)?,
            "jwks_status" => self.jwks_status = status(value).map_err(bad)?,
            "authorize_fault_times" => {
                self.authorize_fault_times = optional(value, MAX_TIMES).map_err(bad)?;
            }
            "authorize_delay_ms" => self.authorize_delay_ms = whole(value, MAX_DELAY_MS).map_err(bad)?,
            "granted_scope" => {
                self.granted_scope = if value.is_null() { None } else { Some(text(value).map_err(bad)?) };
            }
            "remember_consent" => self.remember_consent = boolean(value).map_err(bad)?,
            "coop" => self.coop = boolean(value).map_err(bad)?,
            "sign_in_coop" => self.sign_in_coop = boolean(value).map_err(bad)?,
            "authorize_fault" => {
                self.authorize_fault = fault(name, value, AuthorizeFault::ALL, AuthorizeFault::as_str)?;
            }
            "sign_in_fault" => {
                self.sign_in_fault = fault(name, value, AuthorizeFault::ALL, AuthorizeFault::as_str)?;
            }
            "id_token_fault" => {
                self.id_token_fault = fault(name, value, IdTokenFault::ALL, IdTokenFault::as_str)?;
            }
            "revoke_fault" => {
                self.revoke_fault = fault(name, value, RevokeFault::ALL, RevokeFault::as_str)?;
            }
            "revoke_fault_times" => self.revoke_fault_times = optional(value, MAX_TIMES).map_err(bad)?,
            "token_fault" => {
                self.token_fault =
                    value.as_str().unwrap_or_default().parse().map_err(|message: String| {
                        BadChange::new(Some(name), &message, &TokenFault::ALL.map(TokenFault::as_str))
                    })?;
            }
            _ => return Err(BadChange::new(Some(name), "there is no such setting", &FIELDS)),
        }
        Ok(())
    }
}

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

/// `null` for "off".
fn optional(value: &Value, max: u64) -> Result<Option<u64>, String> {
    if value.is_null() {
        return Ok(None);
    }
    whole(value, max).map(Some).map_err(|message| format!("{message}, or null for off"))
}

/// One of the faults that there are, by its name.
fn fault<F: FromStr<Err = String> + Copy>(
    field: &str,
    value: &Value,
    all: &[F],
    name: impl Fn(F) -> &'static str,
) -> Result<F, BadChange> {
    let named = value.as_str().unwrap_or_default().parse();
    named.map_err(|message: String| {
        let names: Vec<_> = all.iter().map(|&fault| name(fault)).collect();
        BadChange::new(Some(field), &message, &names)
    })
}

fn boolean(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| "true or false".to_owned())
}

fn skew(value: &Value) -> Result<i64, String> {
    let seconds = value.as_i64().filter(|seconds| seconds.unsigned_abs() <= MAX_SECONDS);
    seconds.ok_or_else(|| format!("a whole number of seconds from -{MAX_SECONDS} to {MAX_SECONDS}"))
}

fn text(value: &Value) -> Result<String, String> {
    let text = value.as_str().filter(|text| text.len() <= MAX_TEXT);
    text.map(str::to_owned).ok_or_else(|| format!("a string of at most {MAX_TEXT} bytes"))
}

/// A status, or `null` or 0 for "off".
fn status(value: &Value) -> Result<Option<u16>, String> {
    match (value, value.as_u64()) {
        (Value::Null, _) | (_, Some(0)) => Ok(None),
        (_, Some(code @ 200..=599)) => Ok(u16::try_from(code).ok()),
        _ => Err("a status from 200 to 599, or null for off".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::{FIELDS, Faults};

    #[test]
    fn every_setting_that_is_shown_can_be_set_to_what_is_shown() {
        let shown = serde_json::to_value(Faults::default()).unwrap();
        let mut names: Vec<_> = shown.as_object().unwrap().keys().map(String::as_str).collect();
        let mut fields = FIELDS.to_vec();
        names.sort_unstable();
        fields.sort_unstable();
        assert_eq!(names, fields);
        assert_eq!(Faults::default().changed(&shown).unwrap(), Faults::default());
    }
}

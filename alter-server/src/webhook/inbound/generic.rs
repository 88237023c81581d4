//! Our own shape, signed as Standard Webhooks: `{"type":"user.deleted","data":{"subject":"…","issuer":"…"}}`.

use serde_json::Value;

use super::{Incoming, Unheard, json, user};
use crate::domain::{UserRef, UserStatus};

/// What the body says.
pub(super) fn changes(incoming: Incoming<'_>) -> Result<Vec<(UserRef, UserStatus)>, Unheard> {
    let body = json(incoming.body)?;
    let event = body["type"].as_str().ok_or(Unheard::Form("there is no text `type`"))?;
    let status = match event {
        "user.suspended" => UserStatus::Suspended,
        "user.deleted" => UserStatus::Deleted,
        "user.activated" => UserStatus::Active,
        _ => return Ok(Vec::new()),
    };
    let data = &body["data"];
    let subject = data["subject"].as_str().ok_or(Unheard::Form("there is no text `data.subject`"))?;
    let issuer = match &data["issuer"] {
        Value::Null => None,
        Value::String(issuer) => Some(issuer.as_str()),
        _ => return Err(Unheard::Form("`data.issuer` is no text")),
    };
    Ok(vec![(user(incoming, issuer, subject)?, status)])
}

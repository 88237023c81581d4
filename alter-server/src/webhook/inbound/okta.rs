//! Okta: event hooks. Whom an event is about is its target of type `User`, by id and by login: which of the two is the subject
//! of a token depends on the authorization server that issued it.

use http::HeaderMap;
use serde_json::Value;

use super::{Incoming, MOST_EVENTS, Said, Unheard, digest, happened, json, one, user};
use crate::domain::{UserRef, UserStatus};

/// What Okta asks once, to see that the address is ours; it wants the value back.
pub(crate) fn challenge(headers: &HeaderMap) -> Option<&str> {
    let value = one(headers, "x-okta-verification-challenge")?;
    let plain = value.bytes().all(|byte| (0x21..0x7f).contains(&byte));
    ((1..=512).contains(&value.len()) && plain).then_some(value)
}

/// What the events say; those that concern no user's status are left out.
pub(super) fn read(incoming: Incoming<'_>) -> Result<Vec<Said>, Unheard> {
    let body = json(incoming.body)?;
    let events = body["data"]["events"].as_array().ok_or(Unheard::Form("there is no list `data.events`"))?;
    if events.len() > MOST_EVENTS {
        return Err(Unheard::Form("there are more than 1000 events"));
    }
    let mut said = Vec::new();
    for event in events {
        let Some(status) = status(event) else { continue };
        let id = event["uuid"].as_str().ok_or(Unheard::Form("an event has no `uuid`"))?;
        let timestamp = happened(event["published"].as_str(), incoming.now);
        let mut changes: Vec<(UserRef, UserStatus)> = Vec::new();
        let targets = event["target"].as_array().map(Vec::as_slice).unwrap_or_default();
        for target in targets.iter().filter(|target| target["type"] == "User") {
            for name in ["id", "alternateId"] {
                if let Some(subject) =
                    target[name].as_str().filter(|name| !name.is_empty() && *name != "unknown")
                {
                    changes.push((user(incoming, None, subject)?, status));
                }
            }
        }
        said.push(Said { message: digest(&[id.as_bytes()]), timestamp, changes });
    }
    Ok(said)
}

fn status(event: &Value) -> Option<UserStatus> {
    // What was tried and did not succeed changed nothing.
    if event["outcome"]["result"].as_str().is_some_and(|result| result != "SUCCESS") {
        return None;
    }
    match event["eventType"].as_str()? {
        // A deactivated user can be activated again.
        "user.lifecycle.suspend" | "user.lifecycle.deactivate" => Some(UserStatus::Suspended),
        "user.lifecycle.delete.initiated" | "user.lifecycle.delete.completed" => Some(UserStatus::Deleted),
        "user.lifecycle.unsuspend" | "user.lifecycle.activate" | "user.lifecycle.reactivate" => {
            Some(UserStatus::Active)
        }
        _ => None,
    }
}

//! Auth0: a log stream to a custom webhook. Events `sdu` (a user was deleted), and `sapi` (an operation of the Management API)
//! where it is the blocking or unblocking of a user. All formats of content are read: an array, an object, one per line.
//!
//! `user_id` of an event is whoever did it, if that was not the user: so the path of the operation says whom it is about, and
//! `user_id` counts only where there is no path.

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::{Incoming, MOST_EVENTS, Said, Unheard, digest, happened, json, user};
use crate::domain::{UserRef, UserStatus};

const USERS: &str = "/api/v2/users/";

/// What the events say; those that concern no user's status are left out.
pub(super) fn read(incoming: Incoming<'_>) -> Result<Vec<Said>, Unheard> {
    let mut said = Vec::new();
    for event in events(incoming.body)? {
        let data = event.get("data").unwrap_or(&event);
        let Some((subject, status)) = change(data) else { continue };
        let id = event["log_id"].as_str().or_else(|| data["log_id"].as_str());
        let id = id.ok_or(Unheard::Form("an event has no `log_id`"))?;
        let timestamp = happened(data["date"].as_str(), incoming.now);
        let changes: Vec<(UserRef, UserStatus)> = vec![(user(incoming, None, &subject)?, status)];
        said.push(Said { message: digest(&[id.as_bytes()]), timestamp, changes });
    }
    Ok(said)
}

fn events(body: &[u8]) -> Result<Vec<Value>, Unheard> {
    let events = match json(body) {
        Ok(Value::Array(events)) => events,
        Ok(one @ Value::Object(_)) => vec![one],
        Ok(_) => return Err(Unheard::Form("the body is neither an array nor an object")),
        Err(_) => {
            let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
            lines.take(MOST_EVENTS + 1).map(json).collect::<Result<_, _>>()?
        }
    };
    if events.len() > MOST_EVENTS || events.iter().any(|event| !event.is_object()) {
        return Err(Unheard::Form("the body is not 1000 objects at most"));
    }
    Ok(events)
}

fn change(data: &Value) -> Option<(String, UserStatus)> {
    let request = &data["details"]["request"];
    let named = request["path"].as_str().and_then(user_of);
    match data["type"].as_str()? {
        "sdu" => {
            let subject = named.or_else(|| data["user_id"].as_str().map(str::to_owned))?;
            Some((subject, UserStatus::Deleted))
        }
        "sapi" if request["method"].as_str()?.eq_ignore_ascii_case("patch") => {
            let blocked = request["body"]["blocked"].as_bool()?;
            Some((named?, if blocked { UserStatus::Suspended } else { UserStatus::Active }))
        }
        _ => None,
    }
}

/// The user that a path of the Management API names, and nothing below it.
fn user_of(path: &str) -> Option<String> {
    let path = path.split('?').next()?;
    let id = path.strip_prefix(USERS)?;
    let id = percent_decode_str(id).decode_utf8().ok()?;
    (!id.is_empty() && !id.contains('/')).then(|| id.into_owned())
}

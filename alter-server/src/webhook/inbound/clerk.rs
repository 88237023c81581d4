//! Clerk: `user.deleted`, and `user.updated` of a user that is banned. Its ids are the subjects of its tokens.
//!
//! A user that is `locked` tried too many wrong passwords, or somebody else did in their name: Clerk unlocks them by itself
//! after an hour, and whoever can lock a user must not be able to end their grants. And since every change of a profile
//! says that a user is not banned, that makes nobody active who was suspended here for another reason: an operator does.

use super::{Incoming, Unheard, json, user};
use crate::domain::{UserRef, UserStatus};

/// What the body says.
pub(super) fn changes(incoming: Incoming<'_>) -> Result<Vec<(UserRef, UserStatus)>, Unheard> {
    let body = json(incoming.body)?;
    let event = body["type"].as_str().ok_or(Unheard::Form("there is no text `type`"))?;
    let data = &body["data"];
    let status = match event {
        "user.deleted" => UserStatus::Deleted,
        "user.updated" if data["banned"].as_bool() == Some(true) => UserStatus::Suspended,
        _ => return Ok(Vec::new()),
    };
    let id = data["id"].as_str().ok_or(Unheard::Form("there is no text `data.id`"))?;
    Ok(vec![(user(incoming, None, id)?, status)])
}

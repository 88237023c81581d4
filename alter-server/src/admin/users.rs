//! Users: whether they may have grants.

use jiff::{SignedDuration, Timestamp};

use super::{Admin, AdminError, invalid};
use crate::{
    domain::{AppId, GrantId, UserRef, UserStatus},
    store::ChangedUser,
};

/// Grants per unit of work of a purge.
const AT_ONCE: u32 = 500;

impl Admin {
    /// Suspends, deletes or reactivates a user. Suspending and deleting end every grant of the user at once, and the user's
    /// tokens are refused; a deleted user stays deleted. A user that was never seen is remembered with the status.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`] for an id of nobody, [`AdminError::Conflict`] for a user that was deleted.
    pub async fn set_user_status(
        &self,
        app: AppId,
        user: UserRef,
        status: UserStatus,
        reason: Option<String>,
    ) -> Result<ChangedUser, AdminError> {
        if let UserRef::Subject { issuer, subject } = &user
            && (issuer.is_empty() || subject.is_empty() || issuer.len() > 2_048 || subject.len() > 1_024)
        {
            return Err(invalid("a user is named by an issuer and a subject, neither of them empty"));
        }
        let changed = self.store().set_user_status(self.by(), app, user, status, reason).await?;
        self.core.outbox.wake();
        Ok(changed)
    }

    /// Removes revoked grants that ended longer ago than `age`, but for their ids, which go on being answered with 410. A grant
    /// that the provider must still be told of stays. Answers which went.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`] if that is before all time, and those of the store.
    pub async fn purge_grants(&self, app: AppId, age: SignedDuration) -> Result<Vec<GrantId>, AdminError> {
        let now: Timestamp = self.core.clock.now();
        let before = now.checked_sub(age).map_err(|_| invalid("that is too long ago"))?;
        let mut purged = Vec::new();
        loop {
            let some = self.store().purge_grants(self.by(), app, before, AT_ONCE).await?;
            let last = some.len() < AT_ONCE as usize;
            purged.extend(some);
            if last {
                self.core.outbox.wake();
                return Ok(purged);
            }
        }
    }
}

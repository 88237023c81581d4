//! Keeping a lease while something takes its time.

use std::{future::Future, time::Duration};

use tokio::time::sleep;

use super::{Inner, step::RefreshStep};
use crate::{store::refresh::LeaseRef, telemetry};

impl Inner {
    /// Runs `work` while the lease is renewed at a third of its life. `None` when the lease went to somebody else; then the
    /// work is dropped where it stands.
    ///
    /// A store that does not answer takes nothing away: as long as nobody took the lease, the next renewal that gets
    /// through is good, and if somebody did, the fence refuses whatever we write. So only the store's word ends the work.
    pub(super) async fn keep<T>(&self, lease: LeaseRef, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            // An answer that is there is better than the news that the lease is lost: the fence will judge it.
            biased;
            done = work => Some(done),
            () = self.renewals(lease) => {
                telemetry::lease(telemetry::LeaseEvent::Lost);
                tracing::warn!(grant_id = %lease.version.grant_id, "the lease of a refresh was lost: the work is dropped");
                None
            }
        }
    }

    /// Renews until the lease is somebody else's.
    async fn renewals(&self, lease: LeaseRef) {
        let (lasts, mut pause) = (self.parts.lease, self.parts.lease / 3);
        loop {
            sleep(pause).await;
            self.see(RefreshStep::Renewing, lease.version);
            pause = match self.parts.store.renew_refresh(lease, lasts).await {
                Ok(true) => {
                    telemetry::lease(telemetry::LeaseEvent::Renewed);
                    lasts / 3
                }
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(grant_id = %lease.version.grant_id, %error, "the lease of a refresh could not be renewed");
                    (lasts / 12).max(Duration::from_millis(50))
                }
            };
        }
    }
}

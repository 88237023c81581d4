//! Keeping a lease while something takes its time.

use std::{future::Future, pin::pin, time::Duration};

use tokio::time::sleep;

use super::{Inner, step::RefreshStep};
use crate::{domain::GrantStatus, store::refresh::LeaseRef, telemetry};

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

    /// The same for what must not be lost when the grant ends meanwhile: the provider's answer may hold fresh tokens, which are
    /// then revoked like the others. Only when somebody else holds the lease is the work dropped.
    pub(super) async fn see_through<T>(&self, lease: LeaseRef, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let kept = self.keep(lease, work.as_mut()).await;
        if kept.is_none() && self.has_ended(lease).await {
            return Some(work.await);
        }
        kept
    }

    /// Whether the grant is over. In doubt it is: the fence judges what is written then.
    async fn has_ended(&self, lease: LeaseRef) -> bool {
        let grant = self.parts.store.grant(lease.version.app_id, lease.version.grant_id).await;
        !grant.is_ok_and(|grant| grant.facts.status == GrantStatus::Active)
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

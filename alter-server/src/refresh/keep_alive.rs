//! Refresh tokens that die when they are not used are used in time.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::{Refresher, wait::Waited};
use crate::{
    domain::{AppId, CredentialVersion, Provider},
    store::{StoreError, refresh::IdleQuery},
    telemetry,
};

/// Between two looks, in seconds; spread by as much again by chance, so that replicas do not look at the same moment.
const LOOK_EVERY: u64 = 60;
/// Between two refreshes at one OAuth client.
const PACE: Duration = Duration::from_secs(1);
/// Refreshes at one OAuth client per look.
const AT_ONCE: u32 = 100;
/// Longest time one of them is waited for.
const PATIENCE: Duration = Duration::from_secs(150);
/// How long the grants of one OAuth client are looked after at a time: a slow provider holds up nobody else's next look for long.
const TURN: Duration = Duration::from_secs(300);
/// Tenths of its idle life after which a refresh token is used.
const AFTER_TENTHS: u64 = 7;

impl Refresher {
    /// Looks after idle grants until the vault closes.
    pub(crate) fn keep_alive(&self) {
        let (keeper, stop) = (self.clone(), self.0.stop.clone());
        // Not one of the tracked flights: it ends when the vault closes, wherever it is.
        self.0.runtime.spawn(stop.run_until_cancelled_owned(async move {
            loop {
                sleep(Duration::from_secs(LOOK_EVERY + rand_below(LOOK_EVERY))).await;
                if let Err(error) = keeper.look_after_idle().await {
                    tracing::warn!(%error, "idle grants could not be looked after");
                }
            }
        }));
    }

    /// One look: refreshes what is about to die of idleness, and measures the age of what there is.
    pub(crate) async fn look_after_idle(&self) -> Result<(), StoreError> {
        let parts = &self.0.parts;
        let now = parts.clock.now();
        for (provider, obtained_at) in parts.store.oldest_tokens().await? {
            let age = Duration::try_from(now.duration_since(obtained_at)).unwrap_or_default();
            telemetry::oldest_token(&provider, age);
        }
        let mut clients = Vec::new();
        for app in parts.store.list_apps().await? {
            for provider in parts.store.list_providers(app.id).await? {
                let due = self.about_to_die(app.id, &provider).await?;
                if !due.is_empty() {
                    clients.push(self.use_in_turn(provider, due));
                }
            }
        }
        join_all(clients).await;
        Ok(())
    }

    async fn about_to_die(
        &self,
        app_id: AppId,
        provider: &Provider,
    ) -> Result<Vec<CredentialVersion>, StoreError> {
        let idle = provider.refreshing().and_then(|refreshing| refreshing.settings.idle_seconds);
        let Some(idle) = idle else { return Ok(Vec::new()) };
        let old = Duration::from_secs(idle / 10 * AFTER_TENTHS);
        let Ok(before) = self.0.parts.clock.now().checked_sub(old) else { return Ok(Vec::new()) };
        let query = IdleQuery { app_id, provider: provider.id.clone(), before, limit: AT_ONCE };
        self.0.parts.store.idle_grants(query).await
    }

    /// One after the other, and no further once the client as a whole has to wait.
    async fn use_in_turn(&self, provider: Provider, due: Vec<CredentialVersion>) {
        let until = Instant::now() + TURN;
        for version in due {
            if Instant::now() >= until {
                return;
            }
            let waited = self.wait(version, &provider.id, Instant::now() + PATIENCE).await;
            if let Waited::Failed { failure, .. } = waited
                && failure.code.is_shared()
            {
                return;
            }
            sleep(PACE).await;
        }
    }
}

/// 0 to `most` - 1, by chance.
fn rand_below(most: u64) -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().1 % most.max(1)
}

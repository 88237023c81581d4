//! A vault and an outside world for tests, in the test's own process: nothing is mocked, nothing leaves the machine.
//!
//! ```
//! use alter_server::testkit::TestVault;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let kit = TestVault::start().await?;
//! let token = kit.mint("user-1");
//! assert_eq!(kit.ready().users[0].grants.len(), 1);
//! # drop(token);
//! kit.stop().await?;
//! # Ok(()) }
//! ```

use alter_core::{clock::SharedClock, wire::key::ApiKey};
use alter_sandbox::{Sandbox, TokenRequest};

use crate::{
    admin::Admin,
    dev::{Dev, DevError, Ready, ReadyGrant},
    domain::AppId,
    vault::{Vault, VaultConfig},
};

/// A vault with an app, an agent, an identity provider, a provider, two users and a managed secret; see [`Ready`].
#[derive(Debug)]
pub struct TestVault {
    dev: Dev,
}

impl TestVault {
    /// Starts one over a temporary folder that is removed at the end.
    ///
    /// # Errors
    ///
    /// [`DevError`].
    pub async fn start() -> Result<Self, DevError> {
        Ok(Self { dev: Dev::start(None, String::new()).await? })
    }

    /// As [`Self::start`], with a clock of the test's own. Tokens of the sandbox are minted by the machine's clock.
    ///
    /// # Errors
    ///
    /// [`DevError`].
    pub async fn start_at(clock: SharedClock) -> Result<Self, DevError> {
        Self::start_with(|config| config.clock(clock)).await
    }

    /// As [`Self::start`], with settings of the test's own.
    ///
    /// # Errors
    ///
    /// [`DevError`].
    pub async fn start_with(settings: impl FnOnce(VaultConfig) -> VaultConfig) -> Result<Self, DevError> {
        Ok(Self { dev: Dev::start_with(None, String::new(), settings).await? })
    }

    /// The vault.
    #[must_use]
    pub fn vault(&self) -> &Vault {
        &self.dev.vault
    }

    /// Operator operations under the name `test`.
    #[must_use]
    pub fn admin(&self) -> Admin {
        self.dev.vault.admin("test")
    }

    /// The outside world.
    #[must_use]
    pub fn sandbox(&self) -> &Sandbox {
        &self.dev.sandbox
    }

    /// Everything that was set up.
    #[must_use]
    pub fn ready(&self) -> &Ready {
        &self.dev.ready
    }

    /// The app.
    #[must_use]
    pub fn app_id(&self) -> AppId {
        self.dev.ready.app.id
    }

    /// The app's key.
    #[must_use]
    pub fn app_key(&self) -> ApiKey {
        self.dev.ready.app.key.clone()
    }

    /// The agent's key.
    #[must_use]
    pub fn agent_key(&self) -> ApiKey {
        self.dev.ready.agent.key.clone()
    }

    /// A token of anybody, good for an hour.
    #[must_use]
    pub fn mint(&self, sub: &str) -> String {
        self.dev.sandbox.mint(TokenRequest::subject(sub))
    }

    /// The grants of `user-1` or `user-2`; none for others.
    #[must_use]
    pub fn grants(&self, sub: &str) -> &[ReadyGrant] {
        self.dev.ready.users.iter().find(|user| user.sub == sub).map_or(&[], |user| &user.grants)
    }

    /// The sandbox's API, without a slash at the end.
    #[must_use]
    pub fn api_url(&self) -> String {
        self.dev.sandbox.api_url()
    }

    /// Where the vault keeps its data.
    #[must_use]
    pub fn data_dir(&self) -> &std::path::Path {
        self.dev.data_dir()
    }

    /// Closes the vault and stops the sandbox.
    ///
    /// # Errors
    ///
    /// When the vault's last writes failed.
    pub async fn stop(self) -> Result<(), DevError> {
        self.dev.stop().await
    }
}

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
//!
//! # Your own connect flow
//!
//! A [`Browser`] without a window walks the real pages as a person would: it opens the session's link, signs in, consents, goes to the
//! provider and comes back. So a test of your application can press its Connect button and see what becomes of it:
//!
//! ```
//! use alter_server::testkit::TestVault;
//! use alter_core::UserToken;
//! use http::Method;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let kit = TestVault::start().await?;
//! // What your application does when somebody clicks Connect …
//! let ann = kit.app()?.for_user(UserToken::parse(kit.mint("ann"))?);
//! let session = ann.connect_session().provider("sandbox").create().await?;
//! // … what Ann does in her browser …
//! let ended = kit.finish_in_browser(session.url(), "ann", "ann@work").await?;
//! assert_eq!(ended.title, "Connected");
//! // … and what your application can do from then on.
//! let url = format!("{}/me", kit.api_url());
//! let me: serde_json::Value = ann.request(Method::GET, url).provider("sandbox").send().await?.json().await?;
//! assert_eq!(me["account"], "ann@work");
//!
//! // Somebody else who is sent Ann's link connects nothing.
//! let session = ann.connect_session().provider("sandbox").create().await?;
//! let refused = kit.finish_in_browser(session.url(), "mallory", "mallory@work").await.unwrap_err();
//! assert!(refused.to_string().starts_with("This link is for somebody else"));
//!
//! // Where the connection itself is not what is tested:
//! let grant = kit.connect("bob", "bob@work").await?;
//! assert_eq!(grant.account_identifier, Some("bob@work".to_owned()));
//! # kit.stop().await?;
//! # Ok(()) }
//! ```

mod browser;
mod error;
mod page;
mod person;

pub use browser::Browser;
pub use error::BrowseError;
pub use page::Page;
pub use person::{Ended, Person};

use alter_core::{App, UserToken, clock::SharedClock, wire::connect::ConnectedGrant, wire::key::ApiKey};
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

    /// A client for the app, in this process.
    ///
    /// # Errors
    ///
    /// None that a test could cause.
    pub fn app(&self) -> Result<App, alter_core::Error> {
        self.dev.vault.app_client(&self.dev.ready.app.key).build()
    }

    /// A browser of nobody's yet, with the vault in this process and the sandbox on its socket.
    #[must_use]
    pub fn browser(&self, person: Person) -> Browser {
        Browser::new(&self.dev.sandbox, person).vault(&self.dev.vault)
    }

    /// Connects the sandbox's `account` for the user `sub`, as a person would: a session, the pages, the provider's own. The
    /// same account again updates its grant. What the sandbox calls the account's `sub` is
    /// [`account_id`](alter_sandbox::Provider::account_id) of it, as for everybody who types a name on its pages.
    ///
    /// # Errors
    ///
    /// [`BrowseError`].
    pub async fn connect(&self, sub: &str, account: &str) -> Result<ConnectedGrant, BrowseError> {
        let user = self.app()?.for_user(UserToken::parse(self.mint(sub))?);
        let session = user.connect_session().provider(self.dev.ready.provider.id.as_str()).create().await?;
        self.finish_in_browser(session.url(), sub, account).await?;
        Ok(session.wait().await?.grant().clone())
    }

    /// Does in a fresh browser what the page behind `connect_url` asks for, as the user `sub` whose account at the provider is
    /// `account`. For a browser that says no, chooses, or has been somewhere before, see [`Browser::finish`].
    ///
    /// # Errors
    ///
    /// [`BrowseError`].
    pub async fn finish_in_browser(
        &self,
        connect_url: &str,
        sub: &str,
        account: &str,
    ) -> Result<Ended, BrowseError> {
        self.browser(Person::new(sub).account(account)).finish(connect_url).await
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

//! One of the two OAuth providers, as whoever tests sees it.

use std::{fmt, sync::Arc};

use crate::{AccountTokens, Client, Credential, OauthEndpoints, oauth, site::Site, state::World};

/// One of the sandbox's two OAuth providers. It goes on knowing what happened after the sandbox has stopped.
#[derive(Clone)]
pub struct Provider {
    world: Arc<World>,
    site: Site,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl Provider {
    pub(crate) fn new(world: Arc<World>, site: Site) -> Self {
        Self { world, site }
    }

    /// `sandbox` or `sandbox-two`.
    #[must_use]
    pub fn id(&self) -> &'static str {
        self.site.id()
    }

    /// What its pages call it: `Sandbox` or `Sandbox Two`.
    #[must_use]
    pub fn title(&self) -> &'static str {
        self.site.title()
    }

    /// Its endpoints.
    #[must_use]
    pub fn endpoints(&self) -> OauthEndpoints {
        OauthEndpoints::at(&self.world.base, self.site)
    }

    /// The pre-registered confidential client.
    #[must_use]
    pub fn client(&self) -> Client {
        self.world.clients.of(self.site).clone()
    }

    /// The `sub` that user info reports of whoever signed in as `account` on the pages. It never changes and does
    /// not contain the name; each provider has its own.
    #[must_use]
    pub fn account_id(&self, account: &str) -> String {
        self.site.account_id(account)
    }

    /// A user connects an account without a browser, as [`Sandbox::connect`](crate::Sandbox::connect) does.
    #[must_use]
    pub fn connect(&self, sub: &str, account: &str) -> Credential {
        oauth::connect(&self.world, self.site, sub, account)
    }

    /// A user withdraws their consent: every token of this account is dead from now on. Answers how many grants
    /// that were.
    #[expect(clippy::must_use_candidate, reason = "it is called for what it changes")]
    pub fn disconnect(&self, sub: &str, account: &str) -> usize {
        self.world.lock().ledger.disconnect(self.site, sub, account)
    }

    /// What is left of the tokens of one account; `sub` is [`Provider::account_id`] for one that was connected on
    /// the pages.
    ///
    /// ```
    /// # use alter_sandbox::Sandbox;
    /// # async fn demo() -> Result<(), Box<dyn std::error::Error>> {
    /// let sandbox = Sandbox::builder().start().await?;
    /// let provider = sandbox.provider();
    /// let credential = provider.connect("user-1", "work");
    /// assert_eq!(provider.tokens("user-1", "work").live_refresh_tokens, 1);
    /// // … your program revokes what it holds …
    /// # provider.disconnect("user-1", "work");
    /// assert!(provider.tokens("user-1", "work").are_dead());
    /// # drop(credential);
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(demo()).unwrap();
    /// ```
    #[must_use]
    pub fn tokens(&self, sub: &str, account: &str) -> AccountTokens {
        self.world.lock().ledger.tokens(self.site, sub, account, self.world.clock.now_ms())
    }
}

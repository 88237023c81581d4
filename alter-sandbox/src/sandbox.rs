//! Starting, steering and stopping a sandbox.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{Extension, Router, middleware::map_response_with_state, routing::get};

use crate::{
    AccountCounts, Call, Client, Counts, Credential, Faults, OauthEndpoints, Provider, SandboxError,
    TokenAlgorithm, TokenRequest, api, control, date, idp,
    keys::SIGNING,
    net::{self, Server},
    oauth::{self, Clients},
    site::Site,
    state::World,
    visit,
};

/// What a sandbox is to be before it starts. Made by [`Sandbox::builder`].
#[derive(Debug)]
#[must_use = "nothing listens until `start` is awaited"]
pub struct SandboxBuilder {
    listen: SocketAddr,
    client: Option<Client>,
    sign_in_client: Option<Client>,
    algorithms: Vec<TokenAlgorithm>,
    faults: Faults,
}

impl SandboxBuilder {
    /// The address to listen on; loopback only. By default any free port of 127.0.0.1.
    pub fn listen(mut self, addr: SocketAddr) -> Self {
        self.listen = addr;
        self
    }

    /// The pre-registered confidential OAuth client. By default `sandbox-client` with a random secret.
    pub fn client(mut self, client_id: impl Into<String>, client_secret: impl Into<String>) -> Self {
        self.client = Some(Client::new(Site::First, client_id.into(), client_secret.into()));
        self
    }

    /// The pre-registered confidential client of the identity provider. By default `sandbox-sign-in` with a random
    /// secret.
    pub fn sign_in_client(mut self, client_id: impl Into<String>, client_secret: impl Into<String>) -> Self {
        self.sign_in_client = Some(Client::new(Site::Idp, client_id.into(), client_secret.into()));
        self
    }

    /// The algorithms whose keys the identity provider publishes, of ES256, `EdDSA` and RS256; by default all
    /// three. A token minted with another one is signed with a key that nobody can look up. Leaving RS256 out
    /// saves the making of an RSA key, a tenth of a second of processor time at the first read of the key set.
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = TokenAlgorithm>) -> Self {
        let wanted: Vec<_> = algorithms.into_iter().collect();
        self.algorithms = SIGNING.into_iter().filter(|alg| wanted.contains(alg)).collect();
        self
    }

    /// The behaviour to start with. By default a provider that behaves.
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// Binds the address and serves until [`Sandbox::stop`] or drop.
    ///
    /// # Errors
    ///
    /// [`SandboxError::NotLoopback`] if other machines could reach the address, [`SandboxError::Bind`] if the
    /// system refuses it.
    pub async fn start(self) -> Result<Sandbox, SandboxError> {
        let addr = self.listen;
        if !addr.ip().is_loopback() {
            return Err(SandboxError::NotLoopback { addr });
        }
        let (listener, local) =
            net::bind(addr).await.map_err(|source| SandboxError::Bind { addr, source })?;
        let clients = Clients {
            sign_in: self.sign_in_client.unwrap_or_else(|| Client::generate(Site::Idp)),
            first: self.client.unwrap_or_else(|| Client::generate(Site::First)),
            second: Client::generate(Site::Second),
        };
        let world = Arc::new(World::new(format!("http://{local}"), clients, self.algorithms, self.faults));
        let mut router = Router::new();
        for site in Site::ALL {
            let routes = if site == Site::Idp { idp::routes() } else { oauth::routes() };
            let opener = map_response_with_state((Arc::clone(&world), site), visit::opener);
            router = router.nest(site.prefix(), routes.layer(opener).layer(Extension(site)));
            // Where RFC 8414 §3.1 looks for it.
            let path = format!("/.well-known/oauth-authorization-server{}", site.prefix());
            router = router.route(&path, get(oauth::metadata).layer(Extension(site)));
        }
        let router = router
            .nest(api::PREFIX, api::routes(&world))
            .nest("/control", control::routes())
            .with_state(Arc::clone(&world))
            .layer(map_response_with_state(Arc::clone(&world), date::stamp));
        let server = Server::start(listener, local, router);
        tracing::debug!(addr = %server.addr, "sandbox listens");
        Ok(Sandbox { world, server })
    }
}

/// A running identity provider, OAuth provider and API. Dropping it closes every connection at once.
pub struct Sandbox {
    world: Arc<World>,
    server: Server,
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").field("addr", &self.server.addr).finish_non_exhaustive()
    }
}

impl Sandbox {
    /// A sandbox to be started.
    pub fn builder() -> SandboxBuilder {
        SandboxBuilder {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            client: None,
            sign_in_client: None,
            algorithms: SIGNING.to_vec(),
            faults: Faults::default(),
        }
    }

    /// The address it listens on.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.server.addr
    }

    /// The identity provider's issuer: the `iss` of its tokens and the address of its discovery document
    /// without `/.well-known/openid-configuration`.
    #[must_use]
    pub fn issuer(&self) -> String {
        self.world.issuer()
    }

    /// `GET` it with `?sub=` for a token: `{"token"}`. It also takes `ttl` and `nbf` (seconds from now, may be
    /// negative), `aud`, `iss`, `alg` (ES256, RS256, `EdDSA`, none, HS256), `kid`, `email`, `name`, `groups` and
    /// `without` (comma separated), `forged=true`; see [`TokenRequest`].
    #[must_use]
    pub fn mint_url(&self) -> String {
        format!("{}/idp/mint", self.world.base)
    }

    /// The provider's API, without a slash at the end: `/me`, `/echo`, `/stream`, `/status/{code}`, `/cookie`.
    #[must_use]
    pub fn api_url(&self) -> String {
        format!("{}{}", self.world.base, api::PREFIX)
    }

    /// `GET` it for [`Counts`] and the current [`Faults`], `POST` a JSON object with any members of [`Faults`]
    /// to change them. Below it: `GET /calls` lists what the API saw, as [`Call`]s;
    /// `GET /account?sub=&account=` answers [`AccountCounts`] and `faults`, the account's own or
    /// null; `POST /account` takes `{"sub", "account", "faults"}`; `POST /connect` and `POST /disconnect` take
    /// `{"sub", "account"}` and, for the other provider, `"provider": "sandbox-two"`; `POST /advance` takes
    /// `{"seconds"}`, like the methods of these names. `GET /tokens?account=` with `sub` and `provider` or
    /// without answers `sub`, `dead` and [`AccountTokens`](crate::AccountTokens).
    #[must_use]
    pub fn control_url(&self) -> String {
        format!("{}/control", self.world.base)
    }

    /// The endpoints of the OAuth provider `sandbox`.
    #[must_use]
    pub fn oauth_endpoints(&self) -> OauthEndpoints {
        OauthEndpoints::at(&self.world.base, Site::First)
    }

    /// The pre-registered confidential client of the OAuth provider `sandbox`.
    #[must_use]
    pub fn client(&self) -> Client {
        self.world.clients.first.clone()
    }

    /// The pre-registered confidential client of the identity provider, for signing people in.
    #[must_use]
    pub fn sign_in_client(&self) -> Client {
        self.world.clients.sign_in.clone()
    }

    /// The identity provider's endpoints for signing people in.
    #[must_use]
    pub fn sign_in_endpoints(&self) -> OauthEndpoints {
        OauthEndpoints::at(&self.world.base, Site::Idp)
    }

    /// The OAuth provider `sandbox`.
    #[must_use]
    pub fn provider(&self) -> Provider {
        Provider::new(Arc::clone(&self.world), Site::First)
    }

    /// The OAuth provider `sandbox-two`: its own issuer, client, pages, cookie and accounts, at the same address. The API
    /// takes the access tokens of both.
    #[must_use]
    pub fn second_provider(&self) -> Provider {
        Provider::new(Arc::clone(&self.world), Site::Second)
    }

    /// Mints a token, honest or hostile.
    ///
    /// The first RS256 token may block for the making of an RSA key, a fraction of a second.
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a request is made for one token and reads best in place"
    )]
    pub fn mint(&self, request: TokenRequest) -> String {
        let keys = self.world.lock().keys.current();
        request.sign(&self.issuer(), self.world.clock.now(), &keys)
    }

    /// Signs with new keys from now on and answers the new ES256 key's id. The old keys stay published until
    /// [`Sandbox::retire_keys`], four generations at most.
    #[expect(clippy::must_use_candidate, reason = "it is called for what it changes")]
    pub fn rotate_keys(&self) -> String {
        idp::rotate_keys(&self.world)
    }

    /// Withdraws every key but the current ones: tokens signed before the last rotation must be refused now.
    pub fn retire_keys(&self) {
        self.world.lock().keys.retire();
    }

    /// A user connects an account at `sandbox` without a browser: the credential that the code flow would have
    /// issued, with the scope `read write`.
    #[must_use]
    pub fn connect(&self, sub: &str, account: &str) -> Credential {
        self.provider().connect(sub, account)
    }

    /// A user withdraws their consent at `sandbox`: every token of this account is dead from now on.
    /// Answers how many grants that were.
    #[expect(clippy::must_use_candidate, reason = "it is called for what it changes")]
    pub fn disconnect(&self, sub: &str, account: &str) -> usize {
        self.provider().disconnect(sub, account)
    }

    /// Registers a key that the API accepts as `Authorization: Bearer`, in `X-Api-Key`, as query `api_key`, and
    /// in Basic authentication as the password, as the user name, or as the whole `user:password`. Its `sub` is
    /// `name`, its account null.
    pub fn register_api_key(&self, name: &str, secret: &str) {
        api::register(&self.world, name, secret);
    }

    /// Replaces the faults.
    pub fn set_faults(&self, faults: Faults) {
        self.world.lock().faults = faults;
    }

    /// Gives one account faults of its own at the token endpoint, instead of everybody's and not on top of
    /// them, so that a slow provider and a hostile one can be one sandbox. `None` ends that.
    ///
    /// They are in force for calls that present a refresh token of this account, and for
    /// [`Sandbox::connect`]; their `date_skew`, `api_status` and `jwks_*` mean nothing.
    pub fn set_account_faults(&self, sub: &str, account: &str, faults: impl Into<Option<Faults>>) {
        let owner = (sub.to_owned(), account.to_owned());
        self.world.lock().account_faults.insert(owner, faults.into());
    }

    /// The faults in force.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.world.lock().faults.clone()
    }

    /// What has happened since the start.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.world.lock().tally.counts()
    }

    /// What became of the refresh tokens of one account, so that many tests can share one sandbox. All zero for
    /// an account whose tokens were never presented.
    ///
    /// ```
    /// # use alter_sandbox::Sandbox;
    /// # async fn demo() -> Result<(), Box<dyn std::error::Error>> {
    /// let sandbox = Sandbox::builder().start().await?;
    /// let credential = sandbox.connect("user-1", "work");
    /// // … a thousand callers at four replicas use it …
    /// let counts = sandbox.account_counts("user-1", "work");
    /// assert_eq!((counts.refreshes, counts.refused_refreshes), (0, 0));
    /// # drop(credential);
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(demo()).unwrap();
    /// ```
    #[must_use]
    pub fn account_counts(&self, sub: &str, account: &str) -> AccountCounts {
        self.world.lock().tally.account(&(sub.to_owned(), account.to_owned()))
    }

    /// The calls that the API saw, oldest first; the newest 100,000 are kept.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.world.lock().calls.iter().cloned().collect()
    }

    /// Moves this sandbox's clock ahead: what it has issued ages by as much, what it mints is from the future.
    pub fn advance(&self, by: Duration) {
        self.world.clock.advance(by);
    }

    /// Accepts nothing more, waits up to five seconds for requests in flight, then closes what is left.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}

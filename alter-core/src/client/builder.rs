//! Settings of a client.

use std::{env, fmt, future::Future, marker::PhantomData, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use secrecy::SecretString;
use tokio_util::task::TaskTracker;
use tower_service::Service;
use url::Url;

use super::{
    Agent, App, Client, Role, Shared,
    body::{Body, BoxError},
    identity::Getter,
    metadata::caller_header,
    reports::Reports,
    transport::{ProviderService, VaultService, boxed},
};
use crate::{
    UserToken,
    clock::{SharedClock, SystemClock},
    error::{Error, InvalidInput},
    scope::ScopeKey,
    wire::key::{ApiKey, KeyKind},
};

/// Where the vault's URL comes from when the builder is given none.
const URL_VARIABLE: &str = "ALTER_BASE_URL";
/// The hosted vault.
const HOSTED: &str = "https://backend.alterauth.com";

/// Settings of an [`App`].
pub type AppBuilder = Builder<App>;
/// Settings of an [`Agent`].
pub type AgentBuilder = Builder<Agent>;

/// What kind of caller stands in the audit rows (spec/01 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallerType {
    /// A program that does as it is told.
    Service,
    /// A program that decides.
    Agent,
}

impl CallerType {
    pub(crate) fn header(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Service => "service",
            Self::Agent => "agent",
        })
    }
}

#[cfg(feature = "reqwest")]
type NetworkOptions = Box<dyn FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder + Send>;

/// Settings of a client, made by [`App::builder`] and [`Agent::builder`]. Everything is checked by `build()`.
#[must_use = "a builder does nothing until build()"]
pub struct Builder<T> {
    key: SecretString,
    backend_url: Option<String>,
    vault: Option<VaultService>,
    provider: Option<ProviderService>,
    #[cfg(feature = "reqwest")]
    network: Option<NetworkOptions>,
    timeout: Duration,
    caller: Option<String>,
    caller_type: Option<CallerType>,
    getter: Option<Getter>,
    require_user: bool,
    clock: SharedClock,
    report_capacity: usize,
    role: PhantomData<fn() -> T>,
}

impl<T> Builder<T> {
    pub(crate) fn new(key: SecretString) -> Self {
        Self {
            key,
            backend_url: None,
            vault: None,
            provider: None,
            #[cfg(feature = "reqwest")]
            network: None,
            timeout: Duration::from_secs(30),
            caller: None,
            caller_type: None,
            getter: None,
            require_user: false,
            clock: SystemClock::shared(),
            report_capacity: 1_024,
            role: PhantomData,
        }
    }

    /// The vault's URL. Default: the environment variable `ALTER_BASE_URL`, else the hosted vault.
    ///
    /// https, or http on `localhost`, `127.0.0.1` and `::1`; no user name, query or fragment. A path before
    /// `/sdk/…` is kept, for a vault that is mounted below one (spec/01 §1.2).
    pub fn backend_url(mut self, url: impl Into<String>) -> Self {
        self.backend_url = Some(url.into());
        self
    }

    /// The vault as a service: its own router in the same process, or a transport of yours. Without
    /// [`backend_url`](Self::backend_url) its requests have a path and no host.
    ///
    /// ```no_run
    /// use alter_core::App;
    /// use axum::{Router, body::Body};
    /// use tower::ServiceExt;
    ///
    /// # fn vault_router() -> Router { Router::new() }
    /// let router = vault_router().map_request(|request: http::Request<bytes::Bytes>| request.map(Body::from));
    /// let app = App::builder("alter_rk_…").backend(router).build()?;
    /// # Ok::<(), alter_core::Error>(())
    /// ```
    pub fn backend<S, B>(mut self, service: S) -> Self
    where
        S: Service<Request<Bytes>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.vault = Some(boxed(service));
        self
    }

    /// The way to providers, in the place of the network. It must not follow redirects: they carry the credential
    /// to a host that nobody approved.
    pub fn provider_service<S, B>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.provider = Some(boxed(service));
        self
    }

    /// Options of the network client: proxies, certificates, pools. Redirects and cookies stay off whatever they
    /// say.
    #[cfg(feature = "reqwest")]
    pub fn reqwest(
        mut self,
        options: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder + Send + 'static,
    ) -> Self {
        self.network = Some(Box::new(options));
        self
    }

    /// Longest wait for the vault's whole answer, for the head of the provider's answer, and between two pieces of
    /// its body. Default: 30 seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Who calls, for the audit rows: 1 to 255 printable ASCII characters (spec/01 §3.1).
    pub fn caller(mut self, caller: impl Into<String>) -> Self {
        self.caller = Some(caller.into());
        self
    }

    /// What kind of caller that is. Default: [`CallerType::Service`] for an [`App`], [`CallerType::Agent`] for an
    /// [`Agent`].
    pub fn caller_type(mut self, caller_type: CallerType) -> Self {
        self.caller_type = Some(caller_type);
        self
    }

    /// Where the user's token comes from when neither the call nor the client has one. Asked on every call; when
    /// it fails, the call fails, with a fixed text, so that what it said cannot leak.
    pub fn user_token_getter<F, E>(mut self, getter: F) -> Self
    where
        F: Fn() -> Result<UserToken, E> + Send + Sync + 'static,
    {
        self.getter = Some(Getter::Sync(Arc::new(move || getter().ok())));
        self
    }

    /// The same with a future.
    pub fn user_token_getter_async<F, Fut, E>(mut self, getter: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<UserToken, E>> + Send + 'static,
    {
        let getter = Arc::new(getter);
        self.getter = Some(Getter::Async(Arc::new(move || {
            let getter = Arc::clone(&getter);
            Box::pin(async move { getter().await.ok() })
        })));
        self
    }

    /// No call of any kind without a user: [`as_app`](crate::RequestBuilder::as_app) and calls by grant id are
    /// refused as well when nobody is known.
    pub fn require_user(mut self) -> Self {
        self.require_user = true;
        self
    }

    /// The clock that stamps signatures.
    pub fn clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// How many calls may have a report under way, default 1,024. A call beyond that waits, for no longer than
    /// the timeout: no report is lost, and memory is bounded. A response counts until its body was read or dropped.
    pub fn report_capacity(mut self, calls: usize) -> Self {
        self.report_capacity = calls;
        self
    }

    fn build_as(self, role: Role) -> Result<Client, Error> {
        let key = ApiKey::parse(self.key)
            .map_err(|error| Error::invalid(InvalidInput::Key, error.to_string()).with_source(error))?;
        match (role, key.kind()) {
            (_, KeyKind::Publishable) => {
                return Err(Error::invalid(
                    InvalidInput::Key,
                    "a publishable key is for browsers, not for servers",
                ));
            }
            (Role::App, KeyKind::Agent) => {
                return Err(Error::invalid(
                    InvalidInput::Key,
                    "this is an agent's key (alter_ak_…): use Agent::builder",
                ));
            }
            (Role::Agent, KeyKind::Runtime) => {
                return Err(Error::invalid(
                    InvalidInput::Key,
                    "this is an application's key (alter_rk_…): use App::builder",
                ));
            }
            _ => {}
        }
        let setting = |message| Err(Error::invalid(InvalidInput::Setting, message));
        if self.timeout.is_zero() {
            return setting("the timeout must be longer than nothing");
        }
        if self.report_capacity == 0 || self.report_capacity > Reports::MAX_CAPACITY {
            return setting("the report capacity must be at least 1 and fit the runtime's semaphore");
        }
        let caller = self.caller.as_deref().map(caller_header).transpose()?;
        let vault_prefix = match (self.backend_url, &self.vault) {
            (Some(url), _) => check_backend_url(&url)?,
            (None, Some(_)) => String::new(),
            (None, None) => check_backend_url(&env::var(URL_VARIABLE).unwrap_or_else(|_| HOSTED.to_owned()))?,
        };
        #[cfg(feature = "reqwest")]
        let (vault, provider) = match (self.vault, self.provider) {
            (Some(vault), Some(provider)) => (vault, provider),
            (vault, provider) => {
                let options = self.network.unwrap_or_else(|| Box::new(|options| options));
                let network = super::Network::new(options)?;
                (
                    vault.unwrap_or_else(|| boxed::<Bytes, _, _>(network.clone())),
                    provider.unwrap_or_else(|| boxed::<Body, _, _>(network)),
                )
            }
        };
        #[cfg(not(feature = "reqwest"))]
        let (Some(vault), Some(provider)) = (self.vault, self.provider) else {
            return setting(
                "built without the feature `reqwest`: give both .backend(…) and .provider_service(…)",
            );
        };
        let mut api_key = HeaderValue::from_str(key.expose())
            .map_err(|_| Error::invalid(InvalidInput::Key, "the key cannot be sent in a header"))?;
        api_key.set_sensitive(true);
        let default_type = match role {
            Role::App => CallerType::Service,
            Role::Agent => CallerType::Agent,
        };
        Ok(Client(Arc::new(Shared {
            role,
            api_key,
            signing_key: key.signing_key(),
            vault,
            vault_prefix,
            provider,
            timeout: self.timeout,
            caller,
            caller_type: self.caller_type.unwrap_or(default_type),
            getter: self.getter,
            require_user: self.require_user,
            scope_key: ScopeKey::unique(),
            clock: self.clock,
            reports: Reports::new(self.report_capacity),
            calls: TaskTracker::new(),
            closed: false.into(),
            actor_id: std::sync::OnceLock::new(),
            rate_limit: None.into(),
            told_deprecated: false.into(),
        })))
    }
}

impl Builder<App> {
    /// Checks the settings and makes the client. Nothing is sent.
    ///
    /// # Errors
    ///
    /// [`Kind::InvalidInput`](crate::Kind::InvalidInput) with the setting that is wrong: the key's spelling, a key
    /// of an agent (`alter_ak_…`), the vault's URL, the caller, a zero timeout or capacity.
    pub fn build(self) -> Result<App, Error> {
        self.build_as(Role::App).map(App)
    }
}

impl Builder<Agent> {
    /// Checks the settings and makes the client. Nothing is sent.
    ///
    /// # Errors
    ///
    /// As for an [`App`]; here it is the application's key (`alter_rk_…`) that is refused.
    pub fn build(self) -> Result<Agent, Error> {
        self.build_as(Role::Agent).map(Agent)
    }
}

impl<T> fmt::Debug for Builder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("timeout", &self.timeout)
            .field("caller", &self.caller)
            .finish_non_exhaustive()
    }
}

/// The rules of spec/01 §1.2. Gives scheme, authority and prefix without a slash at the end.
fn check_backend_url(text: &str) -> Result<String, Error> {
    let refuse =
        |message: &str| Error::invalid(InvalidInput::BackendUrl, format!("the vault's URL {message}"));
    if text.contains('\\') || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(refuse("holds a backslash, white space or a control character"));
    }
    let rest = text.split_once("://").map(|(_, rest)| rest).unwrap_or_default();
    if rest.is_empty() || rest.starts_with('/') {
        return Err(refuse("must be absolute: https://host"));
    }
    if rest.split('/').next().is_some_and(|authority| authority.contains('@')) {
        return Err(refuse("holds a user name or password"));
    }
    let url = Url::parse(text).map_err(|error| refuse(&format!("cannot be read: {error}")))?;
    match url.scheme() {
        "https" => {}
        "http" if crate::wire::url::is_loopback(&url) => {}
        _ => return Err(refuse("must be https; plain http is for localhost, 127.0.0.1 and ::1 only")),
    }
    if url.query().is_some_and(|query| !query.is_empty())
        || url.fragment().is_some_and(|part| !part.is_empty())
    {
        return Err(refuse("has a query or a fragment"));
    }
    let authority = &url[..url::Position::BeforePath];
    Ok(format!("{authority}{}", url.path().trim_end_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vaults_url_follows_its_rules() {
        for (given, kept) in [
            ("https://vault.example", "https://vault.example"),
            ("https://vault.example/pre/", "https://vault.example/pre"),
            ("https://vault.example?", "https://vault.example"),
            ("http://localhost:8080//", "http://localhost:8080"),
            ("http://[::1]:1/a/b", "http://[::1]:1/a/b"),
        ] {
            assert_eq!(check_backend_url(given).unwrap(), kept);
        }
        for given in [
            "",
            "vault.example",
            "https:/vault.example",
            "https:///vault.example",
            "http://vault.example",
            "http://127.0.0.2",
            "http://0.0.0.0",
            "ftp://localhost",
            "https://u:p@vault.example",
            "https://vault.example?a=1",
            "https://vault.example#x",
            "https://vault.example:99999",
            "https://vault.example/a b",
            "https://vault.example\\x",
        ] {
            assert!(check_backend_url(given).is_err(), "{given}");
        }
    }
}

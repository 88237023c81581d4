//! A connect session that is being put together.

use std::{fmt, net::IpAddr, time::Duration};

use aws_lc_rs::digest;
use uuid::Uuid;

use super::{ConnectSession, HeadlessConnect};
use crate::{
    UserToken,
    client::{Client, Role, identity::Wanted, metadata::Actor},
    error::{Error, Grant, InvalidInput, Kind},
    wire::{
        code::Code,
        connect::{
            ConnectMetadata, ConnectSessionRequest, ConnectSessionResponse, GrantPolicyInput,
            GrantRestrictions, RequestedGrant, SESSION_PATH,
        },
        secret::SecretText,
    },
};

/// Fewest characters of a cookie that binds a session to a browser: 128 bits in base64url without padding.
const MIN_BINDING: usize = 22;

/// A connect session that is being put together; all bounds of spec/03 §1.1 are checked before anything is sent.
///
/// Whom the grant will belong to is found as for a call (see [`App`](crate::App#on-whose-behalf)): an application
/// that lost its user is refused, and never gets the account for itself. Say [`as_app`](Self::as_app) where the
/// application's own grant is meant.
///
/// ```no_run
/// # async fn f(app: alter_core::App, caller: alter_core::UserToken) -> Result<(), alter_core::Error> {
/// let session = app
///     .for_user(caller)
///     .connect_session()
///     .providers(["google", "slack"])
///     .required_scopes("google", ["https://www.googleapis.com/auth/calendar.readonly"])
///     .allowed_origin("https://shop.example")
///     .create()
///     .await?;
/// // For the browser widget: `open({ token, baseURL })`. Without it, send the browser to `session.url()`.
/// let (token, base_url) = (session.token().expose(), session.base_url());
/// # let _ = (token, base_url);
/// # Ok(()) }
/// ```
#[must_use = "a session does nothing until create() or connect()"]
pub struct ConnectBuilder {
    client: Client,
    wanted: Wanted,
    request: ConnectSessionRequest,
    /// It follows from an error, and what to repair is a guess.
    from_error: bool,
    /// An error named the agent that must get the grant.
    names_agent: bool,
    /// It follows from an error that no connection mends.
    beside_the_point: bool,
    refused: Option<Error>,
}

impl ConnectBuilder {
    pub(in crate::client) fn new(client: Client, bound: Option<UserToken>) -> Self {
        Self {
            client,
            // Without a user the account would become the application's own.
            wanted: Wanted { bound, wide: true, ..Wanted::default() },
            request: ConnectSessionRequest::default(),
            from_error: false,
            names_agent: true,
            beside_the_point: false,
            refused: None,
        }
    }

    /// The session that follows from an error (spec/03 §1.3).
    pub(in crate::client) fn after(client: Client, bound: Option<UserToken>, error: &Error) -> Self {
        let recovery = error.recovery().cloned().unwrap_or_default();
        let is_agent = client.0.role == Role::Agent;
        let mut builder = Self::new(client, bound);
        builder.from_error = true;
        builder.request.allowed_providers = recovery.provider_id.map(|id| vec![id]);
        match error.kind() {
            // A repair keeps the principal, and with it the agent.
            Kind::Grant(Grant::CredentialRevoked) if recovery.grant_id.is_some() => {
                builder.request.repair_grant_id = recovery.grant_id.and_then(|id| id.parse().ok());
            }
            kind => {
                builder.names_agent =
                    is_agent || recovery.agent_id.is_some() || *kind != Kind::Grant(Grant::NotDelegated);
                builder.request.agent = recovery.agent_id;
            }
        }
        builder.beside_the_point = !error.needs_connection();
        builder
    }

    /// One more provider to choose from. With exactly one there is no picker; without any, all of the application's
    /// are offered.
    pub fn provider(self, id: impl Into<String>) -> Self {
        self.providers([id])
    }

    /// More providers to choose from.
    pub fn providers<I>(mut self, ids: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.request.allowed_providers.get_or_insert_default().extend(ids.into_iter().map(Into::into));
        self
    }

    /// Where the browser goes in the end when no window of yours opened the page: absolute, https or loopback http,
    /// of an origin that the operator registered for the application.
    pub fn return_url(mut self, url: impl Into<String>) -> Self {
        self.request.return_url = Some(url.into());
        self
    }

    /// The origin of your page, which gets the result by `postMessage`: `https://shop.example`. The operator must have
    /// registered it for the application.
    pub fn allowed_origin(mut self, origin: impl Into<String>) -> Self {
        self.request.allowed_origin = Some(origin.into());
        self
    }

    /// The person's address as you see it, for the audit row.
    pub fn metadata_ip(mut self, address: IpAddr) -> Self {
        self.request.metadata.get_or_insert_default().ip_address = Some(address.to_string());
        self
    }

    /// The person's browser as it calls itself, for the audit row; cut to 512 characters.
    pub fn metadata_user_agent(mut self, user_agent: impl Into<String>) -> Self {
        let cut = ConnectMetadata { user_agent: Some(user_agent.into()), ip_address: None }.cut();
        self.request.metadata.get_or_insert_default().user_agent = cut.user_agent;
        self
    }

    /// Straight to the provider: no confirmation, no choice of lifetime, no rules. Needs exactly one provider.
    pub fn direct(mut self) -> Self {
        self.request.direct = true;
        self
    }

    /// The whole dance, even where the person is connected already, so that another account can be chosen.
    pub fn switch_account(mut self) -> Self {
        self.request.switch_account = true;
        self
    }

    /// The person is not offered to add rules of their own.
    pub fn without_user_rules(mut self) -> Self {
        self.request.allow_user_policy_rules = false;
        self
    }

    /// Scopes to ask a provider for. They narrow what the operator configured for it, and cannot widen it.
    pub fn required_scopes<I>(mut self, provider: impl Into<String>, scopes: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let required = self.request.required_scopes.get_or_insert_default();
        required.entry(provider.into()).or_default().extend(scopes.into_iter().map(Into::into));
        self
    }

    /// Another grant beside those for the same account, told from them by a label of 1 to 255 characters.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.requested().label = label.into();
        self
    }

    /// The new grant is for these methods only, through the vault's proxy. Needs a [`label`](Self::label).
    pub fn allowed_methods<I>(mut self, methods: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.restrictions().allowed_methods = Some(methods.into_iter().map(Into::into).collect());
        self
    }

    /// The new grant is for these endpoints only, through the vault's proxy. Needs a [`label`](Self::label).
    pub fn allowed_endpoints<I>(mut self, endpoints: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.restrictions().allowed_endpoints = Some(endpoints.into_iter().map(Into::into).collect());
        self
    }

    /// The longest life of the grant that the person can choose, in whole seconds.
    pub fn max_ttl(mut self, ttl: Duration) -> Self {
        self.policy().max_ttl_seconds = Some(ttl.as_secs());
        self
    }

    /// The life of the grant that is chosen for the person at first, in whole seconds.
    pub fn default_ttl(mut self, ttl: Duration) -> Self {
        self.policy().default_ttl_seconds = Some(ttl.as_secs());
        self
    }

    /// The grant that is to work again, under its id: a [`Uuid`], or its text. Needs exactly one provider; excludes
    /// label, agent and [`switch_account`](Self::switch_account).
    pub fn repair<I: TryInto<Uuid>>(mut self, grant_id: I) -> Self {
        match grant_id.try_into() {
            Ok(id) => self.request.repair_grant_id = Some(id),
            Err(_) => self.refuse("the grant to repair is not a UUID"),
        }
        self
    }

    /// The agent that is to act with the grant: its id or its name. Needs a user, who delegates.
    pub fn agent(mut self, agent: impl Into<String>) -> Self {
        self.request.agent = Some(agent.into());
        self.names_agent = true;
        self
    }

    /// Whether the agent may delegate onward: `true` asks the person, `false` says no. Unless told, a stored choice
    /// stays, and a new delegation is the last.
    pub fn delegable(mut self, delegable: bool) -> Self {
        self.request.delegable = Some(delegable);
        self
    }

    /// The delegation reaches these scopes at most: 1 to 100.
    pub fn scope_constraint<I>(mut self, scopes: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.request.scope_constraint = Some(scopes.into_iter().map(Into::into).collect());
        self
    }

    /// Binds the session to the browser that has this cookie, so that a link that is sent to somebody else is of no use
    /// there. `cookie_value` is what you set as the cookie `__Host-alter-binding` on the vault's host (`alter-binding` where
    /// the vault is on loopback http): random, at least 22 characters. Only its SHA-256 is sent. For a session without a
    /// user it is the only thing that says whose browser is meant. An extension of `alter-server`.
    pub fn browser_binding(mut self, cookie_value: &str) -> Self {
        if cookie_value.len() < MIN_BINDING {
            self.refuse("a browser binding needs a random value of at least 22 characters");
        }
        let digest = digest::digest(&digest::SHA256, cookie_value.as_bytes());
        self.request.browser_binding = Some(hex::encode(digest));
        self
    }

    /// Whom the grant will belong to, whatever the client or the scope says.
    pub fn user_token(mut self, token: UserToken) -> Self {
        self.wanted.per_call = Some(token);
        self
    }

    /// The grant will be the application's own, not a user's.
    pub fn as_app(mut self) -> Self {
        self.wanted.as_app = true;
        self
    }

    fn policy(&mut self) -> &mut GrantPolicyInput {
        self.request.grant_policy.get_or_insert_default()
    }

    fn requested(&mut self) -> &mut RequestedGrant {
        self.request.requested_grant.get_or_insert_default()
    }

    fn restrictions(&mut self) -> &mut GrantRestrictions {
        self.requested().restrictions.get_or_insert_default()
    }

    fn refuse(&mut self, message: &str) {
        self.refused.get_or_insert_with(|| Error::invalid(InvalidInput::Session, message));
    }

    /// Makes the session. Give its [`token`](ConnectSession::token) to the browser widget, or its
    /// [`url`](ConnectSession::url) to the browser.
    ///
    /// A session that follows from an error and is to repair a grant that the vault no longer knows is made without the
    /// repair, in a second request.
    ///
    /// # Errors
    ///
    /// * [`InvalidInput::Session`] names the setting that breaks a bound;
    ///   [`Auth::NoIdentity`](crate::error::Auth::NoIdentity). Nothing was sent.
    /// * [`Connect::Configuration`](crate::error::Connect::Configuration) when an operator must act first;
    ///   [`Grant::NotFound`] for a grant that cannot be repaired; whatever else the vault refuses.
    ///
    /// # Cancel safety
    ///
    /// A session that was made and never came back is of no use to anybody, and ends by itself.
    pub async fn create(self) -> Result<ConnectSession, Error> {
        let client = self.client.clone();
        let _under_way = client.enter()?;
        let (mut request, from_error) = Box::pin(self.checked()).await?;
        match client.new_session(&request).await {
            Err(error)
                if from_error
                    && request.repair_grant_id.is_some()
                    && *error.kind() == Kind::Grant(Grant::NotFound) =>
            {
                request.repair_grant_id = None;
                client.new_session(&request).await
            }
            made => made,
        }
    }

    /// The URL of a session for an answer to the caller, if one can be made: a failed call stays the failure that it is.
    /// `None` where no connection would help, and, with a warning in the log, where no session can be made.
    ///
    /// Every link is a session in the vault until it ends: make one where the person will see it, not on every failure.
    ///
    /// ```no_run
    /// # async fn f(alter: alter_core::UserClient, error: alter_core::Error) -> http::Response<bytes::Bytes> {
    /// use alter_core::answer::Answer;
    ///
    /// let link = alter.connect_session_for(&error).return_url("https://shop.example/done").link().await;
    /// Answer::logged(&error).with_link(link.as_ref()).into_response()
    /// # }
    /// ```
    pub async fn link(self) -> Option<SecretText> {
        if self.beside_the_point {
            return None;
        }
        match Box::pin(self.create()).await {
            Ok(session) => Some(session.secret_url().clone()),
            Err(error) => {
                tracing::warn!(%error, code = error.code().map(Code::as_str), "no link to connect an account could be made");
                None
            }
        }
    }

    /// What is sent, and whether it follows from an error.
    async fn checked(self) -> Result<(ConnectSessionRequest, bool), Error> {
        let invalid = |message: &str| Error::invalid(InvalidInput::Session, message);
        if let Some(refused) = self.refused {
            return Err(refused);
        }
        if self.beside_the_point {
            return Err(invalid("the error is not about a missing or broken connection"));
        }
        if self.from_error && self.request.allowed_providers.is_none() {
            return Err(invalid(
                "the error does not say which provider is meant, as for a call by grant id: add .provider(…)",
            ));
        }
        if !self.names_agent {
            return Err(invalid("the error does not say which agent is meant: add .agent(…)"));
        }
        let mut request = self.request;
        let user = self.client.identity(&self.wanted).await?;
        request.user_token = user.map(|token| SecretText::from(token.expose()));
        request.check().map_err(|broken| invalid(&broken.to_string()).with_source(broken))?;
        Ok((request, self.from_error))
    }

    /// Makes the session when it is awaited, opens the browser on this machine, and waits for the person, with a few
    /// lines on the terminal: for programs that have no web pages.
    ///
    /// ```no_run
    /// # async fn f(app: alter_core::App) -> Result<(), alter_core::Error> {
    /// let connected = app.connect_session().provider("google").as_app().connect().await?;
    /// println!("{}", connected.grant().grant_id);
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "terminal")]
    pub fn connect(self) -> HeadlessConnect {
        self.connect_on(super::Terminal::new())
    }

    /// As [`connect`](Self::connect), on a terminal with settings of your own.
    #[cfg(feature = "terminal")]
    pub fn connect_on(self, terminal: super::Terminal) -> HeadlessConnect {
        HeadlessConnect::on(self, terminal)
    }

    /// Makes the session when it is awaited, gives its URL to `on_url`, and waits for the person.
    ///
    /// ```no_run
    /// # async fn f(app: alter_core::App) -> Result<(), alter_core::Error> {
    /// let connected = app
    ///     .connect_session()
    ///     .provider("google")
    ///     .as_app()
    ///     .connect_with(|url| eprintln!("Open this page to connect:\n{url}"))
    ///     .await?;
    /// # let _ = connected;
    /// # Ok(()) }
    /// ```
    pub fn connect_with(self, on_url: impl FnOnce(&str) + Send + 'static) -> HeadlessConnect {
        HeadlessConnect::with(self, on_url)
    }
}

impl Client {
    async fn new_session(&self, request: &ConnectSessionRequest) -> Result<ConnectSession, Error> {
        let shared = &self.0;
        let answer = shared.post(SESSION_PATH, request, &Actor::default(), shared.timeout, true).await?;
        if !answer.status.is_success() {
            return Err(answer.refusal());
        }
        let made = ConnectSessionResponse::parse(&answer.body).map_err(Error::unreadable)?;
        ConnectSession::new(self.clone(), made)
    }
}

impl fmt::Debug for ConnectBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectBuilder").field("request", &self.request).finish_non_exhaustive()
    }
}

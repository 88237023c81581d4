//! A call that is being put together. Which methods it has depends on how far it is.

use std::{collections::BTreeMap, fmt, fmt::Display};

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde::Serialize;
use uuid::Uuid;

use super::{Client, body::Body, identity::Wanted};
use crate::{
    UserToken,
    error::{Error, InvalidInput},
};

/// The call does not say yet which credential to use.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoAddress(());

/// The call uses a credential of a provider that fits the identity.
#[derive(Debug, Clone, Default)]
pub struct ByProvider {
    pub(super) provider: String,
    pub(super) account: Option<String>,
    pub(super) label: Option<String>,
    pub(super) app_user_id: Option<String>,
}

/// The call uses one grant.
#[derive(Debug, Clone, Copy, Default)]
pub struct ByGrant(pub(super) Uuid);

/// A way to say which credential a call uses: [`ByProvider`] or [`ByGrant`].
#[diagnostic::on_unimplemented(
    message = "this call does not say which credential to use",
    label = "call `.provider(\"…\")` or `.grant(id)` before this",
    note = "`.provider(…)` picks the grant that fits the user's identity, `.grant(…)` names one by its id"
)]
pub trait Addressed: sealed::Address + Send + 'static {}

impl Addressed for ByProvider {}
impl Addressed for ByGrant {}

pub(super) mod sealed {
    use super::{ByGrant, ByProvider, Uuid};

    pub trait Address {
        fn by_provider(&self) -> Option<&ByProvider> {
            None
        }
        fn by_grant(&self) -> Option<Uuid> {
            None
        }
    }

    impl Address for ByProvider {
        fn by_provider(&self) -> Option<&ByProvider> {
            Some(self)
        }
    }

    impl Address for ByGrant {
        fn by_grant(&self) -> Option<Uuid> {
            Some(self.0)
        }
    }
}

/// A call of a third-party API, made by [`App::request`](crate::App::request) and its siblings.
///
/// It can be sent once it says which credential to use, by exactly one of [`provider`](Self::provider) and
/// [`grant`](Self::grant):
///
/// ```compile_fail
/// # async fn f(app: alter_core::App) -> Result<(), alter_core::Error> {
/// app.request(http::Method::GET, "https://api.example.com/me").send().await?;
/// # Ok(()) }
/// ```
///
/// What a setter cannot accept is kept and reported by `send()`, before anything is sent.
#[must_use = "a request does nothing until send()"]
pub struct RequestBuilder<A = NoAddress> {
    pub(super) call: Box<Call>,
    pub(super) address: A,
}

/// All of a call but its address.
pub(super) struct Call {
    pub(super) client: Client,
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) path_params: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Body>,
    pub(super) is_json: bool,
    pub(super) reason: Option<String>,
    pub(super) context: BTreeMap<String, String>,
    pub(super) caller: Option<String>,
    pub(super) wanted: Wanted,
    pub(super) error_for_status: bool,
    /// The first thing that a setter could not accept.
    pub(super) refused: Option<Error>,
}

impl RequestBuilder<NoAddress> {
    pub(super) fn new(client: Client, bound: Option<UserToken>, method: Method, url: String) -> Self {
        let call = Call {
            client,
            method,
            url,
            query: Vec::new(),
            path_params: Vec::new(),
            headers: HeaderMap::new(),
            body: None,
            is_json: false,
            reason: None,
            context: BTreeMap::new(),
            caller: None,
            wanted: Wanted { bound, ..Wanted::default() },
            error_for_status: true,
            refused: None,
        };
        Self { call: Box::new(call), address: NoAddress(()) }
    }

    /// Use the user's grant at that provider: an OAuth provider's id or a managed secret's slug.
    ///
    /// On an [`App`](crate::App) the call needs a user, unless it says [`as_app`](RequestBuilder::as_app).
    pub fn provider(mut self, provider: impl Into<String>) -> RequestBuilder<ByProvider> {
        let provider = self.call.text("the provider", provider.into());
        self.call.wanted.wide = true;
        RequestBuilder { call: self.call, address: ByProvider { provider, ..ByProvider::default() } }
    }

    /// Use the grant with that id: a [`Uuid`], or its text. The user's token goes along when there is one, and then
    /// the vault checks that the grant is that user's.
    pub fn grant<I: TryInto<Uuid>>(mut self, id: I) -> RequestBuilder<ByGrant> {
        let id = id.try_into().unwrap_or_else(|_| {
            self.call.refuse(Error::invalid(InvalidInput::Address, "the grant id is not a UUID"));
            Uuid::nil()
        });
        RequestBuilder { call: self.call, address: ByGrant(id) }
    }
}

impl RequestBuilder<ByProvider> {
    /// Which of the user's accounts at the provider, when there are several.
    pub fn account(mut self, account: impl Into<String>) -> Self {
        self.address.account = Some(self.call.text("the account", account.into()));
        self
    }

    /// Which of several grants with labels.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.address.label = Some(self.call.text("the label", label.into()));
        self
    }

    /// The vault's id of a user, to choose among several. It proves nothing: beside a user token it narrows, without
    /// one the call must say [`as_app`](Self::as_app).
    pub fn app_user_id(mut self, id: impl Into<String>) -> Self {
        self.address.app_user_id = Some(self.call.text("the app user id", id.into()));
        self
    }

    /// The application itself is meant, not a user: no user token is sent, even if the task has one.
    pub fn as_app(mut self) -> Self {
        self.call.wanted.as_app = true;
        self
    }
}

impl<A> RequestBuilder<A> {
    /// Adds a header. What the vault injects takes its place, whatever its spelling. `Host`, `Content-Length` and
    /// the headers that belong to one connection (RFC 9110 §7.6.1) are refused.
    pub fn header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName>,
        V: TryInto<HeaderValue>,
    {
        let refuse = |message| Error::invalid(InvalidInput::Header, message);
        match (name.try_into(), value.try_into()) {
            (Ok(name), Ok(_)) if is_reserved(&name) => {
                self.call
                    .refuse(refuse(format!("the header {name} is set by the connection, not by the call")));
            }
            (Ok(name), Ok(value)) => {
                self.call.headers.append(name, value);
            }
            (Err(_), _) => self.call.refuse(refuse("a header's name is not of RFC 9110's form".to_owned())),
            (Ok(name), Err(_)) => {
                self.call.refuse(refuse(format!("the value of the header {name} cannot be sent")));
            }
        }
        self
    }

    /// Adds a query parameter to those of the URL.
    pub fn query(mut self, name: impl Into<String>, value: impl Display) -> Self {
        self.call.query.push((name.into(), value.to_string()));
        self
    }

    /// The value of a `{name}` in the URL's path or query. It is percent-encoded and stays one segment.
    pub fn path_param(mut self, name: impl Into<String>, value: impl Display) -> Self {
        self.call.path_params.push((name.into(), value.to_string()));
        self
    }

    /// A JSON body, with `Content-Type: application/json` unless the call has another.
    pub fn json<T: Serialize + ?Sized>(mut self, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(bytes) => self.call.set_body(bytes.into(), true),
            Err(_) => {
                self.call.refuse(Error::invalid(InvalidInput::Body, "the body cannot be written as JSON"));
            }
        }
        self
    }

    /// A body: bytes, text, or a [`Body`] made of a stream. No content type is added.
    pub fn body(mut self, body: impl Into<Body>) -> Self {
        self.call.set_body(body.into(), false);
        self
    }

    /// Why the call is made, for the audit row.
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.call.reason = Some(reason.into());
        self
    }

    /// Adds to the audit context: at most 20 keys of 64 characters, values of 512 (spec/01 §3.3).
    pub fn context(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.call.context.insert(key.into(), value.into());
        self
    }

    /// Who calls, in the place of the client's caller, for this call and its report.
    pub fn caller(mut self, caller: impl Into<String>) -> Self {
        self.call.caller = Some(caller.into());
        self
    }

    /// On whose behalf the call is made, whatever the client or the scope says.
    pub fn user_token(mut self, token: UserToken) -> Self {
        self.call.wanted.per_call = Some(token);
        self
    }

    /// Whether a provider's 4xx and 5xx are errors; true unless told otherwise.
    pub fn error_for_status(mut self, error: bool) -> Self {
        self.call.error_for_status = error;
        self
    }
}

impl Call {
    fn refuse(&mut self, error: Error) {
        self.refused.get_or_insert(error);
    }

    fn text(&mut self, what: &str, text: String) -> String {
        if text.is_empty() {
            self.refuse(Error::invalid(InvalidInput::Address, format!("{what} is empty")));
        }
        text
    }

    fn set_body(&mut self, body: Body, is_json: bool) {
        if self.body.is_some() {
            self.refuse(Error::invalid(InvalidInput::Body, "the call has two bodies"));
        }
        self.body = Some(body);
        self.is_json = is_json;
    }
}

fn is_reserved(name: &HeaderName) -> bool {
    const CONNECTION: [&str; 2] = ["keep-alive", "proxy-connection"];
    [
        header::HOST,
        header::CONTENT_LENGTH,
        header::CONNECTION,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::EXPECT,
    ]
    .contains(name)
        || CONNECTION.contains(&name.as_str())
}

impl<A> fmt::Debug for RequestBuilder<A> {
    // Without URL, headers, context and body: they are the caller's and may hold anything.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBuilder").field("method", &self.call.method).finish_non_exhaustive()
    }
}

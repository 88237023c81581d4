//! Call third-party APIs on behalf of whoever is calling you, without ever storing, refreshing or seeing a credential.
//!
//! A vault keeps the credentials: [the hosted one](https://alterauth.com), or `alter-server` beside or inside your
//! own process. This crate asks it for the right one, puts it into the call, makes the call, and tells the vault what
//! came of it.
//!
//! ```no_run
//! use alter_core::{App, Error, UserToken};
//! use http::Method;
//!
//! async fn events(alter: &App, caller: UserToken) -> Result<serde_json::Value, Error> {
//!     let events = alter
//!         .request(Method::GET, "https://www.googleapis.com/calendar/v3/calendars/{id}/events")
//!         .path_param("id", "primary")
//!         .provider("google")
//!         .user_token(caller)
//!         .send()
//!         .await?;
//!     events.json().await
//! }
//! # fn main() -> Result<(), Error> {
//! let alter = App::builder("alter_rk_…").caller("calendar-service").build()?;
//! # Ok(()) }
//! ```
//!
//! With `alter-tower`, `alter-axum` or `alter-actix` the caller's token is taken from the request by itself.
//!
//! # Where to look
//!
//! | For | Look at |
//! |---|---|
//! | a client for an application, an agent, one user | [`App`], [`Agent`], [`UserClient`] |
//! | its settings, such as where the vault is | [`Builder`] |
//! | a call, and its answer | [`RequestBuilder`], [`AlterResponse`] |
//! | connecting an account, and again when it broke | [`App::connect_session`], [`App::connect_session_for`] |
//! | doing so without web pages, signing in | [`ConnectBuilder::connect_with`], [`App::authenticate_with`] |
//! | the caller's identity, followed through tasks | [`scope`] |
//! | what can go wrong | [`Error`], [`Kind`], [`error`] |
//! | what an error becomes in a service of yours | [`answer`] |
//! | verifying users' tokens at the edge | `jwt` (feature `jwt`) |
//! | the protocol, for those who build the other side | [`wire`] |
//!
//! # What it keeps to
//!
//! * Nothing is sent before the whole call was checked: URL, headers, body, context, identity.
//! * The credential goes to the URL's host and nowhere else: https only, no redirects, no cookies, and the caller's
//!   headers never stand in the way of the injected ones.
//! * A lost identity never widens access: no user where one is needed is an error, not the application's own reach.
//! * Every provider call is reported, cancelled ones too. [`App::close`] waits for what is under way.
//! * No secret is in any `Debug`, error or log line.
//!
//! # Features
//!
//! | Feature | Default | What it adds |
//! |---|---|---|
//! | `reqwest` | yes | the network transport; without it the builder wants services of yours |
//! | `terminal` | no | `connect()` and `authenticate()` for people at a terminal: browser, URL, QR code |
//! | `jwt` | no | the verifier of users' JWTs |
//! | `otel` | no | `traceparent` from the current OpenTelemetry span on calls to the vault |
#![forbid(unsafe_code)]

pub mod answer;
pub mod bearer;
mod client;
pub mod clock;
pub mod edge;
pub mod error;
#[cfg(feature = "jwt")]
pub mod jwt;
pub mod scope;
mod user_token;
pub mod wire;

#[cfg(feature = "reqwest")]
pub use client::Network;
#[cfg(feature = "terminal")]
pub use client::Terminal;
pub use client::{
    Addressed, Agent, AgentBuilder, AlterResponse, App, AppBuilder, Body, BoxError, Builder, ByGrant,
    ByProvider, CallerType, ConnectBuilder, ConnectEvent, ConnectHandle, ConnectProgress, ConnectSession,
    ConnectWait, Connected, DEFAULT_BODY_LIMIT, Grants, HeadlessConnect, HeadlessSignIn, ListGrants,
    NoAddress, Pages, RequestBuilder, ResponseBody, RevokeGrant, SignInSession, SignInWait, SignedIn,
    UserClient,
};
pub use error::{Error, Kind, Recovery, Retry};
pub use user_token::{MAX_TOKEN_LEN, TokenFormatError, UserToken};

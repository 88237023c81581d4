//! The outside world on loopback: a real OIDC identity provider, a real OAuth 2.0 provider with a
//! small API behind it, and faults on demand.
//!
//! A vault for other people's credentials has to be tested against providers that misbehave, and a new user
//! has to be able to try it without an account anywhere. This crate is both. It speaks over real sockets, signs
//! with real keys, checks what it is sent as strictly as the RFCs allow, and knows nothing of the vault.
//!
//! ```
//! use alter_sandbox::{Faults, Sandbox, TokenFault, TokenRequest};
//!
//! # async fn demo() -> Result<(), Box<dyn std::error::Error>> {
//! let sandbox = Sandbox::builder().start().await?;
//!
//! // A signed-in user of your own application: verify it against `sandbox.issuer()`.
//! let jwt = sandbox.mint(TokenRequest::subject("user-1").ttl(300));
//!
//! // The same user's connected account at the provider, as a home-made token table would hold it.
//! let credential = sandbox.connect("user-1", "work");
//!
//! // The next refreshes rotate the refresh token, and their answers never arrive.
//! sandbox.set_faults(Faults::default().rotate(true).token_fault(TokenFault::Drop));
//! # let _ = (jwt, credential);
//! sandbox.stop().await;
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(demo()).unwrap();
//! ```
//!
//! # What is where
//!
//! | Address | What |
//! |---|---|
//! | `/idp` | issuer: discovery, `/idp/jwks`, `GET /idp/mint`, `POST /idp/rotate`, `POST /idp/retire` |
//! | `/oauth` | `authorize`, `token`, `revoke`, `userinfo` |
//! | `/api` | the provider's API: `me`, `echo`, `stream`, `status/{code}`, `cookie` |
//! | `/control` | counts and faults; `/control/calls` lists what the API saw |
//!
//! Everything is held in memory and bounded; a sandbox that is dropped closes its connections and forgets.
//! It listens on loopback only: anybody who can reach it can be any user.

#![forbid(unsafe_code)]

mod api;
mod bounded;
mod clock;
mod control;
mod error;
mod faults;
mod idp;
mod keys;
mod mint;
mod net;
mod oauth;
mod params;
mod sandbox;
mod state;

pub use api::Call;
pub use control::Counts;
pub use error::SandboxError;
pub use faults::{Faults, TokenFault};
pub use keys::TokenAlgorithm;
pub use mint::{DEFAULT_AUDIENCE, TokenRequest};
pub use oauth::{Client, Credential, OauthEndpoints};
pub use sandbox::{Sandbox, SandboxBuilder};

#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod api;
mod bounded;
mod clock;
mod control;
mod counts;
mod date;
mod error;
mod faults;
mod html;
mod idp;
mod keys;
mod mint;
mod net;
mod oauth;
mod params;
mod provider;
mod sandbox;
mod site;
mod state;
mod visit;

pub use api::Call;
pub use counts::{AccountCounts, BrowserCounts, Counts, Refusals, Revocations};
pub use error::SandboxError;
pub use faults::{AuthorizeFault, Faults, IdTokenFault, RevokeFault, TokenFault};
pub use keys::TokenAlgorithm;
pub use mint::{DEFAULT_AUDIENCE, TokenRequest};
pub use oauth::{AccountTokens, Client, Credential, OauthEndpoints};
pub use provider::Provider;
pub use sandbox::{Sandbox, SandboxBuilder};

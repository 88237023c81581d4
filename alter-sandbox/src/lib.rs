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
mod idp;
mod keys;
mod mint;
mod net;
mod oauth;
mod params;
mod sandbox;
mod state;

pub use api::Call;
pub use counts::{AccountCounts, Counts, Refusals};
pub use error::SandboxError;
pub use faults::{Faults, TokenFault};
pub use keys::TokenAlgorithm;
pub use mint::{DEFAULT_AUDIENCE, TokenRequest};
pub use oauth::{Client, Credential, OauthEndpoints};
pub use sandbox::{Sandbox, SandboxBuilder};

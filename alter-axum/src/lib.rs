#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod agent;
mod client;
mod error;
mod rejection;
mod token;
#[cfg(feature = "verify")]
mod verified;

pub use agent::AlterAgent;
pub use alter_core::{Agent, App, UserClient, scope};
#[cfg(feature = "verify")]
pub use alter_tower::VerifyLayer;
pub use alter_tower::{AlterLayer, Answer, Caller, Refusal, source};
pub use client::AlterClient;
pub use error::AlterError;
pub use http::Method;
pub use rejection::AlterRejection;
pub use token::UserToken;
#[cfg(feature = "verify")]
pub use verified::VerifiedUser;

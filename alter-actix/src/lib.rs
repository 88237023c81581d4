#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod agent;
mod answer;
mod body;
mod client;
mod error;
mod future;
mod middleware;
mod rejection;
mod request;
pub mod source;
mod token;
#[cfg(feature = "verify")]
mod verified;

pub use agent::AlterAgent;
pub use alter_core::{
    Agent, App, UserClient,
    answer::{Answer, Refusal},
    edge::Caller,
    scope,
};
pub use body::ResponseBody;
pub use client::AlterClient;
pub use error::AlterError;
pub use future::ResponseFuture;
pub use http::Method;
pub use middleware::{AlterMiddleware, AlterService};
pub use rejection::AlterRejection;
pub use request::AlterRequestExt;
pub use source::TokenSource;
pub use token::UserToken;
#[cfg(feature = "verify")]
pub use verified::VerifiedUser;

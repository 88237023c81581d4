//! The vault: a self-hosted store of third-party credentials that hands each one only to whom it belongs.

#![forbid(unsafe_code)]

pub mod admin;
mod api;
pub mod audit;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "dev")]
pub mod dev;
pub mod domain;
pub mod idp;
pub mod resolve;
pub mod seal;
mod serve;
pub mod store;
#[cfg(feature = "dev")]
pub mod testkit;
mod vault;

pub use vault::{DEFAULT_RATE_LIMIT, KekSource, Vault, VaultConfig, VaultError};

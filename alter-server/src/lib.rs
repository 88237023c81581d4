//! The vault: a self-hosted store of third-party credentials that hands each one only to whom it belongs.
#![forbid(unsafe_code)]

pub mod audit;
pub mod domain;
pub mod resolve;
pub mod seal;
pub mod store;

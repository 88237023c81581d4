//! The client against a vault in the same process and a provider on a loopback socket. Every name is a promise.
#![expect(clippy::unwrap_used, reason = "tests")]

mod addressing;
mod answers;
mod calls;
mod connect;
mod fixture;
mod grants;
mod lifecycle;
mod reports;
mod secrecy;
mod sign_in;

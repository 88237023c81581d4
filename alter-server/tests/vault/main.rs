//! The vault as its callers see it: over HTTP, in process, and as a program. One binary, since linking is what takes time.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod answers;
mod attacks;
mod browser;
mod command_line;
mod command_line_pages;
mod connect;
mod connect_attacks;
mod connect_attacks_answers;
mod connect_attacks_people;
mod connect_kit;
mod connect_scopes;
#[cfg(feature = "postgres")]
mod encrypted;
mod hooks;
mod in_process;
mod providers;
mod refresh;
#[cfg(feature = "postgres")]
mod replicas;
mod revocation;
mod support;
mod visitor;
mod wallet;
mod webhooks;

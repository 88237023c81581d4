//! A whole vault moves between its stores and into a file, with real processes that are killed in the middle.
//!
//! `ALTER_TRANSFER_GRANTS` says how many grants the vault has (5,000 if it does not).
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod big;
mod files;
mod moves;
mod program;

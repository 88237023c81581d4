//! Refreshing across processes: storms of callers, crashes at every step, and what must hold whatever happens. The parts
//! without a test in them are shared with the command that makes the tables of `docs/refresh.md`
//! (`tests/examples/refresh-matrix.rs`).

#![allow(clippy::unwrap_used, reason = "only tests and a measurement use it: what goes wrong must end them")]

pub(crate) mod crash;
pub(crate) mod storm;

mod caller;
mod place;
mod process;
mod stage;

pub(crate) use place::Store;
pub(crate) use process::Program;

#[cfg(test)]
mod matrices;
#[cfg(test)]
mod promises;
#[cfg(test)]
mod revocation;

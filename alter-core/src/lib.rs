//! alter-core
#![forbid(unsafe_code)]

pub mod clock;
pub mod wire;

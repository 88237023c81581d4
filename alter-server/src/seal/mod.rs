//! Sealing: what is secret at rest is encrypted under a data key of its own, and the data key under a key-encryption key
//! (design promise 6).

mod context;
mod envelope;
mod ring;
#[cfg(test)]
mod tests;

pub use context::{Field, SealContext};
pub use envelope::{Envelope, SealError, Sealed, SealedField};
pub use ring::{KeyRing, KeyRingError};

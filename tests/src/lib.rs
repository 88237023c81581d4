//! What crosses parts: each suite keeps one promise of the design against the real parts, over real sockets.
//!
//! | Suite | What must hold |
//! |---|---|
//! | `attacks` | a forged, replayed, stale or misdirected call is refused with its documented code, releases nothing, leaves a row |
//! | `isolation` | one user's data never reaches another; a revocation counts for the very next call |
//! | `crash` | after `kill -9`, every call that a provider saw has its row, and the chain verifies |
//! | `canary` | planted secrets are found in nothing that the parts print, log, answer or store |
//! | `refresh` | however many ask and whatever crashes, a refresh token is spent once, and the grant works or a person is asked |

#![forbid(unsafe_code)]

#[cfg(test)]
mod harness;

#[cfg(test)]
mod attacks;
#[cfg(test)]
mod canary;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod isolation;
#[cfg(test)]
mod refresh;

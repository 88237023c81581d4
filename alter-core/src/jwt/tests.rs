//! The verifier as a whole: what it refuses, when it fetches, what it remembers.

mod fetching;
mod http;
mod issuer;
mod refusals;
mod remembering;

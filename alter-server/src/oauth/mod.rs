//! Token endpoints: asking one for the next access token (RFC 6749 §6), and what its answer means.
//!
//! [`TokenEndpoint`] sends; [`classify()`] judges, and is pure: status, headers and bytes in, tokens or a typed failure out. Real
//! providers answer in many ways that no standard knows. What we know of them is a table there, each row with its source.
//! Two rules stand above the table:
//!
//! * only a parsed OAuth error, or a provider's own documented form of one, ends a grant. A page, a firewall's 403, a 5xx or
//!   a timeout never does;
//! * every failure says whether the refresh token may have been [spent](Spent), for a token that is good for one use.
//!
//! Nothing here knows the store, grants or leases.

mod classify;
mod endpoint;
mod form;
mod loose;
mod offset;
mod scrub;
#[cfg(test)]
mod tests;

pub use classify::{Answer, Spent, TokenFailure, Tokens, classify};
pub use endpoint::{Limits, RefreshCall, TokenAnswer, TokenEndpoint};
pub use offset::ClockOffsets;
pub use scrub::Scrub;

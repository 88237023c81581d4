//! An app as the client of an OAuth provider: sending a person there ([`authorization_url`]), redeeming the code
//! ([`TokenEndpoint::exchange`], RFC 6749 §4.1.3), finding out which account it is ([`TokenEndpoint::account`]), asking for
//! the next access token ([`TokenEndpoint::refresh`], §6), telling it that a token is to die ([`TokenEndpoint::revoke`],
//! RFC 7009), and what the answers mean.
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

mod account;
mod authorize;
mod classify;
mod endpoint;
mod exchange;
mod form;
mod loose;
mod offset;
mod revoke;
mod scrub;
#[cfg(test)]
mod tests;

pub use account::AccountFailure;
pub use authorize::{Authorization, authorization_url};
pub use classify::{Answer, Spent, TokenFailure, Tokens, classify};
pub use endpoint::{Limits, RefreshCall, TokenAnswer, TokenEndpoint};
pub use exchange::{CodeCall, Exchanged};
pub use offset::ClockOffsets;
pub use revoke::{RevokeCall, RevokeFailure, RevokedAnswer};
pub use scrub::Scrub;

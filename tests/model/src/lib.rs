//! The refresh of one grant by three replicas, as a state machine small enough to visit every one of its states.
//!
//! | Part | Says |
//! |---|---|
//! | [`row`] | what the store does: the same rules that its two implementations are compared with, operation by operation |
//! | [`provider`] | what the provider does with a refresh token: rotate, take the old one for a while, end the family |
//! | [`world`] | three replicas that run flights, the network between them and the provider |
//! | [`action`] | everything that can happen, and what of it is something going wrong |
//! | [`promise`] | what must hold in every state and in every step, by the names of design §3 |
//! | [`search`] | visits all states, breadth first, and finds the shortest way to a broken promise |
//! | [`broken`] | the protocol with one of its rules taken out: the search must find what that rule is for |
//!
//! The crate depends on nothing. Whether a refresh token that may be spent is presented again is not modelled but asked:
//! [`Config::recovery`] is the vault's own function, handed in by `alter-server/tests/refresh_model`.
//!
//! Why no model-checking crate: `stateright` (0.31) brings a web server and eleven more crates, and its "eventually"
//! properties are not sound where paths join or form circles, which is where a protocol hangs. A breadth-first search is
//! a page of code, and "from here a good end can still be reached" is another.

#![forbid(unsafe_code)]

pub mod action;
pub mod broken;
pub mod promise;
pub mod provider;
pub mod row;
pub mod search;
pub mod world;

pub use action::Action;
pub use broken::Broken;
pub use search::{Explored, Step, explore};
pub use world::World;

/// Whether a refresh token that may be spent is presented again.
///
/// `(seen_rotating, window_over)`: the last refresh of the grant replaced its refresh token; the provider's reuse window
/// has passed since the note was written.
pub type Recovery = fn(bool, bool) -> bool;

/// One setting of the model.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Name of the setting.
    pub name: &'static str,
    /// What the provider does.
    pub provider: provider::Manners,
    /// What the vault decides.
    pub recovery: Recovery,
    /// So many things go wrong at most: crashes, stops, lost answers, a store out of reach, a busy provider.
    pub faults: u8,
    /// Tokens grow old until the grant has this generation.
    pub generations: u8,
    /// The user may revoke the grant, once.
    pub revoke: bool,
    /// The user may connect again, once: new tokens from the provider, new generation.
    pub import: bool,
    /// A client may report a 401, once.
    pub report: bool,
    /// The grant must never be lost in this setting.
    pub never_dead: bool,
    /// The rule that is taken out.
    pub broken: Option<Broken>,
}

impl Config {
    pub(crate) fn lacks(&self, rule: Broken) -> bool {
        self.broken == Some(rule)
    }
}

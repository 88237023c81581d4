//! What all pages of the vault share: their address, cookies, forms, look and errors.
//!
//! A page's handler takes a [`Visit`] (or [`Posted`] for a form) and answers with [`Visit::page`], [`Visit::redirect`] or
//! [`Visit::refuse`]; so no answer lacks its security headers, and no refusal its row. Templates are askama's, which
//! escapes every value; they extend `base.html` and have a field `shell`.
//!
//! A form carries [`BrowserSecret::csrf`] in its field `csrf`, is answered with 303, and never leads elsewhere.

mod address;
mod brand;
mod cookie;
mod gate;
mod trouble;
mod visit;

use std::sync::Arc;

use alter_core::clock::SharedClock;

pub use address::{InvalidPublicUrl, PublicUrl};
pub(crate) use brand::{Brand, LOGO_TYPES, MAX_LOGO, is_color, is_logo};
pub(crate) use cookie::{BrowserSecret, Cookie, binding, random};
pub(crate) use trouble::Trouble;
pub(crate) use visit::{Asked, Posted, Remark, Shell, Visit};

use self::gate::Gate;
use crate::api::RowBudget;

/// What pages need of the vault besides its store.
#[derive(Debug)]
pub(crate) struct Web {
    /// Where browsers reach the vault; without it there are no pages.
    pub(crate) public_url: Option<PublicUrl>,
    gate: Gate,
    /// Rows for browsers that nobody knows.
    rows: Arc<RowBudget>,
}

impl Web {
    /// Whether one more request of this peer is served, of those that need no key.
    pub(crate) fn admits(&self, peer: Option<std::net::IpAddr>) -> bool {
        self.gate.opens(peer)
    }

    /// The same for the browser of this session.
    pub(crate) fn admits_session(&self, session: crate::domain::SessionRef) -> bool {
        self.gate.opens_for(session)
    }

    pub(crate) fn new(public_url: Option<PublicUrl>, clock: SharedClock) -> Self {
        Self { public_url, gate: Gate::new(), rows: RowBudget::new(clock) }
    }
}

/// Somebody else's text, fit to be shown: at most 300 characters, without control characters and without those that turn the
/// direction of what stands beside them.
pub(crate) fn shown(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    let mut shown: String = text.chars().filter(|c| !steers(*c)).take(300).collect();
    if text.chars().filter(|c| !steers(*c)).nth(300).is_some() {
        shown.push('…');
    }
    shown
}

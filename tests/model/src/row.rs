//! What the store keeps of one grant, and the rules of its operations. The real stores are compared with these rules,
//! operation by operation, on random traces (`alter-server/src/store/contract/refresh_model.rs`).

use crate::{Broken, Config};

/// How the kept access token is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Token {
    /// Nothing to do.
    Fresh,
    /// Served, and to be replaced: its end is near, or a client said that the provider refuses it.
    Due,
    /// At its end: never served.
    Expired,
}

/// The lease of a grant's refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lease {
    /// Nobody's.
    Free,
    /// Of the holder of the present fence.
    Held,
    /// Of the same holder still, but its time is over: anybody may take it.
    RunOut,
}

/// Why a person must connect again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Death {
    /// The provider said `invalid_grant` to a token that nobody else had presented.
    Refused,
    /// `rotation_outcome_unknown`.
    Unknown,
}

/// One grant's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Row {
    /// Of the credential.
    pub generation: u8,
    /// The provider's number of the kept pair.
    pub pair: u8,
    /// The kept refresh token.
    pub refresh_token: u8,
    /// The kept access token.
    pub token: Token,
    /// One more with each taking of the lease.
    pub fence: u8,
    /// The lease.
    pub lease: Lease,
    /// The note: generation whose refresh token is being spent.
    pub note: Option<u8>,
    /// The reuse window has passed since the note was first written.
    pub note_old: bool,
    /// The last taking of the lease wrote the note, and its holder has not been heard of since.
    pub note_unheard: bool,
    /// The last refresh replaced the refresh token.
    pub rotates: bool,
    /// Latched.
    pub dead: Option<Death>,
    /// By the user.
    pub revoked: bool,
    /// The provider is being left alone.
    pub pause: bool,
}

/// What came of asking for the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// It is ours.
    Taken(Taken),
    /// There is a newer generation.
    Moved,
    /// Somebody else has it.
    Held,
    /// The provider is being left alone.
    Pause,
    /// Dead or revoked.
    Impossible,
}

/// A lease, as its holder knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Its number.
    pub fence: u8,
    /// What to present.
    pub refresh_token: u8,
    /// An earlier holder wrote the note for this generation, and how that ended is not known.
    pub doubt: bool,
    /// The reuse window has passed since then.
    pub doubt_old: bool,
    /// The last refresh replaced the refresh token.
    pub rotates: bool,
}

/// How a refresh ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum End {
    /// New tokens.
    Renewed {
        /// Number of the pair.
        pair: u8,
        /// The refresh token to keep.
        next: u8,
    },
    /// None, and it may go better later.
    Failed {
        /// Whether the refresh token was spent is not known.
        unresolved: bool,
    },
    /// None, ever.
    Dead(Death),
}

impl Row {
    /// A grant that was just connected with the provider's pair 1.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            generation: 1,
            pair: 1,
            refresh_token: 1,
            token: Token::Fresh,
            fence: 0,
            lease: Lease::Free,
            note: None,
            note_old: false,
            note_unheard: false,
            rotates: false,
            dead: None,
            revoked: false,
            pause: false,
        }
    }

    /// `begin_refresh`. `last` is the fence of the last lease that was taken in the asker's name, 0 if there was none: who
    /// asks again under the same name says that it never heard of it.
    pub fn begin(&mut self, config: &Config, generation: u8, last: u8) -> Begun {
        if self.revoked {
            return Begun::Impossible;
        }
        if generation != self.generation {
            return Begun::Moved;
        }
        if self.dead.is_some() && !config.lacks(Broken::DeadNotLatched) {
            return Begun::Impossible;
        }
        let noted = self.note == Some(generation);
        let own = self.lease != Lease::Free && last == self.fence;
        // A lease on an older generation is void: its holder can write nothing any more.
        if self.lease == Lease::Held && !own && (noted || config.lacks(Broken::NoNote)) {
            return Begun::Held;
        }
        if self.pause {
            return Begun::Pause;
        }
        let own_note = own && self.note_unheard;
        let doubt = noted && !own_note;
        let doubt_old = doubt && self.note_old;
        self.fence += 1;
        self.lease = Lease::Held;
        if !doubt || config.lacks(Broken::NoteBeginsAgain) {
            self.note_old = false;
        }
        self.note_unheard = !doubt;
        self.note = (!config.lacks(Broken::NoNote)).then_some(generation);
        Begun::Taken(Taken {
            fence: self.fence,
            refresh_token: self.refresh_token,
            doubt,
            doubt_old,
            rotates: self.rotates,
        })
    }

    /// Whether the lease with this fence is still its holder's: what the second and every later step of a refresh checks.
    #[must_use]
    pub fn is_held_by(&self, generation: u8, fence: u8) -> bool {
        !self.revoked && self.lease != Lease::Free && fence == self.fence && generation == self.generation
    }

    /// `renew_refresh`.
    pub fn renew(&mut self, generation: u8, fence: u8) -> bool {
        let held = self.is_held_by(generation, fence);
        if held {
            self.lease = Lease::Held;
            self.note_unheard = false;
        }
        held
    }

    /// `finish_refresh`: whether it is written.
    pub fn finish(&mut self, config: &Config, generation: u8, fence: u8, end: End) -> bool {
        let dead = matches!(end, End::Dead(_));
        let unchecked = dead && config.lacks(Broken::DeathUnchecked);
        let no_fence = config.lacks(Broken::NoFence);
        let lease_is_ours = no_fence || (fence == self.fence && self.lease != Lease::Free);
        let generation_is_kept = generation == self.generation || config.lacks(Broken::NoGeneration);
        let active = !self.revoked || config.lacks(Broken::RevocationUnchecked);
        if !(unchecked || active && lease_is_ours && generation_is_kept) {
            return false;
        }
        self.lease = Lease::Free;
        self.note_unheard = false;
        // A pause that an operator overrode is over, unless this ends in another one.
        self.pause = matches!(end, End::Failed { .. });
        match end {
            End::Renewed { pair, next } => {
                self.rotates = next != self.refresh_token;
                self.generation += 1;
                self.pair = pair;
                self.refresh_token = next;
                self.token = Token::Fresh;
                self.clear_note();
            }
            End::Failed { unresolved } => {
                if !unresolved {
                    self.clear_note();
                }
            }
            End::Dead(death) => {
                self.dead = Some(death);
                self.clear_note();
            }
        }
        true
    }

    fn clear_note(&mut self) {
        self.note = None;
        self.note_old = false;
    }

    /// A client reports a 401 for a generation.
    pub fn report(&mut self, config: &Config, generation: u8) {
        let meant = generation == self.generation || config.lacks(Broken::ReportUnchecked);
        if meant && self.token == Token::Fresh && !self.revoked {
            self.token = Token::Due;
        }
    }

    /// The user connected again. What went wrong with the credential before is forgotten; its lease and its note are not.
    pub fn import(&mut self, pair: u8) {
        self.generation += 1;
        self.pair = pair;
        self.refresh_token = pair;
        self.token = Token::Fresh;
        self.dead = None;
        self.pause = false;
    }

    /// The pair that a release hands out. `unsaved` is what the asking replica holds and could not keep yet: the
    /// generation that it replaces, and its pair.
    #[must_use]
    pub fn release(&self, config: &Config, unsaved: Option<(u8, u8)>) -> Option<u8> {
        if let Some((replaces, pair)) = unsaved
            && (config.lacks(Broken::UnsavedUnchecked) || !self.revoked && replaces == self.generation)
        {
            return Some(pair);
        }
        let ended = self.token == Token::Expired && !config.lacks(Broken::ExpiryUnchecked);
        (!self.revoked && !ended).then_some(self.pair)
    }
}

impl Default for Row {
    fn default() -> Self {
        Self::new()
    }
}

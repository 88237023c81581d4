//! The provider: a newest pair of tokens, and which refresh tokens it still takes.

/// How a provider treats refresh tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manners {
    /// Each refresh brings a new refresh token.
    pub rotates: bool,
    /// For some time after that, the old one is taken still.
    pub window: bool,
    /// An old one that is presented later ends the family: all tokens of the user's consent.
    pub detects: bool,
}

/// What the provider knows of one user's consent. Tokens are numbered as they are issued; those of an earlier consent have
/// numbers below `base`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Provider {
    /// The newest pair.
    pub newest: u8,
    /// The first pair of the present consent.
    pub base: u8,
    /// The oldest refresh token that is still taken.
    pub open_from: u8,
    /// The family was ended.
    pub ended: bool,
}

/// What comes back from the token endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Answer {
    /// A pair: its number, and the refresh token to use next.
    Tokens {
        /// Number of the pair.
        pair: u8,
        /// The refresh token to use from now on.
        next: u8,
    },
    /// `invalid_grant`.
    Refused,
    /// An error that says that nothing was done (429, a 503 before the work).
    Busy,
    /// None: it was lost, and nobody knows what was done.
    Lost,
}

impl Provider {
    /// After the first consent.
    #[must_use]
    pub const fn new() -> Self {
        Self { newest: 1, base: 1, open_from: 1, ended: false }
    }

    /// Whether a refresh with this token would succeed now.
    #[must_use]
    pub const fn takes(&self, manners: Manners, token: u8) -> bool {
        !self.ended && if manners.rotates { token >= self.open_from } else { token == self.base }
    }

    /// A refresh token of the present consent arrives.
    pub fn refresh(&mut self, manners: Manners, token: u8) -> Answer {
        if !self.takes(manners, token) {
            if manners.detects && token >= self.base {
                self.ended = true;
            }
            return Answer::Refused;
        }
        self.newest += 1;
        if !manners.rotates {
            return Answer::Tokens { pair: self.newest, next: self.base };
        }
        if !manners.window {
            self.open_from = self.newest;
        }
        Answer::Tokens { pair: self.newest, next: self.newest }
    }

    /// The user consents again.
    pub fn consent(&mut self) -> u8 {
        self.newest += 1;
        *self = Self { newest: self.newest, base: self.newest, open_from: self.newest, ended: false };
        self.newest
    }
}

impl Default for Provider {
    fn default() -> Self {
        Self::new()
    }
}

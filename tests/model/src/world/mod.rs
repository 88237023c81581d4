//! Three replicas, the network between them and the provider, and everything that can happen next.
//!
//! A replica's part is `alter-server/src/refresh/flight.rs`, step by step; whatever can happen between two of its awaits can
//! happen here between two actions. Time is not counted: a lease runs out whenever its holder is not there to renew it, the
//! reuse window passes at any moment, an answer takes as long as it likes.

mod flight;

use crate::{
    Action, Broken, Config,
    promise::{self, Promise},
    provider::{Answer, Provider},
    row::{End, Lease, Row, Token},
};

/// Replicas of the vault.
pub const REPLICAS: usize = 3;

/// Where a flight is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum At {
    /// There is none. A process that was killed is here again, and remembers nothing.
    Idle,
    /// About to ask for the lease, for the first time or again.
    Begin,
    /// The lease is taken and the note written.
    Taken,
    /// The refresh token is on its way to the provider.
    Asking,
    /// The provider's answer is on its way back, or is known to be lost.
    Answered(Answer),
    /// Tokens are there, and kept nowhere else.
    Saving {
        /// Number of the pair.
        pair: u8,
        /// The refresh token to keep.
        next: u8,
    },
    /// There are none, and that is to be written.
    Ending(End),
}

/// One process. Fields that mean nothing where its flight is are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Replica {
    /// Where its flight is.
    pub at: At,
    /// The generation to be replaced.
    pub generation: u8,
    /// Number of the last lease that was taken in its name.
    pub fence: u8,
    /// What it presents.
    pub refresh_token: u8,
    /// What it presents may be spent.
    pub doubt: bool,
    /// What the store said of the note's age when the lease was taken.
    pub doubt_old: bool,
    /// The last refresh replaced the refresh token.
    pub rotates: bool,
    /// Stopped: does nothing until it is continued.
    pub frozen: bool,
    /// The store is out of its reach.
    pub cut: bool,
    /// It was stopped or cut off since it took its lease, so it may not know yet that it lost it.
    pub was_away: bool,
}

impl Replica {
    const IDLE: Self = Self {
        at: At::Idle,
        generation: 0,
        fence: 0,
        refresh_token: 0,
        doubt: false,
        doubt_old: false,
        rotates: false,
        frozen: false,
        cut: false,
        was_away: false,
    };

    /// It holds a lease, or believes so.
    #[must_use]
    pub const fn leads(&self) -> bool {
        !matches!(self.at, At::Idle | At::Begin)
    }

    /// It can take its next step, and would renew its lease.
    #[must_use]
    pub const fn is_well(&self) -> bool {
        !self.frozen && !self.cut
    }

    /// The generation and pair that it serves because they could not be kept yet.
    #[must_use]
    pub const fn unsaved(&self) -> Option<(u8, u8)> {
        match self.at {
            At::Saving { pair, .. } => Some((self.generation, pair)),
            _ => None,
        }
    }

    /// Looks again, under another name.
    fn again(&mut self) {
        let Self { generation, frozen, cut, .. } = *self;
        *self = Self { at: At::Begin, generation, frozen, cut, ..Self::IDLE };
    }

    fn end(&mut self) {
        *self = Self { cut: self.cut, ..Self::IDLE };
    }
}

/// Everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct World {
    /// The store.
    pub row: Row,
    /// The provider.
    pub provider: Provider,
    /// The processes.
    pub replicas: [Replica; REPLICAS],
    /// Refresh tokens on their way to the provider whose sender does not wait any more; 0 is none.
    pub strays: [u8; 2],
    /// What went wrong so far.
    pub faults: u8,
    /// Presentations of a refresh token so far.
    pub asked: u8,
    /// Presentations of the kept generation's refresh token that were not answered with "nothing was done".
    pub open: u8,
    /// In truth, the reuse window has passed since the kept token was first presented, or since the note before that.
    pub window_over: bool,
    /// Reports of a 401 so far.
    pub reports: u8,
    /// New consents so far.
    pub imports: u8,
}

/// What can come next, and the promise that the step breaks.
pub(crate) type Next = (Action, World, Option<Promise>);

impl World {
    /// A grant that was just connected; nothing has happened.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            row: Row::new(),
            provider: Provider::new(),
            replicas: [Replica::IDLE; REPLICAS],
            strays: [0; 2],
            faults: 0,
            asked: 0,
            open: 0,
            window_over: false,
            reports: 0,
            imports: 0,
        }
    }

    /// The same state with its replicas in order: they are alike, so which is which makes no difference.
    #[must_use]
    pub fn canonical(mut self) -> Self {
        self.replicas.sort_unstable();
        self.strays.sort_unstable();
        self
    }

    /// What the rules of the vault say about presenting this replica's token again at this very moment.
    pub(crate) fn may_present(&self, config: &Config, replica: &Replica) -> bool {
        let over = config.provider.window && replica.generation == self.row.generation && self.window_over;
        (config.recovery)(replica.rotates, over || !config.provider.window)
    }

    /// Everything that can happen next.
    pub(crate) fn next(&self, config: &Config, found: &mut Vec<Next>) {
        found.clear();
        let mut add = |action: Action, mut after: Self| {
            if action.is_fault() {
                if self.faults >= config.faults {
                    return;
                }
                after.faults += 1;
            }
            let broken =
                promise::step(config, self, action, &after).or_else(|| promise::state(config, &after));
            found.push((action, after, broken));
        };
        for r in 0..REPLICAS {
            self.replica(config, r, &mut add);
        }
        self.surroundings(config, &mut add);
    }

    fn with(&self, r: usize, change: impl FnOnce(&mut Self, &mut Replica)) -> Self {
        let mut after = *self;
        let mut replica = self.replicas[r];
        change(&mut after, &mut replica);
        after.replicas[r] = replica;
        after
    }

    fn replica(&self, config: &Config, r: usize, add: &mut impl FnMut(Action, Self)) {
        let now = self.replicas[r];
        if now.frozen {
            add(Action::Thaw(r), self.with(r, |_, p| p.frozen = false));
        } else {
            if now.cut {
                add(Action::Heal(r), self.with(r, |_, p| p.cut = false));
            }
            self.own_step(config, r, now, add);
            if now.at != At::Idle {
                let away = |p: &mut Replica| p.was_away = p.leads();
                add(
                    Action::Freeze(r),
                    self.with(r, |_, p| {
                        p.frozen = true;
                        away(p);
                    }),
                );
                if !now.cut {
                    add(
                        Action::Cut(r),
                        self.with(r, |_, p| {
                            p.cut = true;
                            away(p);
                        }),
                    );
                }
            }
        }
        if now.at != At::Idle {
            add(
                Action::Crash(r),
                self.with(r, |w, p| {
                    w.stray(config, p);
                    *p = Replica::IDLE;
                }),
            );
        }
        self.network(config, r, now, add);
    }

    /// Its request is on its way still, and nobody waits for the answer.
    fn stray(&mut self, config: &Config, replica: &Replica) {
        // A provider that does not rotate does nothing that anybody could notice, and so does a former consent.
        if replica.at == At::Asking && config.provider.rotates && replica.refresh_token >= self.provider.base
        {
            self.strays.sort_unstable();
            self.strays[0] = replica.refresh_token;
        }
    }

    /// What happens around the replicas.
    fn surroundings(&self, config: &Config, add: &mut impl FnMut(Action, Self)) {
        let row = &self.row;
        let with = |change: fn(&mut Row)| {
            let mut after = *self;
            change(&mut after.row);
            after
        };
        let kept =
            self.replicas.iter().any(|p| p.leads() && p.is_well() && row.is_held_by(p.generation, p.fence));
        if row.lease == Lease::Held
            && (!kept || config.lacks(Broken::NoRenewal))
            && !config.lacks(Broken::LeaseWithoutEnd)
        {
            add(Action::LeaseRunsOut, with(|row| row.lease = Lease::RunOut));
        }
        if row.pause {
            add(Action::PauseEnds, with(|row| row.pause = false));
        }
        let ended = row.revoked || row.dead.is_some();
        if row.token == Token::Fresh && row.generation < config.generations && !ended {
            add(Action::ComesDue, with(|row| row.token = Token::Due));
        }
        if row.token == Token::Due && !ended {
            add(Action::Expires, with(|row| row.token = Token::Expired));
        }
        self.window(config, add);
        if config.report && self.reports == 0 && !ended {
            for generation in row.generation.saturating_sub(1).max(1)..=row.generation {
                let mut after = *self;
                after.reports = 1;
                after.row.report(config, generation);
                add(Action::Report(generation), after);
            }
        }
        if config.revoke && !row.revoked {
            add(
                Action::Revoke,
                with(|row| {
                    row.revoked = true;
                    row.token = Token::Expired;
                }),
            );
        }
        if config.import && self.imports == 0 && !row.revoked {
            let mut after = *self;
            let pair = after.provider.consent();
            after.imports = 1;
            after.row.import(pair);
            after.open = 0;
            after.window_over = false;
            after.strays = [0; 2];
            add(Action::Import, after);
        }
        for at in 0..self.strays.len() {
            let token = self.strays[at];
            if token > 0 {
                let mut lost = *self;
                lost.strays[at] = 0;
                add(Action::StrayIsLost(at), lost);
                let mut arrived = lost;
                let _ = arrived.provider.refresh(config.provider, token);
                add(Action::StrayArrives(at), arrived);
            }
        }
    }

    /// The reuse window, by two clocks: the provider's counts from the rotation, and the note's from before it.
    fn window(&self, config: &Config, add: &mut impl FnMut(Action, Self)) {
        if !config.provider.window {
            return;
        }
        let row = &self.row;
        let noted = row.note == Some(row.generation);
        if noted && !row.note_old && !config.never_dead {
            let mut after = *self;
            after.row.note_old = true;
            after.window_over = true;
            add(Action::NoteAges, after);
        }
        // The token of a young note was rotated after the note was written: its window cannot be over.
        let young = noted && !self.window_over && row.refresh_token >= self.provider.open_from;
        if self.provider.open_from < self.provider.newest && !young && !config.never_dead {
            let mut after = *self;
            after.provider.open_from = after.provider.newest;
            add(Action::WindowCloses, after);
        }
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

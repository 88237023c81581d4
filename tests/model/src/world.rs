//! Three replicas, the network between them and the provider, and everything that can happen next.
//!
//! A replica's part is `alter-server/src/refresh/flight.rs`, step by step; whatever can happen between two of its awaits can
//! happen here between two actions. Time is not counted: a lease runs out whenever its holder is not there to renew it, the
//! reuse window passes at any moment, an answer takes as long as it likes.

use std::fmt;

use crate::{
    Broken, Config,
    promise::{self, Promise},
    provider::{Answer, Provider},
    row::{Begun, Death, End, Lease, Row, Token},
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

/// What happens. The number is the replica's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A caller needs a token that is at its end: a flight starts for the generation that the store showed.
    Start(usize),
    /// It asks for the lease.
    Begin(usize),
    /// It asks for the lease, the store does it, and the answer is lost: it will ask again under the same name.
    BeginUnheard(usize),
    /// The store cannot be reached: the flight ends, and the callers are told to come back.
    BeginFails(usize),
    /// It sends the refresh token.
    Ask(usize),
    /// It decides that the token may be spent and must not be presented.
    Renounce(usize),
    /// The request arrives, and the provider acts on it.
    Arrive(usize),
    /// The request arrives at a consent that was replaced meanwhile; `true`: it is served there.
    ArriveFormer(usize, bool),
    /// The provider is busy and does nothing.
    ProviderBusy(usize),
    /// The provider acted, and its answer is lost.
    AnswerLost(usize),
    /// The flight waits no longer for an answer. Its request may still arrive.
    TimeOut(usize),
    /// The flight hears the answer, or that there is none, and it is the end of its questions.
    Hear(usize),
    /// The flight hears the answer, and asks again.
    AskAgain(usize),
    /// It keeps the tokens.
    Save(usize),
    /// It keeps the tokens, and the store's answer is lost.
    SaveUnheard(usize),
    /// It writes that there are no tokens.
    WriteEnd(usize),
    /// It writes that there are no tokens, and the store's answer is lost.
    WriteEndUnheard(usize),
    /// The store cannot be reached for so long that the flight gives up: nothing is written.
    EndFails(usize),
    /// It learns that the lease is somebody else's, and drops its work.
    LoseLease(usize),
    /// It renews a lease whose time was over and that nobody took.
    Renew(usize),
    /// The lease's time is over.
    LeaseRunsOut,
    /// SIGSTOP.
    Freeze(usize),
    /// SIGCONT.
    Thaw(usize),
    /// The store is out of its reach from now on.
    Cut(usize),
    /// The store is in reach again.
    Heal(usize),
    /// SIGKILL, and a new start.
    Crash(usize),
    /// The pause after a failure is over.
    PauseEnds,
    /// The access token's end is near.
    ComesDue,
    /// The access token's end is there.
    Expires,
    /// The reuse window has passed since the note was written.
    NoteAges,
    /// The provider does not take the old refresh tokens any more.
    WindowCloses,
    /// A client reports a 401 for this generation.
    Report(u8),
    /// The user revokes the grant.
    Revoke,
    /// The user connects again.
    Import,
    /// A request that nobody waits for arrives.
    StrayArrives(usize),
    /// A request that nobody waits for is lost.
    StrayIsLost(usize),
}

impl Action {
    /// Something goes wrong.
    #[must_use]
    pub const fn is_fault(self) -> bool {
        matches!(
            self,
            Self::BeginUnheard(_)
                | Self::ProviderBusy(_)
                | Self::AnswerLost(_)
                | Self::TimeOut(_)
                | Self::SaveUnheard(_)
                | Self::WriteEndUnheard(_)
                | Self::Freeze(_)
                | Self::Cut(_)
                | Self::Crash(_)
        )
    }

    /// It happens by itself, sooner or later, when nothing else goes wrong and nobody does anything.
    #[must_use]
    pub const fn is_certain(self) -> bool {
        !self.is_fault() && !matches!(self, Self::ComesDue | Self::Report(_) | Self::Revoke | Self::Import)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |replica: &usize| ["A", "B", "C"].get(*replica).copied().unwrap_or("?");
        match self {
            Self::Start(r) => write!(f, "{}: a caller needs a new token", name(r)),
            Self::Begin(r) => write!(f, "{}: begin_refresh", name(r)),
            Self::BeginUnheard(r) => write!(f, "{}: begin_refresh; the store's answer is lost ⚡", name(r)),
            Self::BeginFails(r) => write!(f, "{}: gives up: begin_refresh cannot reach the store", name(r)),
            Self::Ask(r) => write!(f, "{}: presents the refresh token", name(r)),
            Self::Renounce(r) => write!(f, "{}: may be spent: is not presented", name(r)),
            Self::Arrive(r) => write!(f, "{}'s request arrives", name(r)),
            Self::ArriveFormer(r, true) => {
                write!(f, "{}'s request arrives at the former consent: served", name(r))
            }
            Self::ArriveFormer(r, false) => {
                write!(f, "{}'s request arrives at the former consent: refused", name(r))
            }
            Self::ProviderBusy(r) => {
                write!(f, "{}'s request: the provider is busy and does nothing ⚡", name(r))
            }
            Self::AnswerLost(r) => write!(f, "the answer to {} is lost ⚡", name(r)),
            Self::TimeOut(r) => write!(f, "{} waits no longer; the request is still on its way ⚡", name(r)),
            Self::Hear(r) => write!(f, "{} hears it", name(r)),
            Self::AskAgain(r) => write!(f, "{} hears it, and presents the same refresh token again", name(r)),
            Self::Save(r) => write!(f, "{}: finish_refresh with the tokens", name(r)),
            Self::SaveUnheard(r) => {
                write!(f, "{}: finish_refresh with the tokens; the store's answer is lost ⚡", name(r))
            }
            Self::WriteEnd(r) => write!(f, "{}: finish_refresh without tokens", name(r)),
            Self::WriteEndUnheard(r) => {
                write!(f, "{}: finish_refresh without tokens; the store's answer is lost ⚡", name(r))
            }
            Self::EndFails(r) => {
                write!(f, "{}: gives up: finish_refresh cannot reach the store", name(r))
            }
            Self::LoseLease(r) => write!(f, "{}: renew_refresh says no: the work is dropped", name(r)),
            Self::Renew(r) => write!(f, "{}: renew_refresh", name(r)),
            Self::LeaseRunsOut => write!(f, "the lease runs out"),
            Self::Freeze(r) => write!(f, "{} is stopped ⚡", name(r)),
            Self::Thaw(r) => write!(f, "{} goes on", name(r)),
            Self::Cut(r) => write!(f, "{} cannot reach the store any more ⚡", name(r)),
            Self::Heal(r) => write!(f, "{} reaches the store again", name(r)),
            Self::Crash(r) => write!(f, "{} is killed ⚡", name(r)),
            Self::PauseEnds => write!(f, "the pause ends"),
            Self::ComesDue => write!(f, "the access token comes due"),
            Self::Expires => write!(f, "the access token expires"),
            Self::NoteAges => write!(f, "the note becomes older than the reuse window"),
            Self::WindowCloses => write!(f, "the provider takes the old refresh tokens no more"),
            Self::Report(generation) => write!(f, "a client reports a 401 for generation {generation}"),
            Self::Revoke => write!(f, "the user revokes the grant"),
            Self::Import => write!(f, "the user connects again"),
            Self::StrayArrives(_) => write!(f, "a request that nobody waits for arrives"),
            Self::StrayIsLost(_) => write!(f, "a request that nobody waits for is lost"),
        }
    }
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

    /// Whether the reuse window has in truth passed for what this replica would present. `None`: either is possible.
    fn window_over(&self, config: &Config, replica: &Replica) -> Option<bool> {
        if !config.provider.window {
            return Some(true);
        }
        if self.row.note == Some(replica.generation) {
            return Some(self.row.note_old);
        }
        // The note is gone, so this is a late flight whose own clock says what no row says any more.
        (replica.refresh_token < self.provider.open_from).then_some(true)
    }

    /// Whether `replica`, which holds a doubt, may be told to present its token again, and whether it may be told not to.
    fn recovery(&self, config: &Config, replica: &Replica) -> (bool, bool) {
        if config.lacks(Broken::AlwaysAgain) {
            return (true, false);
        }
        if config.lacks(Broken::NeverAgain) {
            return (false, true);
        }
        let over = match replica.at {
            At::Taken if config.lacks(Broken::NoteStandsStill) => Some(replica.doubt_old),
            _ => self.window_over(config, replica),
        };
        let says = |over| (config.recovery)(replica.rotates, over);
        let (again, not) = match over {
            Some(over) => (says(over), !says(over)),
            None => (says(false) || says(true), !(says(false) && says(true))),
        };
        (again, not)
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

    /// What the process does by itself.
    fn own_step(&self, config: &Config, r: usize, now: Replica, add: &mut impl FnMut(Action, Self)) {
        match now.at {
            At::Idle => {
                let row = &self.row;
                if row.token != Token::Fresh && row.dead.is_none() && !row.revoked && !now.cut {
                    add(
                        Action::Start(r),
                        self.with(r, |w, p| {
                            p.at = At::Begin;
                            p.generation = w.row.generation;
                        }),
                    );
                }
            }
            At::Begin if now.cut => add(Action::BeginFails(r), self.with(r, |_, p| p.end())),
            At::Begin => self.begin(config, r, add),
            At::Taken => {
                let (again, not) = if now.doubt { self.recovery(config, &now) } else { (true, false) };
                if again {
                    add(Action::Ask(r), self.with(r, World::ask));
                }
                if not {
                    add(
                        Action::Renounce(r),
                        self.with(r, |_, p| p.at = At::Ending(End::Dead(Death::Unknown))),
                    );
                }
            }
            At::Asking => {}
            At::Answered(answer) => self.hear(config, r, now, answer, add),
            At::Saving { pair, next } => {
                if !now.cut {
                    let end = End::Renewed { pair, next };
                    let mut saved = *self;
                    let written = saved.finish(config, now, end);
                    add(Action::Save(r), saved.with(r, |_, p| if written { p.end() } else { p.again() }));
                    if written {
                        add(Action::SaveUnheard(r), saved);
                    }
                }
            }
            At::Ending(_) if now.cut => add(Action::EndFails(r), self.with(r, |_, p| p.end())),
            At::Ending(end) => {
                let mut ended = *self;
                let written = ended.finish(config, now, end);
                add(Action::WriteEnd(r), ended.with(r, |_, p| if written { p.end() } else { p.again() }));
                if written {
                    add(Action::WriteEndUnheard(r), ended);
                }
            }
        }
        if !now.cut && matches!(now.at, At::Asking | At::Answered(_) | At::Saving { .. } | At::Ending(_)) {
            let mut renewed = *self;
            if !renewed.row.renew(now.generation, now.fence) {
                add(
                    Action::LoseLease(r),
                    self.with(r, |w, p| {
                        w.stray(config, p);
                        p.again();
                    }),
                );
            } else if renewed.row != self.row {
                add(Action::Renew(r), renewed);
            }
        }
    }

    fn begin(&self, config: &Config, r: usize, add: &mut impl FnMut(Action, Self)) {
        let mut begun = *self;
        let Replica { generation, fence, .. } = self.replicas[r];
        match begun.row.begin(config, generation, fence) {
            Begun::Taken(taken) => {
                if !taken.doubt && self.open == 0 {
                    begun.window_over = false;
                }
                add(Action::BeginUnheard(r), begun.with(r, |_, p| p.fence = taken.fence));
                add(
                    Action::Begin(r),
                    begun.with(r, |_, p| {
                        p.at = At::Taken;
                        p.fence = taken.fence;
                        p.refresh_token = taken.refresh_token;
                        p.doubt = taken.doubt;
                        p.doubt_old = taken.doubt_old;
                        p.rotates = taken.rotates;
                    }),
                );
            }
            // It waits, and asks again.
            Begun::Held => {}
            Begun::Moved | Begun::Pause | Begun::Impossible => {
                add(Action::Begin(r), begun.with(r, |_, p| p.end()));
            }
        }
    }

    fn ask(&mut self, replica: &mut Replica) {
        replica.at = At::Asking;
        self.asked += 1;
        if replica.generation == self.row.generation {
            self.open += 1;
        }
    }

    /// What the flight makes of the provider's answer.
    fn hear(
        &self,
        config: &Config,
        r: usize,
        now: Replica,
        answer: Answer,
        add: &mut impl FnMut(Action, Self),
    ) {
        let to = |at: At| self.with(r, |_, p| p.at = at);
        match answer {
            Answer::Tokens { pair, next } => add(Action::Hear(r), to(At::Saving { pair, next })),
            Answer::Refused => {
                if config.lacks(Broken::RefusalNotFinal) && self.asked < 20 {
                    add(Action::AskAgain(r), self.with(r, World::ask));
                }
                let death = if now.doubt { Death::Unknown } else { Death::Refused };
                add(Action::Hear(r), to(At::Ending(End::Dead(death))));
            }
            Answer::Busy => {
                let mut heard = *self;
                if now.generation == self.row.generation {
                    heard.open = heard.open.saturating_sub(1);
                }
                let unresolved = now.doubt && !config.lacks(Broken::DoubtForgotten);
                let (again, not) = if now.doubt && !config.lacks(Broken::DoubtNotWeighed) {
                    self.recovery(config, &now)
                } else {
                    (true, false)
                };
                if again {
                    add(Action::AskAgain(r), heard.with(r, World::ask));
                    let failed = At::Ending(End::Failed { unresolved });
                    add(Action::Hear(r), heard.with(r, |_, p| p.at = failed));
                }
                if not {
                    add(Action::Hear(r), heard.with(r, |_, p| p.at = At::Ending(End::Dead(Death::Unknown))));
                }
            }
            Answer::Lost => {
                let (again, not) = self.recovery(config, &now);
                if again {
                    add(
                        Action::AskAgain(r),
                        self.with(r, |w, p| {
                            p.doubt = true;
                            w.ask(p);
                        }),
                    );
                    add(Action::Hear(r), to(At::Ending(End::Failed { unresolved: true })));
                }
                if not {
                    add(Action::Hear(r), to(At::Ending(End::Dead(Death::Unknown))));
                }
            }
        }
    }

    fn finish(&mut self, config: &Config, by: Replica, end: End) -> bool {
        let before = self.row.generation;
        let written = self.row.finish(config, by.generation, by.fence, end);
        if self.row.generation != before {
            self.open = 0;
            self.window_over = false;
        }
        written
    }

    /// What becomes of its question.
    fn network(&self, config: &Config, r: usize, now: Replica, add: &mut impl FnMut(Action, Self)) {
        let answered = |answer: Answer| self.with(r, |_, p| p.at = At::Answered(answer));
        match now.at {
            At::Asking if now.refresh_token < self.provider.base => {
                let pair = Answer::Tokens { pair: now.refresh_token, next: now.refresh_token };
                add(Action::ArriveFormer(r, true), answered(pair));
                add(Action::ArriveFormer(r, false), answered(Answer::Refused));
            }
            At::Asking => {
                let mut arrived = *self;
                let answer = arrived.provider.refresh(config.provider, now.refresh_token);
                add(Action::Arrive(r), arrived.with(r, |_, p| p.at = At::Answered(answer)));
                add(Action::ProviderBusy(r), answered(Answer::Busy));
                add(
                    Action::TimeOut(r),
                    self.with(r, |w, p| {
                        w.stray(config, p);
                        p.at = At::Answered(Answer::Lost);
                    }),
                );
            }
            At::Answered(Answer::Tokens { .. } | Answer::Refused) => {
                add(Action::AnswerLost(r), answered(Answer::Lost));
            }
            _ => {}
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

//! One replica's flight, step by step as `alter-server/src/refresh/flight.rs` has it, and what becomes of its question.

use super::{At, Replica, World};
use crate::{
    Action, Broken, Config,
    provider::Answer,
    row::{Begun, Death, End, Token},
};

impl World {
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

    /// What the process does by itself.
    pub(super) fn own_step(
        &self,
        config: &Config,
        r: usize,
        now: Replica,
        add: &mut impl FnMut(Action, Self),
    ) {
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
    pub(super) fn network(
        &self,
        config: &Config,
        r: usize,
        now: Replica,
        add: &mut impl FnMut(Action, Self),
    ) {
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
}

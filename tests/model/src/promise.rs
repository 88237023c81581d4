//! What must hold, by the names of design §3.

use std::fmt;

use crate::{
    Action, Config, World,
    row::{Death, Token},
};

/// A promise that a state or a step can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Promise {
    /// §3.3: a refresh token is presented a second time only when what came of the first is not known and the rules for that
    /// case allow it at that moment.
    OnePresentation,
    /// §3.3: two flights ask the provider for the same generation only if the first was away: killed, stopped, cut off.
    OneFlight,
    /// §3.3: presentations are at most one for each generation and one more for each thing that went wrong. Together with
    /// the space being finite: no circle contains a call to the provider, so nothing loops.
    NoLoop,
    /// §3.3: what is kept is only ever replaced by a pair that the provider issued later, under a higher generation.
    NeverOlder,
    /// §3.3: only the holder of the present fence ends a refresh, and only of the kept generation.
    NoLateWriter,
    /// §3.3: a grant is declared dead only if its refresh token is truly refused, or was in doubt.
    HonestDeath,
    /// §3.3: in a setting in which the token can always be recovered, no grant is declared dead.
    NeedlessDeath,
    /// §3.3: dead is latched: no lease is given, so nobody asks the provider, until the user connects again.
    DeadIsLatched,
    /// §3.3: from every state, without anything else going wrong, the grant gets a fresh token or is latched as in need of
    /// the user.
    Progress,
    /// §3.2: once revoked, nothing is written and nothing is served.
    Revocation,
    /// §3.3 and issue 3: a token that is known to be expired is not served.
    NeverExpired,
    /// §3.3 and issue 3: tokens that are not kept yet are served only while they still replace what is kept.
    UnsavedReplaces,
    /// Issue 3: a 401 that a client reports for a generation marks that generation and no other.
    ReportMeansItsGeneration,
}

impl Promise {
    /// Its name and where it is made.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::OnePresentation => "§3.3 a token is presented again only with leave",
            Self::OneFlight => "§3.3 one flight at a time",
            Self::NoLoop => "§3.3 never an endless loop",
            Self::NeverOlder => "§3.3 never an older token over a newer one",
            Self::NoLateWriter => "§3.3 a late writer is refused",
            Self::HonestDeath => "§3.3 needs-reconnect is said only when it is so",
            Self::NeedlessDeath => "§3.3 nothing is lost where nothing needs to be",
            Self::DeadIsLatched => "§3.3 dead is latched, without network",
            Self::Progress => "§3.3 usable or latched: no third state",
            Self::Revocation => "§3.2 nothing after a revocation",
            Self::NeverExpired => "§3.3 nothing expired is served",
            Self::UnsavedReplaces => "§3.3 unsaved tokens only while they replace what is kept",
            Self::ReportMeansItsGeneration => "§3.3 a 401 marks its generation only",
        }
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.title())
    }
}

/// The grant has a fresh token, or says that a person must act.
pub(crate) fn is_settled(world: &World) -> bool {
    let row = &world.row;
    row.revoked || row.dead.is_some() || row.token == Token::Fresh
}

/// What must hold in each state.
pub(crate) fn state(config: &Config, world: &World) -> Option<Promise> {
    if world.asked > world.row.generation + world.faults {
        return Some(Promise::NoLoop);
    }
    if config.never_dead && world.row.dead.is_some() {
        return Some(Promise::NeedlessDeath);
    }
    // Whatever a caller of any replica would be handed now.
    for replica in &world.replicas {
        let Some(pair) = world.row.release(config, replica.unsaved()) else {
            continue;
        };
        if world.row.revoked {
            return Some(Promise::Revocation);
        }
        if pair == world.row.pair {
            if world.row.token == Token::Expired {
                return Some(Promise::NeverExpired);
            }
        } else if replica.generation != world.row.generation {
            return Some(Promise::UnsavedReplaces);
        }
    }
    None
}

/// What must hold in each step.
pub(crate) fn step(config: &Config, before: &World, action: Action, after: &World) -> Option<Promise> {
    let (old, new) = (&before.row, &after.row);
    if let Action::Ask(r) | Action::AskAgain(r) = action {
        let sender = &before.replicas[r];
        let doubt = after.replicas[r].doubt;
        // Its own question that it has just heard the end of is not open any more.
        let open = after.open.saturating_sub(1);
        if !sender.was_away && open > 0 && !(doubt && before.may_present(config, sender)) {
            return Some(Promise::OnePresentation);
        }
        let other = before.replicas.iter().enumerate().any(|(q, other)| {
            q != r
                && other.at == crate::world::At::Asking
                && other.generation == sender.generation
                && !other.was_away
        });
        if other && !sender.was_away {
            return Some(Promise::OneFlight);
        }
    }
    let credential = |row: &crate::row::Row| (row.generation, row.pair, row.refresh_token, row.dead);
    if credential(old) != credential(new) {
        if old.revoked {
            return Some(Promise::Revocation);
        }
        let moved = new.generation > old.generation && new.pair > old.pair;
        if (new.generation, new.pair, new.refresh_token) != (old.generation, old.pair, old.refresh_token)
            && !moved
        {
            return Some(Promise::NeverOlder);
        }
        let refused = !before.provider.takes(config.provider, old.refresh_token);
        let honest = match new.dead {
            Some(Death::Refused) => refused,
            Some(Death::Unknown) => {
                before.faults > 0 && (old.note == Some(old.generation) || before.open > 0)
            }
            None => true,
        };
        if old.dead.is_none() && !honest {
            return Some(Promise::HonestDeath);
        }
        if let Action::Save(r) | Action::SaveUnheard(r) | Action::WriteEnd(r) | Action::WriteEndUnheard(r) =
            action
        {
            let writer = &before.replicas[r];
            if !old.is_held_by(writer.generation, writer.fence) {
                return Some(Promise::NoLateWriter);
            }
        }
    }
    if old.dead.is_some() && new.dead.is_some() && old.fence != new.fence {
        return Some(Promise::DeadIsLatched);
    }
    if let Action::Report(generation) = action
        && generation != old.generation
        && old != new
    {
        return Some(Promise::ReportMeansItsGeneration);
    }
    None
}

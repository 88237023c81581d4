//! What can happen: the steps of the replicas, of the network and of everything around them.

use std::fmt;

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

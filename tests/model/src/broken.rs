//! The protocol without one of its rules. A search that does not find what a rule is for proves nothing with it either.

/// The rule that is taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Broken {
    /// The store does not compare the fence when a refresh ends.
    NoFence,
    /// The store does not compare the generation when a refresh ends.
    NoGeneration,
    /// The store compares nothing when a grant is declared dead.
    DeathUnchecked,
    /// The store writes no note when the lease is taken.
    NoNote,
    /// The note counts from the last taking of the lease instead of from the first.
    NoteBeginsAgain,
    /// How old the note is counts from when the store said so and not until the moment of the decision.
    NoteStandsStill,
    /// The lease is not renewed while the provider is being asked.
    NoRenewal,
    /// What may be spent is presented again, always.
    AlwaysAgain,
    /// What may be spent is never presented again.
    NeverAgain,
    /// A token that the provider refused is presented again.
    RefusalNotFinal,
    /// An answer that a token was not spent clears the doubt that an earlier, lost answer left.
    DoubtForgotten,
    /// After a clear answer the same flight asks again although the window for the earlier, lost one is over.
    DoubtNotWeighed,
    /// A lease can be taken although the grant is dead.
    DeadNotLatched,
    /// The end of a refresh is written although the grant was revoked meanwhile.
    RevocationUnchecked,
    /// Tokens that could not be kept are served without asking the store whether they still replace what it keeps.
    UnsavedUnchecked,
    /// The token's end is not looked at when it is served.
    ExpiryUnchecked,
    /// A client's 401 marks the present generation, whichever it was about.
    ReportUnchecked,
    /// A lease never runs out.
    LeaseWithoutEnd,
}

impl Broken {
    /// Every rule.
    pub const ALL: [Self; 18] = [
        Self::NoFence,
        Self::NoGeneration,
        Self::DeathUnchecked,
        Self::NoNote,
        Self::NoteBeginsAgain,
        Self::NoteStandsStill,
        Self::NoRenewal,
        Self::AlwaysAgain,
        Self::NeverAgain,
        Self::RefusalNotFinal,
        Self::DoubtForgotten,
        Self::DoubtNotWeighed,
        Self::DeadNotLatched,
        Self::RevocationUnchecked,
        Self::UnsavedUnchecked,
        Self::ExpiryUnchecked,
        Self::ReportUnchecked,
        Self::LeaseWithoutEnd,
    ];

    /// What is missing, in words.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::NoFence => "the fence is not compared when a refresh ends",
            Self::NoGeneration => "the generation is not compared when a refresh ends",
            Self::DeathUnchecked => "neither is compared when a grant is declared dead",
            Self::NoNote => "no note is written before the token is spent",
            Self::NoteBeginsAgain => "the note counts from the last taking of the lease",
            Self::NoteStandsStill => "the note's age is that of the moment at which the store told it",
            Self::NoRenewal => "the lease is not renewed during the provider call",
            Self::AlwaysAgain => "what may be spent is always presented again",
            Self::NeverAgain => "what may be spent is never presented again",
            Self::RefusalNotFinal => "a refused token is presented again",
            Self::DoubtForgotten => "a clear answer clears the doubt of an earlier, lost one",
            Self::DoubtNotWeighed => "after a clear answer an earlier, lost one is not weighed again",
            Self::DeadNotLatched => "the lease of a dead grant can be taken",
            Self::RevocationUnchecked => "revocation is not looked at when a refresh ends",
            Self::UnsavedUnchecked => "unsaved tokens are served without asking the store",
            Self::ExpiryUnchecked => "the token's end is not looked at when it is served",
            Self::ReportUnchecked => "a reported 401 marks whatever generation is kept",
            Self::LeaseWithoutEnd => "a lease does not run out",
        }
    }
}

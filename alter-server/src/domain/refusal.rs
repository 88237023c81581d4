//! Refusals: the vault's typed "no", as spec/02 §1.3 words it.

use alter_core::wire::code::Code;

use super::{AgentId, Candidate, GrantId, ProviderId, Scope, UserId};

/// A refusal with the fields its row in spec/02 §1.3 allows. Nothing else about the vault's content may be put in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub code: Code,
    /// For people: what was wrong and what to do.
    pub message: String,
    /// The grant, for `grant_revoked` and `credential_revoked`.
    pub grant_id: Option<GrantId>,
    /// The provider, only when the caller itself addressed by provider.
    pub provider: Option<ProviderId>,
    /// The calling agent.
    pub agent_id: Option<AgentId>,
    /// The user the lookup was for.
    pub app_user_id: Option<UserId>,
    /// For `ambiguous_grant`: what to choose from, at most [`Refusal::MAX_CANDIDATES`].
    pub candidates: Vec<Candidate>,
    /// There were more candidates than are listed.
    pub candidates_truncated: bool,
    /// The caller had narrowed by account already.
    pub account_was_provided: bool,
    /// For `insufficient_scope`: what is needed.
    pub required: Option<Scope>,
    /// For `insufficient_scope`: what the key has.
    pub granted: Vec<Scope>,
}

impl Refusal {
    /// Most candidates that an `ambiguous_grant` names.
    pub const MAX_CANDIDATES: usize = 100;

    /// A refusal without further fields. Boxed, since it travels as the rare side of a `Result`.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Box<Self> {
        Box::new(Self {
            code,
            message: message.into(),
            grant_id: None,
            provider: None,
            agent_id: None,
            app_user_id: None,
            candidates: Vec::new(),
            candidates_truncated: false,
            account_was_provided: false,
            required: None,
            granted: Vec::new(),
        })
    }
}

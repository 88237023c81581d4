//! Where in a refresh a process is: for tests that stop or kill it there.

use std::{fmt, sync::Arc};

use crate::domain::GrantId;

/// A step of a refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefreshStep {
    /// About to take the lease and write the note.
    Note,
    /// Lease and note are durable; the provider has not been asked.
    Noted,
    /// The lease is about to be renewed while the provider is being asked.
    Renewing,
    /// The provider gave tokens, which are kept nowhere yet.
    Answered,
    /// The tokens are durable.
    Saved,
}

impl RefreshStep {
    /// Every step.
    pub const ALL: [Self; 5] = [Self::Note, Self::Noted, Self::Renewing, Self::Answered, Self::Saved];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Noted => "noted",
            Self::Renewing => "renewing",
            Self::Answered => "answered",
            Self::Saved => "saved",
        }
    }
}

/// Is told of each step, and may take its time: the flight waits for it.
#[derive(Clone)]
pub struct RefreshObserver(Arc<dyn Fn(RefreshStep, GrantId) + Send + Sync>);

impl RefreshObserver {
    /// An observer. It is called on the runtime's threads, so whoever blocks in it needs a runtime with several.
    pub fn new(observe: impl Fn(RefreshStep, GrantId) + Send + Sync + 'static) -> Self {
        Self(Arc::new(observe))
    }

    pub(super) fn see(&self, step: RefreshStep, grant: GrantId) {
        (self.0)(step, grant);
    }
}

impl fmt::Debug for RefreshObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefreshObserver(..)")
    }
}

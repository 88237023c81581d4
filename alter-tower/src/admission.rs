//! Who a request is from, or why it is refused: the decision, apart from the service that acts on it.

use std::{fmt, sync::Arc};

use alter_core::{
    answer::{Answer, Refusal},
    edge::{Caller, Clients, identify},
    scope::Identity,
};
use http::Method;

use crate::{
    head::RequestHead,
    source::{Bearer, TokenSource},
};

type Skip = dyn Fn(RequestHead<'_>) -> bool + Send + Sync;
type Reword = dyn Fn(Answer) -> Answer + Send + Sync;

/// What a layer was told.
#[derive(Clone)]
pub(crate) struct Admission {
    pub(crate) clients: Clients,
    pub(crate) required: bool,
    pub(crate) source: Arc<dyn TokenSource>,
    pub(crate) skip: Option<Arc<Skip>>,
    pub(crate) reword: Option<Arc<Reword>>,
}

impl Admission {
    pub(crate) fn new(clients: Clients) -> Self {
        Self { clients, required: false, source: Arc::new(Bearer), skip: None, reword: None }
    }

    /// Who a request is from.
    pub(crate) fn identify(&self, head: RequestHead<'_>) -> Result<Identity, Refusal> {
        if self.skip.as_ref().is_some_and(|skip| skip(head)) {
            return Ok(Identity::Anonymous);
        }
        identify(self.source.token(head), self.required, head.method() == Method::OPTIONS)
    }

    /// The caller with that identity.
    pub(crate) fn caller(&self, identity: Identity) -> Caller {
        Caller::new(self.clients.clone(), identity)
    }

    /// The answer to a request that is not let in.
    pub(crate) fn refuse(&self, refusal: &Refusal) -> Answer {
        tracing::debug!(%refusal, "request refused");
        self.reword(Answer::from(refusal))
    }

    pub(crate) fn reword(&self, answer: Answer) -> Answer {
        match &self.reword {
            Some(reword) => reword(answer),
            None => answer,
        }
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").field("required", &self.required).finish_non_exhaustive()
    }
}

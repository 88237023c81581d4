//! Waiting for a flight: what it is at, what came of it, and how long a caller has.

use std::{sync::Arc, time::Duration};

use alter_core::wire::token::{AttemptError, RetryInfo};
use secrecy::SecretString;
use tokio::time::{Instant, timeout_at};

use super::Refresher;
use crate::{
    domain::{CredentialVersion, FailureCode, ProviderId, RefreshFailure},
    store::refresh::Unsaved,
    telemetry,
};

/// What a flight is at.
#[derive(Debug, Clone)]
pub(super) enum Progress {
    /// On its way.
    Flying,
    /// The provider gave tokens, and the store does not take them at the moment.
    Unsaved(Arc<Held>),
    /// Over.
    Ended(Arc<End>),
}

/// Tokens that are kept nowhere but here.
#[derive(Debug)]
pub(crate) struct Held {
    /// For the row of a release.
    pub(crate) unsaved: Unsaved,
    /// What is released.
    pub(crate) access_token: SecretString,
}

/// How a flight ended.
#[derive(Debug)]
pub(super) enum End {
    /// There is a newer generation: ours, or another process's.
    Renewed(Attempts),
    /// There is none.
    Failed {
        failure: RefreshFailure,
        /// When it makes sense to ask again.
        retry_in: Option<Duration>,
    },
    /// The provider is being left alone, because of this and for so long: nothing was tried.
    Paused { failure: RefreshFailure, remaining: Duration },
}

/// How often the provider was asked, and what went wrong before it went right.
#[derive(Debug, Clone, Default)]
pub(super) struct Attempts {
    pub(super) asked: u32,
    pub(super) failed: Vec<(RefreshFailure, Duration)>,
}

impl Attempts {
    /// The wire form (spec/01 §8.1); `None` if this process did not ask.
    fn retry_info(&self) -> Option<RetryInfo> {
        let errors = self.failed.iter().zip(1_u32..).map(|((failure, paused), attempt)| AttemptError {
            attempt,
            error: failure.detail.clone(),
            error_type: failure.code.as_str().to_owned(),
            delay_s: paused.as_secs_f64(),
            permanent: false,
        });
        (self.asked > 0).then(|| RetryInfo {
            total_attempts: self.asked,
            successful_attempt: self.asked,
            errors: errors.collect(),
        })
    }
}

/// What a caller who waited is told.
#[derive(Debug)]
pub(crate) enum Waited {
    /// Read the grant again: there is a newer token.
    Renewed(Option<RetryInfo>),
    /// There is a newer token that is kept nowhere else yet.
    Unsaved(Arc<Held>),
    /// There is none, because of this.
    Failed {
        /// Why.
        failure: RefreshFailure,
        /// When it makes sense to ask again.
        retry_in: Option<Duration>,
    },
    /// It is still under way, and the caller's time is over.
    Late,
}

impl Refresher {
    /// Waits until `version` has been replaced, at most until `deadline`. The flight goes on without its waiters.
    pub(crate) async fn wait(
        &self,
        version: CredentialVersion,
        provider: &ProviderId,
        deadline: Instant,
    ) -> Waited {
        let Some((mut flight, joined)) = self.join(version, provider) else {
            let text = "this process takes on no more refreshes at the moment";
            return Waited::Failed {
                failure: RefreshFailure::new(FailureCode::StoreFailed, text),
                retry_in: Some(Duration::from_secs(1)),
            };
        };
        if joined {
            telemetry::waited(provider);
        }
        loop {
            let told = match &*flight.borrow_and_update() {
                Progress::Flying => None,
                Progress::Unsaved(held) => Some(Waited::Unsaved(Arc::clone(held))),
                Progress::Ended(end) => Some(match &**end {
                    End::Renewed(attempts) => Waited::Renewed(attempts.retry_info()),
                    End::Failed { failure, retry_in } => {
                        Waited::Failed { failure: failure.clone(), retry_in: *retry_in }
                    }
                    End::Paused { failure, remaining } => {
                        Waited::Failed { failure: failure.clone(), retry_in: Some(*remaining) }
                    }
                }),
            };
            if let Some(told) = told {
                return told;
            }
            match timeout_at(deadline, flight.changed()).await {
                Ok(Ok(())) => {}
                // The flight panicked, or its runtime ended.
                Ok(Err(_)) => {
                    let text = "the refresh ended abnormally";
                    return Waited::Failed {
                        failure: RefreshFailure::new(FailureCode::StoreFailed, text),
                        retry_in: Some(Duration::from_secs(1)),
                    };
                }
                Err(_) => return Waited::Late,
            }
        }
    }
}

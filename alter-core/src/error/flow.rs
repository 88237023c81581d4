//! How a connect session or a sign-in ended, as an [`Error`] (spec/03 §1.2, §2.2; spec/02 rows C and A).

use std::time::Duration;

use http::StatusCode;

use super::{
    Error,
    kind::{Conflict, Connect, ConnectTimeout, Kind, Retry},
};
use crate::wire::{
    code::Code,
    connect::{DeclinedProvider, FailedGrant, FlowClass, FlowCode, PollFormatError},
    limit::THROTTLE_CEILING,
};

impl Error {
    /// The vault said that it is over, and why.
    pub(crate) fn ended(code: &FlowCode, message: &str, retry_after_seconds: Option<u64>) -> Self {
        let message = if message.trim().is_empty() { "the vault did not say why it failed" } else { message };
        let error = match code.class() {
            FlowClass::Denied => Self::new(Kind::Connect(Connect::Denied), message),
            FlowClass::Configuration => Self::new(Kind::Connect(Connect::Configuration), message),
            FlowClass::Unavailable => {
                let after = retry_after_seconds.map(Duration::from_secs);
                Self::new(Kind::Backend, message)
                    .with_status(StatusCode::SERVICE_UNAVAILABLE)
                    .with_retry(Retry::AfterBackoff, after.map(|after| after.min(THROTTLE_CEILING)))
            }
            FlowClass::IdentityProvider => {
                Self::new(Kind::Conflict(Conflict::Other), message).with_status(StatusCode::CONFLICT)
            }
            FlowClass::Flow => Self::new(Kind::Connect(Connect::Flow { failed: Vec::new() }), message),
        };
        error.with_code(code)
    }

    /// The person said yes, and yet no grant came about.
    pub(crate) fn nothing_connected(failed: Vec<FailedGrant>) -> Self {
        let known = [FailedGrant::NOT_SELECTED, FailedGrant::ACTIVATION_FAILED];
        let (code, message) = if failed.iter().all(|failed| known.contains(&failed.reason.as_str())) {
            (FlowCode::GrantActivationFailed, "no grant came of the session")
        } else {
            (
                FlowCode::GrantPolicyApplicationFailed,
                "no grant came of the session: limits could not be applied",
            )
        };
        Self::new(Kind::Connect(Connect::Flow { failed }), message).with_code(&code)
    }

    /// The vault knows no such session, or its time is over.
    pub(crate) fn no_such_session() -> Self {
        Self::new(
            Kind::Connect(Connect::Flow { failed: Vec::new() }),
            "the vault does not know the session, or its time is over: start a new one",
        )
    }

    /// A time is over.
    pub(crate) fn out_of_time(reason: ConnectTimeout, mut declined: Vec<DeclinedProvider>) -> Self {
        let message = match reason {
            ConnectTimeout::Deadline => "nobody finished in time: wait again, or start anew",
            ConnectTimeout::SessionExpired => "nobody finished before the session ended: start a new one",
            ConnectTimeout::Throttled => "the time was over while the vault asked to wait: wait again later",
        };
        declined.sort_by(|one, other| one.provider_id.cmp(&other.provider_id));
        Self::new(Kind::Connect(Connect::TimedOut { reason, declined }), message)
    }

    /// An answer of the vault that cannot be read.
    pub(crate) fn unreadable(broken: PollFormatError) -> Self {
        let error = match &broken {
            // What a newer vault calls an end is one, but not one that can be understood (row C-k).
            PollFormatError::UnknownStatus(_) => {
                Self::new(Kind::Connect(Connect::Flow { failed: Vec::new() }), broken.to_string())
                    .with_retry(Retry::Never, None)
            }
            _ => Self::malformed(broken.to_string()),
        };
        error.with_source(broken)
    }

    fn with_code(mut self, code: &FlowCode) -> Self {
        // An empty code is none: the flat error of a sign-in may lack it.
        self.0.code = Some(code.as_str()).filter(|code| !code.is_empty()).map(Code::from);
        self
    }
}

//! What goes wrong where a browser is: at the authorization endpoint, in ID tokens, and at the revocation that
//! ends it all.

use std::str::FromStr;

use serde::Serialize;

use super::Faults;
use crate::site::Site;

/// An enum of faults whose names on the control endpoint are the ones given.
macro_rules! faults {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
        #[non_exhaustive]
        pub enum $name {
            /// It does not.
            #[default]
            #[serde(rename = "none")]
            None,
            $($(#[$doc])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[Self::None, $(Self::$variant),+];

            /// The name on the control endpoint.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    Self::None => "none",
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(name: &str) -> Result<Self, String> {
                let known = Self::ALL.iter().copied().find(|fault| fault.as_str() == name);
                known.ok_or_else(|| {
                    let all: Vec<_> = Self::ALL.iter().map(|fault| fault.as_str()).collect();
                    format!("it is one of {}", all.join(", "))
                })
            }
        }
    };
}

faults! {
    /// How an authorization endpoint misbehaves.
    AuthorizeFault {
        /// Sends the browser back at once with `error=server_error` (RFC 6749 §4.1.2.1).
        ServerError = "server_error",
        /// The same with `error=temporarily_unavailable`.
        TemporarilyUnavailable = "temporarily_unavailable",
        /// The same with `error=access_denied`.
        AccessDenied = "access_denied",
        /// The same with `error=invalid_scope`.
        InvalidScope = "invalid_scope",
        /// 503 and a page: the browser stays where it is.
        Page = "page",
        /// `iss` is `https://attacker.example` (RFC 9207 §2.4).
        WrongIssuer = "wrong_issuer",
        /// `iss` is another provider's of this sandbox, as in a mix-up.
        OtherIssuer = "other_issuer",
        /// The answer has no `iss`, although the metadata promise one.
        NoIssuer = "no_issuer",
        /// `state` is another one.
        WrongState = "wrong_state",
        /// The answer has no `state`.
        NoState = "no_state",
        /// `code` is one that was never issued.
        WrongCode = "wrong_code",
        /// The answer has neither `code` nor `error`.
        NoCode = "no_code",
    }
}

faults! {
    /// What is wrong with the ID tokens of the identity provider.
    IdTokenFault {
        /// There is none.
        Missing = "missing",
        /// `nonce` is another one.
        WrongNonce = "wrong_nonce",
        /// `nonce` is left out.
        NoNonce = "no_nonce",
        /// `aud` is another client.
        WrongAudience = "wrong_audience",
        /// `iss` is another issuer.
        WrongIssuer = "wrong_issuer",
        /// It expired an hour ago.
        Expired = "expired",
        /// It is signed with a key that is published nowhere.
        Forged = "forged",
        /// `alg` is `none`.
        Unsigned = "unsigned",
    }
}

faults! {
    /// How a revocation endpoint misbehaves.
    RevokeFault {
        /// 503; nothing is revoked. With `Retry-After`, if [`Faults::retry_after`] is set.
        Unavailable = "unavailable",
        /// 400 `unsupported_token_type` (RFC 7009 §2.2.1); nothing is revoked.
        UnsupportedTokenType = "unsupported_token_type",
        /// 401 `invalid_client`; nothing is revoked.
        InvalidClient = "invalid_client",
        /// No answer for ten minutes; nothing is revoked.
        Hang = "hang",
        /// The token is revoked, and the connection closed without an answer.
        Drop = "drop",
    }
}

impl AuthorizeFault {
    /// The error with which the browser comes back at once.
    pub(crate) fn error(self) -> Option<&'static str> {
        match self {
            Self::ServerError | Self::TemporarilyUnavailable | Self::AccessDenied | Self::InvalidScope => {
                Some(self.as_str())
            }
            _ => None,
        }
    }
}

impl Faults {
    /// Sets [`Faults::authorize_fault`].
    #[must_use]
    pub fn authorize_fault(mut self, fault: AuthorizeFault) -> Self {
        self.authorize_fault = fault;
        self
    }

    /// Limits [`Faults::authorize_fault`] to the next `answers`.
    #[must_use]
    pub fn authorize_fault_times(mut self, answers: u64) -> Self {
        self.authorize_fault_times = Some(answers);
        self
    }

    /// Sets [`Faults::authorize_delay_ms`].
    #[must_use]
    pub fn authorize_delay_ms(mut self, milliseconds: u64) -> Self {
        self.authorize_delay_ms = milliseconds;
        self
    }

    /// Sets [`Faults::granted_scope`].
    #[must_use]
    pub fn granted_scope(mut self, scope: impl Into<String>) -> Self {
        self.granted_scope = Some(scope.into());
        self
    }

    /// Sets [`Faults::remember_consent`].
    #[must_use]
    pub fn remember_consent(mut self, on: bool) -> Self {
        self.remember_consent = on;
        self
    }

    /// Sets [`Faults::coop`].
    #[must_use]
    pub fn coop(mut self, on: bool) -> Self {
        self.coop = on;
        self
    }

    /// Sets [`Faults::sign_in_coop`].
    #[must_use]
    pub fn sign_in_coop(mut self, on: bool) -> Self {
        self.sign_in_coop = on;
        self
    }

    /// Sets [`Faults::sign_in_fault`].
    #[must_use]
    pub fn sign_in_fault(mut self, fault: AuthorizeFault) -> Self {
        self.sign_in_fault = fault;
        self
    }

    /// Sets [`Faults::id_token_fault`].
    #[must_use]
    pub fn id_token_fault(mut self, fault: IdTokenFault) -> Self {
        self.id_token_fault = fault;
        self
    }

    /// Sets [`Faults::revoke_fault`].
    #[must_use]
    pub fn revoke_fault(mut self, fault: RevokeFault) -> Self {
        self.revoke_fault = fault;
        self
    }

    /// Limits [`Faults::revoke_fault`] to the next `calls`.
    #[must_use]
    pub fn revoke_fault_times(mut self, calls: u64) -> Self {
        self.revoke_fault_times = Some(calls);
        self
    }

    /// What is wrong with this provider's authorization endpoint just now, if it is one of `kind`; taking it
    /// uses up one of [`Faults::authorize_fault_times`].
    pub(crate) fn take_authorize_fault(
        &mut self,
        site: Site,
        kind: impl Fn(AuthorizeFault) -> bool,
    ) -> AuthorizeFault {
        if site == Site::Idp {
            return Some(self.sign_in_fault).filter(|fault| kind(*fault)).unwrap_or_default();
        }
        if !kind(self.authorize_fault) {
            return AuthorizeFault::None;
        }
        take(&mut self.authorize_fault, &mut self.authorize_fault_times)
    }

    /// The fault for one revocation, which uses up one of [`Faults::revoke_fault_times`].
    pub(crate) fn take_revoke_fault(&mut self) -> RevokeFault {
        take(&mut self.revoke_fault, &mut self.revoke_fault_times)
    }
}

fn take<F: Copy + Default>(fault: &mut F, times: &mut Option<u64>) -> F {
    let now = if *times == Some(0) { F::default() } else { *fault };
    if let Some(left) = times {
        *left = left.saturating_sub(1);
        if *left == 0 {
            *fault = F::default();
            *times = None;
        }
    }
    now
}

#[cfg(test)]
mod tests {
    use super::{AuthorizeFault, IdTokenFault, RevokeFault};

    #[test]
    fn every_fault_goes_by_one_name_everywhere() {
        for fault in AuthorizeFault::ALL {
            assert_eq!(fault.as_str().parse(), Ok(*fault));
            assert_eq!(serde_json::to_value(fault).unwrap(), fault.as_str());
        }
        for fault in IdTokenFault::ALL {
            assert_eq!(fault.as_str().parse(), Ok(*fault));
        }
        for fault in RevokeFault::ALL {
            assert_eq!(fault.as_str().parse(), Ok(*fault));
        }
    }
}

//! Why somebody is not signed in.

use alter_core::wire::code::Code;
use http::StatusCode;

use crate::web::Trouble;

/// Why somebody is not signed in. The texts are for the trail; pages have their own words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignInError {
    /// Nobody can sign in to this app here.
    #[error("the app has no sign-in: set it with `alter-server idp set … --client-id`")]
    NotConfigured,
    /// The identity provider does not answer, or not as it should at the moment.
    #[error("the identity provider does not answer: {0}")]
    Unavailable(String),
    /// The identity provider does not take the vault as its client, or speaks otherwise than it must.
    #[error("the sign-in is not set up rightly: {0}")]
    Misconfigured(String),
    /// The user, or the identity provider, said no. Holds its error code.
    #[error("the identity provider answered {0}")]
    Declined(String),
    /// It took more than 15 minutes.
    #[error("the sign-in took longer than 15 minutes")]
    TooLate,
    /// What came back cannot be trusted.
    #[error("the identity provider's answer was refused: {0}")]
    Refused(String),
    /// The vault failed.
    #[error("the vault failed: {0}")]
    Failed(String),
}

impl SignInError {
    /// What the trail calls it.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::NotConfigured => Code::from("sign_in_not_configured"),
            Self::Unavailable(_) => Code::ServiceUnavailable,
            Self::Misconfigured(_) => Code::from("sign_in_misconfigured"),
            Self::Declined(_) => Code::from("sign_in_declined"),
            Self::TooLate => Code::from("sign_in_expired"),
            Self::Refused(_) => Code::JwtValidationError,
            Self::Failed(_) => Code::InternalError,
        }
    }

    /// The page for it, without a way on: [`Trouble::link`] adds one.
    pub(crate) fn trouble(&self) -> Trouble {
        let (status, title, what, next) = match self {
            Self::NotConfigured => (
                StatusCode::NOT_FOUND,
                "Nobody can sign in here",
                "This application has not set up signing in on this site.",
                "Tell the application's support.",
            ),
            Self::Unavailable(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "Signing in is not possible at the moment",
                "The service that knows the application's users does not answer.",
                "Try again in a minute.",
            ),
            Self::Misconfigured(_) => (
                StatusCode::BAD_GATEWAY,
                "Signing in does not work",
                "The application's sign-in service and this site do not understand each other.",
                "Tell the application's support, with the number below.",
            ),
            Self::Declined(_) => (
                StatusCode::FORBIDDEN,
                "You are not signed in",
                "The sign-in was cancelled or refused.",
                "Try again if you want to go on.",
            ),
            Self::TooLate => (
                StatusCode::FORBIDDEN,
                "This took too long",
                "The sign-in was begun more than 15 minutes ago.",
                "Try again.",
            ),
            Self::Refused(_) => (
                StatusCode::FORBIDDEN,
                "You are not signed in",
                "The answer of the sign-in service could not be trusted, so it was not used.",
                "Try again. If it happens again, tell the application's support the number below.",
            ),
            Self::Failed(_) => return Trouble::internal(),
        };
        Trouble::new(status, title, what, next)
    }
}

//! Signing users in on the vault's pages: the vault as a client of the app's identity provider (OpenID Connect Core §3.1),
//! with PKCE (RFC 7636), the issuer's name in the answer (RFC 9207), and one exact redirect address.
//!
//! Nothing of a sign-in that is under way is kept: state, nonce and PKCE verifier are made from the secret in the browser's
//! cookie ([`state`]), so another browser cannot finish it, and an answer that somebody else began is refused. The tokens
//! that come back are held to the app's own rules for users' tokens.

mod callback;
mod error;
mod exchange;
mod party;
mod state;

use std::fmt;

use secrecy::SecretString;
use url::Url;

pub(crate) use callback::callback;
pub(crate) use error::SignInError;
pub(crate) use party::{RESERVED_PARAMS, RelyingParty};

use crate::{
    domain::{AppId, Identity, SessionRef},
    idp::AppEntry,
    vault::Core,
    web::{BrowserSecret, Cookie},
};

/// Where identity providers send browsers back to, below the vault's public address.
pub(crate) const CALLBACK_PATH: &str = "/sdk/auth/callback";

/// What somebody signs in for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To prove to be the user of a connect session.
    Connect(SessionRef),
    /// For a program that waits for the user's token.
    SignIn(SessionRef),
    /// To see the wallet, through this app's identity provider.
    Wallet(AppId),
}

impl Purpose {
    /// The app whose identity provider is asked.
    pub(crate) fn app_id(self) -> AppId {
        match self {
            Self::Connect(session) | Self::SignIn(session) => session.app_id,
            Self::Wallet(app_id) => app_id,
        }
    }

    /// The cookie whose secret the sign-in is bound to.
    pub(crate) fn cookie(self) -> Cookie {
        match self {
            Self::Connect(_) | Self::SignIn(_) => Cookie::Connect,
            Self::Wallet(_) => Cookie::SignIn,
        }
    }
}

/// How the identity provider is to ask (OpenID Connect Core §3.1.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prompt {
    /// As it sees fit: who is signed in there already is sent back at once.
    Automatic,
    /// Which account, even if one is signed in: after somebody was found to be the wrong person, or has signed out.
    SelectAccount,
}

/// Somebody who signed in.
pub(crate) struct SignedIn {
    /// Who, by the app's mapping of claims.
    pub(crate) identity: Identity,
    /// The token that the app takes for its user: what `authenticate()` returns. Whether the app's rules accept it has been
    /// checked for [`Purpose::SignIn`], and whenever it is the access token.
    pub(crate) user_token: SecretString,
}

/// The token is left out.
impl fmt::Debug for SignedIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedIn").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// Where to send a browser to sign in. `secret` is that of [`Purpose::cookie`], which the browser must have when it returns.
///
/// # Errors
///
/// [`SignInError`]: the app has no sign-in, or its identity provider cannot be found at the moment.
pub(crate) async fn begin(
    core: &Core,
    app: &AppEntry,
    purpose: Purpose,
    secret: &BrowserSecret,
    prompt: Prompt,
) -> Result<Url, SignInError> {
    let party = app.relying_party.as_ref().ok_or(SignInError::NotConfigured)?;
    let public = core.web.public_url.as_ref().ok_or(SignInError::NotConfigured)?;
    let state = state::State::fresh(purpose, secret, core.clock.now())?;
    party.authorization_url(public, &state, prompt).await
}

//! Signing users in on the vault's pages: the vault as a client of the app's identity provider (OpenID Connect Core §3.1).

use std::fmt;

use secrecy::SecretString;

use crate::domain::{AppId, Identity, SessionRef};

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

/// How the identity provider is to ask (OpenID Connect Core §3.1.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prompt {
    /// As it sees fit: who is signed in there already is sent back at once.
    Automatic,
    /// Which account, even if one is signed in: after somebody was found to be the wrong person.
    SelectAccount,
}

/// Somebody who signed in.
pub(crate) struct SignedIn {
    /// Who.
    pub(crate) identity: Identity,
    /// The token that the app takes for its user: what `authenticate()` returns.
    pub(crate) user_token: SecretString,
}

/// The token is left out.
impl fmt::Debug for SignedIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedIn").field("identity", &self.identity).finish_non_exhaustive()
    }
}

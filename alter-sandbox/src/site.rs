//! The three places of a sandbox at which a person signs in.

use crate::state::sha256;

/// A provider with its own pages, client, accounts, cookie and issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Site {
    /// The identity provider of the application's own users.
    Idp,
    /// The OAuth provider `sandbox`.
    First,
    /// The OAuth provider `sandbox-two`.
    Second,
}

impl Site {
    pub(crate) const ALL: [Self; 3] = [Self::Idp, Self::First, Self::Second];

    /// Where it is mounted. None is the path of another and more of it, so that no cookie goes astray.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::Idp => "/idp",
            Self::First => "/oauth",
            Self::Second => "/oauth2",
        }
    }

    /// Its name for programs.
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::Idp => "sandbox-idp",
            Self::First => "sandbox",
            Self::Second => "sandbox-two",
        }
    }

    /// Its name for people.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Idp => "Sandbox ID",
            Self::First => "Sandbox",
            Self::Second => "Sandbox Two",
        }
    }

    pub(crate) fn issuer(self, base: &str) -> String {
        format!("{base}{}", self.prefix())
    }

    /// Whom a mix-up would take it for.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Idp | Self::Second => Self::First,
        }
    }

    /// The `sub` of whoever signs in under this name on the pages: at the identity provider the name itself, at
    /// an OAuth provider an id that does not give the name away, as real ones have it.
    pub(crate) fn account_id(self, account: &str) -> String {
        match self {
            Self::Idp => account.to_owned(),
            Self::First | Self::Second => {
                let digest = sha256(format!("{}\n{account}", self.id()).as_bytes());
                format!("acct_{}", hex::encode(&digest[..8]))
            }
        }
    }
}

/// An account's address. Two accounts of one user have two.
pub(crate) fn email(account: &str) -> String {
    if account.contains('@') { account.to_owned() } else { format!("{account}@example.test") }
}

/// What an account's owner is called.
pub(crate) fn display_name(account: &str) -> &str {
    account.split_once('@').map_or(account, |(name, _)| name)
}

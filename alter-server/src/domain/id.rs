//! Identifiers. One type each, so that the compiler notices a key where a grant was meant.

use std::{fmt, str::FromStr};

use uuid::Uuid;

/// The text was not a hyphenated UUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be a UUID such as 0b9cf2d4-54a5-4a7c-8d0f-5f6d4be1e7a1")]
pub struct InvalidId {
    what: &'static str,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $what:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A fresh random identifier (UUID version 4).
            #[must_use]
            pub fn random() -> Self {
                Self(Uuid::new_v4())
            }

            /// Takes an identifier that already exists.
            #[must_use]
            pub const fn from_uuid(id: Uuid) -> Self {
                Self(id)
            }

            /// The identifier as a UUID.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }

            /// The identifier as 16 bytes, the form in which stores keep it.
            #[must_use]
            pub const fn bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl From<$name> for uuid::Uuid {
            fn from(id: $name) -> Self {
                id.uuid()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                // `Uuid` also reads the braced, URN and unhyphenated forms; the wire has one form (spec/01 §5.1).
                if text.len() != 36 {
                    return Err(InvalidId { what: $what });
                }
                Uuid::try_parse(text).map(Self).map_err(|_| InvalidId { what: $what })
            }
        }
    )+};
}

ids! {
    /// An application: the outermost boundary, first column of every key.
    AppId = "an app id";
    /// An API key (not its secret).
    KeyId = "a key id";
    /// A managed agent of an app.
    AgentId = "an agent id";
    /// A user of an app. On the wire `app_user_id`.
    UserId = "a user id";
    /// A grant: the right to use one account at one provider.
    GrantId = "a grant id";
    /// A managed secret.
    SecretId = "a managed secret id";
    /// One version of a grant's credential; echoed by clients in reports (spec/01 §5.1).
    TokenGeneration = "a token generation";
    /// One row of the audit trail (UUID version 7, so that ids sort by time).
    AuditId = "an audit row id";
    /// One run of one process that writes; part of the name of an audit chain.
    RunId = "a run id";
    /// Who a caller's text name stands for (spec/01 §3.1).
    ActorId = "an actor id";
    /// A connect session, a sign-in session, or a browser's session with the wallet.
    SessionId = "a session id";
    /// A piece of work in the outbox.
    JobId = "a job id";
    /// A place that is told of changes, or that tells of them.
    WebhookId = "a webhook id";
}

impl AppId {
    /// The vault itself: the chain that takes refusals whose app is not known (an unknown key).
    pub const VAULT: Self = Self(Uuid::nil());
}

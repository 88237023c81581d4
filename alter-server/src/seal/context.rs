//! What a sealed value is bound to.

use uuid::Uuid;

use crate::domain::AppId;

/// Which secret of which kind of row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Field {
    /// An API key's derived signing key.
    KeySigning,
    /// A provider's OAuth client secret.
    ProviderClientSecret,
    /// A managed secret's material.
    SecretMaterial,
    /// A grant's access token.
    GrantAccessToken,
    /// A grant's refresh token.
    GrantRefreshToken,
    /// The bodies of a reported call.
    AuditBodies,
    /// The private half of a key that signs audit checkpoints.
    CheckpointKey,
    /// The digest at the end of an exported file.
    ExportDigest,
    /// The client secret of an app at its identity provider.
    SignInSecret,
    /// The user's token at the end of a sign-in session.
    SessionUserToken,
    /// What outgoing webhooks are signed with.
    WebhookSecret,
    /// What incoming webhooks are checked with.
    HookSecret,
}

impl Field {
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::KeySigning => ("api_key", "signing_key"),
            Self::ProviderClientSecret => ("provider", "client_secret"),
            Self::SecretMaterial => ("managed_secret", "material"),
            Self::GrantAccessToken => ("grant", "access_token"),
            Self::GrantRefreshToken => ("grant", "refresh_token"),
            Self::AuditBodies => ("audit", "bodies"),
            Self::CheckpointKey => ("audit_key", "private_key"),
            Self::ExportDigest => ("export", "digest"),
            Self::SignInSecret => ("app", "sign_in_secret"),
            Self::SessionUserToken => ("session", "user_token"),
            Self::WebhookSecret => ("webhook_endpoint", "secret"),
            Self::HookSecret => ("hook_source", "secret"),
        }
    }
}

/// The place that a sealed value belongs to. A value opens only with the context it was sealed with: a row copied to another
/// id, app, column or version does not open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealContext {
    /// The app.
    pub app_id: AppId,
    /// Which secret.
    pub field: Field,
    /// Key of the row within the app: the 16 bytes of its id, or its name.
    pub row: Vec<u8>,
    /// Version of the value.
    pub generation: u64,
}

impl SealContext {
    /// A context for a row that is named by a UUID.
    #[must_use]
    pub fn of(app_id: AppId, field: Field, row: Uuid, generation: u64) -> Self {
        Self { app_id, field, row: row.as_bytes().to_vec(), generation }
    }

    /// The bytes that are authenticated along with the value: every part preceded by its length, so that no two contexts
    /// have the same encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (kind, field) = self.field.names();
        let parts: [&[u8]; 6] = [
            b"alter-seal-v1",
            self.app_id.bytes(),
            kind.as_bytes(),
            &self.row,
            field.as_bytes(),
            &self.generation.to_be_bytes(),
        ];
        let mut out = Vec::with_capacity(128 + self.row.len());
        for part in parts {
            out.extend_from_slice(&(part.len() as u64).to_be_bytes());
            out.extend_from_slice(part);
        }
        out
    }
}

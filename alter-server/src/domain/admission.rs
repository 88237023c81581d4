//! What a signed call brings along besides its question, and who an operator is.

use std::fmt;

use aws_lc_rs::digest;
use jiff::Timestamp;
use uuid::Uuid;

use super::{ActorId, AgentId, AppId, KeyId, Scope};

/// The kinds of caller a client may claim to be (spec/01 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallerType {
    /// `agent`.
    Agent,
    /// `service`.
    Service,
}

impl CallerType {
    /// The wire form.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Service => "service",
        }
    }

    /// Reads the wire form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "agent" => Some(Self::Agent),
            "service" => Some(Self::Service),
            _ => None,
        }
    }
}

/// A request's nonce in the compact form in which it is kept: the 16 bytes of 32 hex characters (spec/01 §2.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Nonce([u8; 16]);

impl Nonce {
    /// Reads a nonce as published clients send it: exactly 32 lower-case hex characters.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 32 || text.bytes().any(|b| b.is_ascii_uppercase()) {
            return None;
        }
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// Takes 16 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// Who the caller says it is. Signed by the client, so it is the key holder's own statement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Actor {
    /// `X-Alter-Caller`: a text name, or the UUID of a managed agent.
    pub caller: Option<String>,
    /// `X-Alter-Caller-Type`.
    pub caller_type: Option<CallerType>,
    /// `X-Alter-Actor-ID` as sent.
    pub actor_id: Option<ActorId>,
    /// `X-Alter-Context`: JSON text, at most 4,096 bytes (spec/01 §3.3).
    pub context: Option<String>,
}

impl Actor {
    /// The managed agent that the caller header names: a UUID, unless the caller calls itself a service (spec/01 §3.1).
    #[must_use]
    pub fn asserted_agent(&self) -> Option<AgentId> {
        if self.caller_type == Some(CallerType::Service) {
            return None;
        }
        self.caller.as_deref()?.parse().ok()
    }

    /// The id that stands for a text name. It is a function of app, type and name, so that no replica has to ask another
    /// (spec/01 §3.1 wants one actor per app, caller and caller type). `None` without a name or when
    /// the name is that of a managed agent.
    #[must_use]
    pub fn derived_id(&self, app_id: AppId) -> Option<ActorId> {
        let caller = self.caller.as_deref()?;
        if self.asserted_agent().is_some() {
            return None;
        }
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(b"alter-actor-v1");
        hash.update(app_id.bytes());
        hash.update(&[match self.caller_type {
            None => 0,
            Some(CallerType::Agent) => 1,
            Some(CallerType::Service) => 2,
        }]);
        hash.update(caller.as_bytes());
        let digest = hash.finish();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest.as_ref()[..16]);
        Some(ActorId::from_uuid(uuid::Builder::from_custom_bytes(bytes).into_uuid()))
    }
}

/// A call whose signature was good, on its way into the store. The first step of its unit of work is the same for all
/// calls: read the key, agent and app again, compare the configuration's generation, use up the nonce.
#[derive(Debug, Clone)]
pub struct Admission {
    /// App of the key that signed.
    pub app_id: AppId,
    /// The key that signed.
    pub key_id: KeyId,
    /// [`super::AppConfig::generation`] that the call was prepared with.
    pub config_generation: u64,
    /// When the call arrived, UTC. Expiry is judged at this moment, and the audit row carries it.
    pub at: Timestamp,
    /// `X-Alter-Timestamp`: Unix seconds, already found to be inside the window.
    pub timestamp: i64,
    /// `X-Alter-Nonce`.
    pub nonce: Nonce,
    /// What the key must be allowed to do.
    pub scope: Scope,
    /// Who the caller says it is.
    pub actor: Actor,
    /// `traceparent`, if a valid one came along.
    pub trace_parent: Option<String>,
    /// Name of this request in logs and answers (`X-Request-ID`).
    pub request_id: Uuid,
    /// Address of the peer, if there is one (none in process).
    pub remote: Option<String>,
}

/// Whoever changes the vault from outside the protocol: the command line, the embedding program.
#[derive(Debug, Clone)]
pub struct Operator {
    /// Name for the audit trail, such as `cli:alice`; at most 255 characters are kept.
    pub name: String,
    /// When, UTC.
    pub at: Timestamp,
}

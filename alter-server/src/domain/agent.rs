//! Managed agents.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{AgentId, AppId};

/// State of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentStatus {
    /// Its keys are honoured.
    Active,
    /// Paused: its keys are refused with `agent_inactive`, except that reports of finished calls are still taken.
    Inactive,
    /// Refused for good with `agent_revoked`.
    Revoked,
}

/// An agent as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Agent {
    /// The agent.
    pub id: AgentId,
    /// Its app.
    pub app_id: AppId,
    /// Unique among the app's agents that are not revoked.
    pub name: String,
    /// Its state.
    pub status: AgentStatus,
    /// UTC.
    pub created_at: Timestamp,
}

/// An agent to be created.
#[derive(Debug, Clone)]
pub struct NewAgent {
    /// Identifier.
    pub id: AgentId,
    /// The app.
    pub app_id: AppId,
    /// Unique among the app's agents that are not revoked; 1 to 100 characters.
    pub name: String,
}

//! `app`, `key`, `agent`.

use alter_core::wire::key::ApiKey as WireKey;
use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    CliError, Session,
    appearance::Page,
    input::End,
    output::{Output, dash},
};
use crate::{
    admin::{AdminError, KeyRequest, MintedKey},
    domain::{AgentStatus, ApiKey, AppStatus, KeyId, KeyKind, Scope},
};

#[derive(Debug, Subcommand)]
pub(super) enum AppCommand {
    /// Create an app
    Create {
        /// Its name, unique in the vault
        name: String,
    },
    /// List all apps
    List,
    /// Show or set how an app appears on the vault's pages, and where these may lead back to
    Page(Page),
    /// Refuse every signed call of an app
    Suspend {
        /// Name or id
        app: String,
    },
    /// Serve a suspended app again
    Resume {
        /// Name or id
        app: String,
    },
}

impl AppCommand {
    pub(super) async fn run(self, session: &Session) -> Result<Output, CliError> {
        let admin = &session.admin;
        match self {
            Self::Create { name } => {
                let app = admin.create_app(&name).await?;
                let text =
                    format!("created app {} ({})\nnext: alter-server key create NAME", app.name, app.id);
                Ok(Output::one(&app, text))
            }
            Self::List => {
                let apps = admin.apps().await?;
                Ok(Output::list(&apps, ["ID", "NAME", "STATUS"], |app| {
                    [app.id.to_string(), app.name.clone(), word(&app.status)]
                }))
            }
            Self::Page(page) => page.run(session).await,
            Self::Suspend { app } => set_status(session, &app, AppStatus::Suspended).await,
            Self::Resume { app } => set_status(session, &app, AppStatus::Active).await,
        }
    }
}

async fn set_status(session: &Session, app: &str, status: AppStatus) -> Result<Output, CliError> {
    let app = session.admin.app(app).await?;
    let app = session.admin.set_app_status(app.id, status).await?;
    let text = format!("app {} is {}", app.name, word(&app.status));
    Ok(Output::one(&app, text))
}

/// A unit value of ours as its wire word.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

#[derive(Debug, Args)]
pub(super) struct KeyOptions {
    /// What the key may do, separated by commas; everything by default
    #[arg(long, value_delimiter = ',', value_parser = scope, value_name = "SCOPES")]
    scopes: Vec<Scope>,
    /// Calls per minute; the app's limit by default
    #[arg(long, value_name = "CALLS")]
    rate_limit: Option<u32>,
    #[command(flatten)]
    end: End,
}

fn scope(text: &str) -> Result<Scope, String> {
    Scope::parse(text).ok_or_else(|| {
        let known: Vec<_> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
        format!("a scope is one of {}", known.join(", "))
    })
}

impl KeyOptions {
    fn request(self, name: &str) -> Result<KeyRequest, CliError> {
        let mut request = KeyRequest::named(name);
        if !self.scopes.is_empty() {
            request = request.scopes(self.scopes);
        }
        if let Some(calls) = self.rate_limit {
            request = request.rate_limit_per_minute(calls);
        }
        if let Some(at) = self.end.instant()? {
            request = request.expires_at(at);
        }
        Ok(request)
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Mint a key for the app; it is printed once
    Create {
        /// A name for people
        name: String,
        #[command(flatten)]
        options: KeyOptions,
    },
    /// List the keys of the app and its agents
    List,
    /// Revoke a key for good
    Revoke {
        /// Id, or its first characters as listed if they are unique
        key: String,
    },
    /// Warn the users of a key on every answer
    Deprecate {
        /// Id or first characters
        key: String,
    },
    /// Stop warning
    Undeprecate {
        /// Id or first characters
        key: String,
    },
}

impl KeyCommand {
    pub(super) async fn run(self, session: &Session) -> Result<Output, CliError> {
        let admin = &session.admin;
        let app = session.app().await?;
        match self {
            Self::Create { name, options } => {
                Ok(minted(&admin.create_key(app.id, options.request(&name)?).await?))
            }
            Self::List => Ok(keys(&admin.keys(app.id).await?)),
            Self::Revoke { key } => {
                let key = find(session, app.id, &key).await?;
                Ok(changed(&admin.revoke_key(app.id, key).await?))
            }
            Self::Deprecate { key } => {
                let key = find(session, app.id, &key).await?;
                Ok(changed(&admin.deprecate_key(app.id, key, true).await?))
            }
            Self::Undeprecate { key } => {
                let key = find(session, app.id, &key).await?;
                Ok(changed(&admin.deprecate_key(app.id, key, false).await?))
            }
        }
    }
}

fn keys(keys: &[ApiKey]) -> Output {
    Output::list(keys, ["ID", "NAME", "KEY", "OF", "STATUS", "EXPIRES"], |key| {
        let of = match key.kind {
            KeyKind::App => "app".to_owned(),
            KeyKind::Agent(agent) => format!("agent {agent}"),
        };
        let shown = format!("{}…", key.prefix);
        [key.id.to_string(), key.name.clone(), shown, of, word(&key.status), dash(key.expires_at)]
    })
}

fn changed(key: &ApiKey) -> Output {
    Output::one(key, format!("key {} ({}…) is {}", key.name, key.prefix, word(&key.status)))
}

fn minted(minted: &MintedKey) -> Output {
    let mut value = serde_json::to_value(&minted.record).unwrap_or_default();
    value["key"] = json!(WireKey::expose(&minted.key));
    let text = format!(
        "{}\n\nThis is the only time the key is shown. Its id is {}.",
        minted.key.expose(),
        minted.record.id
    );
    Output::one(&value, text)
}

async fn find(session: &Session, app: crate::domain::AppId, text: &str) -> Result<KeyId, CliError> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let mut found = session.admin.keys(app).await?;
    found.retain(|key| !key.prefix.is_empty() && text.starts_with(&key.prefix));
    match found.as_slice() {
        [key] => Ok(key.id),
        [] => Err(AdminError::NotFound("the app has no key like that".to_owned()).into()),
        _ => Err(AdminError::Conflict("several keys begin like that: give the id".to_owned()).into()),
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum AgentCommand {
    /// Create an agent
    Create {
        /// Its name, unique in the app
        name: String,
    },
    /// List the app's agents
    List,
    /// Refuse an agent's keys until it is resumed
    Pause {
        /// Name or id
        agent: String,
    },
    /// Honour a paused agent's keys again
    Resume {
        /// Name or id
        agent: String,
    },
    /// Refuse an agent's keys for good
    Revoke {
        /// Name or id
        agent: String,
    },
    /// Mint a key for an agent; it is printed once
    Key {
        /// Name or id
        agent: String,
        /// A name of the key for people; the agent's by default
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        options: KeyOptions,
    },
}

impl AgentCommand {
    pub(super) async fn run(self, session: &Session) -> Result<Output, CliError> {
        let admin = &session.admin;
        let app = session.app().await?;
        let (agent, status) = match self {
            Self::Create { name } => {
                let agent = admin.create_agent(app.id, &name).await?;
                let text = format!(
                    "created agent {} ({})\nnext: alter-server agent key {}",
                    agent.name, agent.id, agent.name
                );
                return Ok(Output::one(&agent, text));
            }
            Self::List => {
                let agents = admin.agents(app.id).await?;
                return Ok(Output::list(&agents, ["ID", "NAME", "STATUS"], |agent| {
                    [agent.id.to_string(), agent.name.clone(), word(&agent.status)]
                }));
            }
            Self::Key { agent, name, options } => {
                let agent = admin.agent(app.id, &agent).await?;
                let request = options.request(name.as_deref().unwrap_or(&agent.name))?.agent(agent.id);
                return Ok(minted(&admin.create_key(app.id, request).await?));
            }
            Self::Pause { agent } => (agent, AgentStatus::Inactive),
            Self::Resume { agent } => (agent, AgentStatus::Active),
            Self::Revoke { agent } => (agent, AgentStatus::Revoked),
        };
        let agent = admin.agent(app.id, &agent).await?;
        let agent = admin.set_agent_status(app.id, agent.id, status).await?;
        let text = format!("agent {} is {}", agent.name, word(&agent.status));
        Ok(Output::one(&agent, text))
    }
}

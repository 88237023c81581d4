//! `webhook` and `hook`: who is told what happens to grants, and who tells what happens to users.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use secrecy::ExposeSecret;
use serde_json::json;

use super::{
    CliError, Session, input,
    output::{Output, dash},
};
use crate::{
    PublicUrl,
    admin::{AddedHookSource, AdminError},
    domain::{DeadJob, GrantEvent, HookShape, JobId, WebhookId},
};

/// Dead jobs that are listed or tried again at once.
const MOST: u32 = 1_000;

#[derive(Debug, Subcommand)]
pub(super) enum WebhookCommand {
    /// Have an address told of what happens to the app's grants; the signing secret is printed once
    Add {
        /// https, or http on loopback
        url: String,
        /// Only of this, such as grant.revoked; may be repeated. Of everything by default
        #[arg(long = "event", value_name = "EVENT", value_parser = GrantEvent::ALL.map(GrantEvent::as_str))]
        events: Vec<String>,
    },
    /// List the addresses
    List,
    /// Remove an address, and what still waits for it
    Remove {
        /// Its id
        id: WebhookId,
    },
    /// List what was given up: events, and revocations at providers
    Dead,
    /// Try again at once what was given up
    Retry {
        /// Its id
        #[arg(required_unless_present = "all")]
        id: Option<JobId>,
        /// Everything that was given up
        #[arg(long, conflicts_with = "id")]
        all: bool,
    },
    /// Forget what was given up; of a revocation also the tokens, which may still be good at the provider
    Drop {
        /// Its id
        id: JobId,
    },
}

impl WebhookCommand {
    pub(super) async fn run(self, session: &Session) -> Result<Output, CliError> {
        let admin = &session.admin;
        let app = session.app().await?.id;
        match self {
            Self::Add { url, events } => {
                let wanted = |event: &GrantEvent| events.iter().any(|name| name == event.as_str());
                let events = GrantEvent::ALL.into_iter().filter(wanted).collect();
                let added = admin.add_webhook(app, &url, events).await?;
                let secret = added.secret.expose_secret();
                let mut value = json!(added.endpoint);
                value["secret"] = json!(secret);
                let text = format!(
                    "{secret}\n\nThis is the only time the signing secret is shown. The endpoint's id is {}.",
                    added.endpoint.id
                );
                Ok(Output::one(&value, text))
            }
            Self::List => {
                let endpoints = admin.webhooks(app).await?;
                Ok(Output::list(&endpoints, ["ID", "URL", "EVENTS", "CREATED"], |endpoint| {
                    let events: Vec<_> = endpoint.events.iter().map(|event| event.as_str()).collect();
                    let events = if events.is_empty() { "all".to_owned() } else { events.join(" ") };
                    [endpoint.id.to_string(), endpoint.url.clone(), events, endpoint.created_at.to_string()]
                }))
            }
            Self::Remove { id } => {
                admin.remove_webhook(app, id).await?;
                Ok(Output::one(&json!({ "id": id }), format!("removed endpoint {id}")))
            }
            Self::Dead => Ok(dead(&admin.dead_jobs(app, MOST, 0).await?)),
            Self::Retry { id, .. } => {
                let ids = match id {
                    Some(id) => vec![id],
                    None => admin.dead_jobs(app, MOST, 0).await?.iter().map(|job| job.id).collect(),
                };
                for id in &ids {
                    admin.retry_job(app, *id).await?;
                }
                let text = format!("{} will be tried again at once by whichever process serves", ids.len());
                Ok(Output::one(&json!({ "retried": ids }), text))
            }
            Self::Drop { id } => {
                admin.drop_job(app, id).await?;
                Ok(Output::one(&json!({ "id": id }), format!("dropped {id}")))
            }
        }
    }
}

fn dead(jobs: &[DeadJob]) -> Output {
    Output::list(jobs, ["ID", "WHAT", "TARGET", "GRANT", "ATTEMPTS", "SINCE", "ERROR"], |job| {
        [
            job.id.to_string(),
            job.task.to_owned(),
            job.target.clone(),
            job.grant_id.to_string(),
            job.attempts.to_string(),
            job.created_at.to_string(),
            dash(job.last_error.as_deref()),
        ]
    })
}

#[derive(Debug, Args)]
pub(super) struct Hook {
    /// Where the vault is reached from outside, for the address that is printed
    #[arg(long, global = true, env = "ALTER_PUBLIC_URL", value_name = "URL")]
    public_url: Option<PublicUrl>,
    #[command(subcommand)]
    command: HookCommand,
}

#[derive(Debug, Subcommand)]
enum HookCommand {
    /// Have an identity provider heard: users that it suspends or deletes lose every grant at once
    Add {
        /// The form of its messages
        #[arg(long, value_parser = ["generic", "auth0", "clerk", "okta"])]
        shape: String,
        /// A file with what its messages are checked with, `-` for standard input: the signing secret (whsec_…) of generic and
        /// clerk, the value of the header Authorization of auth0 and okta
        #[arg(long, value_name = "FILE")]
        secret_file: PathBuf,
    },
    /// List them, with the address that each sends to
    List,
    /// Refuse one's messages from now on
    Remove {
        /// Its id
        id: WebhookId,
    },
}

impl Hook {
    pub(super) fn public_url(&self) -> Option<PublicUrl> {
        self.public_url.clone()
    }

    pub(super) async fn run(self, session: &Session) -> Result<Output, CliError> {
        let admin = &session.admin;
        let app = session.app().await?.id;
        match self.command {
            HookCommand::Add { shape, secret_file } => {
                let shape =
                    HookShape::parse(&shape).map_err(|error| AdminError::Invalid(error.to_string()))?;
                let added = admin.add_hook_source(app, shape, input::secret(&secret_file)?).await?;
                let text = format!(
                    "added source {}\nnext: have the identity provider send its messages to {}",
                    added.source.id,
                    address(&added)
                );
                Ok(Output::one(&described(&added), text))
            }
            HookCommand::List => {
                let sources = admin.hook_sources(app).await?;
                let values: Vec<_> = sources.iter().map(described).collect();
                Ok(Output::list(&values, ["ID", "SHAPE", "ADDRESS", "CREATED"], |value| {
                    let address = value["url"].as_str().or_else(|| value["path"].as_str());
                    let text = |name: &str| dash(value[name].as_str());
                    [text("id"), text("shape"), dash(address), text("created_at")]
                }))
            }
            HookCommand::Remove { id } => {
                admin.remove_hook_source(app, id).await?;
                Ok(Output::one(&json!({ "id": id }), format!("removed source {id}")))
            }
        }
    }
}

fn described(added: &AddedHookSource) -> serde_json::Value {
    let mut value = json!(added.source);
    value["path"] = json!(added.path);
    value["url"] = json!(added.url.as_ref().map(url::Url::as_str));
    value
}

fn address(added: &AddedHookSource) -> String {
    match &added.url {
        Some(url) => url.to_string(),
        None => format!("{} below the vault's own address (name that with --public-url)", added.path),
    }
}

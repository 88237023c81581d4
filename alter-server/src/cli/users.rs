//! `user`.

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    CliError, Session,
    output::{Output, dash},
};
use crate::{
    admin::AdminError,
    domain::{UserId, UserRef, UserStatus},
};

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// List users, oldest first
    List {
        /// At most so many, 1 to 1000
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        limit: u32,
        /// Leave out so many
        #[arg(long, default_value_t = 0)]
        offset: u64,
    },
    /// End every grant of a user, and refuse the user's tokens until it is activated again
    Suspend(Who),
    /// Accept a suspended user's tokens again; the grants are gone, and the user connects anew
    Activate(Who),
    /// End every grant of a user and refuse the user's tokens for good; name and address are removed
    Delete(Who),
}

#[derive(Debug, Args)]
pub(super) struct Who {
    /// What the user's tokens say: the mapped subject claim. The user need not have been seen
    #[arg(long, required_unless_present = "id", conflicts_with = "id")]
    subject: Option<String>,
    /// The issuer of the user's tokens; the app's identity provider by default
    #[arg(long, requires = "subject")]
    issuer: Option<String>,
    /// The user's id, instead of a subject
    #[arg(long)]
    id: Option<UserId>,
    /// Why, for the audit trail
    #[arg(long)]
    reason: Option<String>,
}

impl UserCommand {
    pub(super) async fn run(self, session: &Session) -> Result<Output, CliError> {
        let admin = &session.admin;
        let app = session.app().await?.id;
        let (who, status, word) = match self {
            Self::List { limit, offset } => {
                let users = admin.users(app, limit, offset).await?;
                return Ok(Output::list(
                    &users,
                    ["ID", "STATUS", "SUBJECT", "EMAIL", "ISSUER", "SEEN"],
                    |user| {
                        let status = json!(user.status);
                        [
                            user.id.to_string(),
                            dash(status.as_str()),
                            user.subject.clone(),
                            dash(user.email.as_deref()),
                            user.issuer.clone(),
                            user.created_at.to_string(),
                        ]
                    },
                ));
            }
            Self::Suspend(who) => (who, UserStatus::Suspended, "suspended"),
            Self::Activate(who) => (who, UserStatus::Active, "active"),
            Self::Delete(who) => (who, UserStatus::Deleted, "deleted"),
        };
        let Who { subject, issuer, id, reason } = who;
        let user = match (id, subject) {
            (Some(id), _) => UserRef::Id(id),
            (None, Some(subject)) => {
                let issuer = match issuer {
                    Some(issuer) => issuer,
                    None => admin.app_config(app).await?.idp.map(|idp| idp.issuer).ok_or_else(|| {
                        AdminError::Invalid("the app has no identity provider: name the --issuer".to_owned())
                    })?,
                };
                UserRef::Subject { issuer, subject }
            }
            (None, None) => {
                return Err(AdminError::Invalid("name the user: --subject or --id".to_owned()).into());
            }
        };
        let changed = admin.set_user_status(app, user, status, reason).await?;
        let mut text = format!("user {} ({}) is {word}", changed.user.id, changed.user.subject);
        if status != UserStatus::Active {
            text.push_str(&match changed.revoked.as_slice() {
                [] => "; no grant was active".to_owned(),
                ended => {
                    let ended: Vec<_> = ended.iter().map(ToString::to_string).collect();
                    format!("; ended {} grants:\n{}", ended.len(), ended.join("\n"))
                }
            });
        }
        Ok(Output::one(&json!({ "user": changed.user, "revoked": changed.revoked }), text))
    }
}

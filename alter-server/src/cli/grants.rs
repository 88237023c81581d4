//! `grant`.

use std::path::PathBuf;

use alter_core::clock::{Clock, SystemClock};
use clap::{Args, Subcommand};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::{
    CliError, Session,
    input::{self, End},
    output::{Output, dash},
};
use crate::{
    admin::Admin,
    api,
    domain::{AppId, Grant, GrantFilter, GrantHealth, GrantId, GrantKind, Principal},
};

const IMPORT_HELP: &str = r#"One JSON object per line:
  {"sub":"user-1","provider":"google","account":"a@example.com","access_token":"...",
   "refresh_token":"...","expires_at":"2027-01-01T00:00:00Z","scopes":["calendar.readonly"]}
Needed are sub (as in the user's JWT), provider and access_token; account_name and label may be given, too.
expires_at is RFC 3339 or Unix seconds."#;

#[derive(Debug, Subcommand)]
pub(super) enum GrantCommand {
    /// List grants, newest first
    List(List),
    /// Show how a grant is doing, and what to do about it
    Show {
        /// Its id
        grant: GrantId,
    },
    /// Give a principal the use of a managed secret
    Create(Create),
    /// Move existing tokens in; all lines are checked before the first is stored
    #[command(after_help = IMPORT_HELP)]
    Import {
        /// The file, `-` for standard input
        #[arg(default_value = "-")]
        file: PathBuf,
        /// Only check
        #[arg(long)]
        dry_run: bool,
    },
    /// Remove revoked grants that ended long ago; only their ids remain
    Purge {
        /// How long ago, such as 30d or 12h
        #[arg(long, value_name = "AGE", value_parser = age)]
        older_than: jiff::SignedDuration,
    },
    /// Revoke a grant: the very next call is refused, its tokens are gone, and the provider is told
    Revoke {
        /// Its id
        grant: GrantId,
        /// Why, for the audit trail
        #[arg(long)]
        reason: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only this provider's
    #[arg(long)]
    provider: Option<String>,
    /// Only ones in this state
    #[arg(long, value_parser = ["active", "expired", "revoked"])]
    status: Option<String>,
    /// Only this account's
    #[arg(long)]
    account: Option<String>,
    /// At most so many, 1 to 1000
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
    /// Leave out so many
    #[arg(long, default_value_t = 0)]
    offset: u64,
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// The managed secret's id, or its provider's
    secret: String,
    /// Whom it is for: system, agent:NAME, user:SUBJECT, group:NAME
    #[arg(long)]
    principal: String,
    /// Tells siblings apart
    #[arg(long)]
    label: Option<String>,
    #[command(flatten)]
    end: End,
}

impl GrantCommand {
    pub(super) async fn run(self, session: &Session) -> Result<Output, CliError> {
        let app = session.app().await?;
        let admin = &session.admin;
        match self {
            Self::List(list) => {
                let filter = GrantFilter {
                    provider: list.provider,
                    status: list.status,
                    account: list.account,
                    label: None,
                };
                let page = admin.grants(app.id, filter, list.limit, list.offset).await?;
                let grants: Vec<Value> = page.grants.iter().map(described).collect();
                let head = ["ID", "PROVIDER", "PRINCIPAL", "ACCOUNT", "STATUS", "CREATED", "RECONNECT"];
                Ok(Output::list(&grants, head, |grant| {
                    [
                        "grant_id",
                        "provider",
                        "principal",
                        "account",
                        "status",
                        "created_at",
                        "reconnect_reason",
                    ]
                    .map(|name| dash(grant[name].as_str()))
                }))
            }
            Self::Show { grant } => {
                let (shown, health) =
                    (admin.grant(app.id, grant).await?, admin.grant_health(app.id, grant).await?);
                let told = told(admin, app.id, &shown).await?;
                Ok(shown_with(&shown, &health, told))
            }
            Self::Create(create) => {
                let secret = admin.secret(app.id, &create.secret).await?;
                let principal = admin.principal(app.id, &create.principal).await?;
                let end = create.end.instant()?;
                let grant = admin.create_grant(app.id, secret.id, principal, create.label, end).await?;
                let text = format!("created grant {}", grant.facts.id);
                Ok(Output::one(&described(&grant), text))
            }
            Self::Import { file, dry_run } => {
                let text = SecretString::from(input::text(&file)?.as_str());
                let plan = match admin.plan_import(app.id, &text).await? {
                    Ok(plan) => plan,
                    Err(faults) => {
                        let lines: Vec<_> = faults.iter().map(ToString::to_string).collect();
                        let text = format!("nothing was stored:\n{}", lines.join("\n"));
                        return Ok(Output::one(&json!({"imported": [], "faults": faults}), text).bad());
                    }
                };
                if plan.is_empty() {
                    let text = "there were no lines: nothing was stored";
                    return Ok(Output::one(&json!({"imported": [], "faults": [], "good": 0}), text));
                }
                if dry_run {
                    let text = format!("{} lines are good; nothing was stored", plan.len());
                    return Ok(Output::one(&json!({"imported": [], "faults": [], "good": plan.len()}), text));
                }
                match admin.run_import(plan).await {
                    Ok(done) => {
                        let lines = done.iter().map(|line| {
                            let what = if line.created { "created" } else { "updated" };
                            format!("line {}: {what} grant {}", line.line, line.grant_id)
                        });
                        let text = lines.collect::<Vec<_>>().join("\n");
                        Ok(Output::one(&json!({"imported": done, "faults": []}), text))
                    }
                    Err((done, line, error)) => {
                        let text = format!("{} lines are stored; line {line}: {error}", done.len());
                        let fault = json!({"line": line, "message": error.to_string()});
                        Ok(Output::one(&json!({"imported": done, "faults": [fault]}), text).bad())
                    }
                }
            }
            Self::Purge { older_than } => {
                let purged = admin.purge_grants(app.id, older_than).await?;
                Ok(Output::one(&json!({ "purged": purged }), format!("removed {} grants", purged.len())))
            }
            Self::Revoke { grant, reason } => {
                let revoked = admin.revoke_grant(app.id, grant, reason).await?;
                let value = json!({"grant_id": revoked.grant_id, "revoked_at": revoked.revoked_at});
                Ok(Output::one(
                    &value,
                    format!("grant {} is revoked since {}", revoked.grant_id, revoked.revoked_at),
                ))
            }
        }
    }
}

/// Days or hours.
fn age(text: &str) -> Result<jiff::SignedDuration, String> {
    let wrong = || "an age is a number of days or hours, such as 30d or 12h".to_owned();
    let (number, hours) = match (text.strip_suffix('d'), text.strip_suffix('h')) {
        (Some(days), _) => (days, 24),
        (_, Some(hours)) => (hours, 1),
        _ => return Err(wrong()),
    };
    let number: u32 = number.parse().map_err(|_| wrong())?;
    Ok(jiff::SignedDuration::from_hours(i64::from(number) * hours))
}

/// Why a person must connect again, if so.
fn reason(grant: &Grant) -> Option<String> {
    let known = || grant.reconnect_reason.clone();
    grant.facts.needs_reconnect.then(|| known().unwrap_or_else(|| "the provider refused it".to_owned()))
}

/// What the provider said to the end of a grant, or that it has not said it yet.
async fn told(admin: &Admin, app: AppId, grant: &Grant) -> Result<Option<String>, CliError> {
    if grant.provider_revocation.is_some() || grant.revoked_at.is_none() {
        return Ok(grant.provider_revocation.clone());
    }
    let provider =
        admin.providers(app).await?.into_iter().find(|provider| provider.id == grant.facts.provider);
    let told = provider.and_then(|provider| provider.oauth).is_some_and(|oauth| oauth.revoke_url.is_some());
    let text =
        if told { "not yet: it is tried again" } else { "no: its definition names no revocation endpoint" };
    Ok((grant.facts.kind == GrantKind::OAuth).then(|| text.to_owned()))
}

/// A grant with its health: one line for each thing that is known.
fn shown_with(grant: &Grant, health: &GrantHealth, told: Option<String>) -> Output {
    let now = SystemClock.now();
    // What is not active any more needs nothing, however its last refresh ended.
    let over = api::grant_status(grant, now) != "active";
    let next_step = if over { "nothing: the grant has ended" } else { health.next_step(now) };
    let mut value = described(grant);
    value["health"] = json!(health);
    value["next_step"] = json!(next_step);
    let text = |name: &str| value[name].as_str().map(str::to_owned);
    let moment = |at: Option<jiff::Timestamp>| at.map(|at| at.to_string());
    let failure = health.last_failure.as_ref().map(|failure| {
        let at = moment(health.last_failed_at).map(|at| format!(" at {at}")).unwrap_or_default();
        format!("{failure} ({} in a row{at})", health.failures)
    });
    let lines = [
        ("grant", text("grant_id")),
        ("provider", text("provider")),
        ("principal", text("principal")),
        ("account", text("account")),
        ("label", text("label")),
        ("status", text("status")),
        ("next step", Some(next_step.to_owned())),
        ("reconnect because", text("reconnect_reason")),
        ("token ends", moment(health.token_expires_at)),
        ("token obtained", moment(health.obtained_at)),
        ("refresh token", Some(if health.refreshable { "yes" } else { "no" }.to_owned())),
        ("refused by provider", health.refused.then(|| "yes, as a client reported".to_owned())),
        ("last refreshed", moment(health.last_refreshed_at)),
        ("last failure", failure),
        ("next refresh", health.retry_in_seconds.map(|seconds| format!("not before {seconds} s from now"))),
        ("last released", moment(health.last_used_at)),
        ("last good call", moment(health.last_good_at)),
        ("grant ends", text("grant_expires_at")),
        ("revoked", text("revoked_at")),
        ("revoked by", text("revoked_by")),
        ("provider told", told),
    ];
    let known = lines.into_iter().filter_map(|(name, value)| Some([name.to_owned(), value?]));
    Output::table(&value, &known.collect::<Vec<_>>())
}

/// A grant for operators: everything but its credential.
fn described(grant: &Grant) -> Value {
    let facts = &grant.facts;
    let principal = match &facts.principal {
        Principal::User(user) => format!("user:{user}"),
        Principal::Group(group) => format!("group:{group}"),
        Principal::System => "system".to_owned(),
        Principal::Agent(agent) => format!("agent:{agent}"),
    };
    json!({
        "grant_id": facts.id,
        "provider": facts.provider,
        "kind": facts.kind,
        "principal": principal,
        "account": facts.account_identifier,
        "account_name": facts.account_display_name,
        "label": facts.label,
        "status": api::grant_status(grant, SystemClock.now()),
        "needs_reconnect": facts.needs_reconnect,
        "reconnect_reason": reason(grant),
        "scope_mismatch": grant.scope_mismatch,
        "scopes": grant.scopes,
        "managed_secret_id": grant.secret_id,
        "token_expires_at": facts.token_expires_at,
        "grant_expires_at": facts.grant_expires_at,
        "created_at": grant.created_at,
        "last_used_at": grant.last_used_at,
        "revoked_at": grant.revoked_at,
        "revoked_by": grant.revoked_by,
        "provider_revocation": grant.provider_revocation,
    })
}

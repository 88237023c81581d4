//! `idp`, `secret`.

use std::{collections::BTreeMap, path::PathBuf};

use clap::{Args, Subcommand};
use secrecy::SecretString;

use super::{
    CliError, Session,
    appearance::{SignIn, sign_in_words},
    input,
    output::{Output, dash},
};
use crate::{
    admin::AdminError,
    domain::{ClaimMapping, IdpConfig, ManagedSecret, ProviderId},
};

#[derive(Debug, Subcommand)]
pub(super) enum IdpCommand {
    /// Set the identity provider; its keys are fetched once before anything is stored
    Set(Box<SetIdp>),
    /// Show the identity provider
    Show,
    /// Take it away: no user's token is accepted any more
    Remove,
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("audiences").required(true).args(["audience", "any_audience"])))]
pub(super) struct SetIdp {
    /// The issuer, exactly as in the `iss` claim
    issuer: String,
    /// An accepted `aud` value; may be given several times
    #[arg(long)]
    audience: Vec<String>,
    /// Accept tokens that the issuer made for anybody. Only for issuers that serve this app alone
    #[arg(long)]
    any_audience: bool,
    /// Where the key set is, for issuers without discovery
    #[arg(long, value_name = "URL")]
    jwks_url: Option<String>,
    /// Accepted signature algorithms
    #[arg(long, value_delimiter = ',', default_value = "RS256,ES256,EdDSA")]
    algorithms: Vec<String>,
    /// Clock difference that is forgiven, in seconds
    #[arg(long, default_value_t = 30)]
    leeway: u32,
    /// The claim that identifies a user
    #[arg(long, default_value = "sub")]
    subject_claim: String,
    /// The claim with the user's groups
    #[arg(long, default_value = "groups")]
    groups_claim: String,
    #[command(flatten)]
    sign_in: SignIn,
}

impl IdpCommand {
    pub(super) async fn run(self, session: &Session) -> Result<Output, CliError> {
        let app = session.app().await?;
        let config = match self {
            Self::Set(set) => {
                let set = *set;
                let claims = ClaimMapping {
                    subject: set.subject_claim,
                    groups: Some(set.groups_claim),
                    ..ClaimMapping::default()
                };
                let idp = IdpConfig {
                    issuer: set.issuer,
                    jwks_url: set.jwks_url,
                    audiences: set.audience,
                    algorithms: set.algorithms,
                    leeway_seconds: set.leeway,
                    claims,
                };
                let before = session.admin.app_config(app.id).await?.idp.map(|idp| idp.issuer);
                let config = session.admin.set_idp(app.id, idp).await?;
                set.sign_in.apply(session, app.id, before.as_deref(), config).await?
            }
            Self::Show => session.admin.app_config(app.id).await?,
            Self::Remove => session.admin.remove_idp(app.id).await?,
        };
        let text = match &config.idp {
            None => format!("app {} has no identity provider", app.name),
            Some(idp) => format!(
                "issuer      {}\naudiences   {}\nalgorithms  {}\nkeys        {}\nuser claim  {}\n{}",
                idp.issuer,
                if idp.audiences.is_empty() { "any".to_owned() } else { idp.audiences.join(", ") },
                idp.algorithms.join(", "),
                idp.jwks_url.as_deref().unwrap_or("by discovery"),
                idp.claims.subject,
                sign_in_words(&config),
            ),
        };
        let mut value = serde_json::json!(config.idp);
        if config.sign_in.is_some() && value.is_object() {
            value["sign_in"] = serde_json::json!(config.sign_in);
        }
        Ok(Output::one(&value, text))
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum SecretCommand {
    /// Keep a secret for a provider of kind managed-secret
    Create {
        /// The provider's id
        provider: ProviderId,
        /// A name for people; the provider's id by default
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        value: SecretValue,
    },
    /// List the app's managed secrets, without their values
    List,
    /// Replace a secret's value; its grants stay
    Rotate {
        /// The secret's id, or its provider's
        secret: String,
        #[command(flatten)]
        value: SecretValue,
    },
}

#[derive(Debug, Args)]
pub(super) struct SecretValue {
    /// A file with the value, `-` for standard input; for basic authentication it is user:password
    #[arg(long, value_name = "FILE", default_value = "-")]
    value_file: PathBuf,
    /// A further value that the provider's injections name, as NAME=FILE
    #[arg(long = "additional-file", value_name = "NAME=FILE")]
    additional_file: Vec<String>,
}

impl SecretValue {
    fn read(&self) -> Result<(SecretString, BTreeMap<String, SecretString>), CliError> {
        let mut additional = BTreeMap::new();
        for pair in &self.additional_file {
            let (name, file) = pair
                .split_once('=')
                .ok_or_else(|| AdminError::Invalid("--additional-file is NAME=FILE".to_owned()))?;
            additional.insert(name.to_owned(), input::secret(file.as_ref())?);
        }
        Ok((input::secret(&self.value_file)?, additional))
    }
}

impl SecretCommand {
    pub(super) async fn run(self, session: &Session) -> Result<Output, CliError> {
        let app = session.app().await?;
        let admin = &session.admin;
        match self {
            Self::Create { provider, name, value } => {
                let (value, additional) = value.read()?;
                let name = name.unwrap_or_else(|| provider.to_string());
                let secret = admin.create_secret(app.id, provider, &name, value, additional).await?;
                let text = format!(
                    "created secret {} ({})\nnext: alter-server grant create {} --principal system",
                    secret.name, secret.id, secret.provider
                );
                Ok(Output::one(&secret, text))
            }
            Self::List => {
                let secrets = admin.secrets(app.id).await?;
                Ok(Output::list(&secrets, ["ID", "PROVIDER", "NAME", "VERSION", "ROTATED"], row))
            }
            Self::Rotate { secret, value } => {
                let secret = admin.secret(app.id, &secret).await?;
                let (value, additional) = value.read()?;
                let secret = admin.rotate_secret(app.id, secret.id, value, additional).await?;
                let text = format!("secret {} has version {} now", secret.name, secret.generation);
                Ok(Output::one(&secret, text))
            }
        }
    }
}

fn row(secret: &ManagedSecret) -> [String; 5] {
    [
        secret.id.to_string(),
        secret.provider.to_string(),
        secret.name.clone(),
        secret.generation.to_string(),
        dash(secret.rotated_at),
    ]
}

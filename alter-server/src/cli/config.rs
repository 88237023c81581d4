//! `idp`, `provider`, `secret`.

use std::{collections::BTreeMap, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use secrecy::SecretString;
use serde_json::json;

use super::{
    CliError, Session, input,
    output::{Output, dash},
    refreshing::{self, RefreshOptions},
};
use crate::{
    admin::{AdminError, InjectionStyle},
    domain::{
        ClaimMapping, HostPattern, IdpConfig, ManagedSecret, OAuthSettings, Provider, ProviderId,
        ProviderKind,
    },
};

#[derive(Debug, Subcommand)]
pub(super) enum IdpCommand {
    /// Set the identity provider; its keys are fetched once before anything is stored
    Set(SetIdp),
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
}

impl IdpCommand {
    pub(super) async fn run(self, session: &Session) -> Result<Output, CliError> {
        let app = session.app().await?;
        let config = match self {
            Self::Set(set) => {
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
                session.admin.set_idp(app.id, idp).await?
            }
            Self::Show => session.admin.app_config(app.id).await?,
            Self::Remove => session.admin.remove_idp(app.id).await?,
        };
        let text = match &config.idp {
            None => format!("app {} has no identity provider", app.name),
            Some(idp) => format!(
                "issuer      {}\naudiences   {}\nalgorithms  {}\nkeys        {}\nuser claim  {}",
                idp.issuer,
                if idp.audiences.is_empty() { "any".to_owned() } else { idp.audiences.join(", ") },
                idp.algorithms.join(", "),
                idp.jwks_url.as_deref().unwrap_or("by discovery"),
                idp.claims.subject,
            ),
        };
        Ok(Output::one(&config.idp, text))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// Users' tokens, granted by OAuth or imported
    Oauth,
    /// A secret that the operator keeps
    ManagedSecret,
}

#[derive(Debug, Subcommand)]
pub(super) enum ProviderCommand {
    /// Create or replace a provider
    Add(Box<AddProvider>),
    /// List the app's providers
    List,
    /// Show a provider
    Show {
        /// Its id
        id: ProviderId,
    },
    /// Remove a provider that nothing hangs on
    Remove {
        /// Its id
        id: ProviderId,
    },
}

#[derive(Debug, Args)]
pub(super) struct AddProvider {
    /// Its id, by which requests address it, such as `google`
    id: ProviderId,
    /// Where its credentials come from
    #[arg(long, value_enum, default_value = "oauth")]
    kind: Kind,
    /// A name for people; the id by default
    #[arg(long)]
    name: Option<String>,
    /// A host that its credentials may be sent to: api.example.com, *.example.com, either with :port
    #[arg(long = "host", required = true, value_name = "HOST")]
    hosts: Vec<HostPattern>,
    /// How the credential is written into a request: bearer, basic, header:NAME, query:NAME
    #[arg(long, default_value = "bearer", value_parser = style)]
    inject: InjectionStyle,
    /// OAuth: authorization endpoint
    #[arg(long, value_name = "URL")]
    authorize_url: Option<String>,
    /// OAuth: token endpoint
    #[arg(long, value_name = "URL")]
    token_url: Option<String>,
    /// OAuth: revocation endpoint
    #[arg(long, value_name = "URL")]
    revoke_url: Option<String>,
    /// OAuth: where the connected account is named
    #[arg(long, value_name = "URL")]
    userinfo_url: Option<String>,
    /// OAuth: client id at the provider
    #[arg(long)]
    client_id: Option<String>,
    /// OAuth: a file with the client secret, `-` for standard input; without it the stored one is kept
    #[arg(long, value_name = "FILE")]
    client_secret_file: Option<PathBuf>,
    /// OAuth: scopes to ask for, separated by commas
    #[arg(long, value_delimiter = ',')]
    scopes: Vec<String>,
    #[command(flatten)]
    refresh: RefreshOptions,
}

fn style(text: &str) -> Result<InjectionStyle, String> {
    text.parse().map_err(|error: AdminError| error.to_string())
}

impl ProviderCommand {
    pub(super) async fn run(self, session: &Session) -> Result<Output, CliError> {
        let app = session.app().await?;
        let admin = &session.admin;
        match self {
            Self::Add(add) => {
                let secret = add.client_secret_file.as_deref().map(input::secret).transpose()?;
                let provider = admin.put_provider(app.id, add.provider(), secret).await?;
                Ok(Output::one(&provider, described(&provider)))
            }
            Self::List => {
                let providers = admin.providers(app.id).await?;
                Ok(Output::list(&providers, ["ID", "KIND", "HOSTS"], |provider| {
                    [provider.id.to_string(), kind(provider).to_owned(), hosts(provider)]
                }))
            }
            Self::Show { id } => {
                let provider = admin.provider(app.id, &id).await?;
                Ok(Output::one(&provider, described(&provider)))
            }
            Self::Remove { id } => {
                admin.remove_provider(app.id, id.clone()).await?;
                Ok(Output::one(&json!({ "removed": id }), format!("provider {id} is removed")))
            }
        }
    }
}

impl AddProvider {
    fn provider(self) -> Provider {
        let (injection, additional) = self.inject.injections();
        let oauth = OAuthSettings {
            authorize_url: self.authorize_url,
            token_url: self.token_url,
            revoke_url: self.revoke_url,
            userinfo_url: self.userinfo_url,
            client_id: self.client_id,
            scopes: self.scopes,
            client_auth: self.refresh.client_auth(),
            refresh: self.refresh.settings(),
            ..OAuthSettings::default()
        };
        Provider {
            name: self.name.unwrap_or_else(|| self.id.to_string()),
            id: self.id,
            kind: match self.kind {
                Kind::Oauth => ProviderKind::OAuth,
                Kind::ManagedSecret => ProviderKind::ManagedSecret,
            },
            hosts: self.hosts,
            injection,
            additional,
            // What a managed secret cannot have is left for the check to refuse.
            oauth: (self.kind == Kind::Oauth || oauth != OAuthSettings::default()).then_some(oauth),
        }
    }
}

fn kind(provider: &Provider) -> &'static str {
    match provider.kind {
        ProviderKind::OAuth => "oauth",
        ProviderKind::ManagedSecret => "managed-secret",
    }
}

fn hosts(provider: &Provider) -> String {
    let hosts: Vec<String> = provider.hosts.iter().cloned().map(String::from).collect();
    hosts.join(", ")
}

fn described(provider: &Provider) -> String {
    let head = format!(
        "id       {}\nkind     {}\nname     {}\nhosts    {}\ninject   {}: {}",
        provider.id,
        kind(provider),
        provider.name,
        hosts(provider),
        provider.injection.header,
        provider.injection.format,
    );
    match refreshing::described(provider) {
        Some(refresh) => format!("{head}\nrefresh  {refresh}"),
        None => head,
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

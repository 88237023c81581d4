//! `provider`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use serde_json::json;

use super::{
    CliError, Session, input,
    output::{Output, dash},
    refreshing::{self, Auth, RefreshOptions},
};
use crate::{
    admin::{AdminError, InjectionStyle},
    catalog::{self, CatalogError, Entry, Registration},
    domain::{
        ClientAuth, HostPattern, OAuthSettings, Provider, ProviderId, ProviderKind, Revocation,
        RevocationForm,
    },
};

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
    /// What is known of real providers; needs no vault
    Catalog {
        /// Show this one
        id: Option<String>,
    },
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("template").args(["from_catalog", "from_file"])))]
pub(super) struct AddProvider {
    /// Its id, by which requests address it, such as `google`; the catalogue's or the file's if there is one
    #[arg(required_unless_present = "template")]
    id: Option<ProviderId>,
    /// Take everything but the registration from the catalogue: an id from `provider catalog`
    #[arg(long, value_name = "ID", requires = "client_id", conflicts_with_all = ["ByHand", "RefreshOptions"])]
    from_catalog: Option<String>,
    /// The same from a TOML file of yours, `-` for standard input
    #[arg(long, value_name = "FILE", requires = "client_id", conflicts_with_all = ["ByHand", "RefreshOptions"])]
    from_file: Option<PathBuf>,
    /// What the catalogue's entry asks for, such as `subdomain=acme`; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = refreshing::member, requires = "template")]
    set: Vec<(String, String)>,
    /// A name for people; the id by default
    #[arg(long)]
    name: Option<String>,
    /// A host that its credentials may be sent to: api.example.com, *.example.com, either with :port. Adds to the catalogue's
    #[arg(long = "host", required_unless_present = "template", value_name = "HOST")]
    hosts: Vec<HostPattern>,
    /// OAuth: client id at the provider
    #[arg(long)]
    client_id: Option<String>,
    /// OAuth: a file with the client secret, `-` for standard input; without it the stored one is kept
    #[arg(long, value_name = "FILE")]
    client_secret_file: Option<PathBuf>,
    /// OAuth: how the app proves itself at the token endpoint; `post` or what the catalogue says by default
    #[arg(long, value_enum, value_name = "HOW")]
    client_auth: Option<Auth>,
    /// OAuth: a scope to ask for; may be given several times, or several separated by commas. Replaces the catalogue's
    #[arg(long = "scope", visible_alias = "scopes", value_name = "SCOPE", value_delimiter = ',')]
    scopes: Vec<String>,
    #[command(flatten)]
    by_hand: ByHand,
    #[command(flatten)]
    refresh: RefreshOptions,
}

/// What the catalogue knows.
#[derive(Debug, Args)]
struct ByHand {
    /// Where its credentials come from
    #[arg(long, value_enum, default_value = "oauth")]
    kind: Kind,
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
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Users' tokens, granted by OAuth or imported
    Oauth,
    /// A secret that the operator keeps
    ManagedSecret,
}

fn style(text: &str) -> Result<InjectionStyle, String> {
    text.parse().map_err(|error: AdminError| error.to_string())
}

impl From<CatalogError> for CliError {
    fn from(error: CatalogError) -> Self {
        let text = error.to_string();
        match error {
            CatalogError::Unknown { .. } => AdminError::NotFound(text),
            _ => AdminError::Invalid(text),
        }
        .into()
    }
}

impl ProviderCommand {
    pub(super) async fn run(self, session: &Session) -> Result<Output, CliError> {
        let admin = &session.admin;
        match self {
            Self::Add(add) => {
                let app = session.app().await?;
                let secret_file = add.client_secret_file.clone();
                let (provider, entry) = add.provider()?;
                let secret = secret_file.as_deref().map(input::secret).transpose()?;
                let provider = admin.put_provider(app.id, provider, secret).await?;
                let mut output = Output::one(&provider, described(&provider));
                if let Some(entry) = entry {
                    remind(&mut output, &entry, &provider);
                }
                Ok(output)
            }
            Self::List => {
                let providers = admin.providers(session.app().await?.id).await?;
                Ok(Output::list(&providers, ["ID", "KIND", "HOSTS"], |provider| {
                    [provider.id.to_string(), kind(provider).to_owned(), hosts(provider)]
                }))
            }
            Self::Show { id } => {
                let provider = admin.provider(session.app().await?.id, &id).await?;
                Ok(Output::one(&provider, described(&provider)))
            }
            Self::Remove { id } => {
                admin.remove_provider(session.app().await?.id, id.clone()).await?;
                Ok(Output::one(&json!({ "removed": id }), format!("provider {id} is removed")))
            }
            Self::Catalog { id } => catalogue(id.as_deref()),
        }
    }
}

/// What an operator has to do or know after a provider was added from an entry.
fn remind(output: &mut Output, entry: &Entry, provider: &Provider) {
    let oauth = provider.oauth.as_ref();
    for scope in oauth.map(|oauth| entry.undescribed(&oauth.scopes)).unwrap_or_default() {
        output
            .say(&format!("note: there are no plain words for the scope {scope}: people will see its name"));
    }
    for note in &entry.notes {
        output.say(&format!("note: {note}"));
    }
    if oauth.is_some_and(OAuthSettings::connectable) {
        output.say(
            "next: register the redirect URI PUBLIC_URL/sdk/oauth/callback of this vault at the provider",
        );
    }
}

impl AddProvider {
    /// The provider, and the entry that it was made of.
    fn provider(self) -> Result<(Provider, Option<Entry>), CliError> {
        let entry = match (&self.from_catalog, &self.from_file) {
            (Some(id), _) => catalog::find(id)?.clone(),
            (None, Some(path)) => Entry::parse(&input::text(path)?).map_err(|error| match error {
                CatalogError::Form(text) => AdminError::Invalid(format!("{}: {text}", path.display())).into(),
                other => CliError::from(other),
            })?,
            (None, None) => return Ok((self.by_hand()?, None)),
        };
        let mut registration = Registration::new(self.client_id.unwrap_or_default());
        registration.id = self.id;
        registration.name = self.name;
        registration.scopes = self.scopes;
        registration.hosts = self.hosts;
        registration.client_auth = self.client_auth.map(ClientAuth::from);
        registration.values = self.set.into_iter().collect();
        let provider = entry.provider(registration)?;
        Ok((provider, Some(entry)))
    }

    fn by_hand(self) -> Result<Provider, CliError> {
        let Some(id) = self.id else {
            return Err(AdminError::Invalid("say the provider's id, or --from-catalog ID".to_owned()).into());
        };
        let by_hand = self.by_hand;
        let (injection, additional) = by_hand.inject.injections();
        let oauth = OAuthSettings {
            authorize_url: by_hand.authorize_url,
            token_url: by_hand.token_url,
            revoke_url: by_hand.revoke_url,
            userinfo_url: by_hand.userinfo_url,
            client_id: self.client_id,
            scopes: self.scopes,
            client_auth: self.client_auth.map(ClientAuth::from).unwrap_or_default(),
            refresh: self.refresh.settings(),
            ..OAuthSettings::default()
        };
        Ok(Provider {
            name: self.name.unwrap_or_else(|| id.to_string()),
            id,
            kind: match by_hand.kind {
                Kind::Oauth => ProviderKind::OAuth,
                Kind::ManagedSecret => ProviderKind::ManagedSecret,
            },
            hosts: self.hosts,
            injection,
            additional,
            // What a managed secret cannot have is left for the check to refuse.
            oauth: (by_hand.kind == Kind::Oauth || oauth != OAuthSettings::default()).then_some(oauth),
        })
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

/// The catalogue, or one entry of it.
pub(super) fn catalogue(id: Option<&str>) -> Result<Output, CliError> {
    if let Some(id) = id {
        return shown(catalog::find(id)?);
    }
    let entries: Vec<&Entry> = catalog::entries().collect();
    let head = ["ID", "NAME", "CATEGORY", "ASKS FOR", "CHECKED"];
    let mut output = Output::list(&entries, head, |entry| {
        let asks: Vec<&str> = entry.variables.keys().map(String::as_str).collect();
        [
            entry.id.to_string(),
            entry.name.clone(),
            dash(entry.category.as_ref()),
            dash((!asks.is_empty()).then(|| asks.join(", "))),
            String::from(entry.checked.clone()),
        ]
    });
    output.say(&format!("{} providers; more about one: alter-server provider catalog ID", entries.len()));
    Ok(output)
}

fn shown(entry: &Entry) -> Result<Output, CliError> {
    let provider = entry.example()?;
    let none = OAuthSettings::default();
    let oauth = provider.oauth.as_ref().unwrap_or(&none);
    let mut rows: Vec<[String; 2]> = Vec::new();
    let mut row = |name: &str, value: String| rows.push([name.to_owned(), value]);
    row("id", entry.id.to_string());
    row("name", entry.name.clone());
    row("about", dash(entry.description.as_ref()));
    row("hosts", entry.hosts.join(", "));
    row("inject", format!("{}: {}", entry.injection.header, entry.injection.format));
    row("authorize", dash(entry.oauth.authorize_url.as_ref()));
    row("token", dash(entry.oauth.token_url.as_ref()));
    row("revoke", revoking(&entry.oauth));
    row("refresh", dash(refreshing::described(&provider)));
    row("tokens", dash(entry.tokens.as_ref()));
    row("pkce", format!("{:?}", oauth.pkce));
    row("account id", oauth.account.id.join(", else "));
    for scope in &oauth.required_scopes {
        row("always asks", worded(oauth, scope));
    }
    for scope in oauth.scopes.iter().filter(|scope| !oauth.required_scopes.contains(scope)) {
        row("asks", worded(oauth, scope));
    }
    for scope in oauth.scope_texts.keys() {
        if !oauth.scopes.contains(scope) && !oauth.required_scopes.contains(scope) {
            row("knows", worded(oauth, scope));
        }
    }
    for (name, variable) in &entry.variables {
        let default = variable.default.as_ref().map(|value| format!(" (else {value})")).unwrap_or_default();
        let choices = match variable.choices.as_slice() {
            [] => String::new(),
            choices => format!("; one of {}", choices.join(", ")),
        };
        row("--set", format!("{name}={}{default}: {}{choices}", variable.example, variable.about));
    }
    for note in &entry.notes {
        row("note", note.clone());
    }
    row("source", dash(entry.source.as_ref()));
    row("checked", String::from(entry.checked.clone()));
    for compared in &entry.compared {
        row("compared with", compared.clone());
    }
    let mut output = Output::table(entry, &rows);
    let needed = entry.variables.iter().filter(|(_, variable)| variable.default.is_none());
    let set: String = needed.map(|(name, variable)| format!(" --set {name}={}", variable.example)).collect();
    let secret = if oauth.client_auth == ClientAuth::None { "" } else { " --client-secret-file FILE" };
    let id = &entry.id;
    output.say(&format!("add: alter-server provider add --from-catalog {id} --client-id ID{secret}{set}"));
    Ok(output)
}

fn worded(oauth: &OAuthSettings, scope: &str) -> String {
    match oauth.scope_texts.get(scope) {
        Some(text) => format!("{scope}: {text}"),
        None => scope.to_owned(),
    }
}

fn revoking(oauth: &OAuthSettings) -> String {
    let Some(url) = &oauth.revoke_url else { return "the provider cannot be told".to_owned() };
    if oauth.revocation == Revocation::default() {
        return format!("{url} (RFC 7009)");
    }
    let method = if oauth.revocation.delete { "DELETE" } else { "POST" };
    let form = match oauth.revocation.form {
        RevocationForm::Form => "a form",
        RevocationForm::Json => "JSON",
        RevocationForm::Bearer => "the token as credential",
    };
    format!("{method} {url} ({form})")
}

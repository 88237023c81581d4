//! `app page`, and the sign-in half of `idp set`.

use std::path::{Path, PathBuf};

use base64::{Engine, engine::general_purpose::STANDARD};
use clap::{Args, ValueEnum};

use super::{CliError, Session, input, output::Output};
use crate::{
    admin::AdminError,
    domain::{AppConfig, AppId, PageSettings, SignInSettings, UserTokenKind},
};

/// How an app appears. Without an option it is only shown.
#[derive(Debug, Args)]
pub(super) struct Page {
    /// Name or id
    app: String,
    /// Name for people; empty takes it away
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
    /// A picture (PNG, JPEG, WebP or SVG, at most 48 KiB); empty takes it away
    #[arg(long, value_name = "FILE")]
    logo: Option<String>,
    /// Accent colour, #rrggbb; it is darkened or lightened until it can be read. Empty takes it away
    #[arg(long, value_name = "COLOR")]
    color: Option<String>,
    /// An origin that results may be sent to and browsers may return to, such as `https://shop.example`; on loopback the port may
    /// be *. May be given several times, and replaces those that were set
    #[arg(long = "origin", value_name = "ORIGIN")]
    origins: Vec<String>,
    /// Take away all origins
    #[arg(long, conflicts_with = "origins")]
    no_origins: bool,
}

impl Page {
    pub(super) async fn run(self, session: &Session) -> Result<Output, CliError> {
        let app = session.admin.app(&self.app).await?;
        let before = session.admin.app_config(app.id).await?.page;
        let set = |text: String| (!text.is_empty()).then_some(text);
        let mut page = before.clone();
        if let Some(name) = self.display_name {
            page.display_name = set(name);
        }
        if let Some(color) = self.color {
            page.color = set(color);
        }
        if let Some(path) = self.logo {
            page.logo = if path.is_empty() { None } else { Some(picture(Path::new(&path))?) };
        }
        if self.no_origins {
            page.origins.clear();
        } else if !self.origins.is_empty() {
            page.origins = self.origins;
        }
        let page = if page == before { page } else { session.admin.set_page(app.id, page).await?.page };
        Ok(Output::one(&page, words(&page, &app.name)))
    }
}

fn words(page: &PageSettings, name: &str) -> String {
    let none = "none: results are sent nowhere";
    format!(
        "name     {}\nlogo     {}\ncolour   {}\norigins  {}",
        page.display_name.as_deref().unwrap_or(name),
        page.logo.as_ref().map_or_else(|| "none".to_owned(), |logo| format!("{} characters", logo.len())),
        page.color.as_deref().unwrap_or("the vault's own"),
        if page.origins.is_empty() { none.to_owned() } else { page.origins.join(", ") },
    )
}

/// A picture as a `data:` address; its type is told by its first bytes.
fn picture(path: &Path) -> Result<String, CliError> {
    let failed = |source| CliError::Io { what: format!("cannot read {}", path.display()), source };
    let bytes = std::fs::read(path).map_err(failed)?;
    let kind = match bytes.as_slice() {
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        text if text.trim_ascii_start().starts_with(b"<svg")
            || text.trim_ascii_start().starts_with(b"<?xml") =>
        {
            "image/svg+xml"
        }
        _ => {
            let text = format!("{} is no PNG, JPEG, WebP or SVG", path.display());
            return Err(AdminError::Invalid(text).into());
        }
    };
    Ok(format!("data:{kind};base64,{}", STANDARD.encode(bytes)))
}

/// How users sign in on the vault's pages.
#[derive(Debug, Args)]
pub(super) struct SignIn {
    /// Sign users in on the vault's pages (connect, wallet), as this client of the identity provider. The redirect address to
    /// register there is the vault's public address with /sdk/auth/callback
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// A file with that client's secret, `-` for standard input; without it the stored one is kept
    #[arg(long, value_name = "FILE", requires = "client_id")]
    client_secret_file: Option<PathBuf>,
    /// A scope that a sign-in asks for besides openid; may be given several times
    #[arg(long = "sign-in-scope", value_name = "SCOPE", requires = "client_id")]
    scopes: Vec<String>,
    /// Where users are sent to sign in, for issuers without discovery
    #[arg(long, value_name = "URL", requires = "client_id")]
    authorize_url: Option<String>,
    /// Where codes are redeemed, for issuers without discovery
    #[arg(long, value_name = "URL", requires = "client_id")]
    token_url: Option<String>,
    /// A further parameter of a sign-in, such as `audience=https://api.example.com`; may be given several times
    #[arg(long = "sign-in-param", value_name = "NAME=VALUE", requires = "client_id", value_parser = pair)]
    params: Vec<(String, String)>,
    /// Which of the tokens of a sign-in the app takes for its user
    #[arg(long = "user-token", value_enum, default_value = "id-token")]
    taken: TokenKind,
    /// Nobody signs in on the vault's pages any more
    #[arg(long, conflicts_with = "client_id")]
    no_sign_in: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TokenKind {
    IdToken,
    AccessToken,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl SignIn {
    /// Applies what was asked for, after the identity provider was set. A sign-in at another issuer than `before` goes away.
    pub(super) async fn apply(
        self,
        session: &Session,
        app: AppId,
        before: Option<&str>,
        config: AppConfig,
    ) -> Result<AppConfig, CliError> {
        let issuer = config.idp.as_ref().map(|idp| idp.issuer.as_str());
        let Some(client_id) = self.client_id else {
            let moved = config.sign_in.is_some() && before.is_some() && before != issuer;
            return Ok(if self.no_sign_in || moved {
                session.admin.remove_sign_in(app).await?
            } else {
                config
            });
        };
        let settings = SignInSettings {
            client_id,
            authorize_url: self.authorize_url,
            token_url: self.token_url,
            scopes: self.scopes,
            authorize_params: self.params.into_iter().collect(),
            user_token: match self.taken {
                TokenKind::IdToken => UserTokenKind::IdToken,
                TokenKind::AccessToken => UserTokenKind::AccessToken,
            },
        };
        let secret = self.client_secret_file.as_deref().map(input::secret).transpose()?;
        Ok(session.admin.set_sign_in(app, settings, secret).await?)
    }
}

/// How users sign in, for people.
pub(super) fn sign_in_words(config: &AppConfig) -> String {
    let Some(sign_in) = &config.sign_in else {
        return "sign-in     none: set it with --client-id".to_owned();
    };
    let (token, audience) = match sign_in.user_token {
        UserTokenKind::IdToken => ("ID token", config.idp.as_ref().map(|idp| &idp.audiences)),
        UserTokenKind::AccessToken => ("access token", None),
    };
    let mut text = format!("sign-in     as client {}, the {token} is the user's", sign_in.client_id);
    if audience.is_some_and(|audiences| !audiences.is_empty() && !audiences.contains(&sign_in.client_id)) {
        text.push_str(&format!(
            "\nnote        the app's calls will not take that ID token: its audience is the client; add --audience {} if \
             programs sign in (authenticate())",
            sign_in.client_id
        ));
    }
    text
}

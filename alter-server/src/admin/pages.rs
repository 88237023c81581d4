//! How an app appears on the vault's pages, and how its users sign in there.

use alter_core::wire::url::is_loopback;
use secrecy::{ExposeSecret, SecretString};
use url::{Position, Url};

use super::{Admin, AdminError, invalid, named};
use crate::{
    domain::{AppConfig, AppId, PageSettings, SignInSettings, endpoint_url},
    signin::{RESERVED_PARAMS, RelyingParty},
    web::{LOGO_TYPES, MAX_LOGO, is_color, is_logo},
};

/// Most origins of one app.
const MAX_ORIGINS: usize = 50;
/// Most scopes or further parameters of a sign-in.
const MAX_SIGN_IN: usize = 20;
/// Longest text in the settings of a sign-in, in bytes.
const MAX_TEXT: usize = 500;

impl Admin {
    /// Sets how an app appears on the vault's pages, and the origins that these may lead back to. Replaces what was set.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`]: a name that is too long, a picture of another type or larger than 64 KiB as text, a colour
    /// that is not `#rrggbb`, an origin that is not `https://HOST[:PORT]` (or `http` on loopback, there with `:*` for any port).
    pub async fn set_page(&self, app: AppId, mut page: PageSettings) -> Result<AppConfig, AdminError> {
        if let Some(name) = &page.display_name {
            page.display_name = Some(named("app", name)?);
        }
        if page.logo.as_deref().is_some_and(|logo| !is_logo(logo)) {
            let types = LOGO_TYPES.join(", ");
            return Err(invalid(format!(
                "a logo is data:TYPE;base64,… of at most {MAX_LOGO} characters, its type one of {types}"
            )));
        }
        if page.color.as_deref().is_some_and(|color| !is_color(color)) {
            return Err(invalid("a colour is written #rrggbb"));
        }
        if page.origins.len() > MAX_ORIGINS {
            return Err(invalid(format!("an app has at most {MAX_ORIGINS} origins")));
        }
        page.origins = page.origins.iter().map(|text| origin(text)).collect::<Result<_, _>>()?;
        page.origins.sort();
        page.origins.dedup();
        Ok(self.store().set_page(self.by(), app, page).await?)
    }

    /// Sets how the app's users sign in on the vault's pages, after the identity provider's endpoints were found: nothing is
    /// stored that cannot work. The redirect address to register there is `{public address}/sdk/auth/callback`. A `secret` of
    /// `None` keeps the one that is there if the client is the same; a public client has none.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`]: the app has no identity provider, its endpoints cannot be found, or a setting breaks a rule.
    pub async fn set_sign_in(
        &self,
        app: AppId,
        sign_in: SignInSettings,
        secret: Option<SecretString>,
    ) -> Result<AppConfig, AdminError> {
        let config = self.app_config(app).await?;
        let idp = config.idp.as_ref().ok_or_else(|| {
            invalid("the app has no identity provider at which users could sign in: set it first (`idp set`)")
        })?;
        check_sign_in(&sign_in, secret.as_ref())?;
        let party = RelyingParty::new(idp, &sign_in, self.core.clock.clone())?;
        party.probe().await.map_err(|error| invalid(error.to_string()))?;
        // Another client's secret is not this one's.
        if config.sign_in.is_some_and(|before| before.client_id != sign_in.client_id) && secret.is_none() {
            self.store().set_sign_in(self.by(), app, None, None).await?;
        }
        Ok(self.store().set_sign_in(self.by(), app, Some(sign_in), secret).await?)
    }

    /// Takes signing in away: the pages then serve only whom the application vouches for.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`].
    pub async fn remove_sign_in(&self, app: AppId) -> Result<AppConfig, AdminError> {
        Ok(self.store().set_sign_in(self.by(), app, None, None).await?)
    }
}

/// An origin as browsers write it; on loopback its port may be `*`.
fn origin(text: &str) -> Result<String, AdminError> {
    let wrong = || {
        invalid(format!(
            "{text:?} is no origin: write https://HOST or https://HOST:PORT (http only on loopback, there also http://localhost:*)"
        ))
    };
    let (base, any_port) = text.strip_suffix(":*").map_or((text, false), |base| (base, true));
    let url = Url::parse(base).map_err(|_| wrong())?;
    let bare = url.username().is_empty() && url.password().is_none() && &url[Position::BeforePath..] == "/";
    let loopback = is_loopback(&url);
    let good = match url.scheme() {
        "https" => url.host_str().is_some_and(|host| !host.is_empty()),
        "http" => loopback,
        _ => false,
    };
    if !good || !bare || (any_port && (!loopback || url.port().is_some())) {
        return Err(wrong());
    }
    let written = url.origin().ascii_serialization();
    Ok(if any_port { format!("{written}:*") } else { written })
}

fn check_sign_in(sign_in: &SignInSettings, secret: Option<&SecretString>) -> Result<(), AdminError> {
    let plain = |text: &str| (1..=MAX_TEXT).contains(&text.len()) && !text.contains(char::is_control);
    if !plain(&sign_in.client_id) || sign_in.client_id.trim() != sign_in.client_id {
        return Err(invalid("a client id is 1 to 500 bytes without control characters and space around it"));
    }
    for (name, url) in [("authorize_url", &sign_in.authorize_url), ("token_url", &sign_in.token_url)] {
        if let Some(url) = url {
            endpoint_url(url).map_err(|error| invalid(format!("{name}: {error}")))?;
        }
    }
    let scope = |scope: &String| plain(scope) && scope.bytes().all(|b| b.is_ascii_graphic());
    if sign_in.scopes.len() > MAX_SIGN_IN || !sign_in.scopes.iter().all(scope) {
        return Err(invalid("a sign-in asks for at most 20 scopes of printable ASCII without spaces"));
    }
    if sign_in.authorize_params.len() > MAX_SIGN_IN {
        return Err(invalid("a sign-in has at most 20 further parameters"));
    }
    for (name, value) in &sign_in.authorize_params {
        if RESERVED_PARAMS.contains(&name.as_str()) {
            return Err(invalid(format!("the parameter {name} is set by the vault")));
        }
        if !plain(name) || !plain(value) {
            return Err(invalid("names and values of further parameters are 1 to 500 bytes of text"));
        }
    }
    if secret.is_some_and(|secret| {
        let text = secret.expose_secret();
        !(1..=8_192).contains(&text.len()) || text.contains(char::is_control)
    }) {
        return Err(invalid("a client secret is 1 to 8192 bytes without control characters"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_kept_as_browsers_write_it() {
        for (text, kept) in [
            ("https://Shop.Example", "https://shop.example"),
            ("https://shop.example:443", "https://shop.example"),
            ("https://shop.example:8443/", "https://shop.example:8443"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://localhost:*", "http://localhost:*"),
            ("http://127.0.0.1:*", "http://127.0.0.1:*"),
        ] {
            assert_eq!(origin(text).unwrap(), kept);
        }
        for text in [
            "",
            "*",
            "null",
            "shop.example",
            "http://shop.example",
            "https://shop.example/path",
            "https://shop.example?q",
            "https://u@shop.example",
            "https://*.shop.example:*",
            "https://shop.example:*",
            "http://localhost:1:*",
            "javascript://x",
        ] {
            assert!(origin(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_the_vault_sets_itself_cannot_be_set() {
        let sign_in = |name: &str, value: &str| SignInSettings {
            client_id: "c".into(),
            authorize_url: None,
            token_url: None,
            scopes: Vec::new(),
            authorize_params: [(name.to_owned(), value.to_owned())].into(),
            user_token: crate::domain::UserTokenKind::default(),
        };
        assert!(check_sign_in(&sign_in("audience", "https://api.example"), None).is_ok());
        for name in RESERVED_PARAMS {
            assert!(check_sign_in(&sign_in(name, "x"), None).is_err(), "{name}");
        }
        assert!(check_sign_in(&sign_in("a", "b\n"), None).is_err());
    }
}

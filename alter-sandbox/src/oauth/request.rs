//! Authorization requests (RFC 6749 §4.1.1, RFC 7636 §4.3, OIDC Core 1.0 §3.1.2.1).

use super::client::may_return_to;
use crate::{oauth::Client, params::Params, site::Site, state::World};

/// Longest value that is taken over from the request, in bytes.
const MAX_VALUE: usize = 2048;

/// Where an answer goes, once it is known to be safe to send one.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) site: Site,
    pub(crate) redirect_uri: String,
    pub(crate) state: Option<String>,
}

/// A request that is good enough to be put before a person.
#[derive(Clone)]
pub(crate) struct AuthorizationRequest {
    pub(crate) target: Target,
    pub(crate) client_id: String,
    /// `BASE64URL(SHA256(verifier))`.
    pub(crate) challenge: String,
    pub(crate) nonce: Option<String>,
    pub(crate) scope: String,
    pub(crate) prompt: Prompt,
    /// Seconds since the sign-in that are still good.
    pub(crate) max_age: Option<i64>,
    pub(crate) login_hint: Option<String>,
    pub(crate) audience: Option<String>,
    /// Who approves at once, without a page: `(sub, account)`.
    pub(crate) at_once: Option<(String, String)>,
}

/// What the client wants to be asked in any case (OIDC Core 1.0 §3.1.2.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Prompt {
    pub(crate) none: bool,
    pub(crate) login: bool,
    pub(crate) consent: bool,
    pub(crate) select_account: bool,
}

/// An error code of RFC 6749 §4.1.2.1 or OIDC Core 1.0 §3.1.2.6, and a sentence.
pub(crate) type Refused = (&'static str, &'static str);

impl Prompt {
    fn parse(text: &str) -> Result<Self, Refused> {
        let mut prompt = Self::default();
        for word in text.split(' ').filter(|word| !word.is_empty()) {
            match word {
                "none" => prompt.none = true,
                "login" => prompt.login = true,
                "consent" => prompt.consent = true,
                "select_account" => prompt.select_account = true,
                _ => return Err(("invalid_request", "prompt is none, login, consent or select_account")),
            }
        }
        if prompt.none && prompt != (Self { none: true, ..Self::default() }) {
            return Err(("invalid_request", "prompt=none stands alone"));
        }
        Ok(prompt)
    }
}

impl Target {
    /// Until client and redirect URI are known to be good nothing is sent anywhere (RFC 6749 §4.1.2.1); the error
    /// says what is wrong with them.
    pub(super) fn of<'w>(
        world: &'w World,
        site: Site,
        params: &Params,
    ) -> Result<(Self, &'w Client), &'static str> {
        let client = params.get("client_id").and_then(|id| world.client(site, id));
        let client = client.ok_or("unknown client_id")?;
        let redirect_uri = params.get("redirect_uri").filter(|uri| may_return_to(uri));
        let redirect_uri = redirect_uri
            .ok_or("redirect_uri is not registered: it is an address on loopback without a fragment")?;
        let state = params.get("state").map(str::to_owned);
        Ok((Self { site, redirect_uri: redirect_uri.to_owned(), state }, client))
    }
}

impl AuthorizationRequest {
    pub(super) fn parse(params: &Params, target: &Target, client: &Client) -> Result<Self, Refused> {
        let site = target.site;
        match params.get("response_type") {
            Some("code") => {}
            Some(_) => return Err(("unsupported_response_type", "response_type is code")),
            None => return Err(("invalid_request", "response_type is missing")),
        }
        if params.get("code_challenge_method") != Some("S256") {
            return Err(("invalid_request", "PKCE is required with code_challenge_method=S256"));
        }
        // SHA-256 in base64url without padding is 43 characters long (RFC 7636 §4.2).
        let challenge = params.get("code_challenge").filter(|challenge| challenge.len() == 43);
        let challenge =
            challenge.ok_or(("invalid_request", "code_challenge is 43 characters of base64url"))?;
        let prompt = Prompt::parse(params.get("prompt").unwrap_or_default())?;
        let max_age = params.get("max_age").map(|text| text.parse().ok().filter(|age: &i64| *age >= 0));
        let max_age = max_age.map(|age| age.ok_or(("invalid_request", "max_age is a number of seconds")));
        let scope = params.get("scope").unwrap_or(if site == Site::Idp { "openid" } else { "read" });
        let scope: Vec<&str> = scope.split(' ').filter(|scope| !scope.is_empty()).collect();
        let login_hint = params.get("login_hint");
        // A hint alone has always been enough for the OAuth provider, unless the client wants its user asked.
        let hinted = login_hint.filter(|_| site != Site::Idp && prompt == Prompt::default());
        let at_once = params.get("sandbox_sub").or(hinted);
        let at_once = at_once.map(|sub| (sub, params.get("sandbox_account").unwrap_or(sub)));
        let nonce = params.get("nonce");
        let audience = params.get("resource").or(params.get("audience"));
        let asked =
            [Some(target.redirect_uri.as_str()), target.state.as_deref(), nonce, login_hint, audience];
        let named = at_once.map(|(sub, account)| [sub, account]).into_iter().flatten();
        let long = |value: &str| value.len() > MAX_VALUE;
        if asked.into_iter().flatten().chain(named).any(long) || long(&scope.join(" ")) {
            return Err(("invalid_request", "a parameter is longer than 2048 bytes"));
        }
        Ok(Self {
            target: target.clone(),
            client_id: client.client_id.clone(),
            challenge: challenge.to_owned(),
            nonce: nonce.map(str::to_owned),
            scope: scope.join(" "),
            prompt,
            max_age: max_age.transpose()?,
            login_hint: login_hint.map(str::to_owned),
            audience: audience.map(str::to_owned),
            at_once: at_once.map(|(sub, account)| (sub.to_owned(), account.to_owned())),
        })
    }
}

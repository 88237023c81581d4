//! How people sign in to the shop: OpenID Connect with PKCE at the sandbox's identity provider. Yours is whatever you have; the
//! shop needs two things of it, the user's JWT for the vault and a cookie that says which browser is whose.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use alter_core::UserToken;
use alter_sandbox::{Client, DEFAULT_AUDIENCE, OauthEndpoints, Sandbox};
use aws_lc_rs::digest;
use axum::http::{HeaderMap, header};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use url::Url;
use uuid::Uuid;

/// The shop's own cookie. On https it would be `__Host-shop`, with `Secure`.
const COOKIE: &str = "shop";
/// The vault's name for the cookie that binds a session to a browser.
const BINDING: &str = "alter-binding";
/// State and PKCE verifier of a sign-in that is under way.
const SIGNING_IN: &str = "shop-signing-in";

/// Somebody who is signed in.
#[derive(Clone)]
pub(crate) struct User {
    pub(crate) name: String,
    /// What the vault knows the user by.
    pub(crate) token: UserToken,
    /// The value of the browser's cookie `alter-binding`.
    pub(crate) binding: String,
}

/// Everybody who is signed in, and how to become one of them.
pub(crate) struct Users {
    http: reqwest::Client,
    endpoints: OauthEndpoints,
    client: Client,
    redirect_uri: String,
    signed_in: Mutex<HashMap<String, Arc<User>>>,
}

/// What the identity provider's redirect carries.
#[derive(Deserialize)]
pub(crate) struct Callback {
    #[serde(default)]
    state: String,
    #[serde(default)]
    iss: String,
    #[serde(default)]
    code: String,
}

#[derive(Deserialize)]
struct Tokens {
    access_token: String,
}

#[derive(Deserialize)]
struct UserInfo {
    sub: String,
}

impl Users {
    pub(crate) fn new(sandbox: &Sandbox, origin: &str) -> Result<Self, reqwest::Error> {
        let http =
            reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build()?;
        Ok(Self {
            http,
            endpoints: sandbox.sign_in_endpoints(),
            client: sandbox.sign_in_client(),
            redirect_uri: format!("{origin}/sign-in/callback"),
            signed_in: Mutex::default(),
        })
    }

    /// Who sent a request.
    pub(crate) fn who(&self, headers: &HeaderMap) -> Option<Arc<User>> {
        let cookie = cookie(headers, COOKIE)?;
        self.signed_in.lock().unwrap_or_else(PoisonError::into_inner).get(cookie).cloned()
    }

    /// Where to go to sign in, and the cookie to set before.
    pub(crate) fn begin(&self) -> Result<(Url, String), url::ParseError> {
        let (state, verifier) = (secret(), secret());
        let challenge = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()));
        let parameters = [
            ("response_type", "code"),
            ("client_id", &self.client.client_id),
            ("redirect_uri", &self.redirect_uri),
            ("scope", "openid"),
            ("state", &state),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            // The access token is to be one for the application's users, which the vault takes.
            ("audience", DEFAULT_AUDIENCE),
        ];
        let url = Url::parse_with_params(&self.endpoints.authorize, parameters)?;
        Ok((url, format!("{SIGNING_IN}={state}.{verifier}; Path=/sign-in; HttpOnly; SameSite=Lax")))
    }

    /// Signs in whoever comes back; the answer is the cookies to set, or why not.
    pub(crate) async fn finish(&self, headers: &HeaderMap, back: &Callback) -> Result<[String; 3], String> {
        let (_, verifier) = cookie(headers, SIGNING_IN)
            .and_then(|pair| pair.split_once('.'))
            .filter(|(state, _)| !back.code.is_empty() && *state == back.state)
            .ok_or("the sign-in was begun in another browser, or was given up")?;
        // RFC 9207: the answer is from whom was asked.
        if back.iss != self.endpoints.issuer {
            return Err("the answer is from another identity provider".to_owned());
        }
        let form = [
            ("grant_type", "authorization_code"),
            ("code", &back.code),
            ("redirect_uri", &self.redirect_uri),
            ("code_verifier", verifier),
            ("client_id", &self.client.client_id),
            ("client_secret", &self.client.client_secret),
        ];
        let (tokens, info) = self.ask(&form).await.map_err(|error| error.without_url().to_string())?;
        let token = UserToken::parse(tokens.access_token).map_err(|error| error.to_string())?;
        let (session, binding) = (secret(), secret());
        let cookies = [
            format!("{COOKIE}={session}; Path=/; HttpOnly; SameSite=Lax"),
            // Only the vault needs to see it.
            format!("{BINDING}={binding}; Path=/vault; HttpOnly; SameSite=Lax"),
            format!("{SIGNING_IN}=; Path=/sign-in; Max-Age=0"),
        ];
        let user = Arc::new(User { name: info.sub, token, binding });
        self.signed_in.lock().unwrap_or_else(PoisonError::into_inner).insert(session, user);
        Ok(cookies)
    }

    async fn ask(&self, form: &[(&str, &str)]) -> Result<(Tokens, UserInfo), reqwest::Error> {
        let answer = self.http.post(&self.endpoints.token).form(form).send().await?.error_for_status()?;
        let tokens: Tokens = answer.json().await?;
        let asking = self.http.get(&self.endpoints.userinfo).bearer_auth(&tokens.access_token);
        Ok((tokens, asking.send().await?.error_for_status()?.json().await?))
    }

    /// Signs out whoever sent a request; the answer is the cookies to set.
    pub(crate) fn sign_out(&self, headers: &HeaderMap) -> [String; 2] {
        if let Some(cookie) = cookie(headers, COOKIE) {
            self.signed_in.lock().unwrap_or_else(PoisonError::into_inner).remove(cookie);
        }
        [format!("{COOKIE}=; Path=/; Max-Age=0"), format!("{BINDING}=; Path=/vault; Max-Age=0")]
    }
}

/// 244 random bits, in 64 characters.
fn secret() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

fn cookie<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split("; ")).filter_map(|pair| pair.split_once('='));
    pairs.find_map(|(name, value)| (name == wanted).then_some(value))
}

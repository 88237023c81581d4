//! The vault as a client of one app's identity provider.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use alter_core::{
    clock::SharedClock,
    jwt::{Discovery, JwtError, JwtVerifier},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde::Deserialize;
use subtle::ConstantTimeEq;
use url::Url;

use super::{
    CALLBACK_PATH, Prompt, SignInError,
    exchange::{ClientAuth, Exchange, Redeem},
    state::State,
};
use crate::{
    domain::{Identity, IdpConfig, SignInSettings, UserTokenKind},
    idp::{self, InvalidIdp},
    web::PublicUrl,
};

/// Parameters of an authorization request that are ours to set.
pub(crate) const RESERVED_PARAMS: [&str; 11] = [
    "client_id",
    "code_challenge",
    "code_challenge_method",
    "nonce",
    "redirect_uri",
    "request",
    "request_uri",
    "response_mode",
    "response_type",
    "scope",
    "state",
];

/// The vault as a client of one app's identity provider. Cheap to clone; clones share what was discovered.
#[derive(Clone)]
pub(crate) struct RelyingParty(Arc<Party>);

struct Party {
    idp: IdpConfig,
    settings: SignInSettings,
    /// Of ID tokens: the app's rules, for the audience that this client is.
    id_tokens: JwtVerifier,
    exchange: Exchange,
    clock: SharedClock,
    found: Mutex<Option<Found>>,
}

/// What discovery found, and when.
#[derive(Debug, Clone)]
struct Found {
    endpoints: Arc<Endpoints>,
    at: Timestamp,
}

/// After so long discovery is asked again; what was found before is used while it does not answer.
const REDISCOVER: SignedDuration = SignedDuration::from_hours(1);

impl fmt::Debug for RelyingParty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelyingParty").field("issuer", &self.0.idp.issuer).finish_non_exhaustive()
    }
}

/// What is known of the identity provider.
#[derive(Debug)]
struct Endpoints {
    authorize: Url,
    token: Url,
    /// The client secret goes into the form: basic authentication is not offered.
    in_form: bool,
    /// Every answer names its issuer (RFC 9207 §3).
    names_issuer: bool,
}

/// What came back with the browser.
pub(super) struct Returned {
    pub(super) code: Option<SecretString>,
    pub(super) iss: Option<String>,
    pub(super) error: Option<String>,
}

/// Claims of an ID token that only its client looks at (OpenID Connect Core §3.1.3.7).
#[derive(Deserialize)]
struct ClientClaims {
    nonce: Option<String>,
    azp: Option<String>,
}

impl RelyingParty {
    pub(crate) fn new(
        idp: &IdpConfig,
        settings: &SignInSettings,
        clock: SharedClock,
    ) -> Result<Self, InvalidIdp> {
        let ours = IdpConfig { audiences: vec![settings.client_id.clone()], ..idp.clone() };
        Ok(Self(Arc::new(Party {
            id_tokens: idp::verifier(&ours, Arc::clone(&clock))?,
            clock,
            idp: idp.clone(),
            settings: settings.clone(),
            exchange: Exchange::default(),
            found: Mutex::new(None),
        })))
    }

    /// Finds the endpoints, as proof that they can be found.
    pub(crate) async fn probe(&self) -> Result<(), SignInError> {
        self.endpoints().await.map(|_| ())
    }

    /// Where a browser is sent.
    pub(super) async fn authorization_url(
        &self,
        public: &PublicUrl,
        state: &State,
        prompt: Prompt,
    ) -> Result<Url, SignInError> {
        let Party { settings, .. } = &*self.0;
        let mut url = self.endpoints().await?.authorize.clone();
        let mut scopes = vec!["openid"];
        scopes.extend(settings.scopes.iter().map(String::as_str).filter(|scope| *scope != "openid"));
        {
            let mut query = url.query_pairs_mut();
            let further = settings.authorize_params.iter();
            for (name, value) in further.filter(|(name, _)| !RESERVED_PARAMS.contains(&name.as_str())) {
                query.append_pair(name, value);
            }
            query
                .append_pair("response_type", "code")
                .append_pair("client_id", &settings.client_id)
                .append_pair("redirect_uri", public.join(CALLBACK_PATH).as_str())
                .append_pair("scope", &scopes.join(" "))
                .append_pair("state", &state.text)
                .append_pair("nonce", &state.nonce)
                .append_pair("code_challenge", &state.challenge())
                .append_pair("code_challenge_method", "S256");
            if prompt == Prompt::SelectAccount && !settings.authorize_params.contains_key("prompt") {
                query.append_pair("prompt", "select_account");
            }
        }
        Ok(url)
    }

    /// Who signed in, by what came back. The token that the app takes for its user comes with it.
    pub(super) async fn finish(
        &self,
        public: &PublicUrl,
        secret: Option<&SecretString>,
        state: &State,
        returned: Returned,
    ) -> Result<(Identity, Tokens), SignInError> {
        let Party { idp, settings, id_tokens, exchange, .. } = &*self.0;
        let endpoints = self.endpoints().await?;
        // First of all: an answer of another issuer must not be acted on, not even its error (RFC 9207 §2.4).
        match &returned.iss {
            Some(iss) if *iss == idp.issuer => {}
            Some(_) => return Err(refused("it names another issuer")),
            None if endpoints.names_issuer => return Err(refused("it does not name its issuer")),
            None => {}
        }
        if let Some(error) = returned.error {
            return Err(SignInError::Declined(error));
        }
        let code = returned.code.ok_or_else(|| refused("it holds no code"))?;
        let client_auth = match secret {
            None => ClientAuth::None,
            Some(secret) if endpoints.in_form => ClientAuth::Form(secret),
            Some(secret) => ClientAuth::Basic(secret),
        };
        let answer = exchange
            .redeem(&Redeem {
                token_url: &endpoints.token,
                client_id: &settings.client_id,
                client_auth,
                code: &code,
                redirect_uri: public.join(CALLBACK_PATH).as_str(),
                verifier: &state.verifier,
            })
            .await?;
        let id_token = answer.id_token.ok_or_else(|| refused("it holds no ID token"))?;
        let user = id_tokens.verify(id_token.expose()).await.map_err(|error| not_verified(&error))?;
        let claims = client_claims(id_token.expose())?;
        let nonce = claims.nonce.ok_or_else(|| refused("the ID token has no `nonce`"))?;
        if !bool::from(nonce.as_bytes().ct_eq(state.nonce.as_bytes())) {
            return Err(refused("the ID token belongs to another sign-in (`nonce`)"));
        }
        if claims.azp.is_some_and(|azp| azp != settings.client_id) {
            return Err(refused("the ID token was made for another client (`azp`)"));
        }
        let tokens = match settings.user_token {
            UserTokenKind::IdToken => Tokens::Id(SecretString::from(id_token.expose())),
            UserTokenKind::AccessToken => {
                let token = answer.access_token.ok_or_else(|| refused("it holds no access token"))?;
                Tokens::Access(SecretString::from(token.expose()))
            }
        };
        Ok((idp::identity(idp, &user), tokens))
    }

    /// The endpoints, as the operator wrote them down or as discovery says.
    async fn endpoints(&self) -> Result<Arc<Endpoints>, SignInError> {
        let Party { found, clock, .. } = &*self.0;
        let known = found.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let now = clock.now();
        let fresh = |found: &Found| {
            (found.at..found.at.saturating_add(REDISCOVER).unwrap_or(found.at)).contains(&now)
        };
        if let Some(known) = known.as_ref().filter(|known| fresh(known)) {
            return Ok(Arc::clone(&known.endpoints));
        }
        let endpoints = match (self.find().await, known) {
            (Ok(endpoints), _) => Arc::new(endpoints),
            (Err(_), Some(known)) => known.endpoints,
            (Err(error), None) => return Err(error),
        };
        let found_now = Found { endpoints: Arc::clone(&endpoints), at: now };
        *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(found_now);
        Ok(endpoints)
    }

    async fn find(&self) -> Result<Endpoints, SignInError> {
        let Party { idp, settings, .. } = &*self.0;
        match (&settings.authorize_url, &settings.token_url) {
            (Some(authorize), Some(token)) => Ok(Endpoints {
                authorize: written_down(authorize)?,
                token: written_down(token)?,
                in_form: false,
                names_issuer: false,
            }),
            (authorize, token) => {
                let document = Discovery::of(&idp.issuer).await.map_err(|error| {
                    tracing::warn!(issuer = idp.issuer, %error, "discovery for a sign-in failed");
                    SignInError::Unavailable(format!("discovery failed: {error}"))
                })?;
                discovered(&document, authorize.as_deref(), token.as_deref())
            }
        }
    }
}

/// The token that the app takes for its user.
pub(super) enum Tokens {
    Id(SecretString),
    Access(SecretString),
}

impl Tokens {
    pub(super) fn into_inner(self) -> SecretString {
        match self {
            Self::Id(token) | Self::Access(token) => token,
        }
    }
}

fn discovered(
    document: &Discovery,
    authorize: Option<&str>,
    token: Option<&str>,
) -> Result<Endpoints, SignInError> {
    let found = |ours: Option<&str>, theirs: &Option<String>, name: &str| match (ours, theirs) {
        (Some(ours), _) => written_down(ours),
        (None, Some(theirs)) => document
            .checked(theirs)
            .map_err(|error| SignInError::Misconfigured(format!("its `{name}`: {error}"))),
        (None, None) => Err(SignInError::Misconfigured(format!("its discovery document has no `{name}`"))),
    };
    let methods = &document.token_endpoint_auth_methods_supported;
    let offers = |method: &str| methods.iter().any(|offered| offered == method);
    Ok(Endpoints {
        authorize: found(authorize, &document.authorization_endpoint, "authorization_endpoint")?,
        token: found(token, &document.token_endpoint, "token_endpoint")?,
        in_form: offers("client_secret_post") && !offers("client_secret_basic"),
        names_issuer: document.authorization_response_iss_parameter_supported,
    })
}

fn written_down(url: &str) -> Result<Url, SignInError> {
    crate::domain::endpoint_url(url).map_err(|error| SignInError::Misconfigured(error.to_string()))
}

fn refused(why: &str) -> SignInError {
    SignInError::Refused(why.to_owned())
}

fn not_verified(error: &JwtError) -> SignInError {
    if error.is_transient() {
        SignInError::Unavailable(error.to_string())
    } else {
        SignInError::Refused(format!("ID token: {error}"))
    }
}

/// Reads claims of a token that was verified.
fn client_claims(token: &str) -> Result<ClientClaims, SignInError> {
    let claims = token.split('.').nth(1).and_then(|claims| URL_SAFE_NO_PAD.decode(claims).ok());
    let claims = claims.and_then(|claims| serde_json::from_slice(&claims).ok());
    claims.ok_or_else(|| refused("the ID token's `nonce` or `azp` is not a text"))
}

//! What the provider has issued: grants, and the codes and tokens that belong to them.
//!
//! Secrets are kept as SHA-256. Every code and token points to its grant, so that revoking a grant revokes all
//! of them at once.

use std::collections::HashSet;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;

use super::{
    Client,
    error::{DeadToken, OauthError},
};
use crate::{
    bounded::Bounded,
    counts::Owner,
    faults::Faults,
    keys::random,
    site::Site,
    state::{Digest, sha256},
};

/// Lifetime of an authorization code, in milliseconds (RFC 6749 §4.1.2 recommends ten minutes at most).
const CODE_LIFE_MS: i64 = 60_000;

const GRANTS: usize = 200_000;
const TOKENS: usize = 400_000;
const CODES: usize = 10_000;

type GrantId = u64;

/// A user's consent: one account, one client.
struct Grant {
    site: Site,
    client_id: String,
    sub: String,
    account: String,
    scope: String,
    revoked: bool,
}

struct Access {
    grant: GrantId,
    scope: String,
    expires_ms: i64,
    revoked: bool,
}

struct Refresh {
    grant: GrantId,
    /// When it was issued or, without rotation, last used.
    used_ms: i64,
    /// When a rotation first spent it.
    spent_ms: Option<i64>,
}

struct Code {
    request: CodeRequest,
    expires_ms: i64,
    redeemed: bool,
    /// Set once the code has been exchanged.
    grant: Option<GrantId>,
}

/// An approved authorization request.
pub(crate) struct CodeRequest {
    pub(crate) site: Site,
    pub(crate) client_id: String,
    pub(crate) redirect_uri: String,
    /// `BASE64URL(SHA256(verifier))`, RFC 7636 §4.2.
    pub(crate) challenge: String,
    pub(crate) scope: String,
    pub(crate) identity: Identity,
}

/// What the token endpoint hands out.
pub(crate) struct Issued {
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
    /// Seconds.
    pub(crate) expires_in: u64,
    pub(crate) scope: String,
    /// Whether it was a spent refresh token, within the reuse window, that was exchanged.
    pub(crate) forgiven: bool,
}

/// On what terms tokens are issued just now.
#[derive(Clone, Copy)]
pub(crate) struct Terms {
    /// Milliseconds since the Unix epoch.
    pub(crate) now_ms: i64,
    /// Lifetime of access tokens, in seconds.
    pub(crate) expires_in: u64,
    /// Whether a refresh replaces the refresh token.
    pub(crate) rotate: bool,
    /// Whether a spent refresh token takes its grant with it.
    pub(crate) reuse_detection: bool,
    /// Seconds after its rotation in which a spent refresh token is taken again.
    pub(crate) reuse_window: u64,
    /// Seconds without use after which a refresh token is dead.
    pub(crate) refresh_idle: Option<u64>,
}

impl Terms {
    pub(crate) fn of(faults: &Faults, now_ms: i64) -> Self {
        Self {
            now_ms,
            expires_in: faults.expires_in,
            rotate: faults.rotate,
            reuse_detection: faults.reuse_detection,
            reuse_window: faults.reuse_window,
            refresh_idle: faults.refresh_idle,
        }
    }
}

/// Whom an access token stands for.
#[derive(Debug, Clone)]
pub(crate) struct Bearer {
    pub(crate) site: Site,
    pub(crate) sub: String,
    pub(crate) account: String,
    pub(crate) scope: String,
}

/// See the module.
pub(crate) struct Ledger {
    grants: Bounded<GrantId, Grant>,
    access: Bounded<Digest, Access>,
    refresh: Bounded<Digest, Refresh>,
    codes: Bounded<Digest, Code>,
    next: GrantId,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self {
            grants: Bounded::new(GRANTS),
            access: Bounded::new(TOKENS),
            refresh: Bounded::new(TOKENS),
            codes: Bounded::new(CODES),
            next: 1,
        }
    }

    /// A new grant with its first tokens.
    pub(crate) fn grant(
        &mut self,
        client: &Client,
        sub: &str,
        account: &str,
        scope: &str,
        terms: Terms,
    ) -> Issued {
        let id = self.next;
        self.next += 1;
        self.grants.insert(
            id,
            Grant {
                site: client.site,
                client_id: client.client_id.clone(),
                sub: sub.to_owned(),
                account: account.to_owned(),
                scope: scope.to_owned(),
                revoked: false,
            },
        );
        Issued {
            access_token: self.issue_access(id, scope, terms),
            refresh_token: self.issue_refresh(id, terms),
            expires_in: terms.expires_in,
            scope: scope.to_owned(),
            forgiven: false,
        }
    }

    /// Remembers an approval and answers its code.
    pub(crate) fn approve(&mut self, request: CodeRequest, now_ms: i64) -> String {
        let code = secret("ac");
        let entry = Code { request, expires_ms: now_ms + CODE_LIFE_MS, redeemed: false, grant: None };
        self.codes.insert(sha256(code.as_bytes()), entry);
        code
    }

    /// Exchanges a code (RFC 6749 §4.1.3, RFC 7636 §4.6). One attempt uses it up, whatever comes of it; a second
    /// one revokes what the first was given (RFC 6749 §4.1.2).
    pub(crate) fn redeem(
        &mut self,
        code: &str,
        client: &Client,
        redirect_uri: &str,
        verifier: &str,
        terms: Terms,
    ) -> Result<(Issued, Identity), OauthError> {
        let digest = sha256(code.as_bytes());
        let known = self.codes.get_mut(&digest).filter(|code| code.request.is_of(client));
        let Some(entry) = known else { return Err(OauthError::InvalidGrant("unknown code")) };
        if entry.redeemed {
            let issued = entry.grant;
            if let Some(grant) = issued.and_then(|id| self.grants.get_mut(&id)) {
                grant.revoked = true;
            }
            return Err(OauthError::InvalidGrant("the code has been used"));
        }
        entry.redeemed = true;
        if terms.now_ms >= entry.expires_ms {
            return Err(OauthError::InvalidGrant("the code has expired"));
        }
        if entry.request.redirect_uri != redirect_uri {
            return Err(OauthError::InvalidGrant("redirect_uri is not the one of the authorization request"));
        }
        let challenge = URL_SAFE_NO_PAD.encode(sha256(verifier.as_bytes()));
        if verify_slices_are_equal(challenge.as_bytes(), entry.request.challenge.as_bytes()).is_err() {
            return Err(OauthError::InvalidGrant("code_verifier does not match"));
        }
        let (identity, scope) = (entry.request.identity.clone(), entry.request.scope.clone());
        let id = self.next;
        entry.grant = Some(id);
        let issued = self.grant(client, &identity.sub, &identity.account, &scope, terms);
        Ok((issued, identity))
    }

    /// Spends a refresh token (RFC 6749 §6); with [`Terms::rotate`] the answer holds a new one and the old one is
    /// dead, once [`Terms::reuse_window`] is over.
    pub(super) fn refresh(
        &mut self,
        token: &str,
        client: &Client,
        scope: Option<&str>,
        terms: Terms,
    ) -> Result<Issued, OauthError> {
        let digest = sha256(token.as_bytes());
        let Some(entry) = self.refresh.get_mut(&digest) else {
            return Err(OauthError::DeadToken(DeadToken::Unknown));
        };
        let id = entry.grant;
        let grant = self.grants.get_mut(&id).filter(|grant| grant.is_of(client));
        let Some(grant) = grant else { return Err(OauthError::DeadToken(DeadToken::Unknown)) };
        if grant.revoked {
            return Err(OauthError::DeadToken(DeadToken::Revoked));
        }
        if entry.spent_ms.is_some_and(|at| is_over(at, terms.reuse_window, terms.now_ms)) {
            grant.revoked = terms.reuse_detection;
            let dead = if terms.reuse_detection { DeadToken::Reused } else { DeadToken::Spent };
            return Err(OauthError::DeadToken(dead));
        }
        if terms.refresh_idle.is_some_and(|idle| is_over(entry.used_ms, idle, terms.now_ms)) {
            return Err(OauthError::DeadToken(DeadToken::Idle));
        }
        let scope = scope.unwrap_or(&grant.scope).to_owned();
        let granted: Vec<&str> = grant.scope.split(' ').collect();
        if !scope.split(' ').all(|wanted| granted.contains(&wanted)) {
            return Err(OauthError::InvalidScope);
        }
        entry.used_ms = terms.now_ms;
        let forgiven = entry.spent_ms.is_some();
        // A window that every use moved on would never end: the first rotation counts.
        if terms.rotate && !forgiven {
            entry.spent_ms = Some(terms.now_ms);
        }
        let rotates = terms.rotate || forgiven;
        let refresh_token = if rotates { self.issue_refresh(id, terms) } else { token.to_owned() };
        let access_token = self.issue_access(id, &scope, terms);
        Ok(Issued { access_token, refresh_token, expires_in: terms.expires_in, scope, forgiven })
    }

    /// Whose refresh token this is, whether or not it is still good.
    pub(super) fn owner(&self, refresh_token: &str) -> Option<Owner> {
        let entry = self.refresh.get(&sha256(refresh_token.as_bytes()))?;
        let grant = self.grants.get(&entry.grant)?;
        Some((grant.sub.clone(), grant.account.clone()))
    }

    /// Revokes a token (RFC 7009 §2.1): an access token alone, with a refresh token the whole grant. An unknown
    /// token is no error (§2.2).
    pub(super) fn revoke(&mut self, token: &str, client: &Client) -> Result<Revoked, OauthError> {
        let digest = sha256(token.as_bytes());
        let refresh = self.refresh.get(&digest).map(|token| token.grant);
        let access = self.access.get_mut(&digest);
        let Some(id) = refresh.or(access.as_ref().map(|token| token.grant)) else {
            return Ok(Revoked::Unknown);
        };
        let Some(grant) = self.grants.get_mut(&id) else { return Ok(Revoked::Unknown) };
        if !grant.is_of(client) {
            return Err(OauthError::InvalidGrant("the token was issued to another client"));
        }
        if let Some(access) = access {
            access.revoked = true;
            Ok(Revoked::Access)
        } else {
            grant.revoked = true;
            Ok(Revoked::Refresh)
        }
    }

    /// Whom this access token stands for, if it is good at `now_ms`.
    pub(crate) fn bearer(&self, token: &str, now_ms: i64) -> Option<Bearer> {
        let access = self.access.get(&sha256(token.as_bytes()))?;
        let grant = self.grants.get(&access.grant)?;
        let good = !access.revoked && !grant.revoked && now_ms < access.expires_ms;
        good.then(|| Bearer {
            site: grant.site,
            sub: grant.sub.clone(),
            account: grant.account.clone(),
            scope: access.scope.clone(),
        })
    }

    /// Revokes every grant of this account at the provider and answers how many there were.
    pub(crate) fn disconnect(&mut self, site: Site, sub: &str, account: &str) -> usize {
        let mut ended = 0;
        for grant in self.grants.values_mut() {
            if !grant.revoked && grant.site == site && grant.sub == sub && grant.account == account {
                grant.revoked = true;
                ended += 1;
            }
        }
        ended
    }

    /// Whether this user has already given the client all of this scope and not taken it back.
    pub(crate) fn has_consent(&self, client: &Client, sub: &str, account: &str, scope: &str) -> bool {
        self.grants.values().any(|grant| {
            let granted: Vec<&str> = grant.scope.split(' ').collect();
            !grant.revoked
                && grant.is_of(client)
                && (grant.sub.as_str(), grant.account.as_str()) == (sub, account)
                && scope.split(' ').all(|asked| granted.contains(&asked))
        })
    }

    /// What is left of an account's tokens.
    pub(crate) fn tokens(&self, site: Site, sub: &str, account: &str, now_ms: i64) -> AccountTokens {
        let mut tokens = AccountTokens::default();
        let mut live = HashSet::new();
        for (id, grant) in self.grants.iter() {
            if grant.site == site && grant.sub == sub && grant.account == account {
                tokens.grants += 1;
                if !grant.revoked {
                    live.insert(*id);
                }
            }
        }
        let access = self.access.values().filter(|token| live.contains(&token.grant));
        let refresh = self.refresh.values().filter(|token| live.contains(&token.grant));
        tokens.live_grants = count(live.iter());
        tokens.live_access_tokens = count(access.filter(|token| !token.revoked && now_ms < token.expires_ms));
        tokens.live_refresh_tokens = count(refresh.filter(|token| token.spent_ms.is_none()));
        tokens
    }

    /// Puts an access token of another form in the place of the one just issued.
    pub(crate) fn replace_access(&mut self, issued: &mut Issued, token: String) {
        if let Some(access) = self.access.get(&sha256(issued.access_token.as_bytes())) {
            let same = Access { grant: access.grant, scope: access.scope.clone(), ..*access };
            self.access.insert(sha256(token.as_bytes()), same);
        }
        issued.access_token = token;
    }

    fn issue_access(&mut self, grant: GrantId, scope: &str, terms: Terms) -> String {
        let token = secret("at");
        let life_ms = i64::try_from(terms.expires_in.saturating_mul(1000)).unwrap_or(i64::MAX);
        let expires_ms = terms.now_ms.saturating_add(life_ms);
        let entry = Access { grant, scope: scope.to_owned(), expires_ms, revoked: false };
        self.access.insert(sha256(token.as_bytes()), entry);
        token
    }

    fn issue_refresh(&mut self, grant: GrantId, terms: Terms) -> String {
        let token = secret("rt");
        let entry = Refresh { grant, used_ms: terms.now_ms, spent_ms: None };
        self.refresh.insert(sha256(token.as_bytes()), entry);
        token
    }
}

/// Whether as many seconds have passed since `from_ms`.
fn is_over(from_ms: i64, seconds: u64, now_ms: i64) -> bool {
    let span_ms = i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX);
    now_ms >= from_ms.saturating_add(span_ms)
}

/// The user who approved, for an ID token.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) sub: String,
    pub(crate) account: String,
    pub(crate) nonce: Option<String>,
    /// When they signed in: seconds since the Unix epoch.
    pub(crate) auth_time: i64,
    /// Whom the access token is for, where that was asked for.
    pub(crate) audience: Option<String>,
}

/// What is left of the tokens that a provider issued for one account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AccountTokens {
    /// Grants that were ever made, those that are over included.
    pub grants: u64,
    /// Grants that have not been revoked, neither by the user nor by the client nor by a reuse.
    pub live_grants: u64,
    /// Access tokens that the API still takes.
    pub live_access_tokens: u64,
    /// Refresh tokens that have neither been spent by a rotation nor revoked.
    pub live_refresh_tokens: u64,
}

impl AccountTokens {
    /// Whether nothing that was issued is good for anything any more.
    #[must_use]
    pub fn are_dead(&self) -> bool {
        self.live_access_tokens == 0 && self.live_refresh_tokens == 0
    }
}

/// What a revocation was the end of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Revoked {
    Access,
    /// And with it everything of its grant.
    Refresh,
    /// Nothing: the token is unknown.
    Unknown,
}

impl Grant {
    fn is_of(&self, client: &Client) -> bool {
        self.site == client.site && self.client_id == client.client_id
    }
}

impl CodeRequest {
    fn is_of(&self, client: &Client) -> bool {
        self.site == client.site && self.client_id == client.client_id
    }
}

fn count(things: impl Iterator) -> u64 {
    u64::try_from(things.count()).unwrap_or(u64::MAX)
}

/// 256 random bits with a prefix that a search through logs finds.
fn secret(kind: &str) -> String {
    format!("sbx_{kind}_{}", URL_SAFE_NO_PAD.encode(random::<32>()))
}

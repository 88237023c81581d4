//! The bounds of a request for a session (spec/03 §1.1, §1.6, §3.6).

use super::{
    ConnectSessionRequest, GrantPolicyInput, MAX_ITEMS, MAX_NAME, MAX_SCOPE, MAX_TTL_SECONDS, check_origin,
    check_return_url,
};
use crate::{user_token::MAX_TOKEN_LEN, wire::code::Code};

/// A request for a session that breaks a rule. Names the member, never its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {rule}")]
pub struct ConnectRequestError {
    field: &'static str,
    rule: &'static str,
    code: Code,
}

impl ConnectRequestError {
    pub(super) fn new(field: &'static str, rule: &'static str, code: Code) -> Self {
        Self { field, rule, code }
    }

    /// The member.
    #[must_use]
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// The code that a vault answers with; its status is [`Code::status`].
    #[must_use]
    pub fn code(&self) -> &Code {
        &self.code
    }
}

/// A provider's id as it is compared: without white space around it, in lower case.
///
/// ```
/// assert_eq!(alter_core::wire::connect::normalize_provider(" GitHub "), "github");
/// ```
#[must_use]
pub fn normalize_provider(id: &str) -> String {
    id.trim().to_lowercase()
}

impl ConnectSessionRequest {
    /// The providers to choose from, normalised, each once, in the order in which they were named. `None` means every
    /// provider that the app has.
    #[must_use]
    pub fn providers(&self) -> Option<Vec<String>> {
        let mut distinct = Vec::new();
        for id in self.allowed_providers.as_ref()? {
            let id = normalize_provider(id);
            if !distinct.contains(&id) {
                distinct.push(id);
            }
        }
        Some(distinct)
    }

    /// The required scopes of a provider, by its normalised id; empty when none are.
    #[must_use]
    pub fn scopes_of(&self, provider: &str) -> &[String] {
        let named = self.required_scopes.iter().flatten();
        named
            .filter(|(id, _)| normalize_provider(id) == provider)
            .map(|(_, scopes)| scopes.as_slice())
            .next()
            .unwrap_or_default()
    }

    /// Checks every bound that does not depend on what the vault has stored.
    ///
    /// # Errors
    ///
    /// [`ConnectRequestError`] naming the first member that breaks a rule, with the code for a vault's answer.
    pub fn check(&self) -> Result<(), ConnectRequestError> {
        self.check_providers()?;
        if let Some(url) = &self.return_url {
            check_return_url(url)?;
        }
        if let Some(origin) = &self.allowed_origin {
            check_origin(origin)?;
        }
        self.grant_policy.as_ref().map_or(Ok(()), GrantPolicyInput::check)?;
        self.check_required_scopes()?;
        if let Some(grant) = &self.requested_grant {
            rule(between(&grant.label, 1, MAX_NAME), "requested_grant.label", "must be 1 to 255 characters")?;
        }
        self.check_repair()?;
        self.check_delegation()?;
        let token = self.user_token.as_ref().map(super::SecretText::expose);
        rule(
            token.is_none_or(|token| (1..=MAX_TOKEN_LEN).contains(&token.len())),
            "user_token",
            "must be 1 to 8192 bytes",
        )?;
        rule(
            self.browser_binding.is_none() || self.binding_digest().is_some(),
            "browser_binding",
            "must be a SHA-256 in 64 hex digits",
        )
    }

    fn check_providers(&self) -> Result<(), ConnectRequestError> {
        let Some(providers) = &self.allowed_providers else {
            return rule(!self.direct, "direct", "needs exactly one provider");
        };
        let field = "allowed_providers";
        rule(!providers.is_empty(), field, "must name a provider, or be null for all of them")?;
        rule(providers.len() <= MAX_ITEMS, field, "may name at most 100 providers")?;
        rule(
            providers.iter().all(|id| between(id.trim(), 1, MAX_NAME)),
            field,
            "must be ids of 1 to 255 characters that are not blank",
        )?;
        rule(!self.direct || self.names_one(), "direct", "needs exactly one provider")
    }

    fn names_one(&self) -> bool {
        self.providers().is_some_and(|providers| providers.len() == 1)
    }

    fn check_required_scopes(&self) -> Result<(), ConnectRequestError> {
        let Some(required) = &self.required_scopes else { return Ok(()) };
        let field = "required_scopes";
        rule(
            required.len() <= MAX_ITEMS && required.values().all(|scopes| scopes.len() <= MAX_ITEMS),
            field,
            "may hold at most 100 providers with at most 100 scopes each",
        )?;
        rule(
            required.keys().all(|id| between(id.trim(), 1, MAX_NAME)),
            field,
            "must be keyed by ids of providers",
        )?;
        let mut ids: Vec<_> = required.keys().map(|id| normalize_provider(id)).collect();
        ids.sort_unstable();
        rule(ids.windows(2).all(|pair| pair[0] != pair[1]), field, "names a provider twice")?;
        rule(
            required.values().flatten().all(|scope| is_scope(scope)),
            field,
            "must be scopes of 1 to 512 printable ASCII characters without blank, quote or backslash",
        )
    }

    fn check_repair(&self) -> Result<(), ConnectRequestError> {
        if self.repair_grant_id.is_none() {
            return Ok(());
        }
        let field = "repair_grant_id";
        rule(self.names_one(), field, "needs exactly one provider")?;
        rule(self.requested_grant.is_none(), field, "cannot go with requested_grant: the grant exists")?;
        rule(self.agent.is_none(), field, "cannot go with agent")?;
        rule(!self.switch_account, field, "cannot go with switch_account: the account stays the same")
    }

    fn check_delegation(&self) -> Result<(), ConnectRequestError> {
        if let Some(agent) = &self.agent {
            rule(
                between(agent.trim(), 1, MAX_NAME),
                "agent",
                "must be an id or name of 1 to 255 characters",
            )?;
            if self.user_token.is_none() {
                let code = Code::AgentRequiresUserToken;
                return Err(ConnectRequestError::new("agent", "needs a user token: a user delegates", code));
            }
        }
        let Some(atoms) = &self.scope_constraint else { return Ok(()) };
        let fits = (1..=MAX_ITEMS).contains(&atoms.len())
            && atoms.iter().map(|atom| atom.trim()).all(|atom| atom != "*" && is_scope(atom));
        if fits {
            return Ok(());
        }
        Err(ConnectRequestError::new(
            "scope_constraint",
            "must be 1 to 100 scopes of 1 to 512 printable ASCII characters without blank, quote or backslash, and \
             none of them *",
            Code::InvalidScopeConstraint,
        ))
    }
}

impl GrantPolicyInput {
    fn check(&self) -> Result<(), ConnectRequestError> {
        let rule = |holds: bool, rule| {
            let error = || ConnectRequestError::new("grant_policy", rule, Code::InvalidGrantPolicy);
            if holds { Ok(()) } else { Err(error()) }
        };
        rule(
            self.unknown.is_empty(),
            "takes max_ttl_seconds and default_ttl_seconds only when a session is created",
        )?;
        let fits = |ttl: Option<u64>| ttl.is_none_or(|ttl| (1..=MAX_TTL_SECONDS).contains(&ttl));
        rule(
            fits(self.max_ttl_seconds) && fits(self.default_ttl_seconds),
            "must hold seconds from 1 to a hundred years",
        )?;
        let within = match (self.default_ttl_seconds, self.max_ttl_seconds) {
            (Some(default), Some(max)) => default <= max,
            _ => true,
        };
        rule(within, "has a default_ttl_seconds beyond its max_ttl_seconds")
    }
}

fn rule(holds: bool, field: &'static str, rule: &'static str) -> Result<(), ConnectRequestError> {
    if holds { Ok(()) } else { Err(ConnectRequestError::new(field, rule, Code::InvalidRequest)) }
}

fn between(text: &str, min: usize, max: usize) -> bool {
    // Bytes first, so that no megabyte is counted.
    text.len() <= max * 4 && (min..=max).contains(&text.chars().count())
}

/// A scope token (RFC 6749 §3.3) of bounded length.
fn is_scope(text: &str) -> bool {
    (1..=MAX_SCOPE).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
}

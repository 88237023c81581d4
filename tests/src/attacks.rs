//! Calls that no honest client makes. Each is refused with its documented status and code, hands out nothing, touches
//! nothing at the provider, and leaves exactly one row that says so.

mod callers;
mod reach;
mod signing;

use alter_server::{
    admin::InjectionStyle,
    audit::{Action, AuditRow, Outcome},
    domain::{GrantId, Principal},
};
use serde_json::Value;

use crate::harness::{Draft, Needles, Reply, Tenant, World, world::PROVIDER};

/// Two apps in one vault, users with grants in both, an agent with its own, and the secrets of all of them.
struct Scene {
    world: World,
    ours: Tenant,
    theirs: Tenant,
    alice: String,
    alices: GrantId,
    bobs: GrantId,
    foreign: GrantId,
    agents: GrantId,
    secrets: Needles,
}

impl Scene {
    async fn set() -> Self {
        let world = World::start().await;
        let (ours, theirs) = (world.tenant("ours").await, world.tenant("theirs").await);
        let (alices, alices_tokens) = ours.connect(&world.sandbox, "alice", "alice@work").await;
        let (bobs, bobs_tokens) = ours.connect(&world.sandbox, "bob", "bob@work").await;
        let (foreign, foreign_tokens) = theirs.connect(&world.sandbox, "mallory", "mallory@work").await;
        let value = "mk-9fKq27LmZt4XwPbV83sHyRcD";
        let secret = ours.secret(&world.sandbox, "billing", &InjectionStyle::Bearer, value).await;
        let agents = ours.grant(secret, Principal::Agent(ours.agent)).await;
        let mut secrets = Needles::default();
        for (name, tokens) in [("alice", &alices_tokens), ("bob", &bobs_tokens), ("mallory", &foreign_tokens)]
        {
            // Every token of the sandbox begins alike; what follows is the secret.
            secrets.text(&format!("{name}'s access token"), &tokens.access_token["sbx_at_".len()..]);
            secrets.text(&format!("{name}'s refresh token"), &tokens.refresh_token["sbx_rt_".len()..]);
        }
        secrets
            .text("the managed secret", value)
            .text("the client secret", &world.sandbox.client().client_secret["sbx_cs_".len()..])
            .api_key("our key", &ours.key)
            .api_key("our agent's key", &ours.agent_key)
            .api_key("their key", &theirs.key);
        let alice = world.jwt("alice");
        secrets.jwt("alice's JWT", &alice);
        Self { world, ours, theirs, alice, alices, bobs, foreign, agents, secrets }
    }

    /// What alice's request looks like before anybody signs or changes it.
    fn draft(&self) -> Draft {
        Draft::by_provider(PROVIDER, Some(&self.alice), &self.world.api("/me"))
    }

    async fn send(&self, draft: &Draft) -> Reply {
        draft.send(&self.world.http, &self.world.base_url).await
    }

    /// The call is answered with a credential, so that a refusal of its like means something.
    async fn accepted(&self, what: &str, draft: &Draft) -> Reply {
        let reply = self.send(draft).await;
        assert_eq!(reply.status, 200, "{what}: {}", String::from_utf8_lossy(&reply.body));
        assert!(reply.json()["access_token"].is_string(), "{what}");
        reply
    }

    /// The call is refused with `status` and `code`; see the module.
    async fn refused(&self, what: &str, draft: &Draft, status: u16, code: &str) -> AuditRow {
        let counts = || {
            let counts = self.world.sandbox.counts();
            (counts.api_calls, counts.token_calls)
        };
        let (counts_before, rows_before) = (counts(), self.world.rows().await.len());
        let reply = self.send(draft).await;
        let body = String::from_utf8_lossy(&reply.body).into_owned();
        assert_eq!((reply.status.as_u16(), reply.code().as_str()), (status, code), "{what}: {body}");
        assert!(reply.json()["message"].as_str().is_some_and(|text| !text.is_empty()), "{what}: {body}");
        self.secrets.assert_absent(what, &reply.everything());
        if let Some(sent) =
            serde_json::from_slice::<Value>(&draft.body).unwrap_or_default()["user_token"].as_str()
            && sent.len() > 8
        {
            assert!(!body.contains(sent), "{what}: the answer repeats the token");
        }
        assert_eq!(counts(), counts_before, "{what}: the provider was called");
        let rows = self.world.rows().await.split_off(rows_before);
        assert!(
            rows.iter().all(|row| row.action != Action::TokenReleased),
            "{what}: a row says that something was released"
        );
        let mut refusals = rows.into_iter().filter(|row| row.outcome == Outcome::Refused);
        let row = refusals.next().unwrap_or_else(|| panic!("{what}: no row says so"));
        assert_eq!(row.code.as_deref(), Some(code), "{what}: {row:?}");
        assert!(refusals.next().is_none(), "{what}: more than one row");
        self.secrets.assert_absent(what, &serde_json::to_vec(&row).unwrap());
        row
    }
}

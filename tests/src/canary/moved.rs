//! A sealed value opens only where it was sealed. Whoever can write to the database gains nothing by moving one.

use alter_server::domain::GrantId;
use rusqlite::{Connection, params};

use crate::harness::{
    Draft, Needles, Tenant, World, plain_client,
    world::{PROVIDER, open, rows, serve},
};

struct Moved {
    world: World,
    tenant: Tenant,
    alices: GrantId,
    bobs: GrantId,
    secrets: Needles,
}

impl Moved {
    async fn set() -> Self {
        let world = World::start().await;
        let tenant = world.tenant("moved").await;
        let mut secrets = Needles::default();
        let mut grants = Vec::new();
        for sub in ["alice", "bob"] {
            let (grant, tokens) = tenant.connect(&world.sandbox, sub, "work").await;
            secrets.text(&format!("{sub}'s access token"), &tokens.access_token["sbx_at_".len()..]);
            secrets.text(&format!("{sub}'s refresh token"), &tokens.refresh_token["sbx_rt_".len()..]);
            grants.push(grant);
        }
        Self { world, tenant, alices: grants[0], bobs: grants[1], secrets }
    }

    /// Closes the vault, changes its database as `change` says, opens it again, and calls as alice.
    async fn after(self, change: impl FnOnce(&Connection, &Self)) {
        let url = self.world.api("/me");
        let draft = || {
            let token = self.world.jwt("alice");
            Draft::by_provider(PROVIDER, Some(&token), &url).signed(&self.tenant.key)
        };
        let good = draft().send(&self.world.http, &self.world.base_url).await;
        assert_eq!(good.status, 200, "untouched, it opens: {}", String::from_utf8_lossy(&good.body));
        self.world.vault.close().await.unwrap();
        let folder = self.world.data.path();
        change(&Connection::open(folder.join("vault.db")).unwrap(), &self);

        let vault = open(folder).await;
        let (base_url, server) = serve(&vault).await;
        let by_id = Draft::by_grant(&self.alices.to_string(), None, &url).signed(&self.tenant.key);
        for draft in [draft(), by_id] {
            let reply = draft.send(&plain_client(), &base_url).await;
            let body = String::from_utf8_lossy(&reply.body).into_owned();
            assert_eq!((reply.status.as_u16(), reply.code().as_str()), (500, "internal_error"), "{body}");
            assert!(!body.contains("access_token"), "{body}");
            self.secrets.assert_absent("the answer", &reply.everything());
        }
        assert_eq!(self.world.sandbox.counts().api_calls, 0);
        let trail = serde_json::to_vec(&rows(&vault.admin("test"), None).await).unwrap();
        self.secrets.assert_absent("the trail", &trail);
        server.abort();
        vault.close().await.unwrap();
    }
}

/// Runs one statement on alice's row, in which `BOB` stands for bob's id.
fn update(sql: &Connection, moved: &Moved, set: &str) {
    let set = set.replace("BOB", &format!("x'{}'", hex::encode(moved.bobs.bytes())));
    let changed = sql.execute(&format!("UPDATE grants SET {set} WHERE id = ?1"), [moved.alices.bytes()]);
    assert_eq!(changed.unwrap(), 1, "{set}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_grants_token_does_not_open() {
    let moved = Moved::set().await;
    moved
        .after(|sql, moved| {
            update(
                sql,
                moved,
                "access_token = (SELECT other.access_token FROM grants other WHERE other.id = BOB)",
            );
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_row_under_another_grants_id_does_not_open() {
    let moved = Moved::set().await;
    moved
        .after(|sql, moved| {
            let owner: Vec<u8> = sql
                .query_row("SELECT principal_id FROM grants WHERE id = ?1", [moved.alices.bytes()], |row| {
                    row.get(0)
                })
                .unwrap();
            sql.execute("DELETE FROM grants WHERE id = ?1", [moved.alices.bytes()]).unwrap();
            let changed = sql
                .execute(
                    "UPDATE grants SET id = ?1, principal_id = ?2 WHERE id = ?3",
                    params![moved.alices.bytes(), owner, moved.bobs.bytes()],
                )
                .unwrap();
            assert_eq!(changed, 1);
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_column_or_version_does_not_open() {
    for change in ["access_token = refresh_token", "generation = generation + 1"] {
        let moved = Moved::set().await;
        moved.after(|sql, moved| update(sql, moved, change)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_bit_does_not_open() {
    let moved = Moved::set().await;
    moved
        .after(|sql, moved| {
            let id = moved.alices.bytes();
            let mut sealed: Vec<u8> = sql
                .query_row("SELECT access_token FROM grants WHERE id = ?1", [id], |row| row.get(0))
                .unwrap();
            let last = sealed.len() - 20;
            sealed[last] ^= 1;
            sql.execute("UPDATE grants SET access_token = ?2 WHERE id = ?1", params![id, sealed]).unwrap();
        })
        .await;
}

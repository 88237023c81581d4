//! Every table of a vault, described once for both stores, for moving and for files.
//!
//! A migration that adds a table or a column must add it here: opening a place for a transfer compares the description with the
//! schema that is there ([`check`]), and so do the tests of this module.

use std::collections::BTreeMap;

use super::value::Kind::{self, Bool, Bytes, Int, Text, Uuid};
use crate::{seal::Field, store::StoreError};

/// A table. Rows are read, written and compared in the order of its key.
#[derive(Debug)]
pub(crate) struct Table {
    /// The same in both stores.
    pub(crate) name: &'static str,
    /// Columns by which rows are ordered; unique. `n` alone is the number by which both stores order rows by creation: a column
    /// of PostgreSQL, `rowid` in SQLite.
    pub(crate) key: &'static [&'static str],
    /// Every column.
    pub(crate) columns: &'static [Column],
    /// Rows that are held in memory at once.
    pub(crate) page: u32,
    /// A column that PostgreSQL alone has: the instant in microseconds, which the id (UUID version 7) in another column tells to the
    /// millisecond. It decides about the partition of a row.
    pub(crate) instant_of: Option<(&'static str, &'static str)>,
}

/// A column.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// What is secret in it, if it is sealed.
    pub(crate) sealed: Option<Seal>,
}

/// Where a sealed value belongs; see [`crate::seal::SealContext`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seal {
    pub(crate) field: Field,
    /// The column that names the row.
    pub(crate) row: &'static str,
    /// The column with the generation; without one it is 1.
    pub(crate) generation: Option<&'static str>,
}

const fn c(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, sealed: None }
}

const fn sealed(
    name: &'static str,
    field: Field,
    row: &'static str,
    generation: Option<&'static str>,
) -> Column {
    Column { name, kind: Bytes, sealed: Some(Seal { field, row, generation }) }
}

const fn table(name: &'static str, key: &'static [&'static str], columns: &'static [Column]) -> Table {
    Table { name, key, columns, page: 1000, instant_of: None }
}

/// In an order in which every row finds what it refers to.
pub(crate) const TABLES: &[Table] = &[
    table(
        "apps",
        &["id"],
        &[
            c("id", Uuid),
            c("name", Text),
            c("status", Int),
            c("config_generation", Int),
            c("idp", Text),
            c("rate_limit", Int),
            c("created_at", Int),
            c("page", Text),
            c("sign_in", Text),
            sealed("sign_in_secret", Field::SignInSecret, "id", Some("sign_in_secret_generation")),
            c("sign_in_secret_generation", Int),
        ],
    ),
    table(
        "agents",
        &["app_id", "id"],
        &[c("app_id", Uuid), c("id", Uuid), c("name", Text), c("status", Int), c("created_at", Int)],
    ),
    table(
        "api_keys",
        &["n"],
        &[
            c("n", Int),
            c("app_id", Uuid),
            c("id", Uuid),
            c("digest", Bytes),
            c("agent_id", Uuid),
            c("name", Text),
            c("prefix", Text),
            c("scopes", Int),
            c("status", Int),
            c("rate_limit", Int),
            c("created_at", Int),
            c("expires_at", Int),
            c("revoked_at", Int),
            sealed("signing_key", Field::KeySigning, "id", None),
        ],
    ),
    table(
        "users",
        &["app_id", "id"],
        &[
            c("app_id", Uuid),
            c("id", Uuid),
            c("issuer", Text),
            c("subject", Text),
            c("email", Text),
            c("name", Text),
            c("status", Int),
            c("created_at", Int),
        ],
    ),
    table(
        "providers",
        &["n"],
        &[
            c("n", Int),
            c("app_id", Uuid),
            c("id", Text),
            c("kind", Int),
            c("definition", Text),
            sealed("client_secret", Field::ProviderClientSecret, "id", Some("client_secret_generation")),
            c("client_secret_generation", Int),
        ],
    ),
    table(
        "managed_secrets",
        &["n"],
        &[
            c("n", Int),
            c("app_id", Uuid),
            c("id", Uuid),
            c("provider_id", Text),
            c("name", Text),
            c("generation", Int),
            c("created_at", Int),
            c("rotated_at", Int),
            sealed("material", Field::SecretMaterial, "id", Some("generation")),
        ],
    ),
    table(
        "grants",
        &["n"],
        &[
            c("n", Int),
            c("app_id", Uuid),
            c("id", Uuid),
            c("provider_id", Text),
            c("kind", Int),
            c("principal_kind", Int),
            c("principal_id", Bytes),
            c("account_identifier", Text),
            c("account_display_name", Text),
            c("label", Text),
            c("status", Int),
            c("needs_reconnect", Bool),
            c("scope_mismatch", Bool),
            c("grant_expires_at", Int),
            c("token_expires_at", Int),
            c("generation", Int),
            c("token_generation", Uuid),
            c("secret_id", Uuid),
            c("created_at", Int),
            c("last_used_at", Int),
            c("revoked_at", Int),
            c("revoked_by", Text),
            c("obtained_at", Int),
            c("scopes", Text),
            sealed("access_token", Field::GrantAccessToken, "id", Some("generation")),
            sealed("refresh_token", Field::GrantRefreshToken, "id", Some("generation")),
            c("reconnect_reason", Text),
            c("refused_generation", Int),
            c("refused_at", Int),
            c("last_good_at", Int),
            c("account_id", Text),
            c("parent_grant_id", Uuid),
            c("provider_revocation", Text),
        ],
    ),
    table(
        "refreshes",
        &["app_id", "grant_id"],
        &[
            c("app_id", Uuid),
            c("grant_id", Uuid),
            c("fence", Int),
            c("owner", Uuid),
            c("lease_until", Int),
            c("spending", Int),
            c("spending_since", Int),
            c("rotates", Bool),
            c("failures", Int),
            c("not_before", Int),
            c("last_refreshed_at", Int),
            c("last_failed_at", Int),
            c("failure_code", Text),
            c("failure_detail", Text),
        ],
    ),
    table(
        "refresh_backoff",
        &["app_id", "provider_id"],
        &[
            c("app_id", Uuid),
            c("provider_id", Text),
            c("failures", Int),
            c("not_before", Int),
            c("failure_code", Text),
            c("failure_detail", Text),
        ],
    ),
    table(
        "webhook_endpoints",
        &["app_id", "id"],
        &[
            c("app_id", Uuid),
            c("id", Uuid),
            c("url", Text),
            c("events", Text),
            c("created_at", Int),
            sealed("secret", Field::WebhookSecret, "id", None),
        ],
    ),
    table(
        "hook_sources",
        &["app_id", "id"],
        &[
            c("app_id", Uuid),
            c("id", Uuid),
            c("shape", Text),
            c("created_at", Int),
            sealed("secret", Field::HookSecret, "id", None),
        ],
    ),
    table(
        "outbox",
        &["app_id", "id"],
        &[
            c("app_id", Uuid),
            c("id", Uuid),
            c("kind", Int),
            c("state", Int),
            c("grant_id", Uuid),
            c("provider_id", Text),
            c("endpoint_id", Uuid),
            c("payload", Text),
            c("attempts", Int),
            c("not_before", Int),
            c("created_at", Int),
            c("last_error", Text),
            c("generation", Int),
            sealed("access_token", Field::GrantAccessToken, "grant_id", Some("generation")),
            sealed("refresh_token", Field::GrantRefreshToken, "grant_id", Some("generation")),
        ],
    ),
    table(
        "nonces",
        &["app_id", "timestamp", "key_id", "nonce"],
        &[c("app_id", Uuid), c("timestamp", Int), c("key_id", Uuid), c("nonce", Bytes)],
    ),
    table(
        "audit_chains",
        &["app_id", "run_id"],
        &[
            c("app_id", Uuid),
            c("run_id", Uuid),
            c("begun_at", Int),
            c("head_seq", Int),
            c("head_hash", Bytes),
            c("closed_at", Int),
        ],
    ),
    table(
        "audit_rows",
        &["n"],
        &[
            c("n", Int),
            c("app_id", Uuid),
            c("run_id", Uuid),
            c("seq", Int),
            c("id", Uuid),
            c("at", Int),
            c("action", Text),
            c("outcome", Int),
            c("code", Text),
            c("key_id", Uuid),
            c("key_prefix", Text),
            c("caller", Text),
            c("caller_type", Text),
            c("actor_id", Uuid),
            c("agent_id", Uuid),
            c("principal", Text),
            c("app_user_id", Uuid),
            c("grant_id", Uuid),
            c("provider", Text),
            c("account", Text),
            c("method", Text),
            c("url", Text),
            c("status", Int),
            c("latency_ms", Int),
            c("reason", Text),
            c("context", Text),
            c("token_generation", Uuid),
            c("request_id", Uuid),
            c("trace_parent", Text),
            c("remote", Text),
            c("detail", Text),
            c("bodies_digest", Bytes),
            c("prev_hash", Bytes),
            c("hash", Bytes),
        ],
    ),
    Table {
        name: "audit_bodies",
        key: &["n"],
        columns: &[
            c("n", Int),
            c("app_id", Uuid),
            c("id", Uuid),
            sealed("sealed", Field::AuditBodies, "id", None),
        ],
        // Up to a quarter of a megabyte each.
        page: 64,
        instant_of: Some(("at", "id")),
    },
    table(
        "audit_keys",
        &["n"],
        &[
            c("n", Int),
            c("public_key", Bytes),
            c("created_at", Int),
            sealed("private_key", Field::CheckpointKey, "public_key", None),
        ],
    ),
    table("audit_checkpoints", &["app_id", "run_id", "number"], CHECKPOINT),
    table("audit_cuts", &["app_id", "run_id", "number"], CHECKPOINT),
    table("audit_sweeps", &["app_id"], &[c("app_id", Uuid), c("up_to", Int), c("before", Int)]),
];

const CHECKPOINT: &[Column] = &[
    c("app_id", Uuid),
    c("run_id", Uuid),
    c("number", Int),
    c("kind", Int),
    c("seq", Int),
    c("hash", Bytes),
    c("at", Int),
    c("row_count", Int),
    c("export", Bytes),
    c("previous", Bytes),
    c("public_key", Bytes),
    c("signature", Bytes),
];

/// Tables that say something about the database, not about the vault.
const OWN: [&str; 3] = ["migrations", "alter_migrations", super::marker::TABLE];

/// Tables whose rows stay behind: they live for minutes or hours and belong to a browser that knows the old place. Whoever is in
/// the middle of connecting begins again, and whoever looks at the wallet signs in again.
pub(crate) const LEFT: [&str; 2] = ["connect_sessions", "browser_sessions"];

impl Table {
    /// Whether rows are numbered in the order of their creation.
    pub(crate) fn numbered(&self) -> bool {
        self.key == ["n"]
    }

    /// Place of a column.
    pub(crate) fn place(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// Places of the key's columns.
    pub(crate) fn key_places(&self) -> impl Iterator<Item = usize> {
        self.key.iter().filter_map(|name| self.place(name))
    }
}

/// Tables with the names of their columns, as a database has them.
pub(crate) type Found = BTreeMap<String, Vec<String>>;

/// Compares what a database has with the description.
///
/// # Errors
///
/// `Invalid` that names the first thing that is here and not there: nothing may be left behind unseen.
pub(crate) fn check(found: &Found, postgres: bool) -> Result<(), StoreError> {
    let wrong = |what: String| {
        Err(StoreError::Invalid(format!(
            "{what}: this program cannot move it without losing something. Is it the newest version, and is the database the \
             vault's alone?"
        )))
    };
    for name in found.keys() {
        let known = OWN.contains(&name.as_str()) || LEFT.contains(&name.as_str());
        if !known && !TABLES.iter().any(|table| table.name == name) {
            return wrong(format!("the database has a table {name:?}"));
        }
    }
    for table in TABLES {
        let Some(columns) = found.get(table.name) else {
            return wrong(format!("the database has no table {:?}", table.name));
        };
        let extra = table.instant_of.filter(|_| postgres).map(|(name, _)| name);
        let numbered = table.numbered() && !postgres;
        let ours: Vec<&str> = table.columns.iter().map(|column| column.name).chain(extra).collect();
        if let Some(unknown) = columns.iter().find(|name| !ours.contains(&name.as_str())) {
            return wrong(format!("table {:?} has a column {unknown:?}", table.name));
        }
        let missing = ours
            .iter()
            .find(|name| !(columns.iter().any(|column| column == *name) || numbered && **name == "n"));
        if let Some(missing) = missing {
            return wrong(format!("table {:?} has no column {missing:?}", table.name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_seals_name_columns_of_their_table() {
        for table in TABLES {
            assert_eq!(table.key_places().count(), table.key.len(), "{}", table.name);
            for seal in table.columns.iter().filter_map(|column| column.sealed) {
                assert!(table.place(seal.row).is_some(), "{}", table.name);
                assert!(seal.generation.is_none_or(|name| table.place(name).is_some()), "{}", table.name);
            }
            assert!(table.instant_of.is_none_or(|(_, id)| table.place(id).is_some()));
        }
    }

    #[test]
    fn what_is_not_described_is_refused() {
        let described: Found = TABLES
            .iter()
            .map(|table| {
                (table.name.to_owned(), table.columns.iter().map(|column| column.name.to_owned()).collect())
            })
            .collect();
        check(&described, false).unwrap();
        let mut more = described.clone();
        more.insert("approvals".to_owned(), Vec::new());
        assert!(check(&more, false).unwrap_err().to_string().contains("approvals"));
        let mut wider = described.clone();
        wider.get_mut("grants").unwrap().push("colour".to_owned());
        assert!(check(&wider, false).unwrap_err().to_string().contains("colour"));
        let mut less = described.clone();
        less.get_mut("users").unwrap().pop();
        assert!(check(&less, false).unwrap_err().to_string().contains("created_at"));
        let mut gone = described;
        gone.remove("users");
        assert!(check(&gone, false).is_err());
    }
}

//! Wrapping every sealed value with the ring's writing key, some at a time.

use rusqlite::params;

use super::writer::Unit;
use crate::{
    seal::Sealed,
    store::{Resealed, StoreError},
};

/// Every sealed column. The name in front goes into the cursor. What moves from one column to another (a token, when its grant is
/// revoked) finds its new place behind the old one. The user's token at the end of a sign-in session is left out: it lives for
/// minutes.
const PLACES: [(&str, &str, &str); 12] = [
    ("keys", "api_keys", "signing_key"),
    ("providers", "providers", "client_secret"),
    ("secrets", "managed_secrets", "material"),
    ("access", "grants", "access_token"),
    ("refresh", "grants", "refresh_token"),
    ("bodies", "audit_bodies", "sealed"),
    ("checkpoints", "audit_keys", "private_key"),
    ("sign-in", "apps", "sign_in_secret"),
    ("webhooks", "webhook_endpoints", "secret"),
    ("hooks", "hook_sources", "secret"),
    ("outbox-access", "outbox", "access_token"),
    ("outbox-refresh", "outbox", "refresh_token"),
];

fn start(cursor: Option<&str>) -> Result<(usize, i64), StoreError> {
    let Some(cursor) = cursor else { return Ok((0, i64::MIN)) };
    let parsed = cursor.split_once(':').and_then(|(name, row)| {
        let place = PLACES.iter().position(|(known, ..)| *known == name)?;
        Some((place, row.parse().ok()?))
    });
    parsed.ok_or_else(|| StoreError::Invalid("this is not a cursor that re-sealing gave".to_owned()))
}

pub(super) fn reseal(unit: &Unit<'_>, batch: u32, cursor: Option<&str>) -> Result<Resealed, StoreError> {
    let (mut place, mut after) = start(cursor)?;
    let mut left = u64::from(batch.clamp(1, 1000));
    let mut resealed = Resealed { seen: 0, changed: 0, next: None };
    while let Some((name, table, column)) = PLACES.get(place) {
        let mut select = unit.sql.prepare_cached(&format!(
            "SELECT rowid, {column} FROM {table} WHERE rowid > ?1 AND {column} IS NOT NULL ORDER BY rowid LIMIT ?2"
        ))?;
        let found = select.query_map(params![after, super::columns::integer(left)], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Sealed>(1)?))
        })?;
        let found: Vec<_> = found.collect::<Result<_, _>>()?;
        let mut update = unit.sql.prepare_cached(&format!(
            "UPDATE {table} SET {column} = ?3 WHERE rowid = ?1 AND {column} = ?2"
        ))?;
        for (row_id, sealed) in &found {
            resealed.seen += 1;
            if let Some(anew) = unit.envelope.rewrap(sealed)? {
                // Compared with what was read: a value that changed meanwhile stays its writer's.
                resealed.changed += update.execute(params![row_id, sealed, anew])? as u64;
            }
            after = *row_id;
        }
        left -= found.len() as u64;
        if left == 0 {
            resealed.next = Some(format!("{name}:{after}"));
            return Ok(resealed);
        }
        place += 1;
        after = i64::MIN;
    }
    Ok(resealed)
}

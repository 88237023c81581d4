//! Wrapping every sealed value with the ring's writing key, some at a time.

use super::{
    columns::{execute, get, integer, params, rows},
    lanes::Unit,
};
use crate::{
    seal::Sealed,
    store::{Resealed, StoreError},
};

/// A sealed column, and what its rows are walked by.
struct Place {
    /// What goes into the cursor.
    name: &'static str,
    table: &'static str,
    column: &'static str,
    key: Key,
}

/// What rows are walked by; unique, and in order.
#[derive(Clone, Copy)]
enum Key {
    /// `n`.
    Number,
    /// `id`, of the tables that have no number.
    Id,
}

impl Key {
    const fn column(self) -> &'static str {
        match self {
            Self::Number => "n",
            Self::Id => "id",
        }
    }

    /// The text of a cursor, if it is one.
    fn cursor(self, text: &str) -> Option<String> {
        match self {
            Self::Number => text.parse::<i64>().ok().map(|number| number.to_string()),
            Self::Id => text.parse::<uuid::Uuid>().ok().map(|id| format!("'{id}'::uuid")),
        }
    }
}

const fn place(name: &'static str, table: &'static str, column: &'static str, key: Key) -> Place {
    Place { name, table, column, key }
}

/// Every sealed column.
const PLACES: [Place; 13] = [
    place("keys", "api_keys", "signing_key", Key::Number),
    place("providers", "providers", "client_secret", Key::Number),
    place("secrets", "managed_secrets", "material", Key::Number),
    place("access", "grants", "access_token", Key::Number),
    place("refresh", "grants", "refresh_token", Key::Number),
    place("bodies", "audit_bodies", "sealed", Key::Number),
    place("checkpoints", "audit_keys", "private_key", Key::Number),
    place("sign_in", "apps", "sign_in_secret", Key::Id),
    place("sessions", "connect_sessions", "user_token", Key::Id),
    place("webhooks", "webhook_endpoints", "secret", Key::Id),
    place("hooks", "hook_sources", "secret", Key::Id),
    place("outbox_access", "outbox", "access_token", Key::Id),
    place("outbox_refresh", "outbox", "refresh_token", Key::Id),
];

/// Where to begin: the place, and the key after which.
fn start(cursor: Option<&str>) -> Result<(usize, Option<String>), StoreError> {
    let Some(cursor) = cursor else { return Ok((0, None)) };
    let parsed = cursor.split_once(':').and_then(|(name, row)| {
        let (number, place) = PLACES.iter().enumerate().find(|(_, place)| place.name == name)?;
        Some((number, Some(place.key.cursor(row)?)))
    });
    parsed.ok_or_else(|| StoreError::Invalid("this is not a cursor that re-sealing gave".to_owned()))
}

pub(super) async fn reseal(
    unit: &mut Unit<'_>,
    batch: u32,
    cursor: Option<&str>,
) -> Result<Resealed, StoreError> {
    let (mut number, mut after) = start(cursor)?;
    let mut left = u64::from(batch.clamp(1, 1000));
    let mut resealed = Resealed { seen: 0, changed: 0, next: None };
    while let Some(Place { name, table, column, key }) = PLACES.get(number) {
        let by = key.column();
        // A cursor's text was parsed and written anew.
        let begin = after.take().map(|after| format!("AND {by} > {after} ")).unwrap_or_default();
        let text = format!(
            "SELECT {by}::text, {column} FROM {table} WHERE {column} IS NOT NULL {begin}ORDER BY {by} LIMIT $1"
        );
        let found = rows(unit.sql, &text, params![integer(left)]).await?;
        let mut last = None;
        for row in &found {
            resealed.seen += 1;
            let (at, sealed): (&str, Sealed) = (get(row, 0)?, get(row, 1)?);
            last = Some(at);
            let Some(anew) = unit.envelope.rewrap(&sealed)? else { continue };
            let place =
                key.cursor(at).ok_or_else(|| StoreError::Corrupt(format!("{at} is no key of {table}")))?;
            // Compared with what was read: a value that changed meanwhile stays its writer's.
            let update = format!("UPDATE {table} SET {column} = $2 WHERE {by} = {place} AND {column} = $1");
            resealed.changed += execute(unit.sql, &update, params![sealed, anew]).await?;
        }
        left -= found.len() as u64;
        if left == 0 {
            resealed.next = last.map(|last| format!("{name}:{last}"));
            return Ok(resealed);
        }
        number += 1;
    }
    Ok(resealed)
}

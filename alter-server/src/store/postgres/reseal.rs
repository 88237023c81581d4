//! Wrapping every sealed value with the ring's writing key, some at a time.

use super::{
    columns::{execute, get, integer, params, rows},
    lanes::Unit,
};
use crate::{
    seal::Sealed,
    store::{Resealed, StoreError},
};

/// Every sealed column. The name in front goes into the cursor.
const PLACES: [(&str, &str, &str); 7] = [
    ("keys", "api_keys", "signing_key"),
    ("providers", "providers", "client_secret"),
    ("secrets", "managed_secrets", "material"),
    ("access", "grants", "access_token"),
    ("refresh", "grants", "refresh_token"),
    ("bodies", "audit_bodies", "sealed"),
    ("checkpoints", "audit_keys", "private_key"),
];

fn start(cursor: Option<&str>) -> Result<(usize, i64), StoreError> {
    let Some(cursor) = cursor else { return Ok((0, i64::MIN)) };
    let parsed = cursor.split_once(':').and_then(|(name, row)| {
        let place = PLACES.iter().position(|(known, ..)| *known == name)?;
        Some((place, row.parse().ok()?))
    });
    parsed.ok_or_else(|| StoreError::Invalid("this is not a cursor that re-sealing gave".to_owned()))
}

pub(super) async fn reseal(
    unit: &mut Unit<'_>,
    batch: u32,
    cursor: Option<&str>,
) -> Result<Resealed, StoreError> {
    let (mut place, mut after) = start(cursor)?;
    let mut left = u64::from(batch.clamp(1, 1000));
    let mut resealed = Resealed { seen: 0, changed: 0, next: None };
    while let Some((name, table, column)) = PLACES.get(place) {
        let text = format!(
            "SELECT n, {column} FROM {table} WHERE n > $1 AND {column} IS NOT NULL ORDER BY n LIMIT $2"
        );
        let found = rows(unit.sql, &text, params![after, integer(left)]).await?;
        // Compared with what was read: a value that changed meanwhile stays its writer's.
        let update = format!("UPDATE {table} SET {column} = $3 WHERE n = $1 AND {column} = $2");
        for row in &found {
            resealed.seen += 1;
            after = get(row, 0)?;
            let sealed: Sealed = get(row, 1)?;
            if let Some(anew) = unit.envelope.rewrap(&sealed)? {
                resealed.changed += execute(unit.sql, &update, params![after, sealed, anew]).await?;
            }
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

//! What a migration says of itself, and which program may work on which schema.
//!
//! Migrations only add: tables, columns with a default, indexes. While replicas are replaced one after the other, the first new one
//! brings the schema forward and the old ones go on, start again and stop on a schema that is ahead of them. Whether they
//! may is written down beside the migration in the database, so that a program can judge migrations it does not know.

use aws_lc_rs::digest;

use super::StoreError;

/// One migration; its version is its place in the list, from 1. Never change one that was released.
#[derive(Debug, Clone, Copy)]
pub(super) struct Migration {
    pub(super) name: &'static str,
    /// The oldest schema version whose program still works once this is applied, as long as it neither writes what the
    /// new program would misread, nor misreads what the new program writes. Its own version if there is none older: then
    /// all replicas are stopped before the upgrade, and this is said in the changelog.
    pub(super) needs: u32,
    pub(super) text: &'static str,
}

impl Migration {
    pub(super) fn checksum(&self) -> Vec<u8> {
        digest::digest(&digest::SHA256, self.text.as_bytes()).as_ref().to_vec()
    }
}

/// Whether a program that knows `known` migrations may work on a schema with those applied. `ahead` are the versions beyond
/// `known` that are written down, each with what it needs.
pub(super) fn may_work(
    known: u32,
    found: u32,
    ahead: impl IntoIterator<Item = (u32, Option<u32>)>,
) -> Result<(), StoreError> {
    let fitting = ahead.into_iter().filter(|(_, needs)| needs.is_some_and(|needs| needs <= known)).count();
    // One that is missing or says nothing fits nobody.
    if fitting == found.saturating_sub(known) as usize {
        return Ok(());
    }
    Err(StoreError::SchemaTooNew { found, known })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Three migrations for the tests of both stores: the third can be worked on by who knows the second, not by who
    /// knows the first alone.
    pub(in crate::store) const THREE: [Migration; 3] = [
        Migration { name: "a", needs: 1, text: "CREATE TABLE a (x INTEGER)" },
        Migration { name: "b", needs: 1, text: "ALTER TABLE a ADD COLUMN y INTEGER" },
        Migration { name: "c", needs: 2, text: "CREATE TABLE c (x INTEGER)" },
    ];

    #[test]
    fn who_is_behind_may_work_if_every_migration_ahead_says_so() {
        for (known, found, ahead, fits) in [
            (2, 2, vec![], true),
            (2, 3, vec![(3, Some(2))], true),
            (1, 3, vec![(2, Some(1)), (3, Some(2))], false),
            (1, 3, vec![(2, Some(1)), (3, Some(1))], true),
            (2, 3, vec![(3, Some(3))], false),
            (2, 3, vec![(3, None)], false),
            (2, 4, vec![(4, Some(2))], false),
            (2, 999, vec![], false),
        ] {
            assert_eq!(may_work(known, found, ahead.clone()).is_ok(), fits, "{known} {found} {ahead:?}");
        }
    }
}

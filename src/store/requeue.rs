//! Failed items wait again, on purpose and filtered.

use rusqlite::OptionalExtension as _;

use super::{error::StoreError, group::Group, ingest::reopen, op::Queued, schema::FAILED};
use crate::domain::{Outcome, ReplayFilter, Seq};

/// The failed items that match, in input order. Blocks without a failed item are not looked at.
pub(super) const FAILED_ITEMS: &str = "
    SELECT progress.seq, progress.traits, progress.outcome
    FROM blocks JOIN progress ON progress.seq BETWEEN blocks.block * 4096 AND blocks.block * 4096 + 4095
    WHERE blocks.failed > 0 AND progress.state = 2
    ORDER BY blocks.block, progress.seq";
const ONE_FAILED_ITEM: &str = "
    SELECT progress.seq, progress.traits, progress.outcome
    FROM items JOIN progress USING (seq) WHERE items.id = ?1 AND progress.state = 2";

pub(super) fn requeue(group: &mut Group<'_>, filter: &ReplayFilter) -> Result<Vec<Queued>, StoreError> {
    // Items are found by the counters of blocks: those that failed in this very group too.
    std::mem::take(&mut group.blocks).save(group.conn)?;
    let queued = matching(group.conn, filter)?;
    for item in &queued {
        reopen(group, item.seq.0, FAILED)?;
    }
    Ok(queued)
}

/// Which failed items a filter means, in input order.
pub(super) fn matching(conn: &rusqlite::Connection, filter: &ReplayFilter) -> Result<Vec<Queued>, StoreError> {
    let wanted = |outcome: Option<&str>| {
        filter.outcomes.is_empty()
            || outcome.and_then(Outcome::from_name).is_some_and(|outcome| filter.outcomes.contains(&outcome))
    };
    let read = |row: &rusqlite::Row<'_>| {
        let queued = Queued { seq: Seq(row.get::<_, i64>(0)? as u64), traits: row.get(1)? };
        Ok((queued, wanted(row.get_ref(2)?.as_str_or_null()?)))
    };
    let mut found = Vec::new();
    if filter.ids.is_empty() {
        let mut statement = conn.prepare_cached(FAILED_ITEMS)?;
        for row in statement.query_map([], read)? {
            found.push(row?);
        }
    } else {
        let mut statement = conn.prepare_cached(ONE_FAILED_ITEM)?;
        for id in &filter.ids {
            found.extend(statement.query_row([id], read).optional()?);
        }
    }
    let mut queued: Vec<_> = found.into_iter().filter(|(_, wanted)| *wanted).map(|(queued, _)| queued).collect();
    queued.sort_unstable_by_key(|item| item.seq);
    queued.dedup();
    Ok(queued)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::schema::BLOCK;

    #[test]
    fn the_query_speaks_of_the_schemas_blocks() {
        assert!(FAILED_ITEMS.contains(&format!("* {BLOCK} ")) && FAILED_ITEMS.contains(&format!("+ {}", BLOCK - 1)));
    }
}

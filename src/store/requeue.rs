//! Failed items wait again, on purpose and filtered.

use std::collections::HashMap;

use rusqlite::{OptionalExtension as _, params};

use super::{
    error::StoreError,
    group::Group,
    ingest::reopen,
    op::{Answer, Queued},
    open::parse,
    resume::routes,
    schema::FAILED,
};
use crate::domain::{Outcome, ReplayFilter, Seq, Target, Traits, failure::pattern};

/// The failed items, in input order. Blocks without a failed item are not looked at.
pub(super) const FAILED_ITEMS: &str = "
    SELECT progress.seq, progress.traits, progress.outcome, progress.route, progress.words, items.id
    FROM blocks JOIN progress ON progress.seq BETWEEN blocks.block * 4096 AND blocks.block * 4096 + 4095
         JOIN items USING (seq)
    WHERE blocks.failed > 0 AND progress.state = 2
    ORDER BY blocks.block, progress.seq";
const ONE_FAILED_ITEM: &str = "
    SELECT progress.seq, progress.traits, progress.outcome, progress.route, progress.words, items.id
    FROM items JOIN progress USING (seq) WHERE items.id = ?1 AND progress.state = 2";

/// A failed item, as far as filters and groups look at it.
#[derive(Debug)]
pub(super) struct FailedItem {
    pub queued: Queued,
    pub outcome: Option<Outcome>,
    /// Of the last attempt.
    pub model: Option<String>,
    pub words: String,
    pub id: String,
}

/// Queues what a filter means again: to the cascade, or to one target alone.
pub(super) fn requeue(
    group: &mut Group<'_>,
    filter: &ReplayFilter,
    to: Option<&Target>,
) -> Result<Vec<Queued>, StoreError> {
    // Items are found by the counters of blocks: those that failed in this very group too.
    std::mem::take(&mut group.blocks).save(group.conn)?;
    let known_before = group.new_traits.len();
    let mut queued = matching(group.conn, filter)?;
    let mut redirected = HashMap::new();
    for item in &mut queued {
        reopen(group, item.seq.0, FAILED)?;
        let traits = match redirected.get(&item.traits) {
            Some(traits) => *traits,
            None => *redirected.entry(item.traits).or_insert(redirect(group, item.traits, to)?),
        };
        if traits != item.traits {
            group.run("UPDATE progress SET traits = ?2 WHERE seq = ?1", params![item.seq.0 as i64, traits])?;
            item.traits = traits;
        }
    }
    if group.new_traits.len() > known_before {
        let all = group.new_traits.iter().map(|(traits, id)| (*id, traits.clone())).collect();
        group.answers.push(Answer::Traits(all));
    }
    Ok(queued)
}

/// The id of the same traits with another target.
fn redirect(group: &mut Group<'_>, traits: u32, to: Option<&Target>) -> Result<u32, StoreError> {
    let before = traits_of(group.conn, traits)?;
    if before.only.as_ref() == to {
        return Ok(traits);
    }
    group.traits_id(Traits { only: to.cloned(), ..before })
}

pub(super) fn traits_of(conn: &rusqlite::Connection, id: u32) -> Result<Traits, StoreError> {
    let json: String =
        conn.prepare_cached("SELECT json FROM traits WHERE id = ?1")?.query_row([id], |row| row.get(0))?;
    parse(&json, "an item's traits")
}

/// Which failed items a filter means, in input order.
pub(super) fn matching(conn: &rusqlite::Connection, filter: &ReplayFilter) -> Result<Vec<Queued>, StoreError> {
    let mut queued = Vec::new();
    each_failed(conn, filter, |item| {
        queued.push(item.queued);
        Ok(())
    })?;
    queued.sort_unstable_by_key(|item| item.seq);
    queued.dedup();
    Ok(queued)
}

/// Calls `take` with every failed item that a filter means; with each as often as the filter names it.
pub(super) fn each_failed(
    conn: &rusqlite::Connection,
    filter: &ReplayFilter,
    mut take: impl FnMut(FailedItem) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let models: HashMap<i64, String> = routes(conn)?.into_iter().map(|(id, route)| (id, route.model)).collect();
    let read = |row: &rusqlite::Row<'_>| {
        let outcome = row.get_ref(2)?.as_str_or_null()?.and_then(Outcome::from_name);
        Ok(FailedItem {
            queued: Queued { seq: Seq(row.get::<_, i64>(0)? as u64), traits: row.get(1)? },
            outcome,
            model: row.get::<_, Option<i64>>(3)?.and_then(|route| models.get(&route).cloned()),
            words: row.get::<_, Option<String>>(4)?.unwrap_or_default(),
            id: row.get(5)?,
        })
    };
    if filter.ids.is_empty() {
        let mut statement = conn.prepare_cached(FAILED_ITEMS)?;
        for item in statement.query_map([], read)? {
            let item = item?;
            if item.matches(filter) {
                take(item)?;
            }
        }
    } else {
        let mut statement = conn.prepare_cached(ONE_FAILED_ITEM)?;
        for id in &filter.ids {
            if let Some(item) = statement.query_row([id], read).optional()?.filter(|item| item.matches(filter)) {
                take(item)?;
            }
        }
    }
    Ok(())
}

impl FailedItem {
    fn matches(&self, filter: &ReplayFilter) -> bool {
        let text = filter.text.to_lowercase();
        (filter.outcomes.is_empty() || self.outcome.is_some_and(|outcome| filter.outcomes.contains(&outcome)))
            && (filter.models.is_empty() || self.model.as_ref().is_some_and(|model| filter.models.contains(model)))
            && filter.pattern.as_ref().is_none_or(|wanted| pattern(&self.words) == *wanted)
            && (text.is_empty() || self.id.to_lowercase().contains(&text) || self.words.to_lowercase().contains(&text))
    }
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

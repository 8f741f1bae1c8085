//! Failed items wait again, on purpose and filtered.

use std::collections::{BTreeSet, HashMap};

use rusqlite::{OptionalExtension as _, params};

use super::{
    error::StoreError,
    group::{Group, WORDS},
    ingest::reopen,
    op::{Answer, Queued},
    open::parse,
    resume::routes,
    schema::FAILED,
    search::Needle,
};
use crate::domain::{Outcome, ReplayFilter, ResultLine, RouteTarget, RoutingTraits, Seq, failure::error_pattern};

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
    key: Option<String>,
    pub words: String,
    pub id: String,
}

/// Queues what a filter means again: to the cascade, or to one target alone.
pub(super) fn requeue(
    group: &mut Group<'_>,
    filter: &ReplayFilter,
    to: Option<&RouteTarget>,
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
fn redirect(group: &mut Group<'_>, traits: u32, to: Option<&RouteTarget>) -> Result<u32, StoreError> {
    let before = traits_of(group.conn, traits)?;
    if before.required_target.as_ref() == to {
        return Ok(traits);
    }
    group.traits_id(RoutingTraits { required_target: to.cloned(), ..before })
}

pub(super) fn traits_of(conn: &rusqlite::Connection, id: u32) -> Result<RoutingTraits, StoreError> {
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
    Ok(queued)
}

/// Calls `take` with every failed item that a filter means, once, one at a time however many there are: in input
/// order, or in the order of the ids that the filter names.
pub(super) fn each_failed(
    conn: &rusqlite::Connection,
    filter: &ReplayFilter,
    mut take: impl FnMut(FailedItem) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let routes = routes(conn)?;
    let wanted = Wanted::of(filter);
    let read = |row: &rusqlite::Row<'_>| {
        let outcome = row.get_ref(2)?.as_str_or_null()?.and_then(Outcome::from_name);
        let route = row.get::<_, Option<i64>>(3)?.and_then(|route| routes.get(&route));
        Ok(FailedItem {
            queued: Queued { seq: Seq(row.get::<_, i64>(0)? as u64), traits: row.get(1)? },
            outcome,
            model: route.map(|route| route.model.clone()),
            key: route.map(|route| route.key.clone()),
            words: row.get::<_, Option<String>>(4)?.unwrap_or_default(),
            id: row.get(5)?,
        })
    };
    if filter.ids.is_empty() {
        let mut statement = conn.prepare_cached(FAILED_ITEMS)?;
        for item in statement.query_map([], read)? {
            let item = item?;
            if wanted.means(&item) && wanted.is_said(conn, &item)? {
                take(item)?;
            }
        }
    } else {
        let mut statement = conn.prepare_cached(ONE_FAILED_ITEM)?;
        for id in filter.ids.iter().collect::<BTreeSet<_>>() {
            if let Some(item) = statement.query_row([id], read).optional()?
                && wanted.means(&item)
                && wanted.is_said(conn, &item)?
            {
                take(item)?;
            }
        }
    }
    Ok(())
}

/// A filter, made ready to be held against many items.
struct Wanted<'f> {
    filter: &'f ReplayFilter,
    text: Option<Needle>,
    /// In lower case.
    messages: Vec<String>,
}

impl<'f> Wanted<'f> {
    fn of(filter: &'f ReplayFilter) -> Self {
        let messages = filter.messages.iter().map(|words| words.to_lowercase()).collect();
        let text = (!filter.text.is_empty()).then(|| Needle::new(&filter.text));
        Self { filter, text, messages }
    }

    /// Whether the item is meant, as far as its own row says.
    fn means(&self, item: &FailedItem) -> bool {
        let filter = self.filter;
        let among = |names: &[String], name: &Option<String>| {
            names.is_empty() || name.as_ref().is_some_and(|name| names.contains(name))
        };
        (filter.outcomes.is_empty() || item.outcome.is_some_and(|outcome| filter.outcomes.contains(&outcome)))
            && among(&filter.models, &item.model)
            && among(&filter.keys, &item.key)
            && filter.pattern.as_ref().is_none_or(|wanted| error_pattern(&item.words) == *wanted)
    }

    /// Whether the item has the text, and its error says one of the messages, in all that is recorded of it.
    fn is_said(&self, conn: &rusqlite::Connection, item: &FailedItem) -> Result<bool, StoreError> {
        let has = |needle: &Needle| needle.is_in_item(conn, item.queued.seq.0, &item.id);
        Ok((self.messages.is_empty() || self.says(&whole_words(conn, item)?))
            && self.text.as_ref().map_or(Ok(true), has)?)
    }

    fn says(&self, words: &str) -> bool {
        let words = words.to_lowercase();
        let reason = error_pattern(&words);
        self.messages.iter().any(|message| words.contains(message) || reason.contains(message))
    }
}

/// An item's error, of which its row has the beginning.
fn whole_words(conn: &rusqlite::Connection, item: &FailedItem) -> Result<String, StoreError> {
    if item.words.chars().count() < WORDS {
        return Ok(item.words.clone());
    }
    let line: String = conn
        .prepare_cached(
            "SELECT line FROM progress JOIN results ON results.n = progress.result WHERE progress.seq = ?1",
        )?
        .query_row([item.queued.seq.0 as i64], |row| row.get(0))?;
    let line: ResultLine = parse(&line, "a result")?;
    Ok(line.error.map(|error| error.message).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::schema::BLOCK;

    #[test]
    fn a_message_is_meant_as_it_stands_or_with_a_sign_for_its_numbers() {
        for (message, words, want) in [
            ("retry in", "Please retry in 37.2s.", true),
            ("RETRY IN 37.2S", "Please retry in 37.2s.", true),
            ("retry in #s", "Please retry in 37.2s.", true),
            ("retry in 9s", "Please retry in 37.2s.", false),
            ("wait", "Please retry in 37.2s.", false),
            ("für", "Sperre FÜR diesen Text", true),
        ] {
            let filter = ReplayFilter { messages: vec![message.to_owned()], ..ReplayFilter::default() };
            assert_eq!(Wanted::of(&filter).says(words), want, "{message:?} in {words:?}");
        }
    }

    #[test]
    fn the_query_speaks_of_the_schemas_blocks() {
        assert!(FAILED_ITEMS.contains(&format!("* {BLOCK} ")) && FAILED_ITEMS.contains(&format!("+ {}", BLOCK - 1)));
    }
}

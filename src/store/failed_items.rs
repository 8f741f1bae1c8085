//! Finds the failed items that match a filter.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::{
    error::StoreError,
    row::{MAX_MESSAGE_CHARS, WaitingItem, load_routes, parse_json},
    search::Needle,
};
use crate::domain::{Outcome, ReplayFilter, ResultLine, Seq, failure::error_pattern};

/// Selects the failed items in input order. Skips blocks without a failed item.
const FAILED_ITEMS_SQL: &str = "
    SELECT progress.seq, progress.traits, progress.outcome, progress.route, progress.words, items.id
    FROM blocks JOIN progress ON progress.seq BETWEEN blocks.block * 4096 AND blocks.block * 4096 + 4095
         JOIN items USING (seq)
    WHERE blocks.failed > 0 AND progress.state = 2
    ORDER BY blocks.block, progress.seq";
const FAILED_ITEM_SQL: &str = "
    SELECT progress.seq, progress.traits, progress.outcome, progress.route, progress.words, items.id
    FROM items JOIN progress USING (seq) WHERE items.id = ?1 AND progress.state = 2";

/// A failed item with the fields that filters and groups use.
#[derive(Debug)]
pub(super) struct FailedItem {
    pub queue_entry: WaitingItem,
    pub outcome: Option<Outcome>,
    /// Model of the last attempt.
    pub model: Option<String>,
    key: Option<String>,
    pub message: String,
    pub id: String,
}

/// The failed items that match a filter, in input order.
pub(super) fn matching_items(conn: &Connection, filter: &ReplayFilter) -> Result<Vec<WaitingItem>, StoreError> {
    let mut items = Vec::new();
    for_each_failed(conn, filter, |item| {
        items.push(item.queue_entry);
        Ok(())
    })?;
    items.sort_unstable_by_key(|item| item.seq);
    Ok(items)
}

/// Calls `each` once with every failed item that matches a filter. The order is that of the input or, if the filter
/// names ids, the alphabetical order of the ids.
pub(super) fn for_each_failed(
    conn: &Connection,
    filter: &ReplayFilter,
    mut each: impl FnMut(FailedItem) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let routes = load_routes(conn)?;
    let matcher = FilterMatcher::new(filter);
    let read = |row: &Row<'_>| {
        let outcome = row.get_ref(2)?.as_str_or_null()?.and_then(Outcome::from_name);
        let route = row.get::<_, Option<i64>>(3)?.and_then(|route| routes.get(&route));
        Ok(FailedItem {
            queue_entry: WaitingItem { seq: Seq(row.get(0)?), traits_id: row.get(1)? },
            outcome,
            model: route.map(|route| route.model.clone()),
            key: route.map(|route| route.key.clone()),
            message: row.get::<_, Option<String>>(4)?.unwrap_or_default(),
            id: row.get(5)?,
        })
    };
    if filter.ids.is_empty() {
        let mut statement = conn.prepare_cached(FAILED_ITEMS_SQL)?;
        for item in statement.query_map([], read)? {
            let item = item?;
            if matcher.matches_fields(&item) && matcher.matches_texts(conn, &item)? {
                each(item)?;
            }
        }
    } else {
        let mut statement = conn.prepare_cached(FAILED_ITEM_SQL)?;
        for id in filter.ids.iter().collect::<BTreeSet<_>>() {
            if let Some(item) = statement.query_row([id], read).optional()?
                && matcher.matches_fields(&item)
                && matcher.matches_texts(conn, &item)?
            {
                each(item)?;
            }
        }
    }
    Ok(())
}

/// A filter prepared for matching many items.
struct FilterMatcher<'f> {
    filter: &'f ReplayFilter,
    text: Option<Needle>,
    /// In lower case.
    messages: Vec<String>,
}

impl<'f> FilterMatcher<'f> {
    fn new(filter: &'f ReplayFilter) -> Self {
        let messages = filter.messages.iter().map(|message| message.to_lowercase()).collect();
        let text = (!filter.text.is_empty()).then(|| Needle::new(&filter.text));
        Self { filter, text, messages }
    }

    /// True if the outcome, the model, the key and the error pattern match.
    fn matches_fields(&self, item: &FailedItem) -> bool {
        let filter = self.filter;
        let is_listed = |names: &[String], name: &Option<String>| {
            names.is_empty() || names.iter().any(|listed| listed == name.as_deref().unwrap_or_default())
        };
        (filter.outcomes.is_empty() || item.outcome.is_some_and(|outcome| filter.outcomes.contains(&outcome)))
            && is_listed(&filter.models, &item.model)
            && is_listed(&filter.keys, &item.key)
            && filter.pattern.as_ref().is_none_or(|wanted| error_pattern(&item.message) == *wanted)
    }

    /// True if the item contains the filter's text and its error contains one of the filter's messages. Reads the
    /// item's body and result line if needed.
    fn matches_texts(&self, conn: &Connection, item: &FailedItem) -> Result<bool, StoreError> {
        let matches_text = |needle: &Needle| needle.is_in_item(conn, item.queue_entry.seq.0, &item.id);
        Ok((self.messages.is_empty() || self.has_message(&full_message(conn, item)?))
            && self.text.as_ref().map_or(Ok(true), matches_text)?)
    }

    fn has_message(&self, error: &str) -> bool {
        let error = error.to_lowercase();
        let message_pattern = error_pattern(&error);
        self.messages.iter().any(|message| error.contains(message) || message_pattern.contains(message))
    }
}

/// The item's full error message. `progress` has only the first [`MAX_MESSAGE_CHARS`] characters.
fn full_message(conn: &Connection, item: &FailedItem) -> Result<String, StoreError> {
    if item.message.chars().count() < MAX_MESSAGE_CHARS {
        return Ok(item.message.clone());
    }
    let line: String = conn
        .prepare_cached(
            "SELECT line FROM progress JOIN results ON results.n = progress.result WHERE progress.seq = ?1",
        )?
        .query_row([item.queue_entry.seq.0], |row| row.get(0))?;
    let line: ResultLine = parse_json(&line, "a result")?;
    Ok(line.error.map(|error| error.message).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::schema::BLOCK_ITEMS;

    #[test]
    fn a_message_filter_matches_literally_or_as_a_number_pattern() {
        for (message, words, want) in [
            ("retry in", "Please retry in 37.2s.", true),
            ("RETRY IN 37.2S", "Please retry in 37.2s.", true),
            ("retry in #s", "Please retry in 37.2s.", true),
            ("retry in 9s", "Please retry in 37.2s.", false),
            ("wait", "Please retry in 37.2s.", false),
            ("für", "Sperre FÜR diesen Text", true),
        ] {
            let filter = ReplayFilter { messages: vec![message.to_owned()], ..ReplayFilter::default() };
            assert_eq!(FilterMatcher::new(&filter).has_message(words), want, "{message:?} in {words:?}");
        }
    }

    #[test]
    fn the_query_uses_the_block_size_of_the_schema() {
        assert!(
            FAILED_ITEMS_SQL.contains(&format!("* {BLOCK_ITEMS} "))
                && FAILED_ITEMS_SQL.contains(&format!("+ {}", BLOCK_ITEMS - 1))
        );
    }
}

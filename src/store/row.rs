//! The meaning of stored values: how items, routes, outcomes, messages, amounts and JSON are written in a row.

use std::collections::HashMap;

use rusqlite::Connection;
use serde::{Serialize, de::DeserializeOwned};
use xxhash_rust::xxh3::xxh3_128;

use super::error::StoreError;
use crate::domain::{Outcome, Seq};

/// Maximum number of characters of an error message in `progress`. The attempt has the full message.
pub(super) const MAX_MESSAGE_CHARS: usize = 200;

/// A route by names, which stay valid when the configuration's indices change.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct RouteName {
    pub key: String,
    pub model: String,
    pub provider: String,
}

/// The configured routes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct ConfiguredRoutes {
    /// Ids in the table of routes, by the engine's route index.
    pub ids: Vec<i64>,
    pub names: HashMap<i64, RouteName>,
}

/// A waiting item and the id of its routing traits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WaitingItem {
    pub seq: Seq,
    pub traits_id: u32,
}

/// Waiting items with consecutive numbers and the same routing traits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WaitingRange {
    pub first: Seq,
    pub count: u64,
    pub traits_id: u32,
}

/// All recorded routes: key, model and provider by id.
pub(super) fn load_routes(conn: &Connection) -> Result<HashMap<i64, RouteName>, StoreError> {
    let mut statement = conn.prepare_cached("SELECT id, key, model, provider FROM routes")?;
    let routes = statement.query_map([], |row| {
        Ok((row.get(0)?, RouteName { key: row.get(1)?, model: row.get(2)?, provider: row.get(3)? }))
    })?;
    Ok(routes.collect::<Result<_, _>>()?)
}

/// Parses a stored JSON text. `what` names the text in the error message.
pub(super) fn parse_json<T: DeserializeOwned>(json: &str, what: &str) -> Result<T, StoreError> {
    serde_json::from_str(json).map_err(|error| StoreError::corrupt_record(what, error))
}

/// The JSON text of a value to be stored. `what` names the value in the error message.
pub(super) fn to_json<T: Serialize + ?Sized>(value: &T, what: &str) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::corrupt_record(what, error))
}

/// Parses the stored name of an outcome.
pub(super) fn parse_outcome(name: &str) -> Result<Outcome, StoreError> {
    Outcome::from_name(name).map_or_else(|| parse_json(&format!("{name:?}"), "an outcome"), Ok)
}

/// The number that stores an amount of money, tokens or time. Amounts above `i64::MAX` are stored as `i64::MAX`.
pub(super) fn amount_column(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

/// The digest of a result line, used to detect later changes. It is not a signature: a person who changes a line can
/// compute the new digest.
pub(super) fn line_digest(line: &[u8]) -> [u8; 16] {
    xxh3_128(line).to_be_bytes()
}

/// The first [`MAX_MESSAGE_CHARS`] characters.
pub(super) fn truncate(text: &str) -> &str {
    text.char_indices().nth(MAX_MESSAGE_CHARS).map_or(text, |(end, _)| &text[..end])
}

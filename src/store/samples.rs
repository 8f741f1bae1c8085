//! Samples of the run for charts over its whole time. The engine decides which are kept.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    error::StoreError,
    row::{parse_json, to_json},
};
use crate::domain::{Sample, WallTime};

/// The recorded samples, as far as the engine needs them to go on.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct RecordedSamples {
    pub times: Vec<WallTime>,
    pub last: Option<Sample>,
}

/// Records a sample and removes the samples of these times.
pub(super) fn record_sample(conn: &Connection, sample: &Sample, dropped: &[WallTime]) -> Result<(), StoreError> {
    let json = to_json(sample, "a sample")?;
    conn.prepare_cached("INSERT OR REPLACE INTO samples(at, json) VALUES (?1, ?2)")?
        .execute(params![sample.at.0, json])?;
    for at in dropped {
        conn.prepare_cached("DELETE FROM samples WHERE at = ?1")?.execute([at.0])?;
    }
    Ok(())
}

pub(super) fn load_recorded(conn: &Connection) -> Result<RecordedSamples, StoreError> {
    let mut statement = conn.prepare("SELECT at FROM samples ORDER BY at")?;
    let times = statement.query_map([], |row| Ok(WallTime(row.get(0)?)))?;
    let times = times.collect::<Result<_, _>>()?;
    let last: Option<String> =
        conn.query_row("SELECT json FROM samples ORDER BY at DESC LIMIT 1", [], |row| row.get(0)).optional()?;
    Ok(RecordedSamples { times, last: last.map(|json| parse_json(&json, "a sample")).transpose()? })
}

/// Loads all samples, oldest first.
pub(super) fn load_samples(conn: &Connection) -> Result<Vec<Sample>, StoreError> {
    let mut statement = conn.prepare("SELECT json FROM samples ORDER BY at")?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
    rows.map(|json| parse_json(&json?, "a sample")).collect()
}

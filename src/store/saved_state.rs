//! Named values: the run's settings, and states that the engine and the store save from one process to the next.

use std::{collections::BTreeMap, time::Duration};

use rusqlite::{Connection, OptionalExtension as _};
use serde::de::DeserializeOwned;

use super::{
    counters::RunCounters,
    error::StoreError,
    op::ACTIVE_TIME,
    pinned_settings::PinnedSettings,
    row::{parse_json, to_json},
};

/// Loads the settings that the run was created with; `None` if there is no run yet.
pub(super) fn load_settings(conn: &Connection) -> Result<Option<PinnedSettings>, StoreError> {
    conn.query_row("SELECT value FROM meta WHERE key = 'pins'", [], |row| row.get::<_, String>(0))
        .optional()?
        .map(|json| parse_json(&json, "the run's settings"))
        .transpose()
}

/// Saves the run's settings, in place of earlier ones.
pub(super) fn save_settings(conn: &Connection, settings: &PinnedSettings) -> Result<(), StoreError> {
    let json = to_json(settings, "the run's settings")?;
    conn.execute("INSERT OR REPLACE INTO meta(key, value) VALUES ('pins', ?1)", [json])?;
    Ok(())
}

/// Loads all states, by name.
pub(super) fn load_states(conn: &Connection) -> Result<BTreeMap<String, String>, StoreError> {
    let mut statement = conn.prepare("SELECT name, json FROM states")?;
    let states = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(states.collect::<Result<_, _>>()?)
}

/// Loads the JSON text of a state; `None` if none was saved under this name.
pub(super) fn load_state(conn: &Connection, name: &str) -> Result<Option<String>, StoreError> {
    let mut find = conn.prepare_cached("SELECT json FROM states WHERE name = ?1")?;
    Ok(find.query_row([name], |row| row.get(0)).optional()?)
}

/// Loads and parses a state; `None` if none was saved under this name.
pub(super) fn parse_state<T: DeserializeOwned>(conn: &Connection, name: &str) -> Result<Option<T>, StoreError> {
    load_state(conn, name)?.map(|json| parse_json(&json, name)).transpose()
}

/// Saves a state under a name, in place of an earlier one.
pub(super) fn save_state(conn: &Connection, name: &str, json: &str) -> Result<(), StoreError> {
    conn.prepare_cached("INSERT OR REPLACE INTO states(name, json) VALUES (?1, ?2)")?.execute([name, json])?;
    Ok(())
}

/// How long all processes have worked on the run. The time after a process's last commit is not included.
pub(super) fn load_active_time(conn: &Connection) -> Result<Duration, StoreError> {
    let active_us = match RunCounters::load(conn)?.active_us {
        Some(active_us) => active_us,
        None => parse_state(conn, ACTIVE_TIME)?.unwrap_or_default(),
    };
    Ok(Duration::from_micros(active_us))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Op, RunDir, Store, writer::StoreBackend as _};

    #[test]
    fn the_active_time_that_an_earlier_version_saved_is_read_until_there_is_a_newer_one() {
        let home = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(&RunDir::new(home.path()), &PinnedSettings::default()).unwrap();
        assert_eq!(load_active_time(&store.conn).unwrap(), Duration::ZERO);
        save_state(&store.conn, ACTIVE_TIME, "1500000").unwrap();
        assert_eq!(load_active_time(&store.conn).unwrap(), Duration::from_millis(1_500));
        store.commit(&[Op::SetActiveTime(Duration::from_secs(2))]).unwrap();
        assert_eq!(load_active_time(&store.conn).unwrap(), Duration::from_secs(2));
    }
}

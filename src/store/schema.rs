//! The schema of `run.db`, its version, and the migrations from older versions.

use rusqlite::{Connection, TransactionBehavior};

use super::{error::StoreError, run_dir::RunDir};

/// "casc", so that another program's database is not used as a run's.
const APPLICATION_ID: i32 = 0x6361_7363;

/// Values of `progress.state`. In flight is not one of them: it is an open intent.
pub(super) const WAITING: i64 = 0;
pub(super) const DONE: i64 = 1;
pub(super) const FAILED: i64 = 2;

/// Items are counted by state in blocks of this many items, so that a window anywhere in a million rows is found by
/// reading a few hundred counters. This number must never change, since the counters on disk depend on it.
pub(super) const BLOCK_ITEMS: u64 = 4_096;

pub(super) const fn block_index(seq: u64) -> u64 {
    seq / BLOCK_ITEMS
}

/// Each migration takes a database from the version of its index to the next. A released migration is never edited; new
/// ones are appended.
const MIGRATIONS: [&str; 7] = [
    // Rows that change often are small and apart from those that never change: `progress` is updated at every answer,
    // and must not write ids and bodies to the WAL again. Times are microseconds of wall clock, money is in
    // pico-dollars, outcomes are the names used in the results file.
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
     CREATE TABLE traits(id INTEGER PRIMARY KEY, json TEXT NOT NULL UNIQUE);
     -- Routes by name: the configuration, and with it every index into it, may change between starts.
     CREATE TABLE routes(id INTEGER PRIMARY KEY, key TEXT NOT NULL, model TEXT NOT NULL, provider TEXT NOT NULL,
                         UNIQUE(key, model, provider));
     -- seq runs from 1 without gaps; revision counts how often a changed row of the input took the item's place.
     CREATE TABLE items(seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, line INTEGER NOT NULL, hash BLOB NOT NULL,
                        revision INTEGER NOT NULL DEFAULT 0);
     CREATE TABLE payload(seq INTEGER PRIMARY KEY, body TEXT NOT NULL);
     -- state: 0 waiting, 1 done, 2 failed. outcome, route and words are the last attempt's; result is the
     -- row of its final line, while it has one.
     CREATE TABLE progress(seq INTEGER PRIMARY KEY, state INTEGER NOT NULL, traits INTEGER NOT NULL,
                           attempts INTEGER NOT NULL, outcome TEXT, route INTEGER, result INTEGER, words TEXT);
     CREATE TABLE blocks(block INTEGER PRIMARY KEY, waiting INTEGER NOT NULL, done INTEGER NOT NULL,
                         failed INTEGER NOT NULL);
     -- Recorded intents: attempts that were, or were about to be, sent and have no outcome yet.
     CREATE TABLE in_flight(attempt INTEGER PRIMARY KEY, seq INTEGER NOT NULL, route INTEGER NOT NULL,
                            sent_at INTEGER NOT NULL, reserved INTEGER NOT NULL, est_tokens INTEGER NOT NULL);
     -- Only ever added to. settled_at is NULL where the process died before the answer.
     CREATE TABLE attempts(attempt INTEGER PRIMARY KEY, seq INTEGER NOT NULL, route INTEGER NOT NULL,
                           sent_at INTEGER NOT NULL, est_tokens INTEGER NOT NULL, settled_at INTEGER,
                           outcome TEXT NOT NULL, status INTEGER, latency_ms INTEGER NOT NULL,
                           input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
                           thinking_tokens INTEGER NOT NULL, cost INTEGER NOT NULL, at_risk INTEGER NOT NULL,
                           message TEXT NOT NULL);
     CREATE INDEX attempts_of_item ON attempts(seq);
     -- What results.jsonl holds, line by line in order of n.
     CREATE TABLE results(n INTEGER PRIMARY KEY, seq INTEGER NOT NULL, line TEXT NOT NULL);
     -- Lines of items that were queued again; the end of the run takes them out of results.
     CREATE TABLE superseded(n INTEGER PRIMARY KEY);
     CREATE TABLE events(number INTEGER PRIMARY KEY, at INTEGER NOT NULL, json TEXT NOT NULL);
     CREATE TABLE decisions(target TEXT PRIMARY KEY, at INTEGER NOT NULL, reason TEXT NOT NULL,
                            command TEXT NOT NULL) WITHOUT ROWID;
     CREATE TABLE states(name TEXT PRIMARY KEY, json TEXT NOT NULL) WITHOUT ROWID;",
    // Digest of the line's bytes, computed when the line was recorded. NULL for older lines.
    "ALTER TABLE results ADD COLUMN digest BLOB;",
    // Parts of input_tokens and of cost. All are 0 in older attempts, whose kinds are unknown.
    "ALTER TABLE attempts ADD COLUMN cached_input_tokens INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE attempts ADD COLUMN cache_write_tokens INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE attempts ADD COLUMN cache_write_1h_tokens INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE attempts ADD COLUMN cost_input INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE attempts ADD COLUMN cost_cached_input INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE attempts ADD COLUMN cost_cache_write INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE attempts ADD COLUMN cost_output INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE attempts ADD COLUMN cost_images INTEGER NOT NULL DEFAULT 0;",
    // The first attempt that counts for the item's retries: those before it were made before the item was queued again.
    // Earlier versions did not record when an item was queued again, so none of its attempts counts.
    "ALTER TABLE progress ADD COLUMN counted_from INTEGER NOT NULL DEFAULT 0;
     UPDATE progress SET counted_from = coalesce((SELECT max(attempt) + 1 FROM attempts WHERE attempts.seq = progress.seq), 0)
     WHERE state = 0;",
    // The intents of a transaction in one row, and attempts in the order of their items. `last_item` is the item of the
    // last attempt, which the order of the attempts no longer tells.
    "CREATE TABLE intents(number INTEGER PRIMARY KEY, list TEXT NOT NULL);
     INSERT INTO intents(list) SELECT json_group_array(json_array(attempt, seq, route, sent_at, reserved, est_tokens))
     FROM in_flight HAVING count(*) > 0;
     UPDATE meta SET value = json_set(value, '$.last_item', (
         SELECT seq FROM (SELECT attempt, seq FROM in_flight UNION ALL SELECT attempt, seq FROM attempts)
         ORDER BY attempt DESC LIMIT 1)) WHERE key = 'tallies';
     DROP TABLE in_flight;
     ALTER TABLE attempts RENAME TO old_attempts;
     -- Only ever added to. settled_at is NULL where the process died before the answer.
     CREATE TABLE attempts(seq INTEGER NOT NULL, attempt INTEGER NOT NULL, route INTEGER NOT NULL,
                           sent_at INTEGER NOT NULL, est_tokens INTEGER NOT NULL, settled_at INTEGER,
                           outcome TEXT NOT NULL, status INTEGER, latency_ms INTEGER NOT NULL,
                           input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
                           thinking_tokens INTEGER NOT NULL, cost INTEGER NOT NULL, at_risk INTEGER NOT NULL,
                           message TEXT NOT NULL, cached_input_tokens INTEGER NOT NULL,
                           cache_write_tokens INTEGER NOT NULL, cache_write_1h_tokens INTEGER NOT NULL,
                           cost_input INTEGER NOT NULL, cost_cached_input INTEGER NOT NULL,
                           cost_cache_write INTEGER NOT NULL, cost_output INTEGER NOT NULL,
                           cost_images INTEGER NOT NULL, PRIMARY KEY(seq, attempt)) WITHOUT ROWID;
     INSERT INTO attempts SELECT seq, attempt, route, sent_at, est_tokens, settled_at, outcome, status, latency_ms,
                                 input_tokens, output_tokens, thinking_tokens, cost, at_risk, message,
                                 cached_input_tokens, cache_write_tokens, cache_write_1h_tokens, cost_input,
                                 cost_cached_input, cost_cache_write, cost_output, cost_images
     FROM old_attempts ORDER BY seq, attempt;
     DROP TABLE old_attempts;
     -- The intents whose attempts have no outcome yet. Earlier versions have a table with these columns.
     CREATE VIEW in_flight(attempt, seq, route, sent_at, reserved, est_tokens, number) AS
         SELECT entry.value ->> 0, entry.value ->> 1, entry.value ->> 2, entry.value ->> 3, entry.value ->> 4,
                entry.value ->> 5, number
         FROM intents, json_each(list) AS entry
         WHERE NOT EXISTS (SELECT 1 FROM attempts WHERE attempts.seq = entry.value ->> 1
                                                   AND attempts.attempt = entry.value ->> 0);
     -- format: 0 if line is the line itself, 1 if it is what the item and the attempt don't have (`result_line`).
     ALTER TABLE results RENAME TO result_rows;
     ALTER TABLE result_rows ADD COLUMN format INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE result_rows ADD COLUMN attempt INTEGER;
     -- The lines of results.jsonl. Earlier versions have a table with these columns.
     CREATE VIEW results(n, seq, line, digest) AS
         SELECT n, seq,
                iif(format = 0, line, rebuild_result_line(
                    line,
                    (SELECT id FROM items WHERE items.seq = result_rows.seq),
                    (SELECT lower(hex(hash)) FROM items WHERE items.seq = result_rows.seq),
                    (SELECT json_array(key, model, provider, sent_at, settled_at, latency_ms, input_tokens,
                                       output_tokens, thinking_tokens, cached_input_tokens, cache_write_tokens,
                                       cache_write_1h_tokens, cost, cost_input, cost_cached_input, cost_cache_write,
                                       cost_output, cost_images)
                     FROM attempts JOIN routes ON routes.id = attempts.route
                     WHERE attempts.seq = result_rows.seq AND attempts.attempt = result_rows.attempt))),
                digest
         FROM result_rows;",
    // Sums over the attempts of each route, and the attempts that they lack, as JSON lists of [seq, attempt]
    // (`route_sums`). The next start computes the sums.
    "CREATE TABLE route_sums(route INTEGER PRIMARY KEY, format INTEGER NOT NULL, json TEXT NOT NULL);
     CREATE TABLE unsummed_attempts(number INTEGER PRIMARY KEY, list TEXT NOT NULL);",
    // Samples for charts over the whole run.
    "CREATE TABLE samples(at INTEGER PRIMARY KEY, json TEXT NOT NULL);",
];

/// The first schema version in which lines have digests.
const DIGEST_VERSION: u32 = 2;

/// The first schema version in which attempts have tokens and costs by kind.
const KINDS_VERSION: u32 = 3;

/// The first schema version with sums over the attempts of each route.
const SUMS_VERSION: u32 = 6;

pub(super) const SCHEMA_VERSION: u32 = MIGRATIONS.len() as u32;

/// Migrates the database to [`SCHEMA_VERSION`], from any version or from an empty file.
pub(super) fn migrate(conn: &mut Connection, dir: &RunDir) -> Result<(), StoreError> {
    let found = read_version(conn, dir)?;
    if found == SCHEMA_VERSION {
        return Ok(());
    }
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for step in &MIGRATIONS[found as usize..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    transaction.commit()?;
    Ok(())
}

/// Checks that a reader can read the database. Readers must not migrate it and needn't: everything they read exists
/// since the first version, apart from the digests (see [`has_digests`]), the kinds of cost (see [`has_kinds`]) and the
/// sums (see [`has_sums`]).
pub(super) fn check_readable(conn: &Connection, dir: &RunDir) -> Result<(), StoreError> {
    match read_version(conn, dir)? {
        0 => Err(StoreError::NotARun { dir: dir.path().to_owned() }),
        _ => Ok(()),
    }
}

pub(super) fn has_digests(conn: &Connection, dir: &RunDir) -> Result<bool, StoreError> {
    Ok(read_version(conn, dir)? >= DIGEST_VERSION)
}

/// Whether attempts have tokens and costs by kind. `conn` must be that of a run.
pub(super) fn has_kinds(conn: &Connection) -> Result<bool, StoreError> {
    let version: u32 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(version >= KINDS_VERSION)
}

/// Whether there are sums over the attempts of each route. `conn` must be that of a run.
pub(super) fn has_sums(conn: &Connection) -> Result<bool, StoreError> {
    let version: u32 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(version >= SUMS_VERSION)
}

/// Reads the schema version; 0 for an empty file.
///
/// # Errors
/// If the database belongs to another program or was written by a newer version of this one.
pub(super) fn read_version(conn: &Connection, dir: &RunDir) -> Result<u32, StoreError> {
    let foreign_error = || StoreError::ForeignDatabase { path: dir.database() };
    let read_pragma = |name| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    if read_pragma("application_id")? != i64::from(APPLICATION_ID) {
        let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        return if tables == 0 { Ok(0) } else { Err(foreign_error()) };
    }
    let found = u32::try_from(read_pragma("user_version")?).map_err(|_| foreign_error())?;
    if found > SCHEMA_VERSION {
        return Err(StoreError::NewerSchema { path: dir.database(), found, known: SCHEMA_VERSION });
    }
    Ok(found)
}

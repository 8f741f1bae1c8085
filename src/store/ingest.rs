//! Rows of the input become items: new ones are added, known ones recognised, changed ones named.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    error::StoreError,
    group::Group,
    op::Queued,
    schema::{DONE, WAITING},
};
use crate::domain::{ItemSpec, RoutingTraits, Seq};

/// What happens to a row whose id is known but whose request is another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnChanged {
    /// Nothing is written; the row is named in the answer.
    Report,
    /// The new request takes the old one's place and waits, whatever became of the old one.
    Replace,
}

#[derive(Clone, PartialEq, Debug, Default)]
pub struct Ingested {
    /// New items, and replaced ones, in the order of the rows.
    pub added: Vec<Queued>,
    /// Rows that were there already, unchanged.
    pub skipped: u64,
    pub changed: Vec<ChangedItem>,
    /// Traits seen for the first time.
    pub traits: Vec<(u32, RoutingTraits)>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChangedItem {
    pub seq: Seq,
    pub id: String,
    /// Where the row stands now.
    pub line: u64,
    /// It is done: an answer to the old request is recorded.
    pub answered: bool,
}

pub(super) fn ingest(group: &mut Group<'_>, specs: &[ItemSpec], on_changed: OnChanged) -> Result<Ingested, StoreError> {
    let mut ingested = Ingested::default();
    let traits_before = group.new_traits.len();
    for spec in specs {
        let hash = hash_bytes(spec)?;
        let seq = group.tallies.items + 1;
        let is_new = group.run(
            "INSERT INTO items(seq, id, line, hash) VALUES (?1, ?2, ?3, ?4) ON CONFLICT(id) DO NOTHING",
            params![seq as i64, spec.id, spec.line as i64, hash],
        )? == 1;
        if is_new {
            ingested.added.push(add(group, seq, spec)?);
            continue;
        }
        let (seq, known, answered) = group.conn.prepare_cached(KNOWN)?.query_row([&spec.id], known_item)?;
        if known == hash && !shows_another_picture(group.conn, seq, answered, spec)? {
            keep_stamp(group, seq, spec)?;
            ingested.skipped += 1;
            continue;
        }
        if on_changed == OnChanged::Replace {
            ingested.added.push(replace(group, seq, spec, hash)?);
        }
        ingested.changed.push(ChangedItem { seq: Seq(seq), id: spec.id.clone(), line: spec.line, answered });
    }
    if group.new_traits.len() > traits_before {
        let mut traits: Vec<_> = group.new_traits.iter().map(|(traits, id)| (*id, traits.clone())).collect();
        traits.sort_unstable_by_key(|(id, _)| *id);
        ingested.traits = traits.split_off(traits_before);
    }
    Ok(ingested)
}

/// A recorded item by its id: number, hash and state.
const KNOWN: &str = "SELECT seq, hash, state FROM items JOIN progress USING (seq) WHERE id = ?1";

/// A row of [`KNOWN`]: the item's number, its hash, and whether it is done.
fn known_item(row: &rusqlite::Row<'_>) -> rusqlite::Result<(u64, [u8; 16], bool)> {
    Ok((row.get::<_, i64>(0)? as u64, row.get(1)?, row.get::<_, i64>(2)? == DONE))
}

/// Whether a picture has another content under the same name. Where no content was recorded, it is not known; one that
/// could not be read when the item was recorded, and has an answer, was there when it was sent.
fn shows_another_picture(conn: &Connection, seq: u64, answered: bool, spec: &ItemSpec) -> Result<bool, StoreError> {
    let Some(now) = &spec.picture_stamp else { return Ok(false) };
    let find = "SELECT iif(json_valid(body), body -> 'picture' ->> 'digest', NULL) FROM payload WHERE seq = ?1";
    let recorded: Option<String> = conn.prepare_cached(find)?.query_row([seq as i64], |row| row.get(0))?;
    Ok(recorded.is_some_and(|digest| digest != now.digest && !(answered && digest.is_empty())))
}

/// Keeps the newest stamp of unchanged pictures, so that their files are not read again for their new times.
pub(super) fn keep_stamp(group: &Group<'_>, seq: u64, spec: &ItemSpec) -> Result<(), StoreError> {
    let Some(picture) = &spec.picture_stamp else { return Ok(()) };
    let json =
        serde_json::to_string(picture).map_err(|error| StoreError::record(format!("item {}", spec.id), error))?;
    group.run(
        "UPDATE payload SET body = json_set(body, '$.picture', json(?2))
         WHERE seq = ?1 AND iif(json_valid(body), body -> 'picture' IS NOT json(?2), 0)",
        params![seq as i64, json],
    )?;
    Ok(())
}

/// How rows of the input compare with the record.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Compared {
    /// Known by their ids, but as other requests.
    pub changed: Vec<ChangedItem>,
    /// Of these ids none is known.
    pub new: u64,
}

/// Writes nothing.
pub(super) fn compare(conn: &Connection, specs: &[ItemSpec]) -> Result<Compared, StoreError> {
    let mut find = conn.prepare_cached(KNOWN)?;
    let mut compared = Compared::default();
    for spec in specs {
        let hash = hash_bytes(spec)?;
        let known = find.query_row([&spec.id], known_item).optional()?;
        match known {
            None => compared.new += 1,
            Some((seq, known, answered)) if known == hash && !shows_another_picture(conn, seq, answered, spec)? => {}
            Some((seq, _, answered)) => {
                compared.changed.push(ChangedItem { seq: Seq(seq), id: spec.id.clone(), line: spec.line, answered });
            }
        }
    }
    Ok(compared)
}

fn add(group: &mut Group<'_>, seq: u64, spec: &ItemSpec) -> Result<Queued, StoreError> {
    let traits = group.traits_id(spec.routing_traits(group.rules))?;
    group.run("INSERT INTO payload(seq, body) VALUES (?1, ?2)", params![seq as i64, body(spec)?])?;
    group
        .run("INSERT INTO progress(seq, state, traits, attempts) VALUES (?1, 0, ?2, 0)", params![seq as i64, traits])?;
    group.blocks.enters(seq, WAITING);
    group.tallies.items = seq;
    Ok(Queued { seq: Seq(seq), traits })
}

fn replace(group: &mut Group<'_>, seq: u64, spec: &ItemSpec, hash: [u8; 16]) -> Result<Queued, StoreError> {
    let traits = group.traits_id(spec.routing_traits(group.rules))?;
    let row = seq as i64;
    let was = group
        .conn
        .prepare_cached(
            "SELECT state FROM progress
             WHERE seq = ?1 AND NOT EXISTS (SELECT 1 FROM in_flight WHERE in_flight.seq = ?1)",
        )?
        .query_row([row], |row| row.get::<_, i64>(0))
        .optional()?;
    let Some(was) = was else {
        return Err(StoreError::Contradiction(format!("item {} was to be replaced while in flight", spec.id)));
    };
    if was == DONE {
        let cut_off =
            group.run("UPDATE progress SET outcome = NULL WHERE seq = ?1 AND outcome = 'truncated'", [row])?;
        group.tallies.truncated -= cut_off as u64;
    }
    group.run(
        "UPDATE items SET line = ?2, hash = ?3, revision = revision + 1 WHERE seq = ?1",
        params![row, spec.line as i64, hash],
    )?;
    group.run("UPDATE payload SET body = ?2 WHERE seq = ?1", params![row, body(spec)?])?;
    group.run("UPDATE progress SET traits = ?2 WHERE seq = ?1", params![row, traits])?;
    reopen(group, seq, was)?;
    Ok(Queued { seq: Seq(seq), traits })
}

/// An ended item waits again. Its line stays in results.jsonl until the end of the run, or until a later
/// line for the same id overrules it.
pub(super) fn reopen(group: &mut Group<'_>, seq: u64, was: i64) -> Result<(), StoreError> {
    let row = seq as i64;
    group.run("INSERT INTO superseded(n) SELECT result FROM progress WHERE seq = ?1 AND result IS NOT NULL", [row])?;
    group.run("UPDATE progress SET state = 0, result = NULL WHERE seq = ?1", [row])?;
    group.blocks.moves(seq, was, WAITING);
    Ok(())
}

fn body(spec: &ItemSpec) -> Result<String, StoreError> {
    serde_json::to_string(spec).map_err(|error| StoreError::record(format!("item {}", spec.id), error))
}

/// The 32 hex digits as 16 bytes: half the size, and a form that can't be misspelt.
fn hash_bytes(spec: &ItemSpec) -> Result<[u8; 16], StoreError> {
    let digits = &spec.request_hash;
    let is_hash = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    match u128::from_str_radix(digits, 16) {
        Ok(hash) if is_hash => Ok(hash.to_be_bytes()),
        _ => Err(StoreError::Contradiction(format!(
            "item {} has the hash {digits:?}, which is not 32 hex digits",
            spec.id
        ))),
    }
}

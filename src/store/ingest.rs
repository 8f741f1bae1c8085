//! Ingests rows of the input: adds new items, skips known ones, reports changed ones.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    error::StoreError,
    op::{ChangedItem, IngestReport},
    row::WaitingItem,
    schema::{DONE, WAITING},
    txn::Txn,
};
use crate::domain::{ItemSpec, Seq};

/// Policy for a row whose id is known but whose request has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChangedRowPolicy {
    /// Report the row and write nothing.
    Report,
    /// Replace the old request. The item waits again, whatever its state was.
    Replace,
}

pub(super) fn ingest(
    txn: &mut Txn<'_>,
    specs: &[ItemSpec],
    policy: ChangedRowPolicy,
) -> Result<IngestReport, StoreError> {
    let mut report = IngestReport::default();
    let traits_before = txn.new_traits.len();
    let mut added = AddedRange::default();
    for spec in specs {
        let hash = parse_hash(spec)?;
        let seq = txn.counters.items + 1;
        let is_new = txn.execute(
            "INSERT INTO items(seq, id, line, hash) VALUES (?1, ?2, ?3, ?4) ON CONFLICT(id) DO NOTHING",
            params![seq, spec.id, spec.line, hash],
        )? == 1;
        if is_new {
            let item = insert_item(txn, seq, spec)?;
            added.add(txn, item)?;
            report.added.push(item);
            continue;
        }
        // The known item may be one of those.
        added.save(txn)?;
        let (seq, recorded_hash, is_done) =
            txn.conn.prepare_cached(FIND_ITEM_SQL)?.query_row([&spec.id], read_known_item)?;
        if recorded_hash == hash && !is_picture_changed(txn.conn, seq, is_done, spec)? {
            save_picture_stamp(txn, seq, spec)?;
            report.unchanged += 1;
            continue;
        }
        if policy == ChangedRowPolicy::Replace {
            report.added.push(replace_item(txn, seq, spec, hash)?);
        }
        report.changed.push(ChangedItem { seq: Seq(seq), id: spec.id.clone(), line: spec.line, is_done });
    }
    added.save(txn)?;
    if txn.new_traits.len() > traits_before {
        let mut traits: Vec<_> = txn.new_traits.iter().map(|(traits, id)| (*id, traits.clone())).collect();
        traits.sort_unstable_by_key(|(id, _)| *id);
        report.new_traits = traits.split_off(traits_before);
    }
    Ok(report)
}

/// Finds a recorded item by its id: number, hash and state.
const FIND_ITEM_SQL: &str = "SELECT seq, hash, state FROM items JOIN progress USING (seq) WHERE id = ?1";

/// Reads a row of [`FIND_ITEM_SQL`]: the item's number, its hash, and whether it is done.
fn read_known_item(row: &rusqlite::Row<'_>) -> rusqlite::Result<(u64, [u8; 16], bool)> {
    Ok((row.get::<_, u64>(0)?, row.get(1)?, row.get::<_, i64>(2)? == DONE))
}

/// True if the picture has other content under the same name. False if no stamp was recorded, or if the item is done
/// and its recorded content could not be read.
fn is_picture_changed(conn: &Connection, seq: u64, is_done: bool, spec: &ItemSpec) -> Result<bool, StoreError> {
    let Some(current) = &spec.picture_stamp else { return Ok(false) };
    let find = "SELECT iif(json_valid(body), body -> 'picture' ->> 'digest', NULL) FROM payload WHERE seq = ?1";
    let recorded: Option<String> = conn.prepare_cached(find)?.query_row([seq], |row| row.get(0))?;
    Ok(recorded.is_some_and(|digest| digest != current.digest && !(is_done && digest.is_empty())))
}

/// Saves the newest stamp of an unchanged picture, so that the file is not read again because of its new times. A
/// picture recorded without a stamp stays without one, since its earlier content is unknown.
pub(super) fn save_picture_stamp(txn: &Txn<'_>, seq: u64, spec: &ItemSpec) -> Result<(), StoreError> {
    let Some(picture) = &spec.picture_stamp else { return Ok(()) };
    let json = serde_json::to_string(picture)
        .map_err(|error| StoreError::corrupt_record(format!("item {}", spec.id), error))?;
    txn.execute(
        "UPDATE payload SET body = json_set(body, '$.picture', json(?2))
         WHERE seq = ?1 AND iif(json_valid(body), body -> 'picture' IS NOT json(?2), 0)",
        params![seq, json],
    )?;
    Ok(())
}

/// The difference between rows of the input and the recorded items.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct InputDiff {
    /// Items whose id is known but whose request has changed.
    pub changed: Vec<ChangedItem>,
    /// Number of rows whose id is not known.
    pub new: u64,
}

/// Compares rows of the input with the recorded items. Writes nothing.
pub(super) fn compare(conn: &Connection, specs: &[ItemSpec]) -> Result<InputDiff, StoreError> {
    let mut find = conn.prepare_cached(FIND_ITEM_SQL)?;
    let mut diff = InputDiff::default();
    for spec in specs {
        let hash = parse_hash(spec)?;
        let known = find.query_row([&spec.id], read_known_item).optional()?;
        match known {
            None => diff.new += 1,
            Some((seq, known, is_done)) if known == hash && !is_picture_changed(conn, seq, is_done, spec)? => {}
            Some((seq, _, is_done)) => {
                diff.changed.push(ChangedItem { seq: Seq(seq), id: spec.id.clone(), line: spec.line, is_done });
            }
        }
    }
    Ok(diff)
}

/// New items with consecutive numbers and the same traits that are not yet in `progress`: one statement for all of them
/// is quicker than one for each.
#[derive(Default)]
struct AddedRange {
    first: u64,
    count: u64,
    traits_id: u32,
}

impl AddedRange {
    fn add(&mut self, txn: &Txn<'_>, item: WaitingItem) -> Result<(), StoreError> {
        if self.traits_id != item.traits_id || self.first + self.count != item.seq.0 {
            self.save(txn)?;
            *self = Self { first: item.seq.0, count: 0, traits_id: item.traits_id };
        }
        self.count += 1;
        Ok(())
    }

    fn save(&mut self, txn: &Txn<'_>) -> Result<(), StoreError> {
        let Self { first, count, traits_id } = std::mem::take(self);
        if count > 0 {
            txn.execute(
                "INSERT INTO progress(seq, state, traits, attempts) SELECT seq, 0, ?3, 0 FROM items
                 WHERE seq BETWEEN ?1 AND ?2",
                params![first, first + count - 1, traits_id],
            )?;
        }
        Ok(())
    }
}

/// Adds an item, but for its row in `progress`.
fn insert_item(txn: &mut Txn<'_>, seq: u64, spec: &ItemSpec) -> Result<WaitingItem, StoreError> {
    let traits_id = txn.intern_traits(spec.routing_traits(txn.rules))?;
    txn.execute("INSERT INTO payload(seq, body) VALUES (?1, ?2)", params![seq, item_json(spec)?])?;
    txn.block_changes.add_item(seq, WAITING);
    txn.counters.items = seq;
    Ok(WaitingItem { seq: Seq(seq), traits_id })
}

fn replace_item(txn: &mut Txn<'_>, seq: u64, spec: &ItemSpec, hash: [u8; 16]) -> Result<WaitingItem, StoreError> {
    let traits_id = txn.intern_traits(spec.routing_traits(txn.rules))?;
    let row = seq;
    let old_state = txn
        .conn
        .prepare_cached(
            "SELECT state FROM progress
             WHERE seq = ?1 AND NOT EXISTS (SELECT 1 FROM in_flight WHERE in_flight.seq = ?1)",
        )?
        .query_row([row], |row| row.get::<_, i64>(0))
        .optional()?;
    let Some(old_state) = old_state else {
        return Err(StoreError::Contradiction(format!("item {} was to be replaced while in flight", spec.id)));
    };
    // The line of the old request is stored as a whole, since it has the item's old hash. Lines that were superseded
    // before are: an answer is replaced only here.
    txn.execute(
        "UPDATE result_rows SET format = 0, line = (SELECT line FROM results WHERE results.n = result_rows.n)
         WHERE n = (SELECT result FROM progress WHERE seq = ?1) AND format <> 0",
        [row],
    )?;
    txn.execute(
        "UPDATE items SET line = ?2, hash = ?3, revision = revision + 1 WHERE seq = ?1",
        params![row, spec.line, hash],
    )?;
    txn.execute("UPDATE payload SET body = ?2 WHERE seq = ?1", params![row, item_json(spec)?])?;
    txn.execute("UPDATE progress SET traits = ?2 WHERE seq = ?1", params![row, traits_id])?;
    txn.reopen_item(seq, old_state)?;
    if old_state == DONE {
        let truncated =
            txn.execute("UPDATE progress SET outcome = NULL WHERE seq = ?1 AND outcome = 'truncated'", [row])?;
        txn.counters.truncated -= truncated as u64;
    }
    Ok(WaitingItem { seq: Seq(seq), traits_id })
}

fn item_json(spec: &ItemSpec) -> Result<String, StoreError> {
    serde_json::to_string(spec).map_err(|error| StoreError::corrupt_record(format!("item {}", spec.id), error))
}

/// Parses the 32 hex digits of a hash to 16 bytes: half the size, and every value has exactly one form.
fn parse_hash(spec: &ItemSpec) -> Result<[u8; 16], StoreError> {
    let digits = &spec.request_hash;
    let nibble = |digit: u8| char::from(digit).to_digit(16).map(|nibble| nibble as u8);
    let parse = || {
        let mut hash = [0; 16];
        for (byte, pair) in hash.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        (digits.len() == 32).then_some(hash)
    };
    parse().ok_or_else(|| {
        StoreError::Contradiction(format!("item {} has the hash {digits:?}, which is not 32 hex digits", spec.id))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Op, PinnedSettings, RunDir, Store};

    #[test]
    fn a_row_that_comes_twice_in_one_group_is_known_the_second_time() {
        let home = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(&RunDir::new(home.path()), &PinnedSettings::default()).unwrap();
        let Op::IngestItems(mut specs) = Op::ingest_numbered(1..=3) else { panic!("not rows") };
        specs.insert(2, specs[1].clone());
        let report = store.ingest(&specs, ChangedRowPolicy::Report).unwrap();
        assert_eq!((report.added.len(), report.unchanged), (3, 1));
        let recorded = "SELECT count(*), sum(state = 0 AND traits = 1 AND attempts = 0) FROM progress";
        let counts: (u64, u64) = store.conn.query_row(recorded, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        assert_eq!(counts, (3, 3));
    }
}

//! Looks up items of a run by their ids and states.

use std::path::Path;

use crate::{
    domain::{ItemSpec, PictureStamp, Seq},
    store::{connect, error::StoreError, ingest::compare, run_dir::RunDir, schema::DONE},
};

/// The done items in input order.
///
/// # Errors
/// If the database can't be read.
pub fn load_done_items(dir: &Path) -> Result<Vec<Seq>, StoreError> {
    connect::read_run(dir, |_, conn| {
        let mut statement = conn.prepare("SELECT seq FROM progress WHERE state = ?1 ORDER BY seq")?;
        let items = statement.query_map([DONE], |row| Ok(Seq(row.get(0)?)))?;
        Ok(items.collect::<Result<_, _>>()?)
    })
}

/// Returns a function that tells whether an id is recorded. An id that can't be looked up counts as unknown.
///
/// # Errors
/// If the database can't be opened.
pub fn known_id_lookup(dir: &Path) -> Result<impl Fn(&str) -> bool + Send + 'static, StoreError> {
    id_lookup(dir, "SELECT 1 FROM items WHERE id = ?1")
}

/// Returns a function that tells whether an item of the input is recorded unchanged: with the same request and
/// pictures.
///
/// # Errors
/// If the database can't be opened. The returned function fails if the database can't be read.
pub fn unchanged_item_lookup(
    dir: &Path,
) -> Result<impl Fn(&ItemSpec) -> Result<bool, StoreError> + Send + 'static, StoreError> {
    let conn = connect::open_reader(&RunDir::new(dir))?;
    Ok(move |item: &ItemSpec| {
        let compared = compare(&conn, std::slice::from_ref(item))?;
        Ok(compared.new == 0 && compared.changed.is_empty())
    })
}

/// Returns a function that tells whether an id belongs to an item that is done or failed.
///
/// # Errors
/// If the database can't be opened.
pub fn ended_id_lookup(dir: &Path) -> Result<impl Fn(&str) -> bool + Send + 'static, StoreError> {
    id_lookup(dir, "SELECT 1 FROM items JOIN progress USING (seq) WHERE items.id = ?1 AND progress.state <> 0")
}

/// Returns a function that tells whether an id belongs to an item that is done or failed and has no pending caption.
/// The engine saves the items with pending captions as the state `captions_owed`.
///
/// # Errors
/// If the database can't be opened.
pub fn fully_ended_id_lookup(dir: &Path) -> Result<impl Fn(&str) -> bool + Send + 'static, StoreError> {
    id_lookup(
        dir,
        "SELECT 1 FROM items JOIN progress USING (seq) WHERE items.id = ?1 AND progress.state <> 0
         AND progress.seq NOT IN (SELECT value FROM states, json_each(states.json) WHERE states.name = 'captions_owed')",
    )
}

/// Calls `each` with the caption path of every item that waits or has failed.
///
/// # Errors
/// If the database can't be read.
pub fn for_each_unfinished_caption(dir: &Path, mut each: impl FnMut(&Path)) -> Result<(), StoreError> {
    connect::read_run(dir, |_, conn| {
        let mut statement = conn.prepare(
            "SELECT iif(json_valid(body), body ->> 'caption', NULL) FROM progress JOIN payload USING (seq) WHERE state <> ?1",
        )?;
        let mut rows = statement.query([DONE])?;
        while let Some(row) = rows.next()? {
            if let Some(caption) = row.get_ref(0)?.as_str_or_null().map_err(rusqlite::Error::from)? {
                each(Path::new(caption));
            }
        }
        Ok(())
    })
}

/// Calls `each` with every waiting item for whose id `is_known` returns false, including items in flight. It gets
/// `None` if the item's body is damaged.
///
/// # Errors
/// If the database can't be read.
pub fn for_each_unknown_waiting(
    dir: &Path,
    is_known: impl Fn(&str) -> bool,
    mut each: impl FnMut(Option<ItemSpec>),
) -> Result<(), StoreError> {
    connect::read_run(dir, |_, conn| {
        let mut statement = conn.prepare(
            "SELECT id, body FROM progress JOIN items USING (seq) JOIN payload USING (seq) WHERE state = 0 ORDER BY seq",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if !is_known(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?) {
                each(serde_json::from_str(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?).ok());
            }
        }
        Ok(())
    })
}

/// Returns a function that looks up a recorded picture stamp by the item's id. A stamp that can't be read counts as
/// missing.
///
/// # Errors
/// If the database can't be opened.
pub fn picture_stamp_lookup(dir: &Path) -> Result<impl Fn(&str) -> Option<PictureStamp> + Send + 'static, StoreError> {
    let conn = connect::open_reader(&RunDir::new(dir))?;
    Ok(move |id: &str| {
        let query =
            "SELECT iif(json_valid(body), body -> 'picture', NULL) FROM payload JOIN items USING (seq) WHERE id = ?1";
        let mut find = conn.prepare_cached(query).ok()?;
        let json: Option<String> = find.query_row([id], |row| row.get(0)).ok()?;
        serde_json::from_str(&json?).ok()
    })
}

fn id_lookup(dir: &Path, query: &'static str) -> Result<impl Fn(&str) -> bool + Send + 'static, StoreError> {
    let conn = connect::open_reader(&RunDir::new(dir))?;
    Ok(move |id: &str| conn.prepare_cached(query).and_then(|mut find| find.exists([id])).unwrap_or(false))
}

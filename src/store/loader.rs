//! Loads and decodes the bodies of items on a separate thread. The engine keeps only the numbers of most waiting items
//! in memory.

use std::thread;

use rusqlite::{Connection, OptionalExtension as _};
use tokio::sync::{mpsc, oneshot};

use super::{
    connect,
    error::StoreError,
    row::{parse_json, parse_outcome},
    run_dir::RunDir,
};
use crate::domain::{ItemSpec, Outcome, Seq, WallTime};

/// Maximum number of queued load requests.
const LOAD_QUEUE_CAPACITY: usize = 16;

/// An item that is ready to be sent, and its earlier attempts.
#[derive(Clone, PartialEq, Debug)]
pub struct LoadedItem {
    pub seq: Seq,
    pub spec: ItemSpec,
    /// Completed attempts so far, also of earlier processes.
    pub completed_attempts: u32,
    /// When the first attempt was sent.
    pub started_at: Option<WallTime>,
    /// The message about the last answer to this request that failed a check.
    pub failed_check_message: Option<String>,
    /// Attempts since the item was queued, by model and outcome; the model of the newest one comes last.
    pub earlier_attempts: Vec<EarlierAttempts>,
}

/// An item's attempts on one model with one outcome.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EarlierAttempts {
    pub provider: String,
    pub model: String,
    pub outcome: Outcome,
    pub count: u32,
}

/// An item whose body is damaged, so that it can never be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnreadableItem {
    pub seq: Seq,
    pub id: String,
    pub completed_attempts: u32,
    pub reason: String,
}

/// The result of a load request. Each requested item is in one of the two lists. Both keep the requested order.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct LoadedItems {
    pub items: Vec<LoadedItem>,
    pub unreadable: Vec<UnreadableItem>,
}

/// A handle to the loading thread. Cheap to clone; the thread ends when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct ItemLoader {
    request_tx: mpsc::Sender<LoadRequest>,
}

#[derive(Debug)]
struct LoadRequest {
    seqs: Vec<Seq>,
    reply: oneshot::Sender<Result<LoadedItems, StoreError>>,
}

impl ItemLoader {
    /// Starts the thread. It ends when the loader is dropped.
    ///
    /// # Errors
    /// If the database can't be opened or the thread can't be started.
    pub fn start(dir: &RunDir) -> Result<Self, StoreError> {
        let conn = connect::open_reader(dir)?;
        let database = dir.database();
        let (request_tx, mut request_rx) = mpsc::channel::<LoadRequest>(LOAD_QUEUE_CAPACITY);
        thread::Builder::new()
            .name("store-loader".to_owned())
            .spawn(move || {
                while let Some(LoadRequest { seqs, reply }) = request_rx.blocking_recv() {
                    let loaded = load_batch(&conn, &seqs);
                    let _ = reply.send(loaded.map_err(|error| error.with_path(&database)));
                }
            })
            .map_err(|error| StoreError::file("start the thread that reads from", dir.path(), error))?;
        Ok(Self { request_tx })
    }

    /// Loads the items in the given order.
    ///
    /// # Errors
    /// If the database can't be read. A retry may succeed.
    pub async fn load(&self, seqs: Vec<Seq>) -> Result<LoadedItems, StoreError> {
        let (reply, loaded) = oneshot::channel();
        self.request_tx.send(LoadRequest { seqs, reply }).await.map_err(|_| StoreError::Closed)?;
        loaded.await.map_err(|_| StoreError::Closed)?
    }
}

/// Loads items in one transaction: taking and releasing SQLite's locks costs more than reading a row.
fn load_batch(conn: &Connection, seqs: &[Seq]) -> Result<LoadedItems, StoreError> {
    let transaction = conn.unchecked_transaction()?;
    let mut batch = LoadedItems::default();
    for range in seqs.chunk_by(|seq, next| seq.0 + 1 == next.0) {
        match load_range(&transaction, range) {
            Ok(items) if items.len() == range.len() => batch.items.extend(items),
            // Something is wrong with one of them. Each one by itself says with which.
            _ => load_each(&transaction, range, &mut batch)?,
        }
    }
    transaction.commit()?;
    Ok(batch)
}

/// Loads the items one by one.
fn load_each(conn: &Connection, seqs: &[Seq], batch: &mut LoadedItems) -> Result<(), StoreError> {
    for seq in seqs {
        match load_range(conn, &[*seq]) {
            Ok(mut items) if items.len() == 1 => batch.items.append(&mut items),
            Err(error) if error.is_disk_fault() => return Err(error),
            loaded => {
                let missing = || StoreError::Contradiction(format!("there is no body of item {}", seq.0));
                let error = loaded.err().unwrap_or_else(missing);
                batch.unreadable.push(describe_unreadable(conn, *seq, &error)?);
            }
        }
    }
    Ok(())
}

fn describe_unreadable(conn: &Connection, seq: Seq, error: &StoreError) -> Result<UnreadableItem, StoreError> {
    let row = seq.0;
    let find = "SELECT (SELECT id FROM items WHERE seq = ?1), (SELECT attempts FROM progress WHERE seq = ?1)";
    let (id, attempts): (Option<String>, Option<u32>) =
        conn.prepare_cached(find)?.query_row([row], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let id = id.unwrap_or_else(|| format!("(number {})", seq.0));
    Ok(UnreadableItem { seq, id, completed_attempts: attempts.unwrap_or_default(), reason: error.to_string() })
}

/// Loads items with consecutive numbers. Those without a record are left out.
fn load_range(conn: &Connection, seqs: &[Seq]) -> Result<Vec<LoadedItem>, StoreError> {
    let (Some(first), Some(last)) = (seqs.first(), seqs.last()) else { return Ok(Vec::new()) };
    let mut statement = conn.prepare_cached(
        "SELECT seq, body, attempts FROM payload JOIN progress USING (seq) WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq",
    )?;
    let mut rows = statement.query([first.0, last.0])?;
    let mut items = Vec::with_capacity(seqs.len());
    while let Some(row) = rows.next()? {
        let seq = Seq(row.get(0)?);
        let body = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        let mut item = LoadedItem {
            seq,
            spec: parse_json(body, "an item")?,
            completed_attempts: row.get(2)?,
            started_at: None,
            failed_check_message: None,
            earlier_attempts: Vec::new(),
        };
        if item.completed_attempts > 0 {
            item.started_at = load_start(conn, seq)?;
            item.failed_check_message = load_failed_check_message(conn, seq)?;
            item.earlier_attempts = load_earlier_attempts(conn, seq)?;
        }
        items.push(item);
    }
    Ok(items)
}

fn load_earlier_attempts(conn: &Connection, seq: Seq) -> Result<Vec<EarlierAttempts>, StoreError> {
    let find = "SELECT routes.provider, routes.model, attempts.outcome, count(*)
                FROM attempts JOIN progress USING (seq) JOIN routes ON routes.id = attempts.route
                WHERE attempts.seq = ?1 AND attempt >= counted_from
                GROUP BY 1, 2, 3 ORDER BY max(attempt)";
    let mut statement = conn.prepare_cached(find)?;
    let mut rows = statement.query([seq.0])?;
    let mut earlier_attempts = Vec::new();
    while let Some(row) = rows.next()? {
        let outcome = parse_outcome(row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?)?;
        earlier_attempts.push(EarlierAttempts {
            provider: row.get(0)?,
            model: row.get(1)?,
            outcome,
            count: row.get(3)?,
        });
    }
    Ok(earlier_attempts)
}

/// When the item's first attempt was sent.
fn load_start(conn: &Connection, seq: Seq) -> Result<Option<WallTime>, StoreError> {
    let first: Option<i64> = conn
        .prepare_cached("SELECT min(sent_at) FROM attempts WHERE seq = ?1")?
        .query_row([seq.0], |row| row.get(0))?;
    Ok(first.map(WallTime))
}

/// The message about the item's last answer that failed a check. `None` if a changed row has taken the item's place,
/// since the answer may be to the old request.
fn load_failed_check_message(conn: &Connection, seq: Seq) -> Result<Option<String>, StoreError> {
    let find = "SELECT message FROM attempts JOIN items USING (seq)
                WHERE seq = ?1 AND revision = 0 AND outcome = 'invalid_output' ORDER BY attempt DESC LIMIT 1";
    Ok(conn.prepare_cached(find)?.query_row([seq.0], |row| row.get(0)).optional()?)
}

//! Bodies of items for the engine, which holds only their numbers: read, and decoded, off its task.

use std::thread;

use rusqlite::{Connection, OptionalExtension as _};
use tokio::sync::{mpsc, oneshot};

use super::{connect, error::StoreError, open::parse_json, run_dir::RunDir};
use crate::domain::{ItemSpec, Seq, WallTime};

/// Loads that may wait their turn; the engine asks for a few items at a time.
const LOAD_QUEUE_CAPACITY: usize = 16;

/// An item as it goes out, and what was tried before.
#[derive(Clone, PartialEq, Debug)]
pub struct LoadedItem {
    pub seq: Seq,
    pub spec: ItemSpec,
    /// Settled so far, in earlier processes too.
    pub completed_attempts: u32,
    /// When the first of them was sent.
    pub started_at: Option<WallTime>,
}

/// An item whose body is damaged: it can never be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnreadableItem {
    pub seq: Seq,
    pub id: String,
    pub completed_attempts: u32,
    pub reason: String,
}

/// What a load brought: each item asked for is in one of the two, in the order asked for.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct LoadedItems {
    pub items: Vec<LoadedItem>,
    pub unreadable: Vec<UnreadableItem>,
}

/// Cheap to clone; the thread ends with the last one.
#[derive(Clone, Debug)]
pub struct ItemLoader {
    requests: mpsc::Sender<LoadRequest>,
}

#[derive(Debug)]
struct LoadRequest {
    seqs: Vec<Seq>,
    reply: oneshot::Sender<Result<LoadedItems, StoreError>>,
}

impl ItemLoader {
    pub fn start(dir: &RunDir) -> Result<Self, StoreError> {
        let conn = connect::open_reader(dir)?;
        let database = dir.database();
        let (requests, mut queue) = mpsc::channel::<LoadRequest>(LOAD_QUEUE_CAPACITY);
        thread::Builder::new()
            .name("store-loader".to_owned())
            .spawn(move || {
                while let Some(LoadRequest { seqs, reply }) = queue.blocking_recv() {
                    let loaded = load_batch(&conn, &seqs);
                    let _ = reply.send(loaded.map_err(|error| error.with_path(&database)));
                }
            })
            .map_err(|error| StoreError::file("start the thread that reads from", dir.path(), error))?;
        Ok(Self { requests })
    }

    /// The items, in the order asked for. An error is the database's as a whole: the same may well work later.
    pub async fn load(&self, seqs: Vec<Seq>) -> Result<LoadedItems, StoreError> {
        let (reply, loaded) = oneshot::channel();
        self.requests.send(LoadRequest { seqs, reply }).await.map_err(|_| StoreError::Closed)?;
        loaded.await.map_err(|_| StoreError::Closed)?
    }
}

/// In one transaction: taking and dropping SQLite's locks costs more than reading a row.
fn load_batch(conn: &Connection, seqs: &[Seq]) -> Result<LoadedItems, StoreError> {
    let transaction = conn.unchecked_transaction()?;
    let mut batch = LoadedItems::default();
    for seq in seqs {
        match load_item(&transaction, *seq) {
            Ok(item) => batch.items.push(item),
            Err(error) if error.is_disk_fault() => return Err(error),
            Err(error) => batch.unreadable.push(describe_unreadable(&transaction, *seq, &error)?),
        }
    }
    transaction.commit()?;
    Ok(batch)
}

fn describe_unreadable(conn: &Connection, seq: Seq, error: &StoreError) -> Result<UnreadableItem, StoreError> {
    let row = seq.0 as i64;
    let find = "SELECT (SELECT id FROM items WHERE seq = ?1), (SELECT attempts FROM progress WHERE seq = ?1)";
    let (id, attempts): (Option<String>, Option<u32>) =
        conn.prepare_cached(find)?.query_row([row], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let id = id.unwrap_or_else(|| format!("(number {})", seq.0));
    Ok(UnreadableItem { seq, id, completed_attempts: attempts.unwrap_or_default(), reason: error.to_string() })
}

fn load_item(conn: &Connection, seq: Seq) -> Result<LoadedItem, StoreError> {
    let row = seq.0 as i64;
    let (body, completed_attempts): (String, u32) = conn
        .prepare_cached("SELECT body, attempts FROM payload JOIN progress USING (seq) WHERE seq = ?1")?
        .query_row([row], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?
        .ok_or_else(|| StoreError::Contradiction(format!("there is no body of item {}", seq.0)))?;
    let started_at = if completed_attempts == 0 {
        None
    } else {
        conn.prepare_cached("SELECT min(sent_at) FROM attempts WHERE seq = ?1")?
            .query_row([row], |row| row.get::<_, Option<i64>>(0))?
            .map(WallTime)
    };
    Ok(LoadedItem { seq, spec: parse_json(&body, "an item")?, completed_attempts, started_at })
}

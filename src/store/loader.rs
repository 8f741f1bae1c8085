//! Bodies of items for the engine, which holds only their numbers: read, and decoded, off its task.

use std::thread;

use rusqlite::{Connection, OptionalExtension as _};
use tokio::sync::{mpsc, oneshot};

use super::{connect, error::StoreError, open::parse, run_dir::RunDir};
use crate::domain::{ItemSpec, Seq, WallTime};

/// Loads that may wait their turn; the engine asks for a few items at a time.
const QUEUE: usize = 16;

/// An item as it goes out, and what was tried before.
#[derive(Clone, PartialEq, Debug)]
pub struct Loaded {
    pub seq: Seq,
    pub spec: ItemSpec,
    /// Settled so far, in earlier processes too.
    pub attempts: u32,
    /// When the first of them was sent.
    pub started_at: Option<WallTime>,
}

/// An item whose body is damaged: it can never be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unreadable {
    pub seq: Seq,
    pub id: String,
    pub attempts: u32,
    pub why: String,
}

/// What a load brought: each item asked for is in one of the two, in the order asked for.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Batch {
    pub items: Vec<Loaded>,
    pub unreadable: Vec<Unreadable>,
}

/// Cheap to clone; the thread ends with the last one.
#[derive(Clone, Debug)]
pub struct Loader {
    loads: mpsc::Sender<Load>,
}

#[derive(Debug)]
struct Load {
    seqs: Vec<Seq>,
    reply: oneshot::Sender<Result<Batch, StoreError>>,
}

impl Loader {
    pub fn start(dir: &RunDir) -> Result<Self, StoreError> {
        let conn = connect::reader(dir)?;
        let database = dir.database();
        let (loads, mut wanted) = mpsc::channel::<Load>(QUEUE);
        thread::Builder::new()
            .name("store-loader".to_owned())
            .spawn(move || {
                while let Some(Load { seqs, reply }) = wanted.blocking_recv() {
                    let loaded = load_all(&conn, &seqs);
                    let _ = reply.send(loaded.map_err(|error| error.in_file(&database)));
                }
            })
            .map_err(|error| StoreError::file("start the thread that reads from", dir.path(), error))?;
        Ok(Self { loads })
    }

    /// The items, in the order asked for. An error is the database's as a whole: the same may well work later.
    pub async fn load(&self, seqs: Vec<Seq>) -> Result<Batch, StoreError> {
        let (reply, loaded) = oneshot::channel();
        self.loads.send(Load { seqs, reply }).await.map_err(|_| StoreError::Closed)?;
        loaded.await.map_err(|_| StoreError::Closed)?
    }
}

/// In one transaction: taking and dropping SQLite's locks costs more than reading a row.
fn load_all(conn: &Connection, seqs: &[Seq]) -> Result<Batch, StoreError> {
    let transaction = conn.unchecked_transaction()?;
    let mut batch = Batch::default();
    for seq in seqs {
        match load(&transaction, *seq) {
            Ok(item) => batch.items.push(item),
            Err(error) if error.is_disk_trouble() => return Err(error),
            Err(error) => batch.unreadable.push(unreadable(&transaction, *seq, &error)?),
        }
    }
    transaction.commit()?;
    Ok(batch)
}

fn unreadable(conn: &Connection, seq: Seq, error: &StoreError) -> Result<Unreadable, StoreError> {
    let row = seq.0 as i64;
    let find = "SELECT (SELECT id FROM items WHERE seq = ?1), (SELECT attempts FROM progress WHERE seq = ?1)";
    let (id, attempts): (Option<String>, Option<u32>) =
        conn.prepare_cached(find)?.query_row([row], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let id = id.unwrap_or_else(|| format!("(number {})", seq.0));
    Ok(Unreadable { seq, id, attempts: attempts.unwrap_or_default(), why: error.to_string() })
}

fn load(conn: &Connection, seq: Seq) -> Result<Loaded, StoreError> {
    let row = seq.0 as i64;
    let (body, attempts): (String, u32) = conn
        .prepare_cached("SELECT body, attempts FROM payload JOIN progress USING (seq) WHERE seq = ?1")?
        .query_row([row], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?
        .ok_or_else(|| StoreError::Contradiction(format!("there is no body of item {}", seq.0)))?;
    let started_at = if attempts == 0 {
        None
    } else {
        conn.prepare_cached("SELECT min(sent_at) FROM attempts WHERE seq = ?1")?
            .query_row([row], |row| row.get::<_, Option<i64>>(0))?
            .map(WallTime)
    };
    Ok(Loaded { seq, spec: parse(&body, "an item")?, attempts, started_at })
}

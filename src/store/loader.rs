//! Bodies of items for the engine, which holds only their numbers: read, and decoded, off its task.

use std::thread;

use rusqlite::{Connection, OptionalExtension as _};
use tokio::sync::{mpsc, oneshot};

use super::{connect, error::StoreError, open::parse, run_dir::RunDir};
use crate::domain::{ItemSpec, Seq, Wall};

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
    pub started_at: Option<Wall>,
}

/// Cheap to clone; the thread ends with the last one.
#[derive(Clone, Debug)]
pub struct Loader {
    loads: mpsc::Sender<Load>,
}

#[derive(Debug)]
struct Load {
    seqs: Vec<Seq>,
    reply: oneshot::Sender<Result<Vec<Loaded>, StoreError>>,
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

    /// The items, in the order asked for.
    pub async fn load(&self, seqs: Vec<Seq>) -> Result<Vec<Loaded>, StoreError> {
        let (reply, loaded) = oneshot::channel();
        self.loads.send(Load { seqs, reply }).await.map_err(|_| StoreError::Closed)?;
        loaded.await.map_err(|_| StoreError::Closed)?
    }
}

/// In one transaction: taking and dropping SQLite's locks costs more than reading a row.
fn load_all(conn: &Connection, seqs: &[Seq]) -> Result<Vec<Loaded>, StoreError> {
    let transaction = conn.unchecked_transaction()?;
    let loaded = seqs.iter().map(|seq| load(&transaction, *seq)).collect::<Result<_, _>>()?;
    transaction.commit()?;
    Ok(loaded)
}

fn load(conn: &Connection, seq: Seq) -> Result<Loaded, StoreError> {
    let row = seq.0 as i64;
    let (body, attempts): (String, u32) = conn
        .prepare_cached("SELECT body, attempts FROM payload JOIN progress USING (seq) WHERE seq = ?1")?
        .query_row([row], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?
        .ok_or_else(|| StoreError::Contradiction(format!("there is no item {}", seq.0)))?;
    let started_at = if attempts == 0 {
        None
    } else {
        conn.prepare_cached("SELECT min(sent_at) FROM attempts WHERE seq = ?1")?
            .query_row([row], |row| row.get::<_, Option<i64>>(0))?
            .map(Wall)
    };
    Ok(Loaded { seq, spec: parse(&body, "an item")?, attempts, started_at })
}

//! What a front end holds of a running engine: it sees snapshots, asks for rows and sends commands.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use crate::domain::{Command, Page, Query, Snapshot};
pub use crate::store::PageRequest;

/// A command and where its answer goes: what was done, or why not, in words for the operator.
#[derive(Debug)]
pub struct CommandRequest {
    pub command: Command,
    pub reply: oneshot::Sender<Result<String, String>>,
}

/// Cheap to clone; every front end, also several at once, holds its own.
#[derive(Clone, Debug)]
pub struct EngineHandle {
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    pub commands: mpsc::Sender<CommandRequest>,
    pub queries: mpsc::Sender<PageRequest>,
}

impl EngineHandle {
    /// The newest snapshot; holds no lock after it returns.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    /// Sends a command and waits for the engine's word on it.
    pub async fn command(&self, command: Command) -> Result<String, String> {
        let (reply, reply_rx) = oneshot::channel();
        let ended = || "the run has ended".to_owned();
        self.commands.send(CommandRequest { command, reply }).await.map_err(|_| ended())?;
        reply_rx.await.map_err(|_| ended())?
    }

    /// Asks for rows; answered from the run's database, never by the engine's task.
    pub async fn query(&self, query: Query) -> Result<Page, String> {
        let (reply, reply_rx) = oneshot::channel();
        let closed = || "the run's database is closed".to_owned();
        self.queries.send(PageRequest { query, reply }).await.map_err(|_| closed())?;
        reply_rx.await.map_err(|_| closed())?
    }
}

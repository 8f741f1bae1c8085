//! The handle of a running engine for front ends: snapshots, queries and commands.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::messages::CommandRequest;
use crate::domain::{Command, Page, Query, Snapshot};
pub use crate::store::PageRequest;

/// A front end's connection to the engine. Cheap to clone; each front end holds a clone.
#[derive(Clone, Debug)]
pub struct EngineHandle {
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    pub command_tx: mpsc::Sender<CommandRequest>,
    pub query_tx: mpsc::Sender<PageRequest>,
}

impl EngineHandle {
    /// The newest snapshot. The channel's lock is released before this returns.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    /// Sends a command of the operator and waits for the engine's reply.
    pub async fn send_command(&self, command: Command) -> Result<String, String> {
        self.send(command, None).await
    }

    /// Sends a command that ends the run for another reason than the operator's wish.
    pub async fn send_stop(&self, command: Command, reason: String) -> Result<String, String> {
        self.send(command, Some(reason)).await
    }

    async fn send(&self, command: Command, stop_reason: Option<String>) -> Result<String, String> {
        let (reply, reply_rx) = oneshot::channel();
        let ended = || "the run has ended".to_owned();
        self.command_tx.send(CommandRequest { command, stop_reason, reply }).await.map_err(|_| ended())?;
        reply_rx.await.map_err(|_| ended())?
    }

    /// Queries the run's database. The store's reader thread answers, not the engine's task.
    pub async fn query(&self, query: Query) -> Result<Page, String> {
        let (reply, reply_rx) = oneshot::channel();
        let closed = || "the run's database is closed".to_owned();
        self.query_tx.send(PageRequest { query, reply }).await.map_err(|_| closed())?;
        reply_rx.await.map_err(|_| closed())?
    }
}

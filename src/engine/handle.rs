//! What a front end holds of a running engine: it sees snapshots, asks for rows and sends commands.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use crate::domain::{Command, Page, Query, Snapshot};
pub use crate::store::Ask;

/// A command and where its answer goes: what was done, or why not, in words for the operator.
#[derive(Debug)]
pub struct Order {
    pub command: Command,
    pub reply: oneshot::Sender<Result<String, String>>,
}

/// Cheap to clone; every front end, also several at once, holds its own.
#[derive(Clone, Debug)]
pub struct Handle {
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    pub orders: mpsc::Sender<Order>,
    pub asks: mpsc::Sender<Ask>,
}

impl Handle {
    /// The newest snapshot; holds no lock after it returns.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    /// Sends a command and waits for the engine's word on it.
    pub async fn command(&self, command: Command) -> Result<String, String> {
        let (reply, answer) = oneshot::channel();
        let gone = || "the run has ended".to_owned();
        self.orders.send(Order { command, reply }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Asks for rows; answered from the run's database, never by the engine's task.
    pub async fn ask(&self, query: Query) -> Result<Page, String> {
        let (reply, answer) = oneshot::channel();
        let gone = || "the run's database is closed".to_owned();
        self.asks.send(Ask { query, reply }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

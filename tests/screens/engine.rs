//! A fake engine: owns the other ends of the channels, records what it is told, answers as it is asked to.

use std::{sync::Arc, time::Duration};

use cascadeck::{
    domain::{Command, Page, Query, Snapshot},
    engine::{CommandRequest, EngineHandle, PageRequest},
};
use tokio::sync::{mpsc, watch};

use crate::fixture;

pub struct FakeEngine {
    pub snapshots: watch::Sender<Arc<Snapshot>>,
    pub orders: mpsc::Receiver<CommandRequest>,
    pub asks: mpsc::Receiver<PageRequest>,
}

pub fn engine(snapshot: Snapshot) -> (FakeEngine, EngineHandle) {
    let (snapshots, watching) = watch::channel(Arc::new(snapshot));
    let (order, orders) = mpsc::channel(8);
    let (ask, asks) = mpsc::channel(8);
    (FakeEngine { snapshots, orders, asks }, EngineHandle { snapshots: watching, commands: order, queries: ask })
}

/// A dashboard that never does what a test waits for must not hang it.
async fn soon<T>(future: impl Future<Output = Option<T>>) -> Option<T> {
    tokio::time::timeout(Duration::from_secs(20), future).await.ok().flatten()
}

impl FakeEngine {
    /// The next command, acknowledged.
    pub async fn obey(&mut self) -> Command {
        let CommandRequest { command, reply } = soon(self.orders.recv()).await.expect("a command comes");
        // The dashboard may have left without waiting for the answer.
        let _ = reply.send(Ok("done".to_owned()));
        command
    }

    /// The next question, answered from the fixture.
    pub async fn answer(&mut self) -> Query {
        let PageRequest { query, reply } = soon(self.asks.recv()).await.expect("a question comes");
        let page = page(&query);
        let _ = reply.send(Ok(page));
        query
    }
}

/// What the fixture has to say.
pub fn page(query: &Query) -> Page {
    match query {
        Query::Items { offset, .. } => {
            Page::Items { rows: fixture::failed_items(), matching: 7, offset: *offset, outdated: false }
        }
        Query::Failures { .. } => Page::Failures { groups: fixture::failures(), matching: 7, outdated: false },
        Query::ExportFailures { .. } => Page::Exported { path: "failed-1.jsonl".to_owned(), rows: 7 },
        Query::Picture { .. } => Page::Picture(fixture::picture()),
        Query::Item { .. } => Page::Item(Box::new(fixture::failed_item())),
    }
}

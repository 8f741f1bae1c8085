//! A fake engine: holds the other ends of the channels, records commands, and replies as the test says.

use std::{sync::Arc, time::Duration};

use cascadeck::{
    domain::{Command, Page, Query, Snapshot},
    engine::{CommandRequest, EngineHandle, PageRequest},
};
use tokio::sync::{mpsc, watch};

use crate::fixture;

pub struct FakeEngine {
    pub snapshots: watch::Sender<Arc<Snapshot>>,
    pub commands: mpsc::Receiver<CommandRequest>,
    pub queries: mpsc::Receiver<PageRequest>,
}

pub fn fake_engine(snapshot: Snapshot) -> (FakeEngine, EngineHandle) {
    let (snapshots, watching) = watch::channel(Arc::new(snapshot));
    let (order, commands) = mpsc::channel(8);
    let (ask, queries) = mpsc::channel(8);
    (
        FakeEngine { snapshots, commands, queries },
        EngineHandle { snapshots: watching, command_tx: order, query_tx: ask },
    )
}

/// Bounds every wait, so that a dashboard that doesn't act can't hang a test.
async fn within_timeout<T>(future: impl Future<Output = Option<T>>) -> Option<T> {
    tokio::time::timeout(Duration::from_secs(20), future).await.ok().flatten()
}

impl FakeEngine {
    /// Receives the next command and acknowledges it.
    pub async fn acknowledge_command(&mut self) -> Command {
        let CommandRequest { command, reply, .. } =
            within_timeout(self.commands.recv()).await.expect("a command comes");
        // The dashboard may have quit without waiting for the reply.
        let _ = reply.send(Ok("done".to_owned()));
        command
    }

    /// Receives the next query and answers it from the fixture.
    pub async fn answer_query(&mut self) -> Query {
        let PageRequest { query, reply } = within_timeout(self.queries.recv()).await.expect("a question comes");
        let page = fixture_page(&query);
        let _ = reply.send(Ok(page));
        query
    }
}

/// The fixture's answer to a query.
pub fn fixture_page(query: &Query) -> Page {
    match query {
        Query::Items { offset, .. } => {
            Page::Items { rows: fixture::failed_items(), matching: 7, offset: *offset, outdated: false }
        }
        Query::Samples => Page::Samples { samples: Vec::new() },
        Query::Failures { .. } => Page::Failures { groups: fixture::failure_groups(), matching: 7, outdated: false },
        Query::ExportFailures { .. } => Page::Exported { path: "failed-1.jsonl".to_owned(), rows: 7 },
        Query::Picture { .. } => Page::Picture(fixture::picture()),
        Query::Item { .. } => Page::Item(Box::new(fixture::failed_item())),
    }
}

//! Publishes snapshots to the front ends, not too often.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::domain::Snapshot;

/// Shortest time between two snapshots.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(100);
/// Longest time between two snapshots. While nothing happens, minutes and days still pass, and used quota is released.
const MAX_SNAPSHOT_AGE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct SnapshotPublisher {
    snapshot_tx: watch::Sender<Arc<Snapshot>>,
    is_dirty: bool,
    published_at: Instant,
}

impl SnapshotPublisher {
    pub fn new(snapshot_tx: watch::Sender<Arc<Snapshot>>) -> Self {
        Self { snapshot_tx, is_dirty: true, published_at: Instant::now() }
    }

    /// Records that the last snapshot is outdated.
    pub const fn mark_dirty(&mut self) {
        self.is_dirty = true;
    }

    /// When the next snapshot is due.
    pub fn due_at(&self) -> Instant {
        self.published_at + if self.is_dirty { PUBLISH_INTERVAL } else { MAX_SNAPSHOT_AGE }
    }

    pub fn publish(&mut self, snapshot: Snapshot) {
        // The send fails only if there is no front end.
        let _ = self.snapshot_tx.send(Arc::new(snapshot));
        self.is_dirty = false;
        self.published_at = Instant::now();
    }
}

//! Publishes snapshots to the front ends, not too often.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::domain::Snapshot;

/// Shortest time between two snapshots.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(100);
/// The time between two snapshots, as a multiple of the time that one takes. A fleet of a thousand routes makes large
/// ones, which would cost more than the items of a slow run.
const BUILD_TIMES_BETWEEN: u32 = 100;
/// Longest time between two snapshots, however long one takes, while anything happens.
const MAX_PUBLISH_INTERVAL: Duration = Duration::from_millis(500);
/// Longest time between two snapshots. While nothing happens, minutes and days still pass, and used quota is released.
const MAX_SNAPSHOT_AGE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct SnapshotPublisher {
    snapshot_tx: watch::Sender<Arc<Snapshot>>,
    is_dirty: bool,
    published_at: Instant,
    /// Time until the next snapshot, if anything happens.
    interval: Duration,
}

impl SnapshotPublisher {
    pub fn new(snapshot_tx: watch::Sender<Arc<Snapshot>>) -> Self {
        Self { snapshot_tx, is_dirty: true, published_at: Instant::now(), interval: PUBLISH_INTERVAL }
    }

    /// Records that the last snapshot is outdated.
    pub const fn mark_dirty(&mut self) {
        self.is_dirty = true;
    }

    /// When the next snapshot is due.
    pub fn due_at(&self) -> Instant {
        self.published_at + if self.is_dirty { self.interval } else { MAX_SNAPSHOT_AGE }
    }

    /// Publishes a snapshot that took `build_time` to make.
    pub fn publish(&mut self, snapshot: Snapshot, build_time: Duration) {
        // The send fails only if there is no front end.
        let _ = self.snapshot_tx.send(Arc::new(snapshot));
        self.is_dirty = false;
        self.published_at = Instant::now();
        self.interval = interval_after(build_time);
    }
}

/// The shortest time until the snapshot after one that took `build_time` to make.
fn interval_after(build_time: Duration) -> Duration {
    build_time.saturating_mul(BUILD_TIMES_BETWEEN).clamp(PUBLISH_INTERVAL, MAX_PUBLISH_INTERVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_snapshots_are_published_less_often() {
        let interval_ms = |build_us| interval_after(Duration::from_micros(build_us)).as_millis();
        assert_eq!([0, 40, 1_000, 3_000, 9_000].map(interval_ms), [100, 100, 100, 300, 500]);
    }
}

//! Commits groups of ops to `run.db` as transactions, and keeps results.jsonl up to date with it.
//!
//! A transaction changes the database and the store's memory together: its changes in memory are taken over after the
//! commit. `durability` says when a commit is on the disk.

use std::time::{Duration, Instant};

use rusqlite::{Transaction, TransactionBehavior};
use tokio::sync::mpsc;

use super::{
    apply::apply,
    counters::RunCounters,
    error::StoreError,
    op::{Ack, Op, OpReply},
    open::Store,
    results_check::ResultsCheck,
    results_file::{MatchPoint, ResultsFile},
    row::{ConfiguredRoutes, RouteName},
    txn::Txn,
    writer::{GroupWriter, StoreBackend},
};

/// Time between two checks that results.jsonl is still the file that is written to.
const RESULTS_CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// The writer of a run's directory.
pub type StoreWriter = GroupWriter<Store>;

impl StoreBackend for Store {
    fn commit(&mut self, ops: &[Op]) -> Result<Vec<OpReply>, StoreError> {
        self.wal_syncer.ensure_no_failed_sync()?;
        // While the results file lags behind the database, nothing more is recorded.
        self.results_file.catch_up(&self.conn)?;
        self.transact(|txn| ops.iter().try_for_each(|op| apply(txn, op)))
    }

    /// Appends to the results file. Waits for the sync of a commit that is unsynced for too long, and truncates a long
    /// WAL.
    fn finish_commit(&mut self) -> Result<(), StoreError> {
        if self.last_results_check.elapsed() >= RESULTS_CHECK_INTERVAL {
            self.rebuild_results_if_replaced()?;
        }
        let bytes = std::mem::take(&mut self.unwritten_result_bytes);
        if self.results_check.as_ref().is_some_and(ResultsCheck::is_finished) {
            // If the file was cut back, these lines are added with the others.
            self.finish_results_check()?;
        }
        if self.results_file.match_point().last_row < self.counters.last_result_row {
            self.results_file.append(&bytes, self.counters.last_result_row)?;
        }
        self.wal_syncer.sync_if_due()?;
        self.wal_syncer.truncate_if_due(&self.conn)
    }

    fn sync_due_in(&self) -> Option<Duration> {
        self.wal_syncer.sync_due_in()
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.wal_syncer.sync()
    }

    /// Flushes the results file and the database to the disk and truncates the WAL.
    fn flush_all(&mut self) -> Result<(), StoreError> {
        self.wal_syncer.ensure_no_failed_sync()?;
        self.rebuild_results_if_replaced()?;
        self.finish_results_check()?;
        self.results_file.catch_up(&self.conn)?;
        self.results_file
            .sync()
            .map_err(|error| self.wal_syncer.record_failure(self.dir.results(), &error.to_string()))?;
        self.wal_syncer.sync()?;
        self.wal_syncer.stop_thread();
        self.wal_syncer.truncate(&self.conn)
    }
}

impl Store {
    /// Moves the store to the writing thread. `routes` are the configuration's, in its order; intents refer to them by
    /// index.
    ///
    /// # Errors
    /// If the routes can't be recorded or a thread can't be started.
    pub fn into_writer(mut self, routes: &[RouteName]) -> Result<(StoreWriter, mpsc::Receiver<Ack>), StoreError> {
        let ids = self.register_routes(routes)?;
        let names = ids.iter().copied().zip(routes.iter().cloned()).collect();
        self.routes = ConfiguredRoutes { ids, names };
        if let Some(end) = self.trusted_results {
            self.results_check = Some(ResultsCheck::start(&self.dir, &self.results_file, end)?);
        }
        self.wal_syncer.start_thread()?;
        let dir = self.dir.path().to_owned();
        GroupWriter::start(self).map_err(|error| StoreError::file("start the thread that writes to", dir, error))
    }

    /// Runs `write` in a transaction. On success, takes over its in-memory changes; on failure, rolls everything back.
    pub(super) fn transact(
        &mut self,
        write: impl FnOnce(&mut Txn<'_>) -> Result<(), StoreError>,
    ) -> Result<Vec<OpReply>, StoreError> {
        self.wal_syncer.ensure_no_failed_sync()?;
        let run_transaction = || {
            let transaction = Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate)?;
            let written_results = Some(self.results_file.match_point());
            let counters = RunCounters { written_results, ..self.counters.clone() };
            let mut txn = Txn::new(
                &transaction,
                counters,
                &self.open_intents,
                &self.routing_traits,
                &self.routes,
                &self.route_sums,
            );
            txn.rules = &self.rules;
            write(&mut txn)?;
            let memory_changes = txn.finish()?;
            transaction.commit()?;
            Ok(memory_changes)
        };
        let committed = run_transaction().map_err(|error: StoreError| error.with_path(self.dir.database()));
        let memory_changes = committed.map_err(|error| self.wal_syncer.record_if_sync_failure(error))?;
        self.wal_syncer.note_commit(&self.conn);
        self.counters = memory_changes.counters;
        self.open_intents.apply(memory_changes.intents);
        self.route_sums.apply(&memory_changes.sums);
        self.routing_traits.extend(memory_changes.new_traits);
        self.unwritten_result_bytes.extend_from_slice(&memory_changes.result_bytes);
        Ok(memory_changes.replies)
    }

    /// Rebuilds the results file from the database if it was removed, moved or replaced.
    fn rebuild_results_if_replaced(&mut self) -> Result<(), StoreError> {
        self.last_results_check = Instant::now();
        if !self.results_file.is_in_place() {
            let path = self.dir.results();
            tracing::warn!(
                "{} was removed or replaced during the run; it is written again from the database",
                path.display()
            );
            self.results_file = ResultsFile::rebuild(&self.dir, &self.conn)?;
            self.unwritten_result_bytes.clear();
            (self.trusted_results, self.results_check) = (None, None);
        }
        Ok(())
    }

    /// Waits for the comparison of the part of results.jsonl that the start trusted. If it differs from the database, it
    /// is cut at the first difference and completed.
    fn finish_results_check(&mut self) -> Result<(), StoreError> {
        let Some(check) = self.results_check.take() else { return Ok(()) };
        if let Some(point) = check.finish()? {
            let MatchPoint { length, .. } = point;
            let path = self.dir.results();
            tracing::warn!(
                "{} differed from the database from byte {length} on; it is written again from there",
                path.display()
            );
            self.results_file.cut_back(point);
            self.results_file.catch_up(&self.conn)?;
        }
        self.trusted_results = None;
        Ok(())
    }

    /// Removes superseded lines (of items that were requeued) from the database and the file. Returns their number.
    /// Does nothing if there are none.
    ///
    /// It may be killed at any point. Before the commit nothing has changed. After the commit the table holds one line
    /// per id, and the old file differs from it. The commit also takes back how far the file was written, so the next
    /// start compares them from the first byte, cuts the file at the first difference and completes it. The rename
    /// replaces the file in one step. A half-written `results.jsonl.new` is removed at the next start.
    ///
    /// # Errors
    /// If the database or the file can't be written. A retry may succeed, unless a sync has failed.
    pub fn compact_results(&mut self) -> Result<u64, StoreError> {
        self.wal_syncer.ensure_no_failed_sync()?;
        self.finish_results_check()?;
        self.results_file.catch_up(&self.conn)?;
        let removed = self.delete_superseded().map_err(|error| error.with_path(self.dir.database()))?;
        if removed > 0 {
            self.results_file = ResultsFile::rebuild(&self.dir, &self.conn)?;
            self.transact(|_| Ok(()))?;
            // A sync that fails while the database is closed would not be reported, so the WAL is truncated now.
            self.wal_syncer.truncate(&self.conn)?;
        }
        Ok(removed)
    }

    fn delete_superseded(&mut self) -> Result<u64, StoreError> {
        let transaction = self.conn.transaction()?;
        let removed = transaction.execute("DELETE FROM result_rows WHERE n IN (SELECT n FROM superseded)", [])?;
        transaction.execute("DELETE FROM superseded", [])?;
        RunCounters { written_results: None, ..self.counters.clone() }.save(&transaction)?;
        transaction.commit()?;
        Ok(removed as u64)
    }
}

#[cfg(test)]
impl Store {
    /// Makes every sync of the WAL fail, starting after the next commit.
    pub fn break_syncs(&mut self) {
        self.wal_syncer.break_syncs();
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::{
        domain::{Outcome, Seq},
        store::{LocalEnd, PinnedSettings, RunDir},
    };

    fn end_unreadable_item(seq: u64) -> Op {
        let (outcome, id) = (Outcome::UnreadableInput, format!("item {seq}"));
        let line = serde_json::from_value(serde_json::json!({
            "id": id, "status": "failed", "error": { "outcome": outcome, "message": "no such file" },
            "usage": { "input_tokens": 0, "output_tokens": 0, "thinking_tokens": 0 }, "cost_usd": 0.0,
            "latency_ms": 0, "attempts": 0, "finished_at": "2026-11-21T09:00:00.000Z", "request_hash": "",
        }));
        Op::EndLocally(Box::new(LocalEnd { seq: Seq(seq), outcome, line: line.unwrap() }))
    }

    #[test]
    fn a_full_disk_under_the_results_file_keeps_the_commit_and_blocks_the_next() {
        let home = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(&RunDir::new(home.path()), &PinnedSettings::default()).unwrap();
        store.commit(&[Op::ingest_numbered(1..=3)]).unwrap();
        store.finish_commit().unwrap();

        let full_device = File::options().append(true).open("/dev/full").unwrap();
        let good_file = store.results_file.redirect(full_device);
        store.commit(&[end_unreadable_item(1)]).unwrap();
        assert!(store.finish_commit().unwrap_err().is_disk_full());
        assert_eq!(store.counters.load_totals(&store.conn).unwrap().failed, 1, "what is committed stays");
        assert!(store.commit(&[end_unreadable_item(2)]).is_err(), "but nothing more is, that could not be shown");
        assert_eq!(store.counters.load_totals(&store.conn).unwrap().failed, 1);

        store.results_file.redirect(good_file);
        store.commit(&[end_unreadable_item(2)]).unwrap();
        store.finish_commit().unwrap();
        let shown = std::fs::read_to_string(home.path().join("results.jsonl")).unwrap();
        let ids: Vec<_> = shown.lines().map(|line| line.split('"').nth(3)).collect();
        assert_eq!(ids, [Some("item 1"), Some("item 2")]);
    }

    #[test]
    fn a_group_that_does_not_fit_is_rolled_back_and_can_be_committed_later() {
        let home = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(&RunDir::new(home.path()), &PinnedSettings::default()).unwrap();
        let ops = [Op::ingest_numbered(1..=200)];
        let set_max_pages = |store: &Store, pages: i64| {
            store.conn.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
        };

        set_max_pages(&store, 30);
        let error = store.commit(&ops).unwrap_err();
        assert!(error.is_disk_full(), "{error}");
        assert_eq!((store.counters.items, store.routing_traits.len()), (0, 0), "nothing of it is left in memory");
        set_max_pages(&store, 1 << 30);
        assert!(matches!(&store.commit(&ops).unwrap()[..], [OpReply::Ingested(all)] if all.added.len() == 200));
        assert_eq!(store.counters.load_totals(&store.conn).unwrap().waiting, 200);
    }
}

//! Commits groups of ops as transactions and makes them durable.
//!
//! A commit writes SQLite's write-ahead log (WAL) and does not wait for the disk. If the process is killed, nothing is
//! lost, since the operating system still has the data. Only a power cut could lose it, so the WAL is also synced. If the
//! last sync is at least [`SYNC_INTERVAL`] ago, a commit is synced before it is acknowledged. Otherwise the WAL is synced
//! that long after the oldest commit that isn't synced yet. So a power cut loses at most the commits of the last 50 ms,
//! plus the time that a running commit or sync takes. This is SQLite's `synchronous=FULL` with a limited rate. The
//! intervals are real time, whatever clock the run uses.
//!
//! A failed sync is final: the system may have dropped the data that it could not write, and may report the next sync
//! of the same file as a success. After that nothing is committed, synced or acknowledged, and the next start checks
//! the database.

use std::{
    fs::File,
    io::{self, Write as _},
    path::PathBuf,
    time::{Duration, Instant},
};

use rusqlite::{Transaction, TransactionBehavior, config::DbConfig};

use super::{
    apply::apply,
    error::StoreError,
    op::{Op, OpReply},
    open::Store,
    results_file::ResultsFile,
    run_dir::{self, RunDir},
    txn::Txn,
};

/// Maximum time that an acknowledged commit stays unsynced.
const SYNC_INTERVAL: Duration = Duration::from_millis(50);
/// Length of the WAL, in pages of 4 KiB, from which a commit moves it into the database.
const CHECKPOINT_PAGES: i64 = 4_000;
/// Size in bytes beyond which the WAL is truncated. SQLite reuses its space from the start when no reader needs it.
const MAX_WAL_BYTES: u64 = 64 << 20;
/// How long a truncation of the WAL waits for readers.
pub(super) const WAL_TRUNCATE_TIMEOUT: Duration = Duration::from_millis(200);
/// Minimum time between two truncations of the WAL.
const WAL_TRUNCATE_INTERVAL: Duration = Duration::from_secs(2);
/// Time between two checks that results.jsonl is still the file that is written to.
const RESULTS_CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// Tracks which commits are on the disk, and syncs the WAL.
///
/// It has a file descriptor of its own for the WAL: a sync through any descriptor syncs the file, and SQLite holds no
/// lock on the WAL that closing this descriptor could drop. The file stays the same as long as a connection is open.
#[derive(Debug)]
pub(super) struct WalSyncer {
    wal: File,
    /// Time of the first commit that is not known to be on the disk.
    dirty_since: Option<Instant>,
    last_sync: Instant,
    last_truncate: Instant,
    /// The first sync that failed, if any.
    failed_sync: Option<FailedSync>,
}

#[derive(Debug)]
struct FailedSync {
    path: PathBuf,
    reason: String,
    has_marker_file: bool,
}

impl FailedSync {
    fn to_error(&self) -> StoreError {
        let Self { path, reason, has_marker_file } = self;
        StoreError::SyncFailed { path: path.clone(), reason: reason.clone(), has_marker_file: *has_marker_file }
    }
}

impl WalSyncer {
    /// Opens the WAL. It exists once the open database has been read or written.
    pub fn new(dir: &RunDir) -> Result<Self, StoreError> {
        let wal = File::open(dir.wal()).map_err(|error| StoreError::file("open", dir.wal(), error))?;
        let now = Instant::now();
        Ok(Self { wal, dirty_since: None, last_sync: now, last_truncate: now, failed_sync: None })
    }

    /// Time until the next sync is due; `None` if everything is synced.
    pub fn sync_due_in(&self) -> Option<Duration> {
        self.dirty_since.map(|since| SYNC_INTERVAL.saturating_sub(since.elapsed()))
    }

    fn sync(&mut self) -> io::Result<()> {
        self.last_sync = Instant::now();
        if self.dirty_since.is_some() {
            self.wal.sync_data()?;
            self.dirty_since = None;
        }
        Ok(())
    }

    /// Fails if a sync has failed.
    fn ensure_no_failed_sync(&self) -> Result<(), StoreError> {
        self.failed_sync.as_ref().map_or(Ok(()), |failed| Err(failed.to_error()))
    }

    /// True if the WAL is longer than [`MAX_WAL_BYTES`] and was not truncated recently.
    fn is_truncation_due(&self) -> bool {
        self.last_truncate.elapsed() > WAL_TRUNCATE_INTERVAL
            && self.wal.metadata().is_ok_and(|wal| wal.len() > MAX_WAL_BYTES)
    }
}

impl Store {
    /// Commits a group of ops as one transaction, or changes nothing.
    pub(super) fn commit(&mut self, ops: &[Op]) -> Result<Vec<OpReply>, StoreError> {
        self.wal_syncer.ensure_no_failed_sync()?;
        // While the results file lags behind the database, nothing more is recorded.
        self.results_file.catch_up(&self.conn)?;
        self.transact(|txn| ops.iter().try_for_each(|op| apply(txn, op)))
    }

    /// Runs `write` in a transaction. On success, takes over its in-memory changes; on failure, rolls everything back.
    pub(super) fn transact(
        &mut self,
        write: impl FnOnce(&mut Txn<'_>) -> Result<(), StoreError>,
    ) -> Result<Vec<OpReply>, StoreError> {
        self.wal_syncer.ensure_no_failed_sync()?;
        let run_transaction = || {
            let transaction = Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate)?;
            let mut txn = Txn::new(&transaction, self.counters.clone(), &self.routing_traits, &self.route_ids);
            txn.rules = &self.rules;
            write(&mut txn)?;
            let memory_changes = txn.finish()?;
            transaction.commit()?;
            Ok(memory_changes)
        };
        let committed = run_transaction().map_err(|error: StoreError| error.with_path(self.dir.database()));
        let memory_changes = committed.map_err(|error| self.record_if_sync_failure(error))?;
        self.wal_syncer.dirty_since.get_or_insert_with(Instant::now);
        self.counters = memory_changes.counters;
        self.routing_traits.extend(memory_changes.new_traits);
        self.unwritten_result_bytes.extend_from_slice(&memory_changes.result_bytes);
        self.checkpoint_if_due()?;
        Ok(memory_changes.replies)
    }

    /// Moves a long WAL into the database, as far as readers allow. Only a failed sync is returned as an error. After
    /// other errors a later commit tries again.
    fn checkpoint_if_due(&mut self) -> Result<(), StoreError> {
        // Returns the length of the WAL in pages.
        let run_checkpoint = |mode: &str| -> rusqlite::Result<i64> {
            self.conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get(1))
        };
        let checkpoint_if_long = || {
            // This mode moves nothing.
            if run_checkpoint("NOOP")? >= CHECKPOINT_PAGES {
                run_checkpoint("PASSIVE")?;
            }
            Ok(())
        };
        let result = checkpoint_if_long();
        match result.map_err(|error: rusqlite::Error| StoreError::from(error).with_path(self.dir.database())) {
            Err(error) if error.is_sqlite_sync_failure() => Err(self.record_if_sync_failure(error)),
            _ => Ok(()),
        }
    }

    /// Records `error` as final if it is a failed sync; returns other errors unchanged.
    fn record_if_sync_failure(&mut self, error: StoreError) -> StoreError {
        if error.is_sqlite_sync_failure() {
            self.record_sync_failure(self.dir.database(), error.to_string())
        } else {
            error
        }
    }

    /// Records a failed sync: nothing more is committed or synced. Writes a marker file that makes the next start check
    /// the database.
    fn record_sync_failure(&mut self, path: PathBuf, reason: String) -> StoreError {
        let write_marker_file = || {
            let mut file = run_dir::private_options().open(self.dir.sync_failure_marker())?;
            file.write_all(reason.as_bytes())?;
            file.sync_all()?;
            File::open(self.dir.path())?.sync_all()
        };
        let has_marker_file = write_marker_file().is_ok();
        // Without this setting, closing would move the WAL into the database as if all its pages were intact.
        if let Err(error) = self.conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true) {
            tracing::warn!("closing the run's database may checkpoint its write-ahead log: {error}");
        }
        let failed = self.wal_syncer.failed_sync.insert(FailedSync { path, reason, has_marker_file });
        failed.to_error()
    }

    /// Work after a commit that can't undo it: appends to the results file, and syncs and truncates the WAL if due.
    pub(super) fn finish_commit(&mut self) -> Result<(), StoreError> {
        if self.last_results_check.elapsed() >= RESULTS_CHECK_INTERVAL {
            self.rebuild_results_if_replaced()?;
        }
        let bytes = std::mem::take(&mut self.unwritten_result_bytes);
        self.results_file.append(&bytes, self.counters.last_result_row)?;
        if self.wal_syncer.last_sync.elapsed() >= SYNC_INTERVAL {
            self.sync()?;
        }
        if self.wal_syncer.is_truncation_due() {
            self.truncate_wal(WAL_TRUNCATE_TIMEOUT)?;
        }
        Ok(())
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
        }
        Ok(())
    }

    /// Fails if a sync has failed.
    pub(super) fn ensure_no_failed_sync(&self) -> Result<(), StoreError> {
        self.wal_syncer.ensure_no_failed_sync()
    }

    pub(super) fn sync(&mut self) -> Result<(), StoreError> {
        self.wal_syncer.ensure_no_failed_sync()?;
        self.wal_syncer.sync().map_err(|error| self.record_sync_failure(self.dir.wal(), error.to_string()))
    }

    /// Moves the WAL into the database and truncates it. Waits at most `timeout` for readers; a busy reader is no
    /// error.
    pub(super) fn truncate_wal(&mut self, timeout: Duration) -> Result<(), StoreError> {
        self.wal_syncer.last_truncate = Instant::now();
        let truncate = || -> rusqlite::Result<()> {
            self.conn.busy_timeout(timeout)?;
            let outcome = self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            self.conn.busy_timeout(super::connect::BUSY_TIMEOUT)?;
            outcome
        };
        let truncated = truncate().map_err(|error| StoreError::from(error).with_path(self.dir.database()));
        truncated.map_err(|error| self.record_if_sync_failure(error))
    }

    /// Flushes the results file and the database to the disk and truncates the WAL. Called at the end of a process's
    /// work on the run, before the store is closed.
    pub(super) fn flush_all(&mut self) -> Result<(), StoreError> {
        self.wal_syncer.ensure_no_failed_sync()?;
        self.rebuild_results_if_replaced()?;
        self.results_file.catch_up(&self.conn)?;
        self.results_file.sync().map_err(|error| self.record_sync_failure(self.dir.results(), error.to_string()))?;
        self.sync()?;
        self.truncate_wal(WAL_TRUNCATE_TIMEOUT)
    }
}

#[cfg(test)]
impl Store {
    /// Makes every sync of the WAL fail, starting after the next commit. `/dev/full` can be opened but not synced.
    pub fn break_syncs(&mut self) {
        self.wal_syncer.wal = File::options().write(true).open("/dev/full").expect("a device that every Linux has");
        self.wal_syncer.last_sync = Instant::now().checked_sub(SYNC_INTERVAL).expect("the machine has run so long");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{ItemSpec, Outcome, Request, Seq},
        store::{LocalEnd, PinnedSettings},
    };

    fn ingest_items(lines: std::ops::RangeInclusive<u64>) -> Op {
        let spec = |line| ItemSpec {
            id: format!("item {line}"),
            request: Request::from_prompt("A question. ".repeat(50)),
            request_hash: format!("{line:032x}"),
            line,
            preferred_model: None,
            tier: None,
            max_usd: None,
            rule_fields: std::collections::BTreeMap::new(),
            caption_path: None,
            picture_stamp: None,
        };
        Op::IngestItems(lines.map(spec).collect())
    }

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
        store.commit(&[ingest_items(1..=3)]).unwrap();
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
        let ops = [ingest_items(1..=200)];
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

    /// A store with one item after a failed sync. Its WAL can be synced again.
    fn open_with_failed_sync(home: &tempfile::TempDir) -> Store {
        let (mut store, _) = Store::open(&RunDir::new(home.path()), &PinnedSettings::default()).unwrap();
        store.commit(&[ingest_items(1..=1)]).unwrap();
        let good_wal = store.wal_syncer.wal.try_clone().unwrap();
        store.break_syncs();
        let error = store.finish_commit().unwrap_err();
        assert!(error.is_final(), "{error}");
        let message = error.to_string();
        assert!(message.contains("run.db-wal") && message.contains("the next start checks the record"), "{message}");
        store.wal_syncer.wal = good_wal;
        store
    }

    #[test]
    fn nothing_is_committed_or_synced_after_a_failed_sync_even_if_the_disk_works_again() {
        let home = tempfile::tempdir().unwrap();
        let mut store = open_with_failed_sync(&home);
        assert!(store.commit(&[ingest_items(2..=2)]).unwrap_err().is_final());
        assert!(store.sync().unwrap_err().is_final());
        assert!(store.flush_all().unwrap_err().is_final());
        assert!(store.compact_results().unwrap_err().is_final());
        let wal = store.dir.wal();
        drop(store);
        assert!(wal.metadata().unwrap().len() > 0, "closing moves nothing into the database");
    }

    #[test]
    fn the_start_after_a_failed_sync_checks_the_record() {
        let home = tempfile::tempdir().unwrap();
        let dir = RunDir::new(home.path());
        drop(open_with_failed_sync(&home));
        let (store, opened) = Store::open(&dir, &PinnedSettings::default()).unwrap();
        assert!(opened.failed_sync.is_some_and(|reason| !reason.is_empty()));
        assert_eq!(opened.totals.total, 1);
        drop(store);
        let (_, opened) = Store::open(&dir, &PinnedSettings::default()).unwrap();
        assert_eq!(opened.failed_sync, None, "once");
    }

    #[test]
    fn a_missing_results_file_is_rebuilt_after_a_failed_sync() {
        let home = tempfile::tempdir().unwrap();
        let dir = RunDir::new(home.path());
        drop(open_with_failed_sync(&home));
        std::fs::remove_file(dir.results()).unwrap();
        let (_store, opened) = Store::open(&dir, &PinnedSettings::default()).unwrap();
        assert!(opened.failed_sync.is_some());
        assert!(dir.results().exists());
    }

    #[test]
    fn a_database_damaged_by_a_failed_sync_is_refused_with_the_violation() {
        let home = tempfile::tempdir().unwrap();
        let dir = RunDir::new(home.path());
        drop(open_with_failed_sync(&home));
        let conn = rusqlite::Connection::open(dir.database()).unwrap();
        conn.execute("UPDATE progress SET state = 1", []).unwrap();
        drop(conn);
        for _ in 0..2 {
            let message = Store::open(&dir, &PinnedSettings::default()).unwrap_err().to_string();
            assert!(message.contains("item 1") && message.contains("cascadeck audit"), "{message}");
        }
    }

    #[test]
    fn a_sync_that_fails_inside_sqlite_is_final_too() {
        let home = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(&RunDir::new(home.path()), &PinnedSettings::default()).unwrap();
        let sqlite_failure =
            |code| StoreError::from(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None));
        assert!(!store.record_if_sync_failure(sqlite_failure(rusqlite::ffi::SQLITE_IOERR_WRITE)).is_final());
        store.commit(&[]).unwrap();
        assert!(store.record_if_sync_failure(sqlite_failure(rusqlite::ffi::SQLITE_IOERR_FSYNC)).is_final());
        assert!(store.commit(&[]).unwrap_err().is_final());
    }

    #[test]
    fn a_long_wal_is_moved_into_the_database() {
        let home = tempfile::tempdir().unwrap();
        let dir = RunDir::new(home.path());
        let (mut store, _) = Store::open(&dir, &PinnedSettings::default()).unwrap();
        for _ in 0..40 {
            store.commit(&[Op::SetState { name: "large".to_owned(), json: "x".repeat(1 << 20) }]).unwrap();
        }
        let length = dir.wal().metadata().unwrap().len();
        assert!(length < 20 << 20, "40 MiB were written, the WAL has {length} bytes");
    }

    #[test]
    fn a_commit_is_synced_at_once_or_soon() {
        let home = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(&RunDir::new(home.path()), &PinnedSettings::default()).unwrap();
        let instant_before = |span| Instant::now().checked_sub(span).unwrap();
        store.sync().unwrap();
        assert_eq!(store.wal_syncer.sync_due_in(), None, "nothing to sync");

        store.wal_syncer.last_sync = Instant::now() + SYNC_INTERVAL;
        store.commit(&[]).unwrap();
        store.finish_commit().unwrap();
        assert!(store.wal_syncer.sync_due_in().is_some_and(|wait| wait <= SYNC_INTERVAL), "soon after another");

        store.wal_syncer.last_sync = instant_before(SYNC_INTERVAL);
        store.commit(&[]).unwrap();
        store.finish_commit().unwrap();
        assert_eq!(store.wal_syncer.sync_due_in(), None, "at once after a pause, before it is acknowledged");
    }
}

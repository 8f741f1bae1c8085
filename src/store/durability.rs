//! Makes commits durable: syncs, moves and truncates SQLite's write-ahead log (WAL).
//!
//! A commit writes the WAL and does not wait for the disk. If the process is killed, nothing is lost, since the operating
//! system still has the data. Only a power cut could lose it, so the WAL is also synced. If the last sync is at least
//! [`SYNC_INTERVAL`] ago, a commit is synced before it is acknowledged. Otherwise the WAL is synced that long after the
//! oldest commit that isn't synced yet. So a power cut loses at most the commits of the last 50 ms, plus the time that a
//! running commit or sync takes. This is SQLite's `synchronous=FULL` with a limited rate. The intervals are real time,
//! whatever clock the run uses.
//!
//! A failed sync is final: the system may have dropped the data that it could not write, and may report the next sync
//! of the same file as a success. After that nothing is committed, synced or acknowledged, and the next start checks
//! the database.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::PathBuf,
    time::{Duration, Instant},
};

use rusqlite::{Connection, config::DbConfig};

use super::{
    connect::BUSY_TIMEOUT,
    error::StoreError,
    run_dir::{self, RunDir},
};

/// Maximum time that an acknowledged commit stays unsynced.
const SYNC_INTERVAL: Duration = Duration::from_millis(50);
/// Length of the WAL, in pages of 4 KiB, from which a commit moves it into the database.
const CHECKPOINT_PAGES: i64 = 4_000;
/// Size in bytes beyond which the WAL is truncated. SQLite reuses its space from the start when no reader needs it.
const MAX_WAL_BYTES: u64 = 64 << 20;
/// How long a truncation of the WAL waits for readers.
const WAL_TRUNCATE_TIMEOUT: Duration = Duration::from_millis(200);
/// Minimum time between two truncations of the WAL.
const WAL_TRUNCATE_INTERVAL: Duration = Duration::from_secs(2);

/// Tracks which commits are on the disk, and syncs the WAL.
///
/// It has a file descriptor of its own for the WAL: a sync through any descriptor syncs the file, and SQLite holds no
/// lock on the WAL that closing this descriptor could drop. The file stays the same as long as a connection is open.
/// Methods that take a connection expect the one that writes.
#[derive(Debug)]
pub(super) struct WalSyncer {
    dir: RunDir,
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
        Ok(Self { dir: dir.clone(), wal, dirty_since: None, last_sync: now, last_truncate: now, failed_sync: None })
    }

    /// Fails if a sync has failed.
    pub fn ensure_no_failed_sync(&self) -> Result<(), StoreError> {
        self.failed_sync.as_ref().map_or(Ok(()), |failed| Err(failed.to_error()))
    }

    /// Notes that a transaction was committed, so that the WAL is synced in time.
    pub fn note_commit(&mut self) {
        self.dirty_since.get_or_insert_with(Instant::now);
    }

    /// Time until the next sync is due; `None` if everything is synced.
    pub fn sync_due_in(&self) -> Option<Duration> {
        self.dirty_since.map(|since| SYNC_INTERVAL.saturating_sub(since.elapsed()))
    }

    /// Syncs the WAL if the last sync is at least [`SYNC_INTERVAL`] ago.
    pub fn sync_if_due(&mut self, conn: &Connection) -> Result<(), StoreError> {
        if self.last_sync.elapsed() >= SYNC_INTERVAL { self.sync(conn) } else { Ok(()) }
    }

    /// Syncs the WAL if a commit in it is not known to be on the disk.
    pub fn sync(&mut self, conn: &Connection) -> Result<(), StoreError> {
        self.ensure_no_failed_sync()?;
        self.sync_wal().map_err(|error| self.record_failure(conn, self.dir.wal(), error.to_string()))
    }

    fn sync_wal(&mut self) -> io::Result<()> {
        self.last_sync = Instant::now();
        if self.dirty_since.is_some() {
            self.wal.sync_data()?;
            self.dirty_since = None;
        }
        Ok(())
    }

    /// Moves a long WAL into the database, as far as readers allow. Only a failed sync is returned as an error. After
    /// other errors a later commit tries again.
    pub fn checkpoint_if_due(&mut self, conn: &Connection) -> Result<(), StoreError> {
        // Returns the length of the WAL in pages.
        let run_checkpoint = |mode: &str| -> rusqlite::Result<i64> {
            conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get(1))
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
            Err(error) if error.is_sqlite_sync_failure() => Err(self.record_if_sync_failure(conn, error)),
            _ => Ok(()),
        }
    }

    /// Truncates the WAL if it is longer than [`MAX_WAL_BYTES`] and was not truncated recently.
    pub fn truncate_if_due(&mut self, conn: &Connection) -> Result<(), StoreError> {
        let is_due = self.last_truncate.elapsed() > WAL_TRUNCATE_INTERVAL
            && self.wal.metadata().is_ok_and(|wal| wal.len() > MAX_WAL_BYTES);
        if is_due { self.truncate(conn) } else { Ok(()) }
    }

    /// Moves the WAL into the database and truncates it. Waits at most [`WAL_TRUNCATE_TIMEOUT`] for readers; a busy
    /// reader is no error.
    pub fn truncate(&mut self, conn: &Connection) -> Result<(), StoreError> {
        self.last_truncate = Instant::now();
        let truncate = || -> rusqlite::Result<()> {
            conn.busy_timeout(WAL_TRUNCATE_TIMEOUT)?;
            let outcome = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            conn.busy_timeout(BUSY_TIMEOUT)?;
            outcome
        };
        let truncated = truncate().map_err(|error| StoreError::from(error).with_path(self.dir.database()));
        truncated.map_err(|error| self.record_if_sync_failure(conn, error))
    }

    /// Records `error` as final if it is a failed sync; returns other errors unchanged.
    pub fn record_if_sync_failure(&mut self, conn: &Connection, error: StoreError) -> StoreError {
        if error.is_sqlite_sync_failure() {
            self.record_failure(conn, self.dir.database(), error.to_string())
        } else {
            error
        }
    }

    /// Records a failed sync: nothing more is committed or synced. Writes a marker file that makes the next start check
    /// the database.
    pub fn record_failure(&mut self, conn: &Connection, path: PathBuf, reason: String) -> StoreError {
        let write_marker_file = || {
            let mut file = run_dir::private_options().open(self.dir.sync_failure_marker())?;
            file.write_all(reason.as_bytes())?;
            file.sync_all()?;
            File::open(self.dir.path())?.sync_all()
        };
        let has_marker_file = write_marker_file().is_ok();
        // Without this setting, closing would move the WAL into the database as if all its pages were intact.
        if let Err(error) = conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true) {
            tracing::warn!("closing the run's database may checkpoint its write-ahead log: {error}");
        }
        let failed = self.failed_sync.insert(FailedSync { path, reason, has_marker_file });
        failed.to_error()
    }
}

/// Returns why a sync failed in the last process, if one did. Then also drops the system's cached pages of the
/// database, since the disk may hold something else.
pub(super) fn read_failed_sync(dir: &RunDir) -> Result<Option<String>, StoreError> {
    let marker = dir.sync_failure_marker();
    let reason = match fs::read_to_string(&marker) {
        Ok(reason) => reason,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::file("read", marker, error)),
    };
    #[cfg(target_os = "linux")]
    for path in [dir.database(), dir.wal()] {
        use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
        // If the cache can't be dropped, the cached pages are checked. SQLite holds no lock yet that closing the file
        // could drop.
        if let Ok(file) = File::open(path) {
            let _ = posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
        }
    }
    Ok(Some(reason))
}

/// Removes the marker file of a failed sync, once the database was checked.
pub(super) fn remove_failed_sync(dir: &RunDir) -> Result<(), StoreError> {
    let marker = dir.sync_failure_marker();
    fs::remove_file(&marker).map_err(|error| StoreError::file("remove", marker, error))
}

#[cfg(test)]
impl WalSyncer {
    /// Makes every sync of the WAL fail, starting after the next commit. `/dev/full` can be opened but not synced.
    pub fn break_syncs(&mut self) {
        self.wal = File::options().write(true).open("/dev/full").expect("a device that every Linux has");
        self.last_sync = Instant::now().checked_sub(SYNC_INTERVAL).expect("the machine has run so long");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Op, PinnedSettings, Store, writer::StoreBackend as _};

    /// A store with one item after a failed sync. Its WAL can be synced again.
    fn open_with_failed_sync(home: &tempfile::TempDir) -> Store {
        let (mut store, _) = Store::open(&RunDir::new(home.path()), &PinnedSettings::default()).unwrap();
        store.commit(&[Op::ingest_numbered(1..=1)]).unwrap();
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
        assert!(store.commit(&[Op::ingest_numbered(2..=2)]).unwrap_err().is_final());
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
        assert!(
            !store
                .wal_syncer
                .record_if_sync_failure(&store.conn, sqlite_failure(rusqlite::ffi::SQLITE_IOERR_WRITE))
                .is_final()
        );
        store.commit(&[]).unwrap();
        assert!(
            store
                .wal_syncer
                .record_if_sync_failure(&store.conn, sqlite_failure(rusqlite::ffi::SQLITE_IOERR_FSYNC))
                .is_final()
        );
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

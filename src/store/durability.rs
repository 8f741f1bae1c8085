//! Makes commits durable: syncs, moves and truncates SQLite's write-ahead log (WAL).
//!
//! A commit writes the WAL and does not wait for the disk. If the process is killed, nothing is lost, since the
//! operating system still has the data. Only a power cut could lose it, so a thread of its own syncs the WAL, at most
//! every [`SYNC_INTERVAL`], and moves it into the database when it is long. The writing thread waits for it only if a
//! commit has been unsynced for [`MAX_UNSYNCED`]: then nothing is acknowledged until it is synced. So a power cut loses
//! at most the commits of the last 100 ms, plus the time that a running commit or sync takes. The intervals are real
//! time, whatever clock the run uses.
//!
//! A failed sync is final: the system may have dropped the data that it could not write, and may report the next sync
//! of the same file as a success. After that nothing is committed, synced or acknowledged, and the next start checks
//! the database.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rusqlite::{Connection, config::DbConfig};

use super::{
    connect::{self, BUSY_TIMEOUT},
    error::StoreError,
    run_dir::{self, RunDir},
};

/// Minimum time between the starts of two syncs.
const SYNC_INTERVAL: Duration = Duration::from_millis(50);
/// Maximum time that a commit stays unsynced before the writing thread waits for the sync.
const MAX_UNSYNCED: Duration = Duration::from_millis(100);
/// Growth of the WAL, in pages of 4 KiB, after which the thread moves it into the database.
const CHECKPOINT_PAGES: u64 = 4_000;
/// Length of the WAL, in pages, beyond which the writing thread truncates it. That is seldom needed: SQLite reuses its
/// space from the start once all of it is in the database and no reader needs it.
const MAX_WAL_PAGES: u64 = 16_000;
/// How long a truncation of the WAL waits for readers.
const WAL_TRUNCATE_TIMEOUT: Duration = Duration::from_millis(200);
/// Time until the next truncation of the WAL after one that a reader prevented.
const WAL_TRUNCATE_INTERVAL: Duration = Duration::from_secs(2);

/// Tracks which commits are on the disk.
///
/// It has a file descriptor of its own for the WAL: a sync through any descriptor syncs the file, and SQLite holds no
/// lock on the WAL that closing this descriptor could drop. The file stays the same as long as a connection is open.
/// Methods that take a connection expect the one that writes.
#[derive(Debug)]
pub(super) struct WalSyncer {
    dir: RunDir,
    wal: File,
    shared: Arc<SharedState>,
    /// Syncs the WAL; `None` while the caller does so itself.
    thread: Option<JoinHandle<()>>,
    /// Time of the last truncation if a reader prevented it.
    truncate_failed_at: Option<Instant>,
}

/// The state that the writing thread and the syncing thread share.
#[derive(Debug, Default)]
struct SharedState {
    state: Mutex<SyncState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct SyncState {
    /// Time of the first commit since the last sync began.
    dirty_since: Option<Instant>,
    /// Time of the first commit that the running sync covers; kept if the sync does not succeed.
    syncing_since: Option<Instant>,
    /// Length of the WAL at the last commit, in pages.
    wal_pages: u64,
    is_thread_running: bool,
    /// The thread is busy with a checkpoint, so the writing thread syncs itself if it must.
    is_checkpointing: bool,
    /// The first sync that failed, if any.
    failed_sync: Option<FailedSync>,
    /// The writing thread waits, so the next sync starts at once.
    is_urgent: bool,
    is_closing: bool,
}

impl SyncState {
    /// Time of the first commit that is not known to be on the disk.
    fn unsynced_since(&self) -> Option<Instant> {
        self.syncing_since.or(self.dirty_since)
    }
}

impl SharedState {
    fn lock(&self) -> MutexGuard<'_, SyncState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, SyncState>) -> MutexGuard<'a, SyncState> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn ensure_no_failed_sync(&self) -> Result<(), StoreError> {
        self.lock().failed_sync.as_ref().map_or(Ok(()), |failed| Err(failed.to_error()))
    }

    /// Notes a sync as begun. False if there is nothing to sync.
    fn begin_sync(&self) -> bool {
        let mut state = self.lock();
        let dirty_since = state.dirty_since.take();
        // A sync that did not succeed, since its thread has panicked, is made up for.
        state.syncing_since = state.syncing_since.or(dirty_since);
        state.is_urgent = false;
        state.syncing_since.is_some()
    }

    fn end_sync(&self) {
        self.lock().syncing_since = None;
        self.changed.notify_all();
    }

    /// Records a failed sync: nothing more is committed or synced. Writes a marker file that makes the next start check
    /// the database.
    fn record_failure(&self, dir: &RunDir, path: PathBuf, reason: &str) -> StoreError {
        let write_marker_file = || {
            let mut file = run_dir::private_options().open(dir.sync_failure_marker())?;
            file.write_all(reason.as_bytes())?;
            file.sync_all()?;
            File::open(dir.path())?.sync_all()
        };
        // Nothing is acknowledged from here on, also while the marker is written.
        let failed = FailedSync { path, reason: reason.to_owned(), has_marker_file: false };
        self.lock().failed_sync.get_or_insert(failed);
        self.changed.notify_all();
        let has_marker_file = write_marker_file().is_ok();
        let mut state = self.lock();
        state.failed_sync.as_mut().map_or(StoreError::Closed, |failed| {
            failed.has_marker_file |= has_marker_file;
            failed.to_error()
        })
    }
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
        Ok(Self { dir: dir.clone(), wal, shared: Arc::default(), thread: None, truncate_failed_at: None })
    }

    /// Starts the thread that syncs from now on.
    pub fn start_thread(&mut self) -> Result<(), StoreError> {
        let start_error = |error| StoreError::file("start the thread that syncs", self.dir.path(), error);
        let syncing = SyncThread {
            dir: self.dir.clone(),
            wal: self.wal.try_clone().map_err(start_error)?,
            conn: connect::open_checkpointer(&self.dir)?,
            checkpointed_pages: 0,
            shared: Arc::clone(&self.shared),
        };
        {
            let mut state = self.shared.lock();
            state.is_closing = false;
            state.is_thread_running = true;
        }
        let builder = thread::Builder::new().name("store-sync".to_owned());
        // If the thread can't be started, `syncing` is dropped, which notes that none is running.
        self.thread = Some(builder.spawn(move || syncing.run()).map_err(start_error)?);
        Ok(())
    }

    /// Ends the thread after a last sync. The caller syncs itself from now on.
    pub fn stop_thread(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.shared.lock().is_closing = true;
            self.shared.changed.notify_all();
            // The panic hook has logged a panic. What the thread has not synced, the next sync does.
            let _ = thread.join();
        }
    }

    /// Fails if a sync has failed.
    pub fn ensure_no_failed_sync(&self) -> Result<(), StoreError> {
        self.shared.ensure_no_failed_sync()
    }

    /// Notes that a transaction was committed, so that the WAL is synced in time.
    pub fn note_commit(&self, conn: &Connection) {
        // This mode moves nothing. If the length can't be read, a later commit reads it.
        let read_pages = || conn.prepare_cached("PRAGMA wal_checkpoint(NOOP)")?.query_row([], |row| row.get(1));
        let wal_pages: rusqlite::Result<u64> = read_pages();
        let mut state = self.shared.lock();
        state.wal_pages = wal_pages.unwrap_or(state.wal_pages);
        if state.dirty_since.is_none() {
            state.dirty_since = Some(Instant::now());
            self.shared.changed.notify_all();
        }
    }

    /// Time until the oldest unsynced commit must be synced; `None` if everything is.
    pub fn sync_due_in(&self) -> Option<Duration> {
        let state = self.shared.lock();
        state.unsynced_since().map(|since| MAX_UNSYNCED.saturating_sub(since.elapsed()))
    }

    /// Syncs the WAL, or waits for the thread's sync, if a commit has been unsynced for too long.
    pub fn sync_if_due(&self) -> Result<(), StoreError> {
        if self.sync_due_in().is_some_and(|wait| wait.is_zero()) { self.sync() } else { self.ensure_no_failed_sync() }
    }

    /// Makes sure that all commits are on the disk.
    pub fn sync(&self) -> Result<(), StoreError> {
        let mut state = self.shared.lock();
        while state.unsynced_since().is_some()
            && state.failed_sync.is_none()
            && state.is_thread_running
            && !state.is_checkpointing
        {
            state.is_urgent = true;
            self.shared.changed.notify_all();
            state = self.shared.wait(state);
        }
        let must_sync = state.unsynced_since().is_some() && state.failed_sync.is_none();
        drop(state);
        if must_sync && self.shared.begin_sync() {
            sync_wal(&self.wal, &self.dir, &self.shared)?;
        }
        self.ensure_no_failed_sync()
    }

    /// Truncates the WAL if it is longer than [`MAX_WAL_PAGES`] and no reader has prevented that recently.
    pub fn truncate_if_due(&mut self, conn: &Connection) -> Result<(), StoreError> {
        let has_failed = self.truncate_failed_at.is_some_and(|at| at.elapsed() < WAL_TRUNCATE_INTERVAL);
        let is_due = !has_failed && self.shared.lock().wal_pages > MAX_WAL_PAGES;
        if is_due { self.truncate(conn) } else { Ok(()) }
    }

    /// Moves the WAL into the database and truncates it. Waits at most [`WAL_TRUNCATE_TIMEOUT`] for readers; a busy
    /// reader is no error.
    pub fn truncate(&mut self, conn: &Connection) -> Result<(), StoreError> {
        let truncate = || -> rusqlite::Result<bool> {
            conn.busy_timeout(WAL_TRUNCATE_TIMEOUT)?;
            let is_busy = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
            conn.busy_timeout(BUSY_TIMEOUT)?;
            is_busy
        };
        let truncated = truncate().map_err(|error| StoreError::from(error).with_path(self.dir.database()));
        let is_busy = truncated.map_err(|error| self.record_if_sync_failure(error))?;
        self.truncate_failed_at = is_busy.then(Instant::now);
        Ok(())
    }

    /// Records `error` as final if it is a failed sync; returns other errors unchanged.
    pub fn record_if_sync_failure(&self, error: StoreError) -> StoreError {
        if error.is_sqlite_sync_failure() {
            self.record_failure(self.dir.database(), &error.to_string())
        } else {
            error
        }
    }

    /// Records a failed sync of the file at `path`.
    pub fn record_failure(&self, path: PathBuf, reason: &str) -> StoreError {
        self.shared.record_failure(&self.dir, path, reason)
    }

    /// Ends the thread. After a failed sync, also keeps SQLite from moving the WAL into the database when `conn` is
    /// closed, as if all its pages were intact.
    pub fn close(&mut self, conn: &Connection) {
        self.stop_thread();
        if self.ensure_no_failed_sync().is_err()
            && let Err(error) = conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        {
            tracing::warn!("closing the run's database may checkpoint its write-ahead log: {error}");
        }
    }
}

/// The thread that syncs the WAL and moves it into the database.
struct SyncThread {
    dir: RunDir,
    wal: File,
    /// Used for checkpoints only.
    conn: Connection,
    /// Number of the WAL's pages that are in the database, as of the last checkpoint.
    checkpointed_pages: u64,
    shared: Arc<SharedState>,
}

impl SyncThread {
    /// Syncs until the writing thread closes, or a sync fails.
    fn run(mut self) {
        let mut last_sync: Option<Instant> = None;
        while self.wait_until_due(last_sync) {
            last_sync = Some(Instant::now());
            if self.shared.begin_sync() {
                let synced = sync_wal(&self.wal, &self.dir, &self.shared).and_then(|()| self.checkpoint_if_long());
                if synced.is_err() {
                    break;
                }
            }
        }
    }

    /// Waits until a sync is due. False at the end.
    fn wait_until_due(&self, last_sync: Option<Instant>) -> bool {
        let mut state = self.shared.lock();
        loop {
            let wait = last_sync.map_or(Duration::ZERO, |last| SYNC_INTERVAL.saturating_sub(last.elapsed()));
            let at_once = wait.is_zero() || state.is_urgent || state.is_closing;
            match state.dirty_since {
                _ if state.failed_sync.is_some() => return false,
                Some(_) if at_once => return true,
                Some(_) => {
                    let waited = self.shared.changed.wait_timeout(state, wait);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                None if state.is_closing => return false,
                None => state = self.shared.wait(state),
            }
        }
    }

    /// Moves a long WAL into the database, as far as readers allow, while the writing thread goes on. Only a failed
    /// sync is an error. After other errors a later sync tries again.
    fn checkpoint_if_long(&mut self) -> Result<(), StoreError> {
        {
            let mut state = self.shared.lock();
            // A log that was truncated, or started over, is shorter than before.
            self.checkpointed_pages = self.checkpointed_pages.min(state.wal_pages);
            if state.wal_pages - self.checkpointed_pages < CHECKPOINT_PAGES {
                return Ok(());
            }
            state.is_checkpointing = true;
        }
        self.shared.changed.notify_all();
        let checkpointed = self.conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(2));
        self.shared.lock().is_checkpointing = false;
        match checkpointed.map_err(StoreError::from) {
            Ok(pages) => self.checkpointed_pages = pages,
            Err(error) if error.is_sqlite_sync_failure() => {
                return Err(self.shared.record_failure(&self.dir, self.dir.database(), &error.to_string()));
            }
            Err(_) => {}
        }
        Ok(())
    }
}

impl Drop for SyncThread {
    /// Wakes a writing thread that waits for this one, also if this one panics.
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_thread_running = false;
        state.is_checkpointing = false;
        drop(state);
        self.shared.changed.notify_all();
    }
}

/// Syncs the WAL. A failure is recorded.
fn sync_wal(wal: &File, dir: &RunDir, shared: &SharedState) -> Result<(), StoreError> {
    wal.sync_data().map_err(|error| shared.record_failure(dir, dir.wal(), &error.to_string()))?;
    shared.end_sync();
    Ok(())
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
    /// Makes every sync of the WAL fail. `/dev/full` can be opened but not synced. Call it before the thread starts.
    pub fn break_syncs(&mut self) {
        self.wal = File::options().write(true).open("/dev/full").expect("a device that every Linux has");
    }

    /// Makes all unsynced commits as old as [`MAX_UNSYNCED`].
    fn age_commits(&self) {
        let long_ago = Instant::now().checked_sub(MAX_UNSYNCED).expect("the machine has run so long");
        self.shared.lock().dirty_since = Some(long_ago);
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
        let error = store.sync().unwrap_err();
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
        assert!(!store.wal_syncer.record_if_sync_failure(sqlite_failure(rusqlite::ffi::SQLITE_IOERR_WRITE)).is_final());
        store.commit(&[]).unwrap();
        assert!(store.wal_syncer.record_if_sync_failure(sqlite_failure(rusqlite::ffi::SQLITE_IOERR_FSYNC)).is_final());
        assert!(store.commit(&[]).unwrap_err().is_final());
    }

    /// Waits at most ten seconds until `condition` holds.
    fn wait_until(condition: impl Fn() -> bool) -> bool {
        let started_at = Instant::now();
        while !condition() && started_at.elapsed() < Duration::from_secs(10) {
            thread::sleep(Duration::from_millis(5));
        }
        condition()
    }

    #[test]
    fn the_thread_moves_a_long_wal_into_the_database() {
        let home = tempfile::tempdir().unwrap();
        let dir = RunDir::new(home.path());
        let (mut store, _) = Store::open(&dir, &PinnedSettings::default()).unwrap();
        store.wal_syncer.start_thread().unwrap();
        for number in 0..20 {
            let json = number.to_string().repeat(1 << 20);
            store.commit(&[Op::SetState { name: "large".to_owned(), json }]).unwrap();
        }
        assert!(wait_until(|| dir.database().metadata().unwrap().len() > 1 << 20));
    }

    #[test]
    fn the_thread_syncs_a_commit_by_itself() {
        let home = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(&RunDir::new(home.path()), &PinnedSettings::default()).unwrap();
        store.wal_syncer.start_thread().unwrap();
        store.commit(&[]).unwrap();
        store.finish_commit().unwrap();
        assert!(wait_until(|| store.wal_syncer.sync_due_in().is_none()));
    }

    #[test]
    fn a_commit_that_stays_unsynced_for_too_long_is_waited_for() {
        let home = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(&RunDir::new(home.path()), &PinnedSettings::default()).unwrap();
        store.sync().unwrap();
        assert_eq!(store.wal_syncer.sync_due_in(), None, "nothing to sync");

        store.commit(&[]).unwrap();
        store.finish_commit().unwrap();
        assert!(store.wal_syncer.sync_due_in().is_some_and(|wait| wait <= MAX_UNSYNCED), "soon");

        store.commit(&[]).unwrap();
        store.wal_syncer.age_commits();
        store.finish_commit().unwrap();
        assert_eq!(store.wal_syncer.sync_due_in(), None, "before it is acknowledged");
    }

    #[test]
    fn if_the_thread_dies_the_writing_thread_syncs_itself() {
        let home = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(&RunDir::new(home.path()), &PinnedSettings::default()).unwrap();
        store.wal_syncer.start_thread().unwrap();
        store.commit(&[Op::ingest_numbered(1..=1)]).unwrap();
        // As after a panic in the middle of a sync.
        store.wal_syncer.stop_thread();
        store.commit(&[Op::ingest_numbered(2..=2)]).unwrap();
        assert!(store.wal_syncer.shared.begin_sync());
        assert!(store.wal_syncer.sync_due_in().is_some());
        store.sync().unwrap();
        assert_eq!(store.wal_syncer.sync_due_in(), None, "nothing that was begun and not ended is taken for synced");
    }

    #[test]
    fn a_sync_of_the_thread_that_fails_ends_the_run() {
        let home = tempfile::tempdir().unwrap();
        let dir = RunDir::new(home.path());
        let (mut store, _) = Store::open(&dir, &PinnedSettings::default()).unwrap();
        store.break_syncs();
        store.wal_syncer.start_thread().unwrap();
        store.commit(&[Op::ingest_numbered(1..=1)]).unwrap();
        assert!(wait_until(|| dir.sync_failure_marker().exists()));
        assert!(store.sync().unwrap_err().is_final());
        assert!(store.finish_commit().unwrap_err().is_final());
        assert!(store.commit(&[]).unwrap_err().is_final());
        drop(store);
        assert!(dir.wal().metadata().unwrap().len() > 0, "closing moves nothing into the database");
    }
}

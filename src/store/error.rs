//! Errors of the run's database and files, as sentences that an operator can act on.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use super::pinned_settings::SettingChange;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(
        "{} is in use by {}: one process owns a run at a time. Watch it with `cascadeck status {}`, stop that process, or choose another --run-dir",
        dir.display(), describe_holder(*holder), dir.display()
    )]
    InUse { dir: PathBuf, holder: Option<u32> },

    #[error("{} contains no run (there is no run.db in it): check the path, or start one with `cascadeck run INPUT --run-dir`", dir.display())]
    NotARun { dir: PathBuf },

    #[error("{} is not a cascadeck run's database: move it away, or choose another --run-dir", path.display())]
    ForeignDatabase { path: PathBuf },

    #[error(
        "{} was written by a newer cascadeck (its schema is version {found}, this program knows up to {known}): \
         update cascadeck to continue this run",
        path.display()
    )]
    NewerSchema { path: PathBuf, found: u32, known: u32 },

    #[error(
        "{} contains results, but there is no run.db beside it that says which run they belong to: move the file \
         away, or choose another --run-dir",
        results.display()
    )]
    OrphanedResults { results: PathBuf },

    #[error(
        "{} was started with other settings, and its answers would not be comparable:{}\nContinue with the old \
         settings, or choose another --run-dir",
        dir.display(), describe_changes(changes)
    )]
    SettingsChanged { dir: PathBuf, changes: Vec<SettingChange> },

    #[error(
        "{} is no longer the file that this run writes to: it was removed, moved or replaced during the run, and what \
         was recorded since then may be lost with it. Put it back in its place first",
        path.display()
    )]
    FileRemoved { path: PathBuf },

    #[error("can't {doing} {}: {source}{}", path.display(), io_advice(source))]
    File { doing: &'static str, path: PathBuf, source: io::Error },

    /// A sync failed. Earlier writes may be lost, and a later successful sync proves nothing.
    #[error(
        "a write to {} could not be synced to the disk: {reason}. Nothing more is sent or recorded. Check the disk \
         and the system log; {}",
        path.display(), describe_next_check(*has_marker_file, path)
    )]
    SyncFailed { path: PathBuf, reason: String, has_marker_file: bool },

    #[error(
        "a sync of the run's database failed ({reason}), and the data on the disk is now inconsistent: {}. `cascadeck \
         audit {}` lists everything. Restore the run's directory from a backup, or start over in another --run-dir",
        found.join("; "), dir.display()
    )]
    Damaged { dir: PathBuf, reason: String, found: Vec<String> },

    #[error("the run's database {} reported an error: {source}{}", path.display(), database_advice(source))]
    Database { path: PathBuf, source: rusqlite::Error },

    #[error(
        "{what} in the run's database can't be read: {source}. The file may be damaged; restore it from a backup, or \
         start over in another --run-dir"
    )]
    CorruptRecord { what: String, source: serde_json::Error },

    /// An op that contradicts the database, for example ending an item twice. This is a bug in the program. The whole
    /// group is refused, so that the database stays consistent.
    #[error(
        "a change that contradicts the run's database was rejected: {0}. This is a bug in cascadeck; \
         nothing wrong was written"
    )]
    Contradiction(String),

    #[error("the run's database is closed")]
    Closed,
}

impl StoreError {
    pub(super) fn file(doing: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::File { doing, path: path.into(), source }
    }

    pub(super) fn corrupt_record(what: impl Into<String>, source: serde_json::Error) -> Self {
        Self::CorruptRecord { what: what.into(), source }
    }

    /// Sets the full path of the database in errors of inner functions, which only say `run.db`.
    #[must_use]
    pub(super) fn with_path(self, path: impl Into<PathBuf>) -> Self {
        match self {
            Self::Database { source, .. } if source.sqlite_error_code() == Some(rusqlite::ErrorCode::NotADatabase) => {
                Self::ForeignDatabase { path: path.into() }
            }
            Self::Database { source, .. } => Self::Database { path: path.into(), source },
            other => other,
        }
    }

    /// True if SQLite failed to sync a file.
    pub(super) fn is_sqlite_sync_failure(&self) -> bool {
        use rusqlite::ffi::{SQLITE_IOERR_DIR_FSYNC, SQLITE_IOERR_FSYNC};
        let Self::Database { source, .. } = self else { return false };
        source
            .sqlite_error()
            .is_some_and(|error| matches!(error.extended_code, SQLITE_IOERR_FSYNC | SQLITE_IOERR_DIR_FSYNC))
    }

    /// True if nothing can be recorded after this error: the run ends.
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::SyncFailed { .. })
    }

    /// True if the disk or the file system caused the error. A retry may succeed, so the run is blocked until then.
    pub const fn is_disk_fault(&self) -> bool {
        matches!(self, Self::File { .. } | Self::Database { .. })
    }

    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::File { source, .. } => source.kind() == io::ErrorKind::StorageFull,
            Self::Database { source, .. } => source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull),
            _ => false,
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(source: rusqlite::Error) -> Self {
        Self::Database { path: PathBuf::from("run.db"), source }
    }
}

const FREE_SPACE_ADVICE: &str = ". Free some space: nothing is lost, and the run continues where it stopped";

fn io_advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FREE_SPACE_ADVICE,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            ". Check the permissions there, or choose another --run-dir"
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => ". Choose another --run-dir",
        _ => "",
    }
}

fn database_advice(source: &rusqlite::Error) -> &'static str {
    use rusqlite::ErrorCode;
    match source.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => FREE_SPACE_ADVICE,
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            ". Its directory and the files run.db-wal and run.db-shm beside it must be writable, on a local disk"
        }
        Some(ErrorCode::SystemIoFailure) => ". Check the disk and its file system (a full quota, a file size limit)",
        Some(ErrorCode::DatabaseCorrupt) => {
            ". Restore the run's directory from a backup, or start over in another --run-dir"
        }
        _ => "",
    }
}

/// Says how the database is checked next. Without a marker file the next start does not check it.
fn describe_next_check(has_marker_file: bool, path: &Path) -> String {
    let dir = path.parent().unwrap_or(path).display();
    if has_marker_file {
        "the next start checks the record first".to_owned()
    } else {
        format!("check the record with `cascadeck audit {dir}` before you continue")
    }
}

fn describe_holder(holder: Option<u32>) -> impl fmt::Display {
    holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

fn describe_changes(changes: &[SettingChange]) -> String {
    let lines: Vec<_> = changes.iter().map(|change| format!("\n  {change}")).collect();
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_errors_come_with_advice() {
        let io = |kind: io::ErrorKind| StoreError::file("append to", "/runs/a/results.jsonl", kind.into());
        let sql = |code| StoreError::from(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None));
        let cases = [
            (io(io::ErrorKind::StorageFull), "/runs/a/results.jsonl", "Free some space"),
            (io(io::ErrorKind::PermissionDenied), "can't append to", "another --run-dir"),
            (sql(rusqlite::ffi::SQLITE_FULL).with_path("/runs/a/run.db"), "/runs/a/run.db", "Free some space"),
            (sql(rusqlite::ffi::SQLITE_READONLY), "run.db", "must be writable"),
            (sql(rusqlite::ffi::SQLITE_IOERR), "run.db", "Check the disk"),
            (sql(rusqlite::ffi::SQLITE_CORRUPT), "run.db", "Restore"),
        ];
        for (error, what, advice) in cases {
            assert!(error.is_disk_fault());
            let words = error.to_string();
            assert!(words.contains(what) && words.contains(advice), "{words}");
        }
    }
}

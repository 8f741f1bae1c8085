//! Connections to `run.db`: one that writes and any number that only read, all with bounded memory.

use std::{io::ErrorKind, path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use super::{error::StoreError, result_line::add_result_line_function, run_dir, run_dir::RunDir, schema};

/// How long to wait for a lock. Other processes hold the database only for moments (WAL recovery, a checkpoint).
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Size in bytes that the WAL is cut back to when it starts over.
const KEPT_WAL_BYTES: i64 = 32 << 20;
const WRITER_CACHE_KIB: i64 = 8 << 10;
const READER_CACHE_KIB: i64 = 2 << 10;
const STATEMENT_CACHE_SIZE: usize = 64;

/// Opens the writing connection. Creates an empty database, readable only by its owner, if there is none.
pub(super) fn open_writer(dir: &RunDir) -> Result<Connection, StoreError> {
    let path = dir.database();
    // SQLite would create the file readable by everyone. The WAL and the shared memory file inherit this file's mode.
    // The file is created before SQLite opens it, since closing a descriptor of an open database would drop SQLite's
    // locks.
    if !path.exists() {
        run_dir::private_options().open(&path).map_err(|error| StoreError::file("create", &path, error))?;
    }
    let conn = open(dir, OpenFlags::SQLITE_OPEN_READ_WRITE, WRITER_CACHE_KIB)?;
    let add_path = |error: rusqlite::Error| StoreError::from(error).with_path(&path);
    // Checked before anything is written: the file may belong to another program.
    schema::read_version(&conn, dir).map_err(|error| error.with_path(&path))?;
    let mode: String = conn.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0)).map_err(add_path)?;
    if mode != "wal" {
        let error =
            std::io::Error::other("the file system does not support shared memory; a run needs a local file system");
        return Err(StoreError::file("use the run's database", &path, error));
    }
    let configure = || -> rusqlite::Result<()> {
        // Commits write the WAL; `durability` says when it is synced.
        conn.pragma_update(None, "synchronous", "NORMAL")?;
        // SQLite's automatic checkpoints don't report a failed sync, so the store makes its own.
        conn.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
        conn.pragma_update_and_check(None, "journal_size_limit", KEPT_WAL_BYTES, |_| Ok(()))
    };
    configure().map_err(add_path)?;
    Ok(conn)
}

/// Opens a connection for moving the write-ahead log into the database that another connection writes.
pub(super) fn open_checkpointer(dir: &RunDir) -> Result<Connection, StoreError> {
    let conn = open(dir, OpenFlags::SQLITE_OPEN_READ_WRITE, READER_CACHE_KIB)?;
    // A connection finds the log at its first read, and checkpoints nothing before that.
    schema::read_version(&conn, dir)?;
    Ok(conn)
}

/// Opens a read-only connection, in this process or another, also while the run goes on.
pub(super) fn open_reader(dir: &RunDir) -> Result<Connection, StoreError> {
    match dir.database().metadata() {
        Ok(file) if file.len() > 0 => {}
        // The directory can't be read, so it is unknown whether there is a run.
        Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Err(StoreError::file("open", dir.path(), error));
        }
        _ => return Err(StoreError::NotARun { dir: dir.path().to_owned() }),
    }
    let conn = open(dir, OpenFlags::SQLITE_OPEN_READ_ONLY, READER_CACHE_KIB)?;
    schema::check_readable(&conn, dir).map_err(|error| error.with_path(dir.database()))?;
    Ok(conn)
}

/// Runs `read` with a read-only connection to the run in `dir`.
pub(super) fn read_run<T>(
    dir: &Path,
    read: impl FnOnce(&RunDir, Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let dir = RunDir::new(dir);
    open_reader(&dir).and_then(|conn| read(&dir, conn)).map_err(|error| error.with_path(dir.database()))
}

fn open(dir: &RunDir, access: OpenFlags, cache_kib: i64) -> Result<Connection, StoreError> {
    let open_configured = || -> rusqlite::Result<Connection> {
        let conn = Connection::open_with_flags(dir.database(), access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        conn.busy_timeout(BUSY_TIMEOUT)?;
        conn.pragma_update(None, "cache_size", -cache_kib)?;
        // Query plans don't depend on bound values. Without this setting SQLite would prepare a statement again
        // whenever a parameter in a range or key constraint changes, which is at every item.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        conn.set_prepared_statement_cache_capacity(STATEMENT_CACHE_SIZE);
        add_result_line_function(&conn)?;
        Ok(conn)
    };
    open_configured().map_err(|error| StoreError::from(error).with_path(dir.database()))
}

//! The run's directory: the paths of its files, their permissions, and the lock of the process that owns it.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use super::error::StoreError;

/// Prompts and answers are private, so only the owner may read them.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory's name, which is also the run's name.
    pub fn name(&self) -> String {
        let name = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
        name.file_name().map_or_else(|| self.path.display().to_string(), |name| name.to_string_lossy().into_owned())
    }

    pub fn database(&self) -> PathBuf {
        self.path.join("run.db")
    }

    pub fn results(&self) -> PathBuf {
        self.path.join("results.jsonl")
    }

    pub fn log(&self) -> PathBuf {
        self.path.join("cascadeck.log")
    }

    fn lock_file(&self) -> PathBuf {
        self.path.join("run.lock")
    }

    /// SQLite's write-ahead log. It exists while the database is open.
    pub(super) fn wal(&self) -> PathBuf {
        self.path.join("run.db-wal")
    }

    /// Marker file of a failed sync. It contains the reason and is removed after the database was checked.
    pub(super) fn sync_failure_marker(&self) -> PathBuf {
        self.path.join("run.unsynced")
    }

    /// The copy of an input that can be read only once.
    pub fn spooled_input(&self) -> PathBuf {
        self.path.join("input")
    }

    /// All files that a run may have here, temporary ones included.
    pub fn files(&self) -> Vec<PathBuf> {
        let beside = ["run.db-wal", "run.db-shm", "run.db-journal", "results.jsonl.new", "input.new"]
            .map(|name| self.path.join(name));
        let own = [
            self.database(),
            self.results(),
            self.log(),
            self.lock_file(),
            self.spooled_input(),
            self.sync_failure_marker(),
        ];
        own.into_iter().chain(beside).collect()
    }

    /// True if a run was ever created here.
    pub fn has_run(&self) -> bool {
        self.database().metadata().is_ok_and(|file| file.len() > 0)
    }

    /// Creates the directory (0700) if there is none.
    fn create(&self) -> Result<(), StoreError> {
        DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(&self.path)
            .map_err(|error| StoreError::file("create the run's directory", &self.path, error))
    }

    /// Creates the directory if there is none, and locks it for this process.
    ///
    /// # Errors
    /// If the directory can't be created, or another process has the lock.
    pub fn create_and_lock(&self) -> Result<RunLock, StoreError> {
        self.create()?;
        self.lock()
    }

    /// Locks the directory for this process.
    ///
    /// # Errors
    /// `InUse`, with the process id if known, if another process has the lock.
    pub fn lock(&self) -> Result<RunLock, StoreError> {
        // A `status` command that checks whether the run is alive holds the lock for an instant, but does not own the
        // run.
        const TRIES: u32 = 10;
        const PAUSE: Duration = Duration::from_millis(20);

        let path = self.lock_file();
        let to_store_error = |error| StoreError::file("lock", &path, error);
        let mut file = private_options().read(true).open(&path).map_err(to_store_error)?;
        for tries_left in (0..TRIES).rev() {
            match file.try_lock() {
                Ok(()) => {
                    file.set_len(0).map_err(to_store_error)?;
                    write!(file, "{}", std::process::id()).map_err(to_store_error)?;
                    return Ok(RunLock { _lock_file: file });
                }
                Err(TryLockError::WouldBlock) if tries_left > 0 => thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => break,
                Err(TryLockError::Error(error)) => return Err(to_store_error(error)),
            }
        }
        let mut pid = String::new();
        file.read_to_string(&mut pid).map_err(to_store_error)?;
        Err(StoreError::InUse { dir: self.path.clone(), holder: pid.trim().parse().ok() })
    }

    /// True if a living process has the lock now.
    pub fn is_owned(&self) -> bool {
        File::open(self.lock_file()).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }
}

/// The lock on the directory, until it is dropped. The system also releases the lock of a killed process. The file
/// stays: if it were removed, two processes could lock two files of the same name.
#[derive(Debug)]
pub struct RunLock {
    _lock_file: File,
}

/// The files that a process keeps open while it works on the run, with the ids by which a replaced file is detected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunFiles {
    files: Vec<(PathBuf, FileId)>,
}

/// A file's device and inode numbers, which don't depend on its name.
type FileId = (u64, u64);

/// `None` if there is no file with that name.
pub(super) fn file_id(path: &Path) -> io::Result<Option<FileId>> {
    match path.metadata() {
        Ok(file) => Ok(Some((file.dev(), file.ino()))),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

impl RunFiles {
    /// Records the ids of the files. To be called while they are open, so that no other file can get the same ids.
    pub(super) fn capture(dir: &RunDir) -> Result<Self, StoreError> {
        let mut files = Vec::new();
        for path in [dir.database(), dir.wal(), dir.lock_file()] {
            match file_id(&path) {
                Ok(Some(id)) => files.push((path, id)),
                Ok(None) => return Err(StoreError::FileRemoved { path }),
                Err(error) => return Err(StoreError::file("check", path, error)),
            }
        }
        Ok(Self { files })
    }

    /// Checks that each path still names its file.
    ///
    /// # Errors
    /// If a file was removed, moved or replaced.
    pub fn check_in_place(&self) -> Result<(), StoreError> {
        // A file that can't be checked now isn't known to be missing.
        let is_replaced = |path: &Path, id: FileId| file_id(path).is_ok_and(|found| found != Some(id));
        match self.files.iter().find(|(path, id)| is_replaced(path, *id)) {
            Some((path, _)) => Err(StoreError::FileRemoved { path: path.clone() }),
            None => Ok(()),
        }
    }
}

/// Open options for a file that only its owner may read and write.
pub(super) fn private_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(FILE_MODE);
    options
}

/// Syncs a directory, so that files created or renamed in it survive a power cut.
pub(super) fn sync_directory(directory: &Path) -> Result<(), StoreError> {
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| StoreError::file("sync", directory, error))
}

//! Copies the rows of a pipe to a file, since an input is read twice, and again when a run is resumed.
//!
//! A new copy is written beside the kept one and replaces it only when the run accepts its rows ([`Spool::commit`]).
//! Rows that are refused must not replace the rows that the run was started with.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, BufReader, IsTerminal, Read},
    os::{
        fd::AsFd as _,
        unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use crate::atomic_file;

use super::{conversion::refuse_binary, error::InputError, picture_file::has_picture_magic};

/// Default limit for the bytes read from a pipe. Larger than any real batch; stops an endless pipe.
pub(super) const DEFAULT_MAX_PIPE_BYTES: u64 = 4 << 30;
/// Number of first bytes that are checked for a binary format before a copy is written.
const HEAD_BYTES: u64 = 1_024;

/// How a new copy compares with the one kept from an earlier start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpoolDiff {
    /// The new copy begins with the whole kept copy, or no copy is kept. Replacing the kept copy loses nothing.
    ContainsKept,
    /// The new copy is only the first part of the kept copy.
    PrefixOfKept,
    Different,
}

/// The copy of a pipe's rows. Dropping this deletes a new copy that was not [committed](Self::commit).
#[derive(Debug)]
pub(super) struct Spool {
    kept_path: PathBuf,
    new_path: Option<PathBuf>,
}

impl Spool {
    /// Returns the copy kept from an earlier start, if there is one.
    fn open_kept(kept_path: &Path) -> Option<Self> {
        kept_path.is_file().then(|| Self { kept_path: kept_path.to_owned(), new_path: None })
    }

    pub fn path(&self) -> &Path {
        self.new_path.as_deref().unwrap_or(&self.kept_path)
    }

    /// Compares the new copy with the kept one, byte for byte.
    ///
    /// # Errors
    /// If one of the copies can't be read.
    pub fn diff_with_kept(&self) -> io::Result<SpoolDiff> {
        let Some(new) = &self.new_path else { return Ok(SpoolDiff::ContainsKept) };
        let kept = match File::open(&self.kept_path) {
            Ok(kept) => kept,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(SpoolDiff::ContainsKept),
            Err(error) => return Err(error),
        };
        let (mut kept, mut new_reader) = (BufReader::new(kept), BufReader::new(File::open(new)?));
        loop {
            let (kept_bytes, new_bytes) = (kept.fill_buf()?, new_reader.fill_buf()?);
            let length = kept_bytes.len().min(new_bytes.len());
            match (kept_bytes.is_empty(), new_bytes.is_empty()) {
                (true, _) => return Ok(SpoolDiff::ContainsKept),
                (false, true) => return Ok(SpoolDiff::PrefixOfKept),
                (false, false) if kept_bytes[..length] != new_bytes[..length] => return Ok(SpoolDiff::Different),
                (false, false) => {}
            }
            kept.consume(length);
            new_reader.consume(length);
        }
    }

    /// Replaces the kept copy with the new one. Returns its path.
    ///
    /// # Errors
    /// If the new copy can't be renamed.
    pub fn commit(&mut self) -> io::Result<&Path> {
        if let Some(new_path) = &self.new_path {
            atomic_file::replace(new_path, &self.kept_path)?;
            self.new_path = None;
        }
        Ok(&self.kept_path)
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Some(new_path) = &self.new_path {
            // If it can't be removed, the next pipe overwrites it.
            let _ = fs::remove_file(new_path);
        }
    }
}

/// Copies standard input to a new file beside `kept_path`. On a terminal, or for an empty device like /dev/null, uses
/// the kept copy instead.
pub(super) fn copy_stdin(kept_path: &Path, max_bytes: u64) -> Result<Spool, InputError> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Spool::open_kept(kept_path).ok_or(InputError::NothingPiped);
    }
    let input = stdin.as_fd().try_clone_to_owned().map(File::from);
    let is_device = input.and_then(|input| input.metadata()).is_ok_and(|meta| meta.file_type().is_char_device());
    fall_back_to_kept(copy_stream(stdin.lock(), kept_path, "standard input", max_bytes), kept_path, is_device)
}

/// Copies a stream that has a name, such as a named pipe, to a new file beside `kept_path`. For an empty device, uses
/// the kept copy instead.
pub(super) fn copy_named_stream(
    stream: File,
    kept_path: &Path,
    name: &str,
    max_bytes: u64,
) -> Result<Spool, InputError> {
    let is_device = stream.metadata().is_ok_and(|meta| meta.file_type().is_char_device());
    fall_back_to_kept(copy_stream(stream, kept_path, name, max_bytes), kept_path, is_device)
}

/// If the input was empty and a copy is kept: an empty device (`< /dev/null`) is given on purpose and means the kept
/// copy; an empty pipe is an error, since its producer has probably failed.
fn fall_back_to_kept(
    copied: Result<Spool, InputError>,
    kept_path: &Path,
    is_device: bool,
) -> Result<Spool, InputError> {
    match (copied, Spool::open_kept(kept_path)) {
        (Err(InputError::Empty(_)), Some(earlier)) if is_device => Ok(earlier),
        (Err(InputError::Empty(name)), Some(_)) => Err(InputError::EmptyPipe(name)),
        (copied, _) => copied,
    }
}

/// Copies a whole stream to a new file beside `kept_path`. If this fails, the new file is removed and the kept copy is
/// unchanged.
fn copy_stream(mut source: impl Read, kept_path: &Path, name: &str, max_bytes: u64) -> Result<Spool, InputError> {
    let new_path = new_copy_path(kept_path);
    let failed = |source: io::Error| InputError::Spool { path: new_path.clone(), source };
    let mut head = Vec::new();
    (&mut source).take(HEAD_BYTES).read_to_end(&mut head).map_err(failed)?;
    if !has_picture_magic(&head) {
        refuse_binary(&head, Path::new(name))?;
    }
    // Read one byte more than allowed, to detect a pipe that is too long.
    let mut source = head.as_slice().chain(source).take(max_bytes.saturating_add(1));
    if let Some(folder) = kept_path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    // Prompts are private: readable by the owner only.
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&new_path).map_err(failed)?;
    let spool = Spool { kept_path: kept_path.to_owned(), new_path: Some(new_path.clone()) };
    let count = io::copy(&mut source, &mut file).map_err(failed)?;
    if count > max_bytes {
        let mib = max_bytes >> 20;
        let message = format!(
            "{name} has more than {mib} MiB, the limit for a pipe: use a file instead, or raise max_pipe_mib under \
             [input] in keys.toml"
        );
        return Err(InputError::InvalidOptions(message));
    }
    if count == 0 {
        return Err(InputError::Empty(name.to_owned()));
    }
    file.sync_all().map_err(failed)?;
    Ok(spool)
}

/// Path of a pipe's new copy until [`Input::commit_copy`](super::Input::commit_copy) moves it to `kept_path`.
pub fn new_copy_path(kept_path: &Path) -> PathBuf {
    let mut name = OsString::from(kept_path);
    name.push(".new");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(folder: &tempfile::TempDir) -> PathBuf {
        let kept = folder.path().join("deep/input");
        copy_stream(&b"row"[..], &kept, "pipe", DEFAULT_MAX_PIPE_BYTES).unwrap().commit().unwrap();
        kept
    }

    #[test]
    fn a_committed_copy_is_complete_and_leaves_no_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/input");
        let mut spool = copy_stream(&b"{\"prompt\":\"a\"}\n"[..], &path, "pipe", DEFAULT_MAX_PIPE_BYTES).unwrap();
        assert_eq!(fs::read(spool.path()).unwrap(), b"{\"prompt\":\"a\"}\n");
        assert_eq!(spool.commit().unwrap(), path);
        assert_eq!(fs::read(spool.path()).unwrap(), b"{\"prompt\":\"a\"}\n");
        drop(spool);
        assert!(path.exists() && !new_copy_path(&path).exists());
    }

    #[test]
    fn a_refused_pipe_leaves_the_kept_copy_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let kept = kept(&folder);
        let refused = copy_stream(&b"another batch"[..], &kept, "pipe", DEFAULT_MAX_PIPE_BYTES).unwrap();
        assert_eq!(fs::read(refused.path()).unwrap(), b"another batch");
        drop(refused);
        assert_eq!(fs::read(&kept).unwrap(), b"row");
        assert!(!new_copy_path(&kept).exists());
    }

    #[test]
    fn a_new_copy_is_compared_with_the_kept_one() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("input");
        let long = "row\n".repeat(9_000);
        assert_eq!(
            copy_stream(long.as_bytes(), &kept, "pipe", DEFAULT_MAX_PIPE_BYTES).unwrap().diff_with_kept().unwrap(),
            SpoolDiff::ContainsKept
        );
        copy_stream(long.as_bytes(), &kept, "pipe", DEFAULT_MAX_PIPE_BYTES).unwrap().commit().unwrap();
        let cases = [
            (long.clone(), SpoolDiff::ContainsKept),
            (long.clone() + "more\n", SpoolDiff::ContainsKept),
            (long[..35_996].to_owned(), SpoolDiff::PrefixOfKept),
            (long[..4].to_owned(), SpoolDiff::PrefixOfKept),
            (long[..35_996].to_owned() + "cow\n", SpoolDiff::Different),
            ("cow\n".to_owned(), SpoolDiff::Different),
        ];
        for (piped, want) in cases {
            let diff =
                copy_stream(piped.as_bytes(), &kept, "pipe", DEFAULT_MAX_PIPE_BYTES).unwrap().diff_with_kept().unwrap();
            assert_eq!(diff, want, "{} bytes", piped.len());
        }
    }

    #[test]
    fn an_empty_pipe_is_refused_and_an_empty_device_uses_the_kept_copy() {
        let folder = tempfile::tempdir().unwrap();
        let null = || File::open("/dev/null").unwrap();
        let nothing = copy_named_stream(null(), &folder.path().join("input"), "null", DEFAULT_MAX_PIPE_BYTES);
        assert!(matches!(nothing, Err(InputError::Empty(_))));
        let kept = kept(&folder);
        assert_eq!(copy_named_stream(null(), &kept, "null", DEFAULT_MAX_PIPE_BYTES).unwrap().path(), kept);
        let (pipe, _) = io::pipe().unwrap();
        let nothing =
            copy_named_stream(File::from(std::os::fd::OwnedFd::from(pipe)), &kept, "pipe", DEFAULT_MAX_PIPE_BYTES);
        assert!(matches!(nothing, Err(InputError::EmptyPipe(_))));
        assert_eq!(fs::read(&kept).unwrap(), b"row");
        assert!(!new_copy_path(&kept).exists());
    }

    #[test]
    fn a_pipe_that_breaks_leaves_the_kept_copy_unchanged() {
        struct Breaks;
        impl Read for Breaks {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let kept = kept(&folder);
        copy_stream((&b"half"[..]).chain(Breaks), &kept, "pipe", DEFAULT_MAX_PIPE_BYTES).unwrap_err();
        assert_eq!(fs::read(&kept).unwrap(), b"row");
        assert!(!new_copy_path(&kept).exists());
    }
}

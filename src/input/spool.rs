//! Rows from a pipe are copied to a file first: an input is read twice, and again when a run is resumed.

use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    io::{self, IsTerminal, Read},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use super::fault::InputError;

/// Copies standard input to `spool`. On a terminal, or where nothing comes, an earlier copy is used again.
pub(super) fn stdin(spool: &Path) -> Result<(), InputError> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return if spool.is_file() { Ok(()) } else { Err(InputError::NothingPiped) };
    }
    copy(stdin.lock(), spool, "standard input")
}

/// Copies a stream whole, or leaves what was there: a copy that breaks off never looks complete.
pub(super) fn copy(mut source: impl Read, spool: &Path, name: &str) -> Result<(), InputError> {
    let partial = partial(spool);
    let failed = |source: io::Error| InputError::Spool { path: partial.clone(), source };
    if let Some(folder) = spool.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    // What people ask is nobody else's business.
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&partial).map_err(failed)?;
    let count = io::copy(&mut source, &mut file).map_err(failed)?;
    if count == 0 {
        fs::remove_file(&partial).map_err(failed)?;
        return if spool.is_file() { Ok(()) } else { Err(InputError::Empty(name.to_owned())) };
    }
    file.sync_all().map_err(failed)?;
    fs::rename(&partial, spool).map_err(failed)
}

fn partial(spool: &Path) -> PathBuf {
    let mut name = OsString::from(spool);
    name.push(".partial");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_kept_whole_and_nothing_half_read_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let spool = folder.path().join("deep/input.spool");
        copy(&b"{\"prompt\":\"a\"}\n"[..], &spool, "pipe").unwrap();
        assert_eq!(fs::read(&spool).unwrap(), b"{\"prompt\":\"a\"}\n");
        assert!(!partial(&spool).exists());
    }

    #[test]
    fn an_empty_pipe_means_the_earlier_copy() {
        let folder = tempfile::tempdir().unwrap();
        let spool = folder.path().join("input.spool");
        assert!(matches!(copy(io::empty(), &spool, "pipe"), Err(InputError::Empty(_))));
        copy(&b"row"[..], &spool, "pipe").unwrap();
        copy(io::empty(), &spool, "pipe").unwrap();
        assert_eq!(fs::read(&spool).unwrap(), b"row");
    }

    #[test]
    fn a_pipe_that_breaks_leaves_the_earlier_copy_alone() {
        struct Breaks;
        impl Read for Breaks {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let spool = folder.path().join("input.spool");
        copy(&b"row"[..], &spool, "pipe").unwrap();
        copy((&b"half"[..]).chain(Breaks), &spool, "pipe").unwrap_err();
        assert_eq!(fs::read(&spool).unwrap(), b"row");
    }
}

//! Claims on caption files, the texts that a run writes beside its pictures. A claim lists the caption files that a
//! running process of this user is going to write.
//!
//! Two runs over the same pictures, each with a run directory of its own, would both pay for every picture. So each
//! process writes the digests of its caption files' paths to a claim file in the user's state directory, and holds a
//! lock on it until it ends. A process that starts checks the claims of others before it sends anything. No file is
//! left among the pictures, and the claim of a killed process has no effect, since the system releases its lock.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process,
};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// Extension of claim files.
const CLAIM_EXTENSION: &str = "claim";

/// Digests of the real paths of caption files, as stored in claims. One digest has 8 bytes, so a million files take 8
/// MB.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CaptionPathDigests {
    digests: Vec<u64>,
    /// The last folder and its real path, as a cache: captions come folder by folder.
    last_folder: Option<(PathBuf, PathBuf)>,
}

impl CaptionPathDigests {
    pub fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }

    pub fn add(&mut self, caption_path: &Path) {
        let (Some(folder), Some(name)) = (caption_path.parent(), caption_path.file_name()) else { return };
        if self.last_folder.as_ref().is_none_or(|(last, _)| last != folder) {
            self.last_folder = Some((folder.to_owned(), real_path(folder)));
        }
        if let Some((_, real)) = &self.last_folder {
            self.digests.push(xxh3_64(real.join(name).as_os_str().as_encoded_bytes()));
        }
    }
}

/// The path without links, also for a folder that does not exist yet.
fn real_path(folder: &Path) -> PathBuf {
    let real = folder.ancestors().find_map(|nearest| Some((nearest, nearest.canonicalize().ok()?)));
    real.and_then(|(nearest, real)| Some(real.join(folder.strip_prefix(nearest).ok()?)))
        .unwrap_or_else(|| folder.to_owned())
}

/// The first line of a claim file. The sorted digests follow it, 8 bytes each.
#[derive(Serialize, Deserialize)]
struct ClaimHeader {
    #[serde(rename = "process")]
    pid: u32,
    run_dir: PathBuf,
}

/// This process's claim. Dropping it releases the files.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    _lock_file: File,
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Best effort: without its lock the file has no effect, and the next start removes it.
        let _ = fs::remove_file(&self.path);
    }
}

/// A run whose process is going to write some of the same files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConflictingRun {
    pub run_dir: PathBuf,
    pub pid: u32,
    /// Number of files that both would write.
    pub shared_files: u64,
}

/// Claims files for the run in `run_dir`, or returns the run that has claimed some of them. `claims_dir` holds the
/// claims of all runs of this user; it is created if missing.
///
/// A claim of the same run directory is ignored: opening the directory reports that another process owns it.
///
/// # Errors
/// If the claims can't be read or written.
pub fn claim_files(
    claims_dir: &Path,
    run_dir: &Path,
    files: CaptionPathDigests,
) -> io::Result<Result<Claim, ConflictingRun>> {
    DirBuilder::new().recursive(true).mode(0o700).create(claims_dir)?;
    // One process at a time, so that of two that start together the later one sees the earlier one's claim.
    let claims_dir_lock = open_private(&claims_dir.join("lock"))?;
    claims_dir_lock.lock()?;
    let run_dir = real_path(&std::path::absolute(run_dir)?);
    let mut digests = files.digests;
    digests.sort_unstable();
    for entry in fs::read_dir(claims_dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == CLAIM_EXTENSION)
            && let Some(conflict) = find_conflict(&path, &run_dir, &digests)?
        {
            return Ok(Err(conflict));
        }
    }
    let mut number = 0;
    let (path, mut file) = loop {
        let path = claims_dir.join(format!("{}-{number}.{CLAIM_EXTENSION}", process::id()));
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => break (path, file),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
        }
    };
    file.lock()?;
    let claim = Claim { path, _lock_file: file.try_clone()? };
    let mut bytes = serde_json::to_vec(&ClaimHeader { pid: process::id(), run_dir })?;
    bytes.push(b'\n');
    bytes.extend(digests.iter().flat_map(|digest| digest.to_le_bytes()));
    file.write_all(&bytes)?;
    Ok(Ok(claim))
}

/// Returns the run of a claim file if its process is running, it is another run and it shares files. Removes the file
/// of a process that has ended.
fn find_conflict(path: &Path, run_dir: &Path, digests: &[u64]) -> io::Result<Option<ConflictingRun>> {
    let file = match File::open(path) {
        Ok(file) => file,
        // The other run has just ended.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => {
            // Best effort: a file that stays is checked again at the next start.
            let _ = fs::remove_file(path);
            return Ok(None);
        }
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let mut reader = BufReader::new(file);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let ClaimHeader { pid, run_dir: other_dir } = serde_json::from_str(&line)?;
    if other_dir == run_dir {
        return Ok(None);
    }
    let mut shared_files = 0;
    let mut digest = [0; 8];
    while reader.read_exact(&mut digest).is_ok() {
        shared_files += u64::from(digests.binary_search(&u64::from_le_bytes(digest)).is_ok());
    }
    Ok((shared_files > 0).then_some(ConflictingRun { run_dir: other_dir, pid, shared_files }))
}

/// Opens or creates a file that only its owner may read and write.
fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(paths: &[&Path]) -> CaptionPathDigests {
        let mut files = CaptionPathDigests::default();
        for path in paths {
            files.add(path);
        }
        files
    }

    #[test]
    fn a_file_claimed_by_a_running_process_is_refused_under_every_spelling_of_its_path() {
        let home = tempfile::tempdir().unwrap();
        let [state, pictures, link] = ["state", "pictures", "link"].map(|name| home.path().join(name));
        fs::create_dir(&pictures).unwrap();
        std::os::unix::fs::symlink(&pictures, &link).unwrap();
        let (a, b) = (pictures.join("a.txt"), pictures.join("b.txt"));
        let first = claim_files(&state, Path::new("/runs/first"), files(&[&a])).unwrap().unwrap();
        let second = claim_files(&state, Path::new("/runs/second"), files(&[&b])).unwrap().unwrap();
        let own = claim_files(&state, Path::new("/runs/first"), files(&[&a])).unwrap();
        own.expect("a claim of the same run is ignored");
        for spelling in [pictures.join("a.txt"), link.join("a.txt"), pictures.join("../link/a.txt")] {
            let other = claim_files(&state, Path::new("/runs/third"), files(&[&spelling])).unwrap().unwrap_err();
            let want = ConflictingRun { run_dir: "/runs/first".into(), pid: process::id(), shared_files: 1 };
            assert_eq!(other, want, "{}", spelling.display());
        }
        drop(first);
        let third = claim_files(&state, Path::new("/runs/third"), files(&[&a])).unwrap().unwrap();
        drop((second, third));
        let left: Vec<_> = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["lock"]);
    }

    #[test]
    fn the_claim_of_a_killed_process_is_ignored() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("new/folder/a.txt");
        let claimed = claim_files(home.path(), Path::new("/runs/first"), files(&[&target])).unwrap().unwrap();
        let left = fs::read(&claimed.path).unwrap();
        let path = claimed.path.clone();
        drop(claimed);
        fs::write(&path, left).unwrap();
        claim_files(home.path(), Path::new("/runs/second"), files(&[&target])).unwrap().unwrap();
    }
}

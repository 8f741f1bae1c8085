//! Opens the target of an export. An earlier export may be replaced, but never a file of the run or its input.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf, absolute},
};

use super::CliError;
use crate::{
    input, output,
    store::{PinnedSettings, RunDir, Store},
};

/// The longest first line that is read of a file that may be an earlier export. Longer than any answer.
const MAX_LINE_BYTES: u64 = 64 << 20;

/// Opens `target` for an export of the run, and empties it.
///
/// # Errors
/// If the run can't be read, or if the target may not be replaced: it is a file of a run, the run's input, or an
/// existing regular file that is neither empty nor an earlier export. Nothing is changed then.
pub(super) fn open(run_dir: &Path, target: &Path) -> Result<File, CliError> {
    let dir = RunDir::new(run_dir);
    let pins = Store::settings_of(&dir)?;
    refuse_run_files(&dir, &pins, target)?;
    File::create(target).map_err(|error| CliError::usage(format!("can't write {}: {error}", target.display())))
}

fn refuse_run_files(dir: &RunDir, pins: &PinnedSettings, target: &Path) -> Result<(), CliError> {
    let refuse = |reason: String| {
        Err(CliError::usage(format!("{} {reason}; nothing was written. Choose another file for -o", target.display())))
    };
    if dir.files().iter().any(|file| is_same_file(file, target)) {
        return refuse(format!("is a file of the run in {}", dir.path().display()));
    }
    // The input is recorded as an absolute path and as it was given. The folder may have been moved with its runs, and
    // the working directory may differ, so both are checked.
    let inputs = pins.input_path.iter().chain([&pins.input]);
    if inputs.into_iter().any(|input| is_same_file(Path::new(input), target)) {
        return refuse("is the run's input".to_owned());
    }
    if pins.captions.is_some() && target.exists() && input::is_picture(target) {
        return refuse("is a picture".to_owned());
    }
    // A target that is not a regular file (/dev/null, a pipe) has no content to lose.
    if !target.is_file() {
        return Ok(());
    }
    if let Some(run) = owning_run_dir(target) {
        return refuse(format!("is a file of the run in {}", run.display()));
    }
    match is_replaceable(target) {
        Ok(true) => Ok(()),
        Ok(false) => refuse("already exists and is not an earlier export".to_owned()),
        Err(error) => refuse(format!("already exists and can't be read: {error}")),
    }
}

/// The directory of the run that the file belongs to, if any.
fn owning_run_dir(target: &Path) -> Option<PathBuf> {
    let target = target.canonicalize().ok()?;
    let folder = target.parent()?;
    let dir = RunDir::new(folder);
    let is_run = dir.database().exists() || dir.log().exists();
    (is_run && dir.files().contains(&target)).then(|| folder.to_owned())
}

/// Whether the file is empty, or its first line is an export's.
fn is_replaceable(target: &Path) -> io::Result<bool> {
    let mut line = Vec::new();
    BufReader::new(File::open(target)?).take(MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
    Ok(line.is_empty() || output::is_export_line(&line))
}

/// True if both paths name the same file. This is also detected if the file doesn't exist, since SQLite creates and
/// removes some of its files.
fn is_same_file(file: &Path, other: &Path) -> bool {
    match (fs::metadata(file), fs::metadata(other)) {
        (Ok(file), Ok(other)) => (file.dev(), file.ino()) == (other.dev(), other.ino()),
        (Err(_), Err(_)) => with_real_parent(file).is_some_and(|file| Some(file) == with_real_parent(other)),
        _ => false,
    }
}

fn with_real_parent(path: &Path) -> Option<PathBuf> {
    let path = absolute(path).ok()?;
    Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?))
}

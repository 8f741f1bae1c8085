//! Writes and replaces files as a whole: after a crash or a power cut a file has either its old content or the new one.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::xxh3_64;

/// Replaces or creates a file with this content, and creates its folder if it is missing. An existing file keeps its
/// permissions.
///
/// # Errors
/// If the content can't be written. The file is unchanged then.
pub fn write(target: &Path, content: &[u8]) -> io::Result<()> {
    let folder = folder_of(target);
    create_folder(folder)?;
    let temporary = temporary_path(folder, target);
    let written = write_new(&temporary, content, target).and_then(|()| fs::rename(&temporary, target));
    if written.is_err() {
        // Best effort: the first error is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    sync_folder(folder)
}

/// Renames `new`, a synced file in the folder of `target`, to `target`, which it replaces.
///
/// # Errors
/// If the file can't be renamed, or the folder can't be synced.
pub fn replace(new: &Path, target: &Path) -> io::Result<()> {
    fs::rename(new, target)?;
    sync_folder(folder_of(target))
}

fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

fn write_new(temporary: &Path, content: &[u8], target: &Path) -> io::Result<()> {
    let create = || OpenOptions::new().write(true).create_new(true).open(temporary);
    let mut file = match create() {
        // Left by a crash; no other program uses this name.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::remove_file(temporary)?;
            create()?
        }
        created => created?,
    };
    file.write_all(content)?;
    if let Ok(meta) = fs::metadata(target) {
        file.set_permissions(meta.permissions())?;
    }
    file.sync_all()
}

/// The path of the temporary file. The same target always has the same name, so that crashes don't fill the folder. The
/// name is short, whatever the target's length, and hidden, so that it isn't taken for a user's file.
fn temporary_path(folder: &Path, target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default().as_encoded_bytes();
    folder.join(format!(".cascadeck-{:016x}.tmp", xxh3_64(name)))
}

/// Like `create_dir_all`, but the new folders also survive a power cut.
fn create_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let made: Vec<_> = folder.ancestors().take_while(|folder| !folder.exists()).collect();
    fs::create_dir_all(folder)?;
    for parent in made.iter().filter_map(|folder| folder.parent()) {
        sync_folder(if parent == Path::new("") { Path::new(".") } else { parent })?;
    }
    Ok(())
}

/// Syncs a folder, so that files created or renamed in it survive a power cut.
fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        // Some network file systems can't sync a folder. The rename itself has happened.
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        synced => synced,
    }
}

//! The small files that configuration is made of (secrets, `.env`, schemas), and who else may read them.

use std::{fs::File, io::Read as _, path::Path};

/// No key is longer; a larger file is the wrong file.
const SMALL_FILE: u64 = 64 * 1024;

/// A text file of at most [`SMALL_FILE`] bytes, or what is wrong with it.
pub(super) fn read_small(path: &Path) -> Result<String, String> {
    String::from_utf8(read_small_bytes(path)?).map_err(|_| "is not a text file".to_owned())
}

/// A file of at most [`SMALL_FILE`] bytes, or what is wrong with it.
pub(super) fn read_small_bytes(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| unreadable(&error))?;
    file.take(SMALL_FILE + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 > SMALL_FILE {
        return Err("is larger than any key".to_owned());
    }
    Ok(bytes)
}

/// `cannot be read: no such file or directory`.
pub(super) fn unreadable(error: &std::io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or(&text);
    format!("cannot be read: {}", words.to_lowercase())
}

/// A warning where others on this machine may read `path`.
#[cfg(unix)]
pub(super) fn exposure(path: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = std::fs::metadata(path).ok()?;
    let mode = metadata.permissions().mode() & 0o777;
    (metadata.is_file() && mode & 0o077 != 0).then(|| {
        let name = path.display();
        format!("{name} holds secrets and others on this machine may read it (mode {mode:03o}): chmod 600 {name}")
    })
}

#[cfg(not(unix))]
pub(super) fn exposure(_path: &Path) -> Option<String> {
    None
}

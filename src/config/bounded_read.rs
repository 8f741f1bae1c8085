//! Reads files up to a size limit (secrets, `.env`, schemas), and checks who may read them.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

/// Maximum size in bytes of a secret, a `.env` or a schema. A larger file is probably the wrong file.
const MAX_SMALL_FILE_BYTES: u64 = 64 * 1024;

/// Why a small file can't be used, as a phrase that follows its name.
#[derive(Debug, thiserror::Error)]
pub(super) enum SmallFileError {
    #[error("{}", describe_read_error(.0))]
    Unreadable(#[source] io::Error),
    #[error("is not a text file")]
    NotText,
}

/// Reads a text file of at most [`MAX_SMALL_FILE_BYTES`] bytes.
pub(super) fn read_small_text(path: &Path) -> Result<String, SmallFileError> {
    String::from_utf8(read_small_bytes(path)?).map_err(|_| SmallFileError::NotText)
}

/// Reads a file of at most [`MAX_SMALL_FILE_BYTES`] bytes.
pub(super) fn read_small_bytes(path: &Path) -> Result<Vec<u8>, SmallFileError> {
    File::open(path).and_then(|file| read_at_most(file, MAX_SMALL_FILE_BYTES)).map_err(SmallFileError::Unreadable)
}

/// Reads a whole file or stream of at most `max_bytes` bytes. The limit is needed since a stream may never end.
///
/// # Errors
/// Read errors; [`io::ErrorKind::FileTooLarge`] if it is longer.
pub fn read_at_most(source: impl Read, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        let max_size =
            if max_bytes < 1 << 20 { format!("{} KiB", max_bytes >> 10) } else { format!("{} MiB", max_bytes >> 20) };
        let message = format!("it is larger than the limit of {max_size}; is it the right file?");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

/// Describes an error: `can't be read: no such file or directory`.
pub(super) fn describe_read_error(error: &io::Error) -> String {
    let text = error.to_string();
    let message = text.split(" (os error").next().unwrap_or(&text);
    // The message of `read_at_most` keeps its capital letters.
    let description =
        if error.kind() == io::ErrorKind::FileTooLarge { message.to_owned() } else { message.to_lowercase() };
    format!("can't be read: {description}")
}

/// Returns a warning if other users of this machine may read `path`.
pub(super) fn permission_warning(path: &Path) -> Option<String> {
    let metadata = std::fs::metadata(path).ok()?;
    let mode = metadata.permissions().mode() & 0o777;
    (metadata.is_file() && mode & 0o077 != 0).then(|| {
        let name = path.display();
        format!(
            "{name} contains secrets, but other users on this machine can read it (mode {mode:03o}): \
             run chmod 600 {name}"
        )
    })
}

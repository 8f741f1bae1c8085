//! Writes captions beside pictures, so that a crash or a repeated write does no damage.
//!
//! A caption appears as a whole or not at all: it is written to a temporary file in the same folder, synced, and
//! renamed. Writing the same caption again changes nothing, so a caller that is unsure may repeat it. This needs the
//! same text each time, so an answer is recorded before it is written as a caption.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read as _},
    path::Path,
};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::atomic_file;

/// Policy for a caption that exists already.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExistingCaptionPolicy {
    /// Keep it and leave the picture out.
    #[default]
    Skip,
    /// Replace it.
    Overwrite,
    /// Add the new caption below it.
    Append,
    /// Add the new caption above it.
    Prepend,
}

impl ExistingCaptionPolicy {
    /// The name used on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::from_str(name, false).ok()
    }
}

/// Size in bytes up to which a file is read to check that it is not blank. A larger file counts as a caption.
const MAX_PEEK_BYTES: u64 = 4_096;

/// True if there is a caption. An empty or blank file does not count, nor one of zero bytes, which a power cut may leave
/// of another program's file.
///
/// # Errors
/// If the file exists and can't be read.
pub fn has_caption(target: &Path) -> io::Result<bool> {
    let meta = match fs::metadata(target) {
        Ok(meta) => meta,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if meta.len() > MAX_PEEK_BYTES {
        return Ok(true);
    }
    let mut head = Vec::new();
    File::open(target)?.take(MAX_PEEK_BYTES).read_to_end(&mut head)?;
    Ok(head.iter().any(|byte| *byte != 0 && !byte.is_ascii_whitespace()))
}

/// Checks that text can be added to an existing caption: it must be UTF-8, since a file with two encodings would be
/// unusable, and must not be a link.
///
/// # Errors
/// The same as for [`write_caption`].
pub fn check_appendable(target: &Path) -> io::Result<()> {
    read_caption(target).map(drop)
}

/// Writes a caption that ends with one newline. Creates missing folders.
///
/// With [`ExistingCaptionPolicy::Skip`] a caption that has appeared in the meantime stays. With
/// [`ExistingCaptionPolicy::Append`] and [`ExistingCaptionPolicy::Prepend`] the text is not added if that end of the
/// file has it already.
///
/// # Errors
/// `InvalidInput` if the text is blank. If text is to be added: `InvalidData` if the file is not UTF-8, and
/// `InvalidInput` if it is a link, since the linked file may belong to someone else.
pub fn write_caption(target: &Path, text: &str, policy: ExistingCaptionPolicy) -> io::Result<()> {
    let text = text.trim();
    if text.is_empty() {
        return Err(caption_error(ErrorKind::InvalidInput, target, "the caption is empty"));
    }
    let content = match policy {
        ExistingCaptionPolicy::Skip if has_caption(target)? => return Ok(()),
        ExistingCaptionPolicy::Skip | ExistingCaptionPolicy::Overwrite => format!("{text}\n"),
        ExistingCaptionPolicy::Append | ExistingCaptionPolicy::Prepend => {
            match join_captions(&read_caption(target)?, text, policy) {
                Some(content) => content,
                None => return Ok(()),
            }
        }
    };
    atomic_file::write(target, content.as_bytes())
}

/// Writes a caption in place of `previous`, an earlier answer to the same picture. Returns false if the file was left
/// alone because someone has edited it. Returns true if the caption was written or was there already.
///
/// With [`ExistingCaptionPolicy::Skip`] a caption that differs from `previous` stays, since someone has edited it. With
/// [`ExistingCaptionPolicy::Append`] and [`ExistingCaptionPolicy::Prepend`] the new text replaces `previous`; if
/// `previous` is no longer there, the new text is added.
///
/// # Errors
/// The same as for [`write_caption`].
pub fn replace_caption(target: &Path, text: &str, previous: &str, policy: ExistingCaptionPolicy) -> io::Result<bool> {
    let normalize = |text: &str| text.trim().replace("\r\n", "\n");
    let previous = normalize(previous);
    let is_ours = |content: &str| !previous.is_empty() && normalize(content) == previous;
    match policy {
        ExistingCaptionPolicy::Overwrite => {}
        ExistingCaptionPolicy::Skip => {
            if has_caption(target)? {
                // A file that is not text, or a link, was not written by this program.
                let Ok(content) = read_caption(target) else { return Ok(false) };
                if normalize(&content) == normalize(text) {
                    return Ok(true);
                }
                if !is_ours(&content) {
                    return Ok(false);
                }
                write_caption(target, text, ExistingCaptionPolicy::Overwrite)?;
                return Ok(true);
            }
        }
        ExistingCaptionPolicy::Append | ExistingCaptionPolicy::Prepend => {
            let content = normalize(&read_caption(target)?);
            let new = normalize(text);
            // If the new text ends (or begins) with `previous`, the file may match both. Then the longer, new text is
            // there already.
            if new.len() > previous.len() && join_captions(&content, &new, policy).is_none() {
                return Ok(true);
            }
            let rest = if policy == ExistingCaptionPolicy::Append {
                content.strip_suffix(&previous).filter(|rest| rest.is_empty() || rest.ends_with('\n'))
            } else {
                content.strip_prefix(&previous).filter(|rest| rest.is_empty() || rest.starts_with('\n'))
            };
            if let Some(rest) = rest.filter(|_| !previous.is_empty() && !text.trim().is_empty()) {
                let joined = join_captions(rest.trim(), text.trim(), policy);
                if let Some(joined) = joined {
                    atomic_file::write(target, joined.as_bytes())?;
                }
                return Ok(true);
            }
        }
    }
    write_caption(target, text, policy)?;
    Ok(true)
}

/// Joins the old and the new caption, with the new one on the given side. `None` if the old caption already has the new
/// lines there.
fn join_captions(old: &str, new: &str, side: ExistingCaptionPolicy) -> Option<String> {
    if old.is_empty() {
        return Some(format!("{new}\n"));
    }
    let (lines, new_lines) = (old.replace("\r\n", "\n"), new.replace("\r\n", "\n"));
    let (rest, joined) = if side == ExistingCaptionPolicy::Prepend {
        let rest = lines.strip_prefix(&new_lines).map(|rest| rest.is_empty() || rest.starts_with('\n'));
        (rest, format!("{new}\n{old}\n"))
    } else {
        let rest = lines.strip_suffix(&new_lines).map(|rest| rest.is_empty() || rest.ends_with('\n'));
        (rest, format!("{old}\n{new}\n"))
    };
    (rest != Some(true)).then_some(joined)
}

/// Reads the present caption without byte order mark and surrounding whitespace; empty if there is none.
fn read_caption(target: &Path) -> io::Result<String> {
    match fs::symlink_metadata(target) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(error),
        Ok(meta) if meta.is_symlink() => {
            return Err(caption_error(
                ErrorKind::InvalidInput,
                target,
                "is a link to another file; replace it with a copy",
            ));
        }
        Ok(_) => {}
    }
    let old = String::from_utf8(fs::read(target)?)
        .map_err(|_| caption_error(ErrorKind::InvalidData, target, "is not UTF-8, so nothing can be added to it"))?;
    Ok(old.trim_start_matches('\u{feff}').trim().to_owned())
}

/// True if the error concerns this one caption and stays until its file or folder is changed, so that a retry is
/// useless. A full disk and a lack of file handles are not permanent.
pub fn is_permanent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::InvalidData
            | ErrorKind::InvalidInput
            | ErrorKind::InvalidFilename
            | ErrorKind::IsADirectory
            | ErrorKind::NotADirectory
            | ErrorKind::NotFound
            | ErrorKind::PermissionDenied
            | ErrorKind::ReadOnlyFilesystem
    )
}

/// Checks that files can be created in a folder, which may not exist yet. Tries it in the nearest existing folder.
///
/// # Errors
/// The error of the attempt to create a file.
pub fn check_writable(folder: &Path) -> io::Result<()> {
    let folder = if folder == Path::new("") { Path::new(".") } else { folder };
    let nearest = folder.ancestors().find(|folder| folder.exists()).unwrap_or(folder);
    let probe = nearest.join(format!(".cascadeck-probe-{}.tmp", std::process::id()));
    OpenOptions::new().write(true).create_new(true).open(&probe)?;
    fs::remove_file(probe)
}

fn caption_error(kind: ErrorKind, target: &Path, message: &str) -> io::Error {
    io::Error::new(kind, format!("{}: {message}", target.display()))
}

//! Pictures that were found together, and what was found instead of pictures.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{
    error::FieldError,
    picture_file::{TEXT_EXTENSIONS, reason_not_a_file},
};

/// Pictures that may share a caption file: those of one folder, or of one list.
#[derive(Debug, Default)]
pub(super) struct ImageBatch {
    /// The line in a list (or else the position in the source, from 1), and the path, relative to the base folder if
    /// possible.
    pub pictures: Vec<(u32, Box<str>)>,
    /// The line (0 if there is none) and the error.
    pub errors: Vec<(u64, FieldError)>,
    /// Files, folders and lines that can't be used, with their line (0 if there is none) and the reason.
    pub excluded: Vec<(u64, String)>,
    /// Lines of a list that name a picture that can't be sent, and the reason. They are in `pictures` too: their items
    /// fail and are reported by name.
    pub unsendable: Vec<(u64, String)>,
    /// Linked folders that `**` in a pattern did not enter.
    pub linked_folders: Vec<PathBuf>,
    /// Number of files that are not pictures, by their kind: `.mp4`, or `without an extension`. Captions and other texts
    /// are not counted.
    pub left_out: BTreeMap<String, u64>,
}

impl ImageBatch {
    pub(super) fn add_error(&mut self, message: String) {
        self.errors.push((0, FieldError::new("", message)));
    }

    pub(super) fn exclude(&mut self, message: String) {
        self.excluded.push((0, message));
    }

    /// Counts a file that is not a picture.
    pub(super) fn leave_out(&mut self, path: &Path) {
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        if extension.as_deref().is_some_and(|extension| TEXT_EXTENSIONS.contains(&extension)) {
            return;
        }
        let kind = extension.map_or_else(|| "without an extension".to_owned(), |extension| format!(".{extension}"));
        *self.left_out.entry(kind).or_default() += 1;
    }

    pub(super) fn exclude_non_utf8(&mut self, path: &Path) {
        self.exclude(format!("{} has a name that is not UTF-8; rename it", path.display()));
    }

    /// Returns true if `path` is a regular file. Otherwise adds it to `excluded`.
    pub(super) fn accepts_file(&mut self, path: &Path) -> bool {
        let reason = reason_not_a_file(path);
        if let Some(reason) = reason {
            self.exclude(format!("{} {reason}", path.display()));
            return false;
        }
        true
    }

    pub(super) fn exclude_link(&mut self, link: &Path) {
        let link = link.display();
        self.exclude(format!("{link} is a link to a folder elsewhere; to include its pictures, name it: '{link}/*'"));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pictures.is_empty() && self.errors.is_empty() && self.excluded.is_empty() && self.left_out.is_empty()
    }
}

//! Errors in an input: in the whole input, in one row, or in one field of a row.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Number of errors that [`RowErrors`] keeps in full; the rest are counted.
pub const MAX_REPORTED_ERRORS: usize = 100;

/// An error in opening an input.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    #[error(
        "{0} does not exist: give a file, a folder of pictures, a glob in quotes, or `-` for rows on standard input"
    )]
    NotFound(String),
    #[error("{path} can't be read: {source}")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{0} contains no rows")]
    Empty(String),
    /// The pipe is empty, but the run has rows of an earlier pipe.
    #[error(
        "the pipe was empty ({0}): did the command before it fail? To continue with the rows that the run already has, \
         without new input, run the same command with `< /dev/null` and no pipe"
    )]
    EmptyPipe(String),
    #[error("{place} contains no pictures: looked for PNG, JPEG, WebP, GIF, HEIC, AVIF, TIFF and BMP files{advice}")]
    NoPictures { place: String, advice: &'static str },
    /// The format of the file is not supported; `message` says what to do.
    #[error("{path} {message}", path = path.display())]
    UnsupportedFormat { path: PathBuf, message: String },
    #[error("the {template} template can't be used: it {message}")]
    Template { template: &'static str, message: String },
    /// The options don't fit the kind of input.
    #[error("{0}")]
    InvalidOptions(String),
    #[error("standard input is a terminal: pipe the rows in (`cat rows.jsonl | cascadeck run -`) or name a file")]
    NothingPiped,
    #[error("{path} can't be written: {source}; rows from a pipe are kept there so that the run can be resumed")]
    Spool { path: PathBuf, source: io::Error },
}

impl InputError {
    pub(super) fn unreadable(path: &Path, source: io::Error) -> Self {
        Self::Unreadable { path: path.to_owned(), source }
    }

    pub(super) fn unsupported_format(path: &Path, message: impl Into<String>) -> Self {
        Self::UnsupportedFormat { path: path.to_owned(), message: message.into() }
    }
}

/// An error in a row and the field it is in. The line is not known yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct FieldError {
    /// Path of the field, like `body.messages[2].role`; empty for the row as a whole.
    field_path: String,
    message: String,
    dedup_key: Option<&'static str>,
}

impl FieldError {
    pub(super) fn new(field_path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field_path: field_path.into(), message: message.into(), dedup_key: None }
    }

    /// Sets a key: errors with the same key are reported once, even if their messages differ from row to row.
    pub(super) fn with_dedup_key(mut self, key: &'static str) -> Self {
        self.dedup_key = Some(key);
        self
    }

    /// Prefixes the path with the enclosing field: `role` within `messages[2]` becomes `messages[2].role`.
    #[must_use]
    pub(super) fn within(mut self, outer: impl fmt::Display) -> Self {
        let dot = if self.field_path.is_empty() || self.field_path.starts_with('[') { "" } else { "." };
        self.field_path = format!("{outer}{dot}{}", self.field_path);
        self
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.field_path.is_empty() {
            write!(f, "`{}` ", self.field_path)?;
        }
        f.write_str(&self.message)
    }
}

/// An error in one row. Prints as `rows.jsonl:17: …`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RowError {
    pub input: Arc<str>,
    /// Line number from 1. For pictures: position in the list. 0 if the error is in no line.
    pub line: u64,
    pub message: String,
    dedup_key: Option<&'static str>,
}

impl RowError {
    pub(super) fn new(input: &Arc<str>, line: u64, error: &FieldError) -> Self {
        Self { input: Arc::clone(input), line, message: error.to_string(), dedup_key: error.dedup_key }
    }

    fn is_duplicate_of(&self, other: &Self) -> bool {
        self.message == other.message || (self.dedup_key.is_some() && self.dedup_key == other.dedup_key)
    }
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.input, self.message),
            line => write!(f, "{}:{line}: {}", self.input, self.message),
        }
    }
}

impl std::error::Error for RowError {}

/// An error and the number of later rows with the same error.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReportedError {
    pub error: RowError,
    pub duplicates: u64,
}

/// All errors of an input, found in one pass. The first [`MAX_REPORTED_ERRORS`] different errors are kept; the others
/// are counted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RowErrors {
    pub input: Arc<str>,
    pub reported: Vec<ReportedError>,
    /// Number of all bad rows.
    pub total: u64,
}

impl RowErrors {
    pub(super) fn empty(input: &Arc<str>) -> Self {
        Self { input: Arc::clone(input), reported: Vec::new(), total: 0 }
    }

    pub(super) fn add(&mut self, error: RowError) {
        self.total += 1;
        if let Some(reported) = self.reported.iter_mut().find(|known| known.error.is_duplicate_of(&error)) {
            reported.duplicates += 1;
        } else if self.reported.len() < MAX_REPORTED_ERRORS {
            self.reported.push(ReportedError { error, duplicates: 0 });
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.total == 0
    }
}

impl fmt::Display for RowErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = if self.total == 1 { "row" } else { "rows" };
        write!(f, "{} has {} bad {rows}; nothing was sent", self.input, self.total)?;
        let mut shown = 0;
        for ReportedError { error, duplicates } in &self.reported {
            write!(f, "\n  {error}")?;
            if *duplicates > 0 {
                write!(f, " (and {duplicates} more like this)")?;
            }
            shown += 1 + duplicates;
        }
        if shown < self.total {
            write!(f, "\n  … and {} more", self.total - shown)?;
        }
        Ok(())
    }
}

impl std::error::Error for RowErrors {}

/// Lists the first `places` for a message, one a line, and the number of the others. A place is a line number (0 if
/// there is none) and a message.
pub(super) fn list_places(label: &str, places: &[(u64, String)]) -> String {
    const MAX_LISTED: usize = 20;
    let named = places.iter().take(MAX_LISTED).map(|(line, message)| match line {
        0 => format!("\n  {message}"),
        line => format!("\n  {label}:{line}: {message}"),
    });
    let more = places.len().saturating_sub(MAX_LISTED);
    named.chain((more > 0).then(|| format!("\n  … and {more} more"))).collect()
}

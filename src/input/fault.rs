//! What can be wrong with an input, in sentences: the whole of it, one row, or one field of a row.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Faults kept in full by [`InputFaults`]; the rest is counted.
pub const FAULTS_KEPT: usize = 100;

/// Why an input can't be opened at all.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    #[error("{0} is not there: give a file, a folder of pictures, a glob in quotes, or `-` for rows on standard input")]
    Missing(String),
    #[error("{path} can't be read: {source}")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{0} holds no rows")]
    Empty(String),
    /// A run has rows of an earlier pipe.
    #[error(
        "nothing came through the pipe ({0}): did the command before it fail? To go on with the rows that the run has \
         already, without new input, run the same command with `< /dev/null` and no pipe"
    )]
    EmptyPipe(String),
    #[error("{place} holds no pictures: looked for PNG, JPEG, WebP, GIF, HEIC, AVIF, TIFF and BMP files{hint}")]
    NoPictures { place: String, hint: &'static str },
    /// The bytes are no format that is read here; `words` says what to do.
    #[error("{path} {words}", path = path.display())]
    Unrecognised { path: PathBuf, words: String },
    #[error("the {which} template can't be used: {words}")]
    Template { which: &'static str, words: String },
    /// Options that contradict the kind of input.
    #[error("{0}")]
    Options(String),
    #[error("standard input is a terminal: pipe the rows in (`cat rows.jsonl | cascadeck run -`) or name a file")]
    NothingPiped,
    #[error("{path} can't be written: {source}; rows from a pipe are kept there so that the run can be resumed")]
    Spool { path: PathBuf, source: io::Error },
}

impl InputError {
    pub(super) fn unreadable(path: &Path, source: io::Error) -> Self {
        Self::Unreadable { path: path.to_owned(), source }
    }

    pub(super) fn unrecognised(path: &Path, words: impl Into<String>) -> Self {
        Self::Unrecognised { path: path.to_owned(), words: words.into() }
    }
}

/// What is wrong with a row, and in which field of it. Not yet tied to a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Wrong {
    /// `body.messages[2].role`; empty for the row as a whole.
    at: String,
    words: String,
    theme: Option<&'static str>,
}

impl Wrong {
    pub(super) fn new(at: impl Into<String>, words: impl Into<String>) -> Self {
        Self { at: at.into(), words: words.into(), theme: None }
    }

    /// Said once however many rows have it, even where the words differ from row to row.
    pub(super) fn said_once(mut self, theme: &'static str) -> Self {
        self.theme = Some(theme);
        self
    }

    /// The same fault, seen from the enclosing field: `role` within `messages[2]` is `messages[2].role`.
    #[must_use]
    pub(super) fn within(mut self, outer: impl fmt::Display) -> Self {
        let dot = if self.at.is_empty() || self.at.starts_with('[') { "" } else { "." };
        self.at = format!("{outer}{dot}{}", self.at);
        self
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.at.is_empty() {
            write!(f, "`{}` ", self.at)?;
        }
        f.write_str(&self.words)
    }
}

/// One bad row. Prints as `rows.jsonl:17: …`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RowFault {
    pub input: Arc<str>,
    /// 1-based line; for pictures their place in the list; 0 where the fault is in no line.
    pub line: u64,
    pub words: String,
    theme: Option<&'static str>,
}

impl RowFault {
    pub(super) fn new(input: &Arc<str>, line: u64, wrong: &Wrong) -> Self {
        Self { input: Arc::clone(input), line, words: wrong.to_string(), theme: wrong.theme }
    }

    fn is_like(&self, other: &Self) -> bool {
        self.words == other.words || (self.theme.is_some() && self.theme == other.theme)
    }
}

impl fmt::Display for RowFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.input, self.words),
            line => write!(f, "{}:{line}: {}", self.input, self.words),
        }
    }
}

impl std::error::Error for RowFault {}

/// A fault and how many later rows have the same one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reported {
    pub fault: RowFault,
    pub more_alike: u64,
}

/// Everything wrong with an input, found in one pass: the first [`FAULTS_KEPT`] different faults in full.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InputFaults {
    pub input: Arc<str>,
    pub reported: Vec<Reported>,
    /// Bad rows altogether.
    pub total: u64,
}

impl InputFaults {
    pub(super) fn none(input: &Arc<str>) -> Self {
        Self { input: Arc::clone(input), reported: Vec::new(), total: 0 }
    }

    pub(super) fn add(&mut self, fault: RowFault) {
        self.total += 1;
        if let Some(known) = self.reported.iter_mut().find(|known| known.fault.is_like(&fault)) {
            known.more_alike += 1;
        } else if self.reported.len() < FAULTS_KEPT {
            self.reported.push(Reported { fault, more_alike: 0 });
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.total == 0
    }
}

impl fmt::Display for InputFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = if self.total == 1 { "row" } else { "rows" };
        write!(f, "{} has {} bad {rows}; nothing was sent", self.input, self.total)?;
        let mut told = 0;
        for Reported { fault, more_alike } in &self.reported {
            write!(f, "\n  {fault}")?;
            if *more_alike > 0 {
                write!(f, " (and {more_alike} more like this)")?;
            }
            told += 1 + more_alike;
        }
        if told < self.total {
            write!(f, "\n  … and {} more", self.total - told)?;
        }
        Ok(())
    }
}

impl std::error::Error for InputFaults {}

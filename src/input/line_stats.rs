//! Decides by all lines of a text file whether it lists pictures or prompts.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    error::InputError, lines::LineReader, listed_path::resolve_listed_path, options::LineFormat,
    picture_file::is_picture, picture_names::LineShape,
};

/// Counts of the lines of a text file, to decide whether it lists pictures or prompts.
#[derive(Debug)]
pub(super) struct LineStats {
    /// Folders that paths may start from, each with the number of lines that name an existing picture: the list's own
    /// folder, and the working directory (as for `find photos -name '*.jpg' > /tmp/list.txt`).
    base_dirs: Vec<(PathBuf, u64)>,
    /// Number of lines that look like prompts and were looked up, but name no existing picture.
    misses: u64,
    /// The line names an existing picture.
    existing: LineCount,
    /// The line looks like the file name of a picture, in one word or in quotes.
    picture_names: LineCount,
    /// The line may be the path, URL or name of a picture ([`LineShape::PossibleName`]).
    possible_names: LineCount,
    /// Sentences that end in a picture's extension. Among prompts they count as prompts; alone they are ambiguous.
    sentences: LineCount,
    /// Paths and URLs without a picture's extension: as sentences.
    locations: LineCount,
    /// The line isn't the name of a picture.
    other: LineCount,
}

/// True if every name in a line is short enough for a file name.
fn may_be_path(line: &str) -> bool {
    line.split(['/', '\\']).all(|name| name.len() <= LineStats::MAX_NAME_BYTES)
}

/// The result of looking up a line as a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum PathContent {
    Picture,
    Other,
    Missing,
}

pub(super) fn look_up(base: &Path, line: &str) -> PathContent {
    let path = base.join(&*resolve_listed_path(base, line));
    if path.is_file() && is_picture(&path) {
        PathContent::Picture
    } else if path.symlink_metadata().is_ok() {
        PathContent::Other
    } else {
        PathContent::Missing
    }
}

/// A number of lines, and the first of them.
#[derive(Default, Debug)]
struct LineCount {
    count: u64,
    first: Option<(u64, String)>,
}

impl LineCount {
    fn add(&mut self, number: u64, line: &str) {
        self.count += 1;
        self.first.get_or_insert_with(|| (number, truncate_line(line)));
    }
}

fn truncate_line(line: &str) -> String {
    const MAX_SHOWN_CHARS: usize = 60;
    let mut short: String = line.chars().take(MAX_SHOWN_CHARS).collect();
    if short.len() < line.len() {
        short.push('…');
    }
    short
}

impl LineStats {
    /// Maximum length of a path. Longer lines are not looked up.
    const MAX_PATH_BYTES: usize = 4_096;
    /// Maximum length of a file name, with two bytes for quotes around it.
    const MAX_NAME_BYTES: usize = 255 + 2;
    /// After this many misses, lines that look like prompts are not looked up any more.
    const MAX_MISSES: u64 = 32;

    /// Reads lines until they are known to be mixed ([`Self::is_mixed`]) or the file ends. If `line_format` says that
    /// they name pictures, reads all lines. `look_up` looks up a line as a path in a folder.
    pub(super) fn read(
        path: &Path,
        base_dir: &Path,
        line_format: LineFormat,
        mut look_up: impl FnMut(&Path, &str) -> PathContent,
    ) -> io::Result<Self> {
        let mut base_dirs = vec![(base_dir.to_owned(), 0)];
        base_dirs
            .extend(std::env::current_dir().ok().filter(|working_dir| working_dir != base_dir).map(|here| (here, 0)));
        let empty = LineCount::default;
        let mut stats = Self {
            base_dirs,
            misses: 0,
            existing: empty(),
            picture_names: empty(),
            possible_names: empty(),
            sentences: empty(),
            locations: empty(),
            other: empty(),
        };
        let reads_all = line_format == LineFormat::Pictures;
        let mut lines = LineReader::open(path)?;
        while reads_all || !stats.is_mixed() {
            match lines.advance() {
                Ok(false) => break,
                Ok(true) if lines.is_blank() => {}
                Ok(true) => {
                    let line = String::from_utf8_lossy(lines.bytes().trim_ascii()).into_owned();
                    stats.add(lines.line_number(), &line, reads_all, &mut look_up);
                }
                // Validation reports the error.
                Err(_) => {
                    stats.other.add(lines.line_number(), "");
                    break;
                }
            }
        }
        Ok(stats)
    }

    fn add(&mut self, number: u64, line: &str, is_list: bool, look_up: &mut impl FnMut(&Path, &str) -> PathContent) {
        let shape = LineShape::classify(line);
        if line.len() > Self::MAX_PATH_BYTES || line.contains('\0') {
            // The line may be a picture's data, which is long.
            let lines = if shape == LineShape::Prompt { &mut self.other } else { &mut self.possible_names };
            return lines.add(number, line);
        }
        let (mut exists, mut is_comment) = (false, line.starts_with('#'));
        let looks_like_name = matches!(shape, LineShape::Name | LineShape::PossibleName | LineShape::Location);
        if is_list || ((looks_like_name || self.misses < Self::MAX_MISSES) && may_be_path(line)) {
            let mut is_missing = false;
            for (base_dir, count) in &mut self.base_dirs {
                let content = look_up(base_dir, line);
                *count += u64::from(content == PathContent::Picture);
                exists |= content == PathContent::Picture;
                is_missing |= content == PathContent::Missing;
            }
            is_comment &= is_missing;
            self.misses += u64::from(!exists && !looks_like_name);
        }
        match shape {
            _ if exists => self.existing.add(number, line),
            LineShape::Name => self.picture_names.add(number, line),
            LineShape::PossibleName => self.possible_names.add(number, line),
            LineShape::Sentence => self.sentences.add(number, line),
            LineShape::Location => self.locations.add(number, line),
            LineShape::Prompt if is_comment => {}
            LineShape::Prompt => self.other.add(number, line),
        }
    }

    /// True if some lines look like pictures' names and others don't. Further lines can't make the file unambiguous.
    fn is_mixed(&self) -> bool {
        self.other.count > 0 && self.existing.count + self.picture_names.count > 0
    }

    /// The folder in which most of the pictures exist; in case of a tie, the list's own folder.
    pub(super) fn best_base(&self) -> PathBuf {
        let mut best = &self.base_dirs[0];
        for base_dir in &self.base_dirs[1..] {
            if base_dir.1 > best.1 {
                best = base_dir;
            }
        }
        best.0.clone()
    }

    /// Returns pictures or prompts if the lines are unambiguous, by the rule at [`LineShape`].
    pub(super) fn line_format(&self, display_path: &Path) -> Result<LineFormat, InputError> {
        /// Prompts for each line that may be a name, so that it counts as a prompt too.
        const PROMPTS_PER_NAME: u64 = 9;
        let Self { existing, picture_names, possible_names, .. } = self;
        let Self { sentences, locations, other, .. } = self;
        let in_doubt = possible_names.count + sentences.count + locations.count;
        if other.count == 0 && (existing.count > 0 || (picture_names.count > 0 && in_doubt == 0)) {
            return Ok(LineFormat::Pictures);
        }
        let has_no_names = existing.count == 0 && picture_names.count == 0;
        let are_prompts = possible_names.count.saturating_mul(PROMPTS_PER_NAME) <= other.count;
        if has_no_names && are_prompts && (other.count > 0 || in_doubt == 0) {
            return Ok(LineFormat::Prompts);
        }
        let first_line = |lines: &[&LineCount]| {
            let (number, line) = lines.iter().find_map(|lines| lines.first.as_ref())?;
            Some(format!("line {number} ({line})"))
        };
        let readings = match (
            first_line(&[existing, picture_names]),
            first_line(&[possible_names, sentences, locations]),
            first_line(&[other]),
        ) {
            (Some(picture), _, Some(prompt)) => format!(
                "{picture} names a picture, as in a list of pictures; {prompt} does not, as in a file of prompts"
            ),
            (None, Some(possible), Some(prompt)) => format!(
                "{possible} looks like a picture's name, path or URL, as in a list of pictures; {prompt} does not, as in a \
                 file of prompts"
            ),
            (_, possible, _) => format!(
                "{} may be a picture's name, path or URL, as in a list of pictures, or a prompt",
                possible.unwrap_or_default()
            ),
        };
        let message = format!(
            "can be read in two ways: {readings}. Use --list if every line names a picture, or --lines if every line is a \
             prompt"
        );
        Err(InputError::unsupported_format(display_path, message))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Returns how many paths are looked up for a file with these lines, and the detected format. `is_existing` says
    /// which lines name an existing picture.
    fn lookups(lines: &str, is_existing: impl Fn(&str) -> bool) -> (usize, Result<LineFormat, String>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines.txt");
        fs::write(&path, lines).unwrap();
        let mut count = 0;
        let look_up = |_: &Path, line: &str| {
            count += 1;
            if is_existing(line) { PathContent::Picture } else { PathContent::Missing }
        };
        let read = LineStats::read(&path, folder.path(), LineFormat::Detect, look_up).unwrap();
        (count, read.line_format(&path).map_err(|error| error.to_string()))
    }

    #[test]
    fn few_lines_of_a_prompt_file_are_looked_up() {
        const FOLDERS: usize = 2;
        let lines = |line: &dyn Fn(usize) -> String| (0..5_000).map(line).collect::<String>();
        let is_nothing = |_: &str| false;
        let few = FOLDERS * LineStats::MAX_MISSES as usize;
        let prompts = lines(&|n| {
            format!("What is {n} + {n}?\n# Sums\nName a command that writes every sum of them to {n}.png\n")
        });
        let (count, format) = lookups(&prompts, is_nothing);
        assert_eq!(format, Ok(LineFormat::Prompts));
        assert!(count <= few, "{count}");
        // Names that are too long for a file are not looked up.
        let long = lines(&|n| format!("What is {n}{}?\n", " + 1".repeat(100)));
        assert_eq!(lookups(&long, is_nothing), (0, Ok(LineFormat::Prompts)));
        // Reading stops at the first line that makes the file mixed.
        let mixed = "Write a poem\n".to_owned() + &lines(&|n| format!("{n}.png\n"));
        let (count, format) = lookups(&mixed, is_nothing);
        assert!(format.unwrap_err().contains("can be read in two ways"));
        assert!(count <= 2 * FOLDERS, "{count}");
        // Every line of a list is looked up, since a picture may have any name.
        let list = lines(&|n| format!("scan {n}\n"));
        assert_eq!(lookups(&list, |_| true), (FOLDERS * 5_000, Ok(LineFormat::Pictures)));
    }
}

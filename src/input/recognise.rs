//! Which format a file is in: from its first bytes, its extension, and the fields of its first row.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::{
    Kind, LineFormat,
    album::{has_picture_magic, is_picture, listed_path},
    csv::delimiter_of,
    fault::InputError,
    json::Json,
    lines::Lines,
    picture_names::LineShape,
};

/// Rows looked at before giving up on finding one that parses.
const LOOKED_AT: usize = 20;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Recognised {
    Rows(Kind),
    Csv {
        delimiter: u8,
    },
    /// A file that names pictures, relative to `base`.
    List {
        base: PathBuf,
    },
    Picture,
}

/// `shown` is the name people know the file by: its extension counts, and messages use it. `base` is the folder that
/// paths in it are relative to.
pub(super) fn recognise(path: &Path, shown: &Path, base: &Path, format: LineFormat) -> Result<Recognised, InputError> {
    let unreadable = |error: io::Error| InputError::unreadable(shown, error);
    let mut head = Vec::with_capacity(1_024);
    File::open(path).and_then(|file| file.take(1_024).read_to_end(&mut head)).map_err(unreadable)?;
    let extension = shown.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_ascii_lowercase();
    if has_picture_magic(&head) || (head.starts_with(b"BM") && extension == "bmp") {
        return Ok(Recognised::Picture);
    }
    refuse_binary(&head, shown)?;

    let mut lines = Lines::open(path).map_err(unreadable)?;
    let Some(first) = first_line(&mut lines) else { return Err(InputError::Empty(shown.display().to_string())) };
    match format {
        LineFormat::Pictures => {
            return ListLines::read(path, base, format, look_up)
                .map(|lines| Recognised::List { base: lines.base() })
                .map_err(unreadable);
        }
        LineFormat::Prompts => return Ok(Recognised::Rows(Kind::Text)),
        LineFormat::Detect => {}
    }
    let recognised = match extension.as_str() {
        "csv" => Recognised::Csv { delimiter: delimiter_of(&first) },
        "tsv" => Recognised::Csv { delimiter: b'\t' },
        "jsonl" | "ndjson" | "json" => Recognised::Rows(json_kind(&first, &mut lines, shown)?),
        _ if first.starts_with('{') && (extension != "txt" || Json::parse(&first).is_ok()) => {
            Recognised::Rows(json_kind(&first, &mut lines, shown)?)
        }
        _ if looks_like_an_array(&first) && extension != "txt" => return Err(array(shown)),
        "" if is_csv_header(&first) => Recognised::Csv { delimiter: delimiter_of(&first) },
        _ => {
            let lines = ListLines::read(path, base, format, look_up).map_err(unreadable)?;
            match lines.format(shown)? {
                LineFormat::Pictures => Recognised::List { base: lines.base() },
                _ => Recognised::Rows(Kind::Text),
            }
        }
    };
    Ok(recognised)
}

/// Formats that people do try, and what to do with them.
pub(super) fn refuse_binary(head: &[u8], shown: &Path) -> Result<(), InputError> {
    let unpacked = || into_file(shown, shown.file_stem().and_then(OsStr::to_str), "-unpacked");
    let words = match head {
        [0x1F, 0x8B, ..] => format!("is compressed; unpack it first, as in {}", command("zcat", shown, &unpacked())),
        [0x28, 0xB5, 0x2F, 0xFD, ..] => {
            format!("is compressed; unpack it first, as in {}", command("zstdcat", shown, &unpacked()))
        }
        [b'P', b'K', 3, 4, ..] => "is a ZIP archive (or a spreadsheet); unpack it, or save the sheet as CSV".to_owned(),
        [b'P', b'A', b'R', b'1', ..] => {
            let (from, to) = (sql_name(shown), sql_name(&as_rows(shown)));
            format!("is Parquet; convert it, as in `duckdb -c \"copy {from} to {to} (format json)\"`")
        }
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => {
            let converted = into_file(shown, None, "-utf8");
            format!("is UTF-16; convert it, as in {}", command("iconv -f utf-16 -t utf-8", shown, &converted))
        }
        _ if head.contains(&0) => "is no text: it holds zero bytes".to_owned(),
        _ => return Ok(()),
    };
    Err(InputError::unrecognised(shown, words))
}

/// A command that makes the file `to` of `from`, for people to copy; of a pipe one that stands in it.
fn command(words: &str, from: &Path, to: &Path) -> String {
    if from.is_file() {
        format!("`{words} {} > {}`", quoted(from), quoted(to))
    } else {
        format!("`… | {words} | cascadeck run -`")
    }
}

/// A file beside `shown` under another name: `name`, or else its own name with `suffix` before the extension. Never
/// `shown` itself, which a command that writes there would empty before it reads.
fn into_file(shown: &Path, name: Option<&str>, suffix: &str) -> PathBuf {
    if let Some(path) = name.map(|name| shown.with_file_name(name)).filter(|path| path != shown) {
        return path;
    }
    let mut name = shown.file_stem().unwrap_or_default().to_os_string();
    name.push(suffix);
    if let Some(extension) = shown.extension() {
        name.push(".");
        name.push(extension);
    }
    shown.with_file_name(name)
}

/// The file for rows that are made from another format.
fn as_rows(shown: &Path) -> PathBuf {
    let name = format!("{}.jsonl", shown.file_stem().unwrap_or_default().to_string_lossy());
    into_file(shown, Some(&name), "-lines")
}

/// A path as a shell reads it.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let is_plain = |letter: char| letter.is_alphanumeric() || "._-/+,:@%=".contains(letter);
    if path.chars().all(is_plain) { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

/// A path as SQL reads it.
fn sql_name(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "''"))
}

/// The first line that isn't blank, as far as it is text. Faults in it are for validation to report.
fn first_line(lines: &mut Lines) -> Option<String> {
    loop {
        match lines.advance() {
            Ok(false) => return None,
            Ok(true) if lines.is_blank() => {}
            Ok(true) => return Some(String::from_utf8_lossy(lines.bytes().trim_ascii()).into_owned()),
            Err(_) => return Some(String::new()),
        }
    }
}

/// By the fields of the first row that parses.
fn json_kind(first: &str, lines: &mut Lines, shown: &Path) -> Result<Kind, InputError> {
    if first.starts_with('[') {
        return Err(array(shown));
    }
    let mut line = first.to_owned();
    for looked_at in 0..LOOKED_AT {
        match Json::parse(&line) {
            Ok(row) => return Ok(kind_of(&row)),
            Err(_) if looked_at == 0 && matches!(line.as_str(), "{" | "{}") => {
                let words = format!(
                    "is one JSON document over many lines; rows stand one a line: {}",
                    command("jq -c .", shown, &as_rows(shown))
                );
                return Err(InputError::unrecognised(shown, words));
            }
            Err(_) => {}
        }
        match first_line(lines) {
            Some(next) => line = next,
            None => break,
        }
    }
    Ok(Kind::Jsonl)
}

fn kind_of(row: &Json<'_>) -> Kind {
    let is_object = |name: &str| matches!(row.get(name), Some(Json::Object(_)));
    let has = |name: &str| row.get(name).is_some();
    if has("custom_id") && is_object("body") {
        Kind::OpenAiBatch
    } else if has("custom_id") && is_object("params") {
        Kind::AnthropicBatch
    } else if is_object("request") && (has("key") || row.get("request").is_some_and(|it| it.get("contents").is_some()))
    {
        Kind::GeminiBatch
    } else {
        Kind::Jsonl
    }
}

fn looks_like_an_array(first: &str) -> bool {
    first.strip_prefix('[').is_some_and(|rest| {
        let rest = rest.trim_start();
        rest.is_empty() || rest.starts_with(['{', '"', '['])
    })
}

fn array(shown: &Path) -> InputError {
    let words = format!("is one JSON array; rows stand one a line: {}", command("jq -c '.[]'", shown, &as_rows(shown)));
    InputError::unrecognised(shown, words)
}

/// The lines of a text file, held against what a list of pictures has.
#[derive(Debug)]
struct ListLines {
    /// Folders that paths may be relative to, and how many lines name a picture that is there: the list's own folder, and
    /// the working directory (as `find photos -name '*.jpg' > /tmp/list.txt` leaves it).
    bases: Vec<(PathBuf, u64)>,
    /// Lines that were looked up though they are written like prompts, and name no picture that is there.
    misses: u64,
    there: LineCount,
    /// Written as a picture's name is, in one word.
    named: LineCount,
    /// Written as a picture's name, path or URL may be.
    perhaps: LineCount,
    /// Sentences with a picture's extension at their end. In a file of prompts they are prompts; alone they leave doubt.
    sentences: LineCount,
    /// No picture's name.
    other: LineCount,
}

/// Whether the names in a line are short enough for a path.
fn may_be_path(line: &str) -> bool {
    line.split(['/', '\\']).all(|name| name.len() <= ListLines::MAX_NAME)
}

/// What stands at the path that a line may name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum AtPath {
    Picture,
    Something,
    Nothing,
}

fn look_up(base: &Path, line: &str) -> AtPath {
    let path = base.join(&*listed_path(base, line));
    if path.is_file() && is_picture(&path) {
        AtPath::Picture
    } else if path.symlink_metadata().is_ok() {
        AtPath::Something
    } else {
        AtPath::Nothing
    }
}

/// How many lines, and the first of them.
#[derive(Default, Debug)]
struct LineCount {
    count: u64,
    first: Option<(u64, String)>,
}

impl LineCount {
    fn add(&mut self, number: u64, line: &str) {
        self.count += 1;
        self.first.get_or_insert_with(|| (number, shortened(line)));
    }
}

fn shortened(line: &str) -> String {
    const SHOWN: usize = 60;
    let mut short: String = line.chars().take(SHOWN).collect();
    if short.len() < line.len() {
        short.push('…');
    }
    short
}

impl ListLines {
    /// Longer lines are no paths.
    const MAX_PATH: usize = 4_096;
    /// Longer names are none that a file has; two bytes for quotes.
    const MAX_NAME: usize = 255 + 2;
    /// Lines that are written like prompts and name nothing: after so many, further ones are not looked up.
    const MAX_MISSES: u64 = 32;

    /// Reads the lines as far as they matter: until they leave no doubt, or all where `format` says that they name pictures.
    /// `look_up` says what a line names below a folder.
    fn read(
        path: &Path,
        base: &Path,
        format: LineFormat,
        mut look_up: impl FnMut(&Path, &str) -> AtPath,
    ) -> io::Result<Self> {
        let mut bases = vec![(base.to_owned(), 0)];
        bases.extend(std::env::current_dir().ok().filter(|here| here != base).map(|here| (here, 0)));
        let none = LineCount::default;
        let mut all =
            Self { bases, misses: 0, there: none(), named: none(), perhaps: none(), sentences: none(), other: none() };
        let reads_all = format == LineFormat::Pictures;
        let mut lines = Lines::open(path)?;
        while reads_all || !all.is_mixed() {
            match lines.advance() {
                Ok(false) => break,
                Ok(true) if lines.is_blank() => {}
                Ok(true) => {
                    let line = String::from_utf8_lossy(lines.bytes().trim_ascii()).into_owned();
                    all.add(lines.number(), &line, reads_all, &mut look_up);
                }
                // The pass over the rows says what is wrong with it.
                Err(_) => {
                    all.other.add(lines.number(), "");
                    break;
                }
            }
        }
        Ok(all)
    }

    fn add(&mut self, number: u64, line: &str, is_list: bool, look_up: &mut impl FnMut(&Path, &str) -> AtPath) {
        let shape = LineShape::of(line);
        if line.len() > Self::MAX_PATH || line.contains('\0') {
            // A picture's data may be long.
            let lines = if shape == LineShape::Prompt { &mut self.other } else { &mut self.perhaps };
            return lines.add(number, line);
        }
        let (mut is_there, mut is_comment) = (false, line.starts_with('#'));
        let looks_so = matches!(shape, LineShape::Name | LineShape::PerhapsName);
        if is_list || ((looks_so || self.misses < Self::MAX_MISSES) && may_be_path(line)) {
            let mut is_missing = false;
            for (base, count) in &mut self.bases {
                let found = look_up(base, line);
                *count += u64::from(found == AtPath::Picture);
                is_there |= found == AtPath::Picture;
                is_missing |= found == AtPath::Nothing;
            }
            is_comment &= is_missing;
            self.misses += u64::from(!is_there && !looks_so);
        }
        match shape {
            _ if is_there => self.there.add(number, line),
            LineShape::Name => self.named.add(number, line),
            LineShape::PerhapsName => self.perhaps.add(number, line),
            LineShape::Sentence => self.sentences.add(number, line),
            LineShape::Prompt if is_comment => {}
            LineShape::Prompt => self.other.add(number, line),
        }
    }

    /// Whether some lines look like pictures' names and others do not: whatever follows leaves doubt.
    fn is_mixed(&self) -> bool {
        self.other.count > 0 && self.there.count + self.named.count + self.perhaps.count > 0
    }

    /// The folder under which most of the pictures are; its own where there is no difference.
    fn base(&self) -> PathBuf {
        let mut best = &self.bases[0];
        for base in &self.bases[1..] {
            if base.1 > best.1 {
                best = base;
            }
        }
        best.0.clone()
    }

    /// Pictures or prompts, where the lines leave no doubt: a path that goes out as a prompt is paid for and answered
    /// wrongly, so that one line which looks like a picture's name is enough for doubt.
    fn format(&self, shown: &Path) -> Result<LineFormat, InputError> {
        let Self { there, named, perhaps, sentences, other, .. } = self;
        let in_doubt = perhaps.count + sentences.count;
        if other.count == 0 && (there.count > 0 || (named.count > 0 && in_doubt == 0)) {
            return Ok(LineFormat::Pictures);
        }
        let names_none = there.count == 0 && named.count == 0 && perhaps.count == 0;
        if names_none && (other.count > 0 || sentences.count == 0) {
            return Ok(LineFormat::Prompts);
        }
        let place = |lines: &[&LineCount]| {
            let (number, line) = lines.iter().find_map(|lines| lines.first.as_ref())?;
            Some(format!("line {number} ({line})"))
        };
        let readings = match (place(&[there, named]), place(&[perhaps, sentences]), place(&[other])) {
            (Some(picture), _, Some(prompt)) => format!(
                "{picture} names a picture, as in a list of pictures; {prompt} does not, as in a file of prompts"
            ),
            (None, Some(perhaps), Some(prompt)) => format!(
                "{perhaps} looks like a picture's name, path or URL, as in a list of pictures; {prompt} does not, as in a \
                 file of prompts"
            ),
            (_, perhaps, _) => format!(
                "{} may be a picture's name, path or URL, as in a list of pictures, or a prompt",
                perhaps.unwrap_or_default()
            ),
        };
        let words = format!(
            "can be read in two ways: {readings}. Say --list if every line names a picture, or --lines if every line is a \
             prompt"
        );
        Err(InputError::unrecognised(shown, words))
    }
}

/// Rows from a pipe have no extension: a header with a `prompt` among other columns is taken for one.
fn is_csv_header(first: &str) -> bool {
    let delimiter = char::from(delimiter_of(first));
    first.contains(delimiter) && first.split(delimiter).any(|name| name.trim().trim_matches('"').eq("prompt"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// How many paths are looked up of a file with these lines, where `there` says which name a picture, and what it is.
    fn lookups(lines: &str, there: impl Fn(&str) -> bool) -> (usize, Result<LineFormat, String>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines.txt");
        fs::write(&path, lines).unwrap();
        let mut count = 0;
        let look_up = |_: &Path, line: &str| {
            count += 1;
            if there(line) { AtPath::Picture } else { AtPath::Nothing }
        };
        let read = ListLines::read(&path, folder.path(), LineFormat::Detect, look_up).unwrap();
        (count, read.format(&path).map_err(|error| error.to_string()))
    }

    #[test]
    fn few_lines_of_a_prompt_file_are_looked_up() {
        const FOLDERS: usize = 2;
        let lines = |line: &dyn Fn(usize) -> String| (0..5_000).map(line).collect::<String>();
        let is_nothing = |_: &str| false;
        let few = FOLDERS * ListLines::MAX_MISSES as usize;
        let prompts = lines(&|n| {
            format!("What is {n} + {n}?\n# Sums\nName a command that writes every sum of them to {n}.png\n")
        });
        let (count, format) = lookups(&prompts, is_nothing);
        assert_eq!(format, Ok(LineFormat::Prompts));
        assert!(count <= few, "{count}");
        // No file has such a name.
        let long = lines(&|n| format!("What is {n}{}?\n", " + 1".repeat(100)));
        assert_eq!(lookups(&long, is_nothing), (0, Ok(LineFormat::Prompts)));
        // Nothing that follows removes the doubt.
        let mixed = "Write a poem\n".to_owned() + &lines(&|n| format!("{n}.png\n"));
        let (count, format) = lookups(&mixed, is_nothing);
        assert!(format.unwrap_err().contains("can be read in two ways"));
        assert!(count <= 2 * FOLDERS, "{count}");
        // All of a list is, since pictures may have any name.
        let list = lines(&|n| format!("scan {n}\n"));
        assert_eq!(lookups(&list, |_| true), (FOLDERS * 5_000, Ok(LineFormat::Pictures)));
    }
}

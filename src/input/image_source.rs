//! Finds pictures in a folder and its sub-folders, by a glob, or in a list. The order is always the same.
//!
//! A folder's own pictures come first, then those of its sub-folders, each in natural order. The sub-folders are read
//! one after the other, so only the names of one folder are in memory at a time. Hidden files are skipped. Linked
//! folders are not entered, since they may form loops. Linked pictures are read.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fs::{self, File, OpenOptions},
    io::{self, Read},
    mem,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use nix::fcntl::OFlag;

use super::{error::FieldError, lines::LineReader, natural_sort, picture_names::extension_of};

/// Files with these extensions count as pictures without a look at their content. The item of a broken one fails when
/// it is sent.
pub(super) const PICTURE_EXTENSIONS: [&str; 11] =
    ["png", "jpg", "jpeg", "webp", "gif", "heic", "heif", "avif", "tif", "tiff", "bmp"];
/// Files with these extensions are not opened to look for a picture, since there may be thousands beside the pictures.
const TEXT_EXTENSIONS: [&str; 9] = ["txt", "caption", "json", "jsonl", "csv", "tsv", "md", "xml", "yaml"];

/// A source of pictures. Its paths are absolute.
#[derive(Clone, Debug)]
pub(super) enum ImageSource {
    Folder(PathBuf),
    /// A shell pattern, and the folder before its first wildcard.
    Glob {
        pattern: String,
        base_dir: PathBuf,
    },
    /// A file that names one picture per line, relative to `base_dir`.
    List {
        file: PathBuf,
        base_dir: PathBuf,
    },
    Single {
        base_dir: PathBuf,
        name: String,
    },
}

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
    linked_folders: Vec<PathBuf>,
}

impl ImageBatch {
    fn add_error(&mut self, message: String) {
        self.errors.push((0, FieldError::new("", message)));
    }

    fn exclude(&mut self, message: String) {
        self.excluded.push((0, message));
    }

    fn exclude_non_utf8(&mut self, path: &Path) {
        self.exclude(format!("{} has a name that is not UTF-8; rename it", path.display()));
    }

    /// Returns true if `path` is a regular file. Otherwise adds it to `excluded`.
    fn accepts_file(&mut self, path: &Path) -> bool {
        let reason = reason_not_a_file(path);
        if let Some(reason) = reason {
            self.exclude(format!("{} {reason}", path.display()));
            return false;
        }
        true
    }

    fn exclude_link(&mut self, link: &Path) {
        let link = link.display();
        self.exclude(format!("{link} is a link to a folder elsewhere; to include its pictures, name it: '{link}/*'"));
    }

    const fn is_empty(&self) -> bool {
        self.pictures.is_empty() && self.errors.is_empty() && self.excluded.is_empty()
    }
}

/// One pass over an image source.
pub(super) struct ImageBatches {
    remaining: Remaining,
    count: u32,
}

enum Remaining {
    /// The root, and the folders in it that are still to be read, relative to the root. The last one is read next.
    Folders(PathBuf, Vec<String>),
    Source(ImageSource),
    Done,
}

impl ImageSource {
    /// The folder that paths are relative to.
    pub(super) fn base_dir(&self) -> &Path {
        match self {
            Self::Folder(base_dir)
            | Self::Glob { base_dir, .. }
            | Self::List { base_dir, .. }
            | Self::Single { base_dir, .. } => base_dir,
        }
    }

    pub(super) fn batches(&self) -> ImageBatches {
        let remaining = match self {
            Self::Folder(root) => Remaining::Folders(root.clone(), vec![String::new()]),
            other => Remaining::Source(other.clone()),
        };
        ImageBatches { remaining, count: 0 }
    }
}

impl Iterator for ImageBatches {
    type Item = ImageBatch;

    fn next(&mut self) -> Option<ImageBatch> {
        loop {
            let mut batch = match &mut self.remaining {
                Remaining::Done => return None,
                Remaining::Folders(root, folders) => {
                    let folder = folders.pop()?;
                    read_folder(root, &folder, folders)
                }
                Remaining::Source(source) => {
                    let source_batch = read_source(source);
                    self.remaining = Remaining::Done;
                    source_batch
                }
            };
            for (line, _) in &mut batch.pictures {
                self.count = self.count.saturating_add(1);
                if *line == 0 {
                    *line = self.count;
                }
            }
            if !batch.is_empty() {
                return Some(batch);
            }
        }
    }
}

fn read_folder(root: &Path, folder: &str, folders: &mut Vec<String>) -> ImageBatch {
    let mut batch = ImageBatch::default();
    let mut subfolders = Vec::new();
    let path = root.join(folder);
    let unreadable = |error: &io::Error| format!("the folder {} can't be read: {error}", path.display());
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(error) if folder.is_empty() => {
            batch.add_error(unreadable(&error));
            return batch;
        }
        Err(error) => {
            batch.exclude(unreadable(&error));
            return batch;
        }
    };
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                batch.exclude(unreadable(&error));
                continue;
            }
        };
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let kind = entry.file_type();
        let is_folder = kind.as_ref().is_ok_and(fs::FileType::is_dir);
        let path = entry.path();
        if kind.as_ref().is_ok_and(fs::FileType::is_symlink) && path.is_dir() {
            // The pictures of a linked folder inside the root are read through their own folder.
            if !points_inside(&path, root) {
                batch.exclude_link(&path);
            }
            continue;
        }
        if !is_folder && !is_picture(&path) {
            continue;
        }
        let is_regular = is_folder || kind.is_ok_and(|kind| kind.is_file());
        if !is_regular && !batch.accepts_file(&path) {
            continue;
        }
        match name.to_str() {
            Some(name) if folder.is_empty() => add_entry(name.into(), is_folder, &mut batch, &mut subfolders),
            Some(name) => add_entry(format!("{folder}/{name}"), is_folder, &mut batch, &mut subfolders),
            None => batch.exclude_non_utf8(&path),
        }
    }
    batch.pictures.sort_by(|(_, a), (_, b)| natural_sort::compare(a, b));
    batch.excluded.sort();
    subfolders.sort_by(|a, b| natural_sort::compare(b, a));
    folders.append(&mut subfolders);
    batch
}

fn points_inside(link: &Path, root: &Path) -> bool {
    matches!((link.canonicalize(), root.canonicalize()), (Ok(real), Ok(root)) if real.starts_with(&root))
}

fn add_entry(path: String, is_folder: bool, batch: &mut ImageBatch, subfolders: &mut Vec<String>) {
    if is_folder { subfolders.push(path) } else { batch.pictures.push((0, path.into())) }
}

fn read_source(source: &ImageSource) -> ImageBatch {
    match source {
        ImageSource::Folder(root) => read_folder(root, "", &mut Vec::new()),
        ImageSource::Single { name, .. } => {
            ImageBatch { pictures: vec![(1, name.as_str().into())], ..ImageBatch::default() }
        }
        ImageSource::Glob { pattern, base_dir } => read_glob(pattern, base_dir),
        ImageSource::List { file, base_dir: base } => read_list(file, base).unwrap_or_else(|error| {
            let mut batch = ImageBatch::default();
            batch.add_error(format!("{} can't be read: {error}", file.display()));
            batch
        }),
    }
}

/// Finds the pictures that match a shell pattern, which begins with `base_dir`.
fn read_glob(pattern: &str, base_dir: &Path) -> ImageBatch {
    let mut batch = ImageBatch::default();
    let parts: Result<Vec<_>, _> = pattern
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .skip(base_dir.components().count().saturating_sub(1))
        .map(glob::Pattern::new)
        .collect();
    match parts {
        Ok(parts) => match_parts(base_dir, "", &parts, &mut batch),
        Err(error) => batch.add_error(format!("the pattern {pattern} can't be used: {error}")),
    }
    batch.pictures.sort_by(|(_, a), (_, b)| natural_sort::compare(a, b));
    // `**` may match the same folder in several ways.
    batch.pictures.dedup();
    exclude_duplicates(base_dir, &mut batch);
    batch.excluded.sort();
    batch.excluded.dedup();
    batch
}

/// Excludes pictures that a pattern finds through a linked folder if it finds them by another path too. Also reports
/// linked folders in which it finds nothing.
fn exclude_duplicates(base_dir: &Path, batch: &mut ImageBatch) {
    let mut folders: HashMap<PathBuf, PathBuf> = HashMap::new();
    let mut first_index: BTreeMap<PathBuf, usize> = BTreeMap::new();
    let mut real_paths = Vec::with_capacity(batch.pictures.len());
    for (_, name) in &batch.pictures {
        let path = base_dir.join(&**name);
        let folder = path.parent().unwrap_or(base_dir);
        let real_folder = folders
            .entry(folder.to_owned())
            .or_insert_with(|| folder.canonicalize().unwrap_or_else(|_| folder.to_owned()));
        real_paths.push((real_folder.join(path.file_name().unwrap_or_default()), real_folder.as_path() != folder));
    }
    // Direct paths first: they take precedence over paths through a linked folder.
    for linked in [false, true] {
        for (index, (real_path, _)) in real_paths.iter().enumerate().filter(|(_, (_, is_linked))| *is_linked == linked)
        {
            first_index.entry(real_path.clone()).or_insert(index);
        }
    }
    let names: Vec<Box<str>> = batch.pictures.iter().map(|(_, name)| name.clone()).collect();
    let mut kept = Vec::with_capacity(names.len());
    for (index, (real_path, _)) in real_paths.iter().enumerate() {
        match first_index.get(real_path) {
            Some(first) if *first != index => {
                batch.exclude(format!(
                    "{} is the same file as {} (through a linked folder) and is sent only once",
                    names[index], names[*first]
                ));
            }
            _ => kept.push((0, names[index].clone())),
        }
    }
    batch.pictures = kept;
    for link in mem::take(&mut batch.linked_folders) {
        let is_found = link.canonicalize().is_ok_and(|real| {
            first_index.range(real.clone()..).next().is_some_and(|(real_path, _)| real_path.starts_with(&real))
        });
        if !is_found {
            batch.exclude_link(&link);
        }
    }
}

const GLOB_OPTIONS: glob::MatchOptions =
    glob::MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// Adds the pictures in `folder` that match the rest of a pattern. `prefix` is the folder's path relative to the base.
/// As in a shell, `**` doesn't enter linked folders, since they may form loops. Links that the pattern names are
/// followed.
fn match_parts(folder: &Path, prefix: &str, parts: &[glob::Pattern], batch: &mut ImageBatch) {
    let Some((part, rest)) = parts.split_first() else { return };
    let is_any_depth = part.as_str() == "**";
    if !is_any_depth && !part.as_str().contains(['*', '?', '[']) {
        let path = folder.join(part.as_str());
        if path.symlink_metadata().is_ok() {
            add_match(&path, &join_path(prefix, part.as_str()), rest, batch);
        }
        return;
    }
    let entries = match fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return,
        Err(error) => return batch.exclude(format!("the folder {} can't be read: {error}", folder.display())),
    };
    if is_any_depth && !rest.is_empty() {
        match_parts(folder, prefix, rest, batch);
    }
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let display_name = name.to_string_lossy();
        if is_any_depth {
            // A trailing `**` matches everything below.
            let is_match = is_folder || (rest.is_empty() && is_picture(&path));
            if !display_name.starts_with('.') && !is_folder && path.is_dir() {
                batch.linked_folders.push(path);
                continue;
            }
            if !is_match || display_name.starts_with('.') {
                continue;
            }
        } else if !part.matches_with(&display_name, GLOB_OPTIONS)
            || !(path.is_dir() || rest.is_empty() && is_picture(&path))
        {
            continue;
        }
        match name.to_str() {
            None => batch.exclude_non_utf8(&path),
            Some(name) if is_any_depth && is_folder => match_parts(&path, &join_path(prefix, name), parts, batch),
            Some(name) => add_match(&path, &join_path(prefix, name), rest, batch),
        }
    }
}

fn add_match(path: &Path, prefix: &str, rest: &[glob::Pattern], batch: &mut ImageBatch) {
    if path.is_dir() {
        match_parts(path, prefix, rest, batch);
    } else if rest.is_empty() && is_picture(path) && batch.accepts_file(path) {
        batch.pictures.push((0, prefix.into()));
    }
}

fn join_path(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") }
}

/// Reads a list of pictures, in the order of its lines.
fn read_list(file: &Path, base_dir: &Path) -> io::Result<ImageBatch> {
    let mut lines = LineReader::open(file)?;
    let mut batch = ImageBatch::default();
    loop {
        match lines.advance() {
            Ok(false) => return Ok(batch),
            Ok(true) if lines.is_blank() => {}
            Ok(true) => match lines.text() {
                Ok(line) if is_comment(base_dir, line) => {}
                Ok(line) => {
                    let path = resolve_listed_path(base_dir, line);
                    if let Some(reason) = reason_unsendable(base_dir, &path) {
                        batch.unsendable.push((lines.line_number(), format!("{path} {reason}")));
                    }
                    batch.pictures.push((line_number(&lines), path.into()));
                }
                Err(error) => batch.excluded.push((lines.line_number(), error.to_string())),
            },
            Err(error) => {
                batch.errors.push((lines.line_number(), error));
                return Ok(batch);
            }
        }
    }
}

/// True for a line of a list that begins with `#` and names no existing file.
fn is_comment(base_dir: &Path, line: &str) -> bool {
    line.trim_start().starts_with('#') && !path_exists(base_dir, &resolve_listed_path(base_dir, line))
}

/// The path that a line of a list names: the first of these that exists: the line as written, without quotes, without
/// shell escapes, or with backslashes converted to slashes. If none exists: the line without quotes.
pub(super) fn resolve_listed_path<'l>(base_dir: &Path, line: &'l str) -> Cow<'l, str> {
    let plain = strip_dot_slash(line);
    if path_exists(base_dir, plain) {
        return plain.into();
    }
    let unquoted = strip_quotes(plain);
    if path_exists(base_dir, unquoted) {
        return unquoted.into();
    }
    if unquoted.contains('\\') {
        let others = [remove_escapes(unquoted), unquoted.replace('\\', "/")];
        if let Some(path) = others.into_iter().find(|path| path_exists(base_dir, path)) {
            return strip_dot_slash(&path).to_owned().into();
        }
    }
    unquoted.into()
}

fn path_exists(base_dir: &Path, path: &str) -> bool {
    !path.is_empty() && base_dir.join(path).symlink_metadata().is_ok()
}

/// Removes surrounding quotes.
pub(super) fn strip_quotes(line: &str) -> &str {
    let strip = |quote: char| line.strip_prefix(quote)?.strip_suffix(quote);
    strip('"').or_else(|| strip('\'')).map_or(line, strip_dot_slash)
}

fn remove_escapes(path: &str) -> String {
    let mut letters = path.chars();
    let mut plain = String::with_capacity(path.len());
    while let Some(letter) = letters.next() {
        plain.extend(if letter == '\\' { letters.next() } else { Some(letter) });
    }
    plain
}

/// The reason why a listed path can't be sent, as far as it is known without reading the file.
fn reason_unsendable(base_dir: &Path, path: &str) -> Option<String> {
    let full_path = base_dir.join(path);
    if is_url(path) {
        return Some("is a URL, but a list must name files; download it, or use rows with `images`".to_owned());
    }
    if extension_of(path) == "svg" {
        return Some("is an SVG drawing, which no provider accepts; convert it to PNG".to_owned());
    }
    let reason = reason_not_a_file(&full_path);
    reason.or_else(|| (!is_picture(&full_path)).then(|| "is not a picture".to_owned()))
}

/// The reason why a path can't be read as a file, from its metadata. Nothing is opened, since a pipe would block.
fn reason_not_a_file(path: &Path) -> Option<String> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_file() => None,
        Ok(meta) if meta.is_dir() => Some("is a folder".to_owned()),
        Ok(_) => Some("is not a regular file".to_owned()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Some(format!("can't be read: {error}")),
        Err(_) if path.symlink_metadata().is_ok() => Some("is a broken link".to_owned()),
        Err(_) => Some("does not exist".to_owned()),
    }
}

fn is_url(path: &str) -> bool {
    let scheme = path.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https"))
}

fn line_number(lines: &LineReader) -> u32 {
    u32::try_from(lines.line_number()).unwrap_or(u32::MAX)
}

/// Removes leading `./`, so that `./a.png` and `a.png` are the same picture.
pub(super) fn strip_dot_slash(path: &str) -> &str {
    let mut path = path.trim();
    while let Some(rest) = path.strip_prefix("./") {
        path = rest.trim_start_matches('/');
    }
    path
}

/// True for a picture, by its extension, or else by its first bytes.
pub fn is_picture(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_ascii_lowercase();
    if PICTURE_EXTENSIONS.contains(&extension.as_str()) {
        return true;
    }
    !TEXT_EXTENSIONS.contains(&extension.as_str()) && has_picture_header(path)
}

/// Opens a regular file for reading. Refuses anything else, since a pipe without a writer would block.
pub(super) fn open_regular_file(path: &Path) -> io::Result<File> {
    let is_regular = |meta: fs::Metadata| {
        if meta.is_file() { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidInput, "is not a regular file")) }
    };
    // Checked before opening, since opening a device may have effects, and again after, since the path may point
    // elsewhere by then.
    is_regular(fs::metadata(path)?)?;
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    is_regular(file.metadata()?)?;
    Ok(file)
}

pub(super) fn has_picture_header(path: &Path) -> bool {
    let mut head = Vec::with_capacity(16);
    open_regular_file(path).and_then(|file| file.take(16).read_to_end(&mut head)).is_ok() && has_picture_magic(&head)
}

const HEIF_BRANDS: [&[u8; 4]; 11] =
    [b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"heif", b"mif1", b"msf1", b"avif", b"avis"];

/// True for formats whose first bytes can't be text. (BMP's "BM" can be, so BMP needs its extension.)
pub(super) fn has_picture_magic(head: &[u8]) -> bool {
    let brand = || head.get(8..12).unwrap_or_default();
    head.starts_with(b"\x89PNG\r\n\x1a\n")
        || head.starts_with(b"\xFF\xD8\xFF")
        || head.starts_with(b"GIF87a")
        || head.starts_with(b"GIF89a")
        || head.starts_with(b"II*\0")
        || head.starts_with(b"MM\0*")
        || (head.starts_with(b"RIFF") && brand() == b"WEBP")
        || (head.get(4..8) == Some(b"ftyp") && HEIF_BRANDS.iter().any(|known| brand() == *known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_known_by_their_first_bytes() {
        for (head, want) in [
            (&b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"[..], true),
            (b"\xFF\xD8\xFF\xE0\0\x10JFIF", true),
            (b"GIF89a", true),
            (b"RIFF\0\0\0\0WEBPVP8 ", true),
            (b"RIFF\0\0\0\0WAVEfmt ", false),
            (b"\0\0\0\x18ftypheic", true),
            (b"\0\0\0\x18ftypmp42", false),
            (b"MM\0*", true),
            (b"BMI of a person", false),
            (b"{\"prompt\":1}", false),
            (b"", false),
        ] {
            assert_eq!(has_picture_magic(head), want, "{head:?}");
        }
    }
}

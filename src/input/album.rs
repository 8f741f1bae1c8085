//! Finding pictures: in a folder and its sub-folders, by a glob, or in a list; in an order that is always the same.
//!
//! A folder is read folder by folder: its own pictures first, then its sub-folders', each in natural order, so
//! that only one folder's names are held at a time. Hidden files are passed over and linked folders are not
//! entered (they may lead round in circles); linked pictures are read.

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

use super::{fault::Wrong, lines::Lines, natural, picture_names::extension_of};

/// Taken for pictures whatever is in them; a broken one fails when it is sent, as an item of its own.
pub(super) const PICTURES: [&str; 11] =
    ["png", "jpg", "jpeg", "webp", "gif", "heic", "heif", "avif", "tif", "tiff", "bmp"];
/// Not opened to look for a picture: they lie beside pictures by the thousand.
const TEXTS: [&str; 9] = ["txt", "caption", "json", "jsonl", "csv", "tsv", "md", "xml", "yaml"];

/// Where pictures come from. Paths in it are absolute.
#[derive(Clone, Debug)]
pub(super) enum Album {
    Folder(PathBuf),
    /// Shell pattern, and the folder before its first wildcard.
    Glob {
        pattern: String,
        base: PathBuf,
    },
    /// A file that names a picture a line, relative to the base.
    List {
        file: PathBuf,
        base: PathBuf,
    },
    Single {
        base: PathBuf,
        name: String,
    },
}

/// Pictures that can clash with each other over a sidecar: those of one folder, or of one list.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    /// Line (or place in the album, from 1) and path, relative to the base where it can be.
    pub pictures: Vec<(u32, Box<str>)>,
    /// Line (0 where it is in none) and what is wrong.
    pub faults: Vec<(u64, Wrong)>,
    /// Files, folders and lines that can't be taken, with their line (0 where they are in none) and the reason.
    pub left_out: Vec<(u64, String)>,
    /// Lines of a list that name no picture that can be sent, and the reason. Each is among the pictures all the same:
    /// its item fails by name.
    pub unsendable: Vec<(u64, String)>,
    /// Folders that a pattern did not enter since they are links.
    linked_folders: Vec<PathBuf>,
}

impl Shelf {
    fn fault(&mut self, words: String) {
        self.faults.push((0, Wrong::new("", words)));
    }

    fn leave_out(&mut self, words: String) {
        self.left_out.push((0, words));
    }

    fn misnamed(&mut self, path: &Path) {
        self.leave_out(format!("{} has a name that is not UTF-8; rename it", path.display()));
    }

    /// Files that can't be taken are left out, whatever they are called.
    fn takes_file(&mut self, path: &Path) -> bool {
        let reason = reason_not_a_file(path);
        if let Some(reason) = reason {
            self.leave_out(format!("{} {reason}", path.display()));
            return false;
        }
        true
    }

    fn passes_over(&mut self, link: &Path) {
        let link = link.display();
        self.leave_out(format!("{link} is a link to a folder elsewhere; to take it in, name it: '{link}/*'"));
    }

    const fn is_empty(&self) -> bool {
        self.pictures.is_empty() && self.faults.is_empty() && self.left_out.is_empty()
    }
}

/// One pass over an album.
pub(super) struct Shelves {
    left: Left,
    count: u32,
}

enum Left {
    /// The root, and folders in it still to be read, the next one last.
    Folders(PathBuf, Vec<String>),
    Whole(Album),
    Nothing,
}

impl Album {
    /// The folder that paths are relative to.
    pub(super) fn base(&self) -> &Path {
        match self {
            Self::Folder(base) | Self::Glob { base, .. } | Self::List { base, .. } | Self::Single { base, .. } => base,
        }
    }

    pub(super) fn shelves(&self) -> Shelves {
        let left = match self {
            Self::Folder(root) => Left::Folders(root.clone(), vec![String::new()]),
            other => Left::Whole(other.clone()),
        };
        Shelves { left, count: 0 }
    }
}

impl Iterator for Shelves {
    type Item = Shelf;

    fn next(&mut self) -> Option<Shelf> {
        loop {
            let mut shelf = match &mut self.left {
                Left::Nothing => return None,
                Left::Folders(root, folders) => {
                    let folder = folders.pop()?;
                    read_folder(root, &folder, folders)
                }
                Left::Whole(album) => {
                    let shelf = read_whole(album);
                    self.left = Left::Nothing;
                    shelf
                }
            };
            for (line, _) in &mut shelf.pictures {
                self.count = self.count.saturating_add(1);
                if *line == 0 {
                    *line = self.count;
                }
            }
            if !shelf.is_empty() {
                return Some(shelf);
            }
        }
    }
}

fn read_folder(root: &Path, folder: &str, folders: &mut Vec<String>) -> Shelf {
    let mut shelf = Shelf::default();
    let mut inside = Vec::new();
    let path = root.join(folder);
    let unreadable = |error: &io::Error| format!("the folder {} can't be read: {error}", path.display());
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(error) if folder.is_empty() => {
            shelf.fault(unreadable(&error));
            return shelf;
        }
        Err(error) => {
            shelf.leave_out(unreadable(&error));
            return shelf;
        }
    };
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                shelf.leave_out(unreadable(&error));
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
            // Links inside the album lead to what is read anyway.
            if !leads_inside(&path, root) {
                shelf.passes_over(&path);
            }
            continue;
        }
        if !is_folder && !is_picture(&path) {
            continue;
        }
        let is_regular = is_folder || kind.is_ok_and(|kind| kind.is_file());
        if !is_regular && !shelf.takes_file(&path) {
            continue;
        }
        match name.to_str() {
            Some(name) if folder.is_empty() => shelf_or_folder(name.into(), is_folder, &mut shelf, &mut inside),
            Some(name) => shelf_or_folder(format!("{folder}/{name}"), is_folder, &mut shelf, &mut inside),
            None => shelf.misnamed(&path),
        }
    }
    shelf.pictures.sort_by(|(_, a), (_, b)| natural::compare(a, b));
    shelf.left_out.sort();
    inside.sort_by(|a, b| natural::compare(b, a));
    folders.append(&mut inside);
    shelf
}

fn leads_inside(link: &Path, root: &Path) -> bool {
    matches!((link.canonicalize(), root.canonicalize()), (Ok(real), Ok(root)) if real.starts_with(&root))
}

fn shelf_or_folder(path: String, is_folder: bool, shelf: &mut Shelf, inside: &mut Vec<String>) {
    if is_folder { inside.push(path) } else { shelf.pictures.push((0, path.into())) }
}

fn read_whole(album: &Album) -> Shelf {
    match album {
        Album::Folder(root) => read_folder(root, "", &mut Vec::new()),
        Album::Single { name, .. } => Shelf { pictures: vec![(1, name.as_str().into())], ..Shelf::default() },
        Album::Glob { pattern, base } => read_glob(pattern, base),
        Album::List { file, base } => read_list(file, base).unwrap_or_else(|error| {
            let mut shelf = Shelf::default();
            shelf.fault(format!("{} can't be read: {error}", file.display()));
            shelf
        }),
    }
}

/// Finds the pictures of a shell pattern, which begins with `base`.
fn read_glob(pattern: &str, base: &Path) -> Shelf {
    let mut shelf = Shelf::default();
    let parts: Result<Vec<_>, _> = pattern
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .skip(base.components().count().saturating_sub(1))
        .map(glob::Pattern::new)
        .collect();
    match parts {
        Ok(parts) => match_parts(base, "", &parts, &mut shelf),
        Err(error) => shelf.fault(format!("the pattern {pattern} can't be used: {error}")),
    }
    shelf.pictures.sort_by(|(_, a), (_, b)| natural::compare(a, b));
    // `**` may come to one folder in several ways.
    shelf.pictures.dedup();
    leave_out_repeated(base, &mut shelf);
    shelf.left_out.sort();
    shelf.left_out.dedup();
    shelf
}

/// Leaves out pictures that a pattern finds by a linked folder, where it finds them by another path as well, and names the
/// linked folders of which it finds nothing.
fn leave_out_repeated(base: &Path, shelf: &mut Shelf) {
    let mut folders: HashMap<PathBuf, PathBuf> = HashMap::new();
    let mut found: BTreeMap<PathBuf, usize> = BTreeMap::new();
    let mut places = Vec::with_capacity(shelf.pictures.len());
    for (_, name) in &shelf.pictures {
        let path = base.join(&**name);
        let folder = path.parent().unwrap_or(base);
        let real = folders
            .entry(folder.to_owned())
            .or_insert_with(|| folder.canonicalize().unwrap_or_else(|_| folder.to_owned()));
        places.push((real.join(path.file_name().unwrap_or_default()), real.as_path() != folder));
    }
    // By its own path, where the pattern finds it so.
    for wanted in [false, true] {
        for (at, (place, _)) in places.iter().enumerate().filter(|(_, (_, is_linked))| *is_linked == wanted) {
            found.entry(place.clone()).or_insert(at);
        }
    }
    let names: Vec<Box<str>> = shelf.pictures.iter().map(|(_, name)| name.clone()).collect();
    let mut kept = Vec::with_capacity(names.len());
    for (at, (place, _)) in places.iter().enumerate() {
        match found.get(place) {
            Some(first) if *first != at => {
                shelf.leave_out(format!("{} is {} by a linked folder, and goes once", names[at], names[*first]));
            }
            _ => kept.push((0, names[at].clone())),
        }
    }
    shelf.pictures = kept;
    for link in mem::take(&mut shelf.linked_folders) {
        let is_found = link
            .canonicalize()
            .is_ok_and(|real| found.range(real.clone()..).next().is_some_and(|(place, _)| place.starts_with(&real)));
        if !is_found {
            shelf.passes_over(&link);
        }
    }
}

const GLOB_OPTIONS: glob::MatchOptions =
    glob::MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// Takes what matches the rest of a pattern in a folder, which is `within` the base. As in a shell `**` enters no linked
/// folders, since these may lead round in circles; links that the pattern names part by part are followed.
fn match_parts(folder: &Path, within: &str, parts: &[glob::Pattern], shelf: &mut Shelf) {
    let Some((part, rest)) = parts.split_first() else { return };
    let is_any_depth = part.as_str() == "**";
    if !is_any_depth && !part.as_str().contains(['*', '?', '[']) {
        let path = folder.join(part.as_str());
        if path.symlink_metadata().is_ok() {
            take_match(&path, &joined(within, part.as_str()), rest, shelf);
        }
        return;
    }
    let entries = match fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return,
        Err(error) => return shelf.leave_out(format!("the folder {} can't be read: {error}", folder.display())),
    };
    if is_any_depth && !rest.is_empty() {
        match_parts(folder, within, rest, shelf);
    }
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let shown = name.to_string_lossy();
        if is_any_depth {
            // At its end `**` stands for everything below.
            let is_match = is_folder || (rest.is_empty() && is_picture(&path));
            if !shown.starts_with('.') && !is_folder && path.is_dir() {
                shelf.linked_folders.push(path);
                continue;
            }
            if !is_match || shown.starts_with('.') {
                continue;
            }
        } else if !part.matches_with(&shown, GLOB_OPTIONS) || !(path.is_dir() || rest.is_empty() && is_picture(&path)) {
            continue;
        }
        match name.to_str() {
            None => shelf.misnamed(&path),
            Some(name) if is_any_depth && is_folder => match_parts(&path, &joined(within, name), parts, shelf),
            Some(name) => take_match(&path, &joined(within, name), rest, shelf),
        }
    }
}

fn take_match(path: &Path, within: &str, rest: &[glob::Pattern], shelf: &mut Shelf) {
    if path.is_dir() {
        match_parts(path, within, rest, shelf);
    } else if rest.is_empty() && is_picture(path) && shelf.takes_file(path) {
        shelf.pictures.push((0, within.into()));
    }
}

fn joined(within: &str, name: &str) -> String {
    if within.is_empty() { name.to_owned() } else { format!("{within}/{name}") }
}

/// A list keeps its own order and its line numbers.
fn read_list(file: &Path, base: &Path) -> io::Result<Shelf> {
    let mut lines = Lines::open(file)?;
    let mut shelf = Shelf::default();
    loop {
        match lines.advance() {
            Ok(false) => return Ok(shelf),
            Ok(true) if lines.is_blank() => {}
            Ok(true) => match lines.text() {
                Ok(line) if is_comment(base, line) => {}
                Ok(line) => {
                    let path = listed_path(base, line);
                    if let Some(reason) = reason_unsendable(base, &path) {
                        shelf.unsendable.push((lines.number(), format!("{path} {reason}")));
                    }
                    shelf.pictures.push((line_of(&lines), path.into()));
                }
                Err(wrong) => shelf.left_out.push((lines.number(), wrong.to_string())),
            },
            Err(wrong) => {
                shelf.faults.push((lines.number(), wrong));
                return Ok(shelf);
            }
        }
    }
}

/// A line of a list that begins with `#` and names nothing that is there.
fn is_comment(base: &Path, line: &str) -> bool {
    line.trim_start().starts_with('#') && !is_there(base, &listed_path(base, line))
}

/// The path that a line of a list names: as it stands, or else without quotes, without a shell's backslashes, or with
/// Windows' backslashes turned round, whichever is there.
pub(super) fn listed_path<'l>(base: &Path, line: &'l str) -> Cow<'l, str> {
    let plain = tidy(line);
    if is_there(base, plain) {
        return plain.into();
    }
    let unquoted = unquoted(plain);
    if is_there(base, unquoted) {
        return unquoted.into();
    }
    if unquoted.contains('\\') {
        let others = [without_backslashes(unquoted), unquoted.replace('\\', "/")];
        if let Some(path) = others.into_iter().find(|path| is_there(base, path)) {
            return tidy(&path).to_owned().into();
        }
    }
    unquoted.into()
}

fn is_there(base: &Path, path: &str) -> bool {
    !path.is_empty() && base.join(path).symlink_metadata().is_ok()
}

/// Without the quotes around it, if it has any.
pub(super) fn unquoted(line: &str) -> &str {
    let within = |quote: char| line.strip_prefix(quote)?.strip_suffix(quote);
    within('"').or_else(|| within('\'')).map_or(line, tidy)
}

fn without_backslashes(path: &str) -> String {
    let mut letters = path.chars();
    let mut plain = String::with_capacity(path.len());
    while let Some(letter) = letters.next() {
        plain.extend(if letter == '\\' { letters.next() } else { Some(letter) });
    }
    plain
}

/// Why a path of a list can't be sent, as far as it shows before it is read.
fn reason_unsendable(base: &Path, path: &str) -> Option<String> {
    let whole = base.join(path);
    if is_url(path) {
        return Some("is a URL; a list names files: download it, or give rows with `images`".to_owned());
    }
    if extension_of(path) == "svg" {
        return Some("is an SVG drawing, which no provider takes; convert it to PNG".to_owned());
    }
    let reason = reason_not_a_file(&whole);
    reason.or_else(|| (!is_picture(&whole)).then(|| "is no picture".to_owned()))
}

/// Why something can't be read as a file. Nothing is opened: a pipe would block.
fn reason_not_a_file(path: &Path) -> Option<String> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_file() => None,
        Ok(meta) if meta.is_dir() => Some("is a folder".to_owned()),
        Ok(_) => Some("is no regular file".to_owned()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Some(format!("can't be read: {error}")),
        Err(_) if path.symlink_metadata().is_ok() => Some("is a link to nothing".to_owned()),
        Err(_) => Some("is not there".to_owned()),
    }
}

fn is_url(path: &str) -> bool {
    let scheme = path.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https"))
}

fn line_of(lines: &Lines) -> u32 {
    u32::try_from(lines.number()).unwrap_or(u32::MAX)
}

/// A path as listed, so that `./a.png` and `a.png` are one picture.
pub(super) fn tidy(path: &str) -> &str {
    let mut path = path.trim();
    while let Some(rest) = path.strip_prefix("./") {
        path = rest.trim_start_matches('/');
    }
    path
}

/// By its name, or else by its first bytes.
pub fn is_picture(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_ascii_lowercase();
    if PICTURES.contains(&extension.as_str()) {
        return true;
    }
    !TEXTS.contains(&extension.as_str()) && starts_like_a_picture(path)
}

/// Opens a regular file for reading, and nothing else: a pipe without a writer would block.
pub(super) fn open_regular(path: &Path) -> io::Result<File> {
    let is_regular = |meta: fs::Metadata| {
        if meta.is_file() { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidInput, "is no regular file")) }
    };
    // Looked at first, since opening a device may do something; and again, since the name may lead elsewhere by now.
    is_regular(fs::metadata(path)?)?;
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    is_regular(file.metadata()?)?;
    Ok(file)
}

pub(super) fn starts_like_a_picture(path: &Path) -> bool {
    let mut head = Vec::with_capacity(16);
    open_regular(path).and_then(|file| file.take(16).read_to_end(&mut head)).is_ok() && has_picture_magic(&head)
}

const HEIF_BRANDS: [&[u8; 4]; 11] =
    [b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"heif", b"mif1", b"msf1", b"avif", b"avis"];

/// Formats whose first bytes can't be taken for text. (BMP's "BM" can, so that it needs its extension.)
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

//! Finding pictures: in a folder and its sub-folders, by a glob, or in a list; in an order that is always the same.
//!
//! A folder is read folder by folder: its own pictures first, then its sub-folders', each in natural order, so
//! that only one folder's names are held at a time. Hidden files are passed over and linked folders are not
//! entered (they may lead round in circles); linked pictures are read.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::{fault::Wrong, lines::Lines, natural};

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
}

impl Shelf {
    fn fault(&mut self, words: String) {
        self.faults.push((0, Wrong::new("", words)));
    }

    fn misnamed(&mut self, path: &Path) {
        self.fault(format!("{} has a name that is not UTF-8; rename it", path.display()));
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
            if !shelf.pictures.is_empty() || !shelf.faults.is_empty() {
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
        Err(error) => {
            shelf.fault(unreadable(&error));
            return shelf;
        }
    };
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                shelf.fault(unreadable(&error));
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
        if !is_folder && !is_picture(&path) {
            continue;
        }
        match name.to_str() {
            Some(name) if folder.is_empty() => shelf_or_folder(name.into(), is_folder, &mut shelf, &mut inside),
            Some(name) => shelf_or_folder(format!("{folder}/{name}"), is_folder, &mut shelf, &mut inside),
            None => shelf.misnamed(&path),
        }
    }
    shelf.pictures.sort_by(|(_, a), (_, b)| natural::compare(a, b));
    inside.sort_by(|a, b| natural::compare(b, a));
    folders.append(&mut inside);
    shelf
}

fn shelf_or_folder(path: String, is_folder: bool, shelf: &mut Shelf, inside: &mut Vec<String>) {
    if is_folder { inside.push(path) } else { shelf.pictures.push((0, path.into())) }
}

fn read_whole(album: &Album) -> Shelf {
    match album {
        Album::Folder(root) => read_folder(root, "", &mut Vec::new()),
        Album::Single { name, .. } => Shelf { pictures: vec![(1, name.as_str().into())], faults: Vec::new() },
        Album::Glob { pattern, base } => read_glob(pattern, base),
        Album::List { file, .. } => read_list(file).unwrap_or_else(|error| {
            let mut shelf = Shelf::default();
            shelf.fault(format!("{} can't be read: {error}", file.display()));
            shelf
        }),
    }
}

fn read_glob(pattern: &str, base: &Path) -> Shelf {
    let mut shelf = Shelf::default();
    let options = glob::MatchOptions {
        require_literal_leading_dot: true,
        require_literal_separator: true,
        ..glob::MatchOptions::default()
    };
    let found = match glob::glob_with(pattern, options) {
        Ok(found) => found,
        Err(error) => {
            shelf.fault(format!("the pattern {pattern} can't be used: {error}"));
            return shelf;
        }
    };
    for path in found {
        let path = match path {
            Ok(path) => path,
            Err(error) => {
                shelf.fault(format!("{} can't be read: {}", error.path().display(), error.error()));
                continue;
            }
        };
        if path.is_dir() || !is_picture(&path) {
            continue;
        }
        match path.strip_prefix(base).unwrap_or(&path).to_str() {
            Some(path) => shelf.pictures.push((0, path.into())),
            None => shelf.misnamed(&path),
        }
    }
    shelf.pictures.sort_by(|(_, a), (_, b)| natural::compare(a, b));
    shelf
}

/// A list keeps its own order and its line numbers.
fn read_list(file: &Path) -> io::Result<Shelf> {
    let mut lines = Lines::open(file)?;
    let mut shelf = Shelf::default();
    loop {
        match lines.advance() {
            Ok(false) => return Ok(shelf),
            Ok(true) if lines.is_blank() => {}
            Ok(true) => match lines.text() {
                Ok(path) => shelf.pictures.push((line_of(&lines), tidy(path).into())),
                Err(wrong) => shelf.faults.push((lines.number(), wrong)),
            },
            Err(wrong) => {
                shelf.faults.push((lines.number(), wrong));
                return Ok(shelf);
            }
        }
    }
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
    !TEXTS.contains(&extension.as_str()) && path.is_file() && starts_like_a_picture(path)
}

pub(super) fn starts_like_a_picture(path: &Path) -> bool {
    let mut head = Vec::with_capacity(16);
    File::open(path).and_then(|file| file.take(16).read_to_end(&mut head)).is_ok() && has_picture_magic(&head)
}

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
        || (head.get(4..8) == Some(b"ftyp")
            && [b"heic", b"heix", b"heif", b"mif1", b"msf1", b"avif", b"avis"].iter().any(|known| brand() == *known))
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

//! Finds pictures in a folder and its sub-folders, by a glob, or in a list. The order is always the same.
//!
//! A folder's own pictures come first, then those of its sub-folders, each in natural order. The sub-folders are read
//! one after the other, so only the names of one folder are in memory at a time. Hidden files are skipped. Linked
//! folders are not entered, since they may form loops. Linked pictures are read.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    image_batch::ImageBatch, image_glob::read_glob, image_list::read_list, natural_sort, picture_file::is_picture,
};

/// A source of pictures. Its paths are absolute.
#[derive(Clone, Debug)]
pub(super) enum ImageSource {
    Folder(PathBuf),
    /// Shell patterns without braces, and the folder before their first wildcard.
    Glob {
        patterns: Vec<String>,
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
            batch.leave_out(&path);
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
        ImageSource::Glob { patterns, base_dir } => read_glob(patterns, base_dir),
        ImageSource::List { file, base_dir: base } => read_list(file, base).unwrap_or_else(|error| {
            let mut batch = ImageBatch::default();
            batch.add_error(format!("{} can't be read: {error}", file.display()));
            batch
        }),
    }
}

//! Finds the pictures that match a shell pattern.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io, mem,
    path::{Path, PathBuf},
};

use super::{image_batch::ImageBatch, natural_sort, picture_file::is_picture};

/// Finds the pictures that match one of these shell patterns, which begin with `base_dir`.
pub(super) fn read_glob(patterns: &[String], base_dir: &Path) -> ImageBatch {
    let mut batch = ImageBatch::default();
    for pattern in patterns {
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
    }
    batch.pictures.sort_by(|(_, a), (_, b)| natural_sort::compare(a, b));
    // `**` may match the same folder in several ways, and several patterns the same file.
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
        } else if !part.matches_with(&display_name, GLOB_OPTIONS) {
            continue;
        } else if !(path.is_dir() || rest.is_empty() && is_picture(&path)) {
            if rest.is_empty() {
                batch.leave_out(&path);
            }
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

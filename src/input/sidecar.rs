//! Chooses the file for a caption: `<stem>.txt` beside the picture, or at the same relative path in another folder.
//!
//! Refuses a target that two pictures share, that is outside the captions' folder, or that can't be written.
//! `output::captions` writes the file.

use std::{
    collections::HashMap,
    fs,
    io::ErrorKind,
    path::{Component, Path, PathBuf},
};

use crate::output::captions::{ExistingCaptionPolicy, check_appendable, check_writable, has_caption};

use super::{error::FieldError, ids::Digest, options::CaptionOptions};

/// Maximum length of a file name in bytes on common file systems.
const MAX_NAME_BYTES: usize = 255;

/// The caption file of a picture.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Sidecar {
    pub target: PathBuf,
    /// The picture's path as given, with the name of the caption file. This is hashed.
    pub relative_path: String,
}

impl Sidecar {
    /// Reports an error if the folder can't be written to, before any answer is paid for.
    pub(super) fn check_writable(&self) -> Result<(), FieldError> {
        let Some(folder) = self.target.parent() else { return Ok(()) };
        check_writable(folder).map_err(|error| {
            let message = format!(
                "captions can't be written to {}: {error}; fix that, or choose another folder with --captions DIR",
                folder.display()
            );
            FieldError::new("", message)
        })
    }
}

impl CaptionOptions {
    /// The name of a picture's caption file.
    fn file_name(&self, picture: &Path) -> Option<String> {
        let name = if self.keeps_extension { picture.file_name() } else { picture.file_stem() };
        Some(format!("{}.{}", name?.to_str()?, self.extension()))
    }

    /// The caption file for a picture, whose path is absolute or relative to `base_dir`.
    pub(super) fn sidecar_for(&self, base_dir: &Path, picture: &str) -> Result<Sidecar, FieldError> {
        let path = Path::new(picture);
        let file = self.file_name(path).ok_or_else(|| FieldError::new("", format!("{picture} is not a file name")))?;
        if file.len() > MAX_NAME_BYTES {
            let message = format!(
                "the name of the caption file would have {} bytes, but the limit is {MAX_NAME_BYTES}: {file}; shorten \
                 the picture's name",
                file.len()
            );
            return Err(FieldError::new("", message));
        }
        let name = path.with_file_name(&file);
        let relative_path = name.to_str().unwrap_or(&file).to_owned();
        let target = match &self.dir {
            None => base_dir.join(path).with_file_name(&file),
            Some(dir) => dir.join(path_below(base_dir, path)).with_file_name(&file),
        };
        if target == base_dir.join(path) {
            return Err(FieldError::new("", format!("{picture} would be overwritten by its own caption; rename it")));
        }
        Ok(Sidecar { target, relative_path })
    }

    /// Refuses a picture whose caption can't be written, added to or replaced.
    pub(super) fn check(&self, base_dir: &Path, picture: &str) -> Result<(), FieldError> {
        let sidecar = self.sidecar_for(base_dir, picture)?;
        self.check_inside_dir(&sidecar)?;
        self.is_captioned(&sidecar)?;
        sidecar.check_writable()
    }

    /// True if the picture already has a caption and is to be skipped. Reports an error if a caption could not be
    /// written.
    pub(super) fn is_captioned(&self, sidecar: &Sidecar) -> Result<bool, FieldError> {
        let target = &sidecar.target;
        let display_path = target.display();
        let Ok(meta) = fs::symlink_metadata(target) else { return Ok(false) };
        if target.is_dir() {
            return Err(FieldError::new("", format!("the caption {display_path} is a folder; move it away")));
        }
        if target.exists() && !target.is_file() {
            return Err(FieldError::new("", format!("the caption {display_path} is not a regular file; move it away")));
        }
        match self.existing {
            ExistingCaptionPolicy::Skip => has_caption(target)
                .map_err(|error| FieldError::new("", format!("the caption {display_path} can't be read: {error}"))),
            ExistingCaptionPolicy::Append | ExistingCaptionPolicy::Prepend if meta.is_symlink() => {
                let message = format!(
                    "the caption {display_path} is a link to another file; replace it with a copy to add to it"
                );
                Err(FieldError::new("", message))
            }
            // Check now, before the answer that is to be added is paid for.
            ExistingCaptionPolicy::Append | ExistingCaptionPolicy::Prepend => check_appendable(target).map(|()| false).map_err(|error| {
                let message = match error.kind() {
                    ErrorKind::InvalidData => format!(
                        "the caption {display_path} is not UTF-8, so nothing can be added to it; convert it (`iconv -t UTF-8`), \
                         or move it away"
                    ),
                    _ => format!("the caption {display_path} can't be read: {error}"),
                };
                FieldError::new("", message)
            }),
            ExistingCaptionPolicy::Overwrite => Ok(false),
        }
    }

    /// Refuses a target that is outside the captions' folder because a link in it leads elsewhere.
    pub(super) fn check_inside_dir(&self, sidecar: &Sidecar) -> Result<(), FieldError> {
        let (Some(dir), Some(folder)) = (&self.dir, sidecar.target.parent()) else { return Ok(()) };
        let Ok(real_dir) = dir.canonicalize() else { return Ok(()) };
        // Missing folders will be created below the nearest existing one.
        let existing_parent = folder.ancestors().find_map(|folder| folder.canonicalize().ok());
        if existing_parent.is_some_and(|real| !real.starts_with(&real_dir)) {
            let message =
                format!("the caption {} would be written outside {}", sidecar.target.display(), dir.display());
            return Err(FieldError::new("", message));
        }
        Ok(())
    }

    /// Finds pictures whose caption file an earlier picture of the batch already uses. Returns the earlier picture's
    /// path by the line of the later one.
    pub(super) fn find_clashes(&self, base_dir: &Path, pictures: &[(u32, Box<str>)]) -> HashMap<u32, Box<str>> {
        let mut clashes = HashMap::new();
        let mut first_index: HashMap<Digest, u32> = HashMap::with_capacity(pictures.len());
        for (index, (line, picture)) in (0..).zip(pictures) {
            let Ok(Sidecar { target, .. }) = self.sidecar_for(base_dir, picture) else { continue };
            let Some(target) = target.to_str() else { continue };
            let earlier = *first_index.entry(Digest::of(target)).or_insert(index);
            let earlier = &pictures[earlier as usize].1;
            // The same picture twice is reported as a duplicate id.
            if earlier != picture {
                clashes.insert(*line, earlier.clone());
            }
        }
        clashes
    }
}

/// The path of a picture without `..`: relative to the base folder, or from the root if the picture is outside it.
fn path_below(base_dir: &Path, picture: &Path) -> PathBuf {
    let normal = normal_components(&base_dir.join(picture));
    normal.strip_prefix(normal_components(base_dir)).map(Path::to_owned).unwrap_or(normal)
}

/// Removes the root, `.` and `..`.
fn normal_components(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => {
                normal.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_are_beside_their_pictures_or_mirrored_in_a_folder() {
        let beside = CaptionOptions::default();
        let apart = CaptionOptions { dir: Some("/out".into()), ..beside.clone() };
        let other = CaptionOptions { extension: Some("caption".to_owned()), ..beside.clone() };
        let full = CaptionOptions { keeps_extension: true, ..beside.clone() };
        for (caption_settings, picture, want) in [
            (&beside, "a.jpg", "/in/a.txt"),
            (&beside, "sub/a.b.jpg", "/in/sub/a.b.txt"),
            (&beside, "noextension", "/in/noextension.txt"),
            (&beside, "/else/a.jpg", "/else/a.txt"),
            (&full, "sub/a.jpg", "/in/sub/a.jpg.txt"),
            (&other, "sub/a.b.jpg", "/in/sub/a.b.caption"),
            (&apart, "a.jpg", "/out/a.txt"),
            (&apart, "sub/a.jpg", "/out/sub/a.txt"),
            (&apart, "/else/a.jpg", "/out/else/a.txt"),
            (&apart, "../../../etc/a.jpg", "/out/etc/a.txt"),
            (&apart, "sub/../a.jpg", "/out/a.txt"),
        ] {
            let sidecar = caption_settings.sidecar_for(Path::new("/in"), picture).unwrap();
            assert_eq!(sidecar.target, Path::new(want), "{picture}");
        }
        beside.sidecar_for(Path::new("/in"), "a.txt").unwrap_err();
    }
}

//! Where captions go: `<stem>.txt` beside the picture, or at the same place under another folder.
//!
//! Decides the target, and refuses one that two pictures share, that lies outside the captions' folder, or that
//! can't be written to. The writing itself is `output::captions`.

use std::{
    collections::HashMap,
    fs,
    io::ErrorKind,
    path::{Component, Path, PathBuf},
};

use crate::output::captions::{ExistingCaptionPolicy, check_appendable, check_writable, has_caption};

use super::{fault::Wrong, ids::Digest};

/// A file's name may have so many bytes on the file systems in use.
const MAX_NAME_BYTES: usize = 255;

/// Where a picture's caption goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Sidecar {
    pub target: PathBuf,
    /// The target as seen from the input or the captions' folder: what is hashed.
    pub name: String,
}

impl Sidecar {
    /// Refuses a folder that no caption can be written to: now, rather than when answers are paid for.
    pub(super) fn check_folder(&self) -> Result<(), Wrong> {
        let Some(folder) = self.target.parent() else { return Ok(()) };
        check_writable(folder).map_err(|error| {
            let words = format!(
                "captions can't be written to {}: {error}; mend that, or name another folder with --captions DIR",
                folder.display()
            );
            Wrong::new("", words)
        })
    }
}

/// The settings for captions.
#[derive(Clone, Debug)]
pub(super) struct Captioning {
    /// Absolute; `None` puts captions beside their pictures.
    pub dir: Option<PathBuf>,
    pub existing: ExistingCaptionPolicy,
    /// `a.jpg.txt` rather than `a.txt`.
    pub full_name: bool,
}

impl Captioning {
    /// The caption file's name for a picture's.
    fn file_name(&self, picture: &Path) -> Option<String> {
        let name = if self.full_name { picture.file_name() } else { picture.file_stem() };
        Some(format!("{}.txt", name?.to_str()?))
    }

    /// The target for a picture, whose path is relative to `base` or absolute.
    pub(super) fn sidecar(&self, base: &Path, picture: &str) -> Result<Sidecar, Wrong> {
        let path = Path::new(picture);
        let file = self.file_name(path).ok_or_else(|| Wrong::new("", format!("{picture} is no file name")))?;
        if file.len() > MAX_NAME_BYTES {
            let words = format!(
                "the caption's name would have {} bytes, and {MAX_NAME_BYTES} is the most: {file}; shorten the picture's",
                file.len()
            );
            return Err(Wrong::new("", words));
        }
        let name = path.with_file_name(&file);
        let name = name.to_str().unwrap_or(&file).to_owned();
        let target = match &self.dir {
            None => base.join(path).with_file_name(&file),
            Some(dir) => dir.join(mirrored(base, path)).with_file_name(&file),
        };
        if target == base.join(path) {
            return Err(Wrong::new("", format!("{picture} would be overwritten by its own caption; rename it")));
        }
        Ok(Sidecar { target, name })
    }

    /// Is this picture captioned already, so that nothing is to be done?
    pub(super) fn skips(&self, sidecar: &Sidecar) -> Result<bool, Wrong> {
        let target = &sidecar.target;
        let shown = target.display();
        let Ok(meta) = fs::symlink_metadata(target) else { return Ok(false) };
        if target.is_dir() {
            return Err(Wrong::new("", format!("the caption {shown} is a folder; move it away")));
        }
        if target.exists() && !target.is_file() {
            return Err(Wrong::new("", format!("the caption {shown} is no regular file; move it away")));
        }
        match self.existing {
            ExistingCaptionPolicy::Skip => has_caption(target)
                .map_err(|error| Wrong::new("", format!("the caption {shown} can't be read: {error}"))),
            ExistingCaptionPolicy::Append | ExistingCaptionPolicy::Prepend if meta.is_symlink() => {
                let words = format!("the caption {shown} is a link to another file; replace it by a copy to add to it");
                Err(Wrong::new("", words))
            }
            // Now, rather than when the answer to add is paid for.
            ExistingCaptionPolicy::Append | ExistingCaptionPolicy::Prepend => check_appendable(target).map(|()| false).map_err(|error| {
                let words = match error.kind() {
                    ErrorKind::InvalidData => format!(
                        "the caption {shown} is not UTF-8, so nothing can be added to it; convert it (`iconv -t UTF-8`), \
                         or move it away"
                    ),
                    _ => format!("the caption {shown} can't be read: {error}"),
                };
                Wrong::new("", words)
            }),
            ExistingCaptionPolicy::Overwrite => Ok(false),
        }
    }

    /// A link inside the captions' folder may lead out of it: such a target is refused.
    pub(super) fn keeps_inside(&self, sidecar: &Sidecar) -> Result<(), Wrong> {
        let (Some(dir), Some(folder)) = (&self.dir, sidecar.target.parent()) else { return Ok(()) };
        let Ok(real_dir) = dir.canonicalize() else { return Ok(()) };
        // Folders that don't exist yet will be made, below the nearest one that does.
        let nearest = folder.ancestors().find_map(|folder| folder.canonicalize().ok());
        if nearest.is_some_and(|real| !real.starts_with(&real_dir)) {
            let words = format!("the caption {} would be written outside {}", sidecar.target.display(), dir.display());
            return Err(Wrong::new("", words));
        }
        Ok(())
    }

    /// Pictures whose caption an earlier one of the shelf has, by line: the earlier one's path.
    pub(super) fn clashes(&self, base: &Path, pictures: &[(u32, Box<str>)]) -> HashMap<u32, Box<str>> {
        let mut clashes = HashMap::new();
        let mut first: HashMap<Digest, u32> = HashMap::with_capacity(pictures.len());
        for (index, (line, picture)) in (0..).zip(pictures) {
            let Ok(Sidecar { target, .. }) = self.sidecar(base, picture) else { continue };
            let Some(target) = target.to_str() else { continue };
            let earlier = *first.entry(Digest::of(target)).or_insert(index);
            let earlier = &pictures[earlier as usize].1;
            // The same picture twice is a duplicate id, and reported as that.
            if earlier != picture {
                clashes.insert(*line, earlier.clone());
            }
        }
        clashes
    }
}

/// A picture's place as a path that only goes down: relative to the base, or from the root where it lies elsewhere.
fn mirrored(base: &Path, picture: &Path) -> PathBuf {
    let whole = plain(&base.join(picture));
    whole.strip_prefix(plain(base)).map(Path::to_owned).unwrap_or(whole)
}

/// Without a root, `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => {
                plain.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_stand_beside_or_mirror_their_pictures() {
        let beside = Captioning { dir: None, existing: ExistingCaptionPolicy::Skip, full_name: false };
        let apart = Captioning { dir: Some("/out".into()), ..beside.clone() };
        let full = Captioning { full_name: true, ..beside.clone() };
        for (captioning, picture, want) in [
            (&beside, "a.jpg", "/in/a.txt"),
            (&beside, "sub/a.b.jpg", "/in/sub/a.b.txt"),
            (&beside, "noextension", "/in/noextension.txt"),
            (&beside, "/else/a.jpg", "/else/a.txt"),
            (&full, "sub/a.jpg", "/in/sub/a.jpg.txt"),
            (&apart, "a.jpg", "/out/a.txt"),
            (&apart, "sub/a.jpg", "/out/sub/a.txt"),
            (&apart, "/else/a.jpg", "/out/else/a.txt"),
            (&apart, "../../../etc/a.jpg", "/out/etc/a.txt"),
            (&apart, "sub/../a.jpg", "/out/a.txt"),
        ] {
            let sidecar = captioning.sidecar(Path::new("/in"), picture).unwrap();
            assert_eq!(sidecar.target, Path::new(want), "{picture}");
        }
        beside.sidecar(Path::new("/in"), "a.txt").unwrap_err();
    }
}

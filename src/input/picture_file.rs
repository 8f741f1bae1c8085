//! Looks at a file: whether it is a regular file, and whether it is a picture.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use nix::fcntl::OFlag;

use crate::domain::{Image, PictureType, Request};

/// Files with these extensions are not opened to look for a picture, since there may be thousands beside the pictures.
pub(super) const TEXT_EXTENSIONS: [&str; 9] = ["txt", "caption", "json", "jsonl", "csv", "tsv", "md", "xml", "yaml"];

/// True for a picture, by its extension, or else by its first bytes.
pub fn is_picture(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_ascii_lowercase();
    // The item of a broken picture fails when it is sent.
    PictureType::from_extension(&extension).is_some()
        || (!TEXT_EXTENSIONS.contains(&extension.as_str()) && has_picture_header(path))
}

/// Width and height in pixels of a request's pictures; zeros if they can't be read. Empty if none can.
pub(super) fn picture_sizes(request: &Request) -> Vec<(u32, u32)> {
    let size = |image: &Image| match image {
        Image::File(path) => read_size(path).unwrap_or_default(),
        Image::Url(_) | Image::Inline { .. } => (0, 0),
    };
    let sizes: Vec<_> = request.images().map(size).collect();
    if sizes.iter().all(|size| *size == (0, 0)) { Vec::new() } else { sizes }
}

fn read_size(path: &Path) -> Option<(u32, u32)> {
    let size = imagesize::reader_size(BufReader::new(open_regular_file(path).ok()?)).ok()?;
    Some((u32::try_from(size.width).ok()?, u32::try_from(size.height).ok()?))
}

/// The type of a picture file, by its first bytes, or by its extension if it can't be read or is unknown.
pub(super) fn picture_type_of(path: &Path) -> Option<PictureType> {
    let head = read_head(path).ok();
    head.as_deref().and_then(PictureType::detect).or_else(|| PictureType::from_path(path))
}

fn read_head(path: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(PictureType::HEAD_BYTES);
    open_regular_file(path)?.take(PictureType::HEAD_BYTES as u64).read_to_end(&mut head)?;
    Ok(head)
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
    read_head(path).is_ok_and(|head| has_picture_magic(&head))
}

/// True for formats whose first bytes can't be text. (BMP's "BM" can be, so BMP needs its extension.)
pub(super) fn has_picture_magic(head: &[u8]) -> bool {
    PictureType::detect(head).is_some_and(|picture_type| picture_type != PictureType::Bmp)
}

/// The reason why a path can't be read as a file, from its metadata. Nothing is opened, since a pipe would block.
pub(super) fn reason_not_a_file(path: &Path) -> Option<String> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_file() => None,
        Ok(meta) if meta.is_dir() => Some("is a folder".to_owned()),
        Ok(_) => Some("is not a regular file".to_owned()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Some(format!("can't be read: {error}")),
        Err(_) if path.symlink_metadata().is_ok() => Some("is a broken link".to_owned()),
        Err(_) => Some("does not exist".to_owned()),
    }
}

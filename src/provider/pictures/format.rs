//! Picture types: which API accepts which, and which can be decoded here.

use std::{fs::File, io::Read as _, path::Path};

use image::ImageFormat;

use crate::domain::{Api, PictureType};

/// Detects the type by the first bytes of a file. `None` if the file cannot be read or the type is unknown.
pub fn detect_file(path: &Path) -> Option<PictureType> {
    // Checked before the file is opened, because opening a pipe would block.
    if !path.is_file() {
        return None;
    }
    let mut head = Vec::with_capacity(PictureType::HEAD_BYTES);
    File::open(path).and_then(|file| file.take(PictureType::HEAD_BYTES as u64).read_to_end(&mut head)).ok()?;
    PictureType::detect(&head)
}

/// Whether `api` accepts files of this type as they are. Gemini rejects GIF and BMP with 400 (gemini-cli#14838). No API
/// accepts BMP, TIFF or AVIF.
pub const fn is_accepted_by(picture_type: PictureType, api: Api) -> bool {
    match picture_type {
        PictureType::Png | PictureType::Jpeg | PictureType::Webp => true,
        PictureType::Gif => !matches!(api, Api::Gemini),
        PictureType::Heic | PictureType::Heif => matches!(api, Api::Gemini),
        PictureType::Avif | PictureType::Bmp | PictureType::Tiff => false,
    }
}

/// Whether a file of this type can be sent to `api`: as it is, or decoded here and encoded anew.
pub const fn can_be_sent_to(picture_type: PictureType, api: Api) -> bool {
    is_accepted_by(picture_type, api) || decoder(picture_type).is_some()
}

/// The decoder for pictures of this type, if there is one.
pub(super) const fn decoder(picture_type: PictureType) -> Option<ImageFormat> {
    match picture_type {
        PictureType::Png => Some(ImageFormat::Png),
        PictureType::Jpeg => Some(ImageFormat::Jpeg),
        PictureType::Gif => Some(ImageFormat::Gif),
        PictureType::Webp => Some(ImageFormat::WebP),
        PictureType::Bmp => Some(ImageFormat::Bmp),
        PictureType::Tiff => Some(ImageFormat::Tiff),
        PictureType::Heic | PictureType::Heif | PictureType::Avif => None,
    }
}

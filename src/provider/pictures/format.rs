//! Picture formats: how they are recognized, and which API accepts which.

use std::{fs::File, io::Read as _, path::Path};

use image::ImageFormat;

use crate::domain::Api;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PictureFormat {
    Png,
    Jpeg,
    Gif,
    Webp,
    Heic,
    Heif,
    Avif,
    Bmp,
    Tiff,
}

impl PictureFormat {
    /// Detects the format by the first bytes, because file extensions can be wrong.
    pub(super) fn detect(bytes: &[u8]) -> Option<Self> {
        let brand = || Some((bytes.get(4..8)?, bytes.get(8..12)?));
        Some(match bytes {
            [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, ..] => Self::Png,
            [0xff, 0xd8, 0xff, ..] => Self::Jpeg,
            [b'G', b'I', b'F', b'8', ..] => Self::Gif,
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Self::Webp,
            [b'B', b'M', ..] => Self::Bmp,
            [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => Self::Tiff,
            _ => match brand()? {
                (b"ftyp", b"heic" | b"heix" | b"hevc" | b"hevx") => Self::Heic,
                (b"ftyp", b"heif" | b"mif1" | b"msf1" | b"heim" | b"heis") => Self::Heif,
                (b"ftyp", b"avif" | b"avis") => Self::Avif,
                _ => return None,
            },
        })
    }

    /// Detects the format by the first bytes of a file. `None` if the file cannot be read or the format is unknown.
    pub fn detect_file(path: &Path) -> Option<Self> {
        // Checked before the file is opened, because opening a pipe would block.
        if !path.is_file() {
            return None;
        }
        let mut head = Vec::with_capacity(16);
        File::open(path).and_then(|file| file.take(16).read_to_end(&mut head)).ok()?;
        Self::detect(&head)
    }

    /// Guesses the format by the file name, which is good enough to choose a route.
    ///
    /// [`Self::detect_file`] is more reliable if the file exists.
    pub fn guess_by_extension(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        Some(match extension.as_str() {
            "png" => Self::Png,
            "jpg" | "jpeg" => Self::Jpeg,
            "gif" => Self::Gif,
            "webp" => Self::Webp,
            "heic" => Self::Heic,
            "heif" => Self::Heif,
            "avif" => Self::Avif,
            "bmp" => Self::Bmp,
            "tif" | "tiff" => Self::Tiff,
            _ => return None,
        })
    }

    /// Whether `api` accepts this format. Gemini rejects GIF and BMP with 400 (gemini-cli#14838). No API accepts BMP,
    /// TIFF or AVIF.
    pub const fn is_supported_by(self, api: Api) -> bool {
        match self {
            Self::Png | Self::Jpeg | Self::Webp => true,
            Self::Gif => !matches!(api, Api::Gemini),
            Self::Heic | Self::Heif => matches!(api, Api::Gemini),
            Self::Avif | Self::Bmp | Self::Tiff => false,
        }
    }

    /// The decoder for this format, if there is one.
    pub(super) const fn decoder(self) -> Option<ImageFormat> {
        match self {
            Self::Png => Some(ImageFormat::Png),
            Self::Jpeg => Some(ImageFormat::Jpeg),
            Self::Gif => Some(ImageFormat::Gif),
            Self::Webp => Some(ImageFormat::WebP),
            Self::Bmp => Some(ImageFormat::Bmp),
            Self::Tiff => Some(ImageFormat::Tiff),
            Self::Heic | Self::Heif | Self::Avif => None,
        }
    }

    pub(super) const fn mime(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Gif => "image/gif",
            Self::Webp => "image/webp",
            Self::Heic => "image/heic",
            Self::Heif => "image/heif",
            Self::Avif => "image/avif",
            Self::Bmp => "image/bmp",
            Self::Tiff => "image/tiff",
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
            Self::Gif => "GIF",
            Self::Webp => "WebP",
            Self::Heic => "HEIC",
            Self::Heif => "HEIF",
            Self::Avif => "AVIF",
            Self::Bmp => "BMP",
            Self::Tiff => "TIFF",
        }
    }
}

//! The file types of pictures, and how a file's first bytes and its extension tell them.

use std::path::Path;

/// The type of a picture file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PictureType {
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

impl PictureType {
    /// Number of first bytes that [`Self::detect`] needs.
    pub const HEAD_BYTES: usize = 12;

    /// Detects the type by the first bytes of a file, since its extension can be wrong. A text can begin like a BMP.
    pub fn detect(head: &[u8]) -> Option<Self> {
        Some(match head {
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => Self::Png,
            [0xFF, 0xD8, 0xFF, ..] => Self::Jpeg,
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Self::Gif,
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Self::Webp,
            [b'B', b'M', ..] => Self::Bmp,
            [b'I', b'I', b'*', 0, ..] | [b'M', b'M', 0, b'*', ..] => Self::Tiff,
            [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => match brand.first_chunk()? {
                b"heic" | b"heix" | b"hevc" | b"hevx" => Self::Heic,
                b"heif" | b"mif1" | b"msf1" | b"heim" | b"heis" => Self::Heif,
                b"avif" | b"avis" => Self::Avif,
                _ => return None,
            },
            _ => return None,
        })
    }

    /// The type that the extension of a file name says, in upper or lower case.
    pub fn from_path(path: &Path) -> Option<Self> {
        Self::from_extension(&path.extension()?.to_str()?.to_ascii_lowercase())
    }

    /// The type of files with this extension, in lower case.
    pub fn from_extension(extension: &str) -> Option<Self> {
        Some(match extension {
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

    /// The media type.
    pub const fn mime(self) -> &'static str {
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

    /// The name for messages.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_known_by_their_first_bytes() {
        for (head, want) in [
            (&b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"[..], Some(PictureType::Png)),
            (b"\xFF\xD8\xFF\xE0\0\x10JFIF", Some(PictureType::Jpeg)),
            (b"GIF89a", Some(PictureType::Gif)),
            (b"GIF80 is no format", None),
            (b"RIFF\0\0\0\0WEBPVP8 ", Some(PictureType::Webp)),
            (b"RIFF\0\0\0\0WAVEfmt ", None),
            (b"\0\0\0\x18ftypheic", Some(PictureType::Heic)),
            (b"\0\0\0\x18ftypmif1", Some(PictureType::Heif)),
            (b"\0\0\0\x18ftypavif", Some(PictureType::Avif)),
            (b"\0\0\0\x18ftypmp42", None),
            (b"\0\0\0\x18ftyp", None),
            (b"MM\0*", Some(PictureType::Tiff)),
            (b"BMI of a person", Some(PictureType::Bmp)),
            (b"{\"prompt\":1}", None),
            (b"", None),
        ] {
            assert_eq!(PictureType::detect(head), want, "{head:?}");
        }
    }
}

//! Pictures as they go out: read when the attempt is made, recognised by their bytes, checked against what the API
//! takes. What can't go out is told before anything is sent.

use std::{
    borrow::Cow,
    fs::File,
    io::{self, Read},
    path::Path,
};

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::domain::{Api, Image, Request};

/// A picture, ready to be put into a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Picture<'a> {
    Data { mime: &'static str, base64: Cow<'a, str> },
    Url(Cow<'a, str>),
}

impl Picture<'_> {
    /// Bytes it takes in a request.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Data { mime, base64 } => mime.len() + base64.len() + 64,
            Self::Url(url) => url.len() + 64,
        }
    }
}

/// Why a picture can't be sent, in a sentence that names it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub String);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Format {
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

/// What an API takes: OpenAI's and Gemini's inline limit is 20 MB, Anthropic's 5 MB and 8000 pixels a side.
struct Limits {
    bytes: u64,
    side: Option<usize>,
}

const fn limits(api: Api) -> Limits {
    match api {
        Api::Gemini | Api::OpenAi => Limits { bytes: 20 * 1024 * 1024, side: None },
        Api::Anthropic => Limits { bytes: 5 * 1024 * 1024, side: Some(8_000) },
    }
}

impl Format {
    /// By the first bytes: extensions lie.
    fn sniff(bytes: &[u8]) -> Option<Self> {
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
                (b"ftyp", b"mif1" | b"msf1" | b"heim" | b"heis") => Self::Heif,
                (b"ftyp", b"avif" | b"avis") => Self::Avif,
                _ => return None,
            },
        })
    }

    /// By the first bytes of a file; `None` where it can't be read, or is no picture that is known here.
    pub(super) fn of_file(path: &Path) -> Option<Self> {
        // Looked at before it is opened: a pipe would block.
        if !path.is_file() {
            return None;
        }
        let mut head = Vec::with_capacity(16);
        File::open(path).and_then(|file| file.take(16).read_to_end(&mut head)).ok()?;
        Self::sniff(&head)
    }

    /// A guess from the name, good enough to choose a route by.
    ///
    /// [`Self::of_file`] knows better where a file is there.
    pub(super) fn by_extension(path: &Path) -> Option<Self> {
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

    /// Gemini answers 400 to GIF and BMP (gemini-cli#14838); nobody takes BMP, TIFF or AVIF.
    pub(super) const fn taken_by(self, api: Api) -> bool {
        match self {
            Self::Png | Self::Jpeg | Self::Webp => true,
            Self::Gif => !matches!(api, Api::Gemini),
            Self::Heic | Self::Heif => matches!(api, Api::Gemini),
            Self::Avif | Self::Bmp | Self::Tiff => false,
        }
    }

    const fn mime(self) -> &'static str {
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

    pub(super) const fn name(self) -> &'static str {
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

/// The request's pictures in its order. Files are read on the runtime's blocking pool.
pub(super) async fn load(api: Api, request: &Request) -> Result<Vec<Picture<'_>>, Unreadable> {
    let mut pictures = Vec::new();
    for image in request.images() {
        pictures.push(match image {
            Image::File(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || from_file(api, &path)).await;
                read.map_err(|_| Unreadable("reading a picture was interrupted; try the item again".to_owned()))??
            }
            Image::Inline { data, .. } => inline(api, data)?,
            Image::Url(url) => match url.strip_prefix("data:") {
                Some(data) => {
                    let (_, base64) = data.split_once(";base64,").ok_or_else(|| {
                        Unreadable(
                            "a picture's data: URL is not base64; write it as data:image/png;base64,…".to_owned(),
                        )
                    })?;
                    inline(api, base64)?
                }
                None => Picture::Url(Cow::Borrowed(url)),
            },
        });
    }
    Ok(pictures)
}

fn from_file(api: Api, path: &Path) -> Result<Picture<'static>, Unreadable> {
    let bytes = read(path, limits(api).bytes).map_err(|words| Unreadable(format!("{}: {words}", path.display())))?;
    let format = check(api, &bytes).map_err(|words| Unreadable(format!("{}: {words}", path.display())))?;
    Ok(Picture::Data { mime: format.mime(), base64: Cow::Owned(STANDARD.encode(bytes)) })
}

/// The whole file if it is a file and no larger than `most`. Looked at before it is opened: a pipe would block.
fn read(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let in_words = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => "the picture does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "the picture may not be read by this user".to_owned(),
        _ => format!("the picture cannot be read: {error}"),
    };
    let metadata = std::fs::metadata(path).map_err(in_words)?;
    if !metadata.is_file() {
        return Err("this is not a file".to_owned());
    }
    if metadata.len() > most {
        return Err(too_large(metadata.len(), most));
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    // One byte more than allowed, so that a file that grows meanwhile is noticed.
    File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes)).map_err(in_words)?;
    if bytes.len() as u64 > most {
        return Err(too_large(bytes.len() as u64, most));
    }
    Ok(bytes)
}

fn too_large(bytes: u64, most: u64) -> String {
    let mib = |bytes: u64| bytes as f64 / (1024.0 * 1024.0);
    format!("the picture has {:.1} MiB and this API takes {:.0} MiB; make it smaller", mib(bytes), mib(most))
}

/// Recognises a picture and holds it against the API's limits.
fn check(api: Api, bytes: &[u8]) -> Result<Format, String> {
    if bytes.is_empty() {
        return Err("the picture is empty".to_owned());
    }
    let format = Format::sniff(bytes)
        .ok_or_else(|| "this is no picture that is known here; PNG, JPEG and WebP always work".to_owned())?;
    if !format.taken_by(api) {
        return Err(format!("{} does not take {} pictures; convert it to PNG or JPEG", api.name(), format.name()));
    }
    let size = imagesize::blob_size(bytes)
        .map_err(|_| format!("the {} picture is damaged: its dimensions cannot be read", format.name()))?;
    if size.width == 0 || size.height == 0 {
        return Err(format!("the {} picture is damaged: it is {} x {} pixels", format.name(), size.width, size.height));
    }
    if let Some(side) = limits(api).side
        && size.width.max(size.height) > side
    {
        return Err(format!(
            "the picture is {} x {} pixels and {} takes {side} a side; make it smaller",
            size.width,
            size.height,
            api.name()
        ));
    }
    Ok(format)
}

/// A picture that came with the row. Its bytes decide what it is, not the type it was given.
fn inline(api: Api, base64: &str) -> Result<Picture<'_>, Unreadable> {
    let most = limits(api).bytes;
    let about = base64.len() as u64 / 4 * 3;
    if about > most + 2 {
        return Err(Unreadable(format!("a picture in the row: {}", too_large(about, most))));
    }
    let bytes = STANDARD
        .decode(base64)
        .map_err(|_| Unreadable("a picture in the row is not valid base64; encode it again".to_owned()))?;
    let format = check(api, &bytes).map_err(|words| Unreadable(format!("a picture in the row: {words}")))?;
    Ok(Picture::Data { mime: format.mime(), base64: Cow::Borrowed(base64) })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const APIS: [Api; 3] = [Api::Gemini, Api::OpenAi, Api::Anthropic];

    fn png(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
        bytes.extend(width.to_be_bytes());
        bytes.extend(height.to_be_bytes());
        bytes.extend([8, 2, 0, 0, 0, 0, 0, 0, 0]);
        bytes
    }

    fn gif() -> Vec<u8> {
        b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff;".to_vec()
    }

    #[test]
    fn bytes_decide_what_a_picture_is() {
        for api in APIS {
            assert_eq!(check(api, &png(3, 2)), Ok(Format::Png));
        }
        assert!(check(Api::Gemini, &gif()).unwrap_err().contains("does not take GIF"));
        assert_eq!(check(Api::OpenAi, &gif()), Ok(Format::Gif));
        assert_eq!(check(Api::Anthropic, &gif()), Ok(Format::Gif));
        for (bytes, words) in [
            (b"BM\x1a\0\0\0".as_slice(), "BMP"),
            (b"", "empty"),
            (b"hello", "no picture"),
            (b"\x89PNG\r\n\x1a\n", "damaged"),
            (b"\xff\xd8\xff", "damaged"),
            (b"\0\0\0\x1cftypavif", "AVIF"),
        ] {
            for api in APIS {
                let refusal = check(api, bytes).unwrap_err();
                assert!(refusal.contains(words), "{refusal}");
            }
        }
    }

    #[test]
    fn anthropic_takes_eight_thousand_pixels_a_side() {
        assert!(check(Api::Anthropic, &png(8_000, 1)).is_ok());
        assert!(check(Api::Anthropic, &png(1, 8_001)).unwrap_err().contains("8001"));
        assert!(check(Api::Gemini, &png(1, 8_001)).is_ok());
    }

    #[test]
    fn files_are_named_when_they_cannot_be_sent() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing.png");
        assert!(from_file(Api::Gemini, &missing).unwrap_err().0.ends_with("missing.png: the picture does not exist"));
        assert!(from_file(Api::Gemini, dir.path()).unwrap_err().0.contains("not a file"));
        let large = dir.path().join("large.png");
        let mut file = File::create(&large).unwrap();
        file.write_all(&png(1, 1)).unwrap();
        file.set_len(6 * 1024 * 1024).unwrap();
        assert!(from_file(Api::Anthropic, &large).unwrap_err().0.contains("6.0 MiB"));
        assert!(from_file(Api::Gemini, &large).is_ok());
    }

    #[test]
    fn a_rows_picture_is_checked_like_a_file() {
        let data = STANDARD.encode(png(1, 1));
        assert_eq!(
            inline(Api::Gemini, &data),
            Ok(Picture::Data { mime: "image/png", base64: Cow::Borrowed(data.as_str()) })
        );
        assert!(inline(Api::Gemini, "!!").unwrap_err().0.contains("base64"));
        assert!(inline(Api::Gemini, "").unwrap_err().0.contains("empty"));
    }
}

//! Reads, checks and encodes the pictures of a request.

use std::{
    borrow::Cow,
    fs::File,
    io::{self, Read},
    path::Path,
};

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::domain::{Api, Image, PictureSettings, PictureType, Request};

use super::{
    checked_cache::CheckedPictureCache,
    format::is_accepted_by,
    header::{PictureError, PictureHeader, too_large_error, unaccepted_type_error, unreadable_error},
    limits::{MIB, max_side_pixels},
    prepare::{PictureLimits, PreparedPicture, prepare},
};

/// Maximum size in bytes of a picture file that is read. It may be larger than what the API accepts, since it is made
/// smaller.
const MAX_READ_BYTES: u64 = 256 * MIB;

/// A picture that is ready to be put into a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EncodedPicture<'a> {
    Data { mime: &'static str, base64: Cow<'a, str> },
    Url(Cow<'a, str>),
}

impl EncodedPicture<'_> {
    /// Estimated size in a request, in bytes.
    pub fn encoded_len(&self) -> usize {
        match self {
            Self::Data { mime, base64 } => mime.len() + base64.len() + 64,
            Self::Url(url) => url.len() + 64,
        }
    }
}

/// Reads, checks, prepares and encodes the request's pictures, in the order of the request. `max_bytes` is the maximum
/// size of one picture file. Pictures in the row itself are sent as they are. Blocks the thread.
///
/// # Errors
///
/// If a picture cannot be read, is damaged, or is not supported by this API.
pub fn load<'r>(
    api: Api,
    max_bytes: u64,
    request: &'r Request,
    settings: PictureSettings,
    checked_pictures: &CheckedPictureCache,
) -> Result<Vec<EncodedPicture<'r>>, PictureError> {
    let picture_count = request.images().count();
    let checker = PictureChecker { api, max_bytes, picture_count, settings, checked_pictures };
    let encode_picture = |image: &'r Image| match image {
        Image::File(path) => checker.read_file(path),
        Image::Inline { data, .. } => checker.check_inline(data),
        Image::Url(url) => match url.strip_prefix("data:") {
            Some(data) => {
                let (_, base64) = data.split_once(";base64,").ok_or_else(|| {
                    unreadable_error("a picture's data: URL is not base64; write it as data:image/png;base64,…")
                })?;
                checker.check_inline(base64)
            }
            None => Ok(EncodedPicture::Url(Cow::Borrowed(url))),
        },
    };
    request.images().map(encode_picture).collect()
}

/// Checks a request's pictures against the API's limits.
struct PictureChecker<'d> {
    api: Api,
    max_bytes: u64,
    /// Number of pictures in the request.
    picture_count: usize,
    settings: PictureSettings,
    checked_pictures: &'d CheckedPictureCache,
}

impl PictureChecker<'_> {
    /// Detects the type of a picture that is sent as it is, and checks the header against the API's limits.
    fn check_header(&self, bytes: &[u8]) -> Result<PictureType, PictureError> {
        let api = self.api;
        if let Some(picture_type) = PictureType::detect(bytes).filter(|known| !is_accepted_by(*known, api)) {
            return Err(unaccepted_type_error(api, picture_type));
        }
        let PictureHeader { picture_type, width, height } = PictureHeader::read(bytes)?;
        if let Some(max_side) = max_side_pixels(api, self.picture_count)
            && width.max(height) > max_side
        {
            let many_pictures_note =
                if self.picture_count > 20 { " in a request with more than 20 pictures" } else { "" };
            return Err(PictureError::Unsupported(format!(
                "the picture is {width} x {height} pixels, but {} accepts at most {max_side} per \
                 side{many_pictures_note}; make it smaller",
                api.name()
            )));
        }
        Ok(picture_type)
    }

    /// Checks a picture and returns its MIME type. Only the bytes decide the type, not the file name or a stated type.
    fn check(&self, bytes: &[u8]) -> Result<&'static str, PictureError> {
        let picture_type = self.check_header(bytes)?;
        self.checked_pictures.check(picture_type, bytes)?;
        Ok(picture_type.mime())
    }

    fn read_file(&self, path: &Path) -> Result<EncodedPicture<'static>, PictureError> {
        let with_file_name = |error: PictureError| error.with_name(path.display());
        let bytes = read_bounded(path).map_err(with_file_name)?;
        let PreparedPicture { mime, bytes } = self.prepare(&bytes).map_err(with_file_name)?;
        Ok(EncodedPicture::Data { mime, base64: Cow::Owned(STANDARD.encode(bytes)) })
    }

    /// Makes the bytes of a file a picture that the API accepts.
    fn prepare<'b>(&self, bytes: &'b [u8]) -> Result<PreparedPicture<'b>, PictureError> {
        let header = PictureHeader::read(bytes)?;
        let api_side = max_side_pixels(self.api, self.picture_count).and_then(|side| u32::try_from(side).ok());
        let longest_side = [self.settings.longest_side.pixels(self.api), api_side].into_iter().flatten().min();
        let limits = PictureLimits {
            api: self.api,
            max_bytes: self.max_bytes,
            longest_side,
            keeps_metadata: self.settings.keeps_metadata,
        };
        prepare(&limits, &header, bytes, self.checked_pictures)
    }

    /// Checks a picture whose base64 data is in the input row.
    fn check_inline<'r>(&self, base64: &'r str) -> Result<EncodedPicture<'r>, PictureError> {
        let with_row_name = |error: PictureError| error.with_name("a picture in the row");
        // Padding makes this up to 2 bytes more than the picture has.
        let approximate_bytes = base64.len() as u64 / 4 * 3;
        if approximate_bytes > self.max_bytes + 2 {
            return Err(with_row_name(too_large_error(self.api, self.max_bytes, approximate_bytes)));
        }
        let bytes = STANDARD
            .decode(base64)
            .map_err(|_| unreadable_error("a picture in the row is not valid base64; encode it again"))?;
        let mime = self.check(&bytes).map_err(with_row_name)?;
        Ok(EncodedPicture::Data { mime, base64: Cow::Borrowed(base64) })
    }
}

/// Reads a regular file of at most [`MAX_READ_BYTES`]. The metadata is checked before the file is opened,
/// because opening a pipe would block.
pub(super) fn read_bounded(path: &Path) -> Result<Vec<u8>, PictureError> {
    let describe = |error: io::Error| {
        unreadable_error(match error.kind() {
            io::ErrorKind::NotFound => "the picture does not exist".to_owned(),
            io::ErrorKind::PermissionDenied => "this user has no permission to read the picture".to_owned(),
            _ => format!("the picture can't be read: {error}"),
        })
    };
    let metadata = std::fs::metadata(path).map_err(describe)?;
    if !metadata.is_file() {
        return Err(unreadable_error("this is not a regular file"));
    }
    let too_large = || {
        let mib = MAX_READ_BYTES / MIB;
        Err(unreadable_error(format!("the picture file is larger than {mib} MiB; make it smaller")))
    };
    if metadata.len() > MAX_READ_BYTES {
        return too_large();
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    // One byte more than allowed is read, to notice a file that grows meanwhile.
    File::open(path).and_then(|file| file.take(MAX_READ_BYTES + 1).read_to_end(&mut bytes)).map_err(describe)?;
    if bytes.len() as u64 > MAX_READ_BYTES {
        return too_large();
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use image::ImageFormat;

    use super::{super::limits::max_file_bytes, *};

    const APIS: [Api; 3] = [Api::Gemini, Api::OpenAi, Api::Anthropic];

    /// The header of a PNG.
    fn png(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
        bytes.extend(width.to_be_bytes());
        bytes.extend(height.to_be_bytes());
        bytes.extend([8, 2, 0, 0, 0, 0, 0, 0, 0]);
        bytes
    }

    /// A PNG that can be decoded.
    fn whole_png() -> Vec<u8> {
        let mut bytes = io::Cursor::new(Vec::new());
        image::RgbImage::new(3, 2).write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    fn gif() -> Vec<u8> {
        b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff;".to_vec()
    }

    fn error_text<T: std::fmt::Debug>(result: Result<T, PictureError>) -> String {
        result.unwrap_err().to_string()
    }

    fn checker(api: Api, picture_count: usize, checked_pictures: &CheckedPictureCache) -> PictureChecker<'_> {
        let settings = PictureSettings::default();
        PictureChecker { api, max_bytes: max_file_bytes(api, ""), picture_count, settings, checked_pictures }
    }

    fn check_header(api: Api, picture_count: usize, bytes: &[u8]) -> Result<PictureType, PictureError> {
        checker(api, picture_count, &CheckedPictureCache::default()).check_header(bytes)
    }

    fn from_file(api: Api, path: &Path) -> Result<EncodedPicture<'static>, PictureError> {
        checker(api, 1, &CheckedPictureCache::default()).read_file(path)
    }

    #[test]
    fn the_bytes_decide_a_pictures_format() {
        for api in APIS {
            assert_eq!(check_header(api, 1, &png(3, 2)), Ok(PictureType::Png));
        }
        assert!(error_text(check_header(Api::Gemini, 1, &gif())).contains("does not accept GIF"));
        assert_eq!(check_header(Api::OpenAi, 1, &gif()), Ok(PictureType::Gif));
        assert_eq!(check_header(Api::Anthropic, 1, &gif()), Ok(PictureType::Gif));
        for brand in [b"mif1", b"heif"] {
            assert_eq!(PictureType::detect(&[b"\0\0\0\x18ftyp", &brand[..]].concat()), Some(PictureType::Heif));
        }
        for (bytes, message) in [
            (b"BM\x1a\0\0\0".as_slice(), "BMP"),
            (b"", "empty"),
            (b"hello", "not a supported picture"),
            (b"\x89PNG\r\n\x1a\n", "damaged"),
            (b"\xff\xd8\xff", "damaged"),
            (b"\0\0\0\x1cftypavif", "AVIF"),
        ] {
            for api in APIS {
                let error = check_header(api, 1, bytes).unwrap_err();
                assert!(error.to_string().contains(message), "{error}");
                // Another API may support a format that this one does not. No API accepts a damaged file.
                let is_known_format = matches!(message, "BMP" | "AVIF");
                assert_eq!(matches!(error, PictureError::Unsupported(_)), is_known_format, "{error}");
            }
        }
    }

    #[test]
    fn anthropic_accepts_8000_pixels_a_side_and_2000_with_many_pictures() {
        assert!(check_header(Api::Anthropic, 1, &png(8_000, 1)).is_ok());
        assert!(error_text(check_header(Api::Anthropic, 1, &png(1, 8_001))).contains("8001"));
        assert!(check_header(Api::Gemini, 1, &png(1, 8_001)).is_ok());
        assert!(check_header(Api::Anthropic, 20, &png(2_001, 1)).is_ok());
        assert!(check_header(Api::Anthropic, 21, &png(2_000, 1)).is_ok());
        assert!(error_text(check_header(Api::Anthropic, 21, &png(2_001, 1))).contains("more than 20 pictures"));
    }

    #[test]
    fn errors_name_the_picture_file() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing.png");
        assert!(error_text(from_file(Api::Gemini, &missing)).ends_with("missing.png: the picture does not exist"));
        assert!(error_text(from_file(Api::Gemini, dir.path())).contains("not a regular file"));
        let large = dir.path().join("large.png");
        File::create(&large).unwrap().set_len(MAX_READ_BYTES + 1).unwrap();
        assert!(error_text(from_file(Api::Anthropic, &large)).contains("larger than 256 MiB"));
    }

    #[test]
    fn what_follows_a_picture_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let large = dir.path().join("large.png");
        let mut file = File::create(&large).unwrap();
        file.write_all(&whole_png()).unwrap();
        file.set_len(8 * 1024 * 1024).unwrap();
        let sent = EncodedPicture::Data { mime: "image/png", base64: STANDARD.encode(whole_png()).into() };
        assert_eq!(from_file(Api::Anthropic, &large), Ok(sent));
    }

    #[test]
    fn a_rows_picture_is_checked_like_a_file() {
        let checked_pictures = CheckedPictureCache::default();
        let checker = |api| checker(api, 1, &checked_pictures);
        let data = STANDARD.encode(whole_png());
        assert_eq!(
            checker(Api::Gemini).check_inline(&data),
            Ok(EncodedPicture::Data { mime: "image/png", base64: Cow::Borrowed(data.as_str()) })
        );
        assert!(error_text(checker(Api::Gemini).check_inline("!!")).contains("base64"));
        assert!(error_text(checker(Api::Gemini).check_inline("")).contains("empty"));
        let cut_off = STANDARD.encode(png(3, 2));
        assert!(error_text(checker(Api::Gemini).check_inline(&cut_off)).contains("damaged: it is cut off"));
        let large = STANDARD.encode(vec![0; 7_864_323]);
        assert!(error_text(checker(Api::Anthropic).check_inline(&large)).contains("make it smaller"));
    }
}

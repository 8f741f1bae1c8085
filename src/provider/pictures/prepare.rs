//! Makes picture files what an API accepts, with as little change as possible.
//!
//! A file is sent with its own pixels if the API knows its format and it is upright and not too large; then only its
//! metadata is cut out. Otherwise it is decoded and encoded anew.

use std::borrow::Cow;

use image::metadata::Orientation;

use super::{
    checked_cache::CheckedPictureCache,
    decode_check::check_complete,
    format::{decoder, is_accepted_by},
    header::{PictureError, PictureHeader, too_large_error, unaccepted_type_error, unreadable_error},
    metadata::without_metadata,
    pixels::{EncodedFile, encode_anew},
};
use crate::domain::Api;

/// The requirements for a picture file that is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PictureLimits {
    pub api: Api,
    /// Maximum size of the file in bytes.
    pub max_bytes: u64,
    /// Maximum width and height in pixels.
    pub longest_side: Option<u32>,
    pub keeps_metadata: bool,
}

/// A picture file that can be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct PreparedPicture<'b> {
    pub mime: &'static str,
    pub bytes: Cow<'b, [u8]>,
}

/// Makes a file a picture within the limits.
///
/// # Errors
///
/// If the file is damaged, or of a type that the API doesn't accept and that can't be decoded here.
pub(super) fn prepare<'b>(
    limits: &PictureLimits,
    header: &PictureHeader,
    bytes: &'b [u8],
    checked_pictures: &CheckedPictureCache,
) -> Result<PreparedPicture<'b>, PictureError> {
    let picture_type = header.picture_type;
    let is_accepted = is_accepted_by(picture_type, limits.api);
    let Some(format) = decoder(picture_type) else {
        // It can be neither checked nor changed.
        if !is_accepted {
            return Err(unaccepted_type_error(limits.api, picture_type));
        }
        if bytes.len() as u64 > limits.max_bytes {
            return Err(too_large_error(limits.api, limits.max_bytes, bytes.len() as u64));
        }
        return Ok(PreparedPicture { mime: picture_type.mime(), bytes: Cow::Borrowed(bytes) });
    };
    let clean = without_metadata(picture_type, bytes);
    let longest = header.width.max(header.height) as u64;
    let is_small_enough = limits.longest_side.is_none_or(|side| longest <= u64::from(side));
    let unchanged = clean.as_ref().filter(|clean| {
        is_accepted
            && is_small_enough
            && clean.orientation == Orientation::NoTransforms
            && !clean.has_several_frames
            && !clean.is_cmyk
    });
    let orientation = clean.as_ref().map(|clean| clean.orientation);
    if let Some(clean) = unchanged {
        let sent = if limits.keeps_metadata { Cow::Borrowed(bytes) } else { clean.bytes.clone() };
        if sent.len() as u64 <= limits.max_bytes {
            checked_pictures.check(picture_type, bytes)?;
            return Ok(PreparedPicture { mime: picture_type.mime(), bytes: sent });
        }
    }
    let damaged = |damage| unreadable_error(format!("the {} picture is damaged: {damage}", picture_type.name()));
    check_complete(format, bytes).map_err(damaged)?;
    match encode_anew(format, bytes, orientation, limits.longest_side, limits.max_bytes) {
        Ok(EncodedFile { mime, bytes }) => Ok(PreparedPicture { mime, bytes: Cow::Owned(bytes) }),
        // A variant that the decoder doesn't know: the provider may.
        Err(error) if error.is_unsupported() => match clean {
            Some(clean) if is_accepted && clean.bytes.len() as u64 <= limits.max_bytes => {
                Ok(PreparedPicture { mime: picture_type.mime(), bytes: clean.bytes })
            }
            _ => Err(PictureError::Unsupported(format!(
                "the {} picture is of a kind that can't be decoded here ({}); convert it to PNG or JPEG",
                picture_type.name(),
                error.describe()
            ))),
        },
        Err(error) => Err(damaged(error.describe())),
    }
}

//! Small versions of picture files, to show them.

use std::path::Path;

use super::{
    decode_check::check_complete,
    format::decoder,
    header::{PictureError, PictureHeader, unreadable_error},
    load::read_bounded,
    metadata::without_metadata,
    pixels::{EncodedFile, encode_anew},
};

/// Maximum size of a thumbnail in bytes.
const MAX_BYTES: u64 = 256 << 10;

/// Makes an upright version of a picture file with at most this longest side in pixels, and without metadata. Returns
/// its media type and its bytes. Blocks the thread.
///
/// # Errors
/// If the file can't be read or decoded.
pub fn thumbnail(path: &Path, longest_side: u32) -> Result<(&'static str, Vec<u8>), PictureError> {
    let bytes = read_bounded(path)?;
    let picture_type = PictureHeader::read(&bytes)?.picture_type;
    let name = picture_type.name();
    let format = decoder(picture_type)
        .ok_or_else(|| PictureError::Unsupported(format!("{name} pictures can't be decoded here")))?;
    check_complete(format, &bytes).map_err(|damage| unreadable_error(format!("the {name} picture: {damage}")))?;
    let orientation = without_metadata(picture_type, &bytes).map(|clean| clean.orientation);
    encode_anew(format, &bytes, orientation, Some(longest_side), MAX_BYTES)
        .map(|EncodedFile { mime, bytes }| (mime, bytes))
        .map_err(|error| unreadable_error(format!("the {name} picture: {}", error.describe())))
}

//! Checks that a picture can be decoded, before it is sent to a provider.
//!
//! Decoders are tolerant: they fill the missing part of a truncated JPEG with grey. Providers reject such files, so the
//! end of the file is checked as well, by a rule for each format. Bytes after the end are allowed: cameras append
//! previews, depth maps and videos.

use std::io::{self, Cursor};

use image::{ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use super::decode_memory::DecodeMemory;

/// Maximum number of pixels. Pillow, which many servers use, rejects larger pictures as decompression bombs.
const MAX_PICTURE_PIXELS: u64 = 178_956_970;
/// Maximum memory for the decoded pixels, in bytes.
const MAX_DECODED_BYTES: u64 = 1 << 30;

/// Checks that the file is not cut off, and decodes the picture, or its first frame. A variant that the decoder does not
/// support (an arithmetic-coded JPEG) passes, because the provider may support it.
///
/// # Errors
///
/// A description of the damage: "it is cut off: …".
pub(super) fn check_decodable(format: ImageFormat, bytes: &[u8]) -> Result<(), String> {
    check_complete(format, bytes)?;
    match decode(format, bytes) {
        Err(error) if !error.is_unsupported() => Err(error.describe()),
        _ => Ok(()),
    }
}

/// Checks that the end of the file is there.
///
/// # Errors
///
/// A description of the damage.
pub(super) fn check_complete(format: ImageFormat, bytes: &[u8]) -> Result<(), String> {
    let has_end = match format {
        ImageFormat::Png => has_png_end(bytes),
        ImageFormat::Jpeg => has_jpeg_end(bytes),
        ImageFormat::Gif => has_gif_end(bytes),
        ImageFormat::WebP => has_webp_end(bytes),
        _ => true,
    };
    if has_end { Ok(()) } else { Err(cut_off_message()) }
}

fn cut_off_message() -> String {
    "it is cut off: the end of the file is missing".to_owned()
}

/// Why a picture can't be decoded.
#[derive(Debug)]
pub(super) enum DecodeError {
    TooManyPixels {
        width: u32,
        height: u32,
    },
    Decoder(ImageError),
    /// A description of the damage.
    Other(&'static str),
}

impl DecodeError {
    pub const fn from_text(text: &'static str) -> Self {
        Self::Other(text)
    }

    /// Whether the file may be fine, and the decoder doesn't know this variant of its format.
    pub const fn is_unsupported(&self) -> bool {
        matches!(self, Self::Decoder(ImageError::Unsupported(_)))
    }

    /// The description of the damage: "it is cut off: …".
    pub fn describe(&self) -> String {
        match self {
            Self::TooManyPixels { width, height } => {
                let max_millions = MAX_PICTURE_PIXELS / 1_000_000;
                format!(
                    "it has {width} x {height} pixels, and more than {max_millions} million are rejected as a \
                     decompression bomb"
                )
            }
            Self::Decoder(ImageError::IoError(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                cut_off_message()
            }
            Self::Decoder(ImageError::Limits(_)) => "decoding it would need too much memory".to_owned(),
            Self::Decoder(error) => format!("it can't be decoded ({error})"),
            Self::Other(text) => (*text).to_owned(),
        }
    }
}

impl From<ImageError> for DecodeError {
    fn from(error: ImageError) -> Self {
        Self::Decoder(error)
    }
}

fn decode(format: ImageFormat, bytes: &[u8]) -> Result<(), DecodeError> {
    let decoder = open_decoder(format, bytes)?;
    let total_bytes = decoder.total_bytes();
    let _memory = DecodeMemory::take(total_bytes + bytes.len() as u64);
    // The size is within the reserved limit, which fits any address space.
    let mut decoded = vec![0; total_bytes as usize];
    decoder.read_image(&mut decoded)?;
    Ok(())
}

/// Whether a picture has so many pixels that it counts as a decompression bomb.
pub(super) fn is_bomb(width: u32, height: u32) -> bool {
    u64::from(width) * u64::from(height) > MAX_PICTURE_PIXELS
}

/// Reads the header of a picture. What its pixels need of memory is limited.
pub(super) fn open_decoder(format: ImageFormat, bytes: &[u8]) -> Result<impl ImageDecoder, DecodeError> {
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    if is_bomb(width, height) {
        return Err(DecodeError::TooManyPixels { width, height });
    }
    // The pixel buffer is reserved from the limit, so that the decoder cannot use that part too.
    limits.reserve(decoder.total_bytes())?;
    decoder.set_limits(limits)?;
    Ok(decoder)
}

fn has_png_end(bytes: &[u8]) -> bool {
    const SIGNATURE_BYTES: usize = 8;
    const END: &[u8] = b"\0\0\0\0IEND\xae\x42\x60\x82";
    let mut rest = bytes.get(SIGNATURE_BYTES..).unwrap_or_default();
    while let Some(length) = rest.first_chunk().copied().map(u32::from_be_bytes) {
        if rest.starts_with(END) {
            return true;
        }
        // A chunk has 12 bytes besides its content: length, name and checksum.
        rest = rest.get(12 + length as usize..).unwrap_or_default();
    }
    false
}

fn has_jpeg_end(bytes: &[u8]) -> bool {
    const END: [u8; 2] = [0xff, 0xd9];
    // Stray bytes between segments can stop the walk. The end marker at the end of the file then counts too.
    find_jpeg_end(bytes).is_some() || bytes.trim_ascii_end().ends_with(&END)
}

/// Offset of the end marker after the first scan. End markers of previews inside segments don't count.
pub(super) fn find_jpeg_end(bytes: &[u8]) -> Option<usize> {
    let mut has_scan = false;
    let mut at = 2;
    loop {
        // In coded data, 0xff is always followed by 0.
        at += memchr::memchr(0xff, bytes.get(at..)?)?;
        match *bytes.get(at + 1)? {
            // Padding before a marker.
            0xff => at += 1,
            // Coded data, restart markers and other markers without content.
            0x00 | 0x01 | 0xd0..=0xd8 => at += 2,
            0xd9 if has_scan => return Some(at),
            0xd9 => return None,
            marker => {
                has_scan |= marker == 0xda;
                let length = u16::from_be_bytes([*bytes.get(at + 2)?, *bytes.get(at + 3)?]);
                at += 2 + usize::from(length);
            }
        }
    }
}

fn has_gif_end(bytes: &[u8]) -> bool {
    find_gif_end(bytes).is_some()
}

/// Finds the end of a GIF by walking over its blocks. Returns the offset of the trailer or of any other byte that
/// begins no block, where decoders stop. If the file ends after a whole block, returns its length, because some
/// programs write no trailer. `None` if the file is cut off or has no frame.
fn find_gif_end(bytes: &[u8]) -> Option<usize> {
    let table_bytes = |flags: u8| if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) };
    let end_of_sub_blocks = |mut at: usize| {
        loop {
            match *bytes.get(at)? {
                0 => return Some(at + 1),
                length => at += 1 + usize::from(length),
            }
        }
    };
    let mut has_frame = false;
    let mut at = 13 + table_bytes(*bytes.get(10)?);
    loop {
        let Some(&block) = bytes.get(at) else { return (has_frame && at == bytes.len()).then_some(at) };
        match block {
            b'!' => at = end_of_sub_blocks(at + 2)?,
            b',' => {
                // A frame has its position, size and flags, then the colour table, then the code width.
                at = end_of_sub_blocks(at + 11 + table_bytes(*bytes.get(at + 9)?))?;
                has_frame = true;
            }
            // Some encoders write zeros between blocks.
            0 => at += 1,
            _ => return has_frame.then_some(at),
        }
    }
}

/// Whether the file has as many bytes as its header states.
fn has_webp_end(bytes: &[u8]) -> bool {
    let stated_bytes = bytes.get(4..).and_then(|rest| rest.first_chunk()).copied().map(u32::from_le_bytes);
    stated_bytes.is_some_and(|stated_bytes| stated_bytes as usize <= bytes.len().saturating_sub(8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thumbnails_end_marker_does_not_end_a_jpeg() {
        let scan = b"\xff\xda\0\x02coded\xff\0data\xff\xd0more\xff\xff\xd9";
        let notes = b"\xff\xe1\0\x06\xff\xd8\xff\xd9";
        let whole = [b"\xff\xd8".as_slice(), notes, scan].concat();
        assert!(has_jpeg_end(&whole));
        assert!(has_jpeg_end(&[whole.as_slice(), b"\xff\xd8 another, cut off"].concat()));
        for cut in 2..whole.len() {
            // A cut right after the thumbnail leaves no scan, which no decoder accepts.
            assert_eq!(has_jpeg_end(&whole[..cut]), cut == 2 + notes.len(), "{cut}");
        }
    }

    #[test]
    fn a_gif_without_a_trailer_passes_but_a_cut_block_does_not() {
        let frame = b",\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0";
        let screen = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff";
        let notes = b"!\xfe\x05words\0";
        let whole = [screen.as_slice(), notes, frame, notes, b";"].concat();
        let (first, second) = (screen.len() + notes.len() + frame.len(), whole.len() - 1);
        for cut in 13..=whole.len() {
            assert_eq!(has_gif_end(&whole[..cut]), cut == first || cut >= second, "{cut}");
        }
    }
}

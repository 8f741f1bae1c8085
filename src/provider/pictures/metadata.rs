//! Cuts the metadata out of picture files, without touching their pixels.
//!
//! EXIF, XMP, IPTC, comments, previews and what follows the end of the picture may tell where and by whom it was taken.
//! Colour profiles, gamma and transparency stay. Of an animated PNG the first picture
//! stays.

use std::borrow::Cow;

use image::metadata::Orientation;

use super::decode_check::find_jpeg_end;
use crate::domain::PictureType;

/// A picture file without metadata, and what its metadata said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct CleanFile<'b> {
    /// Borrowed if there was nothing to cut out.
    pub bytes: Cow<'b, [u8]>,
    /// How the picture has to be turned to be upright.
    pub orientation: Orientation,
    pub has_several_frames: bool,
    /// A JPEG for print, in cyan, magenta, yellow and black.
    pub is_cmyk: bool,
}

impl CleanFile<'_> {
    fn new() -> Self {
        Self {
            bytes: Cow::Borrowed(&[]),
            orientation: Orientation::NoTransforms,
            has_several_frames: false,
            is_cmyk: false,
        }
    }
}

/// Cuts out the metadata. `None` if the parts of the file can't be told apart, or if files of this type are never sent
/// as they are.
pub(super) fn without_metadata(picture_type: PictureType, bytes: &[u8]) -> Option<CleanFile<'_>> {
    let (kept, clean) = match picture_type {
        PictureType::Jpeg => clean_jpeg(bytes)?,
        PictureType::Png => clean_png(bytes)?,
        PictureType::Webp => clean_webp(bytes)?,
        PictureType::Gif => clean_gif(bytes)?,
        PictureType::Heic | PictureType::Heif | PictureType::Avif | PictureType::Bmp | PictureType::Tiff => {
            return None;
        }
    };
    let bytes = if kept.len() == bytes.len() { Cow::Borrowed(bytes) } else { Cow::Owned(kept) };
    Some(CleanFile { bytes, ..clean })
}

fn read_orientation(exif: &[u8]) -> Option<Orientation> {
    Orientation::from_exif_chunk(exif)
}

fn clean_jpeg<'b>(bytes: &[u8]) -> Option<(Vec<u8>, CleanFile<'b>)> {
    let mut clean = CleanFile::new();
    let mut orientation = None;
    let mut kept = Vec::with_capacity(bytes.len());
    kept.extend(bytes.get(..2)?);
    let mut at = 2;
    loop {
        if *bytes.get(at)? != 0xff {
            return None;
        }
        let marker = *bytes.get(at + 1)?;
        match marker {
            // Padding before a marker, and markers without content.
            0xff => {
                at += 1;
                continue;
            }
            0x01 | 0xd0..=0xd8 => {
                at += 2;
                continue;
            }
            0xd9 => return None,
            0xda => break,
            _ => {}
        }
        let length = usize::from(u16::from_be_bytes([*bytes.get(at + 2)?, *bytes.get(at + 3)?]));
        let segment = bytes.get(at..at + 2 + length)?;
        let content = segment.get(4..)?;
        let is_kept = match marker {
            0xe0 => !content.starts_with(b"JFXX\0"),
            0xe1 => {
                let exif = content.strip_prefix(b"Exif\0\0").or_else(|| content.strip_prefix(b"Exif\0\xff"));
                orientation = orientation.or_else(|| exif.and_then(read_orientation));
                false
            }
            0xe2 => content.starts_with(b"ICC_PROFILE\0"),
            // How the colours are coded.
            0xee => content.starts_with(b"Adobe"),
            0xe3..=0xef | 0xfe => false,
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                clean.is_cmyk = *content.get(5)? == 4;
                true
            }
            _ => true,
        };
        if is_kept {
            kept.extend(segment);
        }
        at += 2 + length;
    }
    let end = find_jpeg_end(bytes).map_or(bytes.len(), |end| end + 2);
    kept.extend(bytes.get(at..end)?);
    clean.orientation = orientation.unwrap_or(Orientation::NoTransforms);
    Some((kept, clean))
}

fn clean_png<'b>(bytes: &[u8]) -> Option<(Vec<u8>, CleanFile<'b>)> {
    const KEPT: [&[u8; 4]; 11] =
        [b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"sBIT", b"bKGD", b"hIST", b"pHYs", b"sPLT"];
    let mut clean = CleanFile::new();
    let mut kept = Vec::with_capacity(bytes.len());
    kept.extend(bytes.get(..8)?);
    let mut at = 8;
    loop {
        let length = u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?) as usize;
        let chunk = bytes.get(at..at.checked_add(length)?.checked_add(12)?)?;
        let name: &[u8; 4] = chunk.get(4..)?.first_chunk()?;
        if name == b"eXIf" {
            clean.orientation = read_orientation(chunk.get(8..8 + length)?).unwrap_or(clean.orientation);
        }
        // Decoders must know a chunk whose name begins with a capital letter.
        if name[0].is_ascii_uppercase() || KEPT.contains(&name) {
            kept.extend(chunk);
        }
        at += chunk.len();
        if name == b"IEND" {
            return Some((kept, clean));
        }
    }
}

fn clean_webp<'b>(bytes: &[u8]) -> Option<(Vec<u8>, CleanFile<'b>)> {
    const EXIF_FLAG: u8 = 0x08;
    const XMP_FLAG: u8 = 0x04;
    let mut clean = CleanFile::new();
    let stated_bytes = u32::from_le_bytes(*bytes.get(4..)?.first_chunk()?) as usize;
    let end = stated_bytes.checked_add(8)?.min(bytes.len());
    let mut kept = Vec::with_capacity(bytes.len());
    kept.extend(bytes.get(..12)?);
    let mut at = 12;
    while at + 8 <= end {
        let length = u32::from_le_bytes(*bytes.get(at + 4..)?.first_chunk()?) as usize;
        // Chunks of an odd length are padded, but for the last one of some files.
        let padded = at.checked_add(8)?.checked_add(length)?.checked_add(length % 2)?;
        let chunk = bytes.get(at..padded.min(end))?;
        match chunk.first_chunk::<4>()? {
            b"EXIF" => {
                let exif = chunk.get(8..8 + length)?;
                let exif = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
                clean.orientation = read_orientation(exif).unwrap_or(clean.orientation);
            }
            b"VP8X" => {
                let flags_at = kept.len() + 8;
                kept.extend(chunk);
                *kept.get_mut(flags_at)? &= !(EXIF_FLAG | XMP_FLAG);
            }
            b"ANMF" => {
                clean.has_several_frames = true;
                kept.extend(chunk);
            }
            b"VP8 " | b"VP8L" | b"ALPH" | b"ICCP" | b"ANIM" => kept.extend(chunk),
            _ => {}
        }
        at += chunk.len();
    }
    let kept_bytes = u32::try_from(kept.len().checked_sub(8)?).ok()?;
    kept.get_mut(4..8)?.copy_from_slice(&kept_bytes.to_le_bytes());
    Some((kept, clean))
}

fn clean_gif<'b>(bytes: &[u8]) -> Option<(Vec<u8>, CleanFile<'b>)> {
    const GRAPHIC_CONTROL: u8 = 0xf9;
    let table_bytes = |flags: u8| if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) };
    let end_of_sub_blocks = |mut at: usize| {
        loop {
            match *bytes.get(at)? {
                0 => return Some(at + 1),
                length => at += 1 + usize::from(length),
            }
        }
    };
    let mut clean = CleanFile::new();
    let mut frames = 0;
    let mut at = 13 + table_bytes(*bytes.get(10)?);
    let mut kept = Vec::with_capacity(bytes.len());
    kept.extend(bytes.get(..at)?);
    // Where the file ends without a trailer, or with something that begins no block, decoders stop.
    while let Some(&block) = bytes.get(at) {
        let end = match block {
            b'!' => end_of_sub_blocks(at + 2)?,
            b',' => end_of_sub_blocks(at + 11 + table_bytes(*bytes.get(at + 9)?))?,
            0 => at + 1,
            _ => break,
        };
        frames += usize::from(block == b',');
        if block == b',' || (block == b'!' && bytes.get(at + 1) == Some(&GRAPHIC_CONTROL)) {
            kept.extend(bytes.get(at..end)?);
        }
        at = end;
    }
    kept.push(b';');
    clean.has_several_frames = frames > 1;
    Some((kept, clean))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// EXIF with this orientation and a position.
    fn exif(orientation: u8) -> Vec<u8> {
        let mut exif = b"MM\0*\0\0\0\x08\0\x02".to_vec();
        exif.extend([0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0]);
        exif.extend([0x88, 0x25, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0]);
        exif.extend(b"\0\0\0\0GPS 48.2N");
        exif
    }

    fn jpeg_segment(marker: u8, content: &[u8]) -> Vec<u8> {
        [&[0xff, marker], &(content.len() as u16 + 2).to_be_bytes()[..], content].concat()
    }

    #[test]
    fn a_jpeg_keeps_its_colours_and_loses_the_rest() {
        let kept = [
            jpeg_segment(0xe0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0"),
            jpeg_segment(0xe2, b"ICC_PROFILE\0\x01\x01profile"),
            jpeg_segment(0xee, b"Adobe\0d\0\0\0\0\x02"),
            jpeg_segment(0xc0, &[8, 0, 1, 0, 1, 4]),
        ];
        let scan = b"\xff\xda\0\x02coded\xff\xd9";
        let cut = [
            jpeg_segment(0xe1, &[b"Exif\0\0", &exif(6)[..]].concat()),
            jpeg_segment(0xe1, b"http://ns.adobe.com/xap/1.0/\0<xmp>"),
            jpeg_segment(0xed, b"Photoshop 3.0\08BIM"),
            jpeg_segment(0xfe, b"a comment"),
            jpeg_segment(0xe2, b"MPF\0"),
        ];
        let file = [b"\xff\xd8".as_slice(), &cut.concat(), &kept.concat(), scan, b"a film"].concat();
        let clean = without_metadata(PictureType::Jpeg, &file).unwrap();
        assert_eq!(clean.bytes, [b"\xff\xd8".as_slice(), &kept.concat(), scan].concat());
        assert_eq!((clean.orientation, clean.is_cmyk), (Orientation::Rotate90, true));
        let again = without_metadata(PictureType::Jpeg, &clean.bytes).unwrap();
        assert!(matches!(again.bytes, Cow::Borrowed(_)));
        for cut in 0..file.len() - 6 {
            // However the file is cut off, nothing panics.
            without_metadata(PictureType::Jpeg, &file[..cut]);
        }
    }

    #[test]
    fn a_png_loses_text_exif_and_its_other_frames() {
        let chunk = |name: &[u8; 4], content: &[u8]| {
            [&(content.len() as u32).to_be_bytes()[..], name, content, b"\0crc"].concat()
        };
        let kept = [chunk(b"IHDR", &[0; 13]), chunk(b"iCCP", b"p"), chunk(b"IDAT", b"d"), chunk(b"IEND", b"")];
        let [header, profile, data, end] = kept.clone();
        let (text, exif, frame) = (chunk(b"tEXt", b"x"), chunk(b"eXIf", &exif(3)), chunk(b"fdAT", b"f"));
        let signature = b"\x89PNG\r\n\x1a\n".to_vec();
        let file = [signature.clone(), header, text, profile, data, exif, frame, end, b"more".to_vec()].concat();
        let clean = without_metadata(PictureType::Png, &file).unwrap();
        assert_eq!(clean.bytes, [signature, kept.concat()].concat());
        assert_eq!(clean.orientation, Orientation::Rotate180);
    }

    #[test]
    fn a_webp_loses_exif_and_the_flags_that_announce_it() {
        let chunk = |name: &[u8; 4], content: &[u8]| {
            let padding = vec![0; content.len() % 2];
            [name, &(content.len() as u32).to_le_bytes()[..], content, &padding].concat()
        };
        let file_of = |chunks: &[Vec<u8>]| {
            let chunks = chunks.concat();
            [b"RIFF".as_slice(), &(chunks.len() as u32 + 4).to_le_bytes(), b"WEBP", &chunks].concat()
        };
        let flags = |flags: u8| chunk(b"VP8X", &[flags, 0, 0, 0, 1, 0, 0, 1, 0, 0]);
        let (pixels, exif, xmp) = (chunk(b"VP8 ", b"abc"), chunk(b"EXIF", &exif(8)), chunk(b"XMP ", b"x"));
        let file = file_of(&[flags(0x3c), pixels.clone(), exif, xmp]);
        let clean = without_metadata(PictureType::Webp, &file).unwrap();
        assert_eq!(clean.bytes, file_of(&[flags(0x30), pixels]));
        assert_eq!(clean.orientation, Orientation::Rotate270);
    }
}

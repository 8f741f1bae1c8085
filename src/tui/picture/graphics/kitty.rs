//! kitty's graphics protocol with Unicode placeholders. The terminal stores the picture, and each cell holds a
//! character that says which part of the picture belongs there. <https://sw.kovidgoyal.net/kitty/graphics-protocol/>

use std::{fmt::Write as _, io::Cursor, sync::LazyLock};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use image::{ExtendedColorType, ImageEncoder as _, RgbaImage, codecs::png};
use ratatui::layout::Size;

/// Maximum base64 bytes in one sequence.
const MAX_CHUNK_BYTES: usize = 4_096;

/// Maximum number of our pictures that the terminal stores; a further one replaces the oldest.
const MAX_KEPT_IMAGES: u32 = 8;

const PLACEHOLDER: char = '\u{10eeee}';

/// The terminal's id of a picture. The base avoids the ids of other programs in the same window, which mostly count up
/// from one.
pub(super) fn image_id(image_number: u32) -> u32 {
    static BASE_ID: LazyLock<u32> = LazyLock::new(|| (std::process::id() & 0x0fff) << 8 | 0x10_0000);
    *BASE_ID + image_number % MAX_KEPT_IMAGES
}

/// The sequences that send the picture to the terminal, to be shown at this size in cells wherever its placeholders
/// are. They ask for no response, because it would be read as input.
pub(super) fn transmission(picture: &RgbaImage, size: Size, image_number: u32, inside_tmux: bool) -> Option<String> {
    let mut png = Cursor::new(Vec::new());
    png::PngEncoder::new_with_quality(&mut png, png::CompressionType::Fast, png::FilterType::Sub)
        .write_image(picture, picture.width(), picture.height(), ExtendedColorType::Rgba8)
        .ok()?;
    let payload = STANDARD.encode(png.into_inner());
    let mut sequence = String::with_capacity(payload.len() + payload.len() / MAX_CHUNK_BYTES * 16 + 128);
    let mut rest = payload.as_str();
    let (id, Size { width, height }) = (image_id(image_number), size);
    let first = format!("a=T,U=1,f=100,i={id},c={width},r={height},q=2,");
    let mut head = first.as_str();
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(MAX_CHUNK_BYTES.min(rest.len()));
        let more = u8::from(!after.is_empty());
        let _ = write!(sequence, "{}", wrap_for_tmux(&format!("\x1b_G{head}m={more};{chunk}\x1b\\"), inside_tmux));
        head = "q=2,";
        rest = after;
    }
    Some(sequence)
}

/// Deletes all our pictures from the terminal.
pub(super) fn delete_sequence(inside_tmux: bool) -> String {
    (0..MAX_KEPT_IMAGES)
        .map(|number| wrap_for_tmux(&format!("\x1b_Ga=d,d=I,i={},q=2\x1b\\", image_id(number)), inside_tmux))
        .collect()
}

/// Wraps a sequence for tmux, which passes only wrapped sequences on (`allow-passthrough on`).
fn wrap_for_tmux(sequence: &str, inside_tmux: bool) -> String {
    if inside_tmux { format!("\x1bPtmux;{}\x1b\\", sequence.replace('\x1b', "\x1b\x1b")) } else { sequence.to_owned() }
}

/// The placeholder for one cell of a picture. It contains row and column, so that it is correct even if only this cell
/// is written.
pub(super) fn placeholder(row: u16, column: u16) -> String {
    let mut symbol = String::from(PLACEHOLDER);
    let diacritic = |at: u16| DIACRITICS.get(usize::from(at)).copied().and_then(char::from_u32);
    // kitty has no diacritics for higher numbers; no area is that large.
    if let (Some(row), Some(column)) = (diacritic(row), diacritic(column)) {
        symbol.push(row);
        symbol.push(column);
    }
    symbol
}

/// Combining marks that encode row and column numbers, from kitty's rowcolumn-diacritics.txt.
const DIACRITICS: [u32; 297] = [
    0x305, 0x30d, 0x30e, 0x310, 0x312, 0x33d, 0x33e, 0x33f, 0x346, 0x34a, 0x34b, 0x34c, 0x350, 0x351, 0x352, 0x357,
    0x35b, 0x363, 0x364, 0x365, 0x366, 0x367, 0x368, 0x369, 0x36a, 0x36b, 0x36c, 0x36d, 0x36e, 0x36f, 0x483, 0x484,
    0x485, 0x486, 0x487, 0x592, 0x593, 0x594, 0x595, 0x597, 0x598, 0x599, 0x59c, 0x59d, 0x59e, 0x59f, 0x5a0, 0x5a1,
    0x5a8, 0x5a9, 0x5ab, 0x5ac, 0x5af, 0x5c4, 0x610, 0x611, 0x612, 0x613, 0x614, 0x615, 0x616, 0x617, 0x657, 0x658,
    0x659, 0x65a, 0x65b, 0x65d, 0x65e, 0x6d6, 0x6d7, 0x6d8, 0x6d9, 0x6da, 0x6db, 0x6dc, 0x6df, 0x6e0, 0x6e1, 0x6e2,
    0x6e4, 0x6e7, 0x6e8, 0x6eb, 0x6ec, 0x730, 0x732, 0x733, 0x735, 0x736, 0x73a, 0x73d, 0x73f, 0x740, 0x741, 0x743,
    0x745, 0x747, 0x749, 0x74a, 0x7eb, 0x7ec, 0x7ed, 0x7ee, 0x7ef, 0x7f0, 0x7f1, 0x7f3, 0x816, 0x817, 0x818, 0x819,
    0x81b, 0x81c, 0x81d, 0x81e, 0x81f, 0x820, 0x821, 0x822, 0x823, 0x825, 0x826, 0x827, 0x829, 0x82a, 0x82b, 0x82c,
    0x82d, 0x951, 0x953, 0x954, 0xf82, 0xf83, 0xf86, 0xf87, 0x135d, 0x135e, 0x135f, 0x17dd, 0x193a, 0x1a17, 0x1a75,
    0x1a76, 0x1a77, 0x1a78, 0x1a79, 0x1a7a, 0x1a7b, 0x1a7c, 0x1b6b, 0x1b6d, 0x1b6e, 0x1b6f, 0x1b70, 0x1b71, 0x1b72,
    0x1b73, 0x1cd0, 0x1cd1, 0x1cd2, 0x1cda, 0x1cdb, 0x1ce0, 0x1dc0, 0x1dc1, 0x1dc3, 0x1dc4, 0x1dc5, 0x1dc6, 0x1dc7,
    0x1dc8, 0x1dc9, 0x1dcb, 0x1dcc, 0x1dd1, 0x1dd2, 0x1dd3, 0x1dd4, 0x1dd5, 0x1dd6, 0x1dd7, 0x1dd8, 0x1dd9, 0x1dda,
    0x1ddb, 0x1ddc, 0x1ddd, 0x1dde, 0x1ddf, 0x1de0, 0x1de1, 0x1de2, 0x1de3, 0x1de4, 0x1de5, 0x1de6, 0x1dfe, 0x20d0,
    0x20d1, 0x20d4, 0x20d5, 0x20d6, 0x20d7, 0x20db, 0x20dc, 0x20e1, 0x20e7, 0x20e9, 0x20f0, 0x2cef, 0x2cf0, 0x2cf1,
    0x2de0, 0x2de1, 0x2de2, 0x2de3, 0x2de4, 0x2de5, 0x2de6, 0x2de7, 0x2de8, 0x2de9, 0x2dea, 0x2deb, 0x2dec, 0x2ded,
    0x2dee, 0x2def, 0x2df0, 0x2df1, 0x2df2, 0x2df3, 0x2df4, 0x2df5, 0x2df6, 0x2df7, 0x2df8, 0x2df9, 0x2dfa, 0x2dfb,
    0x2dfc, 0x2dfd, 0x2dfe, 0x2dff, 0xa66f, 0xa67c, 0xa67d, 0xa6f0, 0xa6f1, 0xa8e0, 0xa8e1, 0xa8e2, 0xa8e3, 0xa8e4,
    0xa8e5, 0xa8e6, 0xa8e7, 0xa8e8, 0xa8e9, 0xa8ea, 0xa8eb, 0xa8ec, 0xa8ed, 0xa8ee, 0xa8ef, 0xa8f0, 0xa8f1, 0xaab0,
    0xaab2, 0xaab3, 0xaab7, 0xaab8, 0xaabe, 0xaabf, 0xaac1, 0xfe20, 0xfe21, 0xfe22, 0xfe23, 0xfe24, 0xfe25, 0xfe26,
    0x10a0f, 0x10a38, 0x1d185, 0x1d186, 0x1d187, 0x1d188, 0x1d189, 0x1d1aa, 0x1d1ab, 0x1d1ac, 0x1d1ad, 0x1d242,
    0x1d243, 0x1d244,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_sent_in_chunks_that_decode_to_the_same_picture() {
        let picture =
            RgbaImage::from_fn(64, 64, |x, y| image::Rgba([(x * y) as u8, (x ^ y) as u8, (x + y) as u8, 255]));
        let sequence = transmission(&picture, Size::new(8, 4), 3, false).unwrap();
        let pieces: Vec<&str> = sequence.split_terminator("\x1b\\").collect();
        assert!(pieces.len() > 1);
        assert!(pieces[0].starts_with(&format!("\x1b_Ga=T,U=1,f=100,i={},c=8,r=4,q=2,m=1;", image_id(3))));
        let mut payload = String::new();
        for (at, piece) in pieces.iter().enumerate() {
            let (head, chunk) = piece.split_once(';').unwrap();
            assert!(head.ends_with(if at + 1 < pieces.len() { "m=1" } else { "m=0" }));
            assert!(chunk.len() <= MAX_CHUNK_BYTES);
            payload.push_str(chunk);
        }
        let back = image::load_from_memory(&STANDARD.decode(payload).unwrap()).unwrap();
        assert_eq!(back.into_rgba8(), picture);
    }

    #[test]
    fn inside_tmux_every_sequence_is_wrapped() {
        let sequence = transmission(&RgbaImage::new(1, 1), Size::new(1, 1), 0, true).unwrap();
        assert!(sequence.starts_with("\x1bPtmux;\x1b\x1b_Ga=T"), "{sequence:?}");
        assert!(sequence.ends_with("\x1b\x1b\\\x1b\\"), "{sequence:?}");
    }

    #[test]
    fn image_ids_fit_a_colour_and_all_of_them_are_deleted() {
        let ids: std::collections::HashSet<u32> = (0..100).map(image_id).collect();
        assert_eq!(ids.len(), MAX_KEPT_IMAGES as usize);
        assert!(ids.iter().all(|id| (0x10_0000..0x100_0000).contains(id)));
        assert!(ids.iter().all(|id| delete_sequence(false).contains(&format!("d=I,i={id},"))));
    }

    #[test]
    fn every_row_and_column_has_its_own_diacritic() {
        let marks: std::collections::HashSet<_> = DIACRITICS.into_iter().filter_map(char::from_u32).collect();
        assert_eq!(marks.len(), DIACRITICS.len());
        assert_eq!(placeholder(0, 1), "\u{10eeee}\u{305}\u{30d}");
    }
}

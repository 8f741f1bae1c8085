//! Terminal graphics protocols: three ways to send a picture to the terminal.
//!
//! A picture is content of the frame's cells, like text. Its first cell contains the escape sequence. Whatever the next
//! frame has in these cells differs from the picture, so it is written and replaces the picture. Nothing else needs to
//! clear the picture after scrolling, resizing or closing the item. After `Ctrl-L` or a suspension, the picture is sent
//! again like any text.

mod iterm2;
mod kitty;
mod sixel;

use std::num::NonZeroU16;

use ratatui::{
    buffer::{Buffer, CellDiffOption},
    layout::{Rect, Size},
    style::Color,
};

use super::{
    decode::DecodedImage,
    request::{CellPixels, GraphicsProtocol, ImageCaps},
};

/// A cell with a sequence counts as one column wide, however long its content is.
const ONE_COLUMN: CellDiffOption = CellDiffOption::ForcedWidth(NonZeroU16::MIN);

/// Maximum pixels of a picture that is sent, so that it doesn't block a slow connection. The terminal enlarges smaller
/// pictures, except sixels: these may have four times as many pixels.
const MAX_PIXELS: u32 = 600_000;

/// A picture encoded for a graphics protocol.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum EncodedImage {
    /// Each cell holds a placeholder that says which part of which picture belongs there. The first cell also holds the
    /// sequences that send the picture.
    Placeholders { transmission: String, image_number: u32 },
    /// The first cell holds the sequence that draws the whole picture. The other cells are skipped when the frame is
    /// written, so that the drawing stays.
    Painted { sequence: String },
}

/// Encodes the picture for this size in cells. `None` if the terminal has no graphics protocol or the encoding fails;
/// for sixels also if the size of a cell is unknown or there would be too many pixels.
pub(super) fn encode(picture: &DecodedImage, size: Size, caps: &ImageCaps, image_number: u32) -> Option<EncodedImage> {
    let cell = caps.cell_size.unwrap_or(CellPixels { width: 10, height: 20 });
    let width = u32::from(size.width) * u32::from(cell.width);
    let height = u32::from(size.height) * u32::from(cell.height);
    match caps.protocol? {
        GraphicsProtocol::Kitty => {
            let (width, height) = transfer_size(width, height, picture.size());
            let transmission =
                kitty::transmission(&picture.scaled(width, height), size, image_number, caps.inside_tmux)?;
            Some(EncodedImage::Placeholders { transmission, image_number })
        }
        GraphicsProtocol::Iterm2 => {
            let (width, height) = transfer_size(width, height, picture.size());
            let sequence = paint_at_cursor(&iterm2::sequence(&picture.scaled(width, height), size)?, size);
            Some(EncodedImage::Painted { sequence })
        }
        // Sixels are drawn pixel for pixel: without the size of a cell, the picture would get the wrong size.
        GraphicsProtocol::Sixel => {
            caps.cell_size?;
            (width * height <= 4 * MAX_PIXELS).then(|| {
                let sequence =
                    paint_at_cursor(&sixel::sequence(&picture.scaled(width, height), caps.light_background), size);
                EncodedImage::Painted { sequence }
            })
        }
    }
}

/// The size in pixels to send: `width` and `height`, scaled down with the same proportions if they exceed
/// [`MAX_PIXELS`] or the picture's own size.
fn transfer_size(width: u32, height: u32, image_size: (u32, u32)) -> (u32, u32) {
    let (width, height) = (f64::from(width.max(1)), f64::from(height.max(1)));
    let limit = (f64::from(MAX_PIXELS) / (width * height)).sqrt();
    let useful = (f64::from(image_size.0) / width).max(f64::from(image_size.1) / height);
    let scale = limit.min(useful).min(1.0);
    let scaled = |side: f64| ((side * scale) as u32).max(1);
    (scaled(width), scaled(height))
}

/// Wraps a sequence that draws at the cursor. Erases the cells first, so that nothing shows through. Afterwards the
/// cursor is one column to the right of where it was, where the frame expects it.
fn paint_at_cursor(sequence: &str, size: Size) -> String {
    use std::fmt::Write as _;
    let mut complete = String::with_capacity(sequence.len() + 64);
    complete.push_str("\x1b7");
    for _ in 0..size.height {
        // Erases this row of the area, then moves down.
        let _ = write!(complete, "\x1b[{}X\x1b[B", size.width);
    }
    complete.push_str("\x1b8");
    complete.push_str(sequence);
    complete.push_str("\x1b8\x1b[C");
    complete
}

/// The sequence that deletes the stored pictures from the terminal.
pub fn cleanup_sequence(caps: ImageCaps) -> String {
    match caps.protocol {
        Some(GraphicsProtocol::Kitty) => kitty::delete_sequence(caps.inside_tmux),
        Some(GraphicsProtocol::Iterm2 | GraphicsProtocol::Sixel) | None => String::new(),
    }
}

impl EncodedImage {
    pub(super) fn render(&self, area: Rect, buf: &mut Buffer) {
        let mut positions = area.positions().filter(|at| buf.area.contains(*at)).collect::<Vec<_>>().into_iter();
        match self {
            Self::Placeholders { transmission, image_number } => {
                let mut pending_transmission = transmission.as_str();
                for at in positions {
                    let placeholder = kitty::placeholder(at.y - area.y, at.x - area.x);
                    let [_, red, green, blue] = kitty::image_id(*image_number).to_be_bytes();
                    buf[at]
                        .set_symbol(&format!("{pending_transmission}{placeholder}"))
                        .set_fg(Color::Rgb(red, green, blue))
                        .set_bg(Color::Reset)
                        .set_diff_option(ONE_COLUMN);
                    pending_transmission = "";
                }
            }
            Self::Painted { sequence } => {
                let Some(first) = positions.next() else { return };
                buf[first].reset();
                buf[first].set_symbol(sequence).set_diff_option(ONE_COLUMN);
                for at in positions {
                    buf[at].reset();
                    buf[at].set_diff_option(CellDiffOption::Skip);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use image::{Rgba, RgbaImage};

    use super::*;
    use crate::tui::colour::ColourDepth;

    const CELL: CellPixels = CellPixels { width: 8, height: 16 };
    const SIZE: Size = Size { width: 4, height: 2 };

    fn encoded(graphics: GraphicsProtocol, number: u32) -> EncodedImage {
        let picture =
            DecodedImage::from_pixels(RgbaImage::from_fn(32, 32, |x, y| Rgba([(x * 8) as u8, (y * 8) as u8, 0, 255])));
        let canvas = ImageCaps {
            colour_depth: ColourDepth::True,
            ascii_only: false,
            light_background: false,
            protocol: Some(graphics),
            inside_tmux: false,
            cell_size: Some(CELL),
        };
        encode(&picture, SIZE, &canvas, number).unwrap()
    }

    fn frame(draw: impl Fn(&mut Buffer)) -> Buffer {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 10, 5));
        draw(&mut buffer);
        buffer
    }

    /// The cells that are written to get from one frame to the next.
    fn written(from: &Buffer, to: &Buffer) -> Vec<(u16, u16)> {
        from.diff(to).into_iter().map(|(x, y, _)| (x, y)).collect()
    }

    #[test]
    fn the_frame_after_a_picture_overwrites_all_its_cells() {
        let area = Rect::new(2, 1, SIZE.width, SIZE.height);
        let every: Vec<_> = area.positions().map(|at| (at.x, at.y)).collect();
        let empty = frame(|_| {});
        for graphics in [GraphicsProtocol::Kitty, GraphicsProtocol::Iterm2, GraphicsProtocol::Sixel] {
            let graphic = encoded(graphics, 1);
            let shown = frame(|buf| graphic.render(area, buf));
            // Replaced by blanks, as when the item is closed.
            assert_eq!(written(&shown, &empty), every, "{graphics:?}");
            // Partly covered by a dialog: the picture is replaced by glyphs, and all of them are written.
            let covered = frame(|buf| {
                for row in area.rows() {
                    buf.set_string(row.x, row.y, "▀▀▀▀", ratatui::style::Style::new());
                }
                buf.set_string(3, 1, "hi", ratatui::style::Style::new());
            });
            assert_eq!(written(&shown, &covered), every, "{graphics:?}");
            // And back: the first cell sends the whole picture.
            assert_eq!(written(&covered, &shown)[0], (2, 1), "{graphics:?}");
            assert_eq!(written(&shown, &shown), [], "{graphics:?}: sent once");
        }
    }

    #[test]
    fn the_next_picture_of_the_same_size_rewrites_every_cell() {
        let area = Rect::new(2, 1, SIZE.width, SIZE.height);
        let [first, second] = [1, 2].map(|number| {
            let graphic = encoded(GraphicsProtocol::Kitty, number);
            frame(|buf| graphic.render(area, buf))
        });
        assert_eq!(written(&first, &second).len(), 8);
    }

    #[test]
    fn a_painted_picture_puts_the_cursor_back() {
        for graphics in [GraphicsProtocol::Iterm2, GraphicsProtocol::Sixel] {
            let EncodedImage::Painted { sequence } = encoded(graphics, 1) else { panic!("{graphics:?} paints") };
            assert!(sequence.starts_with("\x1b7\x1b[4X\x1b[B\x1b[4X\x1b[B\x1b8"), "{graphics:?}");
            assert!(sequence.ends_with("\x1b8\x1b[C"), "{graphics:?}");
        }
    }

    #[test]
    fn sixels_need_the_cell_size_of_the_terminal() {
        let picture = DecodedImage::from_pixels(RgbaImage::new(8, 8));
        let canvas = ImageCaps {
            colour_depth: ColourDepth::True,
            ascii_only: false,
            light_background: false,
            protocol: Some(GraphicsProtocol::Sixel),
            inside_tmux: false,
            cell_size: None,
        };
        assert_eq!(encode(&picture, SIZE, &canvas, 1), None);
    }

    #[test]
    fn the_size_to_send_exceeds_neither_the_picture_nor_the_maximum() {
        assert_eq!(transfer_size(800, 400, (4_000, 2_000)), (800, 400));
        assert_eq!(transfer_size(800, 400, (80, 40)), (80, 40));
        let (width, height) = transfer_size(4_000, 2_000, (9_000, 4_500));
        assert!(width * height <= MAX_PIXELS && width.abs_diff(2 * height) <= 1, "{width} x {height}");
    }
}

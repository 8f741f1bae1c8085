//! Renders a picture with half-block glyphs: two pixels in a cell, one in the foreground colour and one in the
//! background colour.

use image::RgbaImage;

use super::{cell::ImageCell, palette};
use crate::tui::colour::ColourDepth;

/// Renders a picture that is scaled to one pixel per column and two rows of pixels per row of cells.
pub(super) fn image_cells(picture: &RgbaImage, depth: ColourDepth) -> Vec<ImageCell> {
    let width = picture.width() as usize;
    let colours = palette::dithered_colours(picture, depth);
    let cell_of = |(top, bottom): (_, _)| match (top, bottom) {
        (None, None) => ImageCell { glyph: ' ', fg: None, bg: None },
        (None, bottom) => ImageCell { glyph: '▄', fg: bottom, bg: None },
        (top, bottom) => ImageCell { glyph: '▀', fg: top, bg: bottom },
    };
    let pair = |rows: &[_]| {
        let (top, bottom) = rows.split_at(width);
        top.iter().copied().zip(bottom.iter().copied()).map(cell_of).collect::<Vec<_>>()
    };
    colours.chunks_exact(2 * width).flat_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use image::Rgba;
    use ratatui::style::Color;

    use super::*;

    #[test]
    fn a_cell_shows_two_pixels_and_transparent_ones_show_the_background() {
        let (red, blue, glass) = (Rgba([255, 0, 0, 255]), Rgba([0, 0, 255, 255]), Rgba([0; 4]));
        let columns = [(red, blue), (red, glass), (glass, blue), (glass, glass)];
        let picture = RgbaImage::from_fn(4, 2, |x, y| {
            let (top, bottom) = columns[x as usize];
            if y == 0 { top } else { bottom }
        });
        let (red, blue) = (Some(Color::Rgb(255, 0, 0)), Some(Color::Rgb(0, 0, 255)));
        let want = [('▀', red, blue), ('▀', red, None), ('▄', blue, None), (' ', None, None)];
        assert_eq!(image_cells(&picture, ColourDepth::True), want.map(|(glyph, fg, bg)| ImageCell { glyph, fg, bg }));
    }
}

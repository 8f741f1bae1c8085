//! A picture that is ready to be copied into a frame.

use ratatui::{
    buffer::Buffer,
    layout::{Rect, Size},
    text::Line,
};

use super::{
    blocks,
    cell::styled_line,
    decode::DecodedImage,
    fit::fit_to_cells,
    graphics::{self, EncodedImage},
    luminance,
    request::ImageRequest,
};
use crate::tui::colour::ColourDepth;

#[derive(Clone, PartialEq, Debug)]
pub struct RenderedImage {
    /// Size in cells.
    pub size_in_cells: Size,
    /// For example `4032 x 3024 JPEG`.
    pub description: String,
    /// The picture in glyphs, for terminals without a graphics protocol.
    rows: Vec<Line<'static>>,
    /// The picture for the terminal's graphics protocol, if it has one.
    encoded: Option<EncodedImage>,
}

impl RenderedImage {
    pub(super) fn new(picture: &DecodedImage, request: &ImageRequest, image_number: u32) -> Self {
        let (width, height) = picture.size();
        let caps = request.caps;
        let size = fit_to_cells((width, height), request.max_cells, caps.cell_size);
        let (columns, rows) = (u32::from(size.width), u32::from(size.height));
        let cells = if caps.ascii_only || caps.colour_depth == ColourDepth::Mono {
            luminance::image_cells(&picture.scaled(columns, rows), caps)
        } else {
            blocks::image_cells(&picture.scaled(columns, 2 * rows), caps.colour_depth)
        };
        Self {
            size_in_cells: size,
            description: format!("{width} x {height} {}", picture.format_name),
            rows: cells.chunks(usize::from(size.width)).map(styled_line).collect(),
            encoded: graphics::encode(picture, size, &caps, image_number),
        }
    }

    /// The picture in glyphs, row by row, for any terminal.
    pub fn rows(&self) -> &[Line<'static>] {
        &self.rows
    }

    /// Draws the picture with the terminal's graphics protocol over `area`, if there is one and the whole picture fits.
    /// It is part of the frame's own cells, so whatever is drawn there next replaces it.
    pub fn render_graphics(&self, area: Rect, buf: &mut Buffer) {
        if let Some(encoded) = &self.encoded
            && self.size_in_cells.width <= area.width
            && self.size_in_cells.height <= area.height
        {
            encoded.render(Rect { width: self.size_in_cells.width, height: self.size_in_cells.height, ..area }, buf);
        }
    }
}

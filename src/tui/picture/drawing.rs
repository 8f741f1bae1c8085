//! A picture that is ready to be copied onto the screen.

use ratatui::{
    buffer::Buffer,
    layout::{Rect, Size},
    style::{Color, Style},
    text::{Line, Span},
};

use super::{
    Ask, blocks,
    decode::Picture,
    fit,
    graphics::{self, Graphic},
    ramp,
};
use crate::tui::theme::Depth;

/// One cell of it. Colours that are missing are the screen's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tile {
    pub sign: char,
    pub fg: Option<Color>,
    pub bg: Option<Color>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Drawing {
    /// In cells.
    pub size: Size,
    /// `4032 x 3024 JPEG`.
    pub what: String,
    /// Rows of [`Drawing::size`].
    rows: Vec<Line<'static>>,
    graphic: Option<Graphic>,
}

impl Drawing {
    pub(super) fn new(picture: &Picture, ask: &Ask, number: u32) -> Self {
        let (width, height) = picture.size();
        let canvas = ask.canvas;
        let size = fit((width, height), ask.room, canvas.cell);
        let (columns, rows) = (u32::from(size.width), u32::from(size.height));
        let tiles = if canvas.ascii || canvas.depth == Depth::Mono {
            ramp::tiles(&picture.scaled(columns, rows), canvas)
        } else {
            blocks::tiles(&picture.scaled(columns, 2 * rows), canvas.depth)
        };
        Self {
            size,
            what: format!("{width} x {height} {}", picture.format),
            rows: tiles.chunks(usize::from(size.width)).map(line).collect(),
            graphic: graphics::encode(picture, size, &canvas, number),
        }
    }

    /// In signs, which every terminal has; row by row.
    pub fn rows(&self) -> &[Line<'static>] {
        &self.rows
    }

    /// As the terminal's own graphics over `area`, if it has them and the whole picture fits there. Every cell of it
    /// is a cell of the frame like any other: what is drawn there next takes its place.
    pub fn overlay(&self, area: Rect, buf: &mut Buffer) {
        if let Some(graphic) = &self.graphic
            && self.size.width <= area.width
            && self.size.height <= area.height
        {
            graphic.render(Rect { width: self.size.width, height: self.size.height, ..area }, buf);
        }
    }
}

/// Tiles that look alike in one span.
fn line(tiles: &[Tile]) -> Line<'static> {
    let mut spans: Vec<Span<'static>> = Vec::new();
    for tile in tiles {
        let style = Style { fg: tile.fg, bg: tile.bg, ..Style::new() };
        match spans.last_mut() {
            Some(last) if last.style == style => last.content.to_mut().push(tile.sign),
            _ => spans.push(Span::styled(tile.sign.to_string(), style)),
        }
    }
    Line::from(spans)
}

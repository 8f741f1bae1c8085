//! A cell of a picture that is drawn with glyphs, and lines of such cells.

use ratatui::{
    style::{Color, Style},
    text::{Line, Span},
};

/// One cell of a picture. `None` means the terminal's own colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ImageCell {
    pub glyph: char,
    pub fg: Option<Color>,
    pub bg: Option<Color>,
}

/// Joins cells of the same style into one span.
pub(super) fn styled_line(cells: &[ImageCell]) -> Line<'static> {
    let mut spans: Vec<Span<'static>> = Vec::new();
    for cell in cells {
        let style = Style { fg: cell.fg, bg: cell.bg, ..Style::new() };
        match spans.last_mut() {
            Some(last) if last.style == style => last.content.to_mut().push(cell.glyph),
            _ => spans.push(Span::styled(cell.glyph.to_string(), style)),
        }
    }
    Line::from(spans)
}

//! The window of an overlay over the panes: its place, its frame and its background.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::Line,
    widgets::{Clear, Widget as _},
};

use crate::tui::{
    render_ctx::RenderCtx,
    text::width,
    theme::StyleRole,
    widgets::{frame::render_frame, table::highlight},
};

/// A popup has at least this many columns free on its left and right, or it takes the whole width.
const MIN_POPUP_MARGIN: u16 = 4;

/// A centred area of the preferred width. It takes the whole width of the body if less than [`MIN_POPUP_MARGIN`] would
/// be left on either side, so it can be wider or narrower than preferred. It is never higher than `max_height`.
pub(super) fn popup_area(body: Rect, preferred_width: u16, max_height: u16) -> Rect {
    let width = if body.width < preferred_width + 2 * MIN_POPUP_MARGIN { body.width } else { preferred_width };
    let height = max_height.min(body.height);
    let x = body.x + (body.width - width) / 2;
    let y = body.y + (body.height - height) / 2;
    Rect { x, y, width, height }
}

/// Clears `area` and draws the frame of a popup with its title and a note on the lower border. Returns the area for its
/// text.
pub(super) fn render_popup_frame(
    ctx: RenderCtx<'_>,
    title: &str,
    bottom_note: Option<String>,
    area: Rect,
    buf: &mut Buffer,
) -> Rect {
    clear_area(area, buf);
    buf.set_style(area, ctx.style(StyleRole::Text));
    let title = Line::styled(format!(" {title} "), ctx.style(StyleRole::Focus));
    let bottom_note = bottom_note.map(|text| Line::styled(text, ctx.style(StyleRole::Muted)));
    let inner = render_frame(title, bottom_note, ctx.style(StyleRole::Focus), ctx.glyphs().border, area, buf);
    Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner }
}

/// Clears `area`. Also clears the left half of a wide character that the area would cut in two.
pub(super) fn clear_area(area: Rect, buf: &mut Buffer) {
    for y in area.rows().map(|row| row.y) {
        if let Some(x) = area.x.checked_sub(1)
            && let Some(cell) = buf.cell_mut((x, y))
            && width(cell.symbol()) > 1
        {
            cell.set_symbol(" ");
        }
    }
    Clear.render(area, buf);
}

/// Draws the lines from `first` on, as many as fit into `area`, and highlights the line with the index `selected`.
pub(super) fn render_choices(
    ctx: RenderCtx<'_>,
    lines: Vec<Line<'_>>,
    first: usize,
    selected: Option<usize>,
    area: Rect,
    buf: &mut Buffer,
) {
    for ((index, line), row) in lines.into_iter().enumerate().skip(first).zip(area.rows()) {
        line.render(row, buf);
        if selected == Some(index) {
            highlight(row, ctx.style(StyleRole::Selection), ctx.glyphs(), buf);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_popup_takes_the_whole_width_if_its_margins_would_be_too_narrow() {
        for (within, columns, want) in
            [(200, 96, 96), (120, 96, 96), (104, 96, 96), (103, 96, 103), (80, 96, 80), (80, 68, 68), (80, 64, 64)]
        {
            let area = popup_area(Rect::new(0, 3, within, 20), columns, 6);
            assert_eq!((area.width, area.height), (want, 6), "{columns} in {within}");
            assert_eq!(area.x, (within - want) / 2);
        }
    }
}

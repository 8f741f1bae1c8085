//! Places the picture of an item: beside the text on wide screens, within the text on others, not at all if there is no
//! room.

use ratatui::{
    buffer::Buffer,
    layout::{Rect, Size},
    text::Line,
    widgets::Widget as _,
};

use crate::{
    domain::ItemDetail,
    tui::{
        action::Action,
        picture::RenderedImage,
        render_ctx::RenderCtx,
        state::{DetailView, ImageState},
        text::{one_line, width},
        theme::StyleRole,
    },
};

/// From this width on, inside the border, text and picture are side by side.
const MIN_COLUMNS_SIDE_BY_SIDE: u16 = 92;
/// Width of the picture beside the text, in percent.
const WIDTH_PERCENT: u16 = 40;
/// Columns between text and picture.
pub const COLUMN_GAP: u16 = 2;
/// With fewer rows for the picture, nothing could be recognised, and it is not shown.
const MIN_ROWS: u16 = 5;
/// Rows of the caption below the picture.
const CAPTION_ROWS: u16 = 1;

/// Where the picture is placed in the area inside the border.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ImagePlacement {
    Hidden,
    /// In this area; the text gets the rest.
    Beside(Rect),
    /// Within the text, with this number of rows without the caption.
    Inline(u16),
}

/// The area inside the border and its padding.
pub fn inner_area(body: Rect) -> Rect {
    Rect { x: body.x + 2, y: body.y + 1, width: body.width.saturating_sub(4), height: body.height.saturating_sub(2) }
}

/// Where a picture of any item would be placed.
fn placement_by_size(body: Rect) -> ImagePlacement {
    let inside = inner_area(body);
    if inside.width >= MIN_COLUMNS_SIDE_BY_SIDE {
        let width = (u32::from(inside.width) * u32::from(WIDTH_PERCENT) / 100) as u16;
        let column = Rect { x: inside.right() - width, width, ..inside };
        return if column.height >= MIN_ROWS + CAPTION_ROWS {
            ImagePlacement::Beside(column)
        } else {
            ImagePlacement::Hidden
        };
    }
    // Leaves room for the item's answer or attempts on the same screen.
    let rows = inside.height * 2 / 5;
    if rows >= MIN_ROWS { ImagePlacement::Inline(rows) } else { ImagePlacement::Hidden }
}

/// Maximum size in cells for the item's picture; `None` if it has none or there is no room.
pub fn image_room(item: &ItemDetail, body: Rect) -> Option<Size> {
    if item.pictures.is_empty() {
        return None;
    }
    match placement_by_size(body) {
        ImagePlacement::Hidden => None,
        ImagePlacement::Beside(column) => Some(Size { width: column.width, height: column.height - CAPTION_ROWS }),
        ImagePlacement::Inline(rows) => Some(Size { width: inner_area(body).width, height: rows }),
    }
}

/// Where this item's picture is placed. A picture that can't be shown takes no room; the text says why.
pub fn placement(ctx: RenderCtx<'_>, detail: &DetailView, body: Rect) -> ImagePlacement {
    let images = &ctx.state.images;
    let has_picture = detail.item().is_some_and(|item| !item.pictures.is_empty());
    let is_readable = !matches!(images.image_state(detail.seq, detail.picture_index), ImageState::Failed(_));
    if has_picture && is_readable && images.visible_caps().is_some() {
        placement_by_size(body)
    } else {
        ImagePlacement::Hidden
    }
}

/// Why the picture can't be shown; `None` if it can, or pictures are off.
pub fn load_error<'s>(ctx: RenderCtx<'s>, detail: &DetailView) -> Option<&'s str> {
    ctx.state.images.visible_caps()?;
    match ctx.state.images.image_state(detail.seq, detail.picture_index) {
        ImageState::Failed(message) => Some(message),
        ImageState::Loading | ImageState::Ready(_) => None,
    }
}

/// Draws the picture and its caption beside the text.
pub fn render_beside(ctx: RenderCtx<'_>, detail: &DetailView, column: Rect, buf: &mut Buffer) {
    let Some(image) = rendered_image(ctx, detail) else {
        return Line::styled("reading the picture", ctx.style(StyleRole::Muted)).render(column, buf);
    };
    let rows = image.size_in_cells.height.min(column.height.saturating_sub(CAPTION_ROWS));
    for (row, line) in column.rows().zip(image.rows()).take(usize::from(rows)) {
        line.render(row, buf);
    }
    render_graphics(ctx, image, Rect { height: rows, ..column }, buf);
    let caption_area = Rect { y: column.y + rows, height: CAPTION_ROWS, ..column };
    caption(ctx, detail, usize::from(column.width)).render(caption_area, buf);
}

/// The picture as lines of the text, the caption last.
pub fn inline_lines(ctx: RenderCtx<'_>, detail: &DetailView, rows: u16, columns: usize) -> Vec<Line<'static>> {
    let Some(image) = rendered_image(ctx, detail) else {
        // Reserves the rows of the picture, so that the text doesn't move when it comes.
        let mut lines = vec![Line::styled("reading the picture", ctx.style(StyleRole::Muted))];
        lines.resize(usize::from(rows + CAPTION_ROWS), Line::default());
        return lines;
    };
    let mut lines = image.rows().to_vec();
    lines.push(caption(ctx, detail, columns));
    lines
}

/// Draws the picture within the text with the terminal's graphics protocol. Must only be called if all its rows are
/// visible, in `area`.
pub fn render_inline_graphics(ctx: RenderCtx<'_>, detail: &DetailView, area: Rect, buf: &mut Buffer) {
    if let Some(image) = rendered_image(ctx, detail) {
        render_graphics(ctx, image, area, buf);
    }
}

/// Draws the picture with the terminal's graphics protocol, unless an overlay is open. Then the glyphs that are drawn
/// already stay, because an overlay can cover them like any other text.
fn render_graphics(ctx: RenderCtx<'_>, image: &RenderedImage, area: Rect, buf: &mut Buffer) {
    if ctx.state.overlay.is_none() {
        image.render_graphics(area, buf);
    }
}

fn rendered_image<'s>(ctx: RenderCtx<'s>, detail: &DetailView) -> Option<&'s RenderedImage> {
    match ctx.state.images.image_state(detail.seq, detail.picture_index) {
        ImageState::Ready(image) => Some(image),
        ImageState::Loading | ImageState::Failed(_) => None,
    }
}

/// `1 of 3 (n)  img_0342.png  512 x 512 PNG`; the name is cut if it is too long.
fn caption(ctx: RenderCtx<'_>, detail: &DetailView, columns: usize) -> Line<'static> {
    let Some(item) = detail.item() else { return Line::default() };
    let count = item.pictures.len();
    let number_label = match count {
        0 | 1 => String::new(),
        _ => format!("{} of {count} ({})  ", detail.picture_index + 1, ctx.state.keymap.key_label(Action::NextPicture)),
    };
    let description = rendered_image(ctx, detail).map_or_else(String::new, |image| format!("  {}", image.description));
    let path = item.pictures.get(detail.picture_index).map_or("", String::as_str);
    let name = one_line(path.rsplit('/').next().unwrap_or(path)).into_owned();
    let name = ctx.truncated(&name, columns.saturating_sub(width(&number_label) + width(&description)));
    ctx.truncated_spans(
        [
            ctx.span(number_label, StyleRole::Text),
            ctx.span(name, StyleRole::Muted),
            ctx.span(description, StyleRole::Muted),
        ],
        columns,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_keeps_enough_room_beside_a_picture() {
        let cases = [
            ((200, 50), Some((78, 42))),
            ((120, 36), Some((46, 28))),
            ((120, 24), Some((46, 17))),
            ((100, 30), Some((38, 22))),
            ((80, 24), Some((76, 7))),
            ((60, 20), Some((56, 5))),
            ((60, 15), None),
            ((120, 11), None),
        ];
        for ((width, height), want) in cases {
            // The dashboard has a header of three or four rows and a footer.
            let header = if width >= 100 && height >= 30 { 4 } else { 3 };
            let body = Rect::new(0, header, width, height - header - 1);
            let room = match placement_by_size(body) {
                ImagePlacement::Hidden => None,
                ImagePlacement::Beside(column) => Some((column.width, column.height - CAPTION_ROWS)),
                ImagePlacement::Inline(rows) => Some((inner_area(body).width, rows)),
            };
            assert_eq!(room, want, "{width}x{height}");
            if let ImagePlacement::Beside(column) = placement_by_size(body) {
                assert!(
                    inner_area(body).width - column.width >= 54,
                    "the text has too few columns at {width}x{height}"
                );
            }
        }
    }
}

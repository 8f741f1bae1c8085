//! Where an item's picture stands: beside its text where the screen is wide, within it elsewhere, nowhere where it
//! would leave no room.

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
        picture::Drawing,
        scene::Scene,
        state::{Detail, Sight},
        text::{one_line, width},
        theme::Role,
    },
};

/// Columns inside the border from which on text and picture stand side by side.
const WIDE: u16 = 92;
/// Of the width, in percent.
const SHARE: u16 = 40;
/// Columns between text and picture.
pub const GAP: u16 = 2;
/// Fewer rows than this show nothing one would recognise.
const FEWEST_ROWS: u16 = 5;
/// The caption below it.
const CAPTION: u16 = 1;

/// What becomes of the area inside the border.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    Nowhere,
    /// The text has the rest.
    Beside(Rect),
    /// As so many rows of the text, the caption not counted.
    Within(u16),
}

/// The area inside the border and its padding.
pub fn inside(body: Rect) -> Rect {
    Rect { x: body.x + 2, y: body.y + 1, width: body.width.saturating_sub(4), height: body.height.saturating_sub(2) }
}

/// Where a picture could stand.
fn place_for(body: Rect) -> Place {
    let inside = inside(body);
    if inside.width >= WIDE {
        let width = (u32::from(inside.width) * u32::from(SHARE) / 100) as u16;
        let column = Rect { x: inside.right() - width, width, ..inside };
        return if column.height >= FEWEST_ROWS + CAPTION { Place::Beside(column) } else { Place::Nowhere };
    }
    // Such that what the item came to is on the same screen.
    let rows = inside.height * 2 / 5;
    if rows >= FEWEST_ROWS { Place::Within(rows) } else { Place::Nowhere }
}

/// Cells that a picture may take.
pub fn room(item: &ItemDetail, body: Rect) -> Option<Size> {
    if item.pictures.is_empty() {
        return None;
    }
    match place_for(body) {
        Place::Nowhere => None,
        Place::Beside(column) => Some(Size { width: column.width, height: column.height - CAPTION }),
        Place::Within(rows) => Some(Size { width: inside(body).width, height: rows }),
    }
}

/// Where this item's picture stands. One that can't be shown takes no room: why is said in the text.
pub fn place(scene: Scene<'_>, detail: &Detail, body: Rect) -> Place {
    let pictures = &scene.state.pictures;
    let has_one = detail.item().is_some_and(|item| !item.pictures.is_empty());
    let is_seen = !matches!(pictures.sight(detail.seq, detail.picture), Sight::Trouble(_));
    if has_one && is_seen && pictures.wanted_on().is_some() { place_for(body) } else { Place::Nowhere }
}

/// Why it isn't seen, if it can't be.
pub fn trouble<'s>(scene: Scene<'s>, detail: &Detail) -> Option<&'s str> {
    scene.state.pictures.wanted_on()?;
    match scene.state.pictures.sight(detail.seq, detail.picture) {
        Sight::Trouble(words) => Some(words),
        Sight::NotYet | Sight::Drawn(_) => None,
    }
}

/// Beside the text.
pub fn render(scene: Scene<'_>, detail: &Detail, column: Rect, buf: &mut Buffer) {
    let Some(drawing) = drawing(scene, detail) else {
        return Line::styled("reading the picture", scene.style(Role::Muted)).render(column, buf);
    };
    let rows = drawing.size.height.min(column.height.saturating_sub(CAPTION));
    for (row, line) in column.rows().zip(drawing.rows()).take(usize::from(rows)) {
        line.render(row, buf);
    }
    overlay(scene, drawing, Rect { height: rows, ..column }, buf);
    let below = Rect { y: column.y + rows, height: CAPTION, ..column };
    caption(scene, detail, usize::from(column.width)).render(below, buf);
}

/// As rows of the text, the caption last.
pub fn lines(scene: Scene<'_>, detail: &Detail, rows: u16, columns: usize) -> Vec<Line<'static>> {
    let Some(drawing) = drawing(scene, detail) else {
        // The rows it will probably have, so that the text stays where it is.
        let mut lines = vec![Line::styled("reading the picture", scene.style(Role::Muted))];
        lines.resize(usize::from(rows + CAPTION), Line::default());
        return lines;
    };
    let mut lines = drawing.rows().to_vec();
    lines.push(caption(scene, detail, columns));
    lines
}

/// In its own graphics, where all rows of it are seen: `area` is where they are.
pub fn overlay_lines(scene: Scene<'_>, detail: &Detail, area: Rect, buf: &mut Buffer) {
    if let Some(drawing) = drawing(scene, detail) {
        overlay(scene, drawing, area, buf);
    }
}

/// Under a dialog a picture is made of signs, which the dialog can cover like any others.
fn overlay(scene: Scene<'_>, drawing: &Drawing, area: Rect, buf: &mut Buffer) {
    if scene.state.overlay.is_none() {
        drawing.overlay(area, buf);
    }
}

fn drawing<'s>(scene: Scene<'s>, detail: &Detail) -> Option<&'s Drawing> {
    match scene.state.pictures.sight(detail.seq, detail.picture) {
        Sight::Drawn(drawing) => Some(drawing),
        Sight::NotYet | Sight::Trouble(_) => None,
    }
}

/// `1 of 3 (n)  img_0342.png  512 x 512 PNG`, the name cut where it must be.
fn caption(scene: Scene<'_>, detail: &Detail, columns: usize) -> Line<'static> {
    let Some(item) = detail.item() else { return Line::default() };
    let count = item.pictures.len();
    let which = match count {
        0 | 1 => String::new(),
        _ => format!("{} of {count} ({})  ", detail.picture + 1, scene.state.keymap.key_for(Action::NextPicture)),
    };
    let what = drawing(scene, detail).map_or_else(String::new, |drawing| format!("  {}", drawing.what));
    let path = item.pictures.get(detail.picture).map_or("", String::as_str);
    let name = one_line(path.rsplit('/').next().unwrap_or(path)).into_owned();
    let name = scene.fit(&name, columns.saturating_sub(width(&which) + width(&what)));
    scene.fit_spans(
        [scene.span(which, Role::Text), scene.span(name, Role::Muted), scene.span(what, Role::Muted)],
        columns,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_never_leaves_the_text_without_room() {
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
            // As the dashboard arranges it: a header of three or four rows and a footer.
            let header = if width >= 100 && height >= 30 { 4 } else { 3 };
            let body = Rect::new(0, header, width, height - header - 1);
            let room = match place_for(body) {
                Place::Nowhere => None,
                Place::Beside(column) => Some((column.width, column.height - CAPTION)),
                Place::Within(rows) => Some((inside(body).width, rows)),
            };
            assert_eq!(room, want, "{width}x{height}");
            if let Place::Beside(column) = place_for(body) {
                assert!(inside(body).width - column.width >= 54, "the text has too few columns at {width}x{height}");
            }
        }
    }
}

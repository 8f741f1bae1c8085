//! The border around a pane, with its title and the position in a list that is longer than the pane.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::Style,
    symbols::border,
    text::Line,
    widgets::{Block, Borders, Widget as _},
};

/// Draws a border and returns the area inside it.
pub fn render_frame(
    title: Line<'_>,
    bottom_note: Option<Line<'_>>,
    border_style: Style,
    border_set: border::Set<'_>,
    area: Rect,
    buf: &mut Buffer,
) -> Rect {
    let mut block =
        Block::new().borders(Borders::ALL).border_set(border_set).border_style(border_style).title_top(title);
    if let Some(note) = bottom_note {
        block = block.title_bottom(note.right_aligned());
    }
    let inner = block.inner(area);
    block.render(area, buf);
    inner
}

/// Draws lines one below the other, as many as fit into `area`.
pub fn render_lines<'l>(lines: impl IntoIterator<Item = Line<'l>>, area: Rect, buf: &mut Buffer) {
    for (line, row) in lines.into_iter().zip(area.rows()) {
        line.render(row, buf);
    }
}

/// ` 5-12/40 ` for the fifth to twelfth of forty rows; `None` if all rows are visible.
pub fn position_label(first: usize, visible: usize, total: usize) -> Option<String> {
    (visible < total && visible > 0).then(|| format!(" {}-{}/{total} ", first + 1, (first + visible).min(total)))
}

/// The first visible row of a list. It is chosen so that the row `selected` is in the middle if possible.
pub fn first_visible_row(selected: usize, rows: usize, total: usize) -> usize {
    selected.saturating_sub(rows / 2).min(total.saturating_sub(rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selection_is_always_visible() {
        for total in [0, 1, 5, 100] {
            for rows in [1, 4, 7] {
                for selected in 0..total {
                    let first = first_visible_row(selected, rows, total);
                    assert!((first..first + rows).contains(&selected));
                    assert!(first + rows <= total.max(rows));
                }
            }
        }
        assert_eq!(first_visible_row(0, 0, 0), 0);
    }

    #[test]
    fn the_position_is_shown_only_if_some_rows_are_hidden() {
        assert_eq!(position_label(0, 5, 5), None);
        assert_eq!(position_label(4, 8, 40).as_deref(), Some(" 5-12/40 "));
    }
}

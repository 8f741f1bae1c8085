//! A table that builds only its visible rows. If its columns don't fit, some are dropped in their drop order.

use ratatui::{
    buffer::Buffer,
    layout::{Alignment, Rect},
    style::{Color, Style},
    text::Line,
    widgets::Widget as _,
};

use super::frame::first_visible_row;
use crate::tui::{
    glyphs::Glyphs,
    theme::{StyleRole, Theme},
};

/// A column. `content` is what its pane shows in it.
#[derive(Clone, Copy, Debug)]
pub struct Column<C> {
    pub title: &'static str,
    /// With less room, the column is dropped, unless its drop order is 0.
    pub min_width: u16,
    /// The width it gets before less important columns are shown.
    pub comfortable_width: u16,
    /// The width it may grow to if there is room in the end.
    pub max_width: u16,
    /// 0 is never dropped. Of the others, the column with the highest number is dropped first.
    pub drop_order: u8,
    pub is_right_aligned: bool,
    pub content: C,
}

impl<C> Column<C> {
    /// A left-aligned column. The widths are minimum, comfortable and maximum.
    pub fn left(title: &'static str, widths: [u16; 3], drop_order: u8, content: C) -> Self {
        let [min_width, comfortable, maximum] = widths;
        Self {
            title,
            min_width,
            comfortable_width: comfortable.max(min_width),
            max_width: maximum.max(comfortable).max(min_width),
            drop_order,
            is_right_aligned: false,
            content,
        }
    }

    /// A right-aligned column of fixed width, for numbers.
    pub fn right(title: &'static str, width: u16, drop_order: u8, content: C) -> Self {
        Self { is_right_aligned: true, ..Self::left(title, [width; 3], drop_order, content) }
    }
}

/// A column that is shown, and its width.
#[derive(Clone, Copy, Debug)]
pub struct ShownColumn<C> {
    pub content: C,
    pub title: &'static str,
    pub width: u16,
    pub is_right_aligned: bool,
}

/// Chooses the columns to show and their widths, with one cell of space between them. Starts with drop order 0. Columns
/// with the same drop order first get their minimum width, then as much of their comfortable width as is left, before
/// the next higher drop order is considered. It stops at the first column that doesn't fit. Space that is left then
/// goes to the shown columns, lowest drop order first, up to their maximum width.
pub fn fit_columns<C: Copy>(columns: &[Column<C>], width: u16) -> Vec<ShownColumn<C>> {
    let mut widths = vec![0_u16; columns.len()];
    let mut remaining = i32::from(width) + 1;
    let mut by_drop_order: Vec<usize> = (0..columns.len()).collect();
    // With equal drop order the later column comes first: it usually holds text, and may need the room.
    by_drop_order.sort_by_key(|&index| (columns[index].drop_order, std::cmp::Reverse(index)));
    let levels: Vec<&[usize]> =
        by_drop_order.chunk_by(|&a, &b| columns[a].drop_order == columns[b].drop_order).collect();
    'levels: for level in levels {
        for &index in level {
            let column = &columns[index];
            if column.drop_order > 0 && remaining < i32::from(column.min_width) + 1 {
                break 'levels;
            }
            widths[index] = column.min_width;
            remaining -= i32::from(column.min_width) + 1;
        }
        for &index in level {
            grow_width(&mut widths[index], columns[index].comfortable_width, &mut remaining);
        }
    }
    for index in by_drop_order {
        if widths[index] > 0 {
            grow_width(&mut widths[index], columns[index].max_width, &mut remaining);
        }
    }
    let shown = columns.iter().zip(widths).filter(|(_, width)| *width > 0);
    shown
        .map(|(c, width)| ShownColumn {
            content: c.content,
            title: c.title,
            width,
            is_right_aligned: c.is_right_aligned,
        })
        .collect()
}

/// The titles of the columns that don't fit into `width`.
pub fn hidden_titles<C: Copy>(columns: &[Column<C>], width: u16) -> Vec<&'static str> {
    let shown = fit_columns(columns, width);
    let is_shown = |column: &&Column<C>| shown.iter().any(|shown| shown.title == column.title);
    columns.iter().filter(|column| !column.title.is_empty() && !is_shown(column)).map(|column| column.title).collect()
}

/// Widens a column up to a width of `target`, as far as the remaining space allows.
fn grow_width(width: &mut u16, target: u16, remaining: &mut i32) {
    let more = i32::from(target.saturating_sub(*width)).min(*remaining).max(0);
    *width += more as u16;
    *remaining -= more;
}

/// A table whose rows are built only when they are visible.
pub struct VirtualTable<'a, C> {
    pub columns: &'a [Column<C>],
    pub row_count: usize,
    pub selected: usize,
    /// The selection is shown only if this is true.
    pub is_focused: bool,
    pub has_heading: bool,
    pub theme: &'a Theme,
    pub glyphs: &'a Glyphs,
}

impl<C: Copy> VirtualTable<'_, C> {
    /// Draws the visible rows. `cell` builds one cell from the row, the column's content and the width.
    pub fn render<'l>(&self, area: Rect, buf: &mut Buffer, mut cell: impl FnMut(usize, C, usize) -> Line<'l>) {
        let shown = fit_columns(self.columns, area.width);
        let mut list = area;
        if self.has_heading && area.height > 0 {
            let heading = Rect { height: 1, ..area };
            render_row(&shown, heading, self.glyphs, buf, |column| {
                Line::styled(column.title, self.theme.style(StyleRole::Muted))
            });
            list = Rect { y: area.y + 1, height: area.height - 1, ..area };
        }
        let rows = usize::from(list.height);
        let first = first_visible_row(self.selected, rows, self.row_count);
        for (line, row) in (first..self.row_count).take(rows).enumerate() {
            let row_area = Rect { y: list.y + line as u16, height: 1, ..list };
            render_row(&shown, row_area, self.glyphs, buf, |column| {
                cell(row, column.content, usize::from(column.width))
            });
            if self.is_focused && row == self.selected {
                highlight(row_area, self.theme.style(StyleRole::Selection), self.glyphs, buf);
            }
        }
    }
}

fn render_row<'l, C: Copy>(
    shown: &[ShownColumn<C>],
    area: Rect,
    glyphs: &Glyphs,
    buf: &mut Buffer,
    mut cell: impl FnMut(&ShownColumn<C>) -> Line<'l>,
) {
    let mut x = area.x;
    for column in shown {
        let width = column.width.min(area.right().saturating_sub(x));
        if width == 0 {
            return;
        }
        let line = cell(column);
        // A number without its first digits would be wrong, so its end is cut.
        let is_cut = column.is_right_aligned && line.width() > usize::from(width);
        let alignment = if column.is_right_aligned && !is_cut { Alignment::Right } else { Alignment::Left };
        line.alignment(alignment).render(Rect { x, width, ..area }, buf);
        if is_cut && let Some(last) = buf.cell_mut((x + width - 1, area.y)) {
            last.set_symbol(glyphs.ellipsis);
        }
        x = x.saturating_add(width + 1).min(area.right());
    }
}

/// Highlights the selected row in one style. Bars keep their colours, because a reversed bar would show the opposite.
/// ASCII bars get the style, because reversing doesn't change what they show, and their characters occur in text too.
pub fn highlight(area: Rect, style: Style, glyphs: &Glyphs, buf: &mut Buffer) {
    let bars = [glyphs.bar_full, glyphs.bar_empty];
    let is_bar = |symbol: &str| !glyphs.ascii_only && (bars.contains(&symbol) || glyphs.bar_partials.contains(&symbol));
    for position in area.positions() {
        let Some(cell) = buf.cell_mut(position) else { continue };
        if is_bar(cell.symbol()) {
            cell.bg = style.bg.unwrap_or(cell.bg);
        } else {
            cell.set_style(Style::new().fg(Color::Reset)).set_style(style);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> [Column<char>; 4] {
        [
            Column::left("name", [6, 8, 12], 0, 'n'),
            Column::right("ok", 4, 1, 'o'),
            Column::right("cost", 5, 3, 'c'),
            Column::left("state", [8, 10, 20], 2, 's'),
        ]
    }

    fn widths(width: u16) -> Vec<(char, u16)> {
        fit_columns(&columns(), width).iter().map(|column| (column.content, column.width)).collect()
    }

    #[test]
    fn important_columns_get_their_comfortable_width_before_others_are_shown() {
        assert_eq!(widths(3), [('n', 6)], "what always stays is cut off by the edge");
        assert_eq!(widths(8), [('n', 8)]);
        assert_eq!(widths(13), [('n', 8), ('o', 4)]);
        assert_eq!(widths(22), [('n', 8), ('o', 4), ('s', 8)]);
        assert_eq!(widths(24), [('n', 8), ('o', 4), ('s', 10)]);
        assert_eq!(widths(30), [('n', 8), ('o', 4), ('c', 5), ('s', 10)]);
        assert_eq!(widths(36), [('n', 12), ('o', 4), ('c', 5), ('s', 12)]);
        assert_eq!(widths(99), [('n', 12), ('o', 4), ('c', 5), ('s', 20)]);
    }

    #[test]
    fn hidden_titles_are_those_of_the_columns_that_do_not_fit() {
        assert_eq!(hidden_titles(&columns(), 13), ["cost", "state"]);
        assert_eq!(hidden_titles(&columns(), 22), ["cost"]);
        assert_eq!(hidden_titles(&columns(), 99), [""; 0]);
    }

    #[test]
    fn a_number_that_is_too_wide_keeps_its_first_digits() {
        let area = Rect::new(0, 0, 5, 1);
        let shown = [ShownColumn { content: 'o', title: "ok", width: 4, is_right_aligned: true }];
        for (figure, want) in [("12", "  12 "), ("1234", "1234 "), ("1037.5k", "103… ")] {
            let mut buf = Buffer::empty(area);
            render_row(&shown, area, Glyphs::new(false), &mut buf, |_| Line::raw(figure));
            let drawn: String = buf.content().iter().map(ratatui::buffer::Cell::symbol).collect();
            assert_eq!(drawn, want);
        }
    }

    #[test]
    fn only_visible_rows_are_built() {
        let theme = Theme::load(None, crate::tui::theme::ColourDepth::Mono).unwrap();
        let table = VirtualTable {
            columns: &columns(),
            row_count: 1_000_000,
            selected: 700_000,
            is_focused: true,
            has_heading: true,
            theme: &theme,
            glyphs: Glyphs::new(false),
        };
        let area = Rect::new(0, 0, 30, 6);
        let mut buf = Buffer::empty(area);
        let mut built = std::collections::BTreeSet::new();
        table.render(area, &mut buf, |row, _, _| {
            built.insert(row);
            Line::raw(row.to_string())
        });
        assert_eq!(built.into_iter().collect::<Vec<_>>(), [699_998, 699_999, 700_000, 700_001, 700_002]);
    }
}

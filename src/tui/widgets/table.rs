//! A table of which only the visible rows are ever built, and whose columns give way by priority.

use ratatui::{
    buffer::Buffer,
    layout::{Alignment, Rect},
    style::{Color, Style},
    text::Line,
    widgets::Widget as _,
};

use super::frame::first_visible;
use crate::tui::{
    glyphs::Glyphs,
    theme::{Role, Theme},
};

/// A column, known to its pane by `id`.
#[derive(Clone, Copy, Debug)]
pub struct Column<I> {
    pub id: I,
    pub title: &'static str,
    /// At least this wide, or not there at all.
    pub width: u16,
    /// May get this much wider where there is room; earlier columns first.
    pub grow: u16,
    /// 0 always stays; the highest goes first.
    pub priority: u8,
    pub right: bool,
}

impl<I> Column<I> {
    pub const fn left(id: I, title: &'static str, width: u16, grow: u16, priority: u8) -> Self {
        Self { id, title, width, grow, priority, right: false }
    }

    pub const fn right(id: I, title: &'static str, width: u16, grow: u16, priority: u8) -> Self {
        Self { id, title, width, grow, priority, right: true }
    }
}

/// Which columns are shown, and how wide, with one column of space between them.
pub fn fit<I: Copy>(columns: &[Column<I>], width: u16) -> Vec<Column<I>> {
    let mut shown = columns.to_vec();
    let taken =
        |shown: &[Column<I>]| shown.iter().map(|c| c.width).sum::<u16>() + (shown.len() as u16).saturating_sub(1);
    while taken(&shown) > width {
        let least = shown.iter().enumerate().filter(|(_, c)| c.priority > 0).max_by_key(|(at, c)| (c.priority, *at));
        let Some((at, _)) = least else { break };
        shown.remove(at);
    }
    let mut left = width.saturating_sub(taken(&shown));
    for column in &mut shown {
        let more = column.grow.min(left);
        column.width += more;
        left -= more;
    }
    shown
}

pub struct Table<'a, I> {
    pub columns: &'a [Column<I>],
    pub total: usize,
    pub selected: usize,
    /// The selection is shown only where the pane has the focus.
    pub focused: bool,
    pub heading: bool,
    pub theme: &'a Theme,
    pub glyphs: Glyphs,
}

impl<I: Copy> Table<'_, I> {
    /// Draws the visible rows; `cell` builds one cell of one row, given the width it may use.
    pub fn render<'l>(&self, area: Rect, buf: &mut Buffer, mut cell: impl FnMut(usize, I, usize) -> Line<'l>) {
        let shown = fit(self.columns, area.width);
        let mut list = area;
        if self.heading && area.height > 0 {
            let heading = Rect { height: 1, ..area };
            row(&shown, heading, buf, |column| Line::styled(column.title, self.theme.style(Role::Muted)));
            list = Rect { y: area.y + 1, height: area.height - 1, ..area };
        }
        let rows = usize::from(list.height);
        let first = first_visible(self.selected, rows, self.total);
        for (line, at) in (first..self.total).take(rows).enumerate() {
            let place = Rect { y: list.y + line as u16, height: 1, ..list };
            row(&shown, place, buf, |column| cell(at, column.id, usize::from(column.width)));
            if self.focused && at == self.selected {
                highlight(place, self.theme.style(Role::Selection), self.glyphs, buf);
            }
        }
    }
}

fn row<'l, I: Copy>(shown: &[Column<I>], area: Rect, buf: &mut Buffer, mut cell: impl FnMut(&Column<I>) -> Line<'l>) {
    let mut x = area.x;
    for column in shown {
        let width = column.width.min(area.right().saturating_sub(x));
        if width == 0 {
            return;
        }
        let alignment = if column.right { Alignment::Right } else { Alignment::Left };
        cell(column).alignment(alignment).render(Rect { x, width, ..area }, buf);
        x = x.saturating_add(width + 1).min(area.right());
    }
}

/// The selected row in one look, whatever colours it had. Bars keep theirs: reversed, they would say the opposite.
pub fn highlight(area: Rect, style: Style, glyphs: Glyphs, buf: &mut Buffer) {
    let is_bar = |symbol: &str| {
        symbol == glyphs.bar_full || (symbol == glyphs.bar_empty && !glyphs.ascii) || glyphs.bar_parts.contains(&symbol)
    };
    for position in area.positions() {
        let Some(cell) = buf.cell_mut(position) else { continue };
        if !is_bar(cell.symbol()) {
            cell.set_style(Style::new().fg(Color::Reset)).set_style(style);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column<char>; 4] = [
        Column::left('n', "name", 6, 10, 0),
        Column::right('o', "ok", 4, 0, 1),
        Column::right('c', "cost", 5, 0, 3),
        Column::left('s', "state", 8, 4, 2),
    ];

    fn widths(width: u16) -> Vec<(char, u16)> {
        fit(&COLUMNS, width).iter().map(|column| (column.id, column.width)).collect()
    }

    #[test]
    fn columns_give_way_by_priority_and_grow_in_order() {
        assert_eq!(widths(26), [('n', 6), ('o', 4), ('c', 5), ('s', 8)]);
        assert_eq!(widths(25), [('n', 11), ('o', 4), ('s', 8)]);
        assert_eq!(widths(12), [('n', 7), ('o', 4)]);
        assert_eq!(widths(3), [('n', 6)]);
        assert_eq!(widths(50), [('n', 16), ('o', 4), ('c', 5), ('s', 12)]);
    }

    #[test]
    fn only_visible_rows_are_built() {
        let theme = Theme::load(None, crate::tui::theme::Depth::Mono).unwrap();
        let table = Table {
            columns: &COLUMNS,
            total: 1_000_000,
            selected: 700_000,
            focused: true,
            heading: true,
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

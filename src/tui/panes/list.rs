//! The common parts of the lists of the panes.

use ratatui::{buffer::Buffer, layout::Rect, text::Line, widgets::Widget as _};

use crate::{
    domain::snapshot::CurrentRoute,
    tui::{
        pane::Pane,
        render_ctx::RenderCtx,
        text::width,
        theme::StyleRole,
        widgets::table::{Column, VirtualTable},
    },
};

/// A column of a pane's list, with the function that draws a cell: from a row and the width.
pub(super) type PaneColumn<R> = Column<fn(RenderCtx<'_>, &R, usize) -> Line<'static>>;

/// A table of a pane's list, with the pane's selection.
pub(super) fn pane_table<'a, C: Copy>(
    ctx: &'a RenderCtx<'a>,
    pane: Pane,
    columns: &'a [Column<C>],
    has_heading: bool,
) -> VirtualTable<'a, C> {
    VirtualTable {
        columns,
        row_count: ctx.state.row_count(pane, ctx.snapshot),
        selected: ctx.state.selected_row(pane, ctx.snapshot),
        is_focused: ctx.state.focus == pane && ctx.state.detail.is_none(),
        has_heading,
        theme: &ctx.state.theme,
        glyphs: ctx.glyphs(),
    }
}

/// Draws one sentence instead of an empty list.
pub(super) fn render_empty(ctx: RenderCtx<'_>, message: &str, area: Rect, buf: &mut Buffer) {
    if area.height > 0 {
        let line = Line::styled(ctx.truncated(message, usize::from(area.width)), ctx.style(StyleRole::Muted));
        line.render(Rect { height: 1, ..area }, buf);
    }
}

/// A column of the number of requests in flight. Its heading is wider than any number.
pub(super) fn in_flight_column<C>(drop_order: u8, content: C) -> Column<C> {
    const TITLE: &str = "in flight";
    Column::right(TITLE, TITLE.len() as u16, drop_order, content)
}

/// The width of the longest of these names, at most `max_columns`.
pub(super) fn max_width(names: impl Iterator<Item = impl AsRef<str>>, max_columns: usize) -> u16 {
    names.map(|name| width(name.as_ref())).max().unwrap_or(0).min(max_columns) as u16
}

/// The marker of the row that belongs to the route of the last request, or a blank.
pub(super) fn current_marker(ctx: RenderCtx<'_>, is_of: impl FnOnce(&CurrentRoute) -> bool) -> Line<'static> {
    let is_current = ctx.snapshot.current_route.as_ref().is_some_and(is_of);
    Line::from(ctx.span(if is_current { ctx.glyphs().current_marker } else { " " }, StyleRole::Focus))
}

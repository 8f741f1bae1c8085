//! The panes, one file each. Each draws its part of the snapshot into the area it is given.

pub mod charts;
pub mod cooldowns;
pub mod detail;
pub mod events;
pub mod failures;
pub mod footer;
pub mod header;
pub mod items;
pub mod keys;
pub mod log;
pub mod models;
pub mod picture;
pub mod routes;

use ratatui::{buffer::Buffer, layout::Rect, text::Line, widgets::Widget as _};

use crate::domain::snapshot::{Condition, KeyView};

use super::{
    action::Action,
    format::group_digits,
    layout::ScreenLayout,
    pane::Pane,
    render_ctx::RenderCtx,
    theme::StyleRole,
    widgets::{
        frame::{first_visible_row, position_label as position_in},
        table::{Column, VirtualTable},
    },
};

pub fn render(ctx: RenderCtx<'_>, pane: Pane, area: Rect, buf: &mut Buffer) {
    match pane {
        Pane::Keys => keys::render(ctx, area, buf),
        Pane::Cooldowns => cooldowns::render(ctx, area, buf),
        Pane::Models => models::render(ctx, area, buf),
        Pane::Events => events::render(ctx, area, buf),
        Pane::Items => items::render(ctx, area, buf),
        Pane::Routes => routes::render(ctx, area, buf),
        Pane::Log => log::render(ctx, area, buf),
        Pane::Charts => charts::render(ctx, area, buf),
        Pane::Failures => failures::render(ctx, area, buf),
    }
}

/// The text after the title of a pane, such as a count.
pub fn title_suffix(ctx: RenderCtx<'_>, pane: Pane) -> Option<String> {
    match pane {
        Pane::Keys => {
            let keys = &ctx.snapshot.keys;
            let is_available = |key: &&KeyView| matches!(key.condition, Condition::Ready | Condition::Limited { .. });
            let unavailable = keys.len() - keys.iter().filter(is_available).count();
            (unavailable > 0).then(|| format!("{unavailable} of {} unavailable", keys.len()))
        }
        Pane::Cooldowns => {
            let count = ctx.snapshot.cooldowns.len();
            (count > 0).then(|| count.to_string())
        }
        Pane::Items => {
            let (name, count) = items::list_name_and_count(ctx.state.items.state_filter, &ctx.snapshot.totals);
            let marks = ctx.state.items.marks.len();
            let marked = if marks > 0 { format!(", {marks} marked") } else { String::new() };
            Some(format!("{name} {}{marked}", group_digits(count)))
        }
        Pane::Failures => Some(group_digits(ctx.snapshot.totals.failed)),
        _ => None,
    }
}

/// The note on the lower border of a list that doesn't fit into its pane: the hidden columns, the key that shows them,
/// and the position in the list.
pub fn border_note(ctx: RenderCtx<'_>, pane: Pane, layout: &ScreenLayout) -> Option<String> {
    let area = layout.area_of(pane)?;
    let hidden_note = match pane {
        Pane::Routes => routes::hidden_models_note(ctx, layout.list_columns(area)),
        _ => hidden_columns_note(ctx, pane, layout, area),
    };
    let total = ctx.state.row_count(pane, ctx.snapshot);
    let rows = layout.list_rows(pane);
    let position = position_in(first_visible_row(ctx.state.selected_row(pane, ctx.snapshot), rows, total), rows, total);
    let parts: Vec<String> =
        hidden_note.into_iter().chain(position.map(|position| position.trim().to_owned())).collect();
    let text = parts.join(&format!(" {} ", ctx.glyphs().separator));
    // Both corners of the border stay visible.
    let room = usize::from(area.width.saturating_sub(4));
    (!text.is_empty()).then(|| format!(" {} ", ctx.truncated(&text, room.saturating_sub(2))))
}

/// `hidden: in flight, tokens (z)` for columns that full screen would show, `hidden: provider, project (w)` for those
/// that only the inspect overlay has.
fn hidden_columns_note(ctx: RenderCtx<'_>, pane: Pane, layout: &ScreenLayout, area: Rect) -> Option<String> {
    let columns = |pane_area| {
        let width = layout.list_columns(pane_area);
        match pane {
            Pane::Keys => keys::hidden_columns(ctx, width),
            Pane::Models => models::hidden_columns(ctx, width),
            _ => Vec::new(),
        }
    };
    let (here, zoomed) = (columns(area), columns(layout.body));
    let key = |action| ctx.state.keymap.key_label(action);
    let shown: Vec<_> = here.iter().filter(|column| !zoomed.contains(column)).copied().collect();
    match (shown.is_empty(), here.is_empty()) {
        (_, true) => None,
        (false, _) => Some(format!("hidden: {} ({})", shown.join(", "), key(Action::Zoom))),
        (true, _) => Some(format!("hidden: {} ({})", here.join(", "), key(Action::Inspect))),
    }
}

/// A table of a pane's list, with the pane's selection.
fn pane_table<'a, I: Copy>(
    ctx: &'a RenderCtx<'a>,
    pane: Pane,
    columns: &'a [Column<I>],
    has_heading: bool,
) -> VirtualTable<'a, I> {
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
fn render_empty(ctx: RenderCtx<'_>, message: &str, area: Rect, buf: &mut Buffer) {
    if area.height > 0 {
        let line = Line::styled(ctx.truncated(message, usize::from(area.width)), ctx.style(StyleRole::Muted));
        line.render(Rect { height: 1, ..area }, buf);
    }
}

/// A column of the number of requests in flight. Its heading is wider than any number.
fn in_flight_column<I>(id: I, priority: u8) -> Column<I> {
    const TITLE: &str = "in flight";
    Column::right(id, TITLE, TITLE.len() as u16, priority)
}

/// The width of the longest of these names, at most `max_columns`.
fn max_width(names: impl Iterator<Item = impl AsRef<str>>, max_columns: usize) -> u16 {
    names.map(|name| super::text::width(name.as_ref())).max().unwrap_or(0).min(max_columns) as u16
}

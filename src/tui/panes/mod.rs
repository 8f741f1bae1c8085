//! The panes, one file each. Each draws its part of the snapshot into the area it is given.

pub mod detail;
pub mod footer;
pub mod header;
mod list;
pub mod picture;
pub mod routes;
mod view;

mod charts;
mod cooldowns;
mod events;
mod failures;
mod items;
mod keys;
mod log;
mod models;

use ratatui::{buffer::Buffer, layout::Rect};

use self::view::{PaneColumns, PaneView};
use super::{
    action::Action,
    layout::ScreenLayout,
    pane::Pane,
    render_ctx::RenderCtx,
    widgets::frame::{first_visible_row, position_label},
};

/// The table of the panes. Adding a pane touches three files:
///
/// 1. `pane.rs`: its variant, its place in the order and its names. Its number, its command and its line in the help
///    follow from these.
/// 2. A new file here with its `VIEW`: how it is drawn, the text after its title, its columns.
/// 3. This file: its `mod` and its row in this table.
///
/// Parts that only some panes have are defined where they belong: keys in `PANE_BINDINGS` of `keymap/bindings.rs`, a
/// list with a selection in `state/lists.rs`, a place on the dashboard in `layout.rs`. A pane without them is shown
/// full screen.
const fn view_of(pane: Pane) -> PaneView {
    match pane {
        Pane::Keys => keys::VIEW,
        Pane::Cooldowns => cooldowns::VIEW,
        Pane::Models => models::VIEW,
        Pane::Events => events::VIEW,
        Pane::Items => items::VIEW,
        Pane::Routes => routes::VIEW,
        Pane::Log => log::VIEW,
        Pane::Charts => charts::VIEW,
        Pane::Failures => failures::VIEW,
    }
}

pub fn render(ctx: RenderCtx<'_>, pane: Pane, area: Rect, buf: &mut Buffer) {
    (view_of(pane).draw)(ctx, area, buf);
}

/// The text after the title of a pane, such as a count.
pub fn title_suffix(ctx: RenderCtx<'_>, pane: Pane) -> Option<String> {
    (view_of(pane).title_suffix)(ctx)
}

/// The note on the lower border of a list that doesn't fit into its pane: the hidden columns, the key that shows them,
/// and the position in the list.
pub fn border_note(ctx: RenderCtx<'_>, pane: Pane, layout: &ScreenLayout) -> Option<String> {
    let area = layout.area_of(pane)?;
    let hidden_note = match view_of(pane).columns {
        PaneColumns::Fixed => None,
        PaneColumns::Dropped(hidden) => {
            let hidden_titles = |area| hidden(ctx, layout.list_columns(area));
            hidden_columns_note(ctx, &hidden_titles(area), &hidden_titles(layout.body))
        }
        PaneColumns::Scrolled(note) => note(ctx, layout.list_columns(area)),
    };
    let total = ctx.state.row_count(pane, ctx.snapshot);
    let rows = layout.list_rows(pane);
    let first = first_visible_row(ctx.state.selected_row(pane, ctx.snapshot), rows, total);
    let position = position_label(first, rows, total);
    let parts: Vec<String> =
        hidden_note.into_iter().chain(position.map(|position| position.trim().to_owned())).collect();
    let text = parts.join(&format!(" {} ", ctx.glyphs().separator));
    // Both corners of the border stay visible.
    let room = usize::from(area.width.saturating_sub(4));
    (!text.is_empty()).then(|| format!(" {} ", ctx.truncated(&text, room.saturating_sub(2))))
}

/// `hidden: in flight, tokens (z)` for columns that full screen would show, `hidden: provider, project (w)` for those
/// that only the inspect overlay has. `here` are the columns hidden now, `zoomed` those that full screen hides too.
fn hidden_columns_note(ctx: RenderCtx<'_>, here: &[&'static str], zoomed: &[&'static str]) -> Option<String> {
    let key = |action| ctx.state.keymap.key_label(action);
    let shown: Vec<_> = here.iter().filter(|column| !zoomed.contains(column)).copied().collect();
    match (shown.is_empty(), here.is_empty()) {
        (_, true) => None,
        (false, _) => Some(format!("hidden: {} ({})", shown.join(", "), key(Action::Zoom))),
        (true, _) => Some(format!("hidden: {} ({})", here.join(", "), key(Action::Inspect))),
    }
}

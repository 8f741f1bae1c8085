//! Draws the overlays of the dashboard: help, inspect, dialogs, the strategy menu, the command line, and toasts.
//!
//! The text filter of the items is an overlay too, but the heading of the items pane draws it.

mod command_line;
pub mod dialogs;
mod help;
pub mod inspect;
mod inspect_run;
mod replay;
pub mod toasts;

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::Line,
    widgets::{Clear, Widget as _},
};

use super::{
    action::Action,
    keymap::KeyContext,
    layout::ScreenLayout,
    render_ctx::RenderCtx,
    state::{InspectSubject, Overlay, ScrollPosition, State},
    theme::StyleRole,
    widgets::frame::{position_label, render_frame},
};
use crate::domain::Snapshot;

/// Outer width of a popup with text, in columns.
const TEXT_POPUP_WIDTH: u16 = 96;

pub fn render(ctx: RenderCtx<'_>, layout: &ScreenLayout, buf: &mut Buffer) {
    let body = layout.body;
    match &ctx.state.overlay {
        None | Some(Overlay::Filter { .. }) => {}
        Some(Overlay::Help(scroll)) => {
            render_text(ctx, "Help", help::build_lines(ctx, text_columns(body)), *scroll, body, buf);
        }
        Some(Overlay::Inspect { subject, scroll }) => {
            let title = match subject {
                InspectSubject::Run if ctx.snapshot.state.is_over() => "Run report",
                InspectSubject::Run => "Why not faster?",
                _ => "Why",
            };
            render_text(ctx, title, inspect::build_lines(ctx, subject, text_columns(body)), *scroll, body, buf);
        }
        Some(Overlay::HardPause) => dialogs::render_hard_pause(ctx, body, buf),
        Some(Overlay::Replay(plan)) => replay::render(ctx, plan, body, buf),
        Some(Overlay::Quit) => dialogs::render_quit(ctx, body, buf),
        Some(Overlay::StrategyMenu { selected }) => dialogs::render_menu(ctx, *selected, body, buf),
        Some(Overlay::CommandLine(line)) => command_line::render(ctx, line, layout, buf),
    }
    toasts::render(ctx, body, buf);
}

/// The number of lines of the text in the overlay, and how many of them are visible at once. Zero lines if the overlay
/// has no text.
pub fn text_extent(state: &State, snapshot: &Snapshot) -> (usize, usize) {
    let ctx = RenderCtx { state, snapshot };
    let body = state.layout(snapshot).body;
    let columns = text_columns(body);
    let total = match &state.overlay {
        Some(Overlay::Help(_)) => help::build_lines(ctx, columns).len(),
        Some(Overlay::Inspect { subject, .. }) => inspect::build_lines(ctx, subject, columns).len(),
        _ => 0,
    };
    (total, usize::from(popup_area(body, TEXT_POPUP_WIDTH, total as u16 + 2).height.saturating_sub(2)))
}

/// The width of the lines in a popup with text, in columns.
fn text_columns(body: Rect) -> usize {
    usize::from(popup_area(body, TEXT_POPUP_WIDTH, 0).width.saturating_sub(4))
}

fn render_text(
    ctx: RenderCtx<'_>,
    title: &str,
    lines: Vec<Line<'_>>,
    scroll: ScrollPosition,
    body: Rect,
    buf: &mut Buffer,
) {
    let area = popup_area(body, TEXT_POPUP_WIDTH, lines.len() as u16 + 2);
    let rows = usize::from(area.height.saturating_sub(2));
    let first = scroll.line.min(lines.len().saturating_sub(rows));
    let bottom_note =
        position_label(first, rows, lines.len()).map(|position| format!("{}{position}", scroll_hint(ctx)));
    let inner = render_popup_frame(ctx, title, bottom_note, area, buf);
    for (row, line) in lines.into_iter().skip(first).take(rows).enumerate() {
        line.render(Rect { y: inner.y + row as u16, height: 1, ..inner }, buf);
    }
}

/// The hint ` Up/Down scroll`. The caller shows it only if not all lines are visible.
fn scroll_hint(ctx: RenderCtx<'_>) -> String {
    let keymap = &ctx.state.keymap;
    let bindings = keymap.bindings_in(KeyContext::TextOverlay);
    let hint = bindings.filter(|binding| binding.action == Action::Up).find_map(|binding| keymap.footer_hint(binding));
    hint.map_or_else(String::new, |(key, word)| format!(" {key} {word}"))
}

/// A popup has at least this many columns free on its left and right, or it takes the whole width.
const MIN_POPUP_MARGIN: u16 = 4;

/// A centred area of the preferred width. It takes the whole width of the body if less than [`MIN_POPUP_MARGIN`] would
/// be left on either side, so it can be wider or narrower than preferred. It is never higher than `max_height`.
fn popup_area(body: Rect, preferred_width: u16, max_height: u16) -> Rect {
    let width = if body.width < preferred_width + 2 * MIN_POPUP_MARGIN { body.width } else { preferred_width };
    let height = max_height.min(body.height);
    let x = body.x + (body.width - width) / 2;
    let y = body.y + (body.height - height) / 2;
    Rect { x, y, width, height }
}

/// Clears `area` and draws the frame of a popup with its title and a note on the lower border. Returns the area for its
/// text.
fn render_popup_frame(
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
fn clear_area(area: Rect, buf: &mut Buffer) {
    for y in area.rows().map(|row| row.y) {
        if let Some(x) = area.x.checked_sub(1)
            && let Some(cell) = buf.cell_mut((x, y))
            && super::text::width(cell.symbol()) > 1
        {
            cell.set_symbol(" ");
        }
    }
    Clear.render(area, buf);
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

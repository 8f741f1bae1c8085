//! Draws the overlays of the dashboard: help, inspect, dialogs, the strategy menu, the command line, and toasts.
//!
//! The text filter of the items is an overlay too, but the heading of the items pane draws it.

mod command_line;
pub mod dialogs;
mod help;
pub mod inspect;
mod inspect_run;
mod popup;
mod replay;
pub mod toasts;

use ratatui::{buffer::Buffer, layout::Rect, text::Line};

use self::popup::{popup_area, render_popup_frame};
use super::{
    action::Action,
    keymap::KeyContext,
    layout::ScreenLayout,
    render_ctx::RenderCtx,
    state::{InspectSubject, Overlay, ScrollPosition, State},
    widgets::frame::{position_label, render_lines},
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
        Some(Overlay::GiveUp(command)) => dialogs::render_give_up(ctx, command, body, buf),
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
    render_lines(lines.into_iter().skip(first), inner, buf);
}

/// The hint ` Up/Down scroll`. The caller shows it only if not all lines are visible.
fn scroll_hint(ctx: RenderCtx<'_>) -> String {
    let keymap = &ctx.state.keymap;
    let bindings = keymap.bindings_in(KeyContext::TextOverlay);
    let hint = bindings.filter(|binding| binding.action == Action::Up).find_map(|binding| keymap.footer_hint(binding));
    hint.map_or_else(String::new, |(key, word)| format!(" {key} {word}"))
}

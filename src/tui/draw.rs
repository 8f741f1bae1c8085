//! Draws one frame: `draw(frame, &state, &snapshot)`. The frame depends only on the arguments, except for the log pane,
//! which shows tui-logger's buffer.

use ratatui::{
    Frame,
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
    widgets::{Clear, Widget as _},
};

use super::{
    action::Action,
    format::percent,
    layout::{ScreenLayout, SizeClass, compute_layout},
    overlays,
    pane::Pane,
    panes::{self, footer, header},
    render_ctx::RenderCtx,
    state::{Overlay, State},
    theme::StyleRole,
    widgets::{
        frame::render_frame,
        status_line::{self, Segment},
    },
};
use crate::domain::Snapshot;

pub fn draw(frame: &mut Frame<'_>, state: &State, snapshot: &Snapshot) {
    let area = frame.area();
    let ctx = RenderCtx { state, snapshot };
    let buf = frame.buffer_mut();
    buf.set_style(area, ctx.style(StyleRole::Text));
    let layout = compute_layout(area, state.layout_input(snapshot));
    if layout.size_class == SizeClass::TooSmall {
        return draw_status_only(ctx, area, buf);
    }
    header::render(ctx, layout.header, buf);
    if state.detail.is_some() {
        panes::detail::render(ctx, layout.body, buf);
    } else {
        for (pane, pane_area) in &layout.panes {
            draw_pane(ctx, *pane, &layout, *pane_area, buf);
        }
    }
    footer::render(ctx, layout.footer, buf);
    overlays::render(ctx, &layout, buf);
}

fn draw_pane(ctx: RenderCtx<'_>, pane: Pane, layout: &ScreenLayout, area: Rect, buf: &mut Buffer) {
    let state = ctx.state;
    if pane == Pane::Log {
        // tui-logger's widget draws its own borders.
        return panes::render(ctx, pane, area, buf);
    }
    let border = if state.focus == pane { StyleRole::Focus } else { StyleRole::Border };
    let tabs = layout.size_class.tabs();
    let title = if state.fullscreen_pane().is_none() && tabs.contains(&pane) {
        let titles = tabs.iter().map(|tab| pane_title(ctx, *tab, true, *tab == pane));
        let mut line = Line::default();
        for (index, tab) in titles.enumerate() {
            if index > 0 {
                line.push_span(ctx.span(ctx.glyphs().border.vertical_left, StyleRole::Border));
            }
            line.extend(tab);
        }
        line
    } else {
        Line::from(pane_title(ctx, pane, false, true))
    };
    let bottom_note = panes::border_note(ctx, pane, layout).map(|text| Line::styled(text, ctx.style(StyleRole::Muted)));
    let inner = render_frame(title, bottom_note, ctx.style(border), ctx.glyphs().border, area, buf);
    panes::render(ctx, pane, layout.with_padding(inner), buf);
}

/// The title of a pane or tab, such as ` 1 Keys `. An open one can have a suffix, such as a count.
fn pane_title(ctx: RenderCtx<'_>, pane: Pane, is_tab: bool, is_open: bool) -> Vec<Span<'static>> {
    let is_focused = is_open && ctx.state.focus == pane;
    let role = match (is_open, is_focused) {
        (_, true) => StyleRole::Focus,
        (true, false) => StyleRole::Title,
        (false, false) => StyleRole::Muted,
    };
    let suffix =
        panes::title_suffix(ctx, pane).filter(|_| is_open).map_or_else(String::new, |tail| format!(": {tail}"));
    let name = if is_tab { pane.info().short_title } else { pane.info().title };
    let key = ctx.state.keymap.key_label(Action::Focus(pane));
    vec![ctx.span(format!(" {key} "), StyleRole::Key), ctx.span(format!("{name}{suffix} "), role)]
}

/// The one or two status lines for a terminal that is too small for the dashboard.
///
/// The first row shows the state of the run; the second shows the quit question, the newest toast or the size that is
/// needed. If there is only one row, the quit question replaces the state.
fn draw_status_only(ctx: RenderCtx<'_>, area: Rect, buf: &mut Buffer) {
    let (snapshot, totals) = (ctx.snapshot, ctx.snapshot.totals);
    let ended = totals.done + totals.failed;
    let segments = vec![
        Segment::left(0, [header::run_state(ctx)]),
        Segment::left(0, [Span::raw(format!("{}%", percent(ended, totals.total)))]),
        Segment::left(2, [Span::raw(format!("{ended}/{}", totals.total))]),
        Segment::left(1, [ctx.span(format!("{} failed", totals.failed), header::failed_role(totals.failed))]),
        Segment::left(3, [Span::raw(snapshot.spend.cost.to_string())]),
    ];
    status_line::render(segments, 2, area, buf);
    let is_quit_dialog_open = matches!(ctx.state.overlay, Some(Overlay::Quit));
    let second_row = Rect { y: area.y + u16::from(area.height > 1), height: area.height.min(1), ..area };
    if is_quit_dialog_open {
        Clear.render(second_row, buf);
        overlays::dialogs::render_quit_line(ctx, second_row, buf);
    } else if area.height > 1 {
        let line = overlays::toasts::newest_line(ctx, usize::from(second_row.width)).unwrap_or_else(|| {
            let quit = ctx.state.keymap.key_label(Action::Quit);
            let message = format!("{}x{} is too small, 60x15 is needed; {quit} quits", area.width, area.height);
            Line::styled(ctx.truncated(&message, usize::from(second_row.width)), ctx.style(StyleRole::Muted))
        });
        line.render(second_row, buf);
    }
}

//! Log pane: tui-logger's smart widget, which has a target selector.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    symbols::border,
    widgets::{BorderType, Widget as _},
};
use tui_logger::{TuiLoggerLevelOutput, TuiLoggerSmartWidget};

use super::view::PaneView;
use crate::tui::{pane::Pane, render_ctx::RenderCtx, theme::StyleRole};

/// Minimum columns and rows; below this the widget has no room for its own borders.
const MIN_SIZE: (u16, u16) = (24, 4);

pub const VIEW: PaneView = PaneView::drawn_by(render);

fn render(ctx: RenderCtx<'_>, area: Rect, buf: &mut Buffer) {
    if area.width < MIN_SIZE.0 || area.height < MIN_SIZE.1 {
        return;
    }
    TuiLoggerSmartWidget::default()
        .title_target(" Targets ")
        .title_log(format!(" {}{} ", ctx.state.keymap.pane_label(Pane::Log), clock_note(ctx)))
        .border_style(ctx.style(StyleRole::Focus))
        .border_type(BorderType::Rounded)
        .style(ctx.style(StyleRole::Text))
        .highlight_style(ctx.style(StyleRole::Selection))
        .style_error(ctx.style(StyleRole::Bad))
        .style_warn(ctx.style(StyleRole::Warn))
        .style_info(ctx.style(StyleRole::Text))
        .style_debug(ctx.style(StyleRole::Muted))
        .style_trace(ctx.style(StyleRole::Muted))
        .style_off(ctx.style(StyleRole::Disabled))
        .output_separator(' ')
        .output_timestamp(Some("%H:%M:%S".to_owned()))
        .output_level(Some(TuiLoggerLevelOutput::Abbreviated))
        .output_target(true)
        .output_file(false)
        .output_line(false)
        .state(&ctx.state.log_widget_state)
        .render(area, buf);
    if ctx.glyphs().ascii_only {
        replace_borders_with_ascii(area, buf);
    }
}

/// The log shows real time. If the engine's clock runs faster, the times of its events differ.
fn clock_note(ctx: RenderCtx<'_>) -> &'static str {
    if ctx.is_real_time() { "" } else { ", in real time" }
}

/// The widget always draws its borders with box-drawing characters; replaces them with ASCII.
fn replace_borders_with_ascii(area: Rect, buf: &mut Buffer) {
    let corners = [
        border::ROUNDED.top_left,
        border::ROUNDED.top_right,
        border::ROUNDED.bottom_left,
        border::ROUNDED.bottom_right,
    ];
    for position in area.positions() {
        let Some(cell) = buf.cell_mut(position) else { continue };
        if corners.contains(&cell.symbol()) {
            cell.set_symbol("+");
        } else if cell.symbol() == border::ROUNDED.vertical_left {
            cell.set_symbol("|");
        } else if cell.symbol() == border::ROUNDED.horizontal_top {
            cell.set_symbol("-");
        }
    }
}

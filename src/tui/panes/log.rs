//! The program's own log: tui-logger's smart widget, with its target selector.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    symbols::border,
    widgets::{BorderType, Widget as _},
};
use tui_logger::{TuiLoggerLevelOutput, TuiLoggerSmartWidget};

use crate::tui::{pane::Pane, scene::Scene, theme::Role};

/// Below this the widget has no room for its own borders.
const LEAST: (u16, u16) = (24, 4);

pub fn render(scene: Scene<'_>, area: Rect, buf: &mut Buffer) {
    if area.width < LEAST.0 || area.height < LEAST.1 {
        return;
    }
    TuiLoggerSmartWidget::default()
        .title_target(" Targets ")
        .title_log(format!(" {}{} ", scene.state.keymap.pane(Pane::Log), clock(scene)))
        .border_style(scene.style(Role::Focus))
        .border_type(BorderType::Rounded)
        .style(scene.style(Role::Text))
        .highlight_style(scene.style(Role::Selection))
        .style_error(scene.style(Role::Bad))
        .style_warn(scene.style(Role::Warn))
        .style_info(scene.style(Role::Text))
        .style_debug(scene.style(Role::Muted))
        .style_trace(scene.style(Role::Muted))
        .style_off(scene.style(Role::Disabled))
        .output_separator(' ')
        .output_timestamp(Some("%H:%M:%S".to_owned()))
        .output_level(Some(TuiLoggerLevelOutput::Abbreviated))
        .output_target(true)
        .output_file(false)
        .output_line(false)
        .state(&scene.state.log)
        .render(area, buf);
    if scene.glyphs().ascii {
        respell_borders(area, buf);
    }
}

/// The log keeps this machine's time. Where the engine's runs faster, its events have other times.
fn clock(scene: Scene<'_>) -> &'static str {
    if (scene.snapshot.clock_speed - 1.0).abs() < f64::EPSILON { "" } else { ", in real time" }
}

/// The widget draws its own borders, always with box-drawing characters.
fn respell_borders(area: Rect, buf: &mut Buffer) {
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

//! Draws the newest toast on the lower border of the body, where it covers no row, with the number of the others.

use ratatui::{buffer::Buffer, layout::Rect, text::Line, widgets::Widget as _};

use super::popup::clear_area;
use crate::tui::{
    action::Action,
    keymap::KeyContext,
    render_ctx::RenderCtx,
    state::ToastLevel,
    text::{one_line, width},
    theme::StyleRole,
};

pub fn render(ctx: RenderCtx<'_>, body: Rect, buf: &mut Buffer) {
    let Some(line) = newest_line(ctx, usize::from(body.width.saturating_sub(6)).min(82)) else { return };
    let Some(y) = body.bottom().checked_sub(1).filter(|y| *y >= body.y) else { return };
    // Starts at the left: the right end of the border shows the position in a list.
    let area = Rect { x: body.x + 2, y, width: line.width() as u16, height: 1 }.intersection(body);
    clear_area(area, buf);
    line.render(area, buf);
}

/// The newest toast as one line of at most `columns`.
pub fn newest_line(ctx: RenderCtx<'_>, columns: usize) -> Option<Line<'static>> {
    let toast = ctx.state.toasts.iter().next_back()?;
    let role = match toast.level {
        ToastLevel::Success => StyleRole::Operator,
        ToastLevel::Rejected => StyleRole::Warn,
        ToastLevel::Error => StyleRole::Bad,
    };
    let back = ctx.state.keymap.key_label_in(KeyContext::Global, Action::Back);
    let dismiss_hint = if toast.level == ToastLevel::Error { format!("  ({back})") } else { String::new() };
    let others = ctx.state.toasts.iter().len() - 1;
    let suffix = if others > 0 { format!("{dismiss_hint}  +{others}") } else { dismiss_hint };
    let message = ctx.with_ascii_fallback(&one_line(&toast.message)).into_owned();
    let text = format!(" {}{suffix} ", ctx.truncated(&message, columns.saturating_sub(width(&suffix) + 2)));
    Some(Line::styled(text, ctx.style(role).patch(ctx.style(StyleRole::Selection))))
}

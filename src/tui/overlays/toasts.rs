//! The newest toast, on the body's lower border, where it hides no row; the others are counted.

use ratatui::{buffer::Buffer, layout::Rect, text::Line, widgets::Widget as _};

use super::clear;
use crate::tui::{
    scene::Scene,
    state::ToastLevel,
    text::{one_line, width},
    theme::Role,
};

pub fn render(scene: Scene<'_>, body: Rect, buf: &mut Buffer) {
    let most = usize::from(body.width.saturating_sub(8)).min(80);
    let Some(toast) = scene.state.toasts.iter().next_back() else { return };
    let role = match toast.level {
        ToastLevel::Done => Role::You,
        ToastLevel::Refused => Role::Warn,
        ToastLevel::Trouble => Role::Bad,
    };
    let esc = if toast.level == ToastLevel::Trouble { "  (Esc)" } else { "" };
    let others = scene.state.toasts.iter().len() - 1;
    let tail = if others > 0 { format!("{esc}  +{others}") } else { esc.to_owned() };
    let words = scene.spelled(&one_line(&toast.words)).into_owned();
    let text = format!(" {}{tail} ", scene.fit(&words, most.saturating_sub(width(&tail))));
    let columns = width(&text) as u16;
    let Some(y) = body.bottom().checked_sub(1).filter(|y| *y >= body.y) else { return };
    // What stands at the right of a border is the place in a list.
    let area = Rect { x: body.x + 2, y, width: columns, height: 1 }.intersection(body);
    clear(area, buf);
    Line::styled(text, scene.style(role).patch(scene.style(Role::Selection))).render(area, buf);
}

//! The newest toast, on the body's lower border, where it hides no row; the others are counted.

use ratatui::{buffer::Buffer, layout::Rect, text::Line, widgets::Widget as _};

use super::clear;
use crate::tui::{
    action::Action,
    keymap::Context,
    scene::Scene,
    state::ToastLevel,
    text::{one_line, width},
    theme::Role,
};

pub fn render(scene: Scene<'_>, body: Rect, buf: &mut Buffer) {
    let Some(line) = newest(scene, usize::from(body.width.saturating_sub(6)).min(82)) else { return };
    let Some(y) = body.bottom().checked_sub(1).filter(|y| *y >= body.y) else { return };
    // What stands at the right of a border is the place in a list.
    let area = Rect { x: body.x + 2, y, width: line.width() as u16, height: 1 }.intersection(body);
    clear(area, buf);
    line.render(area, buf);
}

/// The newest, in at most so many columns.
pub fn newest(scene: Scene<'_>, columns: usize) -> Option<Line<'static>> {
    let toast = scene.state.toasts.iter().next_back()?;
    let role = match toast.level {
        ToastLevel::Done => Role::You,
        ToastLevel::Refused => Role::Warn,
        ToastLevel::Trouble => Role::Bad,
    };
    let back = scene.state.keymap.key_in(Context::Global, Action::Back);
    let esc = if toast.level == ToastLevel::Trouble { format!("  ({back})") } else { String::new() };
    let others = scene.state.toasts.iter().len() - 1;
    let tail = if others > 0 { format!("{esc}  +{others}") } else { esc };
    let words = scene.spelled(&one_line(&toast.words)).into_owned();
    let text = format!(" {}{tail} ", scene.fit(&words, columns.saturating_sub(width(&tail) + 2)));
    Some(Line::styled(text, scene.style(role).patch(scene.style(Role::Selection))))
}

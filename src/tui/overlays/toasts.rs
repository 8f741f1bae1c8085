//! Toasts, in the lower right corner of the body, the newest at the bottom.

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
    for (at, toast) in scene.state.toasts.iter().rev().enumerate() {
        let (sign, role) = match toast.level {
            ToastLevel::Done => ("", Role::You),
            ToastLevel::Refused => ("", Role::Warn),
            ToastLevel::Trouble => ("  (Esc)", Role::Bad),
        };
        let words = scene.spelled(&one_line(&toast.words)).into_owned();
        let text = format!(" {}{sign} ", scene.fit(&words, most.saturating_sub(width(sign))));
        let columns = width(&text) as u16;
        let Some(y) = body.bottom().checked_sub(2 + at as u16).filter(|y| *y >= body.y) else { return };
        let area = Rect { x: body.right().saturating_sub(columns + 2), y, width: columns, height: 1 };
        clear(area, buf);
        Line::styled(text, scene.style(role).patch(scene.style(Role::Selection))).render(area, buf);
    }
}

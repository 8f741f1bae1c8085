//! The command line over the footer, with its completions above it.

use ratatui::{buffer::Buffer, layout::Rect, text::Line as TextLine, text::Span, widgets::Widget as _};

use super::{clear, open};
use crate::tui::{
    action::Action,
    keymap::Context,
    layout::Arrangement,
    scene::Scene,
    state::Line,
    text::one_line,
    theme::Role,
    update::completions,
    widgets::{frame::first_visible, table::highlight},
};

const MOST: usize = 10;
const NAME: usize = 30;

pub fn render(scene: Scene<'_>, line: &Line, arrangement: &Arrangement, buf: &mut Buffer) {
    let footer = arrangement.footer;
    clear(footer, buf);
    let columns = usize::from(footer.width.saturating_sub(2));
    let spans = [
        scene.span(" :", Role::Key),
        Span::raw(format!("{}_", one_line(&line.text))),
        scene.span(
            line.complaint.as_ref().map_or_else(String::new, |words| format!("   {}", one_line(words))),
            Role::Bad,
        ),
    ];
    scene.fit_spans(spans, columns).render(footer, buf);

    let completions = completions(&line.text, scene.state, scene.snapshot);
    if completions.is_empty() {
        return;
    }
    let body = arrangement.body;
    let rows = completions.len().min(MOST).min(usize::from(body.height.saturating_sub(2)));
    let height = rows as u16 + 2;
    let area = Rect { x: body.x, y: body.bottom() - height, width: body.width.min(100), height };
    let tab = scene.state.keymap.key_in(Context::Typing, Action::NextPane);
    let inner = open(scene, &format!("Commands ({tab} completes)"), None, area, buf);
    let chosen = line.choice.unwrap_or(0);
    let first = first_visible(chosen, rows, completions.len());
    for (row, (at, completion)) in completions.iter().enumerate().skip(first).take(rows).enumerate() {
        let place = Rect { y: inner.y + row as u16, height: 1, ..inner };
        let text = scene.outside(completion.text.trim_end(), NAME);
        let spans = [Span::raw(format!("{text:<NAME$} ")), scene.span(completion.meaning.as_str(), Role::Muted)];
        TextLine::render(scene.fit_spans(spans, usize::from(place.width)), place, buf);
        if line.choice == Some(at) {
            highlight(place, scene.style(Role::Selection), scene.glyphs(), buf);
        }
    }
}

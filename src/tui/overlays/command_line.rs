//! Draws the command line over the footer, with its completions above it.

use ratatui::{buffer::Buffer, layout::Rect, text::Span, widgets::Widget as _};

use super::popup::{clear_area, render_choices, render_popup_frame};
use crate::tui::{
    action::Action, command_line::completions, keymap::KeyContext, layout::ScreenLayout, render_ctx::RenderCtx,
    state::CommandInput, text::one_line, theme::StyleRole, widgets::frame::first_visible_row,
};

const MAX_COMPLETIONS: usize = 10;
/// Width of the column with the completions; their descriptions follow it.
const COMPLETION_COLUMNS: usize = 30;

pub fn render(ctx: RenderCtx<'_>, input: &CommandInput, layout: &ScreenLayout, buf: &mut Buffer) {
    let footer = layout.footer;
    clear_area(footer, buf);
    let columns = usize::from(footer.width.saturating_sub(2));
    let spans = [
        ctx.span(" :", StyleRole::Key),
        Span::raw(format!("{}_", one_line(&input.text))),
        ctx.span(
            input.error.as_ref().map_or_else(String::new, |error| format!("   {}", one_line(error))),
            StyleRole::Bad,
        ),
    ];
    ctx.truncated_spans(spans, columns).render(footer, buf);

    let completions = completions(&input.text, ctx.state, ctx.snapshot);
    if completions.is_empty() {
        return;
    }
    let body = layout.body;
    let rows = completions.len().min(MAX_COMPLETIONS).min(usize::from(body.height.saturating_sub(2)));
    let height = rows as u16 + 2;
    let area = Rect { x: body.x, y: body.bottom() - height, width: body.width.min(100), height };
    let tab = ctx.state.keymap.key_label_in(KeyContext::TextInput, Action::NextPane);
    let inner = render_popup_frame(ctx, &format!("Commands ({tab} completes)"), None, area, buf);
    let selected = input.selected_completion.unwrap_or(0);
    let first = first_visible_row(selected, rows, completions.len());
    let lines = completions.iter().map(|completion| {
        let text = ctx.sanitized(completion.text.trim_end(), COMPLETION_COLUMNS);
        let spans = [
            Span::raw(format!("{text:<COMPLETION_COLUMNS$} ")),
            ctx.span(completion.description.as_str(), StyleRole::Muted),
        ];
        ctx.truncated_spans(spans, usize::from(inner.width))
    });
    render_choices(ctx, lines.collect(), first, input.selected_completion, inner, buf);
}

//! The footer: key hints for the contexts that have the keyboard, generated from the keymap.

use ratatui::{buffer::Buffer, layout::Rect, text::Span};

use crate::tui::{
    action::Action,
    commands::{current_label, unavailable_reason},
    keymap::KeyContext,
    render_ctx::RenderCtx,
    theme::StyleRole,
    widgets::status_line::{self, Segment},
};

const SEGMENT_GAP: u16 = 2;

pub fn render(ctx: RenderCtx<'_>, area: Rect, buf: &mut Buffer) {
    let area = Rect { x: area.x + 1, width: area.width.saturating_sub(2), ..area };
    status_line::render(hint_segments(ctx), SEGMENT_GAP, area, buf);
}

fn hint_segments(ctx: RenderCtx<'_>) -> Vec<Segment<'static>> {
    let state = ctx.state;
    let mut segments = Vec::new();
    let mut shown_keys: Vec<String> = Vec::new();
    for context in state.key_contexts() {
        for binding in state.keymap.bindings_in(context) {
            let Some((key, label)) = state.keymap.footer_hint(binding) else { continue };
            if (state.read_only && binding.action.changes_run()) || shown_keys.contains(&key) {
                continue;
            }
            shown_keys.push(key.clone());
            let is_unavailable = unavailable_reason(binding.action, state, ctx.snapshot).is_some();
            let role = if is_unavailable { StyleRole::Disabled } else { StyleRole::Text };
            let label = current_label(binding.action, state, ctx.snapshot).unwrap_or(label);
            let spans = [ctx.span(key, StyleRole::Key), Span::raw(" "), ctx.span(label, role)];
            // Help and quit are always shown: the help lists the keys that don't fit here.
            let is_permanent =
                context == KeyContext::Global && matches!(binding.action, Action::OpenHelp | Action::Quit);
            let segment = if is_permanent {
                Segment::right(0, spans)
            } else {
                Segment::left(1 + segments.len().min(200) as u8, spans)
            };
            segments.push(segment);
        }
    }
    segments
}

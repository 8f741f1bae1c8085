//! The hints, generated from the keymap for whoever has the keyboard.

use ratatui::{buffer::Buffer, layout::Rect, text::Span};

use crate::tui::{
    action::Action,
    keymap::Context,
    scene::Scene,
    theme::Role,
    update::{refusal, word_now},
    widgets::ribbon::{self, Segment},
};

const GAP: u16 = 2;

pub fn render(scene: Scene<'_>, area: Rect, buf: &mut Buffer) {
    let area = Rect { x: area.x + 1, width: area.width.saturating_sub(2), ..area };
    ribbon::render(hints(scene), GAP, area, buf);
}

fn hints(scene: Scene<'_>) -> Vec<Segment<'static>> {
    let state = scene.state;
    let mut segments = Vec::new();
    let mut keys_taken: Vec<String> = Vec::new();
    for context in state.contexts() {
        for binding in state.keymap.in_context(context) {
            let Some((key, word)) = state.keymap.hint(binding) else { continue };
            if (state.read_only && binding.action.changes_run()) || keys_taken.contains(&key) {
                continue;
            }
            keys_taken.push(key.clone());
            let refused = refusal(binding.action, state, scene.snapshot).is_some();
            let role = if refused { Role::Disabled } else { Role::Text };
            let word = word_now(binding.action, state, scene.snapshot).unwrap_or(word);
            let spans = [scene.span(key, Role::Key), Span::raw(" "), scene.span(word, role)];
            // Help and quit always stay: whatever else is hidden is found there.
            let stays = context == Context::Global && matches!(binding.action, Action::Help | Action::Quit);
            let segment =
                if stays { Segment::right(0, spans) } else { Segment::left(1 + segments.len().min(200) as u8, spans) };
            segments.push(segment);
        }
    }
    segments
}

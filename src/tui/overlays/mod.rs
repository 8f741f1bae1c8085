//! What lies over the dashboard: help, why, questions, the menu, the command line, and toasts.

mod command_line;
pub mod dialogs;
mod help;
mod replay;
pub mod toasts;
pub mod why;
mod why_run;

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::Line,
    widgets::{Clear, Widget as _},
};

use super::{
    action::Action,
    keymap::Context,
    layout::Arrangement,
    scene::Scene,
    state::{Overlay, Reading, State, Subject},
    theme::Role,
    widgets::frame::{framed, position},
};
use crate::domain::Snapshot;

const READING_COLUMNS: u16 = 96;

pub fn render(scene: Scene<'_>, arrangement: &Arrangement, buf: &mut Buffer) {
    let body = arrangement.body;
    match &scene.state.overlay {
        None | Some(Overlay::Filter { .. }) => {}
        Some(Overlay::Help(reading)) => {
            read(scene, "Help", help::lines(scene, reading_columns(body)), *reading, body, buf);
        }
        Some(Overlay::Why { subject, reading }) => {
            let title = if *subject == Subject::Run { "Why not faster?" } else { "Why" };
            read(scene, title, why::lines(scene, subject, reading_columns(body)), *reading, body, buf);
        }
        Some(Overlay::HardPause) => dialogs::hard_pause(scene, body, buf),
        Some(Overlay::Replay(plan)) => replay::render(scene, plan, body, buf),
        Some(Overlay::Quit) => dialogs::quit(scene, body, buf),
        Some(Overlay::Menu { selected }) => dialogs::menu(scene, *selected, body, buf),
        Some(Overlay::CommandLine(line)) => command_line::render(scene, line, arrangement, buf),
    }
    toasts::render(scene, body, buf);
}

/// Lines of the text that is being read, and how many of them are seen at once.
pub fn reading_extent(state: &State, snapshot: &Snapshot) -> (usize, usize) {
    let scene = Scene { state, snapshot };
    let body = state.arrangement(snapshot).body;
    let columns = reading_columns(body);
    let total = match &state.overlay {
        Some(Overlay::Help(_)) => help::lines(scene, columns).len(),
        Some(Overlay::Why { subject, .. }) => why::lines(scene, subject, columns).len(),
        _ => 0,
    };
    (total, usize::from(popup(body, READING_COLUMNS, total as u16 + 2).height.saturating_sub(2)))
}

fn reading_columns(body: Rect) -> usize {
    usize::from(popup(body, READING_COLUMNS, 0).width.saturating_sub(4))
}

fn read(scene: Scene<'_>, title: &str, lines: Vec<Line<'_>>, reading: Reading, body: Rect, buf: &mut Buffer) {
    let area = popup(body, READING_COLUMNS, lines.len() as u16 + 2);
    let rows = usize::from(area.height.saturating_sub(2));
    let first = reading.line.min(lines.len().saturating_sub(rows));
    let corner = position(first, rows, lines.len()).map(|place| format!("{}{place}", scrolling(scene)));
    let inner = open(scene, title, corner, area, buf);
    for (row, line) in lines.into_iter().skip(first).take(rows).enumerate() {
        line.render(Rect { y: inner.y + row as u16, height: 1, ..inner }, buf);
    }
}

/// ` Up/Down scroll `: where not all is seen, that it can be.
fn scrolling(scene: Scene<'_>) -> String {
    let keymap = &scene.state.keymap;
    let bindings = keymap.in_context(Context::Reading);
    let hint = bindings.filter(|binding| binding.action == Action::Up).find_map(|binding| keymap.hint(binding));
    hint.map_or_else(String::new, |(key, word)| format!(" {key} {word}"))
}

/// What is seen of the panes at either side of a popup, or nothing of them: less would look like debris.
const LEAST_BESIDE: u16 = 4;

/// A centred area of at most this size, or as wide as all there is where hardly more is left.
fn popup(within: Rect, columns: u16, rows: u16) -> Rect {
    let width = if within.width < columns + 2 * LEAST_BESIDE { within.width } else { columns };
    let height = rows.min(within.height);
    let x = within.x + (within.width - width) / 2;
    let y = within.y + (within.height - height) / 2;
    Rect { x, y, width, height }
}

/// Clears and frames a popup; gives the area for its text.
fn open(scene: Scene<'_>, title: &str, corner: Option<String>, area: Rect, buf: &mut Buffer) -> Rect {
    clear(area, buf);
    buf.set_style(area, scene.style(Role::Text));
    let title = Line::styled(format!(" {title} "), scene.style(Role::Focus));
    let corner = corner.map(|text| Line::styled(text, scene.style(Role::Muted)));
    let inner = framed(title, corner, scene.style(Role::Focus), scene.glyphs().border, area, buf);
    Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner }
}

/// Clears `area`, and the left half of a wide character that it would otherwise cut in two.
fn clear(area: Rect, buf: &mut Buffer) {
    for y in area.rows().map(|row| row.y) {
        if let Some(x) = area.x.checked_sub(1)
            && let Some(cell) = buf.cell_mut((x, y))
            && super::text::width(cell.symbol()) > 1
        {
            cell.set_symbol(" ");
        }
    }
    Clear.render(area, buf);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_popup_leaves_a_decent_part_of_the_panes_or_nothing_of_them() {
        for (within, columns, want) in
            [(200, 96, 96), (120, 96, 96), (104, 96, 96), (103, 96, 103), (80, 96, 80), (80, 68, 68), (80, 64, 64)]
        {
            let area = popup(Rect::new(0, 3, within, 20), columns, 6);
            assert_eq!((area.width, area.height), (want, 6), "{columns} in {within}");
            assert_eq!(area.x, (within - want) / 2);
        }
    }
}

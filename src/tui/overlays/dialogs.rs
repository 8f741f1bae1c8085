//! Questions: confirm, how to leave, and the menu of strategies.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
    widgets::Widget as _,
};

use super::{open, popup};
use crate::tui::{
    action::Action,
    keymap::Context,
    scene::Scene,
    text::{width, wrap},
    theme::Role,
    update::choices,
    widgets::{
        frame::first_visible,
        ribbon::{self, Segment},
        table::highlight,
    },
};

pub fn hard_pause(scene: Scene<'_>, body: Rect, buf: &mut Buffer) {
    let columns = 64.min(usize::from(body.width.saturating_sub(6)));
    let question = format!("Pause and abort {} in flight?", scene.snapshot.totals.in_flight);
    let pause = scene.state.keymap.key_for(Action::Pause);
    let consequence = format!(
        "Those calls may have been billed; their items are sent again later. ({pause} pauses without aborting.)"
    );
    let mut lines: Vec<Line<'_>> =
        wrap(&question, columns).into_iter().map(|line| Line::styled(line, scene.style(Role::Title))).collect();
    lines.extend(wrap(&consequence, columns).into_iter().map(Line::raw));
    lines.push(Line::default());
    lines.push(answers(scene, Context::Confirm));
    show(scene, "Sure?", columns as u16 + 4, lines, body, buf);
}

pub fn quit(scene: Scene<'_>, body: Rect, buf: &mut Buffer) {
    let flying = scene.snapshot.totals.in_flight;
    let rows = [
        (Action::Detach, "plain progress", "close the dashboard, the run goes on here".to_owned()),
        (Action::Drain, "drain", format!("finish {flying} in flight, then end")),
        (Action::StopNow, "stop now", format!("{flying} in flight may have been billed")),
        (Action::Back, "stay", String::new()),
    ];
    let mut lines = vec![
        Line::styled("The run is under way. Nothing is lost in any case.", scene.style(Role::Title)),
        Line::default(),
    ];
    for (action, word, meaning) in rows {
        let key = scene.state.keymap.key_in(Context::Quit, action);
        lines.push(Line::from(vec![
            scene.span(format!("{key:>4}  "), Role::Key),
            Span::raw(format!("{word:<16}")),
            scene.span(meaning, Role::Muted),
        ]));
    }
    show(scene, "Leave", 68, lines, body, buf);
}

/// The same where there is one row for it: every answer in a word, the footer's.
pub fn quit_line(scene: Scene<'_>, row: Rect, buf: &mut Buffer) {
    ribbon::render(hints(scene, Context::Quit).map(|spans| Segment::left(0, spans)).collect(), 1, row, buf);
}

/// What can be answered to a question, as the footer has it.
pub(super) fn answers(scene: Scene<'_>, context: Context) -> Line<'static> {
    hints(scene, context).flat_map(|[key, word]| [key, word, Span::raw("    ")]).collect()
}

fn hints(scene: Scene<'_>, context: Context) -> impl Iterator<Item = [Span<'static>; 2]> {
    let keymap = &scene.state.keymap;
    let hints = keymap.in_context(context).filter_map(|binding| keymap.hint(binding));
    hints.map(move |(key, word)| [scene.span(key, Role::Key), Span::raw(format!(" {word}"))])
}

fn show(scene: Scene<'_>, title: &str, columns: u16, lines: Vec<Line<'_>>, body: Rect, buf: &mut Buffer) {
    let area = popup(body, columns, lines.len() as u16 + 2);
    let inner = open(scene, title, None, area, buf);
    for (row, line) in lines.into_iter().take(usize::from(inner.height)).enumerate() {
        line.render(Rect { y: inner.y + row as u16, height: 1, ..inner }, buf);
    }
}

pub fn menu(scene: Scene<'_>, selected: usize, body: Rect, buf: &mut Buffer) {
    let mut lines = Vec::new();
    let mut marked = 0;
    let mut section = "";
    for (at, choice) in choices(scene.snapshot).into_iter().enumerate() {
        if choice.section != section {
            section = choice.section;
            if !lines.is_empty() {
                lines.push(Line::default());
            }
            lines.push(Line::styled(section, scene.style(Role::Title)));
        }
        if at == selected {
            marked = lines.len();
        }
        let role = if choice.chosen { Role::Ok } else { Role::Text };
        let mark = scene.glyphs().chosen(choice.chosen);
        lines.push(Line::styled(format!("  {mark} {}", choice.label), scene.style(role)));
    }
    let columns = lines.iter().map(Line::width).max().unwrap_or(0).max(width("Strategy")) as u16 + 4;
    let area = popup(body, columns, lines.len() as u16 + 2);
    let inner = open(scene, "Strategy", None, area, buf);
    let rows = usize::from(inner.height);
    let first = first_visible(marked, rows, lines.len());
    for (row, line) in lines.into_iter().enumerate().skip(first).take(rows) {
        let place = Rect { y: inner.y + (row - first) as u16, height: 1, ..inner };
        line.render(place, buf);
        if row == marked {
            highlight(place, scene.style(Role::Selection), scene.glyphs(), buf);
        }
    }
}

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
    scene::Scene,
    text::{width, wrap},
    theme::Role,
    update::choices,
    widgets::{frame::first_visible, table::highlight},
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
    lines.push(answers(scene, &[("y", "yes"), ("n", "no")]));
    show(scene, "Sure?", columns as u16 + 4, lines, body, buf);
}

pub fn quit(scene: Scene<'_>, body: Rect, buf: &mut Buffer) {
    let flying = scene.snapshot.totals.in_flight;
    let rows = [
        ("p", "plain progress", "close the dashboard, the run goes on here".to_owned()),
        ("d", "drain", format!("finish {flying} in flight, then end")),
        ("s", "stop now", format!("{flying} in flight may have been billed")),
        ("Esc", "stay", String::new()),
    ];
    let mut lines = vec![
        Line::styled("The run is under way. Nothing is lost in any case.", scene.style(Role::Title)),
        Line::default(),
    ];
    for (key, word, meaning) in rows {
        lines.push(Line::from(vec![
            scene.span(format!("{key:>4}  "), Role::Key),
            Span::raw(format!("{word:<16}")),
            scene.span(meaning, Role::Muted),
        ]));
    }
    show(scene, "Leave", 68, lines, body, buf);
}

fn answers(scene: Scene<'_>, answers: &[(&'static str, &'static str)]) -> Line<'static> {
    answers.iter().flat_map(|(key, word)| [scene.span(*key, Role::Key), Span::raw(format!(" {word}    "))]).collect()
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

//! Cooldowns: everything that is out until an instant, the first to return on top.

use ratatui::{buffer::Buffer, layout::Rect, text::Line};

use super::{empty, longest, table};
use crate::{
    domain::snapshot::CooldownView,
    tui::{
        figures::{countdown, moment},
        pane::Pane,
        scene::Scene,
        state::cooldowns,
        theme::Role,
        widgets::{bar::bar, table::Column},
        words,
    },
};

#[derive(Clone, Copy)]
enum Cell {
    What,
    Bar,
    Left,
    Reason,
    Source,
    Until,
    Words,
}

pub fn render(scene: Scene<'_>, area: Rect, buf: &mut Buffer) {
    let cooldowns = cooldowns(scene.snapshot);
    if cooldowns.is_empty() {
        return empty(scene, "nothing cools down", area, buf);
    }
    let reasons = longest(cooldowns.iter().map(|cooldown| words::outcome(cooldown.cause.outcome)), 13);
    let longest = longest(cooldowns.iter().map(|cooldown| cooldown.subject.as_str()), 40);
    let columns = [
        Column::left(Cell::What, "", [14, longest.min(26), longest], 0),
        Column::left(Cell::Bar, "", [4, 8, 10], 3),
        Column::right(Cell::Left, "", 6, 0),
        Column::left(Cell::Reason, "", [reasons; 3], 0),
        Column::left(Cell::Source, "", [8; 3], 2),
        Column::left(Cell::Until, "", [9, 9, 16], 4),
        Column::left(Cell::Words, "", [20, 20, 200], 5),
    ];
    table(&scene, Pane::Cooldowns, &columns, false)
        .render(area, buf, |row, id, width| cell(scene, cooldowns[row], id, width));
}

fn cell(scene: Scene<'_>, cooldown: &CooldownView, id: Cell, width: usize) -> Line<'static> {
    let left = scene.left(cooldown.until);
    match id {
        Cell::What => Line::raw(scene.route(&cooldown.subject, width)),
        Cell::Bar => {
            let whole = cooldown.until.since(cooldown.started_at).as_secs_f64();
            let share = if whole > 0.0 { left.as_secs_f64() / whole } else { 0.0 };
            Line::from_iter(bar(share, width, scene.glyphs(), scene.style(Role::Cooling), scene.style(Role::Track)))
        }
        Cell::Left => Line::raw(countdown(left)),
        Cell::Reason => Line::styled(scene.fit(words::outcome(cooldown.cause.outcome), width), scene.style(Role::Warn)),
        Cell::Source => Line::styled(cooldown.cause.source.name(), scene.style(Role::Muted)),
        Cell::Until => {
            Line::styled(moment(cooldown.until, scene.state.now, &scene.state.zone), scene.style(Role::Muted))
        }
        Cell::Words => Line::styled(scene.outside(&cooldown.cause.message, width), scene.style(Role::Muted)),
    }
}

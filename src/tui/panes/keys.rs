//! Keys: is each one healthy, what did it do, and if it is out: why, and when does it come back.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use super::{empty, flying, longest};
use crate::{
    domain::{
        Command,
        snapshot::{Condition, KeyView},
    },
    tui::{
        figures::{compact_in, dollars},
        pane::Pane,
        scene::Scene,
        theme::Role,
        widgets::{
            bar::bar,
            table::{self, Column},
        },
    },
};

#[derive(Clone, Copy)]
enum Cell {
    Here,
    Name,
    Health,
    Ok,
    Failed,
    Flying,
    Cost,
    Tokens,
    Provider,
    Project,
    State,
}

/// A bar is drawn beside the score from this width on.
const SCORE: u16 = 3;

pub fn render(scene: Scene<'_>, area: Rect, buf: &mut Buffer) {
    let keys = &scene.snapshot.keys;
    if keys.is_empty() {
        return empty(scene, "no keys", area, buf);
    }
    super::table(&scene, Pane::Keys, &columns(scene), true)
        .render(area, buf, |row, id, width| cell(scene, &keys[row], id, width));
}

/// The columns that have no place at `width`.
pub fn hidden(scene: Scene<'_>, width: u16) -> Vec<&'static str> {
    table::hidden(&columns(scene), width)
}

fn columns(scene: Scene<'_>) -> Vec<Column<Cell>> {
    let keys = &scene.snapshot.keys;
    let named = |name: fn(&KeyView) -> &str, most: usize| longest(keys.iter().map(name), most);
    let mut columns = vec![
        Column::left(Cell::Name, "key", [6, named(|key| &key.name, 10), named(|key| &key.name, 24)], 0),
        Column::left(Cell::Here, "", [1; 3], 0),
        Column::left(Cell::Health, "health", [6, SCORE + 5, SCORE + 11], 2),
        Column::right(Cell::Ok, "ok", 5, 1),
        Column::right(Cell::Failed, "fail", 4, 1),
        Column::right(Cell::Flying, "fly", flying(keys.iter().map(|key| key.in_flight)), 4),
        Column::left(Cell::State, "state", [17, 27, 30], 0),
        Column::right(Cell::Cost, "$", 6, 3),
        Column::right(Cell::Tokens, "tokens", 6, 5),
        Column::left(Cell::Project, "project", [8, named(|key| &key.project, 12), named(|key| &key.project, 24)], 6),
    ];
    // Of one provider nobody needs to be told.
    if keys.iter().any(|key| key.provider != keys[0].provider) {
        columns.push(Column::left(Cell::Provider, "provider", [8, 8, named(|key| &key.provider, 16)], 7));
    }
    columns
}

fn cell(scene: Scene<'_>, key: &KeyView, id: Cell, width: usize) -> Line<'static> {
    let out = matches!(key.condition, Condition::SwitchedOff { .. } | Condition::Disabled { .. });
    let name_role = if out { Role::Muted } else { Role::Text };
    match id {
        Cell::Here => {
            let here = scene.snapshot.current_route.as_ref().is_some_and(|place| place.key == key.name);
            Line::from(scene.span(if here { scene.glyphs().here } else { " " }, Role::Focus))
        }
        Cell::Name => Line::styled(scene.outside(&key.name, width), scene.style(name_role)),
        Cell::Health => health(scene, key.health, width),
        Cell::Ok => Line::raw(compact_in(key.ok, width)),
        Cell::Failed => {
            let role = if key.failed > 0 { Role::Warn } else { Role::Muted };
            Line::styled(compact_in(key.failed, width), scene.style(role))
        }
        Cell::Flying => Line::raw(compact_in(key.in_flight.into(), width)),
        Cell::Cost => Line::raw(dollars(key.cost)),
        Cell::Tokens => Line::raw(compact_in(key.usage.total(), width)),
        Cell::Provider => Line::styled(scene.outside(&key.provider, width), scene.style(Role::Muted)),
        Cell::Project => Line::styled(scene.outside(&key.project, width), scene.style(Role::Muted)),
        Cell::State => state(scene, key, width),
    }
}

/// Bar and score. The bar's colour says again what its length says.
fn health(scene: Scene<'_>, health: u8, width: usize) -> Line<'static> {
    let role = match health {
        0..30 => Role::Bad,
        30..70 => Role::Warn,
        _ => Role::Ok,
    };
    let score = Span::raw(format!("{health:>3}"));
    let room = width.saturating_sub(usize::from(SCORE) + 1);
    if room < 3 {
        return Line::from(score);
    }
    let [full, rest] =
        bar(f64::from(health) / 100.0, room, scene.glyphs(), scene.style(role), scene.style(Role::Track));
    Line::from(vec![full, rest, Span::raw(" "), score])
}

/// What it is, or what it is about to be where that was asked for.
fn state(scene: Scene<'_>, key: &KeyView, width: usize) -> Line<'static> {
    let asked = scene.state.pending.commands().rev().find_map(|command| match command {
        Command::SetKey { key: name, on } if *name == key.name => Some(*on),
        _ => None,
    });
    match asked {
        Some(on) if on == matches!(key.condition, Condition::SwitchedOff { .. }) => {
            let word = if on { "switching on" } else { "switching off" };
            Line::styled(scene.fit(&format!("{} {word}", scene.glyphs().switch(on)), width), scene.style(Role::You))
        }
        _ => scene.condition_line(&key.condition, width),
    }
}

//! One file per pane. Each draws its part of the snapshot into the area it is given.

pub mod charts;
pub mod cooldowns;
pub mod detail;
pub mod events;
pub mod failures;
pub mod footer;
pub mod header;
pub mod items;
pub mod keys;
pub mod log;
pub mod models;
pub mod picture;
pub mod routes;

use ratatui::{buffer::Buffer, layout::Rect, text::Line, widgets::Widget as _};

use crate::domain::snapshot::{Condition, KeyView};

use super::{
    figures::grouped,
    layout::Arrangement,
    pane::Pane,
    scene::Scene,
    theme::Role,
    widgets::{
        frame::{first_visible, position as position_in},
        table::{Column, Table},
    },
};

pub fn render(scene: Scene<'_>, pane: Pane, area: Rect, buf: &mut Buffer) {
    match pane {
        Pane::Keys => keys::render(scene, area, buf),
        Pane::Cooldowns => cooldowns::render(scene, area, buf),
        Pane::Models => models::render(scene, area, buf),
        Pane::Events => events::render(scene, area, buf),
        Pane::Items => items::render(scene, area, buf),
        Pane::Routes => routes::render(scene, area, buf),
        Pane::Log => log::render(scene, area, buf),
        Pane::Charts => charts::render(scene, area, buf),
        Pane::Failures => failures::render(scene, area, buf),
    }
}

/// What stands behind a pane's name.
pub fn title_tail(scene: Scene<'_>, pane: Pane) -> Option<String> {
    match pane {
        Pane::Keys => {
            let keys = &scene.snapshot.keys;
            let able = |key: &&KeyView| matches!(key.condition, Condition::Ready | Condition::Full { .. });
            let out = keys.len() - keys.iter().filter(able).count();
            (out > 0).then(|| format!("{out} of {} out", keys.len()))
        }
        Pane::Cooldowns => {
            let count = scene.snapshot.cooldowns.len();
            (count > 0).then(|| count.to_string())
        }
        Pane::Items => {
            let (name, count) = items::list(scene.state.items.show, &scene.snapshot.totals);
            let marks = scene.state.items.marks.len();
            let marked = if marks > 0 { format!(", {marks} marked") } else { String::new() };
            Some(format!("{name} {}{marked}", grouped(count)))
        }
        Pane::Failures => Some(grouped(scene.snapshot.totals.failed)),
        _ => None,
    }
}

/// `5-12/40` in the corner of a pane whose list is longer than the pane.
pub fn position(scene: Scene<'_>, pane: Pane, arrangement: &Arrangement) -> Option<String> {
    let total = scene.state.length(pane, scene.snapshot);
    let rows = arrangement.list_rows(pane);
    position_in(first_visible(scene.state.selected(pane, scene.snapshot), rows, total), rows, total)
}

/// A table over a pane's list, with the pane's selection.
fn table<'a, I: Copy>(scene: &'a Scene<'a>, pane: Pane, columns: &'a [Column<I>], heading: bool) -> Table<'a, I> {
    Table {
        columns,
        total: scene.state.length(pane, scene.snapshot),
        selected: scene.state.selected(pane, scene.snapshot),
        focused: scene.state.focus == pane && scene.state.detail.is_none(),
        heading,
        theme: &scene.state.theme,
        glyphs: scene.glyphs(),
    }
}

/// One sentence where there is nothing to list.
fn empty(scene: Scene<'_>, words: &str, area: Rect, buf: &mut Buffer) {
    if area.height > 0 {
        let line = Line::styled(scene.fit(words, usize::from(area.width)), scene.style(Role::Muted));
        line.render(Rect { height: 1, ..area }, buf);
    }
}

/// How much a name column may grow to show the longest of these.
fn longest<'n>(names: impl Iterator<Item = &'n str>, most: usize) -> u16 {
    names.map(super::text::width).max().unwrap_or(0).min(most) as u16
}

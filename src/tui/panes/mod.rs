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
    action::Action,
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
            let able = |key: &&KeyView| matches!(key.condition, Condition::Ready | Condition::Limited { .. });
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

/// What the lower border says of a list that is larger than its pane: which columns are out of sight and the key that
/// shows them, and the place in its rows.
pub fn corner(scene: Scene<'_>, pane: Pane, arrangement: &Arrangement) -> Option<String> {
    let place = arrangement.place(pane)?;
    let aside = match pane {
        Pane::Routes => routes::aside(scene, arrangement.list_columns(place)),
        _ => hidden(scene, pane, arrangement, place),
    };
    let total = scene.state.length(pane, scene.snapshot);
    let rows = arrangement.list_rows(pane);
    let position = position_in(first_visible(scene.state.selected(pane, scene.snapshot), rows, total), rows, total);
    let parts: Vec<String> = aside.into_iter().chain(position.map(|place| place.trim().to_owned())).collect();
    let text = parts.join(&format!(" {} ", scene.glyphs().dot));
    // The corners of the border stay.
    let room = usize::from(place.width.saturating_sub(4));
    (!text.is_empty()).then(|| format!(" {} ", scene.fit(&text, room.saturating_sub(2))))
}

/// `z shows fly tokens` where the pane has more columns full screen, `w tells provider project` where not even that helps.
fn hidden(scene: Scene<'_>, pane: Pane, arrangement: &Arrangement, place: Rect) -> Option<String> {
    let columns = |place| {
        let width = arrangement.list_columns(place);
        match pane {
            Pane::Keys => keys::hidden(scene, width),
            Pane::Models => models::hidden(scene, width),
            _ => Vec::new(),
        }
    };
    let (here, zoomed) = (columns(place), columns(arrangement.body));
    let key = |action| scene.state.keymap.key_for(action);
    let shown: Vec<_> = here.iter().filter(|column| !zoomed.contains(column)).copied().collect();
    match (shown.is_empty(), here.is_empty()) {
        (_, true) => None,
        (false, _) => Some(format!("{} shows {}", key(Action::Zoom), shown.join(" "))),
        (true, _) => Some(format!("{} tells {}", key(Action::Why), here.join(" "))),
    }
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

/// The width of a column of requests in flight: a fleet may have more than three digits of them.
fn flying(counts: impl Iterator<Item = u32>) -> u16 {
    if counts.max() > Some(999) { 4 } else { 3 }
}

/// How much a name column may grow to show the longest of these.
fn longest(names: impl Iterator<Item = impl AsRef<str>>, most: usize) -> u16 {
    names.map(|name| super::text::width(name.as_ref())).max().unwrap_or(0).min(most) as u16
}

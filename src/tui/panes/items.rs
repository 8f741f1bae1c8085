//! Items: a window onto one list of them (failed to begin with), with what each said or died of.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
    widgets::Widget as _,
};

use super::{empty, longest, table};
use crate::{
    domain::{ItemRow, ItemState, short_id, snapshot::Totals},
    tui::{
        figures::{compact, grouped},
        pane::Pane,
        scene::Scene,
        state::Overlay,
        text::one_line,
        theme::Role,
        update::LISTS,
        widgets::{
            frame::first_visible,
            ribbon::{self, Segment},
            table::Column,
        },
        words,
    },
};

#[derive(Clone, Copy)]
enum Cell {
    State,
    Id,
    Tries,
    Outcome,
    Route,
    Words,
}

/// What a list is called, and how many items the run has in it.
pub const fn list(show: Option<ItemState>, totals: &Totals) -> (&'static str, u64) {
    match show {
        Some(ItemState::Failed) => ("failed", totals.failed),
        Some(ItemState::Waiting) => ("waiting", totals.waiting),
        Some(ItemState::InFlight) => ("in flight", totals.in_flight),
        Some(ItemState::Done) => ("done", totals.done),
        None => ("all", totals.total),
    }
}

pub fn render(scene: Scene<'_>, area: Rect, buf: &mut Buffer) {
    if area.height == 0 {
        return;
    }
    heading(scene, Rect { height: 1, ..area }, buf);
    let area = Rect { y: area.y + 1, height: area.height - 1, ..area };
    let items = &scene.state.items;
    if let Some(trouble) = items.trouble() {
        let words = format!("can't read the items: {}", one_line(trouble));
        let line = Line::styled(scene.fit(&words, usize::from(area.width)), scene.style(Role::Bad));
        line.render(Rect { height: area.height.min(1), ..area }, buf);
        return;
    }
    match items.matching() {
        None => return empty(scene, "reading", area, buf),
        Some(0) if items.text.is_empty() => return empty(scene, nothing(items.show), area, buf),
        Some(0) => return empty(scene, "no match", area, buf),
        Some(_) => {}
    }
    let pane = Pane::Items;
    let (total, rows) = (scene.state.length(pane, scene.snapshot), usize::from(area.height));
    let first = first_visible(scene.state.selected(pane, scene.snapshot), rows, total);
    let visible: Vec<_> = (first..total.min(first + rows)).filter_map(|at| items.row(at as u64)).collect();
    let id = longest(visible.iter().map(|row| short_id(&row.id)), 24) + 1;
    let columns = [
        Column::left(Cell::State, "", [1; 3], 0),
        Column::left(Cell::Id, "", [5, id.min(16), id], 0),
        Column::left(Cell::Tries, "", [3; 3], 2),
        Column::left(Cell::Outcome, "", [13; 3], 1),
        Column::left(Cell::Words, "", [12, 16, 80], 0),
        Column::left(Cell::Route, "", [20, 20, 40], 3),
    ];
    table(&scene, pane, &columns, false).render(area, buf, |at, id, width| match items.row(at as u64) {
        Some(row) => cell(scene, row, id, width),
        // Scrolled past what is here; the next answer brings it.
        None => Line::styled(scene.fit(scene.glyphs().ellipsis, width), scene.style(Role::Muted)),
    });
}

const fn nothing(show: Option<ItemState>) -> &'static str {
    match show {
        Some(ItemState::Failed) => "no item has failed",
        Some(ItemState::Waiting) => "no item waits",
        Some(ItemState::InFlight) => "nothing is in flight",
        Some(ItemState::Done) => "no item is done yet",
        None => "no items",
    }
}

/// The lists with their counts, the open one marked; and the filter.
fn heading(scene: Scene<'_>, area: Rect, buf: &mut Buffer) {
    let items = &scene.state.items;
    let typing = matches!(scene.state.overlay, Some(Overlay::Filter { .. }));
    if typing || !items.text.is_empty() {
        let cursor = if typing { "_" } else { "" };
        let found = items.matching().map_or_else(String::new, |matching| format!("{} match", grouped(matching)));
        let room = usize::from(area.width).saturating_sub(found.len() + 4);
        let text = format!("{}{cursor}", one_line(&items.text));
        let segments = vec![
            Segment::left(0, [scene.span("/", Role::Key), scene.span(scene.fit(&text, room), Role::Title)]),
            Segment::right(1, [scene.span(found, Role::Muted)]),
        ];
        return ribbon::render(segments, 1, area, buf);
    }
    let lists = LISTS.iter().enumerate().map(|(at, show)| {
        let (name, count) = list(*show, &scene.snapshot.totals);
        if *show == items.show {
            let open = if scene.glyphs().ascii { format!("[{name}]") } else { format!("▾{name}") };
            Segment::left(0, [scene.span(open, Role::Title)])
        } else {
            let spans = [scene.span(name, Role::Muted), Span::raw(" "), scene.span(compact(count), Role::Muted)];
            Segment::left(1 + at as u8, spans)
        }
    });
    ribbon::render(lists.collect(), 2, area, buf);
}

fn cell(scene: Scene<'_>, row: &ItemRow, id: Cell, width: usize) -> Line<'static> {
    let role = Role::from(row.state);
    match id {
        Cell::State if scene.state.items.marks.contains_key(&row.seq) => {
            Line::styled(scene.glyphs().mark, scene.style(Role::You))
        }
        Cell::State => Line::styled(scene.glyphs().item(row.state), scene.style(role)),
        Cell::Id => Line::raw(scene.outside(&format!("#{}", short_id(&row.id)), width)),
        Cell::Tries => {
            let tries = match row.attempts {
                0 => String::new(),
                100.. => ">99".to_owned(),
                few => format!("{}{few}", scene.glyphs().times),
            };
            Line::styled(scene.fit(&tries, width), scene.style(Role::Muted))
        }
        Cell::Outcome => {
            let words = row.outcome.map_or("", words::outcome);
            let role = if row.state == ItemState::Failed { Role::Bad } else { Role::Muted };
            Line::styled(scene.fit(words, width), scene.style(role))
        }
        Cell::Route => {
            let route = row.route.as_deref().unwrap_or_default();
            Line::styled(scene.route(route, width), scene.style(Role::Muted))
        }
        Cell::Words => Line::raw(scene.outside(&row.preview, width)),
    }
}

//! Failures: the failed items by what they failed of, the most frequent first.

use ratatui::{buffer::Buffer, layout::Rect, text::Line};

use super::{empty, longest, table};
use crate::{
    domain::{FailureGroup, short_id},
    tui::{
        figures::{grouped_in, percent},
        pane::Pane,
        scene::Scene,
        text::one_line,
        theme::Role,
        widgets::table::Column,
        words,
    },
};

#[derive(Clone, Copy)]
enum Cell {
    Count,
    Share,
    Outcome,
    Words,
    Model,
    First,
}

pub fn render(scene: Scene<'_>, area: Rect, buf: &mut Buffer) {
    let failures = &scene.state.failures;
    if let Some(trouble) = failures.trouble() {
        return empty(scene, &format!("can't read the failures: {}", one_line(trouble)), area, buf);
    }
    let Some(groups) = failures.groups() else { return empty(scene, "reading", area, buf) };
    if groups.is_empty() {
        return empty(scene, "no item has failed", area, buf);
    }
    let models = longest(groups.iter().filter_map(|group| group.model.as_deref()), 28);
    let columns = [
        Column::right(Cell::Count, "items", 7, 0),
        Column::right(Cell::Share, "%", 4, 3),
        Column::left(Cell::Outcome, "what", [13; 3], 0),
        Column::left(Cell::Model, "model", [8, models.min(16), models.max(8)], 1),
        Column::left(Cell::Words, "in the provider's words (numbers as #)", [20, 30, u16::MAX], 0),
        Column::left(Cell::First, "first", [8, 10, 20], 2),
    ];
    table(&scene, Pane::Failures, &columns, true)
        .render(area, buf, |row, id, width| cell(scene, &groups[row], id, width));
}

fn cell(scene: Scene<'_>, group: &FailureGroup, id: Cell, width: usize) -> Line<'static> {
    match id {
        Cell::Count => Line::styled(grouped_in(group.count, width), scene.style(Role::Title)),
        Cell::Share => {
            Line::styled(percent(group.count, scene.snapshot.totals.failed).to_string(), scene.style(Role::Muted))
        }
        Cell::Outcome => {
            let outcome = group.outcome.map_or("?", words::outcome);
            Line::styled(scene.fit(outcome, width), scene.style(Role::Bad))
        }
        Cell::Model => {
            let model = group.model.as_deref().unwrap_or("not sent");
            Line::styled(scene.outside(model, width), scene.style(Role::Muted))
        }
        Cell::Words => Line::raw(scene.outside(&group.pattern, width)),
        Cell::First => {
            Line::styled(scene.outside(&format!("#{}", short_id(&group.first_id)), width), scene.style(Role::Muted))
        }
    }
}

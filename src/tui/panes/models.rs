//! Models: how much of each quota is used and when the day starts anew, how fast, how good, how dear.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use super::{empty, longest, table};
use crate::{
    domain::snapshot::{Gauge, ModelView},
    tui::{
        figures::{NONE, against, compact, countdown, dollars, latency, percent_ok},
        pane::Pane,
        scene::Scene,
        theme::Role,
        widgets::{bar::bar, table::Column},
    },
};

#[derive(Clone, Copy)]
enum Cell {
    Here,
    Name,
    Rpm,
    Tpm,
    Rpd,
    Resets,
    Flying,
    P50,
    P95,
    Ok,
    Tokens,
    Cost,
    Provider,
}

/// Widths of the figures; what a column has more than this is its bar.
const RPM: u16 = 7;
const TPM: u16 = 9;
const RPD: u16 = 9;
const BAR: u16 = 7;

pub fn render(scene: Scene<'_>, area: Rect, buf: &mut Buffer) {
    let models = &scene.snapshot.models;
    if models.is_empty() {
        return empty(scene, "no models", area, buf);
    }
    let name = longest(models.iter().map(|model| model.name.as_str()), 32) + 6;
    let provider = longest(models.iter().map(|model| model.provider.as_str()), 16);
    let columns = [
        Column::left(Cell::Here, "", 1, 0, 0),
        Column::left(Cell::Name, "model", 12, name.saturating_sub(12), 0),
        Column::right(Cell::Rpm, "RPM", RPM, BAR, 1),
        Column::right(Cell::Tpm, "TPM", TPM, BAR, 3),
        Column::right(Cell::Rpd, "RPD", RPD, BAR, 1),
        Column::right(Cell::Resets, "resets", 6, 0, 3),
        Column::right(Cell::Flying, "fly", 3, 0, 7),
        Column::right(Cell::P50, "p50", 5, 0, 6),
        Column::right(Cell::P95, "p95", 5, 0, 4),
        Column::right(Cell::Ok, "ok%", 4, 1, 2),
        Column::right(Cell::Tokens, "tokens", 6, 0, 5),
        Column::right(Cell::Cost, "$", 6, 0, 2),
        Column::left(Cell::Provider, "provider", 8, provider.saturating_sub(8), 8),
    ];
    table(&scene, Pane::Models, &columns, true)
        .render(area, buf, |row, id, width| cell(scene, &models[row], id, width));
}

fn cell(scene: Scene<'_>, model: &ModelView, id: Cell, width: usize) -> Line<'static> {
    match id {
        Cell::Here => {
            let here = scene.snapshot.place.as_ref().is_some_and(|place| place.model == model.name);
            Line::from(scene.span(if here { scene.glyphs().here } else { " " }, Role::Focus))
        }
        Cell::Name if model.on => Line::raw(scene.outside(&model.name, width)),
        Cell::Name => {
            let name = scene.outside(&model.name, width.saturating_sub(6));
            Line::styled(format!("{name} {} off", scene.glyphs().switch(false)), scene.style(Role::Disabled))
        }
        Cell::Rpm => gauge(scene, model.rpm, RPM, width),
        Cell::Tpm => gauge(scene, model.tpm, TPM, width),
        Cell::Rpd => gauge(scene, model.rpd, RPD, width),
        Cell::Resets => {
            let left = model.day_resets_at.map_or_else(|| NONE.to_owned(), |at| countdown(scene.left(at)));
            Line::styled(left, scene.style(Role::Muted))
        }
        Cell::Flying => Line::raw(model.in_flight.to_string()),
        Cell::P50 => Line::raw(latency(model.p50_ms)),
        Cell::P95 => Line::raw(latency(model.p95_ms)),
        Cell::Ok => {
            let role = if model.failed * 20 > model.ok + model.failed { Role::Warn } else { Role::Text };
            Line::styled(percent_ok(model.ok, model.failed), scene.style(role))
        }
        Cell::Tokens => Line::raw(compact(model.usage.total())),
        Cell::Cost => Line::raw(dollars(model.cost)),
        Cell::Provider => Line::styled(scene.outside(&model.provider, width), scene.style(Role::Muted)),
    }
}

/// Bar and `used/limit`; without a known limit only the use.
fn gauge(scene: Scene<'_>, gauge: Gauge, figures: u16, width: usize) -> Line<'static> {
    let text = against(gauge.used, gauge.limit);
    let share = match gauge.limit {
        Some(limit) if limit > 0 => gauge.used as f64 / limit as f64,
        Some(_) => 1.0,
        None => 0.0,
    };
    let role = if share >= 1.0 {
        Role::Exhausted
    } else if share >= 0.85 {
        Role::Warn
    } else {
        Role::Bar
    };
    let figures = usize::from(figures);
    let room = width.saturating_sub(figures + 1);
    let text_role = if share >= 0.85 { role } else { Role::Text };
    let text = scene.span(format!("{text:>figures$}"), text_role);
    if room < 3 || gauge.limit.is_none() {
        return Line::from(text);
    }
    let [full, rest] = bar(share, room, scene.glyphs(), scene.style(role), scene.style(Role::Track));
    Line::from(vec![full, rest, Span::raw(" "), text])
}

//! Models: how much of each quota is used and when the day starts anew, how fast, how good, how dear.

use ratatui::{buffer::Buffer, layout::Rect, text::Line};

use super::{empty, flying, longest};
use crate::{
    domain::snapshot::{Gauge, ModelView},
    tui::{
        figures::{NONE, against, compact, compact_in, countdown, dollars, latency, percent_ok},
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
    RpmBar,
    Rpm,
    TpmBar,
    Tpm,
    RpdBar,
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

const BAR: u16 = 6;
/// With fewer columns there is room for the limits, cost, and little else.
const NARROW: u16 = 100;
/// ` - off` behind a model's name.
const OFF: u16 = 6;

pub fn render(scene: Scene<'_>, area: Rect, buf: &mut Buffer) {
    let models = &scene.snapshot.models;
    if models.is_empty() {
        return empty(scene, "no models", area, buf);
    }
    super::table(&scene, Pane::Models, &columns(scene, area.width), true)
        .render(area, buf, |row, id, width| cell(scene, &models[row], id, width));
}

/// The columns that have no place at `width`.
pub fn hidden(scene: Scene<'_>, width: u16) -> Vec<&'static str> {
    table::hidden(&columns(scene, width), width)
}

fn columns(scene: Scene<'_>, width: u16) -> Vec<Column<Cell>> {
    let models = &scene.snapshot.models;
    let any_off = models.iter().any(|model| !model.on);
    let name = longest(models.iter().map(|model| model.name.as_str()), 32) + if any_off { OFF } else { 0 };
    let provider = longest(models.iter().map(|model| model.provider.as_str()), 16);
    let bar = |id| Column::left(id, "", [BAR, BAR, 2 * BAR], 5);
    // Names come whole before figures that are nice to have; where there is little room, figures that are needed come first.
    let comfort = if width < NARROW { 19 } else { 24 };
    let mut columns = vec![
        Column::left(Cell::Name, "model", [12, name.min(comfort), name], 0),
        Column::left(Cell::Here, "", [1; 3], 0),
        bar(Cell::RpmBar),
        Column::right(Cell::Rpm, "RPM", figures(models, 7, |model| model.rpm), 1),
        bar(Cell::TpmBar),
        Column::right(Cell::Tpm, "TPM", figures(models, 9, |model| model.tpm), 2),
        bar(Cell::RpdBar),
        Column::right(Cell::Rpd, "RPD", figures(models, 9, |model| model.rpd), 1),
        Column::right(Cell::Resets, "resets", 6, 2),
        Column::right(Cell::Flying, "fly", flying(models.iter().map(|model| model.in_flight)), 7),
        Column::right(Cell::P50, "p50", 5, 6),
        Column::right(Cell::P95, "p95", 5, 4),
        Column::right(Cell::Ok, "ok%", 4, 3),
        Column::right(Cell::Tokens, "tokens", 6, 6),
        Column::right(Cell::Cost, "$", 6, 3),
    ];
    // Of one provider nobody needs to be told.
    if models.iter().any(|model| model.provider != models[0].provider) {
        columns.push(Column::left(Cell::Provider, "provider", [8, 8, provider], 8));
    }
    columns
}

/// Wide enough for every model's `used/limit`, however the use grows; at least `least`.
fn figures(models: &[ModelView], least: u16, gauge: impl Fn(&ModelView) -> Gauge) -> u16 {
    const USED: usize = 5;
    let width = |gauge: Gauge| USED + gauge.limit.map_or(0, |limit| 1 + compact(limit).len());
    models.iter().map(|model| width(gauge(model)) as u16).fold(least, u16::max)
}

fn cell(scene: Scene<'_>, model: &ModelView, id: Cell, width: usize) -> Line<'static> {
    match id {
        Cell::Here => {
            let here = scene.snapshot.current_route.as_ref().is_some_and(|place| place.model == model.name);
            Line::from(scene.span(if here { scene.glyphs().here } else { " " }, Role::Focus))
        }
        Cell::Name if model.on => Line::raw(scene.outside(&model.name, width)),
        Cell::Name => {
            let name = scene.outside(&model.name, width.saturating_sub(usize::from(OFF)));
            Line::styled(format!("{name} {} off", scene.glyphs().switch(false)), scene.style(Role::Disabled))
        }
        Cell::RpmBar => gauge_bar(scene, model.rpm, width),
        Cell::TpmBar => gauge_bar(scene, model.tpm, width),
        Cell::RpdBar => gauge_bar(scene, model.rpd, width),
        Cell::Rpm => gauge(scene, model.rpm),
        Cell::Tpm => gauge(scene, model.tpm),
        Cell::Rpd => gauge(scene, model.rpd),
        Cell::Resets => {
            let left = model.day_resets_at.map_or_else(|| NONE.to_owned(), |at| countdown(scene.left(at)));
            Line::styled(left, scene.style(Role::Muted))
        }
        Cell::Flying => Line::raw(compact_in(model.in_flight.into(), width)),
        Cell::P50 => Line::raw(latency(model.p50_ms)),
        Cell::P95 => Line::raw(latency(model.p95_ms)),
        Cell::Ok => {
            let role = if model.failed * 20 > model.ok + model.failed { Role::Warn } else { Role::Text };
            Line::styled(percent_ok(model.ok, model.failed), scene.style(role))
        }
        Cell::Tokens => Line::raw(compact_in(model.usage.total(), width)),
        Cell::Cost => Line::raw(dollars(model.cost)),
        Cell::Provider => Line::styled(scene.outside(&model.provider, width), scene.style(Role::Muted)),
    }
}

/// `used/limit`; without a known limit only the use.
fn gauge(scene: Scene<'_>, gauge: Gauge) -> Line<'static> {
    let role = match load(gauge) {
        Some(share) if share >= NEARLY => load_role(share),
        _ => Role::Text,
    };
    Line::styled(against(gauge.used, gauge.limit), scene.style(role))
}

fn gauge_bar(scene: Scene<'_>, gauge: Gauge, width: usize) -> Line<'static> {
    let Some(share) = load(gauge) else { return Line::default() };
    bar(share, width, scene.glyphs(), scene.style(load_role(share)), scene.style(Role::Track)).into_iter().collect()
}

/// The used share of a limit; a limit of nothing is used up.
fn load(gauge: Gauge) -> Option<f64> {
    gauge.limit.map(|limit| if limit == 0 { 1.0 } else { gauge.used as f64 / limit as f64 })
}

const NEARLY: f64 = 0.85;

fn load_role(share: f64) -> Role {
    match share {
        1.0.. => Role::Exhausted,
        NEARLY.. => Role::Warn,
        _ => Role::Bar,
    }
}

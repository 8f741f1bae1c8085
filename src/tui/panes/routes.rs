//! Routes: every key with every model, one cell each: glyph, time until it is back, day quota left, and what it has
//! answered. Below, where there is room, the selected one explained.

use ratatui::{
    buffer::Buffer,
    layout::{Constraint, Layout, Rect},
    text::Line,
    widgets::Widget as _,
};

use super::{empty, longest};
use crate::{
    domain::snapshot::{Condition, RouteView},
    tui::{
        action::Action,
        figures::{compact, countdown},
        overlays::why,
        pane::Pane,
        scene::Scene,
        state::Subject,
        text,
        theme::Role,
        widgets::{
            frame::{first_visible, position},
            table::highlight,
        },
        words,
    },
};

/// Room for what is left today, and for what was done.
const CELL: u16 = 19;
/// With fewer rows below the matrix nothing would be explained.
const LEAST_TO_EXPLAIN: u16 = 6;
/// Longer lines are hard to read.
const WIDEST: u16 = 116;

pub fn render(scene: Scene<'_>, area: Rect, buf: &mut Buffer) {
    let (state, snapshot) = (scene.state, scene.snapshot);
    if snapshot.routes.is_empty() || area.height == 0 {
        return empty(scene, "no routes", area, buf);
    }
    let columns = columns(scene, area.width);
    let Columns { names, first: first_model, fits, wide } = columns;
    let selected = (state.selected(Pane::Routes, snapshot), state.selected_model(snapshot));
    let matrix = 1 + snapshot.keys.len().min(usize::from(area.height - 1)) as u16;
    explain(scene, Rect { y: area.y + matrix, height: area.height - matrix, ..area }, buf);
    let rows = usize::from(area.height - 1);
    let first_key = first_visible(selected.0, rows, snapshot.keys.len());
    let place =
        |column: usize, y: u16| Rect { x: area.x + columns.left(column), y, width: wide, height: 1 }.intersection(area);

    for (column, model) in snapshot.models.iter().skip(first_model).take(fits).enumerate() {
        let name = scene.outside(&model.name, usize::from(wide));
        let role = if model.on { Role::Muted } else { Role::Disabled };
        Line::styled(name, scene.style(role)).render(place(column, area.y), buf);
    }
    for (line, key) in snapshot.keys.iter().skip(first_key).take(rows).enumerate() {
        let y = area.y + 1 + line as u16;
        let name = scene.outside(&key.name, usize::from(names));
        Line::raw(name).render(Rect { x: area.x, y, width: names, height: 1 }, buf);
        for (column, model) in snapshot.models.iter().skip(first_model).take(fits).enumerate() {
            let cell = place(column, y);
            let route = snapshot.routes.iter().find(|route| route.key == key.name && route.model == model.name);
            if let Some(route) = route {
                let here =
                    snapshot.current_route.as_ref().is_some_and(|at| at.key == key.name && at.model == model.name);
                words(scene, route, here, usize::from(cell.width)).render(cell, buf);
            }
            if state.focus == Pane::Routes && selected == (first_key + line, first_model + column) {
                highlight(cell, scene.style(Role::Selection), scene.glyphs(), buf);
            }
        }
    }
}

/// The selected route, as `w` tells it, in what the matrix leaves free.
fn explain(scene: Scene<'_>, area: Rect, buf: &mut Buffer) {
    let chosen = scene.state.selected(Pane::Routes, scene.snapshot);
    let model = scene.state.selected_model(scene.snapshot);
    let (Some(key), Some(model)) = (scene.snapshot.keys.get(chosen), scene.snapshot.models.get(model)) else { return };
    if area.height < LEAST_TO_EXPLAIN {
        return;
    }
    let [rule, body] = area.layout(&Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]));
    let line = scene.glyphs().border.horizontal_top.repeat(usize::from(rule.width));
    Line::styled(line, scene.style(Role::Border)).render(rule, buf);
    let subject = Subject::Route { key: key.name.clone(), model: model.name.clone() };
    let lines = why::lines(scene, &subject, usize::from(body.width.min(WIDEST)));
    for (line, row) in lines.iter().zip(body.rows()) {
        line.render(row, buf);
    }
}

/// Which models have a column.
#[derive(Clone, Copy)]
struct Columns {
    /// Columns that the names of the keys take.
    names: u16,
    first: usize,
    fits: usize,
    /// How wide each is.
    wide: u16,
}

impl Columns {
    /// Where a column begins, from the left of the list.
    const fn left(self, column: usize) -> u16 {
        self.names + 1 + column as u16 * (self.wide + 1)
    }
}

/// The model whose column is at `x` of a list of this width.
pub fn model_at(scene: Scene<'_>, width: u16, x: u16) -> Option<usize> {
    let columns = columns(scene, width);
    let under = |column: &usize| (columns.left(*column)..columns.left(*column) + columns.wide).contains(&x);
    (0..columns.fits).find(under).map(|column| columns.first + column)
}

fn columns(scene: Scene<'_>, width: u16) -> Columns {
    let snapshot = scene.snapshot;
    let names = longest(snapshot.keys.iter().map(|key| key.name.as_str()), 16).max(6).min(width);
    let room = width.saturating_sub(names + 1);
    let models = snapshot.models.len();
    let fits = usize::from((room + 1) / (CELL + 1)).clamp(1, models.max(1));
    // Wider cells where there is room for them: model names are long.
    let wide = (room / fits as u16).saturating_sub(1).clamp(CELL.min(room), 30);
    Columns { names, first: first_visible(scene.state.selected_model(snapshot), fits, models), fits, wide }
}

/// `Left/Right: models 1-3/6` where there are more than fit.
pub fn aside(scene: Scene<'_>, width: u16) -> Option<String> {
    let Columns { first, fits, .. } = columns(scene, width);
    let place = position(first, fits, scene.snapshot.models.len())?;
    let key = |action| scene.state.keymap.key_for(action);
    Some(format!("{}/{}: models {}", key(Action::Left), key(Action::Right), place.trim()))
}

fn words(scene: Scene<'_>, route: &RouteView, here: bool, width: usize) -> Line<'static> {
    let glyphs = scene.glyphs();
    let glyph = if here { glyphs.arrow } else { glyphs.condition(&route.condition) };
    let role = Role::from(&route.condition);
    if !route.on {
        return Line::styled(scene.fit(&format!("{} off", glyphs.switch(false)), width), scene.style(Role::Disabled));
    }
    let left = route.rpd.limit.map(|limit| format!("{} left", compact(limit.saturating_sub(route.rpd.used))));
    let mut more = Vec::new();
    let words = match &route.condition {
        Condition::Ready => left.clone().unwrap_or_else(|| "ready".to_owned()),
        Condition::Limited { until, .. } => {
            until.map_or_else(|| "full".to_owned(), |until| format!("full {}", countdown(scene.left(until))))
        }
        Condition::CoolingDown { until, .. } => format!("cooling {}", countdown(scene.left(*until))),
        Condition::Exhausted { until, .. } => format!("spent {}", countdown(scene.left(*until))),
        Condition::CircuitOpen { until, .. } => format!("broken {}", countdown(scene.left(*until))),
        Condition::Disabled { cause, .. } => words::outcome(cause.outcome).to_owned(),
        Condition::SwitchedOff { .. } => "off".to_owned(),
    };
    // What is out for moments still has a day; of what is out for longer, the day is not what holds it.
    if matches!(
        route.condition,
        Condition::Limited { .. } | Condition::CoolingDown { .. } | Condition::CircuitOpen { .. }
    ) {
        more.extend(left);
    }
    more.extend((route.in_flight > 0).then(|| format!("{} fly", route.in_flight)));
    more.extend((route.ok > 0).then(|| format!("{} ok", compact(route.ok))));
    let mut spans = vec![scene.span(format!("{glyph} {words}"), role)];
    let mut used = spans[0].width();
    for more in more {
        let more = format!(" {} {more}", glyphs.dot);
        if used + text::width(&more) <= width {
            used += text::width(&more);
            spans.push(scene.span(more, Role::Muted));
        }
    }
    scene.fit_spans(spans, width)
}

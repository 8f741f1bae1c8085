//! Routes pane: a matrix of keys and models. Each cell shows condition, time until available, remaining daily quota and
//! successes. Below, if there is room, the selected route is explained.

use ratatui::{
    buffer::Buffer,
    layout::{Constraint, Layout, Rect},
    text::Line,
    widgets::Widget as _,
};

use super::{
    list::{max_width, render_empty},
    view::{PaneColumns, PaneView},
};
use crate::{
    domain::snapshot::{Condition, RouteView},
    tui::{
        action::Action,
        format::compact,
        overlays::inspect,
        pane::Pane,
        render_ctx::RenderCtx,
        state::InspectSubject,
        text,
        theme::StyleRole,
        widgets::{
            frame::{first_visible_row, position_label},
            table::highlight,
        },
    },
};

/// Minimum width of a cell of the matrix: enough for the remaining daily quota and the number of successes.
const MIN_CELL_COLUMNS: u16 = 19;
/// Room for the number of requests in flight as well.
const MAX_CELL_COLUMNS: u16 = 36;
/// With fewer rows below the matrix, the explanation is omitted.
const MIN_ROWS_TO_EXPLAIN: u16 = 6;
/// Longer lines are hard to read.
const MAX_TEXT_COLUMNS: u16 = 116;

pub const VIEW: PaneView =
    PaneView { columns: PaneColumns::Scrolled(hidden_models_note), ..PaneView::drawn_by(render) };

fn render(ctx: RenderCtx<'_>, area: Rect, buf: &mut Buffer) {
    let (state, snapshot) = (ctx.state, ctx.snapshot);
    if snapshot.routes.is_empty() || area.height == 0 {
        return render_empty(ctx, "no routes", area, buf);
    }
    let columns = model_columns(ctx, area.width);
    let ModelColumns { key_name_width, first_model, visible_models, width } = columns;
    let selected = (state.selected_row(Pane::Routes, snapshot), state.selected_model(snapshot));
    let matrix_rows = 1 + snapshot.keys.len().min(usize::from(area.height - 1)) as u16;
    render_selected_route(ctx, Rect { y: area.y + matrix_rows, height: area.height - matrix_rows, ..area }, buf);
    let rows = usize::from(area.height - 1);
    let first_key = first_visible_row(selected.0, rows, snapshot.keys.len());
    let cell_area =
        |column: usize, y: u16| Rect { x: area.x + columns.column_x(column), y, width, height: 1 }.intersection(area);

    for (column, model) in snapshot.models.iter().skip(first_model).take(visible_models).enumerate() {
        let name = ctx.sanitized(&model.name, usize::from(width));
        let role = if model.on { StyleRole::Muted } else { StyleRole::Disabled };
        Line::styled(name, ctx.style(role)).render(cell_area(column, area.y), buf);
    }
    for (line, key) in snapshot.keys.iter().skip(first_key).take(rows).enumerate() {
        let y = area.y + 1 + line as u16;
        let name = ctx.sanitized(&key.name, usize::from(key_name_width));
        Line::raw(name).render(Rect { x: area.x, y, width: key_name_width, height: 1 }, buf);
        for (column, model) in snapshot.models.iter().skip(first_model).take(visible_models).enumerate() {
            let cell = cell_area(column, y);
            let route = snapshot.routes.iter().find(|route| route.key == key.name && route.model == model.name);
            if let Some(route) = route {
                let is_current =
                    snapshot.current_route.as_ref().is_some_and(|at| at.key == key.name && at.model == model.name);
                route_cell(ctx, route, is_current, usize::from(cell.width)).render(cell, buf);
            }
            if state.focus == Pane::Routes && selected == (first_key + line, first_model + column) {
                highlight(cell, ctx.style(StyleRole::Selection), ctx.glyphs(), buf);
            }
        }
    }
}

/// Explains the selected route below the matrix, like the inspect overlay.
fn render_selected_route(ctx: RenderCtx<'_>, area: Rect, buf: &mut Buffer) {
    let selected_key = ctx.state.selected_row(Pane::Routes, ctx.snapshot);
    let model = ctx.state.selected_model(ctx.snapshot);
    let (Some(key), Some(model)) = (ctx.snapshot.keys.get(selected_key), ctx.snapshot.models.get(model)) else {
        return;
    };
    if area.height < MIN_ROWS_TO_EXPLAIN {
        return;
    }
    let [rule, body] = area.layout(&Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]));
    let line = ctx.glyphs().border.horizontal_top.repeat(usize::from(rule.width));
    Line::styled(line, ctx.style(StyleRole::Border)).render(rule, buf);
    let subject = InspectSubject::Route { key: key.name.clone(), model: model.name.clone() };
    let lines = inspect::build_lines(ctx, &subject, usize::from(body.width.min(MAX_TEXT_COLUMNS)));
    for (line, row) in lines.iter().zip(body.rows()) {
        line.render(row, buf);
    }
}

/// Which models have a column in the matrix, and the widths of the columns.
#[derive(Clone, Copy)]
struct ModelColumns {
    /// Width of the column with the names of the keys.
    key_name_width: u16,
    first_model: usize,
    visible_models: usize,
    /// Width of the column of each model.
    width: u16,
}

impl ModelColumns {
    /// Where a column begins, from the left of the list.
    const fn column_x(self, column: usize) -> u16 {
        self.key_name_width + 1 + column as u16 * (self.width + 1)
    }
}

/// The index of the model whose column is at `x`, from the left of a matrix of this width.
pub fn model_at(ctx: RenderCtx<'_>, width: u16, x: u16) -> Option<usize> {
    let columns = model_columns(ctx, width);
    let under = |column: &usize| (columns.column_x(*column)..columns.column_x(*column) + columns.width).contains(&x);
    (0..columns.visible_models).find(under).map(|column| columns.first_model + column)
}

fn model_columns(ctx: RenderCtx<'_>, width: u16) -> ModelColumns {
    let snapshot = ctx.snapshot;
    let key_name_width = max_width(snapshot.keys.iter().map(|key| key.name.as_str()), 16).max(6).min(width);
    let room = width.saturating_sub(key_name_width + 1);
    let models = snapshot.models.len();
    let visible_models = usize::from((room + 1) / (MIN_CELL_COLUMNS + 1)).clamp(1, models.max(1));
    // Wider cells if there is room: model names are long.
    let cell_width =
        (room / visible_models as u16).saturating_sub(1).clamp(MIN_CELL_COLUMNS.min(room), MAX_CELL_COLUMNS);
    ModelColumns {
        key_name_width,
        first_model: first_visible_row(ctx.state.selected_model(snapshot), visible_models, models),
        visible_models,
        width: cell_width,
    }
}

/// `Left/Right: models 1-3/6`, if not all models fit.
fn hidden_models_note(ctx: RenderCtx<'_>, width: u16) -> Option<String> {
    let ModelColumns { first_model, visible_models, .. } = model_columns(ctx, width);
    let position = position_label(first_model, visible_models, ctx.snapshot.models.len())?;
    let key = |action| ctx.state.keymap.key_label(action);
    Some(format!("{}/{}: models {}", key(Action::Left), key(Action::Right), position.trim()))
}

fn route_cell(ctx: RenderCtx<'_>, route: &RouteView, is_current: bool, width: usize) -> Line<'static> {
    let glyphs = ctx.glyphs();
    let glyph = if is_current { glyphs.arrow } else { glyphs.condition(&route.condition) };
    let role = StyleRole::from(&route.condition);
    if !route.on {
        return Line::styled(
            ctx.truncated(&format!("{} off", glyphs.on_off(false)), width),
            ctx.style(StyleRole::Disabled),
        );
    }
    let quota_left = route.rpd.limit.map(|limit| format!("{} left", compact(limit.saturating_sub(route.rpd.used))));
    let mut details = Vec::new();
    let text = match (&route.condition, &quota_left) {
        (Condition::Ready, Some(quota_left)) => quota_left.clone(),
        (condition, _) => ctx.short_condition_text(condition),
    };
    // Also shows the remaining daily quota of a route that will be available again before the daily reset. A ready
    // route shows it already; for exhausted, disabled and switched-off routes it doesn't matter.
    if matches!(
        route.condition,
        Condition::Limited { .. } | Condition::CoolingDown { .. } | Condition::CircuitOpen { .. }
    ) {
        details.extend(quota_left);
    }
    details.extend((route.in_flight > 0).then(|| format!("{} in flight", route.in_flight)));
    details.extend((route.ok > 0).then(|| format!("{} ok", compact(route.ok))));
    let mut spans = vec![ctx.span(format!("{glyph} {text}"), role)];
    let mut used = spans[0].width();
    for detail in details {
        let detail = format!(" {} {detail}", glyphs.separator);
        if used + text::width(&detail) <= width {
            used += text::width(&detail);
            spans.push(ctx.span(detail, StyleRole::Muted));
        }
    }
    ctx.truncated_spans(spans, width)
}

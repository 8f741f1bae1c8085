//! Models pane: used quotas and the time of the daily reset, latency, success rate, tokens and cost of each model.

use ratatui::{buffer::Buffer, layout::Rect, text::Line};

use super::{
    list::{PaneColumn, current_marker, in_flight_column, max_width, pane_table, render_empty},
    view::{PaneColumns, PaneView},
};
use crate::{
    domain::snapshot::{Gauge, ModelView},
    tui::{
        format::{NO_VALUE, compact, compact_within, dollars, format_countdown, latency, percent_ok, used_of_limit},
        pane::Pane,
        render_ctx::RenderCtx,
        theme::StyleRole,
        widgets::{bar::thin_bar, table},
    },
};

const BAR_COLUMNS: u16 = 6;
/// With fewer columns, model names get less room, so that more figures fit.
const NARROW_BELOW_COLUMNS: u16 = 100;
/// Width of ` - off` after a model's name.
const OFF_SUFFIX_COLUMNS: u16 = 6;

type ModelColumn = PaneColumn<ModelView>;

pub const VIEW: PaneView = PaneView { columns: PaneColumns::Dropped(hidden_columns), ..PaneView::drawn_by(render) };

fn render(ctx: RenderCtx<'_>, area: Rect, buf: &mut Buffer) {
    let models = &ctx.snapshot.models;
    if models.is_empty() {
        return render_empty(ctx, "no models", area, buf);
    }
    pane_table(&ctx, Pane::Models, &columns(ctx, area.width), true)
        .render(area, buf, |row, cell, width| cell(ctx, &models[row], width));
}

/// The titles of the columns that don't fit into `width`.
fn hidden_columns(ctx: RenderCtx<'_>, width: u16) -> Vec<&'static str> {
    table::hidden_titles(&columns(ctx, width), width)
}

fn columns(ctx: RenderCtx<'_>, width: u16) -> Vec<ModelColumn> {
    let models = &ctx.snapshot.models;
    let any_off = models.iter().any(|model| !model.on);
    let name =
        max_width(models.iter().map(|model| model.name.as_str()), 32) + if any_off { OFF_SUFFIX_COLUMNS } else { 0 };
    let bar = [BAR_COLUMNS, BAR_COLUMNS, 2 * BAR_COLUMNS];
    // Wide screens show whole names before optional figures; narrow screens show the important figures first.
    let comfortable_name = if width < NARROW_BELOW_COLUMNS { 19 } else { 24 };
    let gauge_text_column = |title, min_columns, drop_order, gauge: fn(&ModelView) -> Gauge, content| {
        ModelColumn::right(title, gauge_columns(models, min_columns, gauge), drop_order, content)
    };
    let mut columns = vec![
        ModelColumn::left("model", [12, name.min(comfortable_name), name], 0, name_cell),
        ModelColumn::left("", [1; 3], 0, |ctx, model, _| current_marker(ctx, |route| route.model == model.name)),
        ModelColumn::left("", bar, 5, |ctx, model, width| gauge_bar(ctx, model.rpm, width)),
        gauge_text_column("RPM", 7, 1, |model| model.rpm, |ctx, model, _| gauge_text(ctx, model.rpm)),
        ModelColumn::left("", bar, 5, |ctx, model, width| gauge_bar(ctx, model.tpm, width)),
        gauge_text_column("TPM", 9, 2, |model| model.tpm, |ctx, model, _| gauge_text(ctx, model.tpm)),
        ModelColumn::left("", bar, 5, |ctx, model, width| gauge_bar(ctx, model.rpd, width)),
        gauge_text_column("RPD", 9, 1, |model| model.rpd, |ctx, model, _| gauge_text(ctx, model.rpd)),
        ModelColumn::right("resets", 6, 2, |ctx, model, _| {
            let left =
                model.day_resets_at.map_or_else(|| NO_VALUE.to_owned(), |at| format_countdown(ctx.time_until(at)));
            Line::styled(left, ctx.style(StyleRole::Muted))
        }),
        in_flight_column(7, |_, model, width| Line::raw(compact_within(model.in_flight.into(), width))),
        ModelColumn::right("p50", 5, 6, |_, model, _| Line::raw(latency(model.p50_ms))),
        ModelColumn::right("p95", 5, 4, |_, model, _| Line::raw(latency(model.p95_ms))),
        ModelColumn::right("ok%", 4, 3, |ctx, model, _| {
            let role = if model.failed * 20 > model.ok + model.failed { StyleRole::Warn } else { StyleRole::Text };
            Line::styled(percent_ok(model.ok, model.failed), ctx.style(role))
        }),
        ModelColumn::right("tokens", 6, 6, |_, model, width| Line::raw(compact_within(model.usage.total(), width))),
        ModelColumn::right("$", 6, 3, |_, model, _| Line::raw(dollars(model.cost))),
    ];
    // Answers that failed a check are shown once there is one.
    if models.iter().any(|model| model.invalid_outputs > 0) {
        let after_ok = columns.len() - 2;
        let invalid = ModelColumn::right("invalid", 7, 3, |ctx, model, width| {
            let role = if model.invalid_outputs > 0 { StyleRole::Warn } else { StyleRole::Muted };
            Line::styled(compact_within(model.invalid_outputs, width), ctx.style(role))
        });
        columns.insert(after_ok, invalid);
    }
    // With a single provider, the column would be the same in every row.
    if models.iter().any(|model| model.provider != models[0].provider) {
        let providers = [8, 8, max_width(models.iter().map(|model| model.provider.as_str()), 16)];
        columns.push(ModelColumn::left("provider", providers, 8, |ctx, model, width| {
            Line::styled(ctx.sanitized(&model.provider, width), ctx.style(StyleRole::Muted))
        }));
    }
    columns
}

fn name_cell(ctx: RenderCtx<'_>, model: &ModelView, width: usize) -> Line<'static> {
    if model.on {
        return Line::raw(ctx.sanitized(&model.name, width));
    }
    let name = ctx.sanitized(&model.name, width.saturating_sub(usize::from(OFF_SUFFIX_COLUMNS)));
    Line::styled(format!("{name} {} off", ctx.glyphs().on_off(false)), ctx.style(StyleRole::Disabled))
}

/// A width that is enough for `used/limit` of every model, whatever the used amount is; at least `min_columns`.
fn gauge_columns(models: &[ModelView], min_columns: u16, gauge: impl Fn(&ModelView) -> Gauge) -> u16 {
    const USED: usize = 5;
    let width = |gauge: Gauge| USED + gauge.limit.map_or(0, |limit| 1 + compact(limit).len());
    models.iter().map(|model| width(gauge(model)) as u16).fold(min_columns, u16::max)
}

/// `used/limit`, or only the used amount if no limit is known.
fn gauge_text(ctx: RenderCtx<'_>, gauge: Gauge) -> Line<'static> {
    let role = match used_share(gauge) {
        Some(share) if share >= WARN_SHARE => share_role(share),
        _ => StyleRole::Text,
    };
    Line::styled(used_of_limit(gauge.used, gauge.limit), ctx.style(role))
}

fn gauge_bar(ctx: RenderCtx<'_>, gauge: Gauge, width: usize) -> Line<'static> {
    let Some(share) = used_share(gauge) else { return Line::default() };
    thin_bar(share, width, ctx.glyphs(), ctx.style(share_role(share)), ctx.style(StyleRole::Track))
        .into_iter()
        .collect()
}

/// The used share of a limit; `None` without a limit. A limit of zero counts as used up.
fn used_share(gauge: Gauge) -> Option<f64> {
    gauge.limit.map(|limit| if limit == 0 { 1.0 } else { gauge.used as f64 / limit as f64 })
}

/// From this used share of a limit on, it is shown as a warning.
const WARN_SHARE: f64 = 0.85;

fn share_role(share: f64) -> StyleRole {
    match share {
        1.0.. => StyleRole::Exhausted,
        WARN_SHARE.. => StyleRole::Warn,
        _ => StyleRole::Bar,
    }
}

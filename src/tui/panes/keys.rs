//! Keys pane: health and statistics of each key; if it is unavailable, why and until when.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use super::{
    list::{PaneColumn, current_marker, in_flight_column, max_width, pane_table, render_empty},
    view::{PaneColumns, PaneView},
};
use crate::{
    domain::{
        Command,
        snapshot::{Condition, KeyView},
    },
    tui::{
        forecast_text,
        format::{compact_within, dollars},
        pane::Pane,
        render_ctx::RenderCtx,
        text::width as text_width,
        theme::StyleRole,
        widgets::{bar::thin_bar, table},
    },
};

/// Columns of the score. A bar is drawn beside it if there is room for a space and at least three more columns.
const SCORE_COLUMNS: u16 = 3;

type KeyColumn = PaneColumn<KeyView>;

pub const VIEW: PaneView =
    PaneView { title_suffix, columns: PaneColumns::Dropped(hidden_columns), ..PaneView::drawn_by(render) };

fn title_suffix(ctx: RenderCtx<'_>) -> Option<String> {
    let keys = &ctx.snapshot.keys;
    let is_available = |key: &&KeyView| {
        matches!(key.condition, Condition::Ready | Condition::Limited { .. }) && !key.condition.is_budget_reached()
    };
    let unavailable = keys.len() - keys.iter().filter(is_available).count();
    (unavailable > 0).then(|| format!("{unavailable} of {} unavailable", keys.len()))
}

fn render(ctx: RenderCtx<'_>, area: Rect, buf: &mut Buffer) {
    let keys = &ctx.snapshot.keys;
    if keys.is_empty() {
        return render_empty(ctx, "no keys", area, buf);
    }
    pane_table(&ctx, Pane::Keys, &columns(ctx), true)
        .render(area, buf, |row, cell, width| cell(ctx, &keys[row], width));
}

/// The titles of the columns that don't fit into `width`.
fn hidden_columns(ctx: RenderCtx<'_>, width: u16) -> Vec<&'static str> {
    table::hidden_titles(&columns(ctx), width)
}

fn columns(ctx: RenderCtx<'_>) -> Vec<KeyColumn> {
    let keys = &ctx.snapshot.keys;
    let name_width = |name: fn(&KeyView) -> &str, max_columns: usize| max_width(keys.iter().map(name), max_columns);
    let names = [6, name_width(|key| &key.name, 10), name_width(|key| &key.name, 24)];
    let projects = [8, name_width(|key| &key.project, 12), name_width(|key| &key.project, 24)];
    let mut columns = vec![
        KeyColumn::left("key", names, 0, |ctx, key, width| {
            let is_off = matches!(key.condition, Condition::SwitchedOff { .. } | Condition::Disabled { .. });
            let role = if is_off { StyleRole::Muted } else { StyleRole::Text };
            Line::styled(ctx.sanitized(&key.name, width), ctx.style(role))
        }),
        KeyColumn::left("", [1; 3], 0, |ctx, key, _| current_marker(ctx, |route| route.key == key.name)),
        KeyColumn::left("health", [6, SCORE_COLUMNS + 5, SCORE_COLUMNS + 11], 2, health_bar),
        KeyColumn::right("ok", 4, 1, |_, key, width| Line::raw(compact_within(key.ok, width))),
        KeyColumn::right("errors", 6, 1, |ctx, key, width| {
            let role = if key.failed > 0 { StyleRole::Warn } else { StyleRole::Muted };
            Line::styled(compact_within(key.failed, width), ctx.style(role))
        }),
        in_flight_column(4, |_, key, width| Line::raw(compact_within(key.in_flight.into(), width))),
        KeyColumn::left("state", [19, 26, 30], 0, key_state),
        KeyColumn::right("$", 6, 3, |_, key, _| Line::raw(dollars(key.cost))),
        KeyColumn::right("tokens", 6, 5, |_, key, width| Line::raw(compact_within(key.usage.total(), width))),
        KeyColumn::left("project", projects, 6, |ctx, key, width| {
            Line::styled(ctx.sanitized(&key.project, width), ctx.style(StyleRole::Muted))
        }),
    ];
    // With a single provider, the column would be the same in every row.
    if keys.iter().any(|key| key.provider != keys[0].provider) {
        let providers = [8, 8, name_width(|key| &key.provider, 16)];
        columns.push(KeyColumn::left("provider", providers, 7, |ctx, key, width| {
            Line::styled(ctx.sanitized(&key.provider, width), ctx.style(StyleRole::Muted))
        }));
    }
    columns
}

/// Whether a key is in this condition because its provider is down.
const fn is_of_outage(condition: &Condition) -> bool {
    matches!(
        condition,
        Condition::Ready | Condition::Limited { .. } | Condition::CoolingDown { .. } | Condition::CircuitOpen { .. }
    )
}

/// The health as a bar and a score. The bar's colour repeats what its length shows.
fn health_bar(ctx: RenderCtx<'_>, key: &KeyView, width: usize) -> Line<'static> {
    let health = key.health;
    let role = match health {
        0..30 => StyleRole::Bad,
        30..70 => StyleRole::Warn,
        _ => StyleRole::Ok,
    };
    let score = Span::raw(format!("{health:>3}"));
    let room = width.saturating_sub(usize::from(SCORE_COLUMNS) + 1);
    if room < 3 {
        return Line::from(score);
    }
    let [full, rest] =
        thin_bar(f64::from(health) / 100.0, room, ctx.glyphs(), ctx.style(role), ctx.style(StyleRole::Track));
    Line::from(vec![full, rest, Span::raw(" "), score])
}

/// The state of the key, or the requested change if it isn't confirmed yet.
fn key_state(ctx: RenderCtx<'_>, key: &KeyView, width: usize) -> Line<'static> {
    let requested = ctx.state.pending_commands.commands().rev().find_map(|command| match command {
        Command::SetKey { key: name, on } if *name == key.name => Some(*on),
        _ => None,
    });
    match requested {
        Some(on) if on == matches!(key.condition, Condition::SwitchedOff { .. }) => {
            let word = if on { "switching on" } else { "switching off" };
            Line::styled(
                ctx.truncated(&format!("{} {word}", ctx.glyphs().on_off(on)), width),
                ctx.style(StyleRole::Operator),
            )
        }
        _ => match ctx.snapshot.outages.iter().find(|outage| outage.provider == key.provider) {
            Some(outage) if is_of_outage(&key.condition) => {
                let glyph = ctx.glyphs().condition(&key.condition);
                let trial = forecast_text::trial_text(ctx, outage);
                let long = format!("{glyph} provider down, {trial}");
                let short = format!("{glyph} provider down");
                let text = if text_width(&long) <= width { long } else { short };
                Line::styled(ctx.truncated(&text, width), ctx.style(StyleRole::from(&key.condition)))
            }
            _ => ctx.condition_line(&key.condition, width),
        },
    }
}

//! Cooldowns pane: everything that is unavailable until an instant, the first to end on top.

use ratatui::{buffer::Buffer, layout::Rect, text::Line};

use super::{
    list::{PaneColumn, max_width, pane_table, render_empty},
    view::PaneView,
};
use crate::{
    domain::snapshot::CooldownView,
    tui::{
        format::format_countdown, labels, pane::Pane, render_ctx::RenderCtx, state::sorted_cooldowns, theme::StyleRole,
        widgets::bar::thin_bar,
    },
};

type CooldownColumn = PaneColumn<CooldownView>;

pub const VIEW: PaneView = PaneView { title_suffix, ..PaneView::drawn_by(render) };

fn title_suffix(ctx: RenderCtx<'_>) -> Option<String> {
    let count = ctx.snapshot.cooldowns.len();
    (count > 0).then(|| count.to_string())
}

fn render(ctx: RenderCtx<'_>, area: Rect, buf: &mut Buffer) {
    let cooldowns = sorted_cooldowns(ctx.snapshot);
    if cooldowns.is_empty() {
        return render_empty(ctx, "no cooldowns", area, buf);
    }
    let reasons = max_width(cooldowns.iter().map(|cooldown| labels::outcome(cooldown.cause.outcome)), 13);
    let longest = max_width(cooldowns.iter().map(|cooldown| cooldown.subject.as_str()), 40);
    let columns = [
        CooldownColumn::left("", [14, longest.min(26), longest], 0, |ctx, cooldown, width| {
            Line::raw(ctx.route_text(&cooldown.subject, width))
        }),
        CooldownColumn::left("", [4, 8, 10], 3, time_left_bar),
        CooldownColumn::right("", 6, 0, |ctx, cooldown, _| Line::raw(format_countdown(ctx.time_until(cooldown.until)))),
        CooldownColumn::left("", [reasons; 3], 0, |ctx, cooldown, width| {
            let reason = ctx.truncated(labels::outcome(cooldown.cause.outcome), width);
            Line::styled(reason, ctx.style(StyleRole::Warn))
        }),
        CooldownColumn::left("", [11; 3], 2, |ctx, cooldown, _| {
            Line::styled(cooldown.cause.source.name(), ctx.style(StyleRole::Muted))
        }),
        CooldownColumn::left("", [9, 9, 16], 4, |ctx, cooldown, _| {
            Line::styled(ctx.local_time(cooldown.until), ctx.style(StyleRole::Muted))
        }),
        CooldownColumn::left("", [20, 20, 200], 5, |ctx, cooldown, width| {
            Line::styled(ctx.sanitized(&cooldown.cause.message, width), ctx.style(StyleRole::Muted))
        }),
    ];
    pane_table(&ctx, Pane::Cooldowns, &columns, false)
        .render(area, buf, |row, cell, width| cell(ctx, cooldowns[row], width));
}

/// The time left as a share of the whole cooldown.
fn time_left_bar(ctx: RenderCtx<'_>, cooldown: &CooldownView, width: usize) -> Line<'static> {
    let whole = cooldown.until.since(cooldown.started_at).as_secs_f64();
    let left = ctx.time_until(cooldown.until).as_secs_f64();
    let share = if whole > 0.0 { left / whole } else { 0.0 };
    thin_bar(share, width, ctx.glyphs(), ctx.style(StyleRole::Cooling), ctx.style(StyleRole::Track))
        .into_iter()
        .collect()
}

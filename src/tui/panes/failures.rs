//! Failures pane: failed items grouped by outcome, message and model, the largest group on top.

use ratatui::{buffer::Buffer, layout::Rect, text::Line};

use super::{
    list::{PaneColumn, max_width, pane_table, render_empty},
    view::PaneView,
};
use crate::{
    domain::{FailureGroup, short_id},
    tui::{
        format::{group_digits, group_digits_within, percent},
        labels,
        pane::Pane,
        render_ctx::RenderCtx,
        text::one_line,
        theme::StyleRole,
    },
};

type GroupColumn = PaneColumn<FailureGroup>;

pub const VIEW: PaneView =
    PaneView { title_suffix: |ctx| Some(group_digits(ctx.snapshot.totals.failed)), ..PaneView::drawn_by(render) };

fn render(ctx: RenderCtx<'_>, area: Rect, buf: &mut Buffer) {
    let failures = &ctx.state.failures;
    if let Some(error) = failures.error() {
        return render_empty(ctx, &format!("can't read the failures: {}", one_line(error)), area, buf);
    }
    let Some(groups) = failures.groups() else { return render_empty(ctx, "reading", area, buf) };
    if groups.is_empty() {
        return render_empty(ctx, "no item has failed", area, buf);
    }
    let models = max_width(groups.iter().filter_map(|group| group.model.as_deref()), 28);
    let columns = [
        GroupColumn::right("items", 7, 0, |ctx, group, width| {
            Line::styled(group_digits_within(group.count, width), ctx.style(StyleRole::Title))
        }),
        GroupColumn::right("%", 4, 3, |ctx, group, _| {
            let share = percent(group.count, ctx.snapshot.totals.failed);
            Line::styled(share.to_string(), ctx.style(StyleRole::Muted))
        }),
        GroupColumn::left("outcome", [13; 3], 0, |ctx, group, width| {
            let outcome = group.outcome.map_or("?", labels::outcome);
            Line::styled(ctx.truncated(outcome, width), ctx.style(StyleRole::Bad))
        }),
        GroupColumn::left("model", [8, models.min(16), models.max(8)], 1, |ctx, group, width| {
            let model = group.model.as_deref().unwrap_or("not sent");
            Line::styled(ctx.sanitized(model, width), ctx.style(StyleRole::Muted))
        }),
        GroupColumn::left("provider's message (numbers as #)", [20, 30, u16::MAX], 0, |ctx, group, width| {
            Line::raw(ctx.sanitized(&group.pattern, width))
        }),
        GroupColumn::left("first", [8, 10, 20], 2, |ctx, group, width| {
            let first = format!("#{}", short_id(&group.first_id));
            Line::styled(ctx.sanitized(&first, width), ctx.style(StyleRole::Muted))
        }),
    ];
    pane_table(&ctx, Pane::Failures, &columns, true)
        .render(area, buf, |row, cell, width| cell(ctx, &groups[row], width));
}

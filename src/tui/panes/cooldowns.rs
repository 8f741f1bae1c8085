//! Cooldowns pane: everything that is unavailable until an instant, the first to end on top.

use ratatui::{buffer::Buffer, layout::Rect, text::Line};

use super::{
    list::{max_width, pane_table, render_empty},
    view::PaneView,
};
use crate::{
    domain::snapshot::CooldownView,
    tui::{
        format::short_duration,
        labels,
        pane::Pane,
        render_ctx::RenderCtx,
        state::sorted_cooldowns,
        theme::StyleRole,
        widgets::{bar::thin_bar, table::Column},
    },
};

#[derive(Clone, Copy)]
enum Cell {
    Name,
    Bar,
    TimeLeft,
    Reason,
    Source,
    Until,
    Message,
}

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
        Column::left(Cell::Name, "", [14, longest.min(26), longest], 0),
        Column::left(Cell::Bar, "", [4, 8, 10], 3),
        Column::right(Cell::TimeLeft, "", 6, 0),
        Column::left(Cell::Reason, "", [reasons; 3], 0),
        Column::left(Cell::Source, "", [11; 3], 2),
        Column::left(Cell::Until, "", [9, 9, 16], 4),
        Column::left(Cell::Message, "", [20, 20, 200], 5),
    ];
    pane_table(&ctx, Pane::Cooldowns, &columns, false)
        .render(area, buf, |row, id, width| cell(ctx, cooldowns[row], id, width));
}

fn cell(ctx: RenderCtx<'_>, cooldown: &CooldownView, id: Cell, width: usize) -> Line<'static> {
    let left = ctx.time_until(cooldown.until);
    match id {
        Cell::Name => Line::raw(ctx.route_text(&cooldown.subject, width)),
        Cell::Bar => {
            let whole = cooldown.until.since(cooldown.started_at).as_secs_f64();
            let share = if whole > 0.0 { left.as_secs_f64() / whole } else { 0.0 };
            Line::from_iter(thin_bar(
                share,
                width,
                ctx.glyphs(),
                ctx.style(StyleRole::Cooling),
                ctx.style(StyleRole::Track),
            ))
        }
        Cell::TimeLeft => Line::raw(short_duration(left)),
        Cell::Reason => {
            Line::styled(ctx.truncated(labels::outcome(cooldown.cause.outcome), width), ctx.style(StyleRole::Warn))
        }
        Cell::Source => Line::styled(cooldown.cause.source.name(), ctx.style(StyleRole::Muted)),
        Cell::Until => Line::styled(ctx.local_time(cooldown.until), ctx.style(StyleRole::Muted)),
        Cell::Message => Line::styled(ctx.sanitized(&cooldown.cause.message, width), ctx.style(StyleRole::Muted)),
    }
}

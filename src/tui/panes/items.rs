//! Items pane: the visible part of one list of items, with the answer or error of each. Unless the operator chooses a
//! list, it shows the failed items if there are any, otherwise the done ones.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
    widgets::Widget as _,
};

use super::{
    list::{PaneColumn, max_width, pane_table, render_empty},
    view::PaneView,
};
use crate::{
    domain::{ItemRow, ItemState, short_id, snapshot::Totals},
    tui::{
        format::{compact, format_countdown, group_digits},
        labels,
        pane::Pane,
        render_ctx::RenderCtx,
        state::{ITEM_LISTS, Overlay},
        text::one_line,
        theme::StyleRole,
        widgets::{
            frame::first_visible_row,
            status_line::{self, Segment},
        },
    },
};

/// The name of a list, and how many items of the run are in it.
const fn list_name_and_count(state_filter: Option<ItemState>, totals: &Totals) -> (&'static str, u64) {
    match state_filter {
        Some(ItemState::Failed) => ("failed", totals.failed),
        Some(ItemState::Waiting) => ("waiting", totals.waiting),
        Some(ItemState::InFlight) => ("in flight", totals.in_flight),
        Some(ItemState::Done) => ("done", totals.done),
        None => ("all", totals.total),
    }
}

type ItemColumn = PaneColumn<ItemRow>;

pub const VIEW: PaneView = PaneView { title_suffix: |ctx| Some(list_title(ctx)), ..PaneView::drawn_by(render) };

/// The name of the open list, with the numbers of its items and of the marked ones.
fn list_title(ctx: RenderCtx<'_>) -> String {
    let (name, count) = list_name_and_count(ctx.state.items.state_filter, &ctx.snapshot.totals);
    let marks = ctx.state.items.marks.len();
    let marked = if marks > 0 { format!(", {marks} marked") } else { String::new() };
    format!("{name} {}{marked}", group_digits(count))
}

fn render(ctx: RenderCtx<'_>, area: Rect, buf: &mut Buffer) {
    if area.height == 0 {
        return;
    }
    render_heading(ctx, Rect { height: 1, ..area }, buf);
    let area = Rect { y: area.y + 1, height: area.height - 1, ..area };
    let items = &ctx.state.items;
    if let Some(error) = items.error() {
        let message = format!("can't read the items: {}", one_line(error));
        let line = Line::styled(ctx.truncated(&message, usize::from(area.width)), ctx.style(StyleRole::Bad));
        line.render(Rect { height: area.height.min(1), ..area }, buf);
        return;
    }
    match items.match_count() {
        None => return render_empty(ctx, "reading", area, buf),
        Some(0) if items.text_filter.is_empty() => {
            return render_empty(ctx, empty_message(items.state_filter), area, buf);
        }
        Some(0) => return render_empty(ctx, "no match", area, buf),
        Some(_) => {}
    }
    let pane = Pane::Items;
    let (total, rows) = (ctx.state.row_count(pane, ctx.snapshot), usize::from(area.height));
    let first = first_visible_row(ctx.state.selected_row(pane, ctx.snapshot), rows, total);
    let visible: Vec<_> = (first..total.min(first + rows)).filter_map(|at| items.row(at as u64)).collect();
    let id = max_width(visible.iter().map(|row| short_id(&row.id)), 24) + 1;
    let columns = [
        ItemColumn::left("", [1; 3], 0, state_cell),
        ItemColumn::left("", [5, id.min(16), id], 0, |ctx, row, width| {
            Line::raw(ctx.sanitized(&format!("#{}", short_id(&row.id)), width))
        }),
        ItemColumn::left("", [3; 3], 2, |ctx, row, width| {
            let attempts = match row.attempts {
                0 => String::new(),
                100.. => ">99".to_owned(),
                few => format!("{}{few}", ctx.glyphs().times),
            };
            Line::styled(ctx.truncated(&attempts, width), ctx.style(StyleRole::Muted))
        }),
        ItemColumn::left("", [13; 3], 1, |ctx, row, width| {
            if let Some(attempt) = ctx.snapshot.attempts_in_flight.iter().find(|attempt| attempt.seq == row.seq) {
                let sent = format!("sent {} ago", format_countdown(ctx.state.now.since(attempt.sent_at)));
                return Line::styled(ctx.truncated(&sent, width), ctx.style(StyleRole::Cooling));
            }
            let label = row.outcome.map_or("", labels::outcome);
            let role = if row.state == ItemState::Failed { StyleRole::Bad } else { StyleRole::Muted };
            Line::styled(ctx.truncated(label, width), ctx.style(role))
        }),
        ItemColumn::left("", [12, 16, 80], 0, |ctx, row, width| Line::raw(ctx.sanitized(&row.preview, width))),
        ItemColumn::left("", [20, 20, 40], 3, |ctx, row, width| {
            let route = row.route.as_deref().unwrap_or_default();
            Line::styled(ctx.route_text(route, width), ctx.style(StyleRole::Muted))
        }),
    ];
    pane_table(&ctx, pane, &columns, false).render(area, buf, |at, cell, width| match items.row(at as u64) {
        Some(row) => cell(ctx, row, width),
        // The row isn't loaded yet; the next answer has it.
        None => Line::styled(ctx.truncated(ctx.glyphs().ellipsis, width), ctx.style(StyleRole::Muted)),
    });
}

fn state_cell(ctx: RenderCtx<'_>, row: &ItemRow, _: usize) -> Line<'static> {
    if ctx.state.items.marks.contains_key(&row.seq) {
        Line::styled(ctx.glyphs().marked, ctx.style(StyleRole::Operator))
    } else {
        Line::styled(ctx.glyphs().item_state(row.state), ctx.style(StyleRole::from(row.state)))
    }
}

const fn empty_message(state_filter: Option<ItemState>) -> &'static str {
    match state_filter {
        Some(ItemState::Failed) => "no item has failed",
        Some(ItemState::Waiting) => "no item is waiting",
        Some(ItemState::InFlight) => "nothing is in flight",
        Some(ItemState::Done) => "no item is done yet",
        None => "no items",
    }
}

/// Draws the names of the lists, with the open one highlighted and the counts of the others. Draws the text filter
/// instead if there is one, or while it is typed.
fn render_heading(ctx: RenderCtx<'_>, area: Rect, buf: &mut Buffer) {
    let items = &ctx.state.items;
    let is_typing = matches!(ctx.state.overlay, Some(Overlay::Filter { .. }));
    if is_typing || !items.text_filter.is_empty() {
        let cursor = if is_typing { "_" } else { "" };
        let found =
            items.match_count().map_or_else(String::new, |matching| format!("{} match", group_digits(matching)));
        let room = usize::from(area.width).saturating_sub(found.len() + 4);
        let text = format!("{}{cursor}", one_line(&items.text_filter));
        let segments = vec![
            Segment::left(0, [ctx.span("/", StyleRole::Key), ctx.span(ctx.truncated(&text, room), StyleRole::Title)]),
            Segment::right(1, [ctx.span(found, StyleRole::Muted)]),
        ];
        return status_line::render(segments, 1, area, buf);
    }
    let lists = ITEM_LISTS.iter().enumerate().map(|(at, state_filter)| {
        let (name, count) = list_name_and_count(*state_filter, &ctx.snapshot.totals);
        if *state_filter == items.state_filter {
            let title = if ctx.glyphs().ascii_only { format!("[{name}]") } else { format!("▾{name}") };
            Segment::left(0, [ctx.span(title, StyleRole::Title)])
        } else {
            let spans = [ctx.span(name, StyleRole::Muted), Span::raw(" "), ctx.span(compact(count), StyleRole::Muted)];
            Segment::left(1 + at as u8, spans)
        }
    });
    status_line::render(lists.collect(), 2, area, buf);
}

//! Events pane: what just happened, newest first, short enough that the reason stays visible.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use super::{
    list::{PaneColumn, pane_table, render_empty},
    view::PaneView,
};
use crate::{
    domain::{
        Event, EventKind, Outcome,
        event::{EventLevel, format_duration, retry_text},
        short_id,
    },
    tui::{
        labels,
        pane::Pane,
        render_ctx::RenderCtx,
        text::{one_line, width},
        theme::StyleRole,
    },
};

type EventColumn = PaneColumn<Event>;

pub const VIEW: PaneView = PaneView::drawn_by(render);

fn render(ctx: RenderCtx<'_>, area: Rect, buf: &mut Buffer) {
    let events = &ctx.snapshot.events;
    if events.is_empty() {
        return render_empty(ctx, "nothing has happened yet", area, buf);
    }
    let columns = [
        EventColumn::left("", [8; 3], 1, |ctx, event, _| {
            Line::styled(ctx.time_of_day(event.at), ctx.style(StyleRole::Muted))
        }),
        EventColumn::left("", [1; 3], 0, |ctx, event, _| {
            Line::styled(ctx.glyphs().event_level(event.level()), ctx.style(StyleRole::from(event.level())))
        }),
        EventColumn::left("", [20, 40, u16::MAX], 0, |ctx, event, width| {
            ctx.truncated_spans(describe(ctx, event, width), width)
        }),
    ];
    pane_table(&ctx, Pane::Events, &columns, false)
        .render(area, buf, |row, cell, width| cell(ctx, &events[events.len() - 1 - row], width));
}

/// Describes an event. Route names are cut so that everything up to the reason fits into `columns`, where possible.
fn describe(ctx: RenderCtx<'_>, event: &Event, columns: usize) -> Vec<Span<'static>> {
    let text = |text: String| ctx.span(text, StyleRole::Text);
    let safe = |text: &str| ctx.with_ascii_fallback(&one_line(text)).into_owned();
    let muted_suffix =
        |text: &str| ctx.span(if text.is_empty() { String::new() } else { format!("  {text}") }, StyleRole::Muted);
    let reason = |status: Option<u16>, outcome: Outcome, retry: &str| {
        let status = status.map_or_else(String::new, |status| format!("{status} "));
        ctx.span(format!("  {status}{}{retry}", labels::outcome(outcome)), StyleRole::Warn)
    };
    match &event.kind {
        EventKind::Fallback { item_id, from, to, outcome, status, wait, message, .. } => {
            let arrow = if ctx.glyphs().ascii_only { "->" } else { "→" };
            let after = match to {
                None => String::new(),
                Some(to) if to == from => ", retry on the same route".to_owned(),
                Some(to) => format!(" {arrow} {}", safe(short_target(from, to))),
            };
            let reason = reason(*status, *outcome, &retry_text(to.as_deref(), *wait));
            let before = format!("#{} ", safe(&short_id(item_id)));
            let from = ctx.route_text(from, columns.saturating_sub(width(&before) + width(&after) + reason.width()));
            vec![text(format!("{before}{from}{after}")), reason, muted_suffix(&safe(message))]
        }
        EventKind::Cooldown { subject, outcome, wait, message } => {
            let left = wait.map(format_duration);
            let project = ctx.project_text(subject).map_or_else(String::new, |whose| format!(" ({whose})"));
            let (unavailable, reason) = if *outcome == Outcome::QuotaExhaustedDay {
                let frees = left.map_or_else(String::new, |left| format!(", frees in {left}"));
                (String::new(), ctx.span(format!("  day quota spent{frees}"), StyleRole::Warn))
            } else {
                let left = left.map_or_else(String::new, |left| format!(" {left}"));
                (format!(" cooling down{left}"), reason(None, *outcome, ""))
            };
            let subject_text = ctx.route_text(subject, columns.saturating_sub(width(&unavailable) + reason.width()));
            vec![
                text(format!("{subject_text}{unavailable}")),
                reason,
                ctx.span(project, StyleRole::Text),
                muted_suffix(&safe(message)),
            ]
        }
        EventKind::Recovered { subject, message } => {
            let whose = ctx.project_text(subject).map_or_else(String::new, |whose| format!(" ({whose})"));
            let reason = if message.is_empty() { String::new() } else { format!(": {}", safe(message)) };
            vec![ctx.span(format!("{} recovered{whose}{reason}", safe(subject)), StyleRole::Ok)]
        }
        EventKind::Disabled { subject, outcome, message } => {
            // Projects run out of credit; routes don't.
            let is_route = subject.contains('@');
            let reason = if is_route { labels::disabled_reason(*outcome) } else { labels::outcome(*outcome) };
            vec![
                ctx.span(format!("{} disabled: {reason}", safe(subject)), StyleRole::Bad),
                muted_suffix(&safe(message)),
            ]
        }
        EventKind::ItemFailed { item_id, route, outcome, message, .. } => {
            let reason = reason(None, *outcome, "");
            let mut failed = format!("#{} failed", safe(&short_id(item_id)));
            if let Some(route) = route {
                failed.push_str(" on ");
                failed.push_str(&ctx.route_text(route, columns.saturating_sub(width(&failed) + reason.width())));
            }
            vec![text(failed), reason, muted_suffix(&safe(message))]
        }
        EventKind::Operator { message } => {
            vec![ctx.span("you  ", StyleRole::Operator), ctx.span(safe(message), StyleRole::Operator)]
        }
        EventKind::Run { level, message } => {
            let role = if *level == EventLevel::Info { StyleRole::Text } else { StyleRole::from(*level) };
            vec![ctx.span(safe(message), role)]
        }
    }
}

/// The target of a fallback, without the model if it stays the same.
fn short_target<'t>(from: &str, to: &'t str) -> &'t str {
    match (from.rsplit_once('@'), to.rsplit_once('@')) {
        (Some((model, _)), Some((same, _))) if model == same => &to[same.len()..],
        _ => to,
    }
}

#[cfg(test)]
mod tests {
    use super::short_target;

    #[test]
    fn the_target_omits_a_model_that_stays_the_same() {
        assert_eq!(short_target("flash@alice", "flash@bob"), "@bob");
        assert_eq!(short_target("flash@alice", "lite@alice"), "lite@alice");
        assert_eq!(short_target("flash@alice", "somewhere"), "somewhere");
    }
}

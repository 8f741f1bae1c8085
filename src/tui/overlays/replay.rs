//! Draws the replay dialog: which items would be sent, where, and what that may cost.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use super::{
    dialogs::answer_hints,
    popup::{popup_area, render_choices, render_popup_frame},
};
use crate::domain::{RouteTarget, plural, snapshot::Condition};
use crate::tui::{
    format::group_digits,
    keymap::KeyContext,
    labels,
    render_ctx::RenderCtx,
    state::ReplayPlan,
    text::one_line,
    theme::StyleRole,
    widgets::frame::{first_visible_row, position_label},
};

/// Outer width of the dialog, in columns.
const POPUP_WIDTH: u16 = 76;
/// Maximum failure groups in the preview.
const MAX_GROUPS: usize = 5;
/// Maximum targets visible at once.
const MAX_TARGETS: usize = 5;
/// With fewer rows the dialog is shortened.
const MIN_ROWS_FOR_ALL: usize = 17;

pub fn render(ctx: RenderCtx<'_>, plan: &ReplayPlan, body: Rect, buf: &mut Buffer) {
    let max_area = popup_area(body, POPUP_WIDTH, u16::MAX);
    let (columns, rows) =
        (usize::from(max_area.width.saturating_sub(4)), usize::from(max_area.height.saturating_sub(2)));
    // A small dialog has one failure group in its preview, fewer targets, and no key hints: the footer shows them. The
    // number of items and the cost are always shown.
    let is_small = rows < MIN_ROWS_FOR_ALL;
    let mut lines = vec![scope_line(ctx, plan)];
    push_preview(ctx, plan, columns, if is_small { 1 } else { MAX_GROUPS }, &mut lines);
    if !is_small {
        lines.push(Line::default());
    }
    lines.push(Line::styled("Where to", ctx.style(StyleRole::Title)));
    let first_target_line = lines.len();
    let visible_targets =
        if is_small { rows.saturating_sub(first_target_line).clamp(1, MAX_TARGETS) } else { MAX_TARGETS };
    let first = first_visible_row(plan.target_index, visible_targets, plan.targets.len());
    for (at, target) in plan.targets.iter().enumerate().skip(first).take(visible_targets) {
        let mark = ctx.glyphs().radio_button(at == plan.target_index);
        let text = match target {
            None => "to the cascade, like any other item".to_owned(),
            Some(target) if target.key.is_none() => format!("only to {target}, with any key"),
            Some(target) => format!("only to {target}"),
        };
        let mut spans = vec![Span::raw(format!("  {mark} {}", one_line(&text)))];
        if let Some(condition) = target.as_ref().and_then(|target| unready_condition(ctx, target)) {
            spans.push(ctx.span(format!("  {}", ctx.condition_text(condition)), StyleRole::from(condition)));
        }
        lines.push(ctx.truncated_spans(spans, columns));
    }
    if !is_small {
        lines.push(Line::default());
        lines.push(answer_hints(ctx, KeyContext::ReplayDialog));
    }
    let area = popup_area(body, POPUP_WIDTH, lines.len() as u16 + 2);
    let corner = position_label(first, visible_targets, plan.targets.len());
    let inner = render_popup_frame(ctx, "Replay", corner, area, buf);
    let selected_line = first_target_line + (plan.target_index - first);
    render_choices(ctx, lines, 0, Some(selected_line), inner, buf);
}

/// The condition of a target if it isn't ready. The condition of a model is that of its best route.
fn unready_condition<'s>(ctx: RenderCtx<'s>, target: &RouteTarget) -> Option<&'s Condition> {
    let routes = ctx
        .snapshot
        .routes
        .iter()
        .filter(|route| route.model == target.model && target.key.as_ref().is_none_or(|key| *key == route.key));
    let best = routes.map(|route| &route.condition).min_by_key(|condition| match condition {
        Condition::Ready => 0,
        Condition::Limited { .. } => 1,
        Condition::CoolingDown { .. } | Condition::CircuitOpen { .. } => 2,
        Condition::Exhausted { .. } => 3,
        Condition::SwitchedOff { .. } | Condition::Disabled { .. } => 4,
    });
    best.filter(|condition| !matches!(condition, Condition::Ready))
}

fn scope_line(ctx: RenderCtx<'_>, plan: &ReplayPlan) -> Line<'static> {
    let mut spans = vec![Span::raw("Replay ")];
    for (at, scope) in plan.scopes.iter().enumerate() {
        if at > 0 {
            spans.push(Span::raw("  "));
        }
        let label = ctx.with_ascii_fallback(&one_line(&scope.label)).into_owned();
        if at == plan.scope_index {
            spans.push(ctx.span(format!("[{label}]"), StyleRole::Title));
        } else {
            spans.push(ctx.span(format!(" {label} "), StyleRole::Muted));
        }
    }
    spans.into()
}

fn push_preview(
    ctx: RenderCtx<'_>,
    plan: &ReplayPlan,
    columns: usize,
    max_groups: usize,
    lines: &mut Vec<Line<'static>>,
) {
    let mut push_line =
        |message: String, role: StyleRole| lines.push(Line::styled(ctx.truncated(&message, columns), ctx.style(role)));
    let (groups, count) = match plan.preview() {
        None => return push_line("looking up the items".to_owned(), StyleRole::Muted),
        Some(Err(message)) => {
            return push_line(format!("can't read the failed items: {}", one_line(message)), StyleRole::Bad);
        }
        Some(Ok((_, 0))) => return push_line("no failed item matches this".to_owned(), StyleRole::Warn),
        Some(Ok(found)) => found,
    };
    // If the preview is outdated, the count is not exact until the next answer of the database.
    let approximately = if plan.is_outdated(&ctx.snapshot.totals) { "about " } else { "" };
    push_line(
        format!(
            "{approximately}{} failed {} will be sent again, and billed again:",
            group_digits(count),
            plural(count, "item")
        ),
        StyleRole::Text,
    );
    for group in groups.iter().take(max_groups) {
        let message = if group.pattern.is_empty() { String::new() } else { format!("  {}", one_line(&group.pattern)) };
        push_line(
            format!("  {:>6}  {}{message}", group_digits(group.count), one_line(&labels::failure_group(group))),
            StyleRole::Muted,
        );
    }
    let listed: u64 = groups.iter().take(max_groups).map(|group| group.count).sum();
    if count > listed {
        push_line(format!("  {:>6}  for other reasons", group_digits(count - listed)), StyleRole::Muted);
    }
    let cost = match plan.estimated_cost_usd(count, ctx.snapshot) {
        Some(usd) if usd > 0.0 => format!("cost: about ${usd:.4}, from answers there so far"),
        Some(_) => "cost: none, since answers there have been free so far".to_owned(),
        None => "cost: unknown, since there is no answer yet".to_owned(),
    };
    push_line(cost, StyleRole::Text);
}

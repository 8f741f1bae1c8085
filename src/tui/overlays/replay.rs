//! What a replay would send, where, and what it may cost, before anything is sent.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
    widgets::Widget as _,
};

use super::{dialogs::answers, open, popup};
use crate::domain::{RouteTarget, snapshot::Condition};
use crate::tui::{
    figures::grouped,
    keymap::Context,
    scene::Scene,
    state::ReplayPlan,
    text::one_line,
    theme::Role,
    update::{estimate, reason},
    widgets::{
        frame::{first_visible, position},
        table::highlight,
    },
};

const COLUMNS: u16 = 76;
/// Reasons named in the preview.
const REASONS: usize = 5;
/// Targets in view.
const TARGETS: usize = 5;
/// Lines from which on there is room for all of it.
const ROOMY: usize = 17;

pub fn render(scene: Scene<'_>, plan: &ReplayPlan, body: Rect, buf: &mut Buffer) {
    let most = popup(body, COLUMNS, u16::MAX);
    let (columns, rows) = (usize::from(most.width.saturating_sub(4)), usize::from(most.height.saturating_sub(2)));
    // Where there is little room, what is sent and what it costs stay whole; the footer has the answers.
    let small = rows < ROOMY;
    let mut lines = vec![which(scene, plan)];
    preview(scene, plan, columns, if small { 1 } else { REASONS }, &mut lines);
    if !small {
        lines.push(Line::default());
    }
    lines.push(Line::styled("Where to", scene.style(Role::Title)));
    let targets_from = lines.len();
    let room = if small { rows.saturating_sub(targets_from).clamp(1, TARGETS) } else { TARGETS };
    let first = first_visible(plan.target, room, plan.targets.len());
    for (at, target) in plan.targets.iter().enumerate().skip(first).take(room) {
        let mark = scene.glyphs().chosen(at == plan.target);
        let words = match target {
            None => "the cascade, like any other item".to_owned(),
            Some(target) if target.key.is_none() => format!("{target} alone, on any key"),
            Some(target) => format!("{target} alone"),
        };
        let mut spans = vec![Span::raw(format!("  {mark} {}", one_line(&words)))];
        if let Some(condition) = target.as_ref().and_then(|target| standing(scene, target)) {
            spans.push(scene.span(format!("  {}", scene.condition(condition)), Role::from(condition)));
        }
        lines.push(scene.fit_spans(spans, columns));
    }
    if !small {
        lines.push(Line::default());
        lines.push(answers(scene, Context::Replay));
    }
    let area = popup(body, COLUMNS, lines.len() as u16 + 2);
    let corner = position(first, room, plan.targets.len());
    let inner = open(scene, "Replay", corner, area, buf);
    let marked = targets_from + (plan.target - first);
    for (row, line) in lines.into_iter().enumerate().take(usize::from(inner.height)) {
        let place = Rect { y: inner.y + row as u16, height: 1, ..inner };
        line.render(place, buf);
        if row == marked {
            highlight(place, scene.style(Role::Selection), scene.glyphs(), buf);
        }
    }
}

/// How a target stands, where it isn't ready: of a model its best route.
fn standing<'s>(scene: Scene<'s>, target: &RouteTarget) -> Option<&'s Condition> {
    let routes = scene
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

fn which(scene: Scene<'_>, plan: &ReplayPlan) -> Line<'static> {
    let mut spans = vec![Span::raw("Replay ")];
    for (at, scope) in plan.scopes.iter().enumerate() {
        if at > 0 {
            spans.push(Span::raw("  "));
        }
        let label = scene.spelled(&one_line(&scope.label)).into_owned();
        if at == plan.scope {
            spans.push(scene.span(format!("[{label}]"), Role::Title));
        } else {
            spans.push(scene.span(format!(" {label} "), Role::Muted));
        }
    }
    spans.into()
}

fn preview(scene: Scene<'_>, plan: &ReplayPlan, columns: usize, reasons: usize, lines: &mut Vec<Line<'static>>) {
    let mut say = |words: String, role: Role| lines.push(Line::styled(scene.fit(&words, columns), scene.style(role)));
    let (groups, count) = match plan.preview() {
        None => return say("looking what that is".to_owned(), Role::Muted),
        Some(Err(words)) => return say(format!("can't read the failed items: {}", one_line(words)), Role::Bad),
        Some(Ok((_, 0))) => return say("no failed item is meant by this".to_owned(), Role::Warn),
        Some(Ok(found)) => found,
    };
    let items = if count == 1 { "item is" } else { "items are" };
    // The next answer has the new count.
    let about = if plan.is_behind(&scene.snapshot.totals) { "about " } else { "" };
    say(format!("{about}{} failed {items} sent again, and cost again:", grouped(count)), Role::Text);
    for group in groups.iter().take(reasons) {
        let words = if group.pattern.is_empty() { String::new() } else { format!("  {}", one_line(&group.pattern)) };
        say(format!("  {:>6}  {}{words}", grouped(group.count), one_line(&reason(group))), Role::Muted);
    }
    let named: u64 = groups.iter().take(reasons).map(|group| group.count).sum();
    if count > named {
        say(format!("  {:>6}  of other reasons", grouped(count - named)), Role::Muted);
    }
    let cost = match estimate(plan, count, scene.snapshot) {
        Some(usd) if usd > 0.0 => format!("About ${usd:.4}, by what an answer has cost there so far."),
        Some(_) => "At no price, as answers there have been so far.".to_owned(),
        None => "What it costs there is not known yet: nothing was answered.".to_owned(),
    };
    say(cost, Role::Text);
}

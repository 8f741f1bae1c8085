//! The header: name and policy of the run, progress and throughput, current activity. If there is a fourth row, also
//! what limits the run and which quota runs out first.

use ratatui::{buffer::Buffer, layout::Rect, text::Span};

use crate::{
    domain::{
        Money, TRUNCATED_HINT, are_mostly_truncated, plural,
        snapshot::{CurrentRoute, RunState, Totals},
        truncated_suffix,
    },
    tui::{
        action::Action,
        forecast_text,
        format::{NO_VALUE, compact, dollars, format_countdown, format_elapsed, group_digits, percent, rate},
        labels,
        pane::Pane,
        render_ctx::RenderCtx,
        text::one_line,
        theme::StyleRole,
        widgets::{
            bar,
            status_line::{self, Segment},
        },
    },
};

const SEGMENT_GAP: u16 = 2;
/// Narrower headers have gaps of one column in the progress row, to fit one more figure.
const MIN_COLUMNS_FOR_GAPS: u16 = 70;
const MIN_BAR_COLUMNS: usize = 8;
/// Narrower screens use the space for the bar instead of the range of the finish time and some nouns.
const MIN_COLUMNS_FOR_RANGE: u16 = 100;

pub fn render(ctx: RenderCtx<'_>, area: Rect, buf: &mut Buffer) {
    let row = |at: u16| Rect { x: area.x + 1, y: area.y + at, width: area.width.saturating_sub(2), height: 1 };
    status_line::render(identity_segments(ctx), SEGMENT_GAP, row(0), buf);
    render_progress(ctx, row(1), buf);
    status_line::render(activity_segments(ctx, usize::from(area.width)), SEGMENT_GAP, row(2), buf);
    if area.height > 3 {
        status_line::render(bottleneck_segments(ctx, usize::from(area.width)), SEGMENT_GAP, row(3), buf);
    }
}

/// Glyph and name of the run's state. A requested state that isn't confirmed yet is shown with an ellipsis.
pub fn run_state(ctx: RenderCtx<'_>) -> Span<'static> {
    let snapshot = ctx.snapshot;
    if let Some(word) = ctx.state.pending_commands.run_state_label(snapshot) {
        let ellipsis = if ctx.glyphs().ascii_only { "..." } else { "…" };
        return ctx.span(
            format!("{} {}{ellipsis}", ctx.glyphs().run_state(&snapshot.state), word.to_uppercase()),
            StyleRole::Operator,
        );
    }
    if ctx.state.engine_gone && !snapshot.state.is_over() {
        return ctx.span("! ENGINE GONE", StyleRole::Bad);
    }
    let word = snapshot.state.label().to_uppercase();
    ctx.span(format!("{} {word}", ctx.glyphs().run_state(&snapshot.state)), StyleRole::from(&snapshot.state))
}

pub const fn failed_role(failed: u64) -> StyleRole {
    if failed > 0 { StyleRole::Bad } else { StyleRole::Muted }
}

fn identity_segments(ctx: RenderCtx<'_>) -> Vec<Segment<'static>> {
    let (snapshot, glyphs) = (ctx.snapshot, ctx.glyphs());
    let policy = format!(
        "{} {} {}",
        labels::spaced(snapshot.strategy.name()),
        glyphs.separator,
        labels::spaced(snapshot.cascade_order.name())
    );
    let limits = format!(
        "{} when limited {} {} when exhausted",
        snapshot.when_limited.name(),
        glyphs.separator,
        snapshot.on_exhausted.name()
    );
    let in_flight = format!("{}/{}", snapshot.totals.in_flight, snapshot.max_in_flight);
    let speed = if ctx.is_real_time() {
        String::new()
    } else {
        format!("simulated time {}{}", glyphs.times, snapshot.clock_speed)
    };
    let read_only = if ctx.state.read_only { "read-only" } else { "" };
    vec![
        Segment::left(5, [ctx.span("cascadeck", StyleRole::Muted)]),
        Segment::left(0, [ctx.span(ctx.sanitized(&snapshot.run, 32), StyleRole::Title)]),
        Segment::left(0, [run_state(ctx)]),
        Segment::left(3, [ctx.span(policy, StyleRole::Text)]),
        Segment::left(6, [ctx.span(limits, StyleRole::Muted)]),
        Segment::left(1, [ctx.span(read_only, StyleRole::Operator)]),
        Segment::right(2, [ctx.span(speed, StyleRole::Operator)]),
        Segment::right(1, [ctx.span("in flight ", StyleRole::Muted), ctx.span(in_flight, StyleRole::Text)]),
        Segment::right(0, [ctx.span(format_elapsed(ctx.state.run_elapsed(snapshot)), StyleRole::Text)]),
    ]
}

fn render_progress(ctx: RenderCtx<'_>, area: Rect, buf: &mut Buffer) {
    let (snapshot, totals) = (ctx.snapshot, ctx.snapshot.totals);
    let ended = totals.done + totals.failed;
    let growing_mark = if totals.ingesting { "+" } else { "" };
    let finish = forecast_text::finish_text(ctx).unwrap_or_else(|| format!("ETA {NO_VALUE}"));
    let finish = if snapshot.state.is_over() { String::new() } else { finish };
    let range = forecast_text::finish_range_text(ctx)
        .filter(|_| snapshot.throughput.finish_at.is_some() && area.width >= MIN_COLUMNS_FOR_RANGE);
    let range = range.unwrap_or_default();
    let failed_noun =
        if area.width >= MIN_COLUMNS_FOR_RANGE { format!(" {}", plural(totals.failed, "item")) } else { String::new() };
    let failed_text = format!("{} failed{failed_noun}", group_digits(totals.failed));
    let text = |text: String| [ctx.span(text, StyleRole::Text)];
    let mut segments = vec![
        Segment::left(0, text(format!("{} / {}{growing_mark}", group_digits(ended), group_digits(totals.total)))),
        Segment::left(0, [ctx.span(format!("{}%", percent(ended, totals.total)), StyleRole::Title)]),
        Segment::left(1, [ctx.span(failed_text, failed_role(totals.failed))]),
        Segment::left(3, text(rate_text(snapshot))),
        Segment::left(1, text(finish)),
        Segment::left(4, [ctx.span(range, StyleRole::Muted)]),
        Segment::left(2, text(cost_text(ctx))),
    ];
    let columns = usize::from(area.width);
    let gap = if area.width < MIN_COLUMNS_FOR_GAPS { 1 } else { SEGMENT_GAP };
    // The bar takes the columns that are left beside the figures, if they are enough for a bar.
    segments = status_line::fit_segments(segments, columns, usize::from(gap));
    let left = columns.saturating_sub(status_line::total_width(&segments, usize::from(gap)) + usize::from(gap));
    if left >= MIN_BAR_COLUMNS {
        let share = if totals.total == 0 { 0.0 } else { ended as f64 / totals.total as f64 };
        let bar = bar::progress_bar(share, left, ctx.glyphs(), ctx.style(StyleRole::Bar), ctx.style(StyleRole::Track));
        segments.insert(0, Segment::left(0, bar));
    }
    status_line::render(segments, gap, area, buf);
}

/// The throughput over the last minute; for a run that is over, the average over its whole duration.
fn rate_text(snapshot: &crate::domain::Snapshot) -> String {
    let seconds = snapshot.elapsed.as_secs_f64();
    if !snapshot.state.is_over() || seconds <= 0.0 {
        return rate(snapshot.throughput.items_per_second);
    }
    format!("{} on average", rate((snapshot.totals.done + snapshot.totals.failed) as f64 / seconds))
}

fn cost_text(ctx: RenderCtx<'_>) -> String {
    let spend = ctx.snapshot.spend;
    match spend.budget {
        Some(budget) => format!("{} of {budget}", spend.cost),
        None => spend.cost.to_string(),
    }
}

fn activity_segments(ctx: RenderCtx<'_>, columns: usize) -> Vec<Segment<'static>> {
    let (totals, spend) = (ctx.snapshot.totals, ctx.snapshot.spend);
    let (activity, role) = current_activity(ctx, columns.saturating_sub(2));
    let refused = format!("429s: {} of {}", compact(totals.rate_limited), compact(totals.attempts));
    let tokens = format!("{} tokens", compact(spend.usage.total()));
    let money = |before: &str, amount: Money, after: &str| {
        if amount == Money::ZERO { String::new() } else { format!("{before}${} {after}", dollars(amount)) }
    };
    let truncated =
        if totals.truncated > 0 { format!("{} truncated", compact(totals.truncated)) } else { String::new() };
    vec![
        Segment::left(0, [ctx.span(ctx.truncated(&activity, columns.saturating_sub(2)), role)]),
        Segment::right(3, [ctx.span(truncated, StyleRole::Warn)]),
        Segment::right(2, [ctx.span(money("up to ", spend.at_risk, "possibly billed"), StyleRole::Warn)]),
        Segment::right(4, [ctx.span(money("", spend.reserved, "held for calls in flight"), StyleRole::Muted)]),
        Segment::right(5, [ctx.span(tokens, StyleRole::Muted)]),
        Segment::right(1, [ctx.span(refused, StyleRole::Muted)]),
    ]
}

/// The current activity of the run, or what it waits for and until when.
fn current_activity(ctx: RenderCtx<'_>, columns: usize) -> (String, StyleRole) {
    let (state, snapshot, totals) = (ctx.state, ctx.snapshot, ctx.snapshot.totals);
    if state.engine_gone && !snapshot.state.is_over() {
        return ("the engine has stopped; these are the last figures".to_owned(), StyleRole::Bad);
    }
    if let Some(text) = forecast_text::outages_text(ctx, columns)
        && matches!(snapshot.state, RunState::Running | RunState::Waiting { .. })
    {
        return (text, StyleRole::Bad);
    }
    let role = StyleRole::from(&snapshot.state);
    let text = match &snapshot.state {
        RunState::Running => match (&snapshot.silence, &snapshot.current_route) {
            (Some(silence), _) => return (ctx.with_ascii_fallback(silence).into_owned(), StyleRole::Warn),
            (None, Some(route)) => return (self::current_route_text(ctx, route), StyleRole::Text),
            (None, None) => return ("nothing sent yet".to_owned(), StyleRole::Muted),
        },
        RunState::Waiting { reason, until } => {
            // The time comes before the reason, so that only the reason is cut. The inspect overlay of the run (`W`)
            // has all of it.
            let until = until.map_or_else(String::new, |until| {
                let when = ctx.local_time(until);
                format!(" until {when} ({})", format_countdown(ctx.time_until(until)))
            });
            let retry = snapshot.current_route.as_ref().map_or_else(String::new, |route| {
                // The route is part of the reason.
                if route.backoff.is_some() {
                    format!(" {} {}", ctx.glyphs().separator, retry_text(ctx, route))
                } else {
                    String::new()
                }
            });
            format!("waiting{until}: {}", ctx.with_ascii_fallback(&one_line(reason))) + &retry
        }
        RunState::Pausing => format!("finishing {} in flight, then paused{}", totals.in_flight, resume_hint(ctx)),
        RunState::Paused => format!("paused by you{}", resume_hint(ctx)),
        RunState::NeedsOperator { reason } => format!("halted: {}", ctx.with_ascii_fallback(&one_line(reason))),
        RunState::Draining => format!("finishing {} in flight, then stopping", totals.in_flight),
        RunState::Stopped { reason } => {
            format!("stopped: {}; the same command resumes it", ctx.with_ascii_fallback(&one_line(reason)))
        }
        RunState::Finished => {
            let leave = ctx.state.keymap.key_label(Action::Quit);
            match totals.total {
                1 => format!("the one item has ended; {leave} quits"),
                total => format!("all {} items have ended; {leave} quits", group_digits(total)),
            }
        }
    };
    (text, role)
}

fn resume_hint(ctx: RenderCtx<'_>) -> String {
    if ctx.state.read_only {
        return String::new();
    }
    format!("; {} resumes", ctx.state.keymap.key_label(Action::TogglePause))
}

/// The bottlenecks of the run, and the quota that runs out first.
fn bottleneck_segments(ctx: RenderCtx<'_>, columns: usize) -> Vec<Segment<'static>> {
    let snapshot = ctx.snapshot;
    if snapshot.state.is_over() {
        return after_run_segments(ctx);
    }
    let (bottlenecks, role) = forecast_text::main_bottlenecks(ctx);
    let limits = [ctx.span("limited by (last 5 min): ", StyleRole::Muted), ctx.span(bottlenecks, role)];
    let key = ctx.state.keymap.key_label(Action::InspectRun);
    let forecast = snapshot.forecast.as_ref();
    let runs_out = forecast.and_then(|forecast| forecast_text::first_exhausted_text(ctx, forecast)).unwrap_or_default();
    let before_reset =
        forecast.and_then(|forecast| forecast_text::before_reset_text(ctx, forecast)).unwrap_or_default();
    let limits = limits.into_iter().chain([
        ctx.span("  (", StyleRole::Muted),
        ctx.span(key, StyleRole::Key),
        ctx.span(" why)", StyleRole::Muted),
    ]);
    let limits = ctx.truncated_spans(limits, columns.saturating_sub(2));
    vec![
        Segment::left(0, limits.spans),
        Segment::right(1, [ctx.span(runs_out, StyleRole::Exhausted)]),
        Segment::right(2, [ctx.span(before_reset, StyleRole::Muted)]),
    ]
}

/// After the run: the number of failed items, with the keys that show and replay them; or that every item was answered.
fn after_run_segments(ctx: RenderCtx<'_>) -> Vec<Segment<'static>> {
    let keymap = &ctx.state.keymap;
    let Totals { done, truncated, .. } = ctx.snapshot.totals;
    let mut segments = Vec::new();
    if ctx.snapshot.totals.failed > 0 {
        let why = keymap.key_label(Action::Focus(Pane::Failures));
        let again = keymap.key_label(Action::ReplayAll);
        let failed = ctx.snapshot.totals.failed;
        segments.push(Segment::left(0, [ctx.span(format!("{} failed: ", group_digits(failed)), StyleRole::Bad)]));
        segments.push(Segment::left(0, [ctx.span(why, StyleRole::Key), ctx.span(" shows why", StyleRole::Muted)]));
        if !ctx.state.read_only {
            segments
                .push(Segment::left(0, [ctx.span(again, StyleRole::Key), ctx.span(" replays them", StyleRole::Muted)]));
        }
    } else if ctx.snapshot.totals.done == ctx.snapshot.totals.total {
        let text = format!("every item was answered{}", truncated_suffix(truncated));
        segments.push(Segment::left(0, [ctx.span(text, StyleRole::Ok)]));
    }
    if are_mostly_truncated(done, truncated) {
        segments.push(Segment::left(1, [ctx.span(TRUNCATED_HINT, StyleRole::Warn)]));
    }
    segments
}

fn current_route_text(ctx: RenderCtx<'_>, route: &CurrentRoute) -> String {
    let (dot, arrow) = (ctx.glyphs().separator, ctx.glyphs().arrow);
    let retry = if route.retry_number > 0 { format!(" {dot} {}", retry_text(ctx, route)) } else { String::new() };
    format!(
        "{arrow} {}@{}  key {}/{} {dot} model {}/{}{retry}",
        one_line(&route.model),
        one_line(&route.key),
        route.key_number,
        route.key_count,
        route.model_number,
        route.model_count
    )
}

/// `retry 2/5`, and while the route backs off, how long and why: `retry 2/5 in 0:10: 429`.
fn retry_text(ctx: RenderCtx<'_>, route: &CurrentRoute) -> String {
    let wait = route.backoff.map_or_else(String::new, |wait| {
        format!(" in {}: {}", format_countdown(ctx.time_until(wait.until)), wait.reason())
    });
    format!("retry {}/{}{wait}", route.retry_number, route.max_retries)
}

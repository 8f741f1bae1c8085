//! Who and how, how far and how fast, what it does or waits for right now; and, where there is room for a fourth
//! line, why it isn't faster and what runs out first.

use ratatui::{buffer::Buffer, layout::Rect, text::Span};

use crate::{
    domain::{
        Money,
        snapshot::{CurrentRoute, RunState},
    },
    tui::{
        action::Action,
        figures::{NONE, compact, countdown, dollars, grouped, moment, pace, percent, stopwatch},
        outlook,
        pane::Pane,
        scene::Scene,
        text::one_line,
        theme::Role,
        widgets::{
            bar,
            ribbon::{self, Segment},
        },
        words,
    },
};

const GAP: u16 = 2;
/// Narrower screens rather have one figure more.
const ROOM_FOR_GAPS: u16 = 70;
const SHORTEST_BAR: usize = 8;
/// Narrower screens rather have the bar.
const ROOM_FOR_RANGES: u16 = 100;

pub fn render(scene: Scene<'_>, area: Rect, buf: &mut Buffer) {
    let row = |at: u16| Rect { x: area.x + 1, y: area.y + at, width: area.width.saturating_sub(2), height: 1 };
    ribbon::render(identity(scene), GAP, row(0), buf);
    progress(scene, row(1), buf);
    ribbon::render(doing(scene, usize::from(area.width)), GAP, row(2), buf);
    if area.height > 3 {
        ribbon::render(ahead(scene, usize::from(area.width)), GAP, row(3), buf);
    }
}

/// Glyph and word of the run's state; what was asked for but isn't so yet, with an ellipsis.
pub fn state(scene: Scene<'_>) -> Span<'static> {
    let snapshot = scene.snapshot;
    if let Some(word) = scene.state.pending.run_word(snapshot) {
        let ellipsis = if scene.glyphs().ascii { "..." } else { "…" };
        return scene
            .span(format!("{} {}{ellipsis}", scene.glyphs().run(&snapshot.state), word.to_uppercase()), Role::You);
    }
    if scene.state.gone && !snapshot.state.is_over() {
        return scene.span("! ENGINE GONE", Role::Bad);
    }
    let word = snapshot.state.name().to_uppercase();
    scene.span(format!("{} {word}", scene.glyphs().run(&snapshot.state)), Role::from(&snapshot.state))
}

pub const fn failed_role(failed: u64) -> Role {
    if failed > 0 { Role::Bad } else { Role::Muted }
}

fn identity(scene: Scene<'_>) -> Vec<Segment<'static>> {
    let (snapshot, glyphs) = (scene.snapshot, scene.glyphs());
    let how = format!("{} {} {}", words::strategy(snapshot.strategy), glyphs.dot, words::order(snapshot.cascade_order));
    let limits = format!(
        "{} when limited {} {} when exhausted",
        words::when_limited(snapshot.when_limited),
        glyphs.dot,
        words::on_exhausted(snapshot.on_exhausted)
    );
    let flying = format!("{}/{}", snapshot.totals.in_flight, snapshot.max_in_flight);
    let speed = if (snapshot.clock_speed - 1.0).abs() < f64::EPSILON {
        String::new()
    } else {
        format!("clock {}{}", glyphs.times, snapshot.clock_speed)
    };
    let read_only = if scene.state.read_only { "read-only" } else { "" };
    vec![
        Segment::left(5, [scene.span("cascadeck", Role::Muted)]),
        Segment::left(0, [scene.span(scene.outside(&snapshot.run, 32), Role::Title)]),
        Segment::left(0, [state(scene)]),
        Segment::left(3, [scene.span(how, Role::Text)]),
        Segment::left(6, [scene.span(limits, Role::Muted)]),
        Segment::left(1, [scene.span(read_only, Role::You)]),
        Segment::right(2, [scene.span(speed, Role::You)]),
        Segment::right(1, [scene.span("in flight ", Role::Muted), scene.span(flying, Role::Text)]),
        Segment::right(0, [scene.span(stopwatch(scene.state.elapsed(snapshot)), Role::Text)]),
    ]
}

fn progress(scene: Scene<'_>, area: Rect, buf: &mut Buffer) {
    let (snapshot, totals) = (scene.snapshot, scene.snapshot.totals);
    let ended = totals.done + totals.failed;
    let more = if totals.ingesting { "+" } else { "" };
    let finish = outlook::finish(scene).unwrap_or_else(|| format!("ETA {NONE}"));
    let finish = if snapshot.state.is_over() { String::new() } else { finish };
    let range =
        outlook::range(scene).filter(|_| snapshot.throughput.finish_at.is_some() && area.width >= ROOM_FOR_RANGES);
    let range = range.unwrap_or_default();
    let text = |text: String| [scene.span(text, Role::Text)];
    let mut figures = vec![
        Segment::left(0, text(format!("{} / {}{more}", grouped(ended), grouped(totals.total)))),
        Segment::left(0, [scene.span(format!("{}%", percent(ended, totals.total)), Role::Title)]),
        Segment::left(1, [scene.span(format!("{} failed", grouped(totals.failed)), failed_role(totals.failed))]),
        Segment::left(3, text(speed(snapshot))),
        Segment::left(1, text(finish)),
        Segment::left(4, [scene.span(range, Role::Muted)]),
        Segment::left(2, text(cost(scene))),
    ];
    let columns = usize::from(area.width);
    let gap = if area.width < ROOM_FOR_GAPS { 1 } else { GAP };
    // The bar takes what the figures leave; where that isn't worth drawing, the figures take it all.
    figures = ribbon::pack(figures, columns, usize::from(gap));
    let left = columns.saturating_sub(ribbon::taken(&figures, usize::from(gap)) + usize::from(gap));
    if left >= SHORTEST_BAR {
        let share = if totals.total == 0 { 0.0 } else { ended as f64 / totals.total as f64 };
        let bar = bar::progress(share, left, scene.glyphs(), scene.style(Role::Bar), scene.style(Role::Track));
        figures.insert(0, Segment::left(0, bar));
    }
    ribbon::render(figures, gap, area, buf);
}

/// Over the last minute; of a run that is over, over all of it.
fn speed(snapshot: &crate::domain::Snapshot) -> String {
    let seconds = snapshot.elapsed.as_secs_f64();
    if !snapshot.state.is_over() || seconds <= 0.0 {
        return pace(snapshot.throughput.items_per_second);
    }
    format!("{} on average", pace((snapshot.totals.done + snapshot.totals.failed) as f64 / seconds))
}

fn cost(scene: Scene<'_>) -> String {
    let spend = scene.snapshot.spend;
    match spend.budget {
        Some(budget) => format!("{} of {budget}", spend.cost),
        None => spend.cost.to_string(),
    }
}

fn doing(scene: Scene<'_>, columns: usize) -> Vec<Segment<'static>> {
    let (totals, spend) = (scene.snapshot.totals, scene.snapshot.spend);
    let (words, role) = now(scene);
    let refused = format!("{} of {} refused", compact(totals.rate_limited), compact(totals.attempts));
    let tokens = format!("{} tokens", compact(spend.usage.total()));
    let money = |name: &str, amount: Money| {
        if amount == Money::ZERO { String::new() } else { format!("${} {name}", dollars(amount)) }
    };
    let truncated = if totals.truncated > 0 { format!("{} cut off", compact(totals.truncated)) } else { String::new() };
    vec![
        Segment::left(0, [scene.span(scene.fit(&words, columns.saturating_sub(2)), role)]),
        Segment::right(3, [scene.span(truncated, Role::Warn)]),
        Segment::right(2, [scene.span(money("at risk", spend.at_risk), Role::Warn)]),
        Segment::right(4, [scene.span(money("reserved", spend.reserved), Role::Muted)]),
        Segment::right(5, [scene.span(tokens, Role::Muted)]),
        Segment::right(1, [scene.span(refused, Role::Muted)]),
    ]
}

/// What it does now, or what it waits for and until when.
fn now(scene: Scene<'_>) -> (String, Role) {
    let (state, snapshot, totals) = (scene.state, scene.snapshot, scene.snapshot.totals);
    if state.gone && !snapshot.state.is_over() {
        return ("the engine publishes nothing any more; these are its last figures".to_owned(), Role::Bad);
    }
    let role = Role::from(&snapshot.state);
    let words = match &snapshot.state {
        RunState::Running => match &snapshot.current_route {
            Some(place) => return (self::place(scene, place), Role::Text),
            None => return ("nothing sent yet".to_owned(), Role::Muted),
        },
        RunState::Waiting { reason, until } => {
            // Where the line is cut, the reason is: W tells that whole.
            let until = until.map_or_else(String::new, |until| {
                let when = moment(until, state.now, &state.zone);
                format!(" until {when} ({})", countdown(scene.left(until)))
            });
            format!("waits{until}: {}", scene.spelled(&one_line(reason)))
        }
        RunState::Pausing => format!("finishing {} in flight, then paused{}", totals.in_flight, goes_on(scene)),
        RunState::Paused => format!("paused by you{}", goes_on(scene)),
        RunState::NeedsOperator { reason } => format!("holds: {}", scene.spelled(&one_line(reason))),
        RunState::Draining => format!("finishing {} in flight, then it ends", totals.in_flight),
        RunState::Stopped { reason } => {
            format!("stopped: {}; the same command goes on from here", scene.spelled(&one_line(reason)))
        }
        RunState::Finished => {
            let leave = scene.state.keymap.key_for(Action::Quit);
            match totals.total {
                1 => format!("the one item has ended; {leave} leaves"),
                total => format!("all {} items have ended; {leave} leaves", grouped(total)),
            }
        }
    };
    (words, role)
}

fn goes_on(scene: Scene<'_>) -> String {
    if scene.state.read_only {
        return String::new();
    }
    format!("; {} goes on", scene.state.keymap.key_for(Action::Pause))
}

/// Why it isn't faster, and what runs out first.
fn ahead(scene: Scene<'_>, columns: usize) -> Vec<Segment<'static>> {
    let snapshot = scene.snapshot;
    if snapshot.state.is_over() {
        return over(scene);
    }
    let (held, role) = outlook::held_by(scene);
    let held = [scene.span("held by ", Role::Muted), scene.span(held, role)];
    let key = scene.state.keymap.key_for(Action::WhyRun);
    let forecast = snapshot.forecast.as_ref();
    let runs_out = forecast.and_then(|forecast| outlook::runs_out(scene, forecast)).unwrap_or_default();
    let fits = forecast.and_then(|forecast| outlook::before_reset(scene, forecast)).unwrap_or_default();
    let held = held.into_iter().chain([
        scene.span("  (", Role::Muted),
        scene.span(key, Role::Key),
        scene.span(" why)", Role::Muted),
    ]);
    let held = scene.fit_spans(held, columns.saturating_sub(2));
    vec![
        Segment::left(0, held.spans),
        Segment::right(1, [scene.span(runs_out, Role::Exhausted)]),
        Segment::right(2, [scene.span(fits, Role::Muted)]),
    ]
}

/// What is left to do when nothing is left to run.
fn over(scene: Scene<'_>) -> Vec<Segment<'static>> {
    let keymap = &scene.state.keymap;
    let mut segments = Vec::new();
    if scene.snapshot.totals.failed > 0 {
        let why = keymap.key_for(Action::Focus(Pane::Failures));
        let again = keymap.key_for(Action::ReplayAll);
        let failed = scene.snapshot.totals.failed;
        segments.push(Segment::left(0, [scene.span(format!("{} failed: ", grouped(failed)), Role::Bad)]));
        segments.push(Segment::left(0, [scene.span(why, Role::Key), scene.span(" shows why", Role::Muted)]));
        if !scene.state.read_only {
            segments.push(Segment::left(0, [scene.span(again, Role::Key), scene.span(" replays them", Role::Muted)]));
        }
    } else if scene.snapshot.totals.done == scene.snapshot.totals.total {
        segments.push(Segment::left(0, [scene.span("every item was answered", Role::Ok)]));
    }
    segments
}

fn place(scene: Scene<'_>, place: &CurrentRoute) -> String {
    let (dot, arrow) = (scene.glyphs().dot, scene.glyphs().arrow);
    let retry = if place.retry_number > 0 {
        format!(" {dot} retry {}/{}", place.retry_number, place.max_retries)
    } else {
        String::new()
    };
    format!(
        "{arrow} {}@{}  key {}/{} {dot} model {}/{}{retry}",
        one_line(&place.model),
        one_line(&place.key),
        place.key_number,
        place.key_count,
        place.model_number,
        place.model_count
    )
}

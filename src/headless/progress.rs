//! A snapshot as one line, and an event as one line.

use jiff::tz::TimeZone;

use super::words::{ahead, grouped, time_of_day};
use crate::domain::{
    Event, EventKind, EventLevel, Money, Outcome, Snapshot,
    bottleneck::{Bottleneck, BottleneckShare},
    sanitize,
    snapshot::{CurrentRoute, RunState, Spend, Totals},
};

/// Characters of an event's sentence in plain progress; with the time and the level before it a line has 160.
const WIDEST: usize = 143;

/// Where the run stands: `14:08:51  64% of 5,000: 3,214 done, 7 failed  1.2/s  ETA 14:32 (in 23:10)  10 in flight
/// $0.84  key 1/3 alice, model 2/4 gemini-3.5-flash-lite, retry 2/5`, and what it waits for where it does.
pub fn progress_line(snapshot: &Snapshot, zone: &TimeZone) -> String {
    let mut parts = vec![time_of_day(snapshot.at, zone), counts(&snapshot.totals)];
    let moving = !snapshot.state.is_over();
    if moving && snapshot.throughput.items_per_second > 0.0 {
        parts.push(rate(snapshot.throughput.items_per_second));
    }
    if moving && let Some(finish) = snapshot.throughput.finish_at {
        parts.push(format!("ETA {}", ahead(finish, snapshot.at, zone)));
    } else if moving && let Some(stop) = snapshot.forecast.as_ref().and_then(|forecast| forecast.stop) {
        parts.push(format!("stops {} with {} left", ahead(stop.at, snapshot.at, zone), grouped(stop.items_left)));
    }
    if moving {
        parts.push(format!("{} in flight", grouped(snapshot.totals.in_flight)));
    }
    parts.push(money(&snapshot.spend));
    if moving && let Some(place) = &snapshot.current_route {
        parts.push(place_words(place));
    }
    if let Some(state) = state_words(snapshot, zone) {
        parts.push(state);
    } else if moving && let Some(held) = held_words(&snapshot.bottlenecks) {
        parts.push(held);
    }
    sanitize(&parts.join("  ")).into_owned()
}

/// The progress line of `newest`, where the last one told, of `told`, says something else of the run.
pub fn correction(told: &Snapshot, newest: &Snapshot, zone: &TimeZone) -> Option<String> {
    let at_once = Snapshot { at: told.at, ..newest.clone() };
    (progress_line(told, zone) != progress_line(&at_once, zone)).then(|| progress_line(newest, zone))
}

/// `14:08:40  ALARM  dave is off, invalid_key: API key not valid`
pub fn event_line(event: &Event, zone: &TimeZone) -> String {
    let level = match event.level() {
        EventLevel::Info => "info ",
        EventLevel::Operator => "you  ",
        EventLevel::Warn => "warn ",
        EventLevel::Alert => "ALARM",
    };
    let words = event.kind.to_string();
    let words = if is_our_own(&event.kind) { words } else { shortened(&words, WIDEST) };
    sanitize(&format!("{}  {level}  {words}", time_of_day(event.at, zone))).into_owned()
}

/// What the program says itself, of itself or of a connection that it can't make, is short, and what to do may stand at
/// its end.
const fn is_our_own(event: &EventKind) -> bool {
    match event {
        EventKind::Run { .. } => true,
        EventKind::Cooldown { outcome, .. } | EventKind::Fallback { outcome, .. } => {
            matches!(outcome, Outcome::ClientTrouble)
        }
        _ => false,
    }
}

/// Providers may say pages; the log has all of it.
fn shortened(words: &str, most: usize) -> String {
    match words.char_indices().nth(most) {
        None => words.to_owned(),
        Some(_) => words.chars().take(most - 1).chain(['…']).collect(),
    }
}

/// The percentage stands before both of what it counts, done and failed, and reads 100 only when nothing is left.
fn counts(totals: &Totals) -> String {
    let ended = u128::from(totals.done) + u128::from(totals.failed);
    let percent = (ended * 100).checked_div(u128::from(totals.total)).unwrap_or_default();
    let total = grouped(totals.total);
    let both = format!("{} done, {} failed", grouped(totals.done), grouped(totals.failed));
    match (totals.ingesting, totals.total) {
        (true, 0) => "reading the input".to_owned(),
        // Of how many is not known yet.
        (true, _) => format!("{both} of {total}+"),
        (false, _) => format!("{percent}% of {total}: {both}"),
    }
}

fn rate(per_second: f64) -> String {
    if per_second >= 0.1 { format!("{per_second:.1}/s") } else { format!("{:.1}/min", per_second * 60.0) }
}

fn money(spend: &Spend) -> String {
    let cap = spend.budget.map(|budget| format!(" of {budget}")).unwrap_or_default();
    let at_risk = if spend.at_risk > Money::ZERO { format!(" (+{} at risk)", spend.at_risk) } else { String::new() };
    format!("{}{cap}{at_risk}", spend.cost)
}

fn place_words(place: &CurrentRoute) -> String {
    let CurrentRoute { key, key_number, key_count, model, model_number, model_count, retry_number, max_retries } =
        place;
    format!(
        "key {key_number}/{key_count} {key}, model {model_number}/{model_count} {model}, retry {retry_number}/{max_retries}"
    )
}

/// The first answer to "why not faster?", where something in particular holds the run up.
fn held_words(holding: &[BottleneckShare]) -> Option<String> {
    let top = holding.first().filter(|top| top.share >= 0.1)?;
    let idle = matches!(top.bottleneck, Bottleneck::Sending | Bottleneck::NothingToSend | Bottleneck::NotSelected);
    (!idle).then(|| format!("held by {} {:.0}%", top.bottleneck.label(), top.share * 100.0))
}

/// `None` while work goes out as it should.
fn state_words(snapshot: &Snapshot, zone: &TimeZone) -> Option<String> {
    let words = match &snapshot.state {
        RunState::Running => return None,
        RunState::Waiting { reason, until: Some(until) } => {
            format!("waiting until {}: {reason}", ahead(*until, snapshot.at, zone))
        }
        RunState::Waiting { reason, until: None } => format!("waiting: {reason}"),
        RunState::NeedsOperator { reason } => format!("held: {reason}"),
        RunState::Stopped { reason } => format!("stopped: {reason}"),
        plain @ (RunState::Pausing | RunState::Paused | RunState::Draining | RunState::Finished) => {
            plain.name().to_owned()
        }
    };
    Some(words)
}

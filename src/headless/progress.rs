//! Formats a snapshot, or an event, as one line.

use jiff::tz::TimeZone;

use super::format::{format_future_time, format_time_left};
use crate::domain::{
    Event, EventKind, EventLevel, Money, Outcome, Snapshot, WallTime,
    bottleneck::{Bottleneck, BottleneckShare},
    group_digits, sanitize,
    snapshot::{CurrentRoute, ProviderOutage, RunState, Spend, Totals},
    truncated_suffix,
};

/// Maximum number of characters of an event that may contain a provider's message. Its line then has at most 160.
const MAX_EVENT_CHARS: usize = 143;

/// The progress line: `14:08:51  64% of 5,000: 3,214 done, 7 failed  1.2/s  ETA 14:32 (in 23:10)  10 in flight $0.84
/// key 1/3 alice, model 2/4 gemini-3.5-flash-lite, retry 2/5`, and what limits the run, if anything does.
pub fn progress_line(snapshot: &Snapshot, zone: &TimeZone) -> String {
    let mut parts = vec![snapshot.at.time_of_day(zone), format_counts(&snapshot.totals)];
    let is_active = !snapshot.state.is_over();
    if is_active && snapshot.throughput.items_per_second > 0.0 {
        parts.push(format_rate(snapshot.throughput.items_per_second));
    }
    let is_ahead = |at: &WallTime| *at > snapshot.at;
    let stop = snapshot.forecast.as_ref().and_then(|forecast| forecast.stop).filter(|stop| is_ahead(&stop.at));
    if is_active && let Some(finish) = snapshot.throughput.finish_at.filter(is_ahead) {
        parts.push(format!("ETA {}", format_future_time(finish, snapshot.at, zone)));
    } else if is_active && !snapshot.outages.is_empty() && snapshot.forecast.is_none() {
        parts.push("ETA unknown: provider down".to_owned());
    } else if is_active && let Some(stop) = stop {
        parts.push(format!(
            "stops {} with {} left",
            format_future_time(stop.at, snapshot.at, zone),
            group_digits(stop.items_left)
        ));
    }
    if is_active {
        parts.push(format!("{} in flight", group_digits(snapshot.totals.in_flight)));
    }
    parts.push(format_spend(&snapshot.spend));
    if is_active && let Some(route) = &snapshot.current_route {
        parts.push(describe_route(route, snapshot.at));
    }
    if let Some(state) = describe_state(snapshot, zone) {
        parts.push(state);
    } else if is_active && let Some(bottleneck) = describe_bottleneck(&snapshot.bottlenecks) {
        parts.push(bottleneck);
    }
    sanitize(&parts.join("  ")).into_owned()
}

/// The progress line of `newest`, if more than the time in it differs from the line that was printed last, which was
/// made from `printed`.
pub fn line_if_changed(printed: &Snapshot, newest: &Snapshot, zone: &TimeZone) -> Option<String> {
    let newest_at_last_time = Snapshot { at: printed.at, ..newest.clone() };
    (progress_line(printed, zone) != progress_line(&newest_at_last_time, zone)).then(|| progress_line(newest, zone))
}

/// `14:08:40  ALERT  dave disabled, invalid_key: API key not valid`
pub fn event_line(event: &Event, zone: &TimeZone) -> String {
    let level = match event.level() {
        EventLevel::Info => "info ",
        EventLevel::Operator => "you  ",
        EventLevel::Warn => "warn ",
        EventLevel::Alert => "ALERT",
    };
    let message = event.kind.to_string();
    let shown_message = if has_no_provider_text(&event.kind) { message } else { shorten(&message, MAX_EVENT_CHARS) };
    sanitize(&format!("{}  {level}  {shown_message}", event.at.time_of_day(zone))).into_owned()
}

/// True for messages by this program: about the run, about an item of which nothing was sent, or about a connection
/// that it can't make. They are short and may end with advice, so they are not shortened. Other messages may contain a
/// provider's text.
const fn has_no_provider_text(event: &EventKind) -> bool {
    match event {
        EventKind::Run { .. } => true,
        EventKind::Cooldown { outcome, .. } | EventKind::Fallback { outcome, .. } => {
            matches!(outcome, Outcome::ClientTrouble)
        }
        EventKind::ItemFailed { outcome, .. } => outcome.is_local(),
        _ => false,
    }
}

/// Shortens an event with a provider's message. The log has up to 500 characters of it.
fn shorten(text: &str, max_chars: usize) -> String {
    match text.char_indices().nth(max_chars) {
        None => text.to_owned(),
        Some(_) => text.chars().take(max_chars - 1).chain(['…']).collect(),
    }
}

/// Item counts. The percentage covers done and failed items, and is 100 only when nothing is left.
fn format_counts(totals: &Totals) -> String {
    let ended = u128::from(totals.done) + u128::from(totals.failed);
    let percent = (ended * 100).checked_div(u128::from(totals.total)).unwrap_or_default();
    let total = group_digits(totals.total);
    let (done, truncated) = (group_digits(totals.done), truncated_suffix(totals.truncated));
    let counts = format!("{done} done{truncated}, {} failed", group_digits(totals.failed));
    match (totals.ingesting, totals.total) {
        (true, 0) => "reading the input".to_owned(),
        // The total is not known yet.
        (true, _) => format!("{counts} of {total}+"),
        (false, _) => format!("{percent}% of {total}: {counts}"),
    }
}

fn format_rate(per_second: f64) -> String {
    if per_second >= 0.1 { format!("{per_second:.1}/s") } else { format!("{:.1}/min", per_second * 60.0) }
}

fn format_spend(spend: &Spend) -> String {
    let cap = spend.budget.map(|budget| format!(" of {budget}")).unwrap_or_default();
    let at_risk = if spend.at_risk > Money::ZERO {
        format!(" (+ up to {} possibly billed)", spend.at_risk)
    } else {
        String::new()
    };
    format!("{}{cap}{at_risk}", spend.cost)
}

fn describe_route(route: &CurrentRoute, now: WallTime) -> String {
    let CurrentRoute { key, key_number, key_count, model, model_number, model_count, .. } = route;
    let CurrentRoute { retry_number, max_retries, backoff, .. } = route;
    let wait = backoff
        .map_or_else(String::new, |wait| format!(" in {}: {}", format_time_left(wait.until, now), wait.reason()));
    format!(
        "key {key_number}/{key_count} {key}, model {model_number}/{model_count} {model}, \
         retry {retry_number}/{max_retries}{wait}"
    )
}

/// Describes the largest bottleneck, if it is a limit and has a share of at least 10%.
fn describe_bottleneck(bottlenecks: &[BottleneckShare]) -> Option<String> {
    let top = bottlenecks.first().filter(|top| top.share >= 0.1)?;
    let is_not_limiting =
        matches!(top.bottleneck, Bottleneck::Sending | Bottleneck::NothingToSend | Bottleneck::NotSelected);
    (!is_not_limiting).then(|| format!("limited by {} {:.0}%", top.bottleneck.label(), top.share * 100.0))
}

/// `PROVIDER DOWN gemini: HTTP 503 on 4 of 4 routes since 01:20:30, next trial in 8s`
fn describe_outage(outage: &ProviderOutage, now: WallTime, zone: &TimeZone) -> String {
    let trial = match outage.next_trial {
        Some(at) => format!("next trial in {}", format_time_left(at, now)),
        None => "trial request in flight".to_owned(),
    };
    let since = outage.since.time_of_day(zone);
    format!("PROVIDER DOWN {}: {} since {since}, {trial}", outage.provider, outage.summary())
}

/// `None` while the run is running and its providers answer.
fn describe_state(snapshot: &Snapshot, zone: &TimeZone) -> Option<String> {
    if matches!(snapshot.state, RunState::Running | RunState::Waiting { .. }) && !snapshot.outages.is_empty() {
        let outages = snapshot.outages.iter().map(|outage| describe_outage(outage, snapshot.at, zone));
        return Some(outages.collect::<Vec<_>>().join("; "));
    }
    let text = match &snapshot.state {
        RunState::Running => return snapshot.silence.clone(),
        RunState::Waiting { reason, until: Some(until) } => {
            format!("waiting until {}: {reason}", format_future_time(*until, snapshot.at, zone))
        }
        RunState::Waiting { reason, until: None } => format!("waiting: {reason}"),
        RunState::NeedsOperator { reason } => format!("halted: {reason}"),
        RunState::Stopped { reason } => format!("stopped: {reason}"),
        plain @ (RunState::Pausing | RunState::Paused | RunState::Draining | RunState::Finished) => {
            plain.name().to_owned()
        }
    };
    Some(text)
}

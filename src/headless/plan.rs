//! The plan of a batch, as text and as JSON: the time, tokens, money and quota that it would need. Nothing is sent.

use std::fmt::Write as _;

use jiff::tz::TimeZone;
use serde::Serialize;

use super::format::{format_future_time, format_table};
use crate::domain::{
    Forecast, Money, TRUNCATED_HINT, are_mostly_truncated, bottleneck::Bottleneck, event::format_duration,
    forecast::StopReason, group_digits, plural, sanitize, truncated_suffix,
};

/// Maximum number of rows in the capacity table. The JSON has all of them.
const MAX_TABLE_ROWS: usize = 40;

/// The result of `plan`. Field names are a contract: scripts read them.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Plan {
    pub input: String,
    /// A name for the rows, for people: "JSONL rows".
    pub kind: String,
    /// The same name, in the singular or plural as the number of rows needs it.
    #[serde(skip)]
    pub noun: String,
    pub rows: u64,
    /// Pictures that have a caption already and are left out.
    pub skipped: u64,
    /// Rows that are done or failed already in the run directory.
    pub ended: u64,
    /// Items that are done in the run directory, and how many of their answers are cut off at a token limit.
    pub done: u64,
    pub truncated: u64,
    /// Answers in the run directory that failed a check, by model.
    pub invalid_outputs: Vec<InvalidOutputs>,
    /// Items of an earlier start that wait in the run directory and are not among the rows.
    pub other_waiting: u64,
    /// Whether the items of `other_waiting` would be sent too. False if only the first rows are to be sent.
    pub other_waiting_sent: bool,
    pub run_dir: String,
    pub budget_usd: Option<f64>,
    pub assumed: PlanAssumptions,
    /// RFC 3339, as in `forecast`; null if the batch can't end.
    pub ends_at: Option<String>,
    pub earliest_at: Option<String>,
    pub latest_at: Option<String>,
    pub cost_usd: f64,
    pub forecast: Forecast,
    /// By key and model, in the cascade's order.
    pub capacity: Vec<RouteCapacity>,
    /// The sums of `capacity`. A quota that several routes share counts once in each sum.
    pub totals: CapacityTotals,
}

/// How many answers of a model failed a check, and how many it gave.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct InvalidOutputs {
    pub model: String,
    pub invalid: u64,
    pub answers: u64,
}

/// The capacity of each key with all its models, of each model with all its keys, and of everything together.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct CapacityTotals {
    pub keys: Vec<NamedCapacity>,
    pub models: Vec<NamedCapacity>,
    pub all: Capacity,
}

/// The capacity of a key or of a model.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct NamedCapacity {
    pub name: String,
    #[serde(flatten)]
    pub capacity: Capacity,
}

/// The capacity of several routes together. Amounts are requests of this batch; `None` if a route has no known limit.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Capacity {
    pub per_minute: Option<f64>,
    pub per_day: Option<f64>,
    pub left_today: Option<f64>,
    /// Number of items of this batch that would use these routes.
    pub items: u64,
}

/// Values that the forecast uses, and whether they were measured or assumed.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct PlanAssumptions {
    /// True if input tokens come from the run's answers so far; false if they were estimated from the rows.
    pub input_measured: bool,
    pub output_tokens_per_answer: f64,
    pub output_measured: bool,
    pub latency_s: f64,
    pub latency_measured: bool,
}

/// The capacity of one route. Keys of one project share a pool.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct RouteCapacity {
    pub key: String,
    pub model: String,
    /// `model@project`. Routes with the same pool share its limits.
    pub pool: String,
    /// Requests of this batch that the limits allow per minute; `None` if no limit is known.
    pub per_minute: Option<f64>,
    #[serde(rename = "minute_by")]
    pub minute_limit: Bottleneck,
    pub per_day: Option<f64>,
    pub left_today: Option<f64>,
    /// Number of items of this batch that would use this route.
    pub items: u64,
}

/// The plan as text. Ends with a newline.
pub fn plan_table(plan: &Plan, zone: &TimeZone) -> String {
    let mut text = String::new();
    let mut line = |name: &str, words: String| {
        // Writing to a string can't fail.
        let _ = writeln!(text, "{name:<12}{}", sanitize(&words));
    };
    line("batch", describe_batch(plan));
    if are_mostly_truncated(plan.done, plan.truncated) {
        line("hint", TRUNCATED_HINT.to_owned());
    }
    if !plan.invalid_outputs.is_empty() {
        line("invalid", describe_invalid_outputs(&plan.invalid_outputs));
    }
    line("ends", describe_finish(&plan.forecast, zone));
    if let Some(words) = describe_stop(&plan.forecast, zone) {
        line("stops", words);
    }
    line("limited by", describe_constraints(&plan.forecast));
    line("day quota", describe_exhaustion(&plan.forecast, zone));
    line("capacity", describe_capacity(&plan.totals));
    if let Some(before) = plan.forecast.before_reset {
        let when = format_future_time(before.at, plan.forecast.at, zone);
        line("today", format!("{} before the next day's quota, {when}", count_items(before.items)));
    }
    for saving in &plan.forecast.savings {
        let words = match (saving.time_saved, saving.finish) {
            (Some(saves), Some(finish)) if saves.as_secs() > 0 => {
                let when = format_future_time(finish, plan.forecast.at, zone);
                format!("like {}: ends {when}, {} sooner", saving.similar_to, format_duration(whole_seconds(saves)))
            }
            (None, Some(finish)) => {
                format!("like {}: ends {}", saving.similar_to, format_future_time(finish, plan.forecast.at, zone))
            }
            _ => format!("like {}: saves no time", saving.similar_to),
        };
        line("extra key", words);
    }
    line("tokens", describe_tokens(plan));
    line("cost", describe_cost(plan));
    text.push('\n');
    text.push_str(&capacity_table(plan));
    let CapacityTotals { keys, models, .. } = &plan.totals;
    // Totals of a single key are the lines of the table above; so are those of a single model.
    if keys.len() > 1 && models.len() > 1 {
        for (heading, totals) in [("key", keys), ("model", models)] {
            text.push('\n');
            text.push_str(&totals_table(heading, totals));
        }
    }
    text
}

/// The requests of a day by the number of keys: `one key 1,650 a day, 3 keys 4,950`.
fn describe_capacity(totals: &CapacityTotals) -> String {
    let CapacityTotals { keys, all, .. } = totals;
    let Some(per_day) = all.per_day else {
        let has_limit = keys.iter().chain(&totals.models).any(|total| total.capacity.per_day.is_some());
        return if has_limit { "no daily limit with some keys or models" } else { "no daily limit" }.to_owned();
    };
    let amounts: Vec<u64> = keys.iter().map(|key| whole(key.capacity.per_day.unwrap_or_default())).collect();
    let (Some(&least), Some(&most)) = (amounts.iter().min(), amounts.iter().max()) else {
        return "no keys".to_owned();
    };
    let one =
        if least == most { group_digits(least) } else { format!("{} to {}", group_digits(least), group_digits(most)) };
    let mut text = format!("one key {one} requests a day");
    if keys.len() > 1 {
        let count = group_digits(keys.len() as u64);
        let _ = write!(text, ", {count} keys {}", group_digits(whole(per_day)));
        if whole(per_day) < amounts.iter().sum() {
            text.push_str(", since some share their quota");
        }
    }
    if let Some(left) = all.left_today.filter(|left| whole(*left) != whole(per_day)) {
        let _ = write!(text, "; {} left today", group_digits(whole(left)));
    }
    text
}

/// `answers that failed a check: flash 12 of 300, lite 40 of 90`
fn describe_invalid_outputs(models: &[InvalidOutputs]) -> String {
    let counts = models.iter().map(|InvalidOutputs { model, invalid, answers }| {
        format!("{model} {} of {}", group_digits(*invalid), group_digits(*answers))
    });
    format!("answers that failed a check: {}", counts.collect::<Vec<_>>().join(", "))
}

fn describe_batch(plan: &Plan) -> String {
    let mut text = format!("{}: {} {}", plan.input, group_digits(plan.rows), plan.noun);
    if plan.skipped > 0 {
        let _ = write!(text, ", {} already captioned", group_digits(plan.skipped));
    }
    if plan.ended > 0 || plan.other_waiting > 0 {
        let _ = write!(
            text,
            "; {} ended{} in {}, {} to go",
            group_digits(plan.ended),
            truncated_suffix(plan.truncated),
            plan.run_dir,
            group_digits(plan.forecast.items_left)
        );
    }
    match (plan.other_waiting, plan.other_waiting_sent) {
        (0, _) => {}
        (others, true) => {
            let _ = write!(text, ", {} of them from an earlier start and no longer in the input", group_digits(others));
        }
        (others, false) => {
            let waiting = count_items(others);
            let _ = write!(text, "; {waiting} from an earlier start, not among the first rows, will not be sent");
        }
    }
    text
}

fn describe_finish(forecast: &Forecast, zone: &TimeZone) -> String {
    let Some(finish) = forecast.finish else {
        return "not by itself, see below".to_owned();
    };
    let mut text = format_future_time(finish, forecast.at, zone);
    if let (Some(earliest), Some(latest)) = (forecast.earliest_finish, forecast.latest_finish) {
        let span = |at: crate::domain::WallTime| format_duration(whole_seconds(at.since(forecast.at)));
        let _ = write!(text, "; in {} at the earliest, {} at the latest", span(earliest), span(latest));
    }
    if forecast.stop.is_some() {
        text.push_str(", if it is resumed whenever quota returns");
    }
    text
}

fn describe_stop(forecast: &Forecast, zone: &TimeZone) -> Option<String> {
    let stop = forecast.stop?;
    let left = count_items(stop.items_left);
    let when = format_future_time(stop.at, forecast.at, zone);
    Some(match stop.reason {
        StopReason::Quota => {
            let returns =
                stop.resumes_at.map(|at| format!(", quota returns {}", format_future_time(at, forecast.at, zone)));
            format!(
                "{when} with {left} left: day quota spent on every route{}. Resume it then, or use --on-exhausted wait",
                returns.unwrap_or_default()
            )
        }
        StopReason::Budget => match stop.resumes_at.map(|at| format_future_time(at, forecast.at, zone)) {
            Some(at) => format!(
                "{when} with {left} left: the day's budget is used up until {at}. Resume it then, or use --on-exhausted wait"
            ),
            None => format!("{when} with {left} left: the budget of the run or of every key is used up"),
        },
        StopReason::NoRoute => format!("{left} can't be sent: no route accepts them"),
    })
}

fn count_items(number: u64) -> String {
    format!("{} {}", group_digits(number), plural(number, "item"))
}

fn describe_constraints(forecast: &Forecast) -> String {
    let parts: Vec<String> = forecast
        .constraints
        .iter()
        .filter(|constraint| constraint.share >= 0.005)
        .map(|bind| {
            let pool = bind.pool.as_ref().map(|pool| format!(" (mostly {pool})")).unwrap_or_default();
            format!("{} {:.0}%{pool}", bind.label(), bind.share * 100.0)
        })
        .collect();
    if parts.is_empty() { "only the time that answers take".to_owned() } else { parts.join(", ") }
}

fn describe_exhaustion(forecast: &Forecast, zone: &TimeZone) -> String {
    let Some(exhausted) = &forecast.first_exhausted else { return "no limit".to_owned() };
    let returns = match exhausted.resets_at {
        Some(at) => format!("resets {}", format_future_time(at, forecast.at, zone)),
        None => "frees up gradually".to_owned(),
    };
    format!("{} spent at {}; {returns}", exhausted.pool, format_future_time(exhausted.at, forecast.at, zone))
}

fn describe_tokens(plan: &Plan) -> String {
    let PlanAssumptions { input_measured, output_tokens_per_answer, output_measured, .. } = plan.assumed;
    let input = if input_measured { "as measured so far" } else { "estimated" };
    let output = if output_measured { "as measured so far" } else { "assumed" };
    format!(
        "{} in ({input}), {} out ({output_tokens_per_answer:.0} an answer, {output})",
        group_digits(plan.forecast.input_tokens),
        group_digits(plan.forecast.output_tokens),
    )
}

fn describe_cost(plan: &Plan) -> String {
    let mut text = match (plan.forecast.has_unpriced_items, plan.forecast.cost) {
        (true, Money::ZERO) => "price unknown".to_owned(),
        (true, cost) => format!("{cost}, excluding models without a price"),
        (false, cost) => cost.to_string(),
    };
    if let Some(budget) = plan.budget_usd.and_then(Money::from_usd) {
        let _ = write!(text, " of a budget of {budget}");
    }
    text
}

fn capacity_table(plan: &Plan) -> String {
    let heading =
        ["key", "model", "quota of", "requests/min", "limited by", "requests/day", "left today", "this batch"];
    let rows: Vec<[String; 8]> = plan
        .capacity
        .iter()
        .take(MAX_TABLE_ROWS)
        .map(|row| {
            let by = match row.minute_limit {
                _ if row.per_minute.is_none() => "-",
                Bottleneck::TokensPerMinute => "tokens",
                _ => "requests",
            };
            [
                sanitize(&row.key).into_owned(),
                sanitize(&row.model).into_owned(),
                sanitize(&row.pool).into_owned(),
                per_minute_or_no_limit(row.per_minute),
                by.to_owned(),
                amount_or_no_limit(row.per_day),
                amount_or_no_limit(row.left_today),
                group_digits(row.items),
            ]
        })
        .collect();
    format_table(&heading, &rows) + &describe_omitted_rows(plan.capacity.len())
}

/// The totals of the keys or of the models. `heading` says which.
fn totals_table(heading: &str, totals: &[NamedCapacity]) -> String {
    let heading = [heading, "requests/min", "requests/day", "left today", "this batch"];
    let rows: Vec<[String; 5]> = totals
        .iter()
        .take(MAX_TABLE_ROWS)
        .map(|NamedCapacity { name, capacity }| {
            [
                sanitize(name).into_owned(),
                per_minute_or_no_limit(capacity.per_minute),
                amount_or_no_limit(capacity.per_day),
                amount_or_no_limit(capacity.left_today),
                group_digits(capacity.items),
            ]
        })
        .collect();
    format_table(&heading, &rows) + &describe_omitted_rows(totals.len())
}

/// A line for the rows that a table leaves out; empty if it has all.
fn describe_omitted_rows(rows: usize) -> String {
    match rows.saturating_sub(MAX_TABLE_ROWS) {
        0 => String::new(),
        more => format!("… and {} more: --json lists all\n", group_digits(more as u64)),
    }
}

fn amount_or_no_limit(amount: Option<f64>) -> String {
    amount.map_or_else(|| "no limit".to_owned(), |amount| group_digits(whole(amount)))
}

fn per_minute_or_no_limit(per_minute: Option<f64>) -> String {
    match per_minute {
        Some(few) if few < 1.0 => format!("{few:.2}"),
        other => amount_or_no_limit(other),
    }
}

/// Requests as a whole number. A sum of fractions may be slightly too small.
fn whole(requests: f64) -> u64 {
    (requests + 1e-6).floor() as u64
}

const fn whole_seconds(span: std::time::Duration) -> std::time::Duration {
    std::time::Duration::from_secs(span.as_secs())
}

//! The report of a run: totals, then models, then keys.

use std::time::Duration;

use super::format::{fits_terminal, format_latency, format_table, wrap_lines};
use crate::domain::{
    Money, Summary, TRUNCATED_HINT, are_mostly_truncated, escape_json,
    event::format_duration,
    group_digits, pluralize, sanitize,
    snapshot::Condition,
    summary::{KeySummary, ModelSummary},
    truncated_suffix,
};

/// The text printed on standard output when a run ends: the summary as one JSON object on one line, or the table.
pub fn report(summary: &Summary, as_json: bool) -> String {
    if as_json {
        // Plain data with text keys can always be written as JSON.
        serde_json::to_string(summary).map(|json| escape_json(&json).into_owned() + "\n").unwrap_or_default()
    } else {
        summary_table(summary)
    }
}

/// A few lines of totals, then a table of models and one of keys. Ends with a newline.
pub fn summary_table(summary: &Summary) -> String {
    let mut text = wrap_lines(&totals_text(summary), LABEL_COLUMNS);
    if !summary.models.is_empty() {
        text.push('\n');
        text.push_str(&models_table(&summary.models));
    }
    if !summary.keys.is_empty() {
        let has_unknown_cost = summary.models.iter().any(ModelSummary::has_unknown_cost);
        let rows: Vec<_> = summary.keys.iter().map(|key| key_row(key, has_unknown_cost)).collect();
        text.push('\n');
        text.push_str(&format_table(&["key", "state", "health", "ok", "errors", "cost"], &rows));
    }
    text
}

/// The table of models. It says how many answers failed a check if any did. If it is wider than a common terminal, it
/// is two tables: attempts and latencies, then tokens and cost.
fn models_table(models: &[ModelSummary]) -> String {
    let has_invalid = models.iter().any(|model| model.invalid_outputs > 0);
    let mut heading = MODEL_HEADING.to_vec();
    let mut rows: Vec<Vec<String>> = models.iter().map(|model| model_row(model).to_vec()).collect();
    if has_invalid {
        heading.insert(INVALID_COLUMN, "invalid");
        for (row, model) in rows.iter_mut().zip(models) {
            row.insert(INVALID_COLUMN, group_digits(model.invalid_outputs));
        }
    }
    let table = format_table(&heading, &rows);
    if fits_terminal(&table) {
        return table;
    }
    let first_usage_column = heading.len() - USAGE_COLUMNS;
    let usage_heading: Vec<&str> = [&heading[..1], &heading[first_usage_column..]].concat();
    let usage_rows: Vec<Vec<String>> =
        rows.iter().map(|row| [&row[..1], &row[first_usage_column..]].concat()).collect();
    let attempt_rows: Vec<&[String]> = rows.iter().map(|row| &row[..first_usage_column]).collect();
    let attempts = format_table(&heading[..first_usage_column], &attempt_rows);
    format!("{attempts}\n{}", format_table(&usage_heading, &usage_rows))
}

/// Columns before the values of the totals.
const LABEL_COLUMNS: usize = 10;

fn totals_text(summary: &Summary) -> String {
    let Summary { total, waiting, in_flight, done, failed, truncated, not_in_input, attempts, rate_limited, .. } =
        summary;
    let left = match waiting + in_flight {
        0 => String::new(),
        left => format!(", {} left", group_digits(left)),
    };
    let removed = match *not_in_input {
        0 => String::new(),
        gone => format!("; {} no longer in the input", group_digits(gone)),
    };
    let invalid = match summary.invalid_outputs {
        0 => String::new(),
        count => format!("; {} failed a check", pluralize(count, "answer")),
    };
    let elapsed = format_duration(Duration::try_from_secs_f64(summary.elapsed_s.round()).unwrap_or_default());
    let rate = match done + failed {
        ended @ 1.. if summary.elapsed_s >= 1.0 => format!(", {:.2} items/s", ended as f64 / summary.elapsed_s),
        _ => String::new(),
    };
    format!(
        "{}: {}\n\
         items     {} of {} done{}, {} failed{left}{removed}\n\
         requests  {}, 429s: {}{invalid}\n\
         tokens    {} in{}, {} out\n\
         cost      {}{}\n\
         time      {elapsed}{rate}\n\
         {}",
        sanitize(&summary.run),
        sanitize(&summary.state),
        group_digits(*done),
        group_digits(*total),
        truncated_suffix(*truncated),
        group_digits(*failed),
        group_digits(*attempts),
        group_digits(*rate_limited),
        group_digits(summary.usage.input_tokens),
        summary.usage.tokens().describe_cached(),
        group_digits(summary.usage.output_tokens),
        match summary.at_risk_usd {
            none if none <= 0.0 => total_cost(summary),
            risk => format!(
                "{}, and up to {} possibly billed for requests without an answer",
                total_cost(summary),
                format_usd(risk)
            ),
        },
        summary.usage.cost_by_kind().describe().map_or_else(String::new, |kinds| format!(" ({kinds})")),
        if are_mostly_truncated(*done, *truncated) { format!("hint      {TRUNCATED_HINT}\n") } else { String::new() },
    )
}

/// Position of the column for invalid answers, if there are any: after the errors.
const INVALID_COLUMN: usize = 3;
/// Number of the last columns, which are about tokens and cost.
const USAGE_COLUMNS: usize = 3;
const MODEL_HEADING: [&str; 10] =
    ["model", "ok", "errors", "ok%", "mean", "p50", "p95", "tokens in", "tokens out", "cost"];

fn model_row(model: &ModelSummary) -> [String; 10] {
    let time = |millis: Option<u64>| millis.map_or_else(dash, format_latency);
    [
        sanitize(&model.name).into_owned(),
        group_digits(model.ok),
        group_digits(model.failed),
        success_percent(model.ok, model.failed),
        time(model.mean_ms),
        time(model.p50_ms),
        time(model.p95_ms),
        group_digits(model.usage.input_tokens),
        group_digits(model.usage.output_tokens),
        if model.has_unknown_cost() && model.usage.cost_usd <= 0.0 {
            PRICE_UNKNOWN.to_owned()
        } else {
            format_usd(model.usage.cost_usd)
        },
    ]
}

/// `has_unknown_cost`: a model without a price was used, maybe with this key.
fn key_row(key: &KeySummary, has_unknown_cost: bool) -> [String; 6] {
    [
        sanitize(&key.name).into_owned(),
        sanitize(Condition::label_of(&key.state)).into_owned(),
        key.health.to_string(),
        group_digits(key.ok),
        group_digits(key.failed),
        if has_unknown_cost && key.ok + key.failed > 0 && key.cost_usd <= 0.0 {
            PRICE_UNKNOWN.to_owned()
        } else {
            format_usd(key.cost_usd)
        },
    ]
}

fn success_percent(ok: u64, failed: u64) -> String {
    if ok + failed == 0 { dash() } else { format!("{:.1}", 100.0 * ok as f64 / (ok + failed) as f64) }
}

fn format_usd(amount: f64) -> String {
    Money::from_usd(amount).unwrap_or_default().to_string()
}

const PRICE_UNKNOWN: &str = "price unknown";

/// The cost of the run, as far as it is known.
fn total_cost(summary: &Summary) -> String {
    let cost = format_usd(summary.usage.cost_usd);
    // Requests without an answer have no tokens, but may have been billed too.
    let has_only_unpriced = summary.attempts > 0 && summary.models.iter().all(|model| model.unpriced);
    match has_only_unpriced || summary.models.iter().any(ModelSummary::has_unknown_cost) {
        false => cost,
        true if summary.usage.cost_usd <= 0.0 => PRICE_UNKNOWN.to_owned(),
        true => format!("{cost}, excluding models without a price"),
    }
}

fn dash() -> String {
    "-".to_owned()
}

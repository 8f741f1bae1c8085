//! The report of a run: totals, then models, then keys.

use std::{borrow::Cow, time::Duration};

use super::words::{columns, grouped, latency};
use crate::domain::{
    Money, Snapshot, Summary,
    event::format_duration,
    sanitize,
    summary::{KeySummary, ModelSummary},
};

/// What is printed on standard output when a run ends: the summary as one JSON object on one line, or the table.
pub fn report(snapshot: &Snapshot, json: bool) -> String {
    let summary = Summary::from(snapshot);
    if json {
        // Plain data with text keys: there is nothing in it that JSON can't hold.
        serde_json::to_string(&summary).map(|line| line + "\n").unwrap_or_default()
    } else {
        summary_table(&summary)
    }
}

/// Totals in a few lines, then a table of models and one of keys; ends with a line break.
pub fn summary_table(summary: &Summary) -> String {
    let mut text = totals(summary);
    if !summary.models.is_empty() {
        let heading = ["model", "ok", "failed", "ok%", "mean", "p50", "p95", "tokens in", "tokens out", "cost"];
        let rows: Vec<_> = summary.models.iter().map(model_row).collect();
        text.push('\n');
        text.push_str(&columns(heading, &rows));
    }
    if !summary.keys.is_empty() {
        let rows: Vec<_> = summary.keys.iter().map(key_row).collect();
        text.push('\n');
        text.push_str(&columns(["key", "state", "health", "ok", "failed", "cost"], &rows));
    }
    text
}

fn totals(summary: &Summary) -> String {
    let Summary { total, waiting, in_flight, done, failed, not_in_input, attempts, rate_limited, .. } = summary;
    let left = match waiting + in_flight {
        0 => String::new(),
        left => format!(", {} left", grouped(left)),
    };
    let gone = match *not_in_input {
        0 => String::new(),
        gone => format!("; {} no longer in the input", grouped(gone)),
    };
    let elapsed = format_duration(Duration::try_from_secs_f64(summary.elapsed_s.round()).unwrap_or_default());
    let pace = match done + failed {
        ended @ 1.. if summary.elapsed_s >= 1.0 => format!(", {:.2} items/s", ended as f64 / summary.elapsed_s),
        _ => String::new(),
    };
    format!(
        "{}: {}\n\
         items     {} of {} done, {} failed{left}{gone}\n\
         requests  {}, {} refused for quota\n\
         tokens    {} in, {} out\n\
         cost      {}\n\
         time      {elapsed}{pace}\n",
        word(&summary.run),
        word(&summary.state),
        grouped(*done),
        grouped(*total),
        grouped(*failed),
        grouped(*attempts),
        grouped(*rate_limited),
        grouped(summary.input_tokens),
        grouped(summary.output_tokens),
        match summary.at_risk_usd {
            none if none <= 0.0 => usd(summary.cost_usd),
            risk =>
                format!("{}, and {} at most for requests that were never answered", usd(summary.cost_usd), usd(risk)),
        },
    )
}

fn model_row(model: &ModelSummary) -> [String; 10] {
    let time = |millis: Option<u64>| millis.map_or_else(nothing, latency);
    [
        word(&model.name).into_owned(),
        grouped(model.ok),
        grouped(model.failed),
        share(model.ok, model.failed),
        time(model.mean_ms),
        time(model.p50_ms),
        time(model.p95_ms),
        grouped(model.input_tokens),
        grouped(model.output_tokens),
        usd(model.cost_usd),
    ]
}

fn key_row(key: &KeySummary) -> [String; 6] {
    [
        word(&key.name).into_owned(),
        // Of what it is full is not said anywhere near.
        if key.state == "full" { "full for now".to_owned() } else { word(&key.state).into_owned() },
        key.health.to_string(),
        grouped(key.ok),
        grouped(key.failed),
        usd(key.cost_usd),
    ]
}

fn share(ok: u64, failed: u64) -> String {
    if ok + failed == 0 { nothing() } else { format!("{:.1}", 100.0 * ok as f64 / (ok + failed) as f64) }
}

fn usd(amount: f64) -> String {
    Money::from_usd(amount).unwrap_or_default().to_string()
}

fn nothing() -> String {
    "-".to_owned()
}

fn word(text: &str) -> Cow<'_, str> {
    sanitize(text)
}

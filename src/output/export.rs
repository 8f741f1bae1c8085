//! Exports a run's results for other programs: JSONL, CSV, or the format of OpenAI's batch API.
//!
//! Each line is written at once; none is kept in memory.

use std::io::{self, Write};

use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::domain::{CostByKindUsd, FinalState, ResultLine};

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, ValueEnum)]
pub enum ExportFormat {
    /// The lines of results.jsonl.
    #[default]
    Jsonl,
    /// One row for each result, after a header.
    Csv,
    /// The output file of OpenAI's batch API.
    OpenaiBatch,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ExportOptions {
    /// CSV: puts a `'` before cells that a spreadsheet would run as a formula. Off by default, since it changes texts.
    pub escape_formulas: bool,
}

/// Writes results one by one.
pub struct Exporter<W: Write> {
    sink: ExportSink<W>,
    options: ExportOptions,
}

enum ExportSink<W: Write> {
    Jsonl(W),
    Csv(Box<csv::Writer<W>>),
    OpenAiBatch(W),
}

const CSV_COLUMNS: [&str; 28] = [
    "id",
    "status",
    "output",
    "error_outcome",
    "error_status",
    "error_message",
    "finish_reason",
    "key",
    "provider",
    "model",
    "model_version",
    "input_tokens",
    "output_tokens",
    "thinking_tokens",
    "cost_usd",
    "latency_ms",
    "attempts",
    "started_at",
    "finished_at",
    "request_hash",
    "cached_input_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "cost_input_usd",
    "cost_cached_input_usd",
    "cost_cache_write_usd",
    "cost_output_usd",
    "cost_images_usd",
];

/// Writes all lines in the given order. Returns their number.
///
/// # Errors
/// Errors of `out`.
pub fn export<W: Write>(
    format: ExportFormat,
    options: ExportOptions,
    lines: impl IntoIterator<Item = ResultLine>,
    out: W,
) -> io::Result<u64> {
    let mut exporter = Exporter::new(format, options, out)?;
    let mut count = 0;
    for line in lines {
        exporter.write(&line)?;
        count += 1;
    }
    exporter.finish()?;
    Ok(count)
}

impl<W: Write> Exporter<W> {
    /// Starts an export. CSV writes its header at once, so that an empty export has one too.
    ///
    /// # Errors
    /// Errors of `out`.
    pub fn new(format: ExportFormat, options: ExportOptions, out: W) -> io::Result<Self> {
        let sink = match format {
            ExportFormat::Jsonl => ExportSink::Jsonl(out),
            ExportFormat::OpenaiBatch => ExportSink::OpenAiBatch(out),
            ExportFormat::Csv => {
                let mut writer = csv::Writer::from_writer(out);
                writer.write_record(CSV_COLUMNS)?;
                ExportSink::Csv(Box::new(writer))
            }
        };
        Ok(Self { sink, options })
    }

    /// Writes the line of one result.
    ///
    /// # Errors
    /// Errors of the underlying writer.
    pub fn write(&mut self, line: &ResultLine) -> io::Result<()> {
        match &mut self.sink {
            ExportSink::Jsonl(out) => write_json(out, line),
            ExportSink::OpenAiBatch(out) => write_json(out, &openai_batch_line(line)),
            ExportSink::Csv(writer) => {
                for cell in csv_cells(line) {
                    let is_formula = self.options.escape_formulas && cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
                    if is_formula { writer.write_field(format!("'{cell}"))? } else { writer.write_field(cell)? }
                }
                writer.write_record(None::<&[u8]>)?;
                Ok(())
            }
        }
    }

    /// Flushes everything to the underlying writer.
    ///
    /// # Errors
    /// Errors of the underlying writer.
    pub fn finish(self) -> io::Result<()> {
        match self.sink {
            ExportSink::Jsonl(mut out) | ExportSink::OpenAiBatch(mut out) => out.flush(),
            ExportSink::Csv(mut writer) => writer.flush(),
        }
    }
}

/// Whether a file with this first line is an export, in any format. A JSON line must have exactly the fields that an
/// export writes, so that other programs' JSONL is not taken for one.
pub fn is_export_line(line: &[u8]) -> bool {
    if line.starts_with(CSV_COLUMNS[..4].join(",").as_bytes()) {
        return true;
    }
    let Ok(Value::Object(fields)) = serde_json::from_slice::<Value>(line) else { return false };
    is_result_line(&fields) || is_openai_batch_line(&fields)
}

fn is_result_line(fields: &Map<String, Value>) -> bool {
    let written = serde_json::from_value::<ResultLine>(Value::Object(fields.clone())).and_then(serde_json::to_value);
    let Ok(Value::Object(written)) = written else { return false };
    written.len() == fields.len() && written.keys().all(|name| fields.contains_key(name))
}

/// Tells a line of [`openai_batch_line`] from one of OpenAI itself, whose ids don't repeat.
fn is_openai_batch_line(fields: &Map<String, Value>) -> bool {
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let Some(hash) = text("id").and_then(|id| id.strip_prefix("batch_req_")) else { return false };
    let response = fields.get("response");
    fields.len() == 4
        && text("custom_id").is_some()
        && match fields.get("error") {
            Some(Value::Null) => response.is_some_and(|response| response["request_id"] == hash),
            Some(Value::Object(error)) => response == Some(&Value::Null) && error.len() == 2,
            _ => false,
        }
}

fn write_json(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// The cells of a row, in the order of [`CSV_COLUMNS`].
fn csv_cells(line: &ResultLine) -> [String; CSV_COLUMNS.len()] {
    let error = line.error.as_ref();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    // Empty in lines of versions that did not record the kinds.
    let kind =
        |get: fn(CostByKindUsd) -> f64| line.cost_by_kind_usd.map(|cost| get(cost).to_string()).unwrap_or_default();
    [
        line.id.clone(),
        match line.status {
            FinalState::Done => "done".to_owned(),
            FinalState::Failed => "failed".to_owned(),
        },
        text(&line.output),
        error.map(|error| error.outcome.name().to_owned()).unwrap_or_default(),
        error.and_then(|error| error.status).map(|status| status.to_string()).unwrap_or_default(),
        error.map(|error| error.message.clone()).unwrap_or_default(),
        text(&line.finish_reason),
        text(&line.key),
        text(&line.provider),
        text(&line.model),
        text(&line.model_version),
        line.usage.input_tokens.to_string(),
        line.usage.output_tokens.to_string(),
        line.usage.thinking_tokens.to_string(),
        line.cost_usd.to_string(),
        line.latency_ms.to_string(),
        line.attempts.to_string(),
        text(&line.started_at),
        line.finished_at.clone(),
        line.request_hash.clone(),
        line.usage.cached_input_tokens.to_string(),
        line.usage.cache_write_tokens.to_string(),
        line.usage.cache_write_1h_tokens.to_string(),
        kind(|cost| cost.input),
        kind(|cost| cost.cached_input),
        kind(|cost| cost.cache_write),
        kind(|cost| cost.output),
        kind(|cost| cost.images),
    ]
}

/// A line of OpenAI's batch output. HTTP errors are under `response` with their status, as in OpenAI's files. Other
/// failures (a blocked answer, nothing sent) are under `error`.
fn openai_batch_line(line: &ResultLine) -> Value {
    let refused = line.error.as_ref().and_then(|error| Some((error, error.status.filter(|status| *status >= 400)?)));
    let (status, body) = match (line.status, refused) {
        (FinalState::Done, _) => (200, openai_completion(line)),
        (FinalState::Failed, Some((error, status))) => {
            let body = json!({"error": {
                "message": error.message, "type": error.outcome.name(), "param": null, "code": error.outcome.name(),
            }});
            (status, body)
        }
        (FinalState::Failed, None) => {
            let (code, message) = match &line.error {
                Some(error) => (error.outcome.name(), error.message.as_str()),
                None => ("failed", ""),
            };
            return json!({
                "id": format!("batch_req_{}", line.request_hash),
                "custom_id": line.id,
                "response": null,
                "error": {"code": code, "message": message},
            });
        }
    };
    json!({
        "id": format!("batch_req_{}", line.request_hash),
        "custom_id": line.id,
        "response": {"status_code": status, "request_id": line.request_hash, "body": body},
        "error": null,
    })
}

/// A chat completion in OpenAI's format, in which thinking tokens count as completion tokens.
fn openai_completion(line: &ResultLine) -> Value {
    let usage = line.usage;
    let created = line.finished_at.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_second);
    json!({
        "id": format!("chatcmpl-{}", line.request_hash),
        "object": "chat.completion",
        "created": created,
        "model": line.model_version.as_ref().or(line.model.as_ref()),
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": line.output, "refusal": null},
            "logprobs": null,
            "finish_reason": openai_finish_reason(line.finish_reason.as_deref()),
        }],
        "usage": {
            "prompt_tokens": usage.input_tokens,
            "completion_tokens": usage.billed_output(),
            "total_tokens": usage.total(),
            "completion_tokens_details": {"reasoning_tokens": usage.thinking_tokens},
            "prompt_tokens_details": {
                "cached_tokens": usage.cached_input_tokens,
                "cache_write_tokens": usage.all_cache_writes(),
            },
        },
    })
}

/// Maps the providers' finish reasons to OpenAI's.
fn openai_finish_reason(reason: Option<&str>) -> &'static str {
    match reason {
        Some("length" | "max_tokens" | "model_length" | "max_output_tokens" | "model_context_window_exceeded") => {
            "length"
        }
        Some("content_filter" | "safety" | "refusal" | "recitation" | "prohibited_content" | "blocklist" | "spii") => {
            "content_filter"
        }
        _ => "stop",
    }
}

//! Exports a run's results for other programs: JSONL, CSV, or the format of OpenAI's batch API.
//!
//! Each line is written at once; none is kept in memory.

use std::io::{self, Write};

use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Map, Value};

use super::openai_batch;
use crate::domain::{CaptionRules, CostByKindUsd, FinalState, ResultLine};

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, ValueEnum)]
pub enum ExportFormat {
    /// The lines of results.jsonl.
    #[default]
    Jsonl,
    /// One row for each result, after a header.
    Csv,
    /// The output file of OpenAI's batch API.
    OpenaiBatch,
    /// The metadata.jsonl of a Hugging Face ImageFolder: `file_name` and `text` of each picture with a caption.
    ImageFolder,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ExportOptions {
    /// Image folder: how answers are made captions.
    pub caption_rules: CaptionRules,
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
    ImageFolder(W),
}

/// The first line of a gallery, by which it is known as one.
pub const GALLERY_FIRST_LINE: &str = "<!doctype html><!-- cascadeck gallery -->";

/// A line of metadata.jsonl.
#[derive(Serialize)]
struct ImageFolderLine<'a> {
    file_name: &'a str,
    text: &'a str,
}

const CSV_COLUMNS: [&str; 33] = [
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
    "error_check",
    "tool_calls",
    "choices",
    "embedding",
    "message",
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
            ExportFormat::ImageFolder => ExportSink::ImageFolder(out),
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
            ExportSink::OpenAiBatch(out) => write_json(out, &openai_batch::output_line(line)),
            ExportSink::ImageFolder(out) => {
                let answer = line.output.as_deref().filter(|_| line.status == FinalState::Done);
                match answer.map(|answer| self.options.caption_rules.caption_from(answer)) {
                    Some(text) if !text.is_empty() => {
                        write_json(out, &ImageFolderLine { file_name: &line.id, text: &text })
                    }
                    _ => Ok(()),
                }
            }
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
            ExportSink::Jsonl(mut out) | ExportSink::OpenAiBatch(mut out) | ExportSink::ImageFolder(mut out) => {
                out.flush()
            }
            ExportSink::Csv(mut writer) => writer.flush(),
        }
    }
}

/// Whether a file with this first line is an export. A JSON line must have exactly the fields that an export writes, so
/// that other programs' JSONL is not taken for one. The lines of an image folder are everybody's, so they never count.
pub fn is_export_line(line: &[u8]) -> bool {
    if line.starts_with(GALLERY_FIRST_LINE.as_bytes()) || line.starts_with(CSV_COLUMNS[..4].join(",").as_bytes()) {
        return true;
    }
    let Ok(Value::Object(fields)) = serde_json::from_slice::<Value>(line) else { return false };
    is_result_line(&fields) || openai_batch::is_output_line(&fields)
}

fn is_result_line(fields: &Map<String, Value>) -> bool {
    let written = serde_json::from_value::<ResultLine>(Value::Object(fields.clone())).and_then(serde_json::to_value);
    let Ok(Value::Object(written)) = written else { return false };
    written.len() == fields.len() && written.keys().all(|name| fields.contains_key(name))
}

fn write_json(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// The cells of a row, in the order of [`CSV_COLUMNS`]. Parts of an answer besides its text are JSON.
fn csv_cells(line: &ResultLine) -> [String; CSV_COLUMNS.len()] {
    let error = line.error.as_ref();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let json = |part: &Option<Value>| part.as_ref().map(Value::to_string).unwrap_or_default();
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
        error.and_then(|error| error.check.clone()).unwrap_or_default(),
        json(&line.parts.tool_calls),
        json(&line.parts.choices),
        json(&line.parts.embedding),
        json(&line.parts.message),
    ]
}

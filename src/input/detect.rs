//! Detects the format of a file from its first bytes, its extension, and the fields of its first row.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::{
    conversion::{jsonl_path, refuse_binary, shell_command},
    csv::detect_delimiter,
    error::InputError,
    json::Json,
    kind::InputKind,
    line_stats::{LineStats, look_up},
    lines::LineReader,
    options::{InputOptions, LineFormat},
    picture_file::has_picture_magic,
    template::Templates,
};

/// Maximum number of rows that are tried until one parses as JSON.
const MAX_ROWS_TRIED: usize = 20;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum DetectedFormat {
    Rows(InputKind),
    Csv {
        delimiter: u8,
    },
    /// A file that lists pictures by paths relative to `base_dir`.
    List {
        base_dir: PathBuf,
    },
    Picture,
}

/// Detects the format of the file at `path`. `display_path` is the name that users know: its extension is considered,
/// and messages contain it. Paths in the file are relative to `base_dir`.
pub(super) fn detect(
    path: &Path,
    display_path: &Path,
    base_dir: &Path,
    options: &InputOptions,
) -> Result<DetectedFormat, InputError> {
    let line_format = options.line_format;
    let unreadable = |error: io::Error| InputError::unreadable(display_path, error);
    let mut head = Vec::with_capacity(1_024);
    File::open(path).and_then(|file| file.take(1_024).read_to_end(&mut head)).map_err(unreadable)?;
    let extension =
        display_path.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_ascii_lowercase();
    if has_picture_magic(&head) || (head.starts_with(b"BM") && extension == "bmp") {
        return Ok(DetectedFormat::Picture);
    }
    refuse_binary(&head, display_path)?;

    let mut lines = LineReader::open(path).map_err(unreadable)?;
    let Some(first) = next_nonblank_line(&mut lines) else {
        return Err(InputError::Empty(display_path.display().to_string()));
    };
    match line_format {
        LineFormat::Pictures => {
            return LineStats::read(path, base_dir, line_format, look_up)
                .map(|lines| DetectedFormat::List { base_dir: lines.best_base() })
                .map_err(unreadable);
        }
        LineFormat::Prompts => return Ok(DetectedFormat::Rows(InputKind::Text)),
        LineFormat::Detect => {}
    }
    let detected = match extension.as_str() {
        "csv" => DetectedFormat::Csv { delimiter: detect_delimiter(&first) },
        "tsv" => DetectedFormat::Csv { delimiter: b'\t' },
        "jsonl" | "ndjson" | "json" => DetectedFormat::Rows(detect_json_kind(&first, &mut lines, display_path)?),
        _ if first.starts_with('{') && (extension != "txt" || Json::parse(&first).is_ok()) => {
            DetectedFormat::Rows(detect_json_kind(&first, &mut lines, display_path)?)
        }
        _ if looks_like_json_array(&first) && extension != "txt" => return Err(json_array_error(display_path)),
        "" if is_csv_header(&first) => DetectedFormat::Csv { delimiter: detect_delimiter(&first) },
        _ if options.recorded_line_format == LineFormat::Prompts => DetectedFormat::Rows(InputKind::Text),
        _ => {
            let recorded = options.recorded_line_format;
            let lines = LineStats::read(path, base_dir, recorded, look_up).map_err(unreadable)?;
            let format = match recorded {
                LineFormat::Detect => lines.line_format(display_path),
                known => Ok(known),
            };
            // No picture has the field of a line of text.
            let is_text_template = || {
                let templates = Templates::compile(options.prompt.as_deref(), None);
                templates.is_ok_and(|templates| templates.uses_field("prompt"))
            };
            match format.or_else(|error| if is_text_template() { Ok(LineFormat::Prompts) } else { Err(error) })? {
                LineFormat::Pictures => DetectedFormat::List { base_dir: lines.best_base() },
                _ => DetectedFormat::Rows(InputKind::Text),
            }
        }
    };
    Ok(detected)
}

/// Returns the next line that isn't blank, with invalid UTF-8 replaced. Validation reports errors in it later.
fn next_nonblank_line(lines: &mut LineReader) -> Option<String> {
    loop {
        match lines.advance() {
            Ok(false) => return None,
            Ok(true) if lines.is_blank() => {}
            Ok(true) => return Some(String::from_utf8_lossy(lines.bytes().trim_ascii()).into_owned()),
            Err(_) => return Some(String::new()),
        }
    }
}

/// Detects the kind from the fields of the first row that parses.
fn detect_json_kind(first: &str, lines: &mut LineReader, display_path: &Path) -> Result<InputKind, InputError> {
    if first.starts_with('[') {
        return Err(json_array_error(display_path));
    }
    let mut line = first.to_owned();
    for tried in 0..MAX_ROWS_TRIED {
        match Json::parse(&line) {
            Ok(row) => return Ok(kind_of_row(&row)),
            Err(_) if tried == 0 && matches!(line.as_str(), "{" | "{}") => {
                let message = format!(
                    "is one JSON document over many lines, but each row must be on a line of its own; convert it, as in \
                     {}",
                    shell_command("jq -c .", display_path, &jsonl_path(display_path))
                );
                return Err(InputError::unsupported_format(display_path, message));
            }
            Err(_) => {}
        }
        match next_nonblank_line(lines) {
            Some(next) => line = next,
            None => break,
        }
    }
    Ok(InputKind::Jsonl)
}

fn kind_of_row(row: &Json<'_>) -> InputKind {
    let is_object = |name: &str| matches!(row.get(name), Some(Json::Object(_)));
    let has = |name: &str| row.get(name).is_some();
    if has("custom_id") && is_object("body") {
        InputKind::OpenAiBatch
    } else if has("custom_id") && is_object("params") {
        InputKind::AnthropicBatch
    } else if is_object("request") && (has("key") || row.get("request").is_some_and(|it| it.get("contents").is_some()))
    {
        InputKind::GeminiBatch
    } else {
        InputKind::Jsonl
    }
}

fn looks_like_json_array(first: &str) -> bool {
    first.strip_prefix('[').is_some_and(|rest| {
        let rest = rest.trim_start();
        rest.is_empty() || rest.starts_with(['{', '"', '['])
    })
}

fn json_array_error(display_path: &Path) -> InputError {
    let message = format!(
        "is one JSON array, but each row must be on a line of its own; convert it, as in {}",
        shell_command("jq -c '.[]'", display_path, &jsonl_path(display_path))
    );
    InputError::unsupported_format(display_path, message)
}

/// True if the first line of a file without an extension (such as a pipe) is a CSV header: one of several columns is
/// called `prompt`.
fn is_csv_header(first: &str) -> bool {
    let delimiter = char::from(detect_delimiter(first));
    first.contains(delimiter) && first.split(delimiter).any(|name| name.trim().trim_matches('"').eq("prompt"))
}

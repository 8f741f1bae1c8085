//! Reads CSV with a header, as spreadsheets write it (RFC 4180): one record per row, one column per field.
//!
//! Records are assembled from lines here, without a CSV library, for two reasons. First, an error must name the line
//! that an editor shows, also after CRLF, blank lines and cells with line ends. Second, a quote that is never closed
//! must cause an error instead of reading the rest of the file into memory.

use std::{borrow::Cow, io, path::Path};

use serde_json::Number;

use super::{
    draft::{Draft, RowOptions},
    error::FieldError,
    json::{Fields, Json},
    lines::{LineReader, MAX_LINE_BYTES, decode_utf8},
    picture_fields, row,
};

pub(super) struct CsvReader {
    lines: LineReader,
    delimiter: u8,
    header: Option<Vec<String>>,
    record: Vec<u8>,
    /// True after an error that makes it impossible to find the next record.
    is_broken: bool,
}

impl CsvReader {
    pub(super) fn open(path: &Path, delimiter: u8) -> io::Result<Self> {
        let lines = LineReader::open(path)?;
        Ok(Self { lines, delimiter, header: None, record: Vec::new(), is_broken: false })
    }

    /// Reads the next record and returns the number of its first line, and its draft.
    pub(super) fn next(&mut self, options: &RowOptions) -> Option<(u64, Result<Draft, FieldError>)> {
        if self.is_broken {
            return None;
        }
        if self.header.is_none() {
            let (line, header) = self.read_record()?;
            match header.and_then(|()| parse_header(&self.record, self.delimiter)) {
                Ok(columns) => self.header = Some(columns),
                Err(error) => {
                    self.is_broken = true;
                    return Some((line, Err(error)));
                }
            }
        }
        let (line, record) = self.read_record()?;
        let names = self.header.as_deref().unwrap_or_default();
        Some((line, record.and_then(|()| draft_record(&self.record, self.delimiter, names, options))))
    }

    pub(super) fn fingerprint(self) -> io::Result<u128> {
        self.lines.fingerprint()
    }

    /// Reads the next record into `self.record`. Returns the number of its first line, or `None` at the end.
    fn read_record(&mut self) -> Option<(u64, Result<(), FieldError>)> {
        self.record.clear();
        let mut quotes = QuoteState::FieldStart;
        let mut first = None;
        loop {
            let advanced = self.lines.advance();
            let line = *first.get_or_insert(self.lines.line_number());
            match advanced {
                Err(error) => {
                    self.is_broken = quotes == QuoteState::Inside;
                    return Some((self.lines.line_number(), Err(error)));
                }
                Ok(false) if quotes == QuoteState::Inside => {
                    self.is_broken = true;
                    return Some((line, Err(FieldError::new("", "opens a quote (\") that is never closed"))));
                }
                Ok(false) => return None,
                Ok(true) if quotes == QuoteState::FieldStart && self.record.is_empty() && self.lines.is_blank() => {
                    first = None;
                }
                Ok(true) => {
                    if quotes == QuoteState::Inside {
                        self.record.push(b'\n');
                    }
                    self.record.extend_from_slice(self.lines.bytes());
                    quotes = quotes.after_bytes(self.lines.bytes(), self.delimiter);
                    if quotes != QuoteState::Inside {
                        return Some((line, Ok(())));
                    }
                    if self.record.len() > MAX_LINE_BYTES {
                        self.is_broken = true;
                        let message = format!(
                            "is a record of more than {} MiB: is a quote (\") not closed?",
                            MAX_LINE_BYTES >> 20
                        );
                        return Some((line, Err(FieldError::new("", message))));
                    }
                }
            }
        }
    }
}

/// Where the scan is relative to cells and quotes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum QuoteState {
    FieldStart,
    /// In an unquoted cell or after a closing quote. Quotes are ordinary characters here.
    Outside,
    Inside,
    /// After a quote in a quoted cell. It either closes the cell or is the first of a doubled quote.
    Closing,
}

impl QuoteState {
    fn after_bytes(self, bytes: &[u8], delimiter: u8) -> Self {
        bytes.iter().fold(self, |quotes, &byte| match (quotes, byte) {
            (Self::Inside, b'"') => Self::Closing,
            (Self::Inside, _) | (Self::FieldStart | Self::Closing, b'"') => Self::Inside,
            (_, byte) if byte == delimiter => Self::FieldStart,
            _ => Self::Outside,
        })
    }
}

/// Splits a record into cells. A cell is copied only if it has doubled quotes or text after its closing quote.
fn split_cells(record: &str, delimiter: u8) -> Vec<Cow<'_, str>> {
    let delimiter = char::from(delimiter);
    let mut cells = Vec::new();
    let mut rest = record;
    loop {
        let (cell, after) = match rest.strip_prefix('"') {
            None => {
                let end = rest.find(delimiter).unwrap_or(rest.len());
                (Cow::Borrowed(&rest[..end]), &rest[end..])
            }
            Some(quoted) => {
                let end = find_closing_quote(quoted);
                let inside = &quoted[..end];
                let after = quoted.get(end + 1..).unwrap_or_default();
                // Text after the closing quote belongs to the cell, as in spreadsheets.
                let tail = after.find(delimiter).unwrap_or(after.len());
                let cell = match (inside.contains("\"\""), &after[..tail]) {
                    (false, "") => Cow::Borrowed(inside),
                    (_, tail) => Cow::Owned(inside.replace("\"\"", "\"") + tail),
                };
                (cell, &after[tail..])
            }
        };
        cells.push(cell);
        match after.strip_prefix(delimiter) {
            Some(next) => rest = next,
            None => return cells,
        }
    }
}

/// Position of the closing quote, skipping doubled quotes.
fn find_closing_quote(quoted: &str) -> usize {
    let bytes = quoted.as_bytes();
    let mut position = 0;
    while let Some(found) = memchr::memchr(b'"', &bytes[position..]) {
        position += found;
        if bytes.get(position + 1) != Some(&b'"') {
            return position;
        }
        position += 2;
    }
    quoted.len()
}

fn parse_header(record: &[u8], delimiter: u8) -> Result<Vec<String>, FieldError> {
    let names: Vec<_> =
        split_cells(decode_utf8(record)?, delimiter).iter().map(|name| name.trim().to_owned()).collect();
    for (index, name) in names.iter().enumerate() {
        if !name.is_empty() && names[..index].contains(name) {
            return Err(FieldError::new("", format!("has two columns named `{name}`; rename one of them")));
        }
    }
    Ok(names)
}

fn draft_record(record: &[u8], delimiter: u8, columns: &[String], options: &RowOptions) -> Result<Draft, FieldError> {
    let cells = split_cells(decode_utf8(record)?, delimiter);
    if cells.len() != columns.len() {
        let message =
            format!("has {} cells, but the header has {}: is a quote or comma missing?", cells.len(), columns.len());
        return Err(FieldError::new("", message));
    }
    let named_cells = || columns.iter().zip(&cells).filter(|(name, _)| !name.is_empty());
    let template_fields: Fields<'_> =
        named_cells().map(|(name, cell)| (name.into(), Json::Text(cell.as_ref().into()))).collect();
    let fields: Fields<'_> =
        named_cells().filter_map(|(name, cell)| typed_field(name, cell, options.input.legacy_rows)).collect();
    if !options.input.legacy_rows {
        // Cells may contain JSON.
        fields.iter().try_for_each(|(name, value)| value.refuse_duplicates().map_err(|error| error.within(name)))?;
    }
    row::build_draft(&fields, &template_fields, options)
}

/// Converts a cell to the type that its column has in a JSONL row. `None` for blank cells other than `prompt`, and for
/// columns that only templates read.
fn typed_field<'a>(name: &'a str, cell: &'a str, is_legacy: bool) -> Option<(Cow<'a, str>, Json<'a>)> {
    let is_blank = cell.trim().is_empty();
    let text = || Json::Text(cell.into());
    let value = match name {
        "prompt" => text(),
        _ if is_blank => return None,
        "id" | "system" | "model" | "tier" | "reasoning_effort" => text(),
        "temperature" | "top_p" | "max_usd" | "max_tokens" | "max_output_tokens" | "max_completion_tokens" | "seed" => {
            parse_number(cell)
        }
        "thinking" | "json" | "model_pinned" => match cell.trim().to_ascii_lowercase().as_str() {
            "true" => Json::Bool(true),
            "false" => Json::Bool(false),
            _ => parse_json_cell(cell).unwrap_or_else(|| parse_number(cell)),
        },
        "messages" | "images" | "image" | "stop" | "response_format" | "extra_body" => {
            parse_json_cell(cell).unwrap_or_else(text)
        }
        name if picture_fields::may_name_pictures(name) && !is_legacy => parse_json_cell(cell).unwrap_or_else(text),
        _ => return None,
    };
    // Earlier versions accepted `image` and `images` for this column. If a file had both, the last one counted.
    Some((Cow::Borrowed(if name == "image" && is_legacy { "images" } else { name }), value))
}

/// Parses a number. Other text stays text, so that the type error is reported as for a JSONL row.
fn parse_number(cell: &str) -> Json<'_> {
    let cell = cell.trim();
    if let Ok(whole) = cell.parse() {
        return Json::Int(whole);
    }
    let number = cell.parse().ok().and_then(Number::from_f64);
    number.map_or_else(|| Json::Text(cell.into()), Json::Number)
}

/// Parses a list or an object that is written as JSON in the cell.
fn parse_json_cell(cell: &str) -> Option<Json<'_>> {
    let looks_like_json = cell.trim_start().starts_with(['[', '{']);
    looks_like_json.then(|| Json::parse(cell).ok()).flatten()
}

/// Detects the delimiter from the header: a comma if there is one, else a tab or a semicolon.
pub(super) fn detect_delimiter(header: &str) -> u8 {
    if header.contains(',') {
        return b',';
    }
    if header.contains('\t') {
        return b'\t';
    }
    if header.contains(';') { b';' } else { b',' }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_split_as_spreadsheets_write_them() {
        for (record, want) in [
            ("a,b,c", vec!["a", "b", "c"]),
            ("", vec![""]),
            (",", vec!["", ""]),
            (r#""a,b",c"#, vec!["a,b", "c"]),
            (r#""say ""hi""",c"#, vec![r#"say "hi""#, "c"]),
            (r#""","""#, vec!["", ""]),
            (r#""""""#, vec![r#"""#]),
            (r#"5" pipe,6" pipe"#, vec![r#"5" pipe"#, r#"6" pipe"#]),
            (r#""a"b,c"#, vec!["ab", "c"]),
            ("\"two\nlines\",c", vec!["two\nlines", "c"]),
            ("ä,\"ö,\",ü", vec!["ä", "ö,", "ü"]),
        ] {
            assert_eq!(split_cells(record, b','), want, "{record}");
        }
    }

    #[test]
    fn the_delimiter_is_detected_from_the_header() {
        for (header, want) in [("a,b;c", b','), ("a;b", b';'), ("a\tb", b'\t'), ("prompt", b',')] {
            assert_eq!(detect_delimiter(header), want, "{header}");
        }
    }
}

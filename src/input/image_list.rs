//! Reads a file that lists pictures, one on each line.

use std::{io, path::Path};

use super::{
    image_batch::ImageBatch,
    lines::LineReader,
    listed_path::{path_exists, resolve_listed_path},
    picture_file::{is_picture, reason_not_a_file},
    picture_names::extension_of,
};

/// Reads a list of pictures, in the order of its lines.
pub(super) fn read_list(file: &Path, base_dir: &Path) -> io::Result<ImageBatch> {
    let mut lines = LineReader::open(file)?;
    let mut batch = ImageBatch::default();
    loop {
        match lines.advance() {
            Ok(false) => return Ok(batch),
            Ok(true) if lines.is_blank() => {}
            Ok(true) => match lines.text() {
                Ok(line) if is_comment(base_dir, line) => {}
                Ok(line) => {
                    let path = resolve_listed_path(base_dir, line);
                    if let Some(reason) = reason_unsendable(base_dir, &path) {
                        batch.unsendable.push((lines.line_number(), format!("{path} {reason}")));
                    }
                    batch.pictures.push((line_number(&lines), path.into()));
                }
                Err(error) => batch.excluded.push((lines.line_number(), error.to_string())),
            },
            Err(error) => {
                batch.errors.push((lines.line_number(), error));
                return Ok(batch);
            }
        }
    }
}

/// True for a line of a list that begins with `#` and names no existing file.
fn is_comment(base_dir: &Path, line: &str) -> bool {
    line.trim_start().starts_with('#') && !path_exists(base_dir, &resolve_listed_path(base_dir, line))
}

/// The reason why a listed path can't be sent, as far as it is known without reading the file.
fn reason_unsendable(base_dir: &Path, path: &str) -> Option<String> {
    let full_path = base_dir.join(path);
    if is_url(path) {
        return Some("is a URL, but a list must name files; download it, or use rows with `images`".to_owned());
    }
    if extension_of(path) == "svg" {
        return Some("is an SVG drawing, which no provider accepts; convert it to PNG".to_owned());
    }
    let reason = reason_not_a_file(&full_path);
    reason.or_else(|| (!is_picture(&full_path)).then(|| "is not a picture".to_owned()))
}

fn is_url(path: &str) -> bool {
    let scheme = path.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https"))
}

fn line_number(lines: &LineReader) -> u32 {
    u32::try_from(lines.line_number()).unwrap_or(u32::MAX)
}

//! Refuses files in formats that can't be read, and says how to convert them.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use super::error::InputError;

/// Refuses known binary formats, and says how to convert them.
pub(super) fn refuse_binary(head: &[u8], display_path: &Path) -> Result<(), InputError> {
    let unpacked = || converted_path(display_path, display_path.file_stem().and_then(OsStr::to_str), "-unpacked");
    let message = match head {
        [0x1F, 0x8B, ..] => {
            format!("is compressed; unpack it first, as in {}", shell_command("zcat", display_path, &unpacked()))
        }
        [0x28, 0xB5, 0x2F, 0xFD, ..] => {
            format!("is compressed; unpack it first, as in {}", shell_command("zstdcat", display_path, &unpacked()))
        }
        [b'P', b'K', 3, 4, ..] => "is a ZIP archive (or a spreadsheet); unpack it, or save the sheet as CSV".to_owned(),
        [b'P', b'A', b'R', b'1', ..] => {
            let (from, to) = (sql_quote(display_path), sql_quote(&jsonl_path(display_path)));
            format!("is Parquet; convert it, as in `duckdb -c \"copy {from} to {to} (format json)\"`")
        }
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => {
            let converted = converted_path(display_path, None, "-utf8");
            format!(
                "is UTF-16; convert it, as in {}",
                shell_command("iconv -f utf-16 -t utf-8", display_path, &converted)
            )
        }
        _ if head.contains(&0) => "is not a text file: it contains zero bytes".to_owned(),
        _ => return Ok(()),
    };
    Err(InputError::unsupported_format(display_path, message))
}

/// A shell command for a message that converts the file `from` to `to`. If `from` is a pipe, the command is shown as
/// part of the pipe.
pub(super) fn shell_command(program: &str, from: &Path, to: &Path) -> String {
    if from.is_file() {
        format!("`{program} {} > {}`", shell_quote(from), shell_quote(to))
    } else {
        format!("`… | {program} | cascadeck run -`")
    }
}

/// A path for the converted file in the folder of `display_path`: its name is `name`, or else that of `display_path`
/// with `suffix` before the extension. Never `display_path` itself, since the shell would empty that file before it is
/// read.
fn converted_path(display_path: &Path, name: Option<&str>, suffix: &str) -> PathBuf {
    if let Some(path) = name.map(|name| display_path.with_file_name(name)).filter(|path| path != display_path) {
        return path;
    }
    let mut name = display_path.file_stem().unwrap_or_default().to_os_string();
    name.push(suffix);
    if let Some(extension) = display_path.extension() {
        name.push(".");
        name.push(extension);
    }
    display_path.with_file_name(name)
}

/// The path for JSONL rows made from another format.
pub(super) fn jsonl_path(display_path: &Path) -> PathBuf {
    let name = format!("{}.jsonl", display_path.file_stem().unwrap_or_default().to_string_lossy());
    converted_path(display_path, Some(&name), "-lines")
}

/// Quotes a path for a shell.
fn shell_quote(path: &Path) -> String {
    let path = path.display().to_string();
    let is_plain = |letter: char| letter.is_alphanumeric() || "._-/+,:@%=".contains(letter);
    if path.chars().all(is_plain) { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

/// Quotes a path for SQL.
fn sql_quote(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "''"))
}

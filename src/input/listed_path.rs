//! The path that a line of a list names. Quotes, shell escapes and backslashes around it are understood.

use std::{borrow::Cow, path::Path};

/// The path that a line of a list names: the first of these that exists: the line as written, without quotes, without
/// shell escapes, or with backslashes converted to slashes. If none exists: the line without quotes.
pub(super) fn resolve_listed_path<'l>(base_dir: &Path, line: &'l str) -> Cow<'l, str> {
    let plain = strip_dot_slash(line);
    if path_exists(base_dir, plain) {
        return plain.into();
    }
    let unquoted = strip_quotes(plain);
    if path_exists(base_dir, unquoted) {
        return unquoted.into();
    }
    if unquoted.contains('\\') {
        let others = [remove_escapes(unquoted), unquoted.replace('\\', "/")];
        if let Some(path) = others.into_iter().find(|path| path_exists(base_dir, path)) {
            return strip_dot_slash(&path).to_owned().into();
        }
    }
    unquoted.into()
}

pub(super) fn path_exists(base_dir: &Path, path: &str) -> bool {
    !path.is_empty() && base_dir.join(path).symlink_metadata().is_ok()
}

/// Removes surrounding quotes.
pub(super) fn strip_quotes(line: &str) -> &str {
    let strip = |quote: char| line.strip_prefix(quote)?.strip_suffix(quote);
    strip('"').or_else(|| strip('\'')).map_or(line, strip_dot_slash)
}

fn remove_escapes(path: &str) -> String {
    let mut letters = path.chars();
    let mut plain = String::with_capacity(path.len());
    while let Some(letter) = letters.next() {
        plain.extend(if letter == '\\' { letters.next() } else { Some(letter) });
    }
    plain
}

/// Removes leading `./`, so that `./a.png` and `a.png` are the same picture.
pub(super) fn strip_dot_slash(path: &str) -> &str {
    let mut path = path.trim();
    while let Some(rest) = path.strip_prefix("./") {
        path = rest.trim_start_matches('/');
    }
    path
}

//! Reading of the INPUT argument by itself: whether it is a pipe or a pattern, and how the run is called.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

pub(super) const WILDCARDS: [char; 3] = ['*', '?', '['];
/// The run name of every input that comes through a pipe.
const PIPE_RUN_NAME: &str = "stdin";

/// The run name for this argument: not empty, and safe as a folder name. It is needed before the input is opened, since
/// a pipe's copy is kept in the run directory.
pub fn run_name(argument: &str) -> String {
    if is_pipe(argument) {
        return PIPE_RUN_NAME.to_owned();
    }
    let path = Path::new(argument);
    if !path.exists() && is_pattern(argument) {
        return folder_name(&glob_tail(path).to_string_lossy());
    }
    let real = if path.file_name().is_none() { path.canonicalize().ok() } else { None };
    let path = real.as_deref().unwrap_or(path);
    let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
    folder_name(&name.unwrap_or_default().to_string_lossy())
}

/// True if the argument can be read only once, like a pipe. Opening it then writes a copy.
pub fn is_stream(argument: &str) -> bool {
    argument == "-" || fs::metadata(argument).is_ok_and(|meta| !meta.is_dir() && !meta.is_file())
}

/// Normalizes the argument for the record, so that different spellings of the same path or pipe are equal.
pub fn normalize_argument(argument: &str) -> String {
    if is_pipe(argument) { "-".to_owned() } else { normalize_path(argument) }
}

/// True if the argument means a pipe: `-`, or a name that the shell or the system makes up, like `/dev/fd/63`.
fn is_pipe(argument: &str) -> bool {
    argument == "-" || ["/dev/fd", "/dev/stdin", "/proc"].iter().any(|pipes| Path::new(argument).starts_with(pipes))
}

/// Removes parts that don't change the meaning of a path: `./pics//2026/` becomes `pics/2026`.
fn normalize_path(path: &str) -> String {
    let normalized: PathBuf = Path::new(path).components().filter(|part| *part != Component::CurDir).collect();
    if normalized.as_os_str().is_empty() { path.to_owned() } else { normalized.to_string_lossy().into_owned() }
}

/// The end of a pattern, from the last folder before its first wildcard: `photos/*.jpg` for `/home/me/photos/*.jpg`.
fn glob_tail(pattern: &Path) -> PathBuf {
    let components: Vec<_> = pattern.components().collect();
    let first_wildcard = components.iter().position(has_wildcard).unwrap_or(0);
    components[first_wildcard.saturating_sub(1)..].iter().collect()
}

/// True for a shell pattern: with a wildcard, or with alternatives in braces.
pub(super) fn is_pattern(argument: &str) -> bool {
    argument.contains(WILDCARDS) || expand_braces(argument).len() > 1
}

pub(super) fn has_wildcard(component: &Component<'_>) -> bool {
    component.as_os_str().to_string_lossy().contains([WILDCARDS.as_slice(), &['{']].concat().as_slice())
}

/// The patterns without alternatives that a pattern stands for: `a.png` and `a.jpg` for `a.{png,jpg}`. Braces without
/// a comma or without their counterpart are ordinary characters. As in a shell, they can be nested.
pub(super) fn expand_braces(pattern: &str) -> Vec<String> {
    /// Enough for any pattern that is written by hand.
    const MAX_PATTERNS: usize = 4_096;
    let mut expanded = Vec::new();
    let mut unexpanded = vec![pattern.to_owned()];
    while let Some(next) = unexpanded.pop() {
        match split_first_braces(&next) {
            Some((start, alternatives, end)) if unexpanded.len() + expanded.len() < MAX_PATTERNS => {
                unexpanded.extend(alternatives.iter().rev().map(|middle| format!("{start}{middle}{end}")));
            }
            _ => expanded.push(next),
        }
    }
    expanded
}

/// The text before the first pair of braces with alternatives, the alternatives, and the text behind it.
fn split_first_braces(pattern: &str) -> Option<(&str, Vec<&str>, &str)> {
    for (open, _) in pattern.match_indices('{') {
        let (mut depth, mut from, mut alternatives) = (0, open + 1, Vec::new());
        for (at, letter) in pattern[open + 1..].char_indices().map(|(at, letter)| (at + open + 1, letter)) {
            match letter {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' if depth == 0 => {
                    alternatives.push(&pattern[from..at]);
                    from = at + 1;
                }
                '}' => {
                    if alternatives.is_empty() {
                        break;
                    }
                    alternatives.push(&pattern[from..at]);
                    return Some((&pattern[..open], alternatives, &pattern[at + 1..]));
                }
                _ => {}
            }
        }
    }
    None
}

/// Makes a safe folder name: `photos-jpg` for `photos/*.jpg`.
fn folder_name(name: &str) -> String {
    let is_safe = |letter: char| letter.is_alphanumeric() || "._-".contains(letter);
    let pieces: Vec<_> = name
        .split(|letter| !is_safe(letter))
        .map(|piece| piece.trim_matches(['.', '-']))
        .filter(|piece| !piece.is_empty())
        .collect();
    let name: String = pieces.join("-").chars().take(80).collect();
    if name.is_empty() { "input".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_stand_for_alternatives() {
        for (pattern, want) in [
            ("a.{png,jpg}", &["a.png", "a.jpg"][..]),
            ("{a,b}/{1,2}*", &["a/1*", "a/2*", "b/1*", "b/2*"]),
            ("x{a,{b,c}d,}", &["xa", "xbd", "xcd", "x"]),
            ("{a}{b,c", &["{a}{b,c"]),
            ("{a}{b,c}", &["{a}b", "{a}c"]),
            ("a}b,{", &["a}b,{"]),
            ("plain", &["plain"]),
        ] {
            assert_eq!(expand_braces(pattern), want, "{pattern}");
        }
        // However many there are, they end.
        assert!(expand_braces(&"{a,b}".repeat(30)).len() <= 8_192);
    }

    #[test]
    fn run_names_are_safe_folder_names() {
        for (argument, want) in [
            ("-", "stdin"),
            ("/dev/fd/63", "stdin"),
            ("/nowhere/gsm8k_test.jsonl", "gsm8k_test"),
            ("summer 2026.csv", "summer-2026"),
            ("größe.csv", "größe"),
            ("/nowhere/photos/*.jpg", "photos-jpg"),
            ("photos/2026-*/**/a?.png", "photos-2026-a-png"),
            ("*", "input"),
            ("src/input", "input"),
            ("src/input/..", "src"),
            ("src/input/.", "input"),
        ] {
            assert_eq!(run_name(argument), want, "{argument}");
        }
    }

    #[test]
    fn spellings_of_one_path_are_normalized() {
        for (argument, want) in [
            ("pics", "pics"),
            ("pics/", "pics"),
            ("./pics", "pics"),
            (".//pics/./2026//", "pics/2026"),
            ("/pics/", "/pics"),
            ("../pics", "../pics"),
            (".", "."),
            ("photos/*.jpg", "photos/*.jpg"),
            ("-", "-"),
            ("/dev/fd/63", "-"),
        ] {
            assert_eq!(normalize_argument(argument), want, "{argument}");
        }
    }
}

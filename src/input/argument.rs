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
    if !path.exists() && argument.contains(WILDCARDS) {
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

pub(super) fn has_wildcard(component: &Component<'_>) -> bool {
    component.as_os_str().to_string_lossy().contains(WILDCARDS)
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

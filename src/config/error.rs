//! Errors in a configuration: all errors together, each with its position where it is known. Values are quoted with
//! `quote_unless_secret`, so that no error contains a key.

use std::{
    fmt::{self, Write as _},
    path::PathBuf,
};

use crate::domain::sanitize;

/// Maximum number of errors shown. A file with more errors is probably the wrong file.
const MAX_SHOWN: usize = 40;

/// All errors of a configuration. `Display` prints one error a line, then what to do next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigErrors(pub Vec<ConfigError>);

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    /// The path as the user would write it; `None` if the error is not in a file.
    pub file: Option<PathBuf>,
    /// `None` if the error concerns the whole file.
    pub position: Option<Position>,
    /// One sentence that says what to change, without a full stop.
    pub message: String,
}

/// A position counted from 1; columns in characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

impl Position {
    /// Converts a byte offset of `text`. An offset past the end, or inside a character, is rounded down.
    pub fn from_offset(text: &str, offset: usize) -> Self {
        let before = &text[..text.floor_char_boundary(offset)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self { line: 1 + before.matches('\n').count(), column: 1 + before[line_start..].chars().count() }
    }
}

impl ConfigErrors {
    pub(super) fn single(file: Option<PathBuf>, message: impl Into<String>) -> Self {
        Self(vec![ConfigError { file, position: None, message: message.into() }])
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}:", sanitize(&file.display().to_string()))?;
            if let Some(Position { line, column }) = self.position {
                write!(f, "{line}:{column}:")?;
            }
            f.write_char(' ')?;
        }
        f.write_str(&self.message)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().take(MAX_SHOWN).enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        if let Some(more @ 1..) = self.0.len().checked_sub(MAX_SHOWN) {
            write!(f, "\n… and {more} more")?;
        }
        // Errors without a file say in their message what to do.
        if let Some(file) = self.0.iter().find_map(|error| error.file.as_deref()) {
            let file = sanitize(&file.display().to_string()).into_owned();
            write!(
                f,
                "\nNothing was sent. Correct {file} and run the same command again; \
                 keys.example.toml explains every setting."
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Quotes a word from the file for a message, unless it looks like an API key that was written in the wrong place.
pub(super) fn quote_unless_secret(word: &str) -> String {
    if looks_like_secret(word) {
        "(not shown: it looks like a secret)".to_owned()
    } else {
        format!("`{}`", sanitize(word))
    }
}

/// True if a word may be an API key; also in doubt. Names of models and variables don't look like this.
pub(super) fn looks_like_secret(word: &str) -> bool {
    const PREFIXES: [&str; 9] = ["sk-", "sk_", "AIza", "AQ.", "gsk_", "xai-", "tgp_", "hf_", "nvapi-"];
    let has_long_mixed_run = word.split(|c: char| !c.is_ascii_alphanumeric()).any(|run| {
        run.len() >= 20
            && run.bytes().any(|byte| byte.is_ascii_digit())
            && run.bytes().any(|byte| byte.is_ascii_lowercase())
    });
    has_long_mixed_run || word.len() > 100 || word.len() >= 8 && PREFIXES.iter().any(|prefix| word.starts_with(prefix))
}

/// Returns ` (did you mean ...?)`, or nothing if no candidate is similar to `word`.
pub(super) fn format_suggestion<'w>(word: &str, candidates: impl IntoIterator<Item = &'w str>) -> String {
    nearest_match(word, candidates)
        .map_or_else(String::new, |nearest| format!(" (did you mean {}?)", quote_unless_secret(nearest)))
}

/// Returns the candidate that is most similar to `word`; `None` if none is similar enough.
pub fn nearest_match<'w>(word: &str, candidates: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let lowered: String = word.to_lowercase().chars().take(100).collect();
    candidates
        .into_iter()
        .map(|candidate| (edit_distance(&lowered, &candidate.to_lowercase()), candidate))
        .min()
        .filter(|&(distance, candidate)| distance * 3 <= candidate.chars().count().max(3))
        .map(|(_, candidate)| candidate)
}

/// Edit distance: the number of characters to insert, delete, replace or swap with their neighbour (optimal string
/// alignment).
fn edit_distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows = vec![vec![0; to.len() + 1]; from.len() + 1];
    for i in 0..=from.len() {
        for j in 0..=to.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i.max(j)
            } else {
                let substituted = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
                substituted.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1)
            };
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                rows[i][j] = rows[i][j].min(rows[i - 2][j - 2] + 1);
            }
        }
    }
    rows[from.len()][to.len()]
}

/// Joins words for a message: `a`, `a or b`, `a, b or c`.
pub(super) fn join_alternatives<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    let words: Vec<&str> = words.into_iter().collect();
    match words.as_slice() {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let text = "a = 1\nnäme = 2\n";
        for (offset, line, column) in [(0, 1, 1), (4, 1, 5), (6, 2, 1), (8, 2, 2), (12, 2, 6), (999, 3, 1)] {
            assert_eq!(Position::from_offset(text, offset), Position { line, column }, "offset {offset}");
        }
    }

    #[test]
    fn only_a_similar_word_is_suggested() {
        let words = ["model_first", "key_first"];
        assert_eq!(format_suggestion("modelfirst", words), " (did you mean `model_first`?)");
        assert_eq!(format_suggestion("Key_First", words), " (did you mean `key_first`?)");
        assert_eq!(format_suggestion("fastest", words), "");
        assert_eq!(format_suggestion("rmp", ["tpm", "rpm"]), " (did you mean `rpm`?)");
        assert_eq!(format_suggestion("qps", ["tpm", "rpm"]), "");
        assert_eq!(format_suggestion("rpmm", ["rpm", "tpm"]), " (did you mean `rpm`?)");
    }

    #[test]
    fn keys_are_not_echoed_but_names_are() {
        let secrets = [
            "AIzaSyD-0123456789abcdefghijk",
            "sk-proj-abc123def456",
            "AQ.Ab8RN6JxyzQ",
            "gsk_0a1b2c3d4e5f",
            "0123456789abcdef0123456789abcdef",
        ];
        for secret in secrets {
            assert!(looks_like_secret(secret), "{secret}");
            assert!(!quote_unless_secret(secret).contains(&secret[..6]), "{secret}");
        }
        let names = [
            "gemini-3.5-flash-lite",
            "Meta-Llama-3.1-405B-Instruct-Turbo",
            "GEMINI_API_KEY_2_FOR_PRODUCTION",
            "deepseek/deepseek-r1-distill-llama-70b:free",
            "claude-sonnet-4-5-20250929",
            "cascade",
        ];
        for name in names {
            assert_eq!(quote_unless_secret(name), format!("`{name}`"));
        }
    }
}

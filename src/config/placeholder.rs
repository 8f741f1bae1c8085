//! Placeholders that users leave instead of a key: an unexpanded variable, or a text from an example.
//!
//! Only a text that certainly isn't a key is refused. Local servers accept any word ("ollama", "EMPTY",
//! "sk-no-key-required"), and a key may consist of nearly any characters, so short or plain words are accepted.

use std::fmt;

use super::error::{looks_like_secret, quote_unless_secret};
use crate::domain::sanitize;

/// Notations for a variable in shells and templates: the text before and after its name.
const EXPANSIONS: [(&str, &str); 10] = [
    ("${", "}"),
    ("$(", ")"),
    ("{{", "}}"),
    ("%", "%"),
    ("$env:", ""),
    ("$", ""),
    ("process.env.", ""),
    ("env.", ""),
    ("ENV.", ""),
    ("os.environ.", ""),
];

/// Brackets around a description of the missing value.
const BRACKETS: [(char, char); 3] = [('<', '>'), ('[', ']'), ('{', '}')];

/// Words of example texts, in lower case, letters and digits only.
const EXAMPLE_WORDS: [&str; 7] =
    ["apikeyhere", "keyhere", "changeme", "replaceme", "replacewith", "insertkey", "placeholder"];

/// Beginnings of example texts in one word, as above.
const EXAMPLE_STARTS: [&str; 5] = ["yourapikey", "yourkey", "yoursecret", "yourtoken", "yourrealkey"];

/// Prefixes of keys. In a placeholder, only `x` or `*` follows them.
const KEY_PREFIXES: [&str; 14] =
    ["sk", "rk", "pk", "ak", "ant", "api03", "proj", "or", "v1", "gsk", "xai", "hf", "nvapi", "AIza"];

/// Minimum number of `x` or `*` in a masked key.
const MIN_MASK_CHARS: usize = 3;

/// A text that certainly isn't a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Placeholder {
    /// A variable: in a notation that is not expanded here, or its bare name.
    Variable { name: String, text: String },
    /// A text from an example, in a form that may be shown.
    Example(String),
}

impl Placeholder {
    /// Returns `text` as a placeholder if it is one.
    pub fn detect(text: &str) -> Option<Self> {
        let text = text.trim();
        if is_example(text) {
            return Some(Self::Example(quote_placeholder(text)));
        }
        if let Some(name) = expanded_variable(text) {
            return Some(Self::Variable { name: name.to_owned(), text: format!("`{text}`") });
        }
        let bracketed = BRACKETS.iter().any(|(open, close)| text.starts_with(*open) && text.ends_with(*close));
        (bracketed || text.starts_with('$')).then(|| Self::Example(quote_placeholder(text)))
    }

    /// Detects a variable without its `env:` prefix: `OPENAI_API_KEY`, `ENV:OPENAI_API_KEY`.
    pub fn detect_bare_variable(text: &str) -> Option<Self> {
        let (name, is_bare) = match text.split_at_checked(4) {
            Some((prefix, name)) if prefix.eq_ignore_ascii_case("env:") => (name.trim(), false),
            _ => (text, true),
        };
        let is_variable = is_variable_name(name) && (!is_bare || names_a_key(name));
        is_variable.then(|| Self::Variable { name: name.to_owned(), text: format!("`{text}`") })
    }

    /// The text to write in keys.toml instead.
    pub fn advice(&self) -> String {
        match self {
            Self::Variable { name, .. } => {
                format!("write \"env:{name}\" to read it from the variable {name}, or the key itself")
            }
            Self::Example(_) => {
                "write the key itself, or \"env:NAME\" to read it from a variable, as in \"env:OPENAI_API_KEY\""
                    .to_owned()
            }
        }
    }
}

/// Writes `is the placeholder ..., not a key`.
impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable { text, .. } => write!(f, "is the name of a variable, {text}, not a key"),
            Self::Example(text) => write!(f, "is the placeholder {text}, not a key"),
        }
    }
}

/// Quotes a text for a message unless it may contain a key. Texts with digits are not shown.
fn quote_placeholder(text: &str) -> String {
    let inside = text.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    if is_masked(text) && text.len() <= 100 {
        format!("`{}`", sanitize(text))
    } else if looks_like_secret(inside) || text.contains(|c: char| c.is_ascii_digit()) {
        "(not shown: it may contain a secret)".to_owned()
    } else {
        quote_unless_secret(text)
    }
}

/// The variable in `$NAME`, `${NAME}`, `%NAME%` and the like, if the name is valid.
fn expanded_variable(text: &str) -> Option<&str> {
    EXPANSIONS.iter().find_map(|(open, close)| {
        let name = text.strip_prefix(open)?.strip_suffix(close)?.trim();
        is_variable_name(name).then_some(name)
    })
}

/// True for words in capitals, the usual form of variable names. A text in another form may be a key.
fn is_variable_name(name: &str) -> bool {
    let is_name_byte = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    let has_words = name.contains('_') || !name.contains(|c: char| c.is_ascii_digit());
    name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
        && name.bytes().all(is_name_byte)
        && has_words
        && !looks_like_secret(name)
}

/// True if one of the words of a variable's name means a key: `OPENAI_API_KEY`, `GEMINI_KEY_ALICE`.
fn names_a_key(name: &str) -> bool {
    name.contains('_') && name.split('_').any(|word| matches!(word, "KEY" | "KEYS" | "TOKEN" | "SECRET" | "APIKEY"))
}

/// True if a text contains example words or an ellipsis, or is a masked key.
fn is_example(text: &str) -> bool {
    let letters: String = text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    EXAMPLE_WORDS.iter().any(|word| letters.contains(word))
        || has_your_key_phrase(text)
        || text.contains("...")
        || text.contains('…')
        || is_masked(text)
}

/// True for `your_openai_key`, `YOUR-GEMINI-KEY`, `sk-your-own-key-here` and `yourOpenaiKey`. `letters` contains the
/// letters and digits of `text` in lower case.
fn has_your_key_phrase(text: &str) -> bool {
    const BEFORE: [&str; 6] = ["add", "enter", "insert", "paste", "put", "use"];
    const SECRETS: [&str; 5] = ["key", "keys", "token", "secret", "apikey"];
    const AFTER: [&str; 2] = ["goes", "here"];
    let lower = text.to_ascii_lowercase();
    let mut words: Vec<&str> =
        lower.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    while words.last().is_some_and(|word| AFTER.contains(word) || word.bytes().all(|byte| byte.is_ascii_digit())) {
        words.pop();
    }
    let is_prefix = |word: &&str| BEFORE.contains(word) || KEY_PREFIXES.contains(word);
    let start = words.iter().position(|word| !is_prefix(word)).unwrap_or(words.len());
    match &words[start..] {
        // A key of random letters may begin and end so, and have digits.
        [word] => {
            EXAMPLE_STARTS.iter().any(|start| word.starts_with(start))
                || (word.starts_with("your")
                    && SECRETS.iter().any(|secret| word.ends_with(secret))
                    && word.bytes().all(|byte| byte.is_ascii_alphabetic()))
        }
        [first, .., last] => *first == "your" && SECRETS.contains(last),
        [] => false,
    }
}

/// True for a masked key: `xxx`, `sk-xxxxxxxx`, `AIzaXXXXX`, `sk-ant-****`. Only `x` or `*` follows the prefix.
fn is_masked(text: &str) -> bool {
    let mut mask_chars = 0;
    for part in text.split(['-', '_', '.']) {
        let part = part.strip_prefix("AIza").unwrap_or(part);
        if KEY_PREFIXES.contains(&part) {
            continue;
        }
        if !part.bytes().all(|byte| matches!(byte, b'x' | b'X' | b'*')) {
            return false;
        }
        mask_chars += part.len();
    }
    mask_chars >= MIN_MASK_CHARS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_is_reported_with_advice() {
        let describe = |text: &str| Placeholder::detect(text).map(|found| format!("{found}: {}", found.advice()));
        assert_eq!(
            describe("$OPENAI_API_KEY").as_deref(),
            Some(
                "is the name of a variable, `$OPENAI_API_KEY`, not a key: write \"env:OPENAI_API_KEY\" to read it from the \
                 variable OPENAI_API_KEY, or the key itself"
            )
        );
        assert_eq!(
            describe("YOUR_API_KEY").as_deref(),
            Some(
                "is the placeholder `YOUR_API_KEY`, not a key: write the key itself, or \"env:NAME\" to read it from a \
                 variable, as in \"env:OPENAI_API_KEY\""
            )
        );
    }

    #[test]
    fn a_key_inside_a_placeholder_is_not_shown() {
        for text in
            ["<sk-hunter2hunter2>", "[AIzahunter2hunter2]", "{hunter2hunter2hunter2hunter2}", "sk-hunter2...hunter2"]
        {
            let found = Placeholder::detect(text).unwrap().to_string();
            assert!(found.contains("not shown") && !found.contains("hunter2"), "{found}");
        }
    }
}

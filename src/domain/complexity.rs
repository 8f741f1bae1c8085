//! Estimates how demanding an item is from its text alone, for routing rules by complexity.
//!
//! Only the item's own messages count: a system prompt is the same for thousands of items and does not distinguish
//! them. Wrong estimates are cheap, because a rule only chooses among routes.

use unicode_segmentation::UnicodeSegmentation as _;

use super::request::{Part, Request};

/// Text counts as code if it has a code fence, or at least this many lines that look like code.
const MIN_CODE_LINES: usize = 2;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Complexity {
    /// Counted by Unicode word boundaries, so that scripts without spaces are counted too.
    pub word_count: u64,
    pub has_code: bool,
    /// The whole text in lower case, for finding terms.
    lowercase_text: String,
}

impl Complexity {
    pub fn of(request: &Request) -> Self {
        let (mut word_count, mut has_code, mut code_lines, mut lowercase_text) = (0, false, 0, String::new());
        for part in request.messages.iter().flat_map(|message| &message.parts) {
            let Part::Text(text) = part else { continue };
            word_count += text.unicode_words().count() as u64;
            has_code |= text.lines().any(|line| line.trim_start().starts_with("```"));
            code_lines += text.lines().filter(|line| looks_like_code(line.trim())).take(MIN_CODE_LINES).count();
            lowercase_text.push_str(&text.to_lowercase());
            lowercase_text.push('\n');
        }
        Self { word_count, has_code: has_code || code_lines >= MIN_CODE_LINES, lowercase_text }
    }

    /// Returns the `terms` that occur as whole words, ignoring case.
    pub fn find_terms<'t>(&self, terms: &'t [String]) -> Vec<&'t str> {
        terms.iter().map(String::as_str).filter(|term| self.contains_term(&term.to_lowercase())).collect()
    }

    fn contains_term(&self, term: &str) -> bool {
        let is_letter = |letter: Option<char>| letter.is_some_and(char::is_alphanumeric);
        !term.is_empty()
            && self.lowercase_text.match_indices(term).any(|(at, found)| {
                let before = self.lowercase_text[..at].chars().next_back();
                let after = self.lowercase_text[at + found.len()..].chars().next();
                // A term that begins or ends with a symbol (`c++`) has its word boundary at that symbol.
                let extends_before = is_letter(before) && is_letter(term.chars().next());
                let extends_after = is_letter(after) && is_letter(term.chars().next_back());
                !extends_before && !extends_after
            })
    }
}

/// Whether a line has a form that is rare in prose.
fn looks_like_code(line: &str) -> bool {
    const OPENINGS: [&str; 6] = ["#include", "#!/", "<?php", "@Override", "using namespace ", "package "];
    const DEFINITIONS: [&str; 8] =
        ["def ", "fn ", "func ", "function ", "class ", "pub fn ", "async def ", "public static "];
    let defines = DEFINITIONS.iter().any(|word| line.starts_with(word)) && line.ends_with([':', '{', ')', '}']);
    let opens = OPENINGS.iter().any(|opening| line.starts_with(opening));
    let imports = (line.starts_with("import ") || line.starts_with("from ") && line.contains(" import "))
        && !line.ends_with(['.', '?', '!']);
    defines || opens || imports || line.ends_with([';', '{']) || line == "}" || line.ends_with("});")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Complexity {
        Complexity::of(&Request::from_prompt(text))
    }

    #[test]
    fn words_are_counted_in_any_script() {
        for (text, words) in [("", 0), ("Why is the sky blue?", 5), ("it's one-two", 3), ("空は青い", 4), ("— … !", 0)]
        {
            assert_eq!(of(text).word_count, words, "{text}");
        }
    }

    #[test]
    fn the_system_prompt_does_not_count() {
        let request = Request { system: Some("one two three".to_owned()), ..Request::from_prompt("four") };
        assert_eq!(Complexity::of(&request).word_count, 1);
    }

    #[test]
    fn code_is_told_from_prose() {
        for (text, code) in [
            ("Explain:\n```python\nprint(1)\n```", true),
            ("What does this do?\ndef f(x):\n    return x\nimport os", true),
            ("int main() {\n  return 0;\n}", true),
            ("import numpy as np\nfrom os import path", true),
            ("Write a poem about the sea; make it short.", false),
            ("I came;\nI saw.\nI conquered.", false),
            ("Let me know\nfrom where you import tea.", false),
            ("What is a class in school? Define it:", false),
        ] {
            assert_eq!(of(text).has_code, code, "{text}");
        }
    }

    #[test]
    fn terms_are_whole_words_in_any_case() {
        let terms = ["tensor".to_owned(), "C++".to_owned(), "Fourier transform".to_owned(), "art".to_owned()];
        let text = of("A TENSOR in c++, and the fourier transform of a party");
        assert_eq!(text.find_terms(&terms), ["tensor", "C++", "Fourier transform"]);
        assert_eq!(of("tensors abc++").find_terms(&terms[..1]), [""; 0]);
    }
}

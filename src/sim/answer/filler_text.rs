//! Sentences made from the prompt's own words.

/// Words that give an instruction or join a sentence, rather than name its subject.
const STOP_WORDS: &[&str] = &[
    "about",
    "after",
    "again",
    "also",
    "answer",
    "anything",
    "because",
    "before",
    "being",
    "between",
    "both",
    "compare",
    "describe",
    "difference",
    "different",
    "does",
    "each",
    "example",
    "explain",
    "find",
    "from",
    "give",
    "good",
    "happens",
    "have",
    "hello",
    "help",
    "into",
    "keep",
    "know",
    "largest",
    "least",
    "like",
    "line",
    "list",
    "long",
    "made",
    "make",
    "makes",
    "many",
    "mean",
    "more",
    "most",
    "much",
    "name",
    "need",
    "never",
    "once",
    "only",
    "other",
    "others",
    "over",
    "people",
    "plan",
    "please",
    "really",
    "rewrite",
    "same",
    "save",
    "sentence",
    "sentences",
    "should",
    "show",
    "simple",
    "some",
    "someone",
    "suggest",
    "summarise",
    "tell",
    "than",
    "that",
    "their",
    "them",
    "then",
    "there",
    "these",
    "they",
    "thing",
    "things",
    "this",
    "three",
    "turn",
    "under",
    "until",
    "used",
    "very",
    "well",
    "were",
    "what",
    "when",
    "where",
    "which",
    "while",
    "whole",
    "will",
    "with",
    "without",
    "word",
    "words",
    "work",
    "world",
    "would",
    "write",
    "your",
];

/// The beginning of a quoted passage, if the prompt asks to shorten one.
pub(super) fn quoted_beginning(prompt: &str) -> Option<String> {
    let summary_terms = ["summarise", "summarize", "headline", "summary"];
    let (request, rest) = prompt.split_once('"')?;
    let request = request.to_lowercase();
    if !summary_terms.iter().any(|word| request.contains(word)) {
        return None;
    }
    let (passage, _) = rest.rsplit_once('"')?;
    let clause = passage.find([',', '.', ';']).map_or(passage, |end| &passage[..end]);
    (clause.split_whitespace().count() >= 3).then(|| format!("{}.", clause.trim()))
}

/// A sentence about the prompt. `hash` chooses its form.
pub(super) fn filler_sentence(prompt: &str, hash: u64) -> String {
    let [first, second] = main_words(prompt);
    match hash % 6 {
        0 => format!("Simulated: a real model would show how {first} and {second} hang together, with an example."),
        1 => format!("In short, it comes down to {first} and {second}. (Simulated; nothing was looked up.)"),
        2 => format!("Expect a plain sentence on {first} from a real model, and another one on {second}. (Simulated.)"),
        3 => format!("Two things matter here: {first} sets the terms, and {second} decides. (Simulated.)"),
        4 => format!("Start with {first}, and {second} explains itself. This sentence is simulated."),
        _ => format!("A simulated answer on {first}: one fact, one reason, and a word about {second}."),
    }
}

/// The two longest main words, in the prompt's order.
fn main_words(prompt: &str) -> [String; 2] {
    let letter_count = |word: &String| word.chars().count();
    let mut words: Vec<String> = Vec::new();
    for word in prompt.split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '\'')) {
        let word = word.trim_matches(['-', '\'']).to_lowercase();
        if letter_count(&word) > 3 && !STOP_WORDS.contains(&word.as_str()) && !words.contains(&word) {
            words.push(word);
        }
    }
    while words.len() > 2 {
        let shortest = words.iter().map(letter_count).min().unwrap_or_default();
        // If several words are the shortest, the last of them is dropped, because a prompt's subject tends to come
        // first.
        let Some(at) = words.iter().rposition(|word| letter_count(word) == shortest) else { break };
        words.remove(at);
    }
    let mut words = words.into_iter();
    let mut next = |default: &str| words.next().unwrap_or_else(|| default.to_owned());
    [next("the question"), next("its context")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn main_words_are_the_longest_in_the_prompts_order() {
        let cases = [
            ("What is the difference between heat and temperature?", ["heat", "temperature"]),
            ("Why do cats purr?", ["cats", "purr"]),
            ("How do migrating birds find their way at night?", ["migrating", "birds"]),
            ("Why?", ["the question", "its context"]),
        ];
        for (prompt, subjects_expected) in cases {
            assert_eq!(main_words(prompt), subjects_expected, "{prompt}");
        }
    }

    #[test]
    fn quoted_passages_are_cut_to_their_beginning_on_request() {
        let answer =
            quoted_beginning("Summarise in one line: \"The mill burned down in 1911, was rebuilt, and is a library.\"");
        assert_eq!(answer.as_deref(), Some("The mill burned down in 1911."));
        assert_eq!(quoted_beginning("Where does the phrase \"to bury the lede\" come from?"), None);
        assert_eq!(quoted_beginning("Summarise: \"No.\""), None);
    }
}

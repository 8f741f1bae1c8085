//! Makes captions of answers.

use serde::{Deserialize, Serialize};

use super::named::names;

/// One thing that is cleaned out of answers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CleanupStep {
    /// Control characters, byte order marks and carriage returns.
    Control,
    /// The thoughts of a model, between `<think>` and `</think>`.
    Thinking,
    /// A code fence around the whole.
    Fences,
    /// "Here is a caption:" before the caption.
    Preamble,
    /// Quotation marks around the whole.
    Quotes,
    /// Line breaks and repeated blanks.
    Whitespace,
}

names!(CleanupStep {
    Control = "control",
    Thinking = "thinking",
    Fences = "fences",
    Preamble = "preamble",
    Quotes = "quotes",
    Whitespace = "whitespace",
});

/// How answers are made captions. The record keeps the answers as they came.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CaptionRules {
    /// The steps that are left out.
    pub skipped_steps: Vec<CleanupStep>,
    /// The word that is put before captions without it.
    pub prepended_trigger: Option<String>,
    /// The word that every caption must contain.
    pub required_trigger: Option<String>,
    /// A refusal is a caption like any other answer.
    pub allows_refusals: bool,
}

impl CaptionRules {
    /// The caption of an answer; empty if nothing is left of it.
    pub fn caption_from(&self, answer: &str) -> String {
        let does = |step: CleanupStep| !self.skipped_steps.contains(&step);
        let mut text = answer.to_owned();
        if does(CleanupStep::Control) {
            text = text.replace("\r\n", "\n").replace('\r', "\n");
            text.retain(|letter| matches!(letter, '\n' | '\t') || !(letter.is_control() || letter == '\u{feff}'));
        }
        if does(CleanupStep::Thinking) {
            text = without_thinking(&text);
        }
        let mut rest = text.trim();
        // A model may put them around one another: a preamble before a fence, quotes within it.
        for _ in 0..3 {
            let before = rest;
            for (step, strip) in [
                (CleanupStep::Fences, strip_fence as fn(&str) -> &str),
                (CleanupStep::Preamble, strip_preamble),
                (CleanupStep::Quotes, strip_quotes),
            ] {
                if does(step) {
                    rest = strip(rest).trim();
                }
            }
            if rest == before {
                break;
            }
        }
        let mut caption = if does(CleanupStep::Whitespace) {
            rest.split_whitespace().collect::<Vec<_>>().join(" ")
        } else {
            rest.to_owned()
        };
        if let Some(trigger) = &self.prepended_trigger
            && !caption.is_empty()
            && !has_trigger(&caption, trigger)
        {
            caption = format!("{trigger}, {caption}");
        }
        caption
    }
}

/// Whether a caption contains this word, in upper or lower case, and not as a part of another one.
pub fn has_trigger(caption: &str, trigger: &str) -> bool {
    let (caption, trigger) = (caption.to_lowercase(), trigger.to_lowercase());
    let is_part = |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    caption.match_indices(&trigger).any(|(at, found)| {
        let (before, after) = (&caption[..at], &caption[at + found.len()..]);
        !is_part(before.chars().next_back()) && !is_part(after.chars().next())
    })
}

/// Removes what a model thinks aloud. What follows an end without a beginning is the answer; a beginning without an end
/// is all thinking.
fn without_thinking(text: &str) -> String {
    let mut text = text.to_owned();
    for name in ["think", "thinking", "thought", "reasoning"] {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        while let Some(end) = find_ignoring_case(&text, &close) {
            let start = find_ignoring_case(&text[..end], &open).unwrap_or(0);
            text.replace_range(start..end + close.len(), "");
        }
        if let Some(start) = find_ignoring_case(&text, &open) {
            text.truncate(start);
        }
    }
    text
}

/// Finds an ASCII text in upper or lower case.
fn find_ignoring_case(text: &str, what: &str) -> Option<usize> {
    text.as_bytes().windows(what.len()).position(|window| window.eq_ignore_ascii_case(what.as_bytes()))
}

/// Removes a code fence around the whole text.
fn strip_fence(text: &str) -> &str {
    let inner = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    let Some(inner) = inner.filter(|inner| !inner.contains("```")) else { return text };
    match inner.split_once('\n') {
        // The name of a language.
        Some((first, rest)) if !first.trim().contains(char::is_whitespace) => rest,
        _ => inner,
    }
}

/// Words for a caption, in the languages in which models answer most.
const NOUNS: [&str; 22] = [
    "caption",
    "description",
    "alt text",
    "alt-text",
    "tags",
    "prompt",
    "bildunterschrift",
    "beschreibung",
    "bildbeschreibung",
    "légende",
    "legende",
    "leyenda",
    "descripción",
    "descrição",
    "legenda",
    "didascalia",
    "descrizione",
    "beschrijving",
    "opis",
    "описание",
    "подпись",
    "image",
];

/// How a preamble begins.
const OPENERS: [&str; 21] = [
    "here is",
    "here's",
    "here are",
    "sure",
    "certainly",
    "of course",
    "absolutely",
    "okay",
    "ok",
    "hier ist",
    "hier sind",
    "gerne",
    "natürlich",
    "voici",
    "aquí",
    "claro",
    "ecco",
    "aqui",
    "hier is",
    "oto",
    "вот",
];

/// Words that may stand between the word for a caption and the colon: "a caption **for this image** as requested:".
const FILLERS: [&str; 59] = [
    "for",
    "of",
    "to",
    "the",
    "this",
    "your",
    "that",
    "you",
    "image",
    "images",
    "picture",
    "photo",
    "photograph",
    "provided",
    "given",
    "uploaded",
    "requested",
    "attached",
    "asked",
    "in",
    "english",
    "below",
    "follows",
    "as",
    "für",
    "das",
    "dieses",
    "dein",
    "ihr",
    "bild",
    "bildes",
    "foto",
    "pour",
    "cette",
    "l'image",
    "la",
    "de",
    "para",
    "esta",
    "imagen",
    "imagem",
    "per",
    "questa",
    "immagine",
    "l'immagine",
    "da",
    "voor",
    "deze",
    "afbeelding",
    "het",
    "dla",
    "tego",
    "obrazu",
    "zdjęcia",
    "для",
    "этого",
    "изображения",
    "к",
    "it",
];

/// Longest preamble in bytes.
const MAX_PREAMBLE_BYTES: usize = 160;

/// Removes a preamble that ends with a colon: "Sure! Here is a caption for this image:".
fn strip_preamble(text: &str) -> &str {
    let line_end = text.find('\n').unwrap_or(text.len());
    for (at, colon) in text[..line_end].char_indices().filter(|(_, letter)| matches!(letter, ':' | '：')) {
        if at > MAX_PREAMBLE_BYTES {
            break;
        }
        let is_mark = |letter: char| matches!(letter, '*' | '#' | '_' | '>') || letter.is_whitespace();
        let start = text[..at].trim_matches(is_mark).to_lowercase().replace('’', "'");
        let is_noun = NOUNS.iter().any(|noun| start == *noun || start == format!("image {noun}"));
        if is_noun || is_preamble(&start) {
            return text[at + colon.len_utf8()..].trim_start_matches(is_mark);
        }
    }
    let chinese = ["描述：", "标题：", "图片描述：", "説明："];
    chinese.iter().find_map(|start| text.strip_prefix(start)).unwrap_or(text)
}

/// Whether a text in lower case, without its colon, is a preamble: an opener, then a word for a caption, and after the
/// last one nothing but fillers.
fn is_preamble(start: &str) -> bool {
    let ends_word = |rest: &str| !rest.starts_with(char::is_alphanumeric);
    let has_opener = OPENERS.iter().any(|opener| start.strip_prefix(opener).is_some_and(ends_word));
    let nouns = NOUNS.iter().flat_map(|noun| start.match_indices(noun).map(|(at, noun)| at..at + noun.len()));
    let whole_words = nouns.filter(|noun| {
        !start[..noun.start].ends_with(char::is_alphanumeric) && ends_word(start[noun.end..].trim_start_matches('s'))
    });
    let Some(last) = whole_words.max_by_key(|noun| noun.end).filter(|_| has_opener) else { return false };
    let mut rest = start[last.end..].trim_start_matches('s').split_whitespace();
    rest.all(|word| FILLERS.contains(&word.trim_matches(|letter: char| !letter.is_alphanumeric())))
}

/// Removes one pair of quotation marks around the whole text, unless there are more of them in it.
fn strip_quotes(text: &str) -> &str {
    const PAIRS: [(char, char); 9] = [
        ('"', '"'),
        ('\'', '\''),
        ('`', '`'),
        ('“', '”'),
        ('‘', '’'),
        ('«', '»'),
        ('„', '“'),
        ('「', '」'),
        ('„', '”'),
    ];
    for (open, close) in PAIRS {
        if let Some(inner) = text.strip_prefix(open).and_then(|rest| rest.strip_suffix(close))
            && !inner.contains(open)
            && (!inner.contains(close) || close == '’')
        {
            return inner;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_become_captions_of_one_line() {
        for (answer, want) in [
            ("A red cup.", "A red cup."),
            ("\"A red cup.\"", "A red cup."),
            ("“A red cup”", "A red cup"),
            ("\"Stop\" and \"Go\" signs", "\"Stop\" and \"Go\" signs"),
            ("Here is a caption:\n\nA red cup.", "A red cup."),
            ("Sure! Here are some tags for the provided image: cup, red", "cup, red"),
            (
                "Here is an image of a shop with a sign that reads: \"Open\"",
                "Here is an image of a shop with a sign that reads: \"Open\"",
            ),
            (
                "Here's an image of a clock showing 10:45 on a desk",
                "Here's an image of a clock showing 10:45 on a desk",
            ),
            ("Oklahoma license plate image: red dirt road", "Oklahoma license plate image: red dirt road"),
            ("Sure! Here's a detailed description of the image: A red cup.", "A red cup."),
            ("**Caption:** A red cup.", "A red cup."),
            ("Caption: \"A red cup.\"", "A red cup."),
            ("Hier ist eine Bildunterschrift: Eine Tasse.", "Eine Tasse."),
            ("Voici une légende : une tasse", "une tasse"),
            ("A sign with the caption: open", "A sign with the caption: open"),
            ("Two cups: one red, one blue.", "Two cups: one red, one blue."),
            ("```\nA red cup.\n```", "A red cup."),
            ("```text\nA red cup.\n```", "A red cup."),
            ("Here is the caption:\n```\n\"A red cup.\"\n```", "A red cup."),
            ("<think>It is a cup: \"red\".</think>\nA red cup.", "A red cup."),
            ("It is a cup.</think>A red cup.", "A red cup."),
            ("<think>It is a", ""),
            ("A red\r\ncup.\r\n\r\nOn a  table.\u{7}\u{feff}\n", "A red cup. On a table."),
            ("  ", ""),
        ] {
            assert_eq!(CaptionRules::default().caption_from(answer), want, "{answer:?}");
        }
    }

    #[test]
    fn each_step_can_be_left_out() {
        let answer = "\u{7}<think>So</think>Here is a caption:\n\"A  cup.\"";
        for (skipped, want) in [
            (vec![CleanupStep::Quotes], "\"A cup.\""),
            (vec![CleanupStep::Preamble], "Here is a caption: \"A cup.\""),
            (vec![CleanupStep::Whitespace], "A  cup."),
            (vec![CleanupStep::Thinking], "<think>So</think>Here is a caption: \"A cup.\""),
            (vec![CleanupStep::Fences, CleanupStep::Control], "\u{7}Here is a caption: \"A cup.\""),
        ] {
            let rules = CaptionRules { skipped_steps: skipped, ..CaptionRules::default() };
            assert_eq!(rules.caption_from(answer), want, "{rules:?}");
        }
        let rules = CaptionRules { skipped_steps: CleanupStep::ALL.to_vec(), ..CaptionRules::default() };
        assert_eq!(rules.caption_from(answer), answer);
    }

    #[test]
    fn a_trigger_is_a_word_of_its_own_and_put_before_where_it_is_missing() {
        let rules = CaptionRules { prepended_trigger: Some("ohwx".to_owned()), ..CaptionRules::default() };
        assert_eq!(rules.caption_from("A cup."), "ohwx, A cup.");
        assert_eq!(rules.caption_from("An OHWX cup."), "An OHWX cup.");
        assert_eq!(rules.caption_from(""), "");
        assert!(!has_trigger("ohwxy cups", "ohwx") && has_trigger("cups, ohwx", "ohwx"));
    }
}

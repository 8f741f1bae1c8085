//! Detects whether a text looks like the name, path or URL of a picture, by its form alone. No file is looked up.

use std::path::Path;

use super::listed_path::strip_quotes;
use crate::domain::PictureType;

/// Extensions of files that may be meant as pictures but can't be sent as one: no provider accepts these formats as a
/// picture. A PDF may be a scan, so it is among them.
pub(super) const UNSENDABLE_EXTENSIONS: [&str; 9] = ["svg", "pdf", "psd", "eps", "ico", "jp2", "jxl", "dng", "raw"];
/// The first characters of PNG, JPEG, GIF and WebP in base64.
const BASE64_STARTS: [&str; 4] = ["iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR"];
/// Characters that may separate a name from other fields on its line.
const DELIMITERS: [char; 3] = [',', ';', '|'];

/// The form of a line in a text file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LineShape {
    /// The name of a picture, in one word or in quotes.
    Name,
    /// Probably the name of a picture: a path or a short name with spaces in it, a picture as text (a data URL or
    /// base64), or a name with other fields on the line. Whether it is one depends on the other lines.
    PossibleName,
    /// A sentence that ends in a picture's extension, so it is probably a prompt.
    Sentence,
    /// A path or a URL without a picture's extension, alone or in the first field. It may lead to a picture.
    Location,
    /// Anything else: it doesn't look like the name of a picture, so it is a prompt.
    Prompt,
}

impl LineShape {
    pub(super) fn classify(line: &str) -> Self {
        let unquoted = strip_quotes(line);
        if is_data_url(unquoted) || is_picture_base64(unquoted) {
            return Self::PossibleName;
        }
        if !has_picture_extension(unquoted) {
            return Self::classify_fields(line, unquoted);
        }
        let is_path = starts_like_a_path(unquoted);
        if unquoted.contains(char::is_whitespace) {
            if unquoted != line {
                Self::Name
            } else if ends_in_bare_extension(unquoted) {
                Self::Prompt
            } else if is_path || (may_be_name_with_spaces(unquoted) && !mentions_files(unquoted)) {
                Self::PossibleName
            } else {
                Self::Sentence
            }
        } else if unquoted == line && !is_path && unquoted.chars().any(is_unspaced_script_char) {
            Self::PossibleName
        } else {
            Self::Name
        }
    }

    /// Classifies a line that doesn't end in a picture's extension. `unquoted` is the line without quotes around it.
    fn classify_fields(line: &str, unquoted: &str) -> Self {
        if has_name_among_fields(line) {
            Self::PossibleName
        } else if is_location(unquoted) || has_location_before_fields(line) {
            Self::Location
        } else {
            Self::Prompt
        }
    }
}

/// True if a text ends in a picture's extension, also in one that no provider accepts.
pub(super) fn has_picture_extension(text: &str) -> bool {
    let extension = extension_of(text);
    PictureType::from_extension(&extension).is_some() || UNSENDABLE_EXTENSIONS.contains(&extension.as_str())
}

/// The extension in lower case. For a URL, its query is ignored.
pub(super) fn extension_of(text: &str) -> String {
    // A text of several lines or of many bytes is not a name.
    const MAX_NAME_BYTES: usize = 4_096;
    let text = text.trim();
    if text.len() > MAX_NAME_BYTES || text.contains('\n') {
        return String::new();
    }
    let name = if text.contains("://") { text.split(['?', '#']).next().unwrap_or_default() } else { text };
    Path::new(name).extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_ascii_lowercase()
}

/// True for base64 of a picture without a media type.
pub(super) fn is_picture_base64(text: &str) -> bool {
    const MIN_BASE64_BYTES: usize = 64;
    text.len() >= MIN_BASE64_BYTES && !text.contains('.') && BASE64_STARTS.iter().any(|start| text.starts_with(start))
}

pub(super) fn is_data_url(text: &str) -> bool {
    const START: &str = "data:image/";
    text.get(..START.len()).is_some_and(|start| start.eq_ignore_ascii_case(START))
}

/// True for a text that may be a file name with spaces: it has few words, and no characters that file names can't have
/// on all systems.
fn may_be_name_with_spaces(text: &str) -> bool {
    const MAX_WORDS: usize = 8;
    !text.contains([':', '?', '*', '"', '<', '>', '|']) && text.split_whitespace().count() <= MAX_WORDS
}

/// True if the last word is nothing but an extension: `Convert .heic to .jpg`.
fn ends_in_bare_extension(text: &str) -> bool {
    text.split_whitespace().next_back().is_some_and(|word| word.starts_with('.') && !word.contains('/'))
}

/// True if a text of several words ends in a document's or drawing's name, or has another picture's name inside:
/// `Summarise report.pdf`, `convert a.jpg b.png`.
fn mentions_files(text: &str) -> bool {
    let mut words = text.split_whitespace();
    let begins_with_name = words.next().is_some_and(has_picture_extension);
    words.next_back();
    UNSENDABLE_EXTENSIONS.contains(&extension_of(text).as_str())
        || (!begins_with_name && words.any(has_picture_extension))
}

/// True for a letter of a script without spaces between words. A sentence in it looks like one word.
const fn is_unspaced_script_char(letter: char) -> bool {
    matches!(
        letter,
        // Thai.
        '\u{e00}'..='\u{e7f}'
        // Hiragana and Katakana.
        | '\u{3040}'..='\u{30ff}'
        // Chinese characters: extension A (3400 to 4dbf) and the basic block (4e00 to 9fff).
        | '\u{3400}'..='\u{9fff}'
        // Chinese characters: extensions B and later.
        | '\u{20000}'..='\u{3ffff}'
    )
}

/// True for a path or a URL with nothing else in the text. A picture's extension is not needed.
fn is_location(text: &str) -> bool {
    if text.contains(char::is_whitespace) {
        return false;
    }
    // An absolute path must have at least two components: `/start` may be a command, and `// …` a comment.
    let has_two_components =
        |rest: &str| rest.split_once('/').is_some_and(|(first, rest)| !first.is_empty() && !rest.is_empty());
    match text.strip_prefix('/') {
        Some(rest) => has_two_components(rest),
        None => starts_like_a_path(text),
    }
}

/// True for texts like `/a`, `./a`, `~/a`, `C:\a`, `\\server\a` and `https://a`.
fn starts_like_a_path(text: &str) -> bool {
    let has_drive = |bytes: &[u8]| matches!(bytes, [drive, b':', b'\\' | b'/', _, ..] if drive.is_ascii_alphabetic());
    let has_scheme = |(scheme, rest): (&str, &str)| {
        let is_scheme_char = |letter: char| letter.is_ascii_alphanumeric() || "+-.".contains(letter);
        !scheme.is_empty() && scheme.chars().all(is_scheme_char) && !rest.is_empty()
    };
    ["/", "./", "../", "~/", ".\\", "..\\", "\\\\"]
        .iter()
        .any(|start| text.len() > start.len() && text.starts_with(start))
        || has_drive(text.as_bytes())
        || text.split_once("://").is_some_and(has_scheme)
}

/// True if a line contains a picture's name and other fields: `a.png,1`, `a.png 0`, `a.png<TAB>a caption`.
fn has_name_among_fields(line: &str) -> bool {
    let is_name = |field: &str| {
        let unquoted = strip_quotes(field.trim());
        has_picture_extension(unquoted)
            && (is_one_word(unquoted) || unquoted != field.trim() || may_be_name_with_spaces(unquoted))
    };
    if line.contains('\t') && line.split('\t').any(is_name) {
        return true;
    }
    if let Some((first, rest)) = line.split_once(DELIMITERS)
        && is_name(first)
    {
        return is_one_word(strip_quotes(first)) || strip_quotes(first) != first || has_only_numbers(rest);
    }
    line.split_once(' ').is_some_and(|(first, rest)| is_name(first) && has_only_numbers(rest))
}

/// True if a path or URL stands before further fields. What follows counts as fields only after a tab or if it is
/// numbers: a URL and a comma may be the start of a sentence.
fn has_location_before_fields(line: &str) -> bool {
    let is_location_field = |field: &str| is_location(strip_quotes(field.trim()));
    line.split_once('\t').is_some_and(|(first, _)| is_location_field(first))
        || line.split_once(DELIMITERS).is_some_and(|(first, rest)| is_location_field(first) && has_only_numbers(rest))
        || line.split_once(' ').is_some_and(|(first, rest)| is_location_field(first) && has_only_numbers(rest))
}

fn is_one_word(text: &str) -> bool {
    !text.contains(char::is_whitespace)
}

/// True if every word of a text is a number.
fn has_only_numbers(text: &str) -> bool {
    text.split([' ', ',', ';', '|']).all(|word| word.is_empty() || word.parse::<f64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_classified_by_its_form() {
        for (lines, expected) in [
            (
                &["gone.png", "b.pdf", "c.PSD", "'my photo.png'", "https://x.example/a.png?size=2", "a/b.jpg"][..],
                LineShape::Name,
            ),
            (
                &[
                    "my photo.png",
                    "WhatsApp Image 2023-11-02 at 10.22.33 PM (1).jpeg",
                    "- gone.png",
                    "Draw me logo.png",
                    r"C:\Users\me\Pictures\gone one.png",
                    r"C:\Users\me\All the pictures that we took in the summer of 2019\a.png",
                    "HTTPS://x.example/a b.png",
                    "data:image/png;base64,AAAA",
                    "gone.png,1",
                    "gone.png;a cup, red",
                    "gone.png, a red cup",
                    "\"my photo.png\",1",
                    "my photo.png,1",
                    "\"gone.png\",",
                    "gone.png\ta caption",
                    "17\tmy photo.png\ta caption of more than a few words, as captions are",
                    "请把这张图片转换成output.png",
                    "n01440764/n01440764_10026.JPEG 0",
                    "gone.png 0.5 1 2",
                ],
                LineShape::PossibleName,
            ),
            (
                &[
                    "Write a shell command that makes every picture small and writes it to out.png",
                    "Which of these is larger: a.jpg or b.png",
                    "Summarise report.pdf",
                    "convert a.jpg b.png",
                ],
                LineShape::Sentence,
            ),
            (
                &[
                    r"C:\scans\0001",
                    "/home/me/photos/0001",
                    "./0001",
                    "~/photos/0001",
                    "~/.bashrc",
                    "https://x.example/photo/17",
                    "https://x.example/photo/17,0.5",
                    "s3://bucket/17",
                    "file:///photos/17",
                    "https://x.example/photo/17\ta caption",
                ],
                LineShape::Location,
            ),
            (
                &[
                    "Draw me logo.png.",
                    "Draw logo.png, please",
                    "Describe how logo.png should look",
                    "What does `convert a.jpg b.png` do?",
                    "logo.png needs a better background: which one?",
                    "Summarise https://x.example/article in a sentence",
                    "https://x.example/article is down: why?",
                    "http://localhost:8080/health, why is it down?",
                    "Q1\thttps://a.b/c\tsummarise",
                    "How do I open a .pdf",
                    "Convert .heic to .jpg",
                    "写一首关于猫的诗",
                    "Explain and/or, TCP/IP and yes/no",
                    "and/or",
                    "/start",
                    "/imagine a cat",
                    "// What does this comment say?",
                    "What is Node.js?",
                    "Translate: good morning",
                    "1, 2, 3, 5, 8: what comes next?",
                    "Red; green; blue",
                    "A: yes",
                    "~",
                    "...",
                    "",
                ],
                LineShape::Prompt,
            ),
        ] {
            for line in lines {
                assert_eq!(LineShape::classify(line), expected, "{line}");
            }
        }
    }
}

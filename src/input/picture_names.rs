//! Detects whether a text looks like the name, path or URL of a picture. No file is looked up.

use std::path::Path;

use super::listed_path::strip_quotes;
use crate::domain::PictureType;

/// Extensions of pictures that no provider accepts.
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
    /// A path, a URL, a short name with blanks in it, or one of these with other fields on the line.
    PerhapsName,
    /// A sentence that ends in a picture's extension.
    Sentence,
    /// A path or a URL without a picture's extension, alone or in the first field.
    Location,
    /// Anything else: it doesn't look like the name of a picture.
    Prompt,
}

impl LineShape {
    pub(super) fn of(line: &str) -> Self {
        let unquoted = strip_quotes(line);
        if is_data_url(unquoted) || is_picture_base64(unquoted) {
            return Self::PerhapsName;
        }
        if !names_a_picture(unquoted) {
            return Self::of_fields(line, unquoted);
        }
        let is_path = starts_like_a_path(unquoted);
        if unquoted.contains(char::is_whitespace) {
            match () {
                () if unquoted != line => Self::Name,
                () if ends_in_bare_extension(unquoted) => Self::Prompt,
                () if is_path || (is_short_name(unquoted) && !mentions_files(unquoted)) => Self::PerhapsName,
                () => Self::Sentence,
            }
        } else if unquoted == line && !is_path && unquoted.chars().any(is_of_script_without_blanks) {
            Self::PerhapsName
        } else {
            Self::Name
        }
    }

    fn of_fields(line: &str, plain: &str) -> Self {
        if has_name_among_fields(line) {
            Self::PerhapsName
        } else if is_location(plain) || has_location_before_fields(line) {
            Self::Location
        } else {
            Self::Prompt
        }
    }
}

/// True if a text ends in a picture's extension, also in one that no provider accepts.
pub(super) fn names_a_picture(text: &str) -> bool {
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

/// True for a text that may be a file name with blanks: it has few words, and no characters that file names can't have
/// on all systems.
fn is_short_name(text: &str) -> bool {
    const MAX_WORDS: usize = 8;
    !text.contains([':', '?', '*', '"', '<', '>', '|']) && text.split_whitespace().count() <= MAX_WORDS
}

/// Whether the last word is nothing but an extension: `Convert .heic to .jpg`.
fn ends_in_bare_extension(text: &str) -> bool {
    text.split_whitespace().next_back().is_some_and(|word| word.starts_with('.') && !word.contains('/'))
}

/// Whether a text of several words ends in a document's or drawing's name, or has another picture's name inside:
/// `Summarise report.pdf`, `convert a.jpg b.png`.
fn mentions_files(text: &str) -> bool {
    let mut words = text.split_whitespace();
    let begins_with_name = words.next().is_some_and(names_a_picture);
    words.next_back();
    UNSENDABLE_EXTENSIONS.contains(&extension_of(text).as_str()) || (!begins_with_name && words.any(names_a_picture))
}

/// A letter of Chinese, Japanese or Thai: a sentence in it is one word.
const fn is_of_script_without_blanks(letter: char) -> bool {
    matches!(letter, '\u{e00}'..='\u{e7f}' | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{20000}'..='\u{3ffff}')
}

/// A URL, or a path that begins like one: nothing else on the line.
fn is_location(text: &str) -> bool {
    if text.contains(char::is_whitespace) {
        return false;
    }
    // A path has at least two names: `/start` may be a command, and `// …` a comment.
    let is_absolute =
        |rest: &str| rest.split_once('/').is_some_and(|(first, rest)| !first.is_empty() && !rest.is_empty());
    match text.strip_prefix('/') {
        Some(rest) => is_absolute(rest),
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
        names_a_picture(unquoted) && (is_one_word(unquoted) || unquoted != field.trim() || is_short_name(unquoted))
    };
    if line.contains('\t') && line.split('\t').any(is_name) {
        return true;
    }
    if let Some((first, rest)) = line.split_once(DELIMITERS)
        && is_name(first)
    {
        return is_one_word(strip_quotes(first)) || strip_quotes(first) != first || are_numbers(rest);
    }
    line.split_once(' ').is_some_and(|(first, rest)| is_name(first) && are_numbers(rest))
}

/// Whether a path or URL stands before further fields. Only a tab or numbers are surely fields: a sentence may follow a
/// URL and a comma.
fn has_location_before_fields(line: &str) -> bool {
    let is_first = |first: &str| is_location(strip_quotes(first.trim()));
    line.split_once('\t').is_some_and(|(first, _)| is_first(first))
        || line.split_once(DELIMITERS).is_some_and(|(first, rest)| is_first(first) && are_numbers(rest))
        || line.split_once(' ').is_some_and(|(first, rest)| is_first(first) && are_numbers(rest))
}

fn is_one_word(text: &str) -> bool {
    !text.contains(char::is_whitespace)
}

fn are_numbers(text: &str) -> bool {
    text.split([' ', ',', ';', '|']).all(|word| word.is_empty() || word.parse::<f64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart_by_how_they_are_written() {
        for (lines, want) in [
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
                LineShape::PerhapsName,
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
                assert_eq!(LineShape::of(line), want, "{line}");
            }
        }
    }
}

//! Detects whether a text looks like the name, path or URL of a picture. No file is looked up.

use std::path::Path;

use super::image_source::{PICTURE_EXTENSIONS, strip_quotes};

/// Extensions of pictures that no provider accepts.
pub(super) const OTHER_PICTURES: [&str; 9] = ["svg", "pdf", "psd", "eps", "ico", "jp2", "jxl", "dng", "raw"];
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
    /// Anything else: it doesn't look like the name of a picture.
    Prompt,
}

impl LineShape {
    pub(super) fn of(line: &str) -> Self {
        let plain = strip_quotes(line);
        let is_one_word = !plain.contains(char::is_whitespace);
        match names_a_picture(plain) {
            true if is_one_word || plain != line => Self::Name,
            true if is_short_name(plain) || begins_like_a_path(plain) => Self::PerhapsName,
            true => Self::Sentence,
            false if is_location(plain) || has_name_among_fields(line) => Self::PerhapsName,
            false => Self::Prompt,
        }
    }
}

/// True if a text ends in a picture's extension, also in one that no provider accepts.
pub(super) fn names_a_picture(text: &str) -> bool {
    let extension = extension_of(text);
    PICTURE_EXTENSIONS.contains(&extension.as_str()) || OTHER_PICTURES.contains(&extension.as_str())
}

/// The extension in lower case. For a URL, its query is ignored.
pub(super) fn extension_of(text: &str) -> String {
    // A text of several lines or of many bytes is not a name.
    const LONGEST: usize = 4_096;
    let text = text.trim();
    if text.len() > LONGEST || text.contains('\n') {
        return String::new();
    }
    let name = if text.contains("://") { text.split(['?', '#']).next().unwrap_or_default() } else { text };
    Path::new(name).extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_ascii_lowercase()
}

/// True for base64 of a picture without a media type.
pub(super) fn is_base64(text: &str) -> bool {
    const SHORTEST: usize = 64;
    text.len() >= SHORTEST && !text.contains('.') && BASE64_STARTS.iter().any(|start| text.starts_with(start))
}

pub(super) fn is_data_url(text: &str) -> bool {
    const START: &str = "data:image/";
    text.get(..START.len()).is_some_and(|start| start.eq_ignore_ascii_case(START))
}

/// True for a text that may be a file name with blanks: it has few words, and no characters that file names can't have
/// on all systems.
fn is_short_name(text: &str) -> bool {
    const MOST_WORDS: usize = 8;
    !text.contains([':', '?', '*', '"', '<', '>', '|']) && text.split_whitespace().count() <= MOST_WORDS
}

/// True if the whole text is a URL, a picture's data, or a path.
fn is_location(text: &str) -> bool {
    if is_data_url(text) || is_base64(text) {
        return true;
    }
    if text.contains(char::is_whitespace) {
        return false;
    }
    // A path has at least two names: `/start` may be a command, and `// …` a comment.
    let is_absolute =
        |rest: &str| rest.split_once('/').is_some_and(|(first, rest)| !first.is_empty() && !rest.is_empty());
    match text.strip_prefix('/') {
        Some(rest) => is_absolute(rest),
        None => begins_like_a_path(text),
    }
}

/// True for texts like `/a`, `./a`, `~/a`, `C:\a`, `\\server\a` and `https://a`.
fn begins_like_a_path(text: &str) -> bool {
    let has_drive = |bytes: &[u8]| matches!(bytes, [drive, b':', b'\\' | b'/', _, ..] if drive.is_ascii_alphabetic());
    let has_scheme = |(scheme, rest): (&str, &str)| {
        let is_part = |letter: char| letter.is_ascii_alphanumeric() || "+-.".contains(letter);
        !scheme.is_empty() && scheme.chars().all(is_part) && !rest.is_empty()
    };
    ["/", "./", "../", "~/", ".\\", "..\\", "\\\\"]
        .iter()
        .any(|start| text.len() > start.len() && text.starts_with(start))
        || has_drive(text.as_bytes())
        || text.split_once("://").is_some_and(has_scheme)
}

/// True if a line contains a picture's name and other fields: `a.png,1`, `a.png 0`, `a.png<TAB>a caption`.
fn has_name_among_fields(line: &str) -> bool {
    let is_one_word = |field: &str| !field.contains(char::is_whitespace);
    let is_name = |field: &str| {
        let plain = strip_quotes(field.trim());
        is_location(plain)
            || (names_a_picture(plain) && (is_one_word(plain) || plain != field.trim() || is_short_name(plain)))
    };
    if line.contains('\t') && line.split('\t').any(is_name) {
        return true;
    }
    let are_numbers =
        |rest: &str| rest.split([' ', ',', ';', '|']).all(|word| word.is_empty() || word.parse::<f64>().is_ok());
    if let Some((first, rest)) = line.split_once(DELIMITERS)
        && is_name(first)
    {
        return is_one_word(strip_quotes(first)) || strip_quotes(first) != first || are_numbers(rest);
    }
    line.split_once(' ').is_some_and(|(first, rest)| is_name(first) && are_numbers(rest))
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
                    r"C:\scans\0001",
                    "/home/me/photos/0001",
                    "./0001",
                    "~/photos/0001",
                    "https://x.example/photo/17",
                    "HTTPS://x.example/a b.png",
                    "s3://bucket/17",
                    "file:///photos/17",
                    "data:image/png;base64,AAAA",
                    "gone.png,1",
                    "gone.png;a cup, red",
                    "gone.png, a red cup",
                    "\"my photo.png\",1",
                    "my photo.png,1",
                    "\"gone.png\",",
                    "gone.png\ta caption",
                    "17\tmy photo.png\ta caption of more than a few words, as captions are",
                    "https://x.example/photo/17\ta caption",
                    "n01440764/n01440764_10026.JPEG 0",
                    "gone.png 0.5 1 2",
                ],
                LineShape::PerhapsName,
            ),
            (
                &[
                    "Write a shell command that makes every picture small and writes it to out.png",
                    "Which of these is larger: a.jpg or b.png",
                ],
                LineShape::Sentence,
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

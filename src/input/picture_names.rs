//! Whether a text is written as a picture's name, path or URL is. Nothing is looked up.

use std::path::Path;

use super::image_source::{PICTURE_EXTENSIONS, strip_quotes};

/// Extensions of pictures that no provider takes.
pub(super) const OTHER_PICTURES: [&str; 9] = ["svg", "pdf", "psd", "eps", "ico", "jp2", "jxl", "dng", "raw"];
/// How the base64 of PNG, JPEG, GIF and WebP begins.
const BASE64_STARTS: [&str; 4] = ["iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR"];
/// Between a name and what stands beside it on a line.
const DELIMITERS: [char; 3] = [',', ';', '|'];

/// How a line of a text file is written. A text file with such lines is read like this:
///
/// - A `Name` is a picture's wherever it stands: beside prompts, the file is refused as readable in two ways.
/// - A `PerhapsName` is a prompt if nine in ten lines are prompts and no line names a picture for sure. Otherwise the file
///   is refused, unless other lines name pictures that are there, and none is a prompt.
/// - A `Sentence` or a `Location` is a prompt as soon as any line is one. If all lines are such, the file is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LineShape {
    /// A picture's name in one word or in quotes.
    Name,
    /// A short name of a picture with blanks in it, one in a script without blanks, or a name with fields beside it.
    PerhapsName,
    /// Like a sentence, or with the name of a drawing or a document (`.svg`, `.pdf`), but with an extension at its end.
    Sentence,
    /// A path or a URL without a picture's extension, alone or in the first field.
    Location,
    /// Like no picture's name.
    Prompt,
}

impl LineShape {
    pub(super) fn of(line: &str) -> Self {
        let plain = strip_quotes(line);
        if is_data_url(plain) || is_base64(plain) {
            return Self::PerhapsName;
        }
        if !names_a_picture(plain) {
            return Self::of_fields(line, plain);
        }
        let is_path = begins_like_a_path(plain);
        if plain.contains(char::is_whitespace) {
            match () {
                () if plain != line => Self::Name,
                () if ends_in_bare_extension(plain) => Self::Prompt,
                () if is_path || (is_short_name(plain) && !speaks_of_files(plain)) => Self::PerhapsName,
                () => Self::Sentence,
            }
        } else if plain == line && !is_path && plain.chars().any(is_of_script_without_blanks) {
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

/// Whether a text has a picture's extension at its end, also one of a picture that no provider takes.
pub(super) fn names_a_picture(text: &str) -> bool {
    let extension = extension_of(text);
    PICTURE_EXTENSIONS.contains(&extension.as_str()) || OTHER_PICTURES.contains(&extension.as_str())
}

/// In lower case; of a URL without its query.
pub(super) fn extension_of(text: &str) -> String {
    // A text of many lines or pages is no name, whatever it ends in.
    const LONGEST: usize = 4_096;
    let text = text.trim();
    if text.len() > LONGEST || text.contains('\n') {
        return String::new();
    }
    let name = if text.contains("://") { text.split(['?', '#']).next().unwrap_or_default() } else { text };
    Path::new(name).extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_ascii_lowercase()
}

/// Base64 of a picture that does not say its type.
pub(super) fn is_base64(text: &str) -> bool {
    const SHORTEST: usize = 64;
    text.len() >= SHORTEST && !text.contains('.') && BASE64_STARTS.iter().any(|start| text.starts_with(start))
}

pub(super) fn is_data_url(text: &str) -> bool {
    const START: &str = "data:image/";
    text.get(..START.len()).is_some_and(|start| start.eq_ignore_ascii_case(START))
}

/// A name with blanks that files have rather than sentences: of few words, and without the marks that a file's name can't
/// have everywhere.
fn is_short_name(text: &str) -> bool {
    const MOST_WORDS: usize = 8;
    !text.contains([':', '?', '*', '"', '<', '>', '|']) && text.split_whitespace().count() <= MOST_WORDS
}

/// Whether the last word is nothing but an extension: `Convert .heic to .jpg`.
fn ends_in_bare_extension(text: &str) -> bool {
    text.split_whitespace().next_back().is_some_and(|word| word.starts_with('.') && !word.contains('/'))
}

/// Whether a text of several words ends in a document's or drawing's name, or has another picture's name inside:
/// `Summarise report.pdf`, `convert a.jpg b.png`.
fn speaks_of_files(text: &str) -> bool {
    let mut words = text.split_whitespace();
    let begins_with_name = words.next().is_some_and(names_a_picture);
    words.next_back();
    OTHER_PICTURES.contains(&extension_of(text).as_str()) || (!begins_with_name && words.any(names_a_picture))
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
    // Words have single slashes (`/start`), and comments begin with two.
    let is_absolute =
        |rest: &str| rest.split_once('/').is_some_and(|(first, rest)| !first.is_empty() && !rest.is_empty());
    match text.strip_prefix('/') {
        Some(rest) => is_absolute(rest),
        None => begins_like_a_path(text),
    }
}

/// `/a`, `./a`, `~/a`, `C:\a`, `\\server\a`, `https://a`
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

/// Whether a line names a picture with something beside it: `a.png,1`, `a.png 0`, `a.png<TAB>a caption`.
fn has_name_among_fields(line: &str) -> bool {
    let is_name = |field: &str| {
        let plain = strip_quotes(field.trim());
        names_a_picture(plain) && (is_one_word(plain) || plain != field.trim() || is_short_name(plain))
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

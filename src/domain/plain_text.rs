//! Sanitizes text from outside (provider messages, item ids, model names, file names, answers) for one line of a
//! terminal. The result can't move the cursor, recolour, reorder, hide or forge the text around it.
//!
//! All output passes text that the program did not write itself through [`sanitize`], and through no other function.
//! JSON keeps its text as it is and passes [`escape_json`].

use std::{borrow::Cow, fmt::Write as _};

/// Puts `text` on one line and makes characters visible that a terminal would act on or not show.
///
/// Line breaks and tabs become a space. Other C0 controls and DEL become their control picture (`␛`). C1 controls,
/// bidirectional overrides, line separators and invisible characters become their code point (`<U+202E>`). Joiners stay
/// where writing needs them: inside an emoji, and between letters of the scripts that join.
pub fn sanitize(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::new();
    // End of the part of `text` that has been copied; 0 until something was replaced.
    let mut copied = 0;
    let mut before = None;
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        let after = characters.peek().map(|&(_, next)| next);
        if is_harmless(character, before, after) {
            before = Some(character);
            continue;
        }
        clean.push_str(&text[copied..at]);
        copied = at + character.len_utf8();
        replace(character, after, &mut clean);
        before = None;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    clean.push_str(&text[copied..]);
    Cow::Owned(clean)
}

/// Replaces the characters of a JSON text that a terminal would act on or not show by their escapes (`\u202e`). The
/// text means the same to a parser. Line breaks between values stay.
pub fn escape_json(json: &str) -> Cow<'_, str> {
    let is_plain = |character: char| character == '\n' || !(character.is_control() || is_invisible(character));
    if json.chars().all(is_plain) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        if is_plain(character) {
            escaped.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        }
    }
    Cow::Owned(escaped)
}

fn replace(character: char, after: Option<char>, clean: &mut String) {
    match character {
        // The line feed that follows becomes the space.
        '\r' if after == Some('\n') => {}
        '\n' | '\r' | '\t' => clean.push(' '),
        // Control pictures have the same order as the controls.
        '\0'..='\x1f' => clean.extend(char::from_u32(0x2400 + u32::from(character))),
        '\x7f' => clean.push('␡'),
        other => {
            let _ = write!(clean, "<U+{:04X}>", u32::from(other));
        }
    }
}

fn is_harmless(character: char, before: Option<char>, after: Option<char>) -> bool {
    match character {
        '\u{200c}' | '\u{200d}' => {
            let both = |test: fn(char) -> bool| {
                before.is_some_and(|before| test(before) || is_presentation_selector(before)) && after.is_some_and(test)
            };
            both(is_pictograph) || both(is_joining_script)
        }
        // One variation selector after a visible character is normal; a series of them can carry hidden bytes.
        '\u{fe0e}' | '\u{fe0f}' => before.is_some_and(|before| !is_presentation_selector(before)),
        _ => !character.is_control() && !is_invisible(character),
    }
}

const fn is_presentation_selector(character: char) -> bool {
    matches!(character, '\u{fe0e}' | '\u{fe0f}')
}

/// Roughly the characters that emoji sequences consist of, skin tones included.
const fn is_pictograph(character: char) -> bool {
    matches!(character, '\u{2190}'..='\u{2bff}' | '\u{1f000}'..='\u{1faff}')
}

/// Arabic, Syriac and the Indic scripts, where a joiner changes the shape of a letter.
const fn is_joining_script(character: char) -> bool {
    matches!(character, '\u{0600}'..='\u{0dff}') && !is_invisible(character)
}

/// Format characters and blanks that show nothing: they reorder text, separate lines, or hide text.
const fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_made_visible() {
        let cases = [
            ("colour", "\x1b[31mred\x1b[0m", "␛[31mred␛[0m"),
            ("title", "\x1b]0;owned\x07", "␛]0;owned␇"),
            ("clear screen", "\x1b[2J\x1b[H", "␛[2J␛[H"),
            ("hyperlink", "\x1b]8;;http://x\x1b\\y", "␛]8;;http://x␛\\y"),
            ("eight-bit CSI", "\u{9b}31mred", "<U+009B>31mred"),
            ("eight-bit OSC", "\u{9d}0;x\u{9c}", "<U+009D>0;x<U+009C>"),
            ("next line", "a\u{85}b", "a<U+0085>b"),
            ("overwriting", "ok\rfailed", "ok failed"),
            ("rubbing out", "failed\x08\x08\x08\x7f", "failed␈␈␈␡"),
            ("a forged line", "x\nrun: finished", "x run: finished"),
            ("CRLF is one break", "a\r\nb", "a b"),
            ("tab", "a\tb", "a b"),
            ("nul", "a\0b", "a␀b"),
            ("line separator", "a\u{2028}b\u{2029}c", "a<U+2028>b<U+2029>c"),
        ];
        for (what, text, want) in cases {
            assert_eq!(sanitize(text), want, "{what}");
        }
    }

    #[test]
    fn json_means_the_same_without_characters_that_a_terminal_acts_on() {
        let text = "\u{9b}31m \u{202e}gpj \u{200d} \u{e0041} \u{1b}[2J 🦀 é";
        let json = serde_json::to_string(text).unwrap();
        let escaped = escape_json(&json);
        assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), text);
        assert_eq!(escaped, r#""\u009b31m \u202egpj \u200d \udb40\udc41 \u001b[2J 🦀 é""#);
    }

    #[test]
    fn characters_that_reorder_or_hide_text_are_made_visible() {
        let cases = [
            ("right-to-left override", "gpj\u{202e}exe.jpg", "gpj<U+202E>exe.jpg"),
            ("isolates", "\u{2066}a\u{2069}", "<U+2066>a<U+2069>"),
            ("marks", "a\u{200e}\u{200f}\u{061c}", "a<U+200E><U+200F><U+061C>"),
            ("zero width space", "pass\u{200b}word", "pass<U+200B>word"),
            ("joiner in Latin", "pass\u{200d}word", "pass<U+200D>word"),
            ("joiners in a row", "क\u{200d}\u{200d}क", "क<U+200D><U+200D>क"),
            ("byte order mark", "\u{feff}a", "<U+FEFF>a"),
            ("soft hyphen", "a\u{ad}b", "a<U+00AD>b"),
            ("tag letters", "a\u{e0041}", "a<U+E0041>"),
            ("bytes in selectors", "a\u{fe0f}\u{fe0f}\u{e0100}", "a\u{fe0f}<U+FE0F><U+E0100>"),
            ("Hangul filler", "a\u{3164}", "a<U+3164>"),
        ];
        for (what, text, want) in cases {
            assert_eq!(sanitize(text), want, "{what}");
        }
    }

    #[test]
    fn harmless_text_is_not_copied() {
        let texts = ["", "plain ASCII ~", "naïve café", "日本語", "👨‍👩‍👧", "❤️‍🔥", "👍🏽", "می‌خواهم", "क्‍ष", "█▌░ → ✓"];
        for text in texts {
            assert!(matches!(sanitize(text), Cow::Borrowed(same) if same == text), "{text:?}");
        }
    }

    #[test]
    fn sanitizing_twice_changes_nothing_more() {
        for text in ["\x1b[31m\u{202e}\u{200d}\r\n\t\u{9b}", "a\u{fe0f}\u{fe0f}"] {
            let once = sanitize(text).into_owned();
            assert_eq!(sanitize(&once), once);
        }
    }
}

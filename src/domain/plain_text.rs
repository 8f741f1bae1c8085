//! Text from outside, made safe to show: nothing in it can move a cursor, recolour a line or hide itself.
//!
//! Answers, file names and provider messages are shown, logged and put into window titles. A terminal
//! executes control characters wherever they come from, and bidirectional or zero-width characters make a
//! line read as something it isn't. All of these are made visible; every other character is left alone.

use std::{borrow::Cow, fmt::Write as _};

/// `text` with control, bidirectional and invisible characters spelled out: `ESC` as `␛`, `U+202E` as `<202E>`.
///
/// Line breaks and tabs count as control characters: split into lines first where lines are meant.
pub fn neutralise(text: &str) -> Cow<'_, str> {
    let Some(first) = text.find(is_unsafe) else { return Cow::Borrowed(text) };
    let mut plain = String::with_capacity(text.len() + 16);
    plain.push_str(&text[..first]);
    for character in text[first..].chars() {
        match character {
            '\0'..='\x1f' => plain.push(picture(0x2400 + u32::from(character))),
            '\x7f' => plain.push('␡'),
            _ if is_unsafe(character) => {
                // Writing into a string can't fail.
                let _ = write!(plain, "<{:04X}>", u32::from(character));
            }
            _ => plain.push(character),
        }
    }
    Cow::Owned(plain)
}

/// Unicode's picture of a C0 control character.
fn picture(code: u32) -> char {
    char::from_u32(code).unwrap_or('\u{fffd}')
}

fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{00ad}' // soft hyphen: invisible in most terminals
            | '\u{061c}' // Arabic letter mark
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}' // zero-width space and joiners, direction marks
            | '\u{2028}'..='\u{202e}' // line and paragraph separators, bidirectional embeddings and overrides
            | '\u{2060}'..='\u{206f}' // word joiner, isolates, deprecated format characters
            | '\u{feff}' // byte order mark
            | '\u{fff9}'..='\u{fffb}' // interlinear annotations
            | '\u{e0000}'..='\u{e007f}' // tags: text a person cannot see
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_execute_or_hide_is_spelled_out() {
        let cases = [
            ("\x1b[31mred\x1b[0m", "␛[31mred␛[0m"),
            ("bell\x07 and back\x08space", "bell␇ and back␈space"),
            ("two\nlines\tand\rmore", "two␊lines␉and␍more"),
            ("del\x7f", "del␡"),
            ("\u{9b}31m", "<009B>31m"),
            ("txt.\u{202e}gpj", "txt.<202E>gpj"),
            ("zero\u{200b}width\u{feff}", "zero<200B>width<FEFF>"),
            ("tag\u{e0041}", "tag<E0041>"),
        ];
        for (outside, shown) in cases {
            assert_eq!(neutralise(outside), shown);
        }
    }

    #[test]
    fn ordinary_text_is_not_even_copied() {
        for text in ["", "plain", "日本語 ñ é 🦀 العربية", "a→b · ±"] {
            assert!(matches!(neutralise(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn what_is_neutral_stays_as_it_is() {
        let once = neutralise("\x1b]0;title\x07\u{202e}").into_owned();
        assert_eq!(neutralise(&once), once);
    }
}

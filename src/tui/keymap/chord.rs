//! A key press, and how it is written in the help, the footer and the configuration.

use std::{fmt, str::FromStr};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// A key press. Shift is already part of the character.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Chord {
    pub code: KeyCode,
    pub ctrl: bool,
}

impl From<KeyEvent> for Chord {
    fn from(event: KeyEvent) -> Self {
        let ctrl = event.modifiers.contains(KeyModifiers::CONTROL);
        Self { code: event.code, ctrl }
    }
}

impl fmt::Display for Chord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ctrl {
            f.write_str("^")?;
        }
        match self.code {
            KeyCode::Char(' ') => f.write_str("Space"),
            KeyCode::Char(letter) if self.ctrl => write!(f, "{}", letter.to_ascii_uppercase()),
            KeyCode::Char(letter) => write!(f, "{letter}"),
            KeyCode::BackTab => f.write_str("Shift-Tab"),
            KeyCode::PageUp => f.write_str("PgUp"),
            KeyCode::PageDown => f.write_str("PgDn"),
            KeyCode::F(number) => write!(f, "F{number}"),
            code => write!(f, "{code:?}"),
        }
    }
}

/// Parses a key as the help writes it (`p`, `Space`, `^P`, `PgUp`). Ctrl can also be written `ctrl-`, `ctrl+` or `c-`.
/// Case matters only for single letters without Ctrl.
impl FromStr for Chord {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase();
        let rest = ["ctrl-", "ctrl+", "c-"].iter().find_map(|prefix| lower.strip_prefix(prefix));
        let rest = rest.or_else(|| lower.strip_prefix('^').filter(|rest| !rest.is_empty()));
        if let Some(rest) = rest {
            return match Self::from_str(rest) {
                Ok(Self { code, ctrl: false }) => Ok(Self { code, ctrl: true }),
                _ => Err(unknown_key_message(text)),
            };
        }
        let plain = |code| Ok(Self { code, ctrl: false });
        let mut letters = text.chars();
        if let (Some(letter), None) = (letters.next(), letters.next()) {
            return if letter.is_control() { Err(unknown_key_message(text)) } else { plain(KeyCode::Char(letter)) };
        }
        match lower.as_str() {
            "space" => plain(KeyCode::Char(' ')),
            "enter" => plain(KeyCode::Enter),
            "esc" => plain(KeyCode::Esc),
            "tab" => plain(KeyCode::Tab),
            "shift-tab" | "backtab" => plain(KeyCode::BackTab),
            "backspace" => plain(KeyCode::Backspace),
            "insert" => plain(KeyCode::Insert),
            "delete" => plain(KeyCode::Delete),
            "up" => plain(KeyCode::Up),
            "down" => plain(KeyCode::Down),
            "left" => plain(KeyCode::Left),
            "right" => plain(KeyCode::Right),
            "home" => plain(KeyCode::Home),
            "end" => plain(KeyCode::End),
            "pgup" | "pageup" => plain(KeyCode::PageUp),
            "pgdn" | "pagedown" => plain(KeyCode::PageDown),
            word => {
                let number = word.strip_prefix('f').and_then(|number| number.parse().ok());
                number
                    .filter(|number| (1..=12).contains(number))
                    .map_or_else(|| Err(unknown_key_message(text)), |n| plain(KeyCode::F(n)))
            }
        }
    }
}

fn unknown_key_message(text: &str) -> String {
    format!("\u{201c}{text}\u{201d} is not a key; write it as the help does: p, P, Space, Enter, Up, F5, PgDn, ctrl-p")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chords_are_read_as_they_are_written() {
        for written in ["p", "P", "Space", "Enter", "Esc", "Tab", "Shift-Tab", "PgUp", "F5", "^P", "Up", "+", "^"] {
            let chord: Chord = written.parse().unwrap();
            assert_eq!(chord.to_string(), written);
        }
        assert_eq!("ctrl-p".parse::<Chord>(), "^P".parse());
        for wrong in ["", "pp", "F13", "ctrl-", "ctrl-ctrl-p", "meta-x"] {
            assert!(wrong.parse::<Chord>().is_err(), "{wrong}");
        }
    }
}

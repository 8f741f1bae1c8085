//! The operator's own key bindings. They are checked before the dashboard opens.

use crossterm::event::KeyCode;

use super::{BINDINGS, Binding, Chord, FooterHint, KeyContext, Keymap, action_by_name};
use crate::{domain::KeyOverride, tui::action::Action};

impl Keymap {
    /// Builds the default keymap with these keys instead of the default ones.
    ///
    /// # Errors
    /// Reports every unknown action, every unknown key and the first key with two meanings, each with its location.
    pub fn with_overrides(overrides: &[KeyOverride]) -> Result<Self, String> {
        let mut keymap = Self::default();
        let mut errors = Vec::new();
        let mut applied: Vec<(Action, &str)> = Vec::new();
        for KeyOverride { action: name, keys, location: source_location } in overrides {
            let Some(action) = action_by_name(name) else {
                errors.push(format!("{source_location}: there is no action {name}; the help lists them all"));
                continue;
            };
            let mut chords = Vec::new();
            for key in keys {
                match key.parse::<Chord>() {
                    Ok(chord) => chords.push(chord),
                    Err(error) => errors.push(format!("{source_location}: {error}")),
                }
            }
            applied.push((action, source_location));
            keymap.apply_override(action, &chords);
        }
        if let Some((first, second)) = keymap.find_conflict() {
            let location_of = |binding: &Binding| applied.iter().find(|(action, _)| *action == binding.action);
            let location = location_of(&second).or_else(|| location_of(&first)).map_or("keys.toml", |(_, at)| *at);
            errors.push(format!(
                "{location}: {} can't mean both \u{201c}{}\u{201d} and \u{201c}{}\u{201d} ({}); give one of them another key",
                second.chord,
                first.action.help_text(),
                second.action.help_text(),
                second.context.title(),
            ));
        }
        if errors.is_empty() { Ok(keymap) } else { Err(errors.join("\n")) }
    }

    /// Replaces the keys of `action` in all its contexts. Bindings of [`KeyContext::Always`] keep their default key
    /// too. A context where none of the new keys can be bound keeps its default keys.
    fn apply_override(&mut self, action: Action, chords: &[Chord]) {
        let mut contexts: Vec<(KeyContext, Option<FooterHint>)> = Vec::new();
        for binding in BINDINGS.iter().filter(|binding| binding.action == action) {
            match contexts.iter_mut().find(|(context, _)| *context == binding.context) {
                Some((_, hint)) => *hint = hint.or(binding.hint),
                None => contexts.push((binding.context, binding.hint)),
            }
        }
        for (context, hint) in contexts {
            // In a text input, letters are text and can't be bound.
            let is_text_input = |chord: &Chord| {
                context == KeyContext::TextInput && !chord.ctrl && matches!(chord.code, KeyCode::Char(_))
            };
            let chords: Vec<Chord> = chords.iter().copied().filter(|chord| !is_text_input(chord)).collect();
            if chords.is_empty() {
                continue;
            }
            let at = self.0.iter().position(|binding| binding.context == context && binding.action == action);
            self.0.retain(|binding| {
                context == KeyContext::Always || binding.context != context || binding.action != action
            });
            let at = at.unwrap_or(self.0.len()).min(self.0.len());
            for (index, chord) in chords.iter().enumerate() {
                let hint = hint.filter(|_| index == 0);
                self.0.insert(at + index, Binding { context, chord: *chord, action, hint });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::pane::Pane;

    fn key_override(action: &str, keys: &[&str], line: u32) -> KeyOverride {
        KeyOverride {
            action: action.to_owned(),
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            location: format!("keys.toml:{line}"),
        }
    }

    fn action(keymap: &Keymap, context: KeyContext, key: &str) -> Option<Action> {
        keymap.action_for(&[context, KeyContext::Global, KeyContext::Always], key.parse().unwrap())
    }

    #[test]
    fn an_override_replaces_the_keys_in_every_context_of_the_action() {
        let keymap =
            Keymap::with_overrides(&[key_override("toggle", &["o", "F6"], 3), key_override("pause", &["ctrl-p"], 4)])
                .unwrap();
        for pane in [Pane::Keys, Pane::Models, Pane::Routes] {
            for key in ["o", "F6"] {
                assert_eq!(action(&keymap, KeyContext::Pane(pane), key), Some(Action::Toggle));
            }
            assert_eq!(action(&keymap, KeyContext::Pane(pane), "Space"), None);
        }
        assert_eq!(
            action(&keymap, KeyContext::Pane(Pane::Items), "Space"),
            Some(Action::ToggleMark),
            "another action's"
        );
        assert_eq!(action(&keymap, KeyContext::Pane(Pane::Keys), "^P"), Some(Action::TogglePause));
        let hint = keymap.bindings_in(KeyContext::Pane(Pane::Keys)).find(|binding| binding.action == Action::Toggle);
        assert_eq!(keymap.footer_hint(hint.unwrap()).unwrap().0, "o", "and the footer says so");
    }

    #[test]
    fn letters_are_not_bound_in_text_inputs() {
        let keymap =
            Keymap::with_overrides(&[key_override("open", &["o", "F7"], 1), key_override("back", &["b"], 2)]).unwrap();
        for letter in ["o", "b"] {
            assert_eq!(keymap.action_for(&[KeyContext::TextInput], letter.parse().unwrap()), None);
        }
        assert_eq!(keymap.action_for(&[KeyContext::TextInput], "F7".parse().unwrap()), Some(Action::Open));
        assert_eq!(
            keymap.action_for(&[KeyContext::TextInput], "Esc".parse().unwrap()),
            Some(Action::Back),
            "its own key"
        );
    }

    #[test]
    fn ctrl_c_interrupts_even_if_interrupt_has_another_key() {
        let keymap = Keymap::with_overrides(&[key_override("interrupt", &["F9"], 1)]).unwrap();
        for key in ["F9", "^C"] {
            assert_eq!(action(&keymap, KeyContext::ConfirmDialog, key), Some(Action::Interrupt));
        }
    }

    #[test]
    fn a_paired_footer_hint_shows_the_overridden_key() {
        let keymap = Keymap::with_overrides(&[key_override("fewer", &["F3"], 1)]).unwrap();
        let more = keymap.bindings_in(KeyContext::Global).find(|binding| binding.action == Action::MoreInFlight);
        assert_eq!(keymap.footer_hint(more.unwrap()), Some(("+/F3".to_owned(), "in flight")));
    }

    #[test]
    fn two_actions_can_swap_their_keys() {
        let keymap =
            Keymap::with_overrides(&[key_override("pause", &["s"], 1), key_override("strategy", &["p"], 2)]).unwrap();
        assert_eq!(action(&keymap, KeyContext::Pane(Pane::Keys), "s"), Some(Action::TogglePause));
        assert_eq!(action(&keymap, KeyContext::Pane(Pane::Keys), "p"), Some(Action::OpenStrategyMenu));
    }

    #[test]
    fn invalid_overrides_are_rejected_with_their_location() {
        let cases: [(&[KeyOverride], &str); 8] = [
            (&[key_override("pause", &["ctrl-c"], 6)], "keys.toml:6: ^C can't mean both"),
            (&[key_override("pause", &["q"], 7)], "keys.toml:7: q can't mean both"),
            (&[key_override("fly", &["f"], 8)], "keys.toml:8: there is no action fly"),
            (&[key_override("pause", &["meta-x"], 9)], "keys.toml:9: \u{201c}meta-x\u{201d} is not a key"),
            (&[key_override("pause", &["F7"], 1), key_override("help", &["F7"], 2)], "keys.toml:"),
            (
                &[key_override("interrupt", &["F9"], 3), key_override("pause", &["ctrl-c"], 4)],
                "keys.toml:4: ^C can't mean both",
            ),
            (
                &[key_override("pause", &["t"], 5)],
                "keys.toml:5: t can't mean both \u{201c}pause (what is in flight finishes), or resume\u{201d} and \
                 \u{201c}ask the provider about the selected key now; costs nothing\u{201d} (Keys)",
            ),
            (&[key_override("toggle", &["p"], 6)], "keys.toml:6: p can't mean both \u{201c}pause (what"),
        ];
        for (rebindings, complaint) in cases {
            let error = Keymap::with_overrides(rebindings).unwrap_err();
            assert!(error.starts_with(complaint), "{error}");
        }
    }

    #[test]
    fn every_bound_action_can_be_found_by_its_binding_name() {
        for binding in BINDINGS.iter() {
            let name = binding.action.binding_name();
            assert_eq!(action_by_name(name), Some(binding.action), "{name}");
        }
    }
}

//! Keys as the operator wants them: other keys for actions, checked before anything is shown.

use crossterm::event::KeyCode;

use super::{BINDINGS, Binding, Chord, Context, Hint, Keymap};
use crate::tui::action::Action;

/// Other keys for one action, wherever it is bound; and where that is written, for complaints.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rebinding {
    pub action: String,
    pub keys: Vec<String>,
    /// `keys.toml:12`.
    pub place: String,
}

impl Keymap {
    /// The table with these keys instead of its own.
    ///
    /// # Errors
    /// Every action and key that is not understood, and every key that would mean two things, each with its place.
    pub fn rebound(rebindings: &[Rebinding]) -> Result<Self, String> {
        let mut keymap = Self::default();
        let mut complaints = Vec::new();
        let mut placed: Vec<(Action, &str)> = Vec::new();
        for Rebinding { action: name, keys, place } in rebindings {
            let Some(action) = Action::by_name(name) else {
                complaints.push(format!("{place}: there is no action {name}; the help names them all"));
                continue;
            };
            let mut chords = Vec::new();
            for key in keys {
                match key.parse::<Chord>() {
                    Ok(chord) => chords.push(chord),
                    Err(why) => complaints.push(format!("{place}: {why}")),
                }
            }
            placed.push((action, place));
            keymap.rebind(action, &chords);
        }
        if let Some((first, second)) = keymap.clash() {
            let place = |binding: &Binding| placed.iter().find(|(action, _)| *action == binding.action);
            let at = place(&second).or_else(|| place(&first)).map_or("keys.toml", |(_, at)| *at);
            complaints.push(format!(
                "{at}: {} can't mean both \u{201c}{}\u{201d} and \u{201c}{}\u{201d} ({}); give one of them another key",
                second.chord,
                first.action.sentence(),
                second.action.sentence(),
                second.context.title(),
            ));
        }
        if complaints.is_empty() { Ok(keymap) } else { Err(complaints.join("\n")) }
    }

    /// What always works keeps its own key beside the new ones.
    fn rebind(&mut self, action: Action, chords: &[Chord]) {
        let mut contexts: Vec<(Context, Option<Hint>)> = Vec::new();
        for binding in BINDINGS.iter().filter(|binding| binding.action == action) {
            match contexts.iter_mut().find(|(context, _)| *context == binding.context) {
                Some((_, hint)) => *hint = hint.or(binding.hint),
                None => contexts.push((binding.context, binding.hint)),
            }
        }
        for (context, hint) in contexts {
            // Where one writes, letters are letters.
            let types =
                |chord: &Chord| context == Context::Typing && !chord.ctrl && matches!(chord.code, KeyCode::Char(_));
            let chords: Vec<Chord> = chords.iter().copied().filter(|chord| !types(chord)).collect();
            if chords.is_empty() {
                continue;
            }
            let at = self.0.iter().position(|binding| binding.context == context && binding.action == action);
            self.0
                .retain(|binding| context == Context::Always || binding.context != context || binding.action != action);
            let at = at.unwrap_or(self.0.len()).min(self.0.len());
            for (nth, chord) in chords.iter().enumerate() {
                let hint = hint.filter(|_| nth == 0);
                self.0.insert(at + nth, Binding { context, chord: *chord, action, hint });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::pane::Pane;

    fn rebinding(action: &str, keys: &[&str], line: u32) -> Rebinding {
        Rebinding {
            action: action.to_owned(),
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            place: format!("keys.toml:{line}"),
        }
    }

    fn action(keymap: &Keymap, context: Context, key: &str) -> Option<Action> {
        keymap.lookup(&[context, Context::Global, Context::Always], key.parse().unwrap())
    }

    #[test]
    fn an_action_answers_to_its_new_keys_only_and_wherever_it_did() {
        let keymap =
            Keymap::rebound(&[rebinding("toggle", &["o", "F6"], 3), rebinding("pause", &["ctrl-p"], 4)]).unwrap();
        for pane in [Pane::Keys, Pane::Models, Pane::Routes] {
            for key in ["o", "F6"] {
                assert_eq!(action(&keymap, Context::Pane(pane), key), Some(Action::Toggle));
            }
            assert_eq!(action(&keymap, Context::Pane(pane), "Space"), None);
        }
        assert_eq!(action(&keymap, Context::Pane(Pane::Items), "Space"), Some(Action::Mark), "another action's");
        assert_eq!(action(&keymap, Context::Pane(Pane::Keys), "^P"), Some(Action::Pause));
        let hint = keymap.in_context(Context::Pane(Pane::Keys)).find(|binding| binding.action == Action::Toggle);
        assert_eq!(keymap.hint(hint.unwrap()).unwrap().0, "o", "and the footer says so");
    }

    #[test]
    fn letters_stay_letters_where_one_writes() {
        let keymap = Keymap::rebound(&[rebinding("open", &["o", "F7"], 1), rebinding("back", &["b"], 2)]).unwrap();
        for letter in ["o", "b"] {
            assert_eq!(keymap.lookup(&[Context::Typing], letter.parse().unwrap()), None);
        }
        assert_eq!(keymap.lookup(&[Context::Typing], "F7".parse().unwrap()), Some(Action::Open));
        assert_eq!(keymap.lookup(&[Context::Typing], "Esc".parse().unwrap()), Some(Action::Back), "its own key");
    }

    #[test]
    fn ctrl_c_interrupts_whatever_else_does() {
        let keymap = Keymap::rebound(&[rebinding("interrupt", &["F9"], 1)]).unwrap();
        for key in ["F9", "^C"] {
            assert_eq!(action(&keymap, Context::Confirm, key), Some(Action::Interrupt));
        }
    }

    #[test]
    fn what_two_actions_share_in_the_footer_follows_both() {
        let keymap = Keymap::rebound(&[rebinding("fewer", &["F3"], 1)]).unwrap();
        let more = keymap.in_context(Context::Global).find(|binding| binding.action == Action::MoreInFlight);
        assert_eq!(keymap.hint(more.unwrap()), Some(("+/F3".to_owned(), "in flight")));
    }

    #[test]
    fn actions_can_trade_their_keys() {
        let keymap = Keymap::rebound(&[rebinding("pause", &["s"], 1), rebinding("strategy", &["p"], 2)]).unwrap();
        assert_eq!(action(&keymap, Context::Pane(Pane::Keys), "s"), Some(Action::Pause));
        assert_eq!(action(&keymap, Context::Pane(Pane::Keys), "p"), Some(Action::Strategy));
    }

    #[test]
    fn what_can_not_be_is_refused_with_its_place() {
        let cases: [(&[Rebinding], &str); 8] = [
            (&[rebinding("pause", &["ctrl-c"], 6)], "keys.toml:6: ^C can't mean both"),
            (&[rebinding("pause", &["q"], 7)], "keys.toml:7: q can't mean both"),
            (&[rebinding("fly", &["f"], 8)], "keys.toml:8: there is no action fly"),
            (&[rebinding("pause", &["meta-x"], 9)], "keys.toml:9: \u{201c}meta-x\u{201d} is no key"),
            (&[rebinding("pause", &["F7"], 1), rebinding("help", &["F7"], 2)], "keys.toml:"),
            (
                &[rebinding("interrupt", &["F9"], 3), rebinding("pause", &["ctrl-c"], 4)],
                "keys.toml:4: ^C can't mean both",
            ),
            (
                &[rebinding("pause", &["t"], 5)],
                "keys.toml:5: t can't mean both \u{201c}pause (what is in flight finishes), or go on\u{201d} and \
                 \u{201c}ask the provider about the selected key now; costs nothing\u{201d} (Keys)",
            ),
            (&[rebinding("toggle", &["p"], 6)], "keys.toml:6: p can't mean both \u{201c}pause (what"),
        ];
        for (rebindings, complaint) in cases {
            let error = Keymap::rebound(rebindings).unwrap_err();
            assert!(error.starts_with(complaint), "{error}");
        }
    }

    #[test]
    fn every_action_that_has_a_key_can_be_given_another() {
        for binding in BINDINGS {
            let name = binding.action.binding_name();
            assert_eq!(Action::by_name(name), Some(binding.action), "{name}");
        }
    }
}

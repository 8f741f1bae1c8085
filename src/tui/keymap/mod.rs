//! The key bindings, as one table. Footer and help are generated from it, so that they are always up to date. The
//! operator's own bindings ([`overrides`]) replace those of the table.

mod bindings;
mod chord;
mod overrides;

use std::collections::HashSet;

use super::{action::Action, pane::Pane};

pub use crate::domain::KeyOverride;
pub use bindings::{BINDINGS, Binding, FooterHint, KeyContext};
pub use chord::Chord;

/// The bindings that apply on this screen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Keymap(Vec<Binding>);

impl Default for Keymap {
    fn default() -> Self {
        Self(BINDINGS.to_vec())
    }
}

/// All actions, each once. Every action has a key by default.
pub fn all_actions() -> impl Iterator<Item = Action> {
    let mut seen = HashSet::new();
    BINDINGS.iter().map(|binding| binding.action).filter(move |action| seen.insert(*action))
}

/// Finds an action by its name in the configuration.
fn action_by_name(name: &str) -> Option<Action> {
    all_actions().find(|action| action.binding_name() == name)
}

/// One line of the help: all keys for an action in a context.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HelpLine {
    pub keys: String,
    pub action: Action,
}

impl Keymap {
    /// The action of `chord`. The first of `contexts` that binds it decides.
    pub fn action_for(&self, contexts: &[KeyContext], chord: Chord) -> Option<Action> {
        let found = |context: &KeyContext| self.bindings_in(*context).find(|binding| binding.chord == chord);
        contexts.iter().find_map(found).map(|binding| binding.action)
    }

    pub fn bindings_in(&self, context: KeyContext) -> impl Iterator<Item = &Binding> {
        self.0.iter().filter(move |binding| binding.context == context)
    }

    /// The help lines of a context, one for each action, in the order of the table.
    pub fn help_lines(&self, context: KeyContext) -> Vec<HelpLine> {
        let mut lines: Vec<HelpLine> = Vec::new();
        for binding in self.bindings_in(context) {
            let key = binding.chord.to_string();
            if let Some(line) = lines.iter_mut().find(|line| line.action == binding.action) {
                line.keys.push(' ');
                line.keys.push_str(&key);
            } else {
                lines.push(HelpLine { keys: key, action: binding.action });
            }
        }
        lines
    }

    /// The first key bound to an action in any context, or its command (`:name`) if it has none; for use in sentences.
    pub fn key_label(&self, action: Action) -> String {
        self.first_key_label(action, |_| true)
    }

    /// Like [`Self::key_label`], for the bindings of `context`.
    pub fn key_label_in(&self, context: KeyContext, action: Action) -> String {
        self.first_key_label(action, |binding| binding.context == context)
    }

    fn first_key_label(&self, action: Action, is_candidate: impl Fn(&&Binding) -> bool) -> String {
        self.0.iter().filter(is_candidate).find(|binding| binding.action == action).map_or_else(
            || action.command_name().map_or_else(String::new, |name| format!(":{name}")),
            |binding| binding.chord.to_string(),
        )
    }

    /// Key and label of a binding in the footer: `Up/Down scroll`.
    pub fn footer_hint(&self, binding: &Binding) -> Option<(String, &'static str)> {
        let FooterHint { label, paired_action } = binding.hint?;
        let other = paired_action.and_then(|paired| {
            let mut others = self.bindings_in(binding.context).filter(|other| other.action == paired);
            others.find(|other| other.chord != binding.chord)
        });
        let key = match other {
            Some(other) => format!("{}/{}", binding.chord, other.chord),
            None => binding.chord.to_string(),
        };
        Some((key, label))
    }

    /// The name of a pane in a sentence: its key and its title.
    pub fn pane_label(&self, pane: Pane) -> String {
        format!("{} {}", self.key_label(Action::Focus(pane)), pane.info().title)
    }

    /// Finds two bindings of the same chord to different actions that conflict: in the same context, or one in a
    /// context where the other must work too. The second of the pair hides the first or comes after it in the table. A
    /// default binding of a pane or the item view may hide a global default binding: that is intended.
    fn find_conflict(&self) -> Option<(Binding, Binding)> {
        let is_default = |binding: &Binding| {
            BINDINGS.iter().any(|default_binding| {
                (default_binding.context, default_binding.chord, default_binding.action)
                    == (binding.context, binding.chord, binding.action)
            })
        };
        for (second_index, second) in self.0.iter().enumerate() {
            let conflicts = |first_index: usize, first: &Binding| match (first.context, second.context) {
                (one, other) if one == other => first_index < second_index,
                (KeyContext::Always, _) => true,
                (KeyContext::Global, KeyContext::Pane(_) | KeyContext::ItemDetail) => {
                    !(is_default(first) && is_default(second))
                }
                _ => false,
            };
            let same_key = |first: &Binding| first.chord == second.chord && first.action != second.action;
            let mut others = self.0.iter().enumerate().filter(|(_, first)| same_key(first));
            if let Some((_, first)) = others.find(|(index, first)| conflicts(*index, first)) {
                return Some((*first, *second));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use crossterm::event::KeyCode;

    use super::*;
    use crate::tui::action::LogAction;

    const KEYS: KeyContext = KeyContext::Pane(Pane::Keys);
    const EVENTS: KeyContext = KeyContext::Pane(Pane::Events);
    const LOG: KeyContext = KeyContext::Pane(Pane::Log);

    #[test]
    fn no_key_means_two_things_in_one_context() {
        assert_eq!(Keymap::default().find_conflict(), None);
    }

    #[test]
    fn the_first_context_that_binds_a_key_decides() {
        let space = Chord { code: KeyCode::Char(' '), ctrl: false };
        assert_eq!(Keymap::default().action_for(&[KEYS, KeyContext::Global], space), Some(Action::Toggle));
        assert_eq!(Keymap::default().action_for(&[EVENTS, KeyContext::Global], space), None);
        let minus = Chord { code: KeyCode::Char('-'), ctrl: false };
        assert_eq!(
            Keymap::default().action_for(&[LOG, KeyContext::Global], minus),
            Some(Action::Log(LogAction::RecordLess))
        );
        assert_eq!(Keymap::default().action_for(&[KEYS, KeyContext::Global], minus), Some(Action::FewerInFlight));
    }

    #[test]
    fn ctrl_c_works_everywhere() {
        let chord = Chord { code: KeyCode::Char('c'), ctrl: true };
        for context in [
            KeyContext::ConfirmDialog,
            KeyContext::QuitDialog,
            KeyContext::Menu,
            KeyContext::TextInput,
            KeyContext::TextOverlay,
            KEYS,
        ] {
            assert_eq!(Keymap::default().action_for(&[context, KeyContext::Always], chord), Some(Action::Interrupt));
        }
    }

    #[test]
    fn every_binding_is_in_the_help() {
        for binding in BINDINGS.iter() {
            let line =
                Keymap::default().help_lines(binding.context).into_iter().find(|line| line.action == binding.action);
            let keys = line.map(|line| line.keys).unwrap_or_default();
            assert!(keys.split(' ').any(|key| key == binding.chord.to_string()), "{binding:?}");
            assert!(!binding.action.help_text().is_empty());
        }
    }

    #[test]
    fn every_pane_is_focused_by_its_number() {
        for pane in Pane::ALL {
            let digit = Chord { code: KeyCode::Char(char::from(b'0' + pane.number())), ctrl: false };
            assert_eq!(Keymap::default().action_for(&[KeyContext::Global], digit), Some(Action::Focus(pane)));
        }
    }
}

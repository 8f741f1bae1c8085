//! The key bindings, as one table. Footer and help are generated from it, so that they are always up to date. The
//! operator's own bindings ([`overrides`]) replace those of the table.

mod chord;
mod overrides;

use crossterm::event::KeyCode;

use super::{
    action::{Action, LogAction},
    pane::Pane,
};

pub use chord::Chord;
pub use overrides::KeyOverride;

/// Where a binding applies. [`super::State::key_contexts`] says which contexts have the keyboard now.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum KeyContext {
    /// Everywhere, even in overlays.
    Always,
    /// Everywhere except in overlays.
    Global,
    Pane(Pane),
    ItemDetail,
    /// Help and the inspect overlay: text to scroll.
    TextOverlay,
    ConfirmDialog,
    /// The dialog that chooses which failed items to replay, and on which route.
    ReplayDialog,
    QuitDialog,
    Menu,
    /// A line of text is being typed, so letters are text.
    TextInput,
}

impl KeyContext {
    pub const fn title(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::Global => "Everywhere",
            Self::Pane(pane) => pane.title(),
            Self::ItemDetail => "Item",
            Self::TextOverlay => "Help and why",
            Self::ConfirmDialog => "Questions",
            Self::ReplayDialog => "Replay",
            Self::QuitDialog => "Leaving",
            Self::Menu => "Menus",
            Self::TextInput => "While typing",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Binding {
    pub context: KeyContext,
    pub chord: Chord,
    pub action: Action,
    /// Text in the footer; `None`: the binding is only in the help. The footer shows the hints in the order of the
    /// table.
    pub hint: Option<FooterHint>,
}

/// Text of a binding in the footer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FooterHint {
    pub label: &'static str,
    /// The action whose key is shown beside the binding's own, as in `Up/Down`. It can be the same action; then a
    /// second key of it is shown.
    paired_action: Option<Action>,
}

const fn bind(context: KeyContext, code: KeyCode, action: Action) -> Binding {
    Binding { context, chord: Chord { code, ctrl: false }, action, hint: None }
}

const fn bind_char(context: KeyContext, letter: char, action: Action) -> Binding {
    bind(context, KeyCode::Char(letter), action)
}

const fn bind_ctrl(context: KeyContext, letter: char, action: Action) -> Binding {
    Binding { context, chord: Chord { code: KeyCode::Char(letter), ctrl: true }, action, hint: None }
}

impl Binding {
    const fn with_hint(mut self, label: &'static str) -> Self {
        self.hint = Some(FooterHint { label, paired_action: None });
        self
    }

    const fn with_paired_hint(mut self, paired_action: Action, label: &'static str) -> Self {
        self.hint = Some(FooterHint { label, paired_action: Some(paired_action) });
        self
    }
}

const KEYS: KeyContext = KeyContext::Pane(Pane::Keys);
const COOLDOWNS: KeyContext = KeyContext::Pane(Pane::Cooldowns);
const MODELS: KeyContext = KeyContext::Pane(Pane::Models);
const EVENTS: KeyContext = KeyContext::Pane(Pane::Events);
const ITEMS: KeyContext = KeyContext::Pane(Pane::Items);
const ROUTES: KeyContext = KeyContext::Pane(Pane::Routes);
const LOG: KeyContext = KeyContext::Pane(Pane::Log);
const FAILURES: KeyContext = KeyContext::Pane(Pane::Failures);

/// The default bindings. Within a context the footer shows the hints in this order, so the most useful come first.
pub const BINDINGS: &[Binding] = &[
    bind_char(KEYS, ' ', Action::Toggle).with_hint("key on/off"),
    bind_char(KEYS, 'w', Action::Inspect).with_hint("why"),
    bind_char(KEYS, 'c', Action::ClearCooldowns).with_hint("clear cooldowns"),
    bind_char(KEYS, 't', Action::Probe).with_hint("test now"),
    bind_char(KEYS, 'e', Action::SwitchOn),
    bind_char(KEYS, 'd', Action::SwitchOff),
    bind_char(COOLDOWNS, 'w', Action::Inspect).with_hint("why"),
    bind_char(COOLDOWNS, 'c', Action::ClearCooldowns).with_hint("clear the key's cooldowns"),
    bind_char(MODELS, ' ', Action::Toggle).with_hint("model on/off"),
    bind_char(MODELS, 'w', Action::Inspect).with_hint("why"),
    bind_char(MODELS, 'e', Action::SwitchOn),
    bind_char(MODELS, 'd', Action::SwitchOff),
    bind(EVENTS, KeyCode::Enter, Action::Open).with_hint("its item"),
    bind(ITEMS, KeyCode::Enter, Action::Open).with_hint("detail"),
    bind_char(ITEMS, '/', Action::OpenFilter).with_hint("filter"),
    bind_char(ITEMS, 'f', Action::NextFilter).with_hint("failed/waiting/.."),
    bind(ITEMS, KeyCode::Right, Action::NextFilter),
    bind_char(ITEMS, 'l', Action::NextFilter),
    bind(ITEMS, KeyCode::Left, Action::PreviousFilter),
    bind_char(ITEMS, 'h', Action::PreviousFilter),
    bind_char(ITEMS, 'r', Action::Replay).with_hint("replay"),
    bind_char(ITEMS, ' ', Action::ToggleMark).with_hint("mark"),
    bind_char(ITEMS, 't', Action::OpenReplay).with_hint("replay to.."),
    bind(FAILURES, KeyCode::Enter, Action::Open).with_hint("its first item"),
    bind_char(FAILURES, 'r', Action::OpenReplay).with_hint("replay these"),
    bind_char(FAILURES, 't', Action::OpenReplay),
    bind_char(FAILURES, 'x', Action::ExportGroup).with_hint("export these"),
    bind_char(ROUTES, ' ', Action::Toggle).with_hint("route on/off"),
    bind_char(ROUTES, 'w', Action::Inspect).with_hint("why"),
    bind(ROUTES, KeyCode::Enter, Action::Inspect),
    bind_char(ROUTES, 'c', Action::ClearCooldowns).with_hint("clear the key's cooldowns"),
    bind_char(ROUTES, 't', Action::Probe).with_hint("test the key"),
    bind_char(ROUTES, 'e', Action::SwitchOn),
    bind_char(ROUTES, 'd', Action::SwitchOff),
    bind_char(LOG, 'h', Action::Log(LogAction::ToggleSelector)).with_hint("targets"),
    bind_char(LOG, 'f', Action::Log(LogAction::ToggleFocusedTarget)).with_hint("only this target"),
    bind(LOG, KeyCode::Left, Action::Log(LogAction::ShowLess))
        .with_paired_hint(Action::Log(LogAction::ShowMore), "show less/more"),
    bind(LOG, KeyCode::Right, Action::Log(LogAction::ShowMore)),
    bind_char(LOG, '-', Action::Log(LogAction::RecordLess))
        .with_paired_hint(Action::Log(LogAction::RecordMore), "record less/more"),
    bind_char(LOG, '+', Action::Log(LogAction::RecordMore)),
    bind_char(LOG, '=', Action::Log(LogAction::RecordMore)),
    bind_char(LOG, ' ', Action::Log(LogAction::ToggleOffTargets)),
    bind(KeyContext::ItemDetail, KeyCode::Esc, Action::Back).with_hint("back"),
    bind(KeyContext::ItemDetail, KeyCode::Up, Action::Up).with_paired_hint(Action::Down, "scroll"),
    bind(KeyContext::ItemDetail, KeyCode::Down, Action::Down),
    bind(KeyContext::ItemDetail, KeyCode::Left, Action::Left).with_paired_hint(Action::Right, "previous/next item"),
    bind(KeyContext::ItemDetail, KeyCode::Right, Action::Right),
    bind_char(KeyContext::ItemDetail, 'r', Action::Replay).with_hint("replay"),
    bind_char(KeyContext::ItemDetail, 't', Action::OpenReplay).with_hint("replay to.."),
    bind_char(KeyContext::ItemDetail, 'n', Action::NextPicture),
    bind_char(KeyContext::ItemDetail, 'v', Action::TogglePictures),
    bind(KeyContext::TextOverlay, KeyCode::Esc, Action::Back).with_hint("back"),
    bind_char(KeyContext::TextOverlay, 'q', Action::Back),
    bind_char(KeyContext::TextOverlay, '?', Action::Back),
    bind_char(KeyContext::TextOverlay, 'w', Action::Back),
    bind(KeyContext::TextOverlay, KeyCode::Enter, Action::Back),
    bind(KeyContext::TextOverlay, KeyCode::Up, Action::Up).with_paired_hint(Action::Down, "scroll"),
    bind_char(KeyContext::TextOverlay, 'k', Action::Up),
    bind(KeyContext::TextOverlay, KeyCode::Down, Action::Down),
    bind_char(KeyContext::TextOverlay, 'j', Action::Down),
    bind(KeyContext::TextOverlay, KeyCode::PageUp, Action::PageUp),
    bind(KeyContext::TextOverlay, KeyCode::PageDown, Action::PageDown),
    bind_char(KeyContext::TextOverlay, 'g', Action::Top),
    bind(KeyContext::TextOverlay, KeyCode::Home, Action::Top),
    bind_char(KeyContext::TextOverlay, 'G', Action::Bottom),
    bind(KeyContext::TextOverlay, KeyCode::End, Action::Bottom),
    bind_char(KeyContext::ConfirmDialog, 'y', Action::Yes).with_hint("yes"),
    bind_char(KeyContext::ConfirmDialog, 'n', Action::No).with_paired_hint(Action::No, "no"),
    bind(KeyContext::ConfirmDialog, KeyCode::Esc, Action::No),
    bind(KeyContext::ConfirmDialog, KeyCode::Enter, Action::No),
    bind_char(KeyContext::ConfirmDialog, 'q', Action::No),
    bind_char(KeyContext::ReplayDialog, 'y', Action::Yes).with_hint("send"),
    bind(KeyContext::ReplayDialog, KeyCode::Up, Action::Up).with_paired_hint(Action::Down, "where to"),
    bind_char(KeyContext::ReplayDialog, 'k', Action::Up),
    bind(KeyContext::ReplayDialog, KeyCode::Down, Action::Down),
    bind_char(KeyContext::ReplayDialog, 'j', Action::Down),
    bind(KeyContext::ReplayDialog, KeyCode::Left, Action::Left).with_paired_hint(Action::Right, "which"),
    bind_char(KeyContext::ReplayDialog, 'h', Action::Left),
    bind(KeyContext::ReplayDialog, KeyCode::BackTab, Action::Left),
    bind(KeyContext::ReplayDialog, KeyCode::Right, Action::Right),
    bind_char(KeyContext::ReplayDialog, 'l', Action::Right),
    bind(KeyContext::ReplayDialog, KeyCode::Tab, Action::Right),
    bind_char(KeyContext::ReplayDialog, 'n', Action::No).with_paired_hint(Action::No, "no"),
    bind(KeyContext::ReplayDialog, KeyCode::Esc, Action::No),
    bind(KeyContext::ReplayDialog, KeyCode::Enter, Action::Yes),
    bind_char(KeyContext::ReplayDialog, 'q', Action::No),
    bind_char(KeyContext::QuitDialog, 'p', Action::Detach).with_hint("plain progress"),
    bind_char(KeyContext::QuitDialog, 'd', Action::Drain).with_hint("drain"),
    bind_char(KeyContext::QuitDialog, 's', Action::StopNow).with_hint("stop now"),
    bind(KeyContext::QuitDialog, KeyCode::Esc, Action::Back).with_hint("stay"),
    bind_char(KeyContext::QuitDialog, 'q', Action::Back),
    bind_char(KeyContext::QuitDialog, 'n', Action::Back),
    bind(KeyContext::Menu, KeyCode::Enter, Action::Open).with_hint("choose"),
    bind_char(KeyContext::Menu, ' ', Action::Open),
    bind(KeyContext::Menu, KeyCode::Up, Action::Up).with_paired_hint(Action::Down, "move"),
    bind_char(KeyContext::Menu, 'k', Action::Up),
    bind(KeyContext::Menu, KeyCode::Down, Action::Down),
    bind_char(KeyContext::Menu, 'j', Action::Down),
    bind(KeyContext::Menu, KeyCode::Esc, Action::Back).with_hint("back"),
    bind_char(KeyContext::Menu, 'q', Action::Back),
    bind_char(KeyContext::Menu, 's', Action::Back),
    bind(KeyContext::TextInput, KeyCode::Enter, Action::Open).with_hint("done"),
    bind(KeyContext::TextInput, KeyCode::Tab, Action::NextPane),
    bind(KeyContext::TextInput, KeyCode::BackTab, Action::PreviousPane),
    bind(KeyContext::TextInput, KeyCode::Esc, Action::Back).with_hint("cancel"),
    bind(KeyContext::TextInput, KeyCode::Up, Action::Up),
    bind(KeyContext::TextInput, KeyCode::Down, Action::Down),
    bind(KeyContext::Global, KeyCode::Tab, Action::NextPane).with_hint("pane"),
    bind_char(KeyContext::Global, 'p', Action::TogglePause).with_hint("pause"),
    bind_char(KeyContext::Global, 'W', Action::InspectRun).with_hint("why not faster"),
    bind_char(KeyContext::Global, 'R', Action::ReplayAll).with_hint("replay failed"),
    bind_char(KeyContext::Global, 's', Action::OpenStrategyMenu).with_hint("strategy"),
    bind_char(KeyContext::Global, 'u', Action::Undo).with_hint("undo"),
    bind_char(KeyContext::Global, '+', Action::MoreInFlight).with_paired_hint(Action::FewerInFlight, "in flight"),
    bind_char(KeyContext::Global, '=', Action::MoreInFlight),
    bind_char(KeyContext::Global, '-', Action::FewerInFlight),
    bind_char(KeyContext::Global, 'z', Action::Zoom).with_hint("zoom"),
    bind(KeyContext::Global, KeyCode::Enter, Action::Open),
    bind(KeyContext::Global, KeyCode::Esc, Action::Back),
    bind_char(KeyContext::Global, ':', Action::OpenCommandLine).with_hint("command"),
    bind_char(KeyContext::Global, 'P', Action::HardPause),
    bind_char(KeyContext::Global, 'w', Action::Inspect),
    bind_char(KeyContext::Global, 'y', Action::Copy),
    bind_char(KeyContext::Global, '/', Action::OpenFilter),
    bind(KeyContext::Global, KeyCode::BackTab, Action::PreviousPane),
    bind_char(KeyContext::Global, '1', Action::Focus(Pane::Keys)),
    bind_char(KeyContext::Global, '2', Action::Focus(Pane::Cooldowns)),
    bind_char(KeyContext::Global, '3', Action::Focus(Pane::Models)),
    bind_char(KeyContext::Global, '4', Action::Focus(Pane::Events)),
    bind_char(KeyContext::Global, '5', Action::Focus(Pane::Items)),
    bind_char(KeyContext::Global, '6', Action::Focus(Pane::Routes)),
    bind_char(KeyContext::Global, '7', Action::Focus(Pane::Log)),
    bind_char(KeyContext::Global, '8', Action::Focus(Pane::Charts)),
    bind_char(KeyContext::Global, '9', Action::Focus(Pane::Failures)),
    bind(KeyContext::Global, KeyCode::Up, Action::Up),
    bind_char(KeyContext::Global, 'k', Action::Up),
    bind(KeyContext::Global, KeyCode::Down, Action::Down),
    bind_char(KeyContext::Global, 'j', Action::Down),
    bind(KeyContext::Global, KeyCode::Left, Action::Left),
    bind_char(KeyContext::Global, 'h', Action::Left),
    bind(KeyContext::Global, KeyCode::Right, Action::Right),
    bind_char(KeyContext::Global, 'l', Action::Right),
    bind(KeyContext::Global, KeyCode::PageUp, Action::PageUp),
    bind_ctrl(KeyContext::Global, 'u', Action::PageUp),
    bind(KeyContext::Global, KeyCode::PageDown, Action::PageDown),
    bind_ctrl(KeyContext::Global, 'd', Action::PageDown),
    bind_char(KeyContext::Global, 'g', Action::Top),
    bind(KeyContext::Global, KeyCode::Home, Action::Top),
    bind_char(KeyContext::Global, 'G', Action::Bottom),
    bind(KeyContext::Global, KeyCode::End, Action::Bottom),
    bind_char(KeyContext::Global, 'm', Action::ToggleMouse),
    bind_char(KeyContext::Global, '?', Action::OpenHelp).with_hint("help"),
    bind(KeyContext::Global, KeyCode::F(1), Action::OpenHelp),
    bind_char(KeyContext::Global, 'q', Action::Quit).with_hint("quit"),
    bind_ctrl(KeyContext::Always, 'c', Action::Interrupt),
    bind_ctrl(KeyContext::Always, 'z', Action::Suspend),
    bind_ctrl(KeyContext::Always, 'l', Action::Redraw),
];

/// The bindings that apply on this screen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Keymap(Vec<Binding>);

impl Default for Keymap {
    fn default() -> Self {
        Self(BINDINGS.to_vec())
    }
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
        format!("{} {}", self.key_label(Action::Focus(pane)), pane.title())
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
    use super::*;

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
        for binding in BINDINGS {
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

//! Which key does what where, as one table. Footer and help are generated from it, so that they can't go stale.
//! What the configuration binds anew ([`rebinding`]) takes the place of the table's own keys.

mod chord;
mod rebinding;

use std::collections::HashSet;

use crossterm::event::KeyCode;

use super::{
    action::{Action, LogAction},
    pane::Pane,
};

pub use chord::Chord;
pub use rebinding::Rebinding;

/// Where a binding holds. Which contexts have the keyboard now is [`super::State::contexts`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Context {
    /// Even in dialogs and while typing.
    Always,
    /// Everywhere but in dialogs and while typing.
    Global,
    Pane(Pane),
    Detail,
    /// Help and why: text to scroll.
    Reading,
    Confirm,
    /// Which failed items go where again.
    Replay,
    Quit,
    Menu,
    /// A line of text is being typed: letters are text.
    Typing,
}

impl Context {
    pub fn title(self) -> String {
        match self {
            Self::Always => "Always".to_owned(),
            Self::Global => "Everywhere".to_owned(),
            Self::Pane(pane) => format!("{} {}", pane.number(), pane.title()),
            Self::Detail => "Item".to_owned(),
            Self::Reading => "Help and why".to_owned(),
            Self::Confirm => "Questions".to_owned(),
            Self::Replay => "Replay".to_owned(),
            Self::Quit => "Leaving".to_owned(),
            Self::Menu => "Menus".to_owned(),
            Self::Typing => "While typing".to_owned(),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Binding {
    pub context: Context,
    pub chord: Chord,
    pub action: Action,
    /// Key and word in the footer, in the order of the table; `None`: in the help only.
    pub hint: Option<(&'static str, &'static str)>,
    /// From the configuration: the hint's key is this one.
    rebound: bool,
}

const fn plain(context: Context, code: KeyCode, action: Action) -> Binding {
    Binding { context, chord: Chord { code, ctrl: false }, action, hint: None, rebound: false }
}

const fn letter(context: Context, letter: char, action: Action) -> Binding {
    plain(context, KeyCode::Char(letter), action)
}

const fn ctrl(context: Context, letter: char, action: Action) -> Binding {
    Binding { context, chord: Chord { code: KeyCode::Char(letter), ctrl: true }, action, hint: None, rebound: false }
}

impl Binding {
    const fn hint(mut self, key: &'static str, word: &'static str) -> Self {
        self.hint = Some((key, word));
        self
    }

    /// The key as the footer shows it.
    pub fn hint_key(&self) -> Option<String> {
        let (key, _) = self.hint?;
        Some(if self.rebound { self.chord.to_string() } else { key.to_owned() })
    }
}

const KEYS: Context = Context::Pane(Pane::Keys);
const COOLDOWNS: Context = Context::Pane(Pane::Cooldowns);
const MODELS: Context = Context::Pane(Pane::Models);
const EVENTS: Context = Context::Pane(Pane::Events);
const ITEMS: Context = Context::Pane(Pane::Items);
const ROUTES: Context = Context::Pane(Pane::Routes);
const LOG: Context = Context::Pane(Pane::Log);
const FAILURES: Context = Context::Pane(Pane::Failures);

/// Within a context the order is that of the footer's hints. The most telling come first.
pub const BINDINGS: &[Binding] = &[
    letter(KEYS, ' ', Action::Toggle).hint("Space", "key on/off"),
    letter(KEYS, 'w', Action::Why).hint("w", "why"),
    letter(KEYS, 'c', Action::ClearCooldowns).hint("c", "clear cooldowns"),
    letter(KEYS, 't', Action::Probe).hint("t", "test now"),
    letter(KEYS, 'e', Action::SwitchOn),
    letter(KEYS, 'd', Action::SwitchOff),
    letter(COOLDOWNS, 'w', Action::Why).hint("w", "why"),
    letter(COOLDOWNS, 'c', Action::ClearCooldowns).hint("c", "clear the key's cooldowns"),
    letter(MODELS, ' ', Action::Toggle).hint("Space", "model on/off"),
    letter(MODELS, 'w', Action::Why).hint("w", "why"),
    letter(MODELS, 'e', Action::SwitchOn),
    letter(MODELS, 'd', Action::SwitchOff),
    plain(EVENTS, KeyCode::Enter, Action::Open).hint("Enter", "its item"),
    plain(ITEMS, KeyCode::Enter, Action::Open).hint("Enter", "detail"),
    letter(ITEMS, '/', Action::Filter).hint("/", "filter"),
    letter(ITEMS, 'f', Action::NextFilter).hint("f", "failed/waiting/.."),
    plain(ITEMS, KeyCode::Right, Action::NextFilter),
    letter(ITEMS, 'l', Action::NextFilter),
    plain(ITEMS, KeyCode::Left, Action::PreviousFilter),
    letter(ITEMS, 'h', Action::PreviousFilter),
    letter(ITEMS, 'r', Action::Replay).hint("r", "replay"),
    letter(ITEMS, ' ', Action::Mark).hint("Space", "mark"),
    letter(ITEMS, 't', Action::ReplayTo).hint("t", "replay to.."),
    plain(FAILURES, KeyCode::Enter, Action::Open).hint("Enter", "its first item"),
    letter(FAILURES, 'r', Action::ReplayTo).hint("r", "replay these"),
    letter(FAILURES, 't', Action::ReplayTo),
    letter(FAILURES, 'x', Action::Export).hint("x", "export these"),
    letter(ROUTES, ' ', Action::Toggle).hint("Space", "route on/off"),
    letter(ROUTES, 'w', Action::Why).hint("w", "why"),
    plain(ROUTES, KeyCode::Enter, Action::Why),
    letter(ROUTES, 'c', Action::ClearCooldowns).hint("c", "clear the key's cooldowns"),
    letter(ROUTES, 't', Action::Probe).hint("t", "test the key"),
    letter(ROUTES, 'e', Action::SwitchOn),
    letter(ROUTES, 'd', Action::SwitchOff),
    letter(LOG, 'h', Action::Log(LogAction::HideSelector)).hint("h", "targets"),
    letter(LOG, 'f', Action::Log(LogAction::FocusTarget)).hint("f", "only this target"),
    plain(LOG, KeyCode::Left, Action::Log(LogAction::ShowLess)).hint("Left/Right", "show less/more"),
    plain(LOG, KeyCode::Right, Action::Log(LogAction::ShowMore)),
    letter(LOG, '-', Action::Log(LogAction::CaptureLess)).hint("-/+", "record less/more"),
    letter(LOG, '+', Action::Log(LogAction::CaptureMore)),
    letter(LOG, '=', Action::Log(LogAction::CaptureMore)),
    letter(LOG, ' ', Action::Log(LogAction::HideOff)),
    plain(Context::Detail, KeyCode::Esc, Action::Back).hint("Esc", "back"),
    plain(Context::Detail, KeyCode::Down, Action::Down).hint("Up/Down", "scroll"),
    plain(Context::Detail, KeyCode::Left, Action::Left).hint("Left/Right", "previous/next item"),
    plain(Context::Detail, KeyCode::Right, Action::Right),
    letter(Context::Detail, 'r', Action::Replay).hint("r", "replay"),
    letter(Context::Detail, 't', Action::ReplayTo).hint("t", "replay to.."),
    letter(Context::Detail, 'n', Action::NextPicture),
    letter(Context::Detail, 'v', Action::Pictures),
    plain(Context::Reading, KeyCode::Esc, Action::Back).hint("Esc", "back"),
    letter(Context::Reading, 'q', Action::Back),
    letter(Context::Reading, '?', Action::Back),
    letter(Context::Reading, 'w', Action::Back),
    plain(Context::Reading, KeyCode::Enter, Action::Back),
    plain(Context::Reading, KeyCode::Up, Action::Up).hint("Up/Down", "scroll"),
    letter(Context::Reading, 'k', Action::Up),
    plain(Context::Reading, KeyCode::Down, Action::Down),
    letter(Context::Reading, 'j', Action::Down),
    plain(Context::Reading, KeyCode::PageUp, Action::PageUp),
    plain(Context::Reading, KeyCode::PageDown, Action::PageDown),
    letter(Context::Reading, 'g', Action::Top),
    plain(Context::Reading, KeyCode::Home, Action::Top),
    letter(Context::Reading, 'G', Action::Bottom),
    plain(Context::Reading, KeyCode::End, Action::Bottom),
    letter(Context::Confirm, 'y', Action::Yes).hint("y", "yes"),
    letter(Context::Confirm, 'n', Action::No).hint("n/Esc", "no"),
    plain(Context::Confirm, KeyCode::Esc, Action::No),
    plain(Context::Confirm, KeyCode::Enter, Action::No),
    letter(Context::Confirm, 'q', Action::No),
    letter(Context::Replay, 'y', Action::Yes).hint("y", "send"),
    plain(Context::Replay, KeyCode::Up, Action::Up).hint("Up/Down", "where to"),
    letter(Context::Replay, 'k', Action::Up),
    plain(Context::Replay, KeyCode::Down, Action::Down),
    letter(Context::Replay, 'j', Action::Down),
    plain(Context::Replay, KeyCode::Right, Action::Right).hint("Left/Right", "which"),
    letter(Context::Replay, 'l', Action::Right),
    plain(Context::Replay, KeyCode::Tab, Action::Right),
    plain(Context::Replay, KeyCode::Left, Action::Left),
    letter(Context::Replay, 'h', Action::Left),
    plain(Context::Replay, KeyCode::BackTab, Action::Left),
    letter(Context::Replay, 'n', Action::No).hint("n/Esc", "no"),
    plain(Context::Replay, KeyCode::Esc, Action::No),
    plain(Context::Replay, KeyCode::Enter, Action::No),
    letter(Context::Replay, 'q', Action::No),
    letter(Context::Quit, 'p', Action::Detach).hint("p", "plain progress"),
    letter(Context::Quit, 'd', Action::Drain).hint("d", "drain"),
    letter(Context::Quit, 's', Action::StopNow).hint("s", "stop now"),
    plain(Context::Quit, KeyCode::Esc, Action::Back).hint("Esc", "stay"),
    letter(Context::Quit, 'q', Action::Back),
    letter(Context::Quit, 'n', Action::Back),
    plain(Context::Menu, KeyCode::Enter, Action::Open).hint("Enter", "choose"),
    letter(Context::Menu, ' ', Action::Open),
    plain(Context::Menu, KeyCode::Up, Action::Up).hint("Up/Down", "move"),
    letter(Context::Menu, 'k', Action::Up),
    plain(Context::Menu, KeyCode::Down, Action::Down),
    letter(Context::Menu, 'j', Action::Down),
    plain(Context::Menu, KeyCode::Esc, Action::Back).hint("Esc", "back"),
    letter(Context::Menu, 'q', Action::Back),
    letter(Context::Menu, 's', Action::Back),
    plain(Context::Typing, KeyCode::Enter, Action::Open).hint("Enter", "done"),
    plain(Context::Typing, KeyCode::Tab, Action::NextPane),
    plain(Context::Typing, KeyCode::BackTab, Action::PreviousPane),
    plain(Context::Typing, KeyCode::Esc, Action::Back).hint("Esc", "cancel"),
    plain(Context::Typing, KeyCode::Up, Action::Up),
    plain(Context::Typing, KeyCode::Down, Action::Down),
    plain(Context::Global, KeyCode::Tab, Action::NextPane).hint("Tab", "pane"),
    letter(Context::Global, 'p', Action::Pause).hint("p", "pause"),
    letter(Context::Global, 'W', Action::WhyRun).hint("W", "why not faster"),
    letter(Context::Global, 'R', Action::ReplayAll).hint("R", "replay failed"),
    letter(Context::Global, 's', Action::Strategy).hint("s", "strategy"),
    letter(Context::Global, 'u', Action::Undo).hint("u", "undo"),
    letter(Context::Global, '+', Action::MoreInFlight).hint("+/-", "in flight"),
    letter(Context::Global, '=', Action::MoreInFlight),
    letter(Context::Global, '-', Action::FewerInFlight),
    letter(Context::Global, 'z', Action::Zoom).hint("z", "zoom"),
    plain(Context::Global, KeyCode::Enter, Action::Open),
    plain(Context::Global, KeyCode::Esc, Action::Back),
    letter(Context::Global, ':', Action::CommandLine).hint(":", "command"),
    letter(Context::Global, 'P', Action::HardPause),
    letter(Context::Global, 'w', Action::Why),
    letter(Context::Global, 'y', Action::Copy),
    letter(Context::Global, '/', Action::Filter),
    plain(Context::Global, KeyCode::BackTab, Action::PreviousPane),
    letter(Context::Global, '1', Action::Focus(Pane::Keys)),
    letter(Context::Global, '2', Action::Focus(Pane::Cooldowns)),
    letter(Context::Global, '3', Action::Focus(Pane::Models)),
    letter(Context::Global, '4', Action::Focus(Pane::Events)),
    letter(Context::Global, '5', Action::Focus(Pane::Items)),
    letter(Context::Global, '6', Action::Focus(Pane::Routes)),
    letter(Context::Global, '7', Action::Focus(Pane::Log)),
    letter(Context::Global, '8', Action::Focus(Pane::Charts)),
    letter(Context::Global, '9', Action::Focus(Pane::Failures)),
    plain(Context::Global, KeyCode::Up, Action::Up),
    letter(Context::Global, 'k', Action::Up),
    plain(Context::Global, KeyCode::Down, Action::Down),
    letter(Context::Global, 'j', Action::Down),
    plain(Context::Global, KeyCode::Left, Action::Left),
    letter(Context::Global, 'h', Action::Left),
    plain(Context::Global, KeyCode::Right, Action::Right),
    letter(Context::Global, 'l', Action::Right),
    plain(Context::Global, KeyCode::PageUp, Action::PageUp),
    ctrl(Context::Global, 'u', Action::PageUp),
    plain(Context::Global, KeyCode::PageDown, Action::PageDown),
    ctrl(Context::Global, 'd', Action::PageDown),
    letter(Context::Global, 'g', Action::Top),
    plain(Context::Global, KeyCode::Home, Action::Top),
    letter(Context::Global, 'G', Action::Bottom),
    plain(Context::Global, KeyCode::End, Action::Bottom),
    letter(Context::Global, 'm', Action::Mouse),
    letter(Context::Global, '?', Action::Help).hint("?", "help"),
    plain(Context::Global, KeyCode::F(1), Action::Help),
    letter(Context::Global, 'q', Action::Quit).hint("q", "quit"),
    ctrl(Context::Always, 'c', Action::Interrupt),
    ctrl(Context::Always, 'z', Action::Suspend),
    ctrl(Context::Always, 'l', Action::Redraw),
];

/// The bindings that hold on this screen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Keymap(Vec<Binding>);

impl Default for Keymap {
    fn default() -> Self {
        Self(BINDINGS.to_vec())
    }
}

/// One line of the help: every key for an action in a context, and what it does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HelpLine {
    pub keys: String,
    pub action: Action,
}

impl Keymap {
    /// What `chord` does where `contexts` have the keyboard; the first of them that knows it decides.
    pub fn lookup(&self, contexts: &[Context], chord: Chord) -> Option<Action> {
        let found = |context: &Context| self.in_context(*context).find(|binding| binding.chord == chord);
        contexts.iter().find_map(found).map(|binding| binding.action)
    }

    pub fn in_context(&self, context: Context) -> impl Iterator<Item = &Binding> {
        self.0.iter().filter(move |binding| binding.context == context)
    }

    /// The bindings of a context, those of one action on one line, in the table's order.
    pub fn help(&self, context: Context) -> Vec<HelpLine> {
        let mut lines: Vec<HelpLine> = Vec::new();
        for binding in self.in_context(context) {
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

    /// The first key for an action, wherever it is bound; for sentences that name it.
    pub fn key_for(&self, action: Action) -> String {
        self.0.iter().find(|binding| binding.action == action).map_or_else(
            || action.name().map_or_else(String::new, |name| format!(":{name}")),
            |binding| binding.chord.to_string(),
        )
    }

    /// A chord that means two things in one context, or hides what must always work.
    fn clash(&self) -> Option<(Binding, Binding)> {
        let mut seen = HashSet::new();
        let always: HashSet<Chord> = self.in_context(Context::Always).map(|binding| binding.chord).collect();
        let hides = |binding: &&Binding| binding.context != Context::Always && always.contains(&binding.chord);
        let second = self.0.iter().find(|binding| !seen.insert((binding.context, binding.chord)));
        let second = second.or_else(|| self.0.iter().find(hides))?;
        let same = |binding: &&Binding| {
            *binding != second
                && binding.chord == second.chord
                && (binding.context == second.context || binding.context == Context::Always)
        };
        self.0.iter().find(same).map(|first| (*first, *second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_means_two_things_in_one_context() {
        assert_eq!(Keymap::default().clash(), None);
    }

    #[test]
    fn the_nearest_context_decides() {
        let space = Chord { code: KeyCode::Char(' '), ctrl: false };
        assert_eq!(Keymap::default().lookup(&[KEYS, Context::Global], space), Some(Action::Toggle));
        assert_eq!(Keymap::default().lookup(&[EVENTS, Context::Global], space), None);
        let minus = Chord { code: KeyCode::Char('-'), ctrl: false };
        assert_eq!(Keymap::default().lookup(&[LOG, Context::Global], minus), Some(Action::Log(LogAction::CaptureLess)));
        assert_eq!(Keymap::default().lookup(&[KEYS, Context::Global], minus), Some(Action::FewerInFlight));
    }

    #[test]
    fn ctrl_c_works_everywhere() {
        let chord = Chord { code: KeyCode::Char('c'), ctrl: true };
        for context in [Context::Confirm, Context::Quit, Context::Menu, Context::Typing, Context::Reading, KEYS] {
            assert_eq!(Keymap::default().lookup(&[context, Context::Always], chord), Some(Action::Interrupt));
        }
    }

    #[test]
    fn every_binding_is_in_the_help() {
        for binding in BINDINGS {
            let line = Keymap::default().help(binding.context).into_iter().find(|line| line.action == binding.action);
            let keys = line.map(|line| line.keys).unwrap_or_default();
            assert!(keys.split(' ').any(|key| key == binding.chord.to_string()), "{binding:?}");
            assert!(!binding.action.sentence().is_empty());
        }
    }

    #[test]
    fn every_pane_has_its_number() {
        for pane in Pane::ALL {
            let digit = Chord { code: KeyCode::Char(char::from(b'0' + pane.number())), ctrl: false };
            assert_eq!(Keymap::default().lookup(&[Context::Global], digit), Some(Action::Focus(pane)));
        }
    }
}

//! Which key does what where, as one table. Footer and help are generated from it, so that they can't go stale.
//! What the configuration binds anew ([`rebinding`]) takes the place of the table's own keys.

mod chord;
mod rebinding;

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
    pub const fn title(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::Global => "Everywhere",
            Self::Pane(pane) => pane.title(),
            Self::Detail => "Item",
            Self::Reading => "Help and why",
            Self::Confirm => "Questions",
            Self::Replay => "Replay",
            Self::Quit => "Leaving",
            Self::Menu => "Menus",
            Self::Typing => "While typing",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Binding {
    pub context: Context,
    pub chord: Chord,
    pub action: Action,
    /// What the footer says of it, in the order of the table; `None`: in the help only.
    pub hint: Option<Hint>,
}

/// A word in the footer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hint {
    pub word: &'static str,
    /// Whose key stands behind the binding's own, as in `Up/Down`.
    pair: Option<Action>,
}

const fn plain(context: Context, code: KeyCode, action: Action) -> Binding {
    Binding { context, chord: Chord { code, ctrl: false }, action, hint: None }
}

const fn letter(context: Context, letter: char, action: Action) -> Binding {
    plain(context, KeyCode::Char(letter), action)
}

const fn ctrl(context: Context, letter: char, action: Action) -> Binding {
    Binding { context, chord: Chord { code: KeyCode::Char(letter), ctrl: true }, action, hint: None }
}

impl Binding {
    const fn hint(mut self, word: &'static str) -> Self {
        self.hint = Some(Hint { word, pair: None });
        self
    }

    const fn hint_with(mut self, pair: Action, word: &'static str) -> Self {
        self.hint = Some(Hint { word, pair: Some(pair) });
        self
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
    letter(KEYS, ' ', Action::Toggle).hint("key on/off"),
    letter(KEYS, 'w', Action::Why).hint("why"),
    letter(KEYS, 'c', Action::ClearCooldowns).hint("clear cooldowns"),
    letter(KEYS, 't', Action::Probe).hint("test now"),
    letter(KEYS, 'e', Action::SwitchOn),
    letter(KEYS, 'd', Action::SwitchOff),
    letter(COOLDOWNS, 'w', Action::Why).hint("why"),
    letter(COOLDOWNS, 'c', Action::ClearCooldowns).hint("clear the key's cooldowns"),
    letter(MODELS, ' ', Action::Toggle).hint("model on/off"),
    letter(MODELS, 'w', Action::Why).hint("why"),
    letter(MODELS, 'e', Action::SwitchOn),
    letter(MODELS, 'd', Action::SwitchOff),
    plain(EVENTS, KeyCode::Enter, Action::Open).hint("its item"),
    plain(ITEMS, KeyCode::Enter, Action::Open).hint("detail"),
    letter(ITEMS, '/', Action::Filter).hint("filter"),
    letter(ITEMS, 'f', Action::NextFilter).hint("failed/waiting/.."),
    plain(ITEMS, KeyCode::Right, Action::NextFilter),
    letter(ITEMS, 'l', Action::NextFilter),
    plain(ITEMS, KeyCode::Left, Action::PreviousFilter),
    letter(ITEMS, 'h', Action::PreviousFilter),
    letter(ITEMS, 'r', Action::Replay).hint("replay"),
    letter(ITEMS, ' ', Action::Mark).hint("mark"),
    letter(ITEMS, 't', Action::ReplayTo).hint("replay to.."),
    plain(FAILURES, KeyCode::Enter, Action::Open).hint("its first item"),
    letter(FAILURES, 'r', Action::ReplayTo).hint("replay these"),
    letter(FAILURES, 't', Action::ReplayTo),
    letter(FAILURES, 'x', Action::Export).hint("export these"),
    letter(ROUTES, ' ', Action::Toggle).hint("route on/off"),
    letter(ROUTES, 'w', Action::Why).hint("why"),
    plain(ROUTES, KeyCode::Enter, Action::Why),
    letter(ROUTES, 'c', Action::ClearCooldowns).hint("clear the key's cooldowns"),
    letter(ROUTES, 't', Action::Probe).hint("test the key"),
    letter(ROUTES, 'e', Action::SwitchOn),
    letter(ROUTES, 'd', Action::SwitchOff),
    letter(LOG, 'h', Action::Log(LogAction::HideSelector)).hint("targets"),
    letter(LOG, 'f', Action::Log(LogAction::FocusTarget)).hint("only this target"),
    plain(LOG, KeyCode::Left, Action::Log(LogAction::ShowLess))
        .hint_with(Action::Log(LogAction::ShowMore), "show less/more"),
    plain(LOG, KeyCode::Right, Action::Log(LogAction::ShowMore)),
    letter(LOG, '-', Action::Log(LogAction::CaptureLess))
        .hint_with(Action::Log(LogAction::CaptureMore), "record less/more"),
    letter(LOG, '+', Action::Log(LogAction::CaptureMore)),
    letter(LOG, '=', Action::Log(LogAction::CaptureMore)),
    letter(LOG, ' ', Action::Log(LogAction::HideOff)),
    plain(Context::Detail, KeyCode::Esc, Action::Back).hint("back"),
    plain(Context::Detail, KeyCode::Up, Action::Up).hint_with(Action::Down, "scroll"),
    plain(Context::Detail, KeyCode::Down, Action::Down),
    plain(Context::Detail, KeyCode::Left, Action::Left).hint_with(Action::Right, "previous/next item"),
    plain(Context::Detail, KeyCode::Right, Action::Right),
    letter(Context::Detail, 'r', Action::Replay).hint("replay"),
    letter(Context::Detail, 't', Action::ReplayTo).hint("replay to.."),
    letter(Context::Detail, 'n', Action::NextPicture),
    letter(Context::Detail, 'v', Action::Pictures),
    plain(Context::Reading, KeyCode::Esc, Action::Back).hint("back"),
    letter(Context::Reading, 'q', Action::Back),
    letter(Context::Reading, '?', Action::Back),
    letter(Context::Reading, 'w', Action::Back),
    plain(Context::Reading, KeyCode::Enter, Action::Back),
    plain(Context::Reading, KeyCode::Up, Action::Up).hint_with(Action::Down, "scroll"),
    letter(Context::Reading, 'k', Action::Up),
    plain(Context::Reading, KeyCode::Down, Action::Down),
    letter(Context::Reading, 'j', Action::Down),
    plain(Context::Reading, KeyCode::PageUp, Action::PageUp),
    plain(Context::Reading, KeyCode::PageDown, Action::PageDown),
    letter(Context::Reading, 'g', Action::Top),
    plain(Context::Reading, KeyCode::Home, Action::Top),
    letter(Context::Reading, 'G', Action::Bottom),
    plain(Context::Reading, KeyCode::End, Action::Bottom),
    letter(Context::Confirm, 'y', Action::Yes).hint("yes"),
    letter(Context::Confirm, 'n', Action::No).hint_with(Action::No, "no"),
    plain(Context::Confirm, KeyCode::Esc, Action::No),
    plain(Context::Confirm, KeyCode::Enter, Action::No),
    letter(Context::Confirm, 'q', Action::No),
    letter(Context::Replay, 'y', Action::Yes).hint("send"),
    plain(Context::Replay, KeyCode::Up, Action::Up).hint_with(Action::Down, "where to"),
    letter(Context::Replay, 'k', Action::Up),
    plain(Context::Replay, KeyCode::Down, Action::Down),
    letter(Context::Replay, 'j', Action::Down),
    plain(Context::Replay, KeyCode::Left, Action::Left).hint_with(Action::Right, "which"),
    letter(Context::Replay, 'h', Action::Left),
    plain(Context::Replay, KeyCode::BackTab, Action::Left),
    plain(Context::Replay, KeyCode::Right, Action::Right),
    letter(Context::Replay, 'l', Action::Right),
    plain(Context::Replay, KeyCode::Tab, Action::Right),
    letter(Context::Replay, 'n', Action::No).hint_with(Action::No, "no"),
    plain(Context::Replay, KeyCode::Esc, Action::No),
    plain(Context::Replay, KeyCode::Enter, Action::Yes),
    letter(Context::Replay, 'q', Action::No),
    letter(Context::Quit, 'p', Action::Detach).hint("plain progress"),
    letter(Context::Quit, 'd', Action::Drain).hint("drain"),
    letter(Context::Quit, 's', Action::StopNow).hint("stop now"),
    plain(Context::Quit, KeyCode::Esc, Action::Back).hint("stay"),
    letter(Context::Quit, 'q', Action::Back),
    letter(Context::Quit, 'n', Action::Back),
    plain(Context::Menu, KeyCode::Enter, Action::Open).hint("choose"),
    letter(Context::Menu, ' ', Action::Open),
    plain(Context::Menu, KeyCode::Up, Action::Up).hint_with(Action::Down, "move"),
    letter(Context::Menu, 'k', Action::Up),
    plain(Context::Menu, KeyCode::Down, Action::Down),
    letter(Context::Menu, 'j', Action::Down),
    plain(Context::Menu, KeyCode::Esc, Action::Back).hint("back"),
    letter(Context::Menu, 'q', Action::Back),
    letter(Context::Menu, 's', Action::Back),
    plain(Context::Typing, KeyCode::Enter, Action::Open).hint("done"),
    plain(Context::Typing, KeyCode::Tab, Action::NextPane),
    plain(Context::Typing, KeyCode::BackTab, Action::PreviousPane),
    plain(Context::Typing, KeyCode::Esc, Action::Back).hint("cancel"),
    plain(Context::Typing, KeyCode::Up, Action::Up),
    plain(Context::Typing, KeyCode::Down, Action::Down),
    plain(Context::Global, KeyCode::Tab, Action::NextPane).hint("pane"),
    letter(Context::Global, 'p', Action::Pause).hint("pause"),
    letter(Context::Global, 'W', Action::WhyRun).hint("why not faster"),
    letter(Context::Global, 'R', Action::ReplayAll).hint("replay failed"),
    letter(Context::Global, 's', Action::Strategy).hint("strategy"),
    letter(Context::Global, 'u', Action::Undo).hint("undo"),
    letter(Context::Global, '+', Action::MoreInFlight).hint_with(Action::FewerInFlight, "in flight"),
    letter(Context::Global, '=', Action::MoreInFlight),
    letter(Context::Global, '-', Action::FewerInFlight),
    letter(Context::Global, 'z', Action::Zoom).hint("zoom"),
    plain(Context::Global, KeyCode::Enter, Action::Open),
    plain(Context::Global, KeyCode::Esc, Action::Back),
    letter(Context::Global, ':', Action::CommandLine).hint("command"),
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
    letter(Context::Global, '?', Action::Help).hint("help"),
    plain(Context::Global, KeyCode::F(1), Action::Help),
    letter(Context::Global, 'q', Action::Quit).hint("quit"),
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

    /// The key for an action as a sentence names it: the first, wherever it is bound.
    pub fn key_for(&self, action: Action) -> String {
        self.first(action, |_| true)
    }

    /// The same, where `context` has the keyboard.
    pub fn key_in(&self, context: Context, action: Action) -> String {
        self.first(action, |binding| binding.context == context)
    }

    fn first(&self, action: Action, meant: impl Fn(&&Binding) -> bool) -> String {
        self.0.iter().filter(meant).find(|binding| binding.action == action).map_or_else(
            || action.name().map_or_else(String::new, |name| format!(":{name}")),
            |binding| binding.chord.to_string(),
        )
    }

    /// Key and word of a binding in the footer: `Up/Down scroll`.
    pub fn hint(&self, binding: &Binding) -> Option<(String, &'static str)> {
        let Hint { word, pair } = binding.hint?;
        let other = pair.and_then(|pair| {
            let mut others = self.in_context(binding.context).filter(|other| other.action == pair);
            others.find(|other| other.chord != binding.chord)
        });
        let key = match other {
            Some(other) => format!("{}/{}", binding.chord, other.chord),
            None => binding.chord.to_string(),
        };
        Some((key, word))
    }

    /// What a sentence calls a pane: its key and its title.
    pub fn pane(&self, pane: Pane) -> String {
        format!("{} {}", self.key_for(Action::Focus(pane)), pane.title())
    }

    /// A chord that means two things in one context, or hides what must work there too; the hidden one first. What
    /// the table itself hides, it hides on purpose.
    fn clash(&self) -> Option<(Binding, Binding)> {
        let own = |binding: &Binding| {
            BINDINGS
                .iter()
                .any(|own| (own.context, own.chord, own.action) == (binding.context, binding.chord, binding.action))
        };
        for (at, second) in self.0.iter().enumerate() {
            let clashes = |place: usize, first: &Binding| match (first.context, second.context) {
                (one, other) if one == other => place < at,
                (Context::Always, _) => true,
                (Context::Global, Context::Pane(_) | Context::Detail) => !(own(first) && own(second)),
                _ => false,
            };
            let same_key = |first: &Binding| first.chord == second.chord && first.action != second.action;
            let mut others = self.0.iter().enumerate().filter(|(_, first)| same_key(first));
            if let Some((_, first)) = others.find(|(place, first)| clashes(*place, first)) {
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

//! The table of the default key bindings.

use std::sync::LazyLock;

use crossterm::event::KeyCode;

use super::chord::Chord;
use crate::tui::{
    action::{Action, LogAction},
    pane::Pane,
};

/// Where a binding applies. [`State::key_contexts`](crate::tui::State::key_contexts) says which contexts have the
/// keyboard now.
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
            Self::Pane(pane) => pane.info().title,
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
    pub(super) paired_action: Option<Action>,
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
pub static BINDINGS: LazyLock<Vec<Binding>> = LazyLock::new(|| {
    [PANE_BINDINGS, OVERLAY_BINDINGS, GLOBAL_BINDINGS, &focus_bindings(), MOVEMENT_BINDINGS, FIXED_BINDINGS].concat()
});

/// The panes are focused by their numbers.
fn focus_bindings() -> [Binding; Pane::ALL.len()] {
    Pane::ALL.map(|pane| bind_char(KeyContext::Global, char::from(b'0' + pane.number()), Action::Focus(pane)))
}

/// The keys of the panes, each only in its pane.
const PANE_BINDINGS: &[Binding] = &[
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
    bind_char(ITEMS, 'B', Action::BreakOff),
    bind_char(ITEMS, 'X', Action::GiveUp),
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
];

/// The keys of the open item and of the overlays.
const OVERLAY_BINDINGS: &[Binding] = &[
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
];

/// The keys that work in every pane, without the numbers of the panes.
const GLOBAL_BINDINGS: &[Binding] = &[
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
];

/// The keys that move the selection, and those of the program as a whole.
const MOVEMENT_BINDINGS: &[Binding] = &[
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
];

/// The keys that work everywhere, even in overlays.
const FIXED_BINDINGS: &[Binding] = &[
    bind_ctrl(KeyContext::Always, 'c', Action::Interrupt),
    bind_ctrl(KeyContext::Always, 'z', Action::Suspend),
    bind_ctrl(KeyContext::Always, 'l', Action::Redraw),
];

//! The actions an operator can do, each with its name on the command line and its help text.

use super::pane::Pane;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Action {
    // Navigation.
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Top,
    Bottom,
    NextPane,
    PreviousPane,
    Focus(Pane),
    Open,
    Zoom,
    Back,
    // Details, filters and views.
    Inspect,
    InspectRun,
    OpenFilter,
    NextFilter,
    PreviousFilter,
    OpenHelp,
    OpenCommandLine,
    Redraw,
    ToggleMouse,
    Copy,
    ToggleMark,
    ExportGroup,
    NextPicture,
    TogglePictures,
    // Commands that change the run.
    Toggle,
    SwitchOn,
    SwitchOff,
    ClearCooldowns,
    TogglePause,
    HardPause,
    Replay,
    ReplayAll,
    OpenReplay,
    Probe,
    Undo,
    MoreInFlight,
    FewerInFlight,
    OpenStrategyMenu,
    // Leaving the dashboard.
    Quit,
    Interrupt,
    Suspend,
    // Answers in dialogs.
    Yes,
    No,
    Detach,
    Drain,
    StopNow,
    // Actions of the log pane.
    Log(LogAction),
}

/// Actions of tui-logger's target selector and scrollback.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LogAction {
    ToggleSelector,
    ToggleFocusedTarget,
    ToggleOffTargets,
    ShowLess,
    ShowMore,
    RecordLess,
    RecordMore,
}

/// Name and help text of an action.
struct ActionInfo {
    /// Name on the command line; `None` if the action only makes sense as a key.
    command_name: Option<&'static str>,
    help_text: &'static str,
    /// True if the action changes the run; such actions are not offered on a read-only screen.
    changes_run: bool,
}

impl Action {
    /// The name on the command line; `None` if the action only makes sense as a key.
    pub const fn command_name(self) -> Option<&'static str> {
        self.info().command_name
    }

    pub const fn help_text(self) -> &'static str {
        self.info().help_text
    }

    /// Whether the action changes the run. A read-only screen rejects such actions and does not offer them.
    pub const fn changes_run(self) -> bool {
        self.info().changes_run
    }

    /// All actions that have a command-line name, for completion.
    pub fn with_command_name() -> impl Iterator<Item = Self> {
        const NAMED: [Action; 33] = [
            Action::TogglePause,
            Action::HardPause,
            Action::Toggle,
            Action::SwitchOn,
            Action::SwitchOff,
            Action::ClearCooldowns,
            Action::Replay,
            Action::ReplayAll,
            Action::OpenReplay,
            Action::Probe,
            Action::Undo,
            Action::ToggleMark,
            Action::ExportGroup,
            Action::Copy,
            Action::NextPicture,
            Action::TogglePictures,
            Action::InspectRun,
            Action::MoreInFlight,
            Action::FewerInFlight,
            Action::OpenStrategyMenu,
            Action::OpenFilter,
            Action::NextFilter,
            Action::Inspect,
            Action::Zoom,
            Action::Open,
            Action::OpenHelp,
            Action::ToggleMouse,
            Action::Redraw,
            Action::Suspend,
            Action::Detach,
            Action::Drain,
            Action::StopNow,
            Action::Quit,
        ];
        NAMED.into_iter().chain(Pane::ALL.into_iter().map(Action::Focus))
    }

    /// The name in the configuration: the command-line name, or a separate one for actions without it.
    pub fn binding_name(self) -> &'static str {
        if let Some(name) = self.command_name() {
            return name;
        }
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Left => "left",
            Self::Right => "right",
            Self::PageUp => "page-up",
            Self::PageDown => "page-down",
            Self::Top => "top",
            Self::Bottom => "bottom",
            Self::NextPane => "next-pane",
            Self::PreviousPane => "previous-pane",
            Self::Back => "back",
            Self::PreviousFilter => "previous-filter",
            Self::OpenCommandLine => "command-line",
            Self::Interrupt => "interrupt",
            Self::Yes => "yes",
            Self::No => "no",
            Self::Log(LogAction::ToggleSelector) => "log-selector",
            Self::Log(LogAction::ToggleFocusedTarget) => "log-focus",
            Self::Log(LogAction::ToggleOffTargets) => "log-hide-off",
            Self::Log(LogAction::ShowLess) => "log-show-less",
            Self::Log(LogAction::ShowMore) => "log-show-more",
            Self::Log(LogAction::RecordLess) => "log-record-less",
            Self::Log(LogAction::RecordMore) => "log-record-more",
            _ => "",
        }
    }

    /// Finds an action by its name in the configuration.
    pub fn from_binding_name(name: &str) -> Option<Self> {
        let bound = super::keymap::BINDINGS.iter().map(|binding| binding.action);
        Self::with_command_name().chain(bound).find(|action| action.binding_name() == name)
    }

    const fn info(self) -> ActionInfo {
        const fn read_only(name: &'static str, help_text: &'static str) -> ActionInfo {
            ActionInfo { command_name: Some(name), help_text, changes_run: false }
        }
        const fn steering(name: &'static str, help_text: &'static str) -> ActionInfo {
            ActionInfo { command_name: Some(name), help_text, changes_run: true }
        }
        const fn key_only(help_text: &'static str) -> ActionInfo {
            ActionInfo { command_name: None, help_text, changes_run: false }
        }
        match self {
            Self::Up => key_only("up"),
            Self::Down => key_only("down"),
            Self::Left => key_only("left"),
            Self::Right => key_only("right"),
            Self::PageUp => key_only("a page up"),
            Self::PageDown => key_only("a page down"),
            Self::Top => key_only("to the first"),
            Self::Bottom => key_only("to the last"),
            Self::NextPane => key_only("next pane"),
            Self::PreviousPane => key_only("previous pane"),
            Self::Focus(Pane::Keys) => read_only("keys", "keys: health, state, cooldowns"),
            Self::Focus(Pane::Cooldowns) => {
                read_only("cooldowns", "cooldowns: what is unavailable, until when, by which source")
            }
            Self::Focus(Pane::Models) => read_only("models", "models: quotas used and left, latency, tokens, cost"),
            Self::Focus(Pane::Events) => read_only("events", "fallback events: what just happened"),
            Self::Focus(Pane::Items) => read_only("items", "items, failed ones first"),
            Self::Focus(Pane::Routes) => read_only("routes", "routes: every key with every model"),
            Self::Focus(Pane::Log) => read_only("log", "the program's own log"),
            Self::Focus(Pane::Charts) => read_only("charts", "throughput, 429s, latency and spend over time"),
            Self::Focus(Pane::Failures) => read_only("failures", "failed items by cause; replay or export a group"),
            Self::Open => read_only("open", "open: the item behind a row, or the pane full screen"),
            Self::Zoom => read_only("zoom", "this pane full screen, and back"),
            Self::Back => key_only("back: close, clear the filter, leave full screen"),
            Self::Inspect => read_only("why", "why: state of the selection, since when, until when, by which source"),
            Self::InspectRun => {
                read_only("why-run", "run report: what limits the run, when it ends, which quota is spent first")
            }
            Self::OpenFilter => read_only("filter", "filter items as you type: by id, question, answer, error"),
            Self::NextFilter => read_only("next-filter", "show failed, waiting, in flight, done or all items"),
            Self::PreviousFilter => key_only("the list before"),
            Self::OpenHelp => read_only("help", "this help"),
            Self::OpenCommandLine => key_only("command line: every action by its name"),
            Self::Redraw => read_only("redraw", "draw the whole screen anew"),
            Self::ToggleMouse => {
                read_only("mouse", "give the mouse back to the terminal, for selecting text; and take it again")
            }
            Self::Copy => read_only("copy", "copy the selection, or the open item's answer, to the clipboard"),
            Self::ToggleMark => read_only("mark", "mark the selected item, or take its mark away"),
            Self::ExportGroup => {
                read_only("export", "write the selected group of failed items to a file in the run's directory")
            }
            Self::NextPicture => read_only("next-picture", "the open item's next picture"),
            Self::TogglePictures => read_only("pictures", "hide items' pictures, or show them again"),
            Self::Toggle => steering("toggle", "switch the selected key, model or route off or on"),
            Self::SwitchOn => steering("on", "switch the selected key, model or route on"),
            Self::SwitchOff => {
                steering("off", "switch the selected key, model or route off; what is in flight finishes")
            }
            Self::ClearCooldowns => steering("clear-cooldowns", "end the selected key's cooldowns now"),
            Self::TogglePause => steering("pause", "pause (what is in flight finishes), or resume"),
            Self::HardPause => steering("hard-pause", "pause and abort what is in flight (asks first)"),
            Self::Replay => steering("replay", "queue the selected or the marked failed items again"),
            Self::ReplayAll => steering("replay-all", "queue all failed items again (asks first)"),
            Self::OpenReplay => {
                steering("replay-to", "replay: which failed items, where to, and what it may cost (asks first)")
            }
            Self::Probe => steering("probe", "ask the provider about the selected key now; costs nothing"),
            Self::Undo => steering("undo", "undo your last change"),
            Self::MoreInFlight => steering("more", "one more in flight"),
            Self::FewerInFlight => steering("fewer", "one fewer in flight"),
            Self::OpenStrategyMenu => steering("strategy", "strategy, order, and what to do when limited or exhausted"),
            Self::Quit => read_only("quit", "leave; asks how while the run is under way"),
            Self::Interrupt => key_only("leave; a second time stops the run at once"),
            // The run lives in this process, so suspending the process also suspends the run: this action changes the
            // run.
            Self::Suspend => {
                steering("suspend", "suspend the program (fg comes back); requests in flight may time out")
            }
            Self::Yes => key_only("yes"),
            Self::No => key_only("no"),
            Self::Detach => read_only("detach", "close the dashboard; the run continues with plain progress"),
            Self::Drain => steering("drain", "finish what is in flight, then end"),
            Self::StopNow => steering("stop", "stop now; what is in flight may have been billed"),
            Self::Log(LogAction::ToggleSelector) => key_only("hide or show the target selector"),
            Self::Log(LogAction::ToggleFocusedTarget) => key_only("show the selected target only"),
            Self::Log(LogAction::ToggleOffTargets) => key_only("hide or show targets that are off"),
            Self::Log(LogAction::ShowLess) => key_only("show less of the selected target"),
            Self::Log(LogAction::ShowMore) => key_only("show more of the selected target"),
            Self::Log(LogAction::RecordLess) => key_only("record less of the selected target"),
            Self::Log(LogAction::RecordMore) => key_only("record more of the selected target"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_every_listed_action_has_one() {
        let names: Vec<_> = Action::with_command_name()
            .map(|action| action.command_name().expect("listed actions are named"))
            .collect();
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len(), "{names:?}");
    }
}

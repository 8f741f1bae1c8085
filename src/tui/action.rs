//! The actions that an operator can perform, each with its help text and, for most, a name on the command line.

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
    BreakOff,
    GiveUp,
    GiveUpRest,
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
    /// Name in the configuration, and on the command line.
    name: &'static str,
    /// True if the action only makes sense as a key and is not on the command line.
    is_key_only: bool,
    help_text: &'static str,
    /// True if the action changes the run; such actions are not offered on a read-only screen.
    changes_run: bool,
}

impl Action {
    /// The name on the command line; `None` if the action only makes sense as a key.
    pub const fn command_name(self) -> Option<&'static str> {
        let ActionInfo { name, is_key_only, .. } = self.info();
        if is_key_only { None } else { Some(name) }
    }

    pub const fn help_text(self) -> &'static str {
        self.info().help_text
    }

    /// Whether the action changes the run. A read-only screen rejects such actions and does not offer them.
    pub const fn changes_run(self) -> bool {
        self.info().changes_run
    }

    /// The name in the configuration: the command-line name, or a separate one for actions without it.
    pub const fn binding_name(self) -> &'static str {
        self.info().name
    }

    const fn info(self) -> ActionInfo {
        const fn read_only_action(name: &'static str, help_text: &'static str) -> ActionInfo {
            ActionInfo { name, is_key_only: false, help_text, changes_run: false }
        }
        const fn run_changing_action(name: &'static str, help_text: &'static str) -> ActionInfo {
            ActionInfo { changes_run: true, ..read_only_action(name, help_text) }
        }
        const fn key_only_action(name: &'static str, help_text: &'static str) -> ActionInfo {
            ActionInfo { is_key_only: true, ..read_only_action(name, help_text) }
        }
        match self {
            Self::Up => key_only_action("up", "up"),
            Self::Down => key_only_action("down", "down"),
            Self::Left => key_only_action("left", "left"),
            Self::Right => key_only_action("right", "right"),
            Self::PageUp => key_only_action("page-up", "a page up"),
            Self::PageDown => key_only_action("page-down", "a page down"),
            Self::Top => key_only_action("top", "to the first row"),
            Self::Bottom => key_only_action("bottom", "to the last row"),
            Self::NextPane => key_only_action("next-pane", "next pane"),
            Self::PreviousPane => key_only_action("previous-pane", "previous pane"),
            Self::Focus(pane) => read_only_action(pane.info().command_name, pane.info().help_text),
            Self::Open => read_only_action("open", "open: the item behind a row, or the pane full screen"),
            Self::Zoom => read_only_action("zoom", "this pane full screen, and back"),
            Self::Back => key_only_action("back", "back: close, clear the filter, leave full screen"),
            Self::Inspect => {
                read_only_action("why", "why: state of the selection, since when, until when, and its source")
            }
            Self::InspectRun => {
                read_only_action("why-run", "run report: what limits the run, when it ends, which quota is spent first")
            }
            Self::OpenFilter => read_only_action("filter", "filter items as you type: by id, question, answer, error"),
            Self::NextFilter => read_only_action("next-filter", "show failed, waiting, in flight, done or all items"),
            Self::PreviousFilter => key_only_action("previous-filter", "the previous list"),
            Self::OpenHelp => read_only_action("help", "this help"),
            Self::OpenCommandLine => key_only_action("command-line", "command line: every action by its name"),
            Self::Redraw => read_only_action("redraw", "redraw the whole screen"),
            Self::ToggleMouse => {
                read_only_action("mouse", "release the mouse for selecting text in the terminal; capture it again")
            }
            Self::Copy => read_only_action("copy", "copy the selection, or the open item's answer, to the clipboard"),
            Self::ToggleMark => read_only_action("mark", "mark or unmark the selected item"),
            Self::ExportGroup => {
                read_only_action("export", "write the selected group of failed items to a file in the run's directory")
            }
            Self::NextPicture => read_only_action("next-picture", "the open item's next picture"),
            Self::TogglePictures => read_only_action("pictures", "hide items' pictures, or show them again"),
            Self::Toggle => run_changing_action("toggle", "switch the selected key, model or route off or on"),
            Self::SwitchOn => run_changing_action("on", "switch the selected key, model or route on"),
            Self::SwitchOff => {
                run_changing_action("off", "switch the selected key, model or route off; what is in flight finishes")
            }
            Self::ClearCooldowns => run_changing_action("clear-cooldowns", "end the selected key's cooldowns now"),
            Self::TogglePause => run_changing_action("pause", "pause (what is in flight finishes), or resume"),
            Self::HardPause => run_changing_action("hard-pause", "pause and abort what is in flight (asks first)"),
            Self::Replay => run_changing_action("replay", "queue the selected or the marked failed items again"),
            Self::BreakOff => {
                run_changing_action("break-off", "break off the item's request in flight; the item is sent again")
            }
            Self::GiveUp => run_changing_action("give-up", "give up on the selected or marked items (asks first)"),
            Self::GiveUpRest => run_changing_action("give-up-rest", "give up on all items that remain (asks first)"),
            Self::ReplayAll => run_changing_action("replay-all", "queue all failed items again (asks first)"),
            Self::OpenReplay => run_changing_action(
                "replay-to",
                "replay: which failed items, where to, and what it may cost (asks first)",
            ),
            Self::Probe => run_changing_action("probe", "ask the provider about the selected key now; costs nothing"),
            Self::Undo => run_changing_action("undo", "undo your last change"),
            Self::MoreInFlight => run_changing_action("more", "one more in flight"),
            Self::FewerInFlight => run_changing_action("fewer", "one fewer in flight"),
            Self::OpenStrategyMenu => {
                run_changing_action("strategy", "strategy, order, and what to do when limited or exhausted")
            }
            Self::Quit => read_only_action("quit", "leave; asks how while the run is under way"),
            Self::Interrupt => key_only_action("interrupt", "leave; pressed again, stops the run at once"),
            // The run lives in this process, so suspending the process also suspends the run: this action changes the
            // run.
            Self::Suspend => {
                run_changing_action("suspend", "suspend the program (fg resumes it); requests in flight may time out")
            }
            Self::Yes => key_only_action("yes", "yes"),
            Self::No => key_only_action("no", "no"),
            Self::Detach => read_only_action("detach", "close the dashboard; the run continues with plain progress"),
            Self::Drain => run_changing_action("drain", "finish what is in flight, then stop"),
            Self::StopNow => run_changing_action("stop", "stop now; what is in flight may have been billed"),
            Self::Log(LogAction::ToggleSelector) => key_only_action("log-selector", "hide or show the target selector"),
            Self::Log(LogAction::ToggleFocusedTarget) => key_only_action("log-focus", "show the selected target only"),
            Self::Log(LogAction::ToggleOffTargets) => {
                key_only_action("log-hide-off", "hide or show targets that are off")
            }
            Self::Log(LogAction::ShowLess) => key_only_action("log-show-less", "show less of the selected target"),
            Self::Log(LogAction::ShowMore) => key_only_action("log-show-more", "show more of the selected target"),
            Self::Log(LogAction::RecordLess) => {
                key_only_action("log-record-less", "record less of the selected target")
            }
            Self::Log(LogAction::RecordMore) => {
                key_only_action("log-record-more", "record more of the selected target")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::tui::keymap::all_actions;

    #[test]
    fn names_are_unique() {
        let names: Vec<_> = all_actions().map(Action::binding_name).collect();
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len(), "{names:?}");
    }
}

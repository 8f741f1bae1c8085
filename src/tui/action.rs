//! What an operator can do, each with its name on the command line and its sentence in the help.

use super::pane::Pane;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Action {
    // Getting around.
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
    // Looking closer.
    Why,
    WhyRun,
    Filter,
    NextFilter,
    PreviousFilter,
    Help,
    CommandLine,
    Redraw,
    Mouse,
    Copy,
    Mark,
    Export,
    NextPicture,
    Pictures,
    // Steering the run.
    Toggle,
    SwitchOn,
    SwitchOff,
    ClearCooldowns,
    Pause,
    HardPause,
    Replay,
    ReplayAll,
    ReplayTo,
    Probe,
    Undo,
    MoreInFlight,
    FewerInFlight,
    Strategy,
    // Leaving.
    Quit,
    Interrupt,
    Suspend,
    // Answers in dialogs.
    Yes,
    No,
    Detach,
    Drain,
    StopNow,
    // The log view's own.
    Log(LogAction),
}

/// What tui-logger's target selector and scrollback understand.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LogAction {
    HideSelector,
    FocusTarget,
    HideOff,
    ShowLess,
    ShowMore,
    CaptureLess,
    CaptureMore,
}

/// What is said of an action.
struct Info {
    /// On the command line; `None` where it only makes sense as a key.
    name: Option<&'static str>,
    sentence: &'static str,
    /// It changes the run: not offered to a reader.
    changes_run: bool,
}

impl Action {
    /// On the command line; `None` where it only makes sense as a key.
    pub const fn name(self) -> Option<&'static str> {
        self.info().name
    }

    pub const fn sentence(self) -> &'static str {
        self.info().sentence
    }

    /// Refused, and not even offered, on a read-only screen.
    pub const fn changes_run(self) -> bool {
        self.info().changes_run
    }

    /// The actions that have a name, for the command line's completion.
    pub fn named() -> impl Iterator<Item = Self> {
        const NAMED: [Action; 33] = [
            Action::Pause,
            Action::HardPause,
            Action::Toggle,
            Action::SwitchOn,
            Action::SwitchOff,
            Action::ClearCooldowns,
            Action::Replay,
            Action::ReplayAll,
            Action::ReplayTo,
            Action::Probe,
            Action::Undo,
            Action::Mark,
            Action::Export,
            Action::Copy,
            Action::NextPicture,
            Action::Pictures,
            Action::WhyRun,
            Action::MoreInFlight,
            Action::FewerInFlight,
            Action::Strategy,
            Action::Filter,
            Action::NextFilter,
            Action::Why,
            Action::Zoom,
            Action::Open,
            Action::Help,
            Action::Mouse,
            Action::Redraw,
            Action::Suspend,
            Action::Detach,
            Action::Drain,
            Action::StopNow,
            Action::Quit,
        ];
        NAMED.into_iter().chain(Pane::ALL.into_iter().map(Action::Focus))
    }

    /// Its name in the configuration: that of the command line, or one of its own.
    pub fn binding_name(self) -> &'static str {
        if let Some(name) = self.name() {
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
            Self::CommandLine => "command-line",
            Self::Interrupt => "interrupt",
            Self::Yes => "yes",
            Self::No => "no",
            Self::Log(LogAction::HideSelector) => "log-selector",
            Self::Log(LogAction::FocusTarget) => "log-focus",
            Self::Log(LogAction::HideOff) => "log-hide-off",
            Self::Log(LogAction::ShowLess) => "log-show-less",
            Self::Log(LogAction::ShowMore) => "log-show-more",
            Self::Log(LogAction::CaptureLess) => "log-record-less",
            Self::Log(LogAction::CaptureMore) => "log-record-more",
            _ => "",
        }
    }

    /// The action of that name in the configuration.
    pub fn by_name(name: &str) -> Option<Self> {
        let bound = super::keymap::BINDINGS.iter().map(|binding| binding.action);
        Self::named().chain(bound).find(|action| action.binding_name() == name)
    }

    const fn info(self) -> Info {
        const fn look(name: &'static str, sentence: &'static str) -> Info {
            Info { name: Some(name), sentence, changes_run: false }
        }
        const fn steer(name: &'static str, sentence: &'static str) -> Info {
            Info { name: Some(name), sentence, changes_run: true }
        }
        const fn key(sentence: &'static str) -> Info {
            Info { name: None, sentence, changes_run: false }
        }
        match self {
            Self::Up => key("up"),
            Self::Down => key("down"),
            Self::Left => key("left"),
            Self::Right => key("right"),
            Self::PageUp => key("a page up"),
            Self::PageDown => key("a page down"),
            Self::Top => key("to the first"),
            Self::Bottom => key("to the last"),
            Self::NextPane => key("next pane"),
            Self::PreviousPane => key("previous pane"),
            Self::Focus(Pane::Keys) => look("keys", "keys: health, state, what comes back when"),
            Self::Focus(Pane::Cooldowns) => look("cooldowns", "cooldowns: what is out, until when, on whose word"),
            Self::Focus(Pane::Models) => look("models", "models: quotas used and left, latency, tokens, cost"),
            Self::Focus(Pane::Events) => look("events", "fallback events: what just happened"),
            Self::Focus(Pane::Items) => look("items", "items, failed ones first"),
            Self::Focus(Pane::Routes) => look("routes", "routes: every key with every model"),
            Self::Focus(Pane::Log) => look("log", "the program's own log"),
            Self::Focus(Pane::Charts) => look("charts", "throughput, refusals, latency and spend over time"),
            Self::Focus(Pane::Failures) => {
                look("failures", "failures by what they failed of; replay or export a group")
            }
            Self::Open => look("open", "open: the item behind a row, or the pane full screen"),
            Self::Zoom => look("zoom", "this pane full screen, and back"),
            Self::Back => key("back: close, clear the filter, leave full screen"),
            Self::Why => look("why", "why: state of the selection, since when, until when, on whose word"),
            Self::WhyRun => look("why-run", "why not faster: what holds the run, when it ends, what runs out first"),
            Self::Filter => look("filter", "filter items as you type: by id, question, answer, error"),
            Self::NextFilter => look("next-filter", "show failed, waiting, in flight, done or all items"),
            Self::PreviousFilter => key("the list before"),
            Self::Help => look("help", "this help"),
            Self::CommandLine => key("command line: every action by its name"),
            Self::Redraw => look("redraw", "draw the whole screen anew"),
            Self::Mouse => look("mouse", "give the mouse back to the terminal, for selecting text; and take it again"),
            Self::Copy => look("copy", "copy the selection, or the open item's answer, to the clipboard"),
            Self::Mark => look("mark", "mark the selected item, or take its mark away"),
            Self::Export => look("export", "write the selected group of failed items to a file in the run's directory"),
            Self::NextPicture => look("next-picture", "the open item's next picture"),
            Self::Pictures => look("pictures", "hide items' pictures, or show them again"),
            Self::Toggle => steer("toggle", "switch the selected key, model or route off or on"),
            Self::SwitchOn => steer("on", "switch the selected key, model or route on"),
            Self::SwitchOff => steer("off", "switch the selected key, model or route off; what is in flight finishes"),
            Self::ClearCooldowns => steer("clear-cooldowns", "end the selected key's cooldowns now"),
            Self::Pause => steer("pause", "pause (what is in flight finishes), or go on"),
            Self::HardPause => steer("hard-pause", "pause and abort what is in flight (asks first)"),
            Self::Replay => steer("replay", "queue the selected or the marked failed items again"),
            Self::ReplayAll => steer("replay-all", "queue all failed items again (asks first)"),
            Self::ReplayTo => {
                steer("replay-to", "replay: which failed items, where to, and what it may cost (asks first)")
            }
            Self::Probe => steer("probe", "ask the provider about the selected key now; costs nothing"),
            Self::Undo => steer("undo", "undo your last change"),
            Self::MoreInFlight => steer("more", "one more in flight"),
            Self::FewerInFlight => steer("fewer", "one fewer in flight"),
            Self::Strategy => steer("strategy", "strategy, order, and what to do when limited or exhausted"),
            Self::Quit => look("quit", "leave; asks how while the run is under way"),
            Self::Interrupt => key("leave; a second time stops the run at once"),
            // The run is this very process: it would stand still too.
            Self::Suspend => steer("suspend", "suspend the program (fg comes back); requests in flight may time out"),
            Self::Yes => key("yes"),
            Self::No => key("no"),
            Self::Detach => look("detach", "close the dashboard; the run goes on with plain progress"),
            Self::Drain => steer("drain", "finish what is in flight, then end"),
            Self::StopNow => steer("stop", "stop now; what is in flight may have been billed"),
            Self::Log(LogAction::HideSelector) => key("hide or show the target selector"),
            Self::Log(LogAction::FocusTarget) => key("show the selected target only"),
            Self::Log(LogAction::HideOff) => key("hide or show targets that are off"),
            Self::Log(LogAction::ShowLess) => key("show less of the selected target"),
            Self::Log(LogAction::ShowMore) => key("show more of the selected target"),
            Self::Log(LogAction::CaptureLess) => key("record less of the selected target"),
            Self::Log(LogAction::CaptureMore) => key("record more of the selected target"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_every_listed_action_has_one() {
        let names: Vec<_> = Action::named().map(|action| action.name().expect("listed actions are named")).collect();
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len(), "{names:?}");
    }
}

//! What actions and letters mean while something lies over the dashboard.

use crossterm::event::KeyCode;

use super::{Effect, command_line, moving::step, send};
use crate::{
    domain::{CascadeOrder, Command, OnExhausted, Snapshot, Strategy, WhenLimited},
    tui::{
        action::Action,
        keymap::Chord,
        overlays,
        state::{Detail, Line, Overlay, ReplayPlan, State, ToastLevel},
        text::one_line,
        words,
    },
};

/// `None` where the action isn't the dialog's business.
pub(super) fn act(state: &mut State, snapshot: &Snapshot, action: Action) -> Option<Vec<Effect>> {
    match state.overlay.as_ref()? {
        Overlay::Help(_) | Overlay::Why { .. } => read(state, snapshot, action),
        Overlay::HardPause => match action {
            Action::Yes => {
                state.overlay = None;
                Some(send(state, snapshot, Command::HardPause))
            }
            Action::No | Action::Back => Some(close(state)),
            _ => None,
        },
        Overlay::Replay(plan) => {
            let plan = plan.clone();
            replay(state, snapshot, action, plan)
        }
        Overlay::Quit => {
            if action == Action::Back {
                Some(close(state))
            } else {
                None
            }
        }
        Overlay::Menu { selected } => {
            let selected = *selected;
            menu(state, snapshot, action, selected)
        }
        Overlay::Filter { before } => match action {
            Action::Open => Some(close(state)),
            Action::Back => {
                let before = before.clone();
                state.items.back_to(*before);
                Some(close(state))
            }
            Action::NextPane | Action::PreviousPane | Action::Up | Action::Down => Some(Vec::new()),
            _ => None,
        },
        Overlay::CommandLine(line) => {
            let line = line.clone();
            command_line_action(state, snapshot, action, line)
        }
    }
}

fn close(state: &mut State) -> Vec<Effect> {
    state.overlay = None;
    Vec::new()
}

fn read(state: &mut State, snapshot: &Snapshot, action: Action) -> Option<Vec<Effect>> {
    if action == Action::Back {
        return Some(close(state));
    }
    let (total, visible) = overlays::reading_extent(state, snapshot);
    let lines = step(action, visible)?;
    match &mut state.overlay {
        Some(Overlay::Help(reading) | Overlay::Why { reading, .. }) => reading.scroll(lines, total, visible),
        _ => return None,
    }
    Some(Vec::new())
}

// === Replay ===

fn replay(state: &mut State, snapshot: &Snapshot, action: Action, mut plan: Box<ReplayPlan>) -> Option<Vec<Effect>> {
    let (scopes, targets) = (plan.scopes.len(), plan.targets.len());
    match action {
        Action::Up => plan.target = plan.target.saturating_sub(1),
        Action::Down => plan.target = (plan.target + 1).min(targets.saturating_sub(1)),
        Action::Left => plan.scope = (plan.scope + scopes - 1) % scopes,
        Action::Right => plan.scope = (plan.scope + 1) % scopes,
        Action::No | Action::Back => return Some(close(state)),
        // What is sent is what was shown: without the preview, nothing.
        Action::Yes => match plan.preview() {
            Some(Ok((_, 1..))) => {
                state.overlay = None;
                return Some(send(state, snapshot, plan.command()));
            }
            Some(Ok(_)) => state.toasts.push("no failed item is meant by this", ToastLevel::Refused, state.ui),
            _ => state.toasts.push("still looking what that would send", ToastLevel::Refused, state.ui),
        },
        _ => return None,
    }
    state.overlay = Some(Overlay::Replay(plan));
    Some(Vec::new())
}

// === The menu of strategies ===

/// One line of the menu.
#[derive(Clone, PartialEq, Debug)]
pub struct Choice {
    pub section: &'static str,
    pub label: String,
    pub chosen: bool,
    pub command: Command,
}

/// Everything about how the run is conducted that can be switched while it runs.
pub fn choices(snapshot: &Snapshot) -> Vec<Choice> {
    let strategies = Strategy::ALL.into_iter().map(|strategy| Choice {
        section: "Strategy",
        label: format!("{}: {}", words::strategy(strategy), strategy.description()),
        chosen: snapshot.strategy == strategy,
        command: Command::SetStrategy { strategy },
    });
    let orders = [CascadeOrder::KeyFirst, CascadeOrder::ModelFirst].into_iter().map(|order| Choice {
        section: "Order of the cascade",
        label: format!("{}: {}", words::order(order), words::order_meaning(order)),
        chosen: snapshot.cascade_order == order,
        command: Command::SetCascadeOrder { order },
    });
    let limited = [WhenLimited::Spill, WhenLimited::Wait].into_iter().map(|when_limited| Choice {
        section: "When a route is limited",
        label: format!("{}: {}", words::when_limited(when_limited), words::when_limited_meaning(when_limited)),
        chosen: snapshot.when_limited == when_limited,
        command: Command::SetWhenLimited { when_limited },
    });
    let exhausted = [OnExhausted::Stop, OnExhausted::Wait].into_iter().map(|on_exhausted| Choice {
        section: "When everything is exhausted",
        label: format!("{}: {}", words::on_exhausted(on_exhausted), words::on_exhausted_meaning(on_exhausted)),
        chosen: snapshot.on_exhausted == on_exhausted,
        command: Command::SetOnExhausted { on_exhausted },
    });
    strategies.chain(orders).chain(limited).chain(exhausted).collect()
}

fn menu(state: &mut State, snapshot: &Snapshot, action: Action, selected: usize) -> Option<Vec<Effect>> {
    let choices = choices(snapshot);
    let last = choices.len().saturating_sub(1);
    let selected = match action {
        Action::Up => selected.saturating_sub(1),
        Action::Down => (selected + 1).min(last),
        Action::Open => {
            state.overlay = None;
            let choice = choices.into_iter().nth(selected)?;
            return Some(if choice.chosen { Vec::new() } else { send(state, snapshot, choice.command) });
        }
        Action::Back => return Some(close(state)),
        _ => return None,
    };
    state.overlay = Some(Overlay::Menu { selected });
    Some(Vec::new())
}

// === Typing ===

/// A key that no binding claims: text, where text is typed.
pub(super) fn type_key(state: &mut State, chord: Chord) -> Vec<Effect> {
    edit(state, |text| match (chord.code, chord.ctrl) {
        (KeyCode::Char('u'), true) => text.clear(),
        (KeyCode::Char('w'), true) => {
            let kept = text.trim_end().rfind(' ').map_or(0, |space| space + 1);
            text.truncate(kept);
        }
        (KeyCode::Backspace, _) => {
            text.pop();
        }
        (KeyCode::Char(letter), false) => text.push(letter),
        _ => {}
    });
    Vec::new()
}

pub(super) fn paste(state: &mut State, pasted: &str) -> Vec<Effect> {
    edit(state, |text| text.push_str(&one_line(pasted)));
    Vec::new()
}

/// Changes the line being typed, wherever that is.
fn edit(state: &mut State, change: impl FnOnce(&mut String)) {
    match &mut state.overlay {
        Some(Overlay::Filter { .. }) => {
            let mut text = state.items.text.clone();
            change(&mut text);
            if text != state.items.text {
                let show = state.items.show;
                state.items.refilter(show, text);
            }
        }
        Some(Overlay::CommandLine(line)) => {
            change(&mut line.text);
            line.choice = None;
            line.complaint = None;
        }
        _ => {}
    }
}

fn command_line_action(state: &mut State, snapshot: &Snapshot, action: Action, mut line: Line) -> Option<Vec<Effect>> {
    let completions = command_line::completions(&line.text, state, snapshot);
    let count = completions.len();
    match action {
        Action::Back => return Some(close(state)),
        Action::Down if count > 0 => line.choice = Some(line.choice.map_or(0, |at| (at + 1) % count)),
        Action::Up if count > 0 => line.choice = Some(line.choice.map_or(count - 1, |at| (at + count - 1) % count)),
        Action::NextPane => {
            let shared = command_line::shared(&completions, &line.text);
            match (line.choice.and_then(|at| completions.get(at)), shared) {
                (Some(chosen), _) => line = Line { text: chosen.text.clone(), ..Line::default() },
                (None, Some(text)) => line = Line { text, ..Line::default() },
                (None, None) => line.choice = (count > 0).then_some(0),
            }
        }
        Action::Open => {
            let text = match line.choice.and_then(|at| completions.into_iter().nth(at)) {
                Some(chosen) => chosen.text,
                None => line.text.clone(),
            };
            return Some(run_line(state, snapshot, text));
        }
        Action::Up | Action::Down | Action::PreviousPane => {}
        _ => return None,
    }
    state.overlay = Some(Overlay::CommandLine(line));
    Some(Vec::new())
}

fn run_line(state: &mut State, snapshot: &Snapshot, text: String) -> Vec<Effect> {
    use command_line::Parsed;
    match command_line::parse(&text, snapshot) {
        Ok(Parsed::Nothing) => {
            state.overlay = None;
            Vec::new()
        }
        Ok(Parsed::Action(action)) => {
            state.overlay = None;
            super::act(state, snapshot, action)
        }
        Ok(Parsed::Find(text)) => {
            state.overlay = None;
            super::moving::focus(state, crate::tui::pane::Pane::Items);
            state.items.refilter(None, text);
            Vec::new()
        }
        Ok(Parsed::Item(seq)) => {
            state.overlay = None;
            state.detail = Some(Detail::of(seq));
            Vec::new()
        }
        Ok(Parsed::Command(_)) if state.read_only => {
            state.overlay = None;
            state.toasts.push("this screen is read-only", ToastLevel::Refused, state.ui);
            Vec::new()
        }
        Ok(Parsed::Command(Command::Replay { filter, .. })) => {
            state.overlay = None;
            super::replaying::plan_of(state, snapshot, text, filter);
            Vec::new()
        }
        Ok(Parsed::Command(command)) => {
            state.overlay = None;
            send(state, snapshot, command)
        }
        Err(complaint) => {
            state.overlay = Some(Overlay::CommandLine(Line { text, choice: None, complaint: Some(complaint) }));
            Vec::new()
        }
    }
}

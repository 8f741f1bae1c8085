//! What is said outside the window: its title, and a bell when somebody should look.

use std::time::Duration;

use super::Effect;
use crate::{
    domain::{Snapshot, event::Level, snapshot::RunState},
    tui::{figures::percent, state::State, text::one_line},
};

/// Alarms closer together than this ring once.
const BELL_PAUSE: Duration = Duration::from_secs(10);

pub(super) fn news(state: &mut State, snapshot: &Snapshot) -> Vec<Effect> {
    let mut effects = Vec::new();
    let title = title(snapshot);
    if title != state.announced.title {
        state.announced.title.clone_from(&title);
        effects.push(Effect::SetTitle(title));
    }
    let over = snapshot.state.is_over();
    if over && !state.announced.over {
        effects.push(Effect::Notify(ending(snapshot)));
    }
    state.announced.over = over;
    if let Some(alarm) = newest_alarm(state, snapshot)
        && state.announced.rang.is_none_or(|rang| state.ui.saturating_sub(rang) >= BELL_PAUSE)
    {
        state.announced.rang = Some(state.ui);
        effects.push(Effect::Notify(alarm));
    }
    state.announced.event = snapshot.events.last().map_or(state.announced.event, |event| event.number);
    effects
}

fn newest_alarm(state: &State, snapshot: &Snapshot) -> Option<String> {
    let fresh = snapshot.events.iter().rev().take_while(|event| event.number > state.announced.event);
    let alarm = fresh.into_iter().find(|event| event.level() == Level::Alarm)?;
    Some(format!("{}: {}", one_line(&snapshot.run), one_line(&alarm.kind.to_string())))
}

/// `captions-spring: running 64%`; changes a hundred times in a run.
pub fn title(snapshot: &Snapshot) -> String {
    let totals = snapshot.totals;
    let run = one_line(&snapshot.run);
    let done = percent(totals.done + totals.failed, totals.total);
    let failed = if totals.failed > 0 { ", some failed" } else { "" };
    format!("{run}: {} {done}%{failed}", snapshot.state.name())
}

fn ending(snapshot: &Snapshot) -> String {
    let (run, totals) = (one_line(&snapshot.run), snapshot.totals);
    match &snapshot.state {
        RunState::Stopped { why } => format!("{run} stopped: {}", one_line(why)),
        _ => format!("{run} is finished: {} done, {} failed", totals.done, totals.failed),
    }
}

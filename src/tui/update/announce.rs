//! What is said outside the window: its title, and a bell when somebody should look.

use std::time::Duration;

use super::Effect;
use crate::{
    domain::{Alert, Snapshot},
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
    let news = state.announced.watch.new_alerts(snapshot);
    let run = one_line(&snapshot.run);
    if let Some(ending) = news.iter().find(|news| news.is_final()) {
        effects.push(Effect::Notify(format!("{run} {}", one_line(&ending.to_string()))));
    }
    let newest = news.iter().rev().find(|news| matches!(news, Alert::Event { .. } | Alert::Stalled { .. }));
    if let Some(alarm) = newest
        && state.announced.rang.is_none_or(|rang| state.ui.saturating_sub(rang) >= BELL_PAUSE)
    {
        state.announced.rang = Some(state.ui);
        effects.push(Effect::Notify(format!("{run}: {}", one_line(&alarm.to_string()))));
    }
    effects
}

/// `captions-spring: running 64%`; changes a hundred times in a run.
pub fn title(snapshot: &Snapshot) -> String {
    let totals = snapshot.totals;
    let run = one_line(&snapshot.run);
    let done = percent(totals.done + totals.failed, totals.total);
    let failed = if totals.failed > 0 { ", some failed" } else { "" };
    format!("{run}: {} {done}%{failed}", snapshot.state.name())
}

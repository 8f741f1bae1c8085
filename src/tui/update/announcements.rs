//! Announcements outside the dashboard: the window title, and the bell for alerts.

use std::time::Duration;

use super::event::Effect;
use crate::{
    domain::{Alert, Snapshot},
    tui::{format::percent, state::State, text::one_line},
};

/// Minimum time between two bells for alerts. The end of the run always rings.
const MIN_BELL_INTERVAL: Duration = Duration::from_secs(10);

pub(super) fn announce(state: &mut State, snapshot: &Snapshot) -> Vec<Effect> {
    let mut effects = Vec::new();
    let title = window_title(snapshot);
    if title != state.announced.last_title {
        state.announced.last_title.clone_from(&title);
        effects.push(Effect::SetTitle(title));
    }
    let alerts = state.announced.alert_tracker.new_alerts(snapshot);
    let run = one_line(&snapshot.run);
    if let Some(run_end) = alerts.iter().find(|alert| alert.is_final()) {
        effects.push(Effect::Notify(format!("{run} {}", one_line(&run_end.to_string()))));
    }
    let rings = |alert: &&Alert| matches!(alert, Alert::Event { .. } | Alert::KeysLeft { .. } | Alert::Stalled { .. });
    let newest = alerts.iter().rev().find(rings);
    if let Some(newest_alert) = newest
        && state
            .announced
            .bell_rang_at
            .is_none_or(|rang_at| state.ui_elapsed.saturating_sub(rang_at) >= MIN_BELL_INTERVAL)
    {
        state.announced.bell_rang_at = Some(state.ui_elapsed);
        effects.push(Effect::Notify(format!("{run}: {}", one_line(&newest_alert.to_string()))));
    }
    effects
}

/// The window title, such as `captions-spring: running 64%`. Only whole percent, so that it changes about a hundred
/// times in a run and not with each item.
pub fn window_title(snapshot: &Snapshot) -> String {
    let totals = snapshot.totals;
    let run = one_line(&snapshot.run);
    let done = percent(totals.done + totals.failed, totals.total);
    let failed = if totals.failed > 0 { ", some failed" } else { "" };
    format!("{run}: {} {done}%{failed}", snapshot.state.label())
}

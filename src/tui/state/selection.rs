//! Which row of each list is selected. Lists that move are followed by name, not by place.

use std::time::Duration;

use super::{State, Subject};
use crate::{
    domain::{
        Outcome, Snapshot,
        snapshot::{Condition, CooldownView, KeyView},
    },
    tui::pane::Pane,
};

/// For so long after the selected cooldown has ended, the next row doesn't pass for it.
const SLIP: Duration = Duration::from_secs(2);

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selection {
    pub key: usize,
    pub model: usize,
    /// Row (key) and column (model) of the matrix.
    pub route: (usize, usize),
    pub cooldown: Followed,
    /// Its number; `None` follows the newest.
    pub event: Option<u64>,
}

/// Which cooldown: a pool may rest for its minute and be out for the day at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Timer {
    /// `model@key`, `model@project` or an alias.
    pub what: String,
    pub outcome: Outcome,
}

impl Timer {
    fn of(cooldown: &CooldownView) -> Self {
        Self { what: cooldown.subject.clone(), outcome: cooldown.cause.outcome }
    }

    pub fn is(&self, cooldown: &CooldownView) -> bool {
        self.what == cooldown.subject && self.outcome == cooldown.cause.outcome
    }
}

/// The selected cooldown wherever it moves; when it ends, whichever has taken its place.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Followed {
    /// `None` until the operator has looked at the list.
    timer: Option<Timer>,
    at: usize,
    /// When it ended under the operator's hand.
    slipped: Option<Duration>,
}

/// The timers in the order in which they end.
pub fn cooldowns(snapshot: &Snapshot) -> Vec<&CooldownView> {
    let mut cooldowns: Vec<_> = snapshot.cooldowns.iter().collect();
    cooldowns.sort_by(|a, b| (a.until, &a.subject, a.cause.outcome).cmp(&(b.until, &b.subject, b.cause.outcome)));
    cooldowns
}

/// The key that a cooldown is about: `model@key`, `model@project`, or an alias. Of a project's keys one that works.
pub fn key_behind(what: &str, snapshot: &Snapshot) -> Option<String> {
    let owner = what.rsplit_once('@').map_or(what, |(_, owner)| owner);
    let named = snapshot.keys.iter().find(|key| key.name == owner);
    let works = |key: &&KeyView| !matches!(key.condition, Condition::Disabled { .. } | Condition::SwitchedOff { .. });
    let of_project = || snapshot.keys.iter().filter(|key| key.project == owner);
    let found = named.or_else(|| of_project().find(works)).or_else(|| of_project().next());
    found.map(|key| key.name.clone())
}

impl State {
    /// Rows of a pane's list.
    pub fn length(&self, pane: Pane, snapshot: &Snapshot) -> usize {
        match pane {
            Pane::Keys | Pane::Routes => snapshot.keys.len(),
            Pane::Models => snapshot.models.len(),
            Pane::Cooldowns => snapshot.cooldowns.len(),
            Pane::Events => snapshot.events.len(),
            Pane::Items => self.items.matching().unwrap_or(0) as usize,
            Pane::Failures => self.failures.groups().map_or(0, <[_]>::len),
            Pane::Log | Pane::Charts => 0,
        }
    }

    /// The selected row of a pane's list; 0 where it is empty.
    pub fn selected(&self, pane: Pane, snapshot: &Snapshot) -> usize {
        let last = self.length(pane, snapshot).saturating_sub(1);
        let at = match pane {
            Pane::Keys => self.selection.key,
            Pane::Models => self.selection.model,
            Pane::Routes => self.selection.route.0,
            Pane::Cooldowns => self.selection.cooldown.at,
            // Newest first; one that has left the snapshot's window counts as the oldest there is.
            Pane::Events => self.selection.event.map_or(0, |number| {
                snapshot.events.iter().rev().position(|event| event.number <= number).unwrap_or(last)
            }),
            Pane::Items => self.items.selected() as usize,
            Pane::Failures => self.failures.selected(),
            Pane::Log | Pane::Charts => 0,
        };
        at.min(last)
    }

    pub fn select(&mut self, pane: Pane, at: usize, snapshot: &Snapshot) {
        let at = at.min(self.length(pane, snapshot).saturating_sub(1));
        match pane {
            Pane::Keys => self.selection.key = at,
            Pane::Models => self.selection.model = at,
            Pane::Routes => self.selection.route.0 = at,
            Pane::Cooldowns => {
                let timer = cooldowns(snapshot).get(at).map(|cooldown| Timer::of(cooldown));
                self.selection.cooldown = Followed { timer, at, slipped: None };
            }
            Pane::Events => {
                let number = snapshot.events.iter().rev().nth(at).map(|event| event.number);
                self.selection.event = number.filter(|_| at > 0);
            }
            Pane::Items => self.items.select(at as u64),
            Pane::Failures => self.failures.select(at),
            Pane::Log | Pane::Charts => {}
        }
    }

    /// Finds the selected cooldown again, or stays where it was: to be called whenever either may have moved.
    pub fn follow_cooldown(&mut self, snapshot: &Snapshot) {
        let cooldowns = cooldowns(snapshot);
        let followed = &mut self.selection.cooldown;
        let place = followed.timer.as_ref().map(|timer| cooldowns.iter().position(|cooldown| timer.is(cooldown)));
        match place {
            Some(Some(at)) => followed.at = at,
            Some(None) => {
                followed.at = followed.at.min(cooldowns.len().saturating_sub(1));
                followed.timer = cooldowns.get(followed.at).map(|cooldown| Timer::of(cooldown));
                followed.slipped = Some(self.ui);
            }
            None if self.focus == Pane::Cooldowns => {
                followed.at = 0;
                followed.timer = cooldowns.first().map(|cooldown| Timer::of(cooldown));
            }
            None => {}
        }
    }

    /// Whether the selected cooldown is not the one that was selected a moment ago; said once.
    pub fn cooldown_slipped(&mut self) -> bool {
        let slipped = self.selection.cooldown.slipped.take();
        slipped.is_some_and(|at| self.focus == Pane::Cooldowns && self.ui.saturating_sub(at) < SLIP)
    }

    /// The column of the route matrix.
    pub fn selected_model(&self, snapshot: &Snapshot) -> usize {
        self.selection.route.1.min(snapshot.models.len().saturating_sub(1))
    }

    /// What the focused pane's selection is, where it is something that has a state.
    pub fn subject(&self, snapshot: &Snapshot) -> Option<Subject> {
        let at = self.selected(self.focus, snapshot);
        match self.focus {
            Pane::Keys => snapshot.keys.get(at).map(|key| Subject::Key(key.name.clone())),
            Pane::Models => snapshot.models.get(at).map(|model| Subject::Model(model.name.clone())),
            Pane::Routes => {
                let (key, model) = (snapshot.keys.get(at)?, snapshot.models.get(self.selected_model(snapshot))?);
                Some(Subject::Route { key: key.name.clone(), model: model.name.clone() })
            }
            Pane::Cooldowns => cooldowns(snapshot).get(at).map(|cooldown| Subject::Cooldown(Timer::of(cooldown))),
            Pane::Events | Pane::Items | Pane::Log | Pane::Charts | Pane::Failures => None,
        }
    }
}

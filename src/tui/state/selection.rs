//! The selected row of each list. In the list of cooldowns, which reorders, the selection follows the cooldown and not
//! the position; in the events, it follows the event.

use std::time::Duration;

use super::{InspectSubject, State};
use crate::{
    domain::{
        Outcome, Snapshot,
        snapshot::{Condition, CooldownView, KeyView},
    },
    tui::pane::Pane,
};

/// For this long after the selected cooldown has ended, the command to clear cooldowns is rejected: the operator may
/// mean the row that is gone.
const MOVED_SELECTION_GUARD: Duration = Duration::from_secs(2);

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selection {
    pub key: usize,
    pub model: usize,
    /// Row (key) and column (model) of the matrix.
    pub route: (usize, usize),
    pub cooldown: CooldownSelection,
    /// Number of the selected event; `None` follows the newest.
    pub event: Option<u64>,
}

/// Identifies a cooldown. A pool can have two at once, such as one for the minute and one for the day.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CooldownId {
    /// `model@key`, `model@project` or an alias.
    pub subject: String,
    pub outcome: Outcome,
}

impl CooldownId {
    fn of(cooldown: &CooldownView) -> Self {
        Self { subject: cooldown.subject.clone(), outcome: cooldown.cause.outcome }
    }

    pub fn matches(&self, cooldown: &CooldownView) -> bool {
        self.subject == cooldown.subject && self.outcome == cooldown.cause.outcome
    }
}

/// A selection that follows its cooldown when the list reorders. When the cooldown ends, the selection moves to the row
/// that takes its place.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CooldownSelection {
    /// `None` until the operator has focused the list.
    id: Option<CooldownId>,
    index: usize,
    /// When the selected cooldown ended and the selection moved to another one.
    moved_at: Option<Duration>,
}

/// The cooldowns in the order in which they end.
pub fn sorted_cooldowns(snapshot: &Snapshot) -> Vec<&CooldownView> {
    let mut cooldowns: Vec<_> = snapshot.cooldowns.iter().collect();
    cooldowns.sort_by(|a, b| (a.until, &a.subject, a.cause.outcome).cmp(&(b.until, &b.subject, b.cause.outcome)));
    cooldowns
}

/// The alias of the key that a cooldown belongs to. `subject` is `model@key`, `model@project` or an alias. For a
/// project, its first key that is neither disabled nor switched off, otherwise its first key.
pub fn key_of_cooldown(subject: &str, snapshot: &Snapshot) -> Option<String> {
    let owner = subject.rsplit_once('@').map_or(subject, |(_, owner)| owner);
    let named_key = snapshot.keys.iter().find(|key| key.name == owner);
    let is_usable =
        |key: &&KeyView| !matches!(key.condition, Condition::Disabled { .. } | Condition::SwitchedOff { .. });
    let of_project = || snapshot.keys.iter().filter(|key| key.project == owner);
    let found = named_key.or_else(|| of_project().find(is_usable)).or_else(|| of_project().next());
    found.map(|key| key.name.clone())
}

impl State {
    /// Number of rows in a pane's list.
    pub fn row_count(&self, pane: Pane, snapshot: &Snapshot) -> usize {
        match pane {
            Pane::Keys | Pane::Routes => snapshot.keys.len(),
            Pane::Models => snapshot.models.len(),
            Pane::Cooldowns => snapshot.cooldowns.len(),
            Pane::Events => snapshot.events.len(),
            Pane::Items => self.items.match_count().unwrap_or(0) as usize,
            Pane::Failures => self.failures.groups().map_or(0, <[_]>::len),
            Pane::Log | Pane::Charts => 0,
        }
    }

    /// The selected row of a pane's list; 0 if it is empty.
    pub fn selected_row(&self, pane: Pane, snapshot: &Snapshot) -> usize {
        let last = self.row_count(pane, snapshot).saturating_sub(1);
        let index = match pane {
            Pane::Keys => self.selection.key,
            Pane::Models => self.selection.model,
            Pane::Routes => self.selection.route.0,
            Pane::Cooldowns => self.selection.cooldown.index,
            // Newest first. An event that is no longer in the snapshot counts as the oldest one there.
            Pane::Events => self.selection.event.map_or(0, |number| {
                snapshot.events.iter().rev().position(|event| event.number <= number).unwrap_or(last)
            }),
            Pane::Items => self.items.selected() as usize,
            Pane::Failures => self.failures.selected(),
            Pane::Log | Pane::Charts => 0,
        };
        index.min(last)
    }

    pub fn select_row(&mut self, pane: Pane, index: usize, snapshot: &Snapshot) {
        let index = index.min(self.row_count(pane, snapshot).saturating_sub(1));
        match pane {
            Pane::Keys => self.selection.key = index,
            Pane::Models => self.selection.model = index,
            Pane::Routes => self.selection.route.0 = index,
            Pane::Cooldowns => {
                let id = sorted_cooldowns(snapshot).get(index).map(|cooldown| CooldownId::of(cooldown));
                self.selection.cooldown = CooldownSelection { id, index, moved_at: None };
            }
            Pane::Events => {
                let number = snapshot.events.iter().rev().nth(index).map(|event| event.number);
                self.selection.event = number.filter(|_| index > 0);
            }
            Pane::Items => self.items.select(index as u64),
            Pane::Failures => self.failures.select(index),
            Pane::Log | Pane::Charts => {}
        }
    }

    /// Updates the index of the selected cooldown; called after every event.
    pub fn update_cooldown_selection(&mut self, snapshot: &Snapshot) {
        let cooldowns = sorted_cooldowns(snapshot);
        let selection = &mut self.selection.cooldown;
        let position = selection.id.as_ref().map(|id| cooldowns.iter().position(|cooldown| id.matches(cooldown)));
        match position {
            Some(Some(index)) => selection.index = index,
            Some(None) => {
                selection.index = selection.index.min(cooldowns.len().saturating_sub(1));
                selection.id = cooldowns.get(selection.index).map(|cooldown| CooldownId::of(cooldown));
                selection.moved_at = Some(self.ui_elapsed);
            }
            None if self.focus == Pane::Cooldowns => {
                selection.index = 0;
                selection.id = cooldowns.first().map(|cooldown| CooldownId::of(cooldown));
            }
            None => {}
        }
    }

    /// Whether the selection has just moved to another cooldown because the selected one ended. Returns true at most
    /// once for each move.
    pub fn take_cooldown_moved(&mut self) -> bool {
        let moved_at = self.selection.cooldown.moved_at.take();
        moved_at.is_some_and(|at| {
            self.focus == Pane::Cooldowns && self.ui_elapsed.saturating_sub(at) < MOVED_SELECTION_GUARD
        })
    }

    /// The selected column of the route matrix.
    pub fn selected_model(&self, snapshot: &Snapshot) -> usize {
        self.selection.route.1.min(snapshot.models.len().saturating_sub(1))
    }

    /// The subject selected in the focused pane, if it can be inspected.
    pub fn selected_subject(&self, snapshot: &Snapshot) -> Option<InspectSubject> {
        let index = self.selected_row(self.focus, snapshot);
        match self.focus {
            Pane::Keys => snapshot.keys.get(index).map(|key| InspectSubject::Key(key.name.clone())),
            Pane::Models => snapshot.models.get(index).map(|model| InspectSubject::Model(model.name.clone())),
            Pane::Routes => {
                let (key, model) = (snapshot.keys.get(index)?, snapshot.models.get(self.selected_model(snapshot))?);
                Some(InspectSubject::Route { key: key.name.clone(), model: model.name.clone() })
            }
            Pane::Cooldowns => {
                sorted_cooldowns(snapshot).get(index).map(|cooldown| InspectSubject::Cooldown(CooldownId::of(cooldown)))
            }
            Pane::Events | Pane::Items | Pane::Log | Pane::Charts | Pane::Failures => None,
        }
    }
}

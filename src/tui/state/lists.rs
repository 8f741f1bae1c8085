//! The lists of the panes: how many rows each has, and which one is selected. A pane that is not named here has no
//! list.

use super::{CooldownId, InspectSubject, State, sorted_cooldowns};
use crate::{domain::Snapshot, tui::pane::Pane};

impl State {
    /// Number of rows in a pane's list; 0 if it has none.
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
            Pane::Cooldowns => self.selection.cooldown.index(),
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
            Pane::Cooldowns => self.selection.cooldown.select(index, &sorted_cooldowns(snapshot)),
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
        let is_focused = self.focus == Pane::Cooldowns;
        self.selection.cooldown.follow(&sorted_cooldowns(snapshot), is_focused, self.ui_elapsed);
    }

    /// Whether the selection has just moved to another cooldown because the selected one ended. Returns true at most
    /// once for each move.
    pub fn take_cooldown_moved(&mut self) -> bool {
        self.selection.cooldown.take_moved(self.ui_elapsed) && self.focus == Pane::Cooldowns
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

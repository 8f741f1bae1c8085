//! Which row of each list is selected. Lists that move are followed by name, not by place.

use super::{Overlay, State, Subject};
use crate::{
    domain::{Snapshot, snapshot::CooldownView},
    tui::pane::Pane,
};

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selection {
    pub key: usize,
    pub model: usize,
    /// Row (key) and column (model) of the matrix.
    pub route: (usize, usize),
    /// What it is called; `None` is the one that comes back first.
    pub cooldown: Option<String>,
    /// Its number; `None` follows the newest.
    pub event: Option<u64>,
}

/// The timers in the order in which they end.
pub fn cooldowns(snapshot: &Snapshot) -> Vec<&CooldownView> {
    let mut cooldowns: Vec<_> = snapshot.cooldowns.iter().collect();
    cooldowns.sort_by(|a, b| (a.until, &a.what).cmp(&(b.until, &b.what)));
    cooldowns
}

/// The key that a cooldown is about: `model@key`, `model@project`, or an alias.
pub fn key_behind(what: &str, snapshot: &Snapshot) -> Option<String> {
    let owner = what.rsplit_once('@').map_or(what, |(_, owner)| owner);
    let named = snapshot.keys.iter().find(|key| key.name == owner);
    named.or_else(|| snapshot.keys.iter().find(|key| key.project == owner)).map(|key| key.name.clone())
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
        let at =
            match pane {
                Pane::Keys => self.selection.key,
                Pane::Models => self.selection.model,
                Pane::Routes => self.selection.route.0,
                Pane::Cooldowns => self.selection.cooldown.as_ref().map_or(0, |what| {
                    cooldowns(snapshot).iter().position(|cooldown| cooldown.what == *what).unwrap_or(0)
                }),
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
                self.selection.cooldown = cooldowns(snapshot).get(at).map(|cooldown| cooldown.what.clone());
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

    /// The column of the route matrix.
    pub fn selected_model(&self, snapshot: &Snapshot) -> usize {
        self.selection.route.1.min(snapshot.models.len().saturating_sub(1))
    }

    /// What the focused pane's selection is, where it is something that has a state.
    pub fn subject(&self, snapshot: &Snapshot) -> Option<Subject> {
        if let Some(Overlay::Why { subject, .. }) = &self.overlay {
            return Some(subject.clone());
        }
        let at = self.selected(self.focus, snapshot);
        match self.focus {
            Pane::Keys => snapshot.keys.get(at).map(|key| Subject::Key(key.name.clone())),
            Pane::Models => snapshot.models.get(at).map(|model| Subject::Model(model.name.clone())),
            Pane::Routes => {
                let (key, model) = (snapshot.keys.get(at)?, snapshot.models.get(self.selected_model(snapshot))?);
                Some(Subject::Route { key: key.name.clone(), model: model.name.clone() })
            }
            Pane::Cooldowns => cooldowns(snapshot).get(at).map(|cooldown| Subject::Cooldown(cooldown.what.clone())),
            Pane::Events | Pane::Items | Pane::Log | Pane::Charts | Pane::Failures => None,
        }
    }
}

//! The cooldowns of a snapshot: their order in the list, and what identifies each.

use crate::domain::{
    Outcome, Snapshot,
    snapshot::{Condition, CooldownView, KeyView},
};

/// Identifies a cooldown. A pool can have two at once, such as one for the minute and one for the day.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CooldownId {
    /// `model@key`, `model@project` or an alias.
    pub subject: String,
    pub outcome: Outcome,
}

impl CooldownId {
    pub fn of(cooldown: &CooldownView) -> Self {
        Self { subject: cooldown.subject.clone(), outcome: cooldown.cause.outcome }
    }

    pub fn matches(&self, cooldown: &CooldownView) -> bool {
        self.subject == cooldown.subject && self.outcome == cooldown.cause.outcome
    }
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

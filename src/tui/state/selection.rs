//! The selected row of each list. In the list of cooldowns, which reorders, the selection follows the cooldown and not
//! the position; in the events, it follows the event.

use std::time::Duration;

use super::CooldownId;
use crate::domain::snapshot::CooldownView;

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

impl CooldownSelection {
    pub const fn index(&self) -> usize {
        self.index
    }

    /// Selects the cooldown at `index` of the list, because the operator has chosen it.
    pub fn select(&mut self, index: usize, cooldowns: &[&CooldownView]) {
        *self = Self { id: cooldowns.get(index).map(|cooldown| CooldownId::of(cooldown)), index, moved_at: None };
    }

    /// Follows the selected cooldown in the list as it is at `now`, or moves to another one if it has ended. Selects
    /// the first one if the list has the focus for the first time.
    pub fn follow(&mut self, cooldowns: &[&CooldownView], is_focused: bool, now: Duration) {
        let position = self.id.as_ref().map(|id| cooldowns.iter().position(|cooldown| id.matches(cooldown)));
        match position {
            Some(Some(index)) => self.index = index,
            Some(None) => {
                self.index = self.index.min(cooldowns.len().saturating_sub(1));
                self.id = cooldowns.get(self.index).map(|cooldown| CooldownId::of(cooldown));
                self.moved_at = Some(now);
            }
            None if is_focused => {
                self.index = 0;
                self.id = cooldowns.first().map(|cooldown| CooldownId::of(cooldown));
            }
            None => {}
        }
    }

    /// Whether the selection has moved to another cooldown shortly before `now`. Returns true at most once for each
    /// move.
    pub fn take_moved(&mut self, now: Duration) -> bool {
        self.moved_at.take().is_some_and(|at| now.saturating_sub(at) < MOVED_SELECTION_GUARD)
    }
}

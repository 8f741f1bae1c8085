//! Failed items by what they failed of, as the run's database last grouped them.

use super::{Stamp, Wanted};
use crate::domain::{FailureGroup, ItemState, Page, Query, ReplayFilter, snapshot::Totals};

#[derive(Clone, PartialEq, Debug, Default)]
pub struct Failures {
    selected: usize,
    /// The group that is selected, so that the selection stays on it when others overtake it.
    chosen: Option<ReplayFilter>,
    answer: Option<(Stamp, Result<Vec<FailureGroup>, String>)>,
}

impl Failures {
    /// `None` before the first answer.
    pub fn groups(&self) -> Option<&[FailureGroup]> {
        self.answer.as_ref()?.1.as_deref().ok()
    }

    pub fn trouble(&self) -> Option<&str> {
        self.answer.as_ref()?.1.as_ref().err().map(String::as_str)
    }

    pub const fn selected(&self) -> usize {
        self.selected
    }

    pub fn selected_group(&self) -> Option<&FailureGroup> {
        self.groups()?.get(self.selected)
    }

    pub fn select(&mut self, at: usize) {
        self.selected = at.min(self.groups().map_or(0, <[_]>::len).saturating_sub(1));
        self.chosen = self.selected_group().map(FailureGroup::filter);
    }

    pub(super) fn wanted(&self, totals: &Totals) -> Option<Wanted> {
        let stamp = Stamp::of(Some(ItemState::Failed), totals);
        let current = self.answer.as_ref().is_some_and(|(asked_in, _)| *asked_in == stamp);
        (!current).then(|| Wanted { query: Query::Failures { filter: ReplayFilter::default() }, stamp })
    }

    pub fn answered(&mut self, stamp: Stamp, page: Result<Page, String>) {
        let groups = match page {
            Ok(Page::Failures { groups, .. }) => Ok(groups),
            Ok(_) => Err("the run's database answered another question".to_owned()),
            Err(words) => Err(words),
        };
        self.answer = Some((stamp, groups));
        let followed =
            self.chosen.as_ref().and_then(|chosen| self.groups()?.iter().position(|group| group.filter() == *chosen));
        self.select(followed.unwrap_or(self.selected));
    }
}

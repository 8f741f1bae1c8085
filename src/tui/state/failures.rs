//! Failed items by what they failed of, as the run's database last grouped them.

use super::{Stamp, Wanted, answer::Answer};
use crate::domain::{FailureGroup, ItemState, Page, Query, ReplayFilter, snapshot::Totals};

#[derive(Clone, PartialEq, Debug, Default)]
pub struct Failures {
    selected: usize,
    /// The group that is selected, so that the selection stays on it when others overtake it.
    chosen: Option<ReplayFilter>,
    answer: Option<Answer<Vec<FailureGroup>>>,
}

impl Failures {
    /// `None` before the first answer.
    pub fn groups(&self) -> Option<&[FailureGroup]> {
        self.answer.as_ref()?.content().ok().map(Vec::as_slice)
    }

    pub fn trouble(&self) -> Option<&str> {
        self.answer.as_ref()?.content().err()
    }

    pub const fn selected(&self) -> usize {
        self.selected
    }

    pub fn selected_group(&self) -> Option<&FailureGroup> {
        self.groups()?.get(self.selected)
    }

    /// Where no groups are known, the place among them stays what it was.
    pub fn select(&mut self, at: usize) {
        let Some(groups) = self.groups() else { return };
        self.selected = at.min(groups.len().saturating_sub(1));
        self.chosen = self.selected_group().map(FailureGroup::replay_filter);
    }

    pub(super) fn wanted(&self, totals: &Totals) -> Option<Wanted> {
        let current = self.answer.as_ref().is_some_and(|answer| answer.is_current(Some(ItemState::Failed), totals));
        let query = Query::Failures { filter: ReplayFilter::default() };
        (!current).then(|| Wanted { query, stamp: Stamp::of(totals) })
    }

    pub fn distrust(&mut self) {
        if let Some(answer) = &mut self.answer {
            answer.distrust();
        }
    }

    pub fn answered(&mut self, stamp: Stamp, page: Result<Page, String>) {
        self.answer = Some(Answer::new(stamp, page, |page| match page {
            Page::Failures { groups, outdated, .. } => Some((groups, outdated)),
            _ => None,
        }));
        let followed = self
            .chosen
            .as_ref()
            .and_then(|chosen| self.groups()?.iter().position(|group| group.replay_filter() == *chosen));
        self.select(followed.unwrap_or(self.selected));
    }
}

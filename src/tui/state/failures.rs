//! Failed items grouped by the reason of their failure, as the run's database last reported them.

use super::{DataVersion, PendingQuery, cached::CachedAnswer};
use crate::domain::{FailureGroup, ItemState, Page, Query, ReplayFilter, snapshot::Totals};

#[derive(Clone, PartialEq, Debug, Default)]
pub struct FailureList {
    selected: usize,
    /// Identifies the selected group, so that the selection stays on it when the order changes.
    selected_filter: Option<ReplayFilter>,
    answer: Option<CachedAnswer<Vec<FailureGroup>>>,
}

impl FailureList {
    /// `None` before the first answer.
    pub fn groups(&self) -> Option<&[FailureGroup]> {
        self.answer.as_ref()?.content().ok().map(Vec::as_slice)
    }

    pub fn error(&self) -> Option<&str> {
        self.answer.as_ref()?.content().err()
    }

    pub const fn selected(&self) -> usize {
        self.selected
    }

    pub fn selected_group(&self) -> Option<&FailureGroup> {
        self.groups()?.get(self.selected)
    }

    /// Selects a group by its index. If no groups are loaded, the selection stays as it is.
    pub fn select(&mut self, index: usize) {
        let Some(groups) = self.groups() else { return };
        self.selected = index.min(groups.len().saturating_sub(1));
        self.selected_filter = self.selected_group().map(FailureGroup::replay_filter);
    }

    pub(super) fn pending_query(&self, totals: &Totals) -> Option<PendingQuery> {
        let is_current = self.answer.as_ref().is_some_and(|answer| answer.is_current(Some(ItemState::Failed), totals));
        let query = Query::Failures { filter: ReplayFilter::default() };
        (!is_current).then(|| PendingQuery { query, data_version: DataVersion::of(totals) })
    }

    pub fn invalidate(&mut self) {
        if let Some(answer) = &mut self.answer {
            answer.invalidate();
        }
    }

    pub fn on_answer(&mut self, data_version: DataVersion, page: Result<Page, String>) {
        self.answer = Some(CachedAnswer::new(data_version, page, |page| match page {
            Page::Failures { groups, outdated, .. } => Some((groups, outdated)),
            _ => None,
        }));
        let new_index = self
            .selected_filter
            .as_ref()
            .and_then(|selected| self.groups()?.iter().position(|group| group.replay_filter() == *selected));
        self.select(new_index.unwrap_or(self.selected));
    }
}

//! A replay being put together: which failed items, where to, and what the run's database says they are.

use super::{Stamp, Wanted, answer::Answer};
use crate::domain::{
    Command, FailureGroup, ItemState, Page, Query, ReplayFilter, RouteTarget, Snapshot, snapshot::Totals,
};

#[derive(Clone, PartialEq, Debug)]
pub struct ReplayPlan {
    /// What could be meant, the narrowest first; never empty.
    pub scopes: Vec<Scope>,
    pub scope: usize,
    /// `None` is the cascade.
    pub targets: Vec<Option<RouteTarget>>,
    pub target: usize,
    answer: Option<(ReplayFilter, Found)>,
}

/// Groups of failed items, and how many items there are in all.
type Found = Answer<(Vec<FailureGroup>, u64)>;

/// One answer to "which".
#[derive(Clone, PartialEq, Debug)]
pub struct Scope {
    pub label: String,
    pub filter: ReplayFilter,
}

impl ReplayPlan {
    /// To the cascade first, then each model, then each route.
    pub fn new(scopes: Vec<Scope>, snapshot: &Snapshot) -> Self {
        let models = snapshot.models.iter().map(|model| Some(RouteTarget { model: model.name.clone(), key: None }));
        let routes = snapshot
            .routes
            .iter()
            .map(|route| Some(RouteTarget { model: route.model.clone(), key: Some(route.key.clone()) }));
        let targets = std::iter::once(None).chain(models).chain(routes).collect();
        Self { scopes, scope: 0, targets, target: 0, answer: None }
    }

    pub fn filter(&self) -> &ReplayFilter {
        &self.scopes[self.scope.min(self.scopes.len() - 1)].filter
    }

    pub fn target(&self) -> Option<&RouteTarget> {
        self.targets.get(self.target)?.as_ref()
    }

    pub fn command(&self) -> Command {
        Command::Replay { filter: self.filter().clone(), target: self.target().cloned() }
    }

    /// What the chosen scope holds; `None` until the answer to it is here.
    pub fn preview(&self) -> Option<Result<(&[FailureGroup], u64), &str>> {
        let (groups, matching) = match self.answer()?.content() {
            Ok(found) => found,
            Err(words) => return Some(Err(words)),
        };
        Some(Ok((groups, *matching)))
    }

    /// To what is chosen now.
    fn answer(&self) -> Option<&Found> {
        self.answer.as_ref().filter(|(filter, _)| filter == self.filter()).map(|(_, found)| found)
    }

    /// Other items have failed, or wait again, since the preview was made.
    pub fn is_behind(&self, totals: &Totals) -> bool {
        self.answer().is_some_and(|found| !found.has_failed_count_of(totals))
    }

    pub(super) fn wanted(&self, totals: &Totals) -> Option<Wanted> {
        let current = self.answer().is_some_and(|found| found.is_current(Some(ItemState::Failed), totals));
        let query = Query::Failures { filter: self.filter().clone() };
        (!current).then(|| Wanted { query, stamp: Stamp::of(totals) })
    }

    /// Takes an answer in, if it is about what is chosen now.
    pub fn answered(&mut self, filter: ReplayFilter, stamp: Stamp, page: Result<Page, String>) {
        if filter != *self.filter() {
            return;
        }
        let found = Answer::new(stamp, page, |page| match page {
            Page::Failures { groups, matching, outdated } => Some(((groups, matching), outdated)),
            _ => None,
        });
        self.answer = Some((filter, found));
    }
}

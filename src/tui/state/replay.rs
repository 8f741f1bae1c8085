//! A replay that the operator is preparing: which failed items, on which route, and what the run's database says about
//! them.

use super::{DataVersion, PendingQuery, cached::CachedAnswer};
use crate::domain::{
    Command, FailureGroup, ItemState, Page, Query, ReplayFilter, RouteTarget, Snapshot, snapshot::Totals,
};

#[derive(Clone, PartialEq, Debug)]
pub struct ReplayPlan {
    /// The sets of items to choose from, the smallest first; never empty.
    pub scopes: Vec<ReplayScope>,
    pub scope_index: usize,
    /// The targets to choose from; `None` is the cascade.
    pub targets: Vec<Option<RouteTarget>>,
    pub target_index: usize,
    answer: Option<(ReplayFilter, GroupsAnswer)>,
}

/// Groups of failed items, and the number of items in all of them.
type GroupsAnswer = CachedAnswer<(Vec<FailureGroup>, u64)>;

/// A set of failed items that can be replayed.
#[derive(Clone, PartialEq, Debug)]
pub struct ReplayScope {
    pub label: String,
    pub filter: ReplayFilter,
}

impl ReplayPlan {
    /// Offers the cascade first, then each model, then each route.
    pub fn new(scopes: Vec<ReplayScope>, snapshot: &Snapshot) -> Self {
        let models = snapshot.models.iter().map(|model| Some(RouteTarget { model: model.name.clone(), key: None }));
        let routes = snapshot
            .routes
            .iter()
            .map(|route| Some(RouteTarget { model: route.model.clone(), key: Some(route.key.clone()) }));
        let targets = std::iter::once(None).chain(models).chain(routes).collect();
        Self { scopes, scope_index: 0, targets, target_index: 0, answer: None }
    }

    pub fn filter(&self) -> &ReplayFilter {
        &self.scopes[self.scope_index.min(self.scopes.len() - 1)].filter
    }

    pub fn target(&self) -> Option<&RouteTarget> {
        self.targets.get(self.target_index)?.as_ref()
    }

    pub fn command(&self) -> Command {
        Command::Replay { filter: self.filter().clone(), target: self.target().cloned() }
    }

    /// The failure groups in the chosen scope, and the number of their items; `None` until the database has answered.
    pub fn preview(&self) -> Option<Result<(&[FailureGroup], u64), &str>> {
        let (groups, matching) = match self.answer()?.content() {
            Ok(content) => content,
            Err(message) => return Some(Err(message)),
        };
        Some(Ok((groups, *matching)))
    }

    /// The answer for the chosen scope.
    fn answer(&self) -> Option<&GroupsAnswer> {
        self.answer.as_ref().filter(|(filter, _)| filter == self.filter()).map(|(_, answer)| answer)
    }

    /// Whether the number of failed items has changed since the query for the preview was sent.
    pub fn is_outdated(&self, totals: &Totals) -> bool {
        self.answer().is_some_and(|answer| !answer.has_same_failed_count(totals))
    }

    pub(super) fn pending_query(&self, totals: &Totals) -> Option<PendingQuery> {
        let is_current = self.answer().is_some_and(|answer| answer.is_current(Some(ItemState::Failed), totals));
        let query = Query::Failures { filter: self.filter().clone() };
        (!is_current).then(|| PendingQuery { query, data_version: DataVersion::of(totals) })
    }

    /// The estimated cost of replaying `count` items, in US dollars: the average cost of an answer so far, of the
    /// target's model if there is a target. `None` if there were no answers.
    pub fn estimated_cost_usd(&self, count: u64, snapshot: &Snapshot) -> Option<f64> {
        let (cost, answers) = match self.target() {
            Some(target) => {
                let model = snapshot.models.iter().find(|model| model.name == target.model)?;
                (model.cost, model.ok)
            }
            None => (snapshot.spend.cost, snapshot.models.iter().map(|model| model.ok).sum()),
        };
        (answers > 0).then(|| cost.as_usd() / answers as f64 * count as f64)
    }

    /// Takes an answer if it is for the chosen scope.
    pub fn on_answer(&mut self, filter: ReplayFilter, data_version: DataVersion, page: Result<Page, String>) {
        if filter != *self.filter() {
            return;
        }
        let answer = CachedAnswer::new(data_version, page, |page| match page {
            Page::Failures { groups, matching, outdated } => Some(((groups, matching), outdated)),
            _ => None,
        });
        self.answer = Some((filter, answer));
    }
}

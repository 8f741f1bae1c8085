//! A replay being put together: which failed items, where to, and what the run's database says they are.

use super::{Stamp, Wanted};
use crate::domain::{Command, FailureGroup, ItemState, Page, Query, ReplayFilter, Snapshot, Target, snapshot::Totals};

#[derive(Clone, PartialEq, Debug)]
pub struct ReplayPlan {
    /// What could be meant, the narrowest first; never empty.
    pub scopes: Vec<Scope>,
    pub scope: usize,
    /// `None` is the cascade.
    pub targets: Vec<Option<Target>>,
    pub target: usize,
    answer: Option<(ReplayFilter, Stamp, Found)>,
}

/// Groups of failed items and how many items there are in all; or why that can't be said.
type Found = Result<(Vec<FailureGroup>, u64), String>;

/// One answer to "which".
#[derive(Clone, PartialEq, Debug)]
pub struct Scope {
    pub label: String,
    pub filter: ReplayFilter,
}

impl ReplayPlan {
    /// To the cascade first, then each model, then each route.
    pub fn new(scopes: Vec<Scope>, snapshot: &Snapshot) -> Self {
        let models = snapshot.models.iter().map(|model| Some(Target { model: model.name.clone(), key: None }));
        let routes = snapshot
            .routes
            .iter()
            .map(|route| Some(Target { model: route.model.clone(), key: Some(route.key.clone()) }));
        let targets = std::iter::once(None).chain(models).chain(routes).collect();
        Self { scopes, scope: 0, targets, target: 0, answer: None }
    }

    pub fn filter(&self) -> &ReplayFilter {
        &self.scopes[self.scope.min(self.scopes.len() - 1)].filter
    }

    pub fn target(&self) -> Option<&Target> {
        self.targets.get(self.target)?.as_ref()
    }

    pub fn command(&self) -> Command {
        Command::Replay { filter: self.filter().clone(), to: self.target().cloned() }
    }

    /// What the chosen scope holds; `None` until the answer to it is here.
    pub fn preview(&self) -> Option<Result<(&[FailureGroup], u64), &str>> {
        let (filter, _, answer) = self.answer.as_ref()?;
        if filter != self.filter() {
            return None;
        }
        Some(match answer {
            Ok((groups, matching)) => Ok((groups.as_slice(), *matching)),
            Err(words) => Err(words.as_str()),
        })
    }

    pub(super) fn wanted(&self, totals: &Totals) -> Option<Wanted> {
        let stamp = Stamp::of(Some(ItemState::Failed), totals);
        let current = self.answer.as_ref().is_some_and(|(filter, asked, _)| filter == self.filter() && *asked == stamp);
        (!current).then(|| Wanted { query: Query::Failures { filter: self.filter().clone() }, stamp })
    }

    pub fn answered(&mut self, filter: ReplayFilter, stamp: Stamp, page: Result<Page, String>) {
        let answer = match page {
            Ok(Page::Failures { groups, matching }) => Ok((groups, matching)),
            Ok(_) => Err("the run's database answered another question".to_owned()),
            Err(words) => Err(words),
        };
        self.answer = Some((filter, stamp, answer));
    }
}

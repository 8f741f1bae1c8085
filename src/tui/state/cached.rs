//! Answers of the run's database, and how long each holds.

use crate::domain::{ItemState, Page, snapshot::Totals};

/// The run's totals when a question was asked. `None`: what came was behind the run even then, or isn't trusted any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DataVersion(Option<Totals>);

impl DataVersion {
    pub const fn of(totals: &Totals) -> Self {
        Self(Some(*totals))
    }

    /// Whether what depends on items in `state` is as it was. Ended items don't change with what is merely tried.
    fn matches(self, state: Option<ItemState>, now: &Totals) -> bool {
        let relevant_totals = |totals: &Totals| match state {
            Some(ItemState::Done) => [totals.done, 0, 0, 0, 0],
            Some(ItemState::Failed) => [totals.failed, totals.done, 0, 0, 0],
            _ => [totals.total, totals.done, totals.failed, totals.in_flight, totals.attempts],
        };
        self.0.is_some_and(|then| relevant_totals(&then) == relevant_totals(now))
    }
}

/// What a question came to.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct CachedAnswer<T> {
    data_version: DataVersion,
    content: Result<T, String>,
}

impl<T> CachedAnswer<T> {
    /// To the question that was asked at `stamp`. `take` gives what it asked for, and whether that is outdated; `None`
    /// where the page is about something else.
    pub fn new(
        data_version: DataVersion,
        page: Result<Page, String>,
        extract: impl FnOnce(Page) -> Option<(T, bool)>,
    ) -> Self {
        let taken = page
            .and_then(|page| extract(page).ok_or_else(|| "the run's database answered another question".to_owned()));
        match taken {
            Ok((content, outdated)) => {
                Self { data_version: if outdated { DataVersion(None) } else { data_version }, content: Ok(content) }
            }
            Err(words) => Self { data_version, content: Err(words) },
        }
    }

    pub fn content(&self) -> Result<&T, &str> {
        self.content.as_ref().map_err(String::as_str)
    }

    /// Whether it would still be the same, for what depends on items in `state`.
    pub fn is_current(&self, state: Option<ItemState>, now: &Totals) -> bool {
        self.data_version.matches(state, now)
    }

    /// Whether as many items had failed when it was asked for.
    pub fn has_failed_count(&self, now: &Totals) -> bool {
        self.data_version.0.is_some_and(|then| then.failed == now.failed)
    }

    /// Something may have changed although the counts are the same: to be asked again.
    pub const fn invalidate(&mut self) {
        self.data_version = DataVersion(None);
    }
}

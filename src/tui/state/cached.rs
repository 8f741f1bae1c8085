//! Answers from the run's database, with the version of the data they are based on.

use crate::domain::{ItemState, Page, snapshot::Totals};

/// The run's totals when a query was sent. They serve as a version: an answer is current while the totals it depends on
/// are unchanged. `None`: the answer was already outdated when it came, or has been invalidated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DataVersion(Option<Totals>);

impl DataVersion {
    pub const fn of(totals: &Totals) -> Self {
        Self(Some(*totals))
    }

    /// Whether the totals that items in `state` depend on are unchanged. Items that have ended don't change with
    /// further attempts.
    fn matches(self, state: Option<ItemState>, now: &Totals) -> bool {
        let relevant_totals = |totals: &Totals| match state {
            Some(ItemState::Done) => [totals.done, 0, 0, 0, 0],
            Some(ItemState::Failed) => [totals.failed, totals.done, 0, 0, 0],
            _ => [totals.total, totals.done, totals.failed, totals.in_flight, totals.attempts],
        };
        self.0.is_some_and(|then| relevant_totals(&then) == relevant_totals(now))
    }
}

/// The answer to a query: its content or an error, and the version of the data.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct CachedAnswer<T> {
    data_version: DataVersion,
    content: Result<T, String>,
}

impl<T> CachedAnswer<T> {
    /// Takes the answer to a query that was sent at `data_version`. `extract` returns the content and whether it is
    /// outdated, or `None` if the page answers another query.
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

    /// Whether a new answer would be the same, for content that depends on items in `state`.
    pub fn is_current(&self, state: Option<ItemState>, now: &Totals) -> bool {
        self.data_version.matches(state, now)
    }

    /// Whether the number of failed items is the same as when the query was sent.
    pub fn has_failed_count(&self, now: &Totals) -> bool {
        self.data_version.0.is_some_and(|then| then.failed == now.failed)
    }

    /// Marks the answer as outdated. Needed if the data may have changed although the totals are the same.
    pub const fn invalidate(&mut self) {
        self.data_version = DataVersion(None);
    }
}

//! Queries to the run's database and its answers, each with the version of the data it is based on.

use crate::domain::{ItemState, Page, Query, snapshot::Totals};

/// The version of the data: the run's totals when a query was sent. An answer is current while the totals it depends on
/// are unchanged. `None`: the answer is outdated, whatever the totals are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DataVersion(Option<Totals>);

impl DataVersion {
    pub const fn of(totals: &Totals) -> Self {
        Self(Some(*totals))
    }

    /// Whether the totals that items in `state` depend on are unchanged. Lists of done or failed items depend only on
    /// these counts, because an item that has ended gets no further attempts unless it is replayed.
    fn matches(self, state: Option<ItemState>, current: &Totals) -> bool {
        let relevant_totals = |totals: &Totals| match state {
            Some(ItemState::Done) => [totals.done, 0, 0, 0, 0],
            Some(ItemState::Failed) => [totals.failed, totals.done, 0, 0, 0],
            _ => [totals.total, totals.done, totals.failed, totals.in_flight, totals.attempts],
        };
        self.0.is_some_and(|sent_at| relevant_totals(&sent_at) == relevant_totals(current))
    }
}

/// A query that the screen needs, and the version of the data it is sent at.
#[derive(Clone, PartialEq, Debug)]
pub struct PendingQuery {
    pub query: Query,
    pub data_version: DataVersion,
}

/// The answer to a query: its content or an error, and the version of the data.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct CachedAnswer<T> {
    data_version: DataVersion,
    content: Result<T, String>,
}

impl<T> CachedAnswer<T> {
    /// Makes an answer from the page for a query that was sent at `data_version`. `extract` returns the page's content
    /// and whether it is outdated already, or `None` if the page belongs to another kind of query.
    pub fn new(
        data_version: DataVersion,
        page: Result<Page, String>,
        extract: impl FnOnce(Page) -> Option<(T, bool)>,
    ) -> Self {
        let extracted =
            page.and_then(|page| extract(page).ok_or_else(|| "the run's database sent an unexpected reply".to_owned()));
        match extracted {
            Ok((content, is_outdated)) => {
                Self { data_version: if is_outdated { DataVersion(None) } else { data_version }, content: Ok(content) }
            }
            Err(message) => Self { data_version, content: Err(message) },
        }
    }

    pub fn content(&self) -> Result<&T, &str> {
        self.content.as_ref().map_err(String::as_str)
    }

    /// Whether the answer is still up to date. `state` is the state of the items in it; `None` if they can have any.
    pub fn is_current(&self, state: Option<ItemState>, current: &Totals) -> bool {
        self.data_version.matches(state, current)
    }

    /// Whether the number of failed items is the same as when the query was sent.
    pub fn has_same_failed_count(&self, current: &Totals) -> bool {
        self.data_version.0.is_some_and(|sent_at| sent_at.failed == current.failed)
    }

    /// Marks the answer as outdated. Needed if the data may have changed although the totals are the same.
    pub const fn invalidate(&mut self) {
        self.data_version = DataVersion(None);
    }
}

//! The full view of one item, and the scroll position of long texts.

use super::{DataVersion, PendingQuery, cached::CachedAnswer};
use crate::domain::{ItemDetail, Page, Query, snapshot::Totals};

/// The first visible line of a text. It stays within the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ScrollPosition {
    pub line: usize,
}

impl ScrollPosition {
    /// Scrolls down by `lines`, or up if negative, in a text of `total` lines of which `visible` are shown.
    pub fn scroll(&mut self, lines: isize, total: usize, visible: usize) {
        self.line = self.line.saturating_add_signed(lines).min(total.saturating_sub(visible));
    }
}

#[derive(Clone, PartialEq, Debug)]
pub struct DetailView {
    pub seq: u64,
    pub scroll: ScrollPosition,
    /// Index of the picture that is shown.
    pub picture_index: usize,
    /// The answer contains `None` if there is no such item.
    answer: Option<CachedAnswer<Option<Box<ItemDetail>>>>,
}

/// The loading state of the item.
#[derive(Clone, Copy, Debug)]
pub enum DetailState<'a> {
    Loading,
    NotFound,
    Failed(&'a str),
    Loaded(&'a ItemDetail),
}

impl DetailView {
    pub const fn new(seq: u64) -> Self {
        Self { seq, scroll: ScrollPosition { line: 0 }, picture_index: 0, answer: None }
    }

    pub fn load_state(&self) -> DetailState<'_> {
        match self.answer.as_ref().map(CachedAnswer::content) {
            None => DetailState::Loading,
            Some(Ok(Some(item))) => DetailState::Loaded(item),
            Some(Ok(None)) => DetailState::NotFound,
            Some(Err(message)) => DetailState::Failed(message),
        }
    }

    pub fn item(&self) -> Option<&ItemDetail> {
        if let DetailState::Loaded(item) = self.load_state() { Some(item) } else { None }
    }

    /// The query for the item, if its answer is not current. An item that has ended changes only if it is replayed, and
    /// that changes the totals of its state.
    pub(super) fn pending_query(&self, totals: &Totals) -> Option<PendingQuery> {
        let state = self.item().map(|item| item.row.state);
        let is_current = self.answer.as_ref().is_some_and(|answer| answer.is_current(state, totals));
        (!is_current)
            .then(|| PendingQuery { query: Query::Item { seq: self.seq }, data_version: DataVersion::of(totals) })
    }

    pub fn invalidate(&mut self) {
        if let Some(answer) = &mut self.answer {
            answer.invalidate();
        }
    }

    pub fn on_answer(&mut self, seq: u64, data_version: DataVersion, page: Result<Page, String>) {
        if seq != self.seq {
            return;
        }
        self.answer = Some(CachedAnswer::new(data_version, page, |page| match page {
            Page::Item(item) => Some((Some(item), false)),
            Page::NotFound => Some((None, false)),
            _ => None,
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scrolling_stops_at_both_ends() {
        let mut position = ScrollPosition::default();
        position.scroll(-1, 100, 20);
        assert_eq!(position.line, 0);
        position.scroll(500, 100, 20);
        assert_eq!(position.line, 80);
        position.scroll(0, 5, 20);
        assert_eq!(position.line, 0);
    }

    #[test]
    fn an_answer_for_another_item_is_ignored() {
        let mut detail = DetailView::new(7);
        let totals = Totals::default();
        detail.on_answer(6, DataVersion::of(&totals), Ok(Page::NotFound));
        assert!(matches!(detail.load_state(), DetailState::Loading));
        detail.on_answer(7, DataVersion::of(&totals), Ok(Page::NotFound));
        assert!(matches!(detail.load_state(), DetailState::NotFound));
        assert_eq!(detail.pending_query(&totals), None);
        assert!(detail.pending_query(&Totals { attempts: 1, ..totals }).is_some());
    }
}

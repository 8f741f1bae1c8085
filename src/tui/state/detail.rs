//! One item whole, and how far its text, or any other long text, has been scrolled.

use super::{Stamp, Wanted, answer::Answer};
use crate::domain::{ItemDetail, Page, Query, snapshot::Totals};

/// A scroll position that can't leave the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reading {
    pub line: usize,
}

impl Reading {
    /// By `lines` down (or up), in a text of `total` lines of which `visible` are.
    pub fn scroll(&mut self, lines: isize, total: usize, visible: usize) {
        self.line = self.line.saturating_add_signed(lines).min(total.saturating_sub(visible));
    }
}

#[derive(Clone, PartialEq, Debug)]
pub struct Detail {
    pub seq: u64,
    pub reading: Reading,
    /// Which of the item's pictures is shown.
    pub picture: usize,
    /// Of `None`: there is no such item.
    answer: Option<Answer<Option<Box<ItemDetail>>>>,
}

/// What is known of the item.
#[derive(Clone, Copy, Debug)]
pub enum Known<'a> {
    NotYet,
    Nothing,
    Trouble(&'a str),
    Item(&'a ItemDetail),
}

impl Detail {
    pub const fn of(seq: u64) -> Self {
        Self { seq, reading: Reading { line: 0 }, picture: 0, answer: None }
    }

    pub fn known(&self) -> Known<'_> {
        match self.answer.as_ref().map(Answer::content) {
            None => Known::NotYet,
            Some(Ok(Some(item))) => Known::Item(item),
            Some(Ok(None)) => Known::Nothing,
            Some(Err(words)) => Known::Trouble(words),
        }
    }

    pub fn item(&self) -> Option<&ItemDetail> {
        if let Known::Item(item) = self.known() { Some(item) } else { None }
    }

    /// An item that has ended changes only by a replay, which shows in the counts of its state.
    pub(super) fn wanted(&self, totals: &Totals) -> Option<Wanted> {
        let state = self.item().map(|item| item.row.state);
        let current = self.answer.as_ref().is_some_and(|answer| answer.is_current(state, totals));
        (!current).then(|| Wanted { query: Query::Item { seq: self.seq }, stamp: Stamp::of(totals) })
    }

    pub fn distrust(&mut self) {
        if let Some(answer) = &mut self.answer {
            answer.distrust();
        }
    }

    pub fn answered(&mut self, seq: u64, stamp: Stamp, page: Result<Page, String>) {
        if seq != self.seq {
            return;
        }
        self.answer = Some(Answer::new(stamp, page, |page| match page {
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
    fn reading_stops_at_both_ends() {
        let mut reading = Reading::default();
        reading.scroll(-1, 100, 20);
        assert_eq!(reading.line, 0);
        reading.scroll(500, 100, 20);
        assert_eq!(reading.line, 80);
        reading.scroll(0, 5, 20);
        assert_eq!(reading.line, 0);
    }

    #[test]
    fn an_answer_for_another_item_is_ignored() {
        let mut detail = Detail::of(7);
        let totals = Totals::default();
        detail.answered(6, Stamp::of(&totals), Ok(Page::NotFound));
        assert!(matches!(detail.known(), Known::NotYet));
        detail.answered(7, Stamp::of(&totals), Ok(Page::NotFound));
        assert!(matches!(detail.known(), Known::Nothing));
        assert_eq!(detail.wanted(&totals), None);
        assert!(detail.wanted(&Totals { attempts: 1, ..totals }).is_some());
    }
}

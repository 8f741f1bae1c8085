//! The window onto the run's items: a million of them, of which a screenful is here.

use std::collections::BTreeMap;

use super::{Stamp, Wanted, answer::Answer};
use crate::domain::{ItemFilter, ItemRow, ItemState, Page, Query, ReplayFilter, snapshot::Totals};

/// Rows asked for above and below the visible ones, so that scrolling a little needs no question.
pub const WINDOW_MARGIN: u64 = 60;

#[derive(Clone, PartialEq, Debug)]
pub struct Items {
    /// `None` shows all.
    pub show: Option<ItemState>,
    /// The operator has not chosen a list yet: failed items are shown once there are any, and answers till then.
    unchosen: bool,
    pub text: String,
    /// Marked items, by number: their ids.
    pub marks: BTreeMap<u64, String>,
    /// Place in the filtered list.
    selected: u64,
    /// The selected item, so that the selection stays on it when others come before it.
    seq: Option<u64>,
    window: Option<Window>,
}

/// The newest answer.
#[derive(Clone, PartialEq, Debug)]
struct Window {
    filter: ItemFilter,
    offset: u64,
    /// The rows, and how many match over all windows.
    answer: Answer<(Vec<ItemRow>, u64)>,
}

impl Items {
    pub const fn showing(show: Option<ItemState>) -> Self {
        Self {
            show,
            unchosen: false,
            text: String::new(),
            marks: BTreeMap::new(),
            selected: 0,
            seq: None,
            window: None,
        }
    }

    /// What tells most, until the operator chooses.
    pub fn unchosen() -> Self {
        Self { unchosen: true, ..Self::showing(Some(ItemState::Failed)) }
    }

    pub fn filter(&self) -> ItemFilter {
        ItemFilter { state: self.show, text: self.text.clone() }
    }

    fn window(&self) -> Option<&Window> {
        self.window.as_ref().filter(|window| window.filter.state == self.show && window.filter.text == self.text)
    }

    /// How many match the filter; `None` before the first answer.
    pub fn matching(&self) -> Option<u64> {
        self.window()?.answer.content().ok().map(|(_, matching)| *matching)
    }

    /// Why the rows can't be read.
    pub fn trouble(&self) -> Option<&str> {
        self.window()?.answer.content().err()
    }

    pub fn row(&self, at: u64) -> Option<&ItemRow> {
        let window = self.window()?;
        let (rows, _) = window.answer.content().ok()?;
        rows.get(usize::try_from(at.checked_sub(window.offset)?).ok()?)
    }

    pub const fn selected(&self) -> u64 {
        self.selected
    }

    pub fn selected_row(&self) -> Option<&ItemRow> {
        self.row(self.selected)
    }

    /// The operator's choice of a row, and with it of the list.
    pub fn select(&mut self, at: u64) {
        self.unchosen &= self.matching().unwrap_or(0) == 0;
        self.place(at);
    }

    /// Where no list is known, the place in it stays what it was.
    fn place(&mut self, at: u64) {
        let Some(matching) = self.matching() else { return };
        self.selected = at.min(matching.saturating_sub(1));
        self.seq = self.selected_row().map(|row| row.seq);
    }

    /// Marks the selected item, or takes its mark away, and goes on to the next.
    pub fn mark(&mut self) -> bool {
        let Some(row) = self.selected_row() else { return false };
        let (seq, id) = (row.seq, row.id.clone());
        if self.marks.remove(&seq).is_none() {
            self.marks.insert(seq, id);
        }
        self.select(self.selected.saturating_add(1));
        true
    }

    /// Takes the marks of the items that a replay has sent. Of one that names none it is known only where it means all.
    pub fn unmark(&mut self, sent: &ReplayFilter) {
        self.marks.retain(|_, id| !sent.matches_all() && !sent.ids.contains(id));
    }

    /// Shows another list, from its top. The old rows stay until the new ones come, but aren't shown.
    pub fn refilter(&mut self, show: Option<ItemState>, text: String) {
        (self.show, self.text) = (show, text);
        self.unchosen = false;
        self.selected = 0;
        self.seq = None;
    }

    /// Whether the operator has chosen the list that is shown.
    pub const fn is_chosen(&self) -> bool {
        !self.unchosen
    }

    /// Back to the list as it was `before` others were tried; what is marked now stays marked.
    pub fn back_to(&mut self, before: Self) {
        *self = Self { marks: std::mem::take(&mut self.marks), window: self.window.take(), ..before };
    }

    /// Shows what tells most, for as long as the operator has not chosen.
    pub fn suggest(&mut self, totals: &Totals) {
        let telling = if totals.failed > 0 { ItemState::Failed } else { ItemState::Done };
        if self.unchosen && self.show != Some(telling) && self.text.is_empty() {
            self.refilter(Some(telling), String::new());
            self.unchosen = true;
        }
    }

    pub fn distrust(&mut self) {
        if let Some(window) = &mut self.window {
            window.answer.distrust();
        }
    }

    pub(super) fn wanted(&self, visible: usize, totals: &Totals) -> Option<Wanted> {
        let visible = visible as u64;
        let first = self.selected.saturating_sub(visible);
        let current = self.window().is_some_and(|window| {
            let holds_what_is_seen = match window.answer.content() {
                Ok((rows, matching)) => {
                    let end = window.offset + rows.len() as u64;
                    window.offset <= first && (self.selected + visible).min(*matching) <= end
                }
                Err(_) => true,
            };
            holds_what_is_seen && window.answer.is_current(self.show, totals)
        });
        if current {
            return None;
        }
        let offset = first.saturating_sub(WINDOW_MARGIN);
        let limit = (2 * visible + 2 * WINDOW_MARGIN).min(1_000) as u32;
        Some(Wanted { query: Query::Items { filter: self.filter(), offset, limit }, stamp: Stamp::of(totals) })
    }

    /// Takes an answer in. The selection follows its item where it is among the rows.
    pub fn answered(&mut self, filter: ItemFilter, offset: u64, stamp: Stamp, page: Result<Page, String>) {
        let answer = Answer::new(stamp, page, |page| match page {
            Page::Items { rows, matching, outdated, .. } => Some(((rows, matching), outdated)),
            _ => None,
        });
        self.window = Some(Window { filter, offset, answer });
        let followed = self.seq.and_then(|seq| {
            let (rows, _) = self.window()?.answer.content().ok()?;
            rows.iter().position(|row| row.seq == seq).map(|place| offset + place as u64)
        });
        self.place(followed.unwrap_or(self.selected));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(seq: u64) -> ItemRow {
        ItemRow {
            seq,
            id: seq.to_string(),
            state: ItemState::Failed,
            attempts: 1,
            outcome: None,
            route: None,
            preview: String::new(),
        }
    }

    fn totals(failed: u64) -> Totals {
        Totals { total: 1_000_000, failed, ..Totals::default() }
    }

    /// Answers what is wanted from a list of these items.
    fn answer(items: &mut Items, seqs: &[u64], totals: &Totals) {
        let wanted = items.wanted(10, totals).expect("something is wanted");
        let Query::Items { filter, offset, limit } = wanted.query else { panic!("rows are wanted") };
        let rows = seqs.iter().skip(offset as usize).take(limit as usize).map(|seq| row(*seq)).collect();
        let page = Page::Items { rows, matching: seqs.len() as u64, offset, outdated: false };
        items.answered(filter, offset, wanted.stamp, Ok(page));
    }

    #[test]
    fn nothing_is_asked_while_nothing_changed() {
        let mut items = Items::showing(Some(ItemState::Failed));
        answer(&mut items, &[3, 9, 12], &totals(3));
        assert_eq!(items.wanted(10, &totals(3)), None);
        assert!(items.wanted(10, &totals(4)).is_some());
    }

    #[test]
    fn scrolling_inside_the_margin_asks_nothing_and_beyond_it_does() {
        let seqs: Vec<u64> = (0..100_000).collect();
        let mut items = Items::showing(Some(ItemState::Failed));
        answer(&mut items, &seqs, &totals(100_000));
        items.select(50);
        assert_eq!(items.wanted(10, &totals(100_000)), None);
        items.select(90_000);
        answer(&mut items, &seqs, &totals(100_000));
        assert_eq!(items.row(90_000).map(|row| row.seq), Some(90_000));
        assert_eq!(items.row(0), None, "only a window is held");
    }

    #[test]
    fn the_selection_stays_on_its_item_when_others_come_before_it() {
        let mut items = Items::showing(Some(ItemState::Failed));
        answer(&mut items, &[30, 90], &totals(2));
        items.select(1);
        answer(&mut items, &[10, 20, 30, 90], &totals(4));
        assert_eq!(items.selected_row().map(|row| row.seq), Some(90));
        assert_eq!(items.selected(), 3);
    }

    #[test]
    fn a_list_that_shrank_keeps_the_selection_inside() {
        let mut items = Items::showing(Some(ItemState::Failed));
        answer(&mut items, &[1, 2, 3], &totals(3));
        items.select(2);
        answer(&mut items, &[], &totals(0));
        assert_eq!((items.selected(), items.selected_row()), (0, None));
    }

    #[test]
    fn another_filter_hides_the_old_rows_at_once() {
        let mut items = Items::showing(Some(ItemState::Failed));
        answer(&mut items, &[1, 2], &totals(2));
        items.refilter(Some(ItemState::Done), String::new());
        assert_eq!((items.matching(), items.row(0)), (None, None));
    }

    #[test]
    fn trouble_is_shown_and_not_asked_again_until_something_changes() {
        let mut items = Items::showing(Some(ItemState::Failed));
        let wanted = items.wanted(10, &totals(1)).unwrap();
        items.answered(items.filter(), 0, wanted.stamp, Err("the disk is gone".to_owned()));
        assert_eq!(items.trouble(), Some("the disk is gone"));
        assert_eq!(items.wanted(10, &totals(1)), None);
        assert!(items.wanted(10, &totals(2)).is_some());
    }
}

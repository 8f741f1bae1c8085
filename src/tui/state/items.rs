//! The list of the run's items. There may be a million, but only a window of them is loaded.

use std::collections::BTreeMap;

use super::{DataVersion, PendingQuery, cached::CachedAnswer};
use crate::domain::{ItemFilter, ItemRow, ItemState, Page, Query, ReplayFilter, snapshot::Totals};

/// Rows loaded above and below the visible ones, so that scrolling a little needs no query.
pub const WINDOW_MARGIN_ROWS: u64 = 60;

/// The lists of the items pane, in the order in which they are cycled.
pub const ITEM_LISTS: [Option<ItemState>; 5] =
    [Some(ItemState::Failed), Some(ItemState::Waiting), Some(ItemState::InFlight), Some(ItemState::Done), None];

#[derive(Clone, PartialEq, Debug)]
pub struct ItemList {
    /// `None`: items in any state.
    pub state_filter: Option<ItemState>,
    /// True until the operator chooses a list. Until then, failed items are shown if there are any, otherwise done
    /// ones.
    is_automatic: bool,
    pub text_filter: String,
    /// Marked items: the id of each by its sequence number.
    pub marks: BTreeMap<u64, String>,
    /// Index in the filtered list.
    selected: u64,
    /// Sequence number of the selected item, so that the selection stays on it when others come before it.
    selected_seq: Option<u64>,
    window: Option<ItemWindow>,
}

/// The newest answer, with the filter and the offset that were queried.
#[derive(Clone, PartialEq, Debug)]
struct ItemWindow {
    filter: ItemFilter,
    offset: u64,
    /// The rows, and how many items match in all.
    answer: CachedAnswer<(Vec<ItemRow>, u64)>,
}

impl ItemList {
    pub const fn new(state_filter: Option<ItemState>) -> Self {
        Self {
            state_filter,
            is_automatic: false,
            text_filter: String::new(),
            marks: BTreeMap::new(),
            selected: 0,
            selected_seq: None,
            window: None,
        }
    }

    /// A list that is chosen automatically until the operator chooses one.
    pub fn automatic() -> Self {
        Self { is_automatic: true, ..Self::new(Some(ItemState::Failed)) }
    }

    pub fn filter(&self) -> ItemFilter {
        ItemFilter { state: self.state_filter, text: self.text_filter.clone() }
    }

    /// The loaded window, if it is for the current filter.
    fn current_window(&self) -> Option<&ItemWindow> {
        self.window
            .as_ref()
            .filter(|window| window.filter.state == self.state_filter && window.filter.text == self.text_filter)
    }

    /// How many items match the filter; `None` before the first answer.
    pub fn match_count(&self) -> Option<u64> {
        self.current_window()?.answer.content().ok().map(|(_, matching)| *matching)
    }

    /// Why the rows can't be read.
    pub fn error(&self) -> Option<&str> {
        self.current_window()?.answer.content().err()
    }

    pub fn row(&self, index: u64) -> Option<&ItemRow> {
        let window = self.current_window()?;
        let (rows, _) = window.answer.content().ok()?;
        rows.get(usize::try_from(index.checked_sub(window.offset)?).ok()?)
    }

    pub const fn selected(&self) -> u64 {
        self.selected
    }

    pub fn selected_row(&self) -> Option<&ItemRow> {
        self.row(self.selected)
    }

    /// Selects the row that the operator has chosen. If the list has rows, it counts as chosen by the operator from
    /// then on.
    pub fn select(&mut self, index: u64) {
        self.is_automatic &= self.match_count().unwrap_or(0) == 0;
        self.set_selected(index);
    }

    /// Sets the selected index. If the list is not loaded, the selection stays as it is.
    fn set_selected(&mut self, index: u64) {
        let Some(matching) = self.match_count() else { return };
        self.selected = index.min(matching.saturating_sub(1));
        self.selected_seq = self.selected_row().map(|row| row.seq);
    }

    /// Marks or unmarks the selected item, and selects the next one. Returns false if no item is selected.
    pub fn toggle_mark(&mut self) -> bool {
        let Some(row) = self.selected_row() else { return false };
        let (seq, id) = (row.seq, row.id.clone());
        if self.marks.remove(&seq).is_none() {
            self.marks.insert(seq, id);
        }
        self.select(self.selected.saturating_add(1));
        true
    }

    /// Removes the marks of replayed items: all marks if `sent` matches all items, otherwise the marks of the ids that
    /// it names. For a filter by other properties, it is not known here which items match, so all marks stay.
    pub fn unmark_replayed(&mut self, sent: &ReplayFilter) {
        self.marks.retain(|_, id| !sent.matches_all() && !sent.ids.contains(id));
    }

    /// Shows another list from its top. It counts as chosen by the operator. The old rows are kept until new ones come,
    /// but not shown.
    pub fn set_filter(&mut self, state_filter: Option<ItemState>, text_filter: String) {
        (self.state_filter, self.text_filter) = (state_filter, text_filter);
        self.is_automatic = false;
        self.selected = 0;
        self.selected_seq = None;
    }

    /// Whether the operator has chosen the list that is shown.
    pub const fn is_chosen_by_operator(&self) -> bool {
        !self.is_automatic
    }

    /// Restores the filter and the selection of `previous`. The marks and the loaded rows stay.
    pub fn restore(&mut self, previous: Self) {
        *self = Self { marks: std::mem::take(&mut self.marks), window: self.window.take(), ..previous };
    }

    /// Chooses the list to show, unless the operator has chosen one.
    pub fn choose_default_list(&mut self, totals: &Totals) {
        let preferred = if totals.failed > 0 { ItemState::Failed } else { ItemState::Done };
        if self.is_automatic && self.state_filter != Some(preferred) && self.text_filter.is_empty() {
            self.set_filter(Some(preferred), String::new());
            self.is_automatic = true;
        }
    }

    /// Shows the list that comes this many steps after the shown one in [`ITEM_LISTS`], with the same text filter.
    pub fn cycle_state_filter(&mut self, steps: usize) {
        let index = ITEM_LISTS.iter().position(|list| *list == self.state_filter).unwrap_or(0);
        let text = self.text_filter.clone();
        self.set_filter(ITEM_LISTS[(index + steps) % ITEM_LISTS.len()], text);
    }

    pub fn invalidate(&mut self) {
        if let Some(window) = &mut self.window {
            window.answer.invalidate();
        }
    }

    /// The query for the visible rows and a margin around them, if they are not loaded or not current.
    pub(super) fn pending_query(&self, visible_rows: usize, totals: &Totals) -> Option<PendingQuery> {
        let visible_rows = visible_rows as u64;
        let first = self.selected.saturating_sub(visible_rows);
        let is_current = self.current_window().is_some_and(|window| {
            let covers_visible = match window.answer.content() {
                Ok((rows, matching)) => {
                    let end = window.offset + rows.len() as u64;
                    window.offset <= first && (self.selected + visible_rows).min(*matching) <= end
                }
                Err(_) => true,
            };
            covers_visible && window.answer.is_current(self.state_filter, totals)
        });
        if is_current {
            return None;
        }
        let offset = first.saturating_sub(WINDOW_MARGIN_ROWS);
        let limit = (2 * visible_rows + 2 * WINDOW_MARGIN_ROWS).min(1_000) as u32;
        Some(PendingQuery {
            query: Query::Items { filter: self.filter(), offset, limit },
            data_version: DataVersion::of(totals),
        })
    }

    /// Stores the answer to a query. The selection follows its item if that is among the rows.
    pub fn on_answer(
        &mut self,
        filter: ItemFilter,
        offset: u64,
        data_version: DataVersion,
        page: Result<Page, String>,
    ) {
        let answer = CachedAnswer::new(data_version, page, |page| match page {
            Page::Items { rows, matching, outdated, .. } => Some(((rows, matching), outdated)),
            _ => None,
        });
        self.window = Some(ItemWindow { filter, offset, answer });
        let new_index = self.selected_seq.and_then(|seq| {
            let (rows, _) = self.current_window()?.answer.content().ok()?;
            rows.iter().position(|row| row.seq == seq).map(|index| offset + index as u64)
        });
        self.set_selected(new_index.unwrap_or(self.selected));
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

    /// Answers the pending query from a list of these items.
    fn answer(items: &mut ItemList, seqs: &[u64], totals: &Totals) {
        let wanted = items.pending_query(10, totals).expect("something is wanted");
        let Query::Items { filter, offset, limit } = wanted.query else { panic!("rows are wanted") };
        let rows = seqs.iter().skip(offset as usize).take(limit as usize).map(|seq| row(*seq)).collect();
        let page = Page::Items { rows, matching: seqs.len() as u64, offset, outdated: false };
        items.on_answer(filter, offset, wanted.data_version, Ok(page));
    }

    #[test]
    fn no_query_is_pending_while_the_totals_are_unchanged() {
        let mut items = ItemList::new(Some(ItemState::Failed));
        answer(&mut items, &[3, 9, 12], &totals(3));
        assert_eq!(items.pending_query(10, &totals(3)), None);
        assert!(items.pending_query(10, &totals(4)).is_some());
    }

    #[test]
    fn scrolling_needs_a_query_only_beyond_the_loaded_margin() {
        let seqs: Vec<u64> = (0..100_000).collect();
        let mut items = ItemList::new(Some(ItemState::Failed));
        answer(&mut items, &seqs, &totals(100_000));
        items.select(50);
        assert_eq!(items.pending_query(10, &totals(100_000)), None);
        items.select(90_000);
        answer(&mut items, &seqs, &totals(100_000));
        assert_eq!(items.row(90_000).map(|row| row.seq), Some(90_000));
        assert_eq!(items.row(0), None, "only a window is held");
    }

    #[test]
    fn the_selection_stays_on_its_item_when_others_come_before_it() {
        let mut items = ItemList::new(Some(ItemState::Failed));
        answer(&mut items, &[30, 90], &totals(2));
        items.select(1);
        answer(&mut items, &[10, 20, 30, 90], &totals(4));
        assert_eq!(items.selected_row().map(|row| row.seq), Some(90));
        assert_eq!(items.selected(), 3);
    }

    #[test]
    fn the_selection_stays_inside_a_list_that_shrinks() {
        let mut items = ItemList::new(Some(ItemState::Failed));
        answer(&mut items, &[1, 2, 3], &totals(3));
        items.select(2);
        answer(&mut items, &[], &totals(0));
        assert_eq!((items.selected(), items.selected_row()), (0, None));
    }

    #[test]
    fn another_filter_hides_the_old_rows_at_once() {
        let mut items = ItemList::new(Some(ItemState::Failed));
        answer(&mut items, &[1, 2], &totals(2));
        items.set_filter(Some(ItemState::Done), String::new());
        assert_eq!((items.match_count(), items.row(0)), (None, None));
    }

    #[test]
    fn a_failed_query_is_repeated_only_when_the_totals_change() {
        let mut items = ItemList::new(Some(ItemState::Failed));
        let wanted = items.pending_query(10, &totals(1)).unwrap();
        items.on_answer(items.filter(), 0, wanted.data_version, Err("the disk is gone".to_owned()));
        assert_eq!(items.error(), Some("the disk is gone"));
        assert_eq!(items.pending_query(10, &totals(1)), None);
        assert!(items.pending_query(10, &totals(2)).is_some());
    }
}

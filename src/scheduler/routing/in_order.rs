//! Strategies `cascade` and `primary_backup`: the first ready candidate in rank order. A selection reads at most n/64
//! words of a bit set.

use std::ops::Range;

use super::selector::RouteSelector;

#[derive(Debug)]
pub struct InOrder {
    pub candidates: usize,
}

impl RouteSelector for InOrder {
    fn is_ordered(&self) -> bool {
        true
    }

    fn range(&self, index: usize) -> Option<Range<usize>> {
        (index == 0).then_some(0..self.candidates)
    }
}

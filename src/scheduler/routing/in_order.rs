//! Strategies `cascade` and `primary_backup`: the first ready candidate in rank order. A selection reads at most n/64
//! words of a bit set.

use std::ops::Range;

use super::selector::{RouteSelector, SearchInput};

#[derive(Debug)]
pub struct InOrder {
    /// By rank: the place of its model among the models.
    pub model_places: Vec<usize>,
}

impl RouteSelector for InOrder {
    fn is_ordered(&self) -> bool {
        true
    }

    fn range(&self, index: usize) -> Option<Range<usize>> {
        (index == 0).then_some(0..self.model_places.len())
    }

    fn prefers_model(&self, _input: &SearchInput<'_>, one: usize, other: usize) -> bool {
        one < other && self.model_places[one] < self.model_places[other]
    }
}

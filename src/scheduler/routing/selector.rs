//! Route selection: the order in which the items of a class try their ready candidates.
//!
//! A [`RouteSelector`] belongs to one class. Dispatch asks it for one candidate after another until one can take the
//! item. Candidates that are not ready are parked and never returned. The selector knows only a candidate's rank (its
//! position among the class's candidates), its tier and its measurements; limits, cooldowns and money are dispatch's
//! task.
//!
//! Tiers come first. Routes of the item's preferred model come before others, and among equals backup keys come last;
//! under `primary_backup`, backup keys come last overall. A strategy orders the candidates within a tier.
//!
//! A strategy is one file. It either scans ranges of ranks for ready ones ([`RouteSelector::range`]), or keeps the
//! selectable candidates in an index ([`RouteSelector::index`]). The trait implements the search for both. The file
//! says what it costs to select one of n candidates; parking and unparking cost no more.

use std::{fmt::Debug, ops::Range};

use smallvec::SmallVec;

use crate::domain::Price;

use super::bitset::BitSet;

/// The rank ranges of the tiers, in order; at most four.
pub type Tiers = SmallVec<[Range<usize>; 4]>;

/// The measurements of one route that strategies use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RouteStats {
    /// The key's weight times the model's; at least 1.
    pub weight: u64,
    /// The key's health (at least 5) times `weight`.
    pub health_weight: u64,
    /// Sequence number of its last use in the run; 0 before the first.
    pub last_use_number: u64,
    /// Expected latency in microseconds.
    pub latency_micros: u64,
}

/// The contiguous ranks of one model in one tier.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ModelRange {
    pub model: usize,
    pub tier: usize,
    pub ranks: Range<usize>,
}

/// The measurements of one model that strategies use.
#[derive(Clone, Copy, Debug)]
pub struct ModelStats {
    pub price: Option<Price>,
    /// Mean output tokens of its answers; `None` before the first.
    pub mean_output_tokens: Option<f64>,
    /// Mean latency of recent answers in microseconds; `None` before the first.
    pub latency_micros: Option<f64>,
}

/// The starting point of a search: the ready candidates, the item's size, and the measurements of models by index.
#[derive(Clone, Copy)]
pub struct SearchInput<'a> {
    pub ready: &'a BitSet,
    pub input_tokens: u64,
    pub max_output_tokens: Option<u32>,
    pub model_stats: &'a dyn Fn(usize) -> ModelStats,
}

/// A search through the candidates of a class, for one item.
#[derive(Debug, Default)]
pub struct RouteSearch {
    /// The candidate to return first, before the index is asked.
    first: Option<usize>,
    /// The range being scanned, and the lowest rank in it that was not scanned yet.
    range_index: usize,
    next_rank: usize,
    /// The candidate returned last.
    proposed: Option<usize>,
    /// Ready, but declined for this item: removed from the index until the search ends.
    declined: SmallVec<[usize; 8]>,
}

impl RouteSearch {
    /// A search that returns this candidate first.
    pub fn starting_with(first: Option<usize>) -> Self {
        Self { first, ..Self::default() }
    }

    /// The next ready rank in the ranges that `range` returns by index.
    pub fn scan(&mut self, ready: &BitSet, range: impl Fn(usize) -> Option<Range<usize>>) -> Option<usize> {
        while let Some(ranks) = range(self.range_index) {
            let from = self.next_rank.max(ranks.start);
            if from < ranks.end
                && let Some(rank) = ready.first_from(from).filter(|rank| *rank < ranks.end)
            {
                self.next_rank = rank + 1;
                return Some(rank);
            }
            self.range_index += 1;
            self.next_rank = 0;
        }
        None
    }
}

/// A data structure that holds the selectable candidates of a class.
pub trait CandidateIndex {
    fn insert(&mut self, rank: usize);

    fn remove(&mut self, rank: usize);

    /// The candidate to use next.
    fn next(&self, rng: &mut fastrand::Rng) -> Option<usize>;
}

/// A strategy's state for one class.
pub trait RouteSelector: Debug + Send {
    /// Whether candidates have a fixed order, so that an item has one preferred route.
    fn is_ordered(&self) -> bool {
        false
    }

    /// Whether the model of `one` is better than that of `other` for this item, so that the item waits for `one` rather
    /// than go to `other`. Both are ranks in the same tier. False for strategies that don't order models.
    fn prefers_model(&self, _input: &SearchInput<'_>, _one: usize, _other: usize) -> bool {
        false
    }

    /// Whether [`RouteSelector::update_stats`] has any effect.
    fn uses_stats(&self) -> bool {
        false
    }

    /// The index that holds the selectable candidates; `None` if ranges of ranks are scanned instead.
    fn index(&mut self) -> Option<&mut dyn CandidateIndex> {
        None
    }

    /// The ranges of ranks to scan for ready ones, in order of preference, by index.
    fn range(&self, _index: usize) -> Option<Range<usize>> {
        None
    }

    fn park(&mut self, rank: usize) {
        if let Some(index) = self.index() {
            index.remove(rank);
        }
    }

    fn unpark(&mut self, rank: usize) {
        if let Some(index) = self.index() {
            index.insert(rank);
        }
    }

    /// Records that a route was used, by this class or by another.
    fn on_used(&mut self, _rank: usize, _is_own_use: bool) {}

    /// Applies changed measurements.
    fn update_stats(&mut self, _rank: usize, _stats: RouteStats) {}

    fn start_search(&mut self, _input: &SearchInput<'_>, _rng: &mut fastrand::Rng) -> RouteSearch {
        RouteSearch::default()
    }

    /// The next candidate, after those already returned were declined.
    fn next_candidate(&mut self, ready: &BitSet, search: &mut RouteSearch, rng: &mut fastrand::Rng) -> Option<usize> {
        let Some(index) = self.index() else { return search.scan(ready, |index| self.range(index)) };
        if let Some(declined) = search.proposed.take().filter(|rank| ready.contains(*rank)) {
            index.remove(declined);
            search.declined.push(declined);
        }
        search.proposed = search.first.take().or_else(|| index.next(rng));
        search.proposed
    }

    /// Ends a search: declined candidates are selectable again.
    fn finish_search(&mut self, ready: &BitSet, search: RouteSearch) {
        if let Some(index) = self.index() {
            for rank in search.declined.into_iter().filter(|rank| ready.contains(*rank)) {
                index.insert(rank);
            }
        }
    }

    /// The candidate that a search without exploration would return first; `None` if that is random.
    fn first_candidate(&self, input: &SearchInput<'_>) -> Option<usize> {
        RouteSearch::default().scan(input.ready, |index| self.range(index))
    }
}

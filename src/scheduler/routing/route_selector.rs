//! Route selection: the order in which the items of a class try their ready candidates.
//!
//! A [`RouteSelector`] belongs to one class. Dispatch asks it for one candidate after another until one can take the
//! item. Candidates that are not ready are parked and never returned. The selector knows only a candidate's rank (its
//! position among the class's candidates), its tier and its [`RouteStats`]; limits, cooldowns and money are dispatch's
//! task.
//!
//! Tiers come first. Routes of the item's preferred model come before others, and among equals backup keys come last;
//! under `primary_backup`, backup keys come last overall. A strategy orders the candidates within a tier.
//!
//! Cost of selecting one candidate, for n candidates of m models (parking and unparking cost no more):
//!
//! | strategy | cost | data structure |
//! |---|---|---|
//! | cascade, primary_backup | n/64 words at worst | a bit set in rank order |
//! | round_robin | n/64 words at worst | the same, starting after the last rank used |
//! | weighted | log n | a min tree of virtual times |
//! | least_recently_used | log n | a min tree of last uses |
//! | fastest | log n | a min tree of latencies |
//! | health | log n | a Fenwick tree of weights |
//! | cheapest, balanced | m log m + n/64 | models by score, then a bit set |

use std::ops::Range;

use smallvec::SmallVec;

use crate::domain::Strategy;

use super::{bitset::BitSet, min_tree::MinTree, weighted_sampler::WeightedSampler};

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

#[derive(Debug)]
pub struct RouteSelector {
    tiers: Tiers,
    state: SelectorState,
    /// Under `primary_backup`: the first rank of a backup key.
    pub first_backup_rank: Option<usize>,
}

#[derive(Debug)]
enum SelectorState {
    InOrder,
    /// By tier: the rank used last.
    RoundRobin(SmallVec<[Option<usize>; 4]>),
    Stride(StrideState),
    LeastRecentlyUsed(MinTree),
    Fastest {
        latencies: MinTree,
        /// One search out of this many tries the next route instead of the fastest.
        explore_every: u32,
        last_explored: usize,
    },
    WeightedRandom(WeightedSampler),
    ByModel(Vec<ModelRange>),
}

/// Stride scheduling: one use advances a route's virtual time, less so for a heavier route, and the route with the
/// lowest virtual time comes next. First uses are spread by the golden ratio, so that routes of equal weight are not
/// used in rank order.
#[derive(Debug)]
struct StrideState {
    virtual_times: MinTree,
    strides: Vec<u64>,
    /// By tier: the current virtual time. A route that was parked starts from it again, so that it does not catch up on
    /// missed uses.
    virtual_now: [u64; 4],
}

/// A search through the candidates of a class, for one item.
#[derive(Debug, Default)]
pub struct RouteSearch {
    /// Ranges of ranks still to be scanned, in order of preference.
    ranges: SmallVec<[Range<usize>; 4]>,
    range_index: usize,
    /// The candidate to return first, instead of the fastest.
    exploration: Option<usize>,
    /// The candidate returned last.
    proposed: Option<usize>,
    /// Ready, but declined for this item: removed from the tree until the search ends.
    declined: SmallVec<[usize; 8]>,
}

/// A key in a tree is tier x `TIER_SPAN` plus the measured value. Larger values are cut down to `TIER_SPAN` - 1.
const TIER_SPAN: u64 = 1 << 60;

/// Virtual time of one use of the heaviest route.
const BASE_STRIDE: u64 = 1 << 16;

/// The largest virtual time of one use. It limits the ratio of two weights that has an effect.
const MAX_STRIDE: u64 = 1 << 48;

impl RouteSelector {
    /// A selector with all candidates ready. `stats` is by rank; `model_ranges` is for strategies that order models.
    pub fn new(
        strategy: Strategy,
        explore_every: u32,
        tiers: Tiers,
        model_ranges: Vec<ModelRange>,
        stats: &[RouteStats],
    ) -> Self {
        let tree_by = |measure: fn(&RouteStats) -> u64| {
            let of_tier = |(tier, ranks): (usize, &Range<usize>)| {
                stats[ranks.clone()].iter().map(|route_stats| tier_key(tier, measure(route_stats))).collect::<Vec<_>>()
            };
            MinTree::new(tiers.iter().enumerate().flat_map(of_tier).collect())
        };
        let state = match strategy {
            Strategy::Cascade | Strategy::PrimaryBackup => SelectorState::InOrder,
            Strategy::RoundRobin => {
                let last = |ranks: &Range<usize>| {
                    let used = ranks.clone().filter(|rank| stats[*rank].last_use_number > 0);
                    used.max_by_key(|rank| stats[*rank].last_use_number)
                };
                SelectorState::RoundRobin(tiers.iter().map(last).collect())
            }
            Strategy::Weighted => SelectorState::Stride(StrideState::new(&tiers, stats)),
            Strategy::LeastRecentlyUsed => {
                SelectorState::LeastRecentlyUsed(tree_by(|route_stats| route_stats.last_use_number))
            }
            Strategy::Fastest => SelectorState::Fastest {
                latencies: tree_by(|route_stats| route_stats.latency_micros),
                explore_every: explore_every.max(1),
                last_explored: 0,
            },
            Strategy::Health => SelectorState::WeightedRandom(WeightedSampler::new(
                stats.iter().map(|route_stats| route_stats.health_weight.max(1)).collect(),
            )),
            Strategy::Cheapest | Strategy::Balanced => SelectorState::ByModel(model_ranges),
        };
        Self { tiers, state, first_backup_rank: None }
    }

    /// Whether candidates have a fixed order, so that an item has one preferred route.
    pub const fn is_ordered(&self) -> bool {
        matches!(self.state, SelectorState::InOrder)
    }

    /// Whether [`RouteSelector::update_stats`] has any effect.
    pub const fn uses_stats(&self) -> bool {
        matches!(
            self.state,
            SelectorState::LeastRecentlyUsed(_) | SelectorState::Fastest { .. } | SelectorState::WeightedRandom(_)
        )
    }

    /// The model ranges that the caller must order; `None` if the strategy does not order models.
    pub fn model_ranges(&self) -> Option<&[ModelRange]> {
        match &self.state {
            SelectorState::ByModel(ranges) => Some(ranges),
            _ => None,
        }
    }

    pub fn park(&mut self, rank: usize) {
        match &mut self.state {
            SelectorState::InOrder | SelectorState::RoundRobin(_) | SelectorState::ByModel(_) => {}
            SelectorState::Stride(StrideState { virtual_times: tree, .. })
            | SelectorState::LeastRecentlyUsed(tree)
            | SelectorState::Fastest { latencies: tree, .. } => {
                tree.remove(rank);
            }
            SelectorState::WeightedRandom(sampler) => sampler.remove(rank),
        }
    }

    pub fn unpark(&mut self, rank: usize) {
        match &mut self.state {
            SelectorState::InOrder | SelectorState::RoundRobin(_) | SelectorState::ByModel(_) => {}
            SelectorState::Stride(stride_state) => {
                let tier = tier_of(&self.tiers, rank);
                let time = stride_state.virtual_times.key(rank).max(tier_key(tier, stride_state.virtual_now[tier]));
                stride_state.virtual_times.set(rank, time);
                stride_state.virtual_times.insert(rank);
            }
            SelectorState::LeastRecentlyUsed(tree) | SelectorState::Fastest { latencies: tree, .. } => {
                tree.insert(rank);
            }
            SelectorState::WeightedRandom(sampler) => sampler.insert(rank),
        }
    }

    /// Records that a route was used, by this class or by another.
    pub fn on_used(&mut self, rank: usize, is_own_use: bool) {
        match &mut self.state {
            SelectorState::RoundRobin(last) => last[tier_of(&self.tiers, rank)] = Some(rank),
            SelectorState::Stride(stride_state) if is_own_use => stride_state.on_used(tier_of(&self.tiers, rank), rank),
            _ => {}
        }
    }

    /// Applies changed measurements.
    pub fn update_stats(&mut self, rank: usize, stats: RouteStats) {
        let tier = tier_of(&self.tiers, rank);
        match &mut self.state {
            SelectorState::LeastRecentlyUsed(tree) => tree.set(rank, tier_key(tier, stats.last_use_number)),
            SelectorState::Fastest { latencies, .. } => latencies.set(rank, tier_key(tier, stats.latency_micros)),
            SelectorState::WeightedRandom(sampler) => sampler.set(rank, stats.health_weight.max(1)),
            SelectorState::InOrder
            | SelectorState::RoundRobin(_)
            | SelectorState::Stride(_)
            | SelectorState::ByModel(_) => {}
        }
    }

    /// Starts a search. `ranked_models` are indices into [`RouteSelector::model_ranges`], best first.
    pub fn start_search(&mut self, ready: &BitSet, ranked_models: &[usize], rng: &mut fastrand::Rng) -> RouteSearch {
        let mut search = RouteSearch::default();
        match &mut self.state {
            SelectorState::InOrder => search.ranges.push(0..self.tiers.last().map_or(0, |tier| tier.end)),
            SelectorState::RoundRobin(last) => {
                for (tier, last) in self.tiers.iter().zip(last) {
                    let next = last.map_or(tier.start, |last| last + 1);
                    search.ranges.extend([next..tier.end, tier.start..next]);
                }
            }
            SelectorState::ByModel(model_ranges) => {
                search.ranges.extend(ranked_models.iter().map(|index| model_ranges[*index].ranks.clone()));
            }
            SelectorState::Fastest { latencies, explore_every: explore, last_explored: explored }
                if rng.u32(0..*explore) == 0 =>
            {
                if let Some(best) = latencies.min() {
                    let tier = &self.tiers[tier_of(&self.tiers, best)];
                    let after = ready.first_from(*explored + 1).filter(|rank| tier.contains(rank));
                    search.exploration =
                        after.or_else(|| ready.first_from(tier.start).filter(|rank| tier.contains(rank)));
                    *explored = search.exploration.unwrap_or_default();
                }
            }
            SelectorState::Stride(_)
            | SelectorState::LeastRecentlyUsed(_)
            | SelectorState::Fastest { .. }
            | SelectorState::WeightedRandom(_) => {}
        }
        search
    }

    /// The next candidate, after those already returned were declined.
    pub fn next_candidate(
        &mut self,
        ready: &BitSet,
        search: &mut RouteSearch,
        rng: &mut fastrand::Rng,
    ) -> Option<usize> {
        if matches!(self.state, SelectorState::InOrder | SelectorState::RoundRobin(_) | SelectorState::ByModel(_)) {
            return search.scan(ready);
        }
        if let Some(declined) = search.proposed.take().filter(|rank| ready.contains(*rank)) {
            self.park(declined);
            search.declined.push(declined);
        }
        search.proposed = search.exploration.take().or_else(|| match &self.state {
            SelectorState::Stride(StrideState { virtual_times: tree, .. })
            | SelectorState::LeastRecentlyUsed(tree)
            | SelectorState::Fastest { latencies: tree, .. } => tree.min(),
            SelectorState::WeightedRandom(sampler) => {
                self.tiers.iter().find_map(|tier| sampler.sample(tier.clone(), rng))
            }
            SelectorState::InOrder | SelectorState::RoundRobin(_) | SelectorState::ByModel(_) => None,
        });
        search.proposed
    }

    /// Ends a search: declined candidates are selectable again.
    pub fn finish_search(&mut self, ready: &BitSet, search: RouteSearch) {
        for rank in search.declined {
            if ready.contains(rank) {
                match &mut self.state {
                    SelectorState::Stride(StrideState { virtual_times: tree, .. })
                    | SelectorState::LeastRecentlyUsed(tree)
                    | SelectorState::Fastest { latencies: tree, .. } => tree.insert(rank),
                    SelectorState::WeightedRandom(sampler) => sampler.insert(rank),
                    SelectorState::InOrder | SelectorState::RoundRobin(_) | SelectorState::ByModel(_) => {}
                }
            }
        }
    }

    /// The candidate that a search without exploration would return first; `None` if that is random.
    pub fn first_candidate(&self, ready: &BitSet, ranked_models: &[usize]) -> Option<usize> {
        let within = |ranks: Range<usize>| ready.first_from(ranks.start).filter(|rank| ranks.contains(rank));
        match &self.state {
            SelectorState::InOrder => ready.first_from(0),
            SelectorState::RoundRobin(last) => self.tiers.iter().zip(last).find_map(|(tier, last)| {
                let next = last.map_or(tier.start, |last| last + 1);
                within(next..tier.end).or_else(|| within(tier.start..next))
            }),
            SelectorState::ByModel(model_ranges) => {
                ranked_models.iter().find_map(|index| within(model_ranges[*index].ranks.clone()))
            }
            SelectorState::Stride(StrideState { virtual_times: tree, .. })
            | SelectorState::LeastRecentlyUsed(tree)
            | SelectorState::Fastest { latencies: tree, .. } => tree.min(),
            SelectorState::WeightedRandom(_) => None,
        }
    }
}

impl StrideState {
    fn new(tiers: &[Range<usize>], stats: &[RouteStats]) -> Self {
        let heaviest = stats.iter().map(|route_stats| route_stats.weight).max().unwrap_or(1).max(1);
        let stride = |route_stats: &RouteStats| {
            let times = heaviest.saturating_mul(BASE_STRIDE) / route_stats.weight.max(1);
            times.clamp(1, MAX_STRIDE)
        };
        let strides: Vec<u64> = stats.iter().map(stride).collect();
        let mut times = Vec::with_capacity(stats.len());
        for (tier, ranks) in tiers.iter().enumerate() {
            for rank in ranks.clone() {
                let phase = (rank as f64 * 0.618_033_988_749_895).fract();
                times.push(tier_key(tier, (strides[rank] as f64 * phase) as u64));
            }
        }
        Self { virtual_times: MinTree::new(times), strides, virtual_now: [0; 4] }
    }

    fn on_used(&mut self, tier: usize, rank: usize) {
        let time = self.virtual_times.key(rank) - tier_key(tier, 0);
        let start = time.max(self.virtual_now[tier]);
        self.virtual_times.set(rank, tier_key(tier, start + self.strides[rank]));
        self.virtual_now[tier] = start;
    }
}

impl RouteSearch {
    fn scan(&mut self, ready: &BitSet) -> Option<usize> {
        while let Some(range) = self.ranges.get_mut(self.range_index) {
            if let Some(rank) = ready.first_from(range.start).filter(|rank| *rank < range.end) {
                range.start = rank + 1;
                return Some(rank);
            }
            self.range_index += 1;
        }
        None
    }
}

const fn tier_key(tier: usize, key: u64) -> u64 {
    tier as u64 * TIER_SPAN + if key < TIER_SPAN { key } else { TIER_SPAN - 1 }
}

fn tier_of(tiers: &Tiers, rank: usize) -> usize {
    tiers.iter().position(|ranks| rank < ranks.end).unwrap_or_default()
}

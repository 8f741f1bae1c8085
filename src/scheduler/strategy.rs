//! Strategies: in which order the items of a class try their ready candidates.
//!
//! A [`Picker`] belongs to one class. Dispatch asks it for one proposal after another until a candidate will do;
//! whatever is not ready has been parked and is never proposed. All it knows of a candidate is its rank (its place
//! among the class's candidates), its tier and a few [`Facts`]; limits, cooldowns and money are dispatch's.
//!
//! Tiers come before everything: routes of the item's own preferred model before others, backup keys last. A
//! strategy orders the candidates of one tier.
//!
//! What a proposal costs, for n candidates of m models (parking and unparking cost the same):
//!
//! | strategy | proposal | by |
//! |---|---|---|
//! | cascade, primary_backup | n/64 words at worst | a bit set in rank order |
//! | round_robin | n/64 words at worst | the same, from where it last stopped |
//! | weighted | log n | a tournament of virtual times |
//! | least_recently_used | log n | a tournament of last uses |
//! | fastest | log n | a tournament of latencies |
//! | health | log n | a Fenwick tree of weights |
//! | cheapest, balanced | m log m + n/64 | models by score, then a bit set |

use std::ops::Range;

use smallvec::SmallVec;

use crate::domain::Strategy;

use super::{bits::BitSet, lottery::Lottery, tournament::Tournament};

/// Tiers in a row of ranks: at most four, each a range.
pub type Tiers = SmallVec<[Range<usize>; 4]>;

/// What strategies go by, of one route.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    /// Key's weight times model's; at least 1.
    pub weight: u64,
    /// The key's health, at least 5, times `weight`.
    pub lot: u64,
    /// The number of its last use, counted over the run; 0 before the first.
    pub last_used: u64,
    /// What to expect, in microseconds.
    pub latency: u64,
}

/// The candidates of one model in one tier: contiguous ranks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Block {
    pub model: usize,
    pub tier: usize,
    pub ranks: Range<usize>,
}

#[derive(Debug)]
pub struct Picker {
    tiers: Tiers,
    way: Way,
    /// Under `primary_backup`: the first rank of a backup key.
    pub backups_from: Option<usize>,
}

#[derive(Debug)]
enum Way {
    InOrder,
    /// By tier, the rank that was used last.
    InTurn(SmallVec<[Option<usize>; 4]>),
    Shares(Shares),
    LongestRest(Tournament),
    Soonest {
        latencies: Tournament,
        /// One proposal in so many explores.
        explore: u32,
        explored: usize,
    },
    Lots(Lottery),
    ByModel(Vec<Block>),
}

/// Stride scheduling: the heavier a route, the less virtual time one use takes, and the route that is furthest
/// behind comes next. First uses are spread by the golden ratio, so that routes of one weight don't go in a row.
#[derive(Debug)]
struct Shares {
    times: Tournament,
    strides: Vec<u64>,
    /// By tier: how far virtual time has come. Who was away does not catch up on what was missed.
    reached: [u64; 4],
}

/// One look through the candidates of a class, for one ticket.
#[derive(Debug, Default)]
pub struct Search {
    /// Ranges of ranks still to be scanned, in order of preference.
    ranges: SmallVec<[Range<usize>; 4]>,
    at: usize,
    first: Option<usize>,
    proposed: Option<usize>,
    /// Ready, but not for this ticket: out of the tree until the search is over.
    set_aside: SmallVec<[usize; 8]>,
}

/// A tree's key is a tier and what the strategy measures, below this.
const TIER: u64 = 1 << 60;

/// Virtual time of one use of the heaviest route.
const STRIDE: u64 = 1 << 16;

/// And of the lightest, at most: weights that are further apart than this count as this far apart.
const LONGEST_STRIDE: u64 = 1 << 48;

impl Picker {
    /// `facts` by rank; `blocks` for the strategies that go by model; everything is ready.
    pub fn new(strategy: Strategy, explore: u32, tiers: Tiers, blocks: Vec<Block>, facts: &[Facts]) -> Self {
        let keyed = |measure: fn(&Facts) -> u64| {
            let of_tier = |(tier, ranks): (usize, &Range<usize>)| {
                facts[ranks.clone()].iter().map(|facts| in_tier(tier, measure(facts))).collect::<Vec<_>>()
            };
            Tournament::new(tiers.iter().enumerate().flat_map(of_tier).collect())
        };
        let way = match strategy {
            Strategy::Cascade | Strategy::PrimaryBackup => Way::InOrder,
            Strategy::RoundRobin => {
                let last = |ranks: &Range<usize>| {
                    let used = ranks.clone().filter(|rank| facts[*rank].last_used > 0);
                    used.max_by_key(|rank| facts[*rank].last_used)
                };
                Way::InTurn(tiers.iter().map(last).collect())
            }
            Strategy::Weighted => Way::Shares(Shares::new(&tiers, facts)),
            Strategy::LeastRecentlyUsed => Way::LongestRest(keyed(|facts| facts.last_used)),
            Strategy::Fastest => {
                Way::Soonest { latencies: keyed(|facts| facts.latency), explore: explore.max(1), explored: 0 }
            }
            Strategy::Health => Way::Lots(Lottery::new(facts.iter().map(|facts| facts.lot.max(1)).collect())),
            Strategy::Cheapest | Strategy::Balanced => Way::ByModel(blocks),
        };
        Self { tiers, way, backups_from: None }
    }

    /// Whether there is such a thing as the route that an item prefers.
    pub const fn has_favourite(&self) -> bool {
        matches!(self.way, Way::InOrder)
    }

    /// Whether [`Picker::measure`] has any bearing on it.
    pub const fn measures(&self) -> bool {
        matches!(self.way, Way::LongestRest(_) | Way::Soonest { .. } | Way::Lots(_))
    }

    /// Whether it goes by models that the caller must put in order.
    pub fn blocks(&self) -> Option<&[Block]> {
        match &self.way {
            Way::ByModel(blocks) => Some(blocks),
            _ => None,
        }
    }

    pub fn park(&mut self, rank: usize) {
        match &mut self.way {
            Way::InOrder | Way::InTurn(_) | Way::ByModel(_) => {}
            Way::Shares(Shares { times: tree, .. }) | Way::LongestRest(tree) | Way::Soonest { latencies: tree, .. } => {
                tree.take_out(rank);
            }
            Way::Lots(lottery) => lottery.take_out(rank),
        }
    }

    pub fn unpark(&mut self, rank: usize) {
        match &mut self.way {
            Way::InOrder | Way::InTurn(_) | Way::ByModel(_) => {}
            Way::Shares(shares) => {
                let tier = tier_of(&self.tiers, rank);
                let time = shares.times.key(rank).max(in_tier(tier, shares.reached[tier]));
                shares.times.set(rank, time);
                shares.times.put_in(rank);
            }
            Way::LongestRest(tree) | Way::Soonest { latencies: tree, .. } => tree.put_in(rank),
            Way::Lots(lottery) => lottery.put_in(rank),
        }
    }

    /// A route was used: by this class, or by another.
    pub fn used(&mut self, rank: usize, own: bool) {
        match &mut self.way {
            Way::InTurn(last) => last[tier_of(&self.tiers, rank)] = Some(rank),
            Way::Shares(shares) if own => shares.used(tier_of(&self.tiers, rank), rank),
            _ => {}
        }
    }

    /// Something that strategies go by has changed.
    pub fn measure(&mut self, rank: usize, facts: Facts) {
        let tier = tier_of(&self.tiers, rank);
        match &mut self.way {
            Way::LongestRest(tree) => tree.set(rank, in_tier(tier, facts.last_used)),
            Way::Soonest { latencies, .. } => latencies.set(rank, in_tier(tier, facts.latency)),
            Way::Lots(lottery) => lottery.set(rank, facts.lot.max(1)),
            Way::InOrder | Way::InTurn(_) | Way::Shares(_) | Way::ByModel(_) => {}
        }
    }

    /// Begins a search. `in_order`: what [`Picker::blocks`] lists, best first.
    pub fn search(&mut self, ready: &BitSet, in_order: &[usize], random: &mut fastrand::Rng) -> Search {
        let mut search = Search::default();
        match &mut self.way {
            Way::InOrder => search.ranges.push(0..self.tiers.last().map_or(0, |tier| tier.end)),
            Way::InTurn(last) => {
                for (tier, last) in self.tiers.iter().zip(last) {
                    let next = last.map_or(tier.start, |last| last + 1);
                    search.ranges.extend([next..tier.end, tier.start..next]);
                }
            }
            Way::ByModel(blocks) => search.ranges.extend(in_order.iter().map(|block| blocks[*block].ranks.clone())),
            Way::Soonest { latencies, explore, explored } if random.u32(0..*explore) == 0 => {
                if let Some(best) = latencies.least() {
                    let tier = &self.tiers[tier_of(&self.tiers, best)];
                    let after = ready.first_from(*explored + 1).filter(|rank| tier.contains(rank));
                    search.first = after.or_else(|| ready.first_from(tier.start).filter(|rank| tier.contains(rank)));
                    *explored = search.first.unwrap_or_default();
                }
            }
            Way::Shares(_) | Way::LongestRest(_) | Way::Soonest { .. } | Way::Lots(_) => {}
        }
        search
    }

    /// The next candidate to try, after those that were proposed before and would not do.
    pub fn next(&mut self, ready: &BitSet, search: &mut Search, random: &mut fastrand::Rng) -> Option<usize> {
        if matches!(self.way, Way::InOrder | Way::InTurn(_) | Way::ByModel(_)) {
            return search.scan(ready);
        }
        if let Some(declined) = search.proposed.take().filter(|rank| ready.contains(*rank)) {
            self.park(declined);
            search.set_aside.push(declined);
        }
        search.proposed = search.first.take().or_else(|| match &self.way {
            Way::Shares(Shares { times: tree, .. }) | Way::LongestRest(tree) | Way::Soonest { latencies: tree, .. } => {
                tree.least()
            }
            Way::Lots(lottery) => self.tiers.iter().find_map(|tier| lottery.draw(tier.clone(), random)),
            Way::InOrder | Way::InTurn(_) | Way::ByModel(_) => None,
        });
        search.proposed
    }

    /// Ends a search: what was set aside takes part again.
    pub fn end(&mut self, ready: &BitSet, search: Search) {
        for rank in search.set_aside {
            if ready.contains(rank) {
                match &mut self.way {
                    Way::Shares(Shares { times: tree, .. })
                    | Way::LongestRest(tree)
                    | Way::Soonest { latencies: tree, .. } => tree.put_in(rank),
                    Way::Lots(lottery) => lottery.put_in(rank),
                    Way::InOrder | Way::InTurn(_) | Way::ByModel(_) => {}
                }
            }
        }
    }

    /// What would be proposed first, where that can be told without drawing lots.
    pub fn peek(&self, ready: &BitSet, in_order: &[usize]) -> Option<usize> {
        let within = |ranks: Range<usize>| ready.first_from(ranks.start).filter(|rank| ranks.contains(rank));
        match &self.way {
            Way::InOrder => ready.first_from(0),
            Way::InTurn(last) => self.tiers.iter().zip(last).find_map(|(tier, last)| {
                let next = last.map_or(tier.start, |last| last + 1);
                within(next..tier.end).or_else(|| within(tier.start..next))
            }),
            Way::ByModel(blocks) => in_order.iter().find_map(|block| within(blocks[*block].ranks.clone())),
            Way::Shares(Shares { times: tree, .. }) | Way::LongestRest(tree) | Way::Soonest { latencies: tree, .. } => {
                tree.least()
            }
            Way::Lots(_) => None,
        }
    }
}

impl Shares {
    fn new(tiers: &[Range<usize>], facts: &[Facts]) -> Self {
        let heaviest = facts.iter().map(|facts| facts.weight).max().unwrap_or(1).max(1);
        let stride = |facts: &Facts| {
            let times = heaviest.saturating_mul(STRIDE) / facts.weight.max(1);
            times.clamp(1, LONGEST_STRIDE)
        };
        let strides: Vec<u64> = facts.iter().map(stride).collect();
        let mut times = Vec::with_capacity(facts.len());
        for (tier, ranks) in tiers.iter().enumerate() {
            for rank in ranks.clone() {
                let phase = (rank as f64 * 0.618_033_988_749_895).fract();
                times.push(in_tier(tier, (strides[rank] as f64 * phase) as u64));
            }
        }
        Self { times: Tournament::new(times), strides, reached: [0; 4] }
    }

    fn used(&mut self, tier: usize, rank: usize) {
        let time = self.times.key(rank) - in_tier(tier, 0);
        let begins = time.max(self.reached[tier]);
        self.times.set(rank, in_tier(tier, begins + self.strides[rank]));
        self.reached[tier] = begins;
    }
}

impl Search {
    fn scan(&mut self, ready: &BitSet) -> Option<usize> {
        while let Some(range) = self.ranges.get_mut(self.at) {
            if let Some(rank) = ready.first_from(range.start).filter(|rank| *rank < range.end) {
                range.start = rank + 1;
                return Some(rank);
            }
            self.at += 1;
        }
        None
    }
}

const fn in_tier(tier: usize, key: u64) -> u64 {
    tier as u64 * TIER + if key < TIER { key } else { TIER - 1 }
}

fn tier_of(tiers: &Tiers, rank: usize) -> usize {
    tiers.iter().position(|ranks| rank < ranks.end).unwrap_or_default()
}

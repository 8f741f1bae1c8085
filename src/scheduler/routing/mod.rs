//! The routes that an item may use, and the strategies that choose among the ready ones.

pub mod allowed_routes;
pub mod bitset;
pub mod candidates;
pub mod model_score;
pub mod selector;

mod by_model;
mod fastest;
mod health_weighted;
mod in_order;
mod least_recently_used;
mod min_tree;
mod round_robin;
mod tiered_tree;
mod weighted;
mod weighted_sampler;

use crate::domain::{Policy, Strategy};

use self::{
    by_model::ByModel,
    fastest::Fastest,
    health_weighted::HealthWeighted,
    in_order::InOrder,
    least_recently_used::LeastRecentlyUsed,
    round_robin::RoundRobin,
    selector::{ModelRange, RouteSelector, RouteStats, Tiers},
    weighted::Weighted,
};

/// The selector of a strategy, with all candidates ready. `stats` is by rank.
pub fn new_selector(
    strategy: Strategy,
    policy: &Policy,
    tiers: Tiers,
    model_ranges: Vec<ModelRange>,
    stats: &[RouteStats],
) -> Box<dyn RouteSelector> {
    match strategy {
        Strategy::Cascade | Strategy::PrimaryBackup => Box::new(InOrder { candidates: stats.len() }),
        Strategy::RoundRobin => Box::new(RoundRobin::new(&tiers, stats)),
        Strategy::Weighted => Box::new(Weighted::new(tiers, stats)),
        Strategy::LeastRecentlyUsed => Box::new(LeastRecentlyUsed::new(tiers, stats)),
        Strategy::Fastest => Box::new(Fastest::new(tiers, stats, policy.explore_every)),
        Strategy::Health => Box::new(HealthWeighted::new(tiers, stats)),
        Strategy::Cheapest => Box::new(ByModel::new(model_ranges, None)),
        Strategy::Balanced => Box::new(ByModel::new(model_ranges, Some(policy.balance_weights))),
    }
}

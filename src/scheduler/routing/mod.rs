//! The routes that an item may use, and the strategies that choose among the ready ones.

pub mod allowed_routes;
pub mod bitset;
pub mod candidates;
pub mod min_tree;
pub mod model_score;
pub mod route_selector;
pub mod weighted_sampler;

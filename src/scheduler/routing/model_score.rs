//! Starts searches for a route, with the item's size and the models' prices, latencies and mean outputs.

use crate::scheduler::{ModelState, QueuedItem, Scheduler};

use super::{
    bitset::BitSet,
    selector::{ModelStats, RouteSearch, SearchInput},
};

/// Assumed output tokens before a model has answered.
pub(in crate::scheduler) const TYPICAL_OUTPUT_TOKENS: f64 = 256.0;

impl Scheduler {
    /// Starts a search through a class's candidates for this item.
    pub(in crate::scheduler) fn start_search(&mut self, class: usize, item: &QueuedItem) -> RouteSearch {
        let state = &mut self.classes[class];
        let model_stats = |model: usize| stats_of(&self.models[model]);
        state.selector.start_search(&search_input(&state.ready, item, &model_stats), &mut self.rng)
    }

    /// The candidate that a search for this item would return first; `None` if that is random.
    pub(in crate::scheduler) fn first_candidate(&self, class: usize, item: &QueuedItem) -> Option<usize> {
        let state = &self.classes[class];
        let model_stats = |model: usize| stats_of(&self.models[model]);
        state.selector.first_candidate(&search_input(&state.ready, item, &model_stats))
    }
}

fn search_input<'a>(
    ready: &'a BitSet,
    item: &QueuedItem,
    model_stats: &'a dyn Fn(usize) -> ModelStats,
) -> SearchInput<'a> {
    SearchInput { ready, input_tokens: item.input_tokens, max_output_tokens: item.max_output_tokens, model_stats }
}

fn stats_of(state: &ModelState) -> ModelStats {
    ModelStats {
        price: state.model.price,
        mean_output_tokens: state.mean_output_tokens,
        latency_micros: state.latency.mean_micros(),
    }
}

//! Expected price and latency of an item by model: the order of the strategies `cheapest` and `balanced`.

use smallvec::SmallVec;

use crate::domain::{BalanceWeights, Money, Strategy};

use super::route_selector::RouteSearch;
use crate::scheduler::{QueuedItem, Scheduler};

/// Assumed output tokens before a model has answered.
pub(in crate::scheduler) const TYPICAL_OUTPUT_TOKENS: f64 = 256.0;

/// The inputs for the score of one model for one item.
#[derive(Clone, Copy, Debug)]
struct ScoreInput {
    tier: usize,
    /// Position in the cascade or in the rule's list; 0 is the best.
    rank: usize,
    /// `None` without a price; counts as more expensive than any model with one.
    expected_cost: Option<Money>,
    /// Mean latency of recent answers in microseconds; `None` before the first.
    latency_micros: Option<f64>,
}

impl Scheduler {
    /// Starts a search through a class's candidates for this item.
    pub(in crate::scheduler) fn start_search(&mut self, class: usize, item: &QueuedItem) -> RouteSearch {
        let ranked_models = self.ranked_models(class, item);
        let state = &mut self.classes[class];
        state.selector.start_search(&state.ready, &ranked_models, &mut self.rng)
    }

    /// For strategies that order models: indices of the class's model ranges, best first. Empty for other strategies.
    pub(in crate::scheduler) fn ranked_models(&self, class: usize, item: &QueuedItem) -> SmallVec<[usize; 16]> {
        let state = &self.classes[class];
        let Some(ranges) = state.selector.model_ranges() else { return SmallVec::new() };
        // A model without answers is assumed to write as much as the others, so that its assumed output does not decide
        // the order.
        let known = || ranges.iter().filter_map(|range| self.models[range.model].mean_output_tokens);
        let default_output = match known().count() {
            0 => TYPICAL_OUTPUT_TOKENS,
            count => known().sum::<f64>() / count as f64,
        };
        // The ranges of a tier come in order of quality.
        let mut inputs: SmallVec<[(ScoreInput, usize); 16]> = SmallVec::new();
        for (index, range) in ranges.iter().enumerate() {
            let rank = inputs.last().filter(|(last, _)| last.tier == range.tier).map_or(0, |(last, _)| last.rank + 1);
            let latency_micros = self.models[range.model].latency.mean_micros();
            let cost = self.expected_cost(range.model, item, default_output);
            inputs.push((ScoreInput { tier: range.tier, rank, expected_cost: cost, latency_micros }, index));
        }
        if self.strategy_for(&state.class_key) == Strategy::Balanced {
            sort_by_balance(&mut inputs, self.policy.balance_weights);
        } else {
            inputs.sort_by_key(|(input, _)| (input.tier, input.expected_cost.is_none(), input.expected_cost));
        }
        inputs.into_iter().map(|(_, index)| index).collect()
    }

    /// Expected cost of the item at a model: the estimated input and the model's mean output. `default_output` replaces
    /// the mean before the first answer.
    fn expected_cost(&self, model: usize, item: &QueuedItem, default_output: f64) -> Option<Money> {
        let state = &self.models[model];
        let mean = state.mean_output_tokens.unwrap_or(default_output);
        let output = item.max_output_tokens.map_or(mean, |max| mean.min(f64::from(max)));
        state.model.price.map(|price| price.cost(item.input_tokens, output.ceil() as u64))
    }
}

/// Sorts by score, the lowest first. Each component is between 0 and 1: the model's rank; how much more expensive it is
/// than the cheapest (0 at its price, 0.5 at twice the price, towards 1 above); how much slower than the fastest, in
/// the same way. A model that was never tried counts as twice as fast as the fastest, so that it gets measured.
fn sort_by_balance(models: &mut [(ScoreInput, usize)], weights: BalanceWeights) {
    let last_rank = models.iter().map(|(model, _)| model.rank).max().unwrap_or(0).max(1) as f64;
    let cheapest = models.iter().filter_map(|(input, _)| input.expected_cost).min().unwrap_or_default().0 as f64;
    let fastest = models.iter().filter_map(|(input, _)| input.latency_micros).fold(f64::INFINITY, f64::min);
    let relative_excess = |least: f64, this: f64| if this > least { 1.0 - least / this } else { 0.0 };
    let fastest = if models.iter().any(|(input, _)| input.latency_micros.is_none()) { fastest / 2.0 } else { fastest };
    let score = |input: &ScoreInput| {
        let price = input.expected_cost.map_or(1.0, |cost| relative_excess(cheapest, cost.0 as f64));
        let latency = input.latency_micros.map_or(0.0, |latency| relative_excess(fastest, latency));
        weights.quality * input.rank as f64 / last_rank + weights.price * price + weights.wait * latency
    };
    models.sort_by(|(one, _), (two, _)| one.tier.cmp(&two.tier).then(score(one).total_cmp(&score(two))));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Model order for (cost in dollars, latency in seconds), best model first; `None` where unknown.
    fn order(models: &[(Option<f64>, Option<f64>)], weights: BalanceWeights) -> Vec<usize> {
        let to_input = |(rank, (cost, wait)): (usize, &(Option<f64>, Option<f64>))| {
            (
                ScoreInput {
                    tier: 0,
                    rank,
                    expected_cost: cost.and_then(Money::from_usd),
                    latency_micros: wait.map(|wait| wait * 1e6),
                },
                rank,
            )
        };
        let mut inputs: Vec<_> = models.iter().enumerate().map(to_input).collect();
        sort_by_balance(&mut inputs, weights);
        inputs.into_iter().map(|(_, index)| index).collect()
    }

    #[test]
    fn quality_price_and_wait_are_weighed_against_each_other() {
        let even = BalanceWeights::default();
        let known = |cost, wait| (Some(cost), Some(wait));
        for (want, models) in [
            ("the best, all else equal", [known(1.0, 1.0), known(1.0, 1.0), known(1.0, 1.0)].to_vec()),
            ("the best, though somewhat dearer", [known(1.5, 1.0), known(1.0, 1.0)].to_vec()),
            ("the best, while its wait is unknown", [(Some(9.0), None), known(1.0, 1.0)].to_vec()),
        ] {
            assert_eq!(order(&models, even)[0], 0, "{want}");
        }
        for (want, models) in [
            ("the second, when the best is far dearer and slower", [known(10.0, 2.0), known(1.0, 1.0)].to_vec()),
            (
                "the second of three, at a tenth of the price",
                [known(10.0, 1.0), known(1.0, 1.0), known(0.9, 1.0)].to_vec(),
            ),
            ("the second, never tried, when the best is dear", [known(9.0, 1.0), (Some(1.0), None)].to_vec()),
            ("the priced one", [(None, Some(3.0)), known(1.0, 1.0)].to_vec()),
        ] {
            assert_eq!(order(&models, even)[0], 1, "{want}");
        }
    }

    #[test]
    fn each_weight_can_be_made_the_only_one() {
        let models = [(Some(3.0), Some(2.0)), (Some(2.0), Some(3.0)), (Some(4.0), Some(1.0))];
        let only = |quality, price, wait| order(&models, BalanceWeights { quality, price, wait })[0];
        assert_eq!((only(1.0, 0.0, 0.0), only(0.0, 1.0, 0.0), only(0.0, 0.0, 1.0)), (0, 1, 2));
    }

    #[test]
    fn tiers_come_before_scores() {
        let input =
            |tier, cost| ScoreInput { tier, rank: 0, expected_cost: Money::from_usd(cost), latency_micros: None };
        let mut inputs = [(input(1, 0.1), 0), (input(0, 9.0), 1)];
        sort_by_balance(&mut inputs, BalanceWeights::default());
        assert_eq!(inputs.map(|(_, index)| index), [1, 0]);
    }
}

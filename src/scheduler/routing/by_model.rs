//! Strategies `cheapest` and `balanced`: the models ordered by expected cost, or by a score of quality, price and
//! latency, for each item. For m models, a selection takes O(m log m), and reads at most n/64 words of a bit set.

use std::ops::Range;

use crate::{
    domain::{BalanceWeights, Money},
    scheduler::fleet::TYPICAL_OUTPUT_TOKENS,
};

use super::selector::{ModelRange, ModelStats, RouteSearch, RouteSelector, SearchInput};

#[derive(Debug)]
pub struct ByModel {
    /// The ranges of a tier come in order of quality.
    ranges: Vec<ModelRange>,
    /// `None`: the expected cost alone decides.
    weights: Option<BalanceWeights>,
    /// The ranges in the order of the current search.
    ordered: Vec<ScoreInput>,
}

/// The inputs for the score of one model for one item, and its ranks in one tier.
#[derive(Clone, Debug)]
struct ScoreInput {
    tier: usize,
    /// Position in the cascade or in the rule's list; 0 is the best.
    rank: usize,
    /// `None` without a price; counts as more expensive than any model with one.
    expected_cost: Option<Money>,
    /// Mean latency of recent answers in microseconds; `None` before the first.
    latency_micros: Option<f64>,
    ranks: Range<usize>,
}

impl ByModel {
    pub const fn new(ranges: Vec<ModelRange>, weights: Option<BalanceWeights>) -> Self {
        Self { ranges, weights, ordered: Vec::new() }
    }

    /// Fills `ordered` with the ranges, best first.
    fn order_models(&self, input: &SearchInput<'_>, ordered: &mut Vec<ScoreInput>) {
        // A model without answers is assumed to write as much as the others, so that its assumed output does not decide
        // the order.
        let known = self.ranges.iter().filter_map(|range| (input.model_stats)(range.model).mean_output_tokens);
        let (sum, count) = known.fold((0.0, 0_u32), |(sum, count), mean| (sum + mean, count + 1));
        let default_output = if count == 0 { TYPICAL_OUTPUT_TOKENS } else { sum / f64::from(count) };
        ordered.clear();
        for range in &self.ranges {
            let stats = (input.model_stats)(range.model);
            ordered.push(ScoreInput {
                tier: range.tier,
                rank: ordered.last().filter(|last| last.tier == range.tier).map_or(0, |last| last.rank + 1),
                expected_cost: expected_cost(&stats, input, default_output),
                latency_micros: stats.latency_micros,
                ranks: range.ranks.clone(),
            });
        }
        match self.weights {
            Some(weights) => sort_by_balance(ordered, weights),
            None => ordered.sort_unstable_by_key(|model| {
                (model.tier, model.expected_cost.is_none(), model.expected_cost, model.rank)
            }),
        }
    }
}

impl RouteSelector for ByModel {
    fn range(&self, index: usize) -> Option<Range<usize>> {
        self.ordered.get(index).map(|model| model.ranks.clone())
    }

    fn start_search(&mut self, input: &SearchInput<'_>, _rng: &mut fastrand::Rng) -> RouteSearch {
        let mut ordered = std::mem::take(&mut self.ordered);
        self.order_models(input, &mut ordered);
        self.ordered = ordered;
        RouteSearch::default()
    }

    fn prefers_model(&self, input: &SearchInput<'_>, one: usize, other: usize) -> bool {
        let mut ordered = Vec::new();
        self.order_models(input, &mut ordered);
        let place = |rank| ordered.iter().position(|model| model.ranks.contains(&rank));
        place(one) < place(other)
    }

    fn first_candidate(&self, input: &SearchInput<'_>) -> Option<usize> {
        let mut ordered = Vec::new();
        self.order_models(input, &mut ordered);
        RouteSearch::default().scan(input.ready, |index| ordered.get(index).map(|model| model.ranks.clone()))
    }
}

/// Expected cost of the item at a model: the estimated input and the model's mean output. `default_output` replaces the
/// mean before the first answer.
fn expected_cost(stats: &ModelStats, input: &SearchInput<'_>, default_output: f64) -> Option<Money> {
    let mean = stats.mean_output_tokens.unwrap_or(default_output);
    let output = input.max_output_tokens.map_or(mean, |max| mean.min(f64::from(max)));
    stats.price.map(|price| price.uncached_cost(input.input_tokens, output.ceil() as u64))
}

/// Sorts by score, the lowest first. Each component is between 0 and 1: the model's rank; how much more expensive it is
/// than the cheapest (0 at its price, 0.5 at twice the price, towards 1 above); how much slower than the fastest, in
/// the same way. A model that was never tried counts as twice as fast as the fastest, so that it gets measured.
fn sort_by_balance(models: &mut [ScoreInput], weights: BalanceWeights) {
    let last_rank = models.iter().map(|model| model.rank).max().unwrap_or(0).max(1) as f64;
    let cheapest = models.iter().filter_map(|model| model.expected_cost).min().unwrap_or_default().0 as f64;
    let fastest = models.iter().filter_map(|model| model.latency_micros).fold(f64::INFINITY, f64::min);
    let relative_excess = |least: f64, this: f64| if this > least { 1.0 - least / this } else { 0.0 };
    let fastest = if models.iter().any(|model| model.latency_micros.is_none()) { fastest / 2.0 } else { fastest };
    let score = |model: &ScoreInput| {
        let price = model.expected_cost.map_or(1.0, |cost| relative_excess(cheapest, cost.0 as f64));
        let latency = model.latency_micros.map_or(0.0, |latency| relative_excess(fastest, latency));
        weights.quality * model.rank as f64 / last_rank + weights.price * price + weights.wait * latency
    };
    models.sort_unstable_by(|one, two| {
        let by_score = || score(one).total_cmp(&score(two));
        one.tier.cmp(&two.tier).then_with(by_score).then(one.rank.cmp(&two.rank))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Model order for (cost in dollars, latency in seconds), best model first; `None` where unknown.
    fn order(models: &[(Option<f64>, Option<f64>)], weights: BalanceWeights) -> Vec<usize> {
        let to_input = |(rank, (cost, wait)): (usize, &(Option<f64>, Option<f64>))| ScoreInput {
            tier: 0,
            rank,
            expected_cost: cost.and_then(Money::from_usd),
            latency_micros: wait.map(|wait| wait * 1e6),
            ranks: rank..rank + 1,
        };
        let mut inputs: Vec<_> = models.iter().enumerate().map(to_input).collect();
        sort_by_balance(&mut inputs, weights);
        inputs.into_iter().map(|input| input.rank).collect()
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
        let input = |tier, cost| {
            let expected_cost = Money::from_usd(cost);
            ScoreInput { tier, rank: 0, expected_cost, latency_micros: None, ranks: 0..1 }
        };
        let mut inputs = [input(1, 0.1), input(0, 9.0)];
        sort_by_balance(&mut inputs, BalanceWeights::default());
        assert_eq!(inputs.map(|input| input.tier), [0, 1]);
    }
}

//! What an item would cost and how long it would take, model by model: the order of `cheapest` and `balanced`.

use smallvec::SmallVec;

use crate::domain::{BalanceWeights, Money, Strategy};

use super::{Scheduler, Ticket, strategy::Search};

/// The output tokens reckoned with before a model has answered.
pub(super) const TYPICAL_OUTPUT: f64 = 256.0;

/// What is known of one model, for one item.
#[derive(Clone, Copy, Debug)]
struct Offer {
    tier: usize,
    /// Its place in the cascade, or in the rule's list: 0 is the best.
    place: usize,
    /// `None` where it has no price: dearer than any that has.
    cost: Option<Money>,
    /// Mean microseconds of its recent answers; `None` before the first.
    wait: Option<f64>,
}

impl Scheduler {
    /// Begins to look through a class's candidates for this ticket.
    pub(super) fn search(&mut self, class: usize, ticket: &Ticket) -> Search {
        let in_order = self.models_in_order(class, ticket);
        let state = &mut self.classes[class];
        state.picker.search(&state.ready, &in_order, &mut self.random)
    }

    /// For strategies that go by model: the class's blocks, best first.
    pub(super) fn models_in_order(&self, class: usize, ticket: &Ticket) -> SmallVec<[usize; 16]> {
        let state = &self.classes[class];
        let Some(blocks) = state.picker.blocks() else { return SmallVec::new() };
        // A model that never answered is expected to say as much as the others: else it would win, or lose, by a guess.
        let known = || blocks.iter().filter_map(|block| self.models[block.model].mean_output);
        let usual = match known().count() {
            0 => TYPICAL_OUTPUT,
            count => known().sum::<f64>() / count as f64,
        };
        // Blocks of a tier come in order of quality.
        let mut offers: SmallVec<[(Offer, usize); 16]> = SmallVec::new();
        for (index, block) in blocks.iter().enumerate() {
            let place = offers.last().filter(|(last, _)| last.tier == block.tier).map_or(0, |(last, _)| last.place + 1);
            let wait = self.models[block.model].latency.mean();
            let cost = self.expected_cost(block.model, ticket, usual);
            offers.push((Offer { tier: block.tier, place, cost, wait }, index));
        }
        if self.strategy_of(&state.routing) == Strategy::Balanced {
            balance(&mut offers, self.policy.balance_weights);
        } else {
            offers.sort_by_key(|(offer, _)| (offer.tier, offer.cost.is_none(), offer.cost));
        }
        offers.into_iter().map(|(_, index)| index).collect()
    }

    /// What the item will probably cost at a model: the estimated input, and as much output as its answers have had;
    /// `usual` before the first.
    fn expected_cost(&self, model: usize, ticket: &Ticket, usual: f64) -> Option<Money> {
        let state = &self.models[model];
        let mean = state.mean_output.unwrap_or(usual);
        let output = ticket.max_output.map_or(mean, |most| mean.min(f64::from(most)));
        state.model.price.map(|price| price.cost(ticket.input, output.ceil() as u64))
    }
}

/// Sorts by a score, the lowest first. Every concern is between 0 and 1: a model's place among the models; how much
/// dearer than the cheapest (0 at its price, a half at twice, towards 1 beyond); how much slower than the fastest,
/// likewise. A model that was never tried is taken to be twice as fast as the rest, so that it is found out.
fn balance(offers: &mut [(Offer, usize)], balance: BalanceWeights) {
    let last = offers.iter().map(|(offer, _)| offer.place).max().unwrap_or(0).max(1) as f64;
    let cheapest = offers.iter().filter_map(|(offer, _)| offer.cost).min().unwrap_or_default().0 as f64;
    let fastest = offers.iter().filter_map(|(offer, _)| offer.wait).fold(f64::INFINITY, f64::min);
    let beyond = |least: f64, this: f64| if this > least { 1.0 - least / this } else { 0.0 };
    let fastest = if offers.iter().any(|(offer, _)| offer.wait.is_none()) { fastest / 2.0 } else { fastest };
    let score = |offer: &Offer| {
        let price = offer.cost.map_or(1.0, |cost| beyond(cheapest, cost.0 as f64));
        let wait = offer.wait.map_or(0.0, |wait| beyond(fastest, wait));
        balance.quality * offer.place as f64 / last + balance.price * price + balance.wait * wait
    };
    offers.sort_by(|(one, _), (two, _)| one.tier.cmp(&two.tier).then(score(one).total_cmp(&score(two))));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Place, cost in dollars, seconds; `None` where unknown.
    fn order(offers: &[(Option<f64>, Option<f64>)], weights: BalanceWeights) -> Vec<usize> {
        let offer = |(place, (cost, wait)): (usize, &(Option<f64>, Option<f64>))| {
            (Offer { tier: 0, place, cost: cost.and_then(Money::from_usd), wait: wait.map(|wait| wait * 1e6) }, place)
        };
        let mut offers: Vec<_> = offers.iter().enumerate().map(offer).collect();
        balance(&mut offers, weights);
        offers.into_iter().map(|(_, index)| index).collect()
    }

    #[test]
    fn quality_price_and_wait_are_weighed_against_each_other() {
        let even = BalanceWeights::default();
        let known = |cost, wait| (Some(cost), Some(wait));
        for (want, offers) in [
            ("the best, all else equal", [known(1.0, 1.0), known(1.0, 1.0), known(1.0, 1.0)].to_vec()),
            ("the best, though somewhat dearer", [known(1.5, 1.0), known(1.0, 1.0)].to_vec()),
            ("the best, while its wait is unknown", [(Some(9.0), None), known(1.0, 1.0)].to_vec()),
        ] {
            assert_eq!(order(&offers, even)[0], 0, "{want}");
        }
        for (want, offers) in [
            ("the second, when the best is far dearer and slower", [known(10.0, 2.0), known(1.0, 1.0)].to_vec()),
            (
                "the second of three, at a tenth of the price",
                [known(10.0, 1.0), known(1.0, 1.0), known(0.9, 1.0)].to_vec(),
            ),
            ("the second, never tried, when the best is dear", [known(9.0, 1.0), (Some(1.0), None)].to_vec()),
            ("the priced one", [(None, Some(3.0)), known(1.0, 1.0)].to_vec()),
        ] {
            assert_eq!(order(&offers, even)[0], 1, "{want}");
        }
    }

    #[test]
    fn each_concern_can_be_made_the_only_one() {
        let offers = [(Some(3.0), Some(2.0)), (Some(2.0), Some(3.0)), (Some(4.0), Some(1.0))];
        let only = |quality, price, wait| order(&offers, BalanceWeights { quality, price, wait })[0];
        assert_eq!((only(1.0, 0.0, 0.0), only(0.0, 1.0, 0.0), only(0.0, 0.0, 1.0)), (0, 1, 2));
    }

    #[test]
    fn tiers_come_before_scores() {
        let offer = |tier, cost| Offer { tier, place: 0, cost: Money::from_usd(cost), wait: None };
        let mut offers = [(offer(1, 0.1), 0), (offer(0, 9.0), 1)];
        balance(&mut offers, BalanceWeights::default());
        assert_eq!(offers.map(|(_, index)| index), [1, 0]);
    }
}

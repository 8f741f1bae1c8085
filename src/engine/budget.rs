//! Why money holds the run, in words: used up, or too little for any one item from the beginning.

use super::core::Engine;
use crate::domain::Money;

impl Engine {
    /// `needs` is the least that a waiting item may cost at the worst.
    pub(super) fn budget_words(&self, needs: Option<Money>) -> String {
        let money = self.scheduler.money();
        let gone = money.spent + money.at_risk;
        let Some(needs) = needs else { return format!("the budget is used up ({gone} spent); raise it to go on") };
        match self.scheduler.policy().max_usd.filter(|most| gone + needs > *most) {
            Some(most) if needs > most => format!(
                "the budget of {most} is less than any one item may cost at the worst, {needs} ({gone} spent): raise it \
                 to {needs} at the least (--max-usd), or let answers be shorter (--max-output-tokens)"
            ),
            Some(most) => format!(
                "the budget is used up ({gone} of {most} spent, and the next item may cost {needs}); raise it \
                 (--max-usd) to go on"
            ),
            None => format!(
                "the configured caps on money leave no room: an item may cost {needs} at the worst ({gone} spent); \
                 raise them to go on"
            ),
        }
    }
}

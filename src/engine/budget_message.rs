//! The message about a budget that blocks the run: it is used up, or too small for any item from the start.

use crate::{domain::Money, scheduler::RunSpend};

/// `cap` is the run's `max_usd`, and `cheapest_item` the lowest worst-case cost of a waiting item. `reached_caps` are
/// those of keys that can't pay for it.
pub(super) fn budget_message(
    money: RunSpend,
    cap: Option<Money>,
    cheapest_item: Option<Money>,
    reached_caps: &[String],
) -> String {
    let committed = money.spent + money.at_risk;
    let spent_text = match money.at_risk {
        Money::ZERO => format!("{} spent", money.spent),
        at_risk => format!("{} spent, up to {at_risk} possibly billed", money.spent),
    };
    let Some(item_cost) = cheapest_item else {
        return if reached_caps.is_empty() || cap.is_some_and(|cap| committed >= cap) {
            format!("the budget is used up ({spent_text}); raise it to continue")
        } else {
            format!("{}; raise the caps to continue", reached_caps.join("; "))
        };
    };
    let needed_cap = format_dollars(committed + item_cost);
    match cap.filter(|cap| committed + item_cost > *cap) {
        Some(cap) if item_cost > cap => format!(
            "the budget of {} is too small for any item: one may cost up to {} ({spent_text}); raise it to at \
             least {needed_cap} (--max-usd), or shorten the answers (--max-output-tokens)",
            format_dollars(cap),
            format_dollars(item_cost)
        ),
        Some(cap) => format!(
            "the budget of {} is used up ({spent_text}, and the next item may cost up to {}); raise it to at \
             least {needed_cap} (--max-usd) to continue",
            format_dollars(cap),
            format_dollars(item_cost)
        ),
        None if !reached_caps.is_empty() => format!(
            "{}; an item may cost up to {}; raise the caps to continue",
            reached_caps.join("; "),
            format_dollars(item_cost)
        ),
        None => format!(
            "the configured budgets leave no room: an item may cost up to {} ({spent_text}); raise them to \
             continue",
            format_dollars(item_cost)
        ),
    }
}

/// Formats an amount in dollars, rounded up to $0.00001. A user can type the result as a cap that covers the amount.
fn format_dollars(amount: Money) -> String {
    let exact = format!("{:.5}", (amount.as_usd() * 1e5).ceil() / 1e5);
    format!("${}", exact.trim_end_matches('0').trim_end_matches('.'))
}

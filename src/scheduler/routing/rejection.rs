//! Items that no route can ever serve.

use crate::{
    domain::Outcome,
    scheduler::{
        queue::{LocalRejection, QueuedItem},
        view::View,
    },
};

use super::Routing;

impl Routing {
    /// The rejection of an item that no candidate can ever serve; `None` if some candidate can.
    pub fn permanent_rejection(&self, view: View<'_>, class: usize, item: &QueuedItem) -> Option<LocalRejection> {
        let mut reason = (Outcome::NoRoute, self.no_candidates_reason(view, class));
        for &route in self.class(class).candidates() {
            reason = view.ineligibility(route, item)?;
        }
        let (outcome, explanation) = reason;
        let message = match (outcome, item.billing.unpriced) {
            (Outcome::OverBudget, Some(field)) => {
                format!("{field}, and a spend cap is set; remove the field, or run without max_usd and max_usd_per_day")
            }
            (Outcome::OverBudget, None) => format!("{explanation}; raise it, or add a cheaper model"),
            (_, _) => format!("no route may serve it: {explanation}"),
        };
        let full_message = match self.class(class).key().rule.and_then(|rule| view.policy.rules.get(rule)) {
            Some(rule) => format!("{message} (rule {} applies)", rule.name),
            None => message,
        };
        Some(LocalRejection { seq: item.seq, outcome, message: full_message, attempts: item.attempts() })
    }

    /// Why a class has no candidates at all.
    fn no_candidates_reason(&self, view: View<'_>, class: usize) -> &'static str {
        let any_model_has_vision = view.fleet.models().iter().any(|state| state.model.vision);
        match self.class(class).key().needs_vision {
            true if !any_model_has_vision => {
                "it holds a picture, and no model takes pictures; say vision = true for one that does"
            }
            true => "it holds a picture, and no model that it may go to takes pictures",
            false => "no model that it may go to has a key",
        }
    }
}

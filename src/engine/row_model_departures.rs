//! Counts requests that don't go to the model that their row names, by reason, and says so now and then.

use std::collections::HashMap;

use crate::domain::{group_digits, plural};

/// How many requests went to another model than their row's, by that model and the reason.
#[derive(Debug, Default)]
pub(super) struct RowModelDepartures {
    counts: HashMap<(String, &'static str), u64>,
}

impl RowModelDepartures {
    /// Counts a request to `route` instead of to `model`. Returns a message for the log at the first request, the tenth,
    /// the hundredth and so on.
    pub fn count(&mut self, model: &str, reason: &'static str, route: &str) -> Option<String> {
        let count = self.counts.entry((model.to_owned(), reason)).or_default();
        *count += 1;
        let is_power_of_ten = 10_u64.pow(count.ilog10()) == *count;
        is_power_of_ten.then(|| {
            let (number, requests) = (group_digits(*count), plural(*count, "request"));
            format!("{number} {requests} of rows that name {model} went to other models, now to {route}: {reason}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn departures_are_logged_by_reason_and_ever_more_rarely() {
        let mut departures = RowModelDepartures::default();
        let mut logged = Vec::new();
        for _ in 0..250 {
            logged.extend(departures.count("second", "RPM limit reached", "best@alice"));
        }
        logged.extend(departures.count("second", "cooling down", "best@alice"));
        let message = |text: &str| format!("{text} of rows that name second went to other models, now to best@alice: ");
        let want = [("1 request", "RPM limit reached"), ("10 requests", "RPM limit reached")];
        let want = want.into_iter().chain([("100 requests", "RPM limit reached"), ("1 request", "cooling down")]);
        assert_eq!(logged, want.map(|(count, reason)| message(count) + reason).collect::<Vec<_>>());
    }
}

//! Counts requests that don't go to the model that their row names, by reason, and says so now and then.

use std::collections::BTreeMap;

use crate::domain::{group_digits, plural};

/// How many requests went to another model than their row's, by that model and the reason.
#[derive(Debug, Default)]
pub(super) struct RowModelDepartures {
    counts: BTreeMap<(String, &'static str), DepartureCount>,
}

#[derive(Debug, Default)]
struct DepartureCount {
    requests: u64,
    /// Those of the last message.
    logged: u64,
}

impl RowModelDepartures {
    /// Counts a request to `route` instead of to `model`. Returns a message for the log at the first request, the
    /// tenth, the hundredth and so on.
    pub fn count(&mut self, model: &str, reason: &'static str, route: &str) -> Option<String> {
        let count = self.counts.entry((model.to_owned(), reason)).or_default();
        count.requests += 1;
        let is_power_of_ten = 10_u64.pow(count.requests.ilog10()) == count.requests;
        is_power_of_ten.then(|| {
            count.logged = count.requests;
            format!("{}, now to {route}: {reason}", describe(count.requests, model))
        })
    }

    /// Messages for the log with the counts that have grown since they were last in one.
    pub fn take_totals(&mut self) -> Vec<String> {
        let grown = self.counts.iter_mut().filter(|(_, count)| count.requests > count.logged);
        let messages = grown.map(|((model, reason), count)| {
            count.logged = count.requests;
            format!("in all, {}: {reason}", describe(count.requests, model))
        });
        messages.collect()
    }
}

fn describe(requests: u64, model: &str) -> String {
    let (number, noun) = (group_digits(requests), plural(requests, "request"));
    format!("{number} {noun} of rows that name {model} went to other models")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn departures_are_logged_by_reason_and_ever_more_rarely_and_in_all_at_the_end() {
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
        let total = "in all, 250 requests of rows that name second went to other models: RPM limit reached";
        assert_eq!(departures.take_totals(), [total], "the other reason's total is known");
        assert_eq!(departures.take_totals(), [""; 0]);
    }
}

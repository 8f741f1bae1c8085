//! Faults that the simulator injects: by rate, by outage, or because a prompt asks for one with `[sim:KIND]`.

use serde::{Deserialize, Serialize};

/// A reason why an admitted request gets no answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InjectedFault {
    /// 500 with the provider's error body.
    ServerError,
    /// 503 (Anthropic: 529) with the provider's error body.
    Overloaded,
    /// The connection stays open and no byte is sent.
    Stall,
    /// The connection breaks in the middle of the body.
    Reset,
    /// A 200 whose JSON is cut off.
    Truncated,
    /// A proxy's 502 page.
    Html,
    /// A 200 without any text.
    Empty,
    /// A 200 that declines because of the prompt's content.
    Blocked,
}

/// A fault that a prompt asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum PromptMarker {
    Fault(InjectedFault),
    /// An HTTP 400.
    BadRequest,
}

/// An irregularity of a response that does not change its outcome.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quirk {
    /// The body of the answer is sent slowly.
    SlowBody,
    /// A refusal states a false wait.
    LyingRetry,
}

/// Fault rates as shares (0 to 1) of all admitted requests, except `slow_body` and `lying_retry`. At most one fault
/// applies to a request, so the rates of faults add up to at most 1.
#[derive(Clone, Copy, PartialEq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultRates {
    pub server_error: f64,
    pub overloaded: f64,
    pub stall: f64,
    pub reset: f64,
    pub truncated: f64,
    pub html: f64,
    pub empty: f64,
    pub blocked: f64,
    /// Share of answers whose body is sent slowly.
    pub slow_body: f64,
    /// Share of refusals that state a false wait.
    pub lying_retry: f64,
}

/// Why fault rates can't be used as probabilities.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum FaultRatesError {
    #[error("a fault rate of {owner} is {rate}; rates must be between 0 and 1")]
    OutOfRange { owner: String, rate: f64 },
    #[error("the fault rates of {owner} add up to {sum}; the sum must be at most 1")]
    SumTooLarge { owner: String, sum: f64 },
}

impl FaultRates {
    fn rates(&self) -> [(InjectedFault, f64); 8] {
        [
            (InjectedFault::ServerError, self.server_error),
            (InjectedFault::Overloaded, self.overloaded),
            (InjectedFault::Stall, self.stall),
            (InjectedFault::Reset, self.reset),
            (InjectedFault::Truncated, self.truncated),
            (InjectedFault::Html, self.html),
            (InjectedFault::Empty, self.empty),
            (InjectedFault::Blocked, self.blocked),
        ]
    }

    /// Chooses a fault, or none. `draw` is uniform in 0..1.
    pub(super) fn sample(&self, draw: f64) -> Option<InjectedFault> {
        let mut cumulative = 0.0;
        self.rates().into_iter().find_map(|(fault, rate)| {
            cumulative += rate;
            (draw < cumulative).then_some(fault)
        })
    }

    /// `owner` says in an error whose rates these are.
    pub(super) fn check_rates(&self, owner: &str) -> Result<(), FaultRatesError> {
        let rates = self.rates().map(|(_, rate)| rate);
        let quirks = [self.slow_body, self.lying_retry];
        if let Some(rate) = rates.iter().chain(&quirks).copied().find(|rate| !(0.0..=1.0).contains(rate)) {
            return Err(FaultRatesError::OutOfRange { owner: owner.to_owned(), rate });
        }
        let sum: f64 = rates.iter().sum();
        if sum > 1.0 + 1e-9 {
            return Err(FaultRatesError::SumTooLarge { owner: owner.to_owned(), sum });
        }
        Ok(())
    }
}

/// The first `[sim:KIND]` in a prompt, if the kind exists.
pub(super) fn parse_marker(prompt: &str) -> Option<PromptMarker> {
    let (_, rest) = prompt.split_once("[sim:")?;
    let (kind, _) = rest.split_once(']')?;
    Some(PromptMarker::Fault(match kind {
        "500" => InjectedFault::ServerError,
        "503" => InjectedFault::Overloaded,
        "stall" => InjectedFault::Stall,
        "reset" => InjectedFault::Reset,
        "truncated" => InjectedFault::Truncated,
        "html" => InjectedFault::Html,
        "empty" => InjectedFault::Empty,
        "blocked" => InjectedFault::Blocked,
        "400" => return Some(PromptMarker::BadRequest),
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_sampled_by_its_rate() {
        let faults = FaultRates { server_error: 0.25, empty: 0.5, ..FaultRates::default() };
        let cases = [
            (0.0, Some(InjectedFault::ServerError)),
            (0.249, Some(InjectedFault::ServerError)),
            (0.25, Some(InjectedFault::Empty)),
            (0.74, Some(InjectedFault::Empty)),
            (0.75, None),
            (0.999, None),
        ];
        for (draw, fault) in cases {
            assert_eq!(faults.sample(draw), fault, "{draw}");
        }
    }

    #[test]
    fn only_known_markers_request_a_fault() {
        assert_eq!(parse_marker("Name a river. [sim:blocked]"), Some(PromptMarker::Fault(InjectedFault::Blocked)));
        assert_eq!(parse_marker("[sim:400] x"), Some(PromptMarker::BadRequest));
        assert_eq!(parse_marker("[sim:coffee]"), None);
        assert_eq!(parse_marker("[sim:500"), None);
        assert_eq!(parse_marker("a plain prompt"), None);
    }
}

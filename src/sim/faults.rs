//! What goes wrong, on demand: by rate, by outage, or because a prompt asks for it with `[sim:KIND]`.

use serde::{Deserialize, Serialize};

/// A way in which an admitted request does not get its answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// 500 in the provider's words.
    ServerError,
    /// 503 (Anthropic: 529) in the provider's words.
    Overloaded,
    /// The socket stays open and no byte comes.
    Stall,
    /// The connection breaks in the middle of the body.
    Reset,
    /// A 200 whose JSON is cut off.
    Truncated,
    /// A proxy's 502 page.
    Html,
    /// A 200 that stops without a word.
    Empty,
    /// A 200 that declines, for the prompt's content.
    Blocked,
}

/// What a prompt asks for by hand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Marker {
    Fault(Fault),
    /// 400.
    BadRequest,
}

/// An oddity that leaves the outcome as it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quirk {
    /// The answer's body comes in dribbles.
    SlowBody,
    /// A refusal that misstates when to come back.
    LyingRetry,
}

/// How often, as shares of all admitted requests (0 to 1). The faults exclude each other and add up to at most 1.
#[derive(Clone, Copy, PartialEq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    pub server_error: f64,
    pub overloaded: f64,
    pub stall: f64,
    pub reset: f64,
    pub truncated: f64,
    pub html: f64,
    pub empty: f64,
    pub blocked: f64,
    /// Of the answers.
    pub slow_body: f64,
    /// Of the refusals.
    pub lying_retry: f64,
}

impl Faults {
    fn rates(&self) -> [(Fault, f64); 8] {
        [
            (Fault::ServerError, self.server_error),
            (Fault::Overloaded, self.overloaded),
            (Fault::Stall, self.stall),
            (Fault::Reset, self.reset),
            (Fault::Truncated, self.truncated),
            (Fault::Html, self.html),
            (Fault::Empty, self.empty),
            (Fault::Blocked, self.blocked),
        ]
    }

    /// One draw; `lot` is uniform in 0..1.
    pub(super) fn draw(&self, lot: f64) -> Option<Fault> {
        let mut reached = 0.0;
        self.rates().into_iter().find_map(|(fault, rate)| {
            reached += rate;
            (lot < reached).then_some(fault)
        })
    }

    pub(super) fn check(&self, whose: &str) -> Result<(), String> {
        let rates = self.rates().map(|(_, rate)| rate);
        let quirks = [self.slow_body, self.lying_retry];
        if let Some(wrong) = rates.iter().chain(&quirks).find(|rate| !(0.0..=1.0).contains(*rate)) {
            return Err(format!("a fault rate of {whose} is {wrong}; rates are shares from 0 to 1"));
        }
        let sum: f64 = rates.iter().sum();
        if sum > 1.0 + 1e-9 {
            return Err(format!("the fault rates of {whose} add up to {sum}; together they can be at most 1"));
        }
        Ok(())
    }
}

/// The first `[sim:KIND]` in a prompt, where there is such a kind.
pub(super) fn marker(prompt: &str) -> Option<Marker> {
    let (_, rest) = prompt.split_once("[sim:")?;
    let (kind, _) = rest.split_once(']')?;
    Some(Marker::Fault(match kind {
        "500" => Fault::ServerError,
        "503" => Fault::Overloaded,
        "stall" => Fault::Stall,
        "reset" => Fault::Reset,
        "truncated" => Fault::Truncated,
        "html" => Fault::Html,
        "empty" => Fault::Empty,
        "blocked" => Fault::Blocked,
        "400" => return Some(Marker::BadRequest),
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_lands_in_each_faults_own_share() {
        let faults = Faults { server_error: 0.25, empty: 0.5, ..Faults::default() };
        let cases = [
            (0.0, Some(Fault::ServerError)),
            (0.249, Some(Fault::ServerError)),
            (0.25, Some(Fault::Empty)),
            (0.74, Some(Fault::Empty)),
            (0.75, None),
            (0.999, None),
        ];
        for (lot, fault) in cases {
            assert_eq!(faults.draw(lot), fault, "{lot}");
        }
    }

    #[test]
    fn only_known_markers_ask_for_trouble() {
        assert_eq!(marker("Name a river. [sim:blocked]"), Some(Marker::Fault(Fault::Blocked)));
        assert_eq!(marker("[sim:400] x"), Some(Marker::BadRequest));
        assert_eq!(marker("[sim:coffee]"), None);
        assert_eq!(marker("[sim:500"), None);
        assert_eq!(marker("a plain prompt"), None);
    }
}

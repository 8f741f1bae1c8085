//! The kinds of limits, and counts of what a project has used of them on one model.

use serde::{Deserialize, Serialize};

/// The quantity that a limit counts, and over which time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SimLimit {
    Rpm,
    Burst,
    Tpm,
    Itpm,
    Otpm,
    Rpd,
    Tpd,
    Concurrency,
}

/// The highest usage so far, measured like the limits. Only admitted requests count, except in `minute_arrivals`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PeakUsage {
    pub minute_requests: u64,
    /// Includes refused requests.
    pub minute_arrivals: u64,
    pub minute_tokens: u64,
    pub minute_input_tokens: u64,
    pub minute_output_tokens: u64,
    /// Includes what was used before the simulator started.
    pub day_requests: u64,
    pub day_tokens: u64,
    pub in_flight: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DayUsage {
    pub requests: u64,
    pub tokens: u64,
}

impl DayUsage {
    pub(super) fn add(&mut self, tokens: u64) {
        self.requests += 1;
        self.tokens += tokens;
    }
}

impl PeakUsage {
    pub(super) fn raise_to(&mut self, current: &Self) {
        let pairs = [
            (&mut self.minute_requests, current.minute_requests),
            (&mut self.minute_arrivals, current.minute_arrivals),
            (&mut self.minute_tokens, current.minute_tokens),
            (&mut self.minute_input_tokens, current.minute_input_tokens),
            (&mut self.minute_output_tokens, current.minute_output_tokens),
            (&mut self.day_requests, current.day_requests),
            (&mut self.day_tokens, current.day_tokens),
            (&mut self.in_flight, current.in_flight),
        ];
        for (peak, current) in pairs {
            *peak = (*peak).max(current);
        }
    }

    pub(super) const fn peak(&self, limit: SimLimit) -> u64 {
        match limit {
            SimLimit::Rpm | SimLimit::Burst => self.minute_requests,
            SimLimit::Tpm => self.minute_tokens,
            SimLimit::Itpm => self.minute_input_tokens,
            SimLimit::Otpm => self.minute_output_tokens,
            SimLimit::Rpd => self.day_requests,
            SimLimit::Tpd => self.day_tokens,
            SimLimit::Concurrency => self.in_flight,
        }
    }
}

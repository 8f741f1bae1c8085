//! Sums over a route's completed attempts, from which a resumed run restores its counts, budgets and quota windows
//! without reading the attempts.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    attempt_result::Usage, duration_histogram::latency_bucket, latency::LatencyHistogram, money::Money,
    outcome::Outcome, price::CostByKind, time::WallTime,
};

/// Slots of the last minute: more than a minute's worth, since attempts don't end in order.
const MAX_RECENT_SLOTS: usize = 48;
const RECENT_SLOT_LENGTH: Duration = Duration::from_secs(2);

/// Slots of the last day: 28 hours, more than the 26 that daily windows need. Local midnights fall on the ends of
/// slots, so that no slot spans two days.
const MAX_DAY_SLOTS: usize = 168;
const DAY_SLOT_LENGTH: Duration = Duration::from_secs(600);

/// How long a request counts in the windows per minute.
const MINUTE: Duration = Duration::from_secs(60);

/// One completed attempt, as it is summed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SummedAttempt {
    /// When it ended. If it never did: when its request must have arrived at the latest.
    pub at: WallTime,
    pub outcome: Outcome,
    /// HTTP status; `None` if no response came.
    pub status: Option<u16>,
    /// The answer could not be checked.
    pub is_unchecked: bool,
    pub usage: Usage,
    /// Estimated input tokens. They count as used if the provider reported no usage.
    pub est_tokens: u64,
    pub latency_ms: u64,
    pub cost: Money,
    pub cost_by_kind: CostByKind,
    pub at_risk: Money,
}

/// The requests, tokens and money that a route's attempts used within a short time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(from = "SlotFields", into = "SlotFields")]
pub struct UsageSlot {
    /// When the last of them ended.
    pub at: WallTime,
    /// Requests that count in every window.
    pub requests: u64,
    /// Requests that a limit refused. They count in the windows of requests per minute only.
    pub refused_requests: u64,
    /// Tokens of `requests`, as far as they are known; else estimated.
    pub input_tokens: u64,
    /// Thinking tokens included.
    pub output_tokens: u64,
    /// Spent or at risk.
    pub committed: Money,
}

/// A slot's fields in their order.
type SlotFields = (i64, u64, u64, u64, u64, u64);

impl From<SlotFields> for UsageSlot {
    fn from((at, requests, refused_requests, input_tokens, output_tokens, committed): SlotFields) -> Self {
        let (at, committed) = (WallTime(at), Money(committed));
        Self { at, requests, refused_requests, input_tokens, output_tokens, committed }
    }
}

impl From<UsageSlot> for SlotFields {
    fn from(slot: UsageSlot) -> Self {
        let UsageSlot { at, requests, refused_requests, input_tokens, output_tokens, committed } = slot;
        (at.0, requests, refused_requests, input_tokens, output_tokens, committed.0)
    }
}

impl UsageSlot {
    /// The slot of a single attempt.
    pub fn of_attempt(attempt: &SummedAttempt) -> Self {
        let SummedAttempt { at, outcome, usage, .. } = *attempt;
        let mut slot = Self {
            at,
            requests: 0,
            refused_requests: 0,
            input_tokens: 0,
            output_tokens: 0,
            committed: attempt.cost + attempt.at_risk,
        };
        match outcome {
            Outcome::ClientTrouble | Outcome::UnreadableInput | Outcome::NoRoute | Outcome::GivenUp => {}
            refusal if refusal.is_limit_error() => slot.refused_requests = 1,
            _ => {
                slot.requests = 1;
                (slot.input_tokens, slot.output_tokens) = (usage.input_tokens, usage.billed_output());
                let may_lack_usage =
                    outcome == Outcome::Lost || outcome.is_provider_error() || outcome.is_provider_success();
                if may_lack_usage && (slot.input_tokens, slot.output_tokens) == (0, 0) {
                    slot.input_tokens = attempt.est_tokens;
                }
            }
        }
        slot
    }

    fn add(&mut self, other: &Self) {
        self.at = self.at.max(other.at);
        self.requests += other.requests;
        self.refused_requests += other.refused_requests;
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.committed += other.committed;
    }
}

/// The number of attempts by status and outcome. Status 0 stands for "no response". Stored as a list, since pairs can't be
/// names of a JSON object.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Vec<(u16, Outcome, u64)>", into = "Vec<(u16, Outcome, u64)>")]
struct StatusCounts(BTreeMap<(u16, Outcome), u64>);

impl From<Vec<(u16, Outcome, u64)>> for StatusCounts {
    fn from(counts: Vec<(u16, Outcome, u64)>) -> Self {
        Self(counts.into_iter().map(|(status, outcome, count)| ((status, outcome), count)).collect())
    }
}

impl From<StatusCounts> for Vec<(u16, Outcome, u64)> {
    fn from(counts: StatusCounts) -> Self {
        counts.0.into_iter().map(|((status, outcome), count)| (status, outcome, count)).collect()
    }
}

/// The sums of one route.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RouteSums {
    attempts: StatusCounts,
    unchecked: u64,
    usage: Usage,
    cost: Money,
    cost_by_kind: CostByKind,
    at_risk: Money,
    /// Of answered attempts.
    latencies: LatencyHistogram,
    /// The same, counted in the few fixed buckets of the metrics, by [`latency_bucket`].
    #[serde(alias = "latency_counts")]
    metric_bucket_counts: Vec<u64>,
    /// The newest slots of [`RECENT_SLOT_LENGTH`], in the order in which they began to be filled. Not by time, or a
    /// clock that is set back would discard good ones.
    recent: Vec<UsageSlot>,
    /// The newest slots of [`DAY_SLOT_LENGTH`], in the same order.
    #[serde(alias = "days")]
    day_slots: Vec<UsageSlot>,
}

impl RouteSums {
    pub fn add(&mut self, attempt: &SummedAttempt) {
        let SummedAttempt { outcome, status, usage, latency_ms, .. } = *attempt;
        *self.attempts.0.entry((status.unwrap_or_default(), outcome)).or_default() += 1;
        self.unchecked += u64::from(attempt.is_unchecked);
        self.usage += usage;
        self.cost += attempt.cost;
        self.cost_by_kind += attempt.cost_by_kind;
        self.at_risk += attempt.at_risk;
        if outcome.is_answered() {
            self.latencies.record(latency_ms);
            let bucket = latency_bucket(Duration::from_millis(latency_ms));
            if self.metric_bucket_counts.len() <= bucket {
                self.metric_bucket_counts.resize(bucket + 1, 0);
            }
            self.metric_bucket_counts[bucket] += 1;
        }
        let used = UsageSlot::of_attempt(attempt);
        // Attempts that are found lost at a start may be old. They must not take the slots of the last minute.
        let is_old =
            outcome == Outcome::Lost && self.recent.last().is_some_and(|last| last.at.since(used.at) >= MINUTE);
        if !is_old {
            add_to_slots(&mut self.recent, used, RECENT_SLOT_LENGTH, MAX_RECENT_SLOTS);
        }
        add_to_slots(&mut self.day_slots, used, DAY_SLOT_LENGTH, MAX_DAY_SLOTS);
    }

    /// The number of attempts by status and outcome.
    pub fn attempts(&self) -> impl Iterator<Item = (Option<u16>, Outcome, u64)> {
        self.attempts.0.iter().map(|((status, outcome), count)| ((*status > 0).then_some(*status), *outcome, *count))
    }

    pub fn attempt_count(&self) -> u64 {
        self.attempts.0.values().sum()
    }

    /// The number of attempts whose outcome has this property.
    fn count_if(&self, has_property: impl Fn(Outcome) -> bool) -> u64 {
        self.attempts().filter(|(_, outcome, _)| has_property(*outcome)).map(|(_, _, count)| count).sum()
    }

    pub fn answered(&self) -> u64 {
        self.count_if(Outcome::is_answered)
    }

    /// The number of attempts that count against the key and the model.
    pub fn failed(&self) -> u64 {
        self.count_if(|outcome| !outcome.is_answered() && !outcome.is_unattributed()) - self.unchecked
    }

    /// Part of `failed`: answers that failed a check.
    pub fn invalid_outputs(&self) -> u64 {
        self.count_if(|outcome| outcome == Outcome::InvalidOutput) - self.unchecked
    }

    pub const fn usage(&self) -> Usage {
        self.usage
    }

    pub const fn cost(&self) -> Money {
        self.cost
    }

    pub const fn cost_by_kind(&self) -> CostByKind {
        self.cost_by_kind
    }

    /// Spent or at risk.
    pub fn committed(&self) -> Money {
        self.cost + self.at_risk
    }

    /// The latencies of answered attempts.
    pub const fn latencies(&self) -> &LatencyHistogram {
        &self.latencies
    }

    /// The number of answered attempts by [`latency_bucket`].
    pub fn metric_bucket_counts(&self) -> &[u64] {
        &self.metric_bucket_counts
    }

    /// The usage of at least the last minute, in slots of two seconds.
    pub fn recent_usage(&self) -> &[UsageSlot] {
        &self.recent
    }

    /// The usage of at least the last 26 hours, in slots of ten minutes.
    pub fn day_usage(&self) -> &[UsageSlot] {
        &self.day_slots
    }
}

/// Adds to the slot of its time, or to a new one in place of the oldest.
fn add_to_slots(slots: &mut Vec<UsageSlot>, used: UsageSlot, length: Duration, max_slots: usize) {
    let number = |at: WallTime| at.0.div_euclid(length.as_micros() as i64);
    if let Some(slot) = slots.iter_mut().rev().find(|slot| number(slot.at) == number(used.at)) {
        slot.add(&used);
        return;
    }
    if slots.len() == max_slots {
        slots.remove(0);
    }
    slots.push(used);
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: WallTime = WallTime(1_795_251_600_000_000);

    fn attempt(seconds: i64, outcome: Outcome) -> SummedAttempt {
        SummedAttempt {
            at: WallTime(START.0 + seconds * 1_000_000),
            outcome,
            status: outcome.is_answered().then_some(200),
            is_unchecked: false,
            usage: Usage { input_tokens: 10, output_tokens: 2, ..Usage::default() },
            est_tokens: 7,
            latency_ms: 1_500,
            cost: Money(3),
            cost_by_kind: CostByKind::default(),
            at_risk: Money(1),
        }
    }

    #[test]
    fn sums_are_stored_and_read_as_they_are() {
        let mut sums = RouteSums::default();
        for (second, outcome) in [(0, Outcome::Ok), (1, Outcome::RateLimitedMinute), (700, Outcome::InvalidOutput)] {
            sums.add(&attempt(second, outcome));
        }
        sums.add(&SummedAttempt { is_unchecked: true, ..attempt(701, Outcome::InvalidOutput) });
        let json = serde_json::to_string(&sums).unwrap();
        assert_eq!(serde_json::from_str::<RouteSums>(&json).unwrap(), sums, "{json}");
        let counted = (sums.attempt_count(), sums.answered(), sums.failed(), sums.invalid_outputs());
        assert_eq!(counted, (4, 1, 2, 1));
        assert_eq!((sums.committed(), sums.latencies().mean_ms()), (Money(16), Some(1_500)));
        let days: Vec<_> = sums.day_usage().iter().map(|slot| (slot.requests, slot.refused_requests)).collect();
        assert_eq!(days, [(1, 1), (2, 0)]);
    }

    #[test]
    fn usage_is_estimated_if_none_was_reported() {
        let tokens = |outcome, usage| {
            let slot = UsageSlot::of_attempt(&SummedAttempt { usage, ..attempt(0, outcome) });
            (slot.requests, slot.refused_requests, slot.input_tokens, slot.output_tokens)
        };
        assert_eq!(tokens(Outcome::Ok, attempt(0, Outcome::Ok).usage), (1, 0, 10, 2));
        for outcome in [Outcome::Ok, Outcome::Lost, Outcome::Timeout] {
            assert_eq!(tokens(outcome, Usage::default()), (1, 0, 7, 0), "{outcome}");
        }
        assert_eq!(tokens(Outcome::InvalidKey, Usage::default()), (1, 0, 0, 0));
        assert_eq!(tokens(Outcome::RateLimitedMinute, Usage::default()), (0, 1, 0, 0));
        assert_eq!(tokens(Outcome::ClientTrouble, Usage::default()), (0, 0, 0, 0));
    }

    #[test]
    fn slots_cover_the_last_minute_and_day_also_after_the_clock_was_set_back() {
        let mut sums = RouteSums::default();
        let day = 24 * 3_600;
        for second in 0..2 * day {
            sums.add(&attempt(second, Outcome::Ok));
        }
        let year = 365 * day;
        sums.add(&attempt(year, Outcome::Ok));
        for second in 2 * day..2 * day + 10 {
            sums.add(&attempt(second, Outcome::Ok));
        }
        let since = |slots: &[UsageSlot], seconds: i64| -> u64 {
            let first = WallTime(START.0 + (2 * day + 10 - seconds) * 1_000_000);
            slots
                .iter()
                .filter(|slot| slot.at >= first && slot.at.0 < START.0 + year * 1_000_000)
                .map(|it| it.requests)
                .sum()
        };
        assert_eq!(since(sums.recent_usage(), 60), 60);
        assert!(since(sums.day_usage(), 26 * 3_600) >= 26 * 3_600);
        assert!(sums.recent_usage().len() <= MAX_RECENT_SLOTS && sums.day_usage().len() <= MAX_DAY_SLOTS);
        assert_eq!(sums.attempt_count(), sums.answered());
    }

    #[test]
    fn old_lost_attempts_leave_the_last_minute_as_it_is() {
        let mut sums = RouteSums::default();
        (0..60).for_each(|second| sums.add(&attempt(10_000 + second, Outcome::Ok)));
        let before = sums.recent_usage().to_vec();
        (0..100).for_each(|number| sums.add(&attempt(number * 60, Outcome::Lost)));
        assert_eq!(sums.recent_usage(), before);
    }
}

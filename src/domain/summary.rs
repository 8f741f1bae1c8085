//! The output of `run --json` and `status --json`. Field names are a contract: scripts read them.

use serde::{Deserialize, Serialize};

use super::{
    attempt_result::Usage,
    json_numbers::deserialize_flattened,
    money::Money,
    price::{CostByKind, CostByKindUsd},
    snapshot::{Condition, Snapshot},
};

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Summary {
    pub run: String,
    /// One of `RunState`'s names.
    pub state: String,
    pub total: u64,
    pub waiting: u64,
    pub in_flight: u64,
    pub done: u64,
    pub failed: u64,
    /// Part of `done`: answers cut off at a token limit.
    #[serde(default)]
    pub truncated: u64,
    pub attempts: u64,
    pub rate_limited: u64,
    /// Answers that failed a check.
    #[serde(default)]
    pub invalid_outputs: u64,
    #[serde(flatten, deserialize_with = "deserialize_flattened")]
    pub usage: UsageSummary,
    /// The worst-case cost of requests without an answer, in addition to `cost_usd`.
    pub at_risk_usd: f64,
    pub elapsed_s: f64,
    pub keys: Vec<KeySummary>,
    pub models: Vec<ModelSummary>,
    /// Part of `total`: items whose rows are no longer in the input. Written only if there are any.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub not_in_input: u64,
    /// The attempt that was started last, from the record; `None` before the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<PlaceSummary>,
}

/// The place of a run: the item, key and model of one attempt. Numbers start at 1.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PlaceSummary {
    /// The item's id.
    pub item: String,
    pub item_number: u64,
    pub item_count: u64,
    pub key: String,
    /// Counted over all providers.
    pub key_number: u64,
    pub key_count: u64,
    pub model: String,
    /// Counted within the key's provider.
    pub model_number: u64,
    pub model_count: u64,
    /// Number of retries on this model after provider errors; 0 for the first attempt.
    pub retry: u64,
    /// When the attempt was started, in RFC 3339.
    pub at: String,
    /// The cooldown of the place by the backoff schedule, if one was running when it was last recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<BackoffSummary>,
}

/// A cooldown by the backoff schedule.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct BackoffSummary {
    /// The step of the schedule, from 1, and the number of its steps.
    pub retry: u32,
    pub retries: u32,
    /// When the cooldown ends, in RFC 3339.
    pub until: String,
    /// The outcome that started it, and its HTTP status.
    pub outcome: String,
    pub status: Option<u16>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks like this")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct KeySummary {
    pub name: String,
    pub state: String,
    pub health: u8,
    pub ok: u64,
    pub failed: u64,
    pub cost_usd: f64,
}

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct ModelSummary {
    pub name: String,
    pub ok: u64,
    pub failed: u64,
    /// Part of `failed`: answers that failed a check.
    #[serde(default)]
    pub invalid_outputs: u64,
    pub mean_ms: Option<u64>,
    pub p50_ms: Option<u64>,
    pub p95_ms: Option<u64>,
    #[serde(flatten, deserialize_with = "deserialize_flattened")]
    pub usage: UsageSummary,
    /// It has no price, so that `cost_usd` says nothing. Written only if it is so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unpriced: bool,
}

impl ModelSummary {
    /// Whether it was used without a price.
    pub fn has_unknown_cost(&self) -> bool {
        self.unpriced && self.usage.input_tokens + self.usage.output_tokens > 0
    }
}

/// The tokens and the cost of attempts.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct UsageSummary {
    pub input_tokens: u64,
    /// Includes thinking tokens: they are billed as output.
    pub output_tokens: u64,
    pub cost_usd: f64,
    /// Part of `input_tokens`: read from the provider's cache.
    #[serde(default)]
    pub cached_input_tokens: u64,
    /// Part of `input_tokens`: written to the cache for five minutes, and for one hour.
    #[serde(default)]
    pub cache_write_tokens: u64,
    #[serde(default)]
    pub cache_write_1h_tokens: u64,
    /// `cost_usd` by kind. Attempts of versions that did not record kinds are missing here.
    #[serde(default)]
    pub cost_by_kind_usd: CostByKindUsd,
    /// Part of `output_tokens`. In results, `output_tokens` excludes them.
    #[serde(default)]
    pub thinking_tokens: u64,
}

impl UsageSummary {
    pub fn new(usage: Usage, cost: Money, cost_by_kind: CostByKind) -> Self {
        Self {
            input_tokens: usage.input_tokens,
            output_tokens: usage.billed_output(),
            cost_usd: cost.as_usd(),
            cached_input_tokens: usage.cached_input_tokens,
            cache_write_tokens: usage.cache_write_tokens,
            cache_write_1h_tokens: usage.cache_write_1h_tokens,
            cost_by_kind_usd: cost_by_kind.into(),
            thinking_tokens: usage.thinking_tokens,
        }
    }

    pub const fn tokens(&self) -> Usage {
        Usage {
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens.saturating_sub(self.thinking_tokens),
            thinking_tokens: self.thinking_tokens,
            cached_input_tokens: self.cached_input_tokens,
            cache_write_tokens: self.cache_write_tokens,
            cache_write_1h_tokens: self.cache_write_1h_tokens,
        }
    }

    /// `cost_by_kind_usd` as amounts of money.
    pub fn cost_by_kind(&self) -> CostByKind {
        let CostByKindUsd { input, cached_input, cache_write, output, images } = self.cost_by_kind_usd;
        let money = |usd: f64| Money::from_usd(usd).unwrap_or_default();
        CostByKind {
            input: money(input),
            cached_input: money(cached_input),
            cache_write: money(cache_write),
            output: money(output),
            images: money(images),
        }
    }
}

impl From<&Snapshot> for Summary {
    fn from(snapshot: &Snapshot) -> Self {
        let (totals, spend) = (snapshot.totals, snapshot.spend);
        let key_state = if snapshot.state.is_over() { Condition::final_name } else { Condition::name };
        Self {
            run: snapshot.run.clone(),
            state: snapshot.state.name().to_owned(),
            total: totals.total,
            waiting: totals.waiting,
            in_flight: totals.in_flight,
            done: totals.done,
            failed: totals.failed,
            truncated: totals.truncated,
            not_in_input: totals.not_in_input,
            attempts: totals.attempts,
            rate_limited: totals.rate_limited,
            invalid_outputs: totals.invalid_outputs,
            usage: UsageSummary::new(spend.usage, spend.cost, spend.cost_by_kind),
            at_risk_usd: spend.at_risk.as_usd(),
            elapsed_s: snapshot.elapsed.as_secs_f64(),
            keys: snapshot
                .keys
                .iter()
                .map(|key| KeySummary {
                    name: key.name.clone(),
                    state: key_state(&key.condition).to_owned(),
                    health: key.health,
                    ok: key.ok,
                    failed: key.failed,
                    cost_usd: key.cost.as_usd(),
                })
                .collect(),
            place: None,
            models: snapshot
                .models
                .iter()
                .map(|model| ModelSummary {
                    name: model.name.clone(),
                    ok: model.ok,
                    failed: model.failed,
                    invalid_outputs: model.invalid_outputs,
                    mean_ms: model.mean_ms,
                    p50_ms: model.p50_ms,
                    p95_ms: model.p95_ms,
                    usage: UsageSummary::new(model.usage, model.cost, model.cost_by_kind),
                    unpriced: model.is_unpriced,
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_of_a_summary_is_a_contract() {
        let usage = Usage {
            input_tokens: 100,
            output_tokens: 20,
            thinking_tokens: 3,
            cached_input_tokens: 40,
            cache_write_tokens: 5,
            cache_write_1h_tokens: 6,
        };
        let cost_by_kind = CostByKind { input: Money(500_000_000_000), ..CostByKind::default() };
        let usage = UsageSummary::new(usage, Money(500_000_000_000), cost_by_kind);
        let model = ModelSummary { name: "flash".to_owned(), ok: 1, usage, ..ModelSummary::default() };
        let summary = Summary { run: "r".to_owned(), total: 1, usage, models: vec![model], ..Summary::default() };
        let usage = "\"input_tokens\":100,\"output_tokens\":23,\"cost_usd\":0.5,\"cached_input_tokens\":40,\
                     \"cache_write_tokens\":5,\"cache_write_1h_tokens\":6,\"cost_by_kind_usd\":{\"input\":0.5,\
                     \"cached_input\":0.0,\"cache_write\":0.0,\"output\":0.0,\"images\":0.0},\"thinking_tokens\":3";
        let json = serde_json::to_string(&summary).unwrap();
        assert_eq!(
            json,
            format!(
                "{{\"run\":\"r\",\"state\":\"\",\"total\":1,\"waiting\":0,\"in_flight\":0,\"done\":0,\"failed\":0,\
                 \"truncated\":0,\"attempts\":0,\"rate_limited\":0,\"invalid_outputs\":0,{usage},\"at_risk_usd\":0.0,\
                 \"elapsed_s\":0.0,\"keys\":[],\"models\":[{{\"name\":\"flash\",\"ok\":1,\"failed\":0,\
                 \"invalid_outputs\":0,\"mean_ms\":null,\"p50_ms\":null,\"p95_ms\":null,{usage}}}]}}"
            )
        );
        assert_eq!(serde_json::from_str::<Summary>(&json).unwrap(), summary);
    }
}

//! Plain models, keys, items and results, which each test changes as it needs.
//!
//! The scheduler's unit tests include this file too.

use cascadeck::{
    domain::{
        Answer, Api, AttemptResult, CostFactors, Key, KeyRole, Limits, Model, MonoTime, Outcome, OutcomeAction, Price,
        Provider, ProviderId, QuotaDay, ResponseMeta, Seq, SpendLimits, Usage, WallTime,
    },
    scheduler::QueuedItem,
};

pub fn wall(text: &str) -> WallTime {
    text.parse::<jiff::Timestamp>().expect("test").into()
}

pub fn provider() -> Provider {
    Provider::new("gemini", Api::Gemini, "http://127.0.0.1:1")
}

pub fn model(name: &str, limits: Limits) -> Model {
    Model {
        name: name.to_owned(),
        provider: ProviderId(0),
        limits,
        vision: true,
        context: None,
        max_output: Some(1_000),
        weight: 1,
        pool: None,
        price: Price::from_usd_per_mtok(1.0, 2.0),
        extra_body: serde_json::Map::new(),
        max_tokens_field: None,
    }
}

pub fn key(name: &str, project: &str) -> Key {
    Key {
        name: name.to_owned(),
        provider: ProviderId(0),
        project: project.to_owned(),
        weight: 1,
        role: KeyRole::Primary,
        models: None,
        spend_limits: SpendLimits::default(),
    }
}

pub fn limits(rpm: u32, rpd: Option<u32>) -> Limits {
    Limits { rpm: Some(rpm), rpd, quota_day: QuotaDay::Pacific, ..Limits::default() }
}

pub fn queued_item(seq: u64) -> QueuedItem {
    QueuedItem {
        seq: Seq(seq),
        input_tokens: 100,
        max_output_tokens: None,
        cost_factors: CostFactors::default(),
        max_usd: None,
        is_caption: false,
        unsupported_apis: smallvec::SmallVec::new(),
        waiting_since: MonoTime::default(),
        retry_state: None,
    }
}

pub fn attempt_result(outcome: Outcome) -> AttemptResult {
    let answered = !matches!(outcome, Outcome::Timeout | Outcome::ClientTrouble | Outcome::Lost);
    AttemptResult {
        outcome,
        action: if outcome == Outcome::BadRequest { OutcomeAction::FailItem } else { OutcomeAction::Retry },
        status: answered.then_some(200),
        retry_after: None,
        message: String::new(),
        rule: String::new(),
        answer: (outcome == Outcome::Ok).then(|| Answer { text: "yes".to_owned(), ..Default::default() }),
        usage: if outcome == Outcome::Ok {
            Usage { input_tokens: 80, output_tokens: 40, thinking_tokens: 0, ..Usage::default() }
        } else {
            Usage::default()
        },
        stated_limit: None,
        limit_is_zero: false,
        response_meta: ResponseMeta::default(),
        exceeds_context: false,
        picture_refused: false,
        failed_check: None,
    }
}

//! One attempt as a task of its own: it sends the request, classifies the response and reports the result.

use std::{sync::Arc, time::Duration};

use crate::{
    clock::Clock,
    domain::{AttemptId, AttemptResult, ItemSpec, Now},
    provider::{Client, Endpoint},
};

/// The report of a finished attempt.
#[derive(Debug)]
pub(super) struct AttemptDone {
    pub attempt: AttemptId,
    pub result: AttemptResult,
    pub latency: Duration,
}

/// Everything that an attempt needs; it shares no state with the engine.
#[derive(Debug)]
pub(super) struct AttemptTask {
    pub attempt: AttemptId,
    pub client: Client,
    pub endpoint: Arc<Endpoint>,
    pub model: Arc<str>,
    pub max_output: Option<u32>,
    pub spec: Arc<ItemSpec>,
    /// Factor for the output limit, set for the retry of a truncated answer.
    pub output_multiplier: Option<u32>,
    /// In the clock's time; a sped-up clock makes it shorter in real time.
    pub timeout: Duration,
    pub clock: Clock,
}

impl AttemptTask {
    pub async fn run(self) -> AttemptDone {
        let began: Now = self.clock.now();
        let item = match self.output_multiplier {
            Some(factor) => Arc::new(self.with_larger_output(factor)),
            None => Arc::clone(&self.spec),
        };
        let timeout = self.clock.to_real_duration(self.timeout);
        let result = self.client.send_attempt(&self.endpoint, &item, &self.model, self.max_output, timeout).await;
        let latency = self.clock.now().mono.since(began.mono);
        AttemptDone { attempt: self.attempt, result, latency }
    }

    fn with_larger_output(&self, factor: u32) -> ItemSpec {
        let mut item = ItemSpec::clone(&self.spec);
        let params = &mut item.request.params;
        let limit = params.max_output_tokens.or(self.max_output);
        params.max_output_tokens = limit.map(|limit| limit.saturating_mul(factor));
        item
    }
}

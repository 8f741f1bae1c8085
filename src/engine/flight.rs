//! One attempt as a task of its own: it sends, understands the answer, and reports.

use std::{sync::Arc, time::Duration};

use crate::{
    clock::Clock,
    domain::{AttemptId, AttemptResult, ItemSpec, Now},
    provider::{Client, Endpoint},
};

/// What a landed attempt reports.
#[derive(Debug)]
pub(super) struct Landed {
    pub attempt: AttemptId,
    pub verdict: AttemptResult,
    pub latency: Duration,
}

/// Everything that an attempt needs, and nothing of the engine's.
#[derive(Debug)]
pub(super) struct Errand {
    pub attempt: AttemptId,
    pub client: Client,
    pub endpoint: Arc<Endpoint>,
    pub model: Arc<str>,
    pub max_output: Option<u32>,
    pub spec: Arc<ItemSpec>,
    pub enlarge: Option<u32>,
    /// In the clock's time.
    pub timeout: Duration,
    pub clock: Clock,
}

impl Errand {
    pub async fn run(self) -> Landed {
        let began: Now = self.clock.now();
        let item = match self.enlarge {
            Some(factor) => Arc::new(self.enlarged(factor)),
            None => Arc::clone(&self.spec),
        };
        let timeout = self.clock.to_real(self.timeout);
        let verdict = self.client.attempt(&self.endpoint, &item, &self.model, self.max_output, timeout).await;
        let latency = self.clock.now().mono.since(began.mono);
        Landed { attempt: self.attempt, verdict, latency }
    }

    fn enlarged(&self, factor: u32) -> ItemSpec {
        let mut item = ItemSpec::clone(&self.spec);
        let params = &mut item.request.params;
        let limit = params.max_output_tokens.or(self.max_output);
        params.max_output_tokens = limit.map(|limit| limit.saturating_mul(factor));
        item
    }
}

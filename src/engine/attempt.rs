//! Attempts: each one is a task of its own that sends a request, classifies the response and reports the result.

use std::{sync::Arc, time::Duration};

use tokio::task::{AbortHandle, JoinError, JoinSet};

use super::messages::AttemptDone;
use crate::{
    clock::Clock,
    domain::{ItemSpec, Now},
    provider::{Client, Endpoint, RequestModel},
    scheduler::PlannedAttempt,
};

/// Sends requests. Shares no state with the rest of the engine.
#[derive(Debug)]
pub(super) struct AttemptRunner {
    clock: Clock,
    client: Client,
    /// By key.
    endpoints: Vec<Arc<Endpoint>>,
    /// By model.
    models: Vec<RequestModel>,
    tasks: JoinSet<AttemptDone>,
}

impl AttemptRunner {
    pub fn new(clock: Clock, client: Client, endpoints: Vec<Arc<Endpoint>>, models: Vec<RequestModel>) -> Self {
        Self { clock, client, endpoints, models, tasks: JoinSet::new() }
    }

    /// Sends the request of an attempt. Its end is returned by [`AttemptRunner::join_next`].
    pub fn start(&mut self, planned: &PlannedAttempt, spec: Arc<ItemSpec>) -> AbortHandle {
        let task = AttemptTask {
            planned: planned.clone(),
            client: self.client.clone(),
            endpoint: Arc::clone(&self.endpoints[planned.key.index()]),
            model: self.models[planned.model.index()].clone(),
            spec,
            clock: self.clock,
        };
        self.tasks.spawn(task.run())
    }

    pub const fn client(&self) -> &Client {
        &self.client
    }

    pub fn endpoint(&self, key: usize) -> &Arc<Endpoint> {
        &self.endpoints[key]
    }

    pub fn has_tasks(&self) -> bool {
        !self.tasks.is_empty()
    }

    /// Waits for the next attempt to end; `None` if none is running.
    pub async fn join_next(&mut self) -> Option<Result<AttemptDone, JoinError>> {
        self.tasks.join_next().await
    }

    /// An attempt that has ended already.
    pub fn try_join_next(&mut self) -> Option<Result<AttemptDone, JoinError>> {
        self.tasks.try_join_next()
    }

    /// Aborts all attempts and waits for their tasks.
    pub async fn shutdown(&mut self) {
        self.tasks.shutdown().await;
    }
}

/// Everything that an attempt needs.
#[derive(Debug)]
struct AttemptTask {
    planned: PlannedAttempt,
    client: Client,
    endpoint: Arc<Endpoint>,
    model: RequestModel,
    spec: Arc<ItemSpec>,
    clock: Clock,
}

impl AttemptTask {
    async fn run(self) -> AttemptDone {
        let began: Now = self.clock.now();
        let item = match self.planned.output_multiplier {
            Some(factor) => Arc::new(self.with_larger_output(factor)),
            None => Arc::clone(&self.spec),
        };
        // In the clock's time: a sped-up clock makes it shorter in real time.
        let timeout = self.clock.to_real_duration(self.planned.timeout);
        let result = self.client.send_attempt(&self.endpoint, &item, &self.model, timeout).await;
        let latency: Duration = self.clock.now().mono.since(began.mono);
        AttemptDone { attempt: self.planned.attempt, seq: self.planned.seq, result, latency }
    }

    fn with_larger_output(&self, factor: u32) -> ItemSpec {
        let mut item = ItemSpec::clone(&self.spec);
        let params = &mut item.request.params;
        let limit = params.max_output_tokens.or(self.model.max_output);
        params.max_output_tokens = limit.map(|limit| limit.saturating_mul(factor));
        item
    }
}

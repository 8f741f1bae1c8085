//! Attempts: each one is a task of its own that sends a request, classifies the response and reports the result.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::task::{AbortHandle, JoinError, JoinSet};

use super::messages::AttemptDone;
use crate::{
    checks::{CheckFault, CheckSet},
    clock::Clock,
    domain::{AttemptResult, ItemSpec, Now, Outcome, OutcomeAction},
    provider::{Client, Endpoint, HiddenSecret, RequestModel, redact},
    scheduler::PlannedAttempt,
};

/// Sends requests. Shares no state with the rest of the engine.
#[derive(Debug)]
pub(super) struct AttemptRunner {
    shared: Arc<SharedParts>,
    /// By key.
    endpoints: Vec<Arc<Endpoint>>,
    /// By key: how many of its answers are being checked.
    being_checked: Vec<Arc<AtomicU64>>,
    tasks: JoinSet<AttemptDone>,
}

/// Everything that all attempts have in common.
#[derive(Debug)]
struct SharedParts {
    clock: Clock,
    client: Client,
    /// By model.
    models: Vec<RequestModel>,
    checks: CheckSet,
    /// Those of all keys. A check's command inherits the environment, so it may write any of them.
    secrets: Arc<[HiddenSecret]>,
}

impl AttemptRunner {
    pub fn new(
        clock: Clock,
        client: Client,
        endpoints: Vec<Arc<Endpoint>>,
        models: Vec<RequestModel>,
        checks: CheckSet,
        secrets: Arc<[HiddenSecret]>,
    ) -> Self {
        let being_checked = endpoints.iter().map(|_| Arc::default()).collect();
        let shared = Arc::new(SharedParts { clock, client, models, checks, secrets });
        Self { shared, endpoints, being_checked, tasks: JoinSet::new() }
    }

    /// Sends the request of an attempt. Its end is returned by [`AttemptRunner::join_next`]. `explanation` is
    /// appended to the prompt.
    pub fn start(&mut self, planned: &PlannedAttempt, spec: Arc<ItemSpec>, explanation: Option<String>) -> AbortHandle {
        let task = AttemptTask {
            shared: Arc::clone(&self.shared),
            planned: planned.clone(),
            endpoint: Arc::clone(&self.endpoints[planned.key.index()]),
            spec,
            explanation,
            being_checked: Arc::clone(&self.being_checked[planned.key.index()]),
        };
        // The task's future has some kilobytes, and tokio moves what it is given several times.
        self.tasks.spawn(Box::pin(task.run()))
    }

    pub fn client(&self) -> &Client {
        &self.shared.client
    }

    pub fn endpoint(&self, key: usize) -> &Arc<Endpoint> {
        &self.endpoints[key]
    }

    /// Number of answers to requests with this key that are being checked.
    pub fn being_checked(&self, key: usize) -> u64 {
        self.being_checked[key].load(Ordering::Relaxed)
    }

    pub fn has_tasks(&self) -> bool {
        !self.tasks.is_empty()
    }

    /// Why answers can't be checked at present.
    pub fn check_fault(&self) -> Option<CheckFault> {
        let fault = self.shared.checks.fault()?;
        Some(CheckFault { message: redact(&fault.message, &self.shared.secrets), ..fault })
    }

    /// From now on, answers whose check can't be made fail their items.
    pub fn stop_waiting_for_checks(&self) {
        self.shared.checks.stop_waiting_for_commands();
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
    shared: Arc<SharedParts>,
    planned: PlannedAttempt,
    endpoint: Arc<Endpoint>,
    spec: Arc<ItemSpec>,
    /// Appended to the prompt: what was wrong with the item's last answer.
    explanation: Option<String>,
    being_checked: Arc<AtomicU64>,
}

/// Counts an answer as being checked until it is dropped, also if the attempt is aborted.
struct CheckInProgress<'a>(&'a AtomicU64);

impl<'a> CheckInProgress<'a> {
    fn new(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for CheckInProgress<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AttemptTask {
    async fn run(self) -> AttemptDone {
        let SharedParts { clock, client, checks, .. } = &*self.shared;
        let began: Now = clock.now();
        if let Err(reason) = checks.require_usable_schema(&self.spec) {
            let rule = "the answer could not be checked: nothing was sent";
            let result = AttemptResult::without_response(
                Outcome::UnreadableInput,
                OutcomeAction::FailItem,
                &self.redact(&reason),
                rule,
            );
            return self.done(result, Duration::ZERO, Duration::ZERO);
        }
        let item = self.item_to_send();
        // In the clock's time: a sped-up clock makes it shorter in real time.
        let timeout = clock.to_real_duration(self.planned.timeout);
        let result = client.send_attempt(&self.endpoint, &item, self.model(), timeout).await;
        let answered: Now = clock.now();
        let redact = |message: &str| self.redact(message);
        let _check = CheckInProgress::new(&self.being_checked);
        let result = checks.apply(&self.spec, &self.model().name, result, &redact).await;
        let check_time = clock.now().mono.since(answered.mono);
        self.done(result, answered.mono.since(began.mono), check_time)
    }

    fn done(&self, result: AttemptResult, latency: Duration, check_time: Duration) -> AttemptDone {
        AttemptDone { attempt: self.planned.attempt, seq: self.planned.seq, result, latency, check_time }
    }

    /// A message without the secrets of any key, also those in this endpoint's headers.
    fn redact(&self, message: &str) -> String {
        self.endpoint.redact(&redact(message, &self.shared.secrets))
    }

    fn model(&self) -> &RequestModel {
        &self.shared.models[self.planned.model.index()]
    }

    /// The item with the changes that this attempt makes to its request.
    fn item_to_send(&self) -> Arc<ItemSpec> {
        if self.planned.output_multiplier.is_none() && self.explanation.is_none() {
            return Arc::clone(&self.spec);
        }
        let mut item = ItemSpec::clone(&self.spec);
        if let Some(factor) = self.planned.output_multiplier {
            let params = &mut item.request.params;
            let limit = params.max_output_tokens.or(self.model().max_output);
            params.max_output_tokens = limit.map(|limit| limit.saturating_mul(factor));
        }
        if let Some(explanation) = &self.explanation {
            item.request.append_paragraph(explanation);
        }
        Arc::new(item)
    }
}

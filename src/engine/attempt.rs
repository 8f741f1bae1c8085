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
    clock: Clock,
    client: Client,
    /// By key.
    endpoints: Vec<Arc<Endpoint>>,
    /// By model.
    models: Vec<RequestModel>,
    checks: CheckSet,
    /// Those of all keys. A check's command inherits the environment, so it may write any of them.
    secrets: Arc<[HiddenSecret]>,
    /// By key: how many of its answers are being checked.
    being_checked: Vec<Arc<AtomicU64>>,
    tasks: JoinSet<AttemptDone>,
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
        Self { clock, client, endpoints, models, checks, secrets, being_checked, tasks: JoinSet::new() }
    }

    /// Sends the request of an attempt. Its end is returned by [`AttemptRunner::join_next`]. `explanation` is
    /// appended to the prompt.
    pub fn start(&mut self, planned: &PlannedAttempt, spec: Arc<ItemSpec>, explanation: Option<String>) -> AbortHandle {
        let task = AttemptTask {
            planned: planned.clone(),
            client: self.client.clone(),
            endpoint: Arc::clone(&self.endpoints[planned.key.index()]),
            model: self.models[planned.model.index()].clone(),
            spec,
            explanation,
            checks: self.checks.clone(),
            secrets: Arc::clone(&self.secrets),
            being_checked: Arc::clone(&self.being_checked[planned.key.index()]),
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

    /// Number of answers to requests with this key that are being checked.
    pub fn being_checked(&self, key: usize) -> u64 {
        self.being_checked[key].load(Ordering::Relaxed)
    }

    pub fn has_tasks(&self) -> bool {
        !self.tasks.is_empty()
    }

    /// Why answers can't be checked at present.
    pub fn check_fault(&self) -> Option<CheckFault> {
        let fault = self.checks.fault()?;
        Some(CheckFault { message: redact(&fault.message, &self.secrets), ..fault })
    }

    /// From now on, answers whose check can't be made fail their items.
    pub fn stop_waiting_for_checks(&self) {
        self.checks.stop_waiting_for_commands();
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
    /// Appended to the prompt: what was wrong with the item's last answer.
    explanation: Option<String>,
    checks: CheckSet,
    /// Those of all keys.
    secrets: Arc<[HiddenSecret]>,
    being_checked: Arc<AtomicU64>,
    clock: Clock,
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
        let began: Now = self.clock.now();
        if let Err(reason) = self.checks.require_usable_schema(&self.spec) {
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
        let timeout = self.clock.to_real_duration(self.planned.timeout);
        let result = self.client.send_attempt(&self.endpoint, &item, &self.model, timeout).await;
        let answered: Now = self.clock.now();
        let redact = |message: &str| self.redact(message);
        let _check = CheckInProgress::new(&self.being_checked);
        let result = self.checks.apply(&self.spec, &self.model.name, result, &redact).await;
        let check_time = self.clock.now().mono.since(answered.mono);
        self.done(result, answered.mono.since(began.mono), check_time)
    }

    fn done(&self, result: AttemptResult, latency: Duration, check_time: Duration) -> AttemptDone {
        AttemptDone { attempt: self.planned.attempt, seq: self.planned.seq, result, latency, check_time }
    }

    /// A message without the secrets of any key, also those in this endpoint's headers.
    fn redact(&self, message: &str) -> String {
        self.endpoint.redact(&redact(message, &self.secrets))
    }

    /// The item with the changes that this attempt makes to its request.
    fn item_to_send(&self) -> Arc<ItemSpec> {
        if self.planned.output_multiplier.is_none() && self.explanation.is_none() {
            return Arc::clone(&self.spec);
        }
        let mut item = ItemSpec::clone(&self.spec);
        if let Some(factor) = self.planned.output_multiplier {
            let params = &mut item.request.params;
            let limit = params.max_output_tokens.or(self.model.max_output);
            params.max_output_tokens = limit.map(|limit| limit.saturating_mul(factor));
        }
        if let Some(explanation) = &self.explanation {
            item.request.append_paragraph(explanation);
        }
        Arc::new(item)
    }
}

//! Health checks of the providers: asks them without a paid request whether they respond, at an interval.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::messages::HealthCheckResult;
use crate::{
    domain::{HealthCheckTarget, MonoTime, Provider, ProviderId},
    provider::{Client, Endpoint},
};

/// Time limit of a check, in real time.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// The health checks of all providers.
#[derive(Debug)]
pub(super) struct HealthChecks {
    /// By provider; `None` if it is not checked.
    providers: Vec<Option<ProviderHealth>>,
    result_tx: mpsc::Sender<HealthCheckResult>,
}

#[derive(Debug)]
struct ProviderHealth {
    interval: Duration,
    due_at: MonoTime,
    is_running: bool,
    is_down: bool,
    /// Its last check was answered, since [`HealthChecks::forget_response`].
    has_responded: bool,
}

/// A change that a health check has shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum HealthChange {
    WentDown { reason: String },
    CameBack,
}

impl HealthChecks {
    pub fn new(providers: &[Provider], now: MonoTime, result_tx: mpsc::Sender<HealthCheckResult>) -> Self {
        let health = |provider: &Provider| {
            let interval = provider.health_check.interval;
            let is_checked = provider.health_check.target != HealthCheckTarget::Off;
            is_checked.then(|| ProviderHealth {
                interval,
                due_at: now + interval,
                is_running: false,
                is_down: false,
                has_responded: false,
            })
        };
        Self { providers: providers.iter().map(health).collect(), result_tx }
    }

    /// The next provider whose check is due. Its next check is due one interval later, whether this one is started or
    /// not.
    pub fn take_due(&mut self, now: MonoTime) -> Option<ProviderId> {
        let is_due = |health: &ProviderHealth| health.due_at <= now && !health.is_running;
        let index = self.providers.iter().position(|health| health.as_ref().is_some_and(is_due))?;
        let health = self.providers[index].as_mut()?;
        health.due_at = now + health.interval;
        Some(ProviderId(index as u32))
    }

    /// Makes the check of a provider due now.
    pub fn make_due(&mut self, provider: ProviderId, now: MonoTime) {
        if let Some(health) = &mut self.providers[provider.index()] {
            health.due_at = now;
        }
    }

    /// Forgets that a provider responded: only a check that ends from now on says whether it does.
    pub fn forget_response(&mut self, provider: ProviderId) {
        if let Some(health) = &mut self.providers[provider.index()] {
            health.has_responded = false;
        }
    }

    /// Whether a provider responded to its last check. `None` if it is not checked.
    pub fn responds(&self, provider: ProviderId) -> Option<bool> {
        self.providers[provider.index()].as_ref().map(|health| health.has_responded)
    }

    /// Whether a provider did not respond to its last check.
    pub fn is_down(&self, provider: ProviderId) -> bool {
        self.providers[provider.index()].as_ref().is_some_and(|health| health.is_down)
    }

    /// Starts the check of a provider. The result is sent to the engine.
    pub fn start(&mut self, now: MonoTime, provider: ProviderId, client: Client, endpoint: Arc<Endpoint>) {
        let Some(health) = &mut self.providers[provider.index()] else { return };
        health.is_running = true;
        let result_tx = self.result_tx.clone();
        tokio::spawn(async move {
            let result = client.check_health(&endpoint, CHECK_TIMEOUT).await;
            // The send fails only if the engine has ended.
            let _ = result_tx.send(HealthCheckResult { provider, sent_at: now, result }).await;
        });
    }

    /// Handles the result of a check. `None` if it is the same as the one before.
    pub fn on_result(&mut self, result: HealthCheckResult) -> Option<HealthChange> {
        let health = self.providers[result.provider.index()].as_mut()?;
        health.is_running = false;
        health.has_responded = result.result.is_ok();
        let was_down = std::mem::replace(&mut health.is_down, result.result.is_err());
        match result.result {
            Err(reason) if !was_down => Some(HealthChange::WentDown { reason }),
            Ok(()) if was_down => Some(HealthChange::CameBack),
            _ => None,
        }
    }
}

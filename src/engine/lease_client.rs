//! The lease client: shares daily quotas with other processes through the quota ledger.
//!
//! The ledger is a file, so a thread of its own accesses it; requests and replies go through channels. If the ledger
//! can't be opened, stays locked or fails, the run reports it and continues with its own counts.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    thread,
};

use secrecy::{ExposeSecret, SecretString};
use tokio::sync::mpsc;

use super::messages::LedgerReply;
use crate::{
    config::Config,
    domain::{
        PoolId, WallTime,
        lease::{LeaseGrant, LeaseRequest},
    },
    scheduler::Scheduler,
    store::{QuotaLedger, StoreError},
};

/// A request to the ledger's thread.
#[derive(Debug)]
enum LedgerRequest {
    Lease(WallTime, Vec<LeaseRequest>),
    /// Until when the provider reported the pool's day as used up; `None` if the operator has cleared that.
    SetExhausted(PoolId, Option<WallTime>),
}

/// Capacity of the request channel; while it is full, further requests wait in the [`LeaseClient`].
const MAX_QUEUED_REQUESTS: usize = 64;

/// The account that owns a pool's quota, before the ledger's salt is known.
struct QuotaOwner {
    base_url: String,
    project: Option<String>,
    secret: Option<SecretString>,
    counter: String,
}

impl QuotaOwner {
    fn pool_name(&self, ledger: &QuotaLedger) -> String {
        let owner = match (&self.project, &self.secret) {
            (Some(project), _) => format!("project:{project}"),
            (None, Some(secret)) => ledger.key_fingerprint(secret.expose_secret()),
            (None, None) => "open".to_owned(),
        };
        QuotaLedger::pool_name(&self.base_url, &owner, &self.counter)
    }
}

fn quota_owners(config: &Config, scheduler: &Scheduler) -> Vec<QuotaOwner> {
    let owner = |pool| {
        let (key, counter) = scheduler.pool_identity(pool)?;
        let config_key = &config.keys[key.index()];
        // Keys of one project share an account if the configuration names the project for at least one of them.
        let stated = config.keys.iter().zip(&config.has_named_project).any(|(other, stated)| {
            *stated && other.provider == config_key.provider && other.project == config_key.project
        });
        Some(QuotaOwner {
            base_url: config.providers[config_key.provider.index()].base_url.clone(),
            project: stated.then(|| config_key.project.clone()),
            secret: config.secrets[key.index()].clone(),
            counter: counter.to_owned(),
        })
    };
    scheduler.pool_ids().filter_map(owner).collect()
}

/// The names of a scheduler's pools in `ledger`.
pub(crate) fn pool_names(config: &Config, scheduler: &Scheduler, ledger: &QuotaLedger) -> Vec<String> {
    quota_owners(config, scheduler).iter().map(|owner| owner.pool_name(ledger)).collect()
}

/// Computes fingerprints of the secrets, to detect a changed secret at the next start. They use the ledger's salt,
/// which is not stored in the run's directory. So a guessed secret can't be checked against a copy of that directory.
/// Without a ledger there are no fingerprints.
pub(super) fn fingerprint_secrets(secrets: &[Option<SecretString>], ledger: Option<&Path>) -> Vec<Option<String>> {
    // The ledger's thread reports why it can't be opened.
    let ledger = ledger.and_then(|path| QuotaLedger::open(path).ok());
    let fingerprint = |secret: &Option<SecretString>| {
        Some(ledger.as_ref()?.key_fingerprint(secret.as_ref().map_or("", ExposeSecret::expose_secret)))
    };
    secrets.iter().map(fingerprint).collect()
}

/// The engine's connection to the ledger's thread. `request_tx` is `None` if no ledger is used, or after it has failed.
#[derive(Debug)]
pub(super) struct LeaseClient {
    request_tx: Option<mpsc::Sender<LedgerRequest>>,
    thread: Option<thread::JoinHandle<()>>,
    /// Requests that had no room in the channel yet: leases (at most one per pool and unit), and the latest state of
    /// each pool's day.
    queued_leases: Vec<LeaseRequest>,
    queued_exhausted: BTreeMap<PoolId, Option<WallTime>>,
}

impl LeaseClient {
    /// A client without a ledger: daily quotas are not shared.
    pub const fn disabled() -> Self {
        Self::with_channel(None, None)
    }

    /// Opens the ledger on its thread; failures arrive as replies.
    pub fn start(
        path: PathBuf,
        config: &Config,
        scheduler: &mut Scheduler,
        reply_tx: mpsc::Sender<LedgerReply>,
    ) -> Self {
        let owners = quota_owners(config, scheduler);
        let (request_tx, request_rx) = mpsc::channel(MAX_QUEUED_REQUESTS);
        let spawned = thread::Builder::new().name("ledger".to_owned()).spawn(move || {
            if let Err(error) = run_ledger_thread(&path, &owners, request_rx, &reply_tx) {
                // The send fails only if the engine has ended.
                let _ = reply_tx.blocking_send(LedgerReply::Failed(error.to_string()));
            }
        });
        match spawned {
            Ok(thread) => {
                scheduler.share_daily_quotas();
                Self::with_channel(Some(request_tx), Some(thread))
            }
            Err(error) => {
                tracing::warn!("can't start the thread of the daily ledger: {error}");
                Self::disabled()
            }
        }
    }

    const fn with_channel(
        request_tx: Option<mpsc::Sender<LedgerRequest>>,
        thread: Option<thread::JoinHandle<()>>,
    ) -> Self {
        Self { request_tx, thread, queued_leases: Vec::new(), queued_exhausted: BTreeMap::new() }
    }

    /// A client whose thread has died.
    #[cfg(test)]
    pub fn disconnected() -> Self {
        Self::with_channel(Some(mpsc::channel(1).0), None)
    }

    /// Whether a ledger is in use, so that a closed channel means a failure.
    pub const fn is_connected(&self) -> bool {
        self.request_tx.is_some()
    }

    /// Whether anything waits for room in the channel.
    pub fn has_backlog(&self) -> bool {
        !self.queued_leases.is_empty() || !self.queued_exhausted.is_empty()
    }

    /// Stops using the ledger, after it has failed.
    pub fn disconnect(&mut self) {
        *self = Self { thread: self.thread.take(), ..Self::disabled() };
    }

    /// Queues the leases to request, and sends what the channel has room for.
    pub fn request(&mut self, now: WallTime, leases: Vec<LeaseRequest>) {
        self.queued_leases.extend(leases);
        self.flush(now);
    }

    /// Tells all runs until when the provider reported a pool's day as used up; `None` if the operator has cleared
    /// that.
    pub fn set_exhausted(&mut self, pool: PoolId, until: Option<WallTime>) {
        if self.is_connected() {
            self.queued_exhausted.insert(pool, until);
        }
    }

    /// Sends as many queued requests as the channel has room for. If the thread has died, they stay queued; the closed
    /// reply channel reports that.
    fn flush(&mut self, now: WallTime) {
        let Some(request_tx) = &self.request_tx else { return };
        while let Some(entry) = self.queued_exhausted.first_entry()
            && let Ok(room) = request_tx.try_reserve()
        {
            let (pool, until) = entry.remove_entry();
            room.send(LedgerRequest::SetExhausted(pool, until));
        }
        if !self.queued_leases.is_empty()
            && let Ok(room) = request_tx.try_reserve()
        {
            room.send(LedgerRequest::Lease(now, std::mem::take(&mut self.queued_leases)));
        }
    }

    /// Returns the `unused` rest of all leases to the ledger and waits for its thread. Leases that can't be returned
    /// count as used.
    pub async fn close(&mut self, now: WallTime, unused: Vec<LeaseRequest>) {
        let final_requests = self.final_requests(now, unused);
        let (Some(request_tx), Some(thread)) = (self.request_tx.take(), self.thread.take()) else { return };
        for request in final_requests {
            if request_tx.send(request).await.is_err() {
                tracing::warn!("could not return the unused part of today's quota leases");
                break;
            }
        }
        drop(request_tx);
        // If another process holds the lock, the ledger's own timeout ends this.
        if !matches!(tokio::task::spawn_blocking(move || thread.join()).await, Ok(Ok(()))) {
            tracing::warn!("the thread of the daily ledger did not end cleanly");
        }
    }

    /// The requests to send at the end: everything that is still queued, and the return of `unused` leases. Queued
    /// lease requests ask for nothing more; they only report returned and overdrawn amounts.
    fn final_requests(&mut self, now: WallTime, unused: Vec<LeaseRequest>) -> Vec<LedgerRequest> {
        let mut lease_requests: Vec<LeaseRequest> = std::mem::take(&mut self.queued_leases)
            .into_iter()
            .map(|lease_request| LeaseRequest { requested: 0, ..lease_request })
            .collect();
        lease_requests.extend(unused);
        let mut requests: Vec<LedgerRequest> = std::mem::take(&mut self.queued_exhausted)
            .into_iter()
            .map(|(pool, until)| LedgerRequest::SetExhausted(pool, until))
            .collect();
        if !lease_requests.is_empty() {
            requests.push(LedgerRequest::Lease(now, lease_requests));
        }
        requests
    }
}

fn run_ledger_thread(
    path: &Path,
    owners: &[QuotaOwner],
    mut request_rx: mpsc::Receiver<LedgerRequest>,
    reply_tx: &mpsc::Sender<LedgerReply>,
) -> Result<(), StoreError> {
    let mut ledger = QuotaLedger::open(path)?;
    let names: Vec<String> = owners.iter().map(|owner| owner.pool_name(&ledger)).collect();
    while let Some(request) = request_rx.blocking_recv() {
        match request {
            LedgerRequest::Lease(now, requests) => {
                let named: Vec<_> = requests
                    .into_iter()
                    .map(|lease_request| (names[lease_request.pool.index()].clone(), lease_request))
                    .collect();
                let grants = ledger.lease(now, &named)?;
                let returns: Vec<_> = named
                    .iter()
                    .zip(&grants)
                    .map(|((name, lease_request), grant)| (name.clone(), return_request(lease_request, grant)))
                    .collect();
                if reply_tx.blocking_send(LedgerReply::Granted(grants)).is_err() {
                    // The run is ending: leases that it will not receive are returned at once.
                    ledger.lease(now, &returns)?;
                }
            }
            LedgerRequest::SetExhausted(pool, Some(until)) => ledger.mark_exhausted(&names[pool.index()], until)?,
            LedgerRequest::SetExhausted(pool, None) => ledger.clear_exhausted(&names[pool.index()])?,
        }
    }
    Ok(())
}

/// The request that returns what was granted to `lease_request`.
fn return_request(lease_request: &LeaseRequest, grant: &LeaseGrant) -> LeaseRequest {
    let returned = Some((grant.period_end, grant.granted));
    LeaseRequest { requested: 0, known_used: 0, overdrawn: 0, returned, ..lease_request.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lease::QuotaUnit;

    fn lease_request(pool: PoolId) -> LeaseRequest {
        let period_end = WallTime(1_000);
        let returned = Some((period_end, 3));
        LeaseRequest {
            pool,
            unit: QuotaUnit::Requests,
            period_end,
            limit: Some(100),
            requested: 5,
            known_used: 0,
            overdrawn: 0,
            returned,
        }
    }

    /// All `SetExhausted` requests that have arrived, in order.
    fn received_exhausted(request_rx: &mut mpsc::Receiver<LedgerRequest>) -> Vec<(PoolId, Option<WallTime>)> {
        let mut received = Vec::new();
        while let Ok(LedgerRequest::SetExhausted(pool, until)) = request_rx.try_recv() {
            received.push((pool, until));
        }
        received
    }

    #[test]
    fn nothing_is_lost_where_the_ledger_lags_behind() {
        let (requests, mut request_rx) = mpsc::channel(2);
        let mut lease_client = LeaseClient::with_channel(Some(requests), None);
        let until = |at| Some(WallTime(at));
        for pool in (0..4).map(PoolId) {
            lease_client.set_exhausted(pool, until(10));
            lease_client.flush(WallTime(0));
        }
        lease_client.queued_leases.push(lease_request(PoolId(9)));
        lease_client.set_exhausted(PoolId(3), None);
        lease_client.flush(WallTime(0));
        assert!(lease_client.has_backlog());
        assert_eq!(received_exhausted(&mut request_rx), [(PoolId(0), until(10)), (PoolId(1), until(10))]);
        lease_client.flush(WallTime(0));
        assert_eq!(
            received_exhausted(&mut request_rx),
            [(PoolId(2), until(10)), (PoolId(3), None)],
            "of each the last word"
        );
        lease_client.flush(WallTime(0));
        assert!(!lease_client.has_backlog());
        assert!(
            matches!(request_rx.try_recv(), Ok(LedgerRequest::Lease(_, wishes)) if wishes == [lease_request(PoolId(9))])
        );
    }

    #[test]
    fn queued_requests_are_sent_at_the_end() {
        let (requests, _inbox) = mpsc::channel(1);
        let mut lease_client = LeaseClient::with_channel(Some(requests), None);
        lease_client.set_exhausted(PoolId(1), None);
        lease_client.queued_leases.push(lease_request(PoolId(2)));
        let last = lease_client.final_requests(WallTime(0), vec![lease_request(PoolId(3))]);
        let [LedgerRequest::SetExhausted(PoolId(1), None), LedgerRequest::Lease(_, wishes)] = &last[..] else {
            panic!("{last:?}")
        };
        assert_eq!(
            wishes[..],
            [LeaseRequest { requested: 0, ..lease_request(PoolId(2)) }, lease_request(PoolId(3))],
            "nothing more is wanted"
        );
    }
}

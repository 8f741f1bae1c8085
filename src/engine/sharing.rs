//! Days shared with other processes: the engine's side of the daily ledger.
//!
//! The ledger is a file, so a thread of its own talks to it, asked through a channel and answered through another.
//! Where it can't be opened, stays locked or breaks, the run says so and goes on with its own counts.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    thread,
};

use secrecy::{ExposeSecret, SecretString};
use tokio::sync::mpsc;

use super::core::Engine;
use crate::{
    config::Config,
    domain::{
        EventLevel, Now, RouteId, WallTime,
        lease::{LeaseGrant, LeaseRequest},
    },
    scheduler::Scheduler,
    store::{DayLedger, StoreError},
};

/// What the thread is asked for.
#[derive(Debug)]
enum Errand {
    Lease(WallTime, Vec<LeaseRequest>),
    /// The provider said that this pool's day is used up until then; or the operator, that it isn't.
    Spent(usize, Option<WallTime>),
}

/// What it says.
#[derive(Debug)]
pub(super) enum Told {
    Granted(Vec<LeaseGrant>),
    Failed(String),
}

/// Errands on their way; where the ledger lags so far behind, the rest waits.
const ERRANDS: usize = 64;

/// Whom a pool's quota is counted on, before the ledger's salt is known.
struct Account {
    base_url: String,
    project: Option<String>,
    secret: Option<SecretString>,
    counter: String,
}

impl Account {
    fn pool(&self, ledger: &DayLedger) -> String {
        let account = match (&self.project, &self.secret) {
            (Some(project), _) => format!("project:{project}"),
            (None, Some(secret)) => ledger.fingerprint(secret.expose_secret()),
            (None, None) => "open".to_owned(),
        };
        DayLedger::pool(&self.base_url, &account, &self.counter)
    }
}

fn accounts(config: &Config, scheduler: &Scheduler) -> Vec<Account> {
    let account = |pool| {
        let (key, counter) = scheduler.pool_owner(pool)?;
        let of = &config.keys[key];
        // Keys of one project are one account, if any of them names it.
        let stated = config
            .keys
            .iter()
            .zip(&config.project_stated)
            .any(|(other, stated)| *stated && other.provider == of.provider && other.project == of.project);
        Some(Account {
            base_url: config.providers[of.provider.index()].base_url.clone(),
            project: stated.then(|| of.project.clone()),
            secret: config.secrets[key].clone(),
            counter: counter.to_owned(),
        })
    };
    (0..scheduler.pool_count()).filter_map(account).collect()
}

/// The names that the pools of a scheduler have in `ledger`.
pub(crate) fn pool_names(config: &Config, scheduler: &Scheduler, ledger: &DayLedger) -> Vec<String> {
    accounts(config, scheduler).iter().map(|account| account.pool(ledger)).collect()
}

/// What tells a changed secret from the same one at the next start. Made with the ledger's salt, which is in no run's
/// directory: who has a run's record alone can't even confirm a guess. Without a ledger there are none.
pub(super) fn fingerprints(secrets: &[Option<SecretString>], ledger: Option<&Path>) -> Vec<Option<String>> {
    // Why it can't be opened is said by its thread.
    let ledger = ledger.and_then(|path| DayLedger::open(path).ok());
    let print = |secret: &Option<SecretString>| {
        Some(ledger.as_ref()?.fingerprint(secret.as_ref().map_or("", ExposeSecret::expose_secret)))
    };
    secrets.iter().map(print).collect()
}

/// The engine's end of the thread; `None` inside once the ledger is given up.
#[derive(Debug)]
pub(super) struct Sharing {
    errands: Option<mpsc::Sender<Errand>>,
    thread: Option<thread::JoinHandle<()>>,
    /// What the channel has had no room for yet: wishes, each of which its pool makes once until it is answered, and
    /// the last word about each pool's day.
    wishes: Vec<LeaseRequest>,
    spent: BTreeMap<usize, Option<WallTime>>,
}

impl Sharing {
    /// Days are this process's own.
    pub const fn none() -> Self {
        Self::over(None, None)
    }

    /// Opens the ledger on its thread; what comes of it is told.
    pub fn start(path: PathBuf, config: &Config, scheduler: &mut Scheduler, tell: mpsc::Sender<Told>) -> Self {
        let accounts = accounts(config, scheduler);
        let (errands, inbox) = mpsc::channel(ERRANDS);
        let spawned = thread::Builder::new().name("ledger".to_owned()).spawn(move || {
            if let Err(error) = serve(&path, &accounts, inbox, &tell) {
                // The engine being gone means that nobody needs it any more.
                let _ = tell.blocking_send(Told::Failed(error.to_string()));
            }
        });
        match spawned {
            Ok(thread) => {
                scheduler.share_days();
                Self::over(Some(errands), Some(thread))
            }
            Err(error) => {
                tracing::warn!("no thread for the daily ledger: {error}");
                Self::none()
            }
        }
    }

    const fn over(errands: Option<mpsc::Sender<Errand>>, thread: Option<thread::JoinHandle<()>>) -> Self {
        Self { errands, thread, wishes: Vec::new(), spent: BTreeMap::new() }
    }

    /// A thread that died without a word.
    #[cfg(test)]
    pub fn bereft() -> Self {
        Self::over(Some(mpsc::channel(1).0), None)
    }

    /// Whether a ledger is talked to, so that its silence means something.
    pub const fn is_on(&self) -> bool {
        self.errands.is_some()
    }

    /// Whether something waits for room in the channel.
    pub fn lags(&self) -> bool {
        !self.wishes.is_empty() || !self.spent.is_empty()
    }

    fn give_up(&mut self) {
        *self = Self { thread: self.thread.take(), ..Self::none() };
    }

    fn say_spent(&mut self, pool: usize, until: Option<WallTime>) {
        if self.is_on() {
            self.spent.insert(pool, until);
        }
    }

    /// Sends on what there is room for. What waits goes on waiting where the thread has died: that is told elsewhere.
    fn flush(&mut self, now: WallTime) {
        let Some(errands) = &self.errands else { return };
        while let Some(word) = self.spent.first_entry()
            && let Ok(room) = errands.try_reserve()
        {
            let (pool, until) = word.remove_entry();
            room.send(Errand::Spent(pool, until));
        }
        if !self.wishes.is_empty()
            && let Ok(room) = errands.try_reserve()
        {
            room.send(Errand::Lease(now, std::mem::take(&mut self.wishes)));
        }
    }

    /// All that was still to be said, and `unused` to be given back; of the wishes only what they give back or owe.
    fn last_errands(&mut self, now: WallTime, unused: Vec<LeaseRequest>) -> Vec<Errand> {
        let mut wishes: Vec<LeaseRequest> =
            std::mem::take(&mut self.wishes).into_iter().map(|wish| LeaseRequest { requested: 0, ..wish }).collect();
        wishes.extend(unused);
        let mut errands: Vec<Errand> =
            std::mem::take(&mut self.spent).into_iter().map(|(pool, until)| Errand::Spent(pool, until)).collect();
        if !wishes.is_empty() {
            errands.push(Errand::Lease(now, wishes));
        }
        errands
    }
}

fn serve(
    path: &Path,
    accounts: &[Account],
    mut inbox: mpsc::Receiver<Errand>,
    tell: &mpsc::Sender<Told>,
) -> Result<(), StoreError> {
    let mut ledger = DayLedger::open(path)?;
    let names: Vec<String> = accounts.iter().map(|account| account.pool(&ledger)).collect();
    while let Some(errand) = inbox.blocking_recv() {
        match errand {
            Errand::Lease(now, wishes) => {
                let named: Vec<_> = wishes.into_iter().map(|wish| (names[wish.pool].clone(), wish)).collect();
                let grants = ledger.lease(now, &named)?;
                let rest: Vec<_> = named
                    .iter()
                    .zip(&grants)
                    .map(|((name, wish), grant)| (name.clone(), undone(wish, grant)))
                    .collect();
                if tell.blocking_send(Told::Granted(grants)).is_err() {
                    // The run is ending: what it will not hear of goes back at once.
                    ledger.lease(now, &rest)?;
                }
            }
            Errand::Spent(pool, Some(until)) => ledger.mark_spent(&names[pool], until)?,
            Errand::Spent(pool, None) => ledger.forget_spent(&names[pool])?,
        }
    }
    Ok(())
}

/// The wish that gives back what was granted to `wish`.
fn undone(wish: &LeaseRequest, grant: &LeaseGrant) -> LeaseRequest {
    let returned = Some((grant.period_end, grant.granted));
    LeaseRequest { requested: 0, known_used: 0, overdrawn: 0, returned, ..wish.clone() }
}

impl Engine {
    /// Asks for the blocks that are wanted, and says on what had no room before.
    pub(super) fn lease(&mut self, now: Now) {
        if self.sharing.is_on() {
            self.sharing.wishes.extend(self.scheduler.lease_requests(now));
            self.sharing.flush(now.wall);
        }
    }

    /// What the ledger's thread says; nothing, once it has gone without a word.
    pub(super) fn told_of_days(&mut self, told: Option<Told>) {
        let now = self.clock.now();
        self.dirty = true;
        let why = match told {
            Some(Told::Granted(grants)) => {
                for grant in &grants {
                    self.scheduler.apply_lease_grant(now, grant);
                }
                return;
            }
            Some(Told::Failed(why)) => why,
            None => "its thread has died; the log has the details".to_owned(),
        };
        self.sharing.give_up();
        self.scheduler.stop_sharing_days();
        self.say(
            EventLevel::Warn,
            format!("the daily ledger can't be used, this run goes by its own counts alone: {why}"),
        );
    }

    /// The provider says that this route's day is used up: every run should know.
    pub(super) fn tell_spent(&mut self, now: Now, route: RouteId) {
        let pool = self.scheduler.pool_of(route);
        if let Some(until) = self.scheduler.exhausted_until(now, pool) {
            self.sharing.say_spent(pool, Some(until));
        }
    }

    /// The operator ended the cooldowns of a key: its days may be tried again by every run.
    pub(super) fn tell_unspent(&mut self, key: &str) {
        for route in (0..self.scheduler.route_count() as u32).map(RouteId) {
            if self.keys[self.scheduler.route_indices(route).0].name == key {
                self.sharing.say_spent(self.scheduler.pool_of(route), None);
            }
        }
    }

    /// Gives back what is left of the blocks in hand; what can't be given back counts as used.
    pub(super) async fn return_leases(&mut self) {
        let now = self.clock.now();
        let unused = self.scheduler.unused_leases(now);
        let last = self.sharing.last_errands(now.wall, unused);
        let (errands, thread) = (self.sharing.errands.take(), self.sharing.thread.take());
        let (Some(errands), Some(thread)) = (errands, thread) else { return };
        for errand in last {
            if errands.send(errand).await.is_err() {
                tracing::warn!("what was leased of today and not used could not be given back");
                break;
            }
        }
        drop(errands);
        // A lock held elsewhere ends this by the ledger's own patience.
        if !matches!(tokio::task::spawn_blocking(move || thread.join()).await, Ok(Ok(()))) {
            tracing::warn!("the daily ledger's thread did not end as it should");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lease::QuotaUnit;

    fn wish(pool: usize) -> LeaseRequest {
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

    /// Every word about a day that has arrived, in order.
    fn words(inbox: &mut mpsc::Receiver<Errand>) -> Vec<(usize, Option<WallTime>)> {
        let mut words = Vec::new();
        while let Ok(Errand::Spent(pool, until)) = inbox.try_recv() {
            words.push((pool, until));
        }
        words
    }

    #[test]
    fn nothing_is_lost_where_the_ledger_lags_behind() {
        let (errands, mut inbox) = mpsc::channel(2);
        let mut sharing = Sharing::over(Some(errands), None);
        let until = |at| Some(WallTime(at));
        for pool in 0..4 {
            sharing.say_spent(pool, until(10));
            sharing.flush(WallTime(0));
        }
        sharing.wishes.push(wish(9));
        sharing.say_spent(3, None);
        sharing.flush(WallTime(0));
        assert!(sharing.lags());
        assert_eq!(words(&mut inbox), [(0, until(10)), (1, until(10))]);
        sharing.flush(WallTime(0));
        assert_eq!(words(&mut inbox), [(2, until(10)), (3, None)], "of each the last word");
        sharing.flush(WallTime(0));
        assert!(!sharing.lags());
        assert!(matches!(inbox.try_recv(), Ok(Errand::Lease(_, wishes)) if wishes == [wish(9)]));
    }

    #[test]
    fn what_is_still_to_be_said_at_the_end_is_said() {
        let (errands, _inbox) = mpsc::channel(1);
        let mut sharing = Sharing::over(Some(errands), None);
        sharing.say_spent(1, None);
        sharing.wishes.push(wish(2));
        let last = sharing.last_errands(WallTime(0), vec![wish(3)]);
        let [Errand::Spent(1, None), Errand::Lease(_, wishes)] = &last[..] else { panic!("{last:?}") };
        assert_eq!(wishes[..], [LeaseRequest { requested: 0, ..wish(2) }, wish(3)], "nothing more is wanted");
    }
}

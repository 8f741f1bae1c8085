//! Days shared with other processes: the engine's side of the daily ledger.
//!
//! The ledger is a file, so a thread of its own talks to it, asked through a channel and answered through another.
//! Where it can't be opened, stays locked or breaks, the run says so and goes on with its own counts.

use std::{path::PathBuf, thread};

use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::mpsc;

use super::core::Engine;
use crate::{
    config::Config,
    domain::{
        Level, Now, RouteId, Wall,
        days::{Grant, Wish},
    },
    scheduler::Scheduler,
    store::{DayLedger, StoreError},
};

/// What the thread is asked for.
#[derive(Debug)]
enum Errand {
    Lease(Wall, Vec<Wish>),
    Spent(usize, Wall),
    Unspent(Vec<usize>),
}

/// What it says.
#[derive(Debug)]
pub(super) enum Told {
    Granted(Vec<Grant>),
    Failed(String),
}

/// Errands on their way; where the ledger lags so far behind, wishes wait.
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
        let (key, counter) = scheduler.pool_parts(pool)?;
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

/// The engine's end of the thread; `None` inside once the ledger is given up.
#[derive(Debug)]
pub(super) struct Sharing {
    errands: Option<mpsc::Sender<Errand>>,
    thread: Option<thread::JoinHandle<()>>,
    /// Wishes that the channel had no room for.
    held_back: Vec<Wish>,
}

impl Sharing {
    /// Days are this process's own.
    pub const fn none() -> Self {
        Self { errands: None, thread: None, held_back: Vec::new() }
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
                Self { errands: Some(errands), thread: Some(thread), held_back: Vec::new() }
            }
            Err(error) => {
                tracing::warn!("no thread for the daily ledger: {error}");
                Self::none()
            }
        }
    }

    fn ask(&mut self, errand: Errand) {
        let Some(errands) = &self.errands else { return };
        if let Err(mpsc::error::TrySendError::Full(Errand::Lease(_, wishes))) = errands.try_send(errand) {
            self.held_back.extend(wishes);
        }
    }
}

fn serve(
    path: &std::path::Path,
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
            Errand::Spent(pool, until) => ledger.mark_spent(&names[pool], until)?,
            Errand::Unspent(pools) => {
                for pool in pools {
                    ledger.forget_spent(&names[pool])?;
                }
            }
        }
    }
    Ok(())
}

/// The wish that gives back what was granted to `wish`.
fn undone(wish: &Wish, grant: &Grant) -> Wish {
    let give_back = Some((grant.row, grant.granted));
    Wish { want: 0, at_least: 0, owed: 0, give_back, ..wish.clone() }
}

impl Engine {
    /// Asks for the blocks that are wanted.
    pub(super) fn lease(&mut self, now: Now) {
        if self.sharing.errands.is_none() {
            return;
        }
        let mut wishes = std::mem::take(&mut self.sharing.held_back);
        wishes.extend(self.scheduler.lease_wishes(now));
        if !wishes.is_empty() {
            self.sharing.ask(Errand::Lease(now.wall, wishes));
        }
    }

    pub(super) fn told_of_days(&mut self, told: Told) {
        let now = self.clock.now();
        self.dirty = true;
        match told {
            Told::Granted(grants) => grants.iter().for_each(|grant| self.scheduler.grant(now, grant)),
            Told::Failed(why) => {
                self.sharing.errands = None;
                self.scheduler.stop_sharing_days();
                let words = format!("the daily ledger can't be used, this run goes by its own counts alone: {why}");
                self.say(Level::Warn, words);
            }
        }
    }

    /// The provider says that this route's day is used up: every run should know.
    pub(super) fn tell_spent(&mut self, now: Now, route: RouteId) {
        let pool = self.scheduler.pool_of(route);
        if let Some(until) = self.scheduler.spent_until(now, pool) {
            self.sharing.ask(Errand::Spent(pool, until));
        }
    }

    /// The operator ended the cooldowns of a key: its days may be tried again by every run.
    pub(super) fn tell_unspent(&mut self, key: &str) {
        let ids = (0..self.scheduler.route_count() as u32).map(RouteId);
        let of_key = ids.filter(|id| self.keys[self.scheduler.route_parts(*id).0].name == key);
        let pools: Vec<usize> = of_key.map(|id| self.scheduler.pool_of(id)).collect();
        self.sharing.ask(Errand::Unspent(pools));
    }

    /// Gives back what is left of the blocks in hand; what can't be given back counts as used.
    pub(super) async fn return_leases(&mut self) {
        let now = self.clock.now();
        let unused = self.scheduler.unused_leases(now);
        let (errands, thread) = (self.sharing.errands.take(), self.sharing.thread.take());
        let (Some(errands), Some(thread)) = (errands, thread) else { return };
        if !unused.is_empty() && errands.send(Errand::Lease(now.wall, unused)).await.is_err() {
            tracing::warn!("what was leased of today and not used could not be given back");
        }
        drop(errands);
        // A lock held elsewhere ends this by the ledger's own patience.
        if tokio::task::spawn_blocking(move || thread.join()).await.is_err() {
            tracing::warn!("the daily ledger's thread could not be waited for");
        }
    }
}

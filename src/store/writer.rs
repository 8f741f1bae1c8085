//! The one thread that writes. The engine never waits for a disk: it submits a group, goes on, and acts on
//! what was in it once the acknowledgement comes. While one group is being committed the next one forms,
//! so that groups are as large as the disk is slow and no timer is needed.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    thread::{self, JoinHandle},
};

use tokio::sync::mpsc;

use super::{
    error::StoreError,
    op::{Ack, Op, Rejected, RouteName},
    open::Store,
};

/// Groups that may be unacknowledged: one being committed, one ready behind it.
pub const OUTSTANDING: usize = 2;

/// The way to the writing thread. Dropped, it ends the thread as [`Writer::close`] does, unwatched.
#[derive(Debug)]
pub struct Writer {
    groups: SyncSender<Group>,
    thread: JoinHandle<(Store, Result<(), StoreError>)>,
}

#[derive(Debug)]
struct Group {
    number: u64,
    ops: Vec<Op>,
}

/// A group that was not taken, given back: [`OUTSTANDING`] groups are on their way already, or the thread is gone.
#[derive(Debug)]
pub struct Unsubmitted {
    pub ops: Vec<Op>,
    pub closed: bool,
}

impl Store {
    /// Hands the record to the writing thread. `routes` are the configuration's, in its order: intents name
    /// them by index.
    pub fn into_writer(mut self, routes: &[RouteName]) -> Result<(Writer, mpsc::Receiver<Ack>), StoreError> {
        self.routes = self.route_rows(routes)?;
        let (groups, submitted) = sync_channel(OUTSTANDING);
        // One more than can be outstanding: the thread never waits for the engine to listen.
        let (acks, answers) = mpsc::channel(OUTSTANDING + 1);
        let dir = self.dir.path().to_owned();
        let thread = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || write(self, &submitted, &acks))
            .map_err(|error| StoreError::file("start the thread that writes to", dir, error))?;
        Ok((Writer { groups, thread }, answers))
    }
}

impl Writer {
    /// Submits a group. Never waits.
    pub fn submit(&self, number: u64, ops: Vec<Op>) -> Result<(), Unsubmitted> {
        self.groups.try_send(Group { number, ops }).map_err(|refused| match refused {
            TrySendError::Full(group) => Unsubmitted { ops: group.ops, closed: false },
            TrySendError::Disconnected(group) => Unsubmitted { ops: group.ops, closed: true },
        })
    }

    /// Commits what was submitted, brings everything to the disk and gives the record back, still locked.
    /// Waits for the thread: not to be called on an async task.
    pub fn close(self) -> Result<Store, StoreError> {
        drop(self.groups);
        let (store, rested) = self.thread.join().map_err(|_| StoreError::Closed)?;
        rested.map(|()| store)
    }
}

#[cfg(test)]
impl Writer {
    /// A writer whose thread panics over the first group.
    pub fn doomed() -> (Self, mpsc::Receiver<Ack>) {
        let (groups, submitted) = sync_channel::<Group>(OUTSTANDING);
        let (acks, answers) = mpsc::channel(OUTSTANDING + 1);
        let thread = thread::spawn(move || {
            let _acks = acks;
            let group = submitted.recv();
            panic!("a writer that was to panic, over {group:?}")
        });
        (Self { groups, thread }, answers)
    }
}

fn write(mut store: Store, groups: &Receiver<Group>, acks: &mpsc::Sender<Ack>) -> (Store, Result<(), StoreError>) {
    let mut warned = false;
    loop {
        let next = match store.durability.due_in() {
            None => groups.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(wait) => groups.recv_timeout(wait),
        };
        match next {
            Ok(group) => {
                // With nobody listening any more the record still counts.
                let _ = acks.blocking_send(commit(&mut store, group));
            }
            Err(RecvTimeoutError::Timeout) => {
                // Where it fails it is tried again one pace later; a group that comes meanwhile reports it.
                let synced = store.sync();
                if let (Err(error), false) = (&synced, warned) {
                    tracing::warn!(%error, "the disk does not take what was written to it");
                }
                warned = synced.is_err();
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let rested = store.rest();
    (store, rested)
}

fn commit(store: &mut Store, group: Group) -> Ack {
    let Group { number, ops } = group;
    match store.commit(&ops) {
        Ok(answers) => Ack { number, outcome: Ok(answers), behind: store.follow_up().err() },
        Err(error) => Ack { number, outcome: Err(Box::new(Rejected { error, ops })), behind: None },
    }
}

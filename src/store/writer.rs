//! The writing thread, the only one that writes to the database.
//!
//! The engine never waits for the disk: it submits a group of ops, continues, and acts on the ops when the
//! acknowledgement arrives. While one group is being committed, the engine collects the next one. So groups grow when
//! the disk is slow, and no timer is needed.

use std::{
    io,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    thread::{self, JoinHandle},
};

use tokio::sync::mpsc;

use super::{
    error::StoreError,
    op::{Ack, Op},
    open::Store,
};

/// Capacity of the queue of submitted groups. One more group may be under commit. The engine submits only one at a
/// time.
pub const MAX_PENDING_GROUPS: usize = 2;

/// The number of an [`Ack`] that belongs to no group.
const NO_GROUP: u64 = 0;

/// A handle to the thread that writes to a run's directory. Dropping it also ends the thread, but does not wait for it
/// and reports no error.
#[derive(Debug)]
pub struct StoreWriter {
    group_tx: SyncSender<OpGroup>,
    thread: JoinHandle<(Store, Result<(), StoreError>)>,
}

#[derive(Debug)]
struct OpGroup {
    number: u64,
    ops: Vec<Op>,
}

/// A group that was not accepted and is returned: the queue is full, or the thread has ended.
#[derive(Debug)]
pub struct SubmitError {
    pub ops: Vec<Op>,
    pub is_closed: bool,
}

impl StoreWriter {
    /// Moves the database to a new thread, which commits the groups and acknowledges each.
    pub(super) fn start(store: Store) -> io::Result<(Self, mpsc::Receiver<Ack>)> {
        let (group_tx, group_rx) = sync_channel(MAX_PENDING_GROUPS);
        // Room for the queued groups and the one under commit, so that the thread need not wait for the engine to
        // receive.
        let (ack_tx, ack_rx) = mpsc::channel(MAX_PENDING_GROUPS + 1);
        let thread = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || run_writer(store, &group_rx, &ack_tx))?;
        Ok((Self { group_tx, thread }, ack_rx))
    }

    /// Submits a group. Never waits.
    ///
    /// # Errors
    /// If the queue is full or the thread has ended. The error returns the ops.
    pub fn submit(&self, number: u64, ops: Vec<Op>) -> Result<(), SubmitError> {
        self.group_tx.try_send(OpGroup { number, ops }).map_err(|refused| match refused {
            TrySendError::Full(group) => SubmitError { ops: group.ops, is_closed: false },
            TrySendError::Disconnected(group) => SubmitError { ops: group.ops, is_closed: true },
        })
    }

    /// Commits the submitted groups, flushes everything to the disk and returns the database, still locked. Blocks
    /// until the thread ends, so don't call it in an async task.
    ///
    /// # Errors
    /// If the last commits can't be flushed, or the thread has panicked.
    pub fn close(self) -> Result<Store, StoreError> {
        drop(self.group_tx);
        let (store, flushed) = self.thread.join().map_err(|_| StoreError::Closed)?;
        flushed.map(|()| store)
    }
}

#[cfg(test)]
impl StoreWriter {
    /// A writer whose thread panics at the first group.
    pub fn panicking() -> (Self, mpsc::Receiver<Ack>) {
        let (group_tx, group_rx) = sync_channel::<OpGroup>(MAX_PENDING_GROUPS);
        let (ack_tx, ack_rx) = mpsc::channel(MAX_PENDING_GROUPS + 1);
        let thread = thread::spawn(move || -> (Store, Result<(), StoreError>) {
            let _acks = ack_tx;
            let group = group_rx.recv();
            panic!("a writer that was to panic, over {group:?}")
        });
        (Self { group_tx, thread }, ack_rx)
    }
}

fn run_writer(
    mut store: Store,
    group_rx: &Receiver<OpGroup>,
    ack_tx: &mpsc::Sender<Ack>,
) -> (Store, Result<(), StoreError>) {
    loop {
        let received = match store.sync_due_in() {
            None => group_rx.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(wait) => group_rx.recv_timeout(wait),
        };
        match received {
            Ok(group) => {
                let ack = commit_group(&mut store, group);
                let is_final = matches!(&ack.result, Err(rejected) if rejected.error.is_final());
                // If the engine no longer receives, the commit is still valid.
                let _ = ack_tx.blocking_send(ack);
                if is_final {
                    break;
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                if let Err(error) = store.sync() {
                    // If the engine no longer receives, `close` returns the error.
                    let _ = ack_tx.blocking_send(Ack::rejected(NO_GROUP, error, Vec::new()));
                    break;
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let flushed = store.flush_all();
    (store, flushed)
}

fn commit_group(store: &mut Store, group: OpGroup) -> Ack {
    let OpGroup { number, ops } = group;
    let replies = match store.commit(&ops) {
        Ok(replies) => replies,
        Err(error) => return Ack::rejected(number, error, ops),
    };
    match store.finish_commit() {
        Err(error) if error.is_final() => Ack::rejected(number, error, ops),
        finished => Ack { number, result: Ok(replies), after_commit_error: finished.err() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{PinnedSettings, RunDir};

    #[test]
    fn a_failed_sync_between_two_groups_is_acknowledged_and_ends_the_thread() {
        let home = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(&RunDir::new(home.path()), &PinnedSettings::default()).unwrap();
        store.commit(&[]).unwrap();
        store.break_syncs();
        let (writer, mut acks) = store.into_writer(&[]).unwrap();
        let ack = acks.blocking_recv().expect("it is told without being asked");
        assert!(ack.result.is_err_and(|rejected| rejected.error.is_final()));
        assert!(acks.blocking_recv().is_none(), "and that was the last");
        let unsubmitted = writer.submit(1, Vec::new()).unwrap_err();
        assert!(unsubmitted.is_closed);
        assert!(writer.close().unwrap_err().is_final());
    }
}

//! The writing thread, the only one that writes to the database. It knows nothing of the database but [`StoreBackend`].
//!
//! The engine never waits for the disk: it submits a group of ops, continues, and acts on the ops when the
//! acknowledgement arrives. While one group is being committed, the engine collects the next one. So groups grow when
//! the disk is slow, and no timer is needed.

use std::{
    io,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::sync::mpsc;

use super::{
    error::StoreError,
    op::{Ack, Op, OpReply},
};

/// Capacity of the queue of submitted groups. One more group may be under commit. The engine submits only one at a
/// time.
pub const MAX_PENDING_GROUPS: usize = 2;

/// The number of an [`Ack`] that belongs to no group.
const NO_GROUP: u64 = 0;

/// A handle to the thread that writes to the database `B`. Dropping it also ends the thread, but does not wait for it
/// and reports no error.
#[derive(Debug)]
pub struct GroupWriter<B> {
    group_tx: SyncSender<OpGroup>,
    thread: JoinHandle<(B, Result<(), StoreError>)>,
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

/// A database that groups of ops are committed to, as the writing thread sees it.
pub trait StoreBackend: Send + 'static {
    /// Commits a group of ops as one transaction, or changes nothing. Returns the replies of the ops that have one.
    fn commit(&mut self, ops: &[Op]) -> Result<Vec<OpReply>, StoreError>;

    /// Work after a commit that can't undo it.
    fn finish_commit(&mut self) -> Result<(), StoreError>;

    /// Time until [`Self::sync`] must be called if no group comes before; `None` if everything is on the disk.
    fn sync_due_in(&self) -> Option<Duration>;

    /// Makes sure that all commits are on the disk.
    fn sync(&mut self) -> Result<(), StoreError>;

    /// Completes all work. Called at the end of a process's work on the run, before the database is closed.
    fn flush_all(&mut self) -> Result<(), StoreError>;
}

impl<B: StoreBackend> GroupWriter<B> {
    /// Moves the database to a new thread, which commits the groups and acknowledges each.
    pub(super) fn start(backend: B) -> io::Result<(Self, mpsc::Receiver<Ack>)> {
        let (group_tx, group_rx) = sync_channel(MAX_PENDING_GROUPS);
        // Room for the queued groups and the one under commit, so that the thread need not wait for the engine to
        // receive.
        let (ack_tx, ack_rx) = mpsc::channel(MAX_PENDING_GROUPS + 1);
        let thread = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || run_writer(backend, &group_rx, &ack_tx))?;
        Ok((Self { group_tx, thread }, ack_rx))
    }
}

impl<B> GroupWriter<B> {
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
    pub fn close(self) -> Result<B, StoreError> {
        drop(self.group_tx);
        let (backend, flushed) = self.thread.join().map_err(|_| StoreError::Closed)?;
        flushed.map(|()| backend)
    }
}

#[cfg(test)]
impl<B: Send + 'static> GroupWriter<B> {
    /// A writer whose thread panics at the first group.
    pub fn panicking() -> (Self, mpsc::Receiver<Ack>) {
        let (group_tx, group_rx) = sync_channel::<OpGroup>(MAX_PENDING_GROUPS);
        let (ack_tx, ack_rx) = mpsc::channel(MAX_PENDING_GROUPS + 1);
        let thread = thread::spawn(move || -> (B, Result<(), StoreError>) {
            let _acks = ack_tx;
            let group = group_rx.recv();
            panic!("a writer that was to panic, over {group:?}")
        });
        (Self { group_tx, thread }, ack_rx)
    }
}

fn run_writer<B: StoreBackend>(
    mut backend: B,
    group_rx: &Receiver<OpGroup>,
    ack_tx: &mpsc::Sender<Ack>,
) -> (B, Result<(), StoreError>) {
    loop {
        let received = match backend.sync_due_in() {
            None => group_rx.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(wait) => group_rx.recv_timeout(wait),
        };
        match received {
            Ok(group) => {
                let ack = commit_group(&mut backend, group);
                let is_final = matches!(&ack.result, Err(rejected) if rejected.error.is_final());
                // If the engine no longer receives, the commit is still valid.
                let _ = ack_tx.blocking_send(ack);
                if is_final {
                    break;
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                if let Err(error) = backend.sync() {
                    // If the engine no longer receives, `close` returns the error.
                    let _ = ack_tx.blocking_send(Ack::rejected(NO_GROUP, error, Vec::new()));
                    break;
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let flushed = backend.flush_all();
    (backend, flushed)
}

fn commit_group(backend: &mut impl StoreBackend, group: OpGroup) -> Ack {
    let OpGroup { number, ops } = group;
    let replies = match backend.commit(&ops) {
        Ok(replies) => replies,
        Err(error) => return Ack::rejected(number, error, ops),
    };
    match backend.finish_commit() {
        Err(error) if error.is_final() => Ack::rejected(number, error, ops),
        finished => Ack { number, result: Ok(replies), after_commit_error: finished.err() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{PinnedSettings, RunDir, Store};

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

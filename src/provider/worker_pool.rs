//! A small, fixed set of threads for blocking or CPU-bound tasks.
//!
//! Tokio's own blocking pool starts a thread for every task that finds none idle, up to 512, and the allocator keeps
//! the memory that each thread's largest task has used. This pool has a fixed number of threads, however many tasks
//! wait.

use std::{
    io,
    num::NonZero,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use tokio::sync::{mpsc, oneshot};

type Task = Box<dyn FnOnce() + Send>;

/// The pool. Its threads are started by the first task. They end after the pool is dropped, once the tasks that they
/// have accepted are done; dropping does not wait for them.
pub struct WorkerPool {
    thread_name: &'static str,
    thread_count: usize,
    task_sender: Mutex<Option<mpsc::Sender<Task>>>,
    /// Shared with the threads.
    finished_tasks: Arc<AtomicU64>,
}

impl std::fmt::Debug for WorkerPool {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("WorkerPool").finish_non_exhaustive()
    }
}

/// Reason why a task has no result.
#[derive(Debug, thiserror::Error)]
pub enum WorkerPoolError {
    #[error("can't start a thread: {0}")]
    SpawnThread(#[source] io::Error),
    #[error("the task panicked")]
    Panicked,
}

impl WorkerPool {
    pub fn new(thread_name: &'static str, thread_count: usize) -> Self {
        Self { thread_name, thread_count, task_sender: Mutex::default(), finished_tasks: Arc::default() }
    }

    /// Number of tasks that have ended so far, on any of the threads.
    pub fn finished_tasks(&self) -> u64 {
        self.finished_tasks.load(Ordering::Relaxed)
    }

    /// A pool for CPU-bound tasks: one thread per core, at most `max_threads`.
    pub(super) fn per_core(thread_name: &'static str, max_threads: usize) -> Self {
        Self::new(thread_name, thread::available_parallelism().map_or(1, NonZero::get).min(max_threads))
    }

    /// Runs `task` on one of the threads and waits for its result. Tasks start in the order in which they were
    /// submitted. If the returned future is dropped, a task that has not started is skipped, and the result of one that
    /// has is discarded.
    pub async fn run<T: Send + 'static>(
        &self,
        task: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, WorkerPoolError> {
        let task_sender = self.ensure_started().map_err(WorkerPoolError::SpawnThread)?;
        let (result_sender, result_receiver) = oneshot::channel();
        let task: Task = Box::new(move || {
            // Skipped if the caller has stopped waiting.
            if !result_sender.is_closed() {
                let _ = result_sender.send(task());
            }
        });
        // The threads don't end while a sender exists, so a task without a result has panicked.
        task_sender.send(task).await.map_err(|_| WorkerPoolError::Panicked)?;
        result_receiver.await.map_err(|_| WorkerPoolError::Panicked)
    }

    /// Starts the threads at the first call. Returns the sender of tasks to them.
    ///
    /// # Errors
    /// If not even one thread can be started.
    fn ensure_started(&self) -> io::Result<mpsc::Sender<Task>> {
        let mut task_sender = self.task_sender.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task_sender) = &*task_sender {
            return Ok(task_sender.clone());
        }
        let (sender, receiver) = mpsc::channel(self.thread_count.max(1));
        let receiver = Arc::new(Mutex::new(receiver));
        for thread_index in 0..self.thread_count.max(1) {
            let (receiver, finished) = (Arc::clone(&receiver), Arc::clone(&self.finished_tasks));
            let started =
                thread::Builder::new().name(self.thread_name.to_owned()).spawn(move || run_tasks(&receiver, &finished));
            match started {
                Ok(_) => {}
                Err(error) if thread_index == 0 => return Err(error),
                // The pool also works with fewer threads.
                Err(_) => break,
            }
        }
        *task_sender = Some(sender.clone());
        Ok(sender)
    }
}

fn run_tasks(receiver: &Mutex<mpsc::Receiver<Task>>, finished: &AtomicU64) {
    loop {
        // A thread holds the lock while it waits for a task, and frees it before the task runs.
        let task = receiver.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(task) = task else { return };
        // The panic hook logs a panic, and the caller gets `WorkerPoolError::Panicked`.
        let _ = catch_unwind(AssertUnwindSafe(task));
        finished.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[tokio::test]
    async fn many_tasks_share_few_threads_and_a_panic_ends_no_thread() {
        let pool = Arc::new(WorkerPool::per_core("test", 8));
        let mut callers = tokio::task::JoinSet::new();
        for number in 0..200 {
            let pool = Arc::clone(&pool);
            callers.spawn(async move {
                let ran = pool.run(move || {
                    assert!(number % 50 != 7, "a task that panics, on purpose");
                    thread::current().id()
                });
                ran.await
            });
        }
        let results = callers.join_all().await;
        let threads: HashSet<_> = results.iter().filter_map(|ended| ended.as_ref().ok()).collect();
        assert!((1..=8).contains(&threads.len()), "{}", threads.len());
        assert_eq!(results.iter().filter(|ended| matches!(ended, Err(WorkerPoolError::Panicked))).count(), 4);
    }
}

//! A small, fixed set of threads for work that blocks or computes.
//!
//! The runtime's own blocking pool starts a thread for every task that finds none idle, up to 512, and the allocator
//! keeps the memory of each thread's largest task. This pool keeps the number of threads fixed, however many tasks
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

/// The threads, once there was a job. They end when the pool is dropped, and nobody waits for one whose job does not end.
pub struct WorkerPool {
    /// What the threads are called.
    name: &'static str,
    threads: usize,
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
    #[error("no thread can be started: {0}")]
    NoThread(#[source] io::Error),
    #[error("the job panicked")]
    Panicked,
}

impl WorkerPool {
    pub fn new(name: &'static str, threads: usize) -> Self {
        Self { name, threads, task_sender: Mutex::default(), finished_tasks: Arc::default() }
    }

    /// Number of tasks that have ended so far, on any of the threads.
    pub fn finished_tasks(&self) -> u64 {
        self.finished_tasks.load(Ordering::Relaxed)
    }

    /// For work that computes: as many threads as there are cores, and no more than `max_threads`.
    pub(super) fn per_core(name: &'static str, max_threads: usize) -> Self {
        Self::new(name, thread::available_parallelism().map_or(1, NonZero::get).min(max_threads))
    }

    /// Runs `task` on one of the threads, after the tasks before it.
    pub async fn run<T: Send + 'static>(
        &self,
        task: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, WorkerPoolError> {
        let sender = self.sender().map_err(WorkerPoolError::NoThread)?;
        let (result, done) = oneshot::channel();
        let task: Task = Box::new(move || {
            // The result is no longer wanted if the attempt was cancelled.
            if !result.is_closed() {
                let _ = result.send(task());
            }
        });
        // The threads outlive every sender, so a task without a result has panicked.
        sender.send(task).await.map_err(|_| WorkerPoolError::Panicked)?;
        done.await.map_err(|_| WorkerPoolError::Panicked)
    }

    /// The sender to the threads. The first call starts them.
    fn sender(&self) -> io::Result<mpsc::Sender<Task>> {
        let mut task_sender = self.task_sender.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task_sender) = &*task_sender {
            return Ok(task_sender.clone());
        }
        let (sender, receiver) = mpsc::channel(self.threads.max(1));
        let receiver = Arc::new(Mutex::new(receiver));
        for number in 0..self.threads.max(1) {
            let (receiver, finished) = (Arc::clone(&receiver), Arc::clone(&self.finished_tasks));
            let started =
                thread::Builder::new().name(self.name.to_owned()).spawn(move || run_tasks(&receiver, &finished));
            match started {
                Ok(_) => {}
                Err(error) if number == 0 => return Err(error),
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
        // The panic hook has logged it, and the caller gets an error.
        let _ = catch_unwind(AssertUnwindSafe(task));
        finished.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[tokio::test]
    async fn many_jobs_share_few_threads_and_a_panic_costs_none() {
        let pool = Arc::new(WorkerPool::per_core("test", 8));
        let mut jobs = tokio::task::JoinSet::new();
        for number in 0..200 {
            let pool = Arc::clone(&pool);
            jobs.spawn(async move {
                let ran = pool.run(move || {
                    assert!(number % 50 != 7, "a job that panics, on purpose");
                    thread::current().id()
                });
                ran.await
            });
        }
        let ended = jobs.join_all().await;
        let threads: HashSet<_> = ended.iter().filter_map(|ended| ended.as_ref().ok()).collect();
        assert!((1..=8).contains(&threads.len()), "{}", threads.len());
        assert_eq!(ended.iter().filter(|ended| matches!(ended, Err(WorkerPoolError::Panicked))).count(), 4);
    }
}

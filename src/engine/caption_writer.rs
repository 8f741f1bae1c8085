//! Writes captions: an answer is committed to the database first, then written to a file beside its picture. If the
//! process dies in between, the next start writes the caption from the committed text.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    task::{JoinError, JoinSet},
};

use super::messages::{Caption, DiskFault};

use crate::{
    domain::{CaptionRules, FinalState, Image, Seq, event::format_duration, pluralize},
    output::{
        ExistingCaptionPolicy,
        captions::{has_caption, is_permanent, replace_caption},
        write_caption,
    },
    provider::WorkerPool,
    store::{ItemLoader, Op, OpenedRun, REPLACED_ANSWERS_STATE, RunDir, StoreError, report},
};

/// Delay before a failed caption write is repeated.
const WRITE_RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// Number of threads that write captions. They do nothing else, so that a disk that hangs blocks only captions.
const CAPTION_THREADS: usize = 8;

/// A write that takes longer, not counting its time in the queue, holds new requests, as a full disk does. It is
/// shorter than the time for which a reported fault holds them.
const SLOW_WRITE_INTERVAL: Duration = Duration::from_secs(4);

/// After this many times [`SLOW_WRITE_INTERVAL`] a write is given up. Its caption stays pending.
const MAX_SLOW_INTERVALS: u32 = 8;

/// Starts the threads that write captions.
fn start_caption_threads() -> Arc<WorkerPool> {
    Arc::new(WorkerPool::new("captions", CAPTION_THREADS))
}

/// Items loaded at once when a run is resumed.
const LOAD_BATCH_ITEMS: usize = 256;

/// Name of the run's saved state for [`PendingCaptions`].
const PENDING_CAPTIONS_STATE: &str = "captions_owed";

/// Items with a recorded answer whose caption may not be written yet. They are saved in the same group as the answer.
/// So the next process knows which captions to write after a crash. It leaves all other existing captions alone, since
/// a user may have edited them.
#[derive(Debug, Default)]
struct PendingCaptions {
    items: BTreeSet<Seq>,
    is_dirty: bool,
    /// Earlier answers of items whose request has changed since. A caption that still equals its earlier answer is
    /// replaced.
    replaced_answers: BTreeMap<u64, String>,
}

impl PendingCaptions {
    /// Restores the captions that [`write_missing_captions`] could not write; it has written all others.
    pub fn resumed(opened: &OpenedRun) -> Self {
        let items: Vec<u64> = read_state(opened, PENDING_CAPTIONS_STATE).unwrap_or_default();
        Self {
            is_dirty: opened.saved_states.contains_key(PENDING_CAPTIONS_STATE),
            items: items.into_iter().map(Seq).collect(),
            replaced_answers: read_state(opened, REPLACED_ANSWERS_STATE).unwrap_or_default(),
        }
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// The answer to the item's earlier request, if its request has changed since.
    pub fn previous_answer(&self, item: Seq) -> Option<String> {
        self.replaced_answers.get(&item.0).cloned()
    }

    pub fn add(&mut self, item: Seq) {
        self.items.insert(item);
        self.is_dirty = true;
    }

    pub fn remove(&mut self, item: Seq) {
        self.is_dirty |= self.items.remove(&item);
    }

    /// The state to record with the next group, if it has changed.
    pub fn take_state_op(&mut self) -> Option<Op> {
        if !std::mem::take(&mut self.is_dirty) {
            return None;
        }
        let items: Vec<String> = self.items.iter().map(|item| item.0.to_string()).collect();
        Some(Op::SetState { name: PENDING_CAPTIONS_STATE.to_owned(), json: format!("[{}]", items.join(",")) })
    }
}

/// Writes committed captions to their files, and knows which are not written yet.
#[derive(Debug)]
pub(super) struct CaptionWriter {
    existing: ExistingCaptionPolicy,
    rules: CaptionRules,
    threads: Arc<WorkerPool>,
    tasks: JoinSet<Option<Seq>>,
    pending: PendingCaptions,
    fault_tx: mpsc::Sender<DiskFault>,
}

impl CaptionWriter {
    pub fn new(
        existing: ExistingCaptionPolicy,
        rules: CaptionRules,
        opened: &OpenedRun,
        fault_tx: mpsc::Sender<DiskFault>,
    ) -> Self {
        Self {
            existing,
            rules,
            threads: start_caption_threads(),
            tasks: JoinSet::new(),
            pending: PendingCaptions::resumed(opened),
            fault_tx,
        }
    }

    /// The caption for an answer that is about to be recorded. It is pending from now on.
    pub fn prepare(&mut self, seq: Seq, path: PathBuf, answer: &str) -> Caption {
        self.pending.add(seq);
        let previous_text = self.pending.previous_answer(seq).map(|answer| self.rules.caption_from(&answer));
        Caption { seq, path, text: self.rules.caption_from(answer), previous_text }
    }

    /// Starts to write a committed caption.
    pub fn write(&mut self, caption: Caption) {
        self.tasks.spawn(caption.save(self.existing, Arc::clone(&self.threads), self.fault_tx.clone()));
    }

    /// Whether captions are being written.
    pub fn is_writing(&self) -> bool {
        !self.tasks.is_empty()
    }

    /// Waits for the next write to end; `None` if none is running.
    pub async fn join_next(&mut self) -> Option<Result<Option<Seq>, JoinError>> {
        self.tasks.join_next().await
    }

    /// Handles the end of a write. If its task was aborted or gave up, the caption stays pending.
    pub fn on_written(&mut self, written: &Result<Option<Seq>, JoinError>) {
        if let Ok(Some(item)) = written {
            self.pending.remove(*item);
        }
    }

    pub fn pending_count(&self) -> usize {
        self.pending.len()
    }

    /// The pending captions as a state to record with the next group, if they have changed.
    pub fn take_state_op(&mut self) -> Option<Op> {
        self.pending.take_state_op()
    }

    /// Stops all writes. Their captions stay pending.
    pub async fn shutdown(&mut self) {
        self.tasks.shutdown().await;
    }

    #[cfg(test)]
    pub fn fault_tx(&self) -> mpsc::Sender<DiskFault> {
        self.fault_tx.clone()
    }

    /// Starts a write that never ends.
    #[cfg(test)]
    pub fn write_forever(&mut self) {
        self.tasks.spawn(std::future::pending());
    }
}

fn read_state<T: serde::de::DeserializeOwned>(opened: &OpenedRun, name: &str) -> serde_json::Result<T> {
    serde_json::from_str(opened.saved_states.get(name).map_or("null", String::as_str))
}

impl Caption {
    /// Writes the caption. Returns false if it was not written because a user has edited the file.
    fn write(&self, existing: ExistingCaptionPolicy) -> std::io::Result<bool> {
        match &self.previous_text {
            Some(previous) => replace_caption(&self.path, &self.text, previous, existing),
            None => write_caption(&self.path, &self.text, existing).map(|()| true),
        }
    }

    fn kept_message(&self) -> String {
        format!(
            "the caption {} was edited after it was written, so it is kept; the new answer is in results.jsonl",
            self.path.display()
        )
    }

    fn failed_message(&self, error: &std::io::Error) -> String {
        format!(
            "the caption {} can't be written: {error}. Its answer is recorded; fix the file or its folder, then run \
             the same command again to write it",
            self.path.display()
        )
    }

    /// Repeats the write until it succeeds, since the operator can free a full disk. Returns the item if its caption is
    /// finished: written, or kept because a user has edited the file. Returns `None` if it stays pending for the next
    /// start: the file or folder itself prevents the write, or the disk hangs for too long.
    pub async fn save(
        self,
        existing: ExistingCaptionPolicy,
        threads: Arc<WorkerPool>,
        fault_tx: mpsc::Sender<DiskFault>,
    ) -> Option<Seq> {
        self.save_within(SLOW_WRITE_INTERVAL, existing, threads, fault_tx).await
    }

    /// Does the same as [`save`](Self::save), with `slow_interval` instead of [`SLOW_WRITE_INTERVAL`].
    async fn save_within(
        self,
        slow_interval: Duration,
        existing: ExistingCaptionPolicy,
        threads: Arc<WorkerPool>,
        fault_tx: mpsc::Sender<DiskFault>,
    ) -> Option<Seq> {
        loop {
            let caption = self.clone();
            let (started_tx, mut started_rx) = oneshot::channel();
            let mut write = pin!(threads.run(move || {
                // The send fails only if the engine is closing.
                let _ = started_tx.send(());
                caption.write(existing)
            }));
            let (mut slow_intervals, mut is_queued, mut finished_before) = (0, true, threads.finished_tasks());
            let written = loop {
                tokio::select! {
                    biased;
                    written = &mut write => break written,
                    // Its own time begins.
                    _ = &mut started_rx, if is_queued => {
                        (is_queued, slow_intervals) = (false, 0);
                        continue;
                    }
                    () = tokio::time::sleep(slow_interval) => {}
                }
                // A disk that ends other writes does answer; only the queue is long.
                let finished = threads.finished_tasks();
                if is_queued && finished != finished_before {
                    (slow_intervals, finished_before) = (0, finished);
                    continue;
                }
                slow_intervals += 1;
                let waited = format_duration(slow_interval * slow_intervals);
                let target = self.path.display();
                // The engine being gone means that the run is ending; the next start writes it.
                if slow_intervals == MAX_SLOW_INTERVALS {
                    let message = format!(
                        "the caption {target} is not written after {waited}: its disk does not respond. Its answer is \
                         recorded; run the same command again to write it"
                    );
                    let _ = fault_tx.send(DiskFault::OneFile(message)).await;
                    return None;
                }
                let message = format!("the caption {target} is not written after {waited}: its disk does not respond");
                let _ = fault_tx.send(DiskFault::Blocking(message)).await;
            };
            let error = match written {
                Ok(Ok(true)) => return Some(self.seq),
                Ok(Ok(false)) => {
                    // The send fails only if the engine is closing.
                    let _ = fault_tx.send(DiskFault::OneFile(self.kept_message())).await;
                    return Some(self.seq);
                }
                Ok(Err(error)) if is_permanent(&error) => {
                    // The send fails only if the engine is closing; the next start reports it.
                    let _ = fault_tx.send(DiskFault::OneFile(self.failed_message(&error))).await;
                    return None;
                }
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            let message = format!("the caption {} can't be written: {error}", self.path.display());
            // The send fails only if the engine is closing; the next start writes the caption.
            let _ = fault_tx.send(DiskFault::Blocking(message)).await;
            tokio::time::sleep(WRITE_RETRY_INTERVAL).await;
        }
    }
}

/// Maximum number of captions that one message lists by name.
const MAX_NAMED_CAPTIONS: usize = 10;

/// Writes captions that an earlier process committed but may not have written. Also writes captions whose file has been
/// deleted or emptied since, unless the picture is gone too. Other captions are not touched. Captions that can't be
/// written stay pending in the states of `opened`. Returns one message for each thing to report.
///
/// # Errors
/// If the database can't be read, or if a caption can't be written for a reason that concerns them all, such as a full
/// disk.
pub async fn write_missing_captions(
    dir: &RunDir,
    opened: &mut OpenedRun,
    existing: ExistingCaptionPolicy,
    rules: &CaptionRules,
) -> anyhow::Result<Vec<String>> {
    let pending: BTreeSet<u64> = match opened.saved_states.get(PENDING_CAPTIONS_STATE) {
        Some(json) => serde_json::from_str(json)?,
        None => BTreeSet::new(),
    };
    let replaced_answers: BTreeMap<u64, String> = read_state(opened, REPLACED_ANSWERS_STATE).unwrap_or_default();
    let mut targets: BTreeMap<u64, PathBuf> = BTreeMap::new();
    let loader = ItemLoader::start(dir)?;
    for batch in report::load_done_items(dir.path())?.chunks(LOAD_BATCH_ITEMS) {
        for item in loader.load(batch.to_vec()).await?.items {
            // If the path can't be read, writing it reports the error.
            let is_missing = |target: &Path| !has_caption(target).unwrap_or(true);
            // If the picture is gone, its caption was removed with it.
            let has_picture =
                || item.spec.request.images().all(|image| !matches!(image, Image::File(path) if !path.exists()));
            if let Some(target) = &item.spec.caption_path
                && (pending.contains(&item.seq.0) || (is_missing(target) && has_picture()))
            {
                targets.insert(item.seq.0, target.clone());
            }
        }
    }
    if targets.is_empty() {
        opened.saved_states.remove(PENDING_CAPTIONS_STATE);
        return Ok(Vec::new());
    }
    let (mut messages, mut still_pending, mut rewritten) = (Vec::new(), Vec::new(), Vec::new());
    let mut captions = Vec::new();
    report::for_each_result(dir.path(), |line| -> Result<(), StoreError> {
        let Some(target) = targets.remove(&line.seq.0) else { return Ok(()) };
        let result = line.parse()?;
        if let (FinalState::Done, Some(text)) = (result.status, result.output) {
            let previous = replaced_answers.get(&line.seq.0).map(|answer| rules.caption_from(answer));
            let text = rules.caption_from(&text);
            captions.push(Caption { seq: line.seq, path: target, text, previous_text: previous });
        }
        Ok(())
    })?;
    for caption in captions {
        match caption.write(existing) {
            Ok(true) if pending.contains(&caption.seq.0) => {}
            Ok(true) => rewritten.push(caption.path.display().to_string()),
            Ok(false) => messages.push(caption.kept_message()),
            // An empty answer can never be written as a caption, so it is not reported.
            Err(_) if caption.text.trim().is_empty() => {}
            Err(error) if is_permanent(&error) => {
                messages.push(caption.failed_message(&error));
                still_pending.push(caption.seq.0);
            }
            Err(error) => anyhow::bail!("the caption {} can't be written: {error}", caption.path.display()),
        }
    }
    if !rewritten.is_empty() {
        let more = rewritten.len().saturating_sub(MAX_NAMED_CAPTIONS);
        let named = rewritten[..rewritten.len().min(MAX_NAMED_CAPTIONS)].join(", ");
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let captions = pluralize(rewritten.len() as u64, "caption");
        messages.push(format!("{captions} rewritten from the record after being deleted or emptied: {named}{more}"));
    }
    opened.saved_states.insert(PENDING_CAPTIONS_STATE.to_owned(), serde_json::to_string(&still_pending)?);
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_caption_file_that_is_not_utf8_is_reported_and_its_caption_stays_pending() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("a.txt");
        std::fs::write(&target, b"caf\xe9\n").unwrap();
        let (fault_tx, mut faults) = mpsc::channel(4);
        let caption = Caption { seq: Seq(7), path: target.clone(), text: "A cup.".to_owned(), previous_text: None };
        assert_eq!(
            caption.clone().save(ExistingCaptionPolicy::Append, start_caption_threads(), fault_tx.clone()).await,
            None
        );
        let Some(DiskFault::OneFile(message)) = faults.recv().await else { panic!("the others can be written") };
        assert!(message.contains("a.txt") && message.contains("not UTF-8"), "{message}");
        assert_eq!(std::fs::read(&target).unwrap(), b"caf\xe9\n");

        std::fs::write(&target, "caf\u{e9}\n").unwrap();
        assert_eq!(caption.save(ExistingCaptionPolicy::Append, start_caption_threads(), fault_tx).await, Some(Seq(7)));
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "caf\u{e9}\nA cup.\n");
    }

    #[test]
    fn caption_writes_that_hang_block_nothing_else_and_stay_pending() {
        const CAPTIONS: u64 = 40;
        const RUNTIME_THREADS: usize = 4;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(RUNTIME_THREADS)
            .build()
            .unwrap();
        let home = tempfile::tempdir().unwrap();
        // `Skip` opens the file to see whether it has a caption. Opening a pipe without a writer blocks for ever.
        let target = home.path().join("a.txt");
        nix::unistd::mkfifo(&target, nix::sys::stat::Mode::S_IRWXU).unwrap();
        runtime.block_on(async {
            let (fault_tx, mut trouble) = mpsc::channel(4_096);
            let threads = start_caption_threads();
            let mut captions = tokio::task::JoinSet::new();
            for number in 0..CAPTIONS {
                let (target, text) = (target.clone(), "A cup.".to_owned());
                let caption = Caption { seq: Seq(number), path: target, text, previous_text: None };
                let (threads, fault_tx) = (Arc::clone(&threads), fault_tx.clone());
                captions.spawn(caption.save_within(
                    Duration::from_secs(1),
                    ExistingCaptionPolicy::Skip,
                    threads,
                    fault_tx,
                ));
            }
            tokio::task::yield_now().await;
            // The runtime's blocking threads are still free. They resolve host names and close the store.
            assert_eq!(tokio::task::spawn_blocking(|| 7).await.unwrap(), 7);
            assert_eq!(captions.join_all().await, vec![None; CAPTIONS as usize]);
            let Some(DiskFault::Blocking(held)) = trouble.recv().await else { panic!("new requests go out meanwhile") };
            assert!(held.contains("a.txt is not written after 1s"), "{held}");
            let mut given_up = 0;
            while let Ok(trouble) = trouble.try_recv() {
                if let DiskFault::OneFile(message) = trouble {
                    assert!(
                        message.contains("8s") && message.contains("run the same command again to write it"),
                        "{message}"
                    );
                    given_up += 1;
                }
            }
            assert_eq!(given_up, CAPTIONS);
        });
        // Dropping the runtime waits for its blocking threads. It must not hang.
        drop(runtime);
    }

    #[tokio::test]
    async fn a_caption_behind_many_slow_writes_is_waited_for() {
        const WRITE: Duration = Duration::from_millis(200);
        let slow = 2 * WRITE;
        let threads = start_caption_threads();
        // Together they take longer than a write may.
        let writes = CAPTION_THREADS as u32 * (MAX_SLOW_INTERVALS * 2 + 4);
        let mut queue = tokio::task::JoinSet::new();
        for _ in 0..writes {
            let threads = Arc::clone(&threads);
            queue.spawn(async move { threads.run(|| std::thread::sleep(WRITE)).await });
        }
        // Until each has taken its place.
        for _ in 0..writes {
            tokio::task::yield_now().await;
        }
        let began = std::time::Instant::now();
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.txt");
        let (fault_tx, mut faults) = mpsc::channel(64);
        let caption = Caption { seq: Seq(7), path, text: "A cup.".to_owned(), previous_text: None };
        assert_eq!(caption.save_within(slow, ExistingCaptionPolicy::Skip, threads, fault_tx).await, Some(Seq(7)));
        assert!(began.elapsed() > slow * MAX_SLOW_INTERVALS, "it hardly waited: {:?}", began.elapsed());
        while let Some(fault) = faults.recv().await {
            assert!(!matches!(fault, DiskFault::OneFile(_)), "{fault:?}");
        }
    }

    /// Repeats the write, as the next start does if the process was killed after the write and before its commit.

    #[test]
    fn repeating_a_finished_caption_replacement_changes_nothing() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("a.txt");
        for (existing, before, after) in [
            (ExistingCaptionPolicy::Skip, "A cup.\n", "A red\ncup.\n"),
            (ExistingCaptionPolicy::Overwrite, "A cup.\n", "A red\ncup.\n"),
            (ExistingCaptionPolicy::Append, "Mine.\nA cup.\n", "Mine.\nA red\ncup.\n"),
            (ExistingCaptionPolicy::Prepend, "A cup.\nMine.\n", "A red\ncup.\nMine.\n"),
        ] {
            for previous in ["A cup.", "cup.", "A red"] {
                std::fs::write(&target, before.replace("A cup.", previous)).unwrap();
                let (target, text) = (target.clone(), "A red\ncup.".to_owned());
                let caption = Caption { seq: Seq(7), path: target, text, previous_text: Some(previous.to_owned()) };
                for _ in 0..2 {
                    assert!(caption.write(existing).unwrap(), "{existing:?}, {previous}");
                    assert_eq!(std::fs::read_to_string(&caption.path).unwrap(), after, "{existing:?}, {previous}");
                }
            }
        }
    }
}

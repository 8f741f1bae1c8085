//! Writes captions after the commit: an answer is committed first, then written beside its picture. Captions that a
//! crash left unwritten are written at the next start, from the committed text, so that files and record never
//! disagree.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};

use crate::{
    domain::{FinalState, Image, Seq, event::format_duration, pluralize},
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

/// Threads that write captions. They have nothing else to do, so that a disk that does not answer holds up nothing but them.
const THREADS: usize = 8;

/// A write that takes longer, not counting its time in the queue, holds new requests, as a full disk does. Shorter than a complaint holds.
const SLOW: Duration = Duration::from_secs(4);

/// A write that takes this many times [`SLOW`] is given up: its caption stays owed.
const MAX_SLOW: u32 = 8;

/// The threads for [`Caption::save`].
pub(super) fn threads() -> Arc<WorkerPool> {
    Arc::new(WorkerPool::new("captions", THREADS))
}

/// Items loaded at once when a run is resumed.
const LOAD_BATCH_ITEMS: usize = 256;

/// Name of the run's saved state for [`PendingCaptions`].
const PENDING_CAPTIONS_STATE: &str = "captions_owed";

/// Items with a recorded answer whose caption may not be written yet. They are saved in the same group as the answer.
/// So after a crash the next process writes exactly these captions, and no others, which somebody may have edited.
#[derive(Debug, Default)]
pub(super) struct PendingCaptions {
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

fn read_state<T: serde::de::DeserializeOwned>(opened: &OpenedRun, name: &str) -> serde_json::Result<T> {
    serde_json::from_str(opened.saved_states.get(name).map_or("null", String::as_str))
}

/// A failed disk access, with its message.
#[derive(Debug)]
pub(super) enum DiskFault {
    /// Only this file is affected.
    OneFile(String),
    /// No new request is sent while it lasts: the next access would fail as well.
    Blocking(String),
}

/// A committed answer and the file that it goes to.
#[derive(Clone, Debug)]
pub(super) struct Caption {
    pub seq: Seq,
    pub path: PathBuf,
    pub text: String,
    /// The answer to the item's earlier request, whose caption this one replaces.
    pub previous_text: Option<String>,
}

impl Caption {
    /// Writes the caption. Returns false if it was not written, because somebody has edited the file.
    fn write(&self, existing: ExistingCaptionPolicy) -> std::io::Result<bool> {
        match &self.previous_text {
            Some(previous) => replace_caption(&self.path, &self.text, previous, existing),
            None => write_caption(&self.path, &self.text, existing).map(|()| true),
        }
    }

    fn kept_message(&self) -> String {
        format!(
            "the caption {} has been edited since it was written, and stays; the new answer is in results.jsonl",
            self.path.display()
        )
    }

    fn failed_message(&self, error: &std::io::Error) -> String {
        format!(
            "the caption {} can't be written: {error}. Its answer is recorded; mend the file or its folder, and the same \
             command writes it",
            self.path.display()
        )
    }

    /// Repeats the write until it succeeds: the operator can free a full disk, and the answer is paid for. Returns the
    /// item; `None` if the file itself prevents it: then the caption stays pending, and the next start tries again.
    pub async fn save(
        self,
        existing: ExistingCaptionPolicy,
        threads: Arc<WorkerPool>,
        fault_tx: mpsc::Sender<DiskFault>,
    ) -> Option<Seq> {
        self.save_within(SLOW, existing, threads, fault_tx).await
    }

    /// [`save`](Self::save), with `slow` in the place of [`SLOW`].
    async fn save_within(
        self,
        slow: Duration,
        existing: ExistingCaptionPolicy,
        threads: Arc<WorkerPool>,
        trouble: mpsc::Sender<DiskFault>,
    ) -> Option<Seq> {
        loop {
            let caption = self.clone();
            let (start_tx, mut started) = oneshot::channel();
            let mut write = pin!(threads.run(move || {
                // The send fails only if the engine is closing.
                let _ = start_tx.send(());
                caption.write(existing)
            }));
            let (mut rounds, mut is_queued, mut finished_before) = (0, true, threads.finished_tasks());
            let written = loop {
                tokio::select! {
                    biased;
                    written = &mut write => break written,
                    // Its own time begins.
                    _ = &mut started, if is_queued => {
                        (is_queued, rounds) = (false, 0);
                        continue;
                    }
                    () = tokio::time::sleep(slow) => {}
                }
                // A disk that ends other writes does answer; only the queue is long.
                let finished = threads.finished_tasks();
                if is_queued && finished != finished_before {
                    (rounds, finished_before) = (0, finished);
                    continue;
                }
                rounds += 1;
                let waited = format_duration(slow * rounds);
                let target = self.path.display();
                // The engine being gone means that the run is ending; the next start writes it.
                if rounds == MAX_SLOW {
                    let message = format!(
                        "the caption {target} is not written after {waited}: its disk does not answer. Its answer is \
                         recorded, and the same command writes it"
                    );
                    let _ = trouble.send(DiskFault::OneFile(message)).await;
                    return None;
                }
                let message = format!("the caption {target} is not written after {waited}: its disk does not answer");
                let _ = trouble.send(DiskFault::Blocking(message)).await;
            };
            let error = match written {
                Ok(Ok(true)) => return Some(self.seq),
                Ok(Ok(false)) => {
                    // The send fails only if the engine is closing.
                    let _ = trouble.send(DiskFault::OneFile(self.kept_message())).await;
                    return Some(self.seq);
                }
                Ok(Err(error)) if is_permanent(&error) => {
                    // The send fails only if the engine is closing; the next start reports it.
                    let _ = trouble.send(DiskFault::OneFile(self.failed_message(&error))).await;
                    return None;
                }
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            let complaint = format!("the caption {} can't be written: {error}", self.path.display());
            // The send fails only if the engine is closing; the next start writes the caption.
            let _ = trouble.send(DiskFault::Blocking(complaint)).await;
            tokio::time::sleep(WRITE_RETRY_INTERVAL).await;
        }
    }
}

/// Captions named individually in a message about several.
const MAX_NAMED_CAPTIONS: usize = 10;

/// Writes captions that an earlier process committed but may not have written, and captions whose file has been deleted
/// or emptied since. Other captions are not touched. Captions that can't be written stay pending in the states of
/// `opened`. Returns one message for each thing to report.
///
/// # Errors
/// If the record can't be read, or the disk accepts no caption at all.
pub async fn write_missing_captions(
    dir: &RunDir,
    opened: &mut OpenedRun,
    existing: ExistingCaptionPolicy,
) -> anyhow::Result<Vec<String>> {
    let pending: BTreeSet<u64> = match opened.saved_states.get(PENDING_CAPTIONS_STATE) {
        Some(json) => serde_json::from_str(json)?,
        None => BTreeSet::new(),
    };
    let replaced: BTreeMap<u64, String> = read_state(opened, REPLACED_ANSWERS_STATE).unwrap_or_default();
    let mut targets: BTreeMap<u64, PathBuf> = BTreeMap::new();
    let loader = ItemLoader::start(dir)?;
    for batch in report::done_items(dir.path())?.chunks(LOAD_BATCH_ITEMS) {
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
    let (mut messages, mut still_owed, mut rewritten) = (Vec::new(), Vec::new(), Vec::new());
    let mut captions = Vec::new();
    report::for_each_result(dir.path(), |line| -> Result<(), StoreError> {
        let Some(target) = targets.remove(&line.seq.0) else { return Ok(()) };
        let result = line.parse()?;
        if let (FinalState::Done, Some(text)) = (result.status, result.output) {
            let previous = replaced.get(&line.seq.0).cloned();
            captions.push(Caption { seq: line.seq, path: target, text, previous_text: previous });
        }
        Ok(())
    })?;
    for caption in captions {
        match caption.write(existing) {
            Ok(true) if pending.contains(&caption.seq.0) => {}
            Ok(true) => rewritten.push(caption.path.display().to_string()),
            Ok(false) => messages.push(caption.kept_message()),
            // An empty text is not a caption, in any start.
            Err(_) if caption.text.trim().is_empty() => {}
            Err(error) if is_permanent(&error) => {
                messages.push(caption.failed_message(&error));
                still_owed.push(caption.seq.0);
            }
            Err(error) => anyhow::bail!("the caption {} can't be written: {error}", caption.path.display()),
        }
    }
    if !rewritten.is_empty() {
        let more = rewritten.len().saturating_sub(MAX_NAMED_CAPTIONS);
        let named = rewritten[..rewritten.len().min(MAX_NAMED_CAPTIONS)].join(", ");
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let captions = pluralize(rewritten.len() as u64, "caption");
        messages.push(format!("{captions} had been deleted or emptied, written again from the record: {named}{more}"));
    }
    opened.saved_states.insert(PENDING_CAPTIONS_STATE.to_owned(), serde_json::to_string(&still_owed)?);
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_nothing_can_be_added_to_is_named_once_and_stays_owed() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("a.txt");
        std::fs::write(&target, b"caf\xe9\n").unwrap();
        let (fault_tx, mut faults) = mpsc::channel(4);
        let caption = Caption { seq: Seq(7), path: target.clone(), text: "A cup.".to_owned(), previous_text: None };
        assert_eq!(caption.clone().save(ExistingCaptionPolicy::Append, threads(), fault_tx.clone()).await, None);
        let Some(DiskFault::OneFile(message)) = faults.recv().await else { panic!("the others can be written") };
        assert!(message.contains("a.txt") && message.contains("not UTF-8"), "{message}");
        assert_eq!(std::fs::read(&target).unwrap(), b"caf\xe9\n");

        std::fs::write(&target, "caf\u{e9}\n").unwrap();
        assert_eq!(caption.save(ExistingCaptionPolicy::Append, threads(), fault_tx).await, Some(Seq(7)));
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "caf\u{e9}\nA cup.\n");
    }

    #[test]
    fn writes_that_never_end_hold_up_nothing_else_and_their_captions_stay_owed() {
        const CAPTIONS: u64 = 40;
        const RUNTIME_THREADS: usize = 4;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(RUNTIME_THREADS)
            .build()
            .unwrap();
        let home = tempfile::tempdir().unwrap();
        // Where a caption stands already is looked at by opening it, which never ends with a pipe that nobody writes to.
        let target = home.path().join("a.txt");
        nix::unistd::mkfifo(&target, nix::sys::stat::Mode::S_IRWXU).unwrap();
        runtime.block_on(async {
            let (complaints, mut trouble) = mpsc::channel(4_096);
            let threads = threads();
            let mut captions = tokio::task::JoinSet::new();
            for number in 0..CAPTIONS {
                let (target, text) = (target.clone(), "A cup.".to_owned());
                let caption = Caption { seq: Seq(number), path: target, text, previous_text: None };
                let (threads, complaints) = (Arc::clone(&threads), complaints.clone());
                captions.spawn(caption.save_within(
                    Duration::from_secs(1),
                    ExistingCaptionPolicy::Skip,
                    threads,
                    complaints,
                ));
            }
            tokio::task::yield_now().await;
            // What host names are looked up on, and the record is closed on.
            assert_eq!(tokio::task::spawn_blocking(|| 7).await.unwrap(), 7);
            assert_eq!(captions.join_all().await, vec![None; CAPTIONS as usize]);
            let Some(DiskFault::Blocking(held)) = trouble.recv().await else { panic!("new requests go out meanwhile") };
            assert!(held.contains("a.txt is not written after 1s"), "{held}");
            let mut given_up = 0;
            while let Ok(trouble) = trouble.try_recv() {
                if let DiskFault::OneFile(message) = trouble {
                    assert!(message.contains("8s") && message.contains("the same command writes it"), "{message}");
                    given_up += 1;
                }
            }
            assert_eq!(given_up, CAPTIONS);
        });
        // Waits for its own threads.
        drop(runtime);
    }

    #[tokio::test]
    async fn a_caption_behind_many_slow_writes_is_waited_for() {
        const WRITE: Duration = Duration::from_millis(200);
        let slow = 2 * WRITE;
        let threads = threads();
        // Together they take longer than a write may.
        let writes = THREADS as u32 * (MAX_SLOW * 2 + 4);
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
        assert!(began.elapsed() > slow * MAX_SLOW, "it hardly waited: {:?}", began.elapsed());
        while let Some(fault) = faults.recv().await {
            assert!(!matches!(fault, DiskFault::OneFile(_)), "{fault:?}");
        }
    }

    /// As a process leaves it that is killed between the file and the mark that it was written.
    #[test]
    fn a_new_caption_that_is_there_already_is_written_and_not_edited() {
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

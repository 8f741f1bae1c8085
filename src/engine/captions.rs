//! Captions follow the record: an answer is committed first, then written beside its picture. What a crash left
//! unwritten is written at the next start, from the committed text, so that file and record never disagree.

use std::{
    collections::{BTreeSet, HashMap},
    path::PathBuf,
    time::Duration,
};

use tokio::sync::mpsc;

use crate::{
    domain::{FinalState, Seq},
    output::{Existing, captions::is_the_files, write_caption},
    store::{Loader, Op, Opened, RunDir, StoreError, report},
};

/// A caption that can't be written is tried again after this.
const RETRY: Duration = Duration::from_secs(2);

/// Answers looked at in one go when a run is resumed.
const BATCH: usize = 256;

/// The name under which the run keeps what [`Owed`] holds.
const OWED: &str = "captions_owed";

/// Items with a recorded answer that may not have reached its file yet. Kept in the record, in the group of the
/// answer itself: what a killed process leaves is exactly what its successor has to write, and no caption that
/// somebody may have edited since.
#[derive(Debug, Default)]
pub(super) struct Owed {
    items: BTreeSet<Seq>,
    changed: bool,
}

impl Owed {
    /// Those of the last process have been written by [`complete_captions`].
    pub fn resumed(opened: &Opened) -> Self {
        Self { items: BTreeSet::new(), changed: opened.states.contains_key(OWED) }
    }

    pub fn owes(&mut self, item: Seq) {
        self.items.insert(item);
        self.changed = true;
    }

    pub fn written(&mut self, item: Seq) {
        self.changed |= self.items.remove(&item);
    }

    /// What is to be recorded with the next group.
    pub fn news(&mut self) -> Option<Op> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let items: Vec<String> = self.items.iter().map(|item| item.0.to_string()).collect();
        Some(Op::State { name: OWED.to_owned(), json: format!("[{}]", items.join(",")) })
    }
}

/// What keeps something from the disk, in words.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It stands against this file alone.
    OfOneFile(String),
    /// Nothing new goes out while it lasts: the next one would fare no better.
    Holds(String),
}

/// A committed answer on its way to its file.
#[derive(Clone, Debug)]
pub(super) struct Caption {
    pub item: Seq,
    pub target: PathBuf,
    pub text: String,
}

impl Caption {
    /// Until it is written: a full disk is the operator's to mend, and the answer is paid for. Gives its item back,
    /// or nothing where the file that is there stands against it: then it stays owed, and the next start tries again.
    pub async fn save(self, existing: Existing, trouble: mpsc::Sender<Trouble>) -> Option<Seq> {
        loop {
            let Self { item, target, text } = self.clone();
            let written = tokio::task::spawn_blocking(move || write_caption(&target, &text, existing)).await;
            let error = match written {
                Ok(Ok(())) => return Some(item),
                Ok(Err(error)) if is_the_files(&error) => {
                    let words = format!(
                        "a caption can't be written: {error}. Its answer is recorded; mend the file, and the same \
                         command writes it"
                    );
                    // The engine being gone means that the run is ending; the next start says it.
                    let _ = trouble.send(Trouble::OfOneFile(words)).await;
                    return None;
                }
                Ok(Err(error)) => error.to_string(),
                Err(panicked) => panicked.to_string(),
            };
            let complaint = format!("the caption {} can't be written: {error}", self.target.display());
            // The engine being gone means that the run is ending; the next start writes it.
            let _ = trouble.send(Trouble::Holds(complaint)).await;
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// Writes what an earlier process committed and may not have written, and leaves every other caption alone.
///
/// # Errors
/// Where the record can't be read, or a caption can't be written.
pub async fn complete_captions(dir: &RunDir, opened: &Opened, existing: Existing) -> anyhow::Result<()> {
    let owed: BTreeSet<u64> = match opened.states.get(OWED) {
        Some(json) => serde_json::from_str(json)?,
        None => BTreeSet::new(),
    };
    if owed.is_empty() {
        return Ok(());
    }
    let mut answers: Vec<(Seq, String)> = Vec::new();
    report::results_in_input_order(dir.path(), |line| -> Result<(), StoreError> {
        if !owed.contains(&line.seq.0) {
            return Ok(());
        }
        let result = line.parse()?;
        if let (FinalState::Done, Some(text)) = (result.status, result.output) {
            answers.push((line.seq, text));
        }
        Ok(())
    })?;
    let loader = Loader::start(dir)?;
    for batch in answers.chunks(BATCH) {
        let loaded = loader.load(batch.iter().map(|(seq, _)| *seq).collect()).await?;
        let texts: HashMap<Seq, &String> = batch.iter().map(|(seq, text)| (*seq, text)).collect();
        for item in loaded.items {
            if let (Some(target), Some(text)) = (item.spec.caption, texts.get(&item.seq)) {
                write_caption(&target, text, existing)
                    .map_err(|error| anyhow::anyhow!("the caption {} can't be written: {error}", target.display()))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_nothing_can_be_added_to_is_named_once_and_stays_owed() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("a.txt");
        std::fs::write(&target, b"caf\xe9\n").unwrap();
        let (complaints, mut trouble) = mpsc::channel(4);
        let caption = Caption { item: Seq(7), target: target.clone(), text: "A cup.".to_owned() };
        assert_eq!(caption.clone().save(Existing::Append, complaints.clone()).await, None);
        let Some(Trouble::OfOneFile(words)) = trouble.recv().await else { panic!("the others can be written") };
        assert!(words.contains("a.txt") && words.contains("not UTF-8"), "{words}");
        assert_eq!(std::fs::read(&target).unwrap(), b"caf\xe9\n");

        std::fs::write(&target, "caf\u{e9}\n").unwrap();
        assert_eq!(caption.save(Existing::Append, complaints).await, Some(Seq(7)));
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "caf\u{e9}\nA cup.\n");
    }
}

//! Captions follow the record: an answer is committed first, then written beside its picture. What a crash left
//! unwritten is written at the next start, from the committed text, so that file and record never disagree.

use std::{path::PathBuf, time::Duration};

use tokio::sync::mpsc;

use crate::{
    domain::{FinalState, Seq},
    output::{Existing, write_caption},
    store::{Loader, RunDir, StoreError, report},
};

/// A caption that can't be written is tried again after this.
const RETRY: Duration = Duration::from_secs(2);

/// Answers looked at in one go when a run is resumed.
const BATCH: usize = 256;

/// A committed answer on its way to its file.
#[derive(Clone, Debug)]
pub(super) struct Caption {
    pub target: PathBuf,
    pub text: String,
}

impl Caption {
    /// Until it is written: a full disk is the operator's to mend, and the answer is paid for.
    pub async fn save(self, existing: Existing, trouble: mpsc::Sender<String>) {
        loop {
            let Self { target, text } = self.clone();
            let written = tokio::task::spawn_blocking(move || write_caption(&target, &text, existing)).await;
            let Ok(Err(error)) = written else { return };
            let complaint = format!("the caption {} can't be written: {error}", self.target.display());
            // The engine being gone means that the run is ending; the next start writes it.
            let _ = trouble.send(complaint).await;
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// Writes what an earlier process committed and may not have written. Harmless to repeat: the text is the same.
///
/// # Errors
/// Where the record can't be read, or a caption can't be written.
pub async fn complete_captions(dir: &RunDir, existing: Existing) -> anyhow::Result<()> {
    let mut answers: Vec<(Seq, String)> = Vec::new();
    report::results_in_input_order(dir.path(), |line| -> Result<(), StoreError> {
        let result = line.parse()?;
        if let (FinalState::Done, Some(text)) = (result.status, result.output) {
            answers.push((line.seq, text));
        }
        Ok(())
    })?;
    let loader = Loader::start(dir)?;
    for batch in answers.chunks(BATCH) {
        let loaded = loader.load(batch.iter().map(|(seq, _)| *seq).collect()).await?;
        for (item, (_, text)) in loaded.into_iter().zip(batch) {
            if let Some(target) = item.spec.caption {
                write_caption(&target, text, existing)
                    .map_err(|error| anyhow::anyhow!("the caption {} can't be written: {error}", target.display()))?;
            }
        }
    }
    Ok(())
}

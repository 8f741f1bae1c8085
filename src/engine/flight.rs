//! One attempt as a task of its own: it sends, understands the answer, saves a caption, and reports.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::mpsc;

use crate::{
    clock::Clock,
    domain::{AttemptId, ItemSpec, Now, Outcome, Verdict},
    output::{Existing, write_caption},
    provider::{Call, Client, Endpoint},
};

/// What a landed attempt reports.
#[derive(Debug)]
pub(super) struct Landed {
    pub attempt: AttemptId,
    pub verdict: Verdict,
    pub latency: Duration,
}

/// Everything that an attempt needs, and nothing of the engine's.
#[derive(Debug)]
pub(super) struct Errand {
    pub attempt: AttemptId,
    pub client: Client,
    pub endpoint: Arc<Endpoint>,
    pub model: Arc<str>,
    pub max_output: Option<u32>,
    pub spec: Arc<ItemSpec>,
    pub enlarge: Option<u32>,
    /// In the clock's time.
    pub timeout: Duration,
    pub existing: Existing,
    pub clock: Clock,
    /// Where a caption that can't be written is complained about.
    pub trouble: mpsc::Sender<String>,
}

/// A caption that can't be written is tried again after this; the answer is in hand and must not be lost.
const CAPTION_RETRY: Duration = Duration::from_secs(2);

impl Errand {
    pub async fn run(self) -> Landed {
        let began: Now = self.clock.now();
        let enlarged = self.enlarge.map(|factor| self.enlarged(factor));
        let request = enlarged.as_ref().unwrap_or(&self.spec.request);
        let call = Call {
            model: &self.model,
            request,
            max_output: self.max_output,
            total_timeout: self.clock.to_real(self.timeout),
        };
        let verdict = self.client.attempt(&self.endpoint, call).await;
        let latency = self.clock.now().mono.since(began.mono);
        if let (Outcome::Ok, Some(target), Some(answer)) = (verdict.outcome, &self.spec.caption, &verdict.answer) {
            self.save_caption(target.clone(), answer.text.clone()).await;
        }
        Landed { attempt: self.attempt, verdict, latency }
    }

    fn enlarged(&self, factor: u32) -> crate::domain::Request {
        let mut request = self.spec.request.clone();
        let limit = request.params.max_output_tokens.or(self.max_output);
        request.params.max_output_tokens = limit.map(|limit| limit.saturating_mul(factor));
        request
    }

    /// Until it is written: a full disk is the operator's to mend, not a reason to pay for the answer twice.
    async fn save_caption(&self, target: PathBuf, text: String) {
        loop {
            let (path, words, existing) = (target.clone(), text.clone(), self.existing);
            let written = tokio::task::spawn_blocking(move || write_caption(&path, &words, existing)).await;
            match written {
                Ok(Ok(())) | Err(_) => return,
                Ok(Err(error)) => {
                    let complaint = format!("the caption {} can't be written: {error}", target.display());
                    // The engine being gone means that the run is ending: the attempt is aborted with it.
                    let _ = self.trouble.send(complaint).await;
                }
            }
            tokio::time::sleep(CAPTION_RETRY).await;
        }
    }
}

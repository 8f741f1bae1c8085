//! One line of `results.jsonl`. Field names and order are a contract: scripts read them.

use serde::{Deserialize, Serialize};

use super::{
    answer_parts::AnswerParts, attempt_result::Usage, item::ItemState, outcome::Outcome, price::CostByKindUsd,
};

/// Its JSON is written by [`ResultLine::write_json`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ResultLine {
    pub id: String,
    /// `done` or `failed`: only final states are written.
    pub status: FinalState,
    /// The answer. A failed item has one if the answer failed a check.
    pub output: Option<String>,
    pub error: Option<ResultError>,
    pub finish_reason: Option<String>,
    /// The alias, never the secret.
    pub key: Option<String>,
    pub provider: Option<String>,
    pub model: Option<String>,
    pub model_version: Option<String>,
    pub usage: Usage,
    pub cost_usd: f64,
    /// `cost_usd` by kind. `None` in lines of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_by_kind_usd: Option<CostByKindUsd>,
    /// Latency of the last attempt.
    pub latency_ms: u64,
    pub attempts: u32,
    /// When the first attempt was sent: RFC 3339, UTC.
    pub started_at: Option<String>,
    pub finished_at: String,
    pub request_hash: String,
    #[serde(default, flatten)]
    pub parts: AnswerParts,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ResultError {
    pub outcome: Outcome,
    pub status: Option<u16>,
    /// The provider's own text, redacted; for `invalid_output`, what the check says.
    pub message: String,
    /// The name of the check that the answer failed; for `invalid_output` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinalState {
    Done,
    Failed,
}

impl ResultLine {
    /// Appends the line's JSON, without a line break.
    ///
    /// These are the bytes of the derived `Serialize`, for a third of its instructions: the fields' names are copied,
    /// where `serde_json` looks at each of their bytes.
    ///
    /// # Errors
    /// If a field can't be written as JSON.
    pub fn write_json(&self, json: &mut Vec<u8>) -> serde_json::Result<()> {
        let Self {
            id,
            status,
            output,
            error,
            finish_reason,
            key,
            provider,
            model,
            model_version,
            usage,
            cost_usd,
            cost_by_kind_usd,
            latency_ms,
            attempts,
            started_at,
            finished_at,
            request_hash,
            parts,
        } = self;
        append(json, r#"{"id":"#, id)?;
        append(json, r#","status":"#, status)?;
        append(json, r#","output":"#, output)?;
        append(json, r#","error":"#, error)?;
        append(json, r#","finish_reason":"#, finish_reason)?;
        append(json, r#","key":"#, key)?;
        append(json, r#","provider":"#, provider)?;
        append(json, r#","model":"#, model)?;
        append(json, r#","model_version":"#, model_version)?;
        let Usage {
            input_tokens,
            output_tokens,
            thinking_tokens,
            cached_input_tokens,
            cache_write_tokens,
            cache_write_1h_tokens,
        } = usage;
        append(json, r#","usage":{"input_tokens":"#, input_tokens)?;
        append(json, r#","output_tokens":"#, output_tokens)?;
        append(json, r#","thinking_tokens":"#, thinking_tokens)?;
        append(json, r#","cached_input_tokens":"#, cached_input_tokens)?;
        append(json, r#","cache_write_tokens":"#, cache_write_tokens)?;
        append(json, r#","cache_write_1h_tokens":"#, cache_write_1h_tokens)?;
        append(json, r#"},"cost_usd":"#, cost_usd)?;
        if let Some(CostByKindUsd { input, cached_input, cache_write, output, images }) = cost_by_kind_usd {
            append(json, r#","cost_by_kind_usd":{"input":"#, input)?;
            append(json, r#","cached_input":"#, cached_input)?;
            append(json, r#","cache_write":"#, cache_write)?;
            append(json, r#","output":"#, output)?;
            append(json, r#","images":"#, images)?;
            json.push(b'}');
        }
        append(json, r#","latency_ms":"#, latency_ms)?;
        append(json, r#","attempts":"#, attempts)?;
        append(json, r#","started_at":"#, started_at)?;
        append(json, r#","finished_at":"#, finished_at)?;
        append(json, r#","request_hash":"#, request_hash)?;
        if parts.is_empty() {
            json.push(b'}');
        } else {
            // The fields of this object follow those of the line, in place of its opening brace.
            let start = json.len();
            serde_json::to_writer(&mut *json, parts)?;
            json[start] = b',';
        }
        Ok(())
    }
}

/// Appends the name of a field, with the punctuation around it, and its value.
fn append(json: &mut Vec<u8>, name: &str, value: &impl Serialize) -> serde_json::Result<()> {
    json.extend_from_slice(name.as_bytes());
    serde_json::to_writer(json, value)
}

impl From<FinalState> for ItemState {
    fn from(state: FinalState) -> Self {
        match state {
            FinalState::Done => Self::Done,
            FinalState::Failed => Self::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_written_json_is_that_of_serde() {
        let answered = serde_json::json!({
            "id": "item \"1\"", "status": "done", "output": "Forty-two.\n\u{7}", "error": null, "finish_reason": "stop",
            "key": "alice", "provider": "openai", "model": "m", "model_version": "m-2026",
            "usage": { "input_tokens": 1, "output_tokens": 2, "thinking_tokens": 3, "cached_input_tokens": 4,
                       "cache_write_tokens": 5, "cache_write_1h_tokens": u64::MAX },
            "cost_usd": 1.234_567e-6,
            "cost_by_kind_usd": { "input": 1e-12, "cached_input": 0.0, "cache_write": 3e300, "output": 4.5, "images": 5.0 },
            "latency_ms": 1_111, "attempts": 2, "started_at": "2026-11-30T10:00:00.000Z",
            "finished_at": "2026-11-30T10:00:01.000Z", "request_hash": "00ff", "message": { "role": "assistant", "n": 1.50 },
            "embedding": [[0.5, -1e-7]],
        });
        let failed = serde_json::json!({
            "id": "é\u{1f600}", "status": "failed", "error": { "outcome": "invalid_output", "status": 200,
            "message": "no\\pe", "check": "schema" }, "usage": { "input_tokens": 0, "output_tokens": 0,
            "thinking_tokens": 0 }, "cost_usd": 0.0, "latency_ms": 0, "attempts": 0, "finished_at": "", "request_hash": "",
        });
        for line in [answered, failed] {
            let line: ResultLine = serde_json::from_value(line).unwrap();
            let mut written = b"before it".to_vec();
            line.write_json(&mut written).unwrap();
            let expected = format!("before it{}", serde_json::to_string(&line).unwrap());
            assert_eq!(String::from_utf8(written).unwrap(), expected);
        }
    }
}

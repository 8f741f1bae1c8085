//! Lines of results.jsonl in the database: what is stored of a line, and how the line is rebuilt from it, byte for
//! byte.
//!
//! Most of an ordinary answer's line is recorded already, with its item and its attempt. Of such a line only the rest
//! is stored ([`StoredFormat::Answer`]); every other line is stored as a whole. The view `results` shows the lines of
//! both formats. A format never changes once it is released, since its lines must equal those in the file: if
//! [`ResultLine`] gets a field, a new format is added here.

use std::borrow::Cow;

use rusqlite::{
    Connection, Error,
    functions::{Context, FunctionFlags},
};
use serde::{Deserialize, Serialize};

use super::{
    error::StoreError,
    op::CompletedAttempt,
    row::{RouteName, to_json},
};
use crate::domain::{AnswerParts, CostByKind, CostByKindUsd, FinalState, Money, ResultLine, Usage, WallTime};

/// The SQL function that rebuilds a line in [`StoredFormat::Answer`]. Its arguments are the columns `line` of
/// `result_rows`, `id` and the lower-case hexadecimal `hash` of the item, and [`RecordedAttempt`] as a JSON list.
const FUNCTION: &str = "rebuild_result_line";

/// The format of `result_rows.line`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum StoredFormat {
    /// The line itself.
    Whole = 0,
    /// [`AnswerRest`] as JSON.
    Answer = 1,
}

/// The stored form of a result line.
#[derive(Debug)]
pub(super) struct StoredLine {
    pub format: StoredFormat,
    pub text: String,
}

/// The attempt that ended an item.
pub(super) struct EndingAttempt<'a> {
    pub route: i64,
    pub route_name: Option<&'a RouteName>,
    pub sent_at: WallTime,
    pub completed: &'a CompletedAttempt,
}

/// Everything in an ordinary answer's line that its item and its attempt don't have: output, finish reason, model
/// version, number of attempts, and when the first attempt was sent, unless it was this one.
#[derive(Serialize, Deserialize)]
struct AnswerRest<'a>(
    #[serde(borrow)] Cow<'a, str>,
    #[serde(borrow)] Option<Cow<'a, str>>,
    #[serde(borrow)] Option<Cow<'a, str>>,
    u32,
    #[serde(borrow)] Option<Cow<'a, str>>,
);

/// The columns of an attempt that are in its item's line: times in microseconds, money in pico-dollars.
#[derive(Deserialize)]
struct RecordedAttempt {
    key: String,
    model: String,
    provider: String,
    sent_at: i64,
    settled_at: i64,
    latency_ms: u64,
    input_tokens: u64,
    output_tokens: u64,
    thinking_tokens: u64,
    cached_input_tokens: u64,
    cache_write_tokens: u64,
    cache_write_1h_tokens: u64,
    cost: Money,
    cost_input: Money,
    cost_cached_input: Money,
    cost_cache_write: Money,
    cost_output: Money,
    cost_images: Money,
}

impl StoredLine {
    pub fn new(line: &ResultLine, ended_by: Option<&EndingAttempt<'_>>) -> Result<Self, StoreError> {
        Ok(match ended_by.and_then(|attempt| AnswerRest::new(line, attempt)) {
            Some(rest) => Self { format: StoredFormat::Answer, text: to_json(&rest, "a result")? },
            None => Self { format: StoredFormat::Whole, text: to_json(line, "a result")? },
        })
    }
}

impl<'a> AnswerRest<'a> {
    /// `None` if the line can't be rebuilt from the attempt.
    fn new(line: &'a ResultLine, attempt: &EndingAttempt<'_>) -> Option<Self> {
        let ResultLine { output, finish_reason, model_version, started_at, .. } = line;
        let EndingAttempt { route_name, sent_at, completed, .. } = attempt;
        let route = (*route_name)?;
        let is_recorded = line.status == FinalState::Done
            && line.error.is_none()
            && line.parts.is_empty()
            && line.key.as_ref() == Some(&route.key)
            && line.model.as_ref() == Some(&route.model)
            && line.provider.as_ref() == Some(&route.provider)
            && line.usage == completed.usage
            && line.cost_usd.to_bits() == completed.cost.as_usd().to_bits()
            && line.cost_by_kind_usd == Some(completed.cost_by_kind.into())
            && line.latency_ms == completed.latency_ms
            && line.finished_at == completed.completed_at?.rfc3339();
        let started_at = started_at.as_ref()?;
        let other_start = (*started_at != sent_at.rfc3339()).then_some(started_at);
        is_recorded.then(|| {
            let borrowed = |text: &'a String| Cow::Borrowed(text.as_str());
            Some(Self(
                borrowed(output.as_ref()?),
                finish_reason.as_ref().map(borrowed),
                model_version.as_ref().map(borrowed),
                line.attempts,
                other_start.map(borrowed),
            ))
        })?
    }
}

/// Makes the function available that the view `results` of a run's database uses.
pub fn add_result_line_function(conn: &Connection) -> rusqlite::Result<()> {
    // "Innocuous" functions may be used in views; this one reads only its arguments.
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    conn.create_scalar_function(FUNCTION, 4, flags, |context: &Context<'_>| {
        let text = |index| context.get_raw(index).as_str().ok();
        let [Some(rest), Some(id), Some(hash), Some(attempt)] = [text(0), text(1), text(2), text(3)] else {
            let item = text(1).unwrap_or("an unknown item");
            let message = format!("the line of {item} can't be rebuilt, since its attempt is not recorded");
            return Err(Error::UserFunctionError(message.into()));
        };
        rebuild(rest, id, hash, attempt).map_err(|error| Error::UserFunctionError(error.into()))
    })
}

fn rebuild(rest: &str, id: &str, hash: &str, attempt: &str) -> Result<String, serde_json::Error> {
    let AnswerRest(output, finish_reason, model_version, attempts, started_at) = serde_json::from_str(rest)?;
    let attempt: RecordedAttempt = serde_json::from_str(attempt)?;
    let cost_by_kind = CostByKind {
        input: attempt.cost_input,
        cached_input: attempt.cost_cached_input,
        cache_write: attempt.cost_cache_write,
        output: attempt.cost_output,
        images: attempt.cost_images,
    };
    serde_json::to_string(&ResultLine {
        id: id.to_owned(),
        status: FinalState::Done,
        output: Some(output.into_owned()),
        error: None,
        finish_reason: finish_reason.map(Cow::into_owned),
        key: Some(attempt.key),
        provider: Some(attempt.provider),
        model: Some(attempt.model),
        model_version: model_version.map(Cow::into_owned),
        usage: Usage {
            input_tokens: attempt.input_tokens,
            output_tokens: attempt.output_tokens,
            thinking_tokens: attempt.thinking_tokens,
            cached_input_tokens: attempt.cached_input_tokens,
            cache_write_tokens: attempt.cache_write_tokens,
            cache_write_1h_tokens: attempt.cache_write_1h_tokens,
        },
        cost_usd: attempt.cost.as_usd(),
        cost_by_kind_usd: Some(CostByKindUsd::from(cost_by_kind)),
        latency_ms: attempt.latency_ms,
        attempts,
        started_at: Some(started_at.map_or_else(|| WallTime(attempt.sent_at).rfc3339(), Cow::into_owned)),
        finished_at: WallTime(attempt.settled_at).rfc3339(),
        request_hash: hash.to_owned(),
        parts: AnswerParts::default(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A line in format 1 as the first version with it wrote it. It must never change.
    const RELEASED_LINE: &str = include_str!("../../tests/store/result_line_1.json");

    #[test]
    fn a_line_is_rebuilt_as_it_was_released() {
        let rest = r#"["Forty-two \"or so\".\n","stop","m-2026",2,"2026-11-30T10:00:00.000Z"]"#;
        let attempt = json!([
            "alice",
            "m",
            "openai",
            1_796_000_000_123_456_u64,
            1_796_000_001_234_567_u64,
            1_111,
            12,
            34,
            5,
            6,
            7,
            8,
            1_234_567,
            1,
            2,
            3,
            4,
            5
        ]);
        let line = rebuild(rest, "item 1", "00ff", &attempt.to_string()).unwrap();
        assert_eq!(line, RELEASED_LINE.trim_end());
    }
}
